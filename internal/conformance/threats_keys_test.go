// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/moderation"
)

// Shared keys, styles and filters in hands that nobody meant: accounts chapter, 4 and 14, and styles chapter, 6.

// needs skips a test of operations that are not served.
func (s *server) needs(operations ...string) {
	s.t.Helper()
	served := s.servedOperations()
	for _, op := range operations {
		if _, ok := served[op]; !ok {
			s.t.Skipf("%s is not served", op)
		}
	}
}

// share makes a shared key.
func (s *server) share(owner account, more fields) account {
	s.t.Helper()
	return account{owner.id, s.want(s.call("PUT", "/sharedkeys", owner, fields{"kudos": 5000}.with(more)), http.StatusOK).str("id")}
}

// A shared key generates, and opens nothing that its owner's key opens.
func TestThreatsASharedKeyIsNotItsOwner(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.needs("PUT:/sharedkeys")
	owner := s.user(1000, horde.Moderator)
	s.Engine.Admins = []horde.UserID{owner.id}
	key := s.share(owner, fields{"name": "for friends"})
	other := s.user(100, 0)
	for _, r := range readRoles(t) {
		if r.outcomes["shared"].rc != "InvalidAPIKey" || len(r.objects()) > 0 {
			continue
		}
		if _, ok := s.servedOperations()[r.operation()]; !ok {
			continue
		}
		for _, body := range r.bodies {
			var sent any
			if body != "" {
				sent = body
			}
			// Neither as it is, nor in another spelling of a UUID.
			for _, spelling := range []string{key.key, strings.ToUpper(key.key), strings.ReplaceAll(key.key, "-", ""), "{" + key.key + "}", "urn:uuid:" + key.key} {
				s.refused(s.call(r.method, r.path, account{0, spelling}, sent), http.StatusUnauthorized, "InvalidAPIKey")
			}
		}
	}
	for _, path := range []string{owner.path(), other.path()} {
		for _, body := range []string{`{"trusted":true}`, `{"kudos":1}`, `{"contact":"me@example.org"}`} {
			s.refused(s.call("PUT", path, key, body), http.StatusUnauthorized, "InvalidAPIKey")
		}
		s.refused(s.get(path, key), http.StatusUnauthorized, "InvalidAPIKey")
		s.refused(s.call("DELETE", path, key, nil), http.StatusUnauthorized, "InvalidAPIKey")
	}
	s.refused(s.get("/status/modes", key), http.StatusUnauthorized, "InvalidAPIKey")
	if a := s.want(s.get("/workers", key), http.StatusOK); strings.Contains(a.text, "ipaddr") {
		t.Error("a shared key of a moderator sees what moderators see")
	}
	// What it shows of its owner is what everybody sees.
	a := s.want(s.get("/find_user", key), http.StatusOK)
	if name := a.str("username"); !strings.HasSuffix(name, fmt.Sprint("#", owner.id, " (Shared Key: for friends)")) {
		t.Errorf("the key is called %q", name)
	}
	for _, member := range []string{"contact", "sharedkey_ids", "vpn", "special", "active_generations", "suspicious", "evaluating_kudos", "admin_comment", "monthly_kudos", "proxy_passkey"} {
		if a.has(member) {
			t.Errorf("the key shows %s: %s", member, a.text)
		}
	}
	if strings.Contains(a.text, key.key) || strings.Contains(s.want(s.get("/users/"+owner.id.String(), account{}), http.StatusOK).text, key.key) {
		t.Error("the key is shown to everybody")
	}
	// A key makes requests, but does not read back those of its owner or of another key.
	mine, another := s.text(key, `{"prompt":"x"}`), s.share(owner, nil)
	own := s.text(owner, `{"prompt":"x"}`)
	if _, ok := s.servedOperations()["GET:/generate/text/request/{}"]; ok {
		s.want(s.get("/generate/text/request/"+mine, key), http.StatusOK)
		s.refused(s.get("/generate/text/request/"+mine, another), http.StatusForbidden, "NotOwner")
		s.refused(s.get("/generate/text/request/"+own, key), http.StatusForbidden, "NotOwner")
		s.refused(s.get("/generate/text/request/"+mine, owner), http.StatusForbidden, "NotOwner")
		s.want(s.call("DELETE", "/sharedkeys/"+key.key, owner, nil), http.StatusOK)
		s.refused(s.get("/generate/text/request/"+mine, key), http.StatusUnauthorized, "InvalidAPIKey")
	}
}

