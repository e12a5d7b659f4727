// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"encoding/json"
	"math"
)

// Order is what a client asked for, with the defaults filled in: the part of a request that never changes once it is
// accepted. It is stored once, and shared freely between readers.
type Order struct {
	Kind   Kind   `json:"kind"`
	Prompt string `json:"prompt"`
	// Models are the acceptable models. Empty means any.
	Models []string `json:"models,omitempty"`
	// Workers are the only workers that may serve the order or, with WorkerBlacklist, those that may not. Empty means
	// that every worker may.
	Workers         []WorkerID `json:"workers,omitempty"`
	WorkerBlacklist bool       `json:"worker_blacklist,omitempty"`

	NSFW              bool `json:"nsfw,omitempty"`
	CensorNSFW        bool `json:"censor_nsfw,omitempty"`
	TrustedWorkers    bool `json:"trusted_workers,omitempty"`
	ValidatedBackends bool `json:"validated_backends,omitempty"`
	SlowWorkers       bool `json:"slow_workers,omitempty"`
	ExtraSlowWorkers  bool `json:"extra_slow_workers,omitempty"`
	DisableBatching   bool `json:"disable_batching,omitempty"`
	// R2 asks for results as download links; else they come as base64.
	R2 bool `json:"r2,omitempty"`
	// Shared makes the images public, for people to rate: see [Sharing]. Pair has two made for comparison, by two pipelines.
	Shared bool `json:"shared,omitempty"`
	Pair   bool `json:"pair,omitempty"`

	// SourceProcessing is what the source image is for; meaningless without one.
	SourceProcessing string `json:"source_processing,omitempty"`
	// SourceImage and SourceMask are the keys of the stored pictures; empty means none.
	SourceImage  string        `json:"source_image,omitempty"`
	SourceMask   string        `json:"source_mask,omitempty"`
	ExtraSources []ExtraSource `json:"extra_sources,omitempty"`

	// Image is set on image orders, Text on text orders.
	Image *ImageParams `json:"image,omitempty"`
	Text  *TextParams  `json:"text,omitempty"`
	// Softprompt is kept for text orders, and offered to nobody.
	Softprompt string `json:"softprompt,omitempty"`

	Webhook        string `json:"webhook,omitempty"`
	Agent          string `json:"agent,omitempty"`
	ProxiedAccount string `json:"proxied_account,omitempty"`
	IP             string `json:"ip,omitempty"`
	// UnsafeIP marks an order that came from an address known to be a proxy; RequesterTrusted what its user was then.
	UnsafeIP         bool `json:"unsafe_ip,omitempty"`
	RequesterTrusted bool `json:"requester_trusted,omitempty"`

	// Recorded is what the client sent, for who sent it to read it back: see [ImageSubmission.Record].
	Recorded string `json:"recorded,omitempty"`
	// GrownContext tells that the context of a text was made longer for its prompt, which is paid for.
	GrownContext bool `json:"grown_context,omitempty"`
	// KeyMark tells the key that was used from others: see [MarkOf].
	KeyMark string `json:"key_mark,omitempty"`
	// SharedKey is the id of the shared key that the order was made through, empty for none; KeyHold is what was set aside of its
	// budget.
	SharedKey string `json:"shared_key,omitempty"`
	KeyHold   Kudos  `json:"key_hold,omitempty"`
}

// ExtraSource is a stored further source image of a remix.
type ExtraSource struct {
	Key      string  `json:"key"`
	Strength float64 `json:"strength"`
}

// ImageParams are the parameters of an image order. Nil pointers and slices mean that the client did not send the field.
type ImageParams struct {
	Width                     int             `json:"width"`
	Height                    int             `json:"height"`
	Steps                     int             `json:"steps"`
	Sampler                   string          `json:"sampler"`
	CFGScale                  float64         `json:"cfg_scale"`
	Karras                    bool            `json:"karras,omitempty"`
	DenoisingStrength         *float64        `json:"denoising_strength,omitempty"`
	HiresFix                  bool            `json:"hires_fix,omitempty"`
	HiresFixDenoisingStrength *float64        `json:"hires_fix_denoising_strength,omitempty"`
	ClipSkip                  *int            `json:"clip_skip,omitempty"`
	Tiling                    bool            `json:"tiling,omitempty"`
	FacefixerStrength         *float64        `json:"facefixer_strength,omitempty"`
	PostProcessing            []string        `json:"post_processing,omitzero"`
	Loras                     []Lora          `json:"loras,omitzero"`
	TIs                       []TI            `json:"tis,omitzero"`
	Special                   json.RawMessage `json:"special,omitempty"`
	Workflow                  string          `json:"workflow,omitempty"`
	Transparent               bool            `json:"transparent,omitempty"`
	Seed                      *uint32         `json:"seed,omitempty"`
	SeedVariation             int             `json:"seed_variation,omitempty"`
	ControlType               string          `json:"control_type,omitempty"`
	ImageIsControl            bool            `json:"image_is_control,omitempty"`
	ReturnControlMap          bool            `json:"return_control_map,omitempty"`
	ExtraTexts                []ExtraText     `json:"extra_texts,omitzero"`
	// Sampling is nil where nothing of it was sent.
	Sampling *Sampling `json:"sampling,omitempty"`
}

// Lora is one LoRA of an order, as a worker receives it.
type Lora struct {
	Name          string  `json:"name"`
	Model         float64 `json:"model"`
	Clip          float64 `json:"clip"`
	InjectTrigger string  `json:"inject_trigger,omitempty"`
	IsVersion     bool    `json:"is_version"`
}

