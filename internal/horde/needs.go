// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"slices"
	"strings"
)

// Needs are the facts of an order that decide which workers may take it, apart from its size, its text and the workers it
// names. Two orders with equal needs are interchangeable for that question. The type is comparable.
type Needs struct {
	Kind Kind
	// Models is the sorted list of acceptable models, joined by NUL; empty means any.
	Models string
	Wants  Wants
	// Gates are the features that the order's post-processors need.
	Gates Features
	// Sampler is a set of one, on image orders.
	Sampler Samplers
}

// Wants are yes-or-no facts of an order.
type Wants uint32

// The facts, in the order of the predicate (dispatch chapter, 6 and 7).
const (
	WantsNSFW Wants = 1 << iota
	WantsSourceImage
	WantsPainting
	WantsExtraSources
	WantsUnsafeIP
	WantsR2
	WantsLoras // the key was sent, even as an empty list
	WantsTIs
	WantsControl
	WantsFast      // no slow workers
	WantsExtraSlow // extra slow workers are welcome
	WantsTransparent
	WantsTrusted
	WantsKarras
	WantsPostProcessing
	WantsTiling
	WantsControlMap
	WantsQRCode
	WantsHiresFix
	WantsClipSkip
	WantsLoraVersions
	WantsValidated
	WantsExtendedControl // a control type that is not in the reference's interface
	WantsExtendedSampling
	FromTrusted // from an unsafe address, but the requester was trusted
)

// Needs derives the facts.
func (o *Order) Needs() Needs {
	n := Needs{Kind: o.Kind}
	if len(o.Models) > 0 {
		models := slices.Clone(o.Models)
		slices.Sort(models)
		n.Models = strings.Join(slices.Compact(models), "\x00")
	}
	set := func(want Wants, on bool) {
		if on {
			n.Wants |= want
		}
	}
	set(WantsTrusted, o.TrustedWorkers)
	set(WantsFast, !o.SlowWorkers)
	set(WantsUnsafeIP, o.UnsafeIP)
	if o.Kind == Text {
		set(WantsValidated, o.ValidatedBackends)
		return n
	}
	p := o.Image
	set(FromTrusted, o.UnsafeIP && o.RequesterTrusted) // it matters there alone, and would part equal needs elsewhere
	set(WantsNSFW, o.NSFW)
	set(WantsSourceImage, o.SourceImage != "")
	set(WantsPainting, o.Painting())
	set(WantsExtraSources, len(o.ExtraSources) > 0)
	set(WantsR2, o.R2)
	set(WantsLoras, p.Loras != nil)
	set(WantsTIs, p.TIs != nil)
	set(WantsControl, p.ControlType != "")
	set(WantsExtraSlow, o.ExtraSlowWorkers)
	set(WantsTransparent, p.Transparent)
	set(WantsKarras, p.Karras)
	set(WantsPostProcessing, len(p.PostProcessing) > 0)
	set(WantsTiling, p.Tiling)
	set(WantsControlMap, p.ReturnControlMap)
	set(WantsQRCode, p.Workflow == "qr_code")
	set(WantsHiresFix, p.HiresFix)
	set(WantsClipSkip, p.ClipSkip != nil && *p.ClipSkip > 1)
	set(WantsLoraVersions, slices.ContainsFunc(p.Loras, func(l Lora) bool { return l.IsVersion }))
	set(WantsExtendedControl, newerControls[p.ControlType])
	set(WantsExtendedSampling, p.Sampling.newer() || SamplerNamed(p.Sampler) > SamplerLCM)
	n.Gates = ParseFeatures(p.PostProcessing)
	n.Sampler = SamplerNamed(p.Sampler)
	return n
}

// ModelList is the list that Models was made from, or nil for any model.
func (n *Needs) ModelList() []string {
	if n.Models == "" {
		return nil
	}
	return strings.Split(n.Models, "\x00")
}

// Offer is what a worker brings to one pop: its record as of now, the models that it declared and may serve, and what its
// agent stands for.
type Offer struct {
	Worker       *Worker
	OwnerTrusted bool
	Features     Features
	Karras       Samplers
	Plain        Samplers
	Validated    bool
	// Contract tells that the worker keeps [SolverContract].
	Contract bool
	// Models are those that count for this pop, with what the reference says about each.
	Models map[string]ModelFacts
	// Special tells that a private model is declared: then orders without a model are not for this worker.
	Special bool
	// TextSpeed is the speed in tokens a second that an order without slow workers asks of the declared model.
	TextSpeed float64
}

