// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"context"
	"sync/atomic"
	"time"

	"horde/internal/horde"
)

// Load is what lifecycles cost and how long they took.
type Load struct {
	// Mode is "closed" or "open".
	Mode    string  `json:"mode"`
	Clients int     `json:"clients,omitempty"`
	Rate    float64 `json:"rate,omitempty"`
	Workers int     `json:"workers"`
	Images  float64 `json:"image_share"`
	// Seconds is how long was measured. Lifecycles are those that ended with the right result within that time.
	Seconds    float64 `json:"seconds"`
	Lifecycles int64   `json:"lifecycles"`
	OfImages   int64   `json:"lifecycles_image"`
	OfTexts    int64   `json:"lifecycles_text"`
	PerSecond  float64 `json:"lifecycles_per_s"`
	CPU        CPU     `json:"cpu"`
	// Per1000 are processor seconds for each 1,000 lifecycles.
	ServerPer1000    float64 `json:"server_cpu_s_per_1000"`
	DatabasePer1000  float64 `json:"database_cpu_s_per_1000,omitempty"`
	GeneratorPer1000 float64 `json:"generator_cpu_s_per_1000"`
	// Latencies are of the calls, of dispatch, and of whole lifecycles.
	Latencies map[string]Latency `json:"latencies"`
	// What follows is of the whole run, warm-up and end included.
	Accepted   int64 `json:"accepted"`
	Completed  int64 `json:"completed"`
	Lost       int64 `json:"lost"`
	Doubled    int64 `json:"doubled"`
	Mismatched int64 `json:"mismatched"`
	// Errors counts everything that went another way than it should, by kind.
	Errors map[string]int `json:"errors"`
}

// load runs clients and workers against each other.
func (r *run) load(ctx context.Context) (*Load, error) {
	outstanding := r.Clients
	out := &Load{Mode: "closed", Clients: r.Clients, Workers: r.Workers, Images: r.ImageShare}
	if r.Rate > 0 {
		out.Mode, out.Clients, out.Rate = "open", 0, r.Rate
		outstanding = r.MaxOutstanding
	}
	clientKeys, err := r.clientKeys(ctx, outstanding, Account{Name: "bench client", Kudos: clientKudos})
	if err != nil {
		return nil, err
	}
	workerKeys, err := r.workerKeys(ctx, r.Workers)
	if err != nil {
		return nil, err
	}

	working, stopWorkers := context.WithCancel(ctx)
	defer stopWorkers()
	var workers waitGroup
	for i := range r.Workers {
		k := r.kindOf(i, r.Workers)
		w := r.newWorker(i, k, workerKeys[i/workersPerAccount], r.name("worker", i), r.material.model(k))
		workers.Go(func() { w.work(working) })
	}
	if r.Rate > 0 {
		r.progress("%g requests a second, %d workers, for %v", r.Rate, r.Workers, r.WarmUp+r.Duration)
	} else {
		r.progress("%d clients, %d workers, for %v", r.Clients, r.Workers, r.WarmUp+r.Duration)
	}
	starting, stopStarting := context.WithCancel(ctx)
	defer stopStarting()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if r.Rate > 0 {
			r.openLoop(starting, ctx, clientKeys)
		} else {
			r.closedLoop(starting, ctx, clientKeys)
		}
	}()

	sleepFor(ctx, r.WarmUp)
	r.rec.measuring.Store(true)
	before, start := r.cpu(), time.Now()
	images, texts := r.completed[horde.Image].Load(), r.completed[horde.Text].Load()
	measured := time.NewTimer(r.Duration)
	defer measured.Stop()
	select {
	case <-measured.C:
	case <-r.limit:
	case <-ctx.Done():
	}
	out.Seconds = time.Since(start).Seconds()
	out.OfImages, out.OfTexts = r.completed[horde.Image].Load()-images, r.completed[horde.Text].Load()-texts
	out.CPU = r.cpu().since(before, out.Seconds)
	r.rec.measuring.Store(false)
	out.Latencies = r.rec.latencies()
	stopStarting()
	<-ended // what was accepted is seen through to its end
	stopWorkers()
	workers.Wait()

	out.Lifecycles = out.OfImages + out.OfTexts
	out.PerSecond = float64(out.Lifecycles) / out.Seconds
	if out.Lifecycles > 0 {
		thousands := float64(out.Lifecycles) / 1000
		out.ServerPer1000, out.DatabasePer1000 = out.CPU.Server/thousands, out.CPU.Database/thousands
		out.GeneratorPer1000 = out.CPU.Generator / thousands
	}
	out.Accepted, out.Completed, out.Lost = r.accepted.Load(), r.done(), r.lost.Load()
	out.Doubled, out.Mismatched, out.Errors = r.lives.doubled.Load(), r.mismatched.Load(), r.rec.failures()
	return out, ctx.Err()
}

// closedLoop has each client start a request when the one before has ended, until starting ends.
func (r *run) closedLoop(starting, ctx context.Context, keys []string) {
	var clients waitGroup
	for i := range r.Clients {
		k := r.kindOf(i, r.Clients)
		c := r.newClient(i, keys[i%len(keys)])
		clients.Go(func() {
			defer c.close()
			for starting.Err() == nil {
				c.lifecycle(ctx, k, time.Now())
			}
		})
	}
	clients.Wait()
}

// openLoop starts requests at a constant rate until starting ends, however long the ones before take.
func (r *run) openLoop(starting, ctx context.Context, keys []string) {
	var (
		clients waitGroup
		under   atomic.Int64
		// idle are clients with a connection and nothing to do; the one that was busy last is taken first.
		idle = make(chan *virtualClient, r.MaxOutstanding)
		made int
	)
	first := time.Now()
	var timer *time.Timer
	for i := 0; ; i++ {
		due := first.Add(time.Duration(float64(i) / r.Rate * float64(time.Second)))
		sleep(starting, &timer, time.Until(due))
		if starting.Err() != nil {
			break
		}
		if under.Load() >= int64(r.MaxOutstanding) {
			r.rec.fail("not started: too many requests are under way")
			continue
		}
		var c *virtualClient
		select {
		case c = <-idle:
		default:
			c = r.newClient(made, keys[made%len(keys)])
			made++
		}
		under.Add(1)
		k := r.kindOf(i, 0)
		clients.Go(func() {
			c.lifecycle(ctx, k, due)
			under.Add(-1)
			idle <- c
		})
	}
	clients.Wait()
	for {
		select {
		case c := <-idle:
			c.close()
		default:
			return
		}
	}
}
