// SPDX-License-Identifier: AGPL-3.0-or-later

package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"horde/internal/fediseer/fediversetest"
	"horde/internal/fediseer/server"
)

// The Python client library, unchanged: every method. What it cannot do against any server (its log-in posts where the
// API wants GET; it claims and resets without a body) it cannot do here either, and says None.
func TestPythonseer(t *testing.T) {
	t.Parallel()
	python := fediversetest.Python(t, "python")
	s := fediversetest.Start(t, func(c *server.Config) { c.RateLimits = true })
	s.Claim("a", "b")
	s.Guarantee(root, "a")
	cmd := exec.Command(python, "testdata/pythonseer_calls.py", s.URL(), s.Keys["a"], s.Keys["b"])
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, stderr.String())
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		var pair []json.RawMessage
		if json.Unmarshal([]byte(line), &pair) != nil || len(pair) != 2 {
			continue // pythonseer prints addresses
		}
		var name string
		_ = json.Unmarshal(pair[0], &name)
		got[name] = string(pair[1])
	}
	changed, ok := `{"message": "Changed"}`, `{"message": "OK"}`
	for name, want := range map[string]string{
		"log_in": "false", "guarantee.create": changed, "guarantee.create again": ok, "guarantee.get_received": `{"domains": ["a"]}`, "guarantee.get_given": `{"csv": "b"}`,
		"endorsement.create": changed, "endorsement.modify": changed, "endorsement.get_given": `{"domains": ["b"], "total": 1}`, "endorsement.delete": changed,
		"censure.create": changed, "censure.modify": changed, "censure.get_given": `{"domains": ["evil.test"], "total": 1}`, "censure.get_given csv": `{"csv": "evil.test", "total": 1}`, "censure.delete": changed,
		"hesitation.create": changed, "hesitation.modify": changed, "hesitation.get_given": `{"domains": ["evil.test"], "total": 1}`, "hesitation.get_given csv": `{"csv": "evil.test", "total": 1}`, "hesitation.delete": changed,
		"censure.get_given too many": "null", "suspicions.get": `{"domains": ["bots.test", "silent.test"]}`,
		"whitelist.get": `{"domains": ["b", "a", "fediseer.com"], "total": 3}`, "whitelist.get domains": `{"domains": ["b", "a"], "total": 2}`,
		"whitelist.claim": "null", "whitelist.reset_apikey": "null", "guarantee.delete": changed, "whitelist.unclaim": changed,
	} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
	for name, want := range map[string]string{
		"guarantee.get_given full": `"guarantor": "a"`, "endorsement.get_received": `"endorsement_reasons": ["kinder"]`, "censure.get_received": `"censure_reasons": ["spam, bots"]`,
		"hesitation.get_received": `"hesitation_evidence": ["see"]`, "suspicions.get full": `"quiet.test"`, "whitelist.get_domain": `"domain": "b"`,
	} {
		if !strings.Contains(got[name], want) {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
	if t.Failed() {
		t.Log(stderr.String())
	}
}

// The key of a claim goes through the operator's account on a Mastodon-API server that others wrote.
func TestClaimThroughMastodon(t *testing.T) {
	t.Parallel()
	address := fediversetest.MastodonMock(t)
	s := fediversetest.Start(t, func(c *server.Config) {
		c.MastodonURL, c.MastodonToken = address, fediversetest.MastodonToken
	})
	yes := true
	s.Net.Add(fediversetest.Host{Domain: "m.test", Software: "mastodon", Version: "4.3.0", Admins: []string{"boss"}, Approval: &yes, InboxStatus: 500})
	s.Expect(400, anon, put, "/whitelist/m.test", body{"admin": "boss"}) // its own inbox does not take it
	a := s.Expect(200, anon, put, "/whitelist/m.test", body{"admin": "boss", "pm_proxy": "MASTODON"})
	if a.JSON["delivered"] != true || a.JSON["delivery"] != "MASTODON" {
		t.Error(a.Body)
	}
	ask := func(path string, into any) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+fediversetest.MastodonToken)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || json.Unmarshal(b, into) != nil {
			t.Fatalf("%v: %s", err, b)
		}
	}
	var me struct{ ID string }
	ask("/api/v1/accounts/verify_credentials", &me)
	var statuses []struct{ Content, Visibility string }
	ask("/api/v1/accounts/"+me.ID+"/statuses", &statuses)
	if len(statuses) != 1 || statuses[0].Visibility != "direct" || !strings.Contains(statuses[0].Content, "boss") {
		t.Fatalf("%+v", statuses)
	}
	for _, word := range regexp.MustCompile(`[A-Za-z0-9_-]{22}`).FindAllString(statuses[0].Content, -1) {
		if x := s.Do(word, get, "/find_instance", nil); x.Status == 200 && x.JSON["domain"] == "m.test" {
			// The switch of the channel is announced over the new and the old one; the old one does not work here.
			s.Expect(400, word, patch, "/whitelist/m.test", body{"pm_proxy": "NONE"})
			s.Net.Change("m.test", func(h *fediversetest.Host) { h.InboxStatus = 0 })
			s.Says("Changed", word, patch, "/whitelist/m.test", body{"pm_proxy": "NONE"})
			if msgs := s.Net.Messages("m.test", "boss"); len(msgs) != 1 || msgs[0].Type != "Note" || !strings.Contains(msgs[0].Content, "from MASTODON to NONE") {
				t.Errorf("%+v", msgs)
			}
			return
		}
	}
	t.Error("no working key in", statuses[0].Content)
}
