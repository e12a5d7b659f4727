// SPDX-License-Identifier: AGPL-3.0-or-later

package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"horde/internal/fediseer/fediversetest"
	"horde/internal/fediseer/server"
	"horde/internal/fediseer/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

const (
	get, put, patch, del, post = http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodPost
	anon                       = fediversetest.NoKey
	root                       = "fediseer.com"
)

type body = map[string]any

// each runs a test against a service on each database.
func each(t *testing.T, f func(t *testing.T, s *fediversetest.Service)) {
	t.Parallel()
	for _, kind := range storetest.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t, fediversetest.Start(t, func(c *server.Config) { c.Database = storetest.Location(t, kind) }))
		})
	}
}

// tree claims a to g and guarantees root->a->b->c->d, as the worked examples have it.
func tree(s *fediversetest.Service) {
	s.Claim("a", "b", "c", "d", "e", "f", "g")
	s.Guarantee(root, "a", "b", "c", "d")
}

func log(s *fediversetest.Service, query string) []string {
	var out []string
	for _, x := range s.Do(anon, get, "/reports"+query, nil).List {
		r := x.(map[string]any)
		out = append(out, fmt.Sprint(r["source_domain"], " ", r["target_domain"], " ", r["report_type"], " ", r["report_activity"]))
	}
	return out
}

// Worked examples 2 and 3.
func TestGuarantees(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		tree(s)
		s.Expect(403, "e", put, "/guarantees/b", nil)
		s.Says("OK", "a", put, "/guarantees/b", nil)
		s.Says("OK", "a", put, "/guarantees/B", nil)
		s.Expect(403, "c", put, "/guarantees/b", nil)
		s.Expect(403, "a", put, "/guarantees/a", nil)
		s.Expect(403, root, put, "/guarantees/"+root, nil)
		s.Expect(404, "wrongkey", put, "/guarantees/b", nil)
		s.Expect(400, anon, put, "/guarantees/b", nil)
		s.Expect(401, fediversetest.EmptyKey, put, "/guarantees/b", nil)
		for path, want := range map[string]string{"/guarantees/c": "b", "/guarantees/" + root: root, "/guarantors/b": "c", "/guarantees/e": "", "/guarantors/" + root: "a " + root} {
			if got := s.Expect(200, anon, get, path+"?domains=1", nil).Domains(); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
		if got := s.Expect(200, anon, get, "/guarantors/b?csv=false&domains=1", nil); strings.TrimSpace(got.Body) != `{"csv":"c"}` {
			t.Error(got.Body)
		}
		s.Expect(404, anon, get, "/guarantees/unknown", nil)
		s.Expect(404, anon, get, "/guarantors/unknown", nil)
		s.Expect(403, root, del, "/guarantees/"+root, nil)
	})
}

// Worked example 4.
func TestRevocationCascades(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		tree(s)
		s.Says("Changed", "a", put, "/endorsements/b", body{"reason": "kind"})
		s.Says("Changed", "a", del, "/guarantees/b", nil)
		if got := log(s, ""); !slices.Equal(got[:2], []string{"a b GUARANTEE DELETED", "b b SOLICITATION ADDED"}) {
			t.Error(got)
		}
		if got := s.Do(anon, get, "/solicitations?domains=1", nil).Domains(); got != "b" {
			t.Error(got)
		}
		if got := s.Do(anon, get, "/endorsements/b?domains=1", nil).Domains(); got != "" {
			t.Errorf("the endorsement stayed: %q", got)
		}
		for _, d := range []string{"b", "c", "d"} {
			waitFor(t, func() bool {
				for _, m := range s.Net.Messages(d, "admin") { // which of several messages comes first is not promised
					if strings.Contains(m.Content, "withdrawn") {
						return true
					}
				}
				return false
			})
		}
		for _, x := range [][2]string{{put, "/guarantees/g"}, {put, "/endorsements/a"}, {put, "/censures/evil"}, {put, "/rebuttals/a"}} {
			a := s.Expect(403, "c", x[0], x[1], body{"rebuttal": "x"})
			if !strings.Contains(a.Message(), "b has no guarantor") {
				t.Error(a.Message())
			}
			s.Expect(403, "b", x[0], x[1], body{"rebuttal": "x"})
		}
		if got := s.Do(anon, get, "/whitelist?domains=1", nil).Domains(); got != "d c a fediseer.com" {
			t.Error(got)
		}
		s.Says("Changed", "a", put, "/guarantees/b", nil)
		if got := s.Do(anon, get, "/whitelist?domains=1", nil).Domains(); got != "d c b a fediseer.com" {
			t.Error(got)
		}
		if got := s.Do(anon, get, "/solicitations?domains=1", nil).Domains(); got != "" {
			t.Error(got)
		}
		s.Expect(403, "a", del, "/guarantees/b", nil)
		// b may drop what it received, and is then free for another.
		s.Says("Changed", "b", del, "/guarantees/b", nil)
		s.Says("OK", "b", del, "/guarantees/b", nil)
		s.Says("Changed", root, put, "/guarantees/b", nil)
		s.Expect(400, "a", del, "/guarantees/unknown", nil)
		s.Says("OK", "a", del, "/guarantees/g", nil)
	})
}

