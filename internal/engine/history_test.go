// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"horde/internal/blob"
	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store/memory"
)

// world is an engine on a store in memory, and what its callers remember.
type world struct {
	*Engine
	db       *memory.Store
	keys     []string
	requests []horde.RequestID
	jobs     []heldJob
	paid     map[horde.JobID]bool

	interrogations []horde.RequestID
	forms          []heldForm
	done           map[horde.FormID]bool
}

// heldForm is a form that a worker was given.
type heldForm struct {
	id  horde.FormID
	key string
}

// tiled takes every image for one of 3 tiles that is somewhere else.
type tiled struct{ Pictures }

func (tiled) Alchemy(context.Context, string) ([]byte, int, error) { return nil, 3, nil }

// noBlobs signs links to nothing.
type noBlobs struct{ blob.Store }

func (noBlobs) SignPut(context.Context, blob.Key, time.Duration) (string, error) { return "", nil }

// heldJob is a job that a worker was given.
type heldJob struct {
	id  horde.JobID
	key string
}

var noModels = func() *horde.Reference { return &horde.Reference{} }

func (w *world) open(t fataler) {
	e, err := Open(context.Background(), Config{Store: w.db, Reference: noModels, TrustThreshold: 50_00, Pictures: tiled{}, Blobs: noBlobs{}})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	w.Engine = e
}

type fataler interface{ Fatalf(string, ...any) }

// try passes over what the engine may answer while its record cannot be written; refusals are answers like others.
func try(t fataler, err error) bool {
	var refusal *horde.Error
	if err != nil && !errors.As(err, &refusal) {
		t.Fatalf("an error that is no refusal: %v", err)
	}
	return err == nil
}

// TestRandomHistoriesKeepTheBooks plays random histories with faults of the store, lost leases, cancellations, restarts and
// several workers, and audits the record after each step.
func TestRandomHistoriesKeepTheBooks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{db: memory.New(), paid: map[horde.JobID]bool{}, done: map[horde.FormID]bool{}}
		w.open(t)
		defer func() { w.Close() }()
		for i := range 3 {
			roles := horde.Roles(0)
			if i == 0 {
				roles = horde.Trusted
			}
			_, key, err := w.Register(context.Background(), NewUser{Name: fmt.Sprintf("user %d", i), OAuthID: fmt.Sprintf("g_%d", i), Kudos: 100_00, Roles: roles})
			if err != nil {
				t.Fatalf("register: %v", err)
			}
			w.keys = append(w.keys, key)
		}
		w.keys = append(w.keys, horde.AnonymousKey)
		ctx, addr := context.Background(), netip.MustParseAddr("192.0.2.1")
		key := rapid.SampledFrom(w.keys)
		t.Repeat(map[string]func(*rapid.T){
			"submit": func(t *rapid.T) {
				length, n := rapid.SampledFrom([]int{80, 600}).Draw(t, "length"), rapid.IntRange(1, 3).Draw(t, "n")
				prompt := "x"
				a, err := w.SubmitText(ctx, Caller{Key: key.Draw(t, "key"), Addr: addr}, &horde.TextSubmission{
					Prompt: &prompt, Params: &horde.TextSettings{MaxLength: &length, N: &n},
				})
				if try(t, err) {
					w.requests = append(w.requests, a.ID)
				}
			},
			"pop": func(t *rapid.T) {
				i := rapid.IntRange(0, 2).Draw(t, "worker")
				name, amount, length := fmt.Sprintf("worker %d", i), rapid.IntRange(1, 2).Draw(t, "amount"), 4096
				p, err := w.PopText(ctx, w.keys[i], addr, &horde.TextPop{
					Polling: horde.Polling{Name: &name, Models: []string{"some/model"}, Amount: &amount}, MaxLength: &length,
				})
				if try(t, err) {
					for _, id := range p.IDs {
						w.jobs = append(w.jobs, heldJob{id, w.keys[i]})
					}
				}
			},
			"deliver": func(t *rapid.T) {
				if len(w.jobs) == 0 {
					return
				}
				j := rapid.SampledFrom(w.jobs).Draw(t, "job")
				id, text := j.id.String(), "an answer that is long enough to be worth something"
				state := rapid.SampledFrom([]string{"ok", "ok", "ok", "censored", "faulted"}).Draw(t, "state")
				_, err := w.DeliverText(ctx, j.key, &horde.TextDelivery{Delivery: horde.Delivery{ID: &id, Generation: &text, State: &state}})
				if try(t, err) && state != "faulted" {
					if w.paid[j.id] {
						t.Fatalf("the job %s was accepted twice", id)
					}
					w.paid[j.id] = true
				}
			},
			"cancel": func(t *rapid.T) {
				if len(w.requests) == 0 {
					return
				}
				_, err := w.Cancel(ctx, horde.Text, rapid.SampledFrom(w.requests).Draw(t, "request").String())
				try(t, err)
			},
			"look": func(t *rapid.T) {
				for _, id := range w.requests {
					s, err := w.Status(ctx, horde.Text, id.String())
					if !try(t, err) {
						continue
					}
					if s.Finished != len(s.Generations) || s.Waiting < 0 || s.Processing < 0 {
						t.Fatalf("the status of %s is %+v", id, s)
					}
				}
			},
			"time passes": func(t *rapid.T) {
				later := time.Now().UTC().Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "minutes")) * time.Minute)
				_ = w.do(func() {
					w.sweep(later)
					w.sweepAlchemy(later)
					w.nudge()
				})
			},
			"interrogate": func(t *rapid.T) {
				forms := []horde.FormSubmission{}
				for range rapid.IntRange(0, 3).Draw(t, "forms") {
					name := rapid.SampledFrom([]string{"caption", "interrogation", "GFPGAN"}).Draw(t, "form")
					forms = append(forms, horde.FormSubmission{Name: &name})
				}
				image, slow := "https://example.org/a.png", rapid.Bool().Draw(t, "slow")
				id, err := w.SubmitAlchemy(ctx, Caller{Key: key.Draw(t, "key"), Addr: addr}, &horde.AlchemySubmission{
					SourceImage: &image, Forms: forms, SlowWorkers: &slow,
				})
				if try(t, err) {
					w.interrogations = append(w.interrogations, id)
				}
			},
			"pop forms": func(t *rapid.T) {
				i := rapid.IntRange(0, 2).Draw(t, "alchemist")
				name, amount := fmt.Sprintf("alchemist %d", i), rapid.IntRange(1, 3).Draw(t, "amount")
				p, err := w.PopAlchemy(ctx, w.keys[i], addr, &horde.AlchemyPop{
					Name: &name, Forms: []string{"caption", "interrogation", "GFPGAN"}, Amount: &amount,
				})
				if try(t, err) {
					for _, f := range p.Forms {
						w.forms = append(w.forms, heldForm{f.ID, w.keys[i]})
					}
				}
			},
			"deliver a form": func(t *rapid.T) {
				if len(w.forms) == 0 {
					return
				}
				f := rapid.SampledFrom(w.forms).Draw(t, "form")
				id, state := f.id.String(), rapid.SampledFrom([]string{"ok", "ok", "faulted"}).Draw(t, "state")
				_, err := w.DeliverAlchemy(ctx, f.key, &horde.AlchemyDelivery{ID: &id, Result: []byte(`{"a":1}`), State: &state})
				if try(t, err) && state != "faulted" {
					if w.done[f.id] {
						t.Fatalf("the form %s was accepted twice", id)
					}
					w.done[f.id] = true
				}
			},
			"cancel forms": func(t *rapid.T) {
				if len(w.interrogations) == 0 {
					return
				}
				v, err := w.CancelAlchemy(ctx, rapid.SampledFrom(w.interrogations).Draw(t, "interrogation").String())
				if try(t, err) && (v.State == horde.FormWaiting || v.State == horde.FormProcessing) {
					t.Fatalf("a cancelled request is %s", v.State)
				}
			},
			"the store fails": func(t *rapid.T) {
				w.db.SetHook(memory.FailNext(errors.New("no"), rapid.Bool().Draw(t, "after it has written")))
				prompt := "x"
				_, err := w.SubmitText(ctx, Caller{Key: key.Draw(t, "key"), Addr: addr}, &horde.TextSubmission{Prompt: &prompt})
				try(t, err)
				for range 1000 { // until it has recovered
					if w.Healthy() {
						break
					}
					time.Sleep(time.Millisecond)
				}
			},
			"restart": func(t *rapid.T) {
				w.Close()
				w.open(t)
			},
			"": func(t *rapid.T) { w.audit(t) },
		})
	})
}

