// SPDX-License-Identifier: AGPL-3.0-or-later

package dispatch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"horde/internal/horde"
)

var epoch = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// drawOrder makes a small world in which requests and workers often fit, and often just not.
func drawOrder(t *rapid.T, kind horde.Kind, workers []horde.WorkerID) *horde.Order {
	models := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "SDXL 1.0"}), 0, 3, rapid.ID[string]).Draw(t, "models")
	o := &horde.Order{
		Kind: kind, Prompt: rapid.SampledFrom([]string{"a cat", "a DOG on a hill", "nothing"}).Draw(t, "prompt"), Models: models,
		SlowWorkers: rapid.Bool().Draw(t, "slow"), TrustedWorkers: rapid.Float64().Draw(t, "trusted") < 0.2, R2: true,
	}
	if rapid.Float64().Draw(t, "targets") < 0.3 {
		o.Workers = rapid.SliceOfNDistinct(rapid.SampledFrom(workers), 1, 2, rapid.ID[horde.WorkerID]).Draw(t, "workers")
		o.WorkerBlacklist = rapid.Bool().Draw(t, "bar")
	}
	if kind == horde.Text {
		length, context := rapid.SampledFrom([]int{80, 200, 512}).Draw(t, "length"), rapid.SampledFrom([]int{1024, 2048, 4096}).Draw(t, "context")
		o.Text = &horde.TextParams{TextSettings: horde.TextSettings{MaxLength: &length, MaxContextLength: &context}}
		return o
	}
	side := rapid.SampledFrom([]int{256, 512, 768, 1024})
	o.NSFW = rapid.Bool().Draw(t, "nsfw")
	o.Image = &horde.ImageParams{
		Width: side.Draw(t, "width"), Height: side.Draw(t, "height"), Steps: rapid.IntRange(1, 60).Draw(t, "steps"),
		Sampler: rapid.SampledFrom([]string{"k_euler_a", "k_heun", "lcm", "k_dpm_adaptive", "seeds_3"}).Draw(t, "sampler"), Karras: rapid.Bool().Draw(t, "karras"),
		HiresFix: rapid.Float64().Draw(t, "hires") < 0.2,
	}
	return o
}

func drawOffer(t *rapid.T, kind horde.Kind, id horde.WorkerID) *horde.Offer {
	w := &horde.Worker{
		ID: id, Kind: kind, Owner: horde.UserID(rapid.IntRange(1, 3).Draw(t, "owner")),
		Agent:     rapid.SampledFrom([]string{"AI Horde Worker reGen:13.0.0:x", "AI Horde Worker:17:x", "foo:1:x"}).Draw(t, "agent"),
		NSFW:      rapid.Bool().Draw(t, "nsfw"),
		MaxPixels: rapid.SampledFrom([]int64{512 * 512, 768 * 768, 1024 * 1024}).Draw(t, "pixels"), Speed: rapid.SampledFrom([]float64{2, 4, 100_000, 2_000_000}).Draw(t, "speed"),
		LimitMaxSteps: rapid.Bool().Draw(t, "limit"), SamplerContract: rapid.SampledFrom([]string{"", horde.SolverContract}).Draw(t, "contract"),
		MaxLength: 256, MaxContextLength: 2048, AllowUnsafeIP: true,
	}
	if rapid.Float64().Draw(t, "blacklist") < 0.3 {
		w.Blacklist = []string{"dog"}
	}
	models := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "SDXL 1.0"}), 1, 3, rapid.ID[string]).Draw(t, "offered")
	return horde.NewOffer(w, rapid.Bool().Draw(t, "ownerTrusted"), models, &horde.Reference{})
}

// naive finds the request that a worker gets by looking at every request.
func naive(requests []*horde.Request, p *Pop) *horde.Request {
	var fits []*horde.Request
	for _, r := range requests {
		if r.Left > 0 && naiveFits(r, p) {
			fits = append(fits, r)
		}
	}
	if len(fits) == 0 {
		return nil
	}
	friend := func(r *horde.Request) int {
		if slices.Contains(p.Friends, r.User) {
			return 0
		}
		return 1
	}
	return slices.MinFunc(fits, func(a, b *horde.Request) int {
		now := epoch.Add(time.Hour)
		return cmp.Or(cmp.Compare(friend(a), friend(b)), cmp.Compare(b.PriorityAt(now), a.PriorityAt(now)), a.Created.Compare(b.Created))
	})
}

