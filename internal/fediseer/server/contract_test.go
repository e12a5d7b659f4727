// SPDX-License-Identifier: AGPL-3.0-or-later

package server_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/fediversetest"
	"horde/internal/fediseer/message"
	"horde/internal/fediseer/server"
)

// Worked example 18.
func TestRateLimits(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, func(c *server.Config) { c.RateLimits = true })
	s.Claim("a", "b")
	for i := range 20 {
		if a := s.Do(anon, get, "/censures/a", nil); a.Status != 200 || a.Header.Get("X-RateLimit-Remaining") != fmt.Sprint(19-i) || a.Header.Get("Retry-After") == "" {
			t.Fatal(i, a.Status, a.Header)
		}
	}
	if a := s.Do(anon, get, "/censures/a", nil); a.Status != 429 || a.Header.Get("X-RateLimit-Limit") != "20" || a.Message() != "20 per 1 minute" {
		t.Error(a.Status, a.Header, a.Body)
	}
	s.Expect(200, anon, get, "/censures/b", nil)
	given := func(d string, times int) fediversetest.Answer {
		for range times {
			s.Expect(200, anon, get, "/censures_given/"+d, nil)
		}
		return s.Do(anon, get, "/censures_given/"+d, nil)
	}
	if a := given("a", 30); a.Status != 429 || a.Header.Get("X-RateLimit-Limit") != "30" {
		t.Error(a.Status, a.Header)
	}
	if a := given("b", 14); a.Status != 429 || a.Header.Get("X-RateLimit-Limit") != "45" {
		t.Error(a.Status, a.Header)
	}
	for range 2 {
		s.Expect(403, "a", post, "/batch/censures", body{"censures": []body{{"domain": "x"}}})
	}
	s.Expect(429, "a", post, "/batch/censures", body{"censures": []body{{"domain": "x"}}})
	for range 90 {
		s.Expect(200, anon, get, "/config", nil)
	}
	s.Expect(429, anon, get, "/config", nil)
	s.Expect(200, anon, get, "/tags", nil)
}

