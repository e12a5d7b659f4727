// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"horde/client"
	"horde/internal/fetch"
	"horde/internal/picture"
	"horde/internal/worker/alchemy"
	"horde/internal/worker/backend"
)

const (
	// formTTL is how long a horde waits for a form, and formTime how long one may take here.
	formTTL  = 180 * time.Second
	formTime = 15 * time.Second
	// tilePixels are those of a tile, in which the sizes of images are told.
	tilePixels = 512 * 512
	maxTiles   = 255
)

// builtIn are the forms that this program makes by itself.
var builtIn = map[string]func(*picture.Picture) any{
	"palette":  func(p *picture.Picture) any { return map[string]any{"colors": alchemy.Palette(p.NRGBA)} },
	"describe": func(p *picture.Picture) any { return alchemy.Describe(p) },
}

// alchemist is the worker for forms. It needs no inference server: it offers what can be done without one.
type alchemist struct {
	p       *process
	loop    *loop
	forms   []string
	sources *fetch.Client
	codec   *picture.Codec
	// noPriority is set after the horde refused the priority list.
	noPriority atomic.Bool
}

func (p *process) makeAlchemist(ctx context.Context) (*loop, error) {
	if p.cfg.AlchemistName == "" {
		p.cfg.AlchemistName = p.cfg.WorkerName
	}
	if p.cfg.AlchemistName == "" {
		return nil, exitf(ExitConfig, "alchemist_name is not set")
	}
	a := &alchemist{p: p, sources: newSourceClient(ctx, &p.cfg), codec: picture.NewCodec(p.cfg.MaxThreads)}
	var others []string
	for _, form := range p.cfg.Forms {
		form = strings.ReplaceAll(strings.ToLower(form), "-", "_")
		switch {
		case builtIn[form] == nil:
			others = append(others, form)
		case !slices.Contains(a.forms, form):
			a.forms = append(a.forms, form)
		}
	}
	p.board.add("alchemist", p.cfg.AlchemistName, "forms/s")
	if len(others) > 0 {
		p.board.warn("forms that need a model are not offered: " + strings.Join(others, ", "))
		p.log.Warn("forms that need a model are not offered", "forms", strings.Join(others, ", "))
	}
	if len(a.forms) == 0 {
		return nil, exitf(ExitConfig, "forms: none of them can be made without a model; palette and describe can")
	}
	a.loop = newLoop(p, a)
	if err := a.check(ctx); err != nil {
		return nil, err
	}
	p.log.Info("alchemist", "forms", strings.Join(a.forms, ", "), "max_tiles", a.tiles(), "agent", a.agent())
	return a.loop, nil
}

func (a *alchemist) label() string { return "alchemist" }

func (a *alchemist) ready() (bool, string, time.Duration) { return true, "", 0 }

func (a *alchemist) dropPriority() { a.noPriority.Store(true) }

func (a *alchemist) rest(context.Context) {}

func (a *alchemist) report() string {
	return fmt.Sprintf("alchemist %q: %s\n  agent   %s\n  up to   %d tiles\n", a.p.cfg.AlchemistName, strings.Join(a.forms, ", "), a.agent(), a.tiles())
}

// check has no server to look after.
func (a *alchemist) check(context.Context) error {
	a.p.board.change("alchemist", func(k *KindStatus) { k.Backend, k.Models, k.Healthy = "built in", a.forms, true })
	return nil
}

func (a *alchemist) agent() string {
	if a.p.cfg.BridgeAgent != "" {
		return a.p.cfg.BridgeAgent
	}
	return AlchemistAgent()
}

// tiles is the size of the largest image to offer: max_power counts alike for all kinds.
func (a *alchemist) tiles() int { return min(a.p.cfg.MaxPower, maxTiles) }

func (a *alchemist) pop(ctx context.Context, queueSize int) (*popped, error) {
	cfg := &a.p.cfg
	req := client.PopAlchemyRequest{
		Name: cfg.AlchemistName, Forms: a.forms, Amount: max(queueSize, 1), BridgeAgent: a.agent(), Threads: cfg.MaxThreads, MaxTiles: a.tiles(),
	}
	if !a.noPriority.Load() {
		req.PriorityUsernames = cfg.PriorityUsernames
	}
	asked := time.Now()
	j, err := a.p.horde.With(client.WithAgent(a.agent())).PopAlchemy(ctx, req)
	if err != nil {
		return nil, err
	}
	a.p.popAnswered("alchemist", j.Skipped, nil)
	if len(j.Forms) == 0 {
		return nil, nil
	}
	job := &popped{id: j.Forms[0].ID, at: handedOut(asked), ttl: formTTL}
	names := make([]string, len(j.Forms))
	for i, f := range j.Forms {
		job.ids, names[i] = append(job.ids, f.ID), f.Form
	}
	job.what = strings.Join(names, ", ")
	job.do = func(ctx context.Context, started, generated func()) outcome {
		return a.do(ctx, job, j.Forms, started, generated)
	}
	return job, nil
}

// do works on one form after the other.
func (a *alchemist) do(ctx context.Context, job *popped, forms []client.PoppedForm, started, generated func()) outcome {
	var out outcome
	for i, f := range forms {
		result, err := a.make(ctx, job, f, started)
		if i == len(forms)-1 && err == nil {
			generated()
		}
		r := client.FormResult{ID: f.ID, Result: map[string]any{f.Form: result}, State: "ok"}
		o := a.loop.offer(job, f.ID, func(ctx context.Context, faulted bool) (float64, error) {
			if faulted {
				r.Result, r.State = nil, "faulted"
			}
			return a.p.horde.With(client.WithAgent(a.agent())).SubmitFormResult(ctx, r)
		}, err != nil)
		if err != nil {
			o.failed, o.err = !errors.Is(err, errTold) && !errors.Is(err, context.Canceled), fmt.Errorf("%s: %w", f.ID, err)
		}
		out = out.merge(o)
	}
	return out
}

// make fetches the image of a form and makes its result.
func (a *alchemist) make(ctx context.Context, job *popped, f client.PoppedForm, started func()) (any, error) {
	release, err := a.loop.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	started()
	form := builtIn[f.Form]
	if form == nil {
		return nil, backend.Errorf(backend.Refused, "the form %q was not offered", f.Form)
	}
	ctx, cancel := context.WithTimeout(ctx, min(formTime, time.Until(job.deadline())))
	defer cancel()
	began := time.Now()
	a.p.board.job("alchemist", job.id, func(b *JobStatus) { b.Stage = "fetching the image" })
	data, err := getPicture(ctx, a.sources, f.SourceImage)
	if err != nil {
		return nil, err
	}
	a.p.board.job("alchemist", job.id, func(b *JobStatus) { b.Stage = f.Form })
	p, err := a.codec.Decode(ctx, data, a.tiles()*tilePixels)
	if err != nil {
		return nil, err
	}
	result := form(p)
	took := time.Since(began)
	a.p.board.change("alchemist", func(k *KindStatus) { k.Busy += took; k.Speed = 1 / max(took.Seconds(), 0.001) })
	return result, nil
}
