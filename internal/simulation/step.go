// SPDX-License-Identifier: AGPL-3.0-or-later

package simulation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"horde/internal/blob"
	"horde/internal/engine"
	"horde/internal/horde"
)

// reference is the model reference of the world.
var reference = &horde.Reference{
	Image: map[string]horde.ImageModel{
		"stable_diffusion": {Name: "stable_diffusion", Baseline: horde.BaselineSD1, Type: "ckpt"},
		"big picture":      {Name: "big picture", Baseline: horde.BaselineSDXL, Type: "ckpt"},
	},
	Text: map[string]horde.TextModel{"small talk": {Name: "small talk", Parameters: 7e9}, "deep thought": {Name: "deep thought", Parameters: 70e9}},
}

var (
	imageModels = []string{"stable_diffusion", "big picture"}
	textModels  = []string{"small talk", "deep thought"}
	agents      = []string{"AI Horde Worker reGen:10.1.0:x", "KoboldCpp:1.80:x", "unknown:0:unknown"}
)

// uploaded is what a worker sends that has uploaded its image.
const uploaded = "R2"

// step does one thing.
func (w *world) step() {
	switch n := w.rng.IntN(1000); {
	case n < 130:
		w.submitText()
	case n < 230:
		w.submitImage()
	case n < 480:
		w.pop()
	case n < 720:
		w.deliver()
	case n < 800:
		w.look()
	case n < 835:
		w.cancelRequest()
	case n < 865:
		w.changeWorker()
	case n < 900:
		w.changeUser()
	case n < 906:
		w.changeModes()
	case n < 912:
		w.register()
	case n < 918:
		w.newKey()
	case n < 924:
		w.deleteWorker()
	case n < 970:
		w.vanish()
	case n < 985:
		w.die()
	default:
		w.breakRecord()
	}
}

func ptr[T any](v T) *T { return &v }

func (w *world) maybe(percent int) *bool {
	if !w.chance(10) {
		return nil
	}
	return ptr(w.chance(percent))
}

// targets names workers now and then.
func (w *world) targets() []string {
	if !w.chance(10) {
		return nil
	}
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	if id, ok := w.record.workers[pick(w, w.workers).name]; ok {
		return []string{id.String()}
	}
	return nil
}

func (w *world) submitText() {
	p, n := w.anyone(), 1+w.rng.IntN(5)
	s := &horde.TextSubmission{
		Prompt: ptr(fmt.Sprint("prompt ", w.number)), ValidatedBackends: ptr(w.chance(10)), SlowWorkers: w.maybe(50),
		TrustedWorkers: w.maybe(50), AllowDowngrade: w.maybe(50), ExtraSlowWorkers: w.maybe(50), DryRun: w.maybe(30),
		Workers: w.targets(), WorkerBlacklist: w.maybe(50),
		Params: &horde.TextSettings{N: &n, MaxLength: ptr(pick(w, []int{16, 80, 256, 512, 1024})), MaxContextLength: ptr(1024)},
	}
	if w.chance(80) {
		s.Models = []string{pick(w, textModels)}
	}
	var a engine.Accepted
	caller := w.caller(p)
	w.call(fmt.Sprintf("%s submits %d texts", p.name, n), func(ctx context.Context, e *engine.Engine) (err error) {
		a, err = e.SubmitText(ctx, caller, s)
		return err
	}, func(err error) {
		if err == nil && !a.DryRun {
			w.model.accepted(w, a.ID, horde.Text, n)
		}
	})
}

func (w *world) caller(p *person) engine.Caller {
	return engine.Caller{Key: p.key, Addr: p.address(), Agent: "simulation:1:x"}
}