func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	for range 3000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond) // a message crosses a real network connection
	}
	t.Fatal("it did not happen")
}

// Worked example 5.
func TestGuaranteeLimit(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		s.Claim("e")
		s.Guarantee(root, "e")
		for i := range 20 {
			d := fmt.Sprintf("x%d", i)
			s.Net.Add(fediversetest.Lemmy(d, "admin"))
			s.Says("Changed", "e", put, "/guarantees/"+d, nil)
		}
		s.Expect(403, "e", put, "/guarantees/x20", nil)
		s.Says("Changed", root, put, "/guarantees/x20", nil)
	})
}

// Worked example 6.
func TestActionsPerMinute(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		tree(s)
		s.Says("Changed", "b", put, "/censures/evil", body{"reason": "spam"}) // b's first action; b guaranteed c before
		for i := range 18 {
			if i%2 == 0 {
				s.Says("Changed", "b", put, "/endorsements/a", nil)
			} else {
				s.Says("Changed", "b", del, "/endorsements/a", nil)
			}
		}
		// claim + guarantee + censure + 18 = 21 actions; the next is the 22nd
		if a := s.Expect(429, "b", put, "/endorsements/a", nil); a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		s.Says("Changed", "b", del, "/censures/evil", nil)
	})
}

// Worked examples 7, 8, 9 and case B111, B113.
func TestLists(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		tree(s)
		for _, x := range []struct {
			judge, target string
			b             body
		}{
			{"a", "evil", body{"reason": "CSAM, loli"}}, {"a", "*.evil", body{"reason": "racism"}}, {"a", "evil2", body{}},
			{"b", "evil", body{"reason": "spam"}}, {"b", "evil2", body{"reason": "Hate Speech, spam"}}, {"b", "d", body{"evidence": "http://x/?a=1&b=2"}},
		} {
			s.Says("Changed", x.judge, put, "/censures/"+x.target, x.b)
		}
		for _, c := range []struct {
			query, want string
			status      int
		}{
			{"", "*.evil d evil evil2", 200},
			{"&min_censures=0", "*.evil d evil evil2", 200},
			{"&min_censures=2", "evil evil2", 200},
			{"&min_censures=3", "", 400},
			{"&min_censures=5", "", 400},
			{"&min_censures=x", "", 400},
			{"&reasons_csv=__all_pedos__", "evil", 200},
			{"&reasons_csv=__all_bigots__", "*.evil evil2", 200},
			{"&reasons_csv=spam,loli&min_censures=2", "", 200},
			{"&reasons_csv=,", "*.evil evil evil2", 200},
			{"&limit=9", "", 400},
			{"&limit=10&page=2", "", 200},
			{"&limit=10&page=-3", "*.evil d evil evil2", 200},
			{"&page=99999999999", "", 200},
			{"&page=2&limit=9223372036854775807", "", 200},
			{"&page=1&limit=9223372036854775807", "*.evil d evil evil2", 200},
		} {
			a := s.Do(anon, get, "/censures_given/A,b,b,unknown,%20?domains=1"+c.query, nil)
			if a.Status != c.status || a.Domains() != c.want || a.Status == 200 && a.JSON["total"] != 6.0 {
				t.Errorf("%s: %d %s, want %s", c.query, a.Status, a.Body, c.want)
			}
		}
		want := map[string]string{"evil": "[CSAM, loli spam] [] 2", "evil2": "[Hate Speech, spam] [] 2", "d": "[] [] 1", "*.evil": "[racism] [] 1"}
		for _, x := range s.Do(anon, get, "/censures_given/a,b", nil).Items() {
			if got := fmt.Sprintf("%v %v %v", x["censure_reasons"], x["censure_evidence"], x["censure_count"]); got != want[x["domain"].(string)] {
				t.Errorf("%s: %s", x["domain"], got)
			}
			if v, ok := x["rebuttal"]; !ok || v != nil {
				t.Errorf("%s: rebuttal %v %v", x["domain"], v, ok)
			}
		}
		s.Expect(404, anon, get, "/censures_given/unknown", nil)
		s.Expect(401, "wrongkey", get, "/censures_given/a", nil)
		s.Expect(200, fediversetest.EmptyKey, get, "/censures_given/a", nil)

		received := s.Expect(200, anon, get, "/censures/d", nil)
		if x := received.Items(); len(x) != 1 || x[0]["domain"] != "b" || x[0]["censure_reasons"] != nil || x[0]["censure_evidence"] != nil || x[0]["censure_count"] != nil || received.JSON["total"] != 1.0 {
			t.Error(received.Body)
		}
		s.Expect(404, anon, get, "/censures/unknown", nil)

		s.Says("Changed", "a", patch, "/whitelist/a", body{"visibility_censures": "PRIVATE"})
		s.Says("OK", "a", patch, "/whitelist/a", body{"visibility_censures": "PRIVATE"})
		s.Expect(403, anon, get, "/censures_given/a", nil)
		s.Expect(403, "b", get, "/censures_given/a", nil)
		s.Expect(200, "a", get, "/censures_given/a", nil)
		if got := s.Do(anon, get, "/censures_given/a,b?domains=1", nil).Domains(); got != "d evil evil2" {
			t.Error(got)
		}
		s.Expect(400, anon, get, "/censures_given/a,b?min_censures=2", nil)
		s.Expect(200, "a", get, "/censures_given/a,b?min_censures=2", nil)
		s.Says("Changed", "a", del, "/censures/evil2", nil)
		if got := log(s, "?source_domains_csv=a&report_type=CENSURE"); got[0] != "a [REDACTED] CENSURE DELETED" {
			t.Error(got)
		}
		// ENDORSED: those that a endorses see the list, on both sides, and so does a itself.
		s.Says("Changed", "a", patch, "/whitelist/a", body{"visibility_censures": "ENDORSED"})
		s.Says("Changed", "a", put, "/endorsements/b", nil)
		s.Expect(200, "b", get, "/censures_given/a", nil)
		s.Expect(403, "c", get, "/censures_given/a", nil)
		for as, want := range map[string]string{"a": "a b", "b": "a b", "c": "b", anon: "b"} {
			if got := s.Do(as, get, "/censures/evil?domains=1", nil).Domains(); got != want {
				t.Errorf("as %s: %s", as, got)
			}
		}
	})
}

