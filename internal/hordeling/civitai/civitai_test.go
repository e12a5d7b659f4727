// SPDX-License-Identifier: AGPL-3.0-or-later

package civitai_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"horde/internal/fetch"
	"horde/internal/hordeling/civitai"
	"horde/internal/hordeling/hordelingtest"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	file := func(id int64, name, typ, format string, primary bool) civitai.File {
		return civitai.File{ID: id, Name: name, Type: typ, Format: format, Primary: primary, DownloadURL: "https://civitai.com/x"}
	}
	for name, c := range map[string]struct {
		files []civitai.File
		want  int64 // 0 = none
	}{
		"nothing":                          {nil, 0},
		"primary of two safetensors":       {[]civitai.File{file(3, "a.safetensors", "Model", "SafeTensor", false), file(4, "b.safetensors", "Model", "SafeTensor", true)}, 4},
		"primary is the first":             {[]civitai.File{file(3, "a.safetensors", "Model", "SafeTensor", true), file(4, "b.safetensors", "Model", "SafeTensor", false)}, 3},
		"first of equals":                  {[]civitai.File{file(3, "a.pt", "Model", "PickleTensor", false), file(4, "b.pt", "Model", "PickleTensor", false)}, 3},
		"safetensors before the primary":   {[]civitai.File{file(3, "a.pt", "Model", "PickleTensor", true), file(4, "b.safetensors", "Model", "SafeTensor", false)}, 4},
		"no companion":                     {[]civitai.File{file(3, "a-neg.safetensors", "Negative", "SafeTensor", true), file(4, "a.pt", "Model", "PickleTensor", false)}, 4},
		"a companion where nothing else":   {[]civitai.File{file(3, "a-neg.pt", "Negative", "PickleTensor", true)}, 3},
		"pruned counts as main":            {[]civitai.File{file(3, "a-neg.pt", "Negative", "PickleTensor", true), file(4, "a.pt", "Pruned Model", "PickleTensor", false)}, 4},
		"training data":                    {[]civitai.File{file(3, "a.zip", "Training Data", "Other", true)}, 0},
		"training data with weight suffix": {[]civitai.File{file(3, "a.bin", "Training Data", "PickleTensor", true)}, 0},
		"config, archive, workflow":        {[]civitai.File{file(3, "a.pt", "Config", "", true), file(4, "a.pt", "Archive", "", true), file(5, "a.pt", "Workflow", "", true)}, 0},
		"other with a zip":                 {[]civitai.File{file(3, "a.zip", "Model", "Other", true)}, 0},
		"other with a pickle":              {[]civitai.File{file(3, "a.BIN", "Model", "Other", true)}, 3},
		"no format with ckpt":              {[]civitai.File{file(3, "a.ckpt", "Model", "", true)}, 3},
		"no format with pth":               {[]civitai.File{file(3, "a.pth", "Model", "", true)}, 3},
		"no format with safetensors":       {[]civitai.File{file(3, "a.pt", "Model", "PickleTensor", true), file(4, "A.SafeTensors", "Model", "", false)}, 4},
		"the format wins over the suffix":  {[]civitai.File{file(3, "a.safetensors", "Model", "PickleTensor", false), file(4, "a.pt", "Model", "SafeTensor", false)}, 4},
		"diffusers, ONNX, GGUF":            {[]civitai.File{file(3, "a.pt", "Model", "Diffusers", true), file(4, "a.bin", "Model", "ONNX", true), file(5, "a.bin", "Model", "GGUF", false)}, 0},
		"a file without address":           {[]civitai.File{{ID: 3, Name: "a.pt", Type: "Model"}}, 0},
		"a file with a script for address": {[]civitai.File{{ID: 3, Name: "a.pt", Type: "Model", DownloadURL: "javascript:alert(1)"}}, 0},
		"a file without id":                {[]civitai.File{file(0, "a.pt", "Model", "PickleTensor", true)}, 0},
	} {
		got := civitai.Choose(&civitai.Model{Type: "TextualInversion", Files: c.files})
		if got == nil && c.want != 0 || got != nil && got.ID != c.want {
			t.Errorf("%s: chose %+v, want %d", name, got, c.want)
		}
	}
}

