// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import "encoding/json"

// The bodies of alchemy; see submission.go for how to read them.

// AlchemySubmission is the body of an alchemy request.
type AlchemySubmission struct {
	Forms       []FormSubmission `json:"forms"`
	SourceImage *string          `json:"source_image" argument:"true"`
	SlowWorkers *bool            `json:"slow_workers" default:"true"`
	Webhook     *string          `json:"webhook" minLength:"10" maxLength:"1024"`
	// TrustedWorkers is not part of the published interface. Any value will do: see [Truth].
	TrustedWorkers json.RawMessage `json:"trusted_workers" hidden:"true"`
}

// FormSubmission is one form of an alchemy request.
type FormSubmission struct {
	Name    *string         `json:"name" required:"true" enum:"caption,interrogation,nsfw,vectorize,palette,describe,aesthetic,GFPGAN,RealESRGAN_x4plus,RealESRGAN_x2plus,RealESRGAN_x4plus_anime_6B,NMKD_Siax,4x_AnimeSharp,CodeFormers,strip_background,4xNomos8kSC,4xLSDIRplus,4xNomosWebPhoto_RealPLKSR,4xNomos2_realplksr_dysample,4xNomos2_hq_dat2,2xModernSpanimationV1,GFPGANv1.3,RestoreFormer"`
	Payload json.RawMessage `json:"payload" type:"object" model:"ModelInterrogationFormPayloadStable" wildcard:"string"`
}

// AlchemyPop is the body of an alchemist's pop.
type AlchemyPop struct {
	Name              *string  `json:"name" argument:"true"`
	PriorityUsernames []string `json:"priority_usernames"`
	Forms             []string `json:"forms" enum:"caption,interrogation,nsfw,vectorize,palette,describe,aesthetic,GFPGAN,RealESRGAN_x4plus,RealESRGAN_x2plus,RealESRGAN_x4plus_anime_6B,NMKD_Siax,4x_AnimeSharp,CodeFormers,strip_background,4xNomos8kSC,4xLSDIRplus,4xNomosWebPhoto_RealPLKSR,4xNomos2_realplksr_dysample,4xNomos2_hq_dat2,2xModernSpanimationV1,GFPGANv1.3,RestoreFormer"`
	Amount            *int     `json:"amount" default:"1"`
	BridgeAgent       *string  `json:"bridge_agent" maxLength:"1000" default:"unknown"`
	Threads           *int     `json:"threads" minimum:"1" maximum:"100" default:"1"`
	MaxTiles          *int     `json:"max_tiles" minimum:"1" maximum:"256" default:"16"`
}

// AlchemyDelivery is the body with which an alchemist ends a form. Older workers send no result, or null, with a fault.
type AlchemyDelivery struct {
	ID     *string         `json:"id" required:"true" coerce:"true" published:"required=false"`
	Result json.RawMessage `json:"result" type:"object" coerce:"true" published:"type=string"`
	State  *string         `json:"state" default:"ok" published:"default="`
}

// Faulted tells whether the form comes back without a result.
func (d *AlchemyDelivery) Faulted() bool { return value(d.State) == "faulted" }

// Truth is whether a JSON value counts as true: it is not null, false, zero, or an empty string, array or object. Nil is absent.
func Truth(v json.RawMessage) bool {
	var decoded any
	if json.Unmarshal(v, &decoded) != nil {
		return false
	}
	switch x := decoded.(type) {
	case bool:
		return x
	case float64:
		return x != 0
	case string:
		return x != ""
	case []any:
		return len(x) > 0
	case map[string]any:
		return len(x) > 0
	}
	return false
}
