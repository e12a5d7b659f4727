// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/hordeling/hordelingtest"
	"horde/internal/hordeling/safetensors"
	"horde/internal/worker/assets/assetstest"
	"horde/internal/worker/backend"
)

// folderImages is an image server that looks into folders, and keeps the jobs that it was given.
type folderImages struct {
	fakeImages
	loras, embeddings string

	mu      sync.Mutex
	jobs    []backend.ImageJob
	at      []time.Time
	reloads int
}

func (f *folderImages) Probe(ctx context.Context) (backend.ImageInfo, error) {
	info, err := f.fakeImages.Probe(ctx)
	info.Has[backend.Embeddings] = true
	info.Loras = append(info.Loras, list(f.loras)...)
	return info, err
}

func (f *folderImages) Reload(context.Context) (backend.Files, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reloads++
	return backend.Files{Loras: append(list(f.loras), "dir/Detail.safetensors"), Embeddings: list(f.embeddings)}, nil
}

func (f *folderImages) Generate(ctx context.Context, j *backend.ImageJob, progress func(backend.ImageProgress)) (backend.ImageResult, error) {
	f.mu.Lock()
	f.jobs, f.at = append(f.jobs, *j), append(f.at, time.Now())
	f.mu.Unlock()
	j.Loras = nil // the painter has no use for them
	return f.fakeImages.Generate(ctx, j, progress)
}

// list is what an image server lists: names without their ending.
func list(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if stem, ok := strings.CutSuffix(e.Name(), ".safetensors"); ok {
			names = append(names, stem)
		}
	}
	return names
}

