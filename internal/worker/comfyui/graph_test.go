// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"encoding/json"
	"fmt"
	"image"
	"slices"
	"strings"
	"testing"

	"horde/internal/worker/backend"
)

// classes makes Objects of class names, with enumerations where given as class.input=a,b.
func classes(list ...string) Objects {
	o := Objects{}
	for _, s := range list {
		name, options, has := strings.Cut(s, "=")
		class, input, _ := strings.Cut(name, ".")
		c := o[class]
		if c.Input.Required == nil {
			c.Input.Required = map[string]any{}
		}
		if has {
			choices := []any{}
			for _, x := range strings.Split(options, ",") {
				choices = append(choices, x)
			}
			c.Input.Required[input] = []any{choices}
		}
		o[class] = c
	}
	return o
}

var plainServer = []string{"CheckpointLoaderSimple.ckpt_name=sub/Mini.safetensors,flux.safetensors,b.safetensors,c.safetensors", "CLIPTextEncode", "VAEDecode", "PreviewImage",
	"EmptyLatentImage", "CLIPSetLastLayer", "LoadImage", "RepeatImageBatch", "VAEEncode", "VAEEncodeForInpaint", "SetLatentNoiseMask", "LatentUpscale",
	"KSampler.sampler_name=euler,dpmpp_2m", "LoraLoader.lora_name=x/Detail.safetensors"}

func job(base backend.Baseline, f func(*backend.ImageJob)) *backend.ImageJob {
	j := &backend.ImageJob{Key: "k", Model: backend.Model{Name: "m", Baseline: base, Files: map[string]string{"": "mini.SAFETENSORS"}}, Positive: "p", Negative: "n",
		Seed: 7, Sampler: "k_dpmpp_2m", Karras: true, CFG: 5, Steps: 30, Width: 512, Height: 768, First: backend.Size{W: 512, H: 768}, Count: 2, Denoise: 1, ClipSkip: 2, ControlStrength: 1}
	if f != nil {
		f(j)
	}
	return j
}

