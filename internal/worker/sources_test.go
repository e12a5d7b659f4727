// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"horde/client"
	"horde/internal/worker/backend"
)

// Source pictures may lie at the horde's own address, on loopback too, and nowhere else in private; a redirect does not
// help.
func TestSources(t *testing.T) {
	t.Parallel()
	data, _ := client.DecodeImage(tinyPNG)
	var served atomic.Int32
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
		case "/large":
			w.Write(make([]byte, maxSource+1))
		case "/text":
			w.Write([]byte("no picture"))
		default:
			served.Add(1)
			w.Write(data)
		}
	}))
	defer own.Close()
	cfg := testConfig(t)
	cfg.HordeURL = own.URL + "/api/"
	c := newSourceClient(t.Context(), &cfg)
	src, meta := getSources(t.Context(), c, &client.ImageJob{SourceImage: own.URL + "/a.webp", SourceMask: own.URL + "/b.webp",
		ExtraSourceImages: []client.ExtraSourceImage{{Image: own.URL + "/c.webp", Strength: new(0.5)}, {Image: tinyPNG}}})
	if len(meta) != 0 || src.Image == nil || src.Mask == nil || len(src.Extra) != 2 || src.Extra[0].Strength != 0.5 || src.Extra[1].Strength != 1 || served.Load() != 3 {
		t.Errorf("got %+v, %v", src, meta)
	}
	if src, meta = getSources(t.Context(), c, &client.ImageJob{SourceImage: own.URL + "/text"}); src.Image != nil || len(meta) != 1 || meta[0].Value != "parse_failed" {
		t.Errorf("text: %v", meta)
	}
	for _, where := range []string{"http://10.0.0.1/x", "http://[::1]:1/x", own.URL + "/away", own.URL + "/large", "http://192.168.1.1/"} {
		if _, err := download(t.Context(), c, where); err == nil {
			t.Errorf("fetched %s", where)
		}
	}
	// A horde with a public address opens nothing.
	cfg.HordeURL = "https://192.0.2.1/api/"
	if _, err := download(t.Context(), newSourceClient(t.Context(), &cfg), own.URL+"/a.webp"); err == nil || strings.Contains(err.Error(), "status") {
		t.Errorf("fetched from loopback for a public horde: %v", err)
	}
	if _, _, err := toWebP([]byte("RIFF....WEBPVP8L")); err == nil {
		t.Error("a broken result was passed on")
	}
	webp, _, _ := backend.EncodeWebP(notice("x"))
	if out, _, err := toWebP(webp); err != nil || string(out) != string(webp) {
		t.Errorf("WebP did not pass through: %v", err)
	}
}
