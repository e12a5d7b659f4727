// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import "encoding/json"

// ImageStyleSettings is the "params" object of an image style: as that of a request, without what belongs to one request. Nothing
// is filled in.
type ImageStyleSettings struct {
	Steps                     *int            `json:"steps,omitempty" minimum:"1" maximum:"500"`
	Width                     *int            `json:"width,omitempty" minimum:"64" maximum:"3072" multipleOf:"64" part:"ModelStyleInputParamsStableNoDefaults"`
	Height                    *int            `json:"height,omitempty" minimum:"64" maximum:"3072" multipleOf:"64" part:"ModelStyleInputParamsStableNoDefaults"`
	Sampler                   *string         `json:"sampler_name,omitempty" enum:"k_lms,k_heun,k_euler,k_euler_a,k_dpm_2,k_dpm_2_a,k_dpm_fast,k_dpm_adaptive,k_dpmpp_2s_a,k_dpmpp_2m,dpmsolver,k_dpmpp_sde,DDIM,lcm" ours:"uni_pc,uni_pc_bh2,dpmpp_2m_sde,dpmpp_3m_sde,ddpm,deis,ipndm,res_multistep,gradient_estimation,heunpp2,er_sde,sa_solver,euler_cfg_pp,euler_ancestral_cfg_pp,exp_heun_2_x0,exp_heun_2_x0_sde,dpmpp_2s_ancestral_cfg_pp,dpmpp_2m_cfg_pp,dpmpp_2m_sde_heun,ipndm_v,res_multistep_cfg_pp,res_multistep_ancestral,res_multistep_ancestral_cfg_pp,gradient_estimation_cfg_pp,seeds_2,seeds_3,sa_solver_pece" part:"ModelStyleInputParamsStableNoDefaults"`
	CFGScale                  *float64        `json:"cfg_scale,omitempty" minimum:"0" maximum:"100" part:"ModelStyleInputParamsStableNoDefaults"`
	Karras                    *bool           `json:"karras,omitempty" part:"ModelStyleInputParamsStableNoDefaults"`
	DenoisingStrength         *float64        `json:"denoising_strength,omitempty" minimum:"0.01" maximum:"1" part:"ModelStyleInputParamsStableNoDefaults"`
	HiresFix                  *bool           `json:"hires_fix,omitempty" part:"ModelStyleInputParamsStableNoDefaults"`
	HiresFixDenoisingStrength *float64        `json:"hires_fix_denoising_strength,omitempty" minimum:"0.01" maximum:"1" part:"ModelStyleInputParamsStableNoDefaults"`
	ClipSkip                  *int            `json:"clip_skip,omitempty" minimum:"1" maximum:"12" part:"ModelStyleInputParamsStableNoDefaults"`
	Tiling                    *bool           `json:"tiling,omitempty" part:"ModelStyleInputParamsStableNoDefaults"`
	FacefixerStrength         *float64        `json:"facefixer_strength,omitempty" minimum:"0" maximum:"1" part:"ModelStyleInputParamsStableNoDefaults"`
	PostProcessing            []string        `json:"post_processing,omitzero" uniqueItems:"true" enum:"GFPGAN,RealESRGAN_x4plus,RealESRGAN_x2plus,RealESRGAN_x4plus_anime_6B,NMKD_Siax,4x_AnimeSharp,CodeFormers,strip_background,4xNomos8kSC,4xLSDIRplus,4xNomosWebPhoto_RealPLKSR,4xNomos2_realplksr_dysample,4xNomos2_hq_dat2,2xModernSpanimationV1,GFPGANv1.3,RestoreFormer" part:"ModelStyleInputParamsStableNoDefaults"`
	Loras                     []LoraSettings  `json:"loras,omitzero" part:"ModelStyleInputParamsStableNoDefaults"`
	TIs                       []TISettings    `json:"tis,omitzero" part:"ModelStyleInputParamsStableNoDefaults"`
	Special                   json.RawMessage `json:"special,omitempty" type:"object" model:"ModelSpecialPayloadStable" wildcard:"object" part:"ModelStyleInputParamsStableNoDefaults"`
	Workflow                  *string         `json:"workflow,omitempty" enum:"qr_code" part:"ModelStyleInputParamsStableNoDefaults"`
	Transparent               *bool           `json:"transparent,omitempty" part:"ModelStyleInputParamsStableNoDefaults"`
	Sampling                  `published:"-"`
	// Text is the object as it was sent, with members that are not declared: they are kept, and count when the style is applied.
	Text json.RawMessage `json:"-" whole:"true"`
}

// TextStyleSettings is ImageStyleSettings for texts.
type TextStyleSettings struct {
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
	MaxLength             *int     `json:"max_length,omitempty" minimum:"16" maximum:"16384" published:"-"`
	MaxContextLength      *int     `json:"max_context_length,omitempty" minimum:"80" maximum:"1048576" published:"-"`
	// Text is that of ImageStyleSettings.
	Text json.RawMessage `json:"-" whole:"true"`
}

// StyleChange is what a style is made of, or what of it is changed. Nil is what was not given.
type StyleChange struct {
	Name, Info, Prompt *string
	Params             json.RawMessage // as it was sent
	Public, NSFW       *bool
	Tags, Models       []string
	SharedKey          *string
	Policy             *StylePolicy
	Fields             []StyleField
}

// Empty tells that nothing is to be changed.
func (c *StyleChange) Empty() bool {
	return c.Name == nil && c.Info == nil && c.Prompt == nil && c.Params == nil && c.Public == nil && c.NSFW == nil &&
		c.Tags == nil && c.Models == nil && c.SharedKey == nil && c.Policy == nil && c.Fields == nil
}

// Onto sets what was given, texts as they are.
func (c *StyleChange) Onto(s *Style) {
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&s.Name, c.Name)
	set(&s.Info, c.Info)
	set(&s.Prompt, c.Prompt)
	if c.Params != nil {
		s.Params = c.Params
	}
	s.Public, s.NSFW = or(c.Public, s.Public), or(c.NSFW, s.NSFW)
	if c.Tags != nil {
		s.Tags = c.Tags
	}
	if c.Models != nil {
		s.Models = c.Models
	}
	if c.Policy != nil {
		s.Policy = c.Policy.orNone()
	}
	if c.Fields != nil {
		s.Fields = c.Fields
	}
}

// MaxStyleText is how many bytes the parameters of a style may have, with what is not declared.
const MaxStyleText = 64 << 10
