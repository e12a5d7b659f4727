// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
	"horde/internal/trace"
)

// batch is what changed since the last one was sealed. Engine.mu guards it while it is open; then it belongs to the
// committer, but for done and err, which waiters read.
type batch struct {
	number     int64 // from 1, one after the other
	settings   bool
	users      map[*user]bool
	balances   map[horde.UserID]bool
	workers    map[*worker]bool
	earnings   map[horde.WorkerID]bool
	requests   map[*request]bool // true for new ones
	jobs       map[*job]bool
	events     []*kudos.Event
	gone       []horde.RequestID
	goneWorker []horde.WorkerID
	documents  map[documentKey]documented // nil for those to be removed

	done chan struct{} // closed when the batch is durable or has failed
	err  error         // set before done is closed
}

func newBatch(number int64) *batch {
	return &batch{
		number: number,
		users:  map[*user]bool{}, balances: map[horde.UserID]bool{}, workers: map[*worker]bool{},
		earnings: map[horde.WorkerID]bool{}, requests: map[*request]bool{}, jobs: map[*job]bool{}, documents: map[documentKey]documented{},
		done: make(chan struct{}),
	}
}

func (b *batch) user(u *user) {
	b.users[u] = true
	u.in = b.number
}

func (b *batch) worker(w *worker) {
	b.workers[w] = true
	w.in = b.number
	w.lazy = false
}

func (b *batch) request(r *request, isNew bool) {
	b.requests[r] = b.requests[r] || isNew
	r.in = b.number
}

func (b *batch) job(j *job) {
	b.jobs[j] = true
	j.in = b.number
}

// event notes a movement of kudos and all that it changed.
func (e *Engine) event(ev *kudos.Event) {
	b := e.open
	b.events = append(b.events, ev)
	e.meters.absorbed(e.state, ev)
	users, worker := ev.Touched()
	for _, id := range append(users, ev.User, ev.Owner) {
		b.balances[id] = true
		if u := e.users[id]; u != nil {
			u.in = b.number
		}
	}
	if worker != (horde.WorkerID{}) {
		b.earnings[worker] = true
	}
}

// forgetRequest takes a request and its jobs out of memory and out of the record.
func (e *Engine) forgetRequest(r *request, now time.Time) {
	e.dequeue(r, now)
	e.releaseHold(r)
	for _, j := range r.jobs {
		delete(e.jobs, j.ID)
		delete(e.running, j.ID)
		delete(e.open.jobs, j)
		if j.Decoy && j.worker != nil {
			delete(j.worker.tricked, r.ID)
		}
	}
	e.forgetShown(r.ID)
	delete(e.requests, r.ID)
	r.forgotten()
	isNew, noted := e.open.requests[r]
	delete(e.open.requests, r)
	if !noted || !isNew {
		e.open.gone = append(e.open.gone, r.ID)
	}
}

// sealLocked closes the open batch for changes and copies what it holds. It is called with the lock.
func (e *Engine) sealLocked() (*batch, *store.Batch) {
	b := e.open
	e.sealed, e.open = b, newBatch(b.number+1)
	s := &store.Batch{
		Balances: make(map[horde.UserID]kudos.Balance, len(b.balances)),
		Earnings: make(map[horde.WorkerID]kudos.Earnings, len(b.earnings)),
		Events:   b.events, DeletedRequests: b.gone, DeletedWorkers: b.goneWorker, Documents: b.sealedDocuments(),
	}
	if b.settings {
		settings := *e.settings
		s.Settings = &settings
	}
	for u := range b.users {
		s.Users = append(s.Users, u.User)
	}
	for id := range b.balances {
		s.Balances[id] = *e.book.Balance(id)
	}
	for w := range b.workers {
		s.Workers = append(s.Workers, w.Worker)
	}
	for id := range b.earnings {
		if e.workers[id] != nil {
			s.Earnings[id] = *e.book.Earnings(id)
		}
	}
	for r, isNew := range b.requests {
		if isNew {
			s.NewRequests = append(s.NewRequests, r.Request)
		} else {
			s.Requests = append(s.Requests, r.Request)
		}
	}
	for j := range b.jobs {
		s.Jobs = append(s.Jobs, j.Job)
	}
	if len(b.events) > 0 {
		s.System = e.book.Systems()
	}
	return b, s
}

// durable waits until everything that the batches hold is in the record. Call it without the lock. A nil batch is one that
// needs no waiting.
func (e *Engine) durable(ctx context.Context, batches ...*batch) error {
	var woken bool
	for _, b := range batches {
		if b == nil {
			continue
		}
		select {
		case <-b.done:
		default:
			if !woken {
				woken = true
				e.nudge()
			}
			_, span := trace.Start(ctx, "wait for the record")
			e.waiters.Add(1)
			var err error
			select {
			case <-b.done:
				span.End(b.err)
			case <-ctx.Done():
				err = ctx.Err()
				span.End(err)
			}
			e.waiters.Add(-1)
			if err != nil {
				return err
			}
		}
		if b.err != nil {
			return horde.ErrUnavailable
		}
	}
	return nil
}

// pending is the batch to wait for before something may be told, or nil if it is in the record already. It is called with
// the lock.
func (e *Engine) pending(c *changed) *batch {
	switch {
	case c.in == e.open.number:
		return e.open
	case e.sealed != nil && c.in == e.sealed.number:
		return e.sealed
	}
	return nil
}

