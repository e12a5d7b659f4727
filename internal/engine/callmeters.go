// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"horde/internal/horde"
)

// callMeters are how long the use cases of one kind of work took, what came of them, and where their time went. Like all meters
// they are made once with all their labels.
type callMeters struct {
	// generate is a submission, without and with a source image; of other kinds than images only the first is used.
	generate [2]prometheus.Observer
	// sources is the part of it that stores source images, accepted the wait until it is in the record.
	sources, accepted prometheus.Observer

	pop, eval map[bool]prometheus.Observer  // of pops that did not wait for a job, by whether there was one
	skipped   map[string]prometheus.Counter // requests that pops did not get, by reason

	submit map[string]prometheus.Observer // by outcome
	// upload is the part of a delivery that takes the image, delivered the wait until it is in the record.
	upload, delivered prometheus.Observer
	kudos             map[string]prometheus.Observer // rewards by outcome

	check, status map[string]prometheus.Observer // by outcome
	checks        map[string]prometheus.Counter
}

// kudosBounds are the bounds of histograms of kudos (status chapter, 6).
var kudosBounds = []float64{0, 1, 10, 100, 1000, 10_000, 100_000}

// The outcomes of calls.
const (
	outcomeAccepted  = "accepted"
	outcomeCensored  = "censored"
	outcomeFaulted   = "faulted"
	outcomeDuplicate = "already_submitted"
	outcomeError     = "error"
	outcomeFound     = "found"
	outcomeOK        = "ok"
	outcomeNotFound  = "not_found"
)

// skipReasons are why requests are skipped, as [horde.Skipped] counts them.
var skipReasons = map[string]func(*horde.Skipped) int{
	"worker_id":      func(s *horde.Skipped) int { return s.WorkerID },
	"performance":    func(s *horde.Skipped) int { return s.Performance },
	"nsfw":           func(s *horde.Skipped) int { return s.NSFW },
	"untrusted":      func(s *horde.Skipped) int { return s.Untrusted },
	"models":         func(s *horde.Skipped) int { return s.Models },
	"bridge_version": func(s *horde.Skipped) int { return s.BridgeVersion },
	"unsafe_ip":      func(s *horde.Skipped) int { return s.UnsafeIP },
	"img2img":        func(s *horde.Skipped) int { return s.Img2Img },
	"painting":       func(s *horde.Skipped) int { return s.Painting },
	"lora":           func(s *horde.Skipped) int { return s.Lora },
	"controlnet":     func(s *horde.Skipped) int { return s.ControlNet },
	"max_pixels":     func(s *horde.Skipped) int { return s.MaxPixels },
	"kudos":          func(s *horde.Skipped) int { return s.Kudos },
	"blacklist":      func(s *horde.Skipped) int { return s.Blacklist },
	"step_count":     func(s *horde.Skipped) int { return s.StepCount },
}

