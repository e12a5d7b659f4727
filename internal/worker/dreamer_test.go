// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"horde/client"
	"horde/internal/worker/backend"
)

// fakeImages is an image server that takes its time and then paints with the demo painter.
type fakeImages struct {
	DemoImages
	takes time.Duration
	mu    sync.Mutex
	fails []error
	calls int
	stuck bool
	posts []string
}

func (f *fakeImages) Probe(ctx context.Context) (backend.ImageInfo, error) {
	info, err := f.DemoImages.Probe(ctx)
	info.PostProcessors = []string{"RealESRGAN_x4plus"}
	info.Loras = []string{"dir/Detail.safetensors"}
	info.Has[backend.LoraFiles] = true
	return info, err
}

func (f *fakeImages) Generate(ctx context.Context, j *backend.ImageJob, progress func(backend.ImageProgress)) (backend.ImageResult, error) {
	f.mu.Lock()
	f.calls++
	var err error
	if len(f.fails) > 0 {
		err, f.fails = f.fails[0], f.fails[1:]
	}
	takes := f.takes
	f.mu.Unlock()
	if err != nil {
		return backend.ImageResult{}, err
	}
	for at := time.Duration(0); at < takes; at += time.Second {
		select {
		case <-ctx.Done():
			return backend.ImageResult{}, ctx.Err()
		case <-time.After(time.Second):
			if !f.stuck {
				progress(backend.ImageProgress{Stage: "sampling", Step: int(at/time.Second) + 1, Steps: int(takes / time.Second)})
			}
		}
	}
	return f.DemoImages.Generate(ctx, j, progress)
}

func (f *fakeImages) PostProcess(_ context.Context, p backend.Picture, name string, _ float64) (backend.Picture, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.posts = append(f.posts, name)
	return p, nil
}

const store = "http://127.0.0.1:7001/api/v2/store/"

// imageJob is a pop answer for ids a, b, ... with extra members for answer and payload.
func imageJob(ids []string, ttl int, upload bool, extra, payload string) string {
	uploads := []string{}
	if upload {
		for _, id := range ids {
			uploads = append(uploads, store+id+".webp")
		}
	}
	i, _ := json.Marshal(ids)
	u, _ := json.Marshal(uploads)
	return fmt.Sprintf(`{"id":%q,"ids":%s,"r2_uploads":%s,"model":"Demo Painter","ttl":%d,"source_processing":"img2img","skipped":{},%s
		"payload":{"prompt":"a red house###cat","seed":"1234","ddim_steps":4,"width":64,"height":64,"n_iter":%d,"sampler_name":"k_euler","karras":true,"cfg_scale":5%s}}`,
		ids[0], i, u, ttl, extra, len(ids), payload)
}

func runDreamer(t *testing.T, h *fakeHorde, b backend.Images, d time.Duration, change func(*Config)) error {
	t.Helper()
	cfg := testConfig(t)
	cfg.DreamerName = "D"
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() { errs <- run(ctx, cfg, UI{}, Backends{Images: b}, []string{"dreamer"}, h.options()...) }()
	time.Sleep(d)
	cancel()
	return <-errs
}

func submitOf(h *fakeHorde, id string) map[string]any {
	for _, s := range h.submitted() {
		if s["id"] == id {
			return s
		}
	}
	return nil
}

func metaOf(s map[string]any) string {
	data, _ := json.Marshal(s["gen_metadata"])
	var list []client.Metadata
	json.Unmarshal(data, &list)
	var out []string
	for _, m := range list {
		out = append(out, m.Type+"/"+m.Value+"/"+m.Ref)
	}
	return strings.Join(out, " ")
}

// Worked examples 2, 3 and 19, and B087 and B127: each id gets its own picture, link, seed and place in the batch.
func TestDreamerDeliversABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHorde{jobs: []string{imageJob([]string{"f3b0", "0a5f"}, 150, true, "", `,"denoising_strength":0.75`)}}
		if err := runDreamer(t, h, &fakeImages{takes: 4 * time.Second}, 20*time.Second, func(c *Config) { c.MaxBatch, c.MaxPower = 4, 8 }); err != nil {
			t.Fatal(err)
		}
		for i, id := range []string{"f3b0", "0a5f"} {
			s := submitOf(h, id)
			if s == nil || s["generation"] != "R2" || s["state"] != "ok" || s["seed"] != float64(1234+i) || metaOf(s) != fmt.Sprintf("batch_index/see_ref/%d", i) {
				t.Errorf("%s: %v", id, s)
			}
			m, err := backend.Decode(h.uploads["/store/"+id+".webp"], backend.MaxPixels)
			if err != nil || m.Rect.Dx() != 64 {
				t.Errorf("%s: uploaded %v", id, err)
			}
		}
		pop := h.popped[0]
		if pop["amount"] != 4.0 || pop["max_pixels"] != 262144.0 || pop["bridge_agent"] != DreamerAgent() || pop["models"].([]any)[0] != DemoImageModel ||
			pop["allow_painting"] != true || pop["allow_controlnet"] != false || pop["allow_lora"] != false {
			t.Errorf("pop %v", pop)
		}
	})
}

