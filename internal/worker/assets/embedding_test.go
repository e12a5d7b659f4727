// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"horde/client"
	"horde/internal/hordeling/hordelingtest"
	"horde/internal/worker/assets/assetstest"
)

const (
	askedAt = "hordeling.example/api/v1/embedding/72437"
	modelAt = "civitai.com/api/v1/models/72437"
)

// The table of the workers chapter, section 10.5, and what else can be wrong with a textual inversion.
func TestEmbedding(t *testing.T) {
	t.Parallel()
	good := embedding(t)
	answer := func(sum string) object {
		o := object{"url": "https://files.example/ti"}
		if sum != "" {
			o["sha256"] = sum
		}
		return o
	}
	serve := func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }
	}
	model := func(nsfw bool) object {
		return object{"id": 72437, "name": "Easy Negative", "type": "TextualInversion", "nsfw": nsfw, "modelVersions": []object{{"id": 5, "files": []object{
			{"id": 9, "name": "x.safetensors", "type": "Model", "primary": true, "metadata": object{"format": "SafeTensor"}, "hashes": object{"SHA256": strings.ToUpper(assetstest.SHA256(good))}, "downloadUrl": "https://civitai.com/x"},
		}}}}
	}
	for name, tc := range map[string]struct {
		name string // 72437 when empty
		sfw  bool
		set  func(s *assetstest.Site)
		err  error
		asks int // of the hordeling
		took time.Duration
	}{
		"with a hash":                     {set: func(s *assetstest.Site) { s.JSON(askedAt, answer(strings.ToUpper(assetstest.SHA256(good)))) }, asks: 1},
		"without: that of CivitAI counts": {set: func(s *assetstest.Site) { s.JSON(askedAt, answer("")); s.JSON(modelAt, model(false)) }, asks: 1},
		"by its name": {name: "easy  negative", asks: 1, set: func(s *assetstest.Site) {
			s.JSON(askedAt, answer(assetstest.SHA256(good)))
			s.JSON("civitai.com/api/v1/models", object{"items": []object{model(false)}})
		}},
		"by another name": {name: "hard positive", err: ErrNotFound, set: func(s *assetstest.Site) {
			s.JSON("civitai.com/api/v1/models", object{"items": []object{model(false)}})
		}},
		"safe for work on such a worker": {sfw: true, asks: 1, set: func(s *assetstest.Site) {
			s.JSON(askedAt, answer(assetstest.SHA256(good)))
			s.JSON(modelAt, model(false))
		}},
		"not safe for work on such a worker": {sfw: true, err: ErrRefused, set: func(s *assetstest.Site) {
			s.JSON(askedAt, answer(assetstest.SHA256(good)))
			s.JSON(modelAt, model(true))
		}},
		"another hash":   {set: func(s *assetstest.Site) { s.JSON(askedAt, answer(assetstest.SHA256([]byte("x")))) }, err: ErrRefused, asks: 1, took: 3 * time.Second},
		"no hash at all": {set: func(s *assetstest.Site) { s.JSON(askedAt, answer("")) }, err: ErrNotFound, asks: 1, took: time.Second},
		"not safetensors": {set: func(s *assetstest.Site) {
			s.Handle("files.example/ti", serve([]byte("pickle")))
			s.JSON(askedAt, answer(assetstest.SHA256([]byte("pickle"))))
		}, err: ErrRefused, asks: 1},
		"too large": {set: func(s *assetstest.Site) {
			s.Slow("files.example/ti", MaxEmbeddingBytes+1, 1<<20)
			s.JSON(askedAt, answer(assetstest.SHA256(good)))
		}, err: ErrRefused, asks: 1},
		"404":                 {set: func(s *assetstest.Site) { s.Status(askedAt, 404, "") }, err: ErrNotFound, asks: 1},
		"422":                 {set: func(s *assetstest.Site) { s.Status(askedAt, 422, `{"message":"no"}`) }, err: ErrRefused, asks: 1},
		"400 unexpected type": {set: func(s *assetstest.Site) { s.Status(askedAt, 400, `{"message":"This is an Unexpected Type."}`) }, err: ErrRefused, asks: 1},
		"500 hash":            {set: func(s *assetstest.Site) { s.Status(askedAt, 500, `{"message":"HASH mismatch"}`) }, err: ErrRefused, asks: 1},
		"400 something else":  {set: func(s *assetstest.Site) { s.Status(askedAt, 400, `{"message":"later"}`) }, err: errPending, asks: 5, took: 12 * time.Second},
		"not JSON":            {set: func(s *assetstest.Site) { s.Status(askedAt, 502, "<html>hash") }, err: errPending, asks: 5, took: 12 * time.Second},
		"no address":          {set: func(s *assetstest.Site) { s.JSON(askedAt, object{"sha256": "x"}) }, err: errPending, asks: 5, took: 12 * time.Second},
		"an odd address": {set: func(s *assetstest.Site) {
			s.JSON(askedAt, object{"url": "ftp://x/y", "sha256": assetstest.SHA256(good)})
		}, err: ErrRefused, asks: 1},
		"503 with Retry-After": {set: func(s *assetstest.Site) { s.JSON(askedAt, answer(assetstest.SHA256(good))); s.Busy(askedAt, "7") }, asks: 2, took: 7 * time.Second},
		"Retry-After too late": {set: func(s *assetstest.Site) { s.JSON(askedAt, answer(assetstest.SHA256(good))); s.Busy(askedAt, "60") }, err: errPending, asks: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := assetstest.New()
				s.Handle("files.example/ti", serve(good))
				tc.set(s)
				st := openStore(t, s, func(c *Config) { c.NSFW = !tc.sfw })
				want := client.TextualInversion{Name: "72437"}
				if tc.name != "" {
					want.Name = tc.name
				}
				begin := time.Now()
				e, err := st.Embedding(t.Context(), want)
				took, asks := time.Since(begin), 0
				for _, c := range s.Calls() {
					if strings.HasPrefix(c, "https://hordeling.example/") {
						asks++
					}
				}
				if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) || asks != tc.asks || took != tc.took {
					t.Fatalf("%v after asking %d times and %v, want %v after %d and %v", err, asks, took, tc.err, tc.asks, tc.took)
				}
				if err != nil {
					if left := files(t, st.cfg.EmbeddingFolder); len(left) > 0 {
						t.Errorf("left in the folder: %q", left)
					}
					return
				}
				defer e.Release()
				data, err := os.ReadFile(filepath.Join(st.cfg.EmbeddingFolder, e.File()))
				if e.ID != "72437" || err != nil || string(data) != string(good) {
					t.Errorf("%q holds %d bytes, %v", e.ID, len(data), err)
				}
				n := len(s.Calls())
				again, err := st.Embedding(t.Context(), want)
				if err != nil || len(s.Calls()) != n {
					t.Errorf("the second time: %v, asked %q", err, s.Calls()[n:])
				}
				again.Release()
			})
		})
	}
}

