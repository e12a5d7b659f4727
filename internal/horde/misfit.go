// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import "slices"

// Misfit is the set of reasons why a worker may not take orders with certain needs. The empty set is a fit, as far as the
// needs go: size, prompt, targeted workers and the requester's balance are tested order by order.
type Misfit uint32

// The reasons, named after what a worker is told of them; hidden ones are told to nobody.
const (
	MisfitModels Misfit = 1 << iota
	MisfitImg2Img
	MisfitPainting
	MisfitUnsafeIP
	MisfitNSFW
	MisfitLora
	MisfitLoraGate
	MisfitTIGate
	MisfitControl
	MisfitControlGate
	MisfitSlow
	MisfitExtraSlow
	MisfitTransparentGate
	MisfitQueryHidden // a hidden reason of the first stage
	MisfitUntrusted
	MisfitBridge // the agent lacks a feature, found in the second stage
	MisfitHidden // a hidden reason of the second stage
)

// misfitFirstStage are the reasons that keep an order out of a worker's sight; orders with only the others are looked at
// and turned down (the chapter's stages Q and E). The difference shows in the counts of bridge_version alone.
const misfitFirstStage = MisfitUntrusted - 1

// Misfit tests the needs against the offer (dispatch chapter, 6 and 7). wanted is n.ModelList(), which callers keep.
func (o *Offer) Misfit(n *Needs, wanted []string) Misfit {
	if n.Kind == Text {
		return o.textMisfit(n, wanted)
	}
	var m Misfit
	miss := func(reason Misfit, when bool) {
		if when {
			m |= reason
		}
	}
	w, wants := o.Worker, func(x Wants) bool { return n.Wants&x != 0 }
	lacks := func(f Features) bool { return o.Features&f != f }

	miss(MisfitModels, !o.offersAny(wanted))
	miss(MisfitImg2Img, wants(WantsSourceImage) && !w.AllowImg2Img)
	miss(MisfitPainting, wants(WantsPainting) && !w.AllowPainting)
	miss(MisfitQueryHidden, wants(WantsExtraSources) && lacks(FeatureExtraSourceImages))
	miss(MisfitUnsafeIP, wants(WantsUnsafeIP) && !w.AllowUnsafeIP)
	miss(MisfitNSFW, wants(WantsNSFW) && !w.NSFW)
	miss(MisfitQueryHidden, wants(WantsR2) && lacks(FeatureR2))
	miss(MisfitLora, wants(WantsLoras) && !w.AllowLora)
	miss(MisfitLoraGate, wants(WantsLoras) && lacks(FeatureLora))
	miss(MisfitTIGate, wants(WantsTIs) && lacks(FeatureTextualInversion))
	miss(MisfitControl, wants(WantsControl) && !w.AllowControlNet)
	miss(MisfitControl, wants(WantsExtendedControl) && !w.AllowExtendedControlNet)
	miss(MisfitControlGate, wants(WantsControl) && lacks(FeatureControlNet))
	miss(MisfitSlow, wants(WantsFast) && w.Speed < FastSpeed)
	miss(MisfitExtraSlow, w.ExtraSlow && !wants(WantsExtraSlow))
	miss(MisfitTransparentGate, wants(WantsTransparent) && lacks(FeatureLayerDiffuse))
	miss(MisfitQueryHidden, wants(WantsTransparent) && !w.AllowSDXLControlNet)

	miss(MisfitUntrusted, wants(WantsTrusted) && !o.OwnerTrusted)
	miss(MisfitBridge, wants(WantsSourceImage) && lacks(FeatureImg2Img))
	if wants(WantsPainting) {
		miss(MisfitHidden, lacks(FeatureInpainting) ||
			!o.anyUsable(nil, func(f ModelFacts) bool { return f.Inpainting }))
	} else {
		miss(MisfitHidden, len(o.Models) > 0 && !o.anyUsable(nil, func(f ModelFacts) bool { return !f.Inpainting }))
	}
	miss(MisfitBridge, !o.hasSampler(n))
	miss(MisfitBridge, wants(WantsExtendedSampling) && lacks(FeatureExtendedSampling))
	miss(MisfitBridge, wants(WantsPostProcessing) && (lacks(FeaturePostProcessing) || lacks(n.Gates)))
	miss(MisfitBridge, wants(WantsTiling) && lacks(FeatureTiling))
	miss(MisfitBridge, wants(WantsControlMap) && lacks(FeatureReturnControlMap))
	miss(MisfitBridge, wants(WantsControl) && lacks(FeatureControlNet|FeatureImageIsControl))
	miss(MisfitBridge, wants(WantsQRCode) && lacks(FeatureControlNet|FeatureQRCode))
	miss(MisfitHidden, wants(WantsQRCode) && !w.AllowSDXLControlNet && o.anyUsable(wanted, baseline(BaselineSDXL)))
	miss(MisfitBridge, wants(WantsHiresFix) && lacks(FeatureHiresFix))
	miss(MisfitBridge, wants(WantsHiresFix) && lacks(FeatureStableCascade2Pass) &&
		o.anyUsable(wanted, baseline(BaselineCascade)))
	miss(MisfitBridge, lacks(FeatureFlux) && o.anyUsable(wanted, baseline(BaselineFlux)))
	miss(MisfitBridge, wants(WantsClipSkip) && lacks(FeatureClipSkip))
	miss(MisfitBridge, wants(WantsLoraVersions) && lacks(FeatureLoraVersions))
	miss(MisfitHidden, wants(WantsUnsafeIP) && !o.OwnerTrusted && !wants(FromTrusted))
	miss(MisfitHidden, wants(WantsPostProcessing) && !w.AllowPostProcessing)
	return m
}

