// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"horde/internal/blob"
	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/trace"
)

// maxMetadata is how many notes a result may carry.
const maxMetadata = 50

// uploaded is what a worker sends in place of an image that it has uploaded.
const uploaded = "R2"

// delivery is what image and text submits have in common.
type delivery struct {
	kind       horde.Kind
	id         string
	generation string
	state      string
	seed       int64
	metadata   []horde.Metadata
	censored   bool
	// stored tells that the image is in the blob store; result is what else there is.
	stored bool
	result string
}

func (d *delivery) faulted() bool { return d.state == "faulted" && !d.censored }

// DeliverImage ends a job of an image worker and returns what it earns, in kudos.
func (e *Engine) DeliverImage(ctx context.Context, key string, s *horde.ImageDelivery) (reward float64, err error) {
	began := time.Now()
	d := &delivery{kind: horde.Image, id: *s.ID, generation: *s.Generation, state: str(s.State), seed: *s.Seed}
	for _, m := range s.Metadata {
		d.metadata = append(d.metadata, horde.Metadata{Type: *m.Type, Value: *m.Value, Ref: str(m.Ref)})
		d.censored = d.censored || *m.Type == "censorship"
	}
	defer func() { e.meters.calls[horde.Image].submitted(began, d.faulted(), err) }()
	running, err := e.owns(key, d)
	if err != nil {
		return 0, err
	}
	if running && !d.faulted() {
		keeping := time.Now()
		err := e.keepImage(ctx, d)
		took(e.meters.calls[horde.Image].upload, keeping)
		if err != nil {
			return 0, e.spoiled(ctx, key, d, err)
		}
	}
	return e.deliver(ctx, key, d)
}

// DeliverText ends a job of a text worker and returns what it earns, in kudos.
func (e *Engine) DeliverText(ctx context.Context, key string, s *horde.TextDelivery) (reward float64, err error) {
	began := time.Now()
	d := &delivery{kind: horde.Text, id: *s.ID, generation: *s.Generation, state: str(s.State)}
	if s.Seed != nil {
		d.seed = *s.Seed
	}
	csam := false
	for _, m := range s.Metadata {
		d.metadata = append(d.metadata, horde.Metadata{Type: *m.Type, Value: *m.Value, Ref: str(m.Ref)})
		csam = csam || *m.Type == "censorship" && *m.Value == "csam"
	}
	d.censored = csam || d.state == "csam" || d.state == "censored"
	if d.state == "csam" && !csam {
		d.metadata = append(d.metadata, horde.Metadata{Type: "censorship", Value: "csam"})
	}
	d.result = strings.ReplaceAll(d.generation, "\x00", "\uFFFD")
	defer func() { e.meters.calls[horde.Text].submitted(began, d.faulted(), err) }()
	return e.deliver(ctx, key, d)
}

// owns makes the checks of a submit before anything is looked at: the job exists, and it is the caller's to end. It tells
// whether the job is still running: only then is there a use for what was made.
func (e *Engine) owns(key string, d *delivery) (running bool, err error) {
	var refusal *horde.Error
	if err := e.do(func() {
		var j *job
		if j, refusal = e.jobFor(key, d); refusal == nil {
			running = j.State == horde.JobRunning
		}
	}); err != nil {
		return false, err
	}
	return running, asError(refusal)
}

func (e *Engine) jobFor(key string, d *delivery) (*job, *horde.Error) {
	id, ok := horde.ParseJobID(d.id)
	j := e.jobs[id]
	if !ok || j == nil || j.request.Order.Kind() != d.kind {
		// An image job that is ended as a text would be paid for without an image.
		return nil, horde.ErrInvalidJobID.Withf("Processing Job with ID %.50s does not exist", d.id)
	}
	u, err := e.userOf(key)
	if err != nil {
		return nil, err
	}
	if j.worker == nil || j.worker.owner != u {
		return nil, horde.ErrWrongCredentials
	}
	if len(d.metadata) > maxMetadata {
		return nil, horde.ErrTooMuchMetadata
	}
	return j, nil
}

