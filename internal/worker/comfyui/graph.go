// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"fmt"

	"horde/internal/worker/backend"
)

// Graph is a prompt in ComfyUI's API format: node id to node. Ids here are what the node is for.
type Graph map[string]Node

// Node is one node with its inputs: literals, or links [id, output].
type Node struct {
	Class  string         `json:"class_type"`
	Inputs map[string]any `json:"inputs"`
}

// link is an output of a node.
type link struct {
	id     string
	output int
}

// MarshalJSON is part of how a Graph is written.
func (l link) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "[%q,%d]", l.id, l.output), nil }

// out is the id of the node whose pictures are the result.
const out = "out"

// builder puts one graph together.
type builder struct {
	g    Graph
	have Objects
	job  *backend.ImageJob
	// source and extra are the names under which pictures were uploaded.
	source string
	extra  []string
	// ignored lists what this server could not honour.
	ignored []string
}

func (b *builder) add(id, class string, inputs map[string]any) link {
	b.g[id] = Node{Class: class, Inputs: inputs}
	return link{id, 0}
}

func (b *builder) ignore(option string) { b.ignored = append(b.ignored, option) }

// Build makes the graph for a job. source and extra are the uploaded pictures' names. ignored lists options that the
// server cannot honour; an error means that no picture can be made.
func Build(have Objects, job *backend.ImageJob, source string, extra []string) (g Graph, ignored []string, err error) {
	b := &builder{g: Graph{}, have: have, job: job, source: source, extra: extra}
	switch {
	case job.Workflow == "qr_code":
		err = backend.Errorf(backend.Refused, "the QR code workflow is not supported")
	case job.Mode == backend.Control:
		err = b.control()
	case job.Model.Baseline == backend.StableCascade:
		err = b.cascade()
	case job.Model.Baseline == backend.Flux1:
		err = b.flux()
	case job.Model.Baseline == backend.QwenImage || job.Model.Baseline == backend.ZImageTurbo:
		err = b.unet()
	default:
		err = b.stableDiffusion()
	}
	return b.g, b.ignored, err
}

// stableDiffusion is the graph of Stable Diffusion 1, 2 and XL: text or image to image, with masks, LoRAs and a second
// pass.
func (b *builder) stableDiffusion() error {
	model, clip, vae, err := b.checkpoint()
	if err != nil {
		return err
	}
	pos, neg := b.prompts(clip)
	latent := b.start(vae)
	b.finish(b.sample(model, pos, neg, pos, latent), vae)
	return nil
}

// checkpoint loads the model with LoRAs, CLIP skip and tiling.
func (b *builder) checkpoint() (model, clip, vae link, err error) {
	file := b.have.Find("CheckpointLoaderSimple", "ckpt_name", b.job.Model.File())
	if file == "" {
		return model, clip, vae, backend.Errorf(backend.Refused, "the server has no checkpoint %q", b.job.Model.File())
	}
	b.add("ckpt", "CheckpointLoaderSimple", map[string]any{"ckpt_name": file})
	model, clip = b.loras(link{"ckpt", 0}, link{"ckpt", 1})
	vae = link{"ckpt", 2}
	if b.have.Has("CLIPSetLastLayer") {
		clip = b.add("skip", "CLIPSetLastLayer", map[string]any{"stop_at_clip_layer": -b.job.ClipSkip, "clip": clip})
	} else if b.job.ClipSkip > 1 {
		b.ignore("clip_skip")
	}
	if b.job.Tiling {
		if b.have.Has("SeamlessTile", "MakeCircularVAE") {
			model = b.add("tile", "SeamlessTile", map[string]any{"model": model, "tiling": "enable", "copy_model": "Make a copy"})
			vae = b.add("tile_vae", "MakeCircularVAE", map[string]any{"vae": vae, "tiling": "enable", "copy_vae": "Make a copy"})
		} else {
			b.ignore("tiling")
		}
	}
	if b.job.Transparent {
		model = b.transparentModel(model)
	}
	return model, clip, vae, nil
}

// loras chains the job's LoRAs. One with both strengths 0 does nothing and is left out.
func (b *builder) loras(model, clip link) (link, link) {
	for i, l := range b.job.Loras {
		file := b.have.Find("LoraLoader", "lora_name", l.Name)
		if file == "" || l.Model == 0 && l.Clip == 0 {
			continue
		}
		id := fmt.Sprintf("lora_%d", i)
		b.add(id, "LoraLoader", map[string]any{"lora_name": file, "strength_model": l.Model, "strength_clip": l.Clip, "model": model, "clip": clip})
		model, clip = link{id, 0}, link{id, 1}
	}
	return model, clip
}

func (b *builder) prompts(clip link) (pos, neg link) {
	pos = b.add("pos", "CLIPTextEncode", map[string]any{"text": b.job.Positive, "clip": clip})
	neg = b.add("neg", "CLIPTextEncode", map[string]any{"text": b.job.Negative, "clip": clip})
	return pos, neg
}

