// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Sampling are the parameters of an image that only newer programs know (newer chapter, 2.1 and 2.4). All may be absent, and
// then nothing is as if they existed: a worker that has never heard of them gets the same payload as ever.
type Sampling struct {
	// Scheduler spaces the steps. It wins over karras, which without it stands for "karras" or "normal".
	Scheduler *string `json:"scheduler,omitempty" enum:"normal,karras,exponential,sgm_uniform,simple,ddim_uniform,beta,linear_quadratic,kl_optimal,align_your_steps,gits" doc:"How the steps are spaced. It wins over karras."`
	// What follows is for certain samplers only: see SamplerRules.
	Eta        *float64 `json:"sampler_eta,omitempty" minimum:"0" doc:"How much noise the sampler adds back at each step."`
	SNoise     *float64 `json:"sampler_s_noise,omitempty" minimum:"0"`
	SChurn     *float64 `json:"sampler_s_churn,omitempty" minimum:"0"`
	STMin      *float64 `json:"sampler_s_tmin,omitempty" minimum:"0"`
	STMax      *float64 `json:"sampler_s_tmax,omitempty" minimum:"0"`
	SolverType *string  `json:"sampler_solver_type,omitempty" enum:"midpoint,heun,phi_1,phi_2"`
	Order      *int     `json:"sampler_order,omitempty" minimum:"1"`
	// FlowShift is for models that are trained by flow matching.
	FlowShift *float64 `json:"flow_shift,omitempty" minimum:"0" doc:"For models that are trained by flow matching."`
	// ControlStrength is how much a control map counts; absent is 1.
	ControlStrength     *float64 `json:"control_strength,omitempty" minimum:"0.01" maximum:"3" doc:"How much the control map counts, 1 when absent. Only with control_type."`
	PostProcessingOrder *string  `json:"post_processing_order,omitempty" enum:"facefixers_first,upscalers_first,custom" doc:"facefixers_first when absent."`
}

// The schedulers that karras stands for.
const (
	schedulerKarras = "karras"
	schedulerNormal = "normal"
)

// defaultPostProcessingOrder is what an absent post_processing_order stands for.
const defaultPostProcessingOrder = "facefixers_first"

// newer tells whether something is asked for that a worker of before knows nothing of.
func (s *Sampling) newer() bool {
	if s == nil {
		return false
	}
	rest := *s
	switch value(s.Scheduler) {
	case schedulerKarras, schedulerNormal:
		rest.Scheduler = nil
	}
	if value(s.PostProcessingOrder) == defaultPostProcessingOrder {
		rest.PostProcessingOrder = nil
	}
	return rest != (Sampling{})
}

// SolverContract is the only version of the promises on how a worker runs samplers: see [MaxSolverSteps].
const SolverContract = "1.0"

// The bound that version 1.0 of the promises puts on the adaptive sampler: so many iterations for each step that was asked for,
// rounded up.
const (
	SolverBoundNumerator   = 5
	SolverBoundDenominator = 4
	// AdaptiveSampler decides itself how often it runs the network.
	AdaptiveSampler      = "k_dpm_adaptive"
	defaultAdaptiveOrder = 3
)

// newerSamplers are the samplers that are not in the reference's interface.
var newerSamplers = strings.Fields(`uni_pc uni_pc_bh2 dpmpp_2m_sde dpmpp_3m_sde ddpm deis ipndm res_multistep gradient_estimation
	heunpp2 er_sde sa_solver euler_cfg_pp euler_ancestral_cfg_pp exp_heun_2_x0 exp_heun_2_x0_sde dpmpp_2s_ancestral_cfg_pp
	dpmpp_2m_cfg_pp dpmpp_2m_sde_heun ipndm_v res_multistep_cfg_pp res_multistep_ancestral res_multistep_ancestral_cfg_pp
	gradient_estimation_cfg_pp seeds_2 seeds_3 sa_solver_pece`)

// everySampler is the set of every sampler.
var everySampler Samplers

func init() {
	for i, name := range newerSamplers {
		samplerNames[name] = SamplerLCM << (i + 1)
	}
	for _, s := range samplerNames {
		everySampler |= s
	}
}

// SamplerNames are all samplers, sorted.
func SamplerNames() []string { return slices.Sorted(maps.Keys(samplerNames)) }

// SamplerSetting is a further parameter of a sampler.
type SamplerSetting struct {
	Minimum float64 `json:"minimum"`
	// Maximum and Default are null where there is none.
	Maximum *float64 `json:"maximum"`
	Default *float64 `json:"default"`
	Whole   bool     `json:"integer_only"`
}

// SamplerRule is what may be said to a sampler.
type SamplerRule struct {
	// Settings are the parameters that it takes, by the name of the field of a request.
	Settings map[string]SamplerSetting
	// SolverTypes are the values of sampler_solver_type that it takes.
	SolverTypes []string
	// Work is how many times the network runs for one step; 0 where the sampler decides that itself.
	Work int
	// CFGPP tells that it guides the CFG++ way.
	CFGPP bool
}

