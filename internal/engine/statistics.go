// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"horde/internal/horde"
	"horde/internal/store"
)

// statistics are those of one kind of work, and where they are in the record. A result is counted in the batch of the delivery,
// so neither can be lost or doubled without the other; that batch gets the sums of the running minute and the pages that have
// the models, some hundred bytes, whatever the horde has made before. Hours and the sum of all are written when a minute or an
// hour is over.
type statistics struct {
	*horde.Statistics
	changed // by the last fold
	kind    horde.Kind
	// pages are how the running minute is kept: the first has the sums, and each up to pageModels of the models. pageOf finds
	// the page of a model.
	pages  []*minutePage
	pageOf map[string]*minutePage
}

// pageModels is how many models a page has at most: few enough to be written with each batch.
const pageModels = 32

// minutePage is a part of a running minute as a document. It goes to JSON as a [horde.StatMinute] that has its part only.
type minutePage struct {
	changed
	of     *horde.StatMinute
	number int
	models []string
}

// MarshalJSON implements json.Marshaler.
func (p *minutePage) MarshalJSON() ([]byte, error) {
	part := horde.StatMinute{At: p.of.At}
	if p.number == 0 {
		part.Tally = p.of.Tally
	}
	if len(p.models) > 0 {
		part.Models = make(map[string]int64, len(p.models))
	}
	for _, m := range p.models {
		part.Models[m] = p.of.Models[m]
	}
	return json.Marshal(part)
}

// tally is a part of the statistics as a document.
type tally[T any] struct {
	changed
	of T
}

// MarshalJSON implements json.Marshaler.
func (t *tally[T]) MarshalJSON() ([]byte, error) { return json.Marshal(t.of) }

func newStatistics(k horde.Kind) *statistics {
	s := &statistics{Statistics: horde.NewStatistics(), kind: k}
	s.turn()
	return s
}

// turn begins the pages of a new minute.
func (s *statistics) turn() {
	s.pages, s.pageOf = []*minutePage{{of: s.Minute}}, map[string]*minutePage{}
}

// page is the page with a number, and new if there is none.
func (s *statistics) page(number int) *minutePage {
	for len(s.pages) <= number {
		s.pages = append(s.pages, &minutePage{of: s.Minute, number: len(s.pages)})
	}
	return s.pages[number]
}

// enter puts a model on a page.
func (s *statistics) enter(model string, p *minutePage) {
	p.models = append(p.models, model)
	s.pageOf[model] = p
}

// pageID names the document of a page. That of the first is the kind, for minutes were on one page once.
func (s *statistics) pageID(number int) string {
	if number == 0 {
		return s.kind.String()
	}
	return fmt.Sprintf("%s %d", s.kind, number)
}

// addMinute puts a page that was kept into the memory. All that the record has are of one minute.
func (s *statistics) addMinute(d store.Document) error {
	number := 0
	if _, rest, found := strings.Cut(d.ID, " "); found {
		var err error
		if number, err = strconv.Atoi(rest); err != nil || number < 0 || number >= maxPages {
			return fmt.Errorf("there is no page %q", rest)
		}
	}
	var part horde.StatMinute
	if err := json.Unmarshal(d.Data, &part); err != nil {
		return err
	}
	s.Minute.At = part.At
	if number == 0 {
		s.Minute.Tally = part.Tally
	}
	if len(part.Models) > 0 && s.Minute.Models == nil {
		s.Minute.Models = map[string]int64{}
	}
	p := s.page(number)
	for _, model := range slices.Sorted(maps.Keys(part.Models)) {
		s.Minute.Models[model] = part.Models[model]
		s.enter(model, p)
	}
	return nil
}

// maxPages is how many pages a minute can have: more models are not counted.
const maxPages = (horde.MaxHourModels + pageModels - 1) / pageModels

// hourID names the document of an hour.
func (s *statistics) hourID(at int64) string { return fmt.Sprintf("%s %d", s.kind, at) }

