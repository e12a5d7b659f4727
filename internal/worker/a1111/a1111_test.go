// SPDX-License-Identifier: AGPL-3.0-or-later

package a1111

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/client"
	"horde/internal/worker/backend"
	"horde/internal/worker/recorded"
)

func picture(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = 255
	}
	m.SetNRGBA(0, 0, color.NRGBA{9, 8, 7, 255})
	return m
}

func newJob(key string, f func(*client.ImageJob), src backend.Sources, ids ...string) *backend.ImageJob {
	j := client.ImageJob{Job: client.Job{ID: key, IDs: ids}}
	p := &j.Payload
	p.Prompt, p.Seed, p.Steps, p.Width, p.Height, p.CFGScale, p.Sampler, p.Karras = "a cat###bad", "1234", new(4), new(64), new(64), new(5.0), "k_euler", true
	if f != nil {
		f(&j)
	}
	out, _ := backend.NewImageJob(key, j, backend.Model{Name: "m", Baseline: backend.SD1, Files: map[string]string{"": "Model.safetensors"}}, src, nil)
	return out
}

func testAbilities(kind string) *abilities {
	return &abilities{kind: kind, checkpoints: map[string]string{"model": "dir/Model.safetensors [abc]"},
		samplers:   map[string]string{"euler": "Euler", "dpm++ 2m": "DPM++ 2M", "dpm++ 2m karras": "DPM++ 2M Karras"},
		schedulers: map[string]string{"karras": "Karras", "automatic": "Automatic"}}
}

