// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"horde/internal/node"
)

// TestClientsOfEarlierInterfaces goes through what is still called of earlier interfaces, row by row (clients chapter, section 8).
func TestClientsOfEarlierInterfaces(t *testing.T) {
	t.Parallel()
	s := open(t)
	id := s.image(anonymous, `{"prompt":"x"}`)
	const json = "application/json"
	for _, c := range []struct {
		name, method, path string
		status             int
		kind               string
		names              string // what the message names
	}{
		{"the document", "GET", "/api/swagger.json", 200, json, ""},
		{"the document in another form", "GET", "/api/swagger.yaml", 404, json, ""},
		{"the prefix", "GET", "/api/v2", 404, json, ""},
		{"the prefix with a slash", "GET", "/api/v2/", 404, json, ""},
		{"a slash at the end", "GET", "/api/v2/status/models/", 200, json, ""},
		{"a slash at the end of a POST", "POST", "/api/v2/generate/async/", 202, json, ""},
		{"two slashes", "GET", "//api/v2/status/models", 200, json, ""},
		{"two slashes of a POST", "POST", "//api/v2/generate/async", 202, json, ""},
		{"version 1, synchronous", "POST", "/api/v1/generate/sync", 404, json, "/api/v2/generate/async"},
		{"version 1", "POST", "/api/v1/generate/async", 404, json, "/api/v2/generate/async"},
		{"servers of version 1", "GET", "/api/v1/servers", 404, json, ""},
		{"the latest version", "POST", "/api/latest/generate/sync", 404, json, "/api/v2/generate/async"},
		{"anything of the latest version", "GET", "/api/latest/status/models", 404, json, ""},
		{"synchronous", "POST", "/api/v2/generate/sync", 404, json, "/api/v2/generate/async"},
		{"servers", "GET", "/api/v2/servers", 404, json, ""},
		{"many at once", "POST", "/api/v2/generate/pop_multi", 404, json, ""},
		{"what the horde of texts had", "POST", "/api/v2/kudos/kai/1", 404, json, ""},
		{"HEAD", "HEAD", "/api/v2/generate/check/" + id, 200, json, ""},
		{"HEAD of what is not there", "HEAD", "/api/v2/servers", 404, json, ""},
		{"OPTIONS", "OPTIONS", "/api/v2/generate/check/" + id, 200, "", ""},
		{"OPTIONS of what is not there", "OPTIONS", "/api/v2/servers", 404, json, ""},
		{"OPTIONS of an old version", "OPTIONS", "/api/v1/generate/async", 404, json, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			var body any
			if c.method == "POST" {
				body = `{"prompt":"x","dry_run":false,"api_key":"0000000000"}`
			}
			a := s.bare(s.request(c.method, c.path, anonymous, body, header{"Origin", "https://tinybots.net"}))
			if a.status != c.status || c.kind != "" && !strings.HasPrefix(a.header.Get("Content-Type"), c.kind) {
				t.Fatalf("got %d %q %.300s, want %d %q", a.status, a.header.Get("Content-Type"), a.text, c.status, c.kind)
			}
			if a.header.Get("Location") != "" {
				t.Errorf("it is sent to %s", a.header.Get("Location"))
			}
			if strings.HasPrefix(c.path, "/api/v") && a.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("a page of another origin does not see it: %v", a.header)
			}
			if c.status == 404 && c.kind == json && c.method != "HEAD" && (a.str("message") == "" || !strings.Contains(a.str("message"), c.names)) {
				t.Errorf("the message is %q, want one that names %q", a.str("message"), c.names)
			}
			if c.method == "OPTIONS" && c.status == 200 && (a.text != "" || a.header.Get("Allow") == "") {
				t.Errorf("got %q, Allow %q", a.text, a.header.Get("Allow"))
			}
		})
	}
}

