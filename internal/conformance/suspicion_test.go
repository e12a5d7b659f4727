// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
)

// Suspicion, alerts, problem jobs, addresses of proxies and modes: accounts chapter, 8 and 9; newer chapter, 1.4 and 1.7.

// channel is a chat service that keeps what it gets.
type channel struct {
	*httptest.Server
	mu   sync.Mutex
	said []string
}

func newChannel(t testing.TB) *channel {
	c := &channel{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Content  string `json:"content"`
			Mentions struct {
				Parse []string `json:"parse"`
			} `json:"allowed_mentions"`
		}
		text, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(text, &body); err != nil || body.Mentions.Parse == nil || len([]rune(body.Content)) > 2000 || body.Content == "" {
			t.Errorf("got %.3000s", text)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.said = append(c.said, body.Content)
	}))
	t.Cleanup(c.Close)
	return c
}

// says waits for n messages.
func (c *channel) says(t testing.TB, n int, parts ...string) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		said := c.said
		c.mu.Unlock()
		if len(said) >= n {
			last := said[len(said)-1]
			for _, part := range parts {
				if !strings.Contains(last, part) {
					t.Errorf("%q does not tell %q", last, part)
				}
			}
			if len(said) > n {
				t.Errorf("%d messages, want %d: %q", len(said), n, said)
			}
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%d messages, want %d", len(said), n)
		}
	}
}

// fastWorker makes a worker deliver text faster than any can.
func (s *server) tooFast(worker account, name string, times int) {
	s.t.Helper()
	requester := s.user(1_000_000, horde.Trusted)
	for range times {
		id := s.text(requester, fields{"prompt": "a", "params": fields{"max_length": 512, "max_context_length": 1024}, "models": []string{"test/7B"}})
		s.deliverText(worker, s.job(s.popText(worker, name, nil)), strings.Repeat("word ", 500))
		s.want(s.call("DELETE", "/generate/text/status/"+id, requester, nil), http.StatusOK)
	}
}

