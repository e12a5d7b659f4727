// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/moderation"
	"horde/internal/node"
)

// The threat model: accounts chapter, 14. Each test is named after what an attacker would want.

const nobodysUUID = "00000000-0000-4000-8000-000000000000"

// same checks that two answers cannot be told apart.
func (s *server) same(what string, a, b answer) {
	s.t.Helper()
	names := func(h http.Header) []string { return slices.Sorted(maps.Keys(h)) }
	if a.status != b.status || a.text != b.text || !slices.Equal(names(a.header), names(b.header)) {
		s.t.Errorf("%s can be told apart: %d %.300s\nand %d %.300s", what, a.status, a.text, b.status, b.text)
	}
}

func TestThreatsWhatIsGoneIsAsWhatNeverWas(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		mod, wiped := s.user(0, horde.Moderator), s.userAs("", 0, 0)
		s.popText(wiped, "his worker", nil)
		worker := s.get("/workers/name/his%20worker", account{}).str("id")
		s.away(31 * 24 * time.Hour)
		s.want(s.call("DELETE", wiped.path(), wiped, nil), http.StatusOK)
		s.want(s.call("DELETE", wiped.path(), wiped, nil), http.StatusOK)
		for _, as := range []account{{}, anonymous, mod} {
			never := s.refused(s.get("/users/77777", as), http.StatusNotFound, "UserNotFound")
			for _, path := range []string{wiped.path(), "/users/2147483648", "/users/99999999999999999999", "/users/-1", "/users/x"} {
				s.same(path, never, s.get(path, as))
			}
			s.same("a wiped account's worker", s.get("/workers/"+nobodysUUID, as), s.get("/workers/"+worker, as))
			s.same("a malformed worker", s.get("/workers/"+nobodysUUID, as), s.get("/workers/x", as))
		}
		// Nor does the key of a wiped account tell that it once was one, anywhere.
		unknown := account{0, horde.NewKey()}
		for _, c := range []struct {
			method, path string
			body         any
		}{
			{"GET", "/find_user", nil}, {"GET", "/users/0", nil}, {"PUT", "/users/0", fields{"public_workers": true}}, {"DELETE", "/users/0", nil}, {"POST", "/generate/async", fields{"prompt": "x"}},
			{"POST", "/generate/text/async", fields{"prompt": "x"}}, {"POST", "/interrogate/async", fields{"source_image": small, "forms": formsOf("caption")}}, {"POST", "/generate/pop", fields{"name": "his worker", "models": []string{"Deliberate"}}},
			{"POST", "/kudos/transfer", fields{"username": "x#1", "amount": 1}}, {"GET", "/status/modes", nil}, {"POST", "/teams", fields{"name": "a team"}},
		} {
			s.same(c.method+" "+c.path, s.call(c.method, c.path, unknown, c.body), s.call(c.method, c.path, wiped, c.body))
		}
		for _, target := range []string{wiped.alias(), "x#77777", "x#2147483648", "nobody", ""} {
			s.refused(s.call("POST", "/kudos/transfer", s.user(100, 0), fields{"username": target, "amount": 1}), http.StatusBadRequest, "InvalidTargetUsername")
		}
	})
}

