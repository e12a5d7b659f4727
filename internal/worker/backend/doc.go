// SPDX-License-Identifier: AGPL-3.0-or-later

// Package backend is what a worker knows about inference servers: the two interfaces that drivers implement ([Text] and
// [Images]), the jobs that go through them ([TextJob], [ImageJob]), and the rules that turn a job of the horde into such
// a job. The rules are pure functions: ranges, first-pass sizes, second-pass steps, prompts, seeds, context trimming,
// formatting of results. What a driver adds is only the spelling of one server's API.
//
// Drivers live in sibling packages: comfyui, a1111, koboldai, openai. The worker's loops are in package worker.
package backend
