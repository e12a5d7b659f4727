// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// PopImageRequest is what an image worker tells when it asks for a job. Every pop also counts as a sign of life.
type PopImageRequest struct {
	Name              string   `json:"name"`
	Models            []string `json:"models"`
	BridgeAgent       string   `json:"bridge_agent"`
	PriorityUsernames []string `json:"priority_usernames,omitempty"`
	NSFW              bool     `json:"nsfw"`
	// Threads is the number of jobs that the worker does at the same time, 1..50.
	Threads int `json:"threads"`
	// Amount is the largest batch wanted, 1..20.
	Amount int `json:"amount"`
	// MaxPixels is the largest width times height.
	MaxPixels           int      `json:"max_pixels"`
	Blacklist           []string `json:"blacklist,omitempty"`
	AllowImg2Img        bool     `json:"allow_img2img"`
	AllowPainting       bool     `json:"allow_painting"`
	AllowUnsafeIP       bool     `json:"allow_unsafe_ipaddr"`
	AllowPostProcessing bool     `json:"allow_post_processing"`
	AllowControlnet     bool     `json:"allow_controlnet"`
	AllowSDXLControlnet bool     `json:"allow_sdxl_controlnet"`
	AllowLora           bool     `json:"allow_lora"`
	RequireUpfrontKudos bool     `json:"require_upfront_kudos"`
	ExtraSlowWorker     bool     `json:"extra_slow_worker"`
	LimitMaxSteps       bool     `json:"limit_max_steps"`
	// Capabilities narrows what the server derives from the agent's name to what this worker can really do. Nil leaves
	// it out; servers that do not know it ignore it.
	Capabilities []string `json:"capabilities,omitempty"`
	// Wait is for how many seconds the server waits for a job if there is none now, up to 60. Servers that do not know it
	// answer at once.
	Wait int `json:"wait,omitempty"`
}

// Job is what image and text jobs share.
type Job struct {
	// ID is the first of IDs; empty when there is no job.
	ID string `json:"id"`
	// IDs names the generations of this job in order; each is submitted by itself.
	IDs   []string `json:"ids"`
	Model string   `json:"model"`
	// TTL is the number of seconds until the server gives the job up. 0 means that it did not say.
	TTL int `json:"ttl"`
	// Skipped counts requests that this worker did not get, by reason.
	Skipped  map[string]int `json:"skipped"`
	Messages []Message      `json:"messages"`
}

// Found reports whether the answer to a pop holds a job.
func (j *Job) Found() bool { return j.ID != "" }

// Message is a note of the horde's operators to a worker.
type Message struct {
	ID      string `json:"id"`
	Message string `json:"message"`
	Origin  string `json:"origin"`
	Expiry  string `json:"expiry"`
}

// ImageJob is the answer to an image pop. Ask Found first: an answer without a job holds default values.
type ImageJob struct {
	Job
	Payload ImagePayload `json:"payload"`
	// SourceImage and SourceMask are URLs or base64; empty when the job has none. SourceProcessing is set always, for
	// jobs without a source image too.
	SourceImage       string             `json:"source_image"`
	SourceMask        string             `json:"source_mask"`
	SourceProcessing  string             `json:"source_processing"`
	ExtraSourceImages []ExtraSourceImage `json:"extra_source_images"`
	// R2Uploads[i] is where the image of IDs[i] is put; R2Upload equals the first. Empty: submit base64.
	R2Upload  string   `json:"r2_upload"`
	R2Uploads []string `json:"r2_uploads"`
}

// UploadURL returns where the image with this index goes, and "" for "submit it as base64".
func (j *ImageJob) UploadURL(i int) string {
	switch {
	case i < len(j.R2Uploads):
		return j.R2Uploads[i]
	case i == 0:
		return j.R2Upload
	}
	return ""
}

// ImagePayload holds the parameters of an image job. A nil pointer means that the member was absent.
type ImagePayload struct {
	Prompt  string `json:"prompt"`
	Seed    string `json:"seed"`
	Steps   *int   `json:"ddim_steps"`
	NIter   *int   `json:"n_iter"`
	Width   *int   `json:"width"`
	Height  *int   `json:"height"`
	Sampler string `json:"sampler_name"`

	CFGScale                  *float64           `json:"cfg_scale"`
	Karras                    bool               `json:"karras"`
	DenoisingStrength         *float64           `json:"denoising_strength"`
	HiresFix                  bool               `json:"hires_fix"`
	HiresFixDenoisingStrength *float64           `json:"hires_fix_denoising_strength"`
	ClipSkip                  *int               `json:"clip_skip"`
	Tiling                    bool               `json:"tiling"`
	Transparent               bool               `json:"transparent"`
	PostProcessing            []string           `json:"post_processing"`
	FacefixerStrength         *float64           `json:"facefixer_strength"`
	Loras                     []Lora             `json:"loras"`
	TIs                       []TextualInversion `json:"tis"`
	ControlType               string             `json:"control_type"`
	ControlStrength           *float64           `json:"control_strength"`
	ImageIsControl            bool               `json:"image_is_control"`
	ReturnControlMap          bool               `json:"return_control_map"`
	Workflow                  string             `json:"workflow"`
	ExtraTexts                []ExtraText        `json:"extra_texts"`
	UseNSFWCensor             bool               `json:"use_nsfw_censor"`
}

