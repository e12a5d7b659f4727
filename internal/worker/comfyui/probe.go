// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"path"
	"slices"
	"strings"

	"horde/internal/worker/backend"
)

// Objects is what /object_info tells: the node classes that a server has, with their inputs.
type Objects map[string]Class

// Class is one node class.
type Class struct {
	Input struct {
		Required map[string]any `json:"required"`
		Optional map[string]any `json:"optional"`
	} `json:"input"`
}

// Has reports whether all classes are there.
func (o Objects) Has(classes ...string) bool {
	for _, c := range classes {
		if _, ok := o[c]; !ok {
			return false
		}
	}
	return true
}

// Options returns the choices of an input: the first element of its description is the list itself, or, on newer
// servers, the word COMBO with the list among the settings.
func (o Objects) Options(class, input string) []string {
	c := o[class]
	spec, ok := c.Input.Required[input]
	if !ok {
		spec = c.Input.Optional[input]
	}
	list, ok := spec.([]any)
	if !ok || len(list) == 0 {
		return nil
	}
	choices, ok := list[0].([]any)
	if !ok && len(list) > 1 {
		if settings, isMap := list[1].(map[string]any); isMap {
			choices, _ = settings["options"].([]any)
		}
	}
	var out []string
	for _, c := range choices {
		if s, ok := c.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// Find returns the choice of an input whose base name equals that of want, in any case and in any directory, with or
// without the ending of a model file. The result has the server's exact spelling; it is empty when nothing fits.
func (o Objects) Find(class, input string, want ...string) string {
	options := o.Options(class, input)
	for _, w := range want {
		for _, c := range options {
			if sameFile(c, w) {
				return c
			}
		}
	}
	return ""
}

func sameFile(a, b string) bool {
	a, b = base(a), base(b)
	return a != "" && (a == b || stem(a) == b || a == stem(b))
}

func base(name string) string {
	return strings.ToLower(path.Base(strings.ReplaceAll(name, `\`, "/")))
}

func stem(name string) string {
	for _, end := range []string{".safetensors", ".ckpt", ".pth", ".pt", ".bin", ".sft"} {
		if s, ok := strings.CutSuffix(name, end); ok {
			return s
		}
	}
	return name
}

// features derives what a server can do from its classes, by the table of the workers chapter, section 7.1.
func (o Objects) features() map[backend.Feature]bool {
	f := map[backend.Feature]bool{}
	set := func(feature backend.Feature, classes ...string) { f[feature] = o.Has(classes...) }
	set(backend.Img2Img, "LoadImage", "RepeatImageBatch", "VAEEncode", "SetLatentNoiseMask")
	set(backend.Inpainting, "LoadImage", "RepeatImageBatch", "VAEEncodeForInpaint")
	set(backend.HiresFix, "LatentUpscale")
	set(backend.ClipSkip, "CLIPSetLastLayer")
	set(backend.LoraFiles, "LoraLoader")
	set(backend.Embeddings, "CLIPTextEncode")
	set(backend.Tiling, "SeamlessTile", "MakeCircularVAE")
	set(backend.Flux, "SamplerCustomAdvanced", "BasicScheduler", "KSamplerSelect", "RandomNoise", "CFGGuider")
	set(backend.Cascade, "StableCascade_EmptyLatentImage", "StableCascade_StageB_Conditioning", "ConditioningZeroOut", "StableCascade_StageC_VAEEncode", "ImageScale")
	set(backend.Remix, "unCLIPCheckpointLoader", "CLIPVisionEncode", "unCLIPConditioning", "StableCascade_EmptyLatentImage")
	set(backend.Qwen, "UNETLoader", "CLIPLoader", "VAELoader", "EmptySD3LatentImage", "ModelSamplingAuraFlow")
	set(backend.ZImage, "UNETLoader", "CLIPLoader", "VAELoader", "EmptySD3LatentImage")
	set(backend.Transparent, "LayeredDiffusionApply", "LayeredDiffusionDecodeRGBA")
	f[backend.Controlnet] = o.Has("ControlNetApply", "DiffControlNetLoader") && len(o.Options("ControlNetLoader", "control_net_name")) > 0 &&
		slices.ContainsFunc(controlTypes(), func(t string) bool { return o.preprocessor(t) != "" })
	f[backend.ControlMap] = f[backend.Controlnet]
	return f
}

// basic are the classes without which nothing works.
var basic = []string{"CheckpointLoaderSimple", "CLIPTextEncode", "KSampler", "VAEDecode", "PreviewImage", "EmptyLatentImage"}

// upscaleFiles maps the horde's upscalers to file names under which they are published, beside the name itself.
var upscaleFiles = map[string][]string{
	"RealESRGAN_x4plus_anime_6B": {"RealESRGAN_x4plus_anime_6B"},
	"NMKD_Siax":                  {"4x_NMKD-Siax_200k", "4x_NMKD_Siax_200k", "NMKD_Siax"},
	"4x_AnimeSharp":              {"4x-AnimeSharp"},
	"4xNomos2_hq_dat2":           {"4xNomos2_hq_dat2"},
}

// faceFiles maps face fixers to file names.
var faceFiles = map[string][]string{
	"GFPGAN": {"GFPGANv1.4"}, "GFPGANv1.3": {"GFPGANv1.3"}, "CodeFormers": {"codeformer-v0.1.0", "codeformer"}, "RestoreFormer": {"RestoreFormer"},
}

// upscaler returns the file for an upscaler, empty when the server lacks it.
func (d *Driver) upscaler(o Objects, name string) string {
	want := append([]string{d.files[name]}, name)
	return o.Find("UpscaleModelLoader", "model_name", append(want, upscaleFiles[name]...)...)
}

// faceFixer returns the file for a face fixer.
func (d *Driver) faceFixer(o Objects, name string) string {
	if !o.Has("FaceRestoreCFWithModel") {
		return ""
	}
	return o.Find("FaceRestoreModelLoader", "model_name", append([]string{d.files[name]}, faceFiles[name]...)...)
}

func (d *Driver) postProcessors(o Objects) []string {
	var out []string
	if o.Has("UpscaleModelLoader", "ImageUpscaleWithModel", "LoadImage") {
		for _, n := range backend.Upscalers() {
			if d.upscaler(o, n) != "" {
				out = append(out, n)
			}
		}
	}
	for _, n := range backend.FaceFixers {
		if d.faceFixer(o, n) != "" {
			out = append(out, n)
		}
	}
	return out
}
