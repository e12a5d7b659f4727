// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"context"
	"net/http"
	"net/url"
)

// Form is one thing that is to be done with an image: "caption", "palette", "RealESRGAN_x4plus", …
type Form struct {
	Name string `json:"name"`
	// Payload are options for the worker; nil for none.
	Payload map[string]any `json:"payload,omitempty"`
}

// AlchemyRequest asks for forms of one image.
type AlchemyRequest struct {
	// SourceImage is the URL of the image, or the image as base64 without a prefix.
	SourceImage string `json:"source_image"`
	Forms       []Form `json:"forms"`
	// SlowWorkers lets slow workers serve the request too; nil does.
	SlowWorkers    *bool  `json:"slow_workers,omitempty"`
	TrustedWorkers bool   `json:"trusted_workers,omitempty"`
	Webhook        string `json:"webhook,omitempty"`
}

// AlchemyStatus tells how an alchemy request stands.
type AlchemyStatus struct {
	// State is "waiting", "processing", "done", "faulted" or, for a mixture in which nothing happens any more, "partial".
	State string       `json:"state"`
	Forms []FormStatus `json:"forms"`
}

// FormStatus tells how a form stands.
type FormStatus struct {
	Form string `json:"form"`
	// State is "waiting", "processing", "done", "cancelled" or "faulted".
	State string `json:"state"`
	// Result has, when there is one, a member with the name of the form: maps, slices, strings, booleans
	// and json.Number. Images are URLs.
	Result map[string]any `json:"result"`
}

// SubmitAlchemy asks for forms and returns the id of the request. It makes a single try: a repeated request is another one.
func (c *Client) SubmitAlchemy(ctx context.Context, r AlchemyRequest) (string, error) {
	var out struct {
		ID string `json:"id"`
	}
	err := c.do(ctx, call{method: http.MethodPost, path: "/interrogate/async", body: r}, &out)
	return out.ID, err
}

// AlchemyStatus tells how a request stands, with the results that are there.
func (c *Client) AlchemyStatus(ctx context.Context, id string) (AlchemyStatus, error) {
	var out AlchemyStatus
	err := c.get(ctx, "/interrogate/status/"+url.PathEscape(id), nil, &out)
	return out, err
}

// CancelAlchemy cancels what is not done of a request, and tells how it stands then.
func (c *Client) CancelAlchemy(ctx context.Context, id string) (AlchemyStatus, error) {
	var out AlchemyStatus
	err := c.do(ctx, call{method: http.MethodDelete, path: "/interrogate/status/" + url.PathEscape(id), repeatable: true}, &out)
	return out, err
}

// PopAlchemyRequest is what an alchemist tells when it asks for forms.
type PopAlchemyRequest struct {
	Name              string   `json:"name"`
	Forms             []string `json:"forms"`
	Amount            int      `json:"amount"`
	PriorityUsernames []string `json:"priority_usernames,omitempty"`
	BridgeAgent       string   `json:"bridge_agent"`
	// Threads is 1..100, MaxTiles the largest image in squares of 512x512 pixels, 1..256.
	Threads  int `json:"threads"`
	MaxTiles int `json:"max_tiles"`
}

// AlchemyJob is the answer to the pop of an alchemist; without forms there was nothing.
type AlchemyJob struct {
	Forms   []PoppedForm   `json:"forms"`
	Skipped map[string]int `json:"skipped"`
}

// PoppedForm is one form to work on.
type PoppedForm struct {
	ID      string            `json:"id"`
	Form    string            `json:"form"`
	Payload map[string]string `json:"payload"`
	// SourceImage is the URL of the image. R2Upload is where a new image goes, empty for forms that make none.
	SourceImage string `json:"source_image"`
	R2Upload    string `json:"r2_upload"`
}

// PopAlchemy asks for forms. It makes a single try.
func (c *Client) PopAlchemy(ctx context.Context, r PopAlchemyRequest) (AlchemyJob, error) {
	var out AlchemyJob
	err := c.patient(0).do(ctx, call{method: http.MethodPost, path: "/interrogate/pop", body: r}, &out)
	return out, err
}

// FormResult hands in a form.
type FormResult struct {
	ID string `json:"id"`
	// Result has a member with the name of the form: what was found, or "R2" for an image that was uploaded.
	Result map[string]any `json:"result"`
	// State is "ok" or "faulted".
	State string `json:"state"`
}

// SubmitFormResult hands in a form and returns the kudos earned. A repeated submit is refused and does no harm.
func (c *Client) SubmitFormResult(ctx context.Context, r FormResult) (float64, error) {
	if r.Result == nil {
		r.Result = map[string]any{}
	}
	var out reward
	err := c.do(ctx, call{method: http.MethodPost, path: "/interrogate/submit", body: r, repeatable: true}, &out)
	return out.Reward, err
}
