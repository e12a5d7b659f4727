// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"time"

	"horde/internal/blob"
	"horde/internal/dispatch"
	"horde/internal/horde"
	"horde/internal/kudos"
)

// PoppedForm is a form as its worker gets it.
type PoppedForm struct {
	ID   horde.FormID
	Name string
	// Options are nil for none.
	Options map[string]string
	// Source is where the image is, Upload where the new one goes: empty for forms that make none.
	Source, Upload string
}

// AlchemyPopped is the answer to the pop of an alchemist. Without forms, Untrusted counts those that only trusted workers get.
type AlchemyPopped struct {
	Forms     []PoppedForm
	Untrusted int
}

// maxFormsPopped is how many forms one pop gets at most.
const maxFormsPopped = 100

// shownForms is what an alchemist counts as offering that offers nothing.
var shownForms = []string{"caption"}

// PopAlchemy gives an alchemist forms, or none.
func (e *Engine) PopAlchemy(ctx context.Context, key string, addr netip.Addr, p *horde.AlchemyPop) (AlchemyPopped, error) {
	polling := &horde.Polling{Name: p.Name, PriorityUsernames: p.PriorityUsernames, BridgeAgent: p.BridgeAgent, Threads: p.Threads}
	safety, err := e.safetyOf(key, addr, false)
	if err != nil {
		return AlchemyPopped{}, err
	}
	var got []*form
	popped, err := change(ctx, e, func() (AlchemyPopped, *batch, *horde.Error) {
		w, refusal := e.poll(key, addr, safety, horde.Alchemy, polling, func(w *horde.Worker) {
			w.NSFW = false
			w.Forms = distinct(p.Forms)
			if len(w.Forms) == 0 {
				w.Forms = shownForms
			}
			w.AnnotationTypes = distinct(p.AnnotationTypes)
			w.MaxTiles = horde.DefaultMaxTiles
			if p.MaxTiles != nil {
				w.MaxTiles = *p.MaxTiles
			}
		})
		if refusal != nil {
			return AlchemyPopped{}, nil, refusal
		}
		var wait *batch
		if w.isNew {
			wait = e.open
		}
		var popped AlchemyPopped
		got, popped.Untrusted = e.takeForms(w, p, time.Now().UTC())
		switch {
		case len(got) > 0:
			wait = e.open
		case w.Maintenance:
			refusal = horde.ErrWorkerMaintenance.Withf("%s", w.MaintenanceMessage)
		}
		return popped, wait, refusal
	})
	if err == nil {
		popped.Forms, err = e.linkForms(ctx, got)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		e.returnForms(got)
		return AlchemyPopped{}, unavailable(err)
	}
	return popped, nil
}

func distinct(names []string) []string {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// takeForms finds forms for a worker and lets it work on them.
func (e *Engine) takeForms(w *polled, p *horde.AlchemyPop, now time.Time) ([]*form, int) {
	amount := 1
	if p.Amount != nil {
		amount = min(max(*p.Amount, 1), maxFormsPopped)
	}
	entries, untrusted := e.waiting.Take(&dispatch.FormPop{
		Forms: horde.AnnotationNeeds(p.Forms, p.AnnotationTypes), MaxTiles: w.MaxTiles, Slow: w.Speed >= horde.SlowForm, OwnerTrusted: w.owner.Has(horde.Trusted),
		Friends: w.friends, OwnOnly: w.Maintenance || w.Paused,
	}, amount)
	meters := e.meters.kinds[horde.Alchemy]
	if len(entries) == 0 {
		meters.popsEmpty.Inc()
		return nil, untrusted
	}
	meters.popsServed.Inc()
	meters.batches.Observe(float64(len(entries)))
	got := make([]*form, 0, len(entries))
	for _, entry := range entries {
		f := e.alchemy.forms[entry.ID]
		if f.Worker == (horde.WorkerID{}) {
			meters.dispatchLatency.Observe(now.Sub(f.of.Created).Seconds())
		}
		e.moveForm(f, horde.FormProcessing)
		f.worker, f.Worker, f.WorkerName, f.Started = w.worker, w.ID, w.Name, now
		e.noteForm(f)
		e.touch(f.of, now)
		got = append(got, f)
	}
	return got, untrusted
}

// linkForms adds the links to forms that were handed out. What it reads of them does not change while they are worked on.
func (e *Engine) linkForms(ctx context.Context, forms []*form) ([]PoppedForm, error) {
	list := make([]PoppedForm, len(forms))
	for n, f := range forms {
		out := PoppedForm{ID: f.ID, Name: f.Name, Options: f.Options(), Source: f.of.Source}
		var err error
		if out.Source == "" {
			out.Source, err = e.Blobs.SignGet(ctx, blob.AlchemySource(f.Request.SourceName()), blob.URLLifetime)
		}
		if err == nil && horde.PostProcesses(f.Name) {
			out.Upload, err = e.Blobs.SignPut(ctx, blob.Result(f.ID.String()), blob.URLLifetime)
		}
		if err != nil {
			return nil, e.storageRefusal(err)
		}
		list[n] = out
	}
	return list, nil
}

// returnForms lets forms that do not reach their worker wait again, as if they had not been handed out.
func (e *Engine) returnForms(forms []*form) {
	if len(forms) == 0 {
		return
	}
	_ = e.do(func() {
		for _, f := range forms {
			if e.alchemy.forms[f.ID] == f && f.State == horde.FormProcessing { // else the memory was dropped meanwhile
				e.moveForm(f, horde.FormWaiting)
				e.noteForm(f)
			}
		}
		e.nudge()
	})
}

// DeliverAlchemy ends a form and returns what it earns, in kudos.
func (e *Engine) DeliverAlchemy(ctx context.Context, key string, d *horde.AlchemyDelivery) (float64, error) {
	var (
		id       horde.FormID
		name     string
		uploaded bool
	)
	if _, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		f, err := e.formFor(key, *d.ID)
		if err == nil {
			id, name, uploaded = f.ID, f.Name, f.State == horde.FormProcessing && !d.Faulted() && horde.Uploads(d.Result)
		}
		return struct{}{}, nil, err
	}); err != nil {
		return 0, err
	}
	result, spoiled := d.Result, (*horde.Error)(nil)
	if uploaded {
		var err error
		if result, spoiled, err = e.keepUpload(ctx, id, name, d.Result); err != nil {
			return 0, err
		}
	}
	return e.endForm(ctx, key, d, result, spoiled)
}

