// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"

	"horde/internal/api"
)

type transferInput struct {
	api.Key
	Idempotency string `header:"Idempotency-Key" doc:"Names this transfer, so that a repeated call moves nothing more."`
	Body        struct {
		Username *string `json:"username" argument:"true" doc:"Who gets the kudos: an alias such as name#12."`
		Amount   *int64  `json:"amount" coerce:"true" nonull:"true" doc:"How many; 100 if not given."`
	}
}

type awardInput struct {
	api.Key
	Body struct {
		Username *string `json:"username" argument:"true" doc:"Who gets the kudos: an alias such as name#12."`
		Amount   *int64  `json:"amount" coerce:"true" nonull:"true" doc:"How many; 100 if not given. A negative amount takes them."`
	}
}

func (a *API) kudos(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/kudos/transfer", Limits: LimitsKudosTransfer,
		ID: "post_transfer_kudos", Summary: "Give kudos of yours to another account.", Refuses: []int{400, 401},
		Example: `{"username":"alice#12","amount":100}`,
	}, a.transfer)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/kudos/award", Limits: api.DefaultLimits,
		ID: "post_award_kudos", Summary: "Award kudos to an account, for those who may.", Refuses: []int{400, 401, 403},
		Example: `{"username":"alice#12","amount":100}`, Published: api.Published{NoAgent: true},
	}, a.award)
}

// defaultAmount is what moves where no amount is given.
const defaultAmount = 100

func amountOf(n *int64) int64 {
	if n == nil {
		return defaultAmount
	}
	return *n
}

type kudosTransferred struct {
	Transferred float64 `json:"transferred"`
}

func (a *API) transfer(ctx context.Context, c *api.Call[transferInput]) (int, kudosTransferred, error) {
	if c.In.Body.Username == nil {
		return 0, kudosTransferred{}, missing("username")
	}
	n, err := a.engine.Transfer(ctx, c.In.APIKey, *c.In.Body.Username, amountOf(c.In.Body.Amount), c.In.Idempotency)
	return http.StatusOK, kudosTransferred{float64(n)}, err
}

type kudosAwarded struct {
	Awarded float64 `json:"awarded"`
}

func (a *API) award(ctx context.Context, c *api.Call[awardInput]) (int, kudosAwarded, error) {
	if c.In.Body.Username == nil {
		return 0, kudosAwarded{}, missing("username")
	}
	n, err := a.engine.Award(ctx, c.In.APIKey, *c.In.Body.Username, amountOf(c.In.Body.Amount))
	return http.StatusOK, kudosAwarded{float64(n)}, err
}
