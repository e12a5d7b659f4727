// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type teamInput struct {
	api.OptionalKey
	ID string `path:"team_id"`
}

type teamCreateInput struct {
	api.Key
	Body struct {
		Name *string `json:"name" required:"true" minLength:"3" maxLength:"100"`
		Info *string `json:"info" minLength:"3" maxLength:"1000"`
	}
}

type teamChangeInput struct {
	api.OptionalKey
	ID   string `path:"team_id"`
	Body horde.TeamChange
}

func (a *API) teams(r *api.Router) {
	api.Handle(r, http.MethodGet, prefix+"/teams", LimitsCommunity, a.listTeams)
	api.Handle(r, http.MethodPost, prefix+"/teams", LimitsCommunity, a.createTeam)
	api.Handle(r, http.MethodGet, prefix+"/teams/{team_id}", LimitsCommunity, a.team)
	api.Handle(r, http.MethodPatch, prefix+"/teams/{team_id}", LimitsCommunity, a.changeTeam)
	api.Handle(r, http.MethodDelete, prefix+"/teams/{team_id}", LimitsCommunity, a.deleteTeam)
}

type teamDetails struct {
	Name              string       `json:"name"`
	ID                string       `json:"id"`
	Info              string       `json:"info"`
	RequestsFulfilled int64        `json:"requests_fulfilled"`
	Kudos             float64      `json:"kudos"`
	Uptime            int64        `json:"uptime"` // seconds
	Creator           string       `json:"creator"`
	WorkerCount       int          `json:"worker_count"`
	Workers           []teamWorker `json:"workers"`
	Models            []teamModel  `json:"models"`
}

type teamWorker struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	ID     string `json:"id"`
	Online bool   `json:"online"`
}

type teamModel struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func detailedTeam(v engine.TeamView) teamDetails {
	d := teamDetails{
		Name: v.Name, ID: v.ID.String(), Info: v.Info, RequestsFulfilled: v.Fulfilments, Kudos: v.Kudos.Float(),
		Uptime: int64(v.Uptime.Seconds()), Creator: v.CreatorAlias, WorkerCount: len(v.Workers),
		Workers: make([]teamWorker, len(v.Workers)), Models: make([]teamModel, len(v.Models)),
	}
	for i, w := range v.Workers {
		d.Workers[i] = teamWorker{w.Kind.String(), w.Name, w.ID.String(), w.Online}
	}
	for i, m := range v.Models {
		d.Models[i] = teamModel(m)
	}
	return d
}

func (a *API) listTeams(ctx context.Context, _ *api.Call[api.NoInput]) (int, any, error) {
	views, err := a.engine.Teams(ctx)
	if err != nil {
		return 0, nil, err
	}
	out := make([]teamDetails, len(views))
	for i, v := range views {
		out[i] = detailedTeam(v)
	}
	return http.StatusOK, out, nil
}

// team ignores the key: a team has nothing that not everybody may see.
func (a *API) team(ctx context.Context, c *api.Call[teamInput]) (int, any, error) {
	v, err := a.engine.Team(ctx, c.In.ID)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, detailedTeam(v), nil
}

// changedTeam holds what a creation or a change has set.
type changedTeam struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Info string `json:"info,omitempty"`
}

func (a *API) createTeam(ctx context.Context, c *api.Call[teamCreateInput]) (int, any, error) {
	t, err := a.engine.CreateTeam(ctx, c.In.APIKey, &horde.TeamChange{Name: c.In.Body.Name, Info: c.In.Body.Info})
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, changedTeam{t.ID.String(), t.Name, t.Info}, nil
}

func (a *API) changeTeam(ctx context.Context, c *api.Call[teamChangeInput]) (int, any, error) {
	t, err := a.engine.ChangeTeam(ctx, c.In.APIKey, c.In.ID, &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	out := changedTeam{ID: t.ID.String()}
	if c.In.Body.Name != nil {
		out.Name = t.Name
	}
	if c.In.Body.Info != nil {
		out.Info = t.Info
	}
	return http.StatusOK, out, nil
}

func (a *API) deleteTeam(ctx context.Context, c *api.Call[teamInput]) (int, any, error) {
	t, err := a.engine.DeleteTeam(ctx, c.In.APIKey, c.In.ID)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, deletedWorker{t.ID.String(), t.Name}, nil
}
