// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"net/http"
	"testing"

	"horde/internal/node"
)

func TestAccountsForIntegrationTests(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *node.Config) { c.TestUsers = true })
	from := func(peer string, body any) answer {
		req := s.request("POST", "/api/v2/dev/test-user", account{}, body, header{"X-Forwarded-For", "127.0.0.1"})
		req.RemoteAddr = peer
		return s.send(req)
	}
	const here = "127.0.0.1:5000"
	// The reference's default.
	first := s.want(from(here, nil), http.StatusCreated)
	s.shows(first, fields{"alias": "test_user", "kudos": 10000, "trusted": true, "moderator": true, "created": true})
	key := account{key: first.str("api_key")}
	s.shows(s.get("/find_user", key), fields{"username": first.str("username"), "kudos": 10000, "moderator": true})

	// Found again by the OAuth id: renamed, with another key, less kudos and fewer roles.
	again := s.want(from("[::1]:5000", fields{"username": "<i>", "moderator": false, "trusted": false, "kudos": 500}), http.StatusOK)
	s.shows(again, fields{"user_id": first.str("user_id"), "kudos": 500, "trusted": false, "moderator": false, "created": false})
	s.want(s.get("/find_user", key), http.StatusNotFound)
	s.shows(s.get("/find_user", account{key: again.str("api_key")}), fields{"kudos": 500, "moderator": false, "trusted": false})
	s.shows(s.want(from("[::ffff:127.0.0.1]:1", fields{"kudos": nil}), http.StatusOK), fields{"kudos": 500, "moderator": true, "trusted": true})
	s.shows(s.want(from(here, fields{"oauth_id": "another"}), http.StatusCreated), fields{"created": true})

	for _, bad := range []any{
		fields{"kudos": -1}, fields{"kudos": "5"}, fields{"kudos": 0.5}, fields{"username": ""}, fields{"username": 5}, fields{"oauth_id": ""},
		fields{"oauth_id": "anon"}, fields{"username": "fuck this"}, fields{"moderator": "yes"}, "[]", "{",
	} {
		if a := s.want(from(here, bad), http.StatusBadRequest); !a.has("message") {
			t.Errorf("%v: %s", bad, a.text)
		}
	}
	for _, peer := range []string{"192.0.2.1:5000", "127.0.0.2:5000", "[2001:db8::1]:5000", "@"} {
		s.want(from(peer, nil), http.StatusForbidden)
	}
	s.want(open(t).call("POST", "/dev/test-user", account{}, nil), http.StatusNotFound)
}
