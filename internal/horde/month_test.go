// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"testing"
	"time"
)

func TestMonthAfter(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"2026-01-31T10:00:00Z":           "2026-02-28T10:00:00Z",
		"2028-01-31T10:00:00Z":           "2028-02-29T10:00:00Z",
		"2026-02-28T10:00:00Z":           "2026-03-28T10:00:00Z",
		"2026-12-31T23:59:59.123456789Z": "2027-01-31T23:59:59.123456789Z",
		"2026-05-31T00:00:00Z":           "2026-06-30T00:00:00Z",
		"2026-03-01T01:00:00+02:00":      "2026-03-28T23:00:00Z",
	} {
		at, err := time.Parse(time.RFC3339Nano, from)
		if err != nil {
			t.Fatal(err)
		}
		if got := MonthAfter(at).Format(time.RFC3339Nano); got != want {
			t.Errorf("a month after %s is %s, want %s", from, got, want)
		}
	}
}
