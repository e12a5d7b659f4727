// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"errors"
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
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/generate/async", Limits: LimitsSubmit, MaxBody: api.MaxGenerationBody,
		ID: "post_image_async_generate", Summary: "Ask for images. Answers with the id of your request.",
		Example: `{"prompt":"a lighthouse in a storm ### people","params":{"width":512,"height":512,"steps":20,"n":1},"models":["stable_diffusion"]}`,
		Links: []api.Link{
			{To: "get_image_async_check", Argument: "id", Member: "id"}, {To: "get_image_async_status", Argument: "id", Member: "id"},
			{To: "delete_image_async_status", Argument: "id", Member: "id"}, {To: "get_image_async_request", Argument: "id", Member: "id"},
		},
		Success: submitted, Refuses: []int{400, 401, 429, 503}, Validates: true, Also: []int{403, 404},
		Published: api.Published{Answer: requestAsync{}},
	}, a.submitImage)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/generate/check/{id}", Limits: LimitsCheck, ID: "get_image_async_check",
		Summary: "How the request stands: position in the queue, seconds to wait. Ask as often as once a second.",
		Refuses: []int{404}, Also: []int{403},
	}, a.check)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/generate/status/{id}", Limits: LimitsImageStatus, ID: "get_image_async_status",
		Summary: "The same with the finished images. Ask once, when check says done.", Refuses: []int{404},
	}, a.imageStatus)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/generate/status/{id}", Limits: LimitsImageStatus, ID: "delete_image_async_status",
		Summary: "Cancel the request.", Refuses: []int{404},
	}, a.cancelImage)
}

func (a *API) textRequests(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/generate/text/async", Limits: LimitsSubmit, MaxBody: api.MaxGenerationBody,
		ID: "post_text_async_generate", Summary: "Ask for a text. Answers with the id of your request.",
		Example: `{"prompt":"Once upon a time","params":{"max_length":80,"max_context_length":2048,"temperature":0.7}}`,
		Links: []api.Link{
			{To: "get_text_async_status", Argument: "id", Member: "id"}, {To: "delete_text_async_status", Argument: "id", Member: "id"},
			{To: "get_text_async_request", Argument: "id", Member: "id"},
		},
		Success: submitted, Refuses: []int{400, 401, 429, 503}, Validates: true, Also: []int{403, 404},
		Published: api.Published{Answer: requestAsync{}},
	}, a.submitText)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/generate/text/status/{id}", Limits: LimitsTextStatus, ID: "get_text_async_status",
		Summary: "How the request stands, with the text once it is done.", Refuses: []int{404},
	}, a.textStatus)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/generate/text/status/{id}", Limits: LimitsTextStatus, ID: "delete_text_async_status",
		Summary: "Cancel the request.", Refuses: []int{404},
	}, a.cancelText)
}

// submitted are the statuses of a dry run and of an accepted request.
var submitted = []int{http.StatusOK, http.StatusAccepted}

// requestAsync answers an accepted request or a dry run.
type requestAsync struct {
	ID       string          `json:"id,omitempty"`
	Kudos    float64         `json:"kudos"`
	Message  string          `json:"message,omitempty"`
	Warnings []horde.Warning `json:"warnings,omitempty"`
}

func accepted(acc engine.Accepted) (int, requestAsync) {
	if acc.DryRun {
		return http.StatusOK, requestAsync{Kudos: acc.Kudos}
	}
	return http.StatusAccepted, requestAsync{ID: acc.ID.String(), Kudos: acc.Kudos, Message: acc.Message, Warnings: acc.Warnings}
}