func TestDreamerJobs(t *testing.T) {
	t.Parallel()
	down := make([]failure, 10)
	for i := range down {
		down[i] = failure{status: 503}
	}
	refused := backend.Errorf(backend.Refused, "no")
	for name, tc := range map[string]struct {
		extra, payload string
		noUpload       bool
		fail           map[string][]failure
		images         *fakeImages
		state          string
		base64         bool
		meta           string
	}{
		"without a link the picture goes with the submit":   {noUpload: true, base64: true, state: "ok"},
		"an upload that fails ten times too":                {fail: map[string][]failure{"/upload": down}, base64: true, state: "ok"},
		"one that fails once does not":                      {fail: map[string][]failure{"/upload": {{status: 500}}}, state: "ok"},
		"a server that fails is a fault":                    {images: &fakeImages{fails: []error{refused}}, state: "faulted"},
		"a server that shows no life is interrupted":        {images: &fakeImages{takes: time.Hour, stuck: true}, state: "faulted"},
		"B081: broken base64 as source":                     {extra: `"source_image":"abcde",`, payload: `,"denoising_strength":0.5`, state: "ok", meta: "source_image/parse_failed/source_image"},
		"B081: base64 that is no picture":                   {extra: `"source_image":"aGVsbG8gd29ybGQ=",`, state: "ok", meta: "source_image/parse_failed/source_image"},
		"B083: a hostile WebP":                              {extra: `"source_image":"UklGRhAAAABXRUJQVlA4TAQAAAAv////",`, state: "ok", meta: "source_image/parse_failed/source_image"},
		"a source on a private network is not fetched":      {extra: `"source_image":"http://10.1.2.3/x.webp",`, state: "ok", meta: "source_image/download_failed/source_image"},
		"control types without the nodes":                   {extra: `"source_image":"` + tinyPNG + `",`, payload: `,"control_type":"canny"`, state: "faulted"},
		"a LoRA that is there is used, another is reported": {payload: `,"loras":[{"name":"detail"},{"name":"nope"}],"tis":[{"name":"7"}]`, state: "ok", meta: "lora/download_failed/nope ti/download_failed/7 information/see_ref/lora and transparent ignored"},
		"post-processors":                                   {payload: `,"post_processing":["GFPGAN","RealESRGAN_x4plus","x"]`, state: "ok", meta: "information/see_ref/x ignored information/see_ref/GFPGAN ignored"},
		"a submit that is refused becomes a fault":          {fail: map[string][]failure{"/generate/submit": {{400, ""}}}, state: "faulted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &fakeHorde{jobs: []string{imageJob([]string{"a"}, 150, !tc.noUpload, tc.extra, tc.payload)}, fail: tc.fail}
				b := tc.images
				if b == nil {
					b = &fakeImages{takes: 2 * time.Second}
				}
				if err := runDreamer(t, h, b, 140*time.Second, func(c *Config) { c.AllowLora = true }); err != nil {
					t.Fatal(err)
				}
				s := submitOf(h, "a")
				if s == nil || s["state"] != tc.state || metaOf(s) != tc.meta {
					t.Fatalf("submitted %v, metadata %q, want %s, %q", s["state"], metaOf(s), tc.state, tc.meta)
				}
				g := s["generation"].(string)
				if tc.base64 {
					data, err := client.DecodeImage(g)
					if err == nil {
						_, err = backend.Decode(data, backend.MaxPixels)
					}
					if err != nil {
						t.Errorf("generation: %v", err)
					}
				} else if want := map[string]string{"ok": "R2", "faulted": "faulted"}[tc.state]; g != want {
					t.Errorf("generation %q", backend.Cut(g, 40))
				}
			})
		})
	}
}

// tinyPNG is a red pixel.
const tinyPNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="

