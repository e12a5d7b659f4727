// SPDX-License-Identifier: AGPL-3.0-or-later

package body

import "bytes"

// Opt is a field that may be absent. The zero value is absent.
type Opt[T any] struct {
	// V is the value that was sent, the zero value when none was.
	V T
	// Set is whether a value was sent.
	Set bool
}

// Some returns an Opt that holds v.
func Some[T any](v T) Opt[T] { return Opt[T]{V: v, Set: true} }

// Or returns the value that was sent, or else def.
func (o Opt[T]) Or(def T) T {
	if o.Set {
		return o.V
	}
	return def
}

// Get returns the value and whether it was sent.
func (o Opt[T]) Get() (T, bool) { return o.V, o.Set }

// Ptr returns a pointer to a copy of the value, or nil when it was not sent.
func (o Opt[T]) Ptr() *T {
	if !o.Set {
		return nil
	}
	return &o.V
}

// IsZero says whether nothing was sent. It makes the omitzero option of encoding/json leave the field out.
func (o Opt[T]) IsZero() bool { return !o.Set }

func (Opt[T]) optional() {}

// Object is a JSON object of no declared shape, as text. It is valid JSON, and nil when it was not sent.
type Object []byte

// Any is a JSON value of any type, null included, as text. It is valid JSON, and nil when it was not sent.
type Any []byte

// MarshalJSON returns the text, or null when there is none.
func (o Object) MarshalJSON() ([]byte, error) { return Any(o).MarshalJSON() }

// MarshalJSON returns the text, or null when there is none.
func (a Any) MarshalJSON() ([]byte, error) {
	if a == nil {
		return []byte("null"), nil
	}
	return a, nil
}

// holdsNUL says whether a string inside JSON text has the character U+0000, which can only be written as an escape.
func holdsNUL(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 || i+1 >= len(text) {
			return false
		}
		if bytes.HasPrefix(text[i+1:], []byte("u0000")) {
			return true
		}
		text = text[i+2:]
	}
}