// audit recomputes the books from the record, and compares the memory with the record.
func (w *world) audit(t fataler) {
	var findings []string
	w.Quiesce(func() {
		state, err := w.db.Load(context.Background())
		if err != nil {
			t.Fatalf("load: %v", err)
		}
		a := kudos.NewAudit()
		for e, err := range w.db.Events(context.Background(), 1) {
			if err != nil {
				t.Fatalf("events: %v", err)
			}
			a.Event(e)
		}
		users := map[horde.UserID]*horde.User{}
		for _, u := range state.Users {
			users[u.ID] = u
		}
		forms, err := StoredForms(state.Documents)
		if err != nil {
			t.Fatalf("%v", err)
		}
		findings = a.Findings(kudos.Stored{
			Users: users, Balances: state.Balances, Earnings: state.Earnings, System: state.System, Requests: state.Requests,
			Jobs: state.Jobs, Forms: forms, Last: state.LastEvent,
		})
	})
	contradictions, err := w.Verify(context.Background())
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	for _, f := range append(findings, contradictions...) {
		t.Fatalf("%s", f)
	}
	_ = w.do(func() {
		held := map[horde.UserID]horde.Kudos{}
		for _, r := range w.Engine.state.requests {
			held[r.User] += r.Hold.Remaining
			if r.Waiting() != (r.entry != nil) {
				t.Fatalf("request %s waits: %t, is queued: %t", r.ID, r.Waiting(), r.entry != nil)
			}
		}
		for id := range w.users {
			if b := w.book.Balance(id); b.Held != held[id] {
				t.Fatalf("L5: user %d has %s set aside, its requests hold %s", id, b.Held, held[id])
			}
		}
	})
}
