// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"horde/internal/api"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/web"
)

// Whatever a node serves beside the API, its pages and forms, images and documents, is called as the operations are.

var routeArgument = regexp.MustCompile(`\{[^}]*\}`)

func TestHostileCallsOfPages(t *testing.T) {
	t.Parallel()
	var router *api.Router
	s := open(t, func(c *node.Config) {
		c.Pages = func(n *node.Node, r *api.Router) {
			router = r
			web.Mount(web.Site{Title: "Horde", Version: "test", PublicURL: "https://horde.example", Accounts: n.Engine, Board: n.Board, Log: n.Log}, r)
		}
	})
	u := s.user(100, horde.Moderator)
	calls := 0
	call := func(why, method, path string, body string, h http.Header) {
		t.Helper()
		calls++
		req := httptest.NewRequest(method, "/", strings.NewReader(body))
		to, err := req.URL.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		req.URL = to
		req.Header.Set("Accept", "text/html")
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		maps.Copy(req.Header, h)
		a := s.bare(req)
		at := fmt.Sprintf("%s %.200s, %.80s", method, path, why)
		switch {
		case a.status >= 500:
			t.Errorf("%s: %d %.300s", at, a.status, a.text)
		case strings.Contains(a.text, "<script>alert"), strings.Contains(a.text, "<img src=evil"):
			t.Errorf("%s: what was sent is a part of the page: %d", at, a.status)
		case strings.Contains(a.text, u.key):
			t.Errorf("%s: a key is shown", at)
		case a.header.Get("X-Injected") != "":
			t.Errorf("%s: a header was injected", at)
		}
		if location := a.header.Get("Location"); location != "" && !strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//") {
			t.Errorf("%s: leads to %q", at, location)
		}
	}
	for i, route := range router.Routes("") {
		if strings.HasPrefix(route.Path, "/api/v2/") || raced && i%5 != 0 {
			continue
		}
		plain := routeArgument.ReplaceAllString(strings.TrimSuffix(route.Path, "{$}"), "register")
		if routeArgument.MatchString(route.Path) || strings.HasSuffix(route.Path, "/") {
			for _, segment := range hostileSegments {
				path := routeArgument.ReplaceAllLiteralString(strings.TrimSuffix(route.Path, "{$}"), segment)
				if strings.HasSuffix(route.Path, "/") {
					path = route.Path + segment
				}
				call("a segment", route.Method, path, "", nil)
			}
		}
		for _, q := range []string{"a=%zz", "%ff=%ff", "to=<script>alert(1)</script>", "to=%22%3E%3Cimg%20src=evil%3E", "state=x&code=y", "error=access_denied", "next=https://evil.example", "to=//evil.example", strings.Repeat("a=1&", 20_000), "username=%00&amount=-1"} {
			call(q, route.Method, plain+"?"+strings.ReplaceAll(strings.ReplaceAll(q, "<", "%3C"), ">", "%3E"), "", nil)
		}
		for _, h := range hostileHeaders() {
			call(fmt.Sprint(h), route.Method, plain, "username=somebody", h)
		}
		if route.Method != http.MethodPost {
			continue
		}
		for _, field := range []string{"username", "amount", "src_api_key", "key", "do", "sure", "contact", "public_workers", "form_token", "challenge", "work", "prompt", "regex", "id", "ipaddr"} {
			for _, value := range append([]string{`<script>alert(1)</script>`, `"><img src=evil>`, "{{.}}", "{{7*7}}", u.key, horde.AnonymousKey}, hostileValues...) {
				form := url.Values{"username": {"x#1"}, "amount": {"1"}, "src_api_key": {horde.AnonymousKey}, "key": {horde.AnonymousKey}, "do": {"settings"}}
				form.Set(field, value)
				if value == u.key && field != "src_api_key" {
					continue // it opens the account, as it should
				}
				call(field+" = "+value, route.Method, plain, form.Encode(), nil)
			}
		}
		for why, body := range map[string]string{
			"no form": "{", "a bad escape": "username=%zz", "many fields": strings.Repeat("a=1&", 4000), "too many": strings.Repeat("username=a&", 4000), "a megabyte": "username=" + strings.Repeat("a", 1<<20), "semicolons": "username=a;amount=1", "NULs": "\x00\x00", "no UTF-8": "username=\xff\xfe",
		} {
			call(why, route.Method, plain, body, nil)
		}
		for _, ct := range append([]string{"application/json", "multipart/form-data; boundary=x"}, hostileContentTypes...) {
			call(ct, route.Method, plain, "username=somebody", http.Header{"Content-Type": {ct}})
		}
	}
	t.Logf("%d hostile calls of pages", calls)
	if calls < 2000 && !raced {
		t.Error("too few calls were made")
	}
	s.shows(s.get(u.path(), u), fields{"moderator": true, "kudos": 100})
	s.away(time.Millisecond)
}
