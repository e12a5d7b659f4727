// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"

	"golang.org/x/image/draw"
)

// Bounds of a picture's sides in pixels: those of the API.
const (
	MinSide = 64
	MaxSide = 3072
)

// ErrSize: a side is not between MinSide and MaxSide.
var ErrSize = errors.New("the painter does not paint this size")

// ImageJob is what to paint. All pictures of a job are alike but for their seeds.
type ImageJob struct {
	// Prompt names motifs, colours, the time of day and a style. Words that the painter does not know only lend chance.
	Prompt string
	// Negative takes motifs, styles, times and colours away, whatever the prompt says.
	Negative      string
	Width, Height int // pixels, MinSide..MaxSide
	// Steps makes the picture finer, up to 30; 0 or less means 30.
	Steps int
	// CFGScale makes colours a little weaker (below 7) or stronger; 0 or less means 7.
	CFGScale float64
	// Seeds has one seed for each picture.
	Seeds []uint64
	// Tiling makes opposite edges fit each other.
	Tiling bool
	// Source is a picture to start from, stretched to the size; nil paints on white paper.
	Source image.Image
	// Denoise is how much of the source is painted over: little only changes its colours, 1 all of it. 0 means 1;
	// without a source it has no effect.
	Denoise float64
	// Mask is white where the source is painted over and black where it stays as it is, stretched to the size. Nil
	// takes the source's transparent parts as white where it has such, and else is white all over.
	Mask image.Image
}

// Painter is the demo painter. The zero value is ready, and safe for concurrent use.
type Painter struct{}

// Paint paints the job's pictures, in the order of its seeds. progress is called with each step of all pictures'
// steps together, from the calling goroutine; it may be nil. The error is ErrSize or ctx's.
func (Painter) Paint(ctx context.Context, job ImageJob, progress func(step, of int)) ([]image.Image, error) {
	if min(job.Width, job.Height) < MinSide || max(job.Width, job.Height) > MaxSide {
		return nil, fmt.Errorf("%w: %dx%d", ErrSize, job.Width, job.Height)
	}
	if job.Steps <= 0 {
		job.Steps = stepsFull
	}
	if job.CFGScale <= 0 {
		job.CFGScale = 7
	}
	if job.Denoise <= 0 || job.Denoise > 1 {
		job.Denoise = 1
	}
	var source, mask *canvas
	if job.Source != nil {
		source, mask = prepare(ctx, &job)
	}
	var list []image.Image
	for i, seed := range job.Seeds {
		steps := &stepper{progress: progress, done: i * job.Steps, steps: job.Steps, of: len(job.Seeds) * job.Steps}
		c := paintOne(ctx, &job, seed, source, mask, steps)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list = append(list, c.image())
	}
	return list, nil
}

// stepper spreads the steps of one picture over its layers.
type stepper struct {
	progress        func(step, of int)
	done, steps, of int // done: before this picture
	reported        int
}

// reached reports the steps up to part of parts of the work.
func (s *stepper) reached(part, parts int) {
	for s.progress != nil && s.reported < s.steps*part/parts {
		s.reported++
		s.progress(s.done+s.reported, s.of)
	}
}

func paintOne(ctx context.Context, job *ImageJob, seed uint64, source, mask *canvas, steps *stepper) *canvas {
	// Words that are not understood still make another picture of the same seed.
	seed = mix(seed ^ hashString(job.Prompt))
	b := read(job.Prompt, job.Negative, newRandom(seed, "brief"))
	p := choosePalette(b, newRandom(seed, "palette"))
	w, h := job.Width, job.Height
	if job.Tiling {
		w, h = w+w/4, h+h/4
	}
	c := newCanvas(ctx, w, h)
	s := &scene{c: c, b: b, p: p, seed: seed}
	layers := s.layers()
	parts := len(layers) + 2
	for i, layer := range layers {
		layer()
		if ctx.Err() != nil {
			return c
		}
		steps.reached(i+1, parts)
	}
	if job.Tiling {
		c = seamless(c, job.Width, job.Height)
	}
	if source != nil {
		paintOver(c, source, p, job.Denoise, seed)
	}
	if len(b.avoid) > 0 {
		avoidColours(c, b.avoid)
	}
	applyStyle(c, b, seed)
	steps.reached(parts-1, parts)
	rich := b.rich * (206 + int32(min(job.CFGScale, 20)*7)) / 255
	if rich != whole {
		c.each(func(_, _ int, v rgb) rgb { return v.saturate(rich) })
	}
	unfinish(c, job.Steps, seed)
	if mask != nil {
		c.each(func(x, y int, v rgb) rgb { return mixRGB(source.at(x, y), v, mask.at(x, y).r*whole/255) })
	}
	sign(c)
	if ctx.Err() == nil {
		steps.reached(parts, parts)
	}
	return c
}