// An id opens only what it is the id of, and each kind of object answers for the ids of all others as for unknown ones.
func TestThreatsIDsOfOneKindOpenNoOther(t *testing.T) {
	t.Parallel()
	s := open(t)
	sc := s.scene([]string{"team"})
	ids := map[string]string{}
	for _, kind := range []string{"image request", "text request", "alchemy request", "image job", "text job", "form", "worker", "team"} {
		ids[kind] = sc.object(kind)
	}
	for _, x := range []struct {
		of, method, path, body, rc string
	}{
		{"image request", "GET", "/generate/check/", "", "RequestNotFound"}, {"image request", "GET", "/generate/status/", "", "RequestNotFound"}, {"image request", "DELETE", "/generate/status/", "", "RequestNotFound"},
		{"text request", "GET", "/generate/text/status/", "", "RequestNotFound"}, {"text request", "DELETE", "/generate/text/status/", "", "RequestNotFound"},
		{"alchemy request", "GET", "/interrogate/status/", "", "RequestNotFound"}, {"alchemy request", "DELETE", "/interrogate/status/", "", "RequestNotFound"},
		{"image job", "POST", "/generate/submit", `{"id":"ID","generation":"faulted","state":"faulted","seed":1}`, "InvalidJobID"}, {"text job", "POST", "/generate/text/submit", `{"id":"ID","generation":"x"}`, "InvalidJobID"},
		{"form", "POST", "/interrogate/submit", `{"id":"ID","result":{"caption":"x"}}`, "InvalidJobID"},
		{"worker", "GET", "/workers/", "", "WorkerNotFound"}, {"worker", "PUT", "/workers/", `{"info":"some info"}`, "WorkerNotFound"}, {"worker", "DELETE", "/workers/", "", "WorkerNotFound"},
		{"team", "GET", "/teams/", "", "TeamNotFound"}, {"team", "PATCH", "/teams/", `{"info":"some info"}`, "TeamNotFound"}, {"team", "DELETE", "/teams/", "", "TeamNotFound"},
	} {
		for kind, id := range ids {
			if kind == x.of {
				continue
			}
			call := func(id string) answer {
				if x.body != "" && strings.Contains(x.body, "ID") {
					return s.call(x.method, x.path, sc.owner, strings.ReplaceAll(x.body, "ID", id))
				}
				var body any
				if x.body != "" {
					body = x.body
				}
				return s.call(x.method, x.path+id, sc.owner, body)
			}
			a := call(id)
			if a.status != http.StatusNotFound || a.rc() != x.rc {
				// Requests and jobs of images and texts are told apart by their paths only.
				t.Errorf("%s %s with the id of a %s: %d %.200s", x.method, x.path, kind, a.status, a.text)
			}
			unknown := call(nobodysUUID)
			unknown.text = strings.ReplaceAll(unknown.text, nobodysUUID, id)
			s.same("the id of a "+kind+" at "+x.path, unknown, a)
		}
	}
	// Nor does a key open anything as an id, or an id as a key.
	for kind, id := range ids {
		s.refused(s.get("/find_user", account{0, id}), http.StatusNotFound, "UserNotFound")
		s.refused(s.call("POST", "/generate/async", account{0, id}, `{"prompt":"x"}`), http.StatusUnauthorized, "InvalidAPIKey")
		if a := s.get("/users/"+sc.owner.key, account{}); a.status != http.StatusNotFound {
			t.Errorf("a key as an id, beside a %s: %d", kind, a.status)
		}
	}
}

// Ids of requests are the only credential for reading results.
func TestThreatsIDsCannotBeGuessed(t *testing.T) {
	t.Parallel()
	s := open(t)
	u := s.user(1e6, 0)
	s.Engine.Admins = []horde.UserID{u.id}
	s.want(s.call("PUT", u.path(), s.user(0, horde.Moderator), fields{"concurrency": 500}), http.StatusOK)
	seen, tails := map[string]bool{}, map[string]bool{}
	differ := 0
	last := ""
	for range 200 {
		id := s.text(u, `{"prompt":"x"}`)
		tail := id[len(id)-12:]
		if seen[id] || tails[tail] {
			t.Fatalf("%s comes twice", id)
		}
		seen[id], tails[tail] = true, true
		for i := range last {
			if i >= 15 && last[i] != id[i] {
				differ++
			}
		}
		last = id
		if id[14] != '4' || !strings.ContainsRune("89ab", rune(id[19])) {
			t.Errorf("%s is no random UUID", id)
		}
	}
	// 21 of the 36 characters: 2 dashes, 18 that agree in one of 16 cases, one that agrees in one of 4.
	if want := 199 * (18*15/16. + 3/4.); float64(differ) < want*0.97 || float64(differ) > want*1.03 {
		t.Errorf("%d characters of ids in a row differ, want about %.0f", differ, want)
	}
}

// How long it takes to refuse a key does not tell how much of it is right: keys are found by their hash.
func TestThreatsTimingTellsNothingOfKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	s := open(t)
	u := s.user(0, 0)
	near := u.key[:21] + "A"
	if near == u.key {
		near = u.key[:21] + "B"
	}
	far := horde.NewKey()
	measure := func(key string) time.Duration {
		req := s.request("GET", "/api/v2/users/0", account{0, key}, nil)
		began := time.Now()
		s.Handler().ServeHTTP(httptest.NewRecorder(), req)
		return time.Since(began)
	}
	const rounds = 3000
	nears, fars := make([]time.Duration, rounds), make([]time.Duration, rounds)
	for i := range rounds {
		nears[i], fars[i] = measure(near), measure(far)
	}
	slices.Sort(nears)
	slices.Sort(fars)
	a, b := nears[rounds/2], fars[rounds/2]
	t.Logf("a key of which 21 characters are right is refused in %v, any other in %v", a, b)
	if ratio := float64(a) / float64(b); ratio < 0.5 || ratio > 2 {
		t.Errorf("it takes %v to refuse a key that is nearly right, and %v for another", a, b)
	}
}

