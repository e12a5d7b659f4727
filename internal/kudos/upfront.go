// SPDX-License-Identifier: AGPL-3.0-or-later

package kudos

import (
	"math"

	"horde/internal/horde"
)

// Load is how busy the horde is with one kind of work.
type Load struct {
	// Threads of the workers of the kind that checked in lately; Queued results that wait for one.
	Threads, Queued int
}

// Upfront is what the gate says of an order: small orders are free to be queued by everybody, large ones only by who can
// pay for them (kudos chapter, 5).
type Upfront struct {
	// Needed tells whether Required has to be set aside before the order is queued.
	Needed bool
	// Free is how large an order may be for nothing under this load: the side of the largest square image in pixels,
	// or the tokens of a text. For orders that want no slow workers it is not kept within bounds, and may be negative.
	Free int
	// NoDowngrade forbids to shrink the order where the kudos are short.
	NoDowngrade bool
	// Required is the amount: of images what [Rules.Estimate] says.
	Required float64
}

// The bounds of what is free, and how it follows the load.
const (
	freeSide, minFreeSide, maxFreeSide = 1024, 576, 1024 // pixels
	freeTokens, minFree, maxFree       = 512, 256, 512   // tokens
	freeSideThread, freeTokensThread   = 10, 5
	// largeModelSide is free where the order names a model that makes nothing good of less.
	largeModelSide = 1024

	freeSteps        = 40 // where a model's record does not say
	freeLCMSteps     = 10
	freeControlSteps = 20
)

// queueRelief is by how much a queue lowers what is free: nine tenths of it, rounded, halves to even.
func queueRelief(queued int) int { return int(math.RoundToEven(float64(9*queued) / 10)) }

// Upfront tells what n results of the order need under the load.
func (r Rules) Upfront(o *horde.Order, n int, load Load, ref *horde.Reference) Upfront {
	if o.Kind == horde.Text {
		return r.textUpfront(o, n, load, ref)
	}
	p := o.Image
	u := Upfront{Free: freeSide + freeSideThread*load.Threads - queueRelief(load.Queued), Required: r.Estimate(o, n, ref)}
	if !o.SlowWorkers {
		u.Needed = true
		return u
	}
	u.Free = max(u.Free, minFreeSide)
	for _, m := range o.Models {
		switch ref.Baseline(m) {
		case horde.BaselineSDXL, horde.BaselineCascade, horde.BaselineFlux:
			u.Free = max(u.Free, largeModelSide)
		}
	}
	u.Free = min(u.Free, maxFreeSide)

	steps := p.AccurateSteps()
	tooManySteps := p.UsesLCM() && steps > freeLCMSteps || p.ControlType != "" && steps > freeControlSteps
	for _, m := range o.Models {
		tooManySteps = tooManySteps || maxSteps(m, freeSteps, ref) < steps
	}
	u.Needed = tooManySteps || p.Pixels() > square(u.Free)
	r.onWorkerList(o, &u)
	return u
}

func (r Rules) textUpfront(o *horde.Order, n int, load Load, ref *horde.Reference) Upfront {
	u := Upfront{Free: freeTokens + freeTokensThread*load.Threads - queueRelief(load.Queued), Required: textRequired(o, n, ref)}
	if !o.SlowWorkers {
		u.Needed = true
		return u
	}
	u.Free = min(max(u.Free, minFree), maxFree)
	u.Needed = *o.Text.MaxLength > u.Free
	r.onWorkerList(o, &u)
	return u
}

// onWorkerList is the last rule of the gate: it only matters to orders that need nothing upfront by the others.
func (r Rules) onWorkerList(o *horde.Order, u *Upfront) {
	if !u.Needed && r.UpfrontOnWorkerList && len(o.Workers) > 0 {
		u.Needed, u.NoDowngrade = true, true
	}
}

func maxSteps(model string, absent int, ref *horde.Reference) int {
	if most := ref.Image[model].Requirements.MaxSteps; most != nil {
		return *most
	}
	return absent
}

func square(side int) int64 { return int64(side) * int64(side) }

// What downgrading shrinks to.
const (
	sideStep       = 64 // sizes are multiples of it
	leastPixels    = 512 * 512
	fallbackSide   = 512
	downgradeSteps = 30 // where a model's record does not say
	leastSteps     = 5  // steps are not lowered any more below this
	leastTokenAsk  = 16 // the least max_length that the interface accepts
)

// Downgrade returns a copy of the order that is shrunk to what is free: slow workers may serve it, and its size, its steps
// or its length are lowered where they have to be. The order itself is not changed. The caller has seen that NoDowngrade
// is not set.
func (u Upfront) Downgrade(o *horde.Order, ref *horde.Reference) *horde.Order {
	small := *o
	small.SlowWorkers = true
	if o.Kind == horde.Text {
		text := *o.Text
		length := min(*text.MaxLength, max(u.Free, leastTokenAsk))
		text.MaxLength = &length
		small.Text = &text
		return &small
	}
	image := *o.Image
	image.Width, image.Height = shrink(image.Width, image.Height, square(max(u.Free, 0)))
	if image.Sampler != "k_dpm_adaptive" { // which takes its own number of steps, whatever is asked
		for most := stepCap(o, ref); image.AccurateSteps() > most && image.Steps >= leastSteps; {
			image.Steps--
		}
	}
	small.Image = &image
	return &small
}

// stepCap is how many steps a downgraded image may have. What it does decides before its models do.
func stepCap(o *horde.Order, ref *horde.Reference) int {
	most := downgradeSteps
	for i, m := range o.Models {
		if steps := maxSteps(m, downgradeSteps, ref); i == 0 || steps < most {
			most = steps
		}
	}
	if o.Image.ControlType != "" {
		most = freeControlSteps
	}
	if o.Image.UsesLCM() {
		most = freeLCMSteps
	}
	return most
}

// shrink makes the size fit into limit pixels, keeping its aspect as far as multiples of 64 allow.
func shrink(width, height int, limit int64) (int, int) {
	area := int64(width) * int64(height)
	if area <= limit {
		return width, height
	}
	scale := math.Sqrt(float64(limit) / float64(area))
	w, h := int(float64(width)*scale)/sideStep*sideStep, int(float64(height)*scale)/sideStep*sideStep
	for int64(w)*int64(h) > limit {
		if w >= h {
			w -= sideStep
		} else {
			h -= sideStep
		}
	}
	if w*h >= leastPixels {
		return w, h
	}
	return closestSize(width, height, limit)
}

// closestSize finds, among the sizes of at least 512x512 pixels within the limit, the one whose aspect comes closest. Long
// pictures need it: rounding both sides down can cost them more than what models can work with.
func closestSize(width, height int, limit int64) (int, int) {
	best, w, h := math.Inf(1), fallbackSide, fallbackSide
	aspect := math.Log(float64(width) / float64(height))
	for x := sideStep; x <= width; x += sideStep {
		for y := sideStep; y <= height; y += sideStep {
			if x*y < leastPixels || int64(x)*int64(y) > limit {
				continue
			}
			off := math.Abs(math.Log(float64(x)/float64(y)) - aspect)
			if off < best || off == best && x*y > w*h {
				best, w, h = off, x, y
			}
		}
	}
	return w, h
}