// possibleAnyway are the reasons that the question whether a request can be served at all does not look at.
const possibleAnyway = MisfitLoraGate | MisfitTIGate | MisfitExtraSlow

// possibleTextSpeed is the speed in tokens a second from which a text worker counts for that question.
const possibleTextSpeed = 2

// CouldTake tells whether the worker could take the order, as far as clients are told: the test is a little looser than
// that of a pop (dispatch chapter, 19). It looks at neither maintenance, nor pauses, nor balances.
func (o *Offer) CouldTake(order *Order, n *Needs, wanted []string) bool {
	w := o.Worker
	if len(order.Workers) > 0 && slices.Contains(order.Workers, w.ID) == order.WorkerBlacklist {
		return false
	}
	if order.Kind == Text {
		slow := n.Wants&WantsFast != 0 && w.Speed < possibleTextSpeed
		loose := *n
		loose.Wants &^= WantsFast
		return !slow && *order.Text.MaxLength <= w.MaxLength && *order.Text.MaxContextLength <= w.MaxContextLength &&
			o.textMisfit(&loose, wanted) == 0
	}
	if order.Image.Pixels() > w.MaxPixels {
		return false
	}
	if limit, ok := o.StepLimit(wanted); ok && !o.withinSteps(order.Image, limit) {
		return false
	}
	return o.Misfit(n, wanted)&^possibleAnyway == 0
}

// Eligible tells whether the worker passes every gate for the order that is known before a pop: it is CouldTake by the letter
// of a pop. It looks at neither maintenance, nor pauses, nor balances, nor the worker's words.
func (o *Offer) Eligible(order *Order, n *Needs, wanted []string) bool {
	w := o.Worker
	if len(order.Workers) > 0 && slices.Contains(order.Workers, w.ID) == order.WorkerBlacklist {
		return false
	}
	if order.Kind == Text {
		return *order.Text.MaxLength <= w.MaxLength && *order.Text.MaxContextLength <= w.MaxContextLength && o.Misfit(n, wanted) == 0
	}
	if limit, ok := o.StepLimit(wanted); ok && !o.withinSteps(order.Image, limit) {
		return false
	}
	return order.Image.Pixels() <= w.MaxPixels && o.Misfit(n, wanted) == 0
}

