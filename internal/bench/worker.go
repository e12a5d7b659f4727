// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"horde/internal/horde"
)

// Pauses of workers.
const (
	// emptyPause is before a worker that was woken for a job and found none asks again.
	emptyPause = 5 * time.Millisecond
	// errorPause is after a call that failed, so that a server in trouble is not hammered.
	errorPause = 100 * time.Millisecond
	// unwaitedPause is after a pop that should have waited for a job and did not.
	unwaitedPause = 50 * time.Millisecond
)

var popPath = [3]string{horde.Image: "/generate/pop", horde.Text: "/generate/text/pop"}
var submitPath = [3]string{horde.Image: "/generate/submit", horde.Text: "/generate/text/submit"}

// virtualWorker pops jobs of one kind and delivers them. It is used by one goroutine.
type virtualWorker struct {
	*caller
	run   *run
	kind  horde.Kind
	key   string
	body  []byte // of its pops
	out   []byte // body of a delivery, reused
	timer *time.Timer
}

func (r *run) newWorker(i int, k horde.Kind, key, name, model string) *virtualWorker {
	return &virtualWorker{caller: newCaller(&r.Config, i), run: r, kind: k, key: key, body: r.material.pop(k, name, model)}
}

// work pops and delivers until ctx ends. A job in hand is delivered first.
func (w *virtualWorker) work(ctx context.Context) {
	defer w.close()
	stop := context.AfterFunc(ctx, w.abort)
	defer stop()
	awake := false // it was woken for a job that it has not found yet
	for ctx.Err() == nil {
		signalled := w.cfg.PopEvery == 0 && w.cfg.PopWait == 0
		if signalled && !awake {
			select {
			case <-w.run.wakes[w.kind]:
				awake = true
			case <-ctx.Done():
				return
			}
		}
		start := time.Now()
		status, answer, err := w.api(ctx, http.MethodPost, popPath[w.kind], w.key, w.body)
		now := time.Now()
		if err != nil || status != http.StatusOK {
			if ctx.Err() == nil {
				w.run.rec.failCall(callPop, status, w.reader.refusalCode(answer), err)
				w.pause(ctx, errorPause)
			}
			continue
		}
		j, err := w.reader.job(answer)
		if err != nil {
			w.run.rec.failCall(callPop, status, "", err)
			continue
		}
		if j.id == "" {
			w.run.rec.observe(callPopEmpty, now.Sub(start))
			switch {
			case signalled && w.run.lives.waiting[w.kind].Load() <= 0:
				awake = false
			case signalled:
				w.pause(ctx, emptyPause)
			case w.cfg.PopWait == 0:
				w.pause(ctx, w.cfg.PopEvery-time.Since(start))
			case now.Sub(start) < w.cfg.PopWait/2:
				w.pause(ctx, max(w.cfg.PopEvery, unwaitedPause))
			}
			continue
		}
		awake = false
		w.run.rec.observe(callPop, now.Sub(start))
		w.do(context.WithoutCancel(ctx), j, w.run.lives.find(answer), now)
	}
}

// do delivers a job.
func (w *virtualWorker) do(ctx context.Context, j jobAnswer, l *life, popped time.Time) {
	if l == nil {
		w.run.rec.fail("pop: a job that is none of this run's clients")
		w.out = delivery(w.out[:0], j.id, []byte(`"not mine"`), "faulted")
		w.send(ctx, w.out)
		return
	}
	w.run.lives.hand(l, popped)
	if w.kind == horde.Text {
		result := w.run.material.textResult(j.id, l.id)
		l.deliver(result)
		w.out = delivery(w.out[:0], j.id, quoted(result), "ok")
	} else {
		result := w.run.material.imageResult(j.id, l.id)
		l.deliver(result)
		generation := []byte(`"R2"`)
		if j.upload == "" {
			generation = file(result)
		} else if !w.upload(ctx, j.upload, result) {
			return
		}
		w.out = delivery(w.out[:0], j.id, generation, "ok")
	}
	if w.send(ctx, w.out) {
		l.acknowledged()
	}
}

func (w *virtualWorker) upload(ctx context.Context, link string, data []byte) bool {
	for deadline := time.Now().Add(w.cfg.Timeout); ; w.pause(ctx, errorPause) {
		start := time.Now()
		status, answer, err := w.link(ctx, http.MethodPut, link, data)
		w.run.rec.observe(callUpload, time.Since(start))
		if err == nil && status/100 == 2 {
			return true
		}
		w.run.rec.failCall(callUpload, status, w.reader.refusalCode(answer), err)
		if err == nil && status < 500 || time.Now().After(deadline) {
			return false
		}
	}
}

