// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"context"
	"net/url"
)

// Heartbeat is the health of the node that answered.
type Heartbeat struct {
	// Message is "OK", "DOWN" or "OVERLOADED".
	Message string `json:"message"`
	Version string `json:"version"`
}

// Performance is the load of the whole horde.
type Performance struct {
	QueuedRequests           int     `json:"queued_requests"`
	QueuedTextRequests       int     `json:"queued_text_requests"`
	QueuedMegapixelsteps     float64 `json:"queued_megapixelsteps"`
	QueuedTokens             float64 `json:"queued_tokens"`
	QueuedForms              float64 `json:"queued_forms"`
	PastMinuteMegapixelsteps float64 `json:"past_minute_megapixelsteps"`
	PastMinuteTokens         float64 `json:"past_minute_tokens"`
	WorkerCount              int     `json:"worker_count"`
	ThreadCount              int     `json:"thread_count"`
	TextWorkerCount          int     `json:"text_worker_count"`
	TextThreadCount          int     `json:"text_thread_count"`
	InterrogatorCount        int     `json:"interrogator_count"`
	InterrogatorThreadCount  int     `json:"interrogator_thread_count"`
}

// Model is a model that is offered or asked for now.
type Model struct {
	Name string `json:"name"`
	// Type is "image" or "text".
	Type string `json:"type"`
	// Count is the number of threads that offer the model.
	Count int `json:"count"`
	// Performance and Queued are pixelsteps a second and pixelsteps, or tokens a second and tokens.
	Performance float64 `json:"performance"`
	Queued      float64 `json:"queued"`
	Jobs        float64 `json:"jobs"`
	// ETA is the number of seconds to clear the queue; 10000 means unknown.
	ETA int `json:"eta"`
}

// Modes are the horde's switches.
type Modes struct {
	MaintenanceMode bool `json:"maintenance_mode"`
	InviteOnlyMode  bool `json:"invite_only_mode"`
	// RaidMode is shown to moderators only.
	RaidMode bool `json:"raid_mode"`
}

// Heartbeat asks the node for its health.
func (c *Client) Heartbeat(ctx context.Context) (Heartbeat, error) {
	var out Heartbeat
	err := c.get(ctx, "/status/heartbeat", nil, &out)
	return out, err
}

// Performance asks for the load of the horde.
func (c *Client) Performance(ctx context.Context) (Performance, error) {
	var out Performance
	err := c.get(ctx, "/status/performance", nil, &out)
	return out, err
}

// Models lists models of a type, "image" or "text".
func (c *Client) Models(ctx context.Context, kind string) ([]Model, error) {
	var out []Model
	err := c.get(ctx, "/status/models", url.Values{"type": {kind}}, &out)
	return out, err
}

// Model looks a model up by its exact name; ok is false when the horde knows of none.
func (c *Client) Model(ctx context.Context, name string) (m Model, ok bool, err error) {
	var out []Model
	// Servers decode the name once more after routing, so a slash in it must be escaped twice.
	err = c.get(ctx, "/status/models/"+url.PathEscape(url.PathEscape(name)), nil, &out)
	if err != nil || len(out) == 0 {
		return Model{}, false, err
	}
	return out[0], true, nil
}

// Modes asks for the horde's switches.
func (c *Client) Modes(ctx context.Context) (Modes, error) {
	var out Modes
	err := c.get(ctx, "/status/modes", nil, &out)
	return out, err
}

// ImageModelStats returns how many images were made with each model, by period ("day", "month", "total"). state is
// "known", "custom" or "all".
func (c *Client) ImageModelStats(ctx context.Context, state string) (map[string]map[string]int, error) {
	var out map[string]map[string]int
	err := c.get(ctx, "/stats/img/models", url.Values{"model_state": {state}}, &out)
	return out, err
}
