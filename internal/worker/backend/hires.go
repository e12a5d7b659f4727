// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import "math"

// Size is a width and a height in pixels.
type Size struct{ W, H int }

// minPassSide is the side in pixels that the first pass of a two-pass picture is brought down to.
const minPassSide = 512

// cascadePassSide is the longest side of the first pass of Stable Cascade.
const cascadePassSide = 1024

// sdxlBuckets are the sizes that SDXL was trained on.
var sdxlBuckets = []Size{
	{1024, 1024}, {1152, 896}, {896, 1152}, {1216, 832}, {832, 1216}, {1344, 768}, {768, 1344}, {1536, 640}, {640, 1536},
}

// MinRule brings the shorter side down to 512 in steps of 64, where both sides are longer than that.
func MinRule(s Size) Size {
	if s.W <= minPassSide || s.H <= minPassSide {
		return s
	}
	return scaleDown(s, math.Min(float64(s.H)/minPassSide, float64(s.W)/minPassSide))
}

// MaxRule brings the longer side down to 1024 in steps of 64.
func MaxRule(s Size) Size {
	if max(s.W, s.H) <= cascadePassSide {
		return s
	}
	return scaleDown(s, math.Max(float64(s.H)/cascadePassSide, float64(s.W)/cascadePassSide))
}

func scaleDown(s Size, r float64) Size {
	down := func(n int) int { return max(64, int(math.Floor(float64(n)/(64*r)))*64) }
	return Size{down(s.W), down(s.H)}
}

// Bucket returns the SDXL training size with the nearest aspect ratio; the first of equals wins.
func Bucket(s Size) Size {
	best, distance := sdxlBuckets[0], math.Inf(1)
	ratio := float64(s.W) / float64(s.H)
	for _, b := range sdxlBuckets {
		if d := math.Abs(float64(b.W)/float64(b.H) - ratio); d < distance {
			best, distance = b, d
		}
	}
	return best
}

// FirstPass returns the size of the first pass of a two-pass picture.
func (b Baseline) FirstPass(s Size) Size {
	switch b {
	case SDXL:
		return Bucket(s)
	case StableCascade:
		return MaxRule(s)
	}
	return MinRule(s)
}

// TwoPasses reports whether hires_fix has an effect for this size. It is silently off where the picture is no larger
// than what the model was trained on, and for models that do large pictures in one pass.
func (b Baseline) TwoPasses(s Size) bool {
	switch b {
	case Flux1, QwenImage, ZImageTurbo:
		return false
	case SDXL:
		return s.W > 1024 && s.H > 1024
	case StableCascade:
		return MaxRule(s) != s
	}
	return s.W > minPassSide && s.H > minPassSide && b.FirstPass(s) != s
}

// SecondPassSteps returns the sampler steps of the second pass: fewer for a weak denoising strength, more for a size
// far above the native one.
func (b Baseline) SecondPassSteps(s Size, steps int, strength float64) int {
	d := math.Min(1, math.Max(0.01, strength))
	f := 0.0
	if n := float64(b.NativeSide()); n > 0 {
		f = (float64(s.W*s.H) / (n * n)) / (3 * 512 / n)
	}
	u := int(math.RoundToEven(3 + float64(steps-3)*d*d))
	u = int(math.RoundToEven(float64(u) * math.Pow(2, f) / 2.25))
	if steps <= 18 {
		u += 3
	}
	u = min(u, steps)
	return max(u, min(6, steps))
}

// CascadeSteps divides the steps between stage C and stage B.
func CascadeSteps(steps int) (c, b int) {
	return int(math.RoundToEven(0.67 * float64(steps))), int(math.RoundToEven(0.33 * float64(steps)))
}