// formFor finds a form that the caller's worker has popped.
func (e *Engine) formFor(key, text string) (*form, *horde.Error) {
	id, ok := horde.ParseFormID(text)
	f := e.alchemy.forms[id]
	unknown := horde.ErrInvalidJobID.Withf("Processing Job with ID %.50s does not exist", text)
	if !ok || f == nil {
		return nil, unknown
	}
	u, err := e.userOf(key)
	switch {
	case err != nil:
		return nil, err
	case f.Worker == horde.WorkerID{}:
		return nil, unknown
	case f.worker == nil || f.worker.owner != u:
		return nil, horde.ErrWrongCredentials
	}
	return f, nil
}

// keepUpload makes sure that an image that was uploaded is there and can no longer be exchanged, and puts its address into the
// result. A form that makes an image is spoiled without one.
func (e *Engine) keepUpload(ctx context.Context, id horde.FormID, name string, result json.RawMessage) (_ json.RawMessage, spoiled *horde.Error, _ error) {
	key := blob.Result(id.String())
	_, err := e.Blobs.Seal(ctx, key)
	switch {
	case err == nil, errors.Is(err, blob.ErrNotFound) && !horde.PostProcesses(name):
	case errors.Is(err, blob.ErrNotFound):
		return nil, horde.ErrCorruptResult.Withf("No image was uploaded for this form."), nil
	case errors.Is(err, blob.ErrTooLarge):
		return nil, horde.ErrCorruptResult.Withf("The image of this form is too large."), nil
	default:
		return nil, nil, e.storageRefusal(err)
	}
	url, err := e.Blobs.SignGet(ctx, key, blob.URLLifetime)
	if err != nil {
		return nil, nil, e.storageRefusal(err)
	}
	return horde.WithUpload(result, url), nil, nil
}

// endForm is the state machine of an alchemist's submit. Exactly one submit of a form is accepted.
func (e *Engine) endForm(ctx context.Context, key string, d *horde.AlchemyDelivery, result json.RawMessage, spoiled *horde.Error) (float64, error) {
	var (
		reward  float64
		notice  *Notice
		refusal *horde.Error
		wait    *batch
	)
	if err := e.do(func() {
		now := time.Now().UTC()
		f, err := e.formFor(key, *d.ID)
		switch {
		case err != nil:
			refusal = err
		case f.State != horde.FormProcessing:
			wait = e.pending(&f.changed)
			e.meters.kinds[horde.Alchemy].duplicate.Inc()
			if !f.worker.Maintenance {
				refusal = horde.ErrDuplicateGen.Withf("Processing Job with ID %s was already submitted", f.ID)
			}
		case d.Faulted(), spoiled != nil:
			e.abortForm(f, now)
			refusal, wait = spoiled, e.open
		default:
			e.meters.kinds[horde.Alchemy].delivered.Inc()
			e.meters.kinds[horde.Alchemy].jobTime.Observe(now.Sub(f.Started).Seconds())
			e.finishForm(f, horde.FormDone, result, now)
			reward, wait = kudos.FormPrice(f.Name, f.of.Tiles), e.open
			if f.of.Webhook != "" {
				notice = &Notice{URL: f.of.Webhook, Kind: horde.Alchemy, Request: f.Request, Form: f.Form, Kudos: reward}
			}
		}
	}); err != nil {
		return 0, err
	}
	if notice != nil { // the client is told even if the worker hangs up meanwhile
		ctx = context.WithoutCancel(ctx)
	}
	if err := e.durable(ctx, wait); err != nil {
		return 0, unavailable(err)
	}
	if notice != nil {
		e.Notify(*notice)
	}
	return reward, asError(refusal)
}
