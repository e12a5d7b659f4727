// SPDX-License-Identifier: AGPL-3.0-or-later

package modelref

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/horde"
)

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "list.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheListsOfTheProgram(t *testing.T) {
	t.Parallel()
	ref := NewHolder(Sources{}, nil).Reference()
	for model, baseline := range map[string]string{
		"stable_diffusion": horde.BaselineSD1, "Deliberate": horde.BaselineSD1, "pix2pix": horde.BaselineSD1,
		"stable_diffusion_inpainting": horde.BaselineSD1, "Demo Painter": horde.BaselineSD1,
		"Stable Diffusion 2 Depth": horde.BaselineSD2x512, "SDXL 1.0": horde.BaselineSDXL,
		"AlbedoBase XL (SDXL)": horde.BaselineSDXL, "Stable Cascade 1.0": horde.BaselineCascade,
		"Flux.1-Schnell fp8 (Compact)": horde.BaselineFlux, "Qwen-Image": horde.BaselineQwen,
		"Z-Image-Turbo": horde.BaselineZImage,
	} {
		if !ref.Known(horde.Image, model) || ref.Baseline(model) != baseline {
			t.Errorf("%s: known %v, baseline %q; want %q", model, ref.Known(horde.Image, model), ref.Baseline(model), baseline)
		}
	}
	for name, m := range ref.Image {
		if !ref.Served(name) || m.Name != name || m.Description == "" {
			t.Errorf("%s: served %v, %+v", name, ref.Served(name), m)
		}
	}
	if !ref.Image["stable_diffusion_inpainting"].Inpainting || ref.Image["stable_diffusion"].Inpainting {
		t.Error("which models fill in pictures got lost")
	}
	flux := ref.Image["Flux.1-Schnell fp8 (Compact)"].Requirements
	if *flux.MinSteps != 3 || *flux.MaxSteps != 8 || *flux.MinCFGScale != 1 || *flux.MaxCFGScale != 4 ||
		len(flux.Samplers) != 1 || flux.Samplers[0] != "k_euler" || len(flux.Schedulers) != 1 || flux.Schedulers[0] != "karras" {
		t.Errorf("flux wants %+v", flux)
	}
	for model, billions := range map[string]float64{
		"HuggingFaceTB/SmolLM2-135M-Instruct": 0.135, "koboldcpp/SmolLM2-135M-Instruct": 0.135,
		"aphrodite/HuggingFaceTB/SmolLM2-135M-Instruct": 0.135, "koboldcpp/SmolLM2-135M-Instruct.i1-Q4_K_M": 0.135,
		"sandbox/demo-writer": 0.1, "meta-llama/Llama-3.1-8B-Instruct": 8,
	} {
		if !ref.Known(horde.Text, model) || ref.Billions(model) != billions {
			t.Errorf("%s: known %v, %v billions; want %v", model, ref.Known(horde.Text, model), ref.Billions(model), billions)
		}
	}
	if len(ref.Image) < 40 || len(ref.Text) < 3*40 {
		t.Errorf("%d image and %d text models", len(ref.Image), len(ref.Text))
	}
}

const oneModel = `{"m": {"name": "m", "baseline": "stable_diffusion_xl", "type": "ckpt", "inpainting": false}}`