// keepImage makes sure that the image of a delivery is in the blob store and can no longer be exchanged. An image that
// comes as base64 is converted first; what is no image at all is kept as it came.
func (e *Engine) keepImage(ctx context.Context, d *delivery) error {
	id, _ := horde.ParseJobID(d.id)
	key := blob.Result(id.String())
	if d.generation == uploaded {
		sealing, span := trace.Start(ctx, "seal image")
		_, err := e.Blobs.Seal(sealing, key)
		span.End(err)
		d.stored = err == nil
		return err
	}
	webp, err := e.Pictures.Result(ctx, d.generation)
	if errors.Is(err, ErrNoImage) {
		d.result = strings.ReplaceAll(d.generation, "\x00", "\uFFFD")
		return nil
	}
	if err == nil {
		err = e.Blobs.Put(ctx, key, webp)
	}
	d.stored = err == nil
	return err
}

// spoiled ends a job whose image is broken, too large or was never uploaded: it is faulted, so that another worker gets it at once.
// What is the server's own fault leaves the job as it is.
func (e *Engine) spoiled(ctx context.Context, key string, d *delivery, cause error) error {
	var refusal *horde.Error
	switch {
	case errors.Is(cause, blob.ErrNotFound):
		refusal = horde.ErrCorruptResult.Withf("No image was uploaded for this job.")
	case errors.Is(cause, blob.ErrTooLarge):
		refusal = horde.ErrCorruptResult.Withf("The image of this job is too large.")
	case errors.As(cause, &refusal):
		refusal = horde.ErrCorruptResult
	default:
		return e.storageRefusal(cause)
	}
	d.state = "faulted"
	d.censored = false
	if _, err := e.deliver(ctx, key, d); err != nil {
		return err
	}
	return refusal
}

// deliver is the state machine of a submit. Exactly one submit of a job is accepted.
func (e *Engine) deliver(ctx context.Context, key string, d *delivery) (float64, error) {
	var o outcome
	if err := e.do(func() { o = e.end(key, d, time.Now().UTC()) }); err != nil {
		return 0, err
	}
	notice := o.delivered != nil && o.order.Webhook != ""
	if notice { // the client is told even if the worker hangs up meanwhile
		ctx = context.WithoutCancel(ctx)
	}
	waiting := time.Now()
	if err := e.durable(ctx, o.wait); err != nil {
		return 0, unavailable(err)
	}
	if o.order != nil {
		took(e.meters.calls[o.order.Kind].delivered, waiting)
	}
	if o.public != nil && e.Ratings != nil {
		e.Ratings.Share(*o.public)
	}
	if notice {
		e.notify(ctx, *o.delivered, o.order)
	}
	return o.reward, asError(o.refusal)
}

// outcome is what a submit led to.
type outcome struct {
	reward  float64
	refusal *horde.Error
	wait    *batch
	// delivered is a copy of the job if its result was accepted, and order what it was made for.
	delivered *horde.Job
	order     *horde.Order
	// public describes the image if everybody may see it.
	public *horde.SharedImage
}

// end moves a job to its last state, if it is not there already.
func (e *Engine) end(key string, d *delivery, now time.Time) outcome {
	j, err := e.jobFor(key, d)
	if err != nil {
		return outcome{refusal: err}
	}
	switch {
	case j.State == horde.JobDelivered:
		e.meters.kinds[j.request.Order.Kind()].duplicate.Inc()
		return outcome{wait: e.pending(&j.changed), refusal: horde.ErrDuplicateGen.Withf("Processing Job with ID %s was already submitted", j.ID)}
	case d.faulted() && j.State != horde.JobRunning:
		return outcome{wait: e.pending(&j.changed)}
	case d.faulted():
		e.fault(j, now)
		if j.worker != nil {
			j.request.gaveBack(j.worker, now)
		}
		return outcome{wait: e.open}
	case j.State == horde.JobReturned:
		return outcome{wait: e.pending(&j.changed), refusal: horde.ErrAbortedGen.Withf(
			"Processing Job with ID %s was aborted: it was not there any more when it was to be handed out.", j.ID)}
	case j.State == horde.JobFaulted:
		reason := fmt.Sprintf("it was not done within %d seconds", int(j.Lease.Seconds()))
		if j.Ended.Sub(j.Started) <= j.Lease {
			reason = "it was handed back before"
		}
		return outcome{wait: e.pending(&j.changed), refusal: horde.ErrAbortedGen.Withf(
			"Processing Job with ID %s was aborted: %s. Please check your worker speed", j.ID, reason)}
	}
	o := outcome{reward: e.accept(j, d, now), wait: e.open, order: j.request.order()}
	if !j.Decoy {
		delivered := j.Job
		o.delivered = &delivered
		if s, ok := e.sharedImage(j.request, j, o.order); ok {
			o.public = &s
		}
	}
	return o
}