// Keys that are not there, were deleted, or whose owner is gone, are all unknown.
func TestThreatsSharedKeysThatAreGone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		s.needs("PUT:/sharedkeys")
		owner, other := s.user(1000, 0), s.user(1000, 0)
		key, wiped := s.share(owner, nil), s.share(other, nil)
		s.want(s.call("DELETE", "/sharedkeys/"+key.key, owner, nil), http.StatusOK)
		s.away(31 * 24 * time.Hour)
		s.want(s.call("DELETE", other.path(), other, nil), http.StatusOK)
		s.refused(s.call("POST", "/generate/async", wiped, `{"prompt":"x"}`), http.StatusForbidden, "DeletedUser")
		s.refused(s.call("PUT", "/sharedkeys", other, fields{"kudos": 1}), http.StatusForbidden, "DeletedUser")
		s.want(s.call("DELETE", other.path(), other, nil), http.StatusOK)
		never := account{0, nobodysUUID}
		for name, gone := range map[string]account{"a deleted key": key, "a wiped owner's key": wiped, "no key at all": {0, "nonsense"}} {
			for _, kind := range []string{"image", "text"} {
				s.same(name, s.call("POST", generate(kind)+"/async", never, `{"prompt":"x"}`), s.call("POST", generate(kind)+"/async", gone, `{"prompt":"x"}`))
			}
			s.same(name, s.get("/sharedkeys/"+never.key, account{}), s.get("/sharedkeys/"+gone.key, account{}))
			s.same(name, s.call("PATCH", "/sharedkeys/"+never.key, owner, `{"kudos":1}`), s.call("PATCH", "/sharedkeys/"+gone.key, owner, `{"kudos":1}`))
			s.same(name, s.call("DELETE", "/sharedkeys/"+never.key, owner, nil), s.call("DELETE", "/sharedkeys/"+gone.key, owner, nil))
			s.same(name, s.get("/find_user", never), s.get("/find_user", gone))
		}
		s.away(time.Second)
		s.refused(s.call("POST", "/generate/async", key, `{"prompt":"x"}`), http.StatusUnauthorized, "InvalidAPIKey")
	})
}

