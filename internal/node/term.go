// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"horde/internal/api"
	"horde/internal/kudos"
	"horde/internal/store"
)

// The times of a leadership.
const (
	// leaseFor is how long the others wait for a leader that says nothing. Shorter would depose a leader for a hiccup of
	// the network, longer would leave the horde without one for longer.
	leaseFor = 5 * time.Second
	// renewEvery leaves three tries within a lease.
	renewEvery = 1500 * time.Millisecond
	// retryEvery is the pause after a renewal that failed.
	retryEvery = 200 * time.Millisecond
	// leaseMargin is by how much a leader takes its lease for shorter than the database does: clocks differ in speed.
	leaseMargin = 100 * time.Millisecond
)

// lease is until when a node may answer from memory. It begins before the database is asked for it, so it ends before the
// database's does. The wall clock is asked beside the monotonic one because that stands still while a machine sleeps; where
// somebody sets the wall clock forward, the lease seems over until it is renewed.
type lease struct{ until atomic.Pointer[time.Time] }

func (l *lease) extend(began time.Time) {
	until := began.Add(leaseFor - leaseMargin)
	l.until.Store(&until)
}

func (l *lease) valid() bool {
	now, until := time.Now(), *l.until.Load()
	return now.Before(until) && now.Round(0).Before(until.Round(0))
}

// term is the time in which this process leads. It is over when the leadership is lost or given up.
type term struct {
	epoch int64
	lease lease
	// over ends with the term; its cause says why. end ends it.
	over context.Context
	end  context.CancelCauseFunc
	// ready is closed when the node answers; node is set before. It never is where the record cannot be loaded.
	ready chan struct{}
	node  *Node
	// leaving is closed when no more calls are taken; calls that wait or stream end then.
	leaving chan struct{}

	mu     sync.Mutex // guards what follows
	inside int        // calls that are being answered
	closed bool       // no more are taken
	empty  chan struct{}
}

func newTerm(epoch int64, began time.Time) *term {
	t := &term{epoch: epoch, ready: make(chan struct{}), leaving: make(chan struct{}), empty: make(chan struct{})}
	t.over, t.end = context.WithCancelCause(context.Background())
	t.lease.extend(began)
	return t
}

// holds tells whether nobody else can lead yet.
func (t *term) holds() bool { return t.over.Err() == nil && t.lease.valid() }

// answers tells whether the node of the term answers.
func (t *term) answers() bool {
	select {
	case <-t.ready:
		return t.holds()
	default:
		return false
	}
}

// keep renews the lease until the term is over, and ends the term when that does not succeed in time. A process that was
// stopped for longer than its lease wakes up here too: it tries once more, since nobody may have taken its place.
func (t *term) keep(s store.Shared) {
	for pause := renewEvery; ; {
		select {
		case <-t.over.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.over, max(time.Until(*t.lease.until.Load()), renewEvery))
		err := s.Renew(ctx, leaseFor)
		cancel()
		switch {
		case err == nil:
			t.lease.extend(began)
			pause = renewEvery
		case errors.Is(err, store.ErrDeposed):
			t.end(err)
		case !t.lease.valid():
			t.end(fmt.Errorf("the lease is over and cannot be renewed: %w", err))
		default:
			pause = retryEvery
		}
	}
}

// answer lets the node of the term answer a call, unless it takes none any more.
func (t *term) answer(w http.ResponseWriter, r *http.Request) bool {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return false
	}
	t.inside++
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.inside--
		if t.closed && t.inside == 0 {
			close(t.empty)
		}
	}()
	t.node.handler.ServeHTTP(w, r.WithContext(api.WithDraining(r.Context(), t.leaving)))
	return true
}

// leave takes no more calls, and waits for those that are being answered, up to a time.
func (t *term) leave(within time.Duration) {
	t.mu.Lock()
	t.closed = true
	if t.inside == 0 {
		close(t.empty)
	}
	t.mu.Unlock()
	close(t.leaving)
	select {
	case <-t.empty:
	case <-t.over.Done():
	case <-time.After(within):
	}
}

// termStore is the shared record as the engine of one term sees it. It ends with the term, so that an engine whose database
// does not answer can be closed and nothing of it comes after; and it ends the term when it hears that another leads.
type termStore struct {
	store store.Shared
	term  *term
}

var _ store.Store = termStore{}

func (s termStore) within(ctx context.Context, f func(context.Context) error) error {
	if s.term.over.Err() != nil {
		return store.ErrDeposed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.term.over, cancel)()
	err := f(ctx)
	switch {
	case errors.Is(err, store.ErrDeposed):
		s.term.end(err)
	case err != nil && s.term.over.Err() != nil:
		err = fmt.Errorf("%w: %w", store.ErrDeposed, err)
	}
	return err
}

func (s termStore) Load(ctx context.Context) (state *store.State, err error) {
	err = s.within(ctx, func(ctx context.Context) error {
		state, err = s.store.Load(ctx)
		return err
	})
	return state, err
}

func (s termStore) Commit(ctx context.Context, b *store.Batch) error {
	return s.within(ctx, func(ctx context.Context) error { return s.store.Commit(ctx, b) })
}

func (s termStore) Events(ctx context.Context, first int64) iter.Seq2[*kudos.Event, error] {
	return s.store.Events(ctx, first)
}

func (s termStore) Ping(ctx context.Context) error { return s.store.Ping(ctx) }

// Close does nothing: the store outlives the term.
func (s termStore) Close() error { return nil }
