// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import "time"

// ModeratorMonthlyKudos is what moderators get each month for their work (kudos chapter, 10.1).
const ModeratorMonthlyKudos Kudos = 300_000_00

// MonthAfter is one calendar month after t, in UTC. Where that month has no such day it is its last one.
func MonthAfter(t time.Time) time.Time {
	t = t.UTC()
	year, month, day := t.Date()
	last := time.Date(year, month+2, 0, 0, 0, 0, 0, time.UTC).Day()
	hour, minute, second := t.Clock()
	return time.Date(year, month+1, min(day, last), hour, minute, second, t.Nanosecond(), time.UTC)
}