func TestSuspiciousWorkersArePaused(t *testing.T) {
	t.Parallel()
	paused := newChannel(t)
	s := open(t, func(c *node.Config) { c.NotifyPausedURL = paused.URL })
	s.background(t)
	mod, owner, other := s.user(0, horde.Moderator), s.user(1000, 0), s.user(1000, 0)
	s.popText(owner, "quick", nil)
	id := s.workerID(owner, "quick")
	for n := 1; ; n++ {
		s.tooFast(owner, "quick", 1)
		if a := s.want(s.get("/workers/"+id, mod), http.StatusOK); a.at("paused") == true {
			break
		}
		if n > 5 {
			t.Fatal("5 suspicions pause nobody")
		}
	}
	paused.says(t, 1, "quick", id, "faster")
	// It is not told: a decoy looks like any job, and its result is worth nothing to anybody.
	before := s.kudos(owner)
	request := s.text(other, fields{"prompt": "a", "models": []string{"test/7B"}})
	decoy := s.popText(owner, "quick", nil)
	s.deliverText(owner, s.job(decoy), "text")
	if a := s.status("text", request); a.number("finished") != 0 || a.number("waiting") != 1 || s.kudos(owner) != before {
		t.Errorf("the decoy counted: %s", a.text)
	}
	s.noJob(s.popText(owner, "quick", nil))
	for name, a := range map[string]answer{
		"everybody": s.get("/workers/"+id, account{}), "the owner": s.get("/workers/"+id, owner), "the account": s.get("/find_user", owner),
	} {
		if a.has("suspicious") {
			t.Errorf("%s sees the suspicion: %s", name, a.text)
		}
	}
	// The account may not move kudos.
	s.refused(s.transfer(owner, other, 1), 400, "FaultWhenKudosSending")
	s.refused(s.transfer(other, owner, 1), 400, "FaultWhenKudosReceiving")

	review := s.want(s.get("/operations/moderation?suspicious=true", mod), http.StatusOK)
	s.shows(answer{value: review.at("paused_workers", 0)}, fields{"id": id, "name": "quick", "type": "text", "owner_id": float64(owner.id), "paused": true, "online": true})
	s.shows(answer{value: review.at("suspicious_users", 0)}, fields{"id": float64(owner.id), "paused_worker_count": 1.0})
	s.shows(answer{value: review.at("paused_workers", 0, "suspicion_reasons", 0)}, fields{"id": 5.0, "name": "UNREASONABLY_FAST", "count": review.number("paused_workers", 0, "suspicious")})
	for query, want := range map[string]int{
		"?worker_type=image": 0, "?worker_type=image&worker_type=text": 1, "?suspicion_id=5": 1, "?suspicion_id=9": 0, "?online=false": 0, "?online=true&sort=owner": 1, "?limit=1": 1,
	} {
		a := s.want(s.get("/operations/moderation"+query, mod), http.StatusOK)
		if len(a.list("paused_workers")) != want || a.has("suspicious_users") {
			t.Errorf("%s: %s", query, a.text)
		}
	}
	for query, field := range map[string]string{"?limit=0": "limit", "?limit=501": "limit", "?worker_type=x": "worker_type", "?suspicion_id=x": "suspicion_id", "?sort=x": "sort"} {
		s.invalid(s.get("/operations/moderation"+query, mod), field)
	}
	events := s.want(s.get("/operations/moderation/worker_suspicion_events?limit=2", mod), http.StatusOK)
	s.shows(answer{value: events.at("events", 0)}, fields{"worker_id": id, "worker_name": "quick", "user_id": float64(owner.id), "suspicion_id": 5.0, "reason": "UNREASONABLY_FAST"})
	if len(events.list("events")) != 2 || events.number("next_cursor") != events.number("events", 1, "id") {
		t.Errorf("got %s", events.text)
	}
	next := s.want(s.get("/operations/moderation/worker_suspicion_events?before_id="+fmt.Sprint(events.number("next_cursor")), mod), http.StatusOK)
	if next.number("events", 0, "id") != events.number("events", 1, "id")-1 || next.at("next_cursor") != nil {
		t.Errorf("got %s", next.text)
	}
	if a := s.want(s.get("/operations/moderation/worker_suspicion_events?worker_id=x", mod), http.StatusOK); len(a.list("events")) != 0 {
		t.Errorf("got %s", a.text)
	}

	// A reset forgets, and does not unpause; trust does.
	s.shows(s.want(s.call("PUT", owner.path(), mod, `{"reset_suspicion":true}`), http.StatusOK), fields{"new_suspicion": 0.0})
	s.shows(s.get("/workers/"+id, mod), fields{"paused": true, "suspicious": 0.0})
	s.want(s.call("PUT", owner.path(), mod, `{"trusted":true}`), http.StatusOK)
	s.shows(s.get("/workers/"+id, mod), fields{"paused": false})
}

