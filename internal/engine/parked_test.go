// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/horde"
	"horde/internal/store"
	"horde/internal/store/memory"
)

// patientHorde is an engine in a bubble with a requester and workers that wait.
type patientHorde struct {
	*Engine
	t         *testing.T
	db        *memory.Store
	requester string
}

func inPatientHorde(t *testing.T, f func(*testing.T, *patientHorde)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := memory.New()
		e, err := Open(t.Context(), Config{Store: db, Reference: noModels})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		h := &patientHorde{Engine: e, t: t, db: db}
		h.requester = h.user("requester")
		f(t, h)
	})
}

func (h *patientHorde) user(name string) string {
	h.t.Helper()
	_, key, err := h.Register(context.Background(), NewUser{Name: name, OAuthID: "g_" + name, Kudos: 1_000_000_00, Concurrency: 1000, Roles: horde.Trusted})
	if err != nil {
		h.t.Fatal(err)
	}
	return key
}

var elsewhereAddr = netip.MustParseAddr("192.0.2.9")

func (h *patientHorde) submit(n, length int, workers ...string) string {
	h.t.Helper()
	prompt := "x"
	a, err := h.SubmitText(context.Background(), Caller{Key: h.requester, Addr: elsewhereAddr}, &horde.TextSubmission{
		Prompt: &prompt, Params: &horde.TextSettings{N: &n, MaxLength: &length}, Workers: workers,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return a.ID.String()
}

// pop is the answer to a pop, when it has come.
type pop struct {
	*Popped
	err   error
	asked time.Time
	took  time.Duration
	done  chan struct{}
}

// wait lets a worker of its own account pop with patience in the background, and returns once it is parked or answered.
func (h *patientHorde) wait(ctx context.Context, key, name string, seconds, length int) *pop {
	h.t.Helper()
	p := &pop{asked: time.Now(), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.Popped, p.err = h.PopText(ctx, key, elsewhereAddr, &horde.TextPop{
			Polling: horde.Polling{Name: &name, Models: []string{"some/model"}, Wait: &seconds}, MaxLength: &length,
		})
		p.took = time.Since(p.asked)
	}()
	synctest.Wait()
	return p
}

func (p *pop) answered() bool {
	synctest.Wait()
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// got checks that the pop has a job, after exactly so long.
func (p *pop) got(t *testing.T, after time.Duration) {
	t.Helper()
	switch {
	case !p.answered():
		t.Fatalf("the pop still waits")
	case p.err != nil || len(p.IDs) == 0:
		t.Fatalf("the pop got no job: %v, %v", p.Popped, p.err)
	case p.took != after:
		t.Errorf("the pop took %v, want %v", p.took, after)
	}
}

func (p *pop) gotNone(t *testing.T, after time.Duration) {
	t.Helper()
	switch {
	case !p.answered():
		t.Fatalf("the pop still waits")
	case p.err != nil || len(p.IDs) > 0:
		t.Fatalf("the pop got %v, %v, want no job", p.Popped, p.err)
	case p.took != after:
		t.Errorf("the pop took %v, want %v", p.took, after)
	}
}

func TestAParkedPopGetsAJobInTheBatchThatBringsIt(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		p := h.wait(t.Context(), h.user("owner"), "worker", 60, 512)
		time.Sleep(20 * time.Second)
		if p.answered() {
			t.Fatalf("a pop of an empty queue is answered: %v, %v", p.Popped, p.err)
		}
		var batches []*store.Batch
		h.db.SetHook(func(_ context.Context, b *store.Batch) memory.Outcome {
			batches = append(batches, b)
			return memory.Outcome{}
		})
		id := h.submit(2, 80)
		p.got(t, 20*time.Second)
		if p.Request.String() != id || len(p.IDs) != 1 {
			t.Errorf("the pop got %d of %s, want 1 of %s", len(p.IDs), p.Request, id)
		}
		if len(batches) == 0 || len(batches[0].NewRequests) != 1 || len(batches[0].Jobs) != 1 {
			t.Errorf("the request and its job are not in one batch: %d batches", len(batches))
		}
		h.wait(t.Context(), h.user("other"), "second worker", 60, 512).got(t, 0)
	})
}

func TestAPopWaitsNoLongerThanItWantsTo(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		owner := h.user("owner")
		for want, seconds := range map[time.Duration]int{0: 0, 7 * time.Second: 7, 60 * time.Second: 100_000} {
			h.wait(t.Context(), owner, "worker", seconds, 512)
			p := h.wait(t.Context(), owner, fmt.Sprint("worker ", seconds), seconds, 512)
			time.Sleep(want)
			p.gotNone(t, want)
		}
		if patience := horde.MaxPatience + horde.CheckInEvery; patience >= horde.Stale {
			t.Errorf("a worker that waits may check in after %v only, and is offline after %v", patience, horde.Stale)
		}
	})
}