func TestThreatsNobodyPromotesThemselves(t *testing.T) {
	t.Parallel()
	s := open(t)
	mod, admin, u := s.user(0, horde.Moderator), s.user(0, 0), s.user(100, 0)
	s.Engine.Admins = []horde.UserID{admin.id}
	state := func(a account) string {
		v := s.want(s.get(a.path(), mod), http.StatusOK).value.(map[string]any)
		delete(v, "account_age")
		return fmt.Sprint(v, s.balance(a))
	}
	before := state(u)
	for _, role := range []string{"moderator", "trusted", "customizer", "vpn", "service", "education", "special"} {
		for _, body := range []string{
			`{"` + role + `":true}`, `{"contact":"me@example.org","` + role + `":true}`, `{"` + role + `":true,"contact":"me@example.org"}`, `{"username":"somebody","` + role + `":false}`,
		} {
			if a := s.call("PUT", u.path(), u, body); a.status != http.StatusForbidden {
				t.Errorf("%s: %d %s", body, a.status, a.text)
			}
		}
	}
	// What is not declared does nothing, in whatever spelling.
	for _, body := range []string{`{"contact":"me@example.org","Moderator":true,"MODERATOR":true,"roles":["moderator"],"role":1,"is_admin":true,"id":1,"user_id":1,"oauth_id":"g_1","api_key":"x","flagged ":true,"suspicious":0,"evaluating_kudos":5}`} {
		if a := s.want(s.call("PUT", u.path(), u, body), http.StatusOK); strings.TrimSpace(a.text) != `{"contact":"me@example.org"}` {
			t.Errorf("%s changed %s", body, a.text)
		}
	}
	s.want(s.call("PUT", u.path(), u, `{"contact":"other@example.org"}`), http.StatusOK)
	after := strings.Replace(state(u), "contact:other@example.org ", "", 1)
	if after != before {
		t.Errorf("something was changed:\n%s\n%s", before, after)
	}
	// A moderator gives roles, but neither the own one nor kudos.
	for _, body := range []string{`{"moderator":true}`, `{"kudos":1}`, `{"monthly_kudos":1}`, `{"usage_multiplier":0.1}`, `{"trusted":true,"moderator":true}`} {
		for _, target := range []account{mod, u, admin} {
			s.refused(s.call("PUT", target.path(), mod, body), http.StatusForbidden, "NotAdmin")
		}
	}
	// The test route is closed, also to this machine.
	req := s.request("POST", "/api/v2/dev/test-user", account{}, `{"moderator":true}`)
	req.RemoteAddr = "127.0.0.1:5000"
	if a := s.bare(req); a.status != http.StatusNotFound {
		t.Errorf("the test route answers %d %s", a.status, a.text)
	}
	// An account with a role is not made by the form.
	form := httptest.NewRequest("POST", "/register", strings.NewReader("username=Somebody&moderator=true&roles=7&kudos=1000000&oauth_id=g_1&trusted=1"))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.bare(form)
	for _, v := range s.want(s.get("/users?sort=age", account{}), http.StatusOK).list() {
		row := answer{value: v}
		if strings.HasPrefix(row.str("username"), "Somebody#") && (row.at("moderator") == true || row.at("trusted") == true || row.number("kudos") > 25) {
			t.Errorf("the form made %v", v)
		}
	}
}