func (w *world) submitImage() {
	p, n, side := w.anyone(), 1+w.rng.IntN(4), 64*(4+w.rng.IntN(16))
	s := &horde.ImageSubmission{
		Prompt: ptr(fmt.Sprint("prompt ", w.number)), ValidatedBackends: ptr(false), SlowWorkers: w.maybe(50),
		TrustedWorkers: w.maybe(50), AllowDowngrade: w.maybe(50), ExtraSlowWorkers: w.maybe(50), R2: w.maybe(50), DryRun: w.maybe(30),
		DisableBatching: w.maybe(50), Workers: w.targets(),
		Params: &horde.ImageSettings{N: &n, Width: &side, Height: &side, Steps: ptr(1 + w.rng.IntN(60))},
	}
	if w.chance(80) {
		s.Models = []string{pick(w, imageModels)}
	}
	if w.chance(20) {
		s.SourceImage = ptr(pick(w, []string{picture + "source", picture + "other source", "nothing"}))
		s.SourceProcessing = ptr("img2img")
	}
	var a engine.Accepted
	caller := w.caller(p)
	w.call(fmt.Sprintf("%s submits %d images of %d pixels", p.name, n, side*side), func(ctx context.Context, e *engine.Engine) (err error) {
		a, err = e.SubmitImage(ctx, caller, s)
		return err
	}, func(err error) {
		if err == nil && !a.DryRun {
			w.model.accepted(w, a.ID, horde.Image, n)
		}
	})
}

func (w *world) pop() {
	by, start := pick(w, w.workers), time.Now()
	popper := by.owner
	if w.chance(2) {
		popper = w.anyone() // who is not its owner, unless there is no such worker yet
	}
	key := popper.key
	polling := horde.Polling{
		Name: &by.name, BridgeAgent: &by.agent, Threads: ptr(1 + w.rng.IntN(3)), Amount: ptr(1 + w.rng.IntN(4)),
		RequireUpfrontKudos: w.maybe(50), ExtraSlowWorker: w.maybe(30), NSFW: ptr(true),
	}
	if w.chance(20) {
		polling.PriorityUsernames = []string{fmt.Sprintf("rich#%d", w.persons[1].id)}
	}
	var popped *engine.Popped
	w.call(by.name+" pops", func(ctx context.Context, e *engine.Engine) (err error) {
		if by.kind == horde.Text {
			polling.Models = textModels
			popped, err = e.PopText(ctx, key, by.owner.address(), &horde.TextPop{Polling: polling, MaxLength: ptr(1024), MaxContextLength: ptr(4096)})
			return err
		}
		polling.Models = imageModels
		popped, err = e.PopImage(ctx, key, by.owner.address(), &horde.ImagePop{Polling: polling, MaxPixels: ptr[int64](2048 * 2048), AllowImg2Img: ptr(true)})
		return err
	}, func(err error) {
		if err == nil && len(popped.IDs) > 0 {
			w.model.popped(w, by, popper, popped, start)
		}
	})
}

// deliver ends a job, or one that was ended before, or one of another worker.
func (w *world) deliver() {
	if len(w.model.inHand) == 0 {
		return
	}
	j := pick(w, w.model.inHand)
	for range 3 { // mostly one that is still to be done
		if j.accepted == "" {
			break
		}
		j = pick(w, w.model.inHand)
	}
	by, result, state, start := j.owner, fmt.Sprintf("result %d of %s", w.number, j.id), "ok", time.Now()
	if w.chance(5) {
		by = w.anyone()
	}
	switch n := w.rng.IntN(100); {
	case n < 8:
		state = "faulted"
	case n < 12:
		state = "censored"
	}
	if j.worker.kind == horde.Image {
		switch n := w.rng.IntN(100); {
		case n < 50:
			result = picture + result
		case n < 80:
			if w.chance(80) {
				w.blobs.upload(blob.Result(j.id.String()), picture+result)
			}
			result = uploaded
		case n < 85:
			result = broken + result
		}
	}
	j.sent = append(j.sent, result)
	id, key := j.id.String(), by.key
	delivery := horde.Delivery{ID: &id, Generation: &result, State: &state}
	w.call(fmt.Sprintf("%s delivers job %s (%s)", by.name, id, state), func(ctx context.Context, e *engine.Engine) error {
		var err error
		if j.worker.kind == horde.Text {
			_, err = e.DeliverText(ctx, key, &horde.TextDelivery{Delivery: delivery})
		} else {
			_, err = e.DeliverImage(ctx, key, &horde.ImageDelivery{Delivery: delivery, Seed: ptr[int64](1)})
		}
		return err
	}, func(err error) {
		switch {
		case err == nil && state == "faulted":
			if got, ok := w.record.job(j.id); ok && got.State == horde.JobRunning {
				w.find("job %s was handed back, which was acknowledged, and still runs in the record", j.id)
			}
		case err == nil:
			w.model.delivered(w, j, by, result, start)
		case refused(err, http.StatusNotFound) && w.record.alive(j.request):
			w.find("job %s, which was handed out, is not known", j.id)
		}
	})
}

