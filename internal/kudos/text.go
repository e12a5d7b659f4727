// SPDX-License-Identifier: AGPL-3.0-or-later

package kudos

import (
	"math"
	"unicode/utf8"

	"horde/internal/horde"
)

// The price of a text (kudos chapter, 3). Nobody tokenizes: tokens are counted as four characters each.
const (
	charactersPerToken = 4
	leastTokens        = 20 // what the shortest text counts as
	// unknownModelRate is what a token of an unknown model earns a trusted owner, before the context factor.
	unknownModelRate = 2.7 / 100
	// estimateBillions is the size of the model that an estimate assumes for an order that takes any.
	estimateBillions = 13
	// unvalidatedShare is what a back end whose token counts are not believed gets of a reward.
	unvalidatedShare = 0.3
)

// Tokens is how many tokens of at most limit a text counts as.
func Tokens(text string, limit int) int {
	n := (utf8.RuneCountInString(text) + charactersPerToken - 1) / charactersPerToken
	return min(limit, max(leastTokens, n))
}

// contextFactor is by how much a context of that many tokens makes each new token dearer.
func contextFactor(length int) float64 {
	return min(max(1.2+math.Pow(2.2, math.Log2(float64(length)/1024)), 0.1), 30)
}

// sizeFactor is by how much a model of more than 13 billion parameters costs more than in proportion.
func sizeFactor(billions float64) float64 { return math.Pow(max(billions, 13)/13, 0.2) }

// TextReward is what a delivered text is worth, in kudos: J of the chapter. ownerTrusted and validated are facts of the
// worker that made it: whether its owner is trusted and whether its bridge agent is a validated back end. It is what the
// worker's owner is credited; the requester pays [Burn] of it.
func (r Rules) TextReward(o *horde.Order, model, generation string, ownerTrusted, validated bool, ref *horde.Reference) float64 {
	if r.targeted(o) {
		return targetedPrice
	}
	limit := *o.Text.MaxLength
	made := float64(Tokens(generation, limit))
	// The length of the context is that of the prompt, counted no further than the result may be long. Clients know the
	// prices that come of it.
	context := contextFactor(Tokens(o.Prompt, limit))
	if o.GrownContext {
		context = contextFactor(*o.Text.MaxContextLength)
	}
	m, known := ref.TextModel(model)
	if !known {
		if !ownerTrusted {
			return context
		}
		return made * context * unknownModelRate
	}
	billions := float64(m.Parameters) / 1e9
	reward := made * sizeFactor(billions) * billions / 125 * context
	if !validated {
		reward *= unvalidatedShare
	}
	return round2(reward)
}

// textEstimate is the price of one text before anybody has made it, from the first model that the client named.
func (r Rules) textEstimate(o *horde.Order, ref *horde.Reference) float64 {
	if r.targeted(o) {
		return targetedPrice
	}
	length, context := float64(*o.Text.MaxLength), contextFactor(*o.Text.MaxContextLength)
	if len(o.Models) == 0 {
		return round2(length * estimateBillions * context / 100)
	}
	m, known := ref.TextModel(o.Models[0])
	if !known {
		return round2(length * unknownModelRate * context)
	}
	billions := float64(m.Parameters) / 1e9
	return round2(length * sizeFactor(billions) * billions * context / 100)
}

// textRequired is what n texts need upfront: by the largest of the models, of which an unknown one counts as 1 billion.
func textRequired(o *horde.Order, n int, ref *horde.Reference) float64 {
	if len(o.Models) == 0 {
		return 20 * float64(n)
	}
	billions := 0.0
	for _, m := range o.Models {
		billions = max(billions, ref.Billions(m))
	}
	return round2(float64(*o.Text.MaxLength)*billions/21) * float64(n)
}
