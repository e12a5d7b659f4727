// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ImageRequest asks for images. Only Prompt is required. A nil pointer and a zero value leave the choice to the server;
// the comments name what servers choose.
type ImageRequest struct {
	// Prompt is the positive prompt, optionally followed by "###" and the negative one.
	Prompt string      `json:"prompt"`
	Params ImageParams `json:"params,omitzero"`
	// NSFW allows results that are not safe for work. Nil means true.
	NSFW *bool `json:"nsfw,omitempty"`
	// CensorNSFW replaces such results by a notice where NSFW is false. Nil means true.
	CensorNSFW *bool `json:"censor_nsfw,omitempty"`
	// Models is the list of acceptable models. Nil means the server's default model, an empty list any model.
	Models []string `json:"models,omitzero"`
	// TrustedWorkers keeps the request to workers of trusted users.
	TrustedWorkers bool `json:"trusted_workers,omitempty"`
	// SlowWorkers false excludes workers below half a megapixelstep a second, at a higher price. Nil means true.
	SlowWorkers *bool `json:"slow_workers,omitempty"`
	// ExtraSlowWorkers admits workers that may take many minutes.
	ExtraSlowWorkers bool `json:"extra_slow_workers,omitempty"`
	// Workers is a list of at most five worker ids: the only ones that may do this, or, with WorkerBlacklist, those that
	// may not.
	Workers         []string `json:"workers,omitempty"`
	WorkerBlacklist bool     `json:"worker_blacklist,omitempty"`
	// SourceImage, SourceMask and each of ExtraSourceImages are base64 (see EncodeImage) or http(s) URLs.
	SourceImage string `json:"source_image,omitempty"`
	// SourceProcessing is "img2img" (default), "inpainting", "outpainting" or "remix".
	SourceProcessing  string             `json:"source_processing,omitempty"`
	SourceMask        string             `json:"source_mask,omitempty"`
	ExtraSourceImages []ExtraSourceImage `json:"extra_source_images,omitempty"`
	// R2 true (nil) returns results as download URLs, false as base64 inside the status.
	R2 *bool `json:"r2,omitempty"`
	// ReplacementFilter lets the server clean a suspicious prompt in place of refusing it. Nil means true.
	ReplacementFilter *bool `json:"replacement_filter,omitempty"`
	// DryRun asks for the price only: Submitted has Kudos but no ID.
	DryRun bool `json:"dry_run,omitempty"`
	// DisableBatching makes every image reproducible from its seed alone.
	DisableBatching bool `json:"disable_batching,omitempty"`
	// AllowDowngrade shrinks size and steps in place of a refusal for lack of kudos.
	AllowDowngrade bool `json:"allow_downgrade,omitempty"`
	// Webhook is an https:// URL that gets each result.
	Webhook string `json:"webhook,omitempty"`
	// Style is the id or name of a style or collection.
	Style string `json:"style,omitempty"`
	// ProxiedAccount is the end user's id, for service accounts only.
	ProxiedAccount string `json:"proxied_account,omitempty"`
}