// nudge tells the committer that somebody waits.
func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// commitLoop writes one batch after the other. While one is being written the next one fills: the busier the horde, the
// more callers share a write.
func (e *Engine) commitLoop() {
	for {
		stopping := false
		select {
		case <-e.wake:
		case <-e.stop:
			stopping = true
			_ = e.do(e.flush) // here, not in the other loop: this write is the last
		}
		e.writing.Lock()
		b, err := e.write()
		lost := errors.Is(err, store.ErrDeposed)
		switch {
		case lost || err != nil && stopping:
			e.fail(b, err)
		case err != nil:
			lost = e.reload(b, err)
		case stopping:
			e.fail(nil, errClosed)
		}
		e.writing.Unlock()
		if stopping || lost {
			return
		}
	}
}

// errClosed is what those get who come after the last write.
var errClosed = errors.New("the engine is closed")

// errDoubt is why a batch is not written whose changes a panic has broken off.
var errDoubt = errors.New("the memory is in doubt")

// write commits the open batch and tells those who wait for it. After an error the memory is not the record's any more.
func (e *Engine) write() (*batch, error) {
	e.mu.Lock()
	doubt := e.doubt
	e.doubt = false
	b, s := e.sealLocked()
	e.mu.Unlock()
	if doubt {
		return b, errDoubt
	}
	began := time.Now()
	ctx, span := trace.Start(context.Background(), "commit")
	span.Int("horde.changes", b.size())
	e.began.Store(began.UnixNano())
	err := e.Store.Commit(ctx, s)
	e.began.Store(0)
	span.End(err)
	if err != nil {
		return b, err
	}
	e.meters.commitTime.Observe(time.Since(began).Seconds())
	e.meters.commitChanges.Observe(float64(b.size()))
	close(b.done)
	e.watches.changed(b)
	return b, nil
}

// slowCommit is how long a batch may take to be written before those who wait for it count as a backlog.
const slowCommit = time.Second

// Backlog counts the calls that wait for a record which is slow at the moment; zero while it is as fast as it should be.
func (e *Engine) Backlog() int64 {
	if began := e.began.Load(); began == 0 || time.Since(time.Unix(0, began)) < slowCommit {
		return 0
	}
	return e.waiters.Load()
}

// Quiesce runs f while nothing is being written to the record. Callers that need something written wait as long.
func (e *Engine) Quiesce(f func()) {
	e.writing.Lock()
	defer e.writing.Unlock()
	f()
}

// reloadEvery is how long the engine waits between two tries to read the record back.
const reloadEvery = time.Second

// fail refuses every use case from now on, and all that wait for the batch that failed, nil for none, or for the open one.
func (e *Engine) fail(failed *batch, cause error) {
	e.mu.Lock()
	e.down = true
	late := e.open // changed on top of what was lost
	e.open = newBatch(late.number + 1)
	e.dismissParked()
	e.mu.Unlock()
	for _, b := range []*batch{failed, late} {
		if b != nil {
			b.err = cause
			close(b.done)
		}
	}
}

// reload is what happens after a failed commit: the memory holds what the record does not, so it is dropped and loaded
// anew. Everybody who waits is told 503. It returns true, without a memory, when another node leads: then the record is not
// this engine's to write, whatever it loads, and it stays down.
func (e *Engine) reload(failed *batch, cause error) (lost bool) {
	e.Log.Error("the record could not be written; dropping the memory and loading it again", "error", cause)
	e.meters.commitFailed.Inc()
	e.fail(failed, fmt.Errorf("the record could not be written: %w", cause))
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := e.load(ctx)
		if err == nil {
			// The record can be read; it serves again only when it can be written too.
			err = e.Store.Commit(ctx, &store.Batch{Settings: e.currentSettings()})
		}
		cancel()
		if err == nil {
			break
		}
		if errors.Is(err, store.ErrDeposed) {
			return true
		}
		e.Log.Error("the record is still not to be had", "error", err)
		select {
		case <-time.After(reloadEvery):
		case <-e.stop:
			return false
		}
	}
	e.mu.Lock()
	e.down, e.since = false, time.Now()
	e.vacateAll(e.unreached)
	e.unreached = nil
	e.mu.Unlock()
	e.watches.all()
	e.meters.reloads.Inc()
	e.Log.Info("the memory is the record's again")
	for _, found := range e.Contradictions() {
		e.Log.Error("the memory contradicts itself after it was loaded", "found", found)
	}
	return false
}

func (e *Engine) currentSettings() *store.Settings {
	e.mu.Lock()
	defer e.mu.Unlock()
	settings := *e.settings
	return &settings
}

// do runs the part of a use case that reads or changes the memory, with the lock. It refuses while the engine is down or
// does not lead. That is asked after f as well: who is held up in the middle, even the whole process, must not tell of a
// memory that another node's has overtaken. What f read while this engine led was true then, and may be told later; what it
// changed is told when it is durable, which a commit of a node that does not lead never is.
//
// A panic in f leaves the memory in doubt, so it is dropped like after a failed commit: what the record has is sound.
func (e *Engine) do(f func()) (err error) {
	e.lock()
	defer e.mu.Unlock()
	if e.down || !e.Leading() {
		return horde.ErrUnavailable
	}
	defer func() {
		if p := recover(); p != nil {
			e.Log.Error("a use case panicked; dropping the memory and loading it again", "panic", p, "stack", string(debug.Stack()))
			e.down, e.doubt = true, true
			e.nudge()
			err = horde.ErrUnavailable
		}
	}()
	f()
	e.serveParked()
	if !e.Leading() {
		return horde.ErrUnavailable
	}
	return nil
}
