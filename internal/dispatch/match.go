// SPDX-License-Identifier: AGPL-3.0-or-later

package dispatch

import (
	"math"
	"strings"

	"horde/internal/horde"
)

// maxLooks bounds how many requests one pop looks at one by one. It is reached only when thousands of requests that fit the
// worker otherwise are barred by its word blacklist or by the balances of their users.
const maxLooks = 4096

// Pop is a worker asking for a request.
type Pop struct {
	Offer *horde.Offer
	// Friends are served first: the worker's owner and the users it named.
	Friends []horde.UserID
	// OwnOnly restricts the pop to requests of the worker's owner.
	OwnOnly bool
	// Affordable tells whether the user of a request could pay for it now. Nil means that the worker does not care.
	// Friends are not asked.
	Affordable func(*horde.Request) bool
	// Barred tells whether the worker must not see a request, for a reason that nobody is told: it was given a decoy of it,
	// or failed at it just now. Nil means never.
	Barred func(horde.RequestID) bool
	// MatchedTargeting restricts requests that name allowed workers to workers whose friend the requester is.
	MatchedTargeting bool
}

// match is one search.
type match struct {
	*Pop
	q       *Queue
	skipped horde.Skipped // only what is found request by request
	looks   int
}

// Match finds the request that the worker gets, or nil. Nothing changes: the caller takes results off it with SetLeft or
// Remove. If there is no request, skipped tells what was passed over and why.
func (q *Queue) Match(p *Pop) (found *Entry, skipped horde.Skipped) {
	if q.entries == 0 {
		return nil, skipped
	}
	q.search++
	m := &match{Pop: p, q: q}
	friends := p.Friends
	if p.OwnOnly {
		friends = []horde.UserID{p.Offer.Worker.Owner}
	}
	best := (*Entry)(nil)
	for _, u := range friends {
		if o := q.users[u]; o != nil {
			for c, t := range o.trees {
				best = m.better(best, c, t, true)
			}
		}
	}
	if best != nil || p.OwnOnly {
		return best, skipped
	}
	if !p.MatchedTargeting {
		for c, t := range q.targets[p.Offer.Worker.ID] {
			best = m.better(best, c, t, false)
		}
	}
	for model := range p.Offer.Models {
		for _, c := range q.byModel[model] {
			best = m.better(best, c, &c.open, false)
		}
	}
	for _, c := range q.anyWork {
		best = m.better(best, c, &c.open, false)
	}
	if best == nil {
		m.count()
	}
	return best, m.skipped
}

// fits tests a class once a search.
func (m *match) fits(c *class) bool {
	if c.seen != m.q.search {
		c.seen = m.q.search
		c.misfit = m.Offer.Misfit(&c.needs, c.models)
	}
	return c.misfit == 0
}

// better returns the first entry of the tree that the worker may take, if it comes before best; else best.
func (m *match) better(best *Entry, c *class, t *tree, friend bool) *Entry {
	head := t.head()
	if head == nil || best != nil && !less(head, best) || !m.fits(c) {
		return best
	}
	e, v := t.root.first(m.limit(c), func(e *Entry) verdict {
		if best != nil && !less(e, best) {
			return stop
		}
		if m.looks++; m.looks > maxLooks {
			return stop
		}
		return m.take(e, friend)
	})
	if v == accept {
		return e
	}
	return best
}

// limit is the largest size that the worker takes of a class.
func (m *match) limit(c *class) Size {
	w := m.Offer.Worker
	if m.q.kind == horde.Text {
		return size(int64(w.MaxLength), int64(w.MaxContextLength))
	}
	steps := float64(math.MaxInt32)
	if limit, ok := m.Offer.StepLimitOf(&c.needs, c.models); ok {
		steps = limit
	}
	return size(w.MaxPixels, int64(steps)) // s <= 5.5 holds for the same whole s as s <= 5
}

// take tests what differs between requests of a class.
func (m *match) take(e *Entry, friend bool) verdict {
	w := m.Offer.Worker
	if e.barred(w.ID) {
		return refuse
	}
	if m.Barred != nil && m.Barred(e.Request.ID) {
		return refuse
	}
	if len(w.Blacklist) > 0 {
		prompt := strings.ToLower(e.Request.Order.Prompt())
		m.looks += len(w.Blacklist) * (1 + len(prompt)/1024) / 16 // a long search counts as several looks
		for _, word := range w.Blacklist {
			if strings.Contains(prompt, word) {
				m.skipped.Blacklist++
				return refuse
			}
		}
	}
	if !friend && m.Affordable != nil && !m.Affordable(e.Request) {
		m.skipped.Kudos++
		return refuse
	}
	return accept
}

// count completes the counts of a search that found nothing: class by class where the worker has one of the models, and
// shape by shape for all other classes, which it turns down in the same way.
func (m *match) count() {
	q, s, o, w := m.q, &m.skipped, m.Offer, m.Offer.Worker
	m.q.search++ // from here on, seen means counted
	for model := range o.Models {
		for _, c := range q.byModel[model] {
			m.countClass(c)
		}
	}
	for _, c := range q.anyWork {
		m.countClass(c)
	}
	for _, f := range q.shapes {
		n := f.count
		if f.seen == q.search {
			n -= f.counted
		}
		if n > 0 {
			s.Count(o, &f.needs, f.models, o.Misfit(&f.needs, f.models), n)
		}
	}
	if q.kind != horde.Image {
		return
	}
	for pixels, n := range q.pixels {
		if int64(pixels) >= w.MaxPixels {
			s.MaxPixels += n
		}
	}
	s.WorkerID = q.blocked[w.ID] + q.aimed
	if !m.MatchedTargeting {
		for _, t := range q.targets[w.ID] {
			s.WorkerID -= int(t.root.count)
		}
	}
}

// countClass counts the requests of one class, once a search.
func (m *match) countClass(c *class) {
	if c.seen == m.q.search {
		return
	}
	m.fits(c)
	if f := c.shape; f.seen != m.q.search {
		f.seen, f.counted = m.q.search, 0
	}
	if len(c.models) > 0 {
		c.shape.counted += c.count
	}
	m.skipped.Count(m.Offer, &c.needs, c.models, c.misfit, c.count)
	if m.q.kind != horde.Image || c.misfit != 0 || !m.Offer.Worker.LimitMaxSteps {
		return
	}
	limit := m.limit(c)
	c.open.root.first(Size{limit[0], math.MaxInt32}, func(e *Entry) verdict {
		if m.looks++; m.looks > maxLooks {
			return stop
		}
		if e.size[1] > limit[1] {
			m.skipped.StepCount++
		}
		return refuse
	})
}
