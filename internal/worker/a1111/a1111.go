// SPDX-License-Identifier: AGPL-3.0-or-later

// Package a1111 drives image servers with the AUTOMATIC1111 API: the original, Forge, SD.Next, and sd-server of
// stable-diffusion.cpp, which has a part of it. Names of samplers, schedulers, checkpoints and upscalers differ between
// these and their versions, so each is looked up in the server's own lists.
package a1111

import (
	"context"
	"encoding/base64"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"horde/client"
	"horde/internal/worker/backend"
)

const (
	// progressEvery is the pause between two looks at how far a job is.
	progressEvery = time.Second
	// stopLimit bounds the call that interrupts a job.
	stopLimit = 5 * time.Second
	// reloadLimit bounds the call that makes the server look for new files.
	reloadLimit = 10 * time.Second
)

// Driver speaks to one server.
type Driver struct {
	at *backend.Endpoint
	// files maps names of post-processors to the server's upscalers.
	files map[string]string
	kind  string
	can   atomic.Pointer[abilities]
}

// New returns a driver. kind is "a1111", "forge", "sdnext" or "sdcpp". files maps the horde's names of upscalers to
// those of the server where they differ; nil is fine.
func New(at *backend.Endpoint, kind string, files map[string]string) *Driver {
	return &Driver{at: at, kind: kind, files: files}
}

// Probe implements backend.Images.
func (d *Driver) Probe(ctx context.Context) (backend.ImageInfo, error) {
	a := &abilities{kind: d.kind, checkpoints: map[string]string{}, samplers: map[string]string{}, schedulers: map[string]string{},
		upscalers: map[string]string{}, faceFixers: map[string]bool{}}
	info := backend.ImageInfo{Kind: d.kind, SeedPerImage: true, Progress: d.kind != "sdcpp"}
	var models []struct {
		Title string `json:"title"`
		Name  string `json:"model_name"`
		File  string `json:"filename"`
	}
	if err := d.at.Get(ctx, "/sdapi/v1/sd-models", &models); err != nil {
		return info, err
	}
	for _, m := range models {
		name := m.File
		if name == "" {
			name = m.Name
		}
		info.Models = append(info.Models, name)
		a.checkpoints[stem(name)] = m.Title
		a.checkpoints[stem(m.Name)] = m.Title
	}
	var samplers []struct {
		Name    string   `json:"name"`
		Aliases []string `json:"aliases"`
	}
	if err := d.at.Get(ctx, "/sdapi/v1/samplers", &samplers); err != nil {
		return info, err
	}
	for _, s := range samplers {
		for _, n := range append(s.Aliases, s.Name) {
			a.samplers[strings.ToLower(n)] = s.Name
		}
	}
	var schedulers []struct {
		Name  string `json:"name"`
		Label string `json:"label"`
	}
	_ = d.at.Get(ctx, "/sdapi/v1/schedulers", &schedulers) // absent before 1.9
	for _, s := range schedulers {
		a.schedulers[strings.ToLower(s.Name)], a.schedulers[strings.ToLower(s.Label)] = s.Label, s.Label
	}
	var named []struct {
		Name string `json:"name"`
	}
	_ = d.at.Get(ctx, "/sdapi/v1/upscalers", &named)
	for _, u := range named {
		a.upscalers[stem(u.Name)] = u.Name
	}
	named = nil
	a.extras = d.at.Get(ctx, "/sdapi/v1/face-restorers", &named) == nil
	for _, f := range named {
		a.faceFixers[strings.ToLower(f.Name)] = true
	}
	loras, err := d.loras(ctx)
	info.Loras = loras
	var control struct {
		Models  []string `json:"model_list"`
		Modules []string `json:"module_list"`
	}
	if d.kind != "sdcpp" {
		_ = d.at.Get(ctx, "/controlnet/model_list", &control)
		_ = d.at.Get(ctx, "/controlnet/module_list", &control)
	}
	a.controlModels, a.controlModules = control.Models, control.Modules
	d.can.Store(a)
	info.Has = map[backend.Feature]bool{
		backend.Img2Img: true, backend.Inpainting: true, backend.HiresFix: true, backend.ClipSkip: true,
		backend.Tiling: d.kind != "sdcpp", backend.LoraFiles: err == nil, backend.Embeddings: d.kind != "sdcpp",
		backend.Controlnet: len(control.Models) > 0 && len(control.Modules) > 0, backend.ControlMap: len(control.Modules) > 0,
	}
	for _, n := range backend.Upscalers() {
		if a.extras && d.upscaler(a, n) != "" {
			info.PostProcessors = append(info.PostProcessors, n)
		}
	}
	if a.faceFixers["gfpgan"] {
		info.PostProcessors = append(info.PostProcessors, "GFPGAN")
	}
	if a.faceFixers["codeformer"] {
		info.PostProcessors = append(info.PostProcessors, "CodeFormers")
	}
	return info, nil
}

