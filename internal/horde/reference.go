// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"regexp"
	"strings"
)

// Reference is what the server knows about models: the image and the text model reference. A Reference is never changed
// once it is in use; a refresh makes a new one. The zero value knows no model.
type Reference struct {
	Image map[string]ImageModel
	Text  map[string]TextModel
}

// ImageModel is one record of the image model reference, as far as the server uses it.
type ImageModel struct {
	Name     string `json:"name"`
	Baseline string `json:"baseline"`
	// Type is "ckpt", or "controlnet" for models that only work with a source image.
	Type         string       `json:"type"`
	Inpainting   bool         `json:"inpainting"`
	NSFW         bool         `json:"nsfw"`
	Description  string       `json:"description,omitempty"`
	Style        string       `json:"style,omitempty"`
	Requirements Requirements `json:"requirements,omitzero"`
}

// Requirements are the parameters that a model works well with. Nil and empty mean that there is no wish.
type Requirements struct {
	ClipSkip    *int     `json:"clip_skip,omitempty"`
	MinSteps    *int     `json:"min_steps,omitempty"`
	MaxSteps    *int     `json:"max_steps,omitempty"`
	CFGScale    *float64 `json:"cfg_scale,omitempty"`
	MinCFGScale *float64 `json:"min_cfg_scale,omitempty"`
	MaxCFGScale *float64 `json:"max_cfg_scale,omitempty"`
	Samplers    []string `json:"samplers,omitempty"`
	Schedulers  []string `json:"schedulers,omitempty"`
}

// TextModel is one record of the text model reference, as far as the server uses it.
type TextModel struct {
	Name string `json:"name"`
	// Parameters is the number of parameters, for example 7_000_000_000.
	Parameters int64 `json:"parameters"`
	NSFW       bool  `json:"nsfw"`
}

// The baselines that change a rule or a price, as the image model reference spells them.
const (
	BaselineSD1     = "stable diffusion 1"
	BaselineSD2     = "stable diffusion 2"
	BaselineSD2x512 = "stable diffusion 2 512"
	BaselineSDXL    = "stable_diffusion_xl"
	BaselineCascade = "stable_cascade"
	BaselineFlux    = "flux_1"
	BaselineQwen    = "qwen_image"
	BaselineZImage  = "z_image_turbo"
)

var servedBaselines = map[string]bool{
	BaselineSD1: true, BaselineSD2: true, BaselineSD2x512: true, BaselineSDXL: true, BaselineCascade: true,
	BaselineFlux: true, BaselineQwen: true, BaselineZImage: true,
}

// DefaultImageModel is the model of an image request that names none.
const DefaultImageModel = "stable_diffusion"

// SpecialModel marks, inside a model's name, a private model of one account: "horde_special::alias#id".
const SpecialModel = "horde_special"

// BetaModel is the model whose requests compare two pipelines. Its name is no private one's, though it looks like it.
const BetaModel = "SDXL_beta::stability.ai#6901"

// Baseline is the base architecture of an image model: from its record, else guessed from a tag in its name.
func (r *Reference) Baseline(model string) string {
	if m, ok := r.Image[model]; ok {
		return m.Baseline
	}
	for _, tag := range []struct{ in, baseline string }{
		{"[SDXL]", BaselineSDXL}, {"[Flux]", BaselineFlux}, {"[Qwen]", BaselineQwen},
		{"[ZModel]", BaselineZImage}, {"[ZImage]", BaselineZImage},
	} {
		if strings.Contains(model, tag.in) {
			return tag.baseline
		}
	}
	return BaselineSD1
}

// Served tells whether image workers of any account may offer the model.
func (r *Reference) Served(model string) bool {
	m, ok := r.Image[model]
	return ok && servedBaselines[m.Baseline]
}

// quantisation is the part of a text model's name that tells how it was compressed (kudos chapter, 3). At least one
// letter or digit must stand between the separator and the Q, so the word before the Q goes with it.
var quantisation = regexp.MustCompile(`[.,-][[:alnum:]]+?-?Q(?:-[Ii]nt)?[2-9]{1,2}(?:[_.-][[:alnum:]]+)*`)

// TextModel finds the record for a text model as a worker or a client names it: without the owner's suffix
// ("name::alias#id"), by the exact name, else with the quantisation cut off.
func (r *Reference) TextModel(name string) (TextModel, bool) {
	if parts := strings.Split(name, "::"); len(parts) == 2 {
		name = parts[0]
	}
	m, ok := r.Text[name]
	if !ok && strings.Contains(name, "Q") { // many models are in nobody's reference, and each call asks for them
		m, ok = r.Text[quantisation.ReplaceAllString(name, "")]
	}
	return m, ok
}

// Billions is the size of a text model in billions of parameters, and 1 for an unknown one.
func (r *Reference) Billions(name string) float64 {
	if m, ok := r.TextModel(name); ok {
		return float64(m.Parameters) / 1e9
	}
	return 1
}

// Lewd tells whether one of the models is made for lewd results.
func (r *Reference) Lewd(k Kind, models []string) bool {
	for _, name := range models {
		if k == Text {
			if m, ok := r.TextModel(name); ok && m.NSFW {
				return true
			}
		} else if r.Image[name].NSFW {
			return true
		}
	}
	return false
}

// Known tells whether the reference has the model.
func (r *Reference) Known(k Kind, name string) bool {
	if k == Text {
		_, ok := r.TextModel(name)
		return ok
	}
	_, ok := r.Image[name]
	return ok
}
