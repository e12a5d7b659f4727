// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"
	"strconv"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/moderation"
)

type filtersInput struct {
	api.Key
	Type     *int   `query:"filter_type" doc:"Only filters of this type."`
	Contains string `query:"contains" doc:"Only filters whose expression or description holds this text."`
}

type filterInput struct {
	api.Key
	ID string `path:"filter_id"`
}

type filterRegexInput struct {
	api.Key
	Type *int `query:"filter_type" doc:"Only this type."`
}

type filterCreateInput struct {
	api.Key
	Body filterBody
}

type filterBody struct {
	Regex       *string `json:"regex" required:"true" doc:"A regular expression. With look-around or back-references it has 50 ms for a prompt."`
	Type        *int    `json:"filter_type" required:"true" minimum:"10" maximum:"29"`
	Description *string `json:"description"`
	Replacement *string `json:"replacement" default:""`
}

type filterChangeInput struct {
	api.Key
	ID   string `path:"filter_id"`
	Body filterChangeBody
}

type filterChangeBody struct {
	Regex       *string `json:"regex"`
	Type        *int    `json:"filter_type" minimum:"10" maximum:"29"`
	Description *string `json:"description"`
	Replacement *string `json:"replacement" default:""`
}

type filterTestInput struct {
	api.Key
	Body filterTestBody
}

type filterTestBody struct {
	Prompt *string `json:"prompt" required:"true" coerce:"true" published:"required=false"`
	Type   *int    `json:"filter_type" coerce:"true"`
}

func (a *API) filters(r *api.Router) {
	refuses := []int{400, 401, 403}
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/filters", Limits: api.DefaultLimits, ID: "get_filters",
		Summary: "The filters of prompts, for moderators.", Refuses: refuses,
	}, a.listFilters)
	api.Handle(r, api.Operation{
		Method: http.MethodPut, Path: prefix + "/filters", Limits: api.DefaultLimits, ID: "put_filters",
		Summary: "Add a filter, for moderators.", Example: `{"regex":"vermillex(?:es)?","filter_type":20,"description":"a word"}`,
		Links:   []api.Link{{To: "get_filter_single", Argument: "filter_id", Member: "id"}, {To: "patch_filter_single", Argument: "filter_id", Member: "id"}, {To: "delete_filter_single", Argument: "filter_id", Member: "id"}},
		Refuses: refuses, Published: api.Published{Success: []int{http.StatusCreated}, Answer: filterDetails{}},
	}, a.addFilter)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/filters", Limits: api.DefaultLimits, ID: "post_filters",
		Summary: "What the filters find in a prompt, for moderators.", Example: `{"prompt":"a lighthouse in a storm"}`, Refuses: refuses,
	}, a.testPrompt)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/filters/regex", Limits: api.DefaultLimits, ID: "get_filter_regex",
		Summary: "Each type of filter as one expression, for moderators.", Refuses: refuses,
	}, a.filterRegexes)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/filters/{filter_id}", Limits: api.DefaultLimits, ID: "get_filter_single",
		Summary: "One filter, for moderators.", Refuses: refuses, Also: []int{404}, Published: api.Published{Answer: []filterDetails{}},
	}, a.filter)
	api.Handle(r, api.Operation{
		Method: http.MethodPatch, Path: prefix + "/filters/{filter_id}", Limits: api.DefaultLimits, ID: "patch_filter_single",
		Summary: "Change a filter, for moderators.", Example: `{"description":"another word"}`, Refuses: refuses, Also: []int{404},
	}, a.changeFilter)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/filters/{filter_id}", Limits: api.DefaultLimits, ID: "delete_filter_single",
		Summary: "Remove a filter, for moderators.", Refuses: refuses, Also: []int{404},
	}, a.deleteFilter)
}

type filterDetails struct {
	ID          string  `json:"id" required:"true"`
	Regex       string  `json:"regex" required:"true"`
	Type        int     `json:"filter_type" required:"true" minimum:"10" maximum:"29"`
	Description *string `json:"description,omitempty"`
	Replacement string  `json:"replacement" default:""`
	User        string  `json:"user" required:"true"`
}

// filterAdded is filterDetails for who has added it: a description that there is none of is null here, and left out elsewhere.
type filterAdded struct {
	ID          string  `json:"id" required:"true"`
	Regex       string  `json:"regex" required:"true"`
	Type        int     `json:"filter_type" required:"true" minimum:"10" maximum:"29"`
	Description *string `json:"description"`
	Replacement string  `json:"replacement" default:""`
	User        string  `json:"user" required:"true"`
}