// Admins are named by their numbers. Whatever moderators do to an admin, and whatever names anybody takes, changes nothing
// about who is one.
func TestThreatsModeratorsAndAdmins(t *testing.T) {
	t.Parallel()
	s := open(t)
	mod, admin, u := s.user(0, horde.Moderator), s.user(0, 0), s.user(100, 0)
	s.Engine.Admins = []horde.UserID{admin.id}
	name := s.want(s.get(admin.path(), account{}), http.StatusOK).str("username")
	for _, body := range []string{`{"username":"Nobody"}`, `{"flagged":true}`, `{"concurrency":0}`, `{"trusted":true}`, `{"trusted":false}`, `{"special":true}`, `{"admin_comment":"not nice"}`} {
		s.want(s.call("PUT", admin.path(), mod, body), http.StatusOK)
	}
	// The name is free now. Whoever takes it is no admin.
	bare := name[:strings.LastIndex(name, "#")]
	for _, taken := range []string{bare, name, fmt.Sprint("x#", admin.id), fmt.Sprint("#0", admin.id), "Anonymous"} {
		s.want(s.call("PUT", u.path(), u, fields{"username": taken}), http.StatusOK)
		s.refused(s.call("PUT", u.path(), u, `{"kudos":1}`), http.StatusForbidden, "NotAdmin")
		s.refused(s.call("PUT", "/status/modes", u, `{"maintenance_mode":true}`), http.StatusForbidden, "NotAdmin")
		// Kudos go where the number says.
		giver := s.user(100, 0)
		before := s.kudos(u)
		s.want(s.call("POST", "/kudos/transfer", giver, fields{"username": fmt.Sprint(taken, "#", u.id), "amount": 1}), http.StatusOK)
		if got := s.kudos(u); got != before+1 {
			t.Errorf("%s got %v kudos", taken, got-before)
		}
	}
	s.want(s.call("PUT", mod.path(), admin, `{"moderator":false}`), http.StatusOK)
	s.refused(s.call("PUT", admin.path(), mod, `{"flagged":false}`), http.StatusForbidden, "NotModerator")
	s.want(s.call("PUT", "/status/modes", admin, `{"maintenance_mode":false}`), http.StatusOK)
	// A moderator cannot be deleted, not even by an admin or another moderator; an admin who is none cannot do it either.
	other := s.user(0, horde.Moderator)
	for _, as := range []account{admin, other, s.user(0, horde.Moderator), u} {
		s.refused(s.call("DELETE", other.path(), as, nil), http.StatusForbidden, "CannotDeleteMod")
	}
}

// A key that was replaced is dead at once, everywhere.
func TestThreatsAnOldKeyIsDead(t *testing.T) {
	t.Parallel()
	s := open(t)
	u := s.user(100, horde.Moderator)
	id := s.image(u, `{"prompt":"x"}`)
	s.want(s.get("/find_user", u), http.StatusOK)
	key, err := s.Engine.NewKeyFor(t.Context(), u.id)
	if err != nil {
		t.Fatal(err)
	}
	s.refused(s.get("/find_user", u), http.StatusNotFound, "UserNotFound")
	for _, r := range readRoles(t) {
		o := r.outcomes["wrong"]
		if o.status != http.StatusUnauthorized || r.owned() || len(r.objects()) > 0 {
			continue
		}
		if _, ok := s.servedOperations()[r.operation()]; !ok {
			continue
		}
		var body any
		if r.bodies[0] != "" {
			body = r.bodies[0]
		}
		s.refused(s.call(r.method, r.path, u, body), http.StatusUnauthorized, "InvalidAPIKey")
	}
	s.refused(s.get("/generate/request/"+id, u), http.StatusUnauthorized, "InvalidAPIKey")
	s.shows(s.want(s.get("/find_user", account{u.id, key}), http.StatusOK), fields{"active_generations": map[string]any{"image": []any{id}}})
}

// No cookie, no other header, no query and no body opens what only a key opens.
func TestThreatsCredentialsTravelInOneHeader(t *testing.T) {
	t.Parallel()
	s := open(t)
	mod := s.user(0, horde.Moderator)
	for _, h := range []header{
		{"Cookie", "apikey=" + mod.key}, {"Cookie", "session=" + mod.key}, {"Authorization", "Bearer " + mod.key}, {"Authorization", "Basic " + mod.key}, {"Proxy-Authorization", mod.key}, {"X-Api-Key", mod.key}, {"Api-Key", mod.key},
	} {
		if a := s.want(s.call("GET", "/status/modes", account{}, nil, h), http.StatusOK); a.has("raid_mode") {
			t.Errorf("%s opens the modes", h.name)
		}
		s.refused(s.call("GET", "/find_user", account{}, nil, h), http.StatusUnauthorized, "InvalidAPIKey")
		s.invalid(s.call("PUT", "/status/modes", account{}, `{"raid_mode":true,"apikey":"`+mod.key+`"}`, h), "apikey")
	}
	if a := s.want(s.get("/status/modes?apikey="+mod.key, account{}), http.StatusOK); a.has("raid_mode") {
		t.Error("a key in the query opens the modes")
	}
	// Of two headers the first counts, and a list is no key.
	req := s.request("GET", "/api/v2/find_user", account{}, nil)
	req.Header["Apikey"] = []string{horde.AnonymousKey, mod.key}
	s.shows(s.want(s.send(req), http.StatusOK), fields{"username": "Anonymous#0"})
	s.want(s.get("/find_user", account{0, horde.AnonymousKey + ", " + mod.key}), http.StatusNotFound)
}

