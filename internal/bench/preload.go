// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"horde/internal/horde"
)

// Preload is what waiting requests cost.
type Preload struct {
	Requests  int     `json:"requests"` // that were accepted
	Wanted    int     `json:"wanted"`
	Kind      string  `json:"kind"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_s"`
	// ServerPer1000 are processor seconds of the server for each 1,000 submissions.
	ServerPer1000 float64 `json:"server_cpu_s_per_1000"`
	Submit        Latency `json:"submit"`
	// MemoryBefore and MemoryAfter are the server's, in bytes, at rest; 0 when its process is not known.
	MemoryBefore    int64 `json:"memory_before_bytes"`
	MemoryAfter     int64 `json:"memory_after_bytes"`
	BytesPerRequest int64 `json:"memory_bytes_per_request"`
	// HeapBefore and HeapAfter are what the server's /metrics say of its heap, 0 where they say nothing.
	HeapBefore          int64          `json:"heap_before_bytes,omitempty"`
	HeapAfter           int64          `json:"heap_after_bytes,omitempty"`
	HeapBytesPerRequest int64          `json:"heap_bytes_per_request,omitempty"`
	DatabasePerRequest  int64          `json:"database_memory_bytes_per_request,omitempty"`
	Errors              map[string]int `json:"errors"`

	// keys are of the accounts whose requests wait.
	keys *preloaded
}

// preloaded is what later measurements want to know.
type preloaded struct {
	ids [3][]string // of some requests that wait, by kind
}

const (
	// preloaders is how many connections submit at a time: enough for group commits to be large.
	preloaders = 64
	// kept is how many ids of each preloader are remembered.
	kept = 200
)

// sides vary preloaded requests, so that they fall into several classes.
var sides = []int{512, 576, 640, 768, 1024}

// preload submits requests that nobody serves, and measures what they cost in memory.
func (r *run) preload(ctx context.Context) (*Preload, error) {
	keys, err := r.clientKeys(ctx, r.Preload, Account{Name: "bench crowd", Kudos: preloadKudos})
	if err != nil {
		return nil, err
	}
	r.progress("%d requests of the kind %q go into the queue", r.Preload, r.PreloadKind)
	out := &Preload{Wanted: r.Preload, Kind: r.PreloadKind, keys: &preloaded{}}
	before, err := r.rest(ctx, 0)
	if err != nil {
		return nil, err
	}
	rec := newRecorder()
	rec.measuring.Store(true)
	var next, accepted atomic.Int64
	var group waitGroup
	cpu, start := r.cpu(), time.Now()
	ids := make([][3][]string, preloaders)
	for n := range preloaders {
		c := r.newClient(n, "")
		group.Go(func() {
			defer c.close()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= r.Preload {
					return
				}
				k, v := r.waiting(i)
				c.key = keys[i%len(keys)]
				c.out = r.material.submission(c.out[:0], k, v, func(b []byte) []byte { return r.lives.mark(b, uint64(i)|preloadBit) }, uint64(i))
				if id := c.submit(ctx, rec, k); id != "" {
					accepted.Add(1)
					if len(ids[n][k]) < kept && v.model == r.material.model(k) {
						ids[n][k] = append(ids[n][k], id)
					}
				}
				if i > 0 && i%100_000 == 0 {
					r.progress("%d", i)
				}
			}
		})
	}
	group.Wait()
	for _, some := range ids {
		for _, k := range kinds {
			out.keys.ids[k] = append(out.keys.ids[k], some[k]...)
		}
	}
	out.Seconds = time.Since(start).Seconds()
	out.Requests = int(accepted.Load())
	out.PerSecond = float64(out.Requests) / out.Seconds
	out.Submit, out.Errors = rec.latencies()[measureNames[callSubmit]], rec.failures()
	if out.Requests == 0 {
		return out, fmt.Errorf("not one request was accepted: %v", out.Errors)
	}
	out.ServerPer1000 = r.cpu().since(cpu, 0).Server * 1000 / float64(out.Requests)
	if len(r.server) > 0 {
		r.progress("the memory comes to rest for %v", r.Settle)
	}
	after, err := r.rest(ctx, r.Settle)
	if err != nil {
		return out, err
	}
	per := func(before, after int64) int64 { return (after - before) / int64(out.Requests) }
	out.MemoryBefore, out.MemoryAfter = before.server, after.server
	out.BytesPerRequest = per(before.server, after.server)
	out.DatabasePerRequest = per(before.database, after.database)
	if before.heap > 0 && after.heap > 0 {
		out.HeapBefore, out.HeapAfter = before.heap, after.heap
		out.HeapBytesPerRequest = per(before.heap, after.heap)
	}
	return out, nil
}

