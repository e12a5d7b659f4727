// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"time"

	"horde/internal/dispatch"
	"horde/internal/horde"
)

// maxParked bounds the pops of one kind that wait. Further ones are answered at once.
const maxParked = 100_000

// parkedPop is a pop that waits for a job. It costs the goroutine of its call, which sleeps, and its places in the lot;
// nobody looks at the queue for it while nothing comes. Engine.mu guards all but what never changes.
type parkedPop struct {
	w     *polled
	p     *horde.Polling
	ctx   context.Context
	again time.Time // when it looks at the queue by itself, at the latest

	lot    *dispatch.Lot[*parkedPop]
	place  *dispatch.Parked[*parkedPop] // nil once it waits no more
	answer popAnswer                    // set before done is closed
	done   chan struct{}
}

// park lets a pop wait that found nothing. It returns nil where it is to be answered at once.
func (e *Engine) park(ctx context.Context, w *polled, p *horde.Polling, now, until time.Time) *parkedPop {
	lot := e.lots[w.Kind]
	if !now.Before(until) || lot.Len() >= maxParked || ctx.Err() != nil {
		return nil
	}
	select {
	case <-e.draining:
		return nil
	default:
	}
	// A worker has as many pops waiting as threads at most. One more means that an earlier one is no longer there, though its
	// connection looks as if: a job must not be given to it.
	if mine := lot.Of(w.ID); len(mine) >= max(1, w.Threads) {
		mine[0].Who.end(popAnswer{popped: &Popped{Kind: w.Kind}})
	}
	again := until
	if retry := w.failed.Add(elsewhere + time.Millisecond); retry.After(now) && retry.Before(again) {
		again = retry // what it failed at is no longer kept from it then
	}
	parked := &parkedPop{w: w, p: p, ctx: ctx, again: again, lot: lot, done: make(chan struct{})}
	parked.place = lot.Park(w.offer, parked)
	return parked
}

// end answers a pop that waits.
func (p *parkedPop) end(a popAnswer) {
	p.lot.Leave(p.place)
	p.place, p.answer = nil, a
	close(p.done)
}

// await sleeps until a parked pop is answered. It returns false if nothing came: the wait is over, the process is about to
// stop, or the worker has hung up.
func (e *Engine) await(ctx context.Context, p *parkedPop) (popAnswer, bool) {
	timer := time.NewTimer(time.Until(p.again))
	defer timer.Stop()
	select {
	case <-p.done:
		return p.answer, true
	case <-timer.C:
	case <-ctx.Done():
	case <-e.draining:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.place == nil {
		return p.answer, true
	}
	p.lot.Leave(p.place)
	p.place = nil
	return popAnswer{}, false
}

// serveParked offers what there is more of than before to the pops that wait, longest waiting first. It ends every use case,
// so a job is handed out in the batch that brought it.
func (e *Engine) serveParked() {
	if len(e.fresh) == 0 {
		return
	}
	now := time.Now().UTC()
	for i := 0; i < len(e.fresh); i++ { // taking may note more
		r := e.fresh[i]
		lot, queue := e.lots[r.Order.Kind()], e.queues[r.Order.Kind()]
		for r.entry != nil {
			next := lot.First(queue, r.entry, func(p *parkedPop) bool {
				return p.ctx.Err() == nil && !p.w.owner.Has(horde.Flagged) && !p.w.owner.Has(horde.Deleted) &&
					queue.Takes(e.search(p.w, now), r.entry)
			})
			if next == nil {
				break
			}
			p := next.Who
			a := e.take(p.w, p.p, now)
			if a.refusal != nil || a.nothing() {
				break // cannot be: it takes the request
			}
			p.end(a)
		}
	}
	clear(e.fresh)
	e.fresh = e.fresh[:0]
}

// dismissParked ends the wait of everybody, because the memory is about to be dropped.
func (e *Engine) dismissParked() {
	for _, lot := range e.lots {
		for _, p := range lot.All() {
			p.Who.end(popAnswer{refusal: horde.ErrUnavailable})
		}
	}
	e.fresh = nil
}

// dismiss ends the wait of one worker, whose state has changed: it asks again and learns what it may.
func (e *Engine) dismiss(w *worker, refusal *horde.Error) {
	if w.Kind == horde.Alchemy {
		return // alchemists do not wait
	}
	for _, p := range append([]*dispatch.Parked[*parkedPop](nil), e.lots[w.Kind].Of(w.ID)...) {
		a := popAnswer{refusal: refusal, wait: e.open}
		if refusal == nil {
			a.popped = &Popped{Kind: w.Kind}
		}
		p.Who.end(a)
	}
}
