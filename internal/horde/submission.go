// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import "encoding/json"

// The types in this file are the bodies that clients send, field by field as they send them: the tags are the contract
// that package api decodes and validates against (see its package body for what they mean) and that the published
// documents show. A nil pointer or slice means that the field was absent. The tag argument:"true" marks fields that must be
// there but are asked for after everything else was validated, like a required header.

// ImageSubmission is the body of an image request.
type ImageSubmission struct {
	Prompt            *string            `json:"prompt" required:"true" minLength:"1"`
	Params            *ImageSettings     `json:"params"`
	NSFW              *bool              `json:"nsfw" default:"false"`
	CensorNSFW        *bool              `json:"censor_nsfw" default:"false"`
	TrustedWorkers    *bool              `json:"trusted_workers" default:"false"`
	ValidatedBackends *bool              `json:"validated_backends" default:"true"`
	SlowWorkers       *bool              `json:"slow_workers" default:"true"`
	ExtraSlowWorkers  *bool              `json:"extra_slow_workers" default:"false"`
	Workers           []string           `json:"workers"`
	WorkerBlacklist   *bool              `json:"worker_blacklist" default:"false"`
	Models            []string           `json:"models" maxLength:"255" published:"maxLength="`
	SourceImage       *string            `json:"source_image"`
	SourceProcessing  *string            `json:"source_processing" default:"img2img" enum:"img2img,inpainting,outpainting,remix"`
	SourceMask        *string            `json:"source_mask"`
	ExtraSourceImages []ExtraSourceImage `json:"extra_source_images"`
	R2                *bool              `json:"r2" default:"true"`
	Shared            *bool              `json:"shared" default:"false"`
	ReplacementFilter *bool              `json:"replacement_filter" default:"true"`
	DryRun            *bool              `json:"dry_run" default:"false"`
	ProxiedAccount    *string            `json:"proxied_account" maxLength:"255" published:"maxLength="`
	DisableBatching   *bool              `json:"disable_batching" default:"false"`
	AllowDowngrade    *bool              `json:"allow_downgrade" default:"false"`
	Webhook           *string            `json:"webhook" minLength:"10" maxLength:"1024"`
	Style             *string            `json:"style" minLength:"3" maxLength:"1024"`
	// TemplateFields are texts for the places that the style declares: see [TemplateFields].
	TemplateFields json.RawMessage `json:"template_fields" type:"object" published:"-" doc:"Texts for the places that the style declares, by their names."`
}