func TestConventions(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	tree(s)
	h := func(kv ...string) http.Header {
		out := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			out.Set(kv[i], kv[i+1])
		}
		return out
	}
	const base = "/api/v1"
	// A schema error wins over a missing key; then the key is missed.
	if a := s.Request(put, base+"/rebuttals/b", h(), `{}`); a.Status != 400 || !strings.Contains(a.Body, `"rebuttal":`) {
		t.Error(a.Body)
	}
	if a := s.Request(put, base+"/rebuttals/b", h(), `{"rebuttal":"x"}`); a.Status != 400 || !strings.Contains(a.Body, `"apikey":`) {
		t.Error(a.Body)
	}
	for _, bad := range []struct{ kind, body string }{{"text/plain", `{"rebuttal":"x"}`}, {"application/json", ""}, {"application/json", "{"}, {"application/json", `[]`}, {"application/json", `{"rebuttal":null}`}, {"application/json", "{} {}"}, {"application/json", "\xff"}} {
		if a := s.Request(put, base+"/rebuttals/b", h("Content-Type", bad.kind, "apikey", s.Keys["a"]), bad.body); a.Status != 400 || a.Message() == "" {
			t.Error(bad, a.Status, a.Body)
		}
	}
	if a := s.Request(put, base+"/rebuttals/b", h("apikey", s.Keys["a"]), `{"rebuttal":"x","extra":1}`); a.Status != 400 || !strings.Contains(a.Body, "no open censure") {
		t.Error(a.Body)
	}
	if a := s.Request(post, base+"/batch/censures", h("apikey", s.Keys["a"]), `{"censures":[`+strings.Repeat(`{"domain":"x.test"},`, 500000)+`{"domain":"x"}]}`); a.Status != 413 {
		t.Error(a.Status, a.Message())
	}
	// Methods, unknown routes, slashes.
	if a := s.Request(post, base+"/find_instance", h(), nil); a.Status != 405 || a.Message() == "" {
		t.Error(a.Status, a.Body)
	}
	for _, path := range []string{"/nothing", base + "/nothing", base + "/config/", base + "/whitelist/a/"} {
		if a := s.Request(get, path, h(), nil); a.Status != 404 || !strings.Contains(a.Header.Get("Content-Type"), "text/html") {
			t.Error(path, a.Status, a.Header)
		}
	}
	if a := s.Request(http.MethodOptions, base+"/censures/a", h(), nil); a.Status != 200 || a.Body != "" || !strings.Contains(a.Header.Get("Allow"), "PATCH") || a.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "apikey") {
		t.Error(a.Status, a.Header)
	}
	if a := s.Request(http.MethodHead, base+"/config", h(), nil); a.Status != 200 || a.Body != "" {
		t.Error(a)
	}
	// ETag and conditional requests, node header, projection.
	a := s.Request(get, base+"/config", h(), nil)
	etag := a.Header.Get("ETag")
	if !strings.HasPrefix(etag, `"`) || !strings.HasSuffix(a.Header.Get("Fediseer-Node"), ":"+server.Version) || !strings.HasSuffix(a.Body, "}\n") ||
		strings.TrimSpace(a.Body) != `{"max_guarantees":20,"max_guarantors":1,"max_config_actions_per_min":20,"max_tags":100}` {
		t.Error(a.Header, a.Body)
	}
	if a := s.Request(get, base+"/config", h("If-None-Match", etag), nil); a.Status != 304 || a.Body != "" {
		t.Error(a)
	}
	for mask, want := range map[string]string{"instances{domain}": `{"instances":[{"domain":"a"}]}`, "{instances{domain,id},total}": `{"instances":[{"domain":"a","id":1}]}`, "nothing": `{}`} {
		if a := s.Request(get, base+"/guarantees/b", h("X-Fields", mask), nil); strings.TrimSpace(a.Body) != want {
			t.Error(mask, a.Body)
		}
	}
	for _, mask := range []string{"a{", "}", "a,,b", strings.Repeat("a{", 100)} {
		if a := s.Request(get, base+"/guarantees/b", h("X-Fields", mask), nil); a.Status != 400 {
			t.Error(mask, a.Status)
		}
	}
	// A private list that its owner read is not served to others from the cache.
	s.Says("Changed", "a", patch, "/whitelist/a", body{"visibility_censures": "PRIVATE"})
	s.Expect(200, "a", get, "/censures_given/a", nil)
	s.Expect(403, anon, get, "/censures_given/a", nil)
	// A path of 250 KiB is read.
	long := strings.Repeat("x.test,", 250<<10/7) + "b"
	if a := s.Request(get, base+"/censures_given/"+long+"?domains=1", h(), nil); a.Status != 200 {
		t.Error(a.Status)
	}
	// find_instance omits nulls, whitelist/{d} keeps them.
	if a := s.Do("a", get, "/find_instance", nil); strings.Contains(a.Body, "null") || a.JSON["domain"] != "a" {
		t.Error(a.Body)
	}
	if a := s.Do(anon, get, "/whitelist/a", nil); !strings.Contains(a.Body, `"sysadmins":null`) || a.JSON["email_verify"] != true {
		t.Error(a.Body)
	}
	all := s.Do(anon, get, "/all_instances", nil)
	if n := len(all.Items()); n != 8 || all.JSON["total"] != 8.0 {
		t.Error(n, all.JSON["total"])
	}
	// Reports: filters and errors.
	for _, q := range []string{"report_type=claim", "report_type=X", "report_activity=added", "page=x"} {
		s.Expect(400, anon, get, "/reports?"+q, nil)
	}
	if l := s.Do(anon, get, "/reports?page=99", nil); strings.TrimSpace(l.Body) != "[]" {
		t.Error(l.Body)
	}
	if l := s.Do(anon, get, "/reports", nil).List; len(l) != 10 {
		t.Error(len(l))
	}
	// The document names every operation of the table with its parameters.
	doc := s.Request(get, "/api/swagger.json", h(), nil)
	paths := doc.JSON["paths"].(map[string]any)
	for path, methods := range map[string]string{"/whitelist/{domain}": "get put patch delete", "/censures/{domain}": "get put patch delete", "/batch/hesitations": "post", "/find_instance": "get",
		"/approvals/{domain}": "get", "/tags": "get put delete", "/admin/flags/{domain}": "put patch delete", "/solicitations": "get post", "/instances": "get", "/faq": "get"} {
		for m := range strings.FieldsSeq(methods) {
			if op, _ := paths[path].(map[string]any)[m].(map[string]any); op == nil || op["operationId"] == "" {
				t.Errorf("%s %s is not described", m, path)
			}
		}
	}
}

