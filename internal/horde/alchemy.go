// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Interrogation is an alchemy request: to analyse or to improve one image. What is to be done with it are its forms: each is
// popped, delivered and paid on its own. It is never changed after it was made, but for Expires.
type Interrogation struct {
	ID   RequestID `json:"id"`
	User UserID    `json:"user"`
	IP   string    `json:"ip,omitempty"`

	TrustedWorkers bool `json:"trusted_workers,omitempty"`
	// Hidden marks one that came from an address known to be a proxy, by an account that is not trusted: only workers of trusted users
	// get it.
	Hidden bool `json:"hidden,omitempty"`
	// SlowWorkers lets workers take the forms that need [SlowForm] or longer for one.
	SlowWorkers bool   `json:"slow_workers,omitempty"`
	Webhook     string `json:"webhook,omitempty"`
	// Source is the URL of the image as the client sent it. Empty means that the image is in the horde's own store.
	Source string `json:"source,omitempty"`
	// Tiles is the size of the image, see [Tiles].
	Tiles int `json:"tiles"`

	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// Priority is the balance of the user at creation. It never changes.
	Priority int64 `json:"priority"`
}

// Form is one thing that is to be done with the image of an alchemy request.
type Form struct {
	ID      FormID    `json:"id"`
	Request RequestID `json:"request"`
	Index   int       `json:"index"` // of the request's forms, from 0
	Name    string    `json:"name"`
	// Payload are options for the worker: a JSON object as the client sent it, nil for none.
	Payload json.RawMessage `json:"payload,omitempty"`

	State FormState `json:"state"`
	// Result is the JSON object that the worker sent, nil while there is none.
	Result json.RawMessage `json:"result,omitempty"`
	// Worker is the last one that popped the form, zero for none, and Started when it did. A form that came back keeps both.
	Worker     WorkerID  `json:"worker,omitzero"`
	WorkerName string    `json:"worker_name,omitempty"`
	Started    time.Time `json:"started,omitzero"`
	Aborts     int       `json:"aborts,omitempty"`
	// Settled tells that the worker was paid: for what it delivered, or for what was cancelled while it worked.
	Settled bool `json:"settled,omitempty"`
}

// FormState is how a form, or a whole alchemy request, stands. The values are stored and sent.
type FormState string

// The states of forms. Partial is of requests only.
const (
	FormWaiting    FormState = "waiting"
	FormProcessing FormState = "processing"
	FormDone       FormState = "done"
	FormCancelled  FormState = "cancelled"
	FormFaulted    FormState = "faulted"
	AlchemyPartial FormState = "partial"
)

// Pending tells whether something is still to happen.
func (s FormState) Pending() bool { return s == FormWaiting || s == FormProcessing }

// OverallState is how a request with forms in these states stands. One without forms is faulted.
func OverallState(forms []FormState) FormState {
	all := func(s FormState) bool { return !slices.ContainsFunc(forms, func(f FormState) bool { return f != s }) }
	switch {
	case all(FormFaulted):
		return FormFaulted
	case all(FormDone):
		return FormDone
	case slices.Contains(forms, FormProcessing):
		return FormProcessing
	case slices.Contains(forms, FormWaiting):
		return FormWaiting
	}
	return AlchemyPartial
}

// Times and limits of alchemy (alchemy chapter, 3, 4 and 6).
const (
	// FormLease is how long a worker has for a form.
	FormLease = 3 * time.Minute
	// MaxFormAborts is how often a form may come back without a result; the next time it is faulted.
	MaxFormAborts = 3
	// AlchemyConcurrency is how many forms may be pending for each result that [User.Concurrency] allows.
	AlchemyConcurrency = 10
	// SlowForm is the mean time for a form from which a worker is slow, in seconds.
	SlowForm = 10
	// DefaultMaxTiles is what an alchemist that says nothing takes.
	DefaultMaxTiles = 80
	// MaxTiles is the size of the largest image, and tileSide the side of a tile in pixels.
	MaxTiles = 255
	tileSide = 512
	// MaxFormPayload is how long the options of a form may be, in bytes.
	MaxFormPayload = 16 << 10
)

// Tiles is how many squares of 512x512 pixels cover an image: the measure of what post-processing costs.
func Tiles(width, height int) int64 {
	along := func(side int) int64 { return (int64(side) + tileSide - 1) / tileSide }
	return along(width) * along(height)
}

var postProcessors = map[string]bool{
	"GFPGAN": true, "RealESRGAN_x4plus": true, "RealESRGAN_x2plus": true, "RealESRGAN_x4plus_anime_6B": true, "NMKD_Siax": true,
	"4x_AnimeSharp": true, "CodeFormers": true, "strip_background": true, "4xNomos8kSC": true, "4xLSDIRplus": true,
	"4xNomosWebPhoto_RealPLKSR": true, "4xNomos2_realplksr_dysample": true, "4xNomos2_hq_dat2": true,
	"2xModernSpanimationV1": true, "GFPGANv1.3": true, "RestoreFormer": true, annotation: true,
}

// PostProcesses tells whether a form makes a new image of the old one; all others make data.
func PostProcesses(form string) bool { return postProcessors[form] }

// Options are the payload of a form as workers get it: every value as text, in the notation that deployed workers parse. Members
// that are null are left out. Nil for none.
func (f *Form) Options() map[string]string {
	var options map[string]string
	for _, m := range members(f.Payload) {
		var text string
		switch m.value[0] {
		case 'n':
			continue
		case 't':
			text = "True"
		case 'f':
			text = "False"
		case '"':
			_ = json.Unmarshal(m.value, &text) // it is a string
		case '{', '[':
			var b bytes.Buffer
			_ = json.Compact(&b, m.value) // it is JSON
			text = b.String()
		default:
			text = string(m.value)
		}
		if options == nil {
			options = map[string]string{}
		}
		options[m.name] = text
	}
	return options
}

// ShownResult is the result without the members that are null or an empty object; nil if nothing is left.
func (f *Form) ShownResult() json.RawMessage {
	return rewrite(f.Result, func(v json.RawMessage) json.RawMessage {
		if v[0] == 'n' || v[0] == '{' && len(members(v)) == 0 {
			return nil
		}
		return v
	})
}

// uploadedImage is what a worker sends in place of an image that it has uploaded, as JSON.
const uploadedImage = `"R2"`

// Uploads tells whether a result stands for an image that was uploaded.
func Uploads(result json.RawMessage) bool {
	return slices.ContainsFunc(members(result), func(m member) bool { return string(m.value) == uploadedImage })
}

// WithUpload is a result with the address of the uploaded image in the place of what stands for it.
func WithUpload(result json.RawMessage, url string) json.RawMessage {
	text, err := json.Marshal(url)
	if err != nil {
		panic(err) // a string
	}
	return rewrite(result, func(v json.RawMessage) json.RawMessage {
		if string(v) == uploadedImage {
			return text
		}
		return v
	})
}

// member is one of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// members lists those of an object in order. What is no object has none.
func members(object json.RawMessage) (list []member) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			return nil
		}
		list = append(list, member{fmt.Sprint(name), value})
	}
	return list
}

// rewrite replaces the values of an object by what f makes of them, and leaves those out that become nil. It is nil if none is
// left.
func rewrite(object json.RawMessage, f func(json.RawMessage) json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	for _, m := range members(object) {
		value := f(m.value)
		if value == nil {
			continue
		}
		if b.Len() == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			panic(err) // a string
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	if b.Len() == 0 {
		return nil
	}
	b.WriteByte('}')
	return b.Bytes()
}