// What somebody privileged has just seen is not shown to others, nor what was masked.
func TestThreatsNothingIsCachedInFrontOfTheKey(t *testing.T) {
	t.Parallel()
	s := open(t)
	mod := s.user(0, horde.Moderator)
	sc := s.scene([]string{"user"})
	sc.object("user")
	for _, path := range []string{sc.owner.path(), "/status/modes", "/workers", "/workers/" + sc.object("worker"), "/users"} {
		public := s.get(path, account{})
		for range 3 {
			s.want(s.get(path, mod), http.StatusOK)
			s.want(s.call("GET", path, mod, nil, header{"X-Fields", "id"}), http.StatusOK)
			a := s.get(path, account{})
			for _, secret := range []string{"raid_mode", "owner@example.org", sc.addr, `"suspicious":0`, "somebody we know", `"paused"`} {
				if strings.Contains(a.text, secret) {
					t.Errorf("%s shows %s after a moderator has looked", path, secret)
				}
			}
			if len(a.text) < len(public.text)-20 {
				t.Errorf("%s is masked for others: %.300s", path, a.text)
			}
			if cc := a.header.Get("Cache-Control"); strings.Contains(cc, "public") {
				t.Errorf("%s may be cached: %s", path, cc)
			}
		}
	}
	s.refused(s.get("/status/modes", account{0, horde.NewKey()}), http.StatusUnauthorized, "InvalidAPIKey")
}

// Workers see prompts, and nothing of who asks.
func TestThreatsWorkersLearnNothingOfPeople(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, w := s.user(4321, horde.Special), s.user(0, 0)
	s.want(s.call("PUT", u.path(), u, fields{"username": "Ada Lovelace", "contact": "ada@example.org"}), http.StatusOK)
	from := header{"X-Forwarded-For", "203.0.113.99"}
	image := s.want(s.call("POST", "/generate/async", u, fields{"prompt": "x", "models": []string{"Deliberate"}}, from), http.StatusAccepted).str("id")
	text := s.want(s.call("POST", "/generate/text/async", u, fields{"prompt": "x"}, from), http.StatusAccepted).str("id")
	alchemy := s.want(s.call("POST", "/interrogate/async", u, fields{"source_image": small, "forms": formsOf("caption")}, from), http.StatusAccepted).str("id")
	p, q, r := s.popImage(w, "painter", nil), s.popText(w, "writer", nil), s.popForms(w, "alchemist", nil)
	s.job(p)
	s.job(q)
	s.form(r)
	for _, a := range []answer{p, q, r} {
		for _, secret := range []string{"Ada", "ada@", fmt.Sprint("#", u.id), "203.0.113.99", u.key, image, text, alchemy, "4321"} {
			if strings.Contains(a.text, secret) {
				t.Errorf("a worker is told %s: %s", secret, a.text)
			}
		}
	}
	s.deliver(w, p)
	s.deliverText(w, q.str("id"), "a text")
	// And who asks learns of the worker its name and id, as the chapters have it, and nothing else.
	for _, a := range []answer{s.status("image", image), s.status("text", text), s.get("/interrogate/status/"+alchemy, account{})} {
		for _, secret := range []string{w.key, "192.0.2.1", w.alias()} {
			if strings.Contains(a.text, secret) {
				t.Errorf("a client is told %s: %s", secret, a.text)
			}
		}
	}
}

