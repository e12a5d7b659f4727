// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"horde/internal/api"
	"horde/internal/api/body"
	"horde/internal/horde"
	"horde/internal/limit"
)

// awardBody is the JSON body of the operation below: tags say what is accepted.
type awardBody struct {
	Username string            `json:"username" required:"true" minLength:"3"`
	Amount   int64             `json:"amount" required:"true" minimum:"1"`
	Reason   body.Opt[string]  `json:"reason" maxLength:"100"`
	Share    body.Opt[float64] `json:"share" minimum:"0" maximum:"1"`
}

type awardInput struct {
	api.Key // the apikey header
	Body    awardBody
}

type awarded struct {
	Awarded float64 `json:"awarded"`
}

func ExampleHandle() {
	router := api.NewRouter(api.Options{Node: "localhost:7001:1.0", Limiter: limit.New(0)})
	limits := api.Limits{{By: api.ByKey, Amount: 1, Per: time.Second}}

	api.Handle(router,
		api.Operation{
			Method: http.MethodPost, Path: "/api/v2/kudos/award", Limits: limits,
			ID: "post_award_kudos", Summary: "Give kudos away.", Refuses: []int{400, 401, 403},
		},
		func(_ context.Context, c *api.Call[awardInput]) (int, *awarded, error) {
			in := c.In.Body
			if c.In.APIKey == api.AnonymousKey {
				return 0, nil, &horde.Error{RC: "NotAllowedAwards", Status: http.StatusForbidden, Message: "You cannot award kudos."}
			}
			return http.StatusOK, &awarded{float64(in.Amount) * in.Share.Or(1)}, nil
		})

	for key, text := range []string{`{"username":"a#1","amount":10.0,"share":0.8}`, `{"username":"a","amount":0}`} {
		req := httptest.NewRequest(http.MethodPost, "/api/v2/kudos/award", strings.NewReader(text))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("apikey", fmt.Sprint(key))
		answer := httptest.NewRecorder()
		router.ServeHTTP(answer, req)
		fmt.Println(answer.Code, answer.Body)
	}
	// Output:
	// 200 {"awarded":8}
	// 400 {"message":"Input payload validation failed","errors":{"amount":"0 is less than the minimum of 1","username":"\"a\" is too short (at least 3 characters)"}}
}