func refused(err error, status int) bool {
	var refusal *horde.Error
	return errors.As(err, &refusal) && refusal.Status == status
}

// someRequest is one of the last requests that were accepted, or nil.
func (w *world) someRequest() *request {
	n := len(w.model.order)
	if n == 0 {
		return nil
	}
	return w.model.order[n-1-w.rng.IntN(min(n, 40))]
}

func (w *world) look() {
	r, start := w.someRequest(), time.Now()
	if r == nil {
		return
	}
	var s engine.Status
	results := w.chance(50)
	w.call("a client looks at "+r.id.String(), func(ctx context.Context, e *engine.Engine) (err error) {
		if results {
			s, err = e.Status(ctx, r.kind, r.id.String())
			return err
		}
		s, err = e.Check(ctx, r.kind, r.id.String())
		return err
	}, func(err error) {
		switch {
		case err == nil:
			w.model.seen(w, r, &s, start)
		case refused(err, http.StatusNotFound) && w.record.alive(r.id):
			w.find("the accepted request %s is not known", r.id)
		}
	})
}

func (w *world) cancelRequest() {
	r := w.someRequest()
	if r == nil {
		return
	}
	w.call("a client cancels "+r.id.String(), func(ctx context.Context, e *engine.Engine) error {
		_, err := e.Cancel(ctx, r.kind, r.id.String())
		return err
	}, func(err error) {
		switch {
		case err == nil:
			if q, ok := w.record.request(r.id); ok && !q.Cancelled {
				w.find("request %s is cancelled, which was acknowledged, and is not in the record", r.id)
			}
			r.cancelled = time.Now()
		case refused(err, http.StatusNotFound) && w.record.alive(r.id):
			w.find("the accepted request %s is not known", r.id)
		}
	})
}

func (w *world) workerID(by *worker) string {
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	return w.record.workers[by.name].String()
}

func (w *world) changeWorker() {
	by := pick(w, w.workers)
	id, c := w.workerID(by), &horde.WorkerChange{}
	if w.chance(50) {
		c.Maintenance = ptr(w.chance(30))
	} else {
		c.Paused = ptr(w.chance(40))
	}
	w.call("the admin changes "+by.name, func(ctx context.Context, e *engine.Engine) error {
		_, err := e.ChangeWorker(ctx, engine.Authority{Operator: true}, id, c)
		return err
	}, func(error) {})
}

func (w *world) deleteWorker() {
	by := pick(w, w.workers)
	id := w.workerID(by)
	w.call("the admin deletes "+by.name, func(ctx context.Context, e *engine.Engine) error {
		_, err := e.DeleteWorker(ctx, engine.Authority{Operator: true}, id)
		return err
	}, func(error) {})
}

func (w *world) changeUser() {
	p, c := w.known(), &horde.UserChange{}
	var amount horde.Kudos
	switch w.rng.IntN(8) {
	case 0:
		c.Trusted = ptr(w.chance(30))
	case 1:
		c.Flagged = ptr(w.chance(20))
	case 2:
		c.Concurrency = ptr(w.rng.IntN(200))
	case 3:
		c.ResetSuspicion = ptr(true)
	default:
		whole := w.rng.IntN(400) - 100
		c.Kudos, amount = ptr(float64(whole)), horde.Kudos(whole)*100
	}
	sure, most := w.model.grantsSure, w.model.grantsMax
	if amount < 0 {
		sure, most = most, sure
	}
	most[p.id] += amount
	w.call(fmt.Sprintf("the admin changes %s (%s kudos)", p.name, amount), func(ctx context.Context, e *engine.Engine) error {
		_, err := e.ChangeUser(ctx, engine.Authority{Operator: true}, p.id, c)
		return err
	}, func(err error) {
		switch {
		case err == nil:
			sure[p.id] += amount
		case !uncertain(err):
			most[p.id] -= amount
		}
		w.model.grants(w)
	})
}