// A leaked key spends its budget within its limits, and not a kudo more, however many use it at once.
func TestThreatsALeakedKeySpendsItsBudgetAtMost(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.needs("PUT:/sharedkeys")
	owner, w := s.user(100_000, horde.Trusted), s.user(0, horde.Trusted)
	s.want(s.call("PUT", owner.path(), s.user(0, horde.Moderator), fields{"concurrency": 500}), http.StatusOK)
	key := s.share(owner, fields{"kudos": 50})
	body := fields{"prompt": "x", "models": []string{"Deliberate"}}
	price := s.want(s.call("POST", "/generate/async", owner, body.with(fields{"dry_run": true})), http.StatusOK).number("kudos")
	before := s.kudos(owner)
	answers := s.atOnce(60, func(int) answer { return s.call("POST", "/generate/async", key, body) })
	got := count(answers)
	if got["202"] == 0 || got["202"]+got["403 SharedKeyInsufficientKudos"]+got["403 SharedKeyEmpty"] != 60 {
		t.Errorf("got %v", got)
	}
	for range got["202"] {
		s.deliver(w, s.popImage(w, "painter", nil))
	}
	k := s.want(s.get("/sharedkeys/"+key.key, account{}), http.StatusOK)
	spent := before - s.kudos(owner)
	t.Logf("%d requests of about %v kudos for a budget of 50: %v were spent, the key has %v left and says %v", got["202"], price, spent, k.at("kudos"), k.at("utilized"))
	if spent > 50+price {
		t.Errorf("a key of 50 kudos has spent %v", spent)
	}
	if left := k.number("kudos"); left < 0 {
		t.Errorf("the key has %v kudos", left)
	}
	// Limits of a job, in every way that a job can be described.
	small := s.share(owner, fields{"max_image_pixels": 262144, "max_image_steps": 20, "max_text_tokens": 80})
	for _, c := range []struct {
		kind, params string
		status       int
	}{
		{"image", `{"width":512,"height":512,"steps":20}`, 202}, {"image", `{"width":512,"height":576,"steps":20}`, 400}, {"image", `{"width":576,"height":512,"steps":20}`, 400}, {"image", `{"steps":21}`, 400},
		{"image", `{}`, 400}, {"text", `{"max_length":80}`, 202}, {"text", `{"max_length":81}`, 400}, {"text", `{}`, 202},
	} {
		a := s.call("POST", generate(c.kind)+"/async", small, `{"prompt":"x","params":`+c.params+`}`)
		if a.status != c.status || c.status == 400 && a.rc() != "BadRequest" {
			t.Errorf("%s %s: %d %.300s, want %d", c.kind, c.params, a.status, a.text, c.status)
		}
	}
	none := s.share(owner, fields{"max_image_pixels": 0, "max_text_tokens": 0})
	s.refused(s.call("POST", "/generate/async", none, `{"prompt":"x","params":{"width":64,"height":64}}`), http.StatusBadRequest, "BadRequest")
	s.refused(s.call("POST", "/generate/text/async", none, `{"prompt":"x","params":{"max_length":16}}`), http.StatusBadRequest, "BadRequest")
	// The owner changes the budget while others spend.
	raced := s.share(owner, fields{"kudos": 1000})
	s.atOnce(20, func(i int) answer {
		if i%2 == 0 {
			return s.call("POST", "/generate/async", raced, body)
		}
		return s.call("PATCH", "/sharedkeys/"+raced.key, owner, fields{"kudos": 0})
	})
	s.refused(s.call("POST", "/generate/async", raced, body), http.StatusForbidden, "SharedKeyEmpty")
	s.away(time.Millisecond)
}

// Limits on how many keys there are hold when keys are made at once.
func TestThreatsKeysPerUser(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 8)
	example(t, "cases", 41)
	s := open(t)
	s.needs("PUT:/sharedkeys")
	for _, c := range []struct {
		roles horde.Roles
		want  int
	}{{0, 3}, {horde.Trusted, 10}, {horde.Trusted | horde.Education, 10}} {
		u := s.user(0, c.roles)
		s.counted("keys", s.atOnce(15, func(int) answer { return s.call("PUT", "/sharedkeys", u, fields{"kudos": 1}) }), map[string]int{"200": c.want, "403 Forbidden": 15 - c.want})
		ids := s.want(s.get("/find_user", u), http.StatusOK).strings("sharedkey_ids")
		if len(ids) != c.want {
			t.Errorf("there are %d keys", len(ids))
		}
		s.counted("deletions", s.atOnce(5, func(int) answer { return s.call("DELETE", "/sharedkeys/"+ids[0], u, nil) }), map[string]int{"200": 1, "401 InvalidAPIKey": 4})
		s.want(s.call("PUT", "/sharedkeys", u, fields{"kudos": 1}), http.StatusOK)
	}
}

