// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/client"
	"horde/internal/worker/backend"
)

// fakeHorde is a horde of one worker: pops hand out the jobs of a list, and everything handed in is kept. It can be
// told to fail. Handlers are called directly by the client's transport, so that tests run on a fake clock.
type fakeHorde struct {
	mu      sync.Mutex
	jobs    []string          // JSON of pop answers, handed out in order; "" is an answer without a job
	popped  []map[string]any  // bodies of pops
	popAt   []time.Time       // when
	submits []map[string]any  // bodies of accepted submits
	uploads map[string][]byte // by path
	// fail answers instead, by path below /api/v2 ("/upload" for uploads), one status after the other.
	fail map[string][]failure
}

type failure struct {
	status int // 0: the connection breaks; -1: handled, then the connection breaks
	rc     string
}

func (h *fakeHorde) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	// A call takes a moment, so that things happen one after the other.
	time.Sleep(time.Millisecond)
	rec := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if h.serve(rec, r) {
		return nil, io.ErrUnexpectedEOF
	}
	return rec.Result(), nil
}

func (h *fakeHorde) serve(w http.ResponseWriter, r *http.Request) (broken bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	path := strings.TrimPrefix(r.URL.Path, "/api/v2")
	key := path
	if r.Method == http.MethodPut && strings.HasPrefix(path, "/store/") {
		key = "/upload"
	}
	if f := h.fail[key]; len(f) > 0 {
		h.fail[key] = f[1:]
		switch {
		case f[0].status == 0:
			return true
		case f[0].status == -1:
			broken = true
		case f[0].status > 0:
			w.WriteHeader(f[0].status)
			fmt.Fprintf(w, `{"message":"no","rc":%q}`, f[0].rc)
			return false
		}
	}
	var doc map[string]any
	json.Unmarshal(body, &doc)
	switch {
	case strings.HasSuffix(path, "/pop"):
		h.popped, h.popAt = append(h.popped, doc), append(h.popAt, time.Now())
		next := ""
		if len(h.jobs) > 0 {
			next, h.jobs = h.jobs[0], h.jobs[1:]
		}
		if next == "" {
			next = `{"id":null,"ids":[],"payload":{"sampler_name":"k_euler_a","width":512},"skipped":{"models":3},"messages":[]}`
		}
		io.WriteString(w, next)
	case strings.HasSuffix(path, "/submit"):
		if slices.ContainsFunc(h.submits, func(s map[string]any) bool { return s["id"] == doc["id"] }) {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"message":"already submitted","rc":"DuplicateGen"}`)
			return broken
		}
		h.submits = append(h.submits, doc)
		io.WriteString(w, `{"reward":12.5}`)
	case key == "/upload":
		if h.uploads == nil {
			h.uploads = map[string][]byte{}
		}
		h.uploads[path] = body
	case path == "/find_user":
		io.WriteString(w, `{"username":"Tester#7","kudos":1000}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"message":"nothing here"}`)
	}
	return broken
}

func (h *fakeHorde) submitted() []map[string]any {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.submits)
}

func (h *fakeHorde) pops() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.popped)
}

func (h *fakeHorde) options() []client.Option {
	return []client.Option{client.WithHTTPClient(&http.Client{Transport: h})}
}

// fakeText is a text server that takes its time.
type fakeText struct {
	takes time.Duration
	// fails is returned by the next calls, in order; nil entries succeed.
	mu     sync.Mutex
	fails  []error
	probes []error
	calls  int
	active int
	peak   int
	// partial is returned when the context ends first.
	partial string
	stall   bool
}

func (f *fakeText) Probe(context.Context) (backend.TextInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if len(f.probes) > 0 {
		err, f.probes = f.probes[0], f.probes[1:]
	}
	return backend.TextInfo{Kind: "llamacpp", Model: "/models/Tiny-7B.Q4_K_M.gguf", Context: 4096, Streams: true, Idle: -1}, err
}

func (f *fakeText) Generate(ctx context.Context, j backend.TextJob, progress func(backend.TextProgress)) (backend.TextResult, error) {
	f.mu.Lock()
	f.calls++
	f.active++
	f.peak = max(f.peak, f.active)
	var err error
	if len(f.fails) > 0 {
		err, f.fails = f.fails[0], f.fails[1:]
	}
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.active--; f.mu.Unlock() }()
	if err != nil {
		return backend.TextResult{}, err
	}
	for at := time.Duration(0); at < f.takes; at += time.Second {
		select {
		case <-ctx.Done():
			return backend.TextResult{Text: f.partial, Tokens: 5}, ctx.Err()
		case <-time.After(time.Second):
			if !f.stall {
				progress(backend.TextProgress{Tokens: int(at / time.Second)})
			}
		}
	}
	return backend.TextResult{Text: " and " + j.Prompt, Tokens: 10}, nil
}

func textJob(id string, ttl int) string {
	return fmt.Sprintf(`{"id":%q,"ids":[%q],"model":"Tiny-7B.Q4_K_M","ttl":%d,"skipped":{},"payload":{"prompt":"%s","max_length":80,"max_context_length":2048,"min_p":0}}`, id, id, ttl, id)
}

func testConfig(t *testing.T) Config {
	t.Helper()
	cfg, err := Defaults()
	if err != nil {
		t.Fatal(err)
	}
	cfg.HordeURL, cfg.APIKey, cfg.ScribeName = "http://127.0.0.1:7001", "abcdefghijklmnopqrstuv", "S"
	cfg.CacheHome = t.TempDir()
	return cfg
}