func TestWhoHasWaitedLongestIsServedFirstAmongThoseWhoCan(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		small := h.wait(t.Context(), h.user("a"), "small", 60, 100)
		first := h.wait(t.Context(), h.user("b"), "first", 60, 512)
		second := h.wait(t.Context(), h.user("c"), "second", 60, 512)
		third := h.wait(t.Context(), h.user("d"), "third", 60, 512)
		time.Sleep(time.Second)
		h.submit(2, 400)
		first.got(t, time.Second)
		second.got(t, time.Second)
		if small.answered() || third.answered() {
			t.Fatal("more than two pops were answered for two results")
		}
		h.submit(1, 80)
		small.got(t, time.Second)
		time.Sleep(59 * time.Second)
		third.gotNone(t, time.Minute)
	})
}

func TestARequestForCertainWorkersWakesThoseOnly(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		other := h.wait(t.Context(), h.user("a"), "other", 60, 512)
		named := h.wait(t.Context(), h.user("b"), "named", 60, 512)
		w, err := h.Worker(t.Context(), "", "named", true)
		if err != nil {
			t.Fatal(err)
		}
		h.submit(2, 80, w.Worker.ID.String())
		named.got(t, 0)
		if other.answered() {
			t.Error("a worker that was not named is answered")
		}
	})
}

func TestAWorkerThatHangsUpIsGivenNothing(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		ctx, hangUp := context.WithCancel(t.Context())
		left := h.wait(ctx, h.user("a"), "left", 60, 512)
		stays := h.wait(t.Context(), h.user("b"), "stays", 60, 512)
		hangUp()
		id := h.submit(1, 80)
		stays.got(t, 0)
		if left.answered(); left.err == nil {
			t.Error("a pop whose worker has left has an answer")
		}
		if s, err := h.Check(t.Context(), horde.Text, id); err != nil || s.Processing != 1 || s.Restarted != 0 {
			t.Errorf("the request stands at %+v, %v", s, err)
		}
	})
}

// TestAJobThatCannotBeHandedOutGoesToAnother lets a worker hang up while its job is being written.
func TestAJobThatCannotBeHandedOutGoesToAnother(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		ctx, hangUp := context.WithCancel(t.Context())
		left := h.wait(ctx, h.user("a"), "left", 60, 512)
		stays := h.wait(t.Context(), h.user("b"), "stays", 60, 512)
		h.db.SetHook(memory.Delay(time.Second))
		time.AfterFunc(time.Second/2, hangUp)
		id := h.submit(1, 80)
		time.Sleep(2 * time.Second)
		if left.answered(); left.err == nil {
			t.Error("a pop whose worker has left has an answer")
		}
		stays.got(t, 2*time.Second) // half a second, then two commits of a second each, of which the first had begun
		if s, err := h.Check(t.Context(), horde.Text, id); err != nil || s.Processing != 1 || s.Restarted != 0 || s.Waiting != 0 {
			t.Errorf("the request stands at %+v, %v", s, err)
		}
		w := &world{Engine: h.Engine, db: h.db}
		w.audit(t)
	})
}

func TestAFailedCommitEndsAllWaits(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		a, b := h.wait(t.Context(), h.user("a"), "a", 60, 512), h.wait(t.Context(), h.user("b"), "b", 60, 100)
		h.db.SetHook(memory.FailNext(errors.New("no"), false))
		prompt := "x"
		if _, err := h.SubmitText(t.Context(), Caller{Key: h.requester, Addr: elsewhereAddr}, &horde.TextSubmission{Prompt: &prompt}); !isUnavailable(err) {
			t.Errorf("the submission is answered %v, want 503", err)
		}
		for _, p := range []*pop{a, b} {
			if !p.answered() || !isUnavailable(p.err) {
				t.Errorf("a parked pop is answered %v, %v, want 503", p.Popped, p.err)
			}
		}
		again := h.wait(t.Context(), h.user("c"), "c", 60, 512)
		h.submit(1, 80)
		again.got(t, 0)
	})
}

