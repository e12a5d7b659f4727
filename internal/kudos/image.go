// SPDX-License-Identifier: AGPL-3.0-or-later

package kudos

import (
	"math"

	"horde/internal/horde"
)

// The analytic price of an image (kudos chapter, 2.2). Its numbers were fitted to the learned model of the reference, of
// which it keeps the basis: 512x512 with 50 steps of k_euler is worth 11. Read it as a fixed cost that grows with the
// image, a cost of each step that grows with the image and the sampler, and surcharges for what else is asked.

// samplerCost is how a sampler's price differs from that of k_euler.
type samplerCost struct {
	step    float64 // factor on the cost of each step
	fixed   float64 // kudos for each image
	control float64 // factor on the surcharge for a control map
}

var eulerCost = samplerCost{1, 0, 1}

var samplerCosts = map[string]samplerCost{
	"k_euler": eulerCost, "DDIM": eulerCost, "dpmsolver": eulerCost, "lcm": eulerCost,
	"k_euler_a": {0.95, -0.03, 0.76}, "k_dpmpp_2m": {1.01, -0.18, 0.79}, "k_lms": {1.03, -0.25, 0.68},
	"k_dpm_fast": {1.03, -0.53, 0.83}, "k_dpmpp_sde": {1.68, 1.66, 1.43}, "k_dpmpp_2s_a": {1.54, 2.51, 0.75},
	"k_heun": {1.60, 1.79, 1.15}, "k_dpm_2": {1.74, 1.35, 1.16}, "k_dpm_2_a": {1.86, 0.83, 1.49},
	"k_dpm_adaptive": {0.78, 6.82, 0.37}, "ddim": {1.44, 0.18, 0.95}, "plms": {1.47, 0.68, 1.20},
	"uni_pc": {1.29, 0.90, 0.92}, "uni_pc_bh2": {1.31, 1.14, 0.82},
}

// newerCosts are those of the samplers that the learned model never saw, by how many times the network runs for a step: twice is
// what k_heun costs, and each time more adds as much again.
var newerCosts = map[int]samplerCost{1: eulerCost, 2: {1.60, 1.79, 1.15}, 3: {2.20, 3.58, 1.30}}

// costOf is the cost of a sampler.
func costOf(sampler string) samplerCost {
	if cost, ok := samplerCosts[sampler]; ok {
		return cost
	}
	if cost, ok := newerCosts[horde.RuleOf(sampler).Work]; ok {
		return cost
	}
	return eulerCost
}

// controlCost is the surcharge for a control map: kudos for each image, and for its size.
type controlCost struct{ fixed, size float64 }

var controlCosts = map[string]controlCost{
	"canny": {5.06, 3.21}, "depth": {7.43, 8.00}, "fakescribbles": {5.09, 12.07}, "hed": {6.62, 10.98},
	"hough": {6.34, 10.47}, "normal": {9.40, 13.86}, "openpose": {6.30, 8.36}, "scribble": {0, 9.24},
	"seg": {5.36, 11.02},
}

// controlRelatives are, for the control types that the learned model never saw, those whose maps are made with as much work.
var controlRelatives = map[string]string{
	"mlsd": "hough", "binary": "canny", "pyracanny": "canny", "standard_lineart": "canny", "color": "canny", "shuffle": "canny",
	"recolor_luminance": "canny", "recolor_intensity": "canny", "tile": "canny", "tile_ttplanet_guided": "canny",
	"tile_ttplanet_simple": "canny", "lineart": "hed", "lineart_anime": "hed", "lineart_anime_denoise": "hed", "pidinet": "hed",
	"teed": "hed", "scribble_xdog": "scribble", "scribble_pidinet": "fakescribbles", "midas_depth": "depth", "zoe_depth": "depth",
	"depth_anything": "depth", "depth_anything_v2": "depth", "normal_bae": "normal", "oneformer_ade20k": "seg", "oneformer_coco": "seg",
}

// controlCostOf is the surcharge for a control type.
func controlCostOf(name string) controlCost {
	if relative := controlRelatives[name]; relative != "" {
		name = relative
	}
	return controlCosts[name]
}

// postCost is the surcharge for a post-processor.
type postCost struct {
	fixed    float64 // kudos for each image
	size     float64 // kudos for the size of the image
	ratio    float64 // share of the cost of all steps
	exponent float64 // how much the sampler's step cost counts in size
}

var (
	x2Cost     = postCost{1.36, 6.28, 0.13, 0.64}
	x4Cost     = postCost{0, 15.12, 0.97, 1.46}
	siaxCost   = postCost{1.12, 4.30, 0.13, 0.64}
	gfpganCost = postCost{0.74, 2.35, 0.13, 0.64}
)