// Worked example 10.
func TestReasonsAreSanitised(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		tree(s)
		s.Says("Changed", "a", put, "/hesitations/x", body{"reason": " <b>Good</b> <script>x</script> & fine ", "evidence": "a < b"})
		s.Says("OK", "a", put, "/hesitations/x", body{"reason": "other"})
		x := s.Do(anon, get, "/hesitations/x", nil).Items()[0]
		if fmt.Sprint(x["hesitation_reasons"], x["hesitation_evidence"]) != "[<b>Good</b> &lt;script&gt;x&lt;/script&gt; &amp; fine] [a &lt; b]" {
			t.Error(x)
		}
		s.Says("OK", "a", patch, "/hesitations/x", body{})
		s.Says("Changed", "a", patch, "/hesitations/x", body{"evidence": ""})
		s.Says("OK", "a", patch, "/hesitations/x", body{"evidence": ""})
		s.Expect(400, "a", patch, "/hesitations/y", body{})
		s.Expect(400, "a", put, "/hesitations/y", body{"reason": strings.Repeat("r", 256)})
		s.Expect(400, "a", put, "/hesitations/y", body{"evidence": strings.Repeat("r", 1001)})
		s.Expect(400, "a", put, "/hesitations/y", body{"reason": nil})
		s.Expect(400, "a", put, "/hesitations/y", body{"reason": 7})
		s.Expect(400, "a", put, "/hesitations/y", nil)
		s.Expect(400, "a", put, "/hesitations/a", body{})
		s.Expect(400, "a", put, "/hesitations/A", body{})
		// Old clients endorse with whatever body.
		s.Says("Changed", "a", put, "/endorsements/b", "null")
		s.Says("Changed", "a", patch, "/endorsements/b", body{"reason": "x"})
		s.Says("Changed", "b", put, "/endorsements/a", `{"reason": 42}`)
		if got := s.Do(anon, get, "/endorsements/a", nil).Items()[0]["endorsement_reasons"]; fmt.Sprint(got) != "[42]" {
			t.Error(got)
		}
		s.Expect(400, "a", put, "/censures/b", body{})     // endorsed
		s.Expect(403, "a", put, "/endorsements/e", body{}) // not guaranteed
	})
}

