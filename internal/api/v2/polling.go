// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type imagePopInput struct {
	api.Key
	patience
	Body horde.ImagePop
}

type textPopInput struct {
	api.Key
	patience
	Body horde.TextPop
}

// patience is for programs that can add a header more easily than a field.
type patience struct {
	Wait *int `header:"Horde-Wait" minimum:"0" maximum:"2147483647" published:"-" doc:"Seconds to wait for a job if there is none, at most 60. The field wait wins."`
}

// maxPatientBody is the size in bytes of the largest body that a pop may wait with: what it told stays in memory for as long.
// Hundreds of models take less.
const maxPatientBody = 32 << 10

// lend gives the body of a pop the patience of its header, unless it has its own or is too large for any.
func (p patience) lend(to *horde.Polling, req *http.Request) {
	if to.Wait == nil {
		to.Wait = p.Wait
	}
	if req.ContentLength < 0 || req.ContentLength > maxPatientBody {
		to.Wait = nil
	}
}

type imageDeliveryInput struct {
	api.Key
	Body horde.ImageDelivery
}

type textDeliveryInput struct {
	api.Key
	Body horde.TextDelivery
}

func (a *API) imageWorkers(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/generate/pop", Limits: LimitsWorker, ID: "post_image_job_pop",
		Summary: "Take an image job. With wait, the answer comes as soon as there is one.",
		Example: `{"name":"My dreamer","models":["stable_diffusion"],"bridge_agent":"My program:1:https://example.org","max_pixels":1048576,"nsfw":false,"threads":1}`,
		Refuses: []int{400, 401, 403}, Published: api.Published{NoAgent: true},
	}, a.popImage)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/generate/submit", Limits: LimitsWorker, MaxBody: api.MaxSubmitBody,
		ID: "post_image_job_submit", Summary: "Hand in its image.",
		Example: `{"id":"00000000-0000-0000-0000-000000000000","generation":"R2","seed":1312,"state":"ok"}`, Refuses: []int{400, 401, 403, 404},
		Published: api.Published{NoAgent: true},
	}, a.deliverImage)
}

func (a *API) textWorkers(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/generate/text/pop", Limits: LimitsWorker, ID: "post_text_job_pop",
		Summary: "Take a text job. With wait, the answer comes as soon as there is one.",
		Example: `{"name":"My scribe","models":["koboldcpp/My-Model"],"bridge_agent":"My program:1:https://example.org","max_length":512,"max_context_length":4096}`, Refuses: []int{400, 401, 403}, Published: api.Published{NoAgent: true},
	}, a.popText)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/generate/text/submit", Limits: LimitsWorker, MaxBody: api.MaxSubmitBody,
		ID: "post_text_job_submit", Summary: "Hand in its text.",
		Example: `{"id":"00000000-0000-0000-0000-000000000000","generation":" there was a horde.","state":"ok"}`, Refuses: []int{400, 401, 403, 404},
		Published: api.Published{NoAgent: true},
	}, a.deliverText)
}

// imageJob answers the pop of an image worker. All keys are always there; without a job most are null.
type imageJob struct {
	ID                *string           `json:"id"`
	IDs               []string          `json:"ids"`
	Model             *string           `json:"model"`
	TTL               *int              `json:"ttl"`
	Payload           imagePayload      `json:"payload"`
	Skipped           imageSkipped      `json:"skipped"`
	Messages          []popMessage      `json:"messages"`
	SourceImage       *string           `json:"source_image"`
	SourceMask        *string           `json:"source_mask"`
	SourceProcessing  string            `json:"source_processing" enum:"img2img,inpainting,outpainting,remix" default:"img2img"`
	ExtraSourceImages *[]jobExtraSource `json:"extra_source_images"`
	R2Upload          *string           `json:"r2_upload"`
	R2Uploads         *[]string         `json:"r2_uploads"`
	// Shared is told to newer workers: whether the client wants the images to be for everybody.
	Shared *bool `json:"shared,omitempty" published:"-" doc:"Whether the images are for public sharing."`
}

