// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"horde/internal/hordeling/safetensors"
)

// site is CivitAI, its store of files and a hordeling without a network between, so that tests run on a fake clock. It
// keeps what it was asked.
type site struct {
	mu       sync.Mutex
	handlers map[string]http.HandlerFunc // by host and path, for example "civitai.com/api/v1/models/1"
	broken   map[string]error            // no answer at all
	asked    []string                    // whole addresses
	at       []time.Time
	active   int
	peak     int // downloads at the same time
}

func newSite() *site {
	return &site{handlers: map[string]http.HandlerFunc{}, broken: map[string]error{}}
}

// Do answers a request. Bodies that take their time are read as they come.
func (s *site) Do(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	key := r.URL.Host + r.URL.Path
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.String())
	s.at = append(s.at, time.Now())
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

func (s *site) handle(key string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[key] = h
}

// json answers key by v.
func (s *site) json(key string, v any) {
	s.handle(key, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) })
}

// status answers key by a status with a body.
func (s *site) status(key string, status int, body string) {
	s.handle(key, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// slow answers key by size bytes at rate a second.
func (s *site) slow(key string, size int64, rate int) {
	s.handle(key, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Slow", strconv.Itoa(rate))
		w.Header().Set("Size", strconv.FormatInt(size, 10))
	})
}

func (s *site) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// object is JSON to be changed by a test.
type object = map[string]any

// lora publishes a LoRA of one version, whose file redirects to the store, and returns its JSON. The version has the
// model's number and a 9 behind it.
func (s *site) lora(id int, name string, data []byte) object {
	version := s.version(id*10+9, data)
	m := object{"id": id, "name": name, "type": "LORA", "nsfw": false, "modelVersions": []object{version}}
	s.json(fmt.Sprintf("civitai.com/api/v1/models/%d", id), m)
	alone := object{"modelId": id, "model": object{"name": name, "type": "LORA", "nsfw": false}}
	for k, v := range version {
		alone[k] = v
	}
	s.json(fmt.Sprintf("civitai.com/api/v1/model-versions/%d", id*10+9), alone)
	return m
}

func (s *site) version(id int, data []byte) object {
	sum := sha256.Sum256(data)
	download, at := fmt.Sprintf("civitai.com/api/download/models/%d", id), fmt.Sprintf("files.example/%d", id)
	s.handle(download, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+at+"?signature=abc", http.StatusFound)
	})
	s.handle(at, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
	return object{"id": id, "name": "v1", "baseModel": "SD 1.5", "availability": "Public", "trainedWords": []string{"shiny <lora:x:1>", "very detailed"},
		"files": []object{
			{"id": 1, "name": "training.zip", "type": "Training Data", "sizeKB": 1, "downloadUrl": "https://civitai.com/api/download/models/1"},
			{"id": 2, "name": "file.safetensors", "type": "Model", "primary": true, "sizeKB": float64(len(data)) / 1024,
				"hashes": object{"SHA256": hex.EncodeToString(sum[:])}, "downloadUrl": "https://" + download},
		}}
}

// embedding is a sound file.
func embedding(t *testing.T) []byte {
	t.Helper()
	data, err := safetensors.Encode([]safetensors.Tensor{{Name: "emb_params", DType: "F32", Shape: []int64{1, 2}, Data: make([]byte, 8)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// store opens a store for the site.
func (s *site) store(t *testing.T, change func(*Config)) *Store {
	t.Helper()
	cfg := Config{LoraFolder: t.TempDir(), EmbeddingFolder: t.TempDir(), LoraBudget: 1 << 30, CivitAI: "https://civitai.com",
		Hordeling: "https://hordeling.example", NSFW: true, HTTP: s}
	if change != nil {
		change(&cfg)
	}
	st, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	return st
}

// files lists a folder without the index.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Name() != indexName {
			names = append(names, e.Name())
		}
	}
	return names
}
