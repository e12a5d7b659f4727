// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"encoding/json"
	"fmt"
	"slices"
)

// The bodies of alchemy; see submission.go for how to read them.

// AlchemySubmission is the body of an alchemy request.
type AlchemySubmission struct {
	Forms       []FormSubmission `json:"forms"`
	SourceImage *string          `json:"source_image" argument:"true"`
	SlowWorkers *bool            `json:"slow_workers" default:"true"`
	Webhook     *string          `json:"webhook" minLength:"10" maxLength:"1024"`
	// ExtraSlowWorkers is what newer clients send. No alchemist says that it is so slow, so it changes nothing.
	ExtraSlowWorkers *bool `json:"extra_slow_workers" default:"false" published:"-"`
	// TrustedWorkers is not part of the published interface. Any value will do: see [Truth].
	TrustedWorkers json.RawMessage `json:"trusted_workers" hidden:"true"`
}

// FormSubmission is one form of an alchemy request.
type FormSubmission struct {
	Name    *string         `json:"name" required:"true" enum:"caption,interrogation,nsfw,vectorize,palette,describe,aesthetic,GFPGAN,RealESRGAN_x4plus,RealESRGAN_x2plus,RealESRGAN_x4plus_anime_6B,NMKD_Siax,4x_AnimeSharp,CodeFormers,strip_background,4xNomos8kSC,4xLSDIRplus,4xNomosWebPhoto_RealPLKSR,4xNomos2_realplksr_dysample,4xNomos2_hq_dat2,2xModernSpanimationV1,GFPGANv1.3,RestoreFormer" ours:"annotation"`
	Payload json.RawMessage `json:"payload" type:"object" model:"ModelInterrogationFormPayloadStable" wildcard:"string"`
}

// AlchemyPop is the body of an alchemist's pop.
type AlchemyPop struct {
	Name              *string  `json:"name" argument:"true"`
	PriorityUsernames []string `json:"priority_usernames"`
	Forms             []string `json:"forms" enum:"caption,interrogation,nsfw,vectorize,palette,describe,aesthetic,GFPGAN,RealESRGAN_x4plus,RealESRGAN_x2plus,RealESRGAN_x4plus_anime_6B,NMKD_Siax,4x_AnimeSharp,CodeFormers,strip_background,4xNomos8kSC,4xLSDIRplus,4xNomosWebPhoto_RealPLKSR,4xNomos2_realplksr_dysample,4xNomos2_hq_dat2,2xModernSpanimationV1,GFPGANv1.3,RestoreFormer" ours:"annotation"`
	// AnnotationTypes are the control types for which the worker makes the form annotation.
	AnnotationTypes []string `json:"annotation_types" enum:"canny,hed,depth,normal,openpose,seg,scribble,fakescribbles,mlsd,binary,standard_lineart,lineart,lineart_anime,lineart_anime_denoise,pidinet,scribble_xdog,scribble_pidinet,teed,pyracanny,midas_depth,zoe_depth,depth_anything,depth_anything_v2,normal_bae,oneformer_ade20k,oneformer_coco,color,shuffle,recolor_luminance,recolor_intensity,tile,tile_ttplanet_guided,tile_ttplanet_simple" published:"-" doc:"The control types for which the worker makes the form annotation."`
	Amount          *int     `json:"amount" default:"1"`
	BridgeAgent     *string  `json:"bridge_agent" maxLength:"1000" default:"unknown"`
	Threads         *int     `json:"threads" minimum:"1" maximum:"100" default:"1"`
	MaxTiles        *int     `json:"max_tiles" minimum:"1" maximum:"256" default:"16"`
}

// annotation is the form that makes the map of a control type, which its payload names.
const annotation = "annotation"

// AnnotationNeed is what a form asks of a worker: its name, and of an annotation the control type too. A worker offers it that
// lists it among [AnnotationNeeds].
func (f *Form) AnnotationNeed() string {
	if f.Name != annotation {
		return f.Name
	}
	return annotation + "/" + f.Options()["control_type"]
}

// AnnotationNeeds are all that a worker offers: the forms, and in the place of annotation one for each of its types.
func AnnotationNeeds(forms, types []string) []string {
	at := slices.Index(forms, annotation)
	if at < 0 {
		return forms
	}
	all := slices.Delete(slices.Clone(forms), at, at+1)
	for _, t := range types {
		all = append(all, annotation+"/"+t)
	}
	return all
}

// annotationType tells whether a control type has maps of its own: all have, but for one that is another by an older name.
func annotationType(name string) bool {
	return name != "hough" && (plainControls[name] || newerControls[name])
}

// CheckPayload refuses an annotation without the control type whose map is wanted. at is the place of the form in the request.
func (f *FormSubmission) CheckPayload(at int) *Error {
	if value(f.Name) != annotation {
		return nil
	}
	var payload struct {
		ControlType string `json:"control_type"`
	}
	if json.Unmarshal(f.Payload, &payload) != nil || !annotationType(payload.ControlType) {
		return Invalid(map[string]string{fmt.Sprintf("forms.%d.payload.control_type", at): "is not a control type that can be annotated"})
	}
	return nil
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