// Worked examples 11 and 12.
func TestBatch(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		tree(s)
		s.Says("Changed", "a", put, "/endorsements/b", nil)
		list := func(want string) {
			t.Helper()
			var got []string
			for _, x := range s.Do("a", get, "/censures_given/a", nil).Items() {
				got = append(got, fmt.Sprintf("%v%v%v", x["domain"], x["censure_reasons"], x["censure_evidence"]))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%v, want %s", got, want)
			}
		}
		entry := func(d string, more ...string) body {
			b := body{"domain": d}
			for i := 0; i < len(more); i += 2 {
				b[more[i]] = more[i+1]
			}
			return b
		}
		s.Says("Changed", "a", post, "/batch/censures", body{"censures": []body{entry("x1", "reason", "r1", "evidence", "e1"), entry("X2"), entry("x1", "reason", "dup"), entry("a"), entry("b")}})
		if got := log(s, "?source_domains_csv=a&target_domains_csv=[MULTIPLE]"); !slices.Equal(got, []string{"a [MULTIPLE] CENSURE ADDED"}) {
			t.Error(got)
		}
		list("x1[r1][e1] x2[][]")
		s.Says("OK", "a", post, "/batch/censures", body{"censures": []body{entry("x1", "reason", "r2")}})
		s.Says("Changed", "a", post, "/batch/censures", body{"overwrite": true, "censures": []body{entry("x1", "reason", "r2")}})
		list("x1[r2][] x2[][]")
		s.Says("Changed", "a", post, "/batch/censures", body{"delete": true, "censures": []body{entry("x2"), entry("x3")}})
		if got := log(s, "?target_domains_csv=[MULTIPLE]"); got[0] == got[1] || !strings.Contains(got[0]+got[1], "DELETED") || !strings.Contains(got[0]+got[1], "ADDED") {
			t.Error(got)
		}
		list("x2[][] x3[][]")
		s.Says("Changed", "a", post, "/batch/censures", body{"delete": true, "censures": []body{}})
		list("")
		s.Expect(400, "a", post, "/batch/censures", body{"censures": []body{}})
		s.Expect(400, "a", post, "/batch/censures", body{"censures": "x"})
		bad := s.Expect(400, "a", post, "/batch/censures", body{"censures": []body{entry("ok.test"), {"reason": "x"}, entry("localhost")}})
		if !strings.Contains(bad.Body, "censures.1.domain") {
			t.Error(bad.Body)
		}
		bad = s.Expect(400, "a", post, "/batch/censures", body{"censures": []body{entry("ok.test"), entry("localhost")}})
		if !strings.Contains(bad.Body, "censures.1") {
			t.Error(bad.Body)
		}
		s.Expect(404, anon, get, "/censures/ok.test", nil) // nothing was stored
		// Endorsements skip what is not guaranteed.
		s.Says("Changed", "a", post, "/batch/endorsements", body{"endorsements": []body{entry("c"), entry("e"), entry("d", "reason", "x")}})
		if got := s.Do(anon, get, "/approvals/a?domains=1", nil).Domains(); got != "b c d" {
			t.Error(got)
		}
	})
}

