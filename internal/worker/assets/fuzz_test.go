// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"horde/client"
	"horde/internal/worker/assets/assetstest"
)

// FuzzSite lets CivitAI and the hordeling say what they like. No file is made outside of the folders, and what a job gets is there.
func FuzzSite(f *testing.F) {
	f.Add(200, "application/json", `{"id":7,"name":"Detail","type":"LORA","modelVersions":[{"id":79,"baseModel":"SD 1.5","trainedWords":["x"],"files":[{"name":"a.safetensors","sizeKB":1,"primary":true,"downloadUrl":"https://civitai.com/api/v1/models/7","hashes":{"SHA256":"00"},"metadata":{"format":"SafeTensor"}}]}]}`)
	f.Add(200, "application/json", `{"items":[{"id":7,"name":"../../x","type":"LORA","modelVersions":[]}]}`)
	f.Add(200, "application/json", `{"url":"https://hordeling.example/api/v1/embedding/7","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","rc":"x"}`)
	f.Add(404, "text/html", `<html>`)
	f.Add(200, "application/octet-stream", "\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		if status < 200 || status > 599 || status == http.StatusTooManyRequests || status >= 500 {
			return // tried again after a time
		}
		root := t.TempDir()
		loras, tis := filepath.Join(root, "loras"), filepath.Join(root, "embeddings")
		for _, dir := range []string{loras, tis} {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Test(t, func(t *testing.T) { fuzzSite(t, status, kind, body, loras, tis) })
		if outside, _ := os.ReadDir(root); len(outside) != 2 {
			t.Errorf("there is something beside the folders: %v", outside)
		}
	})
}

func fuzzSite(t *testing.T, status int, kind, body, loras, tis string) {
	s := assetstest.New()
	for _, key := range []string{"civitai.com/api/v1/models/7", "civitai.com/api/v1/models", "civitai.com/api/v1/model-versions/7", "hordeling.example/api/v1/embedding/7"} {
		s.Handle(key, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
	st, err := Open(Config{LoraFolder: loras, EmbeddingFolder: tis, LoraBudget: 1 << 20, CivitAI: "https://civitai.com", Hordeling: "https://hordeling.example", NSFW: true, HTTP: s})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, want := range []client.Lora{{Name: "7"}, {Name: "7", IsVersion: true}, {Name: "Detail"}} {
		if l, err := st.Lora(t.Context(), want, ""); err == nil {
			if _, err := os.Stat(filepath.Join(loras, l.File)); err != nil || strings.ContainsAny(l.File, `/\`) {
				t.Errorf("LoRA %q: %v", l.File, err)
			}
			l.Release()
		}
	}
	if e, err := st.Embedding(t.Context(), client.TextualInversion{Name: "7"}); err == nil {
		if _, err := os.Stat(filepath.Join(tis, e.File())); err != nil {
			t.Error(err)
		}
		e.Release()
	}
}

// FuzzIndex reads the index of a folder. Nothing that it says is deleted outside of the folder, nor a folder.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`[{"file":"a.safetensors","size":1},{"file":".."},{"file":"."},{"file":""},null]`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`[{"file":"../outside","size":7}]`))
	f.Fuzz(func(t *testing.T, index []byte) {
		root := t.TempDir()
		dir := filepath.Join(root, "folder")
		if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{filepath.Join(dir, indexName): index, filepath.Join(root, "outside"): []byte("outside"), filepath.Join(dir, "a.safetensors"): []byte("a")} {
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := openShelf(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for file := range s.entries {
			if info, err := os.Stat(s.path(file)); err != nil || !info.Mode().IsRegular() || filepath.Dir(s.path(file)) != dir {
				t.Errorf("%q is no file of the folder", file)
			}
		}
		s.makeRoom(1)
		for _, name := range []string{filepath.Join(root, "outside"), filepath.Join(dir, "sub")} {
			if _, err := os.Stat(name); err != nil {
				t.Error(err)
			}
		}
	})
}