// start is the latent that sampling begins with: empty, or the source picture with or without its mask.
func (b *builder) start(vae link) link {
	j := b.job
	switch j.Mode {
	case backend.ImageToImage, backend.MaskedImage, backend.Paint:
	default:
		return b.add("latent", "EmptyLatentImage", map[string]any{"width": j.First.W, "height": j.First.H, "batch_size": j.Count})
	}
	load := b.add("load", "LoadImage", map[string]any{"image": b.source})
	pixels := b.add("repeat", "RepeatImageBatch", map[string]any{"image": load, "amount": j.Count})
	mask := link{"load", 1}
	if j.Mode == backend.Paint {
		return b.add("enc", "VAEEncodeForInpaint", map[string]any{"pixels": pixels, "vae": vae, "mask": mask, "grow_mask_by": 6})
	}
	latent := b.add("enc", "VAEEncode", map[string]any{"pixels": pixels, "vae": vae})
	if j.Mode == backend.MaskedImage {
		latent = b.add("noise_mask", "SetLatentNoiseMask", map[string]any{"samples": latent, "mask": mask})
	}
	return latent
}

// sample runs the one or two passes. again is the positive conditioning of the second pass.
func (b *builder) sample(model, pos, neg, again, latent link) link {
	j := b.job
	scheduler := "normal"
	if j.Karras {
		scheduler = "karras"
	}
	sampler := b.samplerName()
	s := b.add("sampler", "KSampler", map[string]any{"seed": j.Seed, "steps": j.Steps, "cfg": j.CFG, "sampler_name": sampler,
		"scheduler": scheduler, "denoise": j.Denoise, "model": model, "positive": pos, "negative": neg, "latent_image": latent})
	if !j.Hires {
		return s
	}
	up := b.add("up", "LatentUpscale", map[string]any{"samples": s, "upscale_method": "nearest-exact", "width": j.Width, "height": j.Height, "crop": "disabled"})
	return b.add("sampler2", "KSampler", map[string]any{"seed": j.Seed, "steps": j.HiresSteps, "cfg": j.CFG, "sampler_name": sampler,
		"scheduler": "simple", "denoise": j.HiresDenoise, "model": model, "positive": again, "negative": neg, "latent_image": up})
}

// samplerName is the server's name of the job's sampler.
func (b *builder) samplerName() string {
	name := backend.LookupSampler(b.job.Sampler).ComfyUI
	for _, class := range []string{"KSampler", "KSamplerSelect"} {
		if options := b.have.Options(class, "sampler_name"); len(options) > 0 && b.have.Find(class, "sampler_name", name) == "" {
			b.ignore("sampler " + b.job.Sampler)
			return "euler"
		}
	}
	return name
}

// finish decodes and puts the pictures out. PreviewImage writes to the folder of temporary files, which the server
// empties when it starts.
func (b *builder) finish(samples, vae link) {
	images := b.add("decode", "VAEDecode", map[string]any{"samples": samples, "vae": vae})
	if b.job.Transparent && b.have.Has("LayeredDiffusionDecodeRGBA") && b.layered() != "" {
		images = b.add("rgba", "LayeredDiffusionDecodeRGBA", map[string]any{"samples": samples, "images": images, "sd_version": b.layered(), "sub_batch_size": 16})
	}
	b.add(out, "PreviewImage", map[string]any{"images": images})
}

// layered is the name of the model family for layered diffusion, empty where there is none.
func (b *builder) layered() string {
	switch b.job.Model.Baseline {
	case backend.SD1:
		return "SD15"
	case backend.SDXL:
		return "SDXL"
	}
	return ""
}

func (b *builder) transparentModel(model link) link {
	config := map[string]string{"SD15": "SD15, Attention Injection, attn_sharing", "SDXL": "SDXL, Conv Injection"}[b.layered()]
	if config == "" || !b.have.Has("LayeredDiffusionApply", "LayeredDiffusionDecodeRGBA") {
		b.ignore("transparent")
		return model
	}
	return b.add("layered", "LayeredDiffusionApply", map[string]any{"model": model, "weight": 1.0, "config": config})
}

// Upscale is the graph that enlarges an uploaded picture.
func Upscale(file, source string) Graph {
	b := &builder{g: Graph{}}
	load := b.add("load", "LoadImage", map[string]any{"image": source})
	model := b.add("model", "UpscaleModelLoader", map[string]any{"model_name": file})
	up := b.add("up", "ImageUpscaleWithModel", map[string]any{"upscale_model": model, "image": load})
	b.add(out, "PreviewImage", map[string]any{"images": up})
	return b.g
}

// FixFaces is the graph that mends the faces of an uploaded picture. strength 0..1 is how much may change.
func FixFaces(file, source string, strength float64) Graph {
	b := &builder{g: Graph{}}
	load := b.add("load", "LoadImage", map[string]any{"image": source})
	model := b.add("model", "FaceRestoreModelLoader", map[string]any{"model_name": file})
	fixed := b.add("fix", "FaceRestoreCFWithModel", map[string]any{"facerestore_model": model, "image": load,
		"facedetection": "retinaface_resnet50", "codeformer_fidelity": 1 - strength})
	b.add(out, "PreviewImage", map[string]any{"images": fixed})
	return b.g
}
