// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"math"
	"slices"
	"time"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// pulse is what one kind of work has been doing lately. It is not kept, but made again at a start from the jobs that the record
// still has: those of requests that have not expired.
type pulse struct {
	done   []sample            // of the last minute, oldest first
	models map[string][]sample // of the last hour, newest modelSamples
	there  *there
}

type sample struct {
	at    time.Time
	value float64
}

const (
	minuteOfPulse = time.Minute
	hourOfPulse   = time.Hour
	modelSamples  = 500 // for each model; a mean over more is no better
	thereFor      = 2 * time.Second
)

func newPulse() *pulse { return &pulse{models: map[string][]sample{}} }

// add takes down a finished job: its raw things and its speed.
func (p *pulse) add(now time.Time, model string, things, speed float64) {
	p.done = append(since(p.done, now.Add(-minuteOfPulse)), sample{now, things})
	s := append(since(p.models[model], now.Add(-hourOfPulse)), sample{now, speed})
	p.models[model] = s[max(0, len(s)-modelSamples):]
}

// since drops what is older, in place.
func since(s []sample, at time.Time) []sample {
	i := 0
	for i < len(s) && s[i].at.Before(at) {
		i++
	}
	return s[i:]
}

// pastMinute sums the raw things of the last minute.
func (p *pulse) pastMinute(now time.Time) (sum float64) {
	p.done = since(p.done, now.Add(-minuteOfPulse))
	for _, s := range p.done {
		sum += s.value
	}
	return sum
}

// modelSpeed is the mean speed of a model over the last hour, in raw things a second; zero without samples.
func (p *pulse) modelSpeed(model string, now time.Time) float64 {
	s := since(p.models[model], now.Add(-hourOfPulse))
	if len(s) == 0 {
		delete(p.models, model)
		return 0
	}
	p.models[model] = s
	sum := 0.0
	for _, x := range s {
		sum += x.value
	}
	return sum / float64(len(s))
}

// there are the workers of one kind that are online.
type there struct {
	workers []*worker
	// offers are those of the workers that serve: not in maintenance, not paused.
	offers  []*horde.Offer
	threads int
	// speed is the mean of all samples of all workers of the kind, in raw things a second; zero without any.
	speed float64
	// models counts the threads that offer each model. Nil until somebody asks: see modelThreads.
	models map[string]int
	// offering lists the workers by the models that they offer. Nil until somebody asks: see couldTake.
	offering map[string][]*worker
	// eligible is what was found out about requests: see [Engine.eligible].
	eligible map[eligibleKey]eligible
	until    time.Time
}

// totals counts the online workers and their threads.
func (t *there) totals() (workers, threads int) { return len(t.workers), t.threads }

// online lists the workers that are there now. The list is kept for a moment.
func (e *Engine) online(k horde.Kind, now time.Time) *there {
	p := e.pulse[k]
	if p.there != nil && now.Before(p.there.until) {
		return p.there
	}
	t := &there{until: now.Add(thereFor)}
	ref, samples, sum := e.Reference(), 0, 0.0
	for _, w := range e.workers {
		if w.Kind != k {
			continue
		}
		for _, s := range w.Samples {
			sum += s
			samples++
		}
		if !w.Online(now) {
			continue
		}
		t.workers = append(t.workers, w)
		t.threads += w.Threads
		if !w.Maintenance && !w.Paused && k != horde.Alchemy {
			t.offers = append(t.offers, w.standing(ref))
		}
	}
	if samples > 0 {
		t.speed = sum / float64(samples)
	}
	p.there = t
	return t
}

// couldTake calls f with the online workers that have one of the wanted models, or with all where none is wanted, until f
// returns false. A worker with several of them may come several times.
func (t *there) couldTake(wanted []string, f func(*worker) bool) {
	if len(wanted) == 0 {
		for _, w := range t.workers {
			if !f(w) {
				return
			}
		}
		return
	}
	if t.offering == nil {
		t.offering = map[string][]*worker{}
		for _, w := range t.workers {
			for _, m := range w.Models {
				t.offering[m] = append(t.offering[m], w)
			}
		}
	}
	for _, m := range wanted {
		for _, w := range t.offering[m] {
			if !f(w) {
				return
			}
		}
	}
}

// standing is the offer as of the worker's last full check-in.
func (w *worker) standing(ref *horde.Reference) *horde.Offer {
	if w.online == nil {
		w.online = horde.NewOffer(&w.Worker, w.owner.Has(horde.Trusted), w.Models, ref)
	}
	w.online.OwnerTrusted = w.owner.Has(horde.Trusted)
	return w.online
}

// lately are the jobs of a record that were delivered within the last hour.
type lately struct {
	jobs map[horde.RequestID][]*horde.Job
	done []finished
}

// finished is a delivered job as a pulse takes it down.
type finished struct {
	job           *horde.Job
	kind          horde.Kind
	things, speed float64
}

// manyLately is how many jobs of the last hour are measured again at a start. Where there are more, those of the last minute are
// enough to tell how fast models are.
const manyLately = 50_000

func newLately(jobs []*horde.Job, now time.Time) *lately {
	l := &lately{jobs: map[horde.RequestID][]*horde.Job{}}
	within := func(d time.Duration, j *horde.Job) bool {
		return j.State == horde.JobDelivered && !j.Decoy && now.Sub(j.Ended) < d
	}
	count, last := 0, hourOfPulse
	for _, j := range jobs {
		if within(hourOfPulse, j) {
			count++
		}
	}
	if count > manyLately {
		last = minuteOfPulse
	}
	for _, j := range jobs {
		if within(last, j) {
			l.jobs[j.Request] = append(l.jobs[j.Request], j)
		}
	}
	return l
}

// request measures the jobs of a request, while it is unpacked.
func (l *lately) request(r *request) {
	for _, j := range l.jobs[r.ID] {
		o := r.order()
		things := delivered(o, j.Result)
		l.done = append(l.done, finished{j, o.Kind, things, speedOf(j, things, j.Ended)})
	}
}

// restore fills the pulses of a memory that was just loaded.
func (l *lately) restore(s *state) {
	slices.SortFunc(l.done, func(a, b finished) int { return a.job.Ended.Compare(b.job.Ended) })
	for _, f := range l.done {
		s.pulse[f.kind].add(f.job.Ended, f.job.Model, f.things, f.speed)
	}
}

// delivered is how many raw things a result of an order counts as.
func delivered(o *horde.Order, text string) float64 {
	if o.Kind == horde.Text {
		return float64(kudos.Tokens(text, *o.Text.MaxLength))
	}
	return o.Things()
}

// speedOf is how fast a job was made that ended then, in raw things a second.
func speedOf(j *horde.Job, things float64, ended time.Time) float64 {
	if took := ended.Sub(j.Started).Seconds(); took > 0 {
		return math.Round(things/took*10) / 10
	}
	return 1
}
