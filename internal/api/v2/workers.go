// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"math"
	"net/http"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type workersInput struct {
	api.OptionalKey
	Name string `query:"name" doc:"Only the worker with this name."`
	Type string `query:"type" doc:"Only workers for image, text or interrogation."`
}

type workerInput struct {
	api.OptionalKey
	ID string `path:"worker_id"`
}

type workerNameInput struct {
	api.OptionalKey
	Name string `path:"worker_name"`
}

type workerChangeInput struct {
	ID   string `path:"worker_id"`
	Body horde.WorkerChange
	// The key is looked at after the worker was found, so its absence is told by the handler.
	api.LateKey
}

func (a *API) workers(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/workers", Limits: api.DefaultLimits, ID: "get_workers",
		Summary: "All workers that are online.", Also: []int{401},
		Links: []api.Link{
			{To: "get_worker_single", Argument: "worker_id", Member: "0/id"}, {To: "put_worker_single", Argument: "worker_id", Member: "0/id"},
			{To: "delete_worker_single", Argument: "worker_id", Member: "0/id"}, {To: "get_worker_single_name", Argument: "worker_name", Member: "0/name"},
		},
	}, a.listWorkers)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/workers/{worker_id}", Limits: LimitsCommunity, ID: "get_worker_single",
		Summary: "One worker.", Refuses: []int{401, 403, 404},
	}, a.worker)
	api.Handle(r, api.Operation{
		Method: http.MethodPut, Path: prefix + "/workers/{worker_id}", Limits: LimitsCommunity, ID: "put_worker_single",
		Summary: "Pause, rename or describe a worker of yours.", Example: `{"maintenance":true,"maintenance_msg":"Back at noon"}`, Refuses: []int{400, 401, 403, 404},
	}, a.changeWorker)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/workers/{worker_id}", Limits: LimitsCommunity, ID: "delete_worker_single",
		Summary: "Remove a worker of yours.", Refuses: []int{401, 403, 404}, Also: []int{http.StatusLocked},
	}, a.deleteWorker)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/workers/name/{worker_name}", Limits: api.DefaultLimits, ID: "get_worker_single_name",
		Summary: "One worker by its name.", Refuses: []int{401, 403, 404},
	}, a.workerByName)
}

// workerDetailsLite is what other documents tell of a worker.
type workerDetailsLite struct {
	Type   string `json:"type" enum:"image,text,interrogation"`
	Name   string `json:"name"`
	ID     string `json:"id"`
	Online bool   `json:"online"`
}

// workerDetails leaves out what does not apply to the kind of the worker, or is not for the caller.
type workerDetails struct {
	workerDetailsLite
	RequestsFulfilled int64              `json:"requests_fulfilled"`
	KudosRewards      int64              `json:"kudos_rewards" published:"type=number"`
	KudosDetails      workerKudosDetails `json:"kudos_details"`
	Performance       string             `json:"performance"`
	Threads           int                `json:"threads"`
	Uptime            int64              `json:"uptime"`
	MaintenanceMode   bool               `json:"maintenance_mode"`
	Paused            *bool              `json:"paused,omitempty"`
	Info              string             `json:"info,omitempty"`
	NSFW              bool               `json:"nsfw" default:"false"`
	Owner             string             `json:"owner,omitempty"`
	IPAddr            string             `json:"ipaddr,omitempty"`
	Trusted           bool               `json:"trusted"`
	Flagged           bool               `json:"flagged"`
	Suspicious        *int               `json:"suspicious,omitempty"`
	UncompletedJobs   int                `json:"uncompleted_jobs"`
	Models            *[]string          `json:"models,omitempty"`
	Team              team               `json:"team"`
	Contact           string             `json:"contact,omitempty" minLength:"5" maxLength:"500"`
	BridgeAgent       string             `json:"bridge_agent" required:"true" maxLength:"1000" default:"unknown:0:unknown"`
	Messages          *[]workerMessage   `json:"messages,omitempty"`

	MaxPixels               *int64 `json:"max_pixels,omitempty"`
	MegapixelstepsGenerated *int64 `json:"megapixelsteps_generated,omitempty" published:"type=number"`
	Img2Img                 *bool  `json:"img2img,omitempty"`
	Painting                *bool  `json:"painting,omitempty"`
	PostProcessing          *bool  `json:"post-processing,omitempty"`
	Lora                    *bool  `json:"lora,omitempty"`
	ControlNet              *bool  `json:"controlnet,omitempty"`
	SDXLControlNet          *bool  `json:"sdxl_controlnet,omitempty"`

	ExtendedControlNet *bool `json:"extended_controlnet,omitempty" published:"-"`

	Forms           []string `json:"forms,omitempty"`
	AnnotationTypes []string `json:"annotation_types,omitempty" published:"-"`

	MaxLength        *int   `json:"max_length,omitempty"`
	MaxContextLength *int   `json:"max_context_length,omitempty"`
	TokensGenerated  *int64 `json:"tokens_generated,omitempty" published:"type=number"`
}

type workerKudosDetails struct {
	Generated float64 `json:"generated"`
	Uptime    int64   `json:"uptime"`
}

// team is null in both members for a worker without one.
type team struct {
	Name *string `json:"name"`
	ID   *string `json:"id"`
}