// ImageSettings is the "params" object of an image request.
type ImageSettings struct {
	N                         *int            `json:"n,omitempty" minimum:"1" maximum:"20" default:"1"`
	Steps                     *int            `json:"steps,omitempty" minimum:"1" maximum:"500" default:"30"`
	Width                     *int            `json:"width,omitempty" minimum:"64" maximum:"3072" multipleOf:"64" default:"512" part:"ModelPayloadStyleStable"`
	Height                    *int            `json:"height,omitempty" minimum:"64" maximum:"3072" multipleOf:"64" default:"512" part:"ModelPayloadStyleStable"`
	Sampler                   *string         `json:"sampler_name,omitempty" default:"k_euler_a" enum:"k_lms,k_heun,k_euler,k_euler_a,k_dpm_2,k_dpm_2_a,k_dpm_fast,k_dpm_adaptive,k_dpmpp_2s_a,k_dpmpp_2m,dpmsolver,k_dpmpp_sde,DDIM,lcm" ours:"uni_pc,uni_pc_bh2,dpmpp_2m_sde,dpmpp_3m_sde,ddpm,deis,ipndm,res_multistep,gradient_estimation,heunpp2,er_sde,sa_solver,euler_cfg_pp,euler_ancestral_cfg_pp,exp_heun_2_x0,exp_heun_2_x0_sde,dpmpp_2s_ancestral_cfg_pp,dpmpp_2m_cfg_pp,dpmpp_2m_sde_heun,ipndm_v,res_multistep_cfg_pp,res_multistep_ancestral,res_multistep_ancestral_cfg_pp,gradient_estimation_cfg_pp,seeds_2,seeds_3,sa_solver_pece" part:"ModelPayloadStyleStable"`
	CFGScale                  *float64        `json:"cfg_scale,omitempty" minimum:"0" maximum:"100" default:"7.5" part:"ModelPayloadStyleStable"`
	Karras                    *bool           `json:"karras,omitempty" default:"false" part:"ModelPayloadStyleStable"`
	DenoisingStrength         *float64        `json:"denoising_strength,omitempty" minimum:"0.01" maximum:"1" part:"ModelPayloadStyleStable"`
	HiresFix                  *bool           `json:"hires_fix,omitempty" default:"false" part:"ModelPayloadStyleStable"`
	HiresFixDenoisingStrength *float64        `json:"hires_fix_denoising_strength,omitempty" minimum:"0.01" maximum:"1" part:"ModelPayloadStyleStable"`
	ClipSkip                  *int            `json:"clip_skip,omitempty" minimum:"1" maximum:"12" part:"ModelPayloadStyleStable"`
	Tiling                    *bool           `json:"tiling,omitempty" default:"false" part:"ModelPayloadStyleStable"`
	FacefixerStrength         *float64        `json:"facefixer_strength,omitempty" minimum:"0" maximum:"1" part:"ModelPayloadStyleStable"`
	PostProcessing            []string        `json:"post_processing,omitzero" uniqueItems:"true" enum:"GFPGAN,RealESRGAN_x4plus,RealESRGAN_x2plus,RealESRGAN_x4plus_anime_6B,NMKD_Siax,4x_AnimeSharp,CodeFormers,strip_background,4xNomos8kSC,4xLSDIRplus,4xNomosWebPhoto_RealPLKSR,4xNomos2_realplksr_dysample,4xNomos2_hq_dat2,2xModernSpanimationV1,GFPGANv1.3,RestoreFormer" part:"ModelPayloadStyleStable"`
	Loras                     []LoraSettings  `json:"loras,omitzero" part:"ModelPayloadStyleStable"`
	TIs                       []TISettings    `json:"tis,omitzero" part:"ModelPayloadStyleStable"`
	Special                   json.RawMessage `json:"special,omitempty" type:"object" model:"ModelSpecialPayloadStable" wildcard:"object" part:"ModelPayloadStyleStable"`
	Workflow                  *string         `json:"workflow,omitempty" enum:"qr_code" part:"ModelPayloadStyleStable"`
	Transparent               *bool           `json:"transparent,omitempty" default:"false" part:"ModelPayloadStyleStable"`
	Seed                      *string         `json:"seed,omitempty" maxLength:"10000" published:"maxLength=" part:"ModelPayloadRootStable"`
	SeedVariation             *int            `json:"seed_variation,omitempty" minimum:"1" maximum:"1000" part:"ModelPayloadRootStable"`
	ControlType               *string         `json:"control_type,omitempty" enum:"canny,hed,depth,normal,openpose,seg,scribble,fakescribbles,hough" ours:"mlsd,binary,standard_lineart,lineart,lineart_anime,lineart_anime_denoise,pidinet,scribble_xdog,scribble_pidinet,teed,pyracanny,midas_depth,zoe_depth,depth_anything,depth_anything_v2,normal_bae,oneformer_ade20k,oneformer_coco,color,shuffle,recolor_luminance,recolor_intensity,tile,tile_ttplanet_guided,tile_ttplanet_simple" emptyabsent:"true" part:"ModelPayloadRootStable"`
	ImageIsControl            *bool           `json:"image_is_control,omitempty" default:"false" part:"ModelPayloadRootStable"`
	ReturnControlMap          *bool           `json:"return_control_map,omitempty" default:"false" part:"ModelPayloadRootStable"`
	ExtraTexts                []ExtraText     `json:"extra_texts,omitzero" part:"ModelPayloadRootStable"`
	Sampling                  `published:"-"`
	// InitAsImage is not part of the published interface, but one check looks at it.
	InitAsImage json.RawMessage `json:"init_as_image,omitempty" hidden:"true"`
}

// LoraSettings names one LoRA.
type LoraSettings struct {
	Name          *string  `json:"name,omitempty" required:"true" minLength:"1" maxLength:"255"`
	Model         *float64 `json:"model,omitempty" minimum:"-5" maximum:"5" default:"1"`
	Clip          *float64 `json:"clip,omitempty" minimum:"-5" maximum:"5" default:"1"`
	InjectTrigger *string  `json:"inject_trigger,omitempty" minLength:"1" maxLength:"30"`
	IsVersion     *bool    `json:"is_version,omitempty" default:"false"`
}

// TISettings names one textual inversion.
type TISettings struct {
	Name     *string  `json:"name,omitempty" required:"true" minLength:"1" maxLength:"255"`
	InjectTI *string  `json:"inject_ti,omitempty" enum:"prompt,negprompt"`
	Strength *float64 `json:"strength,omitempty" minimum:"-5" maximum:"5" default:"1"`
}

// ExtraSourceImage is a further source image of a remix.
type ExtraSourceImage struct {
	Image    *string  `json:"image" required:"true" minLength:"1" published:"required=false"`
	Strength *float64 `json:"strength" default:"1"`
}

// ExtraText is a named text that a workflow uses.
type ExtraText struct {
	Text      *string `json:"text,omitempty" minLength:"1"`
	Reference *string `json:"reference,omitempty" minLength:"3"`
}