// logBook keeps everything that is logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// The log, at its most talkative, has no key, no prompt and no id that opens results.
func TestThreatsTheLogKeepsNoSecrets(t *testing.T) {
	t.Parallel()
	var book logBook
	s := open(t, func(c *node.Config) {
		c.Log = slog.New(slog.NewTextHandler(&book, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.AccessLog = true
	})
	sc := s.scene([]string{"user"})
	sc.object("user")
	service := s.user(0, horde.Service)
	passkey := s.want(s.call("PUT", service.path(), service, fields{"generate_proxy_passkey": true}), http.StatusOK).str("proxy_passkey")
	wrong := account{0, horde.NewKey()}
	var secrets []string
	for _, as := range []account{sc.owner, service, wrong} {
		for _, c := range []struct {
			method, path string
			body         any
		}{
			{"GET", "/find_user", nil}, {"GET", "/users/0", nil}, {"POST", "/generate/async", fields{"prompt": "a secretprompt", "webhook": "https://secrethost.example/hook"}}, {"POST", "/generate/text/async", fields{"prompt": "a secretprompt"}},
			{"POST", "/interrogate/async", fields{"source_image": small, "forms": formsOf("caption")}}, {"POST", "/generate/pop", fields{"name": fresh("w"), "models": []string{"Deliberate"}}}, {"POST", "/generate/submit", fields{"id": nobodysUUID, "generation": "secretresult", "seed": 1}},
			{"POST", "/generate/async", "{secretjunk"}, {"PUT", "/status/modes", fields{"raid_mode": true}}, {"DELETE", "/users/0", nil},
		} {
			a := s.call(c.method, c.path, as, c.body, header{"Proxy-Authorization", passkey}, header{"Proxied-For", "203.0.113.7"})
			if id, ok := a.at("id").(string); ok && a.status == http.StatusAccepted {
				secrets = append(secrets, id)
				s.get("/generate/status/"+id, account{})
				s.get("/generate/text/status/"+id, account{})
			}
		}
		secrets = append(secrets, as.key)
	}
	secrets = append(secrets, passkey, "secretprompt", "secretresult", "secretjunk", "owner@example.org")
	book.mu.Lock()
	defer book.mu.Unlock()
	text := book.text.String()
	if !strings.Contains(text, "find_user") {
		t.Fatalf("nothing was logged: %.500s", text)
	}
	for _, secret := range secrets {
		if at := strings.Index(text, secret); at >= 0 {
			t.Errorf("the log has %s: %.300s", secret, text[max(0, at-200):])
		}
	}
}

// An address is what trusted proxies say, or a service with a passkey, and one address only.
func TestThreatsAddressesCannotBeChosen(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *node.Config) { c.NoRateLimit = false })
	service := s.user(0, horde.Service)
	passkey := s.want(s.call("PUT", service.path(), service, fields{"generate_proxy_passkey": true}), http.StatusOK).str("proxy_passkey")
	// heartbeats are not limited; a page of users tells by its limit whose call it was.
	left := func(peer string, headers ...header) string {
		req := s.request("GET", "/api/v2/users", account{}, nil, headers...)
		req.RemoteAddr = peer
		return s.send(req).header.Get("X-RateLimit-Remaining")
	}
	one := left("203.0.113.1:1000")
	if next := left("203.0.113.1:2000", header{"X-Forwarded-For", "8.8.8.8"}); next == one {
		t.Error("a stranger chooses an address by X-Forwarded-For")
	}
	before := left("203.0.113.1:1000")
	for _, h := range [][]header{
		{{"X-Real-Ip", "8.8.8.8"}}, {{"Forwarded", "for=8.8.8.8"}}, {{"Cf-Connecting-Ip", "8.8.8.8"}}, {{"True-Client-Ip", "8.8.8.8"}}, {{"Proxied-For", "8.8.8.8"}}, {{"Proxy-Authorization", "x"}, {"Proxied-For", "8.8.8.8"}},
		{{"Proxy-Authorization", passkey + "x"}, {"Proxied-For", "8.8.8.8"}}, {{"Proxy-Authorization", service.key}, {"Proxied-For", "8.8.8.8"}},
	} {
		if now := left("203.0.113.1:1000", h...); now >= before && len(now) >= len(before) {
			t.Errorf("a stranger chooses an address by %v: %s, then %s left", h, before, now)
		} else {
			before = now
		}
	}
	// One /64 is one caller.
	a, b := left("[2001:db8:1:2::1]:1000"), left("[2001:db8:1:2:ffff::7]:1000")
	if a == b {
		t.Error("hopping within a /64 makes another caller")
	}
	// The passkey is for one address, while its owner is a service and neither flagged nor deleted.
	peer := 0
	speaks := func(address string) bool {
		peer++
		proxied := func(n int) string {
			req := s.request("POST", "/api/v2/generate/text/async", account{}, fields{"prompt": "x"}, header{"Proxy-Authorization", passkey}, header{"Proxied-For", address})
			req.RemoteAddr = fmt.Sprintf("203.0.%d.%d:1000", 114+peer, n)
			return s.send(req).header.Get("X-RateLimit-Remaining")
		}
		return proxied(1) != proxied(2) // peers of their own that count as one
	}
	if !speaks("198.51.100.1") {
		t.Error("a service cannot speak for an address")
	}
	for _, address := range []string{"198.51.100.2, 198.51.100.3", "198.51.100.2/24", "nonsense", "198.51.100.2:80", "fe80::1%eth0, ::1"} {
		if speaks(address) {
			t.Errorf("a service speaks for %q", address)
		}
	}
	mod := s.user(0, horde.Moderator)
	for i, c := range []struct{ off, on string }{{`{"flagged":true}`, `{"flagged":false}`}, {`{"service":false}`, `{"service":true}`}} {
		s.want(s.call("PUT", service.path(), mod, c.off), http.StatusOK)
		if speaks(fmt.Sprint("198.51.100.1", i)) {
			t.Errorf("after %s the passkey speaks for others", c.off)
		}
		s.want(s.call("PUT", service.path(), mod, c.on), http.StatusOK)
	}
	s.want(s.call("DELETE", service.path(), service, nil), http.StatusOK)
	if speaks("198.51.100.30") {
		t.Error("the passkey of a deleted service speaks for others")
	}
}

