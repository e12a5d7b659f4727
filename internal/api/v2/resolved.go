// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"strings"

	"horde/internal/engine"
	"horde/internal/horde"
)

// requestAsyncImage answers a submission of an image request; a dry run also tells what the price is for.
type requestAsyncImage struct {
	requestAsync `base:"true"`
	Resolved     *resolvedImage `json:"resolved,omitempty"`
}

type requestAsyncText struct {
	requestAsync `base:"true"`
	Resolved     *resolvedText `json:"resolved,omitempty"`
}

// resolvedRequest is what would be queued, after all that changes a submission on its way.
type resolvedRequest struct {
	Prompt string         `json:"prompt" doc:"With the negative prompt, as workers get it."`
	Models []string       `json:"models"`
	Style  *resolvedStyle `json:"style,omitempty"`
}

// resolvedStyle is the style that was applied, of a collection the one that was drawn.
type resolvedStyle struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type resolvedImage struct {
	resolvedRequest `base:"true"`
	NegativePrompt  *string              `json:"negative_prompt" doc:"What is behind ### in the prompt."`
	Params          *horde.ImageSettings `json:"params"`
}

type resolvedText struct {
	resolvedRequest `base:"true"`
	EstimatedTokens int                 `json:"estimated_prompt_tokens" doc:"A cautious guess from the number of characters."`
	ContextFit      *string             `json:"context_fit,omitempty" enum:"ignore,reject,grow"`
	Params          *horde.TextSettings `json:"params"`
}

func resolvedOf(a engine.Accepted) resolvedRequest {
	r := resolvedRequest{Prompt: a.Order.Prompt, Models: a.Order.Models}
	if a.Style != nil {
		r.Style = &resolvedStyle{a.Style.ID.String(), a.Style.Name}
	}
	return r
}

// resolvedImageOf is nil where it was no dry run.
func resolvedImageOf(a engine.Accepted, results int) *resolvedImage {
	if a.Order == nil {
		return nil
	}
	r := &resolvedImage{resolvedRequest: resolvedOf(a), Params: a.Order.Image.Settings(results)}
	if _, negative, divided := strings.Cut(a.Order.Prompt, "###"); divided {
		r.NegativePrompt = &negative
	}
	return r
}

func resolvedTextOf(a engine.Accepted, results int, fit *string) *resolvedText {
	if a.Order == nil {
		return nil
	}
	params := a.Order.Text.TextSettings
	params.N = &results
	return &resolvedText{
		resolvedRequest: resolvedOf(a), EstimatedTokens: horde.EstimateTokens(a.Order.Prompt), ContextFit: fit, Params: &params,
	}
}
