// SPDX-License-Identifier: AGPL-3.0-or-later

// Package api is the HTTP floor that the handlers of the API stand on. It knows transport and no rule of the domain.
//
// A [Router] owns what every answer has in common: CORS and node headers, one error document, rate limits, field masks,
// compression, 404 and 405 as JSON, no redirects. An operation is one call of [Handle]: an [Operation], which says where it
// is, what bounds it and what the documents tell of it, and a function from a typed call to a status and a typed answer.
//
//	type rateInput struct {
//		api.Key                              // the apikey header, required
//		ID   string `path:"id"`
//		Body AestheticsPayload               // decoded and validated by package body
//	}
//
//	api.Handle(router, api.Operation{
//		Method: http.MethodPost, Path: "/api/v2/generate/rate/{id}", Limits: limitRate,
//		ID: "post_aesthetics", Summary: "Say which of your images are good.", Refuses: []int{400, 401, 404},
//	}, func(ctx context.Context, c *api.Call[rateInput]) (int, *GenerationSubmitted, error) {
//		reward, err := engine.Rate(ctx, c.In.APIKey, c.In.ID, ratingOf(c.In.Body))
//		if err != nil {
//			return 0, nil, err // a *horde.Error becomes its document, anything else a 500 and a log line
//		}
//		return http.StatusOK, &GenerationSubmitted{Reward: reward}, nil
//	})
//
// # The documents
//
// Both documents follow from the types of inputs and answers and from the Operation, so that what is served is described and
// the other way round: [Router.Swagger] is the interface as the reference publishes it, [Router.OpenAPI] everything as it
// really is. Package schema says how types are read, [Router.Name] gives a type the reference's name.
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
