// SPDX-License-Identifier: AGPL-3.0-or-later

package hordelingtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// CivitAI is a stand-in for civitai.com on loopback: its documented JSON under /api/v1/models/{id}, downloads under
// /api/download/{file id} that redirect to a signed address under /cdn/ of another host name, as the real ones do.
type CivitAI struct {
	URL string

	mu       sync.Mutex
	models   map[int64]any
	files    map[int64]File
	handlers map[string]http.HandlerFunc
	calls    map[string]int
	keys     map[string]string // Authorization by path, as it came
	nextFile int64
}

// File is a file of a model.
type File struct {
	// ID is given out where it is 0.
	ID   int64
	Name string
	// Type is "Model" where it is empty; Format is left out where it is empty.
	Type, Format string
	// Data are what a download gives; SHA256 is computed where it is empty, and left out where it is "none".
	Data      []byte
	SHA256    string
	SizeKB    float64
	Primary   bool
	Scan      string // pickleScanResult; "Success" where it is empty
	VirusScan string
	// Handler answers the download instead of the redirect to Data.
	Handler http.HandlerFunc
}

// StartCivitAI starts a stand-in that ends with the test.
func StartCivitAI(t testing.TB) *CivitAI {
	c := &CivitAI{
		models: make(map[int64]any), files: make(map[int64]File), handlers: make(map[string]http.HandlerFunc),
		calls: make(map[string]int), keys: make(map[string]string), nextFile: 1000,
	}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	c.URL = s.URL
	return c
}

// Add publishes a model with one version of these files and returns them with their ids.
func (c *CivitAI) Add(id int64, modelType string, files ...File) []File {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []map[string]any
	for i := range files {
		f := &files[i]
		if f.ID == 0 {
			c.nextFile++
			f.ID = c.nextFile
		}
		if f.Type == "" {
			f.Type = "Model"
		}
		if f.Scan == "" {
			f.Scan = "Success"
		}
		if f.VirusScan == "" {
			f.VirusScan = "Success"
		}
		if f.SizeKB == 0 {
			f.SizeKB = float64(len(f.Data)) / 1024
		}
		if f.SHA256 == "" {
			sum := sha256.Sum256(f.Data)
			f.SHA256 = strings.ToUpper(hex.EncodeToString(sum[:]))
		}
		metadata, hashes := map[string]any{}, map[string]any{"AutoV2": "0123456789"}
		if f.Format != "" {
			metadata["format"] = f.Format
		}
		if f.SHA256 != "none" {
			hashes["SHA256"] = f.SHA256
		}
		entry := map[string]any{
			"id": f.ID, "name": f.Name, "type": f.Type, "sizeKB": f.SizeKB, "metadata": metadata, "hashes": hashes,
			"pickleScanResult": f.Scan, "virusScanResult": f.VirusScan, "scannedAt": "2026-01-01T00:00:00.000Z",
			"downloadUrl": fmt.Sprintf("%s/api/download/%d", c.URL, f.ID),
		}
		if f.Primary {
			entry["primary"] = true
		}
		list = append(list, entry)
		c.files[f.ID] = *f
	}
	c.models[id] = map[string]any{
		"id": id, "name": "a model", "type": modelType, "nsfw": false, "tags": []string{"embedding"},
		"creator": map[string]any{"username": "somebody"}, "stats": map[string]any{"downloadCount": 7},
		"modelVersions": []map[string]any{
			{"id": id * 10, "name": "v2", "baseModel": "SD 1.5", "trainedWords": []string{"cat"}, "files": list, "images": []any{}},
			{"id": id*10 - 1, "name": "v1", "files": []any{}},
		},
	}
	return files
}

// Put publishes raw JSON, or anything that encodes to it, as the description of a model.
func (c *CivitAI) Put(id int64, model any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.models[id] = model
}

// Handle answers a path by h instead.
func (c *CivitAI) Handle(path string, h http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers[path] = h
}

// Calls is how often a path was asked for; a path that ends in a slash stands for all below it.
func (c *CivitAI) Calls(path string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, k := range c.calls {
		if p == path || strings.HasSuffix(path, "/") && strings.HasPrefix(p, path) {
			n += k
		}
	}
	return n
}

// Authorization is the header with which a path was asked for last.
func (c *CivitAI) Authorization(path string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys[path]
}

// ServeHTTP answers as CivitAI does.
func (c *CivitAI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.calls[r.URL.Path]++
	c.keys[r.URL.Path] = r.Header.Get("Authorization")
	handler := c.handlers[r.URL.Path]
	c.mu.Unlock()
	switch {
	case handler != nil:
		handler(w, r)
	case strings.HasPrefix(r.URL.Path, "/api/v1/models/"):
		c.model(w, strings.TrimPrefix(r.URL.Path, "/api/v1/models/"))
	case strings.HasPrefix(r.URL.Path, "/api/download/"):
		c.download(w, r, strings.TrimPrefix(r.URL.Path, "/api/download/"))
	case strings.HasPrefix(r.URL.Path, "/cdn/"):
		if f, ok := c.file(strings.TrimPrefix(r.URL.Path, "/cdn/")); ok && r.URL.Query().Get("signature") == "abc" {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Write(f.Data)
			return
		}
		http.NotFound(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (c *CivitAI) file(id string) (File, bool) {
	n, err := strconv.ParseInt(id, 10, 64)
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.files[n]
	return f, ok && err == nil
}

func (c *CivitAI) model(w http.ResponseWriter, id string) {
	n, _ := strconv.ParseInt(id, 10, 64)
	c.mu.Lock()
	m, ok := c.models[n]
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"error":"No model with id %d"}`, n)
		return
	}
	if raw, ok := m.(string); ok {
		w.Write([]byte(raw))
		return
	}
	json.NewEncoder(w).Encode(m)
}

func (c *CivitAI) download(w http.ResponseWriter, r *http.Request, id string) {
	f, ok := c.file(id)
	switch {
	case !ok:
		http.NotFound(w, r)
	case f.Handler != nil:
		f.Handler(w, r)
	default:
		// The other name of this machine: a key that is sent to one host must not follow to the other.
		elsewhere := strings.Replace(c.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1)
		http.Redirect(w, r, fmt.Sprintf("%s/cdn/%d?signature=abc", elsewhere, f.ID), http.StatusFound)
	}
}

// Model is the JSON under which a model is published.
func (c *CivitAI) Model(id int64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, err := json.Marshal(c.models[id])
	if err != nil {
		panic(err)
	}
	return data
}