// setting is a range with a default. Something below the minimum stands for none.
func setting(minimum, maximum, preset float64, whole bool) SamplerSetting {
	s := SamplerSetting{Minimum: minimum, Whole: whole}
	if maximum >= minimum {
		s.Maximum = &maximum
	}
	if preset >= minimum {
		s.Default = &preset
	}
	return s
}

var samplerRules = map[string]SamplerRule{}

func init() {
	type settings = map[string]SamplerSetting
	unit := setting(0, 100, 1, false)
	noise, orders := settings{"sampler_s_noise": unit}, func(least, most, preset float64) settings {
		return settings{"sampler_order": setting(least, most, preset, true)}
	}
	ancestral := settings{"sampler_eta": unit, "sampler_s_noise": unit}
	churn := settings{"sampler_s_churn": setting(0, 100, 0, false), "sampler_s_tmin": setting(0, 100, 0, false),
		"sampler_s_tmax": setting(0, -1, -1, false), "sampler_s_noise": unit}
	midpoints, phis := []string{"midpoint", "heun"}, []string{"phi_1", "phi_2"}

	for _, group := range []struct {
		samplers string
		settings settings
		solvers  []string
	}{
		{"k_lms", orders(1, 100, 4), nil},
		{"deis", orders(2, 4, 3), nil},
		{"ipndm ipndm_v", orders(2, 4, 4), nil},
		{"k_heun k_euler k_dpm_2 heunpp2", churn, nil},
		{"k_euler_a k_dpm_2_a k_dpmpp_2s_a k_dpmpp_sde dpmpp_3m_sde dpmpp_2s_ancestral_cfg_pp res_multistep_ancestral " +
			"res_multistep_ancestral_cfg_pp seeds_3", ancestral, nil},
		{"dpmpp_2m_sde dpmpp_2m_sde_heun", ancestral, midpoints},
		{"exp_heun_2_x0_sde seeds_2", ancestral, phis},
		{"exp_heun_2_x0", nil, phis},
		{AdaptiveSampler, settings{"sampler_eta": setting(0, 100, 0, false), "sampler_s_noise": unit,
			"sampler_order": setting(2, 3, defaultAdaptiveOrder, true)}, nil},
		{"lcm res_multistep er_sde sa_solver res_multistep_cfg_pp sa_solver_pece", noise, nil},
		{"euler_ancestral_cfg_pp", settings{"sampler_eta": setting(0, 1, 1, false), "sampler_s_noise": setting(0, 10, 1, false)}, nil},
	} {
		for name := range strings.FieldsSeq(group.samplers) {
			samplerRules[name] = SamplerRule{Settings: group.settings, SolverTypes: group.solvers}
		}
	}
	for name := range samplerNames {
		r := samplerRules[name]
		r.CFGPP = strings.HasSuffix(name, "_cfg_pp")
		r.Work = 1
		switch {
		case name == AdaptiveSampler:
			r.Work = 0
		case name == "heunpp2" || name == "seeds_3":
			r.Work = 3
		case slices.Contains(doubleSamplers, name):
			r.Work = 2
		}
		samplerRules[name] = r
	}
}

// doubleSamplers run the network twice a step.
var doubleSamplers = []string{
	"k_heun", "k_dpm_2", "k_dpm_2_a", "k_dpmpp_2s_a", "k_dpmpp_sde",
	"exp_heun_2_x0", "exp_heun_2_x0_sde", "dpmpp_2s_ancestral_cfg_pp", "seeds_2", "sa_solver_pece",
}

// RuleOf is what may be said to a sampler that a request may name.
func RuleOf(sampler string) SamplerRule { return samplerRules[sampler] }

// RecommendedSamplers are those that a client should offer first.
var RecommendedSamplers = []string{"DDIM", "dpmpp_2m_sde", "k_dpmpp_2m", "k_dpmpp_sde", "k_euler", "k_euler_a", "lcm", "uni_pc"}

// SamplerPairing is a sampler with a scheduler.
type SamplerPairing struct {
	Sampler   string `json:"sampler"`
	Scheduler string `json:"scheduler"`
}

// RefusedPairings go ill together.
var RefusedPairings = []SamplerPairing{{"dpmpp_3m_sde", schedulerNormal}}

// SchedulerBaselines are, for schedulers that not every model can use, the baselines of those that can.
var SchedulerBaselines = map[string][]string{
	"align_your_steps": {BaselineSD1, BaselineSDXL},
	"gits":             {BaselineSD1, BaselineSDXL},
}

// flowMatching tells whether models of a baseline are trained by flow matching.
func flowMatching(baseline string) bool {
	return strings.HasPrefix(baseline, "flux") || strings.HasPrefix(baseline, BaselineQwen) || strings.HasPrefix(baseline, BaselineZImage)
}

// scheduler is the effective one.
func (p *ImageSettings) scheduler() string {
	switch {
	case p.Scheduler != nil:
		return *p.Scheduler
	case or(p.Karras, true):
		return schedulerKarras
	}
	return schedulerNormal
}

