// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"context"
	"image"
	"image/color"
	"testing"
	"time"

	"horde/client"
	"horde/internal/worker/backend"
)

// exercise runs text to image, image to image with a mask, two passes, upscaling, a refused job and an interrupted one.
func exercise(t *testing.T, d *Driver) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	info, err := d.Probe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Models) == 0 || info.Models[0] != "mini.safetensors" || !info.Has[backend.Img2Img] || !info.Has[backend.Inpainting] ||
		!info.Has[backend.HiresFix] || info.Has[backend.Controlnet] || len(info.PostProcessors) != 1 {
		t.Errorf("probe: %+v", info)
	}
	job := func(key string, f func(*client.ImageJob), src backend.Sources, ids ...string) *backend.ImageJob {
		j := client.ImageJob{Job: client.Job{ID: key, IDs: ids}}
		p := &j.Payload
		p.Prompt, p.Seed, p.Steps, p.Width, p.Height, p.CFGScale, p.Sampler, p.Karras = "a cat###bad", "1234", new(4), new(64), new(64), new(5.0), "k_euler", true
		if f != nil {
			f(&j)
		}
		out, _ := backend.NewImageJob(key, j, backend.Model{Name: "mini", Baseline: backend.SD1, Files: map[string]string{"": "MINI.safetensors"}}, src, nil)
		return out
	}
	size := func(p backend.Picture, w, h int) {
		t.Helper()
		m, err := backend.Decode(p.Data, backend.MaxPixels)
		if err != nil || m.Rect.Dx() != w || m.Rect.Dy() != h {
			t.Errorf("picture %v, %v, want %dx%d", m.Rect, err, w, h)
		}
	}
	steps := 0
	res, err := d.Generate(ctx, job("txt", nil, backend.Sources{}, "a", "b"), func(p backend.ImageProgress) { steps = max(steps, p.Step) })
	if err != nil || len(res.Pictures) != 2 || res.Pictures[1].Seed != 1234 || steps != 4 || len(res.Ignored) != 0 {
		t.Fatalf("text to image: %d pictures, %d steps, %v, %v", len(res.Pictures), steps, res.Ignored, err)
	}
	size(res.Pictures[0], 64, 64)

	first := res.Pictures[0]
	source, err := backend.Decode(first.Data, backend.MaxPixels)
	if err != nil {
		t.Fatal(err)
	}
	mask := image.NewNRGBA(source.Rect)
	for y := range 64 {
		for x := range 64 {
			mask.SetNRGBA(x, y, color.NRGBA{uint8(255 * (x / 32)), uint8(255 * (x / 32)), uint8(255 * (x / 32)), 255})
		}
	}
	img2img := func(process string) func(*client.ImageJob) {
		return func(j *client.ImageJob) {
			j.SourceProcessing, j.Payload.DenoisingStrength, j.Payload.Tiling = process, new(0.5), true
		}
	}
	res, err = d.Generate(ctx, job("img", img2img("img2img"), backend.Sources{Image: source}, "a"), func(backend.ImageProgress) {})
	if err != nil || len(res.Pictures) != 1 || len(res.Ignored) != 1 {
		t.Fatalf("image to image: %+v, %v", res.Ignored, err)
	}
	size(res.Pictures[0], 64, 64)
	res, err = d.Generate(ctx, job("mask", img2img("img2img"), backend.Sources{Image: source, Mask: mask}, "a"), func(backend.ImageProgress) {})
	if err != nil {
		t.Fatal(err)
	}
	// What the mask keeps is as before, but for the autoencoder; the rest is not.
	size(res.Pictures[0], 64, 64)
	if _, err = d.Generate(ctx, job("paint", img2img("inpainting"), backend.Sources{Image: source, Mask: mask}, "a"), func(backend.ImageProgress) {}); err != nil {
		t.Fatal(err)
	}
	hires := job("hires", nil, backend.Sources{}, "a")
	// A real second pass starts at 512 pixels; here it is made from a small first one, so that it is quick.
	hires.Hires, hires.First, hires.HiresSteps, hires.HiresDenoise, hires.Width, hires.Height = true, backend.Size{W: 64, H: 64}, 2, 0.5, 128, 64
	res, err = d.Generate(ctx, hires, func(backend.ImageProgress) {})
	if err != nil {
		t.Fatal(err)
	}
	size(res.Pictures[0], 128, 64)

	up, err := d.PostProcess(ctx, first, "RealESRGAN_x4plus", 0)
	if err != nil {
		t.Fatal(err)
	}
	size(up, 256, 256)
	if _, err := d.PostProcess(ctx, first, "GFPGAN", 0.5); backend.KindOf(err) != backend.Refused {
		t.Errorf("face fix without the node: %v", err)
	}
	missing := job("none", nil, backend.Sources{}, "a")
	missing.Model.Files = map[string]string{"": "other.safetensors"}
	if _, err := d.Generate(ctx, missing, func(backend.ImageProgress) {}); backend.KindOf(err) != backend.Refused {
		t.Errorf("a model that is not there: %v", err)
	}
	bad := job("bad", nil, backend.Sources{}, "a")
	bad.CFG = 5000 // more than the server's node allows
	if _, err := d.Generate(ctx, bad, func(backend.ImageProgress) {}); backend.KindOf(err) != backend.Refused {
		t.Errorf("a value that the server refuses: %v", err)
	}

	short, stop := context.WithCancel(ctx)
	long := job("long", func(j *client.ImageJob) { j.Payload.Steps = new(400) }, backend.Sources{}, "a")
	_, err = d.Generate(short, long, func(p backend.ImageProgress) {
		if p.Step >= 2 {
			stop()
		}
	})
	if err == nil || short.Err() == nil {
		t.Errorf("interrupted: %v", err)
	}
	if err := d.Free(ctx); err != nil {
		t.Errorf("free: %v", err)
	}
}
