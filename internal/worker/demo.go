// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"hash/fnv"
	"image"

	"horde/internal/worker/backend"
	"horde/internal/worker/sandbox"
)

// The demo servers' models, as the horde's reference spells them.
const (
	DemoImageModel = "Demo Painter"
	DemoTextModel  = "sandbox/demo-writer"
)

// DemoText is the demo writer inside this program as a text server.
type DemoText struct{ Writer sandbox.Text }

// Probe implements backend.Text.
func (DemoText) Probe(context.Context) (backend.TextInfo, error) {
	return backend.TextInfo{Kind: "sandbox", Version: Version(), Model: DemoTextModel, Context: 8192, Streams: true, Idle: -1}, nil
}

// Generate implements backend.Text. The seed comes from the job's key, so that two results of a request differ.
func (d DemoText) Generate(ctx context.Context, j backend.TextJob, progress func(backend.TextProgress)) (backend.TextResult, error) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(j.Key))
	seed := h.Sum64() & 0xFFFFFFFF
	t := sandbox.TextJob{Prompt: j.Prompt, MaxLength: j.MaxLength, Stop: j.Stop, Seed: seed, Temperature: 1}
	if j.Temperature != nil {
		t.Temperature = *j.Temperature
	}
	if j.TopK != nil {
		t.TopK = *j.TopK
	}
	if j.TopP != nil {
		t.TopP = *j.TopP
	}
	if j.MinP != nil {
		t.MinP = *j.MinP
	}
	if j.BanEOS != nil {
		t.IgnoreEnd = *j.BanEOS
	}
	n := 0
	res, err := d.Writer.Generate(ctx, t, func(string) {
		n++
		progress(backend.TextProgress{Tokens: n})
	})
	return backend.TextResult{Text: res.Text, Seed: int64(seed), Tokens: res.Tokens}, err
}

// DemoImages is the demo painter inside this program as an image server. It cannot paint what needs a safety check.
type DemoImages struct{ Painter sandbox.Painter }

// Probe implements backend.Images.
func (DemoImages) Probe(context.Context) (backend.ImageInfo, error) {
	return backend.ImageInfo{Kind: "sandbox", Version: Version(), Models: []string{DemoImageModel}, SeedPerImage: true, Progress: true, Safe: true,
		Baseline: backend.SD1, Has: map[backend.Feature]bool{backend.Img2Img: true, backend.Inpainting: true, backend.Tiling: true, backend.HiresFix: true, backend.ClipSkip: true}}, nil
}

// Generate implements backend.Images.
func (d DemoImages) Generate(ctx context.Context, j *backend.ImageJob, progress func(backend.ImageProgress)) (backend.ImageResult, error) {
	var res backend.ImageResult
	if j.Mode == backend.Control || j.Workflow != "" {
		return res, backend.Errorf(backend.Refused, "the demo painter has no control types and workflows")
	}
	if len(j.Loras) > 0 || j.Transparent {
		res.Ignored = append(res.Ignored, "lora and transparent")
	}
	p := sandbox.ImageJob{Prompt: j.Positive, Negative: j.Negative, Width: j.Width, Height: j.Height, Steps: j.Steps, CFGScale: j.CFG,
		Tiling: j.Tiling, Denoise: j.Denoise}
	if j.Source != nil {
		p.Source = image.Image(j.Source)
	}
	if j.Mask != nil {
		p.Mask = image.Image(j.Mask)
	}
	for i := range j.Count {
		p.Seeds = append(p.Seeds, uint64(j.Seed+uint32(i)))
	}
	images, err := d.Painter.Paint(ctx, p, func(step, of int) {
		progress(backend.ImageProgress{Stage: "sampling", Step: step, Steps: of})
	})
	if err != nil {
		if ctx.Err() != nil {
			return res, ctx.Err()
		}
		return res, &backend.Error{Kind: backend.Refused, Cause: err}
	}
	for i, m := range images {
		png, err := backend.EncodePNG(m)
		if err != nil {
			return res, err
		}
		res.Pictures = append(res.Pictures, backend.Picture{Data: png, Seed: j.Seed + uint32(i)})
	}
	return res, nil
}

// PostProcess implements backend.Images. The painter has no post-processors.
func (DemoImages) PostProcess(_ context.Context, p backend.Picture, name string, _ float64) (backend.Picture, error) {
	return p, backend.Errorf(backend.Refused, "the demo painter cannot do %s", name)
}

// Reload implements backend.Images. The painter uses no files.
func (DemoImages) Reload(context.Context) (backend.Files, error) { return backend.Files{}, nil }

// Free implements backend.Images. There is nothing to give up.
func (DemoImages) Free(context.Context) error { return nil }
