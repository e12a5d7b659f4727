// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type alchemySubmitInput struct {
	api.Key
	Body horde.AlchemySubmission
}

type alchemyPopInput struct {
	api.Key
	Body horde.AlchemyPop
}

type alchemyDeliveryInput struct {
	api.Key
	Body horde.AlchemyDelivery
}

// maxFormResult is the size in bytes of the largest submit of an alchemist. Results are kept in memory while their request lives;
// the longest that honest workers send are drawings. Images are uploaded, and not part of it.
const maxFormResult = 8 << 20

func (a *API) alchemy(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/interrogate/async", MaxBody: api.MaxGenerationBody, Limits: api.DefaultLimits,
		ID: "post_interrogate", Summary: "Have an image described, measured or improved. Answers with the id of your request.",
		Example: `{"source_image":"https://example.org/a.webp","forms":[{"name":"caption"},{"name":"nsfw"}]}`,
		Links: []api.Link{
			{To: "get_interrogation_status", Argument: "id", Member: "id"}, {To: "delete_interrogation_status", Argument: "id", Member: "id"},
		},
		Success: []int{http.StatusAccepted}, Refuses: []int{400, 401, 429, 503}, Also: []int{403},
	}, a.submitAlchemy)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/interrogate/status/{id}", Limits: LimitsCheck, ID: "get_interrogation_status",
		Summary: "How the request stands, with the results that are there.", Refuses: []int{404},
	}, a.interrogation)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/interrogate/status/{id}", Limits: LimitsCheck, ID: "delete_interrogation_status",
		Summary: "Cancel the rest of the request. What is being worked on is paid for.", Refuses: []int{404},
	}, a.cancelAlchemy)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/interrogate/pop", Limits: LimitsWorker, ID: "post_interrogate_pop",
		Summary: "Take forms to work on.",
		Example: `{"name":"My alchemist","forms":["caption","palette"],"amount":2,"bridge_agent":"My program:1:https://example.org","max_tiles":16}`,
		Refuses: []int{400, 401, 403}, Published: api.Published{NoAgent: true},
	}, a.popAlchemy)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/interrogate/submit", Limits: LimitsWorker, MaxBody: maxFormResult,
		ID: "post_interrogate_submit", Summary: "Hand in the result of a form, or give it back.",
		Example: `{"id":"00000000-0000-0000-0000-000000000000","result":{"caption":"a lighthouse in a storm"},"state":"ok"}`,
		Refuses: []int{400, 401, 403, 404}, Published: api.Published{NoAgent: true},
	}, a.deliverAlchemy)
}

type interrogationAccepted struct {
	ID string `json:"id"`
	// Message is published, and there has never been one.
	Message string `json:"message,omitempty"`
}

