// SPDX-License-Identifier: AGPL-3.0-or-later

package server_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"horde/internal/fediseer/fediversetest"
	"horde/internal/fediseer/server"
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

// The operator's Mastodon-API server may have a certificate of an authority that only the configuration names.
func TestMastodonWithOwnAuthority(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	mast := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/statuses" && r.Header.Get("Authorization") == "Bearer tok" {
			got <- r.FormValue("status")
			_, _ = io.WriteString(w, "{}")
			return
		}
		http.NotFound(w, r)
	}))
	defer mast.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mast.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	yes := true
	host := fediversetest.Host{Domain: "m.test", Software: "mastodon", Version: "4.3.0", Admins: []string{"boss"}, Approval: &yes}
	claim := body{"admin": "boss", "pm_proxy": "MASTODON"}
	set := func(c *server.Config) { c.MastodonURL, c.MastodonToken = mast.URL, "tok" }
	s := fediversetest.Start(t, set)
	s.Net.Add(host)
	s.Expect(400, anon, put, "/whitelist/m.test", claim) // the authority is not known
	s = fediversetest.Start(t, func(c *server.Config) {
		set(c)
		c.CAFile = ca
	})
	s.Net.Add(host)
	if a := s.Expect(200, anon, put, "/whitelist/m.test", claim); a.JSON["delivery"] != "MASTODON" {
		t.Error(a.Body)
	}
	if text := <-got; !strings.HasPrefix(text, "@boss@m.test ") {
		t.Error(text)
	}
}

// Names and versions of software come from strangers and are shown to everybody.
func TestHostileNodeinfo(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Claim("a")
	s.Guarantee(root, "a")
	i := 0
	for _, c := range []struct{ name, version, want string }{
		{strings.Repeat("<script>alert(1)</script>", 20), "1", ""},
		{"<b>", "1", ""},
		{"two words", "1", ""},
		{"l\u00e9mmy", "1", ""},
		{strings.Repeat("x", 51), "1", ""},
		{"x", strings.Repeat("1", 256), ""},
		{"x", strings.Repeat("1", 5000), ""},
		{strings.Repeat("x", 50), strings.Repeat("\u00fc", 255), strings.Repeat("x", 50)},
		{"Go-To_Social.2", "1", "go-to_social.2"},
		{"", "", "unknown"},
	} {
		i++
		d := fmt.Sprintf("n%d.test", i)
		s.Net.Add(fediversetest.Host{Domain: d, Handle: func(w http.ResponseWriter, r *http.Request) bool {
			switch r.URL.Path {
			case "/.well-known/nodeinfo":
				_, _ = io.WriteString(w, `{"links":[{"rel":"http://nodeinfo.diaspora.software/ns/schema/2.0","href":"/n"}]}`)
			case "/n":
				_ = json.NewEncoder(w).Encode(map[string]any{"software": map[string]string{"name": c.name, "version": c.version}})
			default:
				return false
			}
			return true
		}})
		a := s.Do(anon, get, "/whitelist/"+d, nil)
		if c.want != "" {
			if a.Status != 200 || a.JSON["software"] != c.want {
				t.Errorf("%.60q: %d %s", c.name, a.Status, a.Body)
			}
			continue
		}
		if a.Status != 400 || !strings.Contains(a.Message(), "in nodeinfo") || strings.Contains(a.Body, "script") {
			t.Errorf("%.60q: %d %s", c.name, a.Status, a.Body)
		}
		s.Expect(404, anon, get, "/censures/"+d, nil) // nothing was stored
		s.Says("Changed", "a", put, "/censures/"+d, body{})
		if a := s.Expect(200, anon, get, "/censures_given/a", nil); strings.Contains(a.Body, "script") {
			t.Error(a.Body)
		}
	}
}

// Tags are measured in characters.
func TestTagLength(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Claim("a")
	for _, letter := range []string{"x", "\u00fc", "\u0130", "\U0001F600"} {
		s.Says("Changed", "a", put, "/tags", body{"tags_csv": strings.Repeat(letter, 100)})
		s.Says("OK", "a", put, "/tags", body{"tags_csv": strings.Repeat(letter, 100)})
		if a := s.Expect(400, "a", put, "/tags", body{"tags_csv": strings.Repeat(letter, 101)}); a.Message() != "A tag has at most 100 characters" {
			t.Error(a.Body)
		}
		s.Says("Changed", "a", del, "/tags", body{"tags_csv": strings.Repeat(letter, 100)})
	}
}

// A proof is not begun for a name that the claim would refuse.
func TestProofNames(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Net.Add(fediversetest.Lemmy("a.test", "admin"))
	for _, name := range []string{"x@y", "<b>", "a/b", "a b", "a\nb", strings.Repeat("x", 300)} {
		start := s.Expect(400, anon, post, "/whitelist/a.test/proof", body{"admin": name})
		if claim := s.Expect(400, anon, put, "/whitelist/a.test", body{"admin": name}); claim.Message() != start.Message() {
			t.Errorf("%q: %s, then %s", name, start.Body, claim.Body)
		}
	}
	if a := s.Expect(200, anon, post, "/whitelist/a.test/proof", body{"admin": "me"}); a.JSON["secret"] == "" {
		t.Error(a.Body)
	}
}

// Refusals name the other judgement in good English.
func TestConflictingJudgement(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	tree(s)
	s.Says("Changed", root, put, "/censures/a", body{})
	if a := s.Expect(400, root, put, "/endorsements/a", body{}); a.Message() != "fediseer.com has given a a censure; withdraw that first" {
		t.Error(a.Body)
	}
	s.Says("Changed", root, put, "/endorsements/b", body{})
	if a := s.Expect(400, root, put, "/hesitations/b", body{}); a.Message() != "fediseer.com has given b an endorsement; withdraw that first" {
		t.Error(a.Body)
	}
}

// Names that cannot be an instance's are refused when somebody looks at them, and leave no row.
func TestImpossibleNames(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Claim("a")
	for _, d := range []string{"test", "example", "foo.internal", "foo.local", "foo.localhost", "foo.invalid", "home.arpa", "*.local"} {
		s.Expect(400, anon, get, "/whitelist/"+d, nil)
		s.Expect(400, anon, put, "/whitelist/"+d, body{"admin": "x"})
	}
	s.Says("Changed", root, put, "/guarantees/word", nil) // with a key any name can be spoken of
	s.Expect(200, anon, get, "/whitelist/word", nil)
	s.Expect(200, anon, get, "/whitelist/a", nil)        // a name without a dot that DNS knows
	s.Expect(200, anon, get, "/whitelist/foo.test", nil) // dead, but possible
	if got := s.Expect(200, anon, get, "/all_instances?domains=1", nil); strings.Contains(got.Body, "internal") || strings.Contains(got.Body, `"test"`) {
		t.Error(got.Body)
	}
}