// Worked example 14.
func TestFlags(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		tree(s)
		s.Says("Changed", "c", put, "/tags", body{"tags_csv": "Cats, dogs"})
		s.Expect(403, "a", put, "/admin/flags/c", body{"flag": "RESTRICTED"})
		s.Expect(403, "wrongkey", put, "/admin/flags/c", body{"flag": "RESTRICTED"})
		s.Expect(400, root, put, "/admin/flags/c", body{"flag": "OTHER"})
		s.Expect(400, root, del, "/admin/flags/c", body{})
		s.Expect(404, root, patch, "/admin/flags/c", body{"flag": "MUTED", "comment": "x"})
		s.Says("Changed", root, put, "/admin/flags/c", body{"flag": "RESTRICTED", "comment": "bad"})
		s.Says("OK", root, put, "/admin/flags/c", body{"flag": "RESTRICTED"})
		x := s.Expect(200, anon, get, "/whitelist/c", nil)
		got := fmt.Sprintf("%v %v %v %v %v", x.JSON["flags"], x.JSON["visibility_censures"], x.JSON["visibility_endorsements"], x.JSON["visibility_hesitations"], x.JSON["tags"])
		if got != "[map[comment:bad flag:RESTRICTED] map[comment:Restricted: bad flag:MUTED]] PRIVATE PRIVATE PRIVATE []" {
			t.Error(got)
		}
		s.Expect(403, "c", patch, "/whitelist/c", body{"visibility_censures": "OPEN"})
		s.Says("OK", "c", patch, "/whitelist/c", body{"visibility_censures": "PRIVATE"})
		s.Expect(403, "c", put, "/tags", body{"tags_csv": "birds"})
		s.Says("Changed", "c", del, "/tags", body{"tags_csv": "CATS"})
		s.Expect(403, "c", put, "/censures/evil", body{})
		s.Expect(403, "c", post, "/batch/censures", body{"censures": []body{{"domain": "evil"}}})
		s.Says("Changed", root, patch, "/admin/flags/c", body{"flag": "RESTRICTED", "comment": "worse"})
		s.Says("OK", root, patch, "/admin/flags/c", body{"flag": "RESTRICTED", "comment": "worse"})
		s.Says("Changed", root, del, "/admin/flags/c", body{"flag": "RESTRICTED"})
		s.Says("OK", root, del, "/admin/flags/c", body{"flag": "RESTRICTED"})
		if x := s.Do(anon, get, "/whitelist/c", nil); !strings.Contains(fmt.Sprint(x.JSON["flags"]), "MUTED") {
			t.Error(x.Body)
		}
		// c is muted, and so is what it guarantees from now on.
		s.Says("Changed", "c", put, "/guarantees/g", nil)
		if x := s.Do(anon, get, "/whitelist/g", nil); !strings.Contains(fmt.Sprint(x.JSON["flags"]), "Inherited from the guarantor c") || x.JSON["visibility_censures"] != "PRIVATE" {
			t.Error(x.Body)
		}
		// What a muted instance says can be answered, but the answer is not shown beside it.
		s.Says("Changed", "d", put, "/censures/a", body{"reason": "x"})
		s.Says("Changed", "a", put, "/rebuttals/d", body{"rebuttal": "not so"})
		if x := s.Do(anon, get, "/censures/a", nil).Items()[0]; fmt.Sprint(x["rebuttal"]) != "[not so]" {
			t.Error(x)
		}
		s.Says("Changed", root, put, "/admin/flags/d", body{"flag": "MUTED"})
		if x := s.Do("d", get, "/censures/a", nil).Items()[0]; x["rebuttal"] != nil {
			t.Error(x)
		}
	})
}