// Worked example 20, second part: with an estimate of 90 s a job of 150 s that waited 55 s is handed back unstarted.
func TestDreamerHandsBackWhatItCannotFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHorde{jobs: []string{imageJob([]string{"a"}, 600, true, "", ""), imageJob([]string{"b"}, 150, true, "", ""), imageJob([]string{"c"}, 150, true, "", "")}}
		b := &fakeImages{takes: 90 * time.Second}
		if err := runDreamer(t, h, b, 260*time.Second, func(c *Config) { c.QueueSize = 1; c.InferenceStepTimeout = 60 }); err != nil {
			t.Fatal(err)
		}
		if got := states(h.submitted()); got["a"] != "ok" || got["b"] != "faulted" || b.calls != 2 {
			t.Errorf("submitted %v after %d calls", got, b.calls)
		}
	})
}

// An estimate from a slow start must not make the worker refuse for ever: a job that did not wait is tried.
func TestDreamerTriesAgainAfterASlowStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHorde{jobs: []string{imageJob([]string{"a"}, 600, true, "", "")}}
		b := &fakeImages{takes: 300 * time.Second}
		go func() {
			time.Sleep(310 * time.Second)
			b.mu.Lock()
			b.takes = 2 * time.Second
			b.mu.Unlock()
			h.mu.Lock()
			h.jobs = append(h.jobs, imageJob([]string{"b"}, 150, true, "", ""))
			h.mu.Unlock()
		}()
		if err := runDreamer(t, h, b, 400*time.Second, nil); err != nil {
			t.Fatal(err)
		}
		if got := states(h.submitted()); got["a"] != "ok" || got["b"] != "ok" {
			t.Errorf("submitted %v", got)
		}
	})
}