func TestReportedResultsAreProblems(t *testing.T) {
	t.Parallel()
	problems := newChannel(t)
	s := open(t, func(c *node.Config) { c.NotifyProblemURL, c.ProblemExempt = problems.URL, []horde.UserID{1} })
	s.background(t)
	exempt, mod := s.user(100000, 0), s.user(0, horde.Moderator)
	user, worker := s.user(1_000_000, horde.Trusted), s.user(0, horde.Trusted)
	report := func(as account, addr string) {
		t.Helper()
		s.want(s.call("POST", "/generate/async", as, fields{"prompt": "a tree", "params": fields{"loras": []fields{{"name": "bark"}}}}, from(addr)), http.StatusAccepted)
		popped := s.popImage(worker, "watcher", fields{"models": []string{"stable_diffusion"}})
		s.upload(popped.strings("r2_uploads")[0], "image")
		s.want(s.call("POST", "/generate/submit", worker, fields{
			"id": s.job(popped), "generation": "R2", "seed": 1, "gen_metadata": []fields{{"type": "censorship", "value": "csam"}},
		}), http.StatusOK)
	}
	report(exempt, "203.0.113.1")
	if a := s.want(s.get("/operations/moderation/prompts", mod), http.StatusOK); len(a.list("events")) != 0 {
		t.Errorf("an exempt account was counted: %s", a.text)
	}
	for range 51 {
		report(user, "203.0.113.2")
	}
	problems.says(t, 1, "User ", fmt.Sprint("#", user.id), "51 reported", "203.0.113.2", "a tree", "bark")
	report(user, "203.0.113.2") // once an hour is enough
	problems.says(t, 1)
	for range 50 {
		report(anonymous, "2001:db8::1")
	}
	problems.says(t, 1)
	report(anonymous, "2001:db8::2")
	problems.says(t, 2, "Address 2001:db8::/64")
	a := s.want(s.get("/operations/moderation/prompts?reason=worker_csam&limit=100", mod), http.StatusOK)
	s.shows(answer{value: a.at("events", 0)}, fields{"user_id": 0.0, "outcome": "censored", "effective_prompt": "a tree", "ipaddr": "2001:db8::/64"})
	if a.at("events", 0, "request_id") == nil || a.at("events", 0, "worker_id") != s.workerID(worker, "watcher") {
		t.Errorf("got %.1000s", a.text)
	}
}

func TestServicesThatPassOnRefusedPrompts(t *testing.T) {
	t.Parallel()
	problems := newChannel(t)
	s := open(t, func(c *node.Config) { c.NotifyProblemURL = problems.URL })
	s.background(t)
	mod, service := s.user(0, horde.Moderator), s.user(1000, horde.Service)
	s.exampleFilters(mod)
	passkey := s.want(s.call("PUT", service.path(), service, `{"generate_proxy_passkey":true}`), http.StatusOK).str("proxy_passkey")
	bad := fields{"prompt": "zebracorn vermillex", "replacement_filter": false, "proxied_account": "somebody"}
	for i := range 12 {
		who := fmt.Sprint("203.0.113.", i+1)
		s.refused(s.call("POST", "/generate/async", service, bad, header{"Proxy-Authorization", passkey}, header{"Proxied-For", who}, from("198.51.100.1")), 400, "CorruptPrompt")
		if i == 10 {
			problems.mu.Lock()
			if len(problems.said) > 0 {
				t.Errorf("11 are not too many yet: %q", problems.said)
			}
			problems.mu.Unlock()
		}
	}
	problems.says(t, 1, "Service", "198.51.100.1", "12 refused", "somebody")
	s.refused(s.call("POST", "/generate/async", s.user(0, 0), fields{"prompt": "a"}, from("203.0.113.3")), 403, "TimeoutIP")
	s.want(s.call("POST", "/generate/async", s.user(0, 0), fields{"prompt": "a"}, from("198.51.100.1")), http.StatusAccepted)
}

// checker is a service that thinks everything from 203.0.113.0/24 hides somebody, and knows nothing of 198.51.100.0/24.
func checker(t testing.TB) string {
	c := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/203.0.113."):
			fmt.Fprint(w, "0.99")
		case strings.HasPrefix(r.URL.Path, "/198.51.100."):
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			fmt.Fprint(w, "0.1")
		}
	}))
	t.Cleanup(c.Close)
	return c.URL + "/{ipaddr}"
}

