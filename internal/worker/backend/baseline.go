// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import "strings"

// Baseline is the architecture that a model belongs to. It decides the shape of the graph and the sizes of passes.
type Baseline string

// The baselines that have rules of their own. Any other is handled like a Stable Diffusion 1 model of unknown native
// size.
const (
	SD1           Baseline = "stable diffusion 1"
	SD2_512       Baseline = "stable diffusion 2 512"
	SD2           Baseline = "stable diffusion 2"
	SDXL          Baseline = "stable_diffusion_xl"
	StableCascade Baseline = "stable_cascade"
	Flux1         Baseline = "flux_1"
	QwenImage     Baseline = "qwen_image"
	ZImageTurbo   Baseline = "z_image_turbo"
)

// ParseBaseline reads the many spellings of model references. Spaces, underscores, hyphens and case do not matter.
func ParseBaseline(s string) Baseline {
	folded := strings.NewReplacer(" ", "", "_", "", "-", "", ".", "").Replace(strings.ToLower(s))
	switch folded {
	case "":
		return ""
	case "stablediffusion", "stablediffusion1", "stablediffusion14", "stablediffusion15", "sd1", "sd14", "sd15":
		return SD1
	case "stablediffusion2512", "sd2512":
		return SD2_512
	case "stablediffusion2", "stablediffusion21", "stablediffusion2768", "sd2", "sd21", "sd2768":
		return SD2
	case "stablediffusionxl", "sdxl":
		return SDXL
	case "stablecascade":
		return StableCascade
	case "flux1", "fluxschnell", "fluxdev", "flux":
		return Flux1
	case "qwenimage", "qwen":
		return QwenImage
	case "zimageturbo", "zimage":
		return ZImageTurbo
	}
	return Baseline(s)
}

// NativeSide is the side in pixels of the squares that models of this baseline were trained on, 0 when unknown.
func (b Baseline) NativeSide() int {
	switch b {
	case SD1, SD2_512:
		return 512
	case SD2:
		return 768
	case SDXL, StableCascade, Flux1, QwenImage, ZImageTurbo:
		return 1024
	}
	return 0
}

// Large reports whether models of this baseline need far more memory than the rest, so that "all" leaves them out.
func (b Baseline) Large() bool { return b == StableCascade || b == Flux1 }

// Model is a model of the horde and where its files are.
type Model struct {
	// Name is the horde's name, exact.
	Name     string
	Baseline Baseline
	// Inpainting models always take the paint path.
	Inpainting bool
	NSFW       bool
	// Files maps a purpose to a file as the server spells it. Plain checkpoints have the purpose "" alone; cascade has
	// "stable_cascade_stage_b" and "stable_cascade_stage_c"; qwen and z_image have "unet", "vae", "text_encoders".
	Files map[string]string
}

// File returns the checkpoint of a model that has one file.
func (m Model) File() string { return m.Files[""] }