// prepare scales the source and the mask. mask is nil where all may be painted over.
func prepare(ctx context.Context, job *ImageJob) (source, mask *canvas) {
	size := image.Rect(0, 0, job.Width, job.Height)
	scaled := image.NewNRGBA(size)
	draw.CatmullRom.Scale(scaled, size, job.Source, job.Source.Bounds(), draw.Src, nil)
	source = newCanvas(ctx, job.Width, job.Height)
	clear, solid := newCanvas(ctx, job.Width, job.Height), true
	for i := 0; i < len(scaled.Pix); i += 4 {
		// A transparent part of a picture is painted over; under it there is paper.
		a := int32(scaled.Pix[i+3])
		solid = solid && a == 255
		for k := range 3 {
			source.pix[i+k] = uint8(255 + (int32(scaled.Pix[i+k])-255)*a/255)
			clear.pix[i+k] = uint8(255 - a)
		}
	}
	if job.Mask != nil {
		grey := image.NewNRGBA(size)
		draw.CatmullRom.Scale(grey, size, job.Mask, job.Mask.Bounds(), draw.Src, nil)
		mask = newCanvas(ctx, job.Width, job.Height)
		for y := range job.Height {
			for x := range job.Width {
				v := int32(color.GrayModel.Convert(grey.At(x, y)).(color.Gray).Y)
				mask.set(x, y, rgb{v, v, v})
			}
		}
		return source, mask
	}
	if !solid {
		return source, clear
	}
	return source, nil
}

// paintOver mixes the scene in c with the source. Up to recolour the source's own forms take the scene's colours;
// above it the scene comes through, first in patches.
func paintOver(c, source *canvas, p palette, denoise float64, seed uint64) {
	const recolour = 0.6
	tones := []rgb{p.leaf.scale(90), mixRGB(p.water, p.rock, 100).scale(200), mixRGB(p.accent, p.rock, 90), mixRGB(p.skyMid, p.accent, 60), p.skyLow, p.light}
	tint := int32(min(1, denoise/recolour) * whole * 0.85)
	over := int32(max(0, denoise-recolour) / (1 - recolour) * whole)
	n := newNoise(newRandom(seed, "over"))
	u := int(c.small())
	c.each(func(x, y int, painted rgb) rgb {
		v := source.at(x, y)
		at := v.luma() * int32(len(tones)-1)
		tone := mixRGB(tones[at/255], tones[min(len(tones)-1, int(at/255)+1)], at%255*whole/255)
		v = mixRGB(v, mixRGB(tone, v, 70), tint)
		if over == 0 {
			return v
		}
		patch := n.layers(across(x, 6, u), across(y, 6, u), 4) / 256 // 0..255
		t := over*2 - patch*(whole-over)*2/whole
		return mixRGB(v, painted, max(0, min(whole, t)))
	})
}

// seamless cuts a w by h tile out of a larger picture and fades its left and upper edge into what lies beyond the
// right and lower one.
func seamless(c *canvas, w, h int) *canvas {
	mx, my := c.w-w, c.h-h
	d := newCanvas(c.ctx, w, h)
	row := func(x, y int) rgb {
		if x >= mx {
			return c.at(x, y)
		}
		return mixRGB(c.at(x+w, y), c.at(x, y), int32(x*whole/mx))
	}
	d.each(func(x, y int, _ rgb) rgb {
		if y >= my {
			return row(x, y)
		}
		return mixRGB(row(x, y+h), row(x, y), int32(y*whole/my))
	})
	return d
}
