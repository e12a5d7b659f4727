// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"encoding/base64"
	"net/netip"
	"time"

	"horde/internal/blob"
	"horde/internal/dispatch"
	"horde/internal/horde"
)

// Popped is the answer to a pop. With no job, IDs is empty and Skipped tells why.
type Popped struct {
	Kind    horde.Kind
	IDs     []horde.JobID
	Request horde.RequestID
	Model   string
	Order   *horde.Order
	Lease   time.Duration
	// Seed is for image jobs: one for the whole batch.
	Seed uint32
	// Pipeline is which of the pipelines of a comparison makes the job, from 0.
	Pipeline int
	// Uploads are, for image jobs, where the results go, in the order of IDs.
	Uploads []string
	// SourceImage, SourceMask and ExtraSources are links or, for programs that cannot follow links, base64. Empty when the
	// order has none or the program cannot use any.
	SourceImage, SourceMask string
	ExtraSources            []ExtraSource
	// Newer tells that the worker knows the parameters of [horde.Sampling].
	Newer   bool
	Skipped horde.Skipped
	// Messages are what the worker is told.
	Messages []*horde.Message
}

// ExtraSource is a further source image as a worker gets it.
type ExtraSource struct {
	Image    string
	Strength float64
}

// PopImage gives an image worker a batch of jobs of one request, or none. If there is none it waits for one as long as the
// worker wants to, see [horde.Polling.Patience]. A job whose worker hangs up before it could be handed out goes to another one.
func (e *Engine) PopImage(ctx context.Context, key string, addr netip.Addr, p *horde.ImagePop) (*Popped, error) {
	yes := func(b *bool) bool { return b == nil || *b }
	return e.pop(ctx, key, addr, horde.Image, &p.Polling, func(w *horde.Worker) {
		w.MaxPixels = horde.DefaultSide * horde.DefaultSide
		if p.MaxPixels != nil {
			w.MaxPixels = *p.MaxPixels
		}
		w.AllowUnsafeIP = yes(p.AllowUnsafeIPAddr)
		w.ExtraSlow = is(p.ExtraSlowWorker)
		w.AllowImg2Img, w.AllowPainting = yes(p.AllowImg2Img), yes(p.AllowPainting)
		w.AllowPostProcessing = yes(p.AllowPostProcessing)
		w.AllowControlNet, w.AllowSDXLControlNet = is(p.AllowControlNet), is(p.AllowSDXLControlNet)
		w.AllowLora, w.LimitMaxSteps = is(p.AllowLora), is(p.LimitMaxSteps)
		w.AllowExtendedControlNet, w.SamplerContract = is(p.AllowExtendedControlNet), str(p.SamplerContract)
		w.Blacklist = cutWords(p.Blacklist)
	})
}

// The lengths that a text worker which tells none counts as taking.
const (
	defaultWorkerLength  = 512
	defaultWorkerContext = 2048
)

// PopText gives a text worker a batch of jobs of one request, or none.
func (e *Engine) PopText(ctx context.Context, key string, addr netip.Addr, p *horde.TextPop) (*Popped, error) {
	return e.pop(ctx, key, addr, horde.Text, &p.Polling, func(w *horde.Worker) {
		w.MaxLength, w.MaxContextLength = defaultWorkerLength, defaultWorkerContext
		if p.MaxLength != nil {
			w.MaxLength = *p.MaxLength
		}
		if p.MaxContextLength != nil {
			w.MaxContextLength = *p.MaxContextLength
		}
		w.Softprompts = nil
		for _, s := range p.Softprompts[:min(len(p.Softprompts), maxSoftprompts)] {
			w.Softprompts = append(w.Softprompts, cutRunes(s, maxSoftpromptName))
		}
	})
}

// pop hands out what there is or, if the worker is patient, waits until there is something. What waiting ends with is a pop
// like any other, at the end.
func (e *Engine) pop(ctx context.Context, key string, addr netip.Addr, kind horde.Kind, p *horde.Polling, set fields) (*Popped, error) {
	began, waited := time.Now(), false
	until := began.Add(p.Patience())
	safety, err := e.safetyOf(key, addr, false)
	if err != nil {
		return nil, err
	}
	for {
		var (
			got    popAnswer
			parked *parkedPop
		)
		if err := e.do(func() {
			now := time.Now().UTC()
			w, refusal := e.poll(key, addr, safety, kind, p, set)
			if refusal != nil {
				got.refusal = refusal
				return
			}
			got = e.take(w, p, now)
			if w.isNew {
				got.wait = e.open
			}
			if got.nothing() && !w.Maintenance {
				if parked = e.park(ctx, w, p, now, until); parked != nil && w.isNew {
					e.nudge()
				}
			}
		}); err != nil {
			return nil, err
		}
		if parked != nil {
			waited = true
			var answered bool
			if got, answered = e.await(ctx, parked); !answered {
				if ctx.Err() != nil {
					return nil, horde.ErrUnavailable // nobody reads it
				}
				continue
			}
		}
		popped, err := e.handOut(ctx, got)
		if err == nil && !waited {
			took(e.meters.calls[kind].pop[len(popped.IDs) > 0], began)
		}
		return popped, err
	}
}

