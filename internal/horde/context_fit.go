// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"strconv"
	"unicode/utf8"
)

// charactersPerToken is how many characters are counted as a token where a prompt must not be too long: few, since what is cut
// off is worse than what stays unused.
const charactersPerToken = 3

// EstimateTokens guesses how many tokens a prompt has, on the safe side.
func EstimateTokens(prompt string) int {
	return (utf8.RuneCountInString(prompt) + charactersPerToken - 1) / charactersPerToken
}

// The values of context_fit.
const (
	fitReject = "reject"
	fitGrow   = "grow"
)

// FitContext sees to it that the prompt of a text order, and what is to be written after it, fit its context: with "reject" an
// order for which this is not so is refused, with "grow" its context is made longer, as far as longest says that a worker goes.
// Anything else leaves it to the worker, which cuts the prompt at its front.
func (o *Order) FitContext(fit string, longest func() int) *Error {
	if fit != fitReject && fit != fitGrow {
		return nil
	}
	need := EstimateTokens(o.Prompt) + *o.Text.MaxLength
	if need <= *o.Text.MaxContextLength {
		return nil
	}
	if fit == fitReject {
		return ErrPromptContext.Withf("The prompt and the text after it may have %d tokens, and the context has %d.", need, *o.Text.MaxContextLength)
	}
	if most := longest(); need > most {
		return ErrPromptContext.Withf("The prompt and the text after it may have %d tokens, and no worker that is online has a context of more than %d.", need, most)
	}
	o.Text.MaxContextLength, o.GrownContext = &need, true
	return nil
}

// Settings are the parameters as a client would write them to get this order for n results.
func (p *ImageParams) Settings(n int) *ImageSettings {
	s := &ImageSettings{
		N: &n, Steps: &p.Steps, Width: &p.Width, Height: &p.Height, Sampler: &p.Sampler, CFGScale: &p.CFGScale, Karras: &p.Karras,
		DenoisingStrength: p.DenoisingStrength, HiresFixDenoisingStrength: p.HiresFixDenoisingStrength, ClipSkip: p.ClipSkip,
		FacefixerStrength: p.FacefixerStrength, PostProcessing: p.PostProcessing, Special: p.Special, ExtraTexts: p.ExtraTexts,
		HiresFix: given(p.HiresFix), Tiling: given(p.Tiling), Transparent: given(p.Transparent),
		ImageIsControl: given(p.ImageIsControl), ReturnControlMap: given(p.ReturnControlMap),
		Workflow: given(p.Workflow), ControlType: given(p.ControlType), SeedVariation: given(p.SeedVariation),
	}
	if p.Seed != nil {
		seed := strconv.FormatUint(uint64(*p.Seed), 10)
		s.Seed = &seed
	}
	for _, l := range p.Loras {
		s.Loras = append(s.Loras, LoraSettings{&l.Name, &l.Model, &l.Clip, given(l.InjectTrigger), &l.IsVersion})
	}
	for _, t := range p.TIs {
		s.TIs = append(s.TIs, TISettings{&t.Name, given(t.InjectTI), &t.Strength})
	}
	if p.Sampling != nil {
		s.Sampling = *p.Sampling
	}
	return s
}

// given is nil for the zero value.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
