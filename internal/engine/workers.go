// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// WorkerView is a worker as a caller may see it.
type WorkerView struct {
	Worker   horde.Worker
	Earnings kudos.Earnings
	Online   bool
	Features horde.Features
	// OwnerTrusted and OwnerFlagged are of the owner.
	OwnerTrusted, OwnerFlagged bool
	// Owner is the owner's alias, empty where the caller may not know.
	Owner string
	// Team is the worker's team, nil for none.
	Team *horde.Team
	// Messages are those to this worker that are delivered, where Owner is told.
	Messages []*horde.Message
	// Contact is the owner's, for moderators.
	Contact string
	// Own tells that the caller is the owner, All that the caller is a moderator.
	Own, All bool
}

// Workers lists the workers that are online, by name. A moderator's key shows more; any other shows what everybody sees. With a name, compared
// without regard to case, kind does not matter; with kind zero all kinds are listed.
func (e *Engine) Workers(ctx context.Context, key, name string, kind horde.Kind) ([]WorkerView, error) {
	views := []WorkerView{}
	if err := e.do(func() {
		now, sees := time.Now(), seesPublic
		if caller, err := e.userOf(key); err == nil && caller.Has(horde.Moderator) {
			sees = seesAll
		}
		for _, w := range e.workers {
			if !w.Online(now) || name != "" && !strings.EqualFold(w.Name, name) || name == "" && kind != 0 && w.Kind != kind {
				continue
			}
			views = append(views, e.viewWorker(w, sees, now))
		}
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(views, func(a, b WorkerView) int { return strings.Compare(a.Worker.Name, b.Worker.Name) })
	return views, nil
}

// Worker shows one worker, online or not, by its id or, byName, by its exact name.
func (e *Engine) Worker(ctx context.Context, key, id string, byName bool) (WorkerView, error) {
	return change(ctx, e, func() (WorkerView, *batch, *horde.Error) {
		w := e.byName[id]
		if !byName {
			w = e.workerByID(id)
		}
		if w == nil {
			return WorkerView{}, nil, horde.ErrWorkerNotFound
		}
		sees := seesPublic
		if caller, err := e.userOf(key); err == nil {
			switch {
			case caller.Has(horde.Moderator):
				sees = seesAll
			case caller == w.owner:
				sees = seesOwn
			}
		}
		return e.viewWorker(w, sees, time.Now()), e.pending(&w.changed), nil
	})
}

func (e *Engine) workerByID(text string) *worker {
	id, ok := horde.ParseWorkerID(text)
	if !ok {
		return nil
	}
	return e.workers[id]
}

func (e *Engine) viewWorker(w *worker, sees privilege, now time.Time) WorkerView {
	v := WorkerView{
		Worker: w.Worker, Earnings: *e.book.Earnings(w.ID), Online: w.Online(now),
		Features:     horde.ParseAgent(w.Agent).Capabilities().Features &^ w.Withheld,
		OwnerTrusted: w.owner.Has(horde.Trusted), OwnerFlagged: w.owner.Has(horde.Flagged),
		Own: sees >= seesOwn, All: sees >= seesAll,
	}
	if v.All || v.Own || w.owner.PublicWorkers {
		v.Owner = w.owner.Alias()
		for _, m := range w.messages {
			if m.Active(now) {
				v.Messages = append(v.Messages, &m.Message)
			}
		}
	}
	if w.team != nil {
		t := w.team.Team
		v.Team = &t
	}
	if v.All {
		v.Contact = w.owner.Contact
	}
	return v
}

// WorkerChanged are the new values of what a change to a worker set. A nil field was not changed.
type WorkerChanged struct {
	Maintenance, Paused *bool
	Info, Name, Team    *string
}

// minWorkerName is how many characters a new name must have at least.
const minWorkerName = 5

// ChangeWorker changes a worker. All fields are checked before any is set.
func (e *Engine) ChangeWorker(ctx context.Context, by Authority, id string, c *horde.WorkerChange) (WorkerChanged, error) {
	return change(ctx, e, func() (WorkerChanged, *batch, *horde.Error) { return e.changeWorker(by, id, c) })
}

func (e *Engine) changeWorker(by Authority, id string, c *horde.WorkerChange) (WorkerChanged, *batch, *horde.Error) {
	w := e.workerByID(id)
	if w == nil {
		return WorkerChanged{}, nil, horde.ErrWorkerNotFound
	}
	moderator, owner := by.Operator, by.Operator
	if !by.Operator {
		caller, err := e.userOf(by.Key)
		switch {
		case err != nil:
			return WorkerChanged{}, nil, err
		case caller.ID == horde.Anonymous:
			return WorkerChanged{}, nil, horde.ErrAnonWorker
		}
		moderator = caller.Has(horde.Moderator)
		owner = moderator || caller == w.owner
	}
	info, name := horde.Sanitize(str(c.Info)), horde.Sanitize(str(c.Name))
	renamed := c.Name != nil && name != w.Name
	joined := e.teamByID(str(c.Team))
	taken := renamed && e.byName[name] != nil
	short := renamed && (len([]rune(name)) < minWorkerName || len([]rune(name)) > maxWorkerName)
	var nameErr *horde.Error
	if short {
		nameErr = horde.Invalid(map[string]string{"name": "'" + cutRunes(str(c.Name), maxWorkerName) + "' is too short"})
	}
	for _, check := range []struct {
		fails bool
		err   *horde.Error
	}{
		{short, nameErr},
		{c.Name != nil && horde.Blank(name), blankName("name")},
		{c.Maintenance != nil && !owner, horde.ErrNotOwner},
		{c.Info != nil && !owner, horde.ErrNotOwner},
		{c.Info != nil && e.Profane(info), horde.ErrProfaneWorkerInfo},
		{c.Paused != nil && !moderator, horde.ErrNotModerator},
		{c.Name != nil && !owner, horde.ErrNotModerator},
		{renamed && e.Profane(name), horde.ErrProfaneWorkerName},
		{taken, horde.ErrWorkerNameExists},
		{c.Team != nil && !owner, horde.ErrNotModerator},
		{str(c.Team) != "" && *c.Team != noTeam && joined == nil, horde.ErrTeamNotFound},
		{c.Maintenance == nil && c.Info == nil && c.Paused == nil && c.Name == nil && c.Team == nil, horde.ErrNoWorkerMod},
	} {
		if check.fails {
			return WorkerChanged{}, nil, check.err
		}
	}
	var out WorkerChanged
	if c.Maintenance != nil {
		w.Maintenance, w.MaintenanceMessage = *c.Maintenance, horde.DefaultMaintenanceMessage
		if message := horde.Sanitize(str(c.MaintenanceMessage)); *c.Maintenance && message != "" {
			w.MaintenanceMessage = message
		}
		out.Maintenance = c.Maintenance
	}
	if c.Info != nil {
		w.Info, out.Info = info, &info
	}
	if c.Paused != nil {
		w.Paused, out.Paused = *c.Paused, c.Paused
	}
	if c.Name != nil {
		delete(e.byName, w.Name)
		w.Name = name
		e.byName[name] = w
		out.Name = &name
	}
	if c.Team != nil {
		called := noTeam
		if joined != nil {
			called = joined.Name
		}
		e.join(w, joined)
		out.Team = &called
	}
	e.pulse[w.Kind].there = nil
	e.open.worker(w)
	if w.Maintenance {
		e.dismiss(w, horde.ErrWorkerMaintenance.Withf("%s", w.MaintenanceMessage))
	}
	return out, e.open, nil
}

// noTeam is what a worker's team is called after it left one.
const noTeam = "None"

// DeleteWorker removes a worker that has no jobs in hand and that no request names. What its owner earned stays.
func (e *Engine) DeleteWorker(ctx context.Context, by Authority, id string) (horde.Worker, error) {
	return change(ctx, e, func() (horde.Worker, *batch, *horde.Error) { return e.deleteWorker(by, id) })
}

func (e *Engine) deleteWorker(by Authority, id string) (horde.Worker, *batch, *horde.Error) {
	w := e.workerByID(id)
	if w == nil {
		return horde.Worker{}, nil, horde.ErrWorkerNotFound
	}
	if !by.Operator {
		caller, err := e.userOf(by.Key)
		switch {
		case err != nil:
			return horde.Worker{}, nil, err
		case caller.ID == horde.Anonymous:
			return horde.Worker{}, nil, horde.ErrAnonWorker
		case caller != w.owner && !caller.Has(horde.Moderator):
			return horde.Worker{}, nil, horde.ErrNotModerator
		}
	}
	if w.Kind != horde.Alchemy && e.queues[w.Kind].Targets(w.ID) || e.hasJobs(w) {
		return horde.Worker{}, nil, horde.ErrLocked
	}
	e.removeWorker(w, time.Now().UTC())
	return w.Worker, e.open, nil
}

func (e *Engine) hasJobs(w *worker) bool {
	for _, j := range e.jobs {
		if j.worker == w {
			return true
		}
	}
	for _, f := range e.processing {
		if f.worker == w {
			return true
		}
	}
	return false
}

// removeWorker takes a worker out of memory and record. Jobs that it still has are faulted.
func (e *Engine) removeWorker(w *worker, now time.Time) {
	for _, j := range e.jobs {
		if j.worker == w {
			if j.State == horde.JobRunning {
				e.fault(j, now)
			}
			j.worker = nil
		}
	}
	for _, f := range e.alchemy.forms {
		if f.worker == w {
			if f.State == horde.FormProcessing {
				e.abortForm(f, now)
			}
			f.worker = nil
		}
	}
	for len(w.messages) > 0 {
		e.dropMessage(w.messages[0])
	}
	e.join(w, nil)
	e.dismiss(w, nil)
	delete(e.workers, w.ID)
	delete(e.byName, w.Name)
	delete(w.owner.workers, w.ID)
	delete(e.open.workers, w)
	delete(e.open.earnings, w.ID)
	e.book.Forget(w.ID)
	e.pulse[w.Kind].there = nil
	e.open.goneWorker = append(e.open.goneWorker, w.ID)
}
