// SPDX-License-Identifier: AGPL-3.0-or-later

package storetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

// Traffic makes the batches of a busy horde: requests come, are popped, delivered, and forgotten. It is the load of the
// benchmarks and of the crash test. It keeps no order and no result beyond its life.
type Traffic struct {
	rand    *rand.Rand
	now     time.Time
	users   []horde.User
	workers []horde.Worker
	book    *kudos.Book
	system  map[kudos.AccountClass]horde.Kudos

	waiting, running, done []piece
	// Keep is how many delivered requests are kept before the oldest are deleted.
	Keep int
}

type piece struct {
	request horde.Request
	job     horde.Job
}

// The size of the horde that the traffic comes from.
const (
	trafficUsers   = 200
	trafficWorkers = 50
	// checkIns is how many workers' rows a batch renews, which the engine does lazily.
	checkIns = 3
)

// NewTraffic returns the traffic of a horde, and the batch with which its record begins.
func NewTraffic(seed uint64) (*Traffic, *store.Batch) {
	t := &Traffic{
		rand: rand.New(rand.NewPCG(seed, 1)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), book: kudos.NewBook(),
		system: map[kudos.AccountClass]horde.Kudos{}, Keep: 20_000,
	}
	b := &store.Batch{
		Settings: &store.Settings{KeySalt: "salt", SigningSecret: "secret", NextUser: trafficUsers + 1},
		Balances: map[horde.UserID]kudos.Balance{}, System: t.system,
	}
	for i := range trafficUsers {
		u := horde.User{
			ID: horde.UserID(i + 1), Name: fmt.Sprintf("user%d", i+1), OAuthID: fmt.Sprintf("g_%d", i+1),
			KeyHash: horde.HashKey("salt", fmt.Sprint(i+1)), Created: t.now, LastActive: t.now, Concurrency: 30,
		}
		t.users = append(t.users, u)
		t.post(b, t.book.Grant(t.now, kudos.Admin, fmt.Sprintf("grant:%d", u.ID), u.ID, 1_000_000_00))
	}
	for i := range trafficWorkers {
		t.workers = append(t.workers, horde.Worker{
			ID: horde.NewWorkerID(), Kind: horde.Image, Owner: horde.UserID(i + 1), Name: fmt.Sprintf("worker %d", i+1),
			Created: t.now, Agent: "horde Dreamer:1:none", Threads: 1, MaxPixels: 1024 * 1024, AllowLora: true,
			Models: strings.Split("Deliberate,AlbedoBase XL (SDXL),Flux.1-Schnell fp8 (Compact),stable_diffusion", ","),
		})
	}
	b.Users, b.Workers = t.users, t.workers
	return t, b
}

// post adds an event and the balances that it changed to a batch.
func (t *Traffic) post(b *store.Batch, e *kudos.Event) {
	b.Events = append(b.Events, e)
	users, worker := e.Touched()
	for _, id := range users {
		b.Balances[id] = *t.book.Balance(id)
	}
	if worker != (horde.WorkerID{}) {
		b.Earnings[worker] = *t.book.Earnings(worker)
	}
	for _, entry := range e.Entries {
		if c := entry.Account.Class; c != kudos.Spendable && c != kudos.Escrow {
			b.System[c] = t.book.System(c)
		}
	}
}

// Order is an image order of about 700 bytes of JSON.
func (t *Traffic) Order() *horde.Order {
	seed, clip := t.rand.Uint32(), 2
	words := strings.Fields("a portrait of an old fisherman oil on canvas dramatic light detailed harbour at dawn")
	var prompt strings.Builder
	for prompt.Len() < 320 {
		prompt.WriteString(words[t.rand.IntN(len(words))])
		prompt.WriteByte(' ')
	}
	return &horde.Order{
		Kind: horde.Image, Prompt: prompt.String() + "### blurry", Models: []string{"AlbedoBase XL (SDXL)", "Deliberate"},
		SlowWorkers: true, R2: true, NSFW: true, Agent: "a client:1.0:somebody@example.org",
		IP: fmt.Sprintf("203.0.113.%d", t.rand.IntN(256)),
		Image: &horde.ImageParams{
			Width: 1024, Height: 1024, Steps: 30, Sampler: "k_dpmpp_2m", CFGScale: 6.5, Karras: true, ClipSkip: &clip,
			PostProcessing: []string{"RealESRGAN_x4plus"}, Seed: &seed,
			Loras: []horde.Lora{{Name: "247778", Model: 1, Clip: 1, IsVersion: true}},
		},
	}
}

