// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"horde/internal/node"
)

func TestAccountsForIntegrationTests(t *testing.T) {
	t.Parallel()
	example(t, "status", 20)
	s := open(t, func(c *node.Config) { c.TestUsers = true })
	from := func(peer string, body any) answer {
		req := s.request("POST", "/api/v2/dev/test-user", account{}, body, header{"X-Forwarded-For", "127.0.0.1"})
		req.RemoteAddr = peer
		return s.send(req)
	}
	const here = "127.0.0.1:5000"
	// The reference's default.
	first := s.want(from(here, nil), http.StatusCreated)
	s.shows(first, fields{"username": "test_user", "alias": "test_user#" + first.str("user_id"), "kudos": 10000, "trusted": true, "moderator": true, "created": true})
	if got := keysOf(first); !slices.Equal(got, []string{"alias", "api_key", "created", "kudos", "moderator", "trusted", "user_id", "username"}) {
		t.Errorf("the answer has %v", got)
	}
	key := account{key: first.str("api_key")}
	s.shows(s.get("/find_user", key), fields{"username": first.str("alias"), "kudos": 10000, "moderator": true})

	// Found again by the OAuth id: renamed, with another key, less kudos and fewer roles.
	again := s.want(from("[::1]:5000", fields{"username": "<i>", "moderator": false, "trusted": false, "kudos": 500}), http.StatusOK)
	s.shows(again, fields{"user_id": first.str("user_id"), "kudos": 500, "trusted": false, "moderator": false, "created": false})
	s.want(s.get("/find_user", key), http.StatusNotFound)
	s.shows(s.get("/find_user", account{key: again.str("api_key")}), fields{"kudos": 500, "moderator": false, "trusted": false})
	s.shows(s.want(from("[::ffff:127.0.0.1]:1", fields{"kudos": nil}), http.StatusOK), fields{"kudos": 500, "moderator": true, "trusted": true})
	s.shows(s.want(from(here, fields{"oauth_id": "another"}), http.StatusCreated), fields{"created": true})

	// Every refusal is a message, and nothing else.
	plain := func(what any, a answer, status int) {
		t.Helper()
		if a.status != status || !slices.Equal(keysOf(a), []string{"message"}) || a.str("message") == "" {
			t.Errorf("%v: got %d %s, want %d with a message alone", what, a.status, a.text, status)
		}
	}
	for _, bad := range []any{
		fields{"kudos": -1}, fields{"kudos": "5"}, fields{"kudos": 0.5}, fields{"kudos": true}, fields{"kudos": 1e30}, fields{"username": ""},
		fields{"username": 5}, fields{"username": nil}, fields{"username": " \t"}, fields{"username": strings.Repeat("n", 31)},
		fields{"oauth_id": ""}, fields{"oauth_id": " "}, fields{"oauth_id": 7}, fields{"oauth_id": "anon"}, fields{"username": "fuck this"},
		fields{"moderator": "yes"}, fields{"moderator": 1}, fields{"moderator": nil}, fields{"trusted": "true"}, "{",
	} {
		plain(bad, from(here, bad), http.StatusBadRequest)
	}
	s.want(from(here, "[]"), http.StatusBadRequest)
	for _, peer := range []string{"192.0.2.1:5000", "127.0.0.2:5000", "[2001:db8::1]:5000", "@"} {
		plain(peer, from(peer, nil), http.StatusForbidden)
	}
	s.shows(s.want(from(here, fields{"kudos": nil}), http.StatusOK), fields{"kudos": 500}) // the refused calls changed nothing
	closed := open(t)
	plain("without the switch", closed.call("POST", "/dev/test-user", account{}, nil), http.StatusNotFound)
	req := closed.request("POST", "/api/v2/dev/test-user", account{}, fields{"username": 5})
	req.RemoteAddr = here
	plain("without the switch, from here", closed.send(req), http.StatusNotFound)
}