func detailedFilter(v engine.FilterView) filterDetails {
	return filterDetails{strconv.FormatInt(v.ID, 10), v.Regex, int(v.Type), v.Description, v.Replacement, v.EditorAlias}
}

// typeOf is the type that was asked for; 0 for all.
func typeOf(t *int) moderation.FilterType {
	if t == nil {
		return 0
	}
	return moderation.FilterType(*t)
}

func (a *API) listFilters(ctx context.Context, c *api.Call[filtersInput]) (int, []filterDetails, error) {
	t := typeOf(c.In.Type)
	if c.In.Type != nil && t == 0 {
		t = -1 // there are none
	}
	views, err := a.engine.Filters(ctx, c.In.APIKey, t, c.In.Contains)
	if err != nil {
		return 0, nil, err
	}
	out := make([]filterDetails, len(views))
	for i, v := range views {
		out[i] = detailedFilter(v)
	}
	return http.StatusOK, out, nil
}

func (a *API) addFilter(ctx context.Context, c *api.Call[filterCreateInput]) (int, *filterAdded, error) {
	b := &c.In.Body
	f := moderation.Filter{Regex: *b.Regex, Type: typeOf(b.Type), Description: b.Description}
	if b.Replacement != nil {
		f.Replacement = *b.Replacement
	}
	v, err := a.engine.AddFilter(ctx, c.In.APIKey, f)
	if err != nil {
		return 0, nil, err
	}
	out := filterAdded(detailedFilter(v))
	return http.StatusOK, &out, nil
}

func filtered(v engine.FilterView, err error) (int, *filterDetails, error) {
	if err != nil {
		return 0, nil, err
	}
	out := detailedFilter(v)
	return http.StatusOK, &out, nil
}

// filterSuspicion is how suspicious a prompt is. A string, as the reference has it.
type filterSuspicion struct {
	Suspicion string   `json:"suspicion" required:"true" default:"0" published:"type=integer,default=0,type=string"`
	Matches   []string `json:"matches"`
}

func (a *API) testPrompt(ctx context.Context, c *api.Call[filterTestInput]) (int, *filterSuspicion, error) {
	score, matches, err := a.engine.TestPrompt(ctx, c.In.APIKey, *c.In.Body.Prompt, typeOf(c.In.Body.Type))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, &filterSuspicion{strconv.Itoa(score), matches}, nil
}

type filterRegex struct {
	Type  int    `json:"filter_type" required:"true" minimum:"10" maximum:"29"`
	Regex string `json:"regex" required:"true"`
}

func (a *API) filterRegexes(ctx context.Context, c *api.Call[filterRegexInput]) (int, []filterRegex, error) {
	found, err := a.engine.FilterRegexes(ctx, c.In.APIKey, typeOf(c.In.Type))
	if err != nil {
		return 0, nil, err
	}
	out := []filterRegex{}
	for _, t := range moderation.Evaluated {
		if regex := found[t]; regex != "" { // clients want a text: a type without filters is left out as a whole
			out = append(out, filterRegex{int(t), regex})
		}
	}
	return http.StatusOK, out, nil
}

// filterID reads the id of a filter, which is digits.
func filterID(text string) (int64, error) {
	id, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, horde.ErrFilterNotFound
	}
	return int64(id), nil
}

func (a *API) filter(ctx context.Context, c *api.Call[filterInput]) (int, *filterDetails, error) {
	id, err := filterID(c.In.ID)
	if err != nil {
		return 0, nil, err
	}
	return filtered(a.engine.Filter(ctx, c.In.APIKey, id))
}

func (a *API) changeFilter(ctx context.Context, c *api.Call[filterChangeInput]) (int, *filterDetails, error) {
	id, err := filterID(c.In.ID)
	if err != nil {
		return 0, nil, err
	}
	b := &c.In.Body
	change := engine.FilterChange{Regex: b.Regex, Description: b.Description, Replacement: b.Replacement}
	if b.Type != nil {
		t := typeOf(b.Type)
		change.Type = &t
	}
	return filtered(a.engine.ChangeFilter(ctx, c.In.APIKey, id, change))
}

func (a *API) deleteFilter(ctx context.Context, c *api.Call[filterInput]) (int, *done, error) {
	id, err := filterID(c.In.ID)
	if err == nil {
		err = a.engine.DeleteFilter(ctx, c.In.APIKey, id)
	}
	return http.StatusOK, &done{"OK"}, err
}
