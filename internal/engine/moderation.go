// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"horde/internal/horde"
	"horde/internal/moderation"
)

// moderated is the part of the hot state that is about abuse.
type moderated struct {
	counters *moderationCounters
	filters  map[int64]*filter
	places   *moderation.Places
	evidence []*evidence // by id
	reports  []*report   // suspicions of workers, by id
	// told is when moderators were last alerted of a subject. It may be lost in a crash.
	told   map[string]time.Time
	missed missedKeys
}

// moderationCounters are the next ids of what moderators see: no id is used twice.
type moderationCounters struct {
	changed
	Filter    int64 `json:"filter"`
	Evidence  int64 `json:"evidence"`
	Note      int64 `json:"note"`
	Suspicion int64 `json:"suspicion"`
}

// place is a [moderation.Place] as the record keeps it.
type place struct {
	*moderation.Place
	changed
}

type evidence struct {
	moderation.Evidence
	changed
}

// report is a suspicion of a worker.
type report struct {
	moderation.SuspicionEvent
	changed
}

// newModerated are the beginnings: the first id of everything is 1.
func newModerated() moderated {
	return moderated{
		counters: &moderationCounters{Filter: 1, Evidence: 1, Note: 1, Suspicion: 1}, filters: map[int64]*filter{},
		places: moderation.NewPlaces(nil), told: map[string]time.Time{},
	}
}

// next takes an id from a counter.
func (e *Engine) next(counter *int64) int64 {
	id := *counter
	*counter++
	e.open.document(countersDocument, countersDocument, e.counters)
	return id
}

func itoa(id int64) string { return strconv.FormatInt(id, 10) }

// timedOut refuses an address that is in time-out.
func (e *Engine) timedOut(addr netip.Addr, now time.Time) *horde.Error {
	seconds := e.places.Timeout(addr, now)
	switch {
	case seconds == 0:
		return nil
	case seconds > moderation.Untold:
		return horde.ErrTimeoutIP
	}
	return horde.ErrTimeoutIP.Withf("This address is in timeout for another %d seconds.", seconds)
}

// Barred refuses an address that is in time-out, for what is not asked of the engine otherwise.
func (e *Engine) Barred(addr netip.Addr) error {
	var refusal *horde.Error
	if err := e.do(func() { refusal = e.timedOut(addr, time.Now()) }); err != nil {
		return err
	}
	return asError(refusal)
}

// notePlace writes a place into the record, or takes one out of it of which nothing is known any more.
func (e *Engine) notePlace(p *moderation.Place, now time.Time) {
	if p.Idle(now) {
		e.places.Remove(p.Key())
		e.open.forgetDocument(placeDocument, p.Key().ID())
		return
	}
	e.open.document(placeDocument, p.Key().ID(), &place{Place: p})
}

// alert tells moderators of something, at most once in a while of each subject.
func (e *Engine) alert(subject string, every time.Duration, now time.Time, a moderation.Alert) {
	if last, told := e.told[subject]; told && now.Sub(last) < every {
		return
	}
	e.told[subject] = now
	e.Alert(a)
}

// sweepModeration forgets what is over: time-outs, counts, evidence, and alerts that may be given again.
func (e *Engine) sweepModeration(now time.Time) {
	for _, p := range e.places.Expired(now) {
		e.notePlace(p, now)
	}
	e.ageEvidence(now)
	for len(e.reports) > 0 && (len(e.reports) > moderation.MaxSuspicionEvents || now.Sub(e.reports[0].Created) > moderation.SuspicionDays*24*time.Hour) {
		e.open.forgetDocument(reportDocument, itoa(e.reports[0].ID))
		e.reports = e.reports[1:]
	}
	for subject, at := range e.told {
		if now.Sub(at) > 24*time.Hour {
			delete(e.told, subject)
		}
	}
}

// suspectUser notes a suspicion of an account, each once. The anonymous account collects none.
func (e *Engine) suspectUser(u *user, s horde.Suspicion) {
	if u.ID == horde.Anonymous {
		return
	}
	if !s.Accumulates() {
		for _, had := range u.Suspicions {
			if had == s {
				return
			}
		}
	}
	u.Suspicions = append(u.Suspicions[:len(u.Suspicions):len(u.Suspicions)], s)
	e.open.user(u)
}

// suspect notes a suspicion of a worker and of its owner. Most are noted once per worker; an untrusted owner's worker with too
// many is paused. detail is for moderators.
func (e *Engine) suspect(w *worker, s horde.Suspicion, detail string) {
	if !s.Accumulates() {
		for _, had := range w.Suspicions {
			if had == s {
				return
			}
		}
	}
	now := time.Now().UTC()
	w.Suspicions = append(w.Suspicions[:len(w.Suspicions):len(w.Suspicions)], s)
	w.owner.Suspicions = append(w.owner.Suspicions[:len(w.owner.Suspicions):len(w.owner.Suspicions)], s)
	r := &report{SuspicionEvent: moderation.SuspicionEvent{
		ID: e.next(&e.counters.Suspicion), Created: now, Worker: w.ID, WorkerName: w.Name, User: w.owner.ID, Suspicion: s, Detail: detail,
	}}
	e.reports = append(e.reports, r)
	e.open.document(reportDocument, itoa(r.ID), r)
	if len(w.Suspicions) >= horde.SuspicionLimit && !w.owner.Has(horde.Trusted) && !w.Paused {
		w.Paused = true
		e.pulse[w.Kind].there = nil
		e.Log.Warn("a worker is paused", "worker", w.Name, "owner", w.owner.ID, "suspicions", len(w.Suspicions))
		e.Alert(moderation.Alert{Text: fmt.Sprintf("Worker %s (%s) of %s was paused: %s. Suspicions in all: %d.",
			w.Name, w.ID, w.owner.Alias(), s.Description(), len(w.Suspicions))})
	}
	e.open.worker(w)
	e.open.user(w.owner)
}
