// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"sync"

	"horde/internal/horde"
)

// Watch follows one request. It costs an entry in a map and no goroutine: the committer tells it when a batch that changes the
// request is in the record.
type Watch struct {
	Kind    horde.Kind
	Request horde.RequestID

	e    *Engine
	news chan struct{} // one token: something has changed
}

// watches are all of an engine, by request.
type watches struct {
	mu sync.Mutex // guards of
	of map[horde.RequestID][]*Watch
}

// Watch begins to follow a request of any kind; Close ends it. The error is horde.ErrRequestNotFound if there is none.
func (e *Engine) Watch(id string) (*Watch, error) {
	parsed, ok := horde.ParseRequestID(id)
	if !ok {
		return nil, horde.ErrRequestNotFound
	}
	w := &Watch{Request: parsed, e: e, news: make(chan struct{}, 1)}
	if err := e.do(func() {
		if r := e.requests[parsed]; r != nil {
			w.Kind = r.Order.Kind()
		} else if e.interrogations[parsed] != nil {
			w.Kind = horde.Alchemy
		}
	}); err != nil {
		return nil, err
	}
	if w.Kind == 0 {
		return nil, horde.ErrRequestNotFound
	}
	e.watches.add(w)
	return w, nil
}

// News is ready after the request has changed since it was last ready. Several changes may be told as one.
func (w *Watch) News() <-chan struct{} { return w.news }

// Over is closed when the engine lets nobody wait any more: see [Engine.Drain].
func (w *Watch) Over() <-chan struct{} { return w.e.draining }

// Status tells how the request stands and, once it is done, its results. The error is horde.ErrRequestNotFound when the request
// is gone.
func (w *Watch) Status(ctx context.Context) (Status, error) {
	s, jobs, order, err := w.e.status(ctx, w.Kind, w.Request.String(), nil)
	if err != nil || !s.Done {
		return s, err
	}
	return w.e.withResults(ctx, s, jobs, order)
}

// Interrogation is Status for alchemy requests.
func (w *Watch) Interrogation(ctx context.Context) (InterrogationView, error) {
	return w.e.Interrogation(ctx, w.Request.String())
}

// Close ends the watch.
func (w *Watch) Close() { w.e.watches.remove(w) }

func (s *watches) add(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[horde.RequestID][]*Watch{}
	}
	s.of[w.Request] = append(s.of[w.Request], w)
}

func (s *watches) remove(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.of[w.Request]
	for i, x := range list {
		if x != w {
			continue
		}
		last := len(list) - 1
		list[i], list[last] = list[last], nil
		list = list[:last]
		break
	}
	if len(list) == 0 {
		delete(s.of, w.Request)
	} else {
		s.of[w.Request] = list
	}
}

// count is how many there are.
func (s *watches) count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.of {
		n += len(list)
	}
	return n
}

// changed tells those who watch what a batch has changed. The batch is in the record and nobody changes it any more.
func (s *watches) changed(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of) == 0 {
		return
	}
	for r := range b.requests {
		s.tell(r.ID)
	}
	for _, id := range b.gone {
		s.tell(id)
	}
	for key, d := range b.documents {
		if f, ok := d.(*form); ok {
			s.tell(f.Request) // which never changes
		} else if id, ok := horde.ParseRequestID(key.id); ok && key.kind == interrogationDocument {
			s.tell(id)
		}
	}
}

// all tells everybody, because nobody knows what has changed.
func (s *watches) all() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.of {
		s.tell(id)
	}
}

// tell gives a token to those who have none. mu is held.
func (s *watches) tell(id horde.RequestID) {
	for _, w := range s.of[id] {
		select {
		case w.news <- struct{}{}:
		default:
		}
	}
}
