// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"horde/internal/api"
	"horde/internal/horde"
)

// samplerConstraints is what may be said to samplers and schedulers, made from the tables that submissions are checked with. A
// client that keeps to it builds no request that is refused. Programs read it whole or not at all, so every member is there.
type samplerConstraints struct {
	SchemaVersion      string                       `json:"schema_version" enum:"1.0"`
	ExecutionContracts map[string]executionContract `json:"execution_contracts"`
	Samplers           map[string]samplerRecord     `json:"samplers"`
	HardConstraints    hardConstraints              `json:"hard_constraints"`
	Recommendations    []samplerRecommendation      `json:"recommendations"`
	Advisories         samplerAdvisories            `json:"advisories"`
	WorkAccounting     workAccounting               `json:"work_accounting"`
	PresentationTiers  samplerPresentationTiers     `json:"presentation_tiers"`
}

// executionContract is a version of the promises that a worker can make when it pops.
type executionContract struct {
	Version    string              `json:"version"`
	Guarantees []executionGuaranty `json:"guarantees"`
}

type executionGuaranty struct {
	Name           string         `json:"name"`
	Sampler        string         `json:"sampler"`
	Maximum        iterationBound `json:"maximum_solver_iterations"`
	WorkUnitSource string         `json:"work_units_per_solver_iteration_source"`
}

type iterationBound struct {
	Numerator   int    `json:"trajectory_multiplier_numerator"`
	Denominator int    `json:"trajectory_multiplier_denominator"`
	Rounding    string `json:"rounding"`
}

type samplerRecord struct {
	Name        string                          `json:"name"`
	WorkProfile workProfile                     `json:"work_profile"`
	CostSD15    *float64                        `json:"measured_cost_ratio_sd15"`
	CostSDXL    *float64                        `json:"measured_cost_ratio_sdxl"`
	Tier        string                          `json:"presentation_tier" enum:"recommended,advanced"`
	CFGPP       bool                            `json:"applies_cfg_pp"`
	Settings    map[string]horde.SamplerSetting `json:"accepted_settings"`
	SolverTypes []string                        `json:"solver_type_choices"`
}

// workProfile is one of two, by Kind: so much work for each step, or what the sampler makes of it.
type workProfile struct {
	Kind      string   `json:"kind" enum:"fixed_rate,adaptive"`
	PerStep   int      `json:"marginal_work_units_per_trajectory_step,omitempty"`
	Estimate  *int     `json:"estimated_work_units_per_request,omitempty"`
	BoundedBy []string `json:"finite_ceiling_contract_versions,omitzero"`
}

type hardConstraints struct {
	Rejected  []horde.SamplerPairing `json:"rejected_sampler_scheduler_pairings"`
	Baselines map[string][]string    `json:"scheduler_baseline_applicability"`
}

type samplerRecommendation struct {
	Samplers   []string `json:"samplers"`
	Schedulers []string `json:"schedulers"`
	Provenance string   `json:"provenance" enum:"upstream_author,community,measured,ai_horde_devs"`
	Source     string   `json:"source"`
	Summary    string   `json:"summary"`
}

type samplerAdvisories struct {
	MaxCFGScale float64 `json:"cfg_pp_advised_max_cfg_scale"`
}

type workAccounting struct {
	Field      string `json:"authoritative_field"`
	Note       string `json:"authoritative_note"`
	Provenance string `json:"measured_cost_ratio_provenance" enum:"upstream_author,community,measured,ai_horde_devs"`
	Source     string `json:"measured_cost_ratio_source"`
	CostNote   string `json:"measured_cost_ratio_note"`
	SDXLNote   string `json:"measured_cost_ratio_sdxl_note"`
	SD15Note   string `json:"measured_cost_ratio_sd15_note"`
}

type samplerPresentationTiers struct {
	Note        string   `json:"note"`
	Recommended []string `json:"recommended"`
}

const (
	// cfgPPScale is up to where a cfg_scale makes sense to a sampler that guides the CFG++ way, which counts it otherwise.
	cfgPPScale = 2
	// publicFor is for how long documents of the horde's rules may be kept, as a header says it.
	publicFor = "public, max-age=300"

	advancedTier, recommendedTier = "advanced", "recommended"
)

// constraints is the document. It is the same for the life of the process.
func constraints() *samplerConstraints {
	d := &samplerConstraints{
		SchemaVersion: "1.0",
		ExecutionContracts: map[string]executionContract{horde.SolverContract: {
			Version: horde.SolverContract,
			Guarantees: []executionGuaranty{{
				Name: "bounded_dpm_adaptive_v1", Sampler: horde.AdaptiveSampler, WorkUnitSource: "sampler_order",
				Maximum: iterationBound{horde.SolverBoundNumerator, horde.SolverBoundDenominator, "ceiling"},
			}},
		}},
		Samplers:        map[string]samplerRecord{},
		HardConstraints: hardConstraints{Rejected: horde.RefusedPairings, Baselines: map[string][]string{}},
		Recommendations: []samplerRecommendation{},
		Advisories:      samplerAdvisories{cfgPPScale},
		WorkAccounting: workAccounting{
			Field: "work_profile", Provenance: "measured", Source: "none",
			Note:     "How many times the network runs for a step; this is what images are priced and workers are chosen by.",
			CostNote: "The time for a step beside that of k_euler. This horde has measured none.",
			SDXLNote: "Not measured.", SD15Note: "Not measured.",
		},
		PresentationTiers: samplerPresentationTiers{
			Note: "What to show first. Every sampler of this document is accepted.", Recommended: horde.RecommendedSamplers,
		},
	}
	for scheduler, baselines := range horde.SchedulerBaselines {
		named := make([]string, len(baselines))
		for i, b := range baselines {
			named[i] = strings.ReplaceAll(b, " ", "_")
		}
		d.HardConstraints.Baselines[scheduler] = named
	}
	for _, name := range horde.SamplerNames() {
		rule := horde.RuleOf(name)
		r := samplerRecord{Name: name, Tier: advancedTier, CFGPP: rule.CFGPP, SolverTypes: rule.SolverTypes,
			WorkProfile: workProfile{Kind: "fixed_rate", PerStep: rule.Work}, Settings: map[string]horde.SamplerSetting{}}
		maps.Copy(r.Settings, rule.Settings)
		if slices.Contains(horde.RecommendedSamplers, name) {
			r.Tier = recommendedTier
		}
		if r.SolverTypes == nil {
			r.SolverTypes = []string{}
		}
		if rule.Work == 0 {
			estimate := horde.AccurateSteps(name, horde.DefaultSteps)
			r.WorkProfile = workProfile{Kind: "adaptive", Estimate: &estimate, BoundedBy: []string{horde.SolverContract}}
		}
		d.Samplers[name] = r
	}
	return d
}

func (a *API) constraints(r *api.Router) {
	document := constraints()
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/status/sampler_constraints", Limits: api.DefaultLimits, ID: "get_sampler_constraints",
		Summary:   "Which parameters go with which sampler, scheduler and model, as requests are checked.",
		Published: api.Published{Ours: true},
	}, func(_ context.Context, c *api.Call[api.NoInput]) (int, *samplerConstraints, error) {
		c.Header()["Cache-Control"] = []string{publicFor}
		return http.StatusOK, document, nil
	})
}