// Amounts that no integer holds make nobody rich: they are refused, alone and in sum.
func TestThreatsAmountsBeyondIntegers(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, err := s.Engine.NewKeyFor(t.Context(), s.user(100, 0).id) // the first account may award
	if err != nil {
		t.Fatal(err)
	}
	awarder, admin, u, rich := account{1, key}, s.user(0, 0), s.user(100, 0), s.user(100, 0)
	s.Engine.Admins = []horde.UserID{admin.id}
	for _, body := range []string{
		`{"kudos":1e300}`, `{"kudos":-1e300}`, `{"kudos":1e17}`, `{"kudos":-1e17}`, `{"kudos":9223372036854775807}`, `{"kudos":10000000000000}`, `{"kudos":6e12,"monthly_kudos":6000000000000}`,
		`{"monthly_kudos":9223372036854775807}`, `{"monthly_kudos":-9223372036854775807}`, `{"monthly_kudos":92233720368547759}`, `{"monthly_kudos":184467440737095516}`,
	} {
		if a := s.call("PUT", u.path(), admin, body); a.status != http.StatusBadRequest || a.at("errors") == nil {
			t.Errorf("%s: %d %s", body, a.status, a.text)
		}
	}
	for _, amount := range []string{"1e300", "9223372036854775807", "-9223372036854775808", "92233720368547759", `"184467440737095516"`, "10000000000000"} {
		if a := s.call("POST", "/kudos/award", awarder, `{"username":"`+u.alias()+`","amount":`+amount+`}`); a.status != http.StatusBadRequest {
			t.Errorf("an award of %s: %d %s", amount, a.status, a.text)
		}
		if a := s.call("POST", "/kudos/transfer", awarder, `{"username":"`+u.alias()+`","amount":`+amount+`}`); a.status != http.StatusBadRequest {
			t.Errorf("a transfer of %s: %d %s", amount, a.status, a.text)
		}
	}
	if got := s.kudos(u); got != 100 {
		t.Errorf("the account has %v kudos", got)
	}
	granted := 0
	for range 20 {
		if a := s.call("PUT", rich.path(), admin, `{"kudos":1e12}`); a.status == http.StatusOK {
			granted++
		}
	}
	if got := s.kudos(rich); granted != 9 || got != 9e12+100 {
		t.Errorf("after %d grants the account has %v kudos", granted, got)
	}
	s.away(time.Millisecond)
}

// Nobody hides behind a name that shows nothing.
func TestThreatsNamesThatShowNothing(t *testing.T) {
	t.Parallel()
	s := open(t)
	u := s.user(100, horde.Moderator)
	s.popImage(u, "a worker", nil)
	worker := s.get("/workers/name/a%20worker", account{}).str("id")
	team := s.want(s.call("POST", "/teams", u, fields{"name": "a team"}), http.StatusOK).str("id")
	sc := s.scene([]string{"collection"})
	style, collection := sc.object("image style"), sc.object("collection")
	for _, blank := range []string{"          ", "\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0", "\u200b\u200b\u200b\u200b\u200b\u200b", "\u3164\u3164\u3164\u3164\u3164\u3164", "\u202e\u202d\u2066\u2069\u200d\ufeff", "\u2800\u2800\u2800\u2800\u2800\u2800", "\u0301\u0301\u0301\u0301\u0301\u0301"} {
		s.invalid(s.call("PUT", u.path(), u, fields{"username": blank}), "username")
		s.invalid(s.call("PUT", u.path(), u, fields{"admin_comment": blank}), "admin_comment")
		s.invalid(s.call("POST", "/teams", u, fields{"name": blank}), "name")
		s.invalid(s.call("PATCH", "/teams/"+team, u, fields{"name": blank}), "name")
		s.invalid(s.call("PUT", "/workers/"+worker, u, fields{"name": blank}), "name")
		s.invalid(s.call("POST", "/styles/image", u, fields{"name": blank, "prompt": "{p}{np}", "models": []string{"Deliberate"}}), "name")
		s.invalid(s.call("PATCH", "/styles/image/"+style, sc.owner, fields{"name": blank}), "name")
		s.invalid(s.call("POST", "/collections", u, fields{"name": blank, "styles": []string{style}}), "name")
		s.invalid(s.call("PATCH", "/collections/"+collection, sc.owner, fields{"name": blank}), "name")
		s.invalid(s.tryPopImage(u, blank, nil), "name")
		s.invalid(s.tryPopText(u, blank, nil), "name")
		s.invalid(s.tryPopForms(u, blank, nil), "name")
	}
	for _, name := range []string{"你好你", "مرحبا", "🦄🦄🦄", "---", "a b"} {
		s.want(s.call("PUT", u.path(), u, fields{"username": name}), http.StatusOK)
	}
}