// TextSubmission is the body of a text request.
type TextSubmission struct {
	Prompt            *string            `json:"prompt" argument:"true"`
	Params            *TextSettings      `json:"params"`
	Softprompt        *string            `json:"softprompt" minLength:"1"`
	TrustedWorkers    *bool              `json:"trusted_workers" default:"false"`
	ValidatedBackends *bool              `json:"validated_backends" default:"true"`
	SlowWorkers       *bool              `json:"slow_workers" default:"true"`
	ExtraSlowWorkers  *bool              `json:"extra_slow_workers" default:"false"`
	Workers           []string           `json:"workers"`
	WorkerBlacklist   *bool              `json:"worker_blacklist" default:"false"`
	Models            []string           `json:"models" maxLength:"255" published:"maxLength="`
	DryRun            *bool              `json:"dry_run" default:"false"`
	ProxiedAccount    *string            `json:"proxied_account" maxLength:"255" published:"maxLength="`
	ExtraSourceImages []ExtraSourceImage `json:"extra_source_images"`
	DisableBatching   *bool              `json:"disable_batching" default:"false"`
	AllowDowngrade    *bool              `json:"allow_downgrade" default:"false"`
	Webhook           *string            `json:"webhook" maxLength:"1024" published:"maxLength="`
	Style             *string            `json:"style" minLength:"3" maxLength:"1024"`
	// TemplateFields are texts for the places that the style declares: see [TemplateFields].
	TemplateFields json.RawMessage `json:"template_fields" type:"object" published:"-" doc:"Texts for the places that the style declares, by their names."`
	ContextFit     *string         `json:"context_fit" enum:"ignore,reject,grow" default:"ignore" published:"-" doc:"What to do with a prompt that is longer than the context: cut it at its front, refuse the request, or let the context grow, which is paid for."`
}

// TextSettings is the "params" object of a text request. All but N go to the worker as they are.
type TextSettings struct {
	N                     *int     `json:"n,omitempty" minimum:"1" maximum:"20" default:"1" published:"default=" part:"ModelPayloadRootKobold"`
	MaxLength             *int     `json:"max_length,omitempty" minimum:"16" maximum:"16384" published:"maximum=4096" default:"80" part:"ModelPayloadRootKobold"`
	MaxContextLength      *int     `json:"max_context_length,omitempty" minimum:"80" maximum:"1048576" default:"2048" part:"ModelPayloadRootKobold"`
	Temperature           *float64 `json:"temperature,omitempty" minimum:"0" maximum:"5" part:"ModelPayloadStyleKobold"`
	RepPen                *float64 `json:"rep_pen,omitempty" minimum:"1" maximum:"3" part:"ModelPayloadStyleKobold"`
	RepPenRange           *int     `json:"rep_pen_range,omitempty" minimum:"0" maximum:"4096" part:"ModelPayloadStyleKobold"`
	RepPenSlope           *float64 `json:"rep_pen_slope,omitempty" minimum:"0" maximum:"10" part:"ModelPayloadStyleKobold"`
	TopA                  *float64 `json:"top_a,omitempty" minimum:"0" maximum:"1" part:"ModelPayloadStyleKobold"`
	TFS                   *float64 `json:"tfs,omitempty" minimum:"0" maximum:"1" part:"ModelPayloadStyleKobold"`
	Typical               *float64 `json:"typical,omitempty" minimum:"0" maximum:"1" part:"ModelPayloadStyleKobold"`
	TopK                  *int     `json:"top_k,omitempty" minimum:"0" maximum:"200" part:"ModelPayloadStyleKobold"`
	TopP                  *float64 `json:"top_p,omitempty" minimum:"0.001" maximum:"1" part:"ModelPayloadStyleKobold"`
	MinP                  *float64 `json:"min_p,omitempty" minimum:"0" maximum:"1" default:"0" part:"ModelPayloadStyleKobold"`
	SmoothingFactor       *float64 `json:"smoothing_factor,omitempty" minimum:"0" maximum:"10" default:"0" part:"ModelPayloadStyleKobold"`
	DynatempRange         *float64 `json:"dynatemp_range,omitempty" minimum:"0" maximum:"5" default:"0" part:"ModelPayloadStyleKobold"`
	DynatempExponent      *float64 `json:"dynatemp_exponent,omitempty" minimum:"0" maximum:"5" default:"1" part:"ModelPayloadStyleKobold"`
	SamplerOrder          []int    `json:"sampler_order,omitzero" part:"ModelPayloadStyleKobold"`
	StopSequence          []string `json:"stop_sequence,omitzero" part:"ModelPayloadStyleKobold"`
	Singleline            *bool    `json:"singleline,omitempty" part:"ModelPayloadStyleKobold"`
	FrmtAdsnsp            *bool    `json:"frmtadsnsp,omitempty" part:"ModelPayloadStyleKobold"`
	FrmtRmblln            *bool    `json:"frmtrmblln,omitempty" part:"ModelPayloadStyleKobold"`
	FrmtRmspch            *bool    `json:"frmtrmspch,omitempty" part:"ModelPayloadStyleKobold"`
	FrmtTriminc           *bool    `json:"frmttriminc,omitempty" part:"ModelPayloadStyleKobold"`
	UseDefaultBadwordsIDs *bool    `json:"use_default_badwordsids,omitempty" part:"ModelPayloadStyleKobold"`
}
