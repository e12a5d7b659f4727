// SPDX-License-Identifier: AGPL-3.0-or-later

package a1111

import (
	"encoding/base64"
	"fmt"
	"image"
	"regexp"
	"strings"

	"horde/internal/worker/backend"
)

// abilities is what the last probe found.
type abilities struct {
	kind string
	// checkpoints maps file names without directory and ending, in lower case, to titles.
	checkpoints map[string]string
	samplers    map[string]string // name or alias in lower case to name
	schedulers  map[string]string // name or label in lower case to what is sent
	upscalers   map[string]string
	faceFixers  map[string]bool
	// controlModels and controlModules are names as listed; empty without the extension.
	controlModels, controlModules []string
	// extras: /extra-single-image exists.
	extras bool
}

// Body makes the request of a job. path is that of the API call. ignored lists options that this server cannot honour.
func (a *abilities) Body(j *backend.ImageJob) (path string, body map[string]any, ignored []string, err error) {
	ignore := func(option string) { ignored = append(ignored, option) }
	b := map[string]any{
		"prompt": bareEmbeddings(j.Positive), "negative_prompt": bareEmbeddings(j.Negative), "seed": j.Seed, "steps": j.Steps, "cfg_scale": j.CFG,
		"width": j.Width, "height": j.Height, "batch_size": j.Count, "n_iter": 1, "send_images": true, "save_images": false,
	}
	if a.kind == "sdcpp" && j.Positive == "" {
		b["prompt"] = " " // an empty one is refused
	}
	sampler, scheduler, exact := a.sampler(j.Sampler, j.Karras)
	if !exact {
		ignore("sampler " + j.Sampler)
	}
	b["sampler_name"] = sampler
	if scheduler != "" {
		b["scheduler"] = scheduler
	}
	if err := a.model(j, b); err != nil {
		return "", nil, nil, err
	}
	if j.Tiling {
		if a.kind == "sdcpp" {
			ignore("tiling")
		} else {
			b["tiling"] = true
		}
	}
	if j.Transparent {
		ignore("transparent")
	}
	if j.Workflow != "" {
		return "", nil, nil, backend.Errorf(backend.Refused, "the workflow %s is not supported", j.Workflow)
	}
	a.loraTags(j, b)
	path = "/sdapi/v1/txt2img"
	switch j.Mode {
	case backend.ImageToImage, backend.MaskedImage, backend.Paint:
		path = "/sdapi/v1/img2img"
		if err := source(j, b); err != nil {
			return "", nil, nil, err
		}
	case backend.Control:
		if err := a.control(j, b); err != nil {
			return "", nil, nil, err
		}
	case backend.Remixed:
		return "", nil, nil, backend.Errorf(backend.Refused, "remix is not supported")
	}
	if j.Hires && path == "/sdapi/v1/txt2img" {
		b["enable_hr"], b["width"], b["height"] = true, j.First.W, j.First.H
		b["hr_resize_x"], b["hr_resize_y"] = j.Width, j.Height
		b["hr_upscaler"], b["hr_second_pass_steps"] = "Latent (nearest-exact)", j.HiresSteps
		b["denoising_strength"] = j.HiresDenoise
		if a.kind == "sdcpp" {
			b["hr_steps"] = j.HiresSteps
		}
	}
	return path, b, ignored, nil
}

var embeddingToken = regexp.MustCompile(`(?i)\bembedding:([\pL\d_.-])`)

// bareEmbeddings takes the word away that the horde's prompts have before the name of a textual inversion: here the name
// alone is what calls it.
func bareEmbeddings(prompt string) string { return embeddingToken.ReplaceAllString(prompt, "$1") }

// sampler returns the server's names. Servers before 1.9 have no schedulers; there the noise schedule is part of the
// sampler's name. exact is false when another sampler had to be taken.
func (a *abilities) sampler(name string, karras bool) (sampler, scheduler string, exact bool) {
	s := backend.LookupSampler(name)
	wanted, replaced := s.A1111, false
	if a.kind == "sdcpp" {
		wanted, replaced = s.SDCPP, s.SDCPPReplaced
	}
	pick := func(options map[string]string, names ...string) string {
		for _, n := range names {
			if v, ok := options[strings.ToLower(n)]; ok {
				return v
			}
		}
		return ""
	}
	if len(a.schedulers) == 0 && karras {
		if v := pick(a.samplers, wanted+" Karras"); v != "" {
			return v, "", true
		}
	}
	sampler = pick(a.samplers, wanted)
	exact = sampler != "" && !replaced
	if sampler == "" {
		if sampler = pick(a.samplers, "Euler", "euler"); sampler == "" {
			sampler = wanted
		}
	}
	if karras {
		scheduler = pick(a.schedulers, "karras")
	} else {
		scheduler = pick(a.schedulers, "automatic", "uniform", "discrete")
	}
	return sampler, scheduler, exact
}