// notify tells the client's webhook of a result that is in the record.
func (e *Engine) notify(ctx context.Context, j horde.Job, o *horde.Order) {
	g, err := e.generation(ctx, j, o)
	if err != nil {
		e.Log.Error("a webhook was not sent: its image cannot be read", "job", j.ID, "error", err)
		return
	}
	e.Notify(Notice{URL: o.Webhook, Kind: o.Kind, Request: j.Request, Generation: g, Kudos: j.Reward})
}

// accept takes a result, pays for it and returns its price.
func (e *Engine) accept(j *job, d *delivery, now time.Time) float64 {
	r, w, ref := j.request, j.worker, e.Reference()
	o := r.order()
	j.State, j.Ended = horde.JobDelivered, now
	delete(e.running, j.ID)
	e.open.job(j)

	things := delivered(o, d.result)
	speed := e.measure(w, j, things, now)
	reward := e.price(j, d, ref)
	if j.Decoy {
		return reward // the result is thrown away, and nothing moves
	}
	e.pulse[o.Kind].add(now, j.Model, things, speed)
	e.tally(j, now)
	meters := e.meters.kinds[o.Kind]
	if d.censored {
		meters.censored.Inc()
		e.meters.calls[o.Kind].kudos[outcomeCensored].Observe(reward)
	} else {
		meters.delivered.Inc()
		e.meters.calls[o.Kind].kudos[outcomeAccepted].Observe(reward)
	}
	meters.jobTime.Observe(now.Sub(j.Started).Seconds())
	j.Result, j.Stored, j.Seed, j.Censored, j.Metadata = d.result, d.stored, d.seed, d.censored, d.metadata
	j.Reward, j.WorkerName = reward, w.Name
	if slices.ContainsFunc(d.metadata, horde.Metadata.IsCSAM) {
		e.problem(j, now)
	}

	debit, credit := kudos.Burn(o, reward), reward
	if d.censored {
		debit = kudos.Burn(o, 0)
	}
	if o.Kind == horde.Image {
		credit *= horde.ParseAgent(w.Agent).Capabilities().Multiplier
	}
	multiplier := r.user.UsageMultiplier
	if multiplier == 0 {
		multiplier = 1
	}
	charge := horde.NewKudos(debit)
	e.event(e.book.Settle(now, kudos.Settled{
		Request: &r.Request, Job: j.ID, Worker: &w.Worker, ToEscrow: !w.owner.Has(horde.Trusted),
		Debit: charge, Credit: horde.NewKudos(credit),
		Things: o.Things() / o.Kind.ThingsDivisor(), UsageMultiplier: multiplier,
	}))
	e.teamDelivered(w, horde.NewKudos(credit))
	e.charge(r, charge)
	r.Running--
	r.Finished++
	r.Touch(now, horde.Lifetime)
	if r.Done() || r.Cancelled && r.Running == 0 {
		e.releaseHold(r)
		r.unpacked = nil
	}
	e.open.request(r, false)
	e.acted(r.user, now)
	e.acted(w.owner, now)
	e.promote(w.owner, now)
	return reward
}

// price is what a delivered job is worth.
func (e *Engine) price(j *job, d *delivery, ref *horde.Reference) float64 {
	o := j.request.order()
	if o.Kind == horde.Image {
		return kudos.ImageReward(j.request.Price, o, j.Model, ref)
	}
	validated := horde.ParseAgent(j.worker.Agent).Capabilities().ValidatedText
	return e.Rules.TextReward(o, j.Model, d.result, j.worker.owner.Has(horde.Trusted), validated, ref)
}

// Speeds that no honest worker reaches, in displayed things a second (dispatch chapter, 18).
const (
	fastImage = 20
	fastText  = 150
)

// measure takes down how fast the job was, and suspects what cannot be.
func (e *Engine) measure(w *worker, j *job, things float64, now time.Time) (speed float64) {
	speed = speedOf(&j.Job, things, now)
	kind := j.request.Order.Kind()
	w.AddSample(speed)
	w.lazy = true
	switch {
	case kind == horde.Image && speed/kind.ThingsDivisor() > fastImage, kind == horde.Text && speed > fastText:
		e.suspect(w, horde.SuspicionUnreasonablyFast, fmt.Sprintf("%s: %.1f a second", kind, speed/kind.ThingsDivisor()))
	}
	if kind == horde.Text && !w.owner.Has(horde.Trusted) && speed > textLimit(j.Model, e.Reference()) {
		e.suspect(w, horde.SuspicionUnreasonablyFast, fmt.Sprintf("%s: %.1f tokens a second", j.Model, speed))
	}
	return speed
}