// preloadBit sets the marks of preloaded requests apart from those of lives.
const preloadBit = 1 << 47

// waiting is what the i-th preloaded request wants.
func (r *run) waiting(i int) (horde.Kind, variety) {
	k := r.kindOf(i, r.Preload)
	v := r.material.usual(k)
	if r.PreloadKind == PreloadSame || r.PreloadKind == PreloadMixed && i%2 == 1 {
		return k, v
	}
	v.side = sides[i%len(sides)]
	v.nsfw = i/len(sides)%2 == 1
	v.model = fmt.Sprintf("horde-bench/crowd-%d", i/(2*len(sides))%r.PreloadModels)
	return k, v
}

// submit submits what is in c.out and returns the id, empty after a failure.
func (c *virtualClient) submit(ctx context.Context, rec *recorder, k horde.Kind) string {
	start := time.Now()
	status, answer, err := c.api(ctx, http.MethodPost, asyncPath[k], c.key, c.out)
	rec.observe(callSubmit, time.Since(start))
	id := ""
	if err == nil && status == http.StatusAccepted {
		id, err = c.reader.id(answer)
	}
	if id == "" {
		rec.failCall(callSubmit, status, c.reader.refusalCode(answer), err)
		c.pause(ctx, errorPause)
	}
	return id
}

type memory struct{ server, database, heap int64 }

// rest waits and reads what the server holds.
func (r *run) rest(ctx context.Context, d time.Duration) (m memory, err error) {
	sleepFor(ctx, d)
	if r.Collect != nil {
		r.Collect(ctx)
	}
	u, err := r.server.all()
	if err != nil {
		return m, err
	}
	m.server = u.memory
	if u, err = r.database.all(); err != nil {
		return m, err
	}
	m.database = u.memory
	m.heap = r.heap(ctx)
	return m, nil
}

// heapSeries is how programs in Go tell Prometheus what their heap holds.
const heapSeries = "\ngo_memstats_heap_alloc_bytes "

// heap is what the server itself says of its heap, in bytes; 0 where it says nothing.
func (r *run) heap(ctx context.Context) int64 {
	c := newCaller(&r.Config, 0)
	defer c.close()
	status, answer, err := c.do(ctx, http.MethodGet, c.base, "/metrics", "", nil)
	if err != nil || status != http.StatusOK {
		return 0
	}
	_, rest, ok := bytes.Cut(answer, []byte(heapSeries))
	if !ok {
		return 0
	}
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
	if err != nil {
		return 0
	}
	return int64(n)
}

// Pops is what calls cost at this length of the queue, when nothing else goes on.
type Pops struct {
	Count int     `json:"count"`
	Pop   Latency `json:"pop"`
	// PopCPU is processor time of the server for a pop that gives a job, in microseconds; EmptyCPU for one that finds none;
	// CheckCPU for a check on a request that waits.
	PopCPU   float64 `json:"pop_server_cpu_us"`
	Empty    Latency `json:"pop_empty"`
	EmptyCPU float64 `json:"pop_empty_server_cpu_us"`
	Check    Latency `json:"check"`
	CheckCPU float64 `json:"check_server_cpu_us"`
	// Mismatched counts jobs that were given out twice.
	Doubled int            `json:"doubled"`
	Errors  map[string]int `json:"errors"`
}

