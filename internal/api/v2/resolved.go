// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"strings"

	"horde/internal/engine"
	"horde/internal/horde"
)

// requestAsyncImage answers a submission of an image request; a dry run also tells what the price is for.
type requestAsyncImage struct {
	requestAsync
	Resolved *resolvedImage `json:"resolved,omitempty"`
}

type requestAsyncText struct {
	requestAsync
	Resolved *resolvedText `json:"resolved,omitempty"`
}

// resolvedRequest is what would be queued, after all that changes a submission on its way.
type resolvedRequest struct {
	Prompt string   `json:"prompt" doc:"With the negative prompt, as workers get it."`
	Models []string `json:"models"`
}

type resolvedImage struct {
	resolvedRequest
	NegativePrompt *string              `json:"negative_prompt" doc:"What is behind ### in the prompt."`
	Params         *horde.ImageSettings `json:"params"`
}

type resolvedText struct {
	resolvedRequest
	EstimatedTokens int                 `json:"estimated_prompt_tokens" doc:"A cautious guess from the number of characters."`
	ContextFit      *string             `json:"context_fit,omitempty" enum:"ignore,reject,grow"`
	Params          *horde.TextSettings `json:"params"`
}

func resolvedOf(o *horde.Order) resolvedRequest {
	return resolvedRequest{Prompt: o.Prompt, Models: o.Models}
}

// resolvedImageOf is nil where it was no dry run.
func resolvedImageOf(a engine.Accepted, results int) *resolvedImage {
	if a.Order == nil {
		return nil
	}
	r := &resolvedImage{resolvedRequest: resolvedOf(a.Order), Params: a.Order.Image.Settings(results)}
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
		resolvedRequest: resolvedOf(a.Order), EstimatedTokens: horde.EstimateTokens(a.Order.Prompt), ContextFit: fit, Params: &params,
	}
}