// A transfer to a key and one to its owner are two targets of one idempotency key, and a replay fills no budget twice.
func TestThreatsReplaysOfTransfersToKeys(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.needs("PUT:/sharedkeys")
	owner, giver := s.user(100, 0), s.user(1000, 0)
	key := s.share(owner, fields{"kudos": 10})
	give := func(to string) answer {
		return s.call("POST", "/kudos/transfer", giver, fields{"username": to, "amount": 5}, header{"Idempotency-Key", "k"})
	}
	s.counted("transfers", s.atOnce(10, func(int) answer { return give(key.key) }), map[string]int{"200": 10})
	s.refused(give(owner.alias()), http.StatusBadRequest, "IdempotencyKeyConflict")
	if got := s.kudos(owner); got != 105 {
		t.Errorf("the owner has %v kudos, want 105", got)
	}
	s.shows(s.want(s.get("/sharedkeys/"+key.key, account{}), http.StatusOK), fields{"kudos": 15})
	s.refused(s.call("POST", "/kudos/transfer", owner, fields{"username": key.key, "amount": 5}), http.StatusBadRequest, "KudosTransferToSelf")
	s.refused(s.call("POST", "/kudos/transfer", key, fields{"username": giver.alias(), "amount": 5}), http.StatusUnauthorized, "InvalidAPIKey")
}

// Styles run on the key that is bound to them, so nobody binds what is not theirs, and nobody uses a style with no key of their own.
func TestThreatsStylesAndKeys(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.needs("PUT:/sharedkeys", "POST:/styles/image", "PATCH:/styles/image/{}")
	owner, thief, client := s.user(10_000, horde.Customizer), s.user(100, horde.Customizer), s.user(100, 0)
	key := s.share(owner, nil)
	style := func(as account, more fields) answer {
		return s.call("POST", "/styles/image", as, fields{"name": fresh("style"), "prompt": "{p}{np}", "models": []string{"Deliberate"}}.with(more))
	}
	s.refused(style(thief, fields{"sharedkey": key.key}), http.StatusForbidden, "Forbidden")
	his := s.want(style(thief, nil), http.StatusOK).str("id")
	s.refused(s.call("PATCH", "/styles/image/"+his, thief, fields{"sharedkey": key.key}), http.StatusForbidden, "Forbidden")
	s.want(s.call("POST", "/generate/async", key, `{"prompt":"x"}`), http.StatusAccepted) // the thief has not disabled it
	mine := s.want(style(owner, fields{"sharedkey": key.key}), http.StatusOK).str("id")
	s.refused(s.call("POST", "/generate/async", key, `{"prompt":"x"}`), http.StatusForbidden, "SharedKeyAssignedStyles")
	s.refused(s.call("POST", "/generate/async", account{0, horde.NewKey()}, fields{"prompt": "x", "style": mine}), http.StatusUnauthorized, "InvalidAPIKey")
	before, his0 := s.kudos(owner), s.kudos(client)
	s.want(s.call("POST", "/generate/async", client, fields{"prompt": "x", "style": mine}), http.StatusAccepted)
	if s.kudos(client) != his0 || s.kudos(owner) >= before {
		t.Errorf("the client paid %v, the owner of the key %v", his0-s.kudos(client), before-s.kudos(owner))
	}
	// Names lead to whom they name: nobody answers for another's style by taking its name.
	name := s.want(s.get("/styles/image/"+mine, account{}), http.StatusOK).str("name")
	s.want(style(thief, fields{"name": name}), http.StatusOK)
	full := fmt.Sprint("style::x#", owner.id, "::", name)
	for range 3 {
		a := s.want(s.get("/styles/image_by_name/"+strings.NewReplacer("#", "%23", " ", "%20").Replace(full), account{}), http.StatusOK)
		if a.str("id") != mine {
			t.Errorf("%s leads to another's style", full)
		}
	}
	// Styles are counted and rewarded when they are used, by those who pay, and never by their authors.
	uses := s.want(s.get("/styles/image/"+mine, account{}), http.StatusOK).number("use_count")
	s.call("POST", "/generate/async", client, fields{"prompt": "x", "style": mine, "dry_run": true})
	s.call("POST", "/generate/async", client, fields{"prompt": "x", "style": mine, "webhook": "http://not-https.example"})
	if again := s.want(s.get("/styles/image/"+mine, account{}), http.StatusOK).number("use_count"); again != uses {
		t.Errorf("a style is counted when nothing is made: %v, then %v", uses, again)
	}
	rich := s.kudos(thief)
	s.call("POST", "/generate/async", thief, fields{"prompt": "x", "style": his})
	if s.kudos(thief) > rich {
		t.Error("an author earns by using the own style")
	}
}