// postCosts has all post-processors. Those that the learned model never saw cost what their nearest relative costs, and an
// unknown one what NMKD_Siax does.
var postCosts = map[string]postCost{
	"RealESRGAN_x2plus": x2Cost, "RealESRGAN_x4plus": x4Cost, "RealESRGAN_x4plus_anime_6B": {0.65, 2.32, 0, 0.64},
	"NMKD_Siax": siaxCost, "4x_AnimeSharp": {1.30, 8.20, 0.14, 0.64}, "GFPGAN": gfpganCost, "CodeFormers": {},
	"strip_background": {0.78, 3.09, 0.05, 0.64},
	"4xNomos8kSC":      x4Cost, "4xLSDIRplus": x4Cost, "4xNomos2_hq_dat2": x4Cost,
	"4xNomosWebPhoto_RealPLKSR": siaxCost, "4xNomos2_realplksr_dysample": siaxCost,
	"2xModernSpanimationV1": x2Cost, "GFPGANv1.3": gfpganCost, "RestoreFormer": gfpganCost,
}

const (
	megapixel = 1 << 20
	leastWork = 1 // no image is worth less, in kudos
)

// ImageWork is what one image of the order is worth by its size, steps, sampler, mode and post-processing, in kudos with
// two decimals: the price before everything that [Rules.Price] adds and that the model changes. It is at least 1, and
// grows with the width, the height, the steps, hires_fix and every post-processor.
func ImageWork(o *horde.Order) float64 {
	p := o.Image
	sampler := costOf(p.Sampler)
	size := effectiveMegapixels(p.Width, p.Height)
	steps := effectiveSteps(p.Steps)

	fixed := 2.98 + 5.544*math.Pow(min(size, 1.60), 1.956) + 32.73*max(0, size-1.60) + sampler.fixed
	running := sampler.step * steps * (0.121 + 0.389*math.Pow(min(size, 1.60), 1.505))
	ratio, extra := modeCost(o, size, sampler)
	if p.HiresFix {
		extra += 0.209 * sampler.step * steps * min(max(1.89-size, 0), 1)
	}
	for _, name := range p.PostProcessing {
		cost, known := postCosts[name]
		if !known {
			cost = siaxCost
		}
		ratio += cost.ratio
		extra += cost.fixed + cost.size*math.Pow(sampler.step, cost.exponent)*math.Pow(min(size, 1.67), 1.46)
	}
	return round2(max(leastWork, fixed+running*ratio+extra))
}

// modeCost is what starting from a picture changes: a factor on the cost of the steps, and kudos for each image.
func modeCost(o *horde.Order, size float64, sampler samplerCost) (ratio, extra float64) {
	if o.SourceImage == "" {
		return 1, 0
	}
	p, strength := o.Image, 1.0
	if p.DenoisingStrength != nil {
		strength = *p.DenoisingStrength
	}
	painting := math.Pow(sampler.step, 0.53) * math.Pow(min(size, 1.38), 1.94)
	switch {
	case p.ControlType != "":
		c := controlCostOf(p.ControlType)
		return 1.40, sampler.control * (c.fixed + c.size*math.Pow(min(size, 1.86), 1.68))
	case o.SourceProcessing == "inpainting":
		return 1.19 + 0.17*strength, 6.30 * painting
	case o.SourceProcessing == "outpainting":
		return 1.19 + 0.17*strength, 5.67 * painting
	}
	return 0.84 + 0.24*strength, -0.65
}

// effectiveMegapixels is the area, and more of it for pictures that are longer than two to one.
func effectiveMegapixels(width, height int) float64 {
	w, h := float64(width), float64(height)
	aspect := max(w, h) / min(w, h)
	return w * h / megapixel * (1 + 0.22*max(0, aspect-2))
}

// effectiveSteps counts the steps, which cost less beside many others.
func effectiveSteps(n int) float64 {
	s := float64(n)
	return 0.76*min(s, 20) + max(0, min(s, 50)-20) + 0.77*max(0, min(s, 100)-50) + 0.51*max(0, s-100)
}

// ModelFactor is by how much the model that ran makes an image of the order dearer: 1 for Stable Diffusion 1 and 2 and
// for unknown models. A text's model is in [Rules.TextReward] instead.
func ModelFactor(o *horde.Order, model string, ref *horde.Reference) float64 {
	switch ref.Baseline(model) {
	case horde.BaselineSDXL:
		if o.Image.Workflow == "qr_code" {
			return 4
		}
		return 2
	case horde.BaselineCascade:
		if o.Image.HiresFix {
			return 7
		}
		return 4
	case horde.BaselineFlux, horde.BaselineZImage:
		return 8
	case horde.BaselineQwen:
		return 12
	}
	return 1
}

// estimateModel is the model that an estimate assumes for an order that takes any.
const estimateModel = "SDXL 1.0"

// largestFactor is the factor of the dearest model that may serve the order.
func largestFactor(o *horde.Order, ref *horde.Reference) float64 {
	if len(o.Models) == 0 {
		return ModelFactor(o, estimateModel, ref)
	}
	factor := 1.0
	for _, m := range o.Models {
		factor = max(factor, ModelFactor(o, m, ref))
	}
	return factor
}
