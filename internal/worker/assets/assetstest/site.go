// SPDX-License-Identifier: AGPL-3.0-or-later

// Package assetstest has a CivitAI and a hordeling without a network, for tests on a fake clock.
package assetstest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"
)

// Site is CivitAI, its store of files and a hordeling without a network between, so that tests run on a fake clock. It
// keeps what it was asked.
type Site struct {
	mu       sync.Mutex
	handlers map[string]http.HandlerFunc // by host and path, for example "civitai.com/api/v1/models/1"
	broken   map[string]error            // no answer at all
	asked    []string                    // whole addresses
	active   int
	peak     int // downloads at the same time
}

// New returns a site that has nothing.
func New() *Site {
	return &Site{handlers: map[string]http.HandlerFunc{}, broken: map[string]error{}}
}

// Do answers a request. Bodies that take their time are read as they come.
func (s *Site) Do(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	key := r.URL.Host + r.URL.Path
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.String())
	h, err := s.handlers[key], s.broken[key]
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if h == nil {
		h = http.NotFound
	}
	rec := httptest.NewRecorder()
	h(rec, r)
	resp := rec.Result()
	if bps := rec.Header().Get("Slow"); bps != "" {
		n, _ := strconv.Atoi(bps)
		resp.ContentLength, _ = strconv.ParseInt(rec.Header().Get("Size"), 10, 64)
		s.mu.Lock()
		s.active++
		s.peak = max(s.peak, s.active)
		s.mu.Unlock()
		resp.Body = &drip{ctx: r.Context(), left: resp.ContentLength, rate: n, close: func() { s.mu.Lock(); s.active--; s.mu.Unlock() }}
	}
	return resp, nil
}

// drip is a body that comes at some bytes a second; 0 means that nothing comes.
type drip struct {
	ctx   context.Context
	left  int64
	rate  int
	close func()
}

func (d *drip) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	if d.rate == 0 {
		<-d.ctx.Done()
		return 0, d.ctx.Err()
	}
	n := min(int64(d.rate), int64(len(p)), d.left)
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(time.Second * time.Duration(n) / time.Duration(d.rate)):
	}
	d.left -= n
	clear(p[:n])
	return int(n), nil
}

func (d *drip) Close() error { d.close(); return nil }

// Handle answers key, a host with a path such as "civitai.com/api/v1/models/1", by h.
func (s *Site) Handle(key string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[key] = h
}

// JSON answers key by v.
func (s *Site) JSON(key string, v any) {
	s.Handle(key, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) })
}

// Serve answers key by data.
func (s *Site) Serve(key string, data []byte) {
	s.Handle(key, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
}

// SHA256 is the hash of data in lower-case hex.
func SHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Status answers key by a status with a body.
func (s *Site) Status(key string, status int, body string) {
	s.Handle(key, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// Slow answers key by size bytes at rate a second.
func (s *Site) Slow(key string, size int64, rate int) {
	s.Handle(key, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Slow", strconv.Itoa(rate))
		w.Header().Set("Size", strconv.FormatInt(size, 10))
	})
}

// Break lets the connection for key fail with err.
func (s *Site) Break(key string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[key] = err
}

// Downloads is how many slow downloads run now, and how many ran at the same time at most.
func (s *Site) Downloads() (now, peak int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active, s.peak
}

// Calls are the addresses that were asked for, in order.
func (s *Site) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// Object is JSON to be changed by a test.
type Object = map[string]any

// Lora publishes a LoRA of one version, whose file redirects to the store, and returns its JSON. The version has the
// model's number and a 9 behind it.
func (s *Site) Lora(id int, name string, data []byte) Object {
	version := s.version(id*10+9, data)
	m := Object{"id": id, "name": name, "type": "LORA", "nsfw": false, "modelVersions": []Object{version}}
	s.JSON(fmt.Sprintf("civitai.com/api/v1/models/%d", id), m)
	alone := Object{"modelId": id, "model": Object{"name": name, "type": "LORA", "nsfw": false}}
	for k, v := range version {
		alone[k] = v
	}
	s.JSON(fmt.Sprintf("civitai.com/api/v1/model-versions/%d", id*10+9), alone)
	return m
}

func (s *Site) version(id int, data []byte) Object {
	download, at := fmt.Sprintf("civitai.com/api/download/models/%d", id), fmt.Sprintf("files.example/%d", id)
	s.Handle(download, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+at+"?signature=abc", http.StatusFound)
	})
	s.Serve(at, data)
	return Object{"id": id, "name": "v1", "baseModel": "SD 1.5", "availability": "Public", "trainedWords": []string{"shiny <lora:x:1>", "very detailed"},
		"files": []Object{
			{"id": 1, "name": "training.zip", "type": "Training Data", "sizeKB": 1, "downloadUrl": "https://civitai.com/api/download/models/1"},
			{"id": 2, "name": "file.safetensors", "type": "Model", "primary": true, "sizeKB": float64(len(data)) / 1024,
				"hashes": Object{"SHA256": SHA256(data)}, "downloadUrl": "https://" + download},
		}}
}

// Busy answers key by 429 once, then as before.
func (s *Site) Busy(key, after string) {
	inner, first := s.handlers[key], true
	s.handlers[key] = func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		inner(w, r)
	}
}