// Worked example 13 over HTTP, tags, badges, FAQ.
func TestSmallRoutes(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Claim("a", "b")
	s.Guarantee(root, "a", "b")
	if a := s.Do(anon, get, "/instances", nil); len(a.Items()) != 2 || a.Items()[0]["activity_suspicion"] != 33.333333333333336 || a.Items()[1]["active_users_suspicion"] != 600.0 || a.JSON["total"] != nil {
		t.Error(a.Body)
	}
	if a := s.Do(anon, get, "/instances?activity_suspicion=19&csv=1", nil); a.JSON["csv"] != "bots.test,silent.test,quiet.test" {
		t.Error(a.Body)
	}
	s.Expect(400, anon, get, "/instances?activity_suspicion=1.5", nil)

	s.Says("Changed", "a", put, "/tags", body{"tags_csv": "Deutsch, art,, "})
	s.Says("OK", "a", put, "/tags", body{"tags_csv": "DEUTSCH,Art"})
	s.Expect(400, "a", put, "/tags", body{"tags_csv": "x,X"})
	s.Expect(400, "a", put, "/tags", body{"tags_csv": "x"})
	s.Expect(400, "a", put, "/tags", body{"tags_csv": strings.Repeat("x", 101)})
	s.Expect(403, "wrongkey", put, "/tags", body{"tags_csv": "xx"})
	s.Expect(401, fediversetest.EmptyKey, put, "/tags", body{"tags_csv": "xx"})
	s.Expect(400, anon, put, "/tags", body{"tags_csv": "xx"})
	s.Says("Changed", "b", put, "/tags", body{"tags_csv": "deutsch"})
	if a := s.Do(anon, get, "/tags", nil); strings.TrimSpace(a.Body) != `[{"tag":"deutsch","count":2},{"tag":"art","count":1}]` {
		t.Error(a.Body)
	}
	if a := s.Do(anon, get, "/whitelist?domains=1&tags_csv=ART,x", nil); a.Domains() != "a" || a.JSON["total"] != 1.0 {
		t.Error(a.Body)
	}
	var many []string
	for i := range 98 {
		many = append(many, fmt.Sprint("t", i))
	}
	s.Says("Changed", "a", put, "/tags", body{"tags_csv": strings.Join(many, ",")})
	s.Expect(400, "a", put, "/tags", body{"tags_csv": "one more"})
	s.Says("Changed", "a", del, "/tags", body{"tags_csv": "ART, none"})
	s.Says("OK", "a", del, "/tags", body{"tags_csv": "none"})

	for path, want := range map[string]string{"/badges/guarantees/A.svg": ">fediseer.com<", "/badges/guarantees/none.svg": ">None<", "/badges/endorsements/a.svg?style=ICON": `width="41.0"`, "/badges/endorsements/%3Cx%3E.svg": ">0<"} {
		a := s.Do(anon, get, path, nil)
		if a.Status != 200 || a.Header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(a.Body, want) {
			t.Error(path, a.Status, a.Body)
		}
	}
	s.Expect(400, anon, get, "/badges/endorsements/a.svg?style=BIG", nil)
	s.Expect(404, anon, get, "/badges/endorsements/a.png", nil)
	if l := s.Do(anon, get, "/faq?lang=ell", nil).List; len(l) != 15 {
		t.Error(len(l))
	}
	s.Expect(400, anon, get, "/faq?lang=xxx", nil)
	s.Expect(400, anon, get, "/faq?category=xxx", nil)
	for _, q := range []string{"limit=9", "limit=101", "page=x", "endorsements=x"} {
		s.Expect(400, anon, get, "/whitelist?"+q, nil)
	}
	if a := s.Do(anon, get, "/whitelist?guarantors=2&domains=1", nil); a.Domains() != "" || a.JSON["total"] != 0.0 {
		t.Error(a.Body)
	}
}

