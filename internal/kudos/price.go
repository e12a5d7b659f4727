// SPDX-License-Identifier: AGPL-3.0-or-later

// Package kudos knows what work is worth. Prices are pure functions of an order, a model and the model reference: no I/O,
// no clock, no state.
//
// A result has a base price K ([Rules.Price]), which is computed once and kept with the request. What the result is worth
// when it is delivered, J, depends on the model that made it ([ImageReward], [Rules.TextReward]). The worker's owner
// earns J, scaled for images by the multiplier of the worker's bridge; the requester pays [Burn] of J, and once for the
// request its [Tax]. Before there is a result there is an [Rules.Estimate], and a gate that asks some orders to be paid
// for upfront ([Rules.Upfront]) or shrinks them ([Upfront.Downgrade]).
//
// Prices are float64 in kudos, and become [horde.Kudos] once, where they are posted: horde.NewKudos.
package kudos

import (
	"math"

	"horde/internal/horde"
)

// Rules are the operator's choices that change prices. The zero value is the default.
type Rules struct {
	// MatchedTargeting (HORDE_REQUIRE_MATCHED_TARGETING) makes a job of an order that is for certain workers only
	// worth 0.1: such orders go to the requester's own workers and those that list the requester.
	MatchedTargeting bool
	// UpfrontOnWorkerList (HORDE_UPFRONT_KUDOS_ON_WORKERLIST) makes every order that lists workers need kudos upfront.
	UpfrontOnWorkerList bool
}

const (
	targetedPrice = 0.1
	loraPrice     = 3 // for each LoRA
	tiPrice       = 1 // for any number of textual inversions
)

// targeted tells whether the price is that of work between acquaintances. A list of workers that may not serve the order
// does not make it so: everybody else still may, and works as hard.
func (r Rules) targeted(o *horde.Order) bool {
	return r.MatchedTargeting && len(o.Workers) > 0 && !o.WorkerBlacklist
}

// Price is the base price of one result: K of the chapter, which a request keeps as its Price. For a text it is 0, because
// what a text is worth shows only when it is made.
func (r Rules) Price(o *horde.Order) float64 {
	switch {
	case o.Kind == horde.Text:
		return 0
	case r.targeted(o):
		return targetedPrice
	}
	price := ImageWork(o) + loraPrice*float64(len(o.Image.Loras))
	if len(o.Image.TIs) > 0 {
		price += tiPrice
	}
	return round2(price)
}

// ImageReward is what a delivered image is worth, in kudos: J of the chapter. price is the request's base price and model
// the one that the job recorded. The worker's owner is credited it times the multiplier of the worker's bridge, the
// requester pays [Burn] of it.
func ImageReward(price horde.Kudos, o *horde.Order, model string, ref *horde.Reference) float64 {
	return price.Float() * ModelFactor(o, model, ref)
}

// Burn is what the requester pays for a job that is worth reward. A censored job is worth 0 here.
func Burn(o *horde.Order, reward float64) float64 {
	if o.Kind == horde.Text {
		return reward + 1
	}
	if o.SourceImage != "" {
		reward *= 1.3
	}
	for _, name := range o.Image.PostProcessing {
		if horde.Upscalers[name] {
			reward *= 1.05
		}
	}
	reward++
	if !o.SlowWorkers {
		reward *= 1.2
	}
	if o.WorkerBlacklist {
		reward *= 1.1
	}
	return reward
}

// Tax is what the requester pays once, when the request becomes active. styled tells that a style was applied to it, which
// counts for texts only: every image pays as if.
func Tax(o *horde.Order, styled bool) horde.Kudos {
	tax := horde.Kudos(1_00 + 5_00*len(o.ExtraSources))
	if styled || o.Kind == horde.Image {
		tax += 2_00
	}
	return tax
}

// Estimate is what n results of the order will cost, as far as that can be told: what a dry run answers, and what images
// need upfront. Fees for styles and extra source images are not in it.
func (r Rules) Estimate(o *horde.Order, n int, ref *horde.Reference) float64 {
	if o.Kind == horde.Text {
		return Burn(o, r.textEstimate(o, ref))*float64(n) + 1
	}
	return Burn(o, r.Price(o))*largestFactor(o, ref)*float64(n) + 1
}

// Uptime rewards, in kudos for each horde.UptimeStep (kudos chapter, 7).
const (
	imageUptime      = 50
	imageUptimeModel = 2
	imageUptimeLora  = 30
	alchemyUptime    = 40
	textUptime       = 25
	textUptimeKi     = 15 // for each 1024 tokens of context
	// uptimeContext is how much declared context pays, in tokens. Declaring more costs a worker nothing.
	uptimeContext = 16384
)

// UptimeReward is what a worker earns for being online for horde.UptimeStep, in kudos. w is the worker as it was before
// the check-in that completed the step; validated tells whether its bridge agent is a validated text back end.
func UptimeReward(w *horde.Worker, validated bool, ref *horde.Reference) float64 {
	switch w.Kind {
	case horde.Alchemy:
		return alchemyUptime
	case horde.Image:
		reward := imageUptime + imageUptimeModel*float64(len(w.Models))
		if w.AllowLora {
			reward += imageUptimeLora
		}
		return reward
	}
	reward := textUptime + textUptimeKi*float64(min(w.MaxContextLength, uptimeContext))/1024
	var m horde.TextModel
	known := false
	if len(w.Models) > 0 {
		m, known = ref.TextModel(w.Models[0])
	}
	if !known {
		return 0.5 * reward
	}
	if !validated {
		reward *= unvalidatedShare
	}
	return round2(reward * max(float64(m.Parameters)/1e9/7, 0.25))
}

// round2 rounds to hundredths, halves to even.
func round2(x float64) float64 { return math.RoundToEven(x*100) / 100 }