func naiveFits(r *horde.Request, p *Pop) bool {
	o, w := orderOf(r), p.Offer.Worker
	needs := o.Needs()
	if p.Offer.Misfit(&needs, needs.ModelList()) != 0 {
		return false
	}
	if len(o.Workers) > 0 && slices.Contains(o.Workers, w.ID) == o.WorkerBlacklist {
		return false
	}
	if p.OwnOnly && r.User != w.Owner {
		return false
	}
	for _, word := range w.Blacklist {
		if strings.Contains(strings.ToLower(o.Prompt), word) {
			return false
		}
	}
	if !slices.Contains(p.Friends, r.User) && p.Affordable != nil && !p.Affordable(r) {
		return false
	}
	if o.Kind == horde.Text {
		return *o.Text.MaxLength <= w.MaxLength && *o.Text.MaxContextLength <= w.MaxContextLength
	}
	if o.Image.Pixels() > w.MaxPixels {
		return false
	}
	limit, ok := p.Offer.StepLimit(needs.ModelList())
	steps := o.Image.AccurateSteps()
	if w.SamplerContract != "" {
		steps = o.Image.MaxSolverSteps()
	}
	return !ok || float64(steps) <= limit
}

// naiveSkipped counts request by request what is counted by needs.
func naiveSkipped(entries map[*horde.Request]*Entry, offer *horde.Offer) (s horde.Skipped) {
	for r := range entries {
		needs := orderOf(r).Needs()
		models := needs.ModelList()
		s.Count(offer, &needs, models, offer.Misfit(&needs, models), 1)
	}
	return s
}

// byNeeds leaves only the counts that follow from needs.
func byNeeds(s horde.Skipped) horde.Skipped {
	s.WorkerID, s.MaxPixels, s.Kudos, s.Blacklist, s.StepCount = 0, 0, 0, 0, 0
	return s
}

// TestMatchEqualsANaiveMatcher plays random histories of submissions, pops, returned slots and cancellations, and compares
// each pop with a search through all requests.
func TestMatchEqualsANaiveMatcher(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(horde.Generated).Draw(t, "kind")
		workers := []horde.WorkerID{horde.NewWorkerID(), horde.NewWorkerID(), horde.NewWorkerID()}
		q := New(kind)
		var requests []*horde.Request
		entries := map[*horde.Request]*Entry{}
		now := epoch
		add := func(r *horde.Request) { entries[r] = q.Add(r, orderOf(r)) }
		submit := func(t *rapid.T) {
			now = now.Add(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "pause")) * time.Millisecond)
			n := rapid.IntRange(1, 3).Draw(t, "n")
			r := &horde.Request{
				ID: horde.NewRequestID(), User: horde.UserID(rapid.IntRange(0, 3).Draw(t, "user")), Order: drawOrder(t, kind, workers).Pack(),
				Created: now, Queued: now, Wanted: n, Left: n, Priority: int64(rapid.IntRange(-100, 100).Draw(t, "priority")),
			}
			requests = append(requests, r)
			add(r)
		}
		q.Fill()
		for range rapid.IntRange(0, 40).Draw(t, "at the start") {
			submit(t)
		}
		q.Filled()
		t.Repeat(map[string]func(*rapid.T){
			"submit": submit,
			"pop": func(t *rapid.T) {
				offer := drawOffer(t, kind, rapid.SampledFrom(workers).Draw(t, "worker"))
				p := &Pop{Offer: offer, Friends: []horde.UserID{offer.Worker.Owner}, OwnOnly: rapid.Float64().Draw(t, "own") < 0.1}
				if rapid.Bool().Draw(t, "friend") {
					p.Friends = append(p.Friends, horde.UserID(rapid.IntRange(0, 3).Draw(t, "friend's id")))
				}
				if rapid.Float64().Draw(t, "upfront") < 0.3 {
					p.Affordable = func(r *horde.Request) bool { return r.User%2 == 0 }
				}
				want := naive(requests, p)
				got, skipped := q.Match(p)
				switch {
				case got == nil && want == nil:
					if want := naiveSkipped(entries, offer); !p.OwnOnly && byNeeds(skipped) != want {
						t.Fatalf("skipped %+v, want %+v", byNeeds(skipped), want)
					}
				case got == nil:
					t.Fatalf("no request, want %v of user %d; skipped %+v", want.ID, want.User, skipped)
				case want == nil:
					t.Fatalf("got %v of user %d, want none", got.Request.ID, got.Request.User)
				case got.Request != want:
					t.Fatalf("got %v (user %d, priority %d), want %v (user %d, priority %d)", got.Request.ID, got.Request.User,
						got.Request.Priority, want.ID, want.User, want.Priority)
				default:
					if want.Left == 1 {
						q.Remove(got, now)
						delete(entries, want)
						want.Left = 0
					} else {
						q.SetLeft(got, want.Left-1)
					}
				}
			},
			"return a slot": func(t *rapid.T) {
				if len(requests) == 0 {
					return
				}
				r := rapid.SampledFrom(requests).Draw(t, "request")
				if e := entries[r]; e != nil {
					q.SetLeft(e, r.Left+1)
				} else {
					r.Left, r.Queued = 1, now
					add(r)
				}
			},
			"cancel": func(t *rapid.T) {
				if len(requests) == 0 {
					return
				}
				r := rapid.SampledFrom(requests).Draw(t, "request")
				if e := entries[r]; e != nil {
					q.Remove(e, now)
					delete(entries, r)
					r.Left = 0
				}
			},
			"": func(t *rapid.T) { checkSums(t, q, entries) },
		})
	})
}