// Without folders nothing is fetched.
func TestOff(t *testing.T) {
	t.Parallel()
	st := openStore(t, assetstest.New(), func(c *Config) { c.LoraFolder, c.EmbeddingFolder = "", "" })
	if _, err := st.Lora(t.Context(), client.Lora{Name: "7"}, ""); !errors.Is(err, ErrOff) {
		t.Error(err)
	}
	if _, err := st.Embedding(t.Context(), client.TextualInversion{Name: "7"}); !errors.Is(err, ErrOff) {
		t.Error(err)
	}
	var none *Store
	if _, err := none.Lora(t.Context(), client.Lora{Name: "7"}, ""); !errors.Is(err, ErrOff) || none.Loras() || none.Embeddings() || none.Blocked() {
		t.Error("a store that is not there does something")
	}
}

// A worker gets what a real hordeling makes of CivitAI's files: pickles converted, safetensors as they are, refusals at
// once. All of it goes over loopback through the guarded clients.
func TestRealHordeling(t *testing.T) {
	t.Parallel()
	site := hordelingtest.StartCivitAI(t)
	native := embedding(t)
	site.Add(1, "TextualInversion", hordelingtest.File{Name: "a.pt", Format: "PickleTensor", Data: hordelingtest.WebUI, Primary: true})
	site.Add(2, "TextualInversion", hordelingtest.File{Name: "b.safetensors", Format: "SafeTensor", Data: native, Primary: true})
	site.Add(3, "Checkpoint", hordelingtest.File{Name: "c.safetensors", Format: "SafeTensor", Data: native, Primary: true})
	site.Add(4, "TextualInversion", hordelingtest.File{Name: "d.pt", Format: "PickleTensor", Data: []byte("\x80\x02cos\nsystem\nX\x01\x00\x00\x00xR."), Primary: true})
	lora := site.Add(5, "LORA", hordelingtest.File{Name: "e.safetensors", Format: "SafeTensor", Data: native, Primary: true})
	st, err := Open(Config{LoraFolder: t.TempDir(), EmbeddingFolder: t.TempDir(), LoraBudget: 1 << 30, CivitAI: site.URL, Hordeling: assetstest.Hordeling(t, site),
		NSFW: true, Agent: "test:1:x", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	for id, sum := range map[string]string{"1": hordelingtest.WebUISHA256, "2": assetstest.SHA256(native)} {
		e, err := st.Embedding(t.Context(), client.TextualInversion{Name: id})
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if got, err := hashFile(filepath.Join(st.cfg.EmbeddingFolder, e.File())); got != sum || err != nil {
			t.Errorf("%s: hash %s, %v", id, got, err)
		}
		e.Release()
	}
	for id, want := range map[string]error{"3": ErrRefused, "4": ErrRefused, "999": ErrNotFound} {
		if _, err := st.Embedding(t.Context(), client.TextualInversion{Name: id}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
	l, err := st.Lora(t.Context(), client.Lora{Name: "5", InjectTrigger: "any"}, "")
	if err != nil || l.File != "amodel_50.safetensors" || l.Words != "cat" || site.Calls("/api/download/") == 0 {
		t.Fatalf("%v: %+v, %v", lora, l, err)
	}
	l.Release()
	// What is at hand on this machine for others must not be reachable by what CivitAI says.
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("an address inside was asked") }))
	defer other.Close()
	inside := strings.Replace(other.URL, "127.0.0.1", "127.0.0.2", 1)
	site.Put(6, object{"id": 6, "name": "inside", "type": "LORA", "modelVersions": []object{{"id": 60, "files": []object{
		{"name": "x.safetensors", "primary": true, "sizeKB": 1, "hashes": object{"SHA256": assetstest.SHA256(native)}, "downloadUrl": inside}}}}})
	if _, err := st.Lora(t.Context(), client.Lora{Name: "6"}, ""); !errors.Is(err, ErrRefused) {
		t.Errorf("an address inside: %v", err)
	}
}