// Domains in every disguise: a clear refusal, or the one name that is meant; nothing else is stored.
func TestDisguisedDomains(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Claim("a")
	s.Guarantee(root, "a")
	for _, d := range []string{"127.0.0.1", "2130706433", "0x7f.1", "%5B::1%5D", "localhost", "a:80", "https%3A%2F%2Fa", "u@a", "a%20b", "a_b", "-a", "%00", "..", "%2e", "*", strings.Repeat("x", 70)} {
		if a := s.Do("a", put, "/censures/"+d, body{}); a.Status != 400 && a.Status != 404 && a.Status != 301 && a.Status != 307 {
			t.Errorf("%s: %d %s", d, a.Status, a.Body)
		}
	}
	s.Says("Changed", "a", put, "/censures/EVIL.Test.", body{})
	s.Says("OK", "a", put, "/censures/evil.test", body{})
	s.Says("Changed", "a", put, "/censures/b%C3%BCcher.test", body{})
	s.Says("OK", "a", put, "/censures/xn--bcher-kva.test", body{})
	s.Says("Changed", "a", put, "/censures/%D0%B0pple.test", body{}) // Cyrillic a: not apple.test
	s.Expect(400, "a", put, "/censures/A.", body{})                  // oneself
	if got := s.Do(anon, get, "/censures_given/a?domains=1", nil).Domains(); got != "evil.test xn--bcher-kva.test xn--pple-43d.test" {
		t.Error(got)
	}
}