func baseline(b string) func(ModelFacts) bool {
	return func(f ModelFacts) bool { return f.Baseline == b }
}

func (o *Offer) textMisfit(n *Needs, wanted []string) Misfit {
	var m Misfit
	w, wants := o.Worker, func(x Wants) bool { return n.Wants&x != 0 }
	if wants(WantsUnsafeIP) && !w.AllowUnsafeIP || wants(WantsNSFW) && !w.NSFW || !o.offersAny(wanted) ||
		wants(WantsFast) && w.Speed < o.TextSpeed || wants(WantsValidated) && !o.Validated {
		m |= MisfitQueryHidden
	}
	if wants(WantsTrusted) && !o.OwnerTrusted {
		m |= MisfitUntrusted
	}
	return m
}

// offersAny tells whether the worker has one of the wanted models. An order without models goes to every worker, except to
// image workers that declare a private model.
func (o *Offer) offersAny(wanted []string) bool {
	if len(wanted) == 0 {
		return len(o.Models) > 0 && (o.Worker.Kind == Text || !o.Special)
	}
	for _, m := range wanted {
		if _, ok := o.Models[m]; ok {
			return true
		}
	}
	return false
}

func (o *Offer) hasSampler(n *Needs) bool {
	have := o.Plain
	if n.Wants&WantsKarras != 0 {
		have = o.Karras
	}
	return have&n.Sampler == n.Sampler
}

// Skipped counts, for a pop that got no job, how many waiting requests were passed over for each reason. The counts are
// for people: a request may count under several.
type Skipped struct {
	WorkerID, Performance, NSFW, Untrusted, Models, BridgeVersion, UnsafeIP, Img2Img, Painting, Lora, ControlNet int
	MaxPixels, Kudos, Blacklist, StepCount                                                                       int
}

// Count adds n requests of equal needs that the worker did not get for the reasons in m.
func (s *Skipped) Count(o *Offer, needs *Needs, wanted []string, m Misfit, n int) {
	if needs.Kind == Text {
		if m == MisfitUntrusted {
			s.Untrusted += n
		}
		return
	}
	w, wants := o.Worker, func(x Wants) bool { return needs.Wants&x != 0 }
	lacks := func(f Features) bool { return o.Features&f != f }
	add := func(to *int, when bool) {
		if when {
			*to += n
		}
	}
	for _, model := range wanted {
		if _, ok := o.Models[model]; !ok {
			s.Models += n
			break
		}
	}
	add(&s.Img2Img, m&MisfitImg2Img != 0)
	add(&s.Painting, m&MisfitPainting != 0)
	add(&s.UnsafeIP, m&MisfitUnsafeIP != 0)
	add(&s.NSFW, m&MisfitNSFW != 0)
	add(&s.Lora, m&MisfitLora != 0)
	add(&s.ControlNet, m&MisfitControl != 0)
	add(&s.Performance, wants(WantsFast) && w.Speed <= FastSpeed)
	add(&s.Performance, m&MisfitExtraSlow != 0)
	add(&s.Untrusted, m&MisfitUntrusted != 0)

	add(&s.BridgeVersion, w.AllowImg2Img && wants(WantsSourceImage) && lacks(FeatureImg2Img))
	add(&s.BridgeVersion, w.AllowPainting && wants(WantsPainting) && lacks(FeatureInpainting))
	add(&s.BridgeVersion, w.AllowLora && m&MisfitLoraGate != 0)
	add(&s.BridgeVersion, m&MisfitTIGate != 0)
	add(&s.BridgeVersion, w.AllowControlNet && m&MisfitControlGate != 0)
	add(&s.BridgeVersion, !o.hasSampler(needs) || wants(WantsHiresFix) && lacks(FeatureHiresFix) ||
		wants(WantsControlMap) && lacks(FeatureReturnControlMap) || wants(WantsTiling) && lacks(FeatureTiling) ||
		m&MisfitTransparentGate != 0)
	add(&s.BridgeVersion, m&(misfitFirstStage|MisfitUntrusted) == 0 && m&MisfitBridge != 0)
}
