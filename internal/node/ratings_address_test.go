// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import "testing"

func TestRatingsAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ public, host, want string }{
		{"", "ratings.example", ""},
		{"https://horde.example", "", "https://horde.example/ratings"},
		{"https://horde.example/", "ratings.example", "https://ratings.example"},
		{"http://horde.localhost:7550", "ratings.localhost", "http://ratings.localhost:7550"},
	} {
		n := &Node{Config: Config{PublicURL: c.public, RatingsHost: c.host}}
		if got := n.ratingsAddress(); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.public, c.host, got, c.want)
		}
	}
}