// Hostile answers, the ways in which software differs, and the cases of the field.
func TestProbes(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Claim("a")
	s.Guarantee(root, "a")
	yes, no := true, false
	send := func(status int, contentType, text string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
			return true
		}
	}
	redirect := func(to string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, to, http.StatusMovedPermanently)
			return true
		}
	}
	documents := func(info string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			switch r.URL.Path {
			case "/.well-known/nodeinfo":
				_, _ = io.WriteString(w, `{"links":[{"rel":"x","href":"/other"},{"rel":"http://nodeinfo.diaspora.software/ns/schema/2.0","href":"/n"}]}`)
			case "/n":
				_, _ = io.WriteString(w, info)
			default:
				return false
			}
			return true
		}
	}
	hostile := map[string]fediversetest.Host{
		"redirects.test": {Handle: redirect("https://127.0.0.1/")},
		"strange.test":   {Handle: redirect("https://casino.example/")},
		"plain.test":     {Handle: redirect("http://plain.test/x")},
		"loop.test":      {Handle: redirect("https://loop.test/")},
		"inside.test":    {Handle: redirect("https://secret.inside.test/")},
		"private.test":   {Addr: netip.MustParseAddr("10.0.0.1")},
		"huge.test":      {Handle: send(200, "application/json", `{"links":"`+strings.Repeat("x", 10<<20)+`"}`)},
		"html.test":      {Handle: send(200, "text/html", "<html>")},
		"types.test":     {Handle: documents(`{"software":{"name":7}}`)},
		"open.test":      {Handle: documents(`{"software":{"name":"x"},"openRegistrations":"yes"}`)},
		"list.test":      {Handle: documents(`[]`)},
		"broken.test": {Software: "lemmy", Handle: func(w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == "/api/v3/site" && send(200, "", "{}")(w, r)
		}},
		"nosite.test": {Software: "mastodon"}, // no approval_required
	}
	for d, h := range hostile {
		h.Domain = d
		s.Net.Add(h)
	}
	s.Net.Add(fediversetest.Host{Domain: "secret.inside.test", Addr: netip.MustParseAddr("192.168.0.1")})
	for d := range hostile {
		if a := s.Do(anon, get, "/whitelist/"+d, nil); a.Status != 400 || !strings.Contains(a.Message(), "could not be examined") {
			t.Errorf("%s: %d %s", d, a.Status, a.Body)
		}
		s.Expect(400, "a", put, "/guarantees/"+d, nil)
		s.Expect(404, anon, get, "/censures/"+d, nil) // nothing was stored
		s.Says("Changed", "a", put, "/censures/"+d, body{})
		if got := len(log(s, "?source_domains_csv=a")); got > 10 {
			t.Error(got)
		}
		s.Says("Changed", "a", del, "/censures/"+d, nil)
		wait := s.Do("a", put, "/censures/x.test", body{})
		if wait.Status == 429 { // many actions: go on as another
			d2 := "a" + strings.ReplaceAll(d, ".", "-")
			s.Claim(d2)
			s.Guarantee(root, d2)
			s.Keys["a"] = s.Keys[d2]
		}
	}
	// Dead names are registered on view, and judged.
	if a := s.Expect(200, anon, get, "/whitelist/dead.test", nil); a.JSON["software"] != "unknown" || a.JSON["state"] != "DECOMMISSIONED" {
		t.Error(a.Body)
	}
	if a := s.Expect(200, anon, get, "/whitelist/dead.test", nil); a.JSON["state"] != "DECOMMISSIONED" {
		t.Error("seen again, it lives:", a.Body)
	}
	s.Net.Add(fediversetest.Host{Domain: "mute.test"}) // resolves, no nodeinfo
	if a := s.Expect(200, anon, get, "/whitelist/mute.test", nil); a.JSON["software"] != "unknown" || a.JSON["state"] != "UP" {
		t.Error(a.Body)
	}
	// The kinds of software.
	s.Net.Add(
		fediversetest.Host{Domain: "lemmy.test", Software: "lemmy", Mode: "RequireApplication", Captcha: true, Admins: []string{"x"}},
		fediversetest.Host{Domain: "openlemmy.test", Software: "lemmy", Mode: "Open", Admins: []string{"x"}},
		fediversetest.Host{Domain: "piefed.test", Software: "PieFed", Version: "1.1", Admins: []string{"x"}, Handle: nil},
		fediversetest.Host{Domain: "mastodon.test", Software: "mastodon", Version: "4.3", Approval: &yes, Open: &yes, Admins: []string{"x"}},
		fediversetest.Host{Domain: "sharkey.test", Software: "sharkey", Approval: &no, Open: &no, Admins: []string{"x"}},
		fediversetest.Host{Domain: "pleroma.test", Software: "pleroma", Approval: &no, Open: &yes, Admins: []string{"x"}},
		fediversetest.Host{Domain: "misskey.test", Software: "misskey", Admins: []string{"x"}},
		fediversetest.Host{Domain: "mbin.test", Software: "mbin", Open: &yes, Admins: []string{"x"}},
		fediversetest.Host{Domain: "gotosocial.test", Software: "gotosocial", Approval: &yes, Open: nil, Admins: []string{"x"}},
		fediversetest.Host{Domain: "new.test", Software: "brandnew", Admins: []string{"x"}}, // case B107: openRegistrations is null
	)
	for d, want := range map[string]string{
		"lemmy.test": "lemmy false true true true", "openlemmy.test": "lemmy true false true false", "mastodon.test": "mastodon true true <nil> <nil>", "sharkey.test": "sharkey false false <nil> false",
		"pleroma.test": "pleroma true false <nil> <nil>", "misskey.test": "misskey false <nil> <nil> <nil>", "mbin.test": "mbin true <nil> <nil> <nil>",
		"gotosocial.test": "gotosocial <nil> true <nil> <nil>", "new.test": "brandnew <nil> <nil> <nil> <nil>",
	} {
		a := s.Expect(200, anon, get, "/whitelist/"+d, nil)
		if got := fmt.Sprint(a.JSON["software"], " ", a.JSON["open_registrations"], " ", a.JSON["approval_required"], " ", a.JSON["email_verify"], " ", a.JSON["has_captcha"]); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
		s.Expect(403, anon, put, "/whitelist/"+d, body{"admin": "stranger"})
		s.Expect(200, anon, put, "/whitelist/"+d, body{"admin": "x"})
		key := s.LastKey(d, "x")
		s.Expect(200, key, get, "/find_instance", nil)
		msg := s.Net.Messages(d, "x")[0]
		kind := "Note"
		if strings.HasPrefix(want, "lemmy") {
			kind = "ChatMessage"
		} else if !strings.Contains(msg.Content, "@x@"+d) {
			t.Errorf("%s is not mentioned in %s", d, msg.Content)
		}
		if msg.Type != kind || !strings.HasSuffix(msg.Path, "/x/inbox") {
			t.Errorf("%s: %+v", d, msg)
		}
	}
	if bad := s.Net.Bad(); bad != nil {
		t.Error(bad)
	}
	// Without WebFinger the usual addresses are tried.
	s.Net.Change("new.test", func(h *fediversetest.Host) { h.NoWebfinger, h.Admins = true, []string{"y"} })
	s.Expect(200, anon, put, "/whitelist/new.test", body{"admin": "y"})
	if m := s.Net.Messages("new.test", "y"); len(m) != 1 || m[0].Path != "/inbox" {
		t.Errorf("%+v", m)
	}
}