func detailedWorker(v engine.WorkerView) workerDetails {
	w, e := v.Worker, v.Earnings
	d := workerDetails{
		workerDetailsLite: workerDetailsLite{Type: w.Kind.String(), Name: w.Name, ID: w.ID.String(), Online: v.Online}, RequestsFulfilled: e.Fulfilments,
		KudosRewards: e.Total().Whole(),
		KudosDetails: workerKudosDetails{Generated: float64(e.Generated.Whole()), Uptime: e.Uptime.Whole()},
		Performance:  w.Performance(), Threads: w.Threads, Uptime: int64(w.Uptime.Seconds()), MaintenanceMode: w.Maintenance,
		Info: w.Info, NSFW: w.NSFW, Owner: v.Owner, Trusted: v.OwnerTrusted, Flagged: v.OwnerFlagged, UncompletedJobs: w.Uncompleted,
		BridgeAgent: w.Agent, Contact: v.Contact,
	}
	if v.Team != nil {
		id := v.Team.ID.String()
		d.Team = team{&v.Team.Name, &id}
	}
	if v.Owner != "" {
		messages := make([]workerMessage, len(v.Messages))
		for i, m := range v.Messages {
			messages[i] = detailedMessage(m)
		}
		d.Messages = &messages
	}
	if v.Own {
		d.IPAddr = w.IP
	}
	if v.All {
		suspicions := len(w.Suspicions)
		d.Paused, d.Suspicious = &w.Paused, &suspicions
	}
	if w.Kind == horde.Alchemy {
		d.Forms, d.AnnotationTypes = w.Forms, w.AnnotationTypes
		return d
	}
	d.Models = &w.Models
	things := int64(math.Round(float64(e.Contribution) / 100))
	if w.Kind == horde.Text {
		d.MaxLength, d.MaxContextLength, d.TokensGenerated = &w.MaxLength, &w.MaxContextLength, &things
		return d
	}
	img2img := w.AllowImg2Img && v.Features&horde.FeatureImg2Img != 0
	painting := w.AllowPainting && v.Features&horde.FeatureInpainting != 0
	d.MaxPixels, d.MegapixelstepsGenerated, d.Img2Img, d.Painting = &w.MaxPixels, &things, &img2img, &painting
	d.PostProcessing, d.Lora = &w.AllowPostProcessing, &w.AllowLora
	d.ControlNet, d.SDXLControlNet = &w.AllowControlNet, &w.AllowSDXLControlNet
	d.ExtendedControlNet = &w.AllowExtendedControlNet
	return d
}

func (a *API) listWorkers(ctx context.Context, c *api.Call[workersInput]) (int, []workerDetails, error) {
	var kind horde.Kind
	switch c.In.Type {
	case "":
	case "image":
		kind = horde.Image
	case "text":
		kind = horde.Text
	case "interrogation":
		kind = horde.Alchemy
	default:
		if c.In.Name == "" {
			return http.StatusOK, []workerDetails{}, nil
		}
	}
	views, err := a.engine.Workers(ctx, c.In.APIKey, c.In.Name, kind)
	if err != nil {
		return 0, nil, err
	}
	out := make([]workerDetails, len(views))
	for i, v := range views {
		out[i] = detailedWorker(v)
	}
	return http.StatusOK, out, nil
}

func (a *API) worker(ctx context.Context, c *api.Call[workerInput]) (int, *workerDetails, error) {
	return workerView(a.engine.Worker(ctx, c.In.APIKey, c.In.ID, false))
}

func (a *API) workerByName(ctx context.Context, c *api.Call[workerNameInput]) (int, *workerDetails, error) {
	return workerView(a.engine.Worker(ctx, c.In.APIKey, c.In.Name, true))
}

func workerView(v engine.WorkerView, err error) (int, *workerDetails, error) {
	if err != nil {
		return 0, nil, err
	}
	out := detailedWorker(v)
	return http.StatusOK, &out, nil
}

// workerChanged holds what a change has set.
type workerChanged struct {
	Maintenance *bool   `json:"maintenance,omitempty"`
	Paused      *bool   `json:"paused,omitempty"`
	Info        *string `json:"info,omitempty"`
	Name        *string `json:"name,omitempty"`
	Team        *string `json:"team,omitempty"`
}

func (a *API) changeWorker(ctx context.Context, c *api.Call[workerChangeInput]) (int, workerChanged, error) {
	if c.In.APIKey == "" {
		if _, err := a.engine.Worker(ctx, "", c.In.ID, false); err != nil {
			return 0, workerChanged{}, err
		}
		return 0, workerChanged{}, errNoKey
	}
	ch, err := a.engine.ChangeWorker(ctx, engine.Authority{Key: c.In.APIKey}, c.In.ID, &c.In.Body)
	if err != nil {
		return 0, workerChanged{}, err
	}
	return http.StatusOK, workerChanged(ch), nil
}

type deletedWorker struct {
	ID   string `json:"deleted_id"`
	Name string `json:"deleted_name"`
}

func (a *API) deleteWorker(ctx context.Context, c *api.Call[workerInput]) (int, deletedWorker, error) {
	w, err := a.engine.DeleteWorker(ctx, engine.Authority{Key: c.In.APIKey}, c.In.ID)
	return http.StatusOK, deletedWorker{w.ID.String(), w.Name}, err
}