// addStatistics puts a document of the statistics into the memory.
func (s *state) addStatistics(d store.Document) error {
	name, _, _ := strings.Cut(d.ID, " ")
	for _, st := range s.statistics {
		if st.kind.String() != name {
			continue
		}
		switch d.Kind {
		case minuteDocument:
			return st.addMinute(d)
		case pastDocument:
			return json.Unmarshal(d.Data, st.Past)
		default:
			return restore(d, func(h *horde.StatHour) { st.Hours[h.At] = h })
		}
	}
	return nil
}

// tally counts a job that ends now, whatever comes of it. Models of one account's own are nobody else's business.
func (e *Engine) tally(j *job, now time.Time) {
	o := j.request.order()
	if strings.Contains(j.Model, horde.SpecialModel) {
		return
	}
	st := e.statistics[o.Kind]
	e.fold(st, now)
	st.Add(now, j.Model, asked(o))
	e.keepPage(st, st.pages[0])
	p := st.pageOf[j.Model]
	if _, counted := st.Minute.Models[j.Model]; counted && p == nil {
		p = st.page((len(st.Minute.Models) - 1) / pageModels)
		st.enter(j.Model, p)
	}
	if p != nil && p.number > 0 {
		e.keepPage(st, p)
	}
}

// keepPage notes that a page has changed.
func (e *Engine) keepPage(st *statistics, p *minutePage) {
	e.open.document(minuteDocument, st.pageID(p.number), p)
}

// asked is how much work one result of an order is as the client put it, in raw pixelsteps or tokens.
func asked(o *horde.Order) int64 {
	if o.Kind == horde.Text {
		return int64(*o.Text.MaxLength)
	}
	return int64(o.Image.Width) * int64(o.Image.Height) * int64(o.Image.Steps)
}

// foldStatistics puts the minutes and hours that are over where they belong.
func (e *Engine) foldStatistics(now time.Time) {
	for _, k := range horde.Generated {
		e.fold(e.statistics[k], now)
	}
}

func (e *Engine) fold(st *statistics, now time.Time) {
	if !st.Due(now) {
		return
	}
	f := st.Fold(now)
	if f.Hour != nil {
		for _, p := range st.pages[1:] {
			e.open.forgetDocument(minuteDocument, st.pageID(p.number))
		}
		st.turn()
		e.keepPage(st, st.pages[0])
		e.open.document(hourDocument, st.hourID(f.Hour.At), &tally[*horde.StatHour]{of: f.Hour})
	}
	if f.Past != nil {
		e.open.document(pastDocument, st.kind.String(), &tally[*horde.StatPast]{of: f.Past})
	}
	for _, at := range f.Gone {
		e.open.forgetDocument(hourDocument, st.hourID(at))
	}
	st.note(e.open.number)
}

// Totals are what a kind of generated work has come to in windows that end at the last full minute.
func (e *Engine) Totals(ctx context.Context, k horde.Kind) (horde.Totals, error) {
	return change(ctx, e, func() (horde.Totals, *batch, *horde.Error) {
		st, now := e.statistics[k], time.Now()
		e.fold(st, now)
		return st.Totals(now), e.pending(&st.changed), nil
	})
}

// ModelTotals are the results by model, in windows that end at the last full hour. The maps are shared: do not change them.
func (e *Engine) ModelTotals(ctx context.Context, k horde.Kind) (horde.ModelTotals, error) {
	return change(ctx, e, func() (horde.ModelTotals, *batch, *horde.Error) {
		st, now := e.statistics[k], time.Now()
		e.fold(st, now)
		return st.Models(now), e.pending(&st.changed), nil
	})
}

// keptStatistics adds the documents of the statistics as they are in memory. Those that were never written are left out.
func (e *Engine) keptStatistics(kept map[documentKey]documented) {
	for _, st := range e.statistics {
		if st.Minute.At > 0 {
			for _, p := range st.pages {
				if p.number > 0 && len(p.models) == 0 {
					continue
				}
				kept[documentKey{minuteDocument, st.pageID(p.number)}] = p
			}
		}
		if st.Past.Before > 0 {
			kept[documentKey{pastDocument, st.kind.String()}] = &tally[*horde.StatPast]{of: st.Past}
		}
		for at, h := range st.Hours {
			kept[documentKey{hourDocument, st.hourID(at)}] = &tally[*horde.StatHour]{of: h}
		}
	}
}