// withFolders runs a dreamer with folders over site for d.
func withFolders(t *testing.T, h *fakeHorde, site *assetstest.Site, d time.Duration, change func(*Config, *folderImages)) *folderImages {
	t.Helper()
	cfg := testConfig(t)
	b := &folderImages{fakeImages: fakeImages{takes: 2 * time.Second}, loras: t.TempDir(), embeddings: t.TempDir()}
	cfg.DreamerName, cfg.AllowLora, cfg.LoraFolder, cfg.EmbeddingFolder, cfg.HordelingURL = "D", true, b.loras, b.embeddings, "https://hordeling.example"
	if change != nil {
		change(&cfg, b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() {
		errs <- run(ctx, cfg, UI{}, Backends{Images: b, files: site}, []string{"dreamer"}, h.options()...)
	}()
	time.Sleep(d)
	cancel()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	return b
}

// tiny is a sound textual inversion.
func tiny(t *testing.T) []byte {
	t.Helper()
	data, err := safetensors.Encode([]safetensors.Tensor{{Name: "emb_params", DType: "F32", Shape: []int64{1, 2}, Data: make([]byte, 8)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Worked examples 16 and 17: what a job names is fetched and put into prompts; what cannot be had is told.
func TestDreamerFetches(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		payload            string
		loras              string // of the job at the server: names with strengths
		positive, negative string
		meta               string
		change             func(*Config, *folderImages)
	}{
		"a LoRA": {payload: `,"loras":[{"name":"7","model":0.5,"clip":-20,"inject_trigger":"any"}]`, loras: "detailtweaker_79 0.5 -10",
			positive: "shiny, a red house", negative: "cat"},
		"a LoRA that the server has": {payload: `,"loras":[{"name":"detail"}]`, loras: "dir/Detail.safetensors 1 1", positive: "a red house", negative: "cat"},
		"a LoRA that there is not":   {payload: `,"loras":[{"name":"nope"}]`, positive: "a red house", negative: "cat", meta: "lora/download_failed/nope"},
		"a number that no LoRA has": {payload: `,"loras":[{"name":"4294967296"}]`, positive: "a red house", negative: "cat",
			meta: "lora/download_failed/4294967296"},
		"a LoRA for another baseline": {payload: `,"loras":[{"name":"8"},{"name":"7"}]`, loras: "detailtweaker_79 1 1", positive: "a red house", negative: "cat",
			meta: "lora/baseline_mismatch/8"},
		"a LoRA without strength": {payload: `,"loras":[{"name":"nope","model":0,"clip":0}]`, positive: "a red house", negative: "cat"},
		"a textual inversion behind": {payload: `,"tis":[{"name":"72437","inject_ti":"negprompt","strength":0.8}]`, positive: "a red house",
			negative: "cat,(embedding:72437:0.8)"},
		"a textual inversion before":                {payload: `,"tis":[{"name":"72437","inject_ti":"prompt"}]`, positive: "(embedding:72437:1),a red house", negative: "cat"},
		"a textual inversion that the prompt names": {payload: `,"tis":[{"name":"72437"}]`, positive: "a red house", negative: "cat"},
		"a textual inversion that there is not": {payload: `,"tis":[{"name":"1","inject_ti":"prompt"}]`, positive: "a red house", negative: "cat",
			meta: "ti/download_failed/1"},
		"a folder that the server does not look into": {payload: `,"loras":[{"name":"7"}],"tis":[{"name":"72437","inject_ti":"prompt"}]`, positive: "a red house", negative: "cat",
			meta:   "lora/download_failed/7 ti/download_failed/72437",
			change: func(c *Config, b *folderImages) { b.loras, b.embeddings = t.TempDir(), t.TempDir() }},
		"without folders": {payload: `,"loras":[{"name":"7"},{"name":"Detail"}],"tis":[{"name":"72437","inject_ti":"prompt"}]`, positive: "a red house", negative: "cat",
			loras: "dir/Detail.safetensors 1 1", meta: "lora/download_failed/7 ti/download_failed/72437",
			change: func(c *Config, _ *folderImages) { c.LoraFolder, c.EmbeddingFolder = "", "" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				site := assetstest.New()
				site.Lora(7, "Detail Tweaker", []byte("weights"))
				site.Lora(8, "Of another kind", []byte("weights"))["modelVersions"].([]assetstest.Object)[0]["baseModel"] = "SDXL 1.0"
				site.JSON("hordeling.example/api/v1/embedding/72437", assetstest.Object{"url": "https://files.example/ti", "sha256": assetstest.SHA256(tiny(t))})
				site.Serve("files.example/ti", tiny(t))
				h := &fakeHorde{jobs: []string{imageJob([]string{"a"}, 150, true, "", tc.payload)}}
				b := withFolders(t, h, site, 60*time.Second, func(c *Config, b *folderImages) {
					c.CustomModels = CustomModels{{Name: DemoImageModel, Baseline: "SD1"}}
					if tc.change != nil {
						tc.change(c, b)
					}
				})
				s := submitOf(h, "a")
				if s == nil || s["state"] != "ok" || metaOf(s) != tc.meta || len(b.jobs) != 1 {
					t.Fatalf("submitted %v, metadata %q, want %q", s, metaOf(s), tc.meta)
				}
				var loras []string
				for _, l := range b.jobs[0].Loras {
					loras = append(loras, l.Name+" "+number(l.Model)+" "+number(l.Clip))
				}
				if got := strings.Join(loras, ", "); got != tc.loras || b.jobs[0].Positive != tc.positive || b.jobs[0].Negative != tc.negative {
					t.Errorf("LoRAs %q, prompts %q and %q; want %q, %q, %q", got, b.jobs[0].Positive, b.jobs[0].Negative, tc.loras, tc.positive, tc.negative)
				}
			})
		})
	}
}

// B097: where CivitAI answers 451 the picture is made at once without the LoRA, and no jobs with LoRAs are taken for a
// while.
func TestDreamerWhereCivitAIIsBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		site := assetstest.New()
		site.Status("civitai.com/api/v1/model-versions/2510627", 451, "")
		site.Status("civitai.com/api/v1/models", 451, "")
		h := &fakeHorde{jobs: []string{imageJob([]string{"a"}, 150, true, "", `,"loras":[{"name":"2510627","is_version":true}]`)}}
		begin := time.Now()
		b := withFolders(t, h, site, 20*time.Minute, nil)
		if s := submitOf(h, "a"); s == nil || s["state"] != "ok" || metaOf(s) != "lora/download_failed/2510627" {
			t.Fatalf("submitted %v", s)
		}
		if len(b.at) != 1 || b.at[0].Sub(begin) > 2*time.Second {
			t.Errorf("the job was held for %v", b.at[0].Sub(begin))
		}
		if h.popped[0]["allow_lora"] != true {
			t.Error("LoRAs were not offered at first")
		}
		var without time.Duration
		for i, p := range h.popped[1:] {
			capabilities, _ := p["capabilities"].([]any)
			offered := false
			for _, c := range capabilities {
				offered = offered || c == "lora"
			}
			if offered != p["allow_lora"].(bool) {
				t.Fatalf("pop %d: allow_lora %v, capabilities %v", i, p["allow_lora"], capabilities)
			}
			if !offered {
				without = h.popAt[i+1].Sub(begin)
			}
		}
		if without < 9*time.Minute || without > 11*time.Minute {
			t.Errorf("LoRAs are offered again after %v", without)
		}
	})
}

