// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/store"
	"horde/internal/store/memory"
	"horde/internal/store/sqlite"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func ptr[T any](v T) *T { return &v }

// openWith opens an engine for text work on a store, with a requester and a worker's owner.
func openWith(tb testing.TB, db store.Store) (e *engine.Engine, requester, owner string) {
	tb.Helper()
	e, err := engine.Open(context.Background(), engine.Config{Store: db, Reference: func() *horde.Reference { return &horde.Reference{} }})
	if err != nil {
		tb.Fatal(err)
	}
	register := func(name string, concurrency int) string {
		_, key, err := e.Register(context.Background(), engine.NewUser{
			Name: name, OAuthID: "g_" + name, Kudos: 1_000_000_000_00, Concurrency: concurrency, Roles: horde.Trusted,
		})
		if err != nil {
			tb.Fatal(err)
		}
		return key
	}
	return e, register("requester", 1<<30), register("owner", 30)
}

// prompt is as long as prompts usually are.
const prompt = "Write the next paragraph of a story about a keeper of a lighthouse who finds a letter in a bottle on the morning " +
	"after the storm. Keep the mood quiet, and let the sea be a character of its own.\n\nThe morning after the storm was"

func submit(tb testing.TB, e *engine.Engine, key, model string) horde.RequestID {
	a, err := e.SubmitText(context.Background(), engine.Caller{Key: key, Addr: loopback, Agent: "bench:1:x"}, &horde.TextSubmission{
		Prompt: ptr(prompt), Models: []string{model}, Params: &horde.TextSettings{MaxLength: ptr(80), Temperature: ptr(0.7), TopP: ptr(0.9)},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return a.ID
}

// BenchmarkLifecycle is one whole lifecycle of a text request without HTTP: submit, pop, deliver, status, everything
// durable. Sixteen go on at a time, so that they share commits.
func BenchmarkLifecycle(b *testing.B) {
	stores := map[string]func(*testing.B) store.Store{
		"memory": func(*testing.B) store.Store { return memory.New() },
		"sqlite": func(b *testing.B) store.Store {
			db, err := sqlite.Open(context.Background(), filepath.Join(b.TempDir(), "horde.db"))
			if err != nil {
				b.Fatal(err)
			}
			return db
		},
	}
	for name, open := range stores {
		b.Run(name, func(b *testing.B) {
			db := open(b)
			e, requester, owner := openWith(b, db)
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				worker := fmt.Sprintf("worker %d", n.Add(1))
				for pb.Next() {
					id := submit(b, e, requester, "some/model")
					p, err := e.PopText(context.Background(), owner, loopback, &horde.TextPop{Polling: horde.Polling{
						Name: &worker, Models: []string{"some/model"}, Amount: ptr(1), BridgeAgent: ptr("KoboldCppEmbedWorker:1:x"),
					}})
					if err != nil || len(p.IDs) == 0 {
						b.Fatalf("pop: %v %+v", err, p)
					}
					if _, err := e.DeliverText(context.Background(), owner, &horde.TextDelivery{Delivery: horde.Delivery{ID: ptr(p.IDs[0].String()), Generation: ptr(prompt)}}); err != nil {
						b.Fatal(err)
					}
					if _, err := e.Status(context.Background(), horde.Text, id.String()); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.StopTimer()
			e.Close()
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkWaiting measures the memory of a waiting request.
func BenchmarkWaiting(b *testing.B) {
	db, err := sqlite.Open(context.Background(), filepath.Join(b.TempDir(), "horde.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	e, requester, _ := openWith(b, db)
	defer e.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for b.Loop() {
		submit(b, e, requester, fmt.Sprintf("model %d", n%20))
		n++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/request")
}