// CheckSampling refuses what does not go together with the sampler or with the models, which may be none for any. What is not
// accepted is never replaced by something else.
func (p *ImageSettings) CheckSampling(models []string, ref *Reference) *Error {
	sampler, scheduler := or(p.Sampler, DefaultSampler), p.scheduler()
	rule := RuleOf(sampler)
	refuse := func(field, reason string, args ...any) *Error {
		return ErrUnsupportedSampler.Withf("%s: %s", field, fmt.Sprintf(reason, args...))
	}
	everyModel := func(is func(string) bool) bool {
		return len(models) > 0 && !slices.ContainsFunc(models, func(m string) bool { return !is(ref.Baseline(m)) })
	}
	for _, s := range []struct {
		field string
		value *float64
	}{
		{"sampler_eta", p.Eta}, {"sampler_s_noise", p.SNoise}, {"sampler_s_churn", p.SChurn}, {"sampler_s_tmin", p.STMin},
		{"sampler_s_tmax", p.STMax}, {"sampler_order", decimals(p.Order)},
	} {
		if s.value == nil {
			continue
		}
		allowed, ok := rule.Settings[s.field]
		switch {
		case !ok:
			return refuse(s.field, "%s does not take it.", sampler)
		case *s.value < allowed.Minimum, allowed.Maximum != nil && *s.value > *allowed.Maximum:
			return refuse(s.field, "%v is out of the range of %s.", *s.value, sampler)
		}
	}
	switch {
	case p.SolverType != nil && !slices.Contains(rule.SolverTypes, *p.SolverType):
		return refuse("sampler_solver_type", "%s has no %s.", sampler, *p.SolverType)
	case slices.Contains(RefusedPairings, SamplerPairing{sampler, scheduler}):
		return refuse("scheduler", "%s does not work with %s.", scheduler, sampler)
	case SchedulerBaselines[scheduler] != nil && !everyModel(func(b string) bool { return slices.Contains(SchedulerBaselines[scheduler], b) }):
		return refuse("scheduler", "%s is for models of %s only.", scheduler, strings.Join(SchedulerBaselines[scheduler], " and "))
	case p.FlowShift != nil && !everyModel(flowMatching):
		return refuse("flow_shift", "it is for models that are trained by flow matching only.")
	case p.ControlStrength != nil && value(p.ControlType) == "":
		return ErrControlPayload.Withf("control_strength needs a control_type.")
	}
	return nil
}

func decimals(n *int) *float64 {
	if n == nil {
		return nil
	}
	x := float64(*n)
	return &x
}

// MaxSolverSteps is how many times the network runs at most on a worker that keeps version 1.0 of [SolverContract]. It differs
// from AccurateSteps, by which images are priced, for the adaptive sampler alone.
func (p *ImageParams) MaxSolverSteps() int {
	if p.Sampler != AdaptiveSampler {
		return p.AccurateSteps()
	}
	order := defaultAdaptiveOrder
	if p.Sampling != nil && p.Sampling.Order != nil {
		order = *p.Sampling.Order
	}
	return int(math.Ceil(float64(SolverBoundNumerator*p.Steps)/SolverBoundDenominator)) * order
}

// withinSteps tells whether a worker with this limit of steps takes an image.
func (o *Offer) withinSteps(p *ImageParams, limit float64) bool {
	if o.Contract {
		return float64(p.MaxSolverSteps()) <= limit
	}
	return float64(p.AccurateSteps()) <= limit
}

// StepLimitOf is StepLimit for orders with these needs, in the measure of [ImageParams.MaxSolverSteps].
func (o *Offer) StepLimitOf(n *Needs, wanted []string) (float64, bool) {
	limit, ok := o.StepLimit(wanted)
	if !ok || o.Contract || n.Sampler != SamplerDPMAdaptive {
		return limit, ok
	}
	// Without the contract the adaptive sampler counts as so many steps, whatever was asked for.
	if adaptiveSteps <= limit {
		return 0, false
	}
	return 0, true
}

// plainControls are the control types of the reference's interface.
var plainControls = map[string]bool{
	"canny": true, "hed": true, "depth": true, "normal": true, "openpose": true, "seg": true, "scribble": true,
	"fakescribbles": true, "hough": true,
}

// newerControls are those that only newer programs know.
var newerControls = map[string]bool{
	"mlsd": true, "binary": true, "standard_lineart": true, "lineart": true, "lineart_anime": true, "lineart_anime_denoise": true,
	"pidinet": true, "scribble_xdog": true, "scribble_pidinet": true, "teed": true, "pyracanny": true, "midas_depth": true,
	"zoe_depth": true, "depth_anything": true, "depth_anything_v2": true, "normal_bae": true, "oneformer_ade20k": true,
	"oneformer_coco": true, "color": true, "shuffle": true, "recolor_luminance": true, "recolor_intensity": true, "tile": true,
	"tile_ttplanet_guided": true, "tile_ttplanet_simple": true,
}