// The names of styles, collections and teams are taken once, whoever is first.
func TestRacesOfStyles(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.needs("POST:/styles/image", "POST:/styles/text", "POST:/collections")
	u, mod := s.user(100, horde.Customizer), s.user(0, horde.Moderator)
	got := count(s.atOnce(10, func(i int) answer {
		if i%2 == 0 {
			return s.call("POST", "/styles/text", u, fields{"name": "the same", "prompt": "{p}", "models": []string{"test/7B"}})
		}
		return s.call("POST", "/styles/image", u, fields{"name": "the same", "prompt": "{p}{np}", "models": []string{"Deliberate"}})
	}))
	if got["200"] != 1 || got["400 BadRequest"] != 9 {
		t.Errorf("one name, two kinds: %v", got)
	}
	id := s.want(s.call("POST", "/styles/image", u, fields{"name": "another", "prompt": "{p}{np}", "models": []string{"Deliberate"}}), http.StatusOK).str("id")
	got = count(s.atOnce(10, func(i int) answer {
		return s.call("POST", "/styles/image/"+id+"/example", u, fields{"url": fmt.Sprintf("https://example.org/%d.webp", i), "primary": true})
	}))
	if got["200"] != 4 {
		t.Errorf("examples: %v", got)
	}
	primaries := 0
	for _, e := range s.want(s.get("/styles/image/"+id, account{}), http.StatusOK).list("examples") {
		if e.(map[string]any)["primary"] == true {
			primaries++
		}
	}
	if primaries != 1 {
		t.Errorf("%d examples are the primary one", primaries)
	}
	got = count(s.atOnce(10, func(i int) answer {
		return s.call("POST", "/collections", u, fields{"name": "one collection", "styles": []string{id}})
	}))
	if got["200"] != 1 || got["400 BadRequest"] != 9 {
		t.Errorf("collections: %v", got)
	}
	got = count(s.atOnce(10, func(i int) answer { return s.call("DELETE", "/styles/image/"+id, []account{u, mod}[i%2], nil) }))
	if got["200"] != 1 || got["404 StyleNotFound"] != 9 {
		t.Errorf("deletions: %v", got)
	}
	s.away(time.Millisecond)
}

// An example is edited through its own style only: owning any style opens no other's.
func TestThreatsExamplesOfOthers(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.needs("POST:/styles/image", "POST:/styles/image/{}/example")
	a, b := s.scene([]string{"example"}), s.scene([]string{"example"})
	theirs, style := a.object("example"), b.object("image style")
	b.object("example")
	for _, c := range []struct{ method, body string }{{"PATCH", `{"url":"https://evil.example/x.webp"}`}, {"DELETE", ""}} {
		var body any
		if c.body != "" {
			body = c.body
		}
		s.refused(s.call(c.method, "/styles/image/"+style+"/example/"+theirs, b.owner, body), http.StatusNotFound, "Style exampleNotFound")
		s.refused(s.call(c.method, "/styles/image/"+a.object("image style")+"/example/"+theirs, b.owner, body), http.StatusForbidden, "Forbidden")
	}
	if got := s.want(s.get("/styles/image/"+a.object("image style"), account{}), http.StatusOK); len(got.list("examples")) != 1 || got.str("examples", 0, "url") != "https://example.org/first.webp" {
		t.Errorf("the example is %s", got.text)
	}
}

