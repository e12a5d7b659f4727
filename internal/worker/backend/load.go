// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import "time"

// Load is what one image job weighs, in effective megapixel-steps (eMPS): pixels times steps, plus what batches,
// upscalers, LoRAs and second passes cost by experience. The figures are those of the workers chapter, section 5.3.
func (j *ImageJob) Load() int {
	px := float64(j.Width * j.Height)
	load := px * (1 + 0.2*float64(j.Count-1)) * float64(j.Steps)
	for _, p := range j.PostProcessing {
		if IsUpscaler(p) {
			load += px * 20 * float64(j.Count)
			break
		}
	}
	if len(j.Loras) > 0 {
		load += 4_000_000
	}
	if j.HiresRequested {
		load += 512 * 512 * float64(j.Steps)
	}
	switch j.Model.Name {
	case "Stable Cascade 1.0", "Flux.1-Schnell fp8 (Compact)":
		load *= 6
	}
	if j.Workflow == "qr_code" {
		// Twice for the slow workflow, twice for the control model that it needs.
		load *= 4
	}
	return int(load / 1_000_000)
}

// Pace is how much load a worker takes on at a time.
type Pace int

// The paces of the performance modes.
const (
	PaceNormal Pace = iota
	PaceModerate
	PaceHigh
)

// Limit is the pending load in eMPS above which popping waits.
func (p Pace) Limit() int { return [...]int{15, 60, 80}[p] }

// GateWait is how long to wait before popping on top of pending eMPS, counted from when the limit was first exceeded.
func (p Pace) GateWait(pending, threads int) time.Duration {
	if pending <= p.Limit() {
		return 0
	}
	perUnit := 0.8
	switch {
	case pending < 40:
		perUnit = 0.5
	case pending < 80:
		perUnit = 0.7
	}
	t := float64(pending) * perUnit
	if threads > 1 {
		t *= 0.75
	}
	switch p {
	case PaceHigh:
		if t *= 0.2; t < 35 {
			t = 1
		}
	case PaceModerate:
		if t *= 0.4; t < 20 {
			t = 1
		}
	}
	return time.Duration(t * float64(time.Second))
}

// ServerTTL is the time that a server of the reference line gives a job, used to judge whether one more would be done in
// time: 30 s and 2 s for each step of each 512x512 pixels, at least 150 s.
func ServerTTL(s Size, steps int, b Baseline, control, extraSlow bool) time.Duration {
	t := 30 + float64(steps)*2*(float64(s.W*s.H)/262144)
	if control {
		t *= 2
	}
	switch b {
	case Flux1, QwenImage, ZImageTurbo:
		t *= 3
	}
	if t < 150 {
		t = 150
	}
	if extraSlow {
		t *= 3
	}
	return time.Duration(t * float64(time.Second))
}