// pops measures pops of one worker, one after another, and checks on requests that wait. The jobs are delivered afterwards.
func (r *run) pops(ctx context.Context, waiting *preloaded) (*Pops, error) {
	k := horde.Text
	if r.ImageShare == 1 {
		k = horde.Image
	}
	keys, err := r.workerKeys(ctx, 1)
	if err != nil {
		return nil, err
	}
	r.progress("%d pops, one after another", r.Pops)
	rec := newRecorder()
	w := r.newWorker(0, k, keys[0], r.name("popper", 0), r.material.model(k))
	defer w.close()
	empty := r.newWorker(0, horde.Text, keys[0], r.name("seeker", 0), idleModel)
	defer empty.close()
	out := &Pops{}
	var jobs []jobAnswer
	pop := func(w *virtualWorker, m measure) {
		start := time.Now()
		status, answer, err := w.api(ctx, http.MethodPost, popPath[w.kind], w.key, w.body)
		took := time.Since(start)
		if err != nil || status != http.StatusOK {
			rec.failCall(m, status, w.reader.refusalCode(answer), err)
			return
		}
		j, err := w.reader.job(answer)
		if err != nil {
			rec.failCall(m, status, "", err)
			return
		}
		if (j.id == "") != (m == callPopEmpty) {
			rec.fail(measureNames[m] + ": the queue is not as it should be")
			return
		}
		rec.observe(m, took)
		if j.id != "" {
			jobs = append(jobs, j)
		}
	}
	// Both workers become known to the server, and connections open, before anything counts.
	pop(w, callPop)
	pop(empty, callPopEmpty)
	measured := func(n int, f func(i int)) float64 {
		before := r.cpu()
		for i := range n {
			if ctx.Err() != nil {
				break
			}
			f(i)
		}
		return r.cpu().since(before, 0).Server * 1e6 / float64(max(n, 1))
	}
	rec.measuring.Store(true)
	out.PopCPU = measured(r.Pops-1, func(int) { pop(w, callPop) })
	out.EmptyCPU = measured(r.Pops, func(int) { pop(empty, callPopEmpty) })
	c := r.newClient(0, "")
	defer c.close()
	c.checks(ctx, rec, k, waiting, func(n int, f func(int)) { out.CheckCPU = measured(n, f) }, r.Pops)
	rec.measuring.Store(false)

	l := rec.latencies()
	out.Pop, out.Empty, out.Check = l[measureNames[callPop]], l[measureNames[callPopEmpty]], l[measureNames[callCheck]]
	out.Count = int(out.Pop.Count)
	given := map[string]bool{}
	for _, j := range jobs {
		if given[j.id] {
			out.Doubled++
		}
		given[j.id] = true
		var generation []byte
		switch {
		case k == horde.Text:
			generation = quoted(r.material.textResult(j.id, 0))
		case j.upload != "":
			generation = []byte(`"R2"`)
			if !w.upload(ctx, j.upload, r.material.imageResult(j.id, 0)) {
				continue
			}
		default:
			generation = file(r.material.imageResult(j.id, 0))
		}
		w.out = delivery(w.out[:0], j.id, generation, "ok")
		if !w.send(ctx, w.out) || ctx.Err() != nil {
			break
		}
	}
	out.Errors = rec.failures()
	return out, ctx.Err()
}

// checks asks n times how requests that wait stand.
func (c *virtualClient) checks(ctx context.Context, rec *recorder, k horde.Kind, waiting *preloaded, measured func(int, func(int)), n int) {
	ids := waiting.ids[k]
	if len(ids) == 0 {
		return
	}
	measured(n, func(i int) {
		start := time.Now()
		status, answer, err := c.api(ctx, http.MethodGet, checkPath[k]+ids[i%len(ids)], "", nil)
		rec.observe(callCheck, time.Since(start))
		if err != nil || status != http.StatusOK {
			rec.failCall(callCheck, status, c.reader.refusalCode(answer), err)
		}
	})
}
