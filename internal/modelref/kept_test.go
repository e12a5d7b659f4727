// SPDX-License-Identifier: AGPL-3.0-or-later

package modelref

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"horde/internal/horde"
)

// TestTheLastGoodListOutlivesTheServer starts servers one after the other on the same directory while the source of a list
// breaks and comes back.
func TestTheLastGoodListOutlivesTheServer(t *testing.T) {
	t.Parallel()
	var answer atomic.Value
	answer.Store(oneModel)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if text := answer.Load().(string); text != "" {
			_, _ = io.WriteString(w, text)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "models")
	start := func() (*Holder, error) {
		h := NewHolder(Sources{Image: []string{Builtin, server.URL}, Keep: dir}, slog.New(slog.DiscardHandler))
		return h, h.Refresh(t.Context())
	}
	if _, err := start(); err != nil {
		t.Fatal(err)
	}
	copies, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(copies) != 1 {
		t.Fatalf("kept %q", copies)
	}
	ago := time.Now().Add(-3 * time.Hour)
	if err := os.Chtimes(copies[0], ago, ago); err != nil {
		t.Fatal(err)
	}
	for _, broken := range []string{"", "<html>", `{"m": {}}`} {
		answer.Store(broken)
		h, err := start()
		if err == nil || !strings.Contains(err.Error(), "the copy of "+ago.UTC().Format(time.DateTime)+" is used") {
			t.Errorf("%q: %v", broken, err)
		}
		if !h.Reference().Known(horde.Image, "m") || !h.Reference().Known(horde.Image, "Deliberate") {
			t.Errorf("%q: the list is lost", broken)
		}
		if age := h.Age(horde.Image); age < 3*time.Hour || age > 4*time.Hour {
			t.Errorf("%q: it is said to be %s old", broken, age)
		}
	}
	answer.Store(strings.ReplaceAll(oneModel, `"m"`, `"m2"`))
	h, err := start()
	if err != nil || !h.Reference().Known(horde.Image, "m2") || h.Reference().Known(horde.Image, "m") || h.Age(horde.Image) > time.Minute {
		t.Errorf("%v, %s", err, h.Age(horde.Image))
	}
	answer.Store("")
	if err := os.WriteFile(copies[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := start(); err == nil || !h.Reference().Known(horde.Image, "Deliberate") {
		t.Errorf("a broken copy: %v", err)
	}
}
