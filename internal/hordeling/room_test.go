// SPDX-License-Identifier: AGPL-3.0-or-later

package hordeling

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/hordeling/archive"
	"horde/internal/hordeling/embedding"
	"horde/internal/hordeling/hordelingtest"
)

// openDir opens an archive over a directory.
func openDir(t *testing.T, dir string, budget int64) *archive.Archive {
	t.Helper()
	bucket, err := archive.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	a, err := archive.Open(context.Background(), bucket, archive.Config{Budget: budget, Local: true})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// fetchable fails the test if a 200 does not lead to its file.
func (h *house) fetchable(w *httptest.ResponseRecorder) {
	h.t.Helper()
	if w.Code != http.StatusOK {
		h.t.Errorf("%d %s", w.Code, w.Body)
		return
	}
	path := strings.TrimPrefix(body(h.t, w)["url"], "https://hordeling.example")
	if got := h.ask(http.MethodGet, path); got.Code != http.StatusOK {
		h.t.Errorf("%s was handed out and is answered with %d", path, got.Code)
	}
}

// age makes all that is in use look as if it had not been for so long.
func (r *room) age(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for stem, u := range r.used {
		u.last = u.last.Add(-by)
		r.used[stem] = u
	}
}

func TestFilesAreNotEvictedWhileTheirLinksLive(t *testing.T) {
	t.Parallel()
	const budget = 20 << 10 // two files of 8 KiB with their rows
	h := start(t, func(c *Config) { c.Archive, c.Budget = openDir(t, t.TempDir(), budget), budget })
	for id := int64(1); id <= 3; id++ {
		h.site.Add(id, ti, pickleFile("n.pt", hordelingtest.WebUIModel(1, 32, float64(id))))
	}
	first := h.embedding(1)
	h.fetchable(first)
	second := h.embedding(2)
	h.fetchable(second)
	downloads := h.site.Calls("/cdn/")
	for range 2 {
		w := h.embedding(3)
		if got := body(t, w); w.Code != http.StatusServiceUnavailable || got["rc"] != "StorageUnavailable" || w.Header().Get("Retry-After") == "" {
			t.Errorf("a file without room: %d %s", w.Code, w.Body)
		}
	}
	if n := h.site.Calls("/cdn/"); n != downloads {
		t.Errorf("%d files without room were downloaded", n-downloads)
	}
	if n := strings.Count(h.log.String(), "disk budget is used up"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
	h.fetchable(second)
	h.fetchable(first)
	h.room.age(time.Hour)
	h.fetchable(first) // a fetch counts as use, too: the second one is what may go
	h.fetchable(h.embedding(3))
	h.fetchable(first)
	if w := h.ask(http.MethodGet, strings.TrimPrefix(body(t, second)["url"], "https://hordeling.example")); w.Code != http.StatusNotFound {
		t.Errorf("the second file is still there: %d", w.Code)
	}
	// The answer of 200 for it is younger than 10 s, and must not come any more.
	if w := h.embedding(2); w.Code != http.StatusServiceUnavailable {
		t.Errorf("an evicted file is handed out: %d %s", w.Code, w.Body)
	}
	h.room.age(time.Hour)
	h.fetchable(h.embedding(2))
	if _, bytes := h.cfg.Archive.Stats(); bytes > budget {
		t.Errorf("%d bytes are kept", bytes)
	}
}

func TestAnswersOfRemovedFilesAreForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := start(t, func(c *Config) { c.Archive = openDir(t, dir, 0) })
	h.site.Add(1, ti, pickleFile("n.pt", hordelingtest.WebUI))
	h.fetchable(h.embedding(1))
	if err := os.RemoveAll(filepath.Join(dir, "ti")); err != nil {
		t.Fatal(err)
	}
	h.fetchable(h.embedding(1))
}

// TestManyAskForMoreThanTheBudgetHolds: whatever is handed out can be fetched at once, by whomever.
func TestManyAskForMoreThanTheBudgetHolds(t *testing.T) {
	t.Parallel()
	const budget = 50 << 10
	h := start(t, func(c *Config) { c.Archive, c.Budget = openDir(t, t.TempDir(), budget), budget })
	const models = 20
	for id := int64(1); id <= models; id++ {
		h.site.Add(id, ti, pickleFile("n.pt", hordelingtest.WebUIModel(1, 32, float64(id))))
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		served []*httptest.ResponseRecorder
	)
	for range 3 {
		for id := int64(1); id <= models; id++ {
			wg.Go(func() {
				w := h.embedding(id)
				if w.Code == http.StatusOK {
					mu.Lock()
					served = append(served, w)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	different := make(map[string]bool)
	for _, w := range served {
		h.fetchable(w)
		different[w.Body.String()] = true
	}
	if want := budget / (8 << 10); len(different) != want {
		t.Errorf("%d files were served, want %d", len(different), want)
	}
}

func TestRefusalsByALimitHoldForThatLimit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	limits := func(output int64) *embedding.Limits {
		l := embedding.DefaultLimits()
		l.OutputBytes = output
		return &l
	}
	h := start(t, func(c *Config) { c.Archive, c.Limits = openDir(t, dir, 0), limits(0) })
	file := h.site.Add(1, ti, pickleFile("n.pt", hordelingtest.WebUI))[0]
	ask := func(output int64, status, downloads int, what string) {
		t.Helper()
		next := start(t, func(c *Config) {
			c.CivitAI, c.Archive = h.cfg.CivitAI, openDir(t, dir, 0)
			if output >= 0 {
				c.Limits = limits(output)
			}
		})
		before := h.site.Calls("/cdn/")
		if w := next.embedding(1); w.Code != status {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
		if n := h.site.Calls("/cdn/") - before; n != downloads {
			t.Errorf("%s: %d downloads, want %d", what, n, downloads)
		}
	}
	ask(0, http.StatusUnprocessableEntity, 1, "the first time")
	ask(0, http.StatusUnprocessableEntity, 0, "the same limit")
	ask(23, http.StatusUnprocessableEntity, 1, "a larger limit that is too small")
	// Refusals were once kept without their limits.
	stem := archive.Stem(file.ID, file.SHA256)
	for _, rc := range []string{"TooComplex", "FileTooLarge"} {
		old := &archive.Row{FileID: file.ID, RC: rc, Message: "of an unexpected type", Made: time.Now()}
		if err := openDir(t, dir, 0).KeepRefusal(context.Background(), stem, old); err != nil {
			t.Fatal(err)
		}
		ask(0, http.StatusUnprocessableEntity, 0, "an old refusal and the same limit")
	}
	ask(-1, http.StatusOK, 1, "the default limit")
	ask(-1, http.StatusOK, 0, "the default limit again")
	ask(0, http.StatusOK, 0, fmt.Sprintf("what is converted stays so: %s", stem))
}