// send delivers until the server has answered. A server that takes a delivery may fail to say so: that the job "was already
// submitted" is then the acknowledgement.
func (w *virtualWorker) send(ctx context.Context, body []byte) bool {
	repeated := false
	for deadline := time.Now().Add(w.cfg.Timeout); ; w.pause(ctx, errorPause) {
		start := time.Now()
		status, answer, err := w.api(ctx, http.MethodPost, submitPath[w.kind], w.key, body)
		w.run.rec.observe(callDeliver, time.Since(start))
		if err == nil && status == http.StatusOK {
			return true
		}
		code := w.reader.refusalCode(answer)
		if err == nil && repeated && code == "DuplicateGen" {
			return true
		}
		w.run.rec.failCall(callDeliver, status, code, err)
		if err == nil && status < 500 && status != http.StatusTooManyRequests || time.Now().After(deadline) {
			return false
		}
		repeated = true
	}
}

// pause waits, unless ctx ends.
func (w *virtualWorker) pause(ctx context.Context, d time.Duration) { sleep(ctx, &w.timer, d) }

func sleep(ctx context.Context, timer **time.Timer, d time.Duration) {
	if d <= 0 {
		return
	}
	if *timer == nil {
		*timer = time.NewTimer(d)
	} else {
		(*timer).Reset(d)
	}
	select {
	case <-(*timer).C:
	case <-ctx.Done():
		(*timer).Stop()
	}
}

// Idle is what workers cost that find nothing.
type Idle struct {
	Workers int     `json:"workers"`
	Every   float64 `json:"poll_every_s"`
	Seconds float64 `json:"seconds"`
	// Polls is how many were answered, PerSecond how many a second.
	Polls     int64   `json:"polls"`
	PerSecond float64 `json:"polls_per_s"`
	// Latency is from when a poll was due.
	Latency Latency `json:"latency"`
	CPU     CPU     `json:"cpu"`
	// ServerMemory is the server's with all workers connected, in bytes.
	ServerMemory int64          `json:"server_memory_bytes"`
	Errors       map[string]int `json:"errors"`
}

// idle measures workers that poll and find nothing. The first round, in which they become known to the server, does not count.
func (r *run) idle(ctx context.Context) (*Idle, error) {
	n := r.IdleWorkers
	r.progress("%d idle workers poll every %v", n, r.IdleEvery)
	keys, err := r.workerKeys(ctx, n)
	if err != nil {
		return nil, err
	}
	rec := newRecorder()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var polls atomic.Int64
	var group waitGroup
	// Becoming known is a durable change for each, so they come at a pace that leaves room for the polls of the others.
	registering := max(r.IdleEvery, time.Duration(n)*time.Second/idlePerSecond)
	first := time.Now()
	for i := range n {
		k := r.kindOf(i, n)
		model := idleModel
		if k == horde.Image {
			model = r.ImageModel
		}
		w := r.newWorker(i, k, keys[i/workersPerAccount], r.name("idle", i), model)
		group.Go(func() {
			defer w.close()
			due := first.Add(registering * time.Duration(i) / time.Duration(n))
			for ctx.Err() == nil {
				w.pause(ctx, time.Until(due))
				if ctx.Err() != nil {
					return
				}
				status, answer, err := w.api(ctx, http.MethodPost, popPath[k], w.key, w.body)
				switch {
				case ctx.Err() != nil:
				case err != nil || status != http.StatusOK:
					rec.failCall(callPopEmpty, status, w.reader.refusalCode(answer), err)
				default:
					rec.observe(callPopEmpty, time.Since(due))
					polls.Add(1)
				}
				due = due.Add(r.IdleEvery)
			}
		})
	}
	sleepFor(ctx, time.Until(first.Add(registering+2*r.IdleEvery)))
	rec.measuring.Store(true)
	before, from := r.cpu(), polls.Load()
	start := time.Now()
	sleepFor(ctx, r.IdleFor)
	rec.measuring.Store(false)
	seconds := time.Since(start).Seconds()
	out := &Idle{
		Workers: n, Every: r.IdleEvery.Seconds(), Seconds: seconds, Polls: polls.Load() - from,
		CPU: r.cpu().since(before, seconds),
	}
	u, err := r.server.all()
	out.ServerMemory = u.memory
	cancel()
	group.Wait()
	out.PerSecond = float64(out.Polls) / seconds
	out.Latency = rec.latencies()[measureNames[callPopEmpty]]
	out.Errors = rec.failures()
	return out, err
}

const (
	// idleModel is a text model that nobody asks for.
	idleModel = "horde-bench/idle"
	// idlePerSecond is how fast idle workers come.
	idlePerSecond = 1000
)