// Worked example 14.
func TestSampler(t *testing.T) {
	t.Parallel()
	new19, old := testAbilities("a1111"), testAbilities("a1111")
	old.schedulers = nil
	cpp := &abilities{kind: "sdcpp", samplers: map[string]string{"dpm++2m": "dpm++2m", "euler": "euler"}, schedulers: map[string]string{"karras": "karras", "discrete": "discrete"}}
	for _, tc := range []struct {
		a                  *abilities
		name               string
		karras             bool
		sampler, scheduler string
		exact              bool
	}{
		{new19, "k_dpmpp_2m", true, "DPM++ 2M", "Karras", true},
		{new19, "k_dpmpp_2m", false, "DPM++ 2M", "Automatic", true},
		{old, "k_dpmpp_2m", true, "DPM++ 2M Karras", "", true},
		{old, "k_dpmpp_2m", false, "DPM++ 2M", "", true},
		{old, "k_euler", true, "Euler", "", true},
		{new19, "k_lms", false, "Euler", "Automatic", false},
		{cpp, "k_dpmpp_2m", true, "dpm++2m", "karras", true},
		{cpp, "k_dpm_fast", false, "dpm++2m", "discrete", false},
	} {
		s, sch, exact := tc.a.sampler(tc.name, tc.karras)
		if s != tc.sampler || sch != tc.scheduler || exact != tc.exact {
			t.Errorf("%s %v: %q, %q, %v, want %q, %q, %v", tc.name, tc.karras, s, sch, exact, tc.sampler, tc.scheduler, tc.exact)
		}
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	a := testAbilities("a1111")
	where, b, ignored, err := a.Body(newJob("k", func(j *client.ImageJob) {
		p := &j.Payload
		p.HiresFix, p.Width, p.Height, p.Steps, p.ClipSkip, p.Tiling, p.Transparent = true, new(768), new(1152), new(30), new(2), true, true
	}, backend.Sources{}, "a", "b"))
	o := b["override_settings"].(map[string]any)
	if err != nil || where != "/sdapi/v1/txt2img" || b["width"] != 512 || b["height"] != 768 || b["hr_resize_x"] != 768 || b["hr_resize_y"] != 1152 ||
		b["hr_second_pass_steps"] != 14 || b["denoising_strength"] != 0.65 || b["batch_size"] != 2 || b["n_iter"] != 1 || b["tiling"] != true ||
		o["sd_model_checkpoint"] != "dir/Model.safetensors [abc]" || o["CLIP_stop_at_last_layers"] != 2 || b["seed"] != uint32(1234) ||
		b["negative_prompt"] != "bad" || strings.Join(ignored, ",") != "transparent" {
		t.Errorf("two passes: %s %v, ignored %v, %v", where, b, ignored, err)
	}
	src := backend.Sources{Image: picture(64, 64), Mask: picture(64, 64)}
	where, b, _, err = a.Body(newJob("k", func(j *client.ImageJob) { j.SourceProcessing = "inpainting" }, src, "a"))
	if err != nil || where != "/sdapi/v1/img2img" || b["inpainting_fill"] != 2 || b["inpainting_mask_invert"] != 0 || b["mask"] == "" || b["denoising_strength"] != 1.0 {
		t.Errorf("painting: %s %v, %v", where, b["inpainting_fill"], err)
	}
	_, b, _, _ = a.Body(newJob("k", func(j *client.ImageJob) { j.SourceProcessing, j.Payload.DenoisingStrength = "inpainting", new(0.5) }, src, "a"))
	if b["inpainting_fill"] != 1 || b["denoising_strength"] != 0.5 {
		t.Errorf("painting at half strength: %v", b["inpainting_fill"])
	}
	j := newJob("k", nil, backend.Sources{}, "a")
	// Worked example 17: the server knows textual inversions by their names alone.
	for prompt, want := range map[string]string{
		"blurry,(embedding:72437:0.8)": "blurry,(72437:0.8)", "(Embedding:a-b:1.2), embedding:72437": "(a-b:1.2), 72437", "an embedding: of gold": "an embedding: of gold",
		"reembedding:1": "reembedding:1",
	} {
		j.Positive, j.Negative = prompt, prompt
		if _, b, _, _ = a.Body(j); b["prompt"] != want || b["negative_prompt"] != want {
			t.Errorf("%q: %v, %v", prompt, b["prompt"], b["negative_prompt"])
		}
	}
	j.Positive, j.Negative = "a cat", "bad"
	j.Loras = []backend.LoraFile{{Name: "x/Detail.safetensors", Model: 1, Clip: 1}, {Name: "b", Model: 0.5, Clip: -1.25}, {Name: "none"}}
	if _, b, _, _ = a.Body(j); b["prompt"] != "a cat<lora:Detail:1><lora:b:-1.25:0.5>" {
		t.Errorf("LoRA tags: %v", b["prompt"])
	}
	j.Model.Files = map[string]string{"": "absent.ckpt"}
	if _, _, _, err := a.Body(j); backend.KindOf(err) != backend.Refused {
		t.Errorf("a checkpoint that is not there: %v", err)
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	a := testAbilities("a1111")
	a.controlModels = []string{"control_v11p_sd15_canny [d14c016b]", "diffusers_xl_canny_full", "control_v11f1p_sd15_depth"}
	a.controlModules = []string{"none", "canny", "depth_midas"}
	job := func(kind string, f func(*client.ImageJob)) *backend.ImageJob {
		return newJob("k", func(j *client.ImageJob) {
			j.Payload.ControlType = kind
			if f != nil {
				f(j)
			}
		}, backend.Sources{Image: picture(8, 8)}, "a")
	}
	args := func(b map[string]any) map[string]any {
		return b["alwayson_scripts"].(map[string]any)["controlnet"].(map[string]any)["args"].([]any)[0].(map[string]any)
	}
	_, b, _, err := a.Body(job("canny", nil))
	if c := args(b); err != nil || c["module"] != "canny" || c["model"] != "control_v11p_sd15_canny [d14c016b]" || c["processor_res"] != 64 {
		t.Errorf("canny: %v, %v", c, err)
	}
	_, b, _, err = a.Body(job("depth", func(j *client.ImageJob) { j.Payload.ImageIsControl = true }))
	if c := args(b); err != nil || c["module"] != "none" || c["model"] != "control_v11f1p_sd15_depth" {
		t.Errorf("depth: %v, %v", c, err)
	}
	if _, _, _, err = a.Body(job("openpose", nil)); backend.KindOf(err) != backend.Refused {
		t.Errorf("openpose: %v", err)
	}
}

// fakeServer is an AUTOMATIC1111 that answers with small pictures.
type fakeServer struct {
	mu          sync.Mutex
	interrupted bool
	bodies      []map[string]any
	refreshed   []string
	info        string
	images      int
	status      []int
	slow        bool
}

func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.URL.Path {
	case "/sdapi/v1/sd-models":
		io.WriteString(w, `[{"title":"Model.safetensors [abc]","model_name":"Model","filename":"/m/Model.safetensors"}]`)
	case "/sdapi/v1/samplers":
		io.WriteString(w, `[{"name":"Euler","aliases":["k_euler"]},{"name":"DPM++ 2M","aliases":[]}]`)
	case "/sdapi/v1/schedulers":
		io.WriteString(w, `[{"name":"automatic","label":"Automatic"},{"name":"karras","label":"Karras"}]`)
	case "/sdapi/v1/upscalers":
		io.WriteString(w, `[{"name":"None"},{"name":"R-ESRGAN 4x+"},{"name":"4x_NMKD-Siax_200k"}]`)
	case "/sdapi/v1/face-restorers":
		io.WriteString(w, `[{"name":"CodeFormer"},{"name":"GFPGAN"}]`)
	case "/sdapi/v1/loras":
		io.WriteString(w, `[{"name":"detail"}]`)
	case "/sdapi/v1/refresh-loras", "/sdapi/v1/refresh-embeddings":
		f.refreshed = append(f.refreshed, r.Method+" "+r.URL.Path)
		io.WriteString(w, "null")
	case "/sdapi/v1/embeddings":
		io.WriteString(w, `{"loaded":{"72437":{"step":null}},"skipped":{"for-sdxl":{}}}`)
	case "/sdapi/v1/options":
		io.WriteString(w, `{"forge_preset":"sd"}`)
	case "/sdapi/v1/progress":
		io.WriteString(w, `{"progress":0.5,"state":{"sampling_step":2,"sampling_steps":4}}`)
	case "/sdapi/v1/interrupt":
		f.interrupted = true
	case "/sdapi/v1/txt2img", "/sdapi/v1/extra-single-image":
		var b map[string]any
		json.Unmarshal(body, &b)
		f.bodies = append(f.bodies, b)
		if len(f.status) > 0 {
			s := f.status[0]
			f.status = f.status[1:]
			w.WriteHeader(s)
			io.WriteString(w, `{"error":"OutOfMemoryError","errors":"torch.cuda.OutOfMemoryError: CUDA out of memory"}`)
			return
		}
		if f.slow {
			f.mu.Unlock()
			<-r.Context().Done()
			f.mu.Lock()
			return
		}
		png, _ := backend.EncodePNG(picture(8, 8))
		one := base64.StdEncoding.EncodeToString(png)
		images := make([]string, f.images)
		for i := range images {
			images[i] = one
		}
		json.NewEncoder(w).Encode(map[string]any{"images": images, "info": f.info, "image": one})
	default:
		http.NotFound(w, r)
	}
}

func start(t *testing.T, f http.Handler) *backend.Endpoint {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	at, err := backend.NewEndpoint(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func quiet(backend.ImageProgress) {}

func TestGenerate(t *testing.T) {
	t.Parallel()
	f := &fakeServer{images: 3, info: `{"index_of_first_image":1,"all_seeds":[1234,1235],"sd_model_name":"Model"}`}
	d := New(start(t, f), "a1111", nil)
	info, err := d.Probe(t.Context())
	if err != nil || strings.Join(info.PostProcessors, " ") != "RealESRGAN_x4plus NMKD_Siax GFPGAN CodeFormers" || !info.SeedPerImage || !info.Has[backend.LoraFiles] || info.Has[backend.Controlnet] {
		t.Errorf("probe %+v, %v", info, err)
	}
	// The first picture is a grid; seeds are those the server tells.
	res, err := d.Generate(t.Context(), newJob("k", nil, backend.Sources{}, "a", "b"), quiet)
	if err != nil || len(res.Pictures) != 2 || res.Pictures[1].Seed != 1235 {
		t.Errorf("got %+v, %v", res, err)
	}
	if up, err := d.PostProcess(t.Context(), res.Pictures[0], "NMKD_Siax", 0); err != nil || len(up.Data) == 0 {
		t.Error(err)
	}
	if b := f.bodies[1]; b["upscaler_1"] != "4x_NMKD-Siax_200k" || b["upscaling_resize"] != 4.0 {
		t.Errorf("upscale with %v", b["upscaler_1"])
	}
	d.PostProcess(t.Context(), res.Pictures[0], "CodeFormers", 0.75)
	if b := f.bodies[2]; b["codeformer_weight"] != 0.25 {
		t.Errorf("face fix with %v", b)
	}
	f.info = `{"sd_model_name":"SomethingElse"}`
	if _, err := d.Generate(t.Context(), newJob("k", nil, backend.Sources{}, "a"), quiet); err == nil || !strings.Contains(err.Error(), "SomethingElse") {
		t.Errorf("another checkpoint was used: %v", err)
	}
	if kind, err := Detect(t.Context(), d.at); kind != "forge" || err != nil {
		t.Errorf("detected %q, %v", kind, err)
	}
}

// After files were put into its folders the server is told to look.
func TestReload(t *testing.T) {
	t.Parallel()
	f := &fakeServer{}
	s := httptest.NewServer(f)
	defer s.Close()
	at, err := backend.NewEndpoint(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	files, err := New(at, "a1111", nil).Reload(t.Context())
	slices.Sort(files.Embeddings)
	if err != nil || strings.Join(files.Loras, " ") != "detail" || strings.Join(files.Embeddings, " ") != "72437 for-sdxl" ||
		strings.Join(f.refreshed, ", ") != "POST /sdapi/v1/refresh-loras, POST /sdapi/v1/refresh-embeddings" {
		t.Errorf("%v, %v after %q", files, err, f.refreshed)
	}
}

func TestOutOfMemoryMakesBatchesSequential(t *testing.T) {
	t.Parallel()
	f := &fakeServer{images: 2, status: []int{500}}
	d := New(start(t, f), "a1111", nil)
	res, err := d.Generate(t.Context(), newJob("k", nil, backend.Sources{}, "a", "b"), quiet)
	if err != nil || len(res.Pictures) != 2 || f.bodies[1]["batch_size"] != 1.0 || f.bodies[1]["n_iter"] != 2.0 || res.Pictures[1].Seed != 1235 {
		t.Errorf("got %d pictures, %v", len(res.Pictures), err)
	}
	f.status = []int{500}
	if _, err := d.Generate(t.Context(), newJob("k", nil, backend.Sources{}, "a"), quiet); backend.KindOf(err) != backend.OutOfMemory {
		t.Errorf("single: %v", err)
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	f := &fakeServer{slow: true}
	d := New(start(t, f), "a1111", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := d.Generate(ctx, newJob("k", nil, backend.Sources{}, "a"), func(p backend.ImageProgress) {
		if p.Step == 2 {
			cancel()
		}
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if !errors.Is(err, context.Canceled) || !f.interrupted {
		t.Errorf("%v, interrupted %v", err, f.interrupted)
	}
}

const tape = "testdata/sdserver.json.gz"

func TestRecorded(t *testing.T) {
	t.Parallel()
	p, err := recorded.Load(tape)
	if err != nil {
		t.Fatal(err)
	}
	exercise(t, New(start(t, p), "sdcpp", nil))
	for _, m := range p.Missed() {
		t.Errorf("the real server was never asked %s", backend.Cut(m, 600))
	}
}

// exercise is what the real server was asked.
func exercise(t *testing.T, d *Driver) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if kind, err := Detect(ctx, d.at); kind != "sdcpp" || err != nil {
		t.Fatalf("detected %q, %v", kind, err)
	}
	info, err := d.Probe(ctx)
	if err != nil || len(info.Models) != 1 || info.Models[0] != "tiny.safetensors" || len(info.PostProcessors) != 0 || info.Progress {
		t.Fatalf("probe %+v, %v", info, err)
	}
	check := func(p backend.Picture) *image.NRGBA {
		t.Helper()
		m, err := backend.Decode(p.Data, backend.MaxPixels)
		if err != nil || m.Rect.Dx() != 64 || m.Rect.Dy() != 64 {
			t.Fatalf("picture %v, %v", m, err)
		}
		return m
	}
	res, err := d.Generate(ctx, newJob("k", nil, backend.Sources{}, "a", "b"), quiet)
	if err != nil || len(res.Pictures) != 2 || res.Pictures[1].Seed != 1235 {
		t.Fatalf("text to image: %+v, %v", res.Ignored, err)
	}
	m := check(res.Pictures[0])
	second := res.Pictures[1]
	// Picture i of a batch can be made again alone from seed + i.
	res, err = d.Generate(ctx, newJob("k", func(j *client.ImageJob) { j.Payload.Seed = "1235" }, backend.Sources{}, "a"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	a, b := check(second), check(res.Pictures[0])
	different := 0
	for i := range a.Pix {
		if d := int(a.Pix[i]) - int(b.Pix[i]); d > 8 || d < -8 {
			different++
		}
	}
	if different > len(a.Pix)/100 {
		t.Errorf("seed+1 alone gives another picture: %d of %d values differ", different, len(a.Pix))
	}
	half := func(j *client.ImageJob) { j.SourceProcessing, j.Payload.DenoisingStrength = "inpainting", new(0.5) }
	res, err = d.Generate(ctx, newJob("k", half, backend.Sources{Image: m}, "a"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	check(res.Pictures[0])
	res, err = d.Generate(ctx, newJob("k", half, backend.Sources{Image: m, Mask: picture(64, 64)}, "a"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	check(res.Pictures[0])
	if _, err := d.PostProcess(ctx, res.Pictures[0], "RealESRGAN_x4plus", 0); backend.KindOf(err) != backend.Refused {
		t.Errorf("upscaling: %v", err)
	}
}
