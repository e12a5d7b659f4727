// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"fmt"
	"time"
)

// Worker is a named program of one user that polls for jobs of one kind. What it has earned is in the ledger.
type Worker struct {
	ID    WorkerID `json:"id"`
	Kind  Kind     `json:"kind"`
	Owner UserID   `json:"owner"`
	// Name is unique over all workers of all kinds, and case-sensitive. At most 100 characters, sanitised.
	Name    string    `json:"name"`
	Info    string    `json:"info,omitempty"`
	Team    TeamID    `json:"team,omitzero"` // zero for none
	Created time.Time `json:"created"`

	// Paused workers get decoys: set by moderators, or when a worker of an untrusted owner became suspicious.
	Paused bool `json:"paused,omitempty"`
	// Maintenance workers get their owner's jobs only, and MaintenanceMessage in place of the others'.
	Maintenance        bool        `json:"maintenance,omitempty"`
	MaintenanceMessage string      `json:"maintenance_message,omitempty"`
	Suspicions         []Suspicion `json:"suspicions,omitempty"`

	// What follows is told by the worker at each full check-in. It may be lost in a crash: the next one tells it again.
	LastCheckIn time.Time `json:"last_check_in"`
	IP          string    `json:"ip,omitempty"`
	Agent       string    `json:"agent"`
	Threads     int       `json:"threads"`
	Models      []string  `json:"models,omitempty"`
	NSFW        bool      `json:"nsfw,omitempty"`
	// RequireUpfrontKudos makes the worker skip requests whose user could not pay for them now.
	RequireUpfrontKudos bool `json:"require_upfront_kudos,omitempty"`
	ExtraSlow           bool `json:"extra_slow,omitempty"`
	AllowUnsafeIP       bool `json:"allow_unsafe_ip,omitempty"`
	// Withheld are features that the worker says it does not have although its agent stands for them.
	Withheld Features `json:"withheld,omitempty"`

	// Image workers only.
	MaxPixels           int64 `json:"max_pixels,omitempty"`
	AllowImg2Img        bool  `json:"allow_img2img,omitempty"`
	AllowPainting       bool  `json:"allow_painting,omitempty"`
	AllowPostProcessing bool  `json:"allow_post_processing,omitempty"`
	AllowControlNet     bool  `json:"allow_controlnet,omitempty"`
	AllowSDXLControlNet bool  `json:"allow_sdxl_controlnet,omitempty"`
	AllowLora           bool  `json:"allow_lora,omitempty"`
	LimitMaxSteps       bool  `json:"limit_max_steps,omitempty"`
	// AllowExtendedControlNet lets the worker get the control types that are not in the reference's interface.
	AllowExtendedControlNet bool `json:"allow_extended_controlnet,omitempty"`
	// SamplerContract is the version of the promises on how samplers run that the worker keeps: [SolverContract] or empty.
	SamplerContract string   `json:"sampler_contract,omitempty"`
	Blacklist       []string `json:"blacklist,omitempty"`

	// Text workers only.
	MaxLength        int      `json:"max_length,omitempty"`
	MaxContextLength int      `json:"max_context_length,omitempty"`
	Softprompts      []string `json:"softprompts,omitempty"`

	// Alchemists only. Forms are the names of the forms that the worker offers, each once; MaxTiles is how large an image it
	// takes, in tiles of 512x512 pixels.
	Forms []string `json:"forms,omitempty"`
	// AnnotationTypes are the control types of the form annotation, each once.
	AnnotationTypes []string `json:"annotation_types,omitempty"`
	MaxTiles        int      `json:"max_tiles,omitempty"`

	// Speed is the mean of the last samples, in raw things a second; of an alchemist, in seconds a form. It may be lost in a
	// crash.
	Speed   float64   `json:"speed"`
	Samples []float64 `json:"samples,omitempty"`

	// Uptime is how long the worker has been online, RewardedUptime how much of it has been paid for.
	Uptime         time.Duration `json:"uptime,omitempty"`
	RewardedUptime time.Duration `json:"rewarded_uptime,omitempty"`
	// Uncompleted counts every job that the worker lost; Aborted those since LastAborted, for the automatic maintenance.
	Uncompleted int       `json:"uncompleted,omitempty"`
	Aborted     int       `json:"aborted,omitempty"`
	LastAborted time.Time `json:"last_aborted"`
}

// Times and limits of workers (dispatch chapter, 3 to 5, 17, 18).
const (
	// Stale is how long after its last check-in a worker no longer counts as online.
	Stale = 300 * time.Second
	// CheckInEvery is how often a worker's pop is taken as a full check-in.
	CheckInEvery = 30 * time.Second
	// UptimeStep is how much uptime earns one reward.
	UptimeStep = 600 * time.Second
	// SpeedSamples is how many samples make up the speed of a worker.
	SpeedSamples = 20
	// AbortWindow and AbortLimit: more aborted jobs than the limit within the window put a worker into maintenance.
	AbortWindow    = time.Hour
	AbortLimit     = 20
	AbortLimitRaid = 10
	// AbortLimitAlchemy is the limit of alchemists, whose jobs are small.
	AbortLimitAlchemy = 100
)

// BaselineSpeed is what a worker without samples counts as, in the unit of [Worker.Speed].
func (k Kind) BaselineSpeed() float64 {
	if k == Image {
		return 1_000_000
	}
	return 1
}

// FastSpeed is the speed from which an image worker may take requests that want no slow workers, in pixelsteps a second.
const FastSpeed = 500_000

// DefaultMaintenanceMessage is what the pop of a worker in maintenance is answered. Workers search for "maintenance mode".
const DefaultMaintenanceMessage = "This worker has been put into maintenance mode by its owner"

// Online tells whether the worker checked in lately.
func (w *Worker) Online(now time.Time) bool { return now.Sub(w.LastCheckIn) < Stale }

// Performance is the speed as the lists show it.
func (w *Worker) Performance() string {
	switch {
	case w.Kind != Alchemy:
	case len(w.Samples) == 0:
		return "No requests fulfilled yet"
	default:
		return fmt.Sprintf("%.1f seconds per form", w.Speed)
	}
	unit := "tokens per second"
	if w.Kind == Image {
		unit = "megapixelsteps per second"
	}
	return fmt.Sprintf("%.1f %s", w.Speed/w.Kind.ThingsDivisor(), unit)
}

// AddSample takes a measured speed, in the unit of Speed, and renews Speed. Samples is replaced, never changed, because
// readers may share it.
func (w *Worker) AddSample(v float64) {
	samples := append(append(make([]float64, 0, len(w.Samples)+1), w.Samples...), v)
	if n := len(samples); n > SpeedSamples {
		samples = samples[n-SpeedSamples:]
	}
	sum := 0.0
	for _, s := range samples {
		sum += s
	}
	w.Samples, w.Speed = samples, sum/float64(len(samples))
	if w.Speed == 0 {
		w.Speed = w.Kind.BaselineSpeed()
	}
}

// WorkerChange is the body of a change to a worker.
type WorkerChange struct {
	Maintenance        *bool   `json:"maintenance"`
	MaintenanceMessage *string `json:"maintenance_msg" maxLength:"300" published:"maxLength="`
	Paused             *bool   `json:"paused"`
	Info               *string `json:"info" maxLength:"1000"`
	// Name has 5 to 100 characters; a name equal to the present one is accepted whatever its length.
	Name *string `json:"name" maxLength:"100" published:"minLength=5"`
	Team *string `json:"team" maxLength:"36"`
}