// loras lists the LoRA files. The error means that the server has none and cannot have any.
func (d *Driver) loras(ctx context.Context) (names []string, err error) {
	var list []struct {
		Name string `json:"name"`
	}
	err = d.at.Get(ctx, "/sdapi/v1/loras", &list)
	for _, l := range list {
		names = append(names, l.Name)
	}
	return names, err
}

// Reload implements backend.Images. The calls that make the server look anew are missing in some of the kinds, which look
// by themselves.
func (d *Driver) Reload(ctx context.Context) (files backend.Files, err error) {
	for _, what := range []string{"loras", "embeddings"} {
		limited, cancel := context.WithTimeout(ctx, reloadLimit)
		_ = d.at.JSON(limited, http.MethodPost, "/sdapi/v1/refresh-"+what, nil, nil)
		cancel()
	}
	if files.Loras, err = d.loras(ctx); err != nil || d.kind == "sdcpp" {
		return files, err
	}
	var embeddings struct {
		Loaded map[string]any `json:"loaded"`
		// Skipped ones do not fit the model that is loaded at the moment; that of the job may be another.
		Skipped map[string]any `json:"skipped"`
	}
	err = d.at.Get(ctx, "/sdapi/v1/embeddings", &embeddings)
	files.Embeddings = slices.AppendSeq(slices.Collect(maps.Keys(embeddings.Loaded)), maps.Keys(embeddings.Skipped))
	return files, err
}

// upscalerNames are what servers call the horde's upscalers.
var upscalerNames = map[string][]string{
	"RealESRGAN_x4plus": {"r-esrgan 4x+"}, "RealESRGAN_x2plus": {"r-esrgan 2x+"}, "RealESRGAN_x4plus_anime_6B": {"r-esrgan 4x+ anime6b"},
	"NMKD_Siax": {"4x_nmkd-siax_200k", "4x_nmkd_siax_200k"}, "4x_AnimeSharp": {"4x-animesharp"},
}

func (d *Driver) upscaler(a *abilities, name string) string {
	for _, want := range append([]string{d.files[name], name}, upscalerNames[name]...) {
		if u, ok := a.upscalers[stem(want)]; ok && want != "" {
			return u
		}
	}
	return ""
}

// stem is a file's name without directory and ending, in lower case.
func stem(name string) string { return strings.ToLower(stemCase(name)) }

func stemCase(name string) string {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	for _, end := range []string{".safetensors", ".ckpt", ".pth", ".pt", ".gguf"} {
		name = strings.TrimSuffix(name, end)
	}
	return name
}

// reply is what txt2img and img2img answer.
type reply struct {
	Images []string `json:"images"`
	Info   string   `json:"info"`
}

// Generate implements backend.Images.
func (d *Driver) Generate(ctx context.Context, j *backend.ImageJob, progress func(backend.ImageProgress)) (backend.ImageResult, error) {
	a := d.can.Load()
	if a == nil {
		if _, err := d.Probe(ctx); err != nil {
			return backend.ImageResult{}, err
		}
		a = d.can.Load()
	}
	if j.Mode == backend.Control && j.ReturnMap {
		return d.controlMap(ctx, a, j)
	}
	where, body, ignored, err := a.Body(j)
	if err != nil {
		return backend.ImageResult{}, err
	}
	r, err := d.call(ctx, where, body, progress)
	if backend.KindOf(err) == backend.OutOfMemory && j.Count > 1 {
		// One after the other needs less memory than side by side.
		body["batch_size"], body["n_iter"] = 1, j.Count
		r, err = d.call(ctx, where, body, progress)
	}
	if err != nil {
		return backend.ImageResult{}, err
	}
	// Info is JSON inside a string; stable-diffusion.cpp leaves it empty.
	var info struct {
		First int     `json:"index_of_first_image"`
		Seeds []int64 `json:"all_seeds"`
		Model string  `json:"sd_model_name"`
	}
	_ = client.Decode([]byte(r.Info), &info)
	if info.Model != "" && a.checkpoints[stem(info.Model)] != a.checkpoints[stem(j.Model.File())] {
		// An unknown checkpoint is no error for the server: it takes the one it has.
		return backend.ImageResult{}, backend.Errorf(backend.Failed, "the server used %s in place of %s", info.Model, j.Model.File())
	}
	if info.First < 0 || len(r.Images) < info.First+j.Count {
		return backend.ImageResult{}, backend.Errorf(backend.Failed, "%d pictures in place of %d", len(r.Images)-info.First, j.Count)
	}
	res := backend.ImageResult{Ignored: ignored}
	for i, img := range r.Images[info.First : info.First+j.Count] {
		data, err := client.DecodeImage(img)
		if err != nil {
			return res, &backend.Error{Kind: backend.Failed, Cause: err}
		}
		seed := j.Seed + uint32(i)
		if i < len(info.Seeds) {
			seed = uint32(info.Seeds[i])
		}
		res.Pictures = append(res.Pictures, backend.Picture{Data: data, Seed: seed})
	}
	return res, nil
}