// Worked examples 15 and 16.
func TestClaims(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		s.Net.Add(fediversetest.Host{Domain: "a", Software: "lemmy", Admins: []string{"admin", "second"}}, fediversetest.Host{Domain: "dumb", Software: "mastodon", Approval: new(bool)})
		a := s.Expect(200, anon, put, "/whitelist/A", body{"admin": "admin"})
		if a.JSON["delivered"] != true || a.JSON["delivery"] != "ACTIVITYPUB" || a.JSON["claimed"] != 1.0 || a.JSON["domain"] != "a" {
			t.Error(a.Body)
		}
		s.Keys["a"] = s.LastKey("a", "admin")
		s.Expect(403, anon, put, "/whitelist/a", body{"admin": "admin"})
		s.Expect(400, anon, put, "/whitelist/a", body{"admin": "@admin"})
		s.Expect(400, anon, put, "/whitelist/a", body{"admin": ""})
		s.Expect(400, anon, put, "/whitelist/a", body{})
		s.Expect(403, anon, put, "/whitelist/a", body{"admin": "stranger"})
		s.Expect(401, anon, put, "/whitelist/dumb", body{"admin": "admin"})
		s.Expect(400, anon, put, "/whitelist/a", body{"admin": "second", "pm_proxy": "FOO"})
		s.Expect(400, anon, put, "/whitelist/a", body{"admin": "second", "pm_proxy": "MASTODON"})
		s.Expect(400, anon, put, "/whitelist/a", body{"admin": "second", "guarantor": "unknown"})
		s.Net.Change("a", func(h *fediversetest.Host) { h.InboxStatus = 500 })
		s.Expect(400, anon, put, "/whitelist/a", body{"admin": "second"})
		s.Expect(400, "a", patch, "/whitelist/a", body{"admin_username": "admin"}) // the key stays
		s.Expect(200, "a", get, "/find_instance", nil)
		s.Net.Change("a", func(h *fediversetest.Host) { h.InboxStatus = 0 })
		if x := s.Do(anon, get, "/whitelist/a", nil); x.JSON["claimed"] != 1.0 {
			t.Error(x.Body)
		}

		s.Says("OK", "a", patch, "/whitelist/a", body{"return_new_key": true})
		s.Expect(200, "a", get, "/find_instance", nil)
		x := s.Expect(200, "a", patch, "/whitelist/a", body{"return_new_key": true, "admin_username": "admin"})
		newKey, _ := x.JSON["new_key"].(string)
		if x.Message() != "Changed" || len(newKey) != 22 {
			t.Fatal(x.Body)
		}
		s.Expect(404, "a", get, "/find_instance", nil)
		s.Keys["a"] = newKey
		s.Expect(200, "a", get, "/find_instance", nil)
		s.Expect(404, "a", patch, "/whitelist/a", body{"admin_username": "second"})
		s.Expect(200, anon, put, "/whitelist/a", body{"admin": "second", "guarantor": root})
		s.Keys["second"] = s.LastKey("a", "second")
		s.Says("Changed", "second", patch, "/whitelist/a", body{"admin_username": "admin"})
		s.Expect(404, "a", get, "/find_instance", nil)
		s.Keys["a"] = s.LastKey("a", "admin")
		s.Expect(200, "a", get, "/find_instance", nil)
		if got := log(s, ""); !slices.Equal(got, []string{"a fediseer.com SOLICITATION ADDED", "a a CLAIM ADDED", "a a CLAIM ADDED"}) {
			t.Error(got)
		}

		s.Claim("b")
		s.Expect(403, "b", patch, "/whitelist/a", body{"sysadmins": 3})
		s.Expect(403, "b", patch, "/whitelist/unknown", body{"sysadmins": 3})
		s.Expect(400, "b", patch, "/whitelist/b", body{"sysadmins": 101})
		s.Expect(400, "b", patch, "/whitelist/b", body{"sysadmins": 1.5})
		s.Expect(400, "b", patch, "/whitelist/b", body{"moderators": -1})
		s.Says("Changed", "b", patch, "/whitelist/b", body{"sysadmins": 0, "moderators": 1000})
		s.Says("OK", "b", patch, "/whitelist/b", body{"sysadmins": 0, "moderators": 1000})
		s.Says("Changed", root, patch, "/whitelist/b", body{"sysadmins": 7})
		if x := s.Do(anon, get, "/whitelist/b", nil); x.JSON["sysadmins"] != 7.0 || x.JSON["moderators"] != 1000.0 {
			t.Error(x.Body)
		}
		s.Expect(404, root, patch, "/whitelist/unknown", body{"pm_proxy": "NONE"})
		s.Expect(401, fediversetest.EmptyKey, patch, "/whitelist/b", body{})
		s.Expect(400, anon, patch, "/whitelist/b", body{})

		s.Expect(403, "b", del, "/whitelist/a", nil)
		s.Expect(403, root, del, "/whitelist/"+root, nil)
		s.Says("Changed", "b", del, "/whitelist/b", nil)
		s.Expect(404, "b", get, "/find_instance", nil)
	})
}