type jobExtraSource struct {
	Image    string  `json:"image" minLength:"1"`
	Strength float64 `json:"strength" default:"1"`
}

// imagePayload is what the worker makes an image from. What the client did not send is left out, or has its default.
type imagePayload struct {
	Prompt                    string            `json:"prompt,omitempty"`
	Steps                     int               `json:"ddim_steps" default:"30"`
	N                         int               `json:"n_iter" default:"1"`
	Width                     int               `json:"width" part:"-"`
	Height                    int               `json:"height" part:"-"`
	Sampler                   string            `json:"sampler_name" part:"-"`
	CFGScale                  float64           `json:"cfg_scale" part:"-"`
	Karras                    bool              `json:"karras" part:"-"`
	Seed                      string            `json:"seed,omitempty" part:"-"`
	Tiling                    bool              `json:"tiling" part:"-"`
	HiresFix                  bool              `json:"hires_fix" part:"-"`
	ImageIsControl            bool              `json:"image_is_control" part:"-"`
	ReturnControlMap          bool              `json:"return_control_map" part:"-"`
	Transparent               bool              `json:"transparent" part:"-"`
	DenoisingStrength         *float64          `json:"denoising_strength,omitempty" part:"-"`
	HiresFixDenoisingStrength *float64          `json:"hires_fix_denoising_strength,omitempty" part:"-"`
	FacefixerStrength         *float64          `json:"facefixer_strength,omitempty" part:"-"`
	ClipSkip                  *int              `json:"clip_skip,omitempty" part:"-"`
	ControlType               string            `json:"control_type,omitempty" part:"-"`
	Workflow                  string            `json:"workflow,omitempty" part:"-"`
	PostProcessing            []string          `json:"post_processing,omitzero" part:"-"`
	ExtraTexts                []horde.ExtraText `json:"extra_texts,omitzero" part:"-"`
	Special                   json.RawMessage   `json:"special,omitempty" type:"object" part:"-"`
	Loras                     []horde.Lora      `json:"loras,omitzero" part:"-"`
	TIs                       []horde.TI        `json:"tis,omitzero" part:"-"`
	UseNSFWCensor             bool              `json:"use_nsfw_censor,omitempty"`
	horde.Sampling            `published:"-"`
}

// emptyImagePayload is sent without a job: programs parse it before they look whether there is one.
var emptyImagePayload = imagePayload{
	Steps: horde.DefaultSteps, N: 1, Width: horde.DefaultSide, Height: horde.DefaultSide, Sampler: horde.DefaultSampler, CFGScale: 7.5,
}

// skipped counts the requests that the worker could not serve, by the reason. What is nil is not sent.
type skipped struct {
	WorkerID      *int `json:"worker_id,omitempty" minimum:"0"`
	Performance   *int `json:"performance,omitempty" minimum:"0"`
	NSFW          *int `json:"nsfw,omitempty" minimum:"0"`
	Blacklist     *int `json:"blacklist,omitempty" minimum:"0"`
	Untrusted     *int `json:"untrusted,omitempty" minimum:"0"`
	Models        *int `json:"models,omitempty" minimum:"0"`
	BridgeVersion *int `json:"bridge_version,omitempty" minimum:"0"`
	Kudos         *int `json:"kudos,omitempty"`
}

// imageSkipped is empty with a job. Without, it has twelve keys that are always there and four that come only when they count.
type imageSkipped struct {
	skipped
	MaxPixels      *int `json:"max_pixels,omitempty"`
	UnsafeIP       *int `json:"unsafe_ip,omitempty"`
	Img2Img        *int `json:"img2img,omitempty"`
	Painting       *int `json:"painting,omitempty"`
	PostProcessing *int `json:"post-processing,omitempty"`
	Lora           *int `json:"lora,omitempty"`
	ControlNet     *int `json:"controlnet,omitempty"`
	StepCount      *int `json:"step_count,omitempty"`
}