func newClient(t *testing.T, cfg civitai.Config) *civitai.Client {
	t.Helper()
	c, err := civitai.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestModel(t *testing.T) {
	t.Parallel()
	site := hordelingtest.StartCivitAI(t)
	client := newClient(t, civitai.Config{BaseURL: site.URL, Key: "secret", MetadataTimeout: 3 * time.Second})
	status := func(n int) http.HandlerFunc { return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) } }
	site.Add(1, "TextualInversion", hordelingtest.File{Name: "n.pt", Format: "PickleTensor", Data: []byte("data"), Primary: true, VirusScan: "Danger"})
	site.Put(2, `{"type":"TextualInversion"}`)
	site.Put(3, `{"type":"TextualInversion","modelVersions":[]}`)
	site.Put(4, `not JSON`)
	site.Put(5, `{"type":"TextualInversion","modelVersions":[{"files":[{"id":"7"}]}]}`)
	site.Put(6, `[]`)
	site.Put(7, `{"type":"TextualInversion","modelVersions":[{"id":1,"files":[{"id":7,"metadata":null,"hashes":{"SHA256":"xyz"},"primary":null}]}]}`)
	site.Put(8, `{}`)
	site.Put(10, `{"type":5,"modelVersions":"x"}`)
	site.Put(11, `null`)
	site.Put(12, `"x"`)
	site.Put(13, `{"type":"TextualInversion","modelVersions":[7]}`)
	site.Put(14, `{"type":"TextualInversion","modelVersions":[{"id":"1","files":[5,{"id":7,"sizeKB":"big","name":"a.pt","downloadUrl":"https://civitai.com/x"}]}]}`)
	site.Handle("/api/v1/models/20", status(http.StatusInternalServerError))
	site.Handle("/api/v1/models/21", status(http.StatusUnauthorized))
	site.Handle("/api/v1/models/22", func(w http.ResponseWriter, r *http.Request) {
		if site.Calls(r.URL.Path) < 2 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Write([]byte(`{"type":"LORA"}`))
	})
	for id, want := range map[int64]error{
		1: nil, 2: nil, 3: nil, 4: civitai.ErrUnavailable, 5: nil, 6: civitai.ErrUnavailable, 7: nil, 9: civitai.ErrNotFound,
		8: nil, 10: nil, 11: civitai.ErrUnavailable, 12: civitai.ErrUnavailable, 13: nil, 14: nil,
		20: civitai.ErrUnavailable, 21: civitai.ErrUnavailable, 22: nil,
	} {
		m, err := client.Model(context.Background(), id)
		if !errors.Is(err, want) || err == nil && m == nil {
			t.Errorf("model %d: %v, %v", id, m, err)
		}
		if m == nil {
			continue
		}
		if id == 1 {
			f := m.Files[0]
			if m.VersionID != 10 || !f.Primary || !f.Flagged || len(f.SHA256) != 64 || f.SHA256 != strings.ToLower(f.SHA256) || f.Kind() != civitai.Pickle {
				t.Errorf("model 1 is %+v", m)
			}
		}
		if f := civitai.Choose(m); (f != nil) != (id == 1 || id == 14) || id == 14 && f.ID != 7 {
			t.Errorf("model %d: chose %+v of %+v", id, f, m)
		}
		if id == 7 && m.Files[0].SHA256 != "" {
			t.Error("a hash that is no hash")
		}
	}
	for path, want := range map[string]int{"/api/v1/models/20": 3, "/api/v1/models/21": 1, "/api/v1/models/22": 2, "/api/v1/models/9": 1} {
		if got := site.Calls(path); got != want {
			t.Errorf("%s was asked for %d times, want %d", path, got, want)
		}
	}
	if got := site.Authorization("/api/v1/models/1"); got != "Bearer secret" {
		t.Errorf("the key was sent as %q", got)
	}
}

