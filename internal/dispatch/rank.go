// SPDX-License-Identifier: AGPL-3.0-or-later

package dispatch

import (
	"time"

	"horde/internal/horde"
)

// Rank is the place of a request in the queue.
type Rank struct {
	// Position counts the request itself and those that are served before it, from 1. Zero means that nothing of the
	// request waits.
	Position int
	// Results and Things sum what is left of those requests, the request itself included. Things are raw.
	Results int64
	Things  float64
}

// How long what Rank found out is good for. Which classes compete is asked anew every few seconds. A place among many
// rivals takes long to find, so it is remembered: the longer it took the longer, and the request is at most a hundredth of a
// percent of a processor, however often it is looked at. Among few, places are always exact.
const (
	rivalsFor    = 5 * time.Second
	exactRivals  = 64
	rankPerRival = 4 * time.Millisecond
	maxRankFor   = 20 * time.Second
)

// ranked is a place that was found before.
type ranked struct {
	Rank
	until time.Time
}

// Rank finds the place of a request among those that compete with it for a worker: a request that no worker which could
// take this one could take as well does not count. online are the offers of the workers that are there now.
func (q *Queue) Rank(e *Entry, online []*horde.Offer, now time.Time) Rank {
	if known, ok := q.ranks[e]; ok && now.Before(known.until) {
		return known.Rank
	}
	c := e.class
	if now.After(c.rivalsUntil) {
		c.rivals, c.rivalsUntil = q.rivals(c, online, now), now.Add(rivalsFor)
	}
	r := c.open.upTo(e)
	for _, rival := range c.rivals {
		if rival != c {
			r.add(rival.open.upTo(e))
		}
	}
	if e.general.tree == nil { // it names its workers and so is in no open tree
		left := e.Request.Left
		r.add(Rank{Position: 1, Results: int64(left), Things: float64(left) * e.things})
	}
	if n := len(c.rivals); n > exactRivals {
		q.ranks[e] = ranked{r, now.Add(min(time.Duration(n)*rankPerRival, maxRankFor))}
	}
	return r
}

func (r *Rank) add(s Rank) {
	r.Position += s.Position
	r.Results += s.Results
	r.Things += s.Things
}

// field is the offers of the workers that are online, by model, and for each set of workers that was asked about the
// classes that one of them could take.
type field struct {
	offers  []*horde.Offer
	byModel map[string][]int // places in offers
	classes map[string][]*class
	until   time.Time
}

// rivals are the classes that some worker could take which could take c.
func (q *Queue) rivals(c *class, online []*horde.Offer, now time.Time) []*class {
	f := q.field
	if f == nil || now.After(f.until) || !same(f.offers, online) {
		f = newField(online, now.Add(rivalsFor))
		q.field = f
	}
	able := f.able(c)
	classes, ok := f.classes[string(able)]
	if !ok {
		classes = q.takenBy(f, able)
		f.classes[string(able)] = classes
	}
	return classes
}

// same tells whether two lists are one.
func same(a, b []*horde.Offer) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

func newField(online []*horde.Offer, until time.Time) *field {
	f := &field{offers: online, byModel: map[string][]int{}, classes: map[string][]*class{}, until: until}
	for i, o := range online {
		for m := range o.Models {
			f.byModel[m] = append(f.byModel[m], i)
		}
	}
	return f
}

// able is the set of offers that could take the class: a bit for each.
func (f *field) able(c *class) []byte {
	set := make([]byte, (len(f.offers)+7)/8)
	try := func(i int) {
		if f.offers[i].Misfit(&c.needs, c.models) == 0 {
			set[i/8] |= 1 << (i % 8)
		}
	}
	if len(c.models) == 0 {
		for i := range f.offers {
			try(i)
		}
	}
	for _, m := range c.models {
		for _, i := range f.byModel[m] {
			try(i)
		}
	}
	return set
}

// takenBy lists the classes that one of a set of offers could take.
func (q *Queue) takenBy(f *field, set []byte) (list []*class) {
	q.search++
	for i, o := range f.offers {
		if set[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		try := func(c *class) {
			if c.rival != q.search && o.Misfit(&c.needs, c.models) == 0 {
				c.rival = q.search
				list = append(list, c)
			}
		}
		for m := range o.Models {
			for _, c := range q.byModel[m] {
				try(c)
			}
		}
		for _, c := range q.anyWork {
			try(c)
		}
	}
	return list
}