// textLimit is how fast a text model of its size can be, in tokens a second.
func textLimit(model string, ref *horde.Reference) float64 {
	if !ref.Known(horde.Text, model) {
		return math.Inf(1)
	}
	limit := 150.0
	switch b := ref.Billions(model); {
	case b >= 70:
		limit = 30
	case b >= 14:
		limit = 100
	}
	if strings.Contains(model, "8x") {
		limit *= 3
	}
	return limit
}

// fault ends a running job without a result and counts that against the request, which ends after some, and the worker.
// Decoys count for nothing.
func (e *Engine) fault(j *job, now time.Time) {
	r := j.request
	if !j.Decoy && !r.Cancelled {
		e.tally(j, now)
	}
	e.vacate(j, horde.JobFaulted, now)
	e.meters.kinds[r.Order.Kind()].faulted.Inc()
	if !j.Decoy {
		r.Faults++
		if r.Faults >= horde.MaxFaults && !r.Cancelled {
			e.dequeue(r, now)
			r.Faulted = true
		}
		if r.Faulted {
			e.releaseHold(r)
		}
	}
	if j.worker != nil {
		e.aborted(j.worker, now)
	}
}

// vacate ends a running job without a result and lets another worker have its slot, unless the request is cancelled.
func (e *Engine) vacate(j *job, state horde.JobState, now time.Time) {
	r := j.request
	j.State, j.Ended = state, now
	delete(e.running, j.ID)
	e.open.job(j)
	if j.Decoy {
		return
	}
	if r.Running--; r.Running == 0 {
		r.unpacked = nil
	}
	if !r.Cancelled {
		e.setLeft(r, r.Left+1, now)
	} else if r.Running == 0 {
		e.releaseHold(r)
	}
	e.open.request(r, false)
}

// aborted counts a lost job of a worker. One that loses many within an hour is put into maintenance.
func (e *Engine) aborted(w *worker, now time.Time) {
	w.Uncompleted++
	if now.Sub(w.LastAborted) > horde.AbortWindow {
		w.Aborted, w.LastAborted = 0, now
	}
	w.Aborted++
	limit := horde.AbortLimit
	switch {
	case w.Kind == horde.Alchemy:
		limit = horde.AbortLimitAlchemy
	case e.settings.RaidMode:
		limit = horde.AbortLimitRaid
	}
	if w.Aborted > limit {
		w.Aborted = 0
		e.suspect(w, horde.SuspicionTooManyAborted, fmt.Sprintf("more than %d jobs within an hour", limit))
		if !e.settings.RaidMode {
			w.Maintenance = true
			w.MaintenanceMessage = fmt.Sprintf("Maintenance mode activated because the worker lost more than %d jobs within an hour. "+
				"Check its speed and its log, then take it out of maintenance mode.", limit)
			e.dismiss(w, horde.ErrWorkerMaintenance.Withf("%s", w.MaintenanceMessage))
			e.Log.Warn("a worker is put into maintenance", "worker", w.Name, "owner", w.owner.ID)
		}
	}
	e.open.worker(w)
}

// acted notes that an account has done something. The anonymous one is never idle.
func (e *Engine) acted(u *user, now time.Time) {
	if u.ID != horde.Anonymous {
		u.LastActive = now
		e.active[u] = true
	}
}

// promote makes an account trusted when it has earned it, and drains the escrow of whoever is.
func (e *Engine) promote(u *user, now time.Time) {
	b := e.book.Balance(u.ID)
	if !u.Has(horde.Trusted) && e.TrustThreshold > 0 && b.Escrow > e.TrustThreshold && u.ID != horde.Anonymous &&
		now.Sub(u.Created) >= trustAge && !u.Suspicious() {
		u.SetRole(horde.Trusted, true)
		e.unpause(u)
		e.open.user(u)
		e.Log.Info("an account is trusted now", "user", u.ID)
	}
	if u.Has(horde.Trusted) && b.Escrow > 0 {
		e.event(e.book.DrainEscrow(now, u.ID))
	}
}

// trustAge is how old an account must be to be trusted.
const trustAge = 7 * 24 * time.Hour

func (e *Engine) unpause(u *user) {
	for _, w := range u.workers {
		if w.Paused {
			w.Paused = false
			e.open.worker(w)
		}
	}
}
