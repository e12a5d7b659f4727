// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"horde/internal/horde"
	"horde/internal/supporters"
)

// patreonAnd is a server with one page of members at Patreon, and of subscriptions and products at Stripe.
func patreonAnd(away *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	for path, text := range map[string]string{
		"GET /api/oauth2/v2/campaigns/4711/members": `{"data":[
			{"type":"member","id":"1","attributes":{"patron_status":"active_patron","full_name":"Large","currently_entitled_amount_cents":10000,
				"note":"{\"stable_id\":\"x#1\",\"sponsor_link\":\"https://large.example/\"}"}},
			{"type":"member","id":"2","attributes":{"patron_status":"active_patron","full_name":"Some Body","currently_entitled_amount_cents":700,
				"note":"{\"stable_id\":\"2\",\"alias\":\"small <b>\"}"}}],"meta":{"pagination":{"total":2,"cursors":{"next":null}}}}`,
		"GET /v1/subscriptions": `{"object":"list","data":[{"id":"sub_1","status":"active","metadata":{"horde_id":"1"},"items":{"data":[{"price":{"product":"prod_1"}}]}}],"has_more":false}`,
		"GET /v1/products":      `{"object":"list","data":[{"id":"prod_1","name":"Superior Person"}],"has_more":false}`,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if away.Load() {
				http.Error(w, "away", http.StatusBadGateway)
				return
			}
			fmt.Fprint(w, text)
		})
	}
	return mux
}

// The leader asks who supports the horde, and every node tells it. What was known last stays while the services do not answer, at the
// next leader too.
func TestEveryNodeKnowsWhoSupportsTheHorde(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	services := httptest.NewServer(patreonAnd(&away))
	defer services.Close()
	supported := func(c *Config) {
		amounts, err := supporters.ParseAmounts(strings.Split(supporters.DefaultAmounts, ","))
		if err != nil {
			t.Fatal(err)
		}
		products, err := supporters.ParseProducts([]string{supporters.DefaultProducts})
		if err != nil {
			t.Fatal(err)
		}
		p, err := supporters.NewPatreon(services.URL, "token", "4711", amounts, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s, err := supporters.NewStripe(services.URL, "key", products, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		c.Supporters = []supporters.Service{p, s}
	}
	thanks := func(r *running) bool {
		a := ask4(t, "GET", r.url+"/api/v2/documents/sponsors", "")
		return a.status == http.StatusOK && strings.Contains(a.text, `https://large.example/`) && strings.Contains(a.text, `>Large<`) &&
			strings.Contains(a.text, "small &lt;b&gt;")
	}
	c, leader, follower := leaderAndFollower(t, supported)
	register(t, leader) // the first account
	for _, r := range []*running{leader, follower} {
		await(t, "thanks", func() bool { return thanks(r) })
	}
	for _, source := range horde.SupportSources {
		await(t, string(source), func() bool { return stored(t, c, source) })
	}
	away.Store(true)
	leader.stop()
	await(t, "another leader", func() bool { return follower.status() == "leads" })
	if !thanks(follower) {
		t.Error("the next leader thanks nobody")
	}
	v, err := follower.serving().Engine.ShowUser(t.Context(), 1)
	if err != nil || v.Monthly != 1_520_000_00 {
		t.Errorf("the first account gets %v a month, %v, want 1520000", v.Monthly, err)
	}
	// Without tokens they are forgotten.
	follower.stop()
	last := serveMember(t, c)
	await(t, "a leader without tokens", func() bool { return last.status() == "leads" })
	await(t, "that they are forgotten", func() bool {
		a := ask4(t, "GET", last.url+"/api/v2/documents/sponsors", "")
		return a.status == http.StatusOK && !strings.Contains(a.text, "large.example") && !stored(t, c, horde.SourceStripe)
	})
}

// stored tells whether the record names somebody who supports the horde at a source.
func stored(t *testing.T, c *common, source horde.SupportSource) bool {
	t.Helper()
	state, err := c.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range state.Documents {
		if d.Kind == "supporters" && d.ID == string(source) {
			return strings.Contains(string(d.Data), `"user"`)
		}
	}
	return false
}
