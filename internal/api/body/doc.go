// SPDX-License-Identifier: AGPL-3.0-or-later

// Package body turns JSON request bodies into Go values and says everything that is wrong with them, in one pass.
//
// A body is described by a struct; its tags are the single source of what is accepted:
//
//	type Lora struct {
//		Name  string            `json:"name" required:"true" minLength:"1" maxLength:"255"`
//		Model body.Opt[float64] `json:"model" minimum:"-5" maximum:"5"`
//	}
//
//	var loras = body.Compile[Lora]()
//
// The tags are those of danielgtaylor/huma, so that its registry makes the published schemas from the same types, with
// fields optional by default and T in place of each [Opt] of T:
// json, required, minimum, maximum, multipleOf, minLength, maxLength, enum (all five of these are about the items when the
// field is a slice), minItems, maxItems, uniqueItems. Tags that only document (doc, default, example) are left alone:
// a published default is never injected. Seven tags are ours:
//
//	emptyabsent:"true"   the empty string counts as absent
//	coerce:"true"        lenient reading of one field, see [Options]
//	nonull:"true"        null is refused all the same
//	ours:"A,B"           values of an enum beside those that the reference has
//	plain:"true"         an integer with a fraction or an exponent is refused, even 7.0
//	repair:"true"        half of a surrogate pair in the text becomes U+FFFD in place of being refused
//	whole:"true"         of a json.RawMessage that is json:"-": takes the text of the object itself, with what is not declared
//
// # What a field may be
//
// Strings, booleans, integers and floats of any size, structs, slices of these, [Object] and [Any] for what is not looked
// into, and a pointer to or an [Opt] of any of them. Named types count as what they are made of, embedded structs as their
// fields. A json.RawMessage is read like an [Any] or, with the tag type:"object", like an [Object]: for packages that may
// not know this one. A field is optional unless its tag says required:"true". Absent and zero can be told apart by Opt, by a pointer,
// and for slices by nil: an explicit [] is empty but not nil.
//
// # What is accepted
//
// The rules are those of JSON Schema as clients know them: strings are never coerced, booleans are not numbers, null is
// refused for every declared field, undeclared fields are skipped, lengths count code points. An integer may be written
// as 512.0 or 5e2 everywhere but where the tag plain says otherwise, in worker bodies too, since several programs do and nobody is hurt. Numbers are read in
// float64 precision unless they are plain integers. A declared name that occurs twice is refused, since programs differ in
// which value they take. A NUL character is kept and reported by [Report], since refusing it is a matter of the field; half
// of a surrogate pair is refused, as are bytes that are not UTF-8, and nesting deeper than [MaxDepth].
//
// # What it costs
//
// Memory is proportional to the body: arrays end at maxItems (or [DefaultMaxItems]) while they are read, offending values
// are quoted in short, and no more than [MaxErrors] are reported.
package body