// newCallMeters makes those of all kinds that are generated, with the functions that make families of series.
func newCallMeters(counter func(name, help string, labels ...string) *prometheus.CounterVec,
	histogram func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec) map[horde.Kind]*callMeters {
	generate := histogram("horde_generate_duration_seconds", "Time that the acceptance of a request took; img2img tells whether it came with a source image.", Seconds, "gentype", "img2img")
	generateStep := histogram("horde_generate_step_duration_seconds", "Parts of that: storing source images, and waiting for the record.", Seconds, "gentype", "step")
	pop := histogram("horde_pop_duration_seconds", "Time that pops took which did not wait for a job.", Seconds, "gentype", "outcome")
	eval := histogram("horde_pop_eval_duration_seconds", "Time in which the queue was searched for a pop.", append([]float64{0.00001, 0.0001}, Seconds...), "gentype", "outcome")
	skipped := counter("horde_pop_skipped_total", "Requests that pops without a job could not get, by reason.", "gentype", "reason")
	submit := histogram("horde_submit_duration_seconds", "Time that the acceptance of a result took.", Seconds, "gentype", "outcome")
	submitStep := histogram("horde_submit_step_duration_seconds", "Parts of that: taking the image, and waiting for the record.", Seconds, "gentype", "step")
	rewards := histogram("horde_submit_kudos", "Rewards of results.", kudosBounds, "gentype", "outcome")
	check := histogram("horde_check_duration_seconds", "Time that checks of a request took.", Seconds, "gentype", "outcome")
	checks := counter("horde_check_outcomes_total", "Checks of requests by whether there was one.", "gentype", "outcome")
	status := histogram("horde_status_duration_seconds", "Time that the status of a request took.", Seconds, "gentype", "outcome")

	all := map[horde.Kind]*callMeters{}
	for _, k := range horde.Generated {
		name := k.String()
		by := func(v *prometheus.HistogramVec, labels ...string) map[string]prometheus.Observer {
			m := map[string]prometheus.Observer{}
			for _, l := range labels {
				m[l] = v.WithLabelValues(name, l)
			}
			return m
		}
		match := func(v *prometheus.HistogramVec) map[bool]prometheus.Observer {
			return map[bool]prometheus.Observer{true: v.WithLabelValues(name, "match"), false: v.WithLabelValues(name, "no_match")}
		}
		m := &callMeters{
			sources: generateStep.WithLabelValues(name, "source_upload"), accepted: generateStep.WithLabelValues(name, "commit"),
			pop: match(pop), eval: match(eval), skipped: map[string]prometheus.Counter{},
			submit: by(submit, outcomeAccepted, outcomeDuplicate, outcomeFaulted, outcomeError),
			upload: submitStep.WithLabelValues(name, "upload"), delivered: submitStep.WithLabelValues(name, "commit"),
			kudos: by(rewards, outcomeAccepted, outcomeCensored),
			check: by(check, outcomeFound, outcomeNotFound, outcomeError), checks: map[string]prometheus.Counter{},
			status: by(status, outcomeOK, outcomeNotFound, outcomeError),
		}
		if k == horde.Image {
			for i := range m.generate {
				m.generate[i] = generate.WithLabelValues(name, strconv.FormatBool(i == 1))
			}
		} else {
			m.generate[0] = generate.WithLabelValues(name, "")
		}
		for outcome := range m.check {
			m.checks[outcome] = checks.WithLabelValues(name, outcome)
		}
		for reason := range skipReasons {
			m.skipped[reason] = skipped.WithLabelValues(name, reason)
		}
		all[k] = m
	}
	return all
}

// took observes how long something took that began then. A nil observer takes nothing.
func took(o prometheus.Observer, began time.Time) {
	if o != nil {
		o.Observe(time.Since(began).Seconds())
	}
}

// generated takes down a submission.
func (m *callMeters) generated(began time.Time, img2img bool) {
	i := 0
	if img2img {
		i = 1
	}
	took(m.generate[i], began)
}

// empty takes down why a pop got nothing.
func (m *callMeters) empty(s *horde.Skipped) {
	if *s == (horde.Skipped{}) {
		return
	}
	for reason, of := range skipReasons {
		if n := of(s); n > 0 {
			m.skipped[reason].Add(float64(n))
		}
	}
}

// submitted takes down a submit.
func (m *callMeters) submitted(began time.Time, faulted bool, err error) {
	var refusal *horde.Error
	outcome := outcomeAccepted
	switch {
	case errors.As(err, &refusal) && refusal.RC == horde.ErrDuplicateGen.RC:
		outcome = outcomeDuplicate
	case err != nil:
		outcome = outcomeError
	case faulted:
		outcome = outcomeFaulted
	}
	took(m.submit[outcome], began)
}

// looked takes down a check, or with results a status.
func (m *callMeters) looked(began time.Time, results bool, err error) {
	if m == nil {
		return // alchemy
	}
	var refusal *horde.Error
	outcome := outcomeFound
	switch {
	case errors.As(err, &refusal) && refusal.Status == http.StatusNotFound:
		outcome = outcomeNotFound
	case err != nil:
		outcome = outcomeError
	}
	if !results {
		took(m.check[outcome], began)
		m.checks[outcome].Inc()
		return
	}
	if outcome == outcomeFound {
		outcome = outcomeOK
	}
	took(m.status[outcome], began)
}