// call posts a job, reports progress meanwhile, and interrupts the server when ctx ends.
func (d *Driver) call(ctx context.Context, where string, body map[string]any, progress func(backend.ImageProgress)) (reply, error) {
	var r reply
	watch, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.watch(watch, progress)
	}()
	err := d.at.JSON(ctx, http.MethodPost, where, body, &r)
	stop()
	<-done
	if ctx.Err() != nil {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		if d.kind != "sdcpp" {
			_ = d.at.JSON(bye, http.MethodPost, "/sdapi/v1/interrupt", nil, nil)
		}
		return r, ctx.Err()
	}
	return r, err
}

// watch asks for the progress until ctx ends.
func (d *Driver) watch(ctx context.Context, progress func(backend.ImageProgress)) {
	progress(backend.ImageProgress{Stage: "loading"})
	if d.kind == "sdcpp" {
		progress(backend.ImageProgress{Stage: "sampling"})
		return
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	last := -1.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var p struct {
			Progress float64 `json:"progress"`
			State    struct {
				Step  int `json:"sampling_step"`
				Steps int `json:"sampling_steps"`
			} `json:"state"`
		}
		if d.at.Get(ctx, "/sdapi/v1/progress?skip_current_image=true", &p) == nil && p.Progress != last && p.Progress > 0 {
			last = p.Progress
			progress(backend.ImageProgress{Stage: "sampling", Step: p.State.Step, Steps: p.State.Steps})
		}
	}
}

// controlMap runs the preprocessor alone; its picture is the result of each id.
func (d *Driver) controlMap(ctx context.Context, a *abilities, j *backend.ImageJob) (backend.ImageResult, error) {
	module := a.controlModule(j.ControlType)
	if module == "" {
		return backend.ImageResult{}, backend.Errorf(backend.Refused, "no preprocessor for %s", j.ControlType)
	}
	img, err := encode(j.Source)
	if err != nil {
		return backend.ImageResult{}, err
	}
	var r reply
	err = d.at.JSON(ctx, http.MethodPost, "/controlnet/detect", map[string]any{
		"controlnet_module": module, "controlnet_input_images": []string{img}, "controlnet_processor_res": min(j.Width, j.Height)}, &r)
	if err != nil {
		return backend.ImageResult{}, err
	}
	if len(r.Images) == 0 {
		return backend.ImageResult{}, backend.Errorf(backend.Failed, "no control map came back")
	}
	data, err := client.DecodeImage(r.Images[0])
	if err != nil {
		return backend.ImageResult{}, &backend.Error{Kind: backend.Failed, Cause: err}
	}
	return backend.ImageResult{Pictures: slices.Repeat([]backend.Picture{{Data: data, Seed: j.Seed}}, j.Count)}, nil
}

// PostProcess implements backend.Images.
func (d *Driver) PostProcess(ctx context.Context, p backend.Picture, name string, strength float64) (backend.Picture, error) {
	a := d.can.Load()
	if a == nil || !a.extras {
		return p, backend.Errorf(backend.Refused, "the server cannot do %s", name)
	}
	body := map[string]any{"image": base64.StdEncoding.EncodeToString(p.Data), "resize_mode": 0, "upscaling_resize": 1, "upscaler_1": "None"}
	switch {
	case backend.IsUpscaler(name) && d.upscaler(a, name) != "":
		body["upscaler_1"], body["upscaling_resize"] = d.upscaler(a, name), backend.UpscaleFactor(name)
	case name == "CodeFormers" && a.faceFixers["codeformer"]:
		// The weight is fidelity: the more is to change, the less of it.
		body["codeformer_visibility"], body["codeformer_weight"] = 1, 1-strength
	case name == "GFPGAN" && a.faceFixers["gfpgan"]:
		body["gfpgan_visibility"] = strength
	default:
		return p, backend.Errorf(backend.Refused, "the server cannot do %s", name)
	}
	var r struct {
		Image string `json:"image"`
	}
	if err := d.at.JSON(ctx, http.MethodPost, "/sdapi/v1/extra-single-image", body, &r); err != nil {
		return p, err
	}
	data, err := client.DecodeImage(r.Image)
	if err != nil || len(data) == 0 {
		return p, backend.Errorf(backend.Failed, "%s: no picture came back", name)
	}
	return backend.Picture{Data: data, Seed: p.Seed}, nil
}

// Free implements backend.Images.
func (d *Driver) Free(ctx context.Context) error {
	if d.kind == "sdcpp" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	return d.at.JSON(ctx, http.MethodPost, "/sdapi/v1/unload-checkpoint", nil, nil)
}

// Detect asks a server which of the kinds it is; an error means none of them.
func Detect(ctx context.Context, at *backend.Endpoint) (string, error) {
	if at.Get(ctx, "/sdcpp/v1/capabilities", nil) == nil {
		return "sdcpp", nil
	}
	var options map[string]any
	if err := at.Get(ctx, "/sdapi/v1/options", &options); err != nil {
		return "", err
	}
	for name := range options {
		if strings.HasPrefix(name, "forge_") {
			return "forge", nil
		}
	}
	if _, ok := options["diffusers_pipeline"]; ok {
		return "sdnext", nil
	}
	return "a1111", nil
}