func TestDrainingEndsAllWaits(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		a := h.wait(t.Context(), h.user("a"), "a", 60, 512)
		time.Sleep(time.Second)
		h.Drain()
		a.gotNone(t, time.Second)
		h.wait(t.Context(), h.user("b"), "b", 60, 512).gotNone(t, 0)
	})
}

func TestAReturnedJobGoesToAParkedWorkerAndLaterToTheOneThatFailed(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		a, b := h.user("a"), h.user("b")
		p := h.wait(t.Context(), a, "a", 60, 512)
		h.submit(1, 80)
		p.got(t, 0)
		handBack := func(key string, p *pop) {
			id, none, faulted := p.IDs[0].String(), "", "faulted"
			if _, err := h.DeliverText(t.Context(), key, &horde.TextDelivery{Delivery: horde.Delivery{ID: &id, Generation: &none, State: &faulted}}); err != nil {
				t.Fatal(err)
			}
		}
		failed, other := h.wait(t.Context(), a, "a", 60, 512), h.wait(t.Context(), b, "b", 60, 512)
		handBack(a, p)
		other.got(t, 0)
		if failed.answered() {
			t.Fatal("the worker that failed has the job again at once")
		}
		handBack(b, other) // now both have failed: there is nobody better
		failed.got(t, 0)
	})
}

func TestMaintenanceEndsTheWaitOfAWorker(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		owner := h.user("a")
		p := h.wait(t.Context(), owner, "a", 60, 512)
		w, err := h.Worker(t.Context(), "", "a", true)
		if err != nil {
			t.Fatal(err)
		}
		set := func(on bool) {
			if _, err := h.ChangeWorker(t.Context(), Authority{Key: owner}, w.Worker.ID.String(), &horde.WorkerChange{Maintenance: &on}); err != nil {
				t.Fatal(err)
			}
		}
		set(true)
		for _, p := range []*pop{p, h.wait(t.Context(), owner, "a", 60, 512)} {
			var refusal *horde.Error
			if !p.answered() || !errors.As(p.err, &refusal) || refusal.RC != "WorkerMaintenance" {
				t.Errorf("a worker in maintenance is answered %v, %v", p.Popped, p.err)
			}
		}
		set(false)
		again := h.wait(t.Context(), owner, "a", 60, 512)
		h.submit(1, 80)
		again.got(t, 0)
	})
}

func TestAWorkerThatIsBackEndsItsEarlierWait(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		owner := h.user("a")
		lost := h.wait(t.Context(), owner, "a", 60, 512)
		back := h.wait(t.Context(), owner, "a", 60, 512)
		lost.gotNone(t, 0)
		h.submit(1, 80)
		back.got(t, 0)
	})
}

// TestManyParkedWorkersShareTheWorkFairly keeps workers waiting while requests come: everything is handed out at once, and
// nothing twice.
func TestManyParkedWorkersShareTheWorkFairly(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		const workers, requests = 40, 200
		var keys []string
		for i := range workers / 20 {
			keys = append(keys, h.user(fmt.Sprint("owner ", i)))
		}
		var mu sync.Mutex
		jobs, share := map[horde.JobID]bool{}, map[string]int{}
		ctx, stop := context.WithCancel(t.Context())
		for i := range workers {
			go func() {
				name, wait := fmt.Sprint("worker ", i), 60
				for ctx.Err() == nil {
					p, err := h.PopText(ctx, keys[i/20], elsewhereAddr, &horde.TextPop{Polling: horde.Polling{Name: &name, Models: []string{"some/model"}, Wait: &wait}})
					if err != nil {
						continue
					}
					mu.Lock()
					for _, id := range p.IDs {
						if jobs[id] {
							t.Errorf("the job %s is handed out twice", id)
						}
						jobs[id] = true
						share[name]++
					}
					mu.Unlock()
				}
			}()
		}
		synctest.Wait()
		for range requests {
			h.submit(1, 80)
			synctest.Wait()
		}
		p, err := h.Performance(ctx, horde.Text)
		if err != nil || p.Queued != requests || len(jobs) != requests {
			t.Errorf("%d jobs are handed out and %d results wait or are made (%v), want %d", len(jobs), p.Queued, err, requests)
		}
		for name, n := range share {
			if n != requests/workers {
				t.Errorf("%s got %d jobs, want %d", name, n, requests/workers)
			}
		}
		stop()
		synctest.Wait()
	})
}