func (w *world) changeModes() {
	c := &horde.ModesChange{}
	switch w.rng.IntN(3) {
	case 0:
		c.MaintenanceMode = ptr(w.chance(50))
	case 1:
		c.RaidMode = ptr(w.chance(50))
	default:
		c.InviteOnlyMode = ptr(w.chance(30))
	}
	w.call("the admin changes the modes", func(ctx context.Context, e *engine.Engine) error {
		return e.SetModes(ctx, engine.Authority{Operator: true}, c)
	}, func(error) {})
}

func (w *world) register() {
	var v engine.UserView
	var key string
	name := fmt.Sprint("newcomer ", w.number)
	w.call(name+" registers", func(ctx context.Context, e *engine.Engine) (err error) {
		v, key, err = e.Register(ctx, engine.NewUser{Name: name, OAuthID: "g_" + name})
		return err
	}, func(err error) {
		if err != nil {
			return
		}
		w.record.mu.Lock()
		u, ok := w.record.users[v.User.ID]
		w.record.mu.Unlock()
		if !ok || u.Name != name {
			w.find("the account of %s was acknowledged and is not in the record", name)
		}
		for _, p := range w.persons {
			if p.id == v.User.ID {
				w.find("%s and %s have the account %d", p.name, name, p.id)
			}
		}
		w.persons = append([]*person{{name: name, id: v.User.ID, key: key}}, w.persons...)
	})
}

// newKey gives somebody a new key; whoever does not learn whether it worked asks again.
func (w *world) newKey() {
	p := w.known()
	w.rekey(p)
}

func (w *world) rekey(p *person) {
	p.keys++
	old, key, asked := p.key, "", p.keys
	w.call(p.name+" gets a new key", func(ctx context.Context, e *engine.Engine) (err error) {
		key, err = e.NewKeyFor(ctx, p.id)
		return err
	}, func(err error) {
		if err != nil {
			return // the old one works, or nothing does until the next
		}
		p.key = key
		for _, try := range []struct {
			key  string
			want bool
		}{{key, true}, {old, false}} {
			w.call("a key is tried", func(ctx context.Context, e *engine.Engine) error {
				_, err := e.FindUser(ctx, try.key)
				return err
			}, func(err error) {
				if !uncertain(err) && p.keys == asked && (err == nil) != try.want {
					w.find("after %s got a new key, a key opens the account: %t, want %t", p.name, err == nil, try.want)
				}
			})
		}
	})
}

// vanish cuts a connection: whoever waited never learns what became of the call.
func (w *world) vanish() {
	if len(w.calls) == 0 {
		return
	}
	c := pick(w, w.calls)
	w.log("the caller of %d (%s) leaves", c.no, c.what)
	c.cancel()
	w.collect()
}

// die kills the process, at times several times in a row, and starts it again.
func (w *world) die() {
	for {
		w.report.Deaths++
		w.log("the process dies")
		w.kill()
		w.record.reborn()
		if w.chance(70) {
			time.Sleep(time.Duration(w.rng.IntN(400_000_000)) * time.Microsecond)
		}
		w.open()
		if w.report.Finding != "" || !w.chance(10) {
			break
		}
	}
	for _, found := range w.record.full(w.ctx) {
		w.find("after the death of the process: %s", found)
	}
}

// breakRecord makes everything fail for a while.
func (w *world) breakRecord() {
	d := time.Duration(1+w.rng.IntN(90_000_000)) * time.Microsecond
	w.log("the record is gone for %s", d)
	w.record.mu.Lock()
	w.record.broken = time.Now().Add(d)
	w.record.mu.Unlock()
}
