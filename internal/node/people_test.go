// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"horde/internal/api"
	"horde/internal/proofofwork"
	"horde/internal/web"
)

// TestPeopleMayComeToAnyNode registers and logs in at a node that does not lead, whose riddles and sessions are the leader's.
func TestPeopleMayComeToAnyNode(t *testing.T) {
	t.Parallel()
	_, leader, follower := leaderAndFollower(t, func(c *Config) {
		c.Pages = func(n *Node, r *api.Router) {
			web.Mount(web.Site{Title: n.Title, Version: n.Version, Accounts: n.Engine, Board: n.Board, SignUpWork: 8, Log: n.Log}, r)
		}
	})
	asJSON := []string{"Accept", "application/json", "Content-Type", "application/x-www-form-urlencoded"}
	var riddle struct {
		Challenge string
		Bits      int
	}
	if a := ask4(t, http.MethodGet, follower.url+"/register", "", asJSON...); json.Unmarshal([]byte(a.text), &riddle) != nil || riddle.Bits != 8 {
		t.Fatalf("the riddle: %d %s", a.status, a.text)
	}
	work, _ := proofofwork.Solve(riddle.Challenge, riddle.Bits, nil)
	form := url.Values{"username": {"Ada"}, "challenge": {riddle.Challenge}, "work": {work}}.Encode()
	var made struct {
		APIKey string `json:"api_key"`
	}
	if a := ask4(t, http.MethodPost, follower.url+"/register", form, asJSON...); json.Unmarshal([]byte(a.text), &made) != nil || len(made.APIKey) != 22 {
		t.Fatalf("registering: %d %s", a.status, a.text)
	}
	if a := ask4(t, http.MethodPost, leader.url+"/register", form, asJSON...); a.status != http.StatusBadRequest {
		t.Errorf("the same answer at another node: %d %s", a.status, a.text)
	}

	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.PostForm(follower.url+"/login", url.Values{"key": {made.APIKey}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusSeeOther || len(res.Cookies()) != 1 {
		t.Fatalf("logging in: %d %v", res.StatusCode, res.Cookies())
	}
	for name, at := range map[string]*running{"leader": leader, "follower": follower} {
		cookie := res.Cookies()[0]
		if a := ask4(t, http.MethodGet, at.url+"/profile", "", "Cookie", cookie.Name+"="+cookie.Value); !strings.Contains(a.text, "<h1>Ada#1</h1>") {
			t.Errorf("the profile at the %s: %d %s", name, a.status, a.text)
		}
		for _, path := range []string{"/", "/terms", "/.well-known/serviceinfo"} {
			if a := ask4(t, http.MethodGet, at.url+path, ""); a.status != http.StatusOK {
				t.Errorf("%s at the %s: %d", path, name, a.status)
			}
		}
	}
}
