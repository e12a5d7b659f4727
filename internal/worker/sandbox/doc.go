// SPDX-License-Identifier: AGPL-3.0-or-later

// Package sandbox holds two demo backends that need no model, no GPU and no network: [Text] writes little stories and
// [Painter] paints little pictures. They are there so that a horde can be tried out, and its clients and workers tested,
// on any machine in the first second. They honour what a request says (prompt, lengths, stop sequences, seed, size,
// steps, masks…) as far as a few thousand lines can, and the same job gives the same result on every machine.
//
// They are no models and must never be taken for any: the names below say so wherever models are listed, the writer
// says so when it is asked a question, and each picture carries the word "demo" in a corner.
//
// The package knows nothing of the horde's wire formats; the worker wraps it.
package sandbox

const (
	// TextModel is the name under which a worker offers the writer.
	TextModel = "sandbox/demo-writer"
	// ImageModel is the name under which a worker offers the painter.
	ImageModel = "Demo Painter"
)