// popAnswer is what a pop comes to, as of the batch that it has to wait for.
type popAnswer struct {
	popped   *Popped
	features horde.Features
	refusal  *horde.Error
	wait     *batch
}

func (a *popAnswer) nothing() bool { return a.refusal == nil && len(a.popped.IDs) == 0 }

// handOut waits until what a pop was given is in the record, and adds the links. What cannot be handed out goes back.
func (e *Engine) handOut(ctx context.Context, a popAnswer) (*Popped, error) {
	err := e.durable(ctx, a.wait)
	if err == nil && a.refusal != nil {
		return nil, a.refusal
	}
	if a.nothing() {
		e.meters.kinds[a.popped.Kind].popsEmpty.Inc() // here, for one that waits looks more than once
		e.meters.calls[a.popped.Kind].empty(&a.popped.Skipped)
	}
	if err == nil && len(a.popped.IDs) > 0 && a.popped.Kind == horde.Image {
		err = e.link(ctx, a.popped, a.features)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if a.refusal == nil {
			e.takeBack(a.popped)
		}
		return nil, unavailable(err)
	}
	return a.popped, nil
}

// takeBack returns the slots of jobs that do not reach their worker, so that another one gets them at once. If the reason is
// that the memory is being loaded anew, that is done with what is loaded: a commit that failed may be in the record.
func (e *Engine) takeBack(p *Popped) {
	if len(p.IDs) == 0 {
		return
	}
	e.lock()
	down := e.down
	if down {
		e.unreached = append(e.unreached, p.IDs...)
	}
	e.mu.Unlock()
	if !down {
		_ = e.do(func() { e.vacateAll(p.IDs) })
	}
}

// vacateAll returns the slots of jobs that did not reach their worker. It is called with the lock.
func (e *Engine) vacateAll(ids []horde.JobID) {
	now, some := time.Now().UTC(), false
	for _, id := range ids {
		j := e.jobs[id]
		if j == nil || j.State != horde.JobRunning {
			continue // the memory was dropped meanwhile, or the worker
		}
		e.vacate(j, horde.JobReturned, now)
		if j.Decoy && j.worker != nil {
			delete(j.worker.tricked, j.Request)
		}
		some = true
	}
	if some {
		e.nudge()
	}
}

// search is what the worker looks for in the queue.
func (e *Engine) search(w *polled, now time.Time) *dispatch.Pop {
	search := &dispatch.Pop{
		Offer: w.offer, Friends: w.friends, OwnOnly: w.Maintenance, MatchedTargeting: e.MatchedTargeting && w.Kind == horde.Image,
	}
	if w.RequireUpfrontKudos {
		search.Affordable = e.affordable
	}
	if len(w.tricked) > 0 || now.Sub(w.failed) <= elsewhere {
		search.Barred = func(id horde.RequestID) bool {
			return w.tricked[id] || e.betterElsewhere(e.requests[id], w.worker, now)
		}
	}
	return search
}

