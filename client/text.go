// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"context"
	"net/http"
	"net/url"
)

// TextRequest asks for text. Only Prompt is required.
type TextRequest struct {
	// Prompt is continued as it is: a chat must already be formatted for the model.
	Prompt string     `json:"prompt"`
	Params TextParams `json:"params,omitzero"`
	// Models is the list of acceptable models; empty means any.
	Models         []string `json:"models,omitempty"`
	TrustedWorkers bool     `json:"trusted_workers,omitempty"`
	// ValidatedBackends keeps the request to workers whose software the server knows. Nil means the server's choice.
	ValidatedBackends *bool    `json:"validated_backends,omitempty"`
	SlowWorkers       *bool    `json:"slow_workers,omitempty"`
	Workers           []string `json:"workers,omitempty"`
	WorkerBlacklist   bool     `json:"worker_blacklist,omitempty"`
	DryRun            bool     `json:"dry_run,omitempty"`
	DisableBatching   bool     `json:"disable_batching,omitempty"`
	AllowDowngrade    bool     `json:"allow_downgrade,omitempty"`
	Softprompt        string   `json:"softprompt,omitempty"`
	Webhook           string   `json:"webhook,omitempty"`
	Style             string   `json:"style,omitempty"`
	ProxiedAccount    string   `json:"proxied_account,omitempty"`
}

// TextParams are the generation parameters of a text. Nil and zero leave the choice to server and worker.
type TextParams struct {
	// N is the number of texts, 1..20 (1).
	N int `json:"n,omitempty"`
	// MaxLength is the number of new tokens, 16..4096 (80).
	MaxLength int `json:"max_length,omitempty"`
	// MaxContextLength is prompt and new tokens together, 80..1048576 (2048).
	MaxContextLength int      `json:"max_context_length,omitempty"`
	Temperature      *float64 `json:"temperature,omitempty"`
	TopK             *int     `json:"top_k,omitempty"`
	TopP             *float64 `json:"top_p,omitempty"`
	TopA             *float64 `json:"top_a,omitempty"`
	Typical          *float64 `json:"typical,omitempty"`
	TFS              *float64 `json:"tfs,omitempty"`
	MinP             *float64 `json:"min_p,omitempty"`
	SmoothingFactor  *float64 `json:"smoothing_factor,omitempty"`
	DynatempRange    *float64 `json:"dynatemp_range,omitempty"`
	DynatempExponent *float64 `json:"dynatemp_exponent,omitempty"`
	RepPen           *float64 `json:"rep_pen,omitempty"`
	RepPenRange      *int     `json:"rep_pen_range,omitempty"`
	RepPenSlope      *float64 `json:"rep_pen_slope,omitempty"`
	// SamplerOrder lists sampler ids: 0 top_k, 1 top_a, 2 top_p, 3 tfs, 4 typical, 5 temperature, 6 rep_pen.
	SamplerOrder []int `json:"sampler_order,omitempty"`
	// StopSequence ends the text; the sequence that did is part of the result.
	StopSequence          []string `json:"stop_sequence,omitempty"`
	UseDefaultBadwordsIDs *bool    `json:"use_default_badwordsids,omitempty"`
	Singleline            *bool    `json:"singleline,omitempty"`
	AddSentenceSpacing    *bool    `json:"frmtadsnsp,omitempty"`
	RemoveBlankLines      *bool    `json:"frmtrmblln,omitempty"`
	RemoveSpecial         *bool    `json:"frmtrmspch,omitempty"`
	TrimIncomplete        *bool    `json:"frmttriminc,omitempty"`
}

// TextStatus is a Status with the finished texts.
type TextStatus struct {
	Status
	Generations []TextGeneration `json:"generations"`
}

// TextGeneration is one finished text.
type TextGeneration struct {
	Text       string     `json:"text"`
	Seed       int64      `json:"seed"`
	Model      string     `json:"model"`
	WorkerID   string     `json:"worker_id"`
	WorkerName string     `json:"worker_name"`
	State      string     `json:"state"`
	Metadata   []Metadata `json:"gen_metadata"`
}

// SubmitText hands in a request for text. It is not repeated after a lost answer, so that nothing is paid twice.
func (c *Client) SubmitText(ctx context.Context, r TextRequest) (Submitted, error) {
	var out Submitted
	err := c.do(ctx, call{method: http.MethodPost, path: "/generate/text/async", body: r}, &out)
	return out, err
}

// TextStatus returns progress and results of a text request. Servers allow sixty calls a minute.
func (c *Client) TextStatus(ctx context.Context, id string) (TextStatus, error) {
	var out TextStatus
	err := c.do(ctx, call{method: http.MethodGet, path: "/generate/text/status/" + url.PathEscape(id), repeatable: true}, &out)
	return out, err
}

// CancelText ends a text request and returns the status before that.
func (c *Client) CancelText(ctx context.Context, id string) (TextStatus, error) {
	var out TextStatus
	err := c.do(ctx, call{method: http.MethodDelete, path: "/generate/text/status/" + url.PathEscape(id), repeatable: true}, &out)
	return out, err
}