// counted is nil for nothing.
func counted(n *int) *int {
	if *n == 0 {
		return nil
	}
	return n
}

// nothing is an object without members.
type nothing struct{}

func (a *API) popImage(ctx context.Context, c *api.Call[imagePopInput]) (int, *imageJob, error) {
	if c.In.Body.Name == nil {
		return 0, nil, missing("name")
	}
	c.In.lend(&c.In.Body.Polling, c.Request)
	p, err := a.engine.PopImage(ctx, c.In.APIKey, c.Addr, &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	out := &imageJob{IDs: []string{}, Messages: popMessages(p.Messages), SourceProcessing: "img2img", Payload: emptyImagePayload}
	if len(p.IDs) == 0 {
		s := &p.Skipped
		out.Skipped = imageSkipped{
			skipped: skipped{
				WorkerID: &s.WorkerID, Performance: &s.Performance, NSFW: &s.NSFW, Untrusted: &s.Untrusted, Models: &s.Models,
				BridgeVersion: &s.BridgeVersion, Kudos: counted(&s.Kudos), Blacklist: counted(&s.Blacklist),
			},
			UnsafeIP: &s.UnsafeIP, Img2Img: &s.Img2Img, Painting: &s.Painting, PostProcessing: new(int), Lora: &s.Lora,
			ControlNet: &s.ControlNet, MaxPixels: counted(&s.MaxPixels), StepCount: counted(&s.StepCount),
		}
		return http.StatusOK, out, nil
	}
	out.job(p)
	return http.StatusOK, out, nil
}

func (j *imageJob) job(p *engine.Popped) {
	for _, id := range p.IDs {
		j.IDs = append(j.IDs, id.String())
	}
	ttl := int(p.Lease.Seconds())
	j.ID, j.Model, j.TTL = &j.IDs[0], &p.Model, &ttl
	j.R2Uploads, j.R2Upload = &p.Uploads, &p.Uploads[0]
	j.SourceImage, j.SourceMask = present(p.SourceImage), present(p.SourceMask)
	if p.Order.SourceProcessing != "" {
		j.SourceProcessing = p.Order.SourceProcessing
	}
	if len(p.ExtraSources) > 0 {
		extras := make([]jobExtraSource, len(p.ExtraSources))
		for i, x := range p.ExtraSources {
			extras[i] = jobExtraSource{Image: x.Image, Strength: x.Strength}
		}
		j.ExtraSourceImages = &extras
	}
	o, q := p.Order, p.Order.Image
	j.Payload = imagePayload{
		Prompt: o.Prompt, Steps: q.Steps, N: len(p.IDs), Width: q.Width, Height: q.Height, Sampler: q.Sampler, CFGScale: q.CFGScale,
		Karras: q.Karras, Seed: strconv.FormatUint(uint64(p.Seed), 10), Tiling: q.Tiling, HiresFix: q.HiresFix,
		ImageIsControl: q.ImageIsControl, ReturnControlMap: q.ReturnControlMap, Transparent: q.Transparent,
		DenoisingStrength: q.DenoisingStrength, HiresFixDenoisingStrength: q.HiresFixDenoisingStrength,
		FacefixerStrength: q.FacefixerStrength, ClipSkip: q.ClipSkip, ControlType: q.ControlType, Workflow: q.Workflow,
		PostProcessing: q.PostProcessing, ExtraTexts: q.ExtraTexts, Special: q.Special, Loras: q.Loras, TIs: q.TIs,
		UseNSFWCensor: o.UseNSFWCensor(),
	}
	if o.Pair {
		j.Payload.Special = pairPayload(p)
	}
	if !p.Newer {
		return
	}
	if q.Sampling != nil {
		j.Payload.Sampling = *q.Sampling
	}
	if sent, err := o.RecordedImage(); err == nil { // it was written here
		j.Shared = sent.Shared
	}
}

// present is nil for what is not there.
func present(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// textJob answers the pop of a text worker. All keys are always there; without a job most are null.
type textJob struct {
	ID                *string           `json:"id"`
	IDs               []string          `json:"ids"`
	Model             *string           `json:"model"`
	TTL               *int              `json:"ttl"`
	Payload           textPayload       `json:"payload"`
	Skipped           textSkipped       `json:"skipped"`
	Messages          []popMessage      `json:"messages"`
	ExtraSourceImages *[]jobExtraSource `json:"extra_source_images"`
	Softprompt        *string           `json:"softprompt"`
}

type textSkipped struct {
	skipped
	MaxLength          *int `json:"max_length,omitempty"`
	MaxContextLength   *int `json:"max_context_length,omitempty"`
	MatchingSoftprompt *int `json:"matching_softprompt,omitempty"`
}

// textPayload is what the worker makes a text from: no key is ever null, since programs pass it on as it is.
type textPayload struct {
	Prompt string `json:"prompt,omitempty"`
	horde.TextSettings
}

// emptyTextSettings are the settings that are always sent.
func textSettings(s horde.TextSettings) horde.TextSettings {
	zero, one := 0.0, 1.0
	length, context := horde.DefaultMaxLength, horde.DefaultMaxContextLength
	for _, d := range []struct {
		field **float64
		def   *float64
	}{
		{&s.MinP, &zero}, {&s.SmoothingFactor, &zero}, {&s.DynatempRange, &zero}, {&s.DynatempExponent, &one},
	} {
		if *d.field == nil {
			*d.field = d.def
		}
	}
	if s.MaxLength == nil {
		s.MaxLength = &length
	}
	if s.MaxContextLength == nil {
		s.MaxContextLength = &context
	}
	return s
}

func (a *API) popText(ctx context.Context, c *api.Call[textPopInput]) (int, *textJob, error) {
	if c.In.Body.Name == nil {
		return 0, nil, missing("name")
	}
	c.In.lend(&c.In.Body.Polling, c.Request)
	p, err := a.engine.PopText(ctx, c.In.APIKey, c.Addr, &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	out := &textJob{
		IDs: []string{}, Messages: popMessages(p.Messages), Payload: textPayload{TextSettings: textSettings(horde.TextSettings{})},
		Skipped: textSkipped{skipped: skipped{Untrusted: counted(&p.Skipped.Untrusted)}},
	}
	if len(p.IDs) == 0 {
		return http.StatusOK, out, nil
	}
	for _, id := range p.IDs {
		out.IDs = append(out.IDs, id.String())
	}
	ttl, one := int(p.Lease.Seconds()), 1
	out.ID, out.Model, out.TTL, out.Skipped = &out.IDs[0], &p.Model, &ttl, textSkipped{}
	out.Payload = textPayload{Prompt: p.Order.Prompt, TextSettings: textSettings(p.Order.Text.TextSettings)}
	out.Payload.N = &one
	return http.StatusOK, out, nil
}

type generationSubmitted struct {
	Reward float64 `json:"reward"`
}

func (a *API) deliverImage(ctx context.Context, c *api.Call[imageDeliveryInput]) (int, *generationSubmitted, error) {
	if c.In.Body.Generation == nil {
		return 0, nil, missing("generation")
	}
	reward, err := a.engine.DeliverImage(ctx, c.In.APIKey, &c.In.Body)
	return http.StatusOK, &generationSubmitted{reward}, err
}

func (a *API) deliverText(ctx context.Context, c *api.Call[textDeliveryInput]) (int, *generationSubmitted, error) {
	if c.In.Body.Generation == nil {
		return 0, nil, missing("generation")
	}
	reward, err := a.engine.DeliverText(ctx, c.In.APIKey, &c.In.Body)
	return http.StatusOK, &generationSubmitted{reward}, err
}
