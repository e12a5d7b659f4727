// SPDX-License-Identifier: AGPL-3.0-or-later

package server_test

import (
	"net/http"
	"testing"

	"horde/internal/fediseer/fediversetest"
)

// Servers that send everybody from the bare domain to "www." are seen and claimed under the bare domain; a redirect of
// the site information alone to another site is refused.
func TestRedirectsToWWW(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	yes := true
	to := func(host string, status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), status)
			return true
		}
	}
	for _, h := range []fediversetest.Host{
		{Domain: "lemmy.test", Software: "lemmy", Admins: []string{"x"}},
		{Domain: "mastodon.test", Software: "mastodon", Version: "4.3.0", Approval: &yes, Admins: []string{"x"}},
		{Domain: "misskey.test", Software: "misskey", Admins: []string{"x"}},
	} {
		d := h.Domain
		h.Domain = "www." + d
		s.Net.Add(h, fediversetest.Host{Domain: d, Handle: to("www."+d, http.StatusMovedPermanently)})
		if a := s.Expect(200, anon, get, "/whitelist/"+d, nil); a.JSON["software"] != h.Software {
			t.Error(d, a.Body)
		}
		s.Expect(200, anon, put, "/whitelist/"+d, body{"admin": "x"})
		if a := s.Expect(200, s.LastKey("www."+d, "x"), get, "/find_instance", nil); a.JSON["domain"] != d {
			t.Error(a.Body)
		}
	}
	for d, handle := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"casino.test":  to("casino.example", http.StatusFound),
		"private.test": to("127.0.0.1", http.StatusFound),
		"circle.test":  to("circle.test", http.StatusTemporaryRedirect),
		"plain.test": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://plain.test/", http.StatusFound)
			return true
		},
	} {
		s.Net.Add(fediversetest.Host{Domain: d, Software: "lemmy", Handle: func(w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == "/api/v3/site" && handle(w, r)
		}})
		s.Expect(400, anon, get, "/whitelist/"+d, nil)
		s.Expect(404, anon, get, "/censures/"+d, nil) // nothing was stored
	}
	if n := s.Net.Calls("circle.test", "/api/v3/site"); n != 4 {
		t.Error("requests to a circle:", n)
	}
	if bad := s.Net.Bad(); bad != nil {
		t.Error(bad)
	}
}