func TestModelTimeout(t *testing.T) {
	t.Parallel()
	site := hordelingtest.StartCivitAI(t)
	site.Handle("/api/v1/models/1", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	client := newClient(t, civitai.Config{BaseURL: site.URL, MetadataTimeout: 100 * time.Millisecond})
	start := time.Now()
	if _, err := client.Model(context.Background(), 1); !errors.Is(err, civitai.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	site := hordelingtest.StartCivitAI(t)
	client := newClient(t, civitai.Config{BaseURL: site.URL, Key: "secret", MaxBytes: 1 << 20, DownloadTimeout: 5 * time.Second})
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(n)
			w.Write([]byte(`{"error":"hash of unexpected type"}`))
		}
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
		}
	}
	for name, c := range map[string]struct {
		file hordelingtest.File
		want []error // nil = the data
	}{
		"by a redirect":                  {hordelingtest.File{Data: []byte("data")}, nil},
		"401":                            {hordelingtest.File{Handler: status(401)}, []error{civitai.ErrDenied}},
		"403":                            {hordelingtest.File{Handler: status(403)}, []error{civitai.ErrDenied}},
		"410":                            {hordelingtest.File{Handler: status(410)}, []error{civitai.ErrDenied}},
		"404":                            {hordelingtest.File{Handler: status(404)}, []error{civitai.ErrDownload}},
		"429":                            {hordelingtest.File{Handler: status(429)}, []error{civitai.ErrDownload}},
		"500":                            {hordelingtest.File{Handler: status(500)}, []error{civitai.ErrDownload}},
		"a web page":                     {hordelingtest.File{Handler: func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<!doctype html><html>")) }}, []error{civitai.ErrDenied}},
		"larger than allowed":            {hordelingtest.File{Data: make([]byte, 1<<20+1)}, []error{civitai.ErrTooLarge}},
		"larger than declared":           {hordelingtest.File{Data: make([]byte, 200<<10), SizeKB: 100}, []error{civitai.ErrTooLarge}},
		"a little larger than declared":  {hordelingtest.File{Data: make([]byte, 160<<10), SizeKB: 100}, nil},
		"endless":                        {hordelingtest.File{Handler: endless}, []error{civitai.ErrTooLarge}},
		"redirect to a private address":  {hordelingtest.File{Handler: redirect("http://10.0.0.1/x")}, []error{civitai.ErrDownload, fetch.ErrPrivateAddress}},
		"redirect to link-local":         {hordelingtest.File{Handler: redirect("http://169.254.169.254/latest/meta-data/")}, []error{civitai.ErrDownload, fetch.ErrPrivateAddress}},
		"redirect to other loopback":     {hordelingtest.File{Handler: redirect("http://127.0.0.2/x")}, []error{civitai.ErrDownload, fetch.ErrPrivateAddress}},
		"redirect to a private v6":       {hordelingtest.File{Handler: redirect("http://[fd00::1]/x")}, []error{civitai.ErrDownload, fetch.ErrPrivateAddress}},
		"redirect to a file":             {hordelingtest.File{Handler: redirect("file:///etc/passwd")}, []error{civitai.ErrDownload, fetch.ErrURL}},
		"redirect to nowhere":            {hordelingtest.File{Handler: redirect("")}, []error{civitai.ErrDownload}},
		"redirect in a circle":           {hordelingtest.File{Handler: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }}, []error{civitai.ErrDownload, fetch.ErrRedirects}},
		"breaks off":                     {hordelingtest.File{Handler: breaksOff}, []error{civitai.ErrDownload}},
		"declares more than it may send": {hordelingtest.File{Handler: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "99999999999") }}, []error{civitai.ErrTooLarge}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := int64(len(name)) + 1000*int64(name[0]) // any id will do
			files := site.Add(model, "TextualInversion", c.file)
			f := &civitai.File{ID: files[0].ID, SizeKB: c.file.SizeKB, DownloadURL: site.URL + "/api/download/" + itoa(files[0].ID)}
			got, err := client.Download(context.Background(), f)
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			}
			if c.want == nil {
				if err != nil || len(got) != len(c.file.Data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				if key := site.Authorization("/api/download/" + itoa(files[0].ID)); key != "Bearer secret" {
					t.Errorf("the key was sent as %q", key)
				}
				if key := site.Authorization("/cdn/" + itoa(files[0].ID)); key != "" {
					t.Errorf("the key followed the redirect: %q", key)
				}
			}
			if err != nil && (strings.Contains(err.Error(), "hash") || strings.Contains(err.Error(), "secret")) {
				t.Errorf("the error repeats too much: %v", err)
			}
		})
	}
	if _, err := client.Download(context.Background(), &civitai.File{DownloadURL: "http://127.0.0.2/x"}); !errors.Is(err, civitai.ErrDownload) {
		t.Errorf("a download elsewhere: %v", err)
	}
}

func TestSlowDownloadEndsInTime(t *testing.T) {
	t.Parallel()
	site := hordelingtest.StartCivitAI(t)
	drip := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			w.Write([]byte("a"))
			w.(http.Flusher).Flush()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	}
	files := site.Add(1, "TextualInversion", hordelingtest.File{Handler: drip})
	client := newClient(t, civitai.Config{BaseURL: site.URL, DownloadTimeout: 200 * time.Millisecond})
	start := time.Now()
	_, err := client.Download(context.Background(), &civitai.File{DownloadURL: site.URL + "/api/download/" + itoa(files[0].ID)})
	if took := time.Since(start); !errors.Is(err, civitai.ErrDownload) || took > 5*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

func TestBaseURLMustBeHTTP(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"ftp://civitai.com", "civitai.com", "https://", "file:///x"} {
		if _, err := civitai.New(civitai.Config{BaseURL: base}); err == nil {
			t.Errorf("%q is accepted", base)
		}
	}
	c := newClient(t, civitai.Config{})
	for raw, want := range map[string]bool{
		"https://civitai.com/api/download/models/1": true, "http://civitai.com/x": false, "https://civitai.com.evil.example/x": false,
		"https://user@civitai.com/x": false, "https://civitai.com:444/x": false, "//civitai.com/x": false,
	} {
		if c.Own(raw) != want {
			t.Errorf("%s: own is %v", raw, !want)
		}
	}
}

// TestMarkOfADoubtfulType: a mark that restricts is not lost because it is written in another way.
func TestMarkOfADoubtfulType(t *testing.T) {
	t.Parallel()
	for nsfw, want := range map[string]bool{"true": true, "false": false, "null": false, `"yes"`: true, "1": true, "{}": true} {
		m, err := civitai.Decode([]byte(`{"type":"LORA","nsfw":` + nsfw + `}`))
		if err != nil || m.NSFW != want {
			t.Errorf("%s: %+v, %v", nsfw, m, err)
		}
		m, err = civitai.DecodeVersion([]byte(`{"id":1,"modelId":2,"model":{"type":"LORA","nsfw":` + nsfw + `}}`))
		if err != nil || m.NSFW != want {
			t.Errorf("%s in a version: %+v, %v", nsfw, m, err)
		}
	}
}
