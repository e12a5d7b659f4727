// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"fmt"

	"horde/internal/worker/backend"
)

// flux is the graph of the Flux family: a guider, a scheduler and a sampler in separate nodes. Its scheduler is fixed.
func (b *builder) flux() error {
	j := b.job
	file := b.have.Find("CheckpointLoaderSimple", "ckpt_name", j.Model.File())
	if file == "" || !b.have.features()[backend.Flux] {
		return backend.Errorf(backend.Refused, "the server cannot run %q", j.Model.Name)
	}
	b.add("ckpt", "CheckpointLoaderSimple", map[string]any{"ckpt_name": file})
	model, clip := b.loras(link{"ckpt", 0}, link{"ckpt", 1})
	vae := link{"ckpt", 2}
	pos, neg := b.prompts(clip)
	guider := b.add("guider", "CFGGuider", map[string]any{"model": model, "positive": pos, "negative": neg, "cfg": j.CFG})
	noise := b.add("noise", "RandomNoise", map[string]any{"noise_seed": j.Seed})
	sampler := b.add("sampler_name", "KSamplerSelect", map[string]any{"sampler_name": b.samplerName()})
	sigmas := b.add("sigmas", "BasicScheduler", map[string]any{"model": model, "scheduler": "normal", "steps": j.Steps, "denoise": j.Denoise})
	samples := b.add("sampler", "SamplerCustomAdvanced", map[string]any{"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": b.start(vae)})
	b.unsupported()
	b.finish(samples, vae)
	return nil
}

// unet is the graph of Qwen-Image and Z-Image: network, text encoder and VAE come from three files.
func (b *builder) unet() error {
	j := b.job
	feature, clipType, clipFile, vaeFile := backend.ZImage, "lumina2", "qwen_3_4b", "ae"
	if j.Model.Baseline == backend.QwenImage {
		feature, clipType, clipFile, vaeFile = backend.Qwen, "qwen_image", "qwen_2.5_vl_7b_fp8_scaled", "qwen_image_vae"
	}
	net := b.have.Find("UNETLoader", "unet_name", j.Model.Files["unet"], j.Model.File())
	encoder := b.have.Find("CLIPLoader", "clip_name", j.Model.Files["text_encoders"], clipFile)
	decoder := b.have.Find("VAELoader", "vae_name", j.Model.Files["vae"], vaeFile)
	if net == "" || encoder == "" || decoder == "" || !b.have.features()[feature] {
		return backend.Errorf(backend.Refused, "the server lacks a part of %q", j.Model.Name)
	}
	model := b.add("unet", "UNETLoader", map[string]any{"unet_name": net, "weight_dtype": "default"})
	clip := b.add("clip", "CLIPLoader", map[string]any{"clip_name": encoder, "type": clipType})
	vae := b.add("vae", "VAELoader", map[string]any{"vae_name": decoder})
	model, clip = b.loras(model, clip)
	if feature == backend.Qwen {
		model = b.add("shift", "ModelSamplingAuraFlow", map[string]any{"model": model, "shift": 3.1})
	}
	pos, neg := b.prompts(clip)
	latent := b.start(vae)
	if n, ok := b.g["latent"]; ok {
		n.Class = "EmptySD3LatentImage"
		b.g["latent"] = n
	}
	samples := b.add("sampler", "KSampler", map[string]any{"seed": j.Seed, "steps": j.Steps, "cfg": j.CFG, "sampler_name": b.samplerName(),
		"scheduler": "simple", "denoise": j.Denoise, "model": model, "positive": pos, "negative": neg, "latent_image": latent})
	b.unsupported()
	b.finish(samples, vae)
	return nil
}

// unsupported notes what has no meaning for the newer families.
func (b *builder) unsupported() {
	if b.job.ClipSkip > 1 {
		b.ignore("clip_skip")
	}
	if b.job.Tiling {
		b.ignore("tiling")
	}
	if b.job.Transparent {
		b.ignore("transparent")
		b.job.Transparent = false
	}
}

// The stages of Stable Cascade in a model's Files.
const (
	stageB = "stable_cascade_stage_b"
	stageC = "stable_cascade_stage_c"
)

