// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"encoding/json"
	"net/http"

	"horde/internal/api"
	"horde/internal/horde"
)

type recordedInput struct {
	api.Key
	ID string `path:"id"`
}

// recordedRequest is what requests of both kinds have in common of what their client sent. What was not sent is left out.
type recordedRequest struct {
	Prompt            *string               `json:"prompt,omitempty"`
	Workers           []string              `json:"workers,omitzero"`
	Models            []string              `json:"models,omitzero"`
	TrustedWorkers    *bool                 `json:"trusted_workers,omitempty"`
	ValidatedBackends *bool                 `json:"validated_backends,omitempty"`
	SlowWorkers       *bool                 `json:"slow_workers,omitempty"`
	ExtraSlowWorkers  *bool                 `json:"extra_slow_workers,omitempty"`
	WorkerBlacklist   *bool                 `json:"worker_blacklist,omitempty"`
	DisableBatching   *bool                 `json:"disable_batching,omitempty"`
	ProxiedAccount    *string               `json:"proxied_account,omitempty"`
	Webhook           *string               `json:"webhook,omitempty"`
	TemplateFields    json.RawMessage       `json:"template_fields,omitempty" type:"object"`
	ExtraSourceImages []recordedExtraSource `json:"extra_source_images,omitzero"`
}

// recordedExtraSource is where a further source image is kept, in the horde's own store.
type recordedExtraSource struct {
	Image    string  `json:"image" minLength:"1"`
	Strength float64 `json:"strength"`
}

type recordedImage struct {
	recordedRequest
	Params           *horde.ImageSettings `json:"params,omitempty"`
	NSFW             *bool                `json:"nsfw,omitempty"`
	CensorNSFW       *bool                `json:"censor_nsfw,omitempty"`
	R2               *bool                `json:"r2,omitempty"`
	Shared           *bool                `json:"shared,omitempty"`
	SourceImage      string               `json:"source_image,omitempty" doc:"The name of the image in the horde's own store."`
	SourceMask       string               `json:"source_mask,omitempty"`
	SourceProcessing *string              `json:"source_processing,omitempty" enum:"img2img,inpainting,outpainting,remix"`
}

type recordedText struct {
	recordedRequest
	Params     *horde.TextSettings `json:"params,omitempty"`
	Softprompt *string             `json:"softprompt,omitempty"`
	ContextFit *string             `json:"context_fit,omitempty" enum:"ignore,reject,grow"`
}

func (a *API) recorded(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/generate/request/{id}", Limits: LimitsCheck, ID: "get_image_async_request",
		Summary: "What you sent, to send it again. Only the key that made the request reads it.",
		Refuses: []int{401, 403, 404}, Published: api.Published{Ours: true},
	}, a.recordedImage)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/generate/text/request/{id}", Limits: LimitsCheck, ID: "get_text_async_request",
		Summary: "What you sent, to send it again. Only the key that made the request reads it.",
		Refuses: []int{401, 403, 404}, Published: api.Published{Ours: true},
	}, a.recordedText)
}

func (a *API) recordedImage(ctx context.Context, c *api.Call[recordedInput]) (int, *recordedImage, error) {
	o, err := a.engine.Recorded(ctx, c.In.APIKey, horde.Image, c.In.ID)
	if err != nil {
		return 0, nil, err
	}
	s, err := o.RecordedImage()
	if err != nil {
		return 0, nil, err
	}
	out := &recordedImage{
		recordedRequest: recordedRequest{
			Prompt: s.Prompt, Workers: s.Workers, Models: s.Models, TrustedWorkers: s.TrustedWorkers,
			ValidatedBackends: s.ValidatedBackends, SlowWorkers: s.SlowWorkers, ExtraSlowWorkers: s.ExtraSlowWorkers,
			WorkerBlacklist: s.WorkerBlacklist, DisableBatching: s.DisableBatching, ProxiedAccount: s.ProxiedAccount,
			Webhook: s.Webhook, TemplateFields: s.TemplateFields,
		},
		Params: s.Params, NSFW: s.NSFW, CensorNSFW: s.CensorNSFW, R2: s.R2, Shared: s.Shared,
		SourceImage: o.SourceImage, SourceMask: o.SourceMask, SourceProcessing: s.SourceProcessing,
	}
	for _, x := range o.ExtraSources {
		out.ExtraSourceImages = append(out.ExtraSourceImages, recordedExtraSource{x.Key, x.Strength})
	}
	return http.StatusOK, out, nil
}

func (a *API) recordedText(ctx context.Context, c *api.Call[recordedInput]) (int, *recordedText, error) {
	o, err := a.engine.Recorded(ctx, c.In.APIKey, horde.Text, c.In.ID)
	if err != nil {
		return 0, nil, err
	}
	s, err := o.RecordedText()
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, &recordedText{
		recordedRequest: recordedRequest{
			Prompt: s.Prompt, Workers: s.Workers, Models: s.Models, TrustedWorkers: s.TrustedWorkers,
			ValidatedBackends: s.ValidatedBackends, SlowWorkers: s.SlowWorkers, ExtraSlowWorkers: s.ExtraSlowWorkers,
			WorkerBlacklist: s.WorkerBlacklist, DisableBatching: s.DisableBatching, ProxiedAccount: s.ProxiedAccount,
			Webhook: s.Webhook, TemplateFields: s.TemplateFields,
		},
		Params: s.Params, Softprompt: s.Softprompt, ContextFit: s.ContextFit,
	}, nil
}
