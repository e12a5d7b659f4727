// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"slices"
	"strings"
)

// This file turns a submission into an order: it fills in the effective defaults, which differ from the documented ones.

func (s *ImageSubmission) settings() *ImageSettings {
	if s.Params == nil {
		return &ImageSettings{}
	}
	return s.Params
}

func (s *ImageSubmission) processing() string {
	if s.SourceProcessing == nil {
		return "img2img"
	}
	return *s.SourceProcessing
}

// ModelNames are the acceptable models: the default one where the field is absent, none (any) where it is empty.
func (s *ImageSubmission) ModelNames() []string {
	if s.Models == nil {
		return []string{DefaultImageModel}
	}
	return cleanNames(s.Models)
}

// cleanNames drops repetitions, the blanks around names and names that are nothing else: some clients send all of them.
func cleanNames(names []string) []string {
	clean := make([]string, 0, len(names))
	for _, n := range names {
		if n = strings.TrimSpace(n); n != "" {
			clean = append(clean, n)
		}
	}
	return unique(clean)
}

// Results is how many results the submission wants.
func (s *ImageSubmission) Results() int { return or(s.settings().N, 1) }

// Results is how many results the submission wants.
func (s *TextSubmission) Results() int {
	if s.Params == nil {
		return 1
	}
	return or(s.Params.N, 1)
}

func or[T any](p *T, absent T) T {
	if p == nil {
		return absent
	}
	return *p
}

// Order makes the order of a submission that passed Check. The source images are not stored yet: SourceImage and SourceMask
// hold what the client sent, so that the order has its price, until the caller puts the keys there; ExtraSources is empty
// until the caller has stored them. variationSeed is the seed of an order that asks for a variation
// and names no seed; workers are the ids of s.Workers.
func (s *ImageSubmission) Order(u *User, workers []WorkerID, variationSeed uint32) *Order {
	p := s.settings()
	o := &Order{
		Kind: Image, Prompt: value(s.Prompt), Models: s.ModelNames(),
		Workers: workers[:min(len(workers), MaxTargets)], WorkerBlacklist: value(s.WorkerBlacklist),
		NSFW: or(s.NSFW, true), CensorNSFW: or(s.CensorNSFW, true), TrustedWorkers: value(s.TrustedWorkers),
		ValidatedBackends: value(s.ValidatedBackends), SlowWorkers: or(s.SlowWorkers, true),
		ExtraSlowWorkers: value(s.ExtraSlowWorkers), DisableBatching: value(s.DisableBatching), R2: or(s.R2, true),
		Webhook: value(s.Webhook), ProxiedAccount: value(s.ProxiedAccount), RequesterTrusted: u.Has(Trusted),
		SourceImage: value(s.SourceImage), SourceMask: value(s.SourceMask),
	}
	if value(s.SourceImage) != "" || len(s.ExtraSourceImages) > 0 {
		o.SourceProcessing = s.processing()
	}
	if u.Has(Education) {
		o.NSFW, o.CensorNSFW, o.TrustedWorkers = false, true, true
	}
	q := &ImageParams{
		Width: or(p.Width, DefaultSide), Height: or(p.Height, DefaultSide), Steps: or(p.Steps, DefaultSteps),
		Sampler: or(p.Sampler, DefaultSampler), CFGScale: or(p.CFGScale, DefaultCFGScale), Karras: or(p.Karras, true),
		DenoisingStrength: p.DenoisingStrength, HiresFix: value(p.HiresFix),
		HiresFixDenoisingStrength: p.HiresFixDenoisingStrength, ClipSkip: p.ClipSkip, Tiling: value(p.Tiling),
		FacefixerStrength: p.FacefixerStrength, PostProcessing: p.PostProcessing, Special: p.Special,
		Workflow: value(p.Workflow), Transparent: value(p.Transparent), SeedVariation: value(p.SeedVariation),
		ControlType: value(p.ControlType), ImageIsControl: value(p.ImageIsControl),
		ReturnControlMap: value(p.ReturnControlMap), ExtraTexts: p.ExtraTexts,
	}
	if q.ControlType != "" {
		q.Steps = min(or(p.Steps, DefaultControlSteps), MaxControlSteps)
	}
	if q.Workflow == "qr_code" {
		o.DisableBatching = true
	}
	if seed, ok := ParseSeed(value(p.Seed)); ok {
		q.Seed = &seed
	} else if q.SeedVariation > 0 {
		q.Seed = &variationSeed
	}
	if p.Loras != nil {
		q.Loras = make([]Lora, len(p.Loras))
		for i, l := range p.Loras {
			q.Loras[i] = Lora{Name: value(l.Name), Model: or(l.Model, 1), Clip: or(l.Clip, 1),
				InjectTrigger: value(l.InjectTrigger), IsVersion: value(l.IsVersion)}
		}
	}
	if p.TIs != nil {
		q.TIs = make([]TI, len(p.TIs))
		for i, t := range p.TIs {
			q.TIs[i] = TI{Name: value(t.Name), InjectTI: value(t.InjectTI), Strength: or(t.Strength, 1)}
		}
	}
	if p.Sampling != (Sampling{}) {
		sampling := p.Sampling
		q.Sampling = &sampling
		q.Karras = p.scheduler() == schedulerKarras
	}
	o.Image = q
	return o
}

