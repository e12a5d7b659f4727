// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"encoding/base64"
	"math/rand/v2"
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
	// Uploads are, for image jobs, where the results go, in the order of IDs.
	Uploads []string
	// SourceImage, SourceMask and ExtraSources are links or, for programs that cannot follow links, base64. Empty when the
	// order has none or the program cannot use any.
	SourceImage, SourceMask string
	ExtraSources            []ExtraSource
	Skipped                 horde.Skipped
}

// ExtraSource is a further source image as a worker gets it.
type ExtraSource struct {
	Image    string
	Strength float64
}

// PopImage gives an image worker a batch of jobs of one request, or none.
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

func (e *Engine) pop(ctx context.Context, key string, addr netip.Addr, kind horde.Kind, p *horde.Polling, set fields) (*Popped, error) {
	var (
		popped   *Popped
		features horde.Features
		refusal  *horde.Error
		wait     *batch
	)
	if err := e.do(func() {
		var w *polled
		if w, refusal = e.poll(key, addr, kind, p, set); refusal != nil {
			return
		}
		features = w.offer.Features
		popped, refusal = e.take(w, p, time.Now().UTC())
		if w.isNew || popped != nil && len(popped.IDs) > 0 {
			wait = e.open
		}
	}); err != nil {
		return nil, err
	}
	if err := e.durable(ctx, wait); err != nil {
		return nil, unavailable(err)
	}
	if refusal != nil {
		return nil, refusal
	}
	if len(popped.IDs) > 0 && kind == horde.Image {
		if err := e.link(ctx, popped, features); err != nil {
			e.handBack(ctx, popped.IDs)
			return nil, err
		}
	}
	return popped, nil
}

// handBack lets other pops have jobs that could not be handed out after all because their images are out of reach. That is
// neither the request's fault nor the worker's.
func (e *Engine) handBack(ctx context.Context, ids []horde.JobID) {
	var wait *batch
	err := e.do(func() {
		for _, id := range ids {
			if j := e.jobs[id]; j != nil && j.State == horde.JobRunning {
				e.release(j, time.Now().UTC())
			}
		}
		wait = e.open
	})
	if err == nil {
		err = e.durable(context.WithoutCancel(ctx), wait)
	}
	if err != nil { // then they end with their leases
		e.Log.Warn("jobs that could not be handed out could not be handed back either", "error", err)
	}
}

// take finds a request for the worker and hands out a batch of it.
func (e *Engine) take(w *polled, p *horde.Polling, now time.Time) (*Popped, *horde.Error) {
	q := e.queues[w.Kind]
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
	found, skipped := q.Match(search)
	if found == nil {
		if w.Maintenance {
			return nil, horde.ErrWorkerMaintenance.Withf("%s", w.MaintenanceMessage)
		}
		return &Popped{Kind: w.Kind, Skipped: skipped}, nil
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
		Kind: w.Kind, Request: r.ID, Order: o, Model: pick(w, o),
		Lease: o.Lease(w.ExtraSlow, e.Reference()),
	}
	if w.Kind == horde.Image {
		popped.Seed = o.PopSeed(left, rand.Uint32())
	}
	for range size {
		j := &job{request: r, worker: w.worker, Job: horde.Job{
			ID: horde.NewJobID(), Request: r.ID, Worker: w.ID, WorkerName: w.Name, Model: popped.Model,
			State: horde.JobRunning, Decoy: decoy, Started: now, Lease: popped.Lease,
		}}
		e.addJob(j)
		e.open.job(j)
		popped.IDs = append(popped.IDs, j.ID)
	}
	if decoy {
		if w.tricked == nil {
			w.tricked = map[horde.RequestID]bool{}
		}
		w.tricked[r.ID] = true
		return popped, nil
	}
	e.setLeft(r, left-size, now)
	r.Running += size
	if w.ExtraSlow {
		r.Expires = now.Add(horde.ExtraSlowLifetime)
	} else {
		r.Touch(now, horde.Lifetime)
	}
	e.open.request(r, false)
	return popped, nil
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
func pick(w *polled, o *horde.Order) string {
	usable := w.offer.Usable(o.Models)
	if len(usable) == 0 {
		usable = w.Models // a pop without models inside the check-in window
	}
	if len(usable) == 0 {
		return ""
	}
	return usable[rand.IntN(len(usable))]
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
