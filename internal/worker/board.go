// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"maps"
	"slices"
	"sync"
	"time"

	"horde/client"
)

// Status is everything that is shown to the operator, at one moment. It is what /status.json answers.
type Status struct {
	Started  time.Time `json:"started"`
	Horde    string    `json:"horde"`
	Username string    `json:"username"`
	// Kudos is the account's balance as last seen.
	Kudos    float64         `json:"kudos"`
	Draining bool            `json:"draining"`
	Workers  []KindStatus    `json:"workers"`
	Messages []ServerMessage `json:"messages"`
	Warnings []string        `json:"warnings"`
}

// ServerMessage is a note of the horde's operators.
type ServerMessage struct {
	ID      string `json:"id"`
	Text    string `json:"text"`
	Origin  string `json:"origin"`
	Expires string `json:"expires"`
}

// KindStatus is the state of the dreamer or the scribe.
type KindStatus struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Backend describes the inference server; Healthy is false while it does not answer.
	Backend string   `json:"backend"`
	Healthy bool     `json:"healthy"`
	Models  []string `json:"models"`
	// State is a short text: "popping", "idle", "maintenance: ...", "paused: ...".
	State string      `json:"state"`
	Jobs  []JobStatus `json:"jobs"`

	Popped    int `json:"popped"`
	Submitted int `json:"submitted"`
	Faulted   int `json:"faulted"`
	// Slow counts results that came too late; Lost counts jobs that the horde did not want any more.
	Slow int `json:"slow"`
	Lost int `json:"lost"`
	// Earned is the kudos of this session.
	Earned float64 `json:"earned"`
	// Busy is the time that the inference server worked for jobs that were paid.
	Busy time.Duration `json:"busy"`
	// Speed is the moving average in Unit: "tokens/s" or "megapixelsteps/s"; 0 before the first job.
	Speed float64 `json:"speed"`
	Unit  string  `json:"unit"`
	// Skipped are the reasons why the last pop brought nothing.
	Skipped map[string]int `json:"skipped"`
	LastPop time.Time      `json:"last_pop"`
	LastJob time.Time      `json:"last_job"`
	// WorkerID and Maintenance are what the horde says about this worker.
	WorkerID    string `json:"worker_id"`
	Maintenance bool   `json:"maintenance"`
}

// JobStatus is a job in hand.
type JobStatus struct {
	ID string `json:"id"`
	// What describes it: "Deliberate 512x512 30 steps", or "some-model, 80 tokens".
	What  string `json:"what"`
	Stage string `json:"stage"`
	// Step and Steps are sampler steps or tokens; Steps is 0 when unknown.
	Step   int       `json:"step"`
	Steps  int       `json:"steps"`
	Popped time.Time `json:"popped"`
	// Deadline is when the horde gives the job up.
	Deadline time.Time `json:"deadline"`
}

// board gathers the status. All methods may be called at the same time; mu guards everything.
type board struct {
	mu       sync.Mutex
	status   Status
	kinds    map[string]*KindStatus
	jobs     map[string]map[string]*JobStatus // by kind and job id
	order    []string
	messages map[string]ServerMessage
}

func newBoard(horde string) *board {
	return &board{status: Status{Started: time.Now(), Horde: horde}, kinds: map[string]*KindStatus{},
		jobs: map[string]map[string]*JobStatus{}, messages: map[string]ServerMessage{}}
}

// add makes room for a kind.
func (b *board) add(kind, name, unit string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kinds[kind] = &KindStatus{Kind: kind, Name: name, Unit: unit, State: "starting"}
	b.jobs[kind] = map[string]*JobStatus{}
	b.order = append(b.order, kind)
}

// change runs f on the status of a kind.
func (b *board) change(kind string, f func(*KindStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b.kinds[kind])
}

// top runs f on what belongs to no kind.
func (b *board) top(f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.status)
}

// job shows or changes a job in hand.
func (b *board) job(kind, id string, f func(*JobStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.jobs[kind][id]
	if j == nil {
		j = &JobStatus{ID: id}
		b.jobs[kind][id] = j
	}
	f(j)
}

// gone takes a job off.
func (b *board) gone(kind, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.jobs[kind], id)
}

// maxMessages bounds what is kept of the messages that a server sends.
const maxMessages = 20

// note keeps the messages of a pop and returns those not seen before.
func (b *board) note(list []client.Message) []ServerMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	var fresh []ServerMessage
	for _, m := range list {
		if _, seen := b.messages[m.ID]; seen || len(b.messages) >= maxMessages {
			continue
		}
		s := ServerMessage{ID: m.ID, Text: m.Message, Origin: m.Origin, Expires: m.Expiry}
		b.messages[m.ID] = s
		fresh = append(fresh, s)
	}
	for id, m := range b.messages {
		if t, err := time.Parse(time.RFC1123Z, m.Expires); err == nil && time.Now().After(t) {
			delete(b.messages, id)
		}
	}
	return fresh
}

// warn shows a warning once.
func (b *board) warn(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.status.Warnings, text) && len(b.status.Warnings) < maxMessages {
		b.status.Warnings = append(b.status.Warnings, text)
	}
}

// snapshot copies everything.
func (b *board) snapshot() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.Warnings = slices.Clone(s.Warnings)
	s.Workers = []KindStatus{}
	for _, k := range b.order {
		c := *b.kinds[k]
		c.Models, c.Skipped = slices.Clone(c.Models), maps.Clone(c.Skipped)
		c.Jobs = []JobStatus{}
		for _, j := range b.jobs[k] {
			c.Jobs = append(c.Jobs, *j)
		}
		slices.SortFunc(c.Jobs, func(x, y JobStatus) int { return x.Popped.Compare(y.Popped) })
		s.Workers = append(s.Workers, c)
	}
	s.Messages = slices.SortedFunc(maps.Values(b.messages), func(x, y ServerMessage) int {
		if x.ID < y.ID {
			return -1
		}
		return 1
	})
	return s
}
