// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"container/heap"
	"time"

	"horde/internal/blob"
)

// The periods of what runs by the clock.
const (
	sweepEvery = time.Second      // leases and expiry
	flushEvery = 30 * time.Second // what is written lazily
	trustEvery = time.Minute      // accounts that became old enough, models that nobody serves any more
)

// clockLoop does everything that happens because time passes.
func (e *Engine) clockLoop() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	flushed, trusted := time.Now(), time.Now()
	var monthly time.Time // which comes soon after a start, for one that ran less than an hour each time would never come to it
	for {
		select {
		case <-tick.C:
		case <-e.stop:
			return
		}
		var (
			discarded []blob.Key
			due       []handed
		)
		began := time.Now()
		err := e.do(func() {
			now := time.Now().UTC()
			e.sweep(now)
			e.sweepAlchemy(now)
			e.foldStatistics(now)
			discarded, e.discarded = e.discarded, nil
			due = e.dueHanded(now)
			if now.Sub(flushed) >= flushEvery {
				flushing := time.Now()
				e.flush()
				e.Ran("flush", flushing, nil)
				flushed = now
			}
			if now.Sub(trusted) >= trustEvery {
				for _, p := range e.pulse {
					for model := range p.models {
						p.modelSpeed(model, now) // forgets what is an hour old
					}
				}
				for _, l := range e.lots {
					l.Tidy()
				}
				for _, u := range e.users {
					e.promote(u, now)
				}
				e.sweepModeration(now)
				e.sweepMessages(now)
				if now.Sub(monthly) >= monthlyEvery {
					e.payMonthly(now)
					monthly = now
				}
				trusted = now
			}
			if !e.open.idle() {
				e.nudge()
			}
		})
		e.Ran("clock", began, err)
		if len(discarded) > 0 {
			e.done.Go(func() { e.discard(discarded) })
		}
		if len(due) > 0 {
			e.done.Go(func() { e.handAgain(due) })
		}
	}
}

// sweep faults the jobs whose lease is over and forgets the requests that have expired. A request whose jobs are still
// running is kept until they end: its workers are owed an answer.
func (e *Engine) sweep(now time.Time) {
	for _, j := range e.running {
		if now.Sub(j.Started) > j.Lease {
			e.fault(j, now)
		}
	}
	for len(e.expiry) > 0 && e.expiry[0].seen < now.UnixNano() {
		r := e.expiry[0]
		switch {
		case r.Running > 0 && !r.Expires.After(now):
			r.seen = now.Add(sweepEvery).UnixNano()
			heap.Fix(&e.expiry, 0)
		case r.Expires.After(now):
			r.seen = r.Expires.UnixNano()
			heap.Fix(&e.expiry, 0)
		default:
			heap.Pop(&e.expiry)
			e.forgetRequest(r, now)
		}
	}
}

// flush notes the workers and accounts of whom the record lacks something.
func (e *Engine) flush() {
	for u := range e.active {
		e.open.user(u)
	}
	clear(e.active)
	for _, w := range e.workers {
		if w.lazy {
			e.open.worker(w)
		}
	}
}

// idle tells whether nothing is noted.
func (b *batch) idle() bool {
	return !b.settings && len(b.users)+len(b.balances)+len(b.workers)+len(b.requests)+len(b.jobs)+len(b.events)+
		len(b.gone)+len(b.goneWorker)+len(b.documents) == 0
}