func (a *API) submitAlchemy(ctx context.Context, c *api.Call[alchemySubmitInput]) (int, *interrogationAccepted, error) {
	if c.In.Body.SourceImage == nil {
		return 0, nil, missing("source_image")
	}
	for i, f := range c.In.Body.Forms {
		if err := f.CheckPayload(i); err != nil {
			return 0, nil, err
		}
		if len(f.Payload) > horde.MaxFormPayload {
			return 0, nil, horde.Invalid(map[string]string{fmt.Sprintf("forms.%d.payload", i): fmt.Sprintf("longer than %d bytes", horde.MaxFormPayload)})
		}
	}
	// Alchemy goes by the address of the connection, not by what services say.
	who := engine.Caller{Key: c.In.APIKey, Addr: c.Addr, Peer: c.Addr, Agent: c.Agent}
	id, err := a.engine.SubmitAlchemy(ctx, who, &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusAccepted, &interrogationAccepted{ID: id.String()}, nil
}

type interrogationStatus struct {
	State horde.FormState `json:"state"`
	Forms []formStatus    `json:"forms"`
}

type formStatus struct {
	Form   string          `json:"form"`
	State  horde.FormState `json:"state"`
	Result json.RawMessage `json:"result,omitempty" type:"object" model:"InterrogationFormResult" wildcard:"object"`
}

func interrogationOf(v engine.InterrogationView, err error) (int, *interrogationStatus, error) {
	if err != nil {
		return 0, nil, err
	}
	out := &interrogationStatus{State: v.State, Forms: make([]formStatus, len(v.Forms))}
	for i, f := range v.Forms {
		out.Forms[i] = formStatus{Form: f.Name, State: f.State, Result: f.ShownResult()}
	}
	return http.StatusOK, out, nil
}

func (a *API) interrogation(ctx context.Context, c *api.Call[requestInput]) (int, *interrogationStatus, error) {
	return interrogationOf(a.engine.Interrogation(ctx, c.In.ID))
}

func (a *API) cancelAlchemy(ctx context.Context, c *api.Call[requestInput]) (int, *interrogationStatus, error) {
	return interrogationOf(a.engine.CancelAlchemy(ctx, c.In.ID))
}

type alchemyPopped struct {
	// Forms are null when there is none.
	Forms   *[]poppedForm  `json:"forms"`
	Skipped alchemySkipped `json:"skipped"`
}

type poppedForm struct {
	ID          string          `json:"id"`
	Form        string          `json:"form" enum:"caption,interrogation,nsfw,vectorize,palette,describe,aesthetic,GFPGAN,RealESRGAN_x4plus,RealESRGAN_x2plus,RealESRGAN_x4plus_anime_6B,NMKD_Siax,4x_AnimeSharp,CodeFormers,strip_background,4xNomos8kSC,4xLSDIRplus,4xNomosWebPhoto_RealPLKSR,4xNomos2_realplksr_dysample,4xNomos2_hq_dat2,2xModernSpanimationV1,GFPGANv1.3,RestoreFormer" ours:"annotation"`
	Payload     json.RawMessage `json:"payload,omitempty" type:"object" model:"ModelInterrogationFormPayloadStable" wildcard:"string"`
	SourceImage string          `json:"source_image"`
	R2Upload    string          `json:"r2_upload,omitempty"`
}

// alchemySkipped names only what counts. WorkerID and BridgeVersion are published, and nothing is skipped for them.
type alchemySkipped struct {
	WorkerID      int `json:"worker_id,omitempty" minimum:"0"`
	Untrusted     int `json:"untrusted,omitempty" minimum:"0"`
	BridgeVersion int `json:"bridge_version,omitempty" minimum:"0"`
}

func (a *API) popAlchemy(ctx context.Context, c *api.Call[alchemyPopInput]) (int, *alchemyPopped, error) {
	if c.In.Body.Name == nil {
		return 0, nil, missing("name")
	}
	p, err := a.engine.PopAlchemy(ctx, c.In.APIKey, c.Addr, &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	out := &alchemyPopped{Skipped: alchemySkipped{Untrusted: p.Untrusted}}
	if len(p.Forms) > 0 {
		forms := make([]poppedForm, len(p.Forms))
		for i, f := range p.Forms {
			forms[i] = poppedForm{ID: f.ID.String(), Form: f.Name, SourceImage: f.Source, R2Upload: f.Upload}
			if f.Options != nil {
				if forms[i].Payload, err = json.Marshal(f.Options); err != nil {
					return 0, nil, err
				}
			}
		}
		out.Forms = &forms
	}
	return http.StatusOK, out, nil
}

func (a *API) deliverAlchemy(ctx context.Context, c *api.Call[alchemyDeliveryInput]) (int, *generationSubmitted, error) {
	if c.In.Body.Result == nil && !c.In.Body.Faulted() {
		return 0, nil, missing("result")
	}
	reward, err := a.engine.DeliverAlchemy(ctx, c.In.APIKey, &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, &generationSubmitted{reward}, nil
}

// formNotification is the body of the webhook for a form.
type formNotification struct {
	Form       string          `json:"form"`
	State      horde.FormState `json:"state"`
	Result     json.RawMessage `json:"result"`
	WorkerID   string          `json:"worker_id"`
	WorkerName string          `json:"worker_name"`
	Request    string          `json:"request"`
	ID         string          `json:"id"`
	Kudos      float64         `json:"kudos"`
}

func notificationOf(n engine.Notice) formNotification {
	f := n.Form
	return formNotification{
		Form: f.Name, State: f.State, Result: f.Result, WorkerID: f.Worker.String(), WorkerName: f.WorkerName,
		Request: n.Request.String(), ID: f.ID.String(), Kudos: n.Kudos,
	}
}
