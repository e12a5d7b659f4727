// SPDX-License-Identifier: AGPL-3.0-or-later

package limit

import (
	"strconv"
	"time"
)

// Rule is one rate limit: at most Amount hits in each window of length Per. Rules are data; a table of them is the
// policy of a service. The whole value, Name included, is part of a counter's identity: two rules that differ in any
// field never share a counter, so a client that moves to a raised limit starts on a fresh one.
type Rule struct {
	// Name says what is limited, for example "POST /api/v2/generate/async by key". It separates the counters of
	// different endpoints and of different kinds of keys; clients never see it.
	Name string
	// Amount is the number of hits that pass in one window. Zero or less refuses everything.
	Amount int
	// Per is the length of the window, which starts with the first hit.
	Per time.Duration
}

// String returns the rule as clients see it in the body of a 429, for example "2 per 1 second" or "90 per 1 minute":
// amount, "per", multiple, unit. Deployed bots compare this text as a whole, so it is never put into the plural.
func (r Rule) String() string {
	unit, name := time.Second, "second"
	switch {
	case r.Per >= 24*time.Hour && r.Per%(24*time.Hour) == 0:
		unit, name = 24*time.Hour, "day"
	case r.Per >= time.Hour && r.Per%time.Hour == 0:
		unit, name = time.Hour, "hour"
	case r.Per >= time.Minute && r.Per%time.Minute == 0:
		unit, name = time.Minute, "minute"
	}
	multiple := strconv.FormatFloat(float64(r.Per)/float64(unit), 'f', -1, 64)
	return strconv.Itoa(r.Amount) + " per " + multiple + " " + name
}