// Worked example 17, but for the day that passes (see the tests of package trust).
func TestSolicitations(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		tree(s)
		s.Says("Changed", "e", post, "/solicitations", body{"comment": "please <i>now</i>"})
		s.Expect(403, "e", post, "/solicitations", body{})
		s.Expect(403, "e", post, "/solicitations", body{"guarantor": "a"})
		s.Expect(400, "e", post, "/solicitations", body{"guarantor": "unknown"})
		s.Expect(400, "a", post, "/solicitations", body{})
		s.Expect(404, "wrongkey", post, "/solicitations", body{})
		s.Says("Changed", "f", post, "/solicitations", body{"guarantor": "a", "comment": "hi"})
		waitFor(t, func() bool {
			msgs := s.Net.Messages("a", "admin")
			return strings.Contains(msgs[len(msgs)-1].Content, "f asks your instance a")
		})
		x := s.Expect(200, anon, get, "/solicitations", nil)
		if items := x.Items(); len(items) != 2 || items[0]["domain"] != "e" || items[0]["comment"] != "please <i>now</i>" || x.JSON["total"] != nil {
			t.Error(x.Body)
		}
		if x := s.Do(anon, get, "/solicitations?csv=1", nil); x.JSON["csv"] != "e,f" {
			t.Error(x.Body)
		}
		s.Says("Changed", "a", put, "/guarantees/e", nil)
		if got := s.Do(anon, get, "/solicitations?domains=1", nil).Domains(); got != "f" {
			t.Error(got)
		}
	})
}

// Case B115: a domain with a hyphen is guaranteed and shows everywhere at once.
func TestHyphenatedDomainShowsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		s.Claim("indie-verse.example")
		s.Expect(200, anon, get, "/whitelist/indie-verse.example", nil)
		s.Expect(200, anon, get, "/whitelist?domains=1", nil)
		s.Guarantee(root, "indie-verse.example")
		if got := s.Do(anon, get, "/whitelist?domains=1", nil).Domains(); got != "indie-verse.example fediseer.com" {
			t.Error(got)
		}
		if x := s.Do(anon, get, "/whitelist/indie-verse.example", nil); x.JSON["guarantor"] != root {
			t.Error(x.Body)
		}
		if x := s.Do(anon, get, "/badges/guarantees/indie-verse.example.svg", nil); !strings.Contains(x.Body, ">fediseer.com<") {
			t.Error(x.Body)
		}
		s.Says("Changed", "indie-verse.example", put, "/censures/evil", body{})
	})
}

// Case B105: pages of a growing list are complete and free of repeats.
func TestPagesAreStable(t *testing.T) {
	each(t, func(t *testing.T, s *fediversetest.Service) {
		tree(s)
		entries := []body{}
		for i := range 250 {
			entries = append(entries, body{"domain": fmt.Sprintf("x%03d.test", i)})
		}
		s.Says("Changed", "a", post, "/batch/censures", body{"censures": entries})
		seen := map[string]int{}
		for page := 1; page <= 3; page++ {
			for d := range strings.FieldsSeq(s.Do(anon, get, fmt.Sprintf("/censures_given/a?domains=1&limit=100&page=%d", page), nil).Domains()) {
				seen[d]++
			}
			if page == 1 {
				s.Says("Changed", "a", put, "/censures/x999.test", body{}) // sorts to the end
			}
		}
		for _, e := range append(entries, body{"domain": "x999.test"}) {
			if seen[e["domain"].(string)] != 1 {
				t.Errorf("%s was seen %d times", e["domain"], seen[e["domain"].(string)])
			}
		}
	})
}