// Worked example 18 and the table of section 11.3.
func TestRule(t *testing.T) {
	t.Parallel()
	nsfw := Safety{NSFW: true}
	for name, tc := range map[string]struct {
		s        Safety
		worker   bool
		censor   bool
		words    []string
		replaced bool
		state    string
		meta     string
	}{
		"clean":                  {Safety{}, true, true, nil, false, "ok", ""},
		"nsfw, allowed":          {nsfw, true, false, nil, false, "ok", "information/nsfw"},
		"nsfw, worker is sfw":    {nsfw, false, false, nil, true, "censored", "censorship/nsfw"},
		"nsfw, request is sfw":   {nsfw, true, true, nil, true, "censored", "censorship/nsfw"},
		"nsfw, word is listed":   {nsfw, true, false, []string{"House"}, true, "censored", "censorship/nsfw"},
		"nsfw, part of a word":   {nsfw, true, false, []string{"hous"}, false, "ok", "information/nsfw"},
		"csam, whatever is said": {Safety{NSFW: true, CSAM: true}, true, false, nil, true, "csam", "censorship/csam"},
	} {
		r := rule(tc.s, &Config{NSFW: tc.worker, Censorlist: tc.words}, &backend.ImageJob{Positive: "a red house", Censor: tc.censor})
		meta := ""
		if len(r.meta) > 0 {
			meta = r.meta[0].Type + "/" + r.meta[0].Value
		}
		if (r.replace != "") != tc.replaced || r.state != tc.state || meta != tc.meta {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestSafetyService(t *testing.T) {
	t.Parallel()
	answer, status := `{"is_nsfw":true,"is_csam":false}`, 200
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/check" || r.FormValue("prompt") != "p###n" || r.FormValue("nsfw_model") != "true" {
			t.Errorf("asked %s, %v", r.URL, r.Form)
		}
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	defer s.Close()
	c, _, err := newChecker(&Config{SafetyURL: s.URL, HordeURL: "https://aihorde.net"}, backend.ImageInfo{})
	if err != nil {
		t.Fatal(err)
	}
	j := &backend.ImageJob{Positive: "p", Negative: "n", Model: backend.Model{NSFW: true}}
	if v, err := c.check(t.Context(), []byte("x"), j); err != nil || !v.NSFW || v.CSAM {
		t.Errorf("got %+v, %v", v, err)
	}
	// Without a verdict nothing may leave.
	for _, bad := range []string{`{}`, `{"is_nsfw":false}`, `oops`} {
		answer = bad
		if _, err := c.check(t.Context(), []byte("x"), j); err == nil {
			t.Errorf("%s counts as a verdict", bad)
		}
	}
	answer, status = `{"is_nsfw":false,"is_csam":false}`, 500
	if _, err := c.check(t.Context(), []byte("x"), j); err == nil {
		t.Error("a failing service counts as a verdict")
	}
}

// Pictures for strangers are checked.
func TestSafetyPolicy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		horde, url string
		nsfw, safe bool
		starts     bool
		// sfw: a request that is safe for work only is served without a service.
		sfw bool
	}{
		"public horde without a service":        {"https://aihorde.net/api/", "", true, false, false, false},
		"public horde, switched off":            {"https://aihorde.net/api/", "off", true, false, false, false},
		"own horde on this machine":             {"http://127.0.0.1:7001", "", true, false, true, true},
		"own horde on this machine, worker sfw": {"http://127.0.0.1:7001", "", false, false, false, false},
		"own horde with a name":                 {"https://horde.example", "", true, false, false, false},
		"own horde with a name, switched off":   {"https://horde.example", "off", true, false, true, false},
		"the demo painter is safe on any horde": {"https://aihorde.net/api/", "", false, true, true, true},
	} {
		c, warning, err := newChecker(&Config{HordeURL: tc.horde, SafetyURL: tc.url, NSFW: tc.nsfw}, backend.ImageInfo{Safe: tc.safe})
		if (err == nil) != tc.starts {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil {
			if CodeOf(err) != ExitConfig {
				t.Errorf("%s: code %d", name, CodeOf(err))
			}
			continue
		}
		if (warning == "") != tc.safe {
			t.Errorf("%s: warning %q", name, warning)
		}
		if _, err := c.check(t.Context(), nil, &backend.ImageJob{Censor: true}); (err == nil) != tc.sfw {
			t.Errorf("%s: a request for safe results: %v", name, err)
		}
	}
}

// Worked example 27, last part.
func TestModels(t *testing.T) {
	t.Parallel()
	ref := func() map[string]record {
		return named(map[string]record{"A": {Baseline: "stable diffusion 1"}, "B": {Baseline: "SDXL", NSFW: true}, "C": {Baseline: "flux_1"}, "Deliberate": {Baseline: "stable_diffusion"}})
	}
	usage := Usage{"A": 9, "B": 7, "": 6, "C": 5}
	info := backend.ImageInfo{Models: []string{"sub/A.safetensors", "b.ckpt", "deliberate.safetensors", "C.safetensors", "own.safetensors"}}
	names := func(cfg Config) string {
		models, missing := pickModels(&cfg, ref(), usage, info)
		var out []string
		for _, m := range models {
			out = append(out, m.Name)
		}
		return strings.Join(out, " ") + " missing " + strings.Join(missing, " ")
	}
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"the example":    {Config{ModelsToLoad: []string{"TOP 2", "Deliberate"}, ModelsToSkip: []string{"B"}}, "A Deliberate missing "},
		"side by side":   {Config{ModelsToLoad: []string{"top 1", "bottom 1 models"}}, "A missing "},
		"by family":      {Config{ModelsToLoad: []string{"all sdxl models", "all SD15"}}, "A B Deliberate missing "},
		"all sfw":        {Config{ModelsToLoad: []string{"all sfw"}, ModelsToSkip: []string{"A"}}, "Deliberate missing "},
		"nothing said":   {Config{}, "A B Deliberate missing "},
		"not there":      {Config{ModelsToLoad: []string{"A", "Nowhere"}}, "A missing Nowhere"},
		"a map":          {Config{ModelsToLoad: []string{"A"}, ModelMap: map[string]string{"A": "own"}}, "A missing "},
		"a custom model": {Config{ModelsToLoad: []string{"Mine"}, CustomModels: CustomModels{{"Mine", "SDXL", "/x/own.safetensors"}}}, "Mine missing "},
	} {
		if got := names(tc.cfg); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// Worked example 27, first part, and section 3.8.
func TestAdjust(t *testing.T) {
	t.Parallel()
	c := Config{AllowImg2Img: false, AllowControlnet: true, AllowSDXLControlnet: true, MaxThreads: 2, QueueSize: 4}
	c.adjust()
	if c.AllowControlnet || c.AllowSDXLControlnet || c.QueueSize != 3 {
		t.Errorf("got %+v", c)
	}
	c = Config{ExtraSlowWorker: true, QueueSize: 2, MaxThreads: 3, PreloadTimeout: 80, HighPerformanceMode: true}
	c.adjust()
	if c.QueueSize != 0 || c.MaxThreads != 1 || c.PreloadTimeout != 120 || c.HighPerformanceMode {
		t.Errorf("got %+v", c)
	}
	// Worked example 4.
	for power, want := range map[int]int{2: 65536, 8: 262144, 32: 1048576, 64: 2097152} {
		if got := (&Config{MaxPower: power}).MaxPixels(); got != want {
			t.Errorf("max_power %d: %d pixels", power, got)
		}
	}
}