// Cases B103 and B109, and the updater.
func TestUpdaterAndDeadInstances(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Claim("a.test", "b.test", "c.test", "d.test")
	s.Guarantee(root, "a.test", "b.test")
	s.Says("Changed", "a.test", put, "/censures/*.x.test", body{})
	s.Says("Changed", "c.test", post, "/solicitations", body{})
	s.Says("Changed", "d.test", post, "/solicitations", body{})
	state := func(d string) string {
		return fmt.Sprint(s.Do(anon, get, "/censures_given/a.test", nil).Status, " ", stateOf(s, d))
	}
	s.Net.Change("c.test", func(h *fediversetest.Host) {
		h.Handle = func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://parked.example/"+r.URL.Path, http.StatusMovedPermanently)
			return true
		}
	})
	s.Net.Change("b.test", func(h *fediversetest.Host) { h.Software = "" })
	s.Net.Remove("d.test")
	s.Net.Change("a.test", func(h *fediversetest.Host) { h.Version = "0.19.9" })
	for range 3 {
		if err := s.Update(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := state("a.test") + state("b.test") + state("c.test") + state("d.test"); got != "200 UP200 OFFLINE200 OFFLINE200 DECOMMISSIONED" {
		t.Error(got)
	}
	if got := s.Do(anon, get, "/solicitations?domains=1", nil).Domains(); got != "" {
		t.Errorf("the dead solicit: %s", got)
	}
	// What is down keeps what is known about it, and a view does not revive it.
	if a := s.Expect(200, anon, get, "/whitelist/b.test", nil); a.JSON["software"] != "lemmy" || a.JSON["state"] != "OFFLINE" {
		t.Error(a.Body)
	}
	s.Says("Changed", "a.test", del, "/guarantees/b.test", nil) // although no notice can reach it
	s.Net.Change("b.test", func(h *fediversetest.Host) { h.Software = "lemmy" })
	if a := s.Expect(200, anon, get, "/whitelist/b.test", nil); a.JSON["state"] != "UP" {
		t.Error(a.Body)
	}
	if a := s.Do(anon, get, "/censures_given/a.test", nil).Items()[0]; a["software"] != "wildcard" || a["state"] != "UP" {
		t.Error(a)
	}
}

func stateOf(s *fediversetest.Service, d string) any {
	for _, x := range s.Do(anon, get, "/whitelist?guarantors=0", nil).Items() {
		if x["domain"] == d {
			return x["state"]
		}
	}
	return nil
}

// Case B101: a key that got lost can be had again, by time or by proof, and the answer tells about the delivery.
func TestLostKeys(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Net.Add(fediversetest.Host{Domain: "deaf.test", Software: "friendica", Approval: new(bool), Admins: []string{"boss"}, InboxStatus: 404})
	a := s.Expect(400, anon, put, "/whitelist/deaf.test", body{"admin": "boss"})
	if !strings.Contains(a.Message(), "not delivered") || !strings.Contains(a.Message(), "404") || !strings.Contains(a.Message(), "proof") {
		t.Error(a.Message())
	}
	s.Net.Change("deaf.test", func(h *fediversetest.Host) { h.InboxStatus = 202 })
	// The proof: somebody who read the published value cannot use it, nor can it be used for another admin.
	p := s.Expect(200, anon, post, "/whitelist/deaf.test/proof", body{"admin": "boss"})
	secret, value := p.JSON["secret"].(string), p.JSON["value"].(string)
	if value != fediseer.ProofValue("deaf.test", "boss", secret) || p.JSON["dns"].(map[string]any)["name"] != "_fediseer.deaf.test" {
		t.Error(p.Body)
	}
	claim := func(status int, admin, how, secret string) fediversetest.Answer {
		t.Helper()
		return s.Expect(status, anon, put, "/whitelist/deaf.test", body{"admin": admin, "proof": how, "secret": secret})
	}
	claim(400, "boss", "dns", secret)
	claim(400, "boss", "well-known", secret)
	claim(400, "boss", "pigeon", secret)
	s.Net.Change("deaf.test", func(h *fediversetest.Host) {
		h.Handle = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/.well-known/fediseer" {
				return false
			}
			_, _ = io.WriteString(w, "# ours\n"+value+"\n")
			return true
		}
	})
	claim(400, "mallory", "well-known", secret)
	claim(400, "boss", "well-known", strings.Repeat("m", 22))
	claim(400, "boss", "well-known", "short")
	got := claim(200, "boss", "well-known", secret)
	key, _ := got.JSON["new_key"].(string)
	if got.JSON["delivered"] != false || len(key) != 22 {
		t.Fatal(got.Body)
	}
	s.Expect(200, key, get, "/find_instance", nil)
	again := claim(200, "boss", "well-known", secret).JSON["new_key"].(string)
	s.Expect(404, key, get, "/find_instance", nil)
	s.Expect(200, again, get, "/find_instance", nil)
	s.Expect(403, anon, put, "/whitelist/deaf.test", body{"admin": "boss"})
}

