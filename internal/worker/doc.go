// SPDX-License-Identifier: AGPL-3.0-or-later

// Package worker is the worker program: it asks a horde for jobs, has an inference server on the operator's machine do
// them, and hands the results in. A dreamer makes images, a scribe makes texts; one process runs either or both.
//
// Where to start reading: [Config] is everything an operator can set. [Run] wires a process together. A loop (loop.go)
// pops jobs of one kind as long as there is room and follows each job in a goroutine of its own; what differs between
// the kinds is in scribe.go and dreamer.go. Results go through submit.go, which decides what to do about each answer of
// the server. The board (board.go) holds what is shown: on a terminal (terminal.go), as metrics and as JSON
// (metrics.go).
//
// The inference servers are behind the interfaces of package backend; the drivers are the packages a1111, comfyui,
// koboldai and openai. None of them knows the horde.
package worker
