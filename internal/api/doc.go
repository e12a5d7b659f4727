// SPDX-License-Identifier: AGPL-3.0-or-later

// Package api is the HTTP floor that the handlers of the API stand on. It knows transport and no rule of the domain.
//
// A [Router] owns what every answer has in common: CORS and node headers, one error document, rate limits, field masks,
// compression, 404 and 405 as JSON, no redirects. An operation is one call of [Handle]: method, path, limits, and a
// function from a typed call to a status and a value.
//
//	type rateInput struct {
//		api.Key                              // the apikey header, required
//		ID   string `path:"id"`
//		Body AestheticsPayload               // decoded and validated by package body
//	}
//
//	api.Handle(router, http.MethodPost, "/api/v2/generate/rate/{id}", limitRate,
//		func(ctx context.Context, c *api.Call[rateInput]) (int, any, error) {
//			reward, err := engine.Rate(ctx, c.In.APIKey, c.In.ID, ratingOf(c.In.Body))
//			if err != nil {
//				return 0, nil, err // a *horde.Error becomes its document, anything else a 500 and a log line
//			}
//			return http.StatusOK, GenerationSubmitted{Reward: reward}, nil
//		})
//
// # The order of a call
//
// Rate limits come first, so that refused calls count too; then the field mask is parsed, the body is read, decoded and
// validated as a whole, then headers, query and path are read, and the first that is wrong ends the call; then the handler
// runs. A missing apikey is therefore only found in a call whose body is valid. OPTIONS, 404 and 405 pass none of this.
//
// # Pages
//
// [Router.Mount] takes an ordinary http.Handler, for web pages and other protocols, and gives it the same headers, limits,
// compression and recovery.
package api
