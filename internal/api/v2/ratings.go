// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type rateInput struct {
	ID   string `path:"id"`
	Body horde.Aesthetics
}

func (a *API) ratings(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/generate/rate/{id}", Limits: LimitsRate, ID: "post_aesthetics",
		Summary: "Say how good the images of a shared request are. Pays its owner.",
		Description: "Say which image is the best, or rate images from 1 to 10, and how broken they are from 0 to 5. A request can be " +
			"rated once, when all of it is done.",
		Example: `{"best":"00000000-0000-4000-8000-000000000000","ratings":[{"id":"00000000-0000-4000-8000-000000000000","rating":8,"artifacts":1}]}`,
		Refuses: []int{400, 401, 404},
	}, a.rate)
}

func (a *API) rate(ctx context.Context, c *api.Call[rateInput]) (int, *generationSubmitted, error) {
	reward, err := a.engine.Rate(ctx, c.In.ID, c.Agent, c.Addr, &c.In.Body)
	return http.StatusOK, &generationSubmitted{reward}, err
}

// pairSpecial tells a worker which pipeline makes an image that is compared with another.
type pairSpecial struct {
	ModelName string `json:"model_name"`
	PairID    string `json:"pair_id"`
	Pipeline  string `json:"comfy_pipeline"`
}

func pairPayload(p *engine.Popped) json.RawMessage {
	name := "pipeline" + strconv.Itoa(p.Pipeline)
	text, err := json.Marshal(pairSpecial{name, p.Request.String(), name + ".json"})
	if err != nil {
		panic(err) // a struct of strings
	}
	return text
}