// take finds a request for the worker and hands out a batch of it.
func (e *Engine) take(w *polled, p *horde.Polling, now time.Time) popAnswer {
	began := time.Now()
	found, skipped := e.queues[w.Kind].Match(e.search(w, now))
	took(e.meters.calls[w.Kind].eval[found != nil], began)
	if found == nil {
		if w.Maintenance {
			return popAnswer{refusal: horde.ErrWorkerMaintenance.Withf("%s", w.MaintenanceMessage)}
		}
		messages, wait := e.mailFor(w.worker, now)
		return popAnswer{popped: &Popped{Kind: w.Kind, Skipped: skipped, Messages: messages}, wait: wait}
	}
	r := e.requests[found.Request.ID]
	o := r.order()
	r.unpacked = o
	amount, decoy := 1, w.Paused && r.user != w.owner
	if p.Amount != nil {
		amount = *p.Amount
	}
	left := r.Left
	size := o.BatchSize(amount, left, w.MaxPixels)
	if decoy {
		size = 1
	}
	popped := &Popped{
		Kind: w.Kind, Request: r.ID, Order: o, Model: e.pick(w, o),
		Lease: o.Lease(w.ExtraSlow, e.Reference()), Newer: w.offer.Features&horde.FeatureExtendedSampling != 0,
	}
	popped.Messages, _ = e.mailFor(w.worker, now) // the jobs wait for a later batch
	if w.Kind == horde.Image {
		popped.Seed = o.PopSeed(left, e.Random.Uint32())
	}
	meters := e.meters.kinds[w.Kind]
	meters.popsServed.Inc()
	meters.batches.Observe(float64(size))
	if len(r.jobs) == 0 {
		meters.dispatchLatency.Observe(now.Sub(r.Created).Seconds())
	}
	for range size {
		j := &job{request: r, worker: w.worker, Job: horde.Job{
			ID: horde.NewJobID(), Request: r.ID, Worker: w.ID, WorkerName: w.Name, Model: popped.Model,
			State: horde.JobRunning, Decoy: decoy, Started: now, Lease: popped.Lease,
		}}
		e.addJob(j)
		e.open.job(j)
		popped.IDs = append(popped.IDs, j.ID)
		if o.Pair && !decoy {
			popped.Pipeline = e.pipeline(r, j)
		}
	}
	if decoy {
		if w.tricked == nil {
			w.tricked = map[horde.RequestID]bool{}
		}
		w.tricked[r.ID] = true
		return popAnswer{popped: popped, features: w.offer.Features, wait: e.open}
	}
	e.setLeft(r, left-size, now)
	r.Running += size
	if w.ExtraSlow {
		r.Expires = now.Add(horde.ExtraSlowLifetime)
	} else {
		r.Touch(now, max(horde.Lifetime, popped.Lease+horde.Lifetime/2)) // a long text takes longer than a request lives otherwise
	}
	e.open.request(r, false)
	return popAnswer{popped: popped, features: w.offer.Features, wait: e.open}
}

// betterElsewhere tells whether the worker has just failed at the request while another one could take it: three failures end
// a request, and they should not all be one worker's.
func (e *Engine) betterElsewhere(r *request, w *worker, now time.Time) bool {
	if len(r.returned) == 0 || now.Sub(r.returned[w.ID]) > elsewhere {
		return false
	}
	o := r.order()
	needs := o.Needs()
	wanted, ref := needs.ModelList(), e.Reference()
	for _, other := range e.online(r.Order.Kind(), now).workers {
		if other == w || other.Maintenance || other.Paused || now.Sub(r.returned[other.ID]) <= elsewhere {
			continue
		}
		if other.standing(ref).CouldTake(o, &needs, wanted) {
			return true
		}
	}
	return false
}

// pick chooses the model of a batch at random among those that the order and the worker have in common.
func (e *Engine) pick(w *polled, o *horde.Order) string {
	usable := w.offer.Usable(o.Models)
	if len(usable) == 0 {
		usable = w.Models // a pop without models inside the check-in window
	}
	if len(usable) == 0 {
		return ""
	}
	return usable[e.Random.IntN(len(usable))]
}

// affordable tells whether a request's user could pay for it now (dispatch chapter, 6).
func (e *Engine) affordable(r *horde.Request) bool {
	u := e.users[r.User]
	if u.Has(horde.Trusted) {
		return true
	}
	balance := e.book.Balance(u.ID)
	k := balance.Spendable
	if k > 0 {
		k -= balance.Floor
	}
	return k >= r.Price
}

// link signs where results go and where source images are.
func (e *Engine) link(ctx context.Context, p *Popped, f horde.Features) error {
	for _, id := range p.IDs {
		url, err := e.Blobs.SignPut(ctx, blob.Result(id.String()), blob.URLLifetime)
		if err != nil {
			return e.storageRefusal(err)
		}
		p.Uploads = append(p.Uploads, url)
	}
	o := p.Order
	if f&horde.FeatureImg2Img != 0 {
		var err error
		if p.SourceImage, err = e.sourceFor(ctx, o.SourceImage, f); err == nil {
			p.SourceMask, err = e.sourceFor(ctx, o.SourceMask, f)
		}
		if err != nil {
			return e.storageRefusal(err)
		}
	}
	for _, extra := range o.ExtraSources {
		url, err := e.Blobs.SignGet(ctx, blob.Key(extra.Key), blob.URLLifetime)
		if err != nil {
			return e.storageRefusal(err)
		}
		p.ExtraSources = append(p.ExtraSources, ExtraSource{Image: url, Strength: extra.Strength})
	}
	return nil
}

// sourceFor is a stored picture as a link or, for programs that cannot follow one, as base64.
func (e *Engine) sourceFor(ctx context.Context, key string, f horde.Features) (string, error) {
	if key == "" {
		return "", nil
	}
	if f&horde.FeatureR2Source != 0 {
		return e.Blobs.SignGet(ctx, blob.Key(key), blob.URLLifetime)
	}
	data, err := blob.ReadAll(ctx, e.Blobs, blob.Key(key))
	return base64.StdEncoding.EncodeToString(data), err
}