// TestClientsSendDeadFields has fields that mean nothing any more, or never did here.
func TestClientsSendDeadFields(t *testing.T) {
	t.Parallel()
	s := open(t)
	owner := s.user(0, 0)
	dead := fields{"use_gfpgan": true, "use_real_esrgan": true, "use_ldsr": "x", "use_upscaling": 1, "toggles": []int{1, 4}, "batch_size": 9,
		"payload": fields{"prompt": 5}, "servers": []string{"x"}, "bridge_version": 8, "allow_unsafe_ip": false, "api_key": "0000000000"}
	s.want(s.call("POST", "/generate/async", anonymous, fields{"prompt": "x", "params": dead}.with(dead)), http.StatusAccepted)
	s.want(s.call("POST", "/generate/text/async", anonymous, fields{"prompt": "x", "params": dead}.with(dead)), http.StatusAccepted)
	s.want(s.call("POST", "/interrogate/async", anonymous, fields{"source_image": small, "forms": []fields{{"name": "caption"}}}.with(dead)), http.StatusAccepted)
	job := s.popImage(owner, "dreamer", fields{"models": []string{"stable_diffusion"}}.with(dead))
	s.job(job)
	s.want(s.call("POST", "/generate/submit", owner, fields{"id": job.str("id"), "generation": "R2", "seed": 1, "state": "faulted"}.with(dead)), http.StatusOK)
	s.popText(owner, "scribe", dead)
}

// TestClientsReadDeprecatedFields has what is documented as deprecated, and read by programs in use.
func TestClientsReadDeprecatedFields(t *testing.T) {
	t.Parallel()
	s := open(t)
	asker, owner := s.user(100, 0), s.user(0, 0)
	s.image(asker, fields{"prompt": "x", "models": []string{"Deliberate"}})
	job := s.popImage(owner, "dreamer", nil)
	if job.str("id") != job.strings("ids")[0] || job.str("r2_upload") != job.strings("r2_uploads")[0] {
		t.Errorf("the first job is not named by itself: %s", job.text)
	}
	s.deliver(owner, job)
	user := s.get("/find_user", asker)
	for _, name := range []string{"usage", "contributions"} {
		if _, ok := user.at(name).(document); !ok {
			t.Errorf("a user has no %s: %s", name, user.text)
		}
	}
	if _, ok := s.get("/workers/name/dreamer", account{}).at("megapixelsteps_generated").(float64); !ok {
		t.Error("a worker has no megapixelsteps_generated")
	}
}

// TestClientsExample1And2 are the preflight of a browser, as often as a page with many requests sends it, and a refusal that a page
// of another origin can read.
func TestClientsExample1And2(t *testing.T) {
	t.Parallel()
	example(t, "clients", 1, 2)
	s := open(t, func(c *node.Config) { c.NoRateLimit = false })
	preflight := func(path, method string) answer {
		return s.bare(s.request("OPTIONS", path, account{}, nil, header{"Origin", "https://tinybots.net"},
			header{"Access-Control-Request-Method", method}, header{"Access-Control-Request-Headers", "apikey,client-agent,content-type"}))
	}
	start := time.Now()
	for range 100 {
		a := preflight("/api/v2/generate/async", "POST")
		if a.status != http.StatusOK || a.text != "" || a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Fatalf("got %d %q %v", a.status, a.text, a.header)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("a hundred preflights took %v", took)
	}
	if a := preflight("/api/v2/sharedkeys/6b073eda-be85-4407-ad8b-eb4c9c5b5c6b", "PATCH"); a.status != http.StatusOK ||
		!strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "PATCH") {
		t.Errorf("PATCH: %d %v", a.status, a.header)
	}
	a := s.bare(s.request("POST", "/api/v2/generate/async", account{key: "of nobody"}, `{"prompt":"x"}`, header{"Origin", "https://tinybots.net"}))
	if a.status != http.StatusUnauthorized || a.rc() != "InvalidAPIKey" || a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("got %d %s %v", a.status, a.text, a.header)
	}
}

// TestClientsExample13 polls as two programs do that give up at the first 429: every 1.5 seconds for 40, and 75 times a minute.
func TestClientsExample13(t *testing.T) {
	t.Parallel()
	example(t, "clients", 13)
	inBubble(t, func(t *testing.T, s *server) {
		id := s.text(anonymous, `{"prompt":"x"}`)
		for _, c := range []struct {
			polls int
			pause time.Duration
		}{{27, 1500 * time.Millisecond}, {90, 800 * time.Millisecond}} {
			for n := range c.polls {
				if a := s.get("/generate/text/status/"+id, account{}); a.status != http.StatusOK {
					t.Fatalf("poll %d every %v: %d %s", n, c.pause, a.status, a.text)
				}
				time.Sleep(c.pause)
			}
		}
	}, func(c *node.Config) { c.NoRateLimit = false })
}
