// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"horde/internal/horde"
)

// Modes are the switches of the horde. RaidMode is shown to moderators only.
type Modes struct {
	Maintenance, InviteOnly bool
	Raid                    *bool
}

// Modes tells how the switches stand. An empty key sees what everybody does; any other must be a moderator's.
func (e *Engine) Modes(ctx context.Context, key string) (Modes, error) {
	return e.ModesFor(ctx, Authority{Key: key})
}

// ModesFor is Modes for whoever by names.
func (e *Engine) ModesFor(ctx context.Context, by Authority) (Modes, error) {
	return change(ctx, e, func() (Modes, *batch, *horde.Error) {
		m := Modes{Maintenance: e.settings.MaintenanceMode, InviteOnly: e.settings.InviteOnlyMode}
		if by == (Authority{}) {
			return m, nil, nil
		}
		caller, err := e.callerBy(by)
		switch {
		case err != nil:
			return Modes{}, nil, err
		case !caller.Has(horde.Moderator):
			return Modes{}, nil, horde.ErrNotModerator
		}
		raid := e.settings.RaidMode
		m.Raid = &raid
		return m, nil, nil
	})
}

// SetModes changes switches. Maintenance mode, which only admins may change, also cancels what waits.
func (e *Engine) SetModes(ctx context.Context, by Authority, c *horde.ModesChange) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) { return struct{}{}, e.open, e.setModes(by, c) })
	return err
}

func (e *Engine) setModes(by Authority, c *horde.ModesChange) *horde.Error {
	if !by.Operator {
		caller, err := e.callerBy(by)
		switch {
		case err != nil:
			return err
		case c.MaintenanceMode != nil && !e.isAdmin(caller):
			return horde.ErrNotAdmin
		case (c.InviteOnlyMode != nil || c.RaidMode != nil) && !caller.Has(horde.Moderator):
			return horde.ErrNotModerator
		}
	}
	if c.MaintenanceMode == nil && c.InviteOnlyMode == nil && c.RaidMode == nil {
		return horde.ErrNoHordeMod
	}
	e.open.settings = true
	if c.InviteOnlyMode != nil {
		e.settings.InviteOnlyMode = *c.InviteOnlyMode
	}
	if c.RaidMode != nil {
		e.settings.RaidMode = *c.RaidMode
	}
	if c.MaintenanceMode != nil {
		e.settings.MaintenanceMode = *c.MaintenanceMode
		if *c.MaintenanceMode {
			for _, r := range e.requests {
				if r.entry != nil {
					e.cancel(r)
				}
			}
		}
	}
	return nil
}

// Performance is how busy one kind of work is. Things are displayed ones: megapixelsteps or tokens.
type Performance struct {
	Queued       int64 // results that wait or are being made
	QueuedThings float64
	Workers      int
	Threads      int
	PastMinute   float64 // things delivered in the last minute
}

// Performance tells how busy one kind of work is now.
func (e *Engine) Performance(ctx context.Context, k horde.Kind) (Performance, error) {
	var p Performance
	err := e.do(func() {
		now := time.Now()
		_, results, things := e.queues[k].Waiting()
		for _, j := range e.running {
			if j.request.Order.Kind() == k && !j.Decoy && !j.request.Cancelled && !j.request.Faulted {
				results++
				things += j.request.order().Things()
			}
		}
		p = Performance{Queued: results, QueuedThings: round2(things / k.ThingsDivisor())}
		p.Workers, p.Threads = e.online(k, now).totals()
		p.PastMinute = round2(e.pulse[k].pastMinute(now) / k.ThingsDivisor())
	})
	return p, err
}

func round2(x float64) float64 { return math.Round(x*100) / 100 }

// ActiveModel is what is known of a model that workers offer or requests name. Things are raw: pixelsteps or tokens.
type ActiveModel struct {
	Name string
	Kind horde.Kind
	// Threads is how many threads of online workers offer it.
	Threads int
	// Performance is the mean speed of the last hour, in things a second; zero without any.
	Performance float64
	Queued      float64
	Jobs        int64
	// ETA guesses how many seconds the queue takes.
	ETA int
}

// farAway is the guess for a queue that nobody works on.
const farAway = 10_000

// Models lists the models of a kind that workers offer or, if the reference knows them, that requests wait for. Private
// models are left out.
func (e *Engine) Models(ctx context.Context, k horde.Kind) ([]ActiveModel, error) {
	models := []ActiveModel{}
	if err := e.do(func() {
		now, ref := time.Now(), e.Reference()
		threads, running := e.modelThreads(k, now), e.modelRunning(k)
		names := make(map[string]bool, len(threads))
		for m := range threads {
			names[m] = true
		}
		e.queues[k].Models(func(m string, _ int64, _ float64) {
			if ref.Known(k, m) {
				names[m] = true
			}
		})
		for m := range names {
			if strings.Contains(m, horde.SpecialModel) {
				continue
			}
			a := e.activeModel(k, m, threads[m], running[m], now)
			if a.Queued == 0 {
				a.ETA = 0
			}
			models = append(models, a)
		}
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(models, func(a, b ActiveModel) int { return strings.Compare(a.Name, b.Name) })
	return models, nil
}

// Model looks one model up, among images first: one that the reference has by this very name, a private one, or the one of
// the comparison of pipelines. It is nil for any other.
func (e *Engine) Model(ctx context.Context, name string) (*ActiveModel, error) {
	var found *ActiveModel
	err := e.do(func() {
		now, ref := time.Now(), e.Reference()
		special := strings.Contains(name, horde.SpecialModel) || name == horde.BetaModel
		if _, text := ref.Text[name]; !text && !ref.Served(name) && !special {
			return
		}
		for _, k := range horde.Generated {
			a := e.activeModel(k, name, e.modelThreads(k, now)[name], e.modelRunning(k)[name], now)
			if a.Threads > 0 || a.Jobs > 0 {
				found = &a
				return
			}
			if found == nil && (special || ref.Known(k, name)) {
				found = &a
			}
		}
	})
	return found, err
}

func (e *Engine) activeModel(k horde.Kind, name string, threads int, running work, now time.Time) ActiveModel {
	jobs, queued := e.queues[k].Model(name)
	a := ActiveModel{
		Name: name, Kind: k, Threads: threads, Jobs: jobs + running.jobs, Queued: round2(queued + running.things),
		Performance: math.Round(e.pulse[k].modelSpeed(name, now)*10) / 10,
		ETA:         farAway,
	}
	if speed := float64(threads) * a.Performance; speed > 0 {
		a.ETA = int(min(a.Queued/speed, math.MaxInt32))
	}
	return a
}

// modelThreads counts the threads that offer each model. Workers in maintenance do not count.
func (e *Engine) modelThreads(k horde.Kind, now time.Time) map[string]int {
	t := e.online(k, now)
	if t.models != nil {
		return t.models
	}
	t.models = map[string]int{}
	for _, w := range t.workers {
		if w.Maintenance {
			continue
		}
		for _, m := range w.Models {
			t.models[m] += w.Threads
		}
	}
	return t.models
}

// work is what is being made.
type work struct {
	jobs   int64
	things float64
}

// modelRunning sums the running jobs of the requests that name each model.
func (e *Engine) modelRunning(k horde.Kind) map[string]work {
	sums := map[string]work{}
	for _, j := range e.running {
		if j.Decoy || j.request.Cancelled || j.request.Faulted || j.request.Order.Kind() != k {
			continue
		}
		for _, m := range j.request.order().Models {
			s := sums[m]
			sums[m] = work{s.jobs + 1, s.things + j.request.order().Things()}
		}
	}
	return sums
}