// orderOf is what a request asks for.
func orderOf(r *horde.Request) *horde.Order {
	o, err := r.Order.Unpack()
	if err != nil {
		panic(err)
	}
	return o
}

// checkSums compares all that the queue keeps added up with what its requests add up to.
func checkSums(t *rapid.T, q *Queue, entries map[*horde.Request]*Entry) {
	var results int64
	things := 0.0
	users := map[horde.UserID]int{}
	for r := range entries {
		results += int64(r.Left)
		things += float64(r.Left) * orderOf(r).Things()
		users[r.User] += r.Left
	}
	n, gotResults, gotThings := q.Waiting()
	if n != len(entries) || gotResults != results || gotThings != things {
		t.Fatalf("the queue counts %d requests, %d results, %g things; they are %d, %d, %g", n, gotResults, gotThings, len(entries), results, things)
	}
	for u := range horde.UserID(4) {
		if got := q.WaitingOf(u, nil); got != users[u] {
			t.Fatalf("user %d has %d waiting, counted %d", u, users[u], got)
		}
	}
	if n == 0 && (len(q.classes) > 0 || len(q.byModel) > 0 || len(q.users) > 0 || len(q.targets) > 0 || len(q.blocked) > 0 || len(q.pixels) > 0 || q.aimed != 0) {
		t.Fatalf("an empty queue still holds %+v", q)
	}
	for _, c := range q.classes {
		checkTree(t, c.open.root)
	}
}

func checkTree(t *rapid.T, n *node) {
	if n == nil {
		return
	}
	before := *n
	n.sum()
	if *n != before {
		t.Fatalf("the sums of a node are %+v, were %+v", *n, before)
	}
	for _, c := range []*node{n.left, n.right} {
		if c != nil && (c.parent != n || c.heap > n.heap) {
			t.Fatalf("a tree is out of shape")
		}
	}
	if n.left != nil && less(n.entry, n.left.entry) || n.right != nil && less(n.right.entry, n.entry) {
		t.Fatalf("a tree is out of order")
	}
	checkTree(t, n.left)
	checkTree(t, n.right)
}

// TestRankEqualsCounting compares the place of each request with counting those that come before it.
func TestRankEqualsCounting(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := New(horde.Text)
		length, context := 80, 1024
		var entries []*Entry
		for i := range rapid.IntRange(1, 40).Draw(t, "requests") {
			n := rapid.IntRange(1, 3).Draw(t, "n")
			o := &horde.Order{Kind: horde.Text, Models: []string{rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "model")},
				SlowWorkers: true, Text: &horde.TextParams{TextSettings: horde.TextSettings{MaxLength: &length, MaxContextLength: &context}}}
			entries = append(entries, q.Add(&horde.Request{
				ID: horde.NewRequestID(), Created: epoch.Add(time.Duration(i) * time.Millisecond), Queued: epoch, Wanted: n, Left: n,
				Priority: int64(rapid.IntRange(-3, 3).Draw(t, "priority")), Order: o.Pack(),
			}, o))
		}
		// One worker serves a and b, so those compete; nobody serves c.
		w := &horde.Worker{Kind: horde.Text, MaxLength: 512, MaxContextLength: 4096, Speed: 10, AllowUnsafeIP: true}
		online := []*horde.Offer{horde.NewOffer(w, false, []string{"a", "b"}, &horde.Reference{})}
		for _, e := range entries {
			want := Rank{}
			for _, o := range entries {
				competes := (o.class.models[0] == "c") == (e.class.models[0] == "c")
				if competes && !less(e, o) {
					want.Position++
					want.Results += int64(o.Request.Left)
					want.Things += float64(o.Request.Left) * 80
				}
			}
			if got := q.Rank(e, online, epoch); got != want {
				t.Fatalf("rank %+v, want %+v", got, want)
			}
		}
	})
}

