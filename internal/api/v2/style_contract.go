// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"horde/internal/api"
	"horde/internal/horde"
)

// styleContract is what styles may declare, made from the tables that they are checked with.
type styleContract struct {
	SchemaVersion int                    `json:"schema_version" minimum:"1" maximum:"1"`
	Text          styleContractStyleType `json:"text"`
	Image         styleContractStyleType `json:"image"`
}

type styleContractStyleType struct {
	BraceHandling string                        `json:"brace_handling"`
	Placeholders  []string                      `json:"placeholders"`
	Declared      bool                          `json:"declared_fields_are_placeholders"`
	Protected     []protectedPattern            `json:"protected_patterns"`
	Overridable   []string                      `json:"overridable_parameters"`
	Ceilings      map[string]horde.CeilingRange `json:"ceiling_parameters"`
	ContextFit    *[]string                     `json:"context_fit_modes"`
	CreateLimits  []string                      `json:"style_create_rate_limits"`
	ModifyLimits  []string                      `json:"style_modify_rate_limits"`
}

// protectedPattern is text of a template that is left as it is.
type protectedPattern struct {
	Pattern     string `json:"pattern"`
	Description string `json:"description"`
}

const braceHandling = "Only the placeholders and the declared template fields are replaced, each written in braces. All other braces stay as they are. What is put in is not read again."

func styleContractOf() *styleContract {
	of := func(k horde.Kind, create, modify api.Limits, placeholders ...string) styleContractStyleType {
		return styleContractStyleType{
			BraceHandling: braceHandling, Placeholders: placeholders, Declared: true, Protected: []protectedPattern{},
			Overridable: horde.OverridableParameters(k), Ceilings: horde.CeilingParameters(k),
			CreateLimits: limitTexts(create), ModifyLimits: limitTexts(modify),
		}
	}
	d := &styleContract{
		SchemaVersion: 1, Image: of(horde.Image, LimitsStyles, LimitsStyleWrites, "p", "np"), Text: of(horde.Text, LimitsStyleWrites, LimitsStyles, "p"),
	}
	d.Text.ContextFit = &[]string{"ignore", "reject", "grow"}
	return d
}

// limitTexts writes limits as "20/hour".
func limitTexts(limits api.Limits) []string {
	units := map[time.Duration]string{time.Second: "second", time.Minute: "minute", time.Hour: "hour"}
	texts := make([]string, len(limits))
	for i, l := range limits {
		texts[i] = fmt.Sprintf("%d/%s", l.Amount, units[l.Per])
	}
	return texts
}

func (a *API) styleContract(r *api.Router) {
	document := styleContractOf()
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/status/style_contract", Limits: api.DefaultLimits, ID: "get_style_contract",
		Summary:   "What a style may declare of the requests that are made with it.",
		Published: api.Published{Ours: true},
	}, func(_ context.Context, c *api.Call[api.NoInput]) (int, *styleContract, error) {
		c.Header()["Cache-Control"] = []string{publicFor}
		return http.StatusOK, document, nil
	})
}