// ModelFacts is what matching wants to know of a model.
type ModelFacts struct {
	Baseline   string
	Inpainting bool
	// StepLimit is how many steps a worker that limits them accepts: the mean of the model's least and most, rounded as
	// in floor(least + most) / 2.
	StepLimit float64
}

// The steps that a model without requirements counts as wanting.
const (
	defaultMinSteps = 20
	defaultMaxSteps = 40
)

// Facts looks an image model up.
func (r *Reference) Facts(model string) ModelFacts {
	m := r.Image[model]
	least, most := defaultMinSteps, defaultMaxSteps
	if m.Requirements.MinSteps != nil {
		least = *m.Requirements.MinSteps
	}
	if m.Requirements.MaxSteps != nil {
		most = *m.Requirements.MaxSteps
	}
	return ModelFacts{Baseline: r.Baseline(model), Inpainting: m.Inpainting, StepLimit: float64(least+most) / 2}
}

// NewOffer makes the offer of a pop that declared these models. Only those that the worker may serve are in models; where
// that leaves none, which a pop that is no full check-in may do, the worker's stored ones stand for them.
func NewOffer(w *Worker, ownerTrusted bool, models []string, ref *Reference) *Offer {
	if len(models) == 0 {
		models = w.Models
	}
	caps := ParseAgent(w.Agent).Capabilities()
	o := &Offer{
		Worker: w, OwnerTrusted: ownerTrusted, Features: caps.Features &^ w.Withheld,
		Karras: caps.Karras, Plain: caps.Plain, Validated: caps.ValidatedText,
		Models: make(map[string]ModelFacts, len(models)),
	}
	if w.SamplerContract != "" {
		o.Contract = true
		o.Features |= FeatureExtendedSampling &^ w.Withheld
		o.Karras, o.Plain = everySampler, everySampler
	}
	for _, m := range models {
		o.Special = o.Special || strings.Contains(m, SpecialModel)
		o.Models[m] = ref.Facts(m)
	}
	if w.Kind == Text {
		o.TextSpeed = textSpeed(models, ref)
	}
	return o
}

// textSpeed is how many tokens a second an order that wants fast workers demands, by the size of the first model.
func textSpeed(models []string, ref *Reference) float64 {
	if len(models) == 0 {
		return 3
	}
	switch b := ref.Billions(models[0]); {
	case b >= 20:
		return 3
	case b >= 13:
		return 4
	}
	return 5
}

// usable calls f for each model that would run the order on this worker, until f returns false.
func (o *Offer) usable(wanted []string, f func(ModelFacts) bool) {
	if len(wanted) == 0 {
		for _, facts := range o.Models {
			if !f(facts) {
				return
			}
		}
		return
	}
	for _, m := range wanted {
		if facts, ok := o.Models[m]; ok && !f(facts) {
			return
		}
	}
}

func (o *Offer) anyUsable(wanted []string, is func(ModelFacts) bool) bool {
	found := false
	o.usable(wanted, func(f ModelFacts) bool { found = is(f); return !found })
	return found
}

// StepLimit is the most steps an order with these models may have here, and false where there is no limit.
func (o *Offer) StepLimit(wanted []string) (float64, bool) {
	limit, found := 0.0, false
	if !o.Worker.LimitMaxSteps {
		return 0, false
	}
	o.usable(wanted, func(f ModelFacts) bool {
		if !found || f.StepLimit < limit {
			limit, found = f.StepLimit, true
		}
		return true
	})
	return limit, found
}

// Usable lists the models that the order could run with on this worker: what is common to both, or all that the worker
// declared where the order takes any.
func (o *Offer) Usable(wanted []string) []string {
	var usable []string
	if len(wanted) == 0 {
		for m := range o.Models {
			usable = append(usable, m)
		}
		slices.Sort(usable)
		return usable
	}
	for _, m := range wanted {
		if _, ok := o.Models[m]; ok {
			usable = append(usable, m)
		}
	}
	return usable
}