// Order makes the order of a submission that passed Check.
func (s *TextSubmission) Order(u *User, workers []WorkerID) *Order {
	o := &Order{
		Kind: Text, Prompt: value(s.Prompt), Models: cleanNames(s.Models),
		Workers: workers[:min(len(workers), MaxTargets)], WorkerBlacklist: value(s.WorkerBlacklist),
		TrustedWorkers: value(s.TrustedWorkers), ValidatedBackends: value(s.ValidatedBackends),
		SlowWorkers: or(s.SlowWorkers, true), Softprompt: value(s.Softprompt),
		Webhook: value(s.Webhook), ProxiedAccount: value(s.ProxiedAccount), RequesterTrusted: u.Has(Trusted),
	}
	q := &TextParams{}
	if s.Params != nil {
		q.TextSettings = *s.Params
	}
	maxLength, context := or(q.MaxLength, DefaultMaxLength), or(q.MaxContextLength, DefaultMaxContextLength)
	q.N, q.MaxLength, q.MaxContextLength = nil, &maxLength, &context
	o.Text = q
	return o
}

// Warning tells a client that its request will hardly give what the model can do. It never rejects.
type Warning struct {
	Code    string `json:"code" enum:"NoAvailableWorker,ClipSkipMismatch,StepsTooFew,StepsTooMany,CfgScaleMismatch,CfgScaleTooSmall,CfgScaleTooLarge,SamplerMismatch,SchedulerMismatch"`
	Message string `json:"message" minLength:"1"`
}

// NoAvailableWorker is the warning of an accepted request that no worker can serve now.
var NoAvailableWorker = Warning{"NoAvailableWorker", "No worker that can serve this request is online now. It waits, and expires in 20 minutes unless one comes."}

const documentedCFGScale = 7.5 // what the warnings take for an absent cfg_scale, although 5.0 is used

// Warnings compares the parameters as sent with what the models require (errors chapter, 7).
func (s *ImageSubmission) Warnings(ref *Reference) []Warning {
	p := s.settings()
	steps, cfg, clipSkip := or(p.Steps, DefaultSteps), or(p.CFGScale, documentedCFGScale), or(p.ClipSkip, 1)
	sampler, scheduler := or(p.Sampler, DefaultSampler), "karras"
	switch {
	case p.Scheduler != nil:
		scheduler = *p.Scheduler
	case !or(p.Karras, true):
		scheduler = "simple"
	}
	var warnings []Warning
	add := func(when bool, code, message string) {
		for _, w := range warnings {
			when = when && w.Code != code
		}
		if when {
			warnings = append(warnings, Warning{code, message})
		}
	}
	for _, m := range s.ModelNames() {
		r := ref.Image[m].Requirements
		add(r.ClipSkip != nil && *r.ClipSkip != clipSkip, "ClipSkipMismatch", "The model wants another clip_skip.")
		add(r.MinSteps != nil && *r.MinSteps > steps, "StepsTooFew", "The model wants more steps.")
		add(r.MaxSteps != nil && *r.MaxSteps < steps, "StepsTooMany", "The model wants fewer steps.")
		add(r.CFGScale != nil && *r.CFGScale != cfg, "CfgScaleMismatch", "The model wants another cfg_scale.")
		add(r.MinCFGScale != nil && *r.MinCFGScale > cfg, "CfgScaleTooSmall", "The model wants a larger cfg_scale.")
		add(r.MaxCFGScale != nil && *r.MaxCFGScale < cfg, "CfgScaleTooLarge", "The model wants a smaller cfg_scale.")
		add(len(r.Samplers) > 0 && !slices.Contains(r.Samplers, sampler), "SamplerMismatch", "The model wants another sampler.")
		add(len(r.Schedulers) > 0 && !slices.Contains(r.Schedulers, scheduler), "SchedulerMismatch", "The model wants another scheduler.")
	}
	return warnings
}