// ImageParams are the generation parameters of an image. Zero values and nil are left out.
type ImageParams struct {
	// N is the number of images, 1..20 (1).
	N int `json:"n,omitempty"`
	// Steps is the number of sampler steps, 1..500 (30).
	Steps int `json:"steps,omitempty"`
	// Width and Height are in pixels, 64..3072, multiples of 64 (512).
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`
	// SamplerName is for example "k_euler_a", the default.
	SamplerName string `json:"sampler_name,omitempty"`
	// CFGScale is 0..100 with at most two decimals (5).
	CFGScale *float64 `json:"cfg_scale,omitempty"`
	// Karras chooses the Karras noise schedule. Nil means true.
	Karras *bool `json:"karras,omitempty"`
	// Seed is any text; digits are taken as a number. Empty means random.
	Seed          string `json:"seed,omitempty"`
	SeedVariation int    `json:"seed_variation,omitempty"`
	// DenoisingStrength is 0.01..1, with a source image.
	DenoisingStrength         float64            `json:"denoising_strength,omitempty"`
	HiresFix                  bool               `json:"hires_fix,omitempty"`
	HiresFixDenoisingStrength float64            `json:"hires_fix_denoising_strength,omitempty"`
	ClipSkip                  int                `json:"clip_skip,omitempty"`
	Tiling                    bool               `json:"tiling,omitempty"`
	Transparent               bool               `json:"transparent,omitempty"`
	PostProcessing            []string           `json:"post_processing,omitempty"`
	FacefixerStrength         *float64           `json:"facefixer_strength,omitempty"`
	Loras                     []Lora             `json:"loras,omitempty"`
	TIs                       []TextualInversion `json:"tis,omitempty"`
	ControlType               string             `json:"control_type,omitempty"`
	ImageIsControl            bool               `json:"image_is_control,omitempty"`
	ReturnControlMap          bool               `json:"return_control_map,omitempty"`
	Workflow                  string             `json:"workflow,omitempty"`
	ExtraTexts                []ExtraText        `json:"extra_texts,omitempty"`
	Special                   map[string]any     `json:"special,omitempty"`
}

// Lora is a low-rank adaptation to apply.
type Lora struct {
	// Name is a CivitAI model id, a name, or with IsVersion a version id.
	Name string `json:"name"`
	// Model and Clip are the strengths on diffusion model and text encoder, -5..5. Nil means 1.
	Model *float64 `json:"model,omitempty"`
	Clip  *float64 `json:"clip,omitempty"`
	// InjectTrigger adds the trigger word most like this to the prompt; "any" takes the first.
	InjectTrigger string `json:"inject_trigger,omitempty"`
	IsVersion     bool   `json:"is_version,omitempty"`
}

// TextualInversion is an embedding to apply.
type TextualInversion struct {
	Name string `json:"name"`
	// InjectTI is "prompt" or "negprompt"; empty when the prompt already names the embedding.
	InjectTI string `json:"inject_ti,omitempty"`
	// Strength is -5..5, used with InjectTI. Nil means 1.
	Strength *float64 `json:"strength,omitempty"`
}

// ExtraSourceImage is a further image for remix.
type ExtraSourceImage struct {
	Image string `json:"image"`
	// Strength weighs the image. Nil means 1.
	Strength *float64 `json:"strength,omitempty"`
}

// ExtraText is an input of a workflow, for example the content of a QR code.
type ExtraText struct {
	Text      string `json:"text"`
	Reference string `json:"reference"`
}

// Submitted is the server's answer to an accepted request.
type Submitted struct {
	// ID names the request in the calls that follow. Empty after a dry run.
	ID string `json:"id"`
	// Kudos is the expected price of one image, or of the whole request after a dry run. It is 0 for accepted text.
	Kudos float64 `json:"kudos"`
	// Message is set when no worker that is online can do this now. The request waits all the same.
	Message  string    `json:"message"`
	Warnings []Warning `json:"warnings"`
}

// Warning tells that a parameter does not suit the chosen model.
type Warning struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Status is the progress of a request.
type Status struct {
	// Finished, Processing, Waiting count generations; Restarted counts those that failed and went back to waiting.
	Finished   int `json:"finished"`
	Processing int `json:"processing"`
	Restarted  int `json:"restarted"`
	Waiting    int `json:"waiting"`
	// Done means that nothing more will come.
	Done bool `json:"done"`
	// Faulted means that the server gave the request up.
	Faulted bool `json:"faulted"`
	// WaitTime is the estimate in seconds until all is done.
	WaitTime int `json:"wait_time"`
	// QueuePosition is 1 for the next to be handed out and 0 when nothing waits.
	QueuePosition int `json:"queue_position"`
	// Kudos is the price so far, of the whole request.
	Kudos float64 `json:"kudos"`
	// IsPossible is false while no worker that is online can do this. It is a state, not an end: workers come and go.
	IsPossible bool `json:"is_possible"`
}

// ImageStatus is a Status with the finished images.
type ImageStatus struct {
	Status
	Generations []ImageGeneration `json:"generations"`
}

// ImageGeneration is one finished image.
type ImageGeneration struct {
	ID string `json:"id"`
	// Img is a download URL valid for about 30 minutes, or base64. See Client.FetchImage.
	Img        string     `json:"img"`
	Seed       string     `json:"seed"`
	Model      string     `json:"model"`
	WorkerID   string     `json:"worker_id"`
	WorkerName string     `json:"worker_name"`
	Censored   bool       `json:"censored"`
	State      string     `json:"state"`
	Metadata   []Metadata `json:"gen_metadata"`
}

// Metadata is a remark of the worker on one result.
type Metadata struct {
	// Type is what the remark is about: "lora", "ti", "censorship", "source_image", "source_mask",
	// "extra_source_images", "batch_index", "information". Newer servers may send others.
	Type string `json:"type"`
	// Value is what happened: "download_failed", "parse_failed", "baseline_mismatch", "csam", "nsfw", or "see_ref" when
	// Ref tells.
	Value string `json:"value"`
	Ref   string `json:"ref,omitempty"`
}

// SubmitImage hands in a request for images. It is not repeated after a lost answer, so that nothing is paid twice.
func (c *Client) SubmitImage(ctx context.Context, r ImageRequest) (Submitted, error) {
	var out Submitted
	err := c.do(ctx, call{method: http.MethodPost, path: "/generate/async", body: r}, &out)
	return out, err
}

// Check returns the progress of an image request without its results. Servers allow ten calls a second.
func (c *Client) Check(ctx context.Context, id string) (Status, error) {
	var out Status
	err := c.do(ctx, call{method: http.MethodGet, path: "/generate/check/" + url.PathEscape(id), repeatable: true}, &out)
	return out, err
}

// ImageStatus returns progress and results. Servers allow ten calls a minute; poll with Check.
func (c *Client) ImageStatus(ctx context.Context, id string) (ImageStatus, error) {
	var out ImageStatus
	err := c.do(ctx, call{method: http.MethodGet, path: "/generate/status/" + url.PathEscape(id), repeatable: true}, &out)
	return out, err
}

// CancelImage ends a request: nothing more is handed to workers. It returns the status before the cancellation with all
// results so far.
func (c *Client) CancelImage(ctx context.Context, id string) (ImageStatus, error) {
	var out ImageStatus
	err := c.do(ctx, call{method: http.MethodDelete, path: "/generate/status/" + url.PathEscape(id), repeatable: true}, &out)
	return out, err
}

// FetchImage returns the bytes of a finished image, mostly WebP: from its URL, or out of its base64.
func (c *Client) FetchImage(ctx context.Context, g ImageGeneration) ([]byte, error) {
	if !strings.HasPrefix(g.Img, "http://") && !strings.HasPrefix(g.Img, "https://") {
		data, err := DecodeImage(g.Img)
		if err != nil {
			return nil, fmt.Errorf("generation %s: %w", g.ID, err)
		}
		return data, nil
	}
	for attempt := 1; ; attempt++ {
		data, err := c.download(ctx, g.Img)
		if err == nil {
			return data, nil
		}
		pause, again := c.retry.next(attempt, true, err)
		if !again || ctx.Err() != nil {
			return nil, fmt.Errorf("generation %s: %w", g.ID, err)
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func (c *Client) download(ctx context.Context, target string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	// The address is a signed one of an object store: the API key does not belong there.
	req.Header.Set("User-Agent", userAgent(c.agent))
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := readBounded(resp.Body, maxDownload)
	if resp.StatusCode != http.StatusOK {
		return nil, &Error{Status: resp.StatusCode, Message: "download: " + http.StatusText(resp.StatusCode)}
	}
	return data, err
}

// EncodeImage returns image bytes as the API wants them in a JSON body.
func EncodeImage(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

// DecodeImage is the reverse of EncodeImage. It also accepts a "data:" prefix and missing padding.
func DecodeImage(s string) ([]byte, error) {
	if strings.HasPrefix(s, "data:") {
		_, s, _ = strings.Cut(s, ",")
	}
	s = strings.TrimRight(strings.TrimSpace(s), "=")
	data, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("base64 image: %w", err)
	}
	return data, nil
}
