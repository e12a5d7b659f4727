// SPDX-License-Identifier: AGPL-3.0-or-later

package supporters_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/horde"
	"horde/internal/supporters"
)

var quiet = slog.New(slog.DiscardHandler)

func amounts(t testing.TB) supporters.Amounts {
	t.Helper()
	a, err := supporters.ParseAmounts(strings.Split(supporters.DefaultAmounts, ","))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func products(t testing.TB) supporters.Products {
	t.Helper()
	p, err := supporters.ParseProducts([]string{supporters.DefaultProducts})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The table of the accounts chapter, 12, with its worked example 19.
func TestWhatPatronsGet(t *testing.T) {
	t.Parallel()
	table := amounts(t)
	for units, want := range map[int]int64{
		0: 0, 1: 10_000, 3: 30_000, 7: 70_000, 9: 90_000, 10: 150_000, 11: 0, 12: 0, 23: 0, 24: 600_000, 25: 900_000, 26: 0,
		50: 1_500_000, 99: 0, 100: 1_500_000, 101: 0, 102: 150_000, 105: 150_000, 108: 150_000, 109: 0, 1000: 0,
	} {
		if got, _ := table.Of(units); got != horde.Kudos(want)*100 {
			t.Errorf("%d units are %v kudos, want %d", units, got, want)
		}
	}
	if _, known := table.Of(0); !known {
		t.Error("nothing given is worth a line in the log")
	}
	if _, known := table.Of(12); known {
		t.Error("12 units are in the table")
	}
	for name, want := range map[string]int64{
		"Celebrated": 1_500_000, "Sponsor": 1_500_000, "Treasured": 700_000, "Cherised": 200_000, "Recognised": 75_000,
		"Superior Person": 20_000, "Cherished": 0, "": 0,
	} {
		if got := products(t)[name]; got != horde.Kudos(want)*100 {
			t.Errorf("%s is %v kudos, want %d", name, got, want)
		}
	}
}

func TestTablesOfOthers(t *testing.T) {
	t.Parallel()
	own, err := supporters.ParseAmounts([]string{" 5 = 7 ", "1..9=2x"})
	if err != nil {
		t.Fatal(err)
	}
	for units, want := range map[int]horde.Kudos{5: 7_00, 4: 8_00, 9: 18_00, 10: 0} {
		if got, _ := own.Of(units); got != want {
			t.Errorf("%d units are %v, want %v", units, got, want)
		}
	}
	for _, bad := range []string{"", "5", "=5", "5=", "x=5", "5=-1", "9..1=5", "1..=5", "5=5y", "1..1000000=1000000x", "5=99999999999"} {
		if _, err := supporters.ParseAmounts([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if p, err := supporters.ParseProducts([]string{"a = b=5"}); err != nil || p["a = b"] != 5_00 {
		t.Errorf("got %v, %v", p, err)
	}
	for _, bad := range []string{"", "Sponsor", "=5", "Sponsor=", "Sponsor=-5", "Sponsor=5.5"} {
		if _, err := supporters.ParseProducts([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// patreon speaks as Patreon does of the members of a campaign: JSON:API, in pages with cursors.
func patreon(members []map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Header.Get("Authorization") != "Bearer creator's token" || strings.Contains(r.URL.String(), "token") {
			http.Error(w, `{"errors":[{"status":"401"}]}`, http.StatusUnauthorized)
			return
		}
		size, err := strconv.Atoi(q.Get("page[count]"))
		if err != nil || r.URL.Path != "/api/oauth2/v2/campaigns/4711/members" {
			http.NotFound(w, r)
			return
		}
		first, _ := strconv.Atoi(q.Get("page[cursor]"))
		last := min(first+size, len(members))
		var data []any
		for i, m := range members[first:last] {
			shown := map[string]any{}
			for _, name := range strings.Split(q.Get("fields[member]"), ",") {
				shown[name] = m[name]
			}
			data = append(data, map[string]any{"type": "member", "id": fmt.Sprint(first + i), "attributes": shown})
		}
		var next any
		if last < len(members) {
			next = strconv.Itoa(last)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data, "meta": map[string]any{
			"pagination": map[string]any{"cursors": map[string]any{"next": next}, "total": len(members)}}})
	}
}

func paying(cents int, note string) map[string]any {
	return map[string]any{"currently_entitled_amount_cents": cents, "full_name": "Some Body", "note": note, "patron_status": "active_patron"}
}

func with(m map[string]any, name string, value any) map[string]any { m[name] = value; return m }

func TestPatreon(t *testing.T) {
	t.Parallel()
	members := []map[string]any{
		paying(700, `{"stable_id":"somebody#7"}`),
		paying(2450, ` {"stable_id": 8, "alias": "The <Eight>", "sponsor_link": "https://eight.example/?a=1", "more": [1]} `),
		paying(10_000, `{"stable_id":"odd#name#9","sponsor_link":"javascript:alert(1)"}`),
		paying(1200, `{"stable_id":"10","alias":7,"sponsor_link":7}`),
		with(paying(500, `{"stable_id":"11"}`), "full_name", nil),
		paying(-500, `{"stable_id":"12"}`),
		// Who is left out.
		with(paying(700, `{"stable_id":"20"}`), "patron_status", "former_patron"),
		with(paying(700, `{"stable_id":"21"}`), "patron_status", "declined_patron"),
		with(paying(700, `{"stable_id":"22"}`), "patron_status", nil),
		with(paying(700, ""), "note", nil),
		paying(700, ""), paying(700, "pays in cash"), paying(700, `{"stable_id":`), paying(700, `{}`), paying(700, `[23]`), paying(700, `24`),
		paying(700, `{"stable_id":null}`), paying(700, `{"stable_id":"nobody"}`), paying(700, `{"stable_id":"Anonymous#0"}`),
		paying(700, `{"stable_id":-3}`), paying(700, `{"stable_id":2.5}`), paying(700, `{"stable_id":1e300}`), paying(700, `{"stable_id":[25]}`),
	}
	want := []horde.Supporter{
		{User: 7, Kudos: 70_000_00, Monthly: 7, Name: "Some Body"},
		{User: 8, Kudos: 600_000_00, Monthly: 24, Name: "The <Eight>", Link: "https://eight.example/?a=1"},
		{User: 9, Kudos: 1_500_000_00, Monthly: 100, Name: "Some Body"},
		{User: 10, Monthly: 12, Name: "Some Body"},
		{User: 11, Kudos: 50_000_00, Monthly: 5},
		{User: 12, Name: "Some Body"},
	}
	for i := range 240 { // three pages
		id := horde.UserID(1000 + i)
		members = append(members, paying(100, fmt.Sprintf(`{"stable_id":"x#%d"}`, id)))
		want = append(want, horde.Supporter{User: id, Kudos: 10_000_00, Monthly: 1, Name: "Some Body"})
	}
	slices.Reverse(members)
	server := httptest.NewServer(patreon(members))
	defer server.Close()
	open := func(token string) *supporters.Patreon {
		p, err := supporters.NewPatreon(server.URL, token, "4711", amounts(t), quiet)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	got, err := open("creator's token").Fetch(t.Context())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %d, %v\n%+v\nwant %+v", len(got), err, got[:min(len(got), 8)], want[:8])
	}
	if _, err := open("stolen").Fetch(t.Context()); err == nil || strings.Contains(err.Error(), "stolen") {
		t.Errorf("with another token: %v", err)
	}
	if _, err := supporters.NewPatreon(server.URL, "token", "", nil, quiet); err == nil {
		t.Error("no campaign is needed")
	}
}

// stripe speaks as Stripe does of lists: pages that begin behind an object.
func stripe(t testing.TB, lists map[string][]map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Header.Get("Authorization") != "Bearer rk_test" {
			http.Error(w, `{"error":{"type":"invalid_request_error"}}`, http.StatusUnauthorized)
			return
		}
		all, ok := lists[r.URL.Path]
		size, err := strconv.Atoi(q.Get("limit"))
		if !ok || err != nil || size > 100 {
			http.NotFound(w, r)
			return
		}
		if r.URL.Path == "/v1/subscriptions" && q.Get("status") != "active" {
			t.Errorf("asked for %v", q)
		}
		first := 0
		if after := q.Get("starting_after"); after != "" {
			first = 1 + slices.IndexFunc(all, func(m map[string]any) bool { return m["id"] == after })
		}
		last := min(first+size, len(all))
		_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "url": r.URL.Path, "data": all[first:last], "has_more": last < len(all)})
	}
}

func subscribed(id string, metadata map[string]string, products ...any) map[string]any {
	items := []any{}
	for _, p := range products {
		items = append(items, map[string]any{"object": "subscription_item", "price": map[string]any{"id": "price_1", "product": p}, "plan": map[string]any{"product": p}})
	}
	return map[string]any{
		"id": id, "object": "subscription", "status": "active", "customer": "cus_1", "metadata": metadata,
		"items": map[string]any{"object": "list", "data": items},
	}
}

func TestStripe(t *testing.T) {
	t.Parallel()
	type meta = map[string]string
	subscriptions := []map[string]any{
		subscribed("sub_1", meta{"horde_id": "somebody#7"}, "prod_t"),
		subscribed("sub_2", meta{"horde": "8"}, "prod_s"),
		subscribed("sub_3", meta{"horde_id": "9", "horde": "99"}, map[string]any{"id": "prod_x", "name": "Cherised"}),
		subscribed("sub_4", meta{"horde_id": "10"}, "prod_t", "prod_s"),
		subscribed("sub_5", meta{"horde_id": "11"}, "prod_other"),
		subscribed("sub_6", meta{"horde_id": "12"}),
		{"id": "sub_7", "status": "active", "metadata": meta{"horde_id": "13"}, "items": map[string]any{"data": []any{map[string]any{"plan": map[string]any{"product": "prod_t"}}}}},
		subscribed("sub_8", meta{"horde_id": "7"}, "prod_s"),
		// Who is left out: nobody's e-mail address says whose account it is.
		with(subscribed("sub_20", meta{}, "prod_t"), "customer", map[string]any{"id": "cus_2", "email": "owner@example.org"}),
		with(subscribed("sub_21", nil, "prod_t"), "customer_email", "owner@example.org"),
		with(subscribed("sub_22", meta{"horde_id": "20"}, "prod_t"), "status", "past_due"),
		subscribed("sub_23", meta{"horde_id": "0"}, "prod_t"), subscribed("sub_24", meta{"horde_id": "me"}, "prod_t"),
		subscribed("sub_25", meta{"alias": "21"}, "prod_t"),
	}
	want := []horde.Supporter{
		{User: 7, Kudos: 700_000_00}, {User: 7, Kudos: 20_000_00}, {User: 8, Kudos: 20_000_00}, {User: 9, Kudos: 200_000_00},
		{User: 10, Kudos: 720_000_00}, {User: 11}, {User: 12}, {User: 13, Kudos: 700_000_00},
	}
	catalogue := []map[string]any{{"id": "prod_s", "name": "Superior Person"}}
	for i := range 230 {
		id := horde.UserID(1000 + i)
		subscriptions = append(subscriptions, subscribed(fmt.Sprint("sub_x", i), meta{"horde_id": id.String()}, "prod_s"))
		want = append(want, horde.Supporter{User: id, Kudos: 20_000_00})
		catalogue = append(catalogue, map[string]any{"id": fmt.Sprint("prod_", i), "name": "Another"})
	}
	catalogue = append(catalogue, map[string]any{"id": "prod_t", "name": "Treasured"})
	server := httptest.NewServer(stripe(t, map[string][]map[string]any{"/v1/subscriptions": subscriptions, "/v1/products": catalogue}))
	defer server.Close()
	open := func(key string) *supporters.Stripe {
		s, err := supporters.NewStripe(server.URL+"/", key, products(t), quiet)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	got, err := open("rk_test").Fetch(t.Context())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %d, %v\n%+v\nwant %+v", len(got), err, got[:min(len(got), 10)], want[:10])
	}
	if _, err := open("rk_other").Fetch(t.Context()); err == nil || strings.Contains(err.Error(), "rk_") {
		t.Errorf("with another key: %v", err)
	}
	// Who subscribes to nothing that anybody knows of costs no look at the products.
	none := httptest.NewServer(stripe(t, map[string][]map[string]any{"/v1/subscriptions": {}}))
	defer none.Close()
	s, _ := supporters.NewStripe(none.URL, "rk_test", products(t), quiet)
	if got, err := s.Fetch(t.Context()); err != nil || got == nil || len(got) != 0 {
		t.Errorf("nobody is %v, %v", got, err)
	}
}

// Whatever is wrong with an answer: there is none then, and the token goes nowhere else.
func TestServicesThatFail(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("somebody else is asked, with %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"an error":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusInternalServerError) },
		"a refusal":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusForbidden) },
		"too many":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusTooManyRequests) },
		"a redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"no JSON":     func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>secret") },
		"half":        func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":[`) },
		"other types": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":{"a":"secret"}}`) },
		"the same page again": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"data":[],"has_more":true,"meta":{"pagination":{"cursors":{"next":"again"}}}}`)
		},
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"data":["`, strings.Repeat("x", 9<<20), `"]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(answer)
			defer server.Close()
			p, err := supporters.NewPatreon(server.URL, "token", "1", amounts(t), quiet)
			if err != nil {
				t.Fatal(err)
			}
			s, err := supporters.NewStripe(server.URL, "token", products(t), quiet)
			if err != nil {
				t.Fatal(err)
			}
			for _, service := range []supporters.Service{p, s} {
				list, err := service.Fetch(t.Context())
				if err == nil || list != nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "token\"") {
					t.Errorf("%s: got %v, %v", service.Source(), list, err)
				}
			}
		})
	}
	for _, bad := range []string{"", "patreon.com", "ftp://patreon.com", "https://", "https://user:word@patreon.com", "https://patreon.com?x=1"} {
		if _, err := supporters.NewStripe(bad, "key", nil, quiet); err == nil || strings.Contains(err.Error(), "word") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// toy is a service that answers as it is told.
type toy struct {
	source horde.SupportSource
	every  time.Duration
	answer func(n int) ([]horde.Supporter, error)
	mu     sync.Mutex
	asked  []time.Duration
	began  time.Time
}

func (s *toy) Source() horde.SupportSource { return s.source }
func (s *toy) Every() time.Duration        { return s.every }
func (s *toy) Fetch(context.Context) ([]horde.Supporter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, time.Since(s.began))
	return s.answer(len(s.asked))
}

func TestServicesAreAskedByTheClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one := []horde.Supporter{{User: 1, Kudos: 100}}
		s := &toy{source: horde.SourcePatreon, every: time.Hour, began: time.Now(), answer: func(n int) ([]horde.Supporter, error) {
			if n == 2 || n == 3 {
				return nil, errors.New("away")
			}
			return one, nil
		}}
		var mu sync.Mutex
		sets, ran := map[horde.SupportSource][][]horde.Supporter{}, map[string]int{}
		k := supporters.Keeper{Services: []supporters.Service{s}, Log: quiet,
			Set: func(_ context.Context, source horde.SupportSource, list []horde.Supporter) error {
				mu.Lock()
				defer mu.Unlock()
				sets[source] = append(sets[source], list)
				return nil
			},
			Ran: func(job string, _ time.Time, err error) {
				mu.Lock()
				defer mu.Unlock()
				ran[fmt.Sprint(job, " ", err)]++
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx) }()
		time.Sleep(150 * time.Minute)
		stop()
		<-done
		want := []time.Duration{0, time.Hour, 65 * time.Minute, 70 * time.Minute, 130 * time.Minute}
		if !slices.Equal(s.asked, want) {
			t.Errorf("asked at %v, want %v", s.asked, want)
		}
		if got := sets[horde.SourcePatreon]; !reflect.DeepEqual(got, [][]horde.Supporter{one, one, one}) {
			t.Errorf("set %v", got)
		}
		if got := sets[horde.SourceStripe]; !reflect.DeepEqual(got, [][]horde.Supporter{nil}) {
			t.Errorf("without a token Stripe is %v, want nobody, once", got)
		}
		if ran["patreon <nil>"] != 3 || ran["patreon away"] != 2 {
			t.Errorf("told of %v", ran)
		}
	})
}
