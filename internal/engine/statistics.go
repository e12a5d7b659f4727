// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"horde/internal/horde"
	"horde/internal/store"
)

// statistics are those of one kind of work, and where they are in the record. A result is counted in the batch of the delivery,
// so neither can be lost or doubled without the other; that batch gets the running minute, some dozens of bytes, whatever
// the horde has made before. Hours and the sum of all are written when a minute or an hour is over.
type statistics struct {
	*horde.Statistics
	changed // by the last fold
	kind    horde.Kind
	minute  *tally[*horde.StatMinute]
}

// tally is a part of the statistics as a document.
type tally[T any] struct {
	changed
	of T
}

// MarshalJSON implements json.Marshaler.
func (t *tally[T]) MarshalJSON() ([]byte, error) { return json.Marshal(t.of) }

func newStatistics(k horde.Kind) *statistics {
	s := horde.NewStatistics()
	return &statistics{Statistics: s, kind: k, minute: &tally[*horde.StatMinute]{of: s.Minute}}
}

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
			return json.Unmarshal(d.Data, st.Minute)
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
	e.open.document(minuteDocument, st.kind.String(), st.minute)
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
		e.open.document(minuteDocument, st.kind.String(), st.minute)
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
			kept[documentKey{minuteDocument, st.kind.String()}] = st.minute
		}
		if st.Past.Before > 0 {
			kept[documentKey{pastDocument, st.kind.String()}] = &tally[*horde.StatPast]{of: st.Past}
		}
		for at, h := range st.Hours {
			kept[documentKey{hourDocument, st.hourID(at)}] = &tally[*horde.StatHour]{of: h}
		}
	}
}