func TestParseImage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, list, wrong string }{
		{"a record", oneModel, ""},
		{"an empty list to be merged", `{}`, ""},
		{"unknown fields", `{"m": {"baseline": "x", "colour": "red", "config": [1], "download_all": "yes", "tags": 3}}`, ""},
		{"prose of another type", `{"m": {"baseline": "x", "description": 5, "style": ["a"], "version": 1.5, "name": 7}}`, ""},
		{"requirements with fractions of zero", `{"m": {"baseline": "x", "requirements": {"min_steps": 3.0, "clip_skip": 2e0}}}`, ""},
		{"requirements that are null", `{"m": {"baseline": "x", "requirements": {"min_steps": null}}}`, ""},
		{"nothing", ``, "not a list of models"},
		{"half a list", oneModel[:30], "not a list of models"},
		{"a page that says sorry", `<html>`, "not a list of models"},
		{"null", `null`, "not a list of models"},
		{"an array", `[]`, "not a list of models"},
		{"a record of null", `{"m": null}`, `record "m"`},
		{"a record that is text", `{"m": "x"}`, `record "m"`},
		{"no baseline", `{"m": {}}`, `record "m": no baseline`},
		{"a baseline of another type", `{"m": {"baseline": 1}}`, `record "m"`},
		{"nsfw of another type", `{"m": {"baseline": "x", "nsfw": "yes"}}`, `record "m"`},
		{"half a step", `{"m": {"baseline": "x", "requirements": {"min_steps": 3.5}}}`, `record "m"`},
		{"steps without end", `{"m": {"baseline": "x", "requirements": {"max_steps": 1e300}}}`, `record "m"`},
		{"samplers of another type", `{"m": {"baseline": "x", "requirements": {"samplers": "k_euler"}}}`, `record "m"`},
	} {
		_, err := ParseImage([]byte(c.list))
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v, want %q", c.name, err, c.wrong)
		}
	}
	models, err := ParseImage([]byte(`{"a": {"baseline": "stable_diffusion_1", "nsfw": true, "type": "controlnet", "style": "anime",
		"requirements": {"max_steps": 8.0, "cfg_scale": 2}}, "b": {"baseline": "flux_dev"}}`))
	if err != nil {
		t.Fatal(err)
	}
	a := models["a"]
	if a.Name != "a" || a.Baseline != horde.BaselineSD1 || !a.NSFW || a.Type != "controlnet" || a.Style != "anime" ||
		*a.Requirements.MaxSteps != 8 || *a.Requirements.CFGScale != 2 || a.Requirements.MinSteps != nil {
		t.Errorf("read as %+v", a)
	}
	if got := models["b"].Baseline; got != horde.BaselineFlux {
		t.Errorf("baseline %q", got)
	}
}

