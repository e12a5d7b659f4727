// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"math"
	"time"
)

// Request is an order with its state. The invariant that binds it: Left + running jobs + Finished is what the client still
// gets or has, and equals Wanted until the request is cancelled or faulted.
type Request struct {
	ID   RequestID `json:"id"`
	User UserID    `json:"user"`
	// Order is what was asked for. It never changes, so a batch holds it of new requests only.
	Order PackedOrder `json:"-"`

	Created time.Time `json:"created"`
	// Expires is when the request and its results are forgotten. It moves on with each pop and each delivery.
	Expires time.Time `json:"expires"`

	// Wanted is how many results the client asked for; Left how many of them are not handed out.
	Wanted int `json:"wanted"`
	Left   int `json:"left"`
	// Running, Finished and Faults count the jobs of the request, without the decoys given to paused workers.
	Running  int `json:"running"`
	Finished int `json:"finished"`
	Faults   int `json:"faults"`
	// Cancelled requests hand nothing out any more; Faulted ones were given up after MaxFaults.
	Cancelled bool `json:"cancelled,omitempty"`
	Faulted   bool `json:"faulted,omitempty"`

	// Priority is what the request had at Queued, when it last entered the queue. Waiting adds to it: see PriorityAt.
	Priority int64     `json:"priority"`
	Queued   time.Time `json:"queued"`
	// Price is the base price of one result before the model's factor; Charged all that the user has paid so far.
	Price   Kudos `json:"price"`
	Charged Kudos `json:"charged"`
	// Hold is what is set aside of the user's balance for this request; zero means no hold.
	Hold Hold `json:"hold,omitzero"`
}

// Hold is an amount of a user's balance that is set aside: no other request can promise it too.
type Hold struct {
	Amount    Kudos `json:"amount"`
	Remaining Kudos `json:"remaining"`
}

// Lifetimes and limits of requests (requests chapter, 16).
const (
	// Lifetime is how long a request lives after the last thing that happened to it.
	Lifetime = 20 * time.Minute
	// ExtraSlowLifetime is how long it lives after a pop by an extra slow worker.
	ExtraSlowLifetime = 60 * time.Minute
	// MaxFaults is how many faulted jobs end a request.
	MaxFaults = 3
)

// Ageing: a waiting request gains AgeingGain priority every AgeingStep (dispatch chapter, 10). The steps are those of the
// clock, the same for all requests, so two waiting requests never change places.
const (
	AgeingGain = 50
	AgeingStep = 10 * time.Second
)

// AgeingBase is the priority a request would have had at the beginning of time to have Priority at Queued. Waiting requests
// are ordered by it for as long as they wait.
func (r *Request) AgeingBase() int64 { return r.Priority - AgeingGain*ageingSteps(r.Queued) }

// PriorityAt is the priority of the request after waiting until now.
func (r *Request) PriorityAt(now time.Time) int64 {
	return r.AgeingBase() + AgeingGain*ageingSteps(now)
}

func ageingSteps(t time.Time) int64 { return t.Unix() / int64(AgeingStep/time.Second) }

// Waiting tells whether a worker may be given a job of the request.
func (r *Request) Waiting() bool { return r.Left > 0 && !r.Cancelled && !r.Faulted }

// Done tells whether nothing more will come: given up, or nothing left and nothing running.
func (r *Request) Done() bool { return r.Faulted || r.Left <= 0 && r.Running == 0 }

// Touch lets the request live at least d longer from now.
func (r *Request) Touch(now time.Time, d time.Duration) {
	if e := now.Add(d); e.After(r.Expires) {
		r.Expires = e
	}
}

// Job is one result in the making, handed to one worker. Its id is the "generation" of the interface.
type Job struct {
	ID      JobID     `json:"id"`
	Request RequestID `json:"request"`
	Worker  WorkerID  `json:"worker"`
	// Model is the one that was chosen for the batch.
	Model string   `json:"model"`
	State JobState `json:"state"`
	// Decoy marks a job given to a paused worker: it looks like any other and counts for nothing.
	Decoy   bool      `json:"decoy,omitempty"`
	Started time.Time `json:"started"`
	// Lease is how long the worker may take. After it the job is faulted and its slot returned.
	Lease time.Duration `json:"lease"`
	Ended time.Time     `json:"ended,omitzero"`

	// Result: for an image in the store empty, for a text the text, and for an image that was no image what the worker
	// sent in its place.
	Result   string     `json:"result,omitempty"`
	Stored   bool       `json:"stored,omitempty"` // the image is in the blob store
	Seed     int64      `json:"seed"`
	Censored bool       `json:"censored,omitempty"`
	Metadata []Metadata `json:"metadata,omitempty"`
	// WorkerName is what the worker was called when it delivered.
	WorkerName string `json:"worker_name"`
	// Reward is the price of the job as the submit was answered, in kudos with decimals.
	Reward float64 `json:"reward,omitempty"`
}

// JobState is where a job is. It only ever moves from JobRunning to one of the others.
type JobState uint8

// The states of jobs. The values are stored: never renumber them.
const (
	JobRunning   JobState = 1
	JobDelivered JobState = 2
	JobFaulted   JobState = 3
	// JobReturned never reached its worker, who hung up while it was being handed out. It counts for nothing.
	JobReturned JobState = 4
)

// Metadata is a note of a worker on a result, for example that a LoRA could not be loaded.
type Metadata struct {
	Type  string `json:"type" required:"true"`
	Value string `json:"value" required:"true"`
	Ref   string `json:"ref,omitempty" maxLength:"255"`
}

// IsNSFW tells whether a worker found its image not to be safe for work, and left it as it is.
func (m Metadata) IsNSFW() bool { return m.Type == "information" && m.Value == "nsfw" }

// IsCSAM tells whether the worker reports the result.
func (m Metadata) IsCSAM() bool { return m.Type == "censorship" && m.Value == "csam" }

// Leases (dispatch chapter, 12). A text lease grows with the tokens asked for, so that a worker of textLeaseSpeed tokens
// a second always keeps it: a fixed one failed every slow worker with a long answer.
const (
	minLease        = 150 * time.Second
	leaseOverhead   = 30 * time.Second
	textLeaseSpeed  = 8 // tokens a second
	extraSlowFactor = 3
)

// Lease is how long a worker has for one pop of the order.
func (o *Order) Lease(extraSlow bool, ref *Reference) time.Duration {
	if o.Kind == Text {
		return max(minLease, leaseOverhead+time.Duration(*o.Text.MaxLength)*time.Second/textLeaseSpeed)
	}
	p := o.Image
	seconds := leaseOverhead.Seconds() + 2*float64(p.AccurateSteps())*float64(p.Pixels())/(DefaultSide*DefaultSide)
	if p.ControlType != "" {
		seconds *= 2
	}
	for _, m := range o.Models {
		if b := ref.Baseline(m); b == BaselineFlux || b == BaselineQwen || b == BaselineZImage {
			seconds *= 3
			break
		}
	}
	seconds = max(seconds, minLease.Seconds())
	if extraSlow {
		seconds *= extraSlowFactor
	}
	return time.Duration(math.RoundToEven(seconds*1e3)) * time.Millisecond
}