// PopTextRequest is what a text worker tells when it asks for a job.
type PopTextRequest struct {
	Name                string   `json:"name"`
	Models              []string `json:"models"`
	BridgeAgent         string   `json:"bridge_agent"`
	PriorityUsernames   []string `json:"priority_usernames,omitempty"`
	NSFW                bool     `json:"nsfw"`
	Threads             int      `json:"threads"`
	Amount              int      `json:"amount"`
	RequireUpfrontKudos bool     `json:"require_upfront_kudos"`
	// MaxLength and MaxContextLength are in tokens.
	MaxLength        int      `json:"max_length"`
	MaxContextLength int      `json:"max_context_length"`
	Softprompts      []string `json:"softprompts"`
	Capabilities     []string `json:"capabilities,omitempty"`
	// Wait is as for images.
	Wait int `json:"wait,omitempty"`
}

// TextJob is the answer to a text pop. Ask Found first.
type TextJob struct {
	Job
	Payload    TextPayload `json:"payload"`
	Softprompt string      `json:"softprompt"`
}

// TextPayload holds the parameters of a text job.
type TextPayload struct {
	Prompt string `json:"prompt"`
	TextParams
}

// ImageResult hands in one generation of an image job.
type ImageResult struct {
	ID string `json:"id"`
	// Generation is "R2" after an upload, base64 WebP without one, "faulted" for a failure.
	Generation string `json:"generation"`
	Seed       int64  `json:"seed"`
	// State is "ok", "censored", "csam" or "faulted".
	State    string     `json:"state"`
	Metadata []Metadata `json:"gen_metadata"`
}

// TextResult hands in one generation of a text job.
type TextResult struct {
	ID         string     `json:"id"`
	Generation string     `json:"generation"`
	State      string     `json:"state"`
	Seed       int64      `json:"seed"`
	Metadata   []Metadata `json:"gen_metadata"`
}

// patient is a client for one pop: it makes a single try, and lets the server wait before it answers.
func (c *Client) patient(wait int) *Client {
	d := c.With(WithRetry(Retry{}))
	if wait > 0 && d.http.Timeout > 0 {
		longer := *d.http
		longer.Timeout += time.Duration(wait) * time.Second
		d.http = &longer
	}
	return d
}

// PopImage asks for an image job. It makes a single try: a worker pops again anyway.
func (c *Client) PopImage(ctx context.Context, r PopImageRequest) (ImageJob, error) {
	var out ImageJob
	err := c.patient(r.Wait).do(ctx, call{method: http.MethodPost, path: "/generate/pop", body: r}, &out)
	if out.ID != "" && len(out.IDs) == 0 {
		out.IDs = []string{out.ID}
	}
	return out, err
}

// PopText asks for a text job. It makes a single try.
func (c *Client) PopText(ctx context.Context, r PopTextRequest) (TextJob, error) {
	var out TextJob
	err := c.patient(r.Wait).do(ctx, call{method: http.MethodPost, path: "/generate/text/pop", body: r}, &out)
	if out.ID != "" && len(out.IDs) == 0 {
		out.IDs = []string{out.ID}
	}
	return out, err
}

type reward struct {
	Reward float64 `json:"reward"`
}

// SubmitImageResult hands in a result and returns the kudos earned. A repeated submit of the same id is refused with
// code DuplicateGen and does no harm, so it is retried.
func (c *Client) SubmitImageResult(ctx context.Context, r ImageResult) (float64, error) {
	if r.Metadata == nil {
		r.Metadata = []Metadata{}
	}
	var out reward
	err := c.do(ctx, call{method: http.MethodPost, path: "/generate/submit", body: r, repeatable: true}, &out)
	return out.Reward, err
}

// SubmitTextResult hands in a text and returns the kudos earned.
func (c *Client) SubmitTextResult(ctx context.Context, r TextResult) (float64, error) {
	if r.Metadata == nil {
		r.Metadata = []Metadata{}
	}
	var out reward
	err := c.do(ctx, call{method: http.MethodPost, path: "/generate/text/submit", body: r, repeatable: true}, &out)
	return out.Reward, err
}

// Upload puts an image where the job says. It makes a single try and sends neither API key nor content type, for the
// address is signed without them. Anything but 200 is an *Error.
func (c *Client) Upload(ctx context.Context, target string, data []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, target, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(data))
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// Drained so that the connection can serve the next upload.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	if resp.StatusCode != http.StatusOK {
		return &Error{Status: resp.StatusCode, Message: fmt.Sprintf("upload: %s", http.StatusText(resp.StatusCode))}
	}
	return nil
}