func TestAddressesOfProxies(t *testing.T) {
	t.Parallel()
	problems := newChannel(t)
	s := open(t, func(c *node.Config) { c.IPCheck.URL, c.NotifyProblemURL = checker(t), problems.URL })
	s.background(t)
	mod := s.user(0, horde.Moderator)
	hidden, unknown, plain := from("203.0.113.5"), from("198.51.100.5"), from("192.0.2.200")
	pop := func(as account, name string, where header) answer {
		t.Helper()
		return s.call("POST", "/generate/pop", as, fields{"name": name, "models": []string{"Deliberate"}, "bridge_agent": reGen}, where)
	}
	untrusted, vpn, trusted := s.user(0, 0), s.user(0, horde.VPN), s.user(0, horde.Trusted)
	s.refused(pop(untrusted, "hidden", hidden), 403, "UnsafeIP")
	s.refused(pop(untrusted, "unknown", unknown), 403, "TooManyNewIPs")
	s.want(pop(untrusted, "plain", plain), http.StatusOK)
	s.want(pop(vpn, "vpn", hidden), http.StatusOK)
	s.want(pop(vpn, "vpn too", unknown), http.StatusOK)
	s.want(pop(trusted, "trusted", hidden), http.StatusOK)
	s.refused(s.call("POST", "/interrogate/pop", untrusted, fields{"name": "alchemist", "forms": []string{"caption"}}, hidden), 403, "UnsafeIP")
	s.refused(s.call("POST", "/generate/text/pop", untrusted, fields{"name": "scribe", "models": []string{"test/7B"}}, hidden), 403, "UnsafeIP")
	// Requesters are not looked at in quiet times.
	requester := s.user(1000, 0)
	s.want(s.call("POST", "/generate/async", requester, `{"prompt":"a"}`, hidden), http.StatusAccepted)

	s.want(s.call("PUT", "/status/modes", mod, `{"raid_mode":true}`), http.StatusOK)
	s.want(pop(untrusted, "raider", hidden), http.StatusOK)
	s.want(pop(untrusted, "raider", hidden), http.StatusOK)
	s.refused(pop(untrusted, "unknown", unknown), 403, "TooManyNewIPs")
	s.shows(s.get("/workers/"+s.workerID(untrusted, "raider"), mod), fields{"suspicious": 1.0})
	s.shows(s.get("/workers/"+s.workerID(vpn, "vpn"), mod), fields{"suspicious": 0.0})
	a := s.refused(s.call("POST", "/generate/async", requester, `{"prompt":"a"}`, hidden), 403, "UntrustedUnsafeIP")
	if a.str("message") != "Only Trusted users are allowed to perform this operation" {
		t.Errorf("got %s", a.text)
	}
	s.refused(s.call("POST", "/interrogate/async", requester, fields{"forms": []fields{{"name": "caption"}}, "source_image": "AAAA"}, hidden), 403, "UntrustedUnsafeIP")
	s.want(s.call("POST", "/generate/text/async", requester, `{"prompt":"a"}`, hidden), http.StatusAccepted)
	s.want(s.call("POST", "/generate/async", trusted, `{"prompt":"a"}`, hidden), http.StatusAccepted)
	s.want(s.call("POST", "/generate/async", requester, `{"prompt":"a"}`, unknown), http.StatusAccepted)
	s.want(s.call("POST", "/generate/async", requester, `{"prompt":"a"}`, unknown), http.StatusAccepted)
	problems.says(t, 1, "does not answer")
}

func TestExtremeOffersAreSuspicious(t *testing.T) {
	t.Parallel()
	s := open(t)
	mod, owner := s.user(0, horde.Moderator), s.user(0, 0)
	s.popImage(owner, "huge", fields{"max_pixels": 3072*3072 + 1})
	s.popImage(owner, "large", fields{"max_pixels": 3072 * 3072})
	s.shows(s.get("/workers/"+s.workerID(owner, "huge"), mod), fields{"suspicious": 1.0})
	s.shows(s.get("/workers/"+s.workerID(owner, "large"), mod), fields{"suspicious": 0.0})
	if a := s.get("/operations/moderation/worker_suspicion_events", mod); a.str("events", 0, "reason") != "EXTREME_MAX_PIXELS" {
		t.Errorf("got %s", a.text)
	}
}

