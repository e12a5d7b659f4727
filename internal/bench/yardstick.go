// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"horde/internal/horde"
)

// Yardstick is what net/http does on this machine with a body of the run's size: it decodes JSON and answers with some. No
// server in Go that waits for a disk besides can do as many calls. Server and clients are one process.
type Yardstick struct {
	Clients   int     `json:"clients"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"posts_per_s"`
	// CPU is of server and client together, in microseconds for each call.
	CPU     float64 `json:"cpu_us_per_post"`
	Latency Latency `json:"latency"`
}

// yardsticks is the number of clients where the run has none of its own.
const yardsticks = 64

func (r *run) yardstick(ctx context.Context) (*Yardstick, error) {
	n := r.Clients
	if n == 0 {
		n = yardsticks
	}
	r.progress("net/http alone, %d clients, for %v", n, r.Yardstick)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var in struct {
			Prompt string         `json:"prompt"`
			Models []string       `json:"models"`
			NSFW   bool           `json:"nsfw"`
			Params map[string]any `json:"params"`
		}
		if err := json.NewDecoder(q.Body).Decode(&in); err != nil || in.Prompt == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(map[string]any{"id": "00000000-0000-0000-0000-000000000000", "kudos": 1.0})
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()

	cfg := r.Config
	cfg.Servers = []string{"http://" + listener.Addr().String()}
	rec := newRecorder()
	rec.measuring.Store(true)
	ctx, cancel := context.WithTimeout(ctx, r.Yardstick)
	defer cancel()
	var calls atomic.Int64
	var group waitGroup
	own, start := ownCPU(), time.Now()
	for i := range n {
		c := newCaller(&cfg, 0)
		body := r.material.submission(nil, horde.Text, r.material.usual(horde.Text), func(b []byte) []byte { return r.lives.mark(b, uint64(i)) }, uint64(i))
		group.Go(func() {
			defer c.close()
			for ctx.Err() == nil {
				start := time.Now()
				status, _, err := c.api(context.WithoutCancel(ctx), http.MethodPost, "/generate/text/async", "", body)
				if err != nil || status != http.StatusAccepted {
					rec.failCall(callSubmit, status, "", err)
					return
				}
				rec.observe(callSubmit, time.Since(start))
				calls.Add(1)
			}
		})
	}
	group.Wait()
	seconds, used := time.Since(start).Seconds(), ownCPU()-own
	if failures := rec.failures(); len(failures) > 0 || calls.Load() == 0 {
		return nil, fmt.Errorf("%v", failures)
	}
	return &Yardstick{
		Clients: n, Seconds: seconds, PerSecond: float64(calls.Load()) / seconds,
		CPU: float64(used.Microseconds()) / float64(calls.Load()), Latency: rec.latencies()[measureNames[callSubmit]],
	}, nil
}
