// SPDX-License-Identifier: AGPL-3.0-or-later

// Package memory is a record that lives and dies with the process. It is what the other drivers are compared with, and
// what tests of the engine run on: its commits can be made to fail, or to wait.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

// Store is a [store.Store] without a database. Make one with New.
type Store struct {
	mu     sync.Mutex // guards all below
	hook   Hook
	record record
}

// Hook is called for each commit. It may wait, and may make the commit fail: see [Outcome].
type Hook func(ctx context.Context, b *store.Batch) Outcome

// Outcome is what a hook makes of a commit. The zero value lets it be.
type Outcome struct {
	// Err is returned by the commit. Nil lets it do its work.
	Err error
	// Applied tells that the batch is written although Err is returned, as when an answer got lost.
	Applied bool
}

// FailNext is a hook that fails one commit with err, before or after it was applied, and then lets all be.
func FailNext(err error, applied bool) Hook {
	var once sync.Once
	return func(context.Context, *store.Batch) (o Outcome) {
		once.Do(func() { o = Outcome{Err: err, Applied: applied} })
		return o
	}
}

// Delay is a hook that makes each commit take at least d.
func Delay(d time.Duration) Hook {
	return func(ctx context.Context, _ *store.Batch) Outcome {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return Outcome{}
		case <-ctx.Done():
			return Outcome{Err: ctx.Err()}
		}
	}
}

// New returns an empty record.
func New() *Store { return &Store{record: newRecord()} }

// SetHook sets what is asked before each commit from now on. Nil is none.
func (s *Store) SetHook(h Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = h
}

// record is what a database would hold. Only values are kept, and what they point at never changes.
type record struct {
	settings *store.Settings
	users    map[horde.UserID]horde.User
	balances map[horde.UserID]kudos.Balance
	workers  map[horde.WorkerID]horde.Worker
	earnings map[horde.WorkerID]kudos.Earnings
	requests map[horde.RequestID]horde.Request
	order    []horde.RequestID // the requests as they came
	jobs     map[jobKey]horde.Job
	events   []*kudos.Event
	system   map[kudos.AccountClass]horde.Kudos
	// documents by kind and id
	documents map[[2]string][]byte

	// What is unique, and whose it is.
	keys, logins map[string]horde.UserID
	names        map[string]horde.WorkerID
	eventKeys    map[string]bool
}

type jobKey struct {
	request horde.RequestID
	job     horde.JobID
}

func newRecord() record {
	return record{
		users: map[horde.UserID]horde.User{}, balances: map[horde.UserID]kudos.Balance{},
		workers: map[horde.WorkerID]horde.Worker{}, earnings: map[horde.WorkerID]kudos.Earnings{},
		requests: map[horde.RequestID]horde.Request{}, jobs: map[jobKey]horde.Job{},
		system: map[kudos.AccountClass]horde.Kudos{},
		keys:   map[string]horde.UserID{}, logins: map[string]horde.UserID{},
		names: map[string]horde.WorkerID{}, eventKeys: map[string]bool{}, documents: map[[2]string][]byte{},
	}
}