// cascade is the graph of Stable Cascade: stage C makes a small latent from the prompt, stage B a large one from that.
func (b *builder) cascade() error {
	j := b.job
	remix := j.Mode == backend.Remixed
	loaderC := "CheckpointLoaderSimple"
	if remix {
		loaderC = "unCLIPCheckpointLoader"
	}
	fileC := b.have.Find(loaderC, "ckpt_name", j.Model.Files[stageC])
	fileB := b.have.Find("CheckpointLoaderSimple", "ckpt_name", j.Model.Files[stageB])
	if fileC == "" || fileB == "" || !b.have.features()[backend.Cascade] || remix && !b.have.features()[backend.Remix] {
		return backend.Errorf(backend.Refused, "the server cannot run %q", j.Model.Name)
	}
	b.add("c", loaderC, map[string]any{"ckpt_name": fileC})
	b.add("b", "CheckpointLoaderSimple", map[string]any{"ckpt_name": fileB})
	model, clip := b.loras(link{"c", 0}, link{"c", 1})
	pos, neg := b.prompts(clip)
	if remix {
		pos = b.examples(pos)
	}
	b.unsupported()
	compression, cfgB := 42, 1.0
	if j.Hires {
		compression, cfgB = 32, 1.1
	}
	latentC, latentB := b.cascadeStart(compression)
	images := b.stages("", model, pos, neg, latentC, latentB, j.Denoise, cfgB)
	if j.Hires {
		scaled := b.add("scale", "ImageScale", map[string]any{"image": images, "upscale_method": "nearest-exact", "width": j.Width, "height": j.Height, "crop": "disabled"})
		b.add("enc2", "StableCascade_StageC_VAEEncode", map[string]any{"image": scaled, "vae": link{"c", 2}, "compression": compression})
		images = b.stages("2", model, pos, neg, link{"enc2", 0}, link{"enc2", 1}, j.HiresDenoise, cfgB)
	}
	b.add(out, "PreviewImage", map[string]any{"images": images})
	return nil
}

// cascadeStart gives the latents of both stages.
func (b *builder) cascadeStart(compression int) (c, bb link) {
	j := b.job
	switch j.Mode {
	case backend.ImageToImage, backend.MaskedImage, backend.Paint:
		load := b.add("load", "LoadImage", map[string]any{"image": b.source})
		pixels := b.add("repeat", "RepeatImageBatch", map[string]any{"image": load, "amount": j.Count})
		b.add("latent", "StableCascade_StageC_VAEEncode", map[string]any{"image": pixels, "vae": link{"c", 2}, "compression": compression})
	default:
		b.add("latent", "StableCascade_EmptyLatentImage", map[string]any{"width": j.First.W, "height": j.First.H, "compression": compression, "batch_size": j.Count})
	}
	return link{"latent", 0}, link{"latent", 1}
}

// stages runs stage C and stage B and decodes.
func (b *builder) stages(suffix string, model, pos, neg, latentC, latentB link, denoise, cfgB float64) link {
	j := b.job
	stepsC, stepsB := backend.CascadeSteps(j.Steps)
	sampler := b.samplerName()
	c := b.add("sampler_c"+suffix, "KSampler", map[string]any{"seed": j.Seed, "steps": max(1, stepsC), "cfg": j.CFG, "sampler_name": sampler,
		"scheduler": "simple", "denoise": denoise, "model": model, "positive": pos, "negative": neg, "latent_image": latentC})
	zero := b.add("zero"+suffix, "ConditioningZeroOut", map[string]any{"conditioning": pos})
	given := b.add("given"+suffix, "StableCascade_StageB_Conditioning", map[string]any{"conditioning": zero, "stage_c": c})
	s := b.add("sampler_b"+suffix, "KSampler", map[string]any{"seed": j.Seed, "steps": max(1, stepsB), "cfg": cfgB, "sampler_name": sampler,
		"scheduler": "simple", "denoise": 1.0, "model": link{"b", 0}, "positive": given, "negative": zero, "latent_image": latentB})
	return b.add("decode"+suffix, "VAEDecode", map[string]any{"samples": s, "vae": link{"b", 2}})
}

// examples adds the remixed pictures to the conditioning, the source first.
func (b *builder) examples(pos link) link {
	add := func(i int, name string, strength float64) {
		load := b.add(fmt.Sprintf("load_%d", i), "LoadImage", map[string]any{"image": name})
		seen := b.add(fmt.Sprintf("vision_%d", i), "CLIPVisionEncode", map[string]any{"clip_vision": link{"c", 3}, "image": load, "crop": "center"})
		pos = b.add(fmt.Sprintf("unclip_%d", i), "unCLIPConditioning", map[string]any{"conditioning": pos, "clip_vision_output": seen, "strength": strength, "noise_augmentation": 0.0})
	}
	add(0, b.source, 1)
	for i, name := range b.extra {
		add(i+1, name, b.job.Extra[i].Strength)
	}
	// CLIPVisionEncode of older servers always crops to the centre and has no such input.
	if len(b.have.Options("CLIPVisionEncode", "crop")) == 0 {
		for _, n := range b.g {
			if n.Class == "CLIPVisionEncode" {
				delete(n.Inputs, "crop")
			}
		}
	}
	return pos
}