// ActivityPub and the other documents of an actor.
func TestActor(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	h := func(kv ...string) http.Header {
		out := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			out.Set(kv[i], kv[i+1])
		}
		return out
	}
	for path, status := range map[string]int{"/.well-known/webfinger": 400, "/.well-known/webfinger?resource=acct:other@fediseer.com": 404, "/.well-known/webfinger?resource=acct:fediseer@fediseer.com": 200,
		"/.well-known/webfinger?resource=acct%3Afediseer%40fediseer.com": 200, "/api/v1/user/fediseer": 200, "/api/v1/user/other": 404, "/api/v1/outbox/fediseer": 200, "/.well-known/nodeinfo": 200, "/nodeinfo/2.0": 200,
		"/": 200, "/faq": 200, "/faq/": 200, "/faq/deu": 200, "/faq/xxx": 302} {
		if a := s.Request(get, path, h(), nil); a.Status != status {
			t.Error(path, a.Status)
		}
	}
	if a := s.Request(get, "/faq/eng", h(), nil); !strings.Contains(a.Body, `id="what-is-a-guarantee"`) {
		t.Error("no anchor in", a.Body)
	}
	actor := s.Request(get, "/api/v1/user/fediseer", h(), nil)
	pub := actor.JSON["publicKey"].(map[string]any)
	if actor.Header.Get("Content-Type") != message.ActivityType || pub["id"] != s.URL()+"/api/v1/user/fediseer#main-key" {
		t.Error(actor.Header, actor.Body)
	}
	if _, err := message.ParsePublicPEM(pub["publicKeyPem"].(string)); err != nil {
		t.Error(err)
	}
	// The inbox: unsigned is dropped politely, badly signed and replayed is refused.
	s.Net.Add(fediversetest.Host{Domain: "peer.test", Software: "x"})
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := message.PublicPEM(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	s.Net.Change("peer.test", func(h *fediversetest.Host) {
		h.Handle = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/users/x" {
				return false
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"id": "https://peer.test/users/x", "publicKey": map[string]string{"id": "https://peer.test/users/x#main-key", "owner": "https://peer.test/users/x", "publicKeyPem": pem}})
			return true
		}
	})
	const inbox = "/api/v1/inbox/fediseer"
	if a := s.Request(post, inbox, h(), `{"actor":"https://peer.test/users/x","object":{"content":"hi"}}`); a.Status != 200 || a.Message() != "delivered" {
		t.Error(a.Status, a.Body)
	}
	if a := s.Request(post, "/inbox", h(), `{"actor":"x"}`); a.Status != 200 || strings.TrimSpace(a.Body) != "ok" {
		t.Error(a.Status, a.Body)
	}
	for _, bad := range []string{`{}`, `[]`, `x`, `{"actor":7}`} {
		if a := s.Request(post, inbox, h(), bad); a.Status != 400 {
			t.Error(bad, a.Status)
		}
	}
	if a := s.Request(post, inbox, h(), `{"actor":"`+strings.Repeat("x", 2<<20)+`"}`); a.Status != 413 {
		t.Error(a.Status)
	}
	body := []byte(`{"actor":"https://peer.test/users/x","type":"Follow"}`)
	signed := func(when time.Time, keyID string) http.Header {
		req, err := http.NewRequest(post, s.URL()+inbox, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if err := message.Sign(req, body, keyID, key, when); err != nil {
			t.Fatal(err)
		}
		return req.Header
	}
	const keyID = "https://peer.test/users/x#main-key"
	good := signed(time.Now(), keyID)
	if a := s.Request(post, inbox, good, string(body)); a.Status != 200 {
		t.Error(a.Status, a.Body)
	}
	if a := s.Request(post, inbox, good, string(body)); a.Status != 401 || !strings.Contains(a.Message(), "before") {
		t.Error("a replay:", a.Status, a.Body)
	}
	if a := s.Request(post, inbox, signed(time.Now(), keyID), string(body)+" "); a.Status != 401 {
		t.Error("another body:", a.Status, a.Body)
	}
	if a := s.Request(post, inbox, signed(time.Now().Add(-13*time.Hour), keyID), string(body)); a.Status != 401 {
		t.Error("an old date:", a.Status, a.Body)
	}
	if a := s.Request(post, inbox, signed(time.Now(), "https://evil.test/users/x#main-key"), string(body)); a.Status != 401 {
		t.Error("another's key:", a.Status, a.Body)
	}
	if a := s.Request(post, "/inbox", signed(time.Now(), keyID), string(body)); a.Status != 401 {
		t.Error("another target:", a.Status, a.Body)
	}
	broken := signed(time.Now(), keyID)
	broken.Set("Signature", strings.Replace(broken.Get("Signature"), `signature="`, `signature="AAAA`, 1))
	if a := s.Request(post, inbox, broken, string(body)); a.Status != 401 {
		t.Error("a broken signature:", a.Status, a.Body)
	}
}