// Request is a request that has just come.
func (t *Traffic) Request() horde.Request {
	t.now = t.now.Add(time.Millisecond)
	return horde.Request{
		ID: horde.NewRequestID(), User: t.users[t.rand.IntN(len(t.users))].ID, Order: t.Order().Pack(), Created: t.now,
		Expires: t.now.Add(horde.Lifetime), Wanted: 1, Left: 1, Priority: t.rand.Int64N(100_000), Price: 12_34,
		Hold: horde.Hold{Amount: 20_00, Remaining: 20_00},
	}
}

// Waiting is a batch of n requests that wait.
func (t *Traffic) Waiting(n int) *store.Batch {
	b := &store.Batch{}
	for range n {
		b.NewRequests = append(b.NewRequests, t.Request())
	}
	return b
}

// Batch is what a committer writes for n lifecycles under way: n requests come, n are popped, n delivered, and n forgotten
// once Keep are there.
func (t *Traffic) Batch(n int) *store.Batch {
	b := &store.Batch{
		Balances: map[horde.UserID]kudos.Balance{}, Earnings: map[horde.WorkerID]kudos.Earnings{},
		System: map[kudos.AccountClass]horde.Kudos{},
	}
	var popped, delivered []piece
	popped, t.waiting = take(t.waiting, n)
	delivered, t.running = take(t.running, n)
	for _, p := range delivered {
		w := t.worker(p.job.Worker)
		t.post(b, t.book.Settle(t.now, kudos.Settled{
			Request: &p.request, Job: p.job.ID, Worker: w, ToEscrow: t.rand.IntN(2) == 0, Debit: 12_34, Credit: 10_12,
			Things: 31.45, UsageMultiplier: 1,
		}))
		p.request.Running, p.request.Finished, p.request.Charged = 0, 1, p.request.Charged+12_34
		p.request.Hold.Remaining = 0
		p.job.State, p.job.Ended, p.job.Stored, p.job.WorkerName = horde.JobDelivered, t.now, true, w.Name
		p.job.Seed, p.job.Reward = int64(t.rand.Uint32()), 10.12
		b.Requests, b.Jobs = append(b.Requests, withoutOrder(p.request)), append(b.Jobs, p.job)
		t.done = append(t.done, p)
	}
	for _, p := range popped {
		w := &t.workers[t.rand.IntN(len(t.workers))]
		p.request.Left, p.request.Running = 0, 1
		p.job = horde.Job{
			ID: horde.NewJobID(), Request: p.request.ID, Worker: w.ID, Model: "Deliberate", State: horde.JobRunning,
			Started: t.now, Lease: 3 * time.Minute,
		}
		b.Requests, b.Jobs = append(b.Requests, withoutOrder(p.request)), append(b.Jobs, p.job)
		t.running = append(t.running, p)
	}
	for range n {
		r := t.Request()
		t.post(b, t.book.Activate(t.now, &r, 1_00))
		r.Charged = 1_00
		b.NewRequests = append(b.NewRequests, r)
		r.Order = imageOrder
		t.waiting = append(t.waiting, piece{request: r})
	}
	first := t.rand.IntN(len(t.workers))
	for i := range min(checkIns, n) {
		w, u := &t.workers[(first+i)%len(t.workers)], &t.users[first+i]
		w.LastCheckIn, u.LastActive = t.now, t.now
		b.Workers, b.Users = append(b.Workers, *w), append(b.Users, *u)
	}
	if extra := len(t.done) - t.Keep; extra > 0 {
		var old []piece
		old, t.done = take(t.done, extra)
		for _, p := range old {
			b.DeletedRequests = append(b.DeletedRequests, p.request.ID)
		}
	}
	return b
}

// imageOrder stands for the orders that were written and need not be remembered.
var imageOrder = (&horde.Order{Kind: horde.Image}).Pack()

func withoutOrder(r horde.Request) horde.Request {
	r.Order = ""
	return r
}

func (t *Traffic) worker(id horde.WorkerID) *horde.Worker {
	for i := range t.workers {
		if t.workers[i].ID == id {
			return &t.workers[i]
		}
	}
	return nil
}

func take(list []piece, n int) (taken, rest []piece) {
	n = min(n, len(list))
	return list[:n:n], list[n:]
}