// shape writes a graph as lines "id Class input<-id.output", literals left out, for reading in tests.
func shape(g Graph) string {
	var lines []string
	for id, n := range g {
		var links []string
		for in, v := range n.Inputs {
			if l, ok := v.(link); ok {
				links = append(links, fmt.Sprintf("%s<-%s.%d", in, l.id, l.output))
			}
		}
		slices.Sort(links)
		lines = append(lines, strings.TrimSpace(id+" "+n.Class+" "+strings.Join(links, " ")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestGraphs(t *testing.T) {
	t.Parallel()
	flux := append(slices.Clone(plainServer), "SamplerCustomAdvanced", "BasicScheduler", "KSamplerSelect", "RandomNoise", "CFGGuider")
	control := append(slices.Clone(plainServer), "ControlNetApply", "DiffControlNetLoader", "Canny", "ControlNetLoader.control_net_name=diff_control_sd15_canny_fp16.safetensors")
	cascade := append(slices.Clone(plainServer), "StableCascade_EmptyLatentImage", "StableCascade_StageB_Conditioning", "ConditioningZeroOut",
		"StableCascade_StageC_VAEEncode", "ImageScale", "unCLIPCheckpointLoader.ckpt_name=c.safetensors", "CLIPVisionEncode", "unCLIPConditioning")
	parts := append(slices.Clone(plainServer), "UNETLoader.unet_name=qwen.safetensors", "CLIPLoader.clip_name=qwen_2.5_vl_7b_fp8_scaled.safetensors,qwen_3_4b.safetensors",
		"VAELoader.vae_name=qwen_image_vae.safetensors,ae.safetensors", "EmptySD3LatentImage", "ModelSamplingAuraFlow")
	picture := image.NewNRGBA(image.Rect(0, 0, 8, 8))
	for name, tc := range map[string]struct {
		have    []string
		job     *backend.ImageJob
		extra   []string
		want    string
		ignored string
	}{
		"text to image with a LoRA and a second pass": {plainServer, job(backend.SD1, func(j *backend.ImageJob) {
			j.Loras = []backend.LoraFile{{Name: "detail", Model: 1, Clip: 0.5}, {Name: "detail"}}
			j.Hires, j.HiresSteps, j.Tiling, j.Transparent = true, 14, true, true
		}), nil, `ckpt CheckpointLoaderSimple
decode VAEDecode samples<-sampler2.0 vae<-ckpt.2
latent EmptyLatentImage
lora_0 LoraLoader clip<-ckpt.1 model<-ckpt.0
neg CLIPTextEncode clip<-skip.0
out PreviewImage images<-decode.0
pos CLIPTextEncode clip<-skip.0
sampler KSampler latent_image<-latent.0 model<-lora_0.0 negative<-neg.0 positive<-pos.0
sampler2 KSampler latent_image<-up.0 model<-lora_0.0 negative<-neg.0 positive<-pos.0
skip CLIPSetLastLayer clip<-lora_0.1
up LatentUpscale samples<-sampler.0`, "tiling,transparent"},
		"painting": {plainServer, job(backend.SDXL, func(j *backend.ImageJob) { j.Mode, j.Source = backend.Paint, picture }), nil, `ckpt CheckpointLoaderSimple
decode VAEDecode samples<-sampler.0 vae<-ckpt.2
enc VAEEncodeForInpaint mask<-load.1 pixels<-repeat.0 vae<-ckpt.2
load LoadImage
neg CLIPTextEncode clip<-skip.0
out PreviewImage images<-decode.0
pos CLIPTextEncode clip<-skip.0
repeat RepeatImageBatch image<-load.0
sampler KSampler latent_image<-enc.0 model<-ckpt.0 negative<-neg.0 positive<-pos.0
skip CLIPSetLastLayer clip<-ckpt.1`, ""},
		"control with a second pass": {control, job(backend.SD1, func(j *backend.ImageJob) {
			j.Mode, j.Source, j.ControlType, j.Hires = backend.Control, picture, "canny", true
		}), nil, `apply ControlNetApply conditioning<-pos.0 control_net<-net.0 image<-prep.0
ckpt CheckpointLoaderSimple
decode VAEDecode samples<-sampler2.0 vae<-ckpt.2
latent EmptyLatentImage
load LoadImage
neg CLIPTextEncode clip<-skip.0
net DiffControlNetLoader model<-ckpt.0
out PreviewImage images<-decode.0
pos CLIPTextEncode clip<-skip.0
prep Canny image<-load.0
sampler KSampler latent_image<-latent.0 model<-ckpt.0 negative<-neg.0 positive<-apply.0
sampler2 KSampler latent_image<-up.0 model<-ckpt.0 negative<-neg.0 positive<-pos.0
skip CLIPSetLastLayer clip<-ckpt.1
up LatentUpscale samples<-sampler.0`, ""},
		"the control map alone": {control, job(backend.SD1, func(j *backend.ImageJob) {
			j.Mode, j.Source, j.ControlType, j.ReturnMap, j.Count = backend.Control, picture, "canny", true, 1
		}), nil, "load LoadImage\nout PreviewImage images<-prep.0\nprep Canny image<-load.0", ""},
		"flux": {flux, job(backend.Flux1, func(j *backend.ImageJob) { j.Model.Files[""] = "flux" }), nil, `ckpt CheckpointLoaderSimple
decode VAEDecode samples<-sampler.0 vae<-ckpt.2
guider CFGGuider model<-ckpt.0 negative<-neg.0 positive<-pos.0
latent EmptyLatentImage
neg CLIPTextEncode clip<-ckpt.1
noise RandomNoise
out PreviewImage images<-decode.0
pos CLIPTextEncode clip<-ckpt.1
sampler SamplerCustomAdvanced guider<-guider.0 latent_image<-latent.0 noise<-noise.0 sampler<-sampler_name.0 sigmas<-sigmas.0
sampler_name KSamplerSelect
sigmas BasicScheduler model<-ckpt.0`, "clip_skip"},
		"qwen": {parts, job(backend.QwenImage, func(j *backend.ImageJob) { j.Model.Files["unet"], j.ClipSkip = "qwen", 1 }), nil, `clip CLIPLoader
decode VAEDecode samples<-sampler.0 vae<-vae.0
latent EmptySD3LatentImage
neg CLIPTextEncode clip<-clip.0
out PreviewImage images<-decode.0
pos CLIPTextEncode clip<-clip.0
sampler KSampler latent_image<-latent.0 model<-shift.0 negative<-neg.0 positive<-pos.0
shift ModelSamplingAuraFlow model<-unet.0
unet UNETLoader
vae VAELoader`, ""},
		"remix on cascade": {cascade, job(backend.StableCascade, func(j *backend.ImageJob) {
			j.Model.Files = map[string]string{stageB: "b", stageC: "c"}
			j.Mode, j.Source, j.ClipSkip, j.Extra = backend.Remixed, picture, 1, []backend.ExtraImage{{Strength: 0.5}}
		}), []string{"extra.png"}, `b CheckpointLoaderSimple
c unCLIPCheckpointLoader
decode VAEDecode samples<-sampler_b.0 vae<-b.2
given StableCascade_StageB_Conditioning conditioning<-zero.0 stage_c<-sampler_c.0
latent StableCascade_EmptyLatentImage
load_0 LoadImage
load_1 LoadImage
neg CLIPTextEncode clip<-c.1
out PreviewImage images<-decode.0
pos CLIPTextEncode clip<-c.1
sampler_b KSampler latent_image<-latent.1 model<-b.0 negative<-zero.0 positive<-given.0
sampler_c KSampler latent_image<-latent.0 model<-c.0 negative<-neg.0 positive<-unclip_1.0
unclip_0 unCLIPConditioning clip_vision_output<-vision_0.0 conditioning<-pos.0
unclip_1 unCLIPConditioning clip_vision_output<-vision_1.0 conditioning<-unclip_0.0
vision_0 CLIPVisionEncode clip_vision<-c.3 image<-load_0.0
vision_1 CLIPVisionEncode clip_vision<-c.3 image<-load_1.0
zero ConditioningZeroOut conditioning<-unclip_1.0`, ""},
	} {
		g, ignored, err := Build(classes(tc.have...), tc.job, "src.png", tc.extra)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := shape(g); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, tc.want)
		}
		if got := strings.Join(ignored, ","); got != tc.ignored {
			t.Errorf("%s: ignored %q, want %q", name, got, tc.ignored)
		}
		for id, n := range g {
			for in, v := range n.Inputs {
				if l, ok := v.(link); ok {
					if _, there := g[l.id]; !there {
						t.Errorf("%s: %s.%s comes from %s, which is not there", name, id, in, l.id)
					}
				}
			}
		}
	}
}

// Worked example 14, and the numbers of both passes.
func TestGraphValues(t *testing.T) {
	t.Parallel()
	g, _, err := Build(classes(plainServer...), job(backend.SD1, func(j *backend.ImageJob) {
		j.Hires, j.HiresSteps, j.HiresDenoise, j.Width, j.Height = true, 14, 0.65, 768, 1152
	}), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		node, input string
		want        any
	}{
		{"skip", "stop_at_clip_layer", -2}, {"sampler", "sampler_name", "dpmpp_2m"}, {"sampler", "scheduler", "karras"}, {"sampler", "steps", 30},
		{"sampler", "seed", uint32(7)}, {"latent", "width", 512}, {"latent", "batch_size", 2}, {"ckpt", "ckpt_name", "sub/Mini.safetensors"},
		{"sampler2", "scheduler", "simple"}, {"sampler2", "steps", 14}, {"sampler2", "denoise", 0.65}, {"up", "width", 768}, {"up", "upscale_method", "nearest-exact"},
	} {
		if got := g[tc.node].Inputs[tc.input]; got != tc.want {
			t.Errorf("%s.%s is %v, want %v", tc.node, tc.input, got, tc.want)
		}
	}
	data, _ := json.Marshal(g["decode"])
	if string(data) != `{"class_type":"VAEDecode","inputs":{"samples":["sampler2",0],"vae":["ckpt",2]}}` {
		t.Errorf("written as %s", data)
	}
}

func TestGraphsThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, j := range map[string]*backend.ImageJob{
		"flux without its nodes":         job(backend.Flux1, nil),
		"cascade without its nodes":      job(backend.StableCascade, nil),
		"qwen without its files":         job(backend.QwenImage, nil),
		"control without a model":        job(backend.SD1, func(j *backend.ImageJob) { j.Mode, j.ControlType = backend.Control, "canny" }),
		"a control type nobody knows":    job(backend.SD1, func(j *backend.ImageJob) { j.Mode, j.ControlType = backend.Control, "new" }),
		"control on SDXL":                job(backend.SDXL, func(j *backend.ImageJob) { j.Mode, j.ControlType, j.ImageIsControl = backend.Control, "canny", true }),
		"a checkpoint that is not there": job(backend.SD1, func(j *backend.ImageJob) { j.Model.Files[""] = "other" }),
		"the QR workflow":                job(backend.SDXL, func(j *backend.ImageJob) { j.Workflow = "qr_code" }),
	} {
		if _, _, err := Build(classes(plainServer...), j, "s", nil); backend.KindOf(err) != backend.Refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Newer servers describe a choice as COMBO with the list among the settings.
func TestOptions(t *testing.T) {
	t.Parallel()
	var o Objects
	json.Unmarshal([]byte(`{"A":{"input":{"required":{"x":[["a/One.safetensors","two.pth"],{}],"y":["COMBO",{"options":["three"]}],"z":["INT",{"default":1}]}}}}`), &o)
	if o.Find("A", "x", "one") != "a/One.safetensors" || o.Find("A", "x", "TWO.PTH") != "two.pth" || o.Find("A", "y", "three") != "three" || o.Find("A", "z", "1") != "" || o.Find("B", "x", "") != "" {
		t.Errorf("options %v, %v", o.Options("A", "x"), o.Options("A", "y"))
	}
}
