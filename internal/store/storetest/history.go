// SPDX-License-Identifier: AGPL-3.0-or-later

package storetest

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
	"horde/internal/store/memory"
)

// historiesTime is how long new histories are begun.
const historiesTime = 10 * time.Second

// testHistories commits random batches, good and bad, to the driver and to the memory store, and compares what they hold.
func testHistories(t *testing.T, open Open) {
	start, failed := time.Now(), false
	rapid.Check(t, func(rt *rapid.T) {
		// A slow machine checks fewer histories, but looks for the shortest that fails as long as it takes.
		if !failed && time.Since(start) > historiesTime {
			return
		}
		passed := false
		defer func() { failed = failed || !passed }()
		s, reopen := open(t)
		h := &history{model: memory.New(), fill: &Filler{Rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "values"), 1)), Sparse: true}}
		for range rapid.IntRange(1, 8).Draw(rt, "batches") {
			b := h.batch(rt)
			want, got := h.model.Commit(context.Background(), b), s.Commit(context.Background(), b)
			if (want == nil) != (got == nil) {
				rt.Fatalf("the driver says %v, the model %v", got, want)
			}
			if want == nil {
				h.committed(b)
			}
			if rapid.IntRange(0, 3).Draw(rt, "restart") == 0 {
				s = reopen()
			}
			if rapid.IntRange(0, 3).Draw(rt, "look") == 0 {
				h.compare(rt, t, s)
			}
		}
		s = reopen()
		h.compare(rt, t, s)
		passed = true
	})
}

// history knows what there is to be changed.
type history struct {
	model    *memory.Store
	fill     *Filler
	users    []horde.UserID
	workers  []horde.Worker
	requests []horde.RequestID
	jobs     []horde.Job
	events   []*kudos.Event
}

// document is one of a few, so that they are written again and again.
func (h *history) document(rt *rapid.T) store.Document {
	d := store.Document{Kind: "k", ID: strconv.Itoa(rapid.IntRange(0, 3).Draw(rt, "document"))}
	if rapid.IntRange(0, 2).Draw(rt, "delete document") > 0 {
		d.Data = []byte(h.fill.text())
	}
	return d
}

func (h *history) compare(rt *rapid.T, t *testing.T, s store.Store) {
	got, want := load(t, s), load(t, h.model)
	if d := difference("", reflect.ValueOf(got), reflect.ValueOf(want)); d != "" {
		rt.Fatal(d)
	}
	if d := difference("", reflect.ValueOf(events(t, s, 1)), reflect.ValueOf(events(t, h.model, 1))); d != "" {
		rt.Fatal(d)
	}
}

// some draws a part of a list.
func some[T any](rt *rapid.T, name string, list []T) []T {
	var part []T
	for _, item := range list {
		if rapid.IntRange(0, 2).Draw(rt, name) == 0 {
			part = append(part, item)
		}
	}
	return part
}

func (h *history) batch(rt *rapid.T) *store.Batch {
	b := &store.Batch{
		Balances: map[horde.UserID]kudos.Balance{}, Earnings: map[horde.WorkerID]kudos.Earnings{},
		System: map[kudos.AccountClass]horde.Kudos{},
	}
	count := func(name string) int { return rapid.IntRange(0, 3).Draw(rt, name) }
	if count("settings") == 0 {
		b.Settings = &store.Settings{}
		h.fill.Fill(b.Settings)
	}
	ids := some(rt, "user", h.users)
	for range count("new users") {
		if id := horde.UserID(h.fill.Rand.Int32N(1000)); !slices.Contains(h.users, id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		balance := kudos.Balance{}
		h.fill.Fill(&balance)
		balance.Floor, balance.Held = 0, 0
		b.Users, b.Balances[id] = append(b.Users, h.fill.User(id)), balance
		b.System[kudos.SystemAdmin] = horde.Kudos(h.fill.Rand.Int64())
	}
	for _, w := range some(rt, "worker", h.workers) {
		if rapid.Bool().Draw(rt, "delete worker") {
			b.DeletedWorkers = append(b.DeletedWorkers, w.ID)
			continue
		}
		name := w.Name
		h.fill.Fill(&w)
		w.Name = name
		b.Workers = append(b.Workers, w)
	}
	for range count("new workers") {
		w := h.fill.Worker()
		if len(h.workers) > 0 && count("taken name") == 0 { // good or bad: its owner may be going
			w.Name = h.workers[h.fill.Rand.IntN(len(h.workers))].Name
		}
		b.Workers = append(b.Workers, w)
	}
	for i := range b.Workers {
		e := kudos.Earnings{}
		h.fill.Fill(&e)
		b.Earnings[b.Workers[i].ID] = e
	}
	for _, id := range some(rt, "request", h.requests) {
		if rapid.Bool().Draw(rt, "delete request") {
			b.DeletedRequests = append(b.DeletedRequests, id)
			continue
		}
		r := h.fill.Request()
		r.ID = id
		b.Requests = append(b.Requests, r)
		b.Jobs = append(b.Jobs, h.fill.Job(id))
	}
	for range count("new requests") {
		r := h.fill.Request()
		b.NewRequests = append(b.NewRequests, r)
		b.Jobs = append(b.Jobs, h.fill.Job(r.ID))
	}
	for _, j := range some(rt, "job", h.jobs) {
		id, request := j.ID, j.Request
		h.fill.Fill(&j)
		j.ID, j.Request = id, request
		b.Jobs = append(b.Jobs, j)
	}
	if count("documents") == 0 {
		b.Documents = append(b.Documents, h.document(rt))
	}
	no := int64(len(h.events)) + 1
	if first, second := count("gap"), count("gap"); first+second == 0 { // seldom
		no++
	}
	for range count("events") {
		e := h.fill.Event(no)
		if len(h.events) > 0 && count("key")+count("key") == 0 {
			e.Key = h.events[0].Key
		}
		b.Events = append(b.Events, e)
		no++
	}
	return b
}

// committed takes note of what a batch has left.
func (h *history) committed(b *store.Batch) {
	for _, u := range b.Users {
		if !slices.Contains(h.users, u.ID) {
			h.users = append(h.users, u.ID)
		}
	}
	h.workers = slices.DeleteFunc(h.workers, func(w horde.Worker) bool {
		return slices.Contains(b.DeletedWorkers, w.ID) ||
			slices.ContainsFunc(b.Workers, func(n horde.Worker) bool { return n.ID == w.ID })
	})
	h.workers = append(h.workers, b.Workers...)
	h.requests = slices.DeleteFunc(h.requests, func(id horde.RequestID) bool { return slices.Contains(b.DeletedRequests, id) })
	for _, r := range b.NewRequests {
		h.requests = append(h.requests, r.ID)
	}
	for _, j := range b.Jobs {
		h.jobs = slices.DeleteFunc(h.jobs, func(old horde.Job) bool { return old.ID == j.ID })
		h.jobs = append(h.jobs, j)
	}
	h.jobs = slices.DeleteFunc(h.jobs, func(j horde.Job) bool { return !slices.Contains(h.requests, j.Request) })
	h.events = append(h.events, b.Events...)
}
