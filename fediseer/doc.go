// SPDX-License-Identifier: AGPL-3.0-or-later

// Package fediseer is a client for the Fediseer, the service in which fediverse instances guarantee for, endorse, censure
// and hesitate about each other.
//
//	c, err := fediseer.New(fediseer.WithAPIKey(key))
//	...
//	for in, err := range c.Censures.Given(ctx, []string{"a.example", "b.example"}, fediseer.GivenFilter{Min: 2}) {
//		...
//	}
//
// A [Client] is made by [New], which does not touch the network, and may be used from any goroutine. Its fields are
// services, one for each part of the API. Domains are normalised before they are sent ([NormalizeDomain]); an empty
// domain means the client's own instance, which [Client.LogIn] finds out. Refusals of the service are *[APIError] and
// match the Err values of this package with errors.Is.
//
// Requests that can be repeated without harm are retried with growing waits. The client keeps to the rate limits of the
// service by itself and waits where it would exceed them, as long as the context allows. Lists that come in pages are
// iterators that fetch the next page when it is asked for.
package fediseer