func TestParseText(t *testing.T) {
	t.Parallel()
	models, err := ParseText([]byte(`{
		"owner/name-7B": {"parameters": 7000000000, "nsfw": true, "tags": 5},
		"aphrodite/owner/name-7B": {"parameters": 7.5e9},
		"plain": {"parameters": 1}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"owner/name-7B": 7e9, "aphrodite/owner/name-7B": 7.5e9, "koboldcpp/name-7B": 7e9,
		"plain": 1, "aphrodite/plain": 1, "koboldcpp/plain": 1,
	} {
		if got, ok := models[name]; !ok || got.Parameters != want || got.Name != name {
			t.Errorf("%s: %+v, want %d", name, got, want)
		}
	}
	if len(models) != 6 || !models["koboldcpp/name-7B"].NSFW {
		t.Errorf("%d models: %+v", len(models), models)
	}
	for _, list := range []string{
		`{"m": {}}`, `{"m": {"parameters": 0}}`, `{"m": {"parameters": -7}}`, `{"m": {"parameters": "7B"}}`,
		`{"m": {"parameters": 1e200}}`, `{"m": {"parameters": 1e999}}`, `{"m": 1}`, `[]`, `null`, ``,
	} {
		if got, err := ParseText([]byte(list)); err == nil {
			t.Errorf("%s was read as %+v", list, got)
		}
	}
}

func TestLoadMergesListsInOrder(t *testing.T) {
	t.Parallel()
	first := file(t, `{"a": {"baseline": "flux_1"}, "b": {"baseline": "flux_1"}}`)
	second := file(t, `{"b": {"baseline": "qwen_image"}, "Demo Painter": {"baseline": "qwen_image"}}`)
	ref, err := Load(t.Context(), Sources{Image: []string{Builtin, first, second}})
	if err != nil {
		t.Fatal(err)
	}
	for model, want := range map[string]string{
		"a": horde.BaselineFlux, "b": horde.BaselineQwen, "Demo Painter": horde.BaselineQwen, "SDXL 1.0": horde.BaselineSDXL,
	} {
		if got := ref.Image[model].Baseline; got != want {
			t.Errorf("%s: %q, want %q", model, got, want)
		}
	}
}

func TestLoadRefusesWhatIsNoList(t *testing.T) {
	t.Parallel()
	large := file(t, "")
	if err := os.Truncate(large, maxListSize+1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, source, wrong string
	}{
		{"no file", filepath.Join(t.TempDir(), "none.json"), "no such file"},
		{"a folder", t.TempDir(), "is a directory"},
		{"an empty list", file(t, `{}`), "no models"},
		{"a broken list", file(t, `{"m": 1}`), `record "m"`},
		{"too large", large, "more than 64 MiB"},
		{"no such scheme", "ftp://example.org/list.json", "no such file"},
	} {
		for _, s := range []Sources{{Image: []string{c.source}}, {Text: []string{c.source}}} {
			if _, err := Load(t.Context(), s); err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: %v, want %q", c.name, err, c.wrong)
			}
		}
	}
}

func TestAListThatDoesNotSayItsSizeIsBounded(t *testing.T) {
	t.Parallel()
	if got, err := bounded(strings.NewReader("1234"), 4); string(got) != "1234" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := bounded(strings.NewReader("12345"), 4); !errors.Is(err, errTooLarge) {
		t.Errorf("%v", err)
	}
}

func TestLoadOverHTTP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		serve func(w http.ResponseWriter, call int32)
		calls int32
		wrong string
	}{
		{"at once", func(w http.ResponseWriter, _ int32) { _, _ = io.WriteString(w, oneModel) }, 1, ""},
		{"at the tenth try", func(w http.ResponseWriter, call int32) {
			if call < 10 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			_, _ = io.WriteString(w, oneModel)
		}, 10, ""},
		{"after a broken connection", func(w http.ResponseWriter, call int32) {
			if call == 1 {
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, oneModel)
		}, 2, ""},
		{"never", func(w http.ResponseWriter, _ int32) { w.WriteHeader(http.StatusInternalServerError) }, 10, "500"},
		{"gone", func(w http.ResponseWriter, _ int32) { w.WriteHeader(http.StatusNotFound) }, 1, "404"},
		{"a page that says sorry", func(w http.ResponseWriter, _ int32) { _, _ = io.WriteString(w, "<html>") }, 1, "not a list"},
		{"too large", func(w http.ResponseWriter, _ int32) {
			w.Header().Set("Content-Length", strconv.Itoa(maxListSize+1))
			w.WriteHeader(http.StatusOK)
		}, 1, "more than 64 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.serve(w, calls.Add(1)) }))
			server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			defer server.Close()
			ref, err := Load(t.Context(), Sources{Image: []string{server.URL}})
			switch {
			case c.wrong == "" && (err != nil || ref.Baseline("m") != horde.BaselineSDXL):
				t.Errorf("%+v, %v", ref, err)
			case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
				t.Errorf("%v, want %q", err, c.wrong)
			}
			if calls.Load() != c.calls {
				t.Errorf("%d calls, want %d", calls.Load(), c.calls)
			}
		})
	}
}

func TestErrorsDoNotShowThePasswordOfASource(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	for _, path := range []string{"/gone", "/empty"} {
		source := strings.Replace(server.URL, "http://", "http://me:hunter2@", 1) + path
		_, err := Load(t.Context(), Sources{Text: []string{source}})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestEachKindKeepsItsLastGoodList(t *testing.T) {
	t.Parallel()
	image, text := file(t, oneModel), file(t, `{"t": {"parameters": 1e9}}`)
	h := NewHolder(Sources{Image: []string{image}, Text: []string{text}}, slog.New(slog.DiscardHandler))
	if err := h.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := h.Reference()
	if !before.Known(horde.Image, "m") || !before.Known(horde.Text, "t") || before.Known(horde.Image, "Deliberate") {
		t.Fatalf("%+v", before)
	}
	for path, content := range map[string]string{image: `{"m": `, text: `{"t2": {"parameters": 1e9}}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := h.Refresh(t.Context())
	if err == nil || !strings.Contains(err.Error(), "image model reference") || strings.Contains(err.Error(), "text model reference") {
		t.Errorf("%v", err)
	}
	after := h.Reference()
	if !after.Known(horde.Image, "m") || !after.Known(horde.Text, "t2") || after.Known(horde.Text, "t") {
		t.Errorf("%+v", after)
	}
	if !before.Known(horde.Text, "t") || before.Known(horde.Text, "t2") {
		t.Error("a reference that was in use has changed")
	}
}

func TestAHordeStartsWithoutItsSources(t *testing.T) {
	t.Parallel()
	none := []string{filepath.Join(t.TempDir(), "none.json")}
	h := NewHolder(Sources{Image: none, Text: none}, slog.New(slog.DiscardHandler))
	if err := h.Refresh(t.Context()); err == nil {
		t.Error("no error")
	}
	if ref := h.Reference(); !ref.Known(horde.Image, "Deliberate") || !ref.Known(horde.Text, "sandbox/demo-writer") {
		t.Errorf("%+v", ref)
	}
}

func TestRunRefreshesEveryHourAndStops(t *testing.T) {
	t.Parallel()
	image := file(t, oneModel)
	var lines strings.Builder
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		h := NewHolder(Sources{Image: []string{image}}, slog.New(slog.NewTextHandler(&lines, nil)))
		done := make(chan struct{})
		go func() { defer close(done); h.Run(ctx) }()
		at := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		if at(RefreshEvery - time.Second); h.Reference().Known(horde.Image, "m") {
			t.Error("refreshed too early")
		}
		if at(2 * time.Second); !h.Reference().Known(horde.Image, "m") {
			t.Error("not refreshed after an hour")
		}
		if err := os.WriteFile(image, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if at(RefreshEvery); !h.Reference().Known(horde.Image, "m") {
			t.Error("a bad list replaced a good one")
		}
		cancel()
		<-done
	})
	if got := strings.Count(lines.String(), "level=ERROR"); got != 1 || !strings.Contains(lines.String(), image) {
		t.Errorf("logged %q", lines.String())
	}
}

// A server that started without its list has it soon, not after an hour.
func TestRunTriesAgainSoonAfterAStartWithoutAList(t *testing.T) {
	t.Parallel()
	image := filepath.Join(t.TempDir(), "image.json")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		h := NewHolder(Sources{Image: []string{image}}, slog.New(slog.DiscardHandler))
		if err := h.Refresh(ctx); err == nil {
			t.Error("no error")
		}
		done := make(chan struct{})
		go func() { defer close(done); h.Run(ctx) }()
		if err := os.WriteFile(image, []byte(oneModel), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(RetryEvery + time.Second)
		synctest.Wait()
		if !h.Reference().Known(horde.Image, "m") {
			t.Error("not tried again after a failed start")
		}
		cancel()
		<-done
	})
}

// Lists that hang are waited for side by side.
func TestSourcesAreReadSideBySide(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	all := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if calls.Add(1) == 4 {
			close(all)
		}
		select {
		case <-all:
		case <-req.Context().Done():
		}
		if strings.HasPrefix(req.URL.Path, "/image") {
			_, _ = io.WriteString(w, oneModel)
		} else {
			_, _ = io.WriteString(w, `{"t": {"parameters": 1e9}}`)
		}
	}))
	defer server.Close()
	h := NewHolder(Sources{
		Image: []string{server.URL + "/image1", server.URL + "/image2"}, Text: []string{server.URL + "/text1", server.URL + "/text2"},
	}, slog.New(slog.DiscardHandler))
	if err := h.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	if got := calls.Load(); got != 4 {
		t.Errorf("%d calls: a list waited for another", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(oneModel))
	f.Add([]byte(`{"a/b": {"parameters": 7e9}}`))
	f.Add([]byte(`{"m": {"baseline": "x", "requirements": {"min_steps": 3.0, "samplers": ["k_euler"]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if models, err := ParseImage(data); err == nil {
			for name, m := range models {
				if m.Name != name || m.Baseline == "" {
					t.Errorf("%q: %+v", name, m)
				}
			}
		}
		if models, err := ParseText(data); err == nil {
			for name, m := range models {
				if m.Name != name || m.Parameters < 1 || m.Parameters > maxParameters {
					t.Errorf("%q: %+v", name, m)
				}
			}
		}
	})
}
