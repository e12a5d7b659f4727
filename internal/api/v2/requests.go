// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"
	"strconv"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type imageRequestInput struct {
	api.Key
	Body horde.ImageSubmission
}

type textRequestInput struct {
	api.Key
	Body horde.TextSubmission
}

type requestInput struct {
	ID string `path:"id"`
}

func (a *API) imageRequests(r *api.Router) {
	api.Handle(r, http.MethodPost, prefix+"/generate/async", LimitsSubmit, a.submitImage, api.MaxBody(api.MaxGenerationBody))
	api.Handle(r, http.MethodGet, prefix+"/generate/check/{id}", LimitsCheck, a.check)
	api.Handle(r, http.MethodGet, prefix+"/generate/status/{id}", LimitsImageStatus, a.imageStatus)
	api.Handle(r, http.MethodDelete, prefix+"/generate/status/{id}", LimitsImageStatus, a.cancelImage)
}

func (a *API) textRequests(r *api.Router) {
	api.Handle(r, http.MethodPost, prefix+"/generate/text/async", LimitsSubmit, a.submitText, api.MaxBody(api.MaxGenerationBody))
	api.Handle(r, http.MethodGet, prefix+"/generate/text/status/{id}", LimitsTextStatus, a.textStatus)
	api.Handle(r, http.MethodDelete, prefix+"/generate/text/status/{id}", LimitsTextStatus, a.cancelText)
}

// requestAsync answers an accepted request or a dry run.
type requestAsync struct {
	ID       string          `json:"id,omitempty"`
	Kudos    float64         `json:"kudos"`
	Message  string          `json:"message,omitempty"`
	Warnings []horde.Warning `json:"warnings,omitempty"`
}

func accepted(acc engine.Accepted, err error) (int, any, error) {
	if err != nil {
		return 0, nil, err
	}
	if acc.DryRun {
		return http.StatusOK, requestAsync{Kudos: acc.Kudos}, nil
	}
	return http.StatusAccepted, requestAsync{ID: acc.ID.String(), Kudos: acc.Kudos, Message: acc.Message, Warnings: acc.Warnings}, nil
}

func (a *API) submitImage(ctx context.Context, c *api.Call[imageRequestInput]) (int, any, error) {
	return accepted(a.engine.SubmitImage(ctx, submitter(c.In.APIKey, c.Caller), &c.In.Body))
}

func (a *API) submitText(ctx context.Context, c *api.Call[textRequestInput]) (int, any, error) {
	if c.In.Body.Prompt == nil {
		return 0, nil, missing("prompt")
	}
	return accepted(a.engine.SubmitText(ctx, submitter(c.In.APIKey, c.Caller), &c.In.Body))
}

// requestStatusCheck is how a request stands: numbers and booleans only, since some clients add up the bodies of several.
type requestStatusCheck struct {
	Finished      int   `json:"finished"`
	Processing    int   `json:"processing"`
	Restarted     int   `json:"restarted"`
	Waiting       int   `json:"waiting"`
	Done          bool  `json:"done"`
	Faulted       bool  `json:"faulted"`
	WaitTime      int   `json:"wait_time"`
	QueuePosition int   `json:"queue_position"`
	Kudos         int64 `json:"kudos"`
	IsPossible    bool  `json:"is_possible"`
}

func checked(s engine.Status) requestStatusCheck {
	return requestStatusCheck{
		Finished: s.Finished, Processing: s.Processing, Restarted: s.Restarted, Waiting: s.Waiting, Done: s.Done,
		Faulted: s.Faulted, WaitTime: s.WaitTime, QueuePosition: s.QueuePosition, Kudos: s.Kudos.Whole(), IsPossible: s.Possible,
	}
}

type imageGeneration struct {
	Img         string           `json:"img"`
	Seed        string           `json:"seed"`
	ID          string           `json:"id"`
	Censored    bool             `json:"censored"`
	GenMetadata []horde.Metadata `json:"gen_metadata"`
	WorkerID    string           `json:"worker_id"`
	WorkerName  string           `json:"worker_name"`
	Model       string           `json:"model"`
	State       string           `json:"state"`
}

type requestStatusImage struct {
	requestStatusCheck
	Generations []imageGeneration `json:"generations"`
	Shared      bool              `json:"shared"`
}