// shape is what members an answer has, at every depth, without what is in them.
func shape(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(&b, "%s:%s,", k, shape(v[k]))
		}
		return "{" + b.String() + "}"
	case []any:
		if len(v) > 0 {
			return "[" + shape(v[0]) + "]"
		}
		return "[]"
	}
	return fmt.Sprintf("%T", v)
}

// Whoever was found out is not told: what a paused worker gets and answers looks as it did before.
func TestThreatsPausedWorkersSeeNoDifference(t *testing.T) {
	t.Parallel()
	s := open(t)
	mod, u, w := s.user(0, horde.Moderator), s.user(1000, 0), s.user(0, 0)
	type seen struct{ pop, empty, submit, again, own, account, list string }
	look := func(kind, name string) seen {
		model := map[string]string{"image": "Deliberate", "text": "test/7B"}[kind]
		poll := func() answer {
			if kind == "text" {
				return s.popText(w, name, nil)
			}
			return s.popImage(w, name, nil)
		}
		id := s.submit(kind, u, fields{"prompt": "x", "models": []string{model}})
		p := poll()
		empty := poll()
		if kind == "image" {
			s.upload(p.strings("r2_uploads")[0], "image")
		}
		body := fields{"id": s.job(p), "generation": "R2", "seed": 1}
		done, again := s.call("POST", generate(kind)+"/submit", w, body), s.call("POST", generate(kind)+"/submit", w, body)
		s.want(s.call("DELETE", generate(kind)+"/status/"+id, account{}, nil), http.StatusOK)
		path := "/workers/name/" + strings.ReplaceAll(name, " ", "%20")
		return seen{
			shape(p.value), fmt.Sprint(empty.at("skipped"), shape(empty.value)), fmt.Sprint(done.status, shape(done.value), done.number("reward")), fmt.Sprint(again.status, again.rc()),
			shape(s.get(path, w).value), shape(s.get("/find_user", w).value), shape(s.get("/workers", w).at(0)),
		}
	}
	for _, kind := range []string{"image", "text"} {
		name := "the " + kind + " worker"
		before := look(kind, name)
		id := s.get("/workers/name/"+strings.ReplaceAll(name, " ", "%20"), account{}).str("id")
		s.want(s.call("PUT", "/workers/"+id, mod, `{"paused":true}`), http.StatusOK)
		if after := look(kind, name); after != before {
			t.Errorf("%s, before and after it was paused:\n%+v\n%+v", kind, before, after)
		}
	}
}

// Whoever tries keys is told of, once.
func TestThreatsKeysThatAreTried(t *testing.T) {
	t.Parallel()
	s := open(t)
	var mu sync.Mutex
	var alerts []string
	s.Engine.Alert = func(a moderation.Alert) {
		mu.Lock()
		defer mu.Unlock()
		alerts = append(alerts, a.Text)
	}
	u := s.user(0, 0)
	try := func(key, from string) {
		s.call("GET", "/find_user", account{0, key}, nil, header{"X-Forwarded-For", from})
	}
	for i := range 30 {
		try(horde.NewKey(), "203.0.113.7")
		try(horde.NewKey(), fmt.Sprintf("2001:db8:1:2::%x", i+1))
		try(u.key, "203.0.113.8")
		try("", "203.0.113.9")
	}
	if len(alerts) > 0 {
		t.Errorf("30 keys are told of: %q", alerts)
	}
	for range 10 {
		try(horde.NewKey(), "203.0.113.7")
		try(u.key, "203.0.113.8")
		try("", "203.0.113.9")
	}
	try(horde.NewKey(), "2001:db8:1:2:ffff::1")
	if len(alerts) != 2 || !strings.Contains(alerts[0], "203.0.113.7") || !strings.Contains(alerts[1], "2001:db8:1:2::") {
		t.Errorf("the alerts are %q", alerts)
	}
}
