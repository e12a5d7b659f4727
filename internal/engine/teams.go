// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"horde/internal/horde"
)

// team is a team with its members.
type team struct {
	horde.Team
	changed
	workers map[*worker]bool
}

// TeamView is a team as everybody may see it.
type TeamView struct {
	horde.Team
	// CreatorAlias is empty when the creator's account was wiped.
	CreatorAlias string
	// Workers are the members but for alchemists, by name; Models how many of them store each model, by name.
	Workers []TeamWorker
	Models  []TeamModel
}

// TeamWorker is a member of a team.
type TeamWorker struct {
	ID     horde.WorkerID
	Name   string
	Kind   horde.Kind
	Online bool
}

// TeamModel is a model of a team's members.
type TeamModel struct {
	Name  string
	Count int
}

// addTeam puts a team into the memory, and its members with it.
func (s *state) addTeam(t *team) {
	t.workers = map[*worker]bool{}
	s.teams[t.ID] = t
	s.teamByName[strings.ToLower(t.Name)] = t
	for _, w := range s.workers {
		if w.Team == t.ID {
			s.join(w, t)
		}
	}
}

// join makes a worker a member of a team, and of no other. A nil team is none.
func (s *state) join(w *worker, t *team) {
	if w.team != nil {
		delete(w.team.workers, w)
	}
	w.team, w.Team = t, horde.TeamID{}
	if t != nil {
		t.workers[w] = true
		w.Team = t.ID
	}
}

func (s *state) teamByID(text string) *team {
	id, ok := horde.ParseTeamID(text)
	if !ok {
		return nil
	}
	return s.teams[id]
}