func (a *API) submitImage(ctx context.Context, c *api.Call[imageRequestInput]) (int, *requestAsyncImage, error) {
	acc, err := a.engine.SubmitImage(ctx, submitter(c.In.APIKey, c.Caller), &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	status, out := accepted(acc)
	return status, &requestAsyncImage{out, resolvedImageOf(acc, c.In.Body.Results())}, nil
}

func (a *API) submitText(ctx context.Context, c *api.Call[textRequestInput]) (int, *requestAsyncText, error) {
	if c.In.Body.Prompt == nil {
		return 0, nil, missing("prompt")
	}
	acc, err := a.engine.SubmitText(ctx, submitter(c.In.APIKey, c.Caller), &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	status, out := accepted(acc)
	return status, &requestAsyncText{out, resolvedTextOf(acc, c.In.Body.Results(), c.In.Body.ContextFit)}, nil
}

// requestStatusCheck is how a request stands: numbers and booleans only, since some clients add up the bodies of several.
type requestStatusCheck struct {
	Finished      int   `json:"finished"`
	Processing    int   `json:"processing"`
	Restarted     int   `json:"restarted"`
	Waiting       int   `json:"waiting"`
	Done          bool  `json:"done"`
	Faulted       bool  `json:"faulted" default:"false"`
	WaitTime      int   `json:"wait_time" doc:"Seconds that the rest may take."`
	QueuePosition int   `json:"queue_position"`
	Kudos         int64 `json:"kudos" published:"type=number"`
	IsPossible    bool  `json:"is_possible" default:"true" doc:"Whether a worker that can serve the request is online."`
	progress      `published:"-"`
}

// progress tells more of a request that waits than older servers do.
type progress struct {
	EligibleWorkers       int  `json:"eligible_workers" doc:"Workers that are online and can serve the request."`
	EligibleWorkerThreads int  `json:"eligible_worker_threads" doc:"How many results these work on at a time."`
	MightStall            bool `json:"might_stall" doc:"For ten minutes more work has come before the request than was done."`
}

func checked(s engine.Status) requestStatusCheck {
	return requestStatusCheck{
		Finished: s.Finished, Processing: s.Processing, Restarted: s.Restarted, Waiting: s.Waiting, Done: s.Done,
		Faulted: s.Faulted, WaitTime: s.WaitTime, QueuePosition: s.QueuePosition, Kudos: s.Kudos.Whole(), IsPossible: s.Possible,
		progress: progress{s.EligibleWorkers, s.EligibleThreads, s.MightStall},
	}
}

// generation is what results of all kinds have in common.
type generation struct {
	WorkerID   string `json:"worker_id" minLength:"36" maxLength:"36"`
	WorkerName string `json:"worker_name"`
	Model      string `json:"model"`
	State      string `json:"state" required:"true" enum:"ok,censored,csam" default:"ok"`
}

type imageGeneration struct {
	Img         string                `json:"img"`
	Seed        string                `json:"seed"`
	ID          string                `json:"id"`
	Censored    bool                  `json:"censored"`
	GenMetadata []horde.ImageMetadata `json:"gen_metadata"`
	generation
}

type requestStatusImage struct {
	requestStatusCheck
	Generations []imageGeneration `json:"generations"`
	Shared      bool              `json:"shared"`
}

type textGeneration struct {
	Text        string               `json:"text" minLength:"0"`
	Seed        int64                `json:"seed" default:"0"`
	GenMetadata []horde.TextMetadata `json:"gen_metadata"`
	generation
}

type requestStatusText struct {
	requestStatusCheck
	Generations []textGeneration `json:"generations"`
}

// published are the notes on a result, in a type of the interface.
func published[M horde.ImageMetadata | horde.TextMetadata](list []horde.Metadata) []M {
	out := make([]M, len(list))
	for i := range list {
		m := horde.ImageMetadata{Type: &list[i].Type, Value: &list[i].Value}
		if list[i].Ref != "" {
			m.Ref = &list[i].Ref
		}
		out[i] = M(m)
	}
	return out
}

func notes(m []horde.Metadata) []horde.Metadata {
	if m == nil {
		return []horde.Metadata{}
	}
	return m
}

func madeBy(g *engine.Generation, state string) generation {
	return generation{WorkerID: g.Worker.String(), WorkerName: g.WorkerName, Model: g.Model, State: state}
}

func imageStatus(s engine.Status, err error) (int, *requestStatusImage, error) {
	if err != nil {
		return 0, nil, err
	}
	out := &requestStatusImage{requestStatusCheck: checked(s), Generations: make([]imageGeneration, len(s.Generations)), Shared: s.Shared}
	for i := range s.Generations {
		g := &s.Generations[i]
		out.Generations[i] = imageGeneration{
			Img: g.Image, Seed: strconv.FormatInt(g.Seed, 10), ID: g.ID.String(), Censored: g.Censored,
			GenMetadata: published[horde.ImageMetadata](g.Metadata), generation: madeBy(g, "ok"),
		}
	}
	return http.StatusOK, out, nil
}

func textStatus(s engine.Status, err error) (int, *requestStatusText, error) {
	if err != nil {
		return 0, nil, err
	}
	out := &requestStatusText{requestStatusCheck: checked(s), Generations: make([]textGeneration, len(s.Generations))}
	for i := range s.Generations {
		g := &s.Generations[i]
		out.Generations[i] = textGeneration{
			Text: g.Text, Seed: g.Seed, GenMetadata: published[horde.TextMetadata](g.Metadata), generation: madeBy(g, g.State()),
		}
	}
	return http.StatusOK, out, nil
}

func (a *API) check(ctx context.Context, c *api.Call[requestInput]) (int, *requestStatusCheck, error) {
	if c.Agent == api.DefaultAgent {
		// Who does not say what program asks is not served while the address is in time-out (accounts chapter, 8.2).
		if err := a.engine.Barred(c.Addr); err != nil {
			if errors.Is(err, horde.ErrTimeoutIP) {
				err = horde.ErrTimedOutCheck
			}
			return 0, nil, err
		}
	}
	s, err := a.engine.Check(ctx, horde.Image, c.In.ID)
	out := checked(s)
	return http.StatusOK, &out, err
}

func (a *API) imageStatus(ctx context.Context, c *api.Call[requestInput]) (int, *requestStatusImage, error) {
	return imageStatus(a.engine.Status(ctx, horde.Image, c.In.ID))
}

func (a *API) cancelImage(ctx context.Context, c *api.Call[requestInput]) (int, *requestStatusImage, error) {
	return imageStatus(a.engine.Cancel(ctx, horde.Image, c.In.ID))
}

func (a *API) textStatus(ctx context.Context, c *api.Call[requestInput]) (int, *requestStatusText, error) {
	return textStatus(a.engine.Status(ctx, horde.Text, c.In.ID))
}

func (a *API) cancelText(ctx context.Context, c *api.Call[requestInput]) (int, *requestStatusText, error) {
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
	if n.Kind == horde.Alchemy {
		return notificationOf(n)
	}
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
