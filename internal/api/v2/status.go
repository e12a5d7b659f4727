// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"
	"net/url"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type modelsInput struct {
	Type       string `query:"type" default:"image" doc:"image or text; nothing is of another type."`
	MinCount   *int   `query:"min_count" doc:"Only models that at least so many threads serve."`
	MaxCount   *int   `query:"max_count" doc:"Only models that at most so many threads serve."`
	ModelState string `query:"model_state" default:"all" doc:"known for models of the reference, custom for others, or all."`
}

type modelInput struct {
	Name string `path:"model_name"`
}

type modesInput struct{ api.OptionalKey }

type modesChangeInput struct {
	api.Key
	Body horde.ModesChange `body:"optional"`
}

func (a *API) status(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/status/performance", Limits: api.DefaultLimits, ID: "get_horde_load",
		Summary: "How many work and how much waits.",
	}, a.performance)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/status/models", Limits: api.DefaultLimits, ID: "get_models",
		Summary: "Models that are served now, with ?type=image or ?type=text.", Refuses: []int{400},
	}, a.models)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/status/models/{model_name}", Limits: api.DefaultLimits, ID: "get_model_single",
		Summary: "One model.",
	}, a.model)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/status/modes", Limits: LimitsModes, ID: "get_horde_modes",
		Summary: "Whether the horde is in maintenance.", Also: []int{401, 403}, Published: api.Published{NoAgent: true},
	}, a.modes)
	api.Handle(r, api.Operation{
		Method: http.MethodPut, Path: prefix + "/status/modes", Limits: LimitsModes, ID: "put_horde_modes",
		Summary: "Change that, for moderators.", Example: `{"raid_mode":true}`, Refuses: []int{401, 403},
		Published: api.Published{NoAgent: true, Answer: modes{}},
	}, a.setModes)
}

type performance struct {
	QueuedRequests           int64   `json:"queued_requests"`
	QueuedTextRequests       int64   `json:"queued_text_requests"`
	WorkerCount              int     `json:"worker_count"`
	TextWorkerCount          int     `json:"text_worker_count"`
	ThreadCount              int     `json:"thread_count"`
	TextThreadCount          int     `json:"text_thread_count"`
	QueuedMegapixelsteps     float64 `json:"queued_megapixelsteps"`
	PastMinuteMegapixelsteps float64 `json:"past_minute_megapixelsteps"`
	QueuedForms              int64   `json:"queued_forms" published:"type=number"`
	InterrogatorCount        int     `json:"interrogator_count"`
	InterrogatorThreadCount  int     `json:"interrogator_thread_count"`
	QueuedTokens             float64 `json:"queued_tokens"`
	PastMinuteTokens         float64 `json:"past_minute_tokens"`
}

func (a *API) performance(ctx context.Context, _ *api.Call[api.NoInput]) (int, *performance, error) {
	image, err := a.engine.Performance(ctx, horde.Image)
	if err != nil {
		return 0, nil, err
	}
	text, err := a.engine.Performance(ctx, horde.Text)
	if err != nil {
		return 0, nil, err
	}
	alchemy, err := a.engine.AlchemyPerformance(ctx)
	return http.StatusOK, &performance{
		QueuedRequests: image.Queued, QueuedTextRequests: text.Queued, WorkerCount: image.Workers, TextWorkerCount: text.Workers,
		ThreadCount: image.Threads, TextThreadCount: text.Threads, QueuedMegapixelsteps: image.QueuedThings,
		PastMinuteMegapixelsteps: image.PastMinute, QueuedForms: alchemy.Queued, InterrogatorCount: alchemy.Workers,
		InterrogatorThreadCount: alchemy.Threads, QueuedTokens: text.QueuedThings, PastMinuteTokens: text.PastMinute,
	}, err
}

// activeModelLite is a model with the number of threads that serve it.
type activeModelLite struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

type activeModel struct {
	activeModelLite
	Performance float64 `json:"performance"`
	Queued      float64 `json:"queued"`
	Jobs        int64   `json:"jobs" published:"type=number"`
	ETA         int     `json:"eta" doc:"Seconds until the queue of the model is empty."`
	Type        string  `json:"type" enum:"image,text"`
}

func modelOf(m engine.ActiveModel) activeModel {
	return activeModel{activeModelLite: activeModelLite{m.Name, m.Threads}, Performance: m.Performance, Queued: m.Queued, Jobs: m.Jobs, ETA: m.ETA, Type: m.Kind.String()}
}

var errModelState = &horde.Error{RC: "BadRequest", Status: http.StatusBadRequest, Message: "model_state is known, custom or all."}

func (a *API) models(ctx context.Context, c *api.Call[modelsInput]) (int, []activeModel, error) {
	kind := horde.Image
	switch c.In.Type {
	case "", "image":
	case "text":
		kind = horde.Text
	default:
		return http.StatusOK, []activeModel{}, nil
	}
	switch c.In.ModelState {
	case "", "all", "known", "custom":
	default:
		return 0, nil, errModelState
	}
	models, err := a.engine.Models(ctx, kind)
	if err != nil {
		return 0, nil, err
	}
	ref := a.engine.Reference()
	out := make([]activeModel, 0, len(models))
	for _, m := range models {
		known := ref.Known(kind, m.Name)
		switch {
		case c.In.ModelState == "known" && !known, c.In.ModelState == "custom" && known:
		case c.In.MinCount != nil && m.Threads < *c.In.MinCount, c.In.MaxCount != nil && m.Threads > *c.In.MaxCount:
		default:
			out = append(out, modelOf(m))
		}
	}
	return http.StatusOK, out, nil
}

func (a *API) model(ctx context.Context, c *api.Call[modelInput]) (int, []activeModel, error) {
	m, err := a.engine.Model(ctx, decodedAgain(c.In.Name))
	if err != nil {
		return 0, nil, err
	}
	out := []activeModel{}
	if m != nil {
		out = append(out, modelOf(*m))
	}
	return http.StatusOK, out, nil
}

// decodedAgain is a name of which some clients encode more than the slash twice. One that is encoded once stays as it is.
func decodedAgain(name string) string {
	if again, err := url.PathUnescape(name); err == nil {
		return again
	}
	return name
}

type modes struct {
	Maintenance bool  `json:"maintenance_mode"`
	InviteOnly  bool  `json:"invite_only_mode"`
	Raid        *bool `json:"raid_mode,omitempty"`
}

func (a *API) modes(ctx context.Context, c *api.Call[modesInput]) (int, modes, error) {
	m, err := a.engine.Modes(ctx, c.In.APIKey)
	return http.StatusOK, modes(m), err
}

// modesChanged holds what a change has set.
type modesChanged struct {
	Maintenance *bool `json:"maintenance_mode,omitempty"`
	InviteOnly  *bool `json:"invite_only_mode,omitempty"`
	Raid        *bool `json:"raid_mode,omitempty"`
}

func (a *API) setModes(ctx context.Context, c *api.Call[modesChangeInput]) (int, modesChanged, error) {
	b := c.In.Body
	err := a.engine.SetModes(ctx, engine.Authority{Key: c.In.APIKey}, &b)
	return http.StatusOK, modesChanged{b.MaintenanceMode, b.InviteOnlyMode, b.RaidMode}, err
}