func TestAgesAndAgentsThatAreRefused(t *testing.T) {
	t.Parallel()
	example(t, "cases", 69)
	s := open(t, func(c *node.Config) { c.Filtering.AgeRule, c.BannedAgents = true, []string{"Bad:1:x"} })
	u := s.user(1000, 0)
	aged := s.refused(s.call("POST", "/generate/async", u, `{"prompt":"a tree, 12-year-old"}`), 400, "CorruptPrompt")
	if !strings.Contains(aged.str("message"), "ages") {
		t.Errorf("B069 the refusal does not tell which rule it was: %s", aged.text)
	}
	s.image(u, `{"prompt":"a tree, 122 years old"}`)
	bad := header{"Client-Agent", "Bad:1:x"}
	s.refused(s.call("POST", "/generate/async", u, `{"prompt":"a tree"}`, bad), 403, "BannedClientAgent")
	s.refused(s.call("POST", "/generate/text/async", u, `{"prompt":"a tree"}`, bad), 403, "BannedClientAgent")
	s.want(s.call("POST", "/generate/async", u, `{"prompt":"a tree"}`, header{"Client-Agent", horde.PlaceholderAgent}), http.StatusAccepted)
}

func TestPromptsAreNotKeptWhereTheOperatorSaysSo(t *testing.T) {
	t.Parallel()
	example(t, "cases", 69)
	s := open(t, func(c *node.Config) { c.NoEvidence = true })
	mod := s.user(0, horde.Moderator)
	s.exampleFilters(mod)
	s.refused(s.call("POST", "/generate/async", s.user(0, 0), `{"prompt":"zebracorn vermillex","replacement_filter":false}`), 400, "CorruptPrompt")
	a := s.want(s.get("/operations/moderation/prompts", mod), http.StatusOK)
	s.shows(answer{value: a.at("events", 0)}, fields{"submitted_prompt": nil, "ipaddr": nil, "text_state": "none"})
	if strings.Contains(a.text, "zebracorn") {
		t.Errorf("got %s", a.text)
	}
	filtersOff := open(t, func(c *node.Config) { c.Filtering.Off, c.Filtering.AgeRule = true, true })
	filtersOff.exampleFilters(filtersOff.user(0, horde.Moderator))
	filtersOff.image(filtersOff.user(0, 0), `{"prompt":"zebracorn vermillex, 12 years old","replacement_filter":false}`)
}

// Two moderators at a time: nothing is made twice, and nothing is lost.
func TestTwoModeratorsAtATime(t *testing.T) {
	t.Parallel()
	s := open(t)
	mod, other := s.user(0, horde.Moderator), s.user(0, horde.Moderator)
	by := func(i int) account {
		if i%2 == 0 {
			return mod
		}
		return other
	}
	for _, a := range s.atOnce(20, func(i int) answer {
		return s.call("PUT", "/filters", by(i), `{"regex":"vermillex","filter_type":20}`)
	}) {
		s.want(a, http.StatusOK)
	}
	if all := s.get("/filters", mod); len(all.list()) != 1 {
		t.Errorf("got %s", all.text)
	}
	s.counted("removals", s.atOnce(10, func(i int) answer { return s.call("DELETE", "/filters/1", by(i), nil) }), map[string]int{"200": 1, "404 FilterNotFound": 9})
	for i, a := range s.atOnce(20, func(i int) answer {
		switch i % 4 {
		case 0:
			return s.call("PUT", "/filters", by(i), fields{"regex": fmt.Sprint("word", i), "filter_type": 20})
		case 1:
			return s.call("POST", "/filters", by(i), `{"prompt":"word4"}`)
		case 2:
			return s.call("POST", "/operations/ipaddr", by(i), fields{"ipaddr": "10.0.0.0/8", "hours": i + 1})
		}
		return s.call("DELETE", "/operations/ipaddr", by(i), fields{"ipaddr": "10.0.0.0/8"})
	}) {
		if a.status != http.StatusOK {
			t.Errorf("call %d: %d %s", i, a.status, a.text)
		}
	}
	if a := s.call("POST", "/filters", mod, `{"prompt":"word16"}`); a.at("suspicion") != "1" {
		t.Errorf("a filter that was added is not used: %s", a.text)
	}
	s.away(0)
	if all := s.get("/filters", mod); len(all.list()) != 5 {
		t.Errorf("after a restart: %s", all.text)
	}
}

// background serves the node, so that what runs beside the calls does.
func (s *server) background(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}