// Commit writes a batch, unless the hook says otherwise.
func (s *Store) Commit(ctx context.Context, b *store.Batch) error {
	s.mu.Lock()
	hook := s.hook
	s.mu.Unlock()
	var o Outcome
	if hook != nil {
		o = hook(ctx, b)
	}
	if o.Err != nil && !o.Applied {
		return o.Err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.record.check(b); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	s.record.apply(b)
	return o.Err
}

// check tells what keeps a batch from being written, and changes nothing.
func (r *record) check(b *store.Batch) error {
	fresh := map[horde.RequestID]bool{}
	for _, q := range b.NewRequests {
		if _, ok := r.requests[q.ID]; ok || fresh[q.ID] {
			return fmt.Errorf("request %s is there already", q.ID)
		}
		fresh[q.ID] = true
	}
	for _, q := range b.Requests {
		if _, ok := r.requests[q.ID]; !ok && !fresh[q.ID] {
			return fmt.Errorf("request %s is not there", q.ID)
		}
	}
	users, keys, logins := map[horde.UserID]bool{}, map[string]bool{}, map[string]bool{}
	for _, u := range b.Users {
		users[u.ID] = true
	}
	for _, u := range b.Users {
		if taken(u.KeyHash, r.keys, users, keys) {
			return fmt.Errorf("the key of user %d is another's", u.ID)
		}
		if taken(u.OAuthID, r.logins, users, logins) {
			return fmt.Errorf("the login of user %d is another's", u.ID)
		}
	}
	workers, names := map[horde.WorkerID]bool{}, map[string]bool{}
	for _, w := range b.Workers {
		workers[w.ID] = true
	}
	for _, id := range b.DeletedWorkers {
		workers[id] = true
	}
	for _, w := range b.Workers {
		if taken(w.Name, r.names, workers, names) {
			return fmt.Errorf("another worker is called %q", w.Name)
		}
	}
	events, last := map[string]bool{}, int64(len(r.events))
	for _, e := range b.Events {
		if e.No != last+1 {
			return fmt.Errorf("event %d follows event %d", e.No, last)
		}
		if r.eventKeys[e.Key] || events[e.Key] {
			return fmt.Errorf("the event key %q is used twice", e.Key)
		}
		events[e.Key] = true
		last++
	}
	return nil
}

// taken tells whether a name belongs to somebody outside of the batch or was seen in it before. Nobody owns "".
func taken[ID comparable](name string, owners map[string]ID, batch map[ID]bool, seen map[string]bool) bool {
	owner, owned := owners[name]
	if name == "" || !seen[name] && (!owned || batch[owner]) {
		seen[name] = true
		return false
	}
	return true
}

// apply writes a batch that was checked.
func (r *record) apply(b *store.Batch) {
	if b.Settings != nil {
		settings := *b.Settings
		r.settings = &settings
	}
	for _, u := range b.Users {
		old := r.users[u.ID]
		delete(r.keys, old.KeyHash)
		delete(r.logins, old.OAuthID)
	}
	for _, u := range b.Users {
		r.users[u.ID], r.keys[u.KeyHash], r.logins[u.OAuthID] = cut(u), u.ID, u.ID
	}
	maps.Copy(r.balances, b.Balances)
	for _, id := range b.DeletedWorkers {
		delete(r.names, r.workers[id].Name)
		delete(r.workers, id)
	}
	for _, w := range b.Workers {
		delete(r.names, r.workers[w.ID].Name)
	}
	for _, w := range b.Workers {
		r.workers[w.ID], r.names[w.Name] = cut(w), w.ID
	}
	maps.Copy(r.earnings, b.Earnings)
	for _, id := range b.DeletedWorkers {
		delete(r.earnings, id)
	}
	for _, q := range b.NewRequests {
		r.requests[q.ID] = cut(q)
		r.order = append(r.order, q.ID)
	}
	for _, q := range b.Requests {
		q.Order = r.requests[q.ID].Order
		r.requests[q.ID] = cut(q)
	}
	for _, j := range b.Jobs {
		r.jobs[jobKey{j.Request, j.ID}] = cut(j)
	}
	if len(b.DeletedRequests) > 0 {
		gone := map[horde.RequestID]bool{}
		for _, id := range b.DeletedRequests {
			gone[id] = true
			delete(r.requests, id)
		}
		r.order = slices.DeleteFunc(r.order, func(id horde.RequestID) bool { return gone[id] })
		maps.DeleteFunc(r.jobs, func(k jobKey, _ horde.Job) bool { return gone[k.request] })
	}
	maps.Copy(r.system, b.System)
	for _, d := range b.Documents {
		if key := [2]string{d.Kind, d.ID}; d.Data == nil {
			delete(r.documents, key)
		} else {
			r.documents[key] = d.Data
		}
	}
	for _, e := range b.Events {
		c := cut(*e)
		r.events = append(r.events, &c)
		r.eventKeys[e.Key] = true
	}
}

// cut returns v as a database gives it back: the times in its fields cut to the microsecond, in UTC.
func cut[T any](v T) T {
	fields := reflect.ValueOf(&v).Elem()
	for i := range fields.NumField() {
		if t, ok := fields.Field(i).Addr().Interface().(*time.Time); ok {
			*t = t.UTC().Truncate(time.Microsecond)
		}
	}
	return v
}

// Load returns fresh copies of everything.
func (s *Store) Load(ctx context.Context) (*store.State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.record
	state := &store.State{
		Balances: maps.Clone(r.balances), Earnings: maps.Clone(r.earnings), System: maps.Clone(r.system),
		LastEvent: int64(len(r.events)),
	}
	if r.settings != nil {
		settings := *r.settings
		state.Settings = &settings
	}
	for _, id := range slices.Sorted(maps.Keys(r.users)) {
		u := r.users[id]
		state.Users = append(state.Users, &u)
	}
	for _, w := range r.workers {
		state.Workers = append(state.Workers, &w)
	}
	slices.SortFunc(state.Workers, func(a, b *horde.Worker) int { return bytes.Compare(a.ID.UUID[:], b.ID.UUID[:]) })
	for _, id := range r.order {
		q := r.requests[id]
		state.Requests = append(state.Requests, &q)
	}
	for _, j := range r.jobs {
		state.Jobs = append(state.Jobs, &j)
	}
	slices.SortFunc(state.Jobs, func(a, b *horde.Job) int { return bytes.Compare(a.ID.UUID[:], b.ID.UUID[:]) })
	for key, data := range r.documents {
		state.Documents = append(state.Documents, store.Document{Kind: key[0], ID: key[1], Data: data})
	}
	slices.SortFunc(state.Documents, func(a, b store.Document) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return state, nil
}

// Events yields the events as they are when it starts.
func (s *Store) Events(ctx context.Context, first int64) iter.Seq2[*kudos.Event, error] {
	return func(yield func(*kudos.Event, error) bool) {
		s.mu.Lock()
		events := s.record.events
		s.mu.Unlock()
		for _, e := range events[min(max(first-1, 0), int64(len(events))):] {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			c := *e
			if !yield(&c, nil) {
				return
			}
		}
	}
}

// Ping always succeeds.
func (s *Store) Ping(ctx context.Context) error { return ctx.Err() }

// Close does nothing: the record stays, and can be loaded by whoever plays the next process.
func (s *Store) Close() error { return nil }

var _ store.Store = (*Store)(nil)