// Teams lists all teams, the oldest first.
func (e *Engine) Teams(ctx context.Context) ([]TeamView, error) {
	var (
		views []TeamView
		waits []*batch
	)
	if err := e.do(func() {
		views = make([]TeamView, 0, len(e.teams))
		now := time.Now()
		for _, t := range e.teams {
			views, waits = append(views, e.viewTeam(t, now)), append(waits, e.pending(&t.changed))
		}
	}); err != nil {
		return nil, err
	}
	if err := e.durable(ctx, waits...); err != nil {
		return nil, unavailable(err)
	}
	slices.SortFunc(views, func(a, b TeamView) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	return views, nil
}

// Team shows one team.
func (e *Engine) Team(ctx context.Context, id string) (TeamView, error) {
	return change(ctx, e, func() (TeamView, *batch, *horde.Error) {
		t := e.teamByID(id)
		if t == nil {
			return TeamView{}, nil, horde.ErrTeamNotFound
		}
		return e.viewTeam(t, time.Now()), e.pending(&t.changed), nil
	})
}

func (e *Engine) viewTeam(t *team, now time.Time) TeamView {
	v := TeamView{Team: t.Team, Workers: []TeamWorker{}, Models: []TeamModel{}}
	if creator := e.users[t.Creator]; creator != nil && creator.WipedAt.IsZero() {
		v.CreatorAlias = creator.Alias()
	}
	models := map[string]int{}
	for w := range t.workers {
		if w.Kind == horde.Alchemy {
			continue
		}
		v.Workers = append(v.Workers, TeamWorker{w.ID, w.Name, w.Kind, w.Online(now)})
		for _, m := range w.Models {
			models[m]++
		}
	}
	slices.SortFunc(v.Workers, func(a, b TeamWorker) int { return strings.Compare(a.Name, b.Name) })
	for name, n := range models {
		v.Models = append(v.Models, TeamModel{name, n})
	}
	slices.SortFunc(v.Models, func(a, b TeamModel) int { return strings.Compare(a.Name, b.Name) })
	return v
}

// CreateTeam makes a team. The caller must be trusted.
func (e *Engine) CreateTeam(ctx context.Context, key string, c *horde.TeamChange) (horde.Team, error) {
	return change(ctx, e, func() (horde.Team, *batch, *horde.Error) {
		u, err := e.userOf(key)
		switch {
		case err != nil:
			return horde.Team{}, nil, err
		case u.ID == horde.Anonymous:
			return horde.Team{}, nil, horde.ErrAnonForbidden
		case u.Has(horde.Deleted):
			return horde.Team{}, nil, horde.ErrDeletedUser
		case !u.Has(horde.Trusted):
			return horde.Team{}, nil, horde.ErrUntrustedTeam
		}
		name, info := horde.Sanitize(str(c.Name)), horde.Sanitize(str(c.Info))
		if err := e.checkTeam(nil, name, info); err != nil {
			return horde.Team{}, nil, err
		}
		t := &team{Team: horde.Team{ID: horde.NewTeamID(), Name: name, Info: info, Creator: u.ID, Created: time.Now().UTC()}}
		e.addTeam(t)
		e.open.document(teamDocument, t.ID.String(), t)
		return t.Team, e.open, nil
	})
}

// checkTeam checks what a team is to be called. own is the team itself, nil for a new one.
func (e *Engine) checkTeam(own *team, name, info string) *horde.Error {
	switch other := e.teamByName[strings.ToLower(name)]; {
	case horde.Blank(name):
		return blankName("name")
	case other != nil && other != own:
		return horde.ErrTeamNameExists
	case e.Profane(name):
		return horde.ErrProfaneTeamName
	case e.Profane(info):
		return horde.ErrProfaneTeamInfo
	}
	return nil
}

// ChangeTeam changes the name or the info of a team. All is checked before anything is set.
func (e *Engine) ChangeTeam(ctx context.Context, key, id string, c *horde.TeamChange) (horde.Team, error) {
	return change(ctx, e, func() (horde.Team, *batch, *horde.Error) {
		t, allowed, err := e.teamFor(key, id)
		if err != nil {
			return horde.Team{}, nil, err
		}
		name, info := t.Name, t.Info
		if c.Info != nil {
			info = horde.Sanitize(*c.Info)
		}
		if c.Name != nil {
			name = horde.Sanitize(*c.Name)
		}
		switch {
		case c.Info != nil && !allowed:
			return horde.Team{}, nil, horde.ErrNotOwner
		case c.Name != nil && !allowed:
			return horde.Team{}, nil, horde.ErrNotModerator
		case c.Name == nil && c.Info == nil:
			return horde.Team{}, nil, horde.ErrNoTeamMod
		}
		if err := e.checkTeam(t, name, info); err != nil {
			return horde.Team{}, nil, err
		}
		delete(e.teamByName, strings.ToLower(t.Name))
		t.Name, t.Info = name, info
		e.teamByName[strings.ToLower(name)] = t
		e.open.document(teamDocument, t.ID.String(), t)
		return t.Team, e.open, nil
	})
}

// teamFor finds a team, and tells whether the caller may change it.
func (e *Engine) teamFor(key, id string) (t *team, allowed bool, _ *horde.Error) {
	if t = e.teamByID(id); t == nil {
		return nil, false, horde.ErrTeamNotFound
	}
	u, err := e.userOf(key)
	if err != nil {
		return nil, false, err
	}
	return t, u.ID != horde.Anonymous && (u.ID == t.Creator || u.Has(horde.Moderator)), nil
}

// DeleteTeam removes a team. Its members have none then.
func (e *Engine) DeleteTeam(ctx context.Context, key, id string) (horde.Team, error) {
	return change(ctx, e, func() (horde.Team, *batch, *horde.Error) {
		t, allowed, err := e.teamFor(key, id)
		switch {
		case err != nil:
			return horde.Team{}, nil, err
		case !allowed:
			return horde.Team{}, nil, horde.ErrNotModerator
		}
		for w := range t.workers {
			e.join(w, nil)
			e.open.worker(w)
		}
		delete(e.teams, t.ID)
		delete(e.teamByName, strings.ToLower(t.Name))
		e.open.forgetDocument(teamDocument, t.ID.String())
		return t.Team, e.open, nil
	})
}

// teamDelivered counts a result of a worker for its team: of image workers only, while uptime counts for all (kudos
// chapter, 9).
func (e *Engine) teamDelivered(w *worker, credit horde.Kudos) {
	if t := w.team; t != nil && w.Kind == horde.Image {
		t.Fulfilments++
		t.Kudos += credit
		e.open.document(teamDocument, t.ID.String(), t)
	}
}

// teamUptime counts a rewarded stretch of a worker's uptime for its team.
func (e *Engine) teamUptime(w *worker) {
	if t := w.team; t != nil {
		t.Uptime += horde.UptimeStep
		e.open.document(teamDocument, t.ID.String(), t)
	}
}