// TI is one textual inversion of an order, as a worker receives it.
type TI struct {
	Name     string  `json:"name"`
	InjectTI string  `json:"inject_ti,omitempty"`
	Strength float64 `json:"strength"`
}

// TextParams are the parameters of a text order. MaxLength and MaxContextLength are always set; N never is.
type TextParams struct {
	TextSettings
}

// The effective defaults of parameters that a client left out (requests chapter, 5 and 6).
const (
	DefaultSide             = 512
	DefaultSteps            = 30
	DefaultControlSteps     = 20
	MaxControlSteps         = 40
	DefaultSampler          = "k_euler_a"
	DefaultCFGScale         = 5.0
	DefaultMaxLength        = 80
	DefaultMaxContextLength = 2048
	// MaxTargets is how many of the workers named in an order count.
	MaxTargets = 5
)

// Pixels is the area of one image.
func (p *ImageParams) Pixels() int64 { return int64(p.Width) * int64(p.Height) }

const adaptiveSteps = 40 // what k_dpm_adaptive counts as, whatever was asked for

// AccurateSteps is how many times the network runs: second-order samplers run it twice a step.
func AccurateSteps(sampler string, steps int) int {
	if sampler == AdaptiveSampler {
		return adaptiveSteps
	}
	return max(RuleOf(sampler).Work, 1) * steps
}

// AccurateSteps is how many times the network runs for one image.
func (p *ImageParams) AccurateSteps() int { return AccurateSteps(p.Sampler, p.Steps) }

// Upscalers are the post-processors that enlarge; a request may name one.
var Upscalers = map[string]bool{
	"RealESRGAN_x4plus": true, "RealESRGAN_x2plus": true, "RealESRGAN_x4plus_anime_6B": true, "NMKD_Siax": true,
	"4x_AnimeSharp": true, "4xNomos8kSC": true, "4xLSDIRplus": true, "4xNomosWebPhoto_RealPLKSR": true,
	"4xNomos2_realplksr_dysample": true, "4xNomos2_hq_dat2": true, "2xModernSpanimationV1": true,
}

// PostProcessors are all post-processors, by name.
var PostProcessors = map[string]bool{
	"GFPGAN": true, "CodeFormers": true, "strip_background": true, "GFPGANv1.3": true, "RestoreFormer": true,
}

// heavyPostProcessors need so much memory that fewer images of a batch fit (dispatch chapter, 12).
var heavyPostProcessors = map[string]bool{
	"RealESRGAN_x4plus": true, "RealESRGAN_x4plus_anime_6B": true, "NMKD_Siax": true, "4x_AnimeSharp": true,
	"CodeFormers": true, "4xNomos8kSC": true, "4xLSDIRplus": true, "4xNomos2_hq_dat2": true, "RestoreFormer": true,
}

func init() {
	for name := range Upscalers {
		PostProcessors[name] = true
	}
}

var lcmVersions = map[string]bool{
	"246747": true, "247778": true, "268475": true, "243643": true, "225222": true, "219782": true, "363353": true,
}

var lcmModels = map[string]bool{"195519": true, "216190": true, "324115": true}

// UsesLCM tells whether the order samples in a few steps, by its sampler or one of the well-known LoRAs.
func (p *ImageParams) UsesLCM() bool {
	if p.Sampler == "lcm" {
		return true
	}
	for _, l := range p.Loras {
		if l.IsVersion && lcmVersions[l.Name] || !l.IsVersion && lcmModels[l.Name] {
			return true
		}
	}
	return false
}

// Painting tells whether the order fills in parts of a picture.
func (o *Order) Painting() bool {
	return o.SourceProcessing == "inpainting" || o.SourceProcessing == "outpainting"
}

// Things measures one result of the order: pixelsteps of an image, tokens of a text. Raw, not divided.
func (o *Order) Things() float64 {
	if o.Kind == Image {
		return float64(o.Image.Pixels()) * float64(o.Image.AccurateSteps())
	}
	return float64(*o.Text.MaxLength)
}

// UseNSFWCensor tells whether the worker has to replace what is not safe for work.
func (o *Order) UseNSFWCensor() bool { return o.Kind == Image && !o.NSFW && o.CensorNSFW }

// BatchSize is how many of left results a worker that can hold maxPixels and asked for amount gets in one pop.
func (o *Order) BatchSize(amount, left int, maxPixels int64) int {
	b := amount
	if o.Kind == Image {
		p := o.Image
		load := float64(p.Pixels()) * (1 + 0.4*float64(len(p.PostProcessing)))
		heavy := p.Transparent
		for _, name := range p.PostProcessing {
			heavy = heavy || heavyPostProcessors[name]
		}
		if heavy {
			load *= 1.8
		}
		fits := math.RoundToEven(float64(maxPixels) / 3.5 * float64(amount) / load)
		b = int(max(1, min(float64(amount), fits)))
	}
	if o.DisableBatching {
		b = 1
	}
	return min(b, left)
}

// PopSeed is the seed for a pop of an image order with left results still to be handed out before it. random is used
// where the client sent no seed.
func (o *Order) PopSeed(left int, random uint32) uint32 {
	p := o.Image
	switch {
	case p.Seed == nil:
		return random
	case p.SeedVariation > 0:
		return VariedSeed(*p.Seed, p.SeedVariation, left)
	}
	return *p.Seed
}
