// SPDX-License-Identifier: AGPL-3.0-or-later

package hordeling

import "sync"

// flights lets callers who want the same thing share the work. The work goes on when all of them have left. It is safe
// for use by many goroutines.
type flights[K comparable, V any] struct {
	// max is how many may be under way.
	max int

	mu       sync.Mutex
	underWay map[K]*flight[V] // guarded by mu
	running  sync.WaitGroup   // counts them; each goroutine ends with its work
}

// flight is one piece of work; value and err may be read once done is closed.
type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

func newFlights[K comparable, V any](max int) *flights[K, V] {
	return &flights[K, V]{max: max, underWay: make(map[K]*flight[V])}
}

// join returns the flight for key. Where there is none, admit is asked, and if it returns nil, work is started in a
// goroutine. A full house is
// ErrPending.
func (f *flights[K, V]) join(key K, admit func() error, work func() (V, error)) (*flight[V], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.underWay[key]; ok {
		return fl, nil
	}
	if len(f.underWay) >= f.max {
		return nil, ErrPending
	}
	if err := admit(); err != nil {
		return nil, err
	}
	fl := &flight[V]{done: make(chan struct{}), err: ErrInternal}
	f.underWay[key] = fl
	f.running.Add(1)
	go func() {
		defer f.running.Done()
		defer func() {
			f.mu.Lock()
			delete(f.underWay, key)
			f.mu.Unlock()
			close(fl.done)
		}()
		fl.value, fl.err = work()
	}()
	return fl, nil
}

// wait returns when all flights have landed.
func (f *flights[K, V]) wait() { f.running.Wait() }