// fill makes a queue of n image requests of a hundred users for twenty models in a few sizes.
func fill(n int) *Queue {
	q := New(horde.Image)
	q.Fill()
	defer q.Filled()
	for i := range n {
		o := &horde.Order{
			Kind: horde.Image, Prompt: "a cat", Models: []string{fmt.Sprintf("model %d", i%20)}, SlowWorkers: true, R2: true,
			Image: &horde.ImageParams{Width: 512 + 64*(i%9), Height: 512, Steps: 20 + i%31, Sampler: "k_euler_a", Karras: true},
		}
		at := epoch.Add(time.Duration(i) * time.Millisecond)
		q.Add(&horde.Request{ID: horde.NewRequestID(), User: horde.UserID(1 + i%100), Order: o.Pack(), Created: at, Queued: at, Wanted: 1, Left: 1, Priority: int64(i % 1000)}, o)
	}
	return q
}

// BenchmarkMatch is the cost of a pop's search by the length of the queue: it should not depend on it.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			q := fill(n)
			w := &horde.Worker{ID: horde.NewWorkerID(), Kind: horde.Image, Owner: 1000, Agent: "AI Horde Worker reGen:13.0.0:x",
				MaxPixels: 640 * 640, NSFW: true, Speed: 1e6, AllowUnsafeIP: true}
			p := &Pop{Offer: horde.NewOffer(w, true, []string{"model 3", "model 7", "model 11"}, &horde.Reference{}), Friends: []horde.UserID{1000}}
			b.ReportAllocs()
			for b.Loop() {
				e, _ := q.Match(p)
				if e == nil {
					b.Fatal("no request")
				}
				r := e.Request // hand it out and take it back, so that the trees are worked on as in life
				q.Remove(e, epoch)
				r.Priority, r.Queued = int64(b.N%1000), epoch
				q.Add(r, orderOf(r))
			}
		})
	}
}

// manyModels makes a queue of n text requests, each for a model of its own.
func manyModels(n int) (q *Queue, entries []*Entry) {
	q = New(horde.Text)
	length, context := 80, 2048
	for i := range n {
		o := &horde.Order{Kind: horde.Text, Models: []string{fmt.Sprint("model ", i)}, SlowWorkers: true,
			Text: &horde.TextParams{TextSettings: horde.TextSettings{MaxLength: &length, MaxContextLength: &context}}}
		entries = append(entries, q.Add(&horde.Request{ID: horde.NewRequestID(), User: 1, Order: o.Pack(), Created: epoch, Queued: epoch, Wanted: 1, Left: 1}, o))
	}
	return q, entries
}

// BenchmarkManyModels is the cost of a pop that finds nothing, and of asking for places, by how many models are waited for.
func BenchmarkManyModels(b *testing.B) {
	offer := func(model string) *horde.Offer {
		w := &horde.Worker{ID: horde.NewWorkerID(), Kind: horde.Text, Owner: 1000, MaxLength: 512, MaxContextLength: 4096, Speed: 10, AllowUnsafeIP: true}
		return horde.NewOffer(w, false, []string{model}, &horde.Reference{})
	}
	for _, n := range []int{100, 10_000} {
		q, entries := manyModels(n)
		b.Run(fmt.Sprint("pop/", n), func(b *testing.B) {
			p := &Pop{Offer: offer("another model")}
			for b.Loop() {
				if e, _ := q.Match(p); e != nil {
					b.Fatal("a request")
				}
			}
		})
		b.Run(fmt.Sprint("rank/", n), func(b *testing.B) {
			var online []*horde.Offer
			for i := range 100 {
				online = append(online, offer(fmt.Sprint("model ", i)))
			}
			now, i := epoch, 0
			for b.Loop() {
				now = now.Add(2 * rivalsFor / time.Duration(len(entries))) // every class is asked about afresh now and then
				q.Rank(entries[i%len(entries)], online, now)
				i++
			}
		})
	}
}