type textGeneration struct {
	Text        string           `json:"text"`
	Seed        int64            `json:"seed"`
	GenMetadata []horde.Metadata `json:"gen_metadata"`
	WorkerID    string           `json:"worker_id"`
	WorkerName  string           `json:"worker_name"`
	Model       string           `json:"model"`
	State       string           `json:"state"`
}

type requestStatusText struct {
	requestStatusCheck
	Generations []textGeneration `json:"generations"`
}

func notes(m []horde.Metadata) []horde.Metadata {
	if m == nil {
		return []horde.Metadata{}
	}
	return m
}

func imageStatus(s engine.Status, err error) (int, any, error) {
	if err != nil {
		return 0, nil, err
	}
	out := requestStatusImage{requestStatusCheck: checked(s), Generations: make([]imageGeneration, len(s.Generations))}
	for i, g := range s.Generations {
		out.Generations[i] = imageGeneration{
			Img: g.Image, Seed: strconv.FormatInt(g.Seed, 10), ID: g.ID.String(), Censored: g.Censored, GenMetadata: notes(g.Metadata),
			WorkerID: g.Worker.String(), WorkerName: g.WorkerName, Model: g.Model, State: "ok",
		}
	}
	return http.StatusOK, out, nil
}

func textStatus(s engine.Status, err error) (int, any, error) {
	if err != nil {
		return 0, nil, err
	}
	out := requestStatusText{requestStatusCheck: checked(s), Generations: make([]textGeneration, len(s.Generations))}
	for i, g := range s.Generations {
		out.Generations[i] = textGeneration{
			Text: g.Text, Seed: g.Seed, GenMetadata: notes(g.Metadata), WorkerID: g.Worker.String(), WorkerName: g.WorkerName,
			Model: g.Model, State: g.State(),
		}
	}
	return http.StatusOK, out, nil
}

func (a *API) check(ctx context.Context, c *api.Call[requestInput]) (int, any, error) {
	s, err := a.engine.Check(ctx, horde.Image, c.In.ID)
	return http.StatusOK, checked(s), err
}

func (a *API) imageStatus(ctx context.Context, c *api.Call[requestInput]) (int, any, error) {
	return imageStatus(a.engine.Status(ctx, horde.Image, c.In.ID))
}

func (a *API) cancelImage(ctx context.Context, c *api.Call[requestInput]) (int, any, error) {
	return imageStatus(a.engine.Cancel(ctx, horde.Image, c.In.ID))
}

func (a *API) textStatus(ctx context.Context, c *api.Call[requestInput]) (int, any, error) {
	return textStatus(a.engine.Status(ctx, horde.Text, c.In.ID))
}

func (a *API) cancelText(ctx context.Context, c *api.Call[requestInput]) (int, any, error) {
	return textStatus(a.engine.Cancel(ctx, horde.Text, c.In.ID))
}

// notification is the body of a webhook: one result with its request and its price.
type notification struct {
	ID          string           `json:"id"`
	Request     string           `json:"request"`
	Kudos       float64          `json:"kudos"`
	Seed        int64            `json:"seed"`
	GenMetadata []horde.Metadata `json:"gen_metadata"`
	WorkerID    string           `json:"worker_id"`
	WorkerName  string           `json:"worker_name"`
	Model       string           `json:"model"`
	// Img and Censored are sent for images, Text and State for texts.
	Img      *string `json:"img,omitempty"`
	Censored *bool   `json:"censored,omitempty"`
	Text     *string `json:"text,omitempty"`
	State    *string `json:"state,omitempty"`
}

// Notification is the body of the webhook for a result.
func Notification(n engine.Notice) any {
	g := n.Generation
	body := notification{
		ID: g.ID.String(), Request: n.Request.String(), Kudos: n.Kudos, Seed: g.Seed, GenMetadata: notes(g.Metadata),
		WorkerID: g.Worker.String(), WorkerName: g.WorkerName, Model: g.Model,
	}
	if n.Kind == horde.Text {
		state := g.State()
		body.Text, body.State = &g.Text, &state
	} else {
		body.Img, body.Censored = &g.Image, &g.Censored
	}
	return body
}