// What moderators look at is not shown to others afterwards, and what a filter found is told to nobody.
func TestThreatsFilters(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.needs("PUT:/filters", "POST:/filters", "GET:/filters/{}")
	mod, u := s.user(0, horde.Moderator), s.user(1000, 0)
	id := s.want(s.call("PUT", "/filters", mod, fields{"regex": "zebracorn", "filter_type": 10}), http.StatusOK).str("id")
	other := s.want(s.call("PUT", "/filters", mod, fields{"regex": "vermillex", "filter_type": 20}), http.StatusOK).str("id")
	for _, path := range []string{"/filters", "/filters/" + id, "/filters/regex"} {
		for range 2 {
			s.want(s.get(path, mod), http.StatusOK)
			for _, as := range []account{u, anonymous, {0, horde.NewKey()}} {
				if a := s.get(path, as); a.status < 400 || strings.Contains(a.text, "zebracorn") {
					t.Errorf("%s: %d %s", path, a.status, a.text)
				}
			}
			if a := s.get(path, account{}); a.status < 400 {
				t.Errorf("%s: %d %s", path, a.status, a.text)
			}
		}
	}
	// Ids of filters that are not there are refused to strangers as those that are.
	s.same("a filter", s.get("/filters/"+id, u), s.get("/filters/"+other, u))
	s.counted("deletions", s.atOnce(8, func(int) answer { return s.call("DELETE", "/filters/"+other, mod, nil) }), map[string]int{"200": 1, "404 FilterNotFound": 7})
	s.want(s.call("PUT", "/filters", mod, fields{"regex": "vermillex", "filter_type": 20}), http.StatusOK)
	a := s.call("POST", "/generate/async", u, fields{"prompt": "a zebracorn, vermillex", "replacement_filter": false}, header{"X-Forwarded-For", "203.0.113.50"})
	s.refused(a, http.StatusBadRequest, "CorruptPrompt")
	if strings.Contains(a.text, "zebracorn") || strings.Contains(a.text, "vermillex") {
		t.Errorf("the caller is told what was found: %s", a.text)
	}
}

// unsafe takes every address for that of a proxy.
type unsafe struct{}

func (unsafe) Known(netip.Addr) (moderation.Safety, bool) { return moderation.Unknown, false }
func (unsafe) Check(netip.Addr) moderation.Safety         { return moderation.Unsafe }

// In a raid addresses are checked, whatever key is sent from them.
func TestThreatsRaids(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.Engine.Safety = unsafe{}
	mod, u, trusted := s.user(0, horde.Moderator), s.user(1000, 0), s.user(1000, horde.Trusted)
	_, sharing := s.servedOperations()["PUT:/sharedkeys"]
	keys := map[string]account{"an account without trust": u, "anonymous": anonymous, "an account without a login": s.userAs("", 1000, 0)}
	if sharing {
		keys["a shared key"] = s.share(u, nil)
	}
	for name, as := range keys {
		if a := s.call("POST", "/generate/async", as, `{"prompt":"x"}`); a.status != http.StatusAccepted {
			t.Errorf("without a raid, %s: %d %.300s", name, a.status, a.text)
		}
	}
	s.want(s.call("PUT", "/status/modes", mod, `{"raid_mode":true}`), http.StatusOK)
	for name, as := range keys {
		a := s.call("POST", "/generate/async", as, `{"prompt":"x"}`)
		if a.status != http.StatusForbidden || a.rc() != "UntrustedUnsafeIP" {
			t.Errorf("in a raid, %s: %d %.300s", name, a.status, a.text)
		}
		if strings.Contains(strings.ToLower(a.text), "raid") {
			t.Errorf("%s is told of the raid: %s", name, a.text)
		}
	}
	s.want(s.call("POST", "/generate/async", trusted, `{"prompt":"x"}`), http.StatusAccepted)
	if a := s.get("/status/modes", account{}); strings.Contains(a.text, "raid") {
		t.Errorf("everybody sees the raid: %s", a.text)
	}
}
