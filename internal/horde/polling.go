// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import "time"

// The types in this file are the bodies that workers send; see submission.go for how to read them.

// Polling is what the pops of all kinds have in common.
type Polling struct {
	Name                *string  `json:"name" argument:"true"`
	Models              []string `json:"models" minLength:"3" maxLength:"255"`
	PriorityUsernames   []string `json:"priority_usernames"`
	NSFW                *bool    `json:"nsfw" default:"false"`
	BridgeAgent         *string  `json:"bridge_agent" maxLength:"1000" default:"unknown:0:unknown"`
	Threads             *int     `json:"threads" minimum:"1" maximum:"50" default:"1"`
	RequireUpfrontKudos *bool    `json:"require_upfront_kudos" default:"false"`
	Amount              *int     `json:"amount" minimum:"1" maximum:"20" default:"1"`
	ExtraSlowWorker     *bool    `json:"extra_slow_worker" default:"true"`
	// SamplerContract is told by newer programs. It means something for images alone.
	SamplerContract *string `json:"sampler_execution_contract_version" enum:"1.0" published:"-" doc:"The version of the promises on how samplers run that the worker keeps, see /v2/status/sampler_constraints."`
	// Capabilities narrows the features that the bridge agent stands for. It is ours; nil means all of them.
	Capabilities []string `json:"capabilities" published:"-"`
	// Wait is for how many seconds the pop waits for a job if there is none now: see [Patience]. It is ours; nil means not
	// at all.
	Wait *int `json:"wait" minimum:"0" maximum:"2147483647" default:"0" published:"-"`
}

// MaxPatience is the longest that a pop waits for a job; who asks for more is answered after that. It is short enough for the
// worker to stay online all the while, which takes a check-in every [Stale], and for most proxies to keep the call.
const MaxPatience = 60 * time.Second

// Patience is how long a pop waits for a job.
func (p *Polling) Patience() time.Duration {
	if p.Wait == nil || *p.Wait < 0 {
		return 0
	}
	return min(time.Duration(*p.Wait)*time.Second, MaxPatience)
}

// ImagePop is the body of an image worker's pop.
type ImagePop struct {
	Polling
	MaxPixels           *int64   `json:"max_pixels" default:"262144"`
	Blacklist           []string `json:"blacklist"`
	AllowImg2Img        *bool    `json:"allow_img2img" default:"true"`
	AllowPainting       *bool    `json:"allow_painting" default:"true"`
	AllowUnsafeIPAddr   *bool    `json:"allow_unsafe_ipaddr" default:"true"`
	AllowPostProcessing *bool    `json:"allow_post_processing" default:"true"`
	AllowControlNet     *bool    `json:"allow_controlnet" default:"true"`
	AllowSDXLControlNet *bool    `json:"allow_sdxl_controlnet" default:"true"`
	AllowLora           *bool    `json:"allow_lora" default:"true"`
	LimitMaxSteps       *bool    `json:"limit_max_steps" default:"true"`
	// AllowExtendedControlNet is told by newer programs.
	AllowExtendedControlNet *bool `json:"allow_extended_controlnet" default:"false" published:"-" doc:"Whether the worker has the control types beyond the nine of before."`
}

// TextPop is the body of a text worker's pop.
type TextPop struct {
	Polling
	MaxLength        *int     `json:"max_length" minimum:"0" maximum:"2147483647" published:"minimum=,maximum=" default:"512"`
	MaxContextLength *int     `json:"max_context_length" minimum:"0" maximum:"2147483647" published:"minimum=,maximum=" default:"2048"`
	Softprompts      []string `json:"softprompts"`
}