// B099: a download at 10 KB/s of a file of 200 MB holds no job past its time, and the worker goes on.
func TestDreamerWithSlowDownloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		site := assetstest.New()
		m := site.Lora(7, "Large", nil)
		const size = 200 << 20
		m["modelVersions"].([]assetstest.Object)[0]["files"].([]assetstest.Object)[1]["sizeKB"] = size / 1024
		site.Slow("files.example/79", size, 10_000)
		// One that ends, but not before the job has to go on.
		site.Lora(8, "Medium", make([]byte, 100_000))
		site.Slow("files.example/89", 100_000, 1_000)
		h := &fakeHorde{jobs: []string{
			imageJob([]string{"a"}, 150, true, "", `,"loras":[{"name":"7"}]`), imageJob([]string{"b"}, 150, true, "", ""),
			imageJob([]string{"c"}, 150, true, "", `,"loras":[{"name":"8"}]`), imageJob([]string{"d"}, 60, true, "", `,"loras":[{"name":"8"},{"name":"8"}]`),
			imageJob([]string{"e"}, 150, true, "", `,"loras":[{"name":"7"}]`),
		}}
		begin := time.Now()
		b := withFolders(t, h, site, 4*time.Minute, nil)
		want := map[string]string{"a": "lora/download_failed/7", "b": "", "c": "lora/download_failed/8", "d": "lora/download_failed/8 lora/download_failed/8", "e": "lora/download_failed/7"}
		for id, meta := range want {
			if s := submitOf(h, id); s == nil || s["state"] != "ok" || metaOf(s) != meta {
				t.Errorf("%s: submitted %v", id, s)
			}
		}
		// Jobs come in the order of the first pops.
		for i, j := range b.jobs {
			n := strings.Index("abcde", strings.TrimPrefix(j.Key, "horde-"))
			if took, most := b.at[i].Sub(h.popAt[n]), []int{15, 5, 46, 48, 5}[n]; took > time.Duration(most)*time.Second {
				t.Errorf("job %s began after %v", j.Key, took)
			}
		}
		if last := h.popAt[len(h.popAt)-1].Sub(begin); last < 3*time.Minute {
			t.Errorf("the last pop was after %v", last)
		}
		if n, _ := site.Downloads(); n != 0 {
			t.Errorf("%d downloads still run", n)
		}
	})
}

// From the job to the file, over loopback through the guarded clients: a dreamer gets a textual inversion that only exists
// as a pickle by way of a real hordeling, and a LoRA.
func TestDreamerWithARealHordeling(t *testing.T) {
	t.Parallel()
	site := hordelingtest.StartCivitAI(t)
	site.Add(72437, "TextualInversion", hordelingtest.File{Name: "bad.pt", Format: "PickleTensor", Data: hordelingtest.WebUI, Primary: true})
	site.Add(5, "LORA", hordelingtest.File{Name: "x.safetensors", Format: "SafeTensor", Data: tiny(t), Primary: true})
	h := &fakeHorde{jobs: []string{imageJob([]string{"a"}, 150, true, "",
		`,"loras":[{"name":"5","inject_trigger":"all"}],"tis":[{"name":"72437","inject_ti":"negprompt","strength":0.8}]`)}}
	cfg := testConfig(t)
	b := &folderImages{loras: t.TempDir(), embeddings: t.TempDir()}
	cfg.DreamerName, cfg.AllowLora, cfg.LoraFolder, cfg.EmbeddingFolder = "D", true, b.loras, b.embeddings
	cfg.CivitAIURL, cfg.HordelingURL = site.URL, assetstest.Hordeling(t, site)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, cfg, UI{}, Backends{Images: b}, []string{"dreamer"}, h.options()...) }()
	for submitOf(h, "a") == nil && wait(ctx, 20*time.Millisecond, nil) {
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if s := submitOf(h, "a"); s == nil || s["state"] != "ok" || metaOf(s) != "" || len(b.jobs) != 1 {
		t.Fatalf("submitted %v", s)
	}
	j := b.jobs[0]
	if j.Positive != "cat, a red house" || j.Negative != "cat,(embedding:72437:0.8)" || len(j.Loras) != 1 || j.Loras[0].Name != "amodel_50" {
		t.Errorf("prompts %q and %q, LoRAs %v", j.Positive, j.Negative, j.Loras)
	}
	data, err := os.ReadFile(filepath.Join(b.embeddings, "72437.safetensors"))
	if err != nil || assetstest.SHA256(data) != hordelingtest.WebUISHA256 {
		t.Errorf("the textual inversion has %d bytes, %v", len(data), err)
	}
}

// A job whose download takes its time does not keep others from the server.
func TestDreamerWorksWhileADownloadRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		site := assetstest.New()
		site.Lora(7, "x", make([]byte, 30_000))
		site.Slow("files.example/79", 30_000, 1_000)
		h := &fakeHorde{jobs: []string{imageJob([]string{"a"}, 150, true, "", `,"loras":[{"name":"7"}]`), imageJob([]string{"b"}, 150, true, "", "")}}
		b := withFolders(t, h, site, 90*time.Second, nil)
		if got := states(h.submitted()); got["a"] != "ok" || got["b"] != "ok" {
			t.Fatalf("submitted %v", got)
		}
		if len(b.jobs) != 2 || b.jobs[0].Key != "horde-b" || len(b.jobs[1].Loras) != 1 || metaOf(submitOf(h, "a")) != "" {
			t.Errorf("%d jobs, first %s, metadata %q", len(b.jobs), b.jobs[0].Key, metaOf(submitOf(h, "a")))
		}
	})
}
