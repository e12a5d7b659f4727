// SPDX-License-Identifier: AGPL-3.0-or-later

// Package limit counts hits in fixed windows and says when there were too many.
//
// A [Rule] names a limit, a [Limiter] holds the counters of all of them in bounded memory, and [Limiter.Take] is the
// one question: may this caller go on?
//
//	var perAddress = limit.Rule{Name: "register by address", Amount: 5, Per: time.Hour}
//
//	if r := limiter.Take(limit.Bucket(addr), perAddress); !r.OK {
//		// r.Rule.String() == "5 per 1 hour"; r.RetryAfter() says when to come back
//	}
//
// A window starts with the first hit of its key and ends Per later, whatever comes in between; there is no refill
// inside a window. That is coarser than a token bucket, and it is what clients know: they are told the second at which
// everything is allowed again.
//
// [Relaxed] is the list of addresses that have earned raised limits for a day.
package limit
