// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"

	"horde/internal/api"
	"horde/internal/horde"
)

type modelStatsInput struct {
	ModelState string `query:"model_state" default:"known" doc:"known for models of the reference, custom for others, or all."`
}

func (a *API) stats(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/stats/img/totals", Limits: api.DefaultLimits, ID: "get_image_horde_stats_totals",
		Summary:     "How many images were made.",
		Description: "In the last minute, hour, day and 30 days, and ever, as of the last full minute. Faulted jobs count, cancelled ones do not.",
	}, a.imageTotals)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/stats/img/models", Limits: api.DefaultLimits, ID: "get_image_horde_stats_models",
		Summary: "How many images each model made.", Description: modelStats, Refuses: []int{400},
	}, a.imageModels)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/stats/text/totals", Limits: api.DefaultLimits, ID: "get_text_horde_stats_totals",
		Summary:     "How many texts were made.",
		Description: "In the last minute, hour, day and 30 days, and ever, as of the last full minute. Faulted jobs count, cancelled ones do not.",
	}, a.textTotals)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/stats/text/models", Limits: api.DefaultLimits, ID: "get_text_horde_stats_models",
		Summary: "How many texts each model made.", Description: modelStats,
	}, a.textModels)
}

const modelStats = "In the last day and 30 days, and ever, as of the last full hour. A model that was ever used is in all three."

// singlePeriodImgStat is what was made in a window.
type singlePeriodImgStat struct {
	Images     int64 `json:"images"`
	Pixelsteps int64 `json:"ps" doc:"Width times height times steps, as requested."`
}

type statsImgTotals struct {
	Minute singlePeriodImgStat `json:"minute"`
	Hour   singlePeriodImgStat `json:"hour"`
	Day    singlePeriodImgStat `json:"day"`
	Month  singlePeriodImgStat `json:"month"`
	Total  singlePeriodImgStat `json:"total"`
}

// singlePeriodTxtStat is what was made in a window.
type singlePeriodTxtStat struct {
	Requests int64 `json:"requests"`
	Tokens   int64 `json:"tokens" doc:"What was requested, not what was written."`
}

type statsTxtTotals struct {
	Minute singlePeriodTxtStat `json:"minute"`
	Hour   singlePeriodTxtStat `json:"hour"`
	Day    singlePeriodTxtStat `json:"day"`
	Month  singlePeriodTxtStat `json:"month"`
	Total  singlePeriodTxtStat `json:"total"`
}

type imgModelStats struct {
	Day   map[string]int64 `json:"day" wildcard:"none"`
	Month map[string]int64 `json:"month" wildcard:"none"`
	Total map[string]int64 `json:"total" wildcard:"none"`
}

type txtModelStats struct {
	Day   map[string]int64 `json:"day" wildcard:"none"`
	Month map[string]int64 `json:"month" wildcard:"none"`
	Total map[string]int64 `json:"total" wildcard:"none"`
}

func (a *API) imageTotals(ctx context.Context, _ *api.Call[api.NoInput]) (int, statsImgTotals, error) {
	t, err := a.engine.Totals(ctx, horde.Image)
	one := func(t horde.Tally) singlePeriodImgStat { return singlePeriodImgStat{t.Results, t.Things} }
	return http.StatusOK, statsImgTotals{one(t.Minute), one(t.Hour), one(t.Day), one(t.Month), one(t.All)}, err
}

func (a *API) textTotals(ctx context.Context, _ *api.Call[api.NoInput]) (int, statsTxtTotals, error) {
	t, err := a.engine.Totals(ctx, horde.Text)
	one := func(t horde.Tally) singlePeriodTxtStat { return singlePeriodTxtStat{t.Results, t.Things} }
	return http.StatusOK, statsTxtTotals{one(t.Minute), one(t.Hour), one(t.Day), one(t.Month), one(t.All)}, err
}

func (a *API) imageModels(ctx context.Context, c *api.Call[modelStatsInput]) (int, imgModelStats, error) {
	wanted := func(bool) bool { return true }
	switch c.In.ModelState {
	case "", "known":
		wanted = func(known bool) bool { return known }
	case "custom":
		wanted = func(known bool) bool { return !known }
	case "all":
	default:
		return 0, imgModelStats{}, errModelState
	}
	t, err := a.engine.ModelTotals(ctx, horde.Image)
	if err != nil {
		return 0, imgModelStats{}, err
	}
	ref := a.engine.Reference()
	filtered := func(all map[string]int64) map[string]int64 {
		some := make(map[string]int64, len(all))
		for name, n := range all {
			if wanted(ref.Known(horde.Image, name)) {
				some[name] = n
			}
		}
		return some
	}
	return http.StatusOK, imgModelStats{filtered(t.Day), filtered(t.Month), filtered(t.All)}, nil
}

func (a *API) textModels(ctx context.Context, _ *api.Call[api.NoInput]) (int, txtModelStats, error) {
	t, err := a.engine.ModelTotals(ctx, horde.Text)
	return http.StatusOK, txtModelStats{t.Day, t.Month, t.All}, err
}
