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
	Body createTeamInput
}

type createTeamInput struct {
	Name *string `json:"name" required:"true" minLength:"3" maxLength:"100"`
	Info *string `json:"info" minLength:"3" maxLength:"1000"`
}

type teamChangeInput struct {
	api.OptionalKey
	ID   string `path:"team_id"`
	Body horde.TeamChange
}

func (a *API) teams(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/teams", Limits: LimitsCommunity, ID: "get_teams", Summary: "All teams.",
		Links: []api.Link{{To: "get_team_single", Argument: "team_id", Member: "0/id"}},
	}, a.listTeams)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/teams", Limits: LimitsCommunity, ID: "post_teams", Summary: "Found a team.",
		Example: `{"name":"Lighthouse keepers","info":"We keep the light on."}`,
		Links: []api.Link{
			{To: "get_team_single", Argument: "team_id", Member: "id"}, {To: "patch_team_single", Argument: "team_id", Member: "id"},
			{To: "delete_team_single", Argument: "team_id", Member: "id"},
		},
		Refuses: []int{400, 401, 403},
	}, a.createTeam)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/teams/{team_id}", Limits: LimitsCommunity, ID: "get_team_single",
		Summary: "One team, and what it has made.", Refuses: []int{401, 403, 404},
	}, a.team)
	api.Handle(r, api.Operation{
		Method: http.MethodPatch, Path: prefix + "/teams/{team_id}", Limits: LimitsCommunity, ID: "patch_team_single",
		Summary: "Rename or describe a team of yours.", Example: `{"info":"We keep the light on."}`,
		Refuses: []int{400, 401, 403, 404},
	}, a.changeTeam)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/teams/{team_id}", Limits: LimitsCommunity, ID: "delete_team_single",
		Summary: "Dissolve a team of yours.", Refuses: []int{401, 403, 404},
	}, a.deleteTeam)
}

type teamDetailsLite struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

type teamDetails struct {
	teamDetailsLite
	Info              string              `json:"info"`
	RequestsFulfilled int64               `json:"requests_fulfilled"`
	Kudos             float64             `json:"kudos"`
	Uptime            int64               `json:"uptime"` // seconds
	Creator           string              `json:"creator"`
	WorkerCount       int                 `json:"worker_count"`
	Workers           []workerDetailsLite `json:"workers"`
	Models            []activeModelLite   `json:"models"`
}

func detailedTeam(v engine.TeamView) teamDetails {
	d := teamDetails{
		teamDetailsLite: teamDetailsLite{v.Name, v.ID.String()}, Info: v.Info, RequestsFulfilled: v.Fulfilments, Kudos: v.Kudos.Float(),
		Uptime: int64(v.Uptime.Seconds()), Creator: v.CreatorAlias, WorkerCount: len(v.Workers),
		Workers: make([]workerDetailsLite, len(v.Workers)), Models: make([]activeModelLite, len(v.Models)),
	}
	for i, w := range v.Workers {
		d.Workers[i] = workerDetailsLite{w.Kind.String(), w.Name, w.ID.String(), w.Online}
	}
	for i, m := range v.Models {
		d.Models[i] = activeModelLite(m)
	}
	return d
}

func (a *API) listTeams(ctx context.Context, _ *api.Call[api.NoInput]) (int, []teamDetails, error) {
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
func (a *API) team(ctx context.Context, c *api.Call[teamInput]) (int, *teamDetails, error) {
	v, err := a.engine.Team(ctx, c.In.ID)
	if err != nil {
		return 0, nil, err
	}
	out := detailedTeam(v)
	return http.StatusOK, &out, nil
}

// modifyTeam holds what a creation or a change has set.
type modifyTeam struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Info string `json:"info,omitempty"`
}

func (a *API) createTeam(ctx context.Context, c *api.Call[teamCreateInput]) (int, *modifyTeam, error) {
	t, err := a.engine.CreateTeam(ctx, c.In.APIKey, &horde.TeamChange{Name: c.In.Body.Name, Info: c.In.Body.Info})
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, &modifyTeam{t.ID.String(), t.Name, t.Info}, nil
}

func (a *API) changeTeam(ctx context.Context, c *api.Call[teamChangeInput]) (int, *modifyTeam, error) {
	t, err := a.engine.ChangeTeam(ctx, c.In.APIKey, c.In.ID, &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	out := &modifyTeam{ID: t.ID.String()}
	if c.In.Body.Name != nil {
		out.Name = t.Name
	}
	if c.In.Body.Info != nil {
		out.Info = t.Info
	}
	return http.StatusOK, out, nil
}

type deletedTeam struct {
	ID   string `json:"deleted_id"`
	Name string `json:"deleted_name"`
}

func (a *API) deleteTeam(ctx context.Context, c *api.Call[teamInput]) (int, *deletedTeam, error) {
	t, err := a.engine.DeleteTeam(ctx, c.In.APIKey, c.In.ID)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, &deletedTeam{t.ID.String(), t.Name}, nil
}