// model chooses the checkpoint by override, which stays for the next job so that nothing is loaded twice.
func (a *abilities) model(j *backend.ImageJob, b map[string]any) error {
	if a.kind == "sdcpp" {
		// One model for each server, chosen when it was started.
		if j.ClipSkip > 1 {
			b["clip_skip"] = j.ClipSkip
		}
		return nil
	}
	title, ok := a.checkpoints[stem(j.Model.File())]
	if !ok {
		return backend.Errorf(backend.Refused, "the server has no checkpoint %q", j.Model.File())
	}
	b["override_settings"] = map[string]any{"sd_model_checkpoint": title, "CLIP_stop_at_last_layers": j.ClipSkip}
	b["override_settings_restore_afterwards"] = false
	return nil
}

// loraTags appends the job's LoRAs, as tags in the prompt or, for stable-diffusion.cpp, as a list.
func (a *abilities) loraTags(j *backend.ImageJob, b map[string]any) {
	var list []map[string]any
	for _, l := range j.Loras {
		if l.Model == 0 && l.Clip == 0 {
			continue
		}
		if a.kind == "sdcpp" {
			list = append(list, map[string]any{"path": l.Name, "multiplier": l.Model})
			continue
		}
		tag := fmt.Sprintf("<lora:%s:%s>", stemCase(l.Name), number(l.Model))
		if l.Model != l.Clip {
			tag = fmt.Sprintf("<lora:%s:%s:%s>", stemCase(l.Name), number(l.Clip), number(l.Model))
		}
		b["prompt"] = b["prompt"].(string) + tag
	}
	if list != nil {
		b["lora"] = list
	}
}

func number(f float64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.4f", f), "0"), ".")
}

func encode(m image.Image) (string, error) {
	data, err := backend.EncodePNG(m)
	return base64.StdEncoding.EncodeToString(data), err
}

func source(j *backend.ImageJob, b map[string]any) error {
	// A second pass has no counterpart here: the picture goes straight to its full size.
	img, err := encode(backend.Resize(j.Source, backend.Size{W: j.Width, H: j.Height}))
	if err != nil {
		return err
	}
	b["init_images"], b["resize_mode"], b["denoising_strength"] = []string{img}, 0, j.Denoise
	if j.Mask == nil {
		return nil
	}
	mask, err := encode(j.Mask)
	if err != nil {
		return err
	}
	// White is repainted. The fill starts from the picture, or from noise where nothing of it should show through.
	b["mask"], b["inpainting_mask_invert"], b["mask_blur"], b["inpaint_full_res"], b["inpainting_fill"] = mask, 0, 0, false, 1
	if j.Mode == backend.Paint && j.Denoise >= 1 {
		b["inpainting_fill"] = 2
	}
	return nil
}

// controlModules are the names of preprocessors for the horde's control types, best first; controlWords is what the
// name of a control model must hold.
var controlModules = map[string][]string{
	"canny": {"canny"}, "hed": {"softedge_hed", "hed"}, "depth": {"depth_leres", "depth_midas", "depth"},
	"normal": {"normal_midas", "normal_map"}, "openpose": {"openpose"}, "seg": {"seg_ufade20k", "segmentation"},
	"scribble": {"scribble_hed", "scribble_pidinet"}, "fakescribbles": {"scribble_hed", "fake_scribble"},
	"hough": {"mlsd"}, "mlsd": {"mlsd"}, "binary": {"threshold"},
}

var controlWords = map[string][]string{
	"canny": {"canny"}, "hed": {"softedge", "hed"}, "depth": {"depth"}, "normal": {"normal"}, "openpose": {"openpose"}, "seg": {"seg"},
	"scribble": {"scribble"}, "fakescribbles": {"scribble"}, "hough": {"mlsd"}, "mlsd": {"mlsd"}, "binary": {"scribble"},
}

func (a *abilities) controlModule(kind string) string {
	for _, want := range controlModules[kind] {
		for _, m := range a.controlModules {
			if strings.EqualFold(m, want) {
				return m
			}
		}
	}
	return ""
}

// controlModel finds a control model for a type: the name holds the type, and XL exactly for SDXL.
func (a *abilities) controlModel(kind string, base backend.Baseline) string {
	for _, word := range controlWords[kind] {
		for _, m := range a.controlModels {
			name := strings.ToLower(m)
			xl := strings.Contains(name, "xl")
			two := strings.Contains(name, "sd21") || strings.Contains(name, "v11p_sd21")
			is2 := base == backend.SD2 || base == backend.SD2_512
			if strings.Contains(name, word) && xl == (base == backend.SDXL) && two == is2 {
				return m
			}
		}
	}
	return ""
}

// control adds the ControlNet extension's arguments.
func (a *abilities) control(j *backend.ImageJob, b map[string]any) error {
	model, module := a.controlModel(j.ControlType, j.Model.Baseline), a.controlModule(j.ControlType)
	if j.ImageIsControl {
		module = "none"
	}
	if model == "" || module == "" {
		return backend.Errorf(backend.Refused, "no control model or preprocessor for %s on %s", j.ControlType, j.Model.Baseline)
	}
	img, err := encode(j.Source)
	if err != nil {
		return err
	}
	b["alwayson_scripts"] = map[string]any{"controlnet": map[string]any{"args": []any{map[string]any{
		"enabled": true, "image": img, "module": module, "model": model, "weight": j.ControlStrength, "resize_mode": 0,
		"processor_res": min(j.Width, j.Height), "pixel_perfect": false, "guidance_start": 0, "guidance_end": 1, "control_mode": 0,
	}}}}
	return nil
}
