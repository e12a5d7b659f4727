// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import "testing"

func TestGCPercent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 1000}, // nothing was ever collected
		{16 << 20, 400},
		{64 << 20, 100},
		{128 << 20, 50},
		{8 << 30, 50},
	} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%d bytes alive: %d, want %d", c.live, got, c.want)
		}
	}
}
