// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
)

// The worked examples of the accounts chapter, as far as the API reaches them.

func TestKeysHave22Characters(t *testing.T) {
	t.Parallel()
	s := open(t)
	if key := s.user(0, 0).key; len(key) != 22 || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		t.Errorf("a key is %q, want 22 characters of URL-safe base64", key)
	}
}

func TestAccounts2TheAnonymousAccount(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 2)
	s := open(t)
	a := s.want(s.get("/find_user", anonymous), http.StatusOK)
	s.shows(a, fields{
		"username": "Anonymous#0", "id": 0, "concurrency": 500, "worker_ids": []any{}, "sharedkey_ids": []any{}, "vpn": false,
		"special": false, "pseudonymous": false, "trusted": false, "moderator": false, "kudos": 0, "styles": []any{},
	})
	for _, key := range []string{"contact", "active_generations", "monthly_kudos", "evaluating_kudos", "suspicious", "admin_comment", "proxy_passkey", "message"} {
		if a.has(key) {
			t.Errorf("%s is shown: %s", key, a.text)
		}
	}
	for key, want := range map[string]string{
		"usage": `{"megapixelsteps":null,"requests":null}`, "contributions": `{"megapixelsteps":null,"fulfillments":null}`,
		"records": `{"usage":{"megapixelsteps":0,"tokens":0},"contribution":{"megapixelsteps":0,"tokens":0},` +
			`"fulfillment":{"image":0,"text":0,"interrogation":0},"request":{"image":0,"text":0,"interrogation":0},"style":{"image":0,"text":0,"interrogation":0}}`,
	} {
		if !strings.Contains(a.text, fmt.Sprintf("%q:%s", key, want)) {
			t.Errorf("%s is not %s: %s", key, want, a.text)
		}
	}
	list := s.want(s.get("/users", account{}), http.StatusOK)
	row := answer{value: list.at(0)}
	for key, want := range map[string]string{"contact": "<nil>", "active_generations": "map[]", "monthly_kudos": "map[]"} {
		if !row.has(key) || fmt.Sprint(row.at(key)) != want {
			t.Errorf("in the list %s is %v, want %v: %s", key, row.at(key), want, list.text)
		}
	}
}

func TestAccounts3UsersThatAreNotFound(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 3)
	s := open(t)
	s.refused(s.get("/find_user", account{}), http.StatusUnauthorized, "InvalidAPIKey")
	a := s.refused(s.get("/find_user", account{0, "no-such-key"}), http.StatusNotFound, "UserNotFound")
	if strings.Contains(a.text, "no-such-key") {
		t.Errorf("the answer repeats the key: %s", a.text)
	}
	s.refused(s.get("/users/0", account{0, "no-such-key"}), http.StatusUnauthorized, "InvalidAPIKey")
}

func TestAccounts4WhoMayChangeWhat(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 4)
	example(t, "cases", 35)
	s := open(t)
	target, stranger, mod, admin := s.user(0, 0), s.user(0, 0), s.user(0, horde.Moderator), s.user(0, 0)
	s.Engine.Admins = []horde.UserID{admin.id}
	for _, c := range []struct {
		name   string
		as     account
		body   string
		status int
		rc     string
		field  string
	}{
		{"trusted by a stranger", stranger, `{"trusted":true}`, 403, "NotModerator", ""},
		{"public_workers by a stranger", stranger, `{"public_workers":true}`, 403, "NotModerator", ""},
		{"kudos by a moderator", mod, `{"kudos":1000}`, 403, "NotAdmin", ""},
		{"moderator by a moderator", mod, `{"moderator":true}`, 403, "NotAdmin", ""},
		{"trusted by the account itself", target, `{"trusted":true}`, 403, "NotModerator", ""},
		{"kudos by the account itself", target, `{"kudos":1}`, 403, "NotAdmin", ""},
		{"trusted by an admin who is no moderator", admin, `{"trusted":true}`, 403, "NotModerator", ""},
		{"nothing", mod, `{}`, 400, "NoUserModSelected", ""},
		{"a name of 2 characters", target, `{"username":"ab"}`, 400, "", "username"},
		{"a name of 31 characters", target, `{"username":"` + strings.Repeat("n", 31) + `"}`, 400, "TooLongUserName", ""},
		{"a name of 101 characters", target, `{"username":"` + strings.Repeat("n", 101) + `"}`, 400, "", "username"},
		{"B035 a name of 100 emoji", target, `{"username":"` + strings.Repeat("😀", 100) + `"}`, 400, "TooLongUserName", ""},
		{"a name of 30 ampersands", target, `{"username":"` + strings.Repeat("&", 30) + `"}`, 400, "TooLongUserName", ""},
		{"a profane name", target, `{"username":"fuck you"}`, 400, "ProfaneUserName", ""},
		{"a profane contact", target, `{"contact":"fuck this"}`, 400, "ProfaneUserContact", ""},
		{"a profane comment", mod, `{"admin_comment":"fuck this"}`, 400, "ProfaneAdminComment", ""},
		{"concurrency 501", mod, `{"concurrency":501}`, 400, "", "concurrency"},
		{"an unknown key", account{0, "bogus"}, `{"contact":"me@example.org"}`, 401, "InvalidAPIKey", ""},
		{"no key", account{}, `{"contact":"me@example.org"}`, 400, "", "apikey"},
		{"a passkey for no service", target, `{"generate_proxy_passkey":true}`, 403, "NonServiceForbidden", ""},
		{"undelete what is not deleted", target, `{"undelete":true}`, 400, "UserNotDeleted", ""},
		{"the first failure in the order of the table", mod, `{"username":"fuck you","kudos":5}`, 403, "NotAdmin", ""},
		{"one bad field keeps the others out", mod, `{"concurrency":77,"username":"fuck you"}`, 400, "ProfaneUserName", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			a := s.call("PUT", target.path(), c.as, c.body)
			if c.field != "" {
				s.invalid(a, c.field)
				return
			}
			s.refused(a, c.status, c.rc)
		})
	}
	s.refused(s.call("PUT", "/users/0", anonymous, `{"public_workers":false}`), http.StatusForbidden, "AnonForbiddenUserMod")
	s.shows(s.want(s.get(target.path(), mod), http.StatusOK), fields{
		"concurrency": 30, "trusted": false, "moderator": false, "kudos": 0, "worker_invited": 0, "contact": nil, "admin_comment": nil,
	})
	t.Run("what may be changed is", func(t *testing.T) {
		s := s.in(t)
		for _, c := range []struct {
			as   account
			body string
			want string
		}{
			{admin, `{"kudos":100.9}`, `{"new_kudos":100}`},
			{admin, `{"usage_multiplier":2.5}`, `{"usage_multiplier":2.5}`},
			{mod, `{"concurrency":31,"worker_invited":2}`, `{"concurrency":31,"worker_invited":2}`},
			{mod, `{"customizer":true,"vpn":true,"special":true,"trusted":true}`, `{"trusted":true,"customizer":true,"vpn":true,"special":true}`},
			{mod, `{"admin_comment":"a nice one"}`, `{"admin_comment":"a nice one"}`},
			{target, `{"public_workers":true}`, `{"public_workers":true}`},
			{target, `{"username":"Somebody Else"}`, `{"username":"Somebody Else"}`},
			{target, `{"contact":"  me <me@example.org> "}`, `{"contact":"me &lt;me@example.org&gt;"}`},
		} {
			a := s.want(s.call("PUT", target.path(), c.as, c.body), http.StatusOK)
			if strings.TrimSpace(a.text) != c.want {
				t.Errorf("%s answers %s, want %s", c.body, a.text, c.want)
			}
		}
		s.shows(s.get(target.path(), mod), fields{"username": fmt.Sprint("Somebody Else#", target.id), "admin_comment": "a nice one", "vpn": true})
		s.want(s.call("PUT", target.path(), admin, `{"moderator":true}`), http.StatusOK)
		s.shows(s.get(target.path(), account{}), fields{"moderator": true, "trusted": true})
		s.want(s.call("PUT", target.path(), admin, `{"moderator":false}`), http.StatusOK)
		s.shows(s.get(target.path(), account{}), fields{"moderator": false, "trusted": true})
		// Setters of the anonymous account answer the unchanged value.
		s.shows(s.want(s.call("PUT", "/users/0", mod, `{"trusted":true}`), http.StatusOK), fields{"trusted": false})
	})
}

func TestAccounts5Education(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 5)
	s := open(t)
	mod, u := s.user(0, horde.Moderator), s.user(0, 0)
	for _, c := range []struct{ body, want string }{
		{`{"education":true}`, `map[concurrency:200 education:true]`},
		{`{"education":false}`, `map[concurrency:30 education:false]`},
		{`{"concurrency":250}`, `map[concurrency:250]`},
		{`{"education":true}`, `map[education:true]`},
	} {
		if a := s.want(s.call("PUT", u.path(), mod, c.body), http.StatusOK); fmt.Sprint(a.value) != c.want {
			t.Errorf("%s answers %v, want %s", c.body, a.value, c.want)
		}
	}
	s.shows(s.get(u.path(), account{}), fields{"concurrency": 250, "education": true})
	t.Run("its images are safe and made by trusted workers", func(t *testing.T) {
		s := s.in(t)
		w, trusted := s.user(0, 0), s.user(0, horde.Trusted)
		s.image(u, `{"prompt":"x","models":["Deliberate"],"nsfw":true,"censor_nsfw":false,"trusted_workers":false}`)
		s.skips(s.popImage(w, "w", nil), fields{"untrusted": 1})
		s.shows(answer{value: s.popImage(trusted, "t", fields{"nsfw": false}).at("payload")}, fields{"use_nsfw_censor": true})
	})
}

func TestAccounts6ALifeOfAnAccount(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 6)
	inBubble(t, func(t *testing.T, s *server) {
		const day = 24 * time.Hour
		u, other, mod := s.user(0, 0), s.userAs("", 0, 0), s.user(0, horde.Moderator)
		s.popText(u, "w", nil)
		s.text(other, `{"prompt":"x"}`)
		s.text(u, `{"prompt":"x"}`) // last active
		s.away(19 * day)
		s.refused(s.call("DELETE", u.path(), other, nil), http.StatusForbidden, "NotUserOrMod")
		s.refused(s.call("DELETE", u.path(), account{}, nil), http.StatusUnauthorized, "InvalidAPIKey")
		s.refused(s.call("DELETE", u.path(), anonymous, nil), http.StatusForbidden, "AnonForbiddenUser")
		s.refused(s.call("DELETE", mod.path(), mod, nil), http.StatusForbidden, "CannotDeleteMod")
		s.refused(s.call("DELETE", "/users/999", u, nil), http.StatusNotFound, "UserNotFound")
		s.refused(s.call("DELETE", "/users/x", u, nil), http.StatusNotFound, "UserNotFound")
		s.shows(s.want(s.call("DELETE", u.path(), u, nil), http.StatusOK), fields{"message": "OK"})
		s.shows(s.get(u.path(), account{}), fields{"deleted": true})
		for _, kind := range []string{"image", "text"} {
			s.refused(s.call("POST", generate(kind)+"/async", u, `{"prompt":"x"}`), http.StatusForbidden, "DeletedUser")
		}
		s.refused(s.tryPopText(u, "w", nil), http.StatusForbidden, "DeletedUser")
		s.want(s.call("PUT", u.path(), u, `{"undelete":true}`), http.StatusOK)
		s.shows(s.get(u.path(), account{}), fields{"deleted": false})
		s.want(s.call("DELETE", u.path(), u, nil), http.StatusOK)
		s.away(10 * day)
		s.refused(s.call("DELETE", u.path(), u, nil), http.StatusForbidden, "CannotWipeActiveUser")
		s.away(2 * day)
		s.shows(s.want(s.call("DELETE", u.path(), mod, nil), http.StatusOK), fields{"message": "OK"})
		s.refused(s.get(u.path(), account{}), http.StatusNotFound, "UserNotFound")
		s.refused(s.get("/find_user", u), http.StatusNotFound, "UserNotFound")
		s.refused(s.get("/workers/name/w", account{}), http.StatusNotFound, "WorkerNotFound")
		s.refused(s.call("POST", "/generate/async", u, `{"prompt":"x"}`), http.StatusUnauthorized, "InvalidAPIKey")
		// Better: a second account can be wiped too.
		s.want(s.call("DELETE", other.path(), other, nil), http.StatusOK)
		s.want(s.call("DELETE", other.path(), mod, nil), http.StatusOK)
		s.refused(s.get(other.path(), account{}), http.StatusNotFound, "UserNotFound")
		if list := s.want(s.get("/users", account{}), http.StatusOK); len(list.list()) != 2 {
			t.Errorf("the list shows wiped accounts: %s", list.text)
		}
		s.away(day) // the books hold without their owner
	})
}

func TestAccounts17Concurrency(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 17)
	example(t, "cases", 23)
	s := open(t)
	u := s.user(0, 0)
	s.image(u, `{"prompt":"x","params":{"n":20}}`)
	s.image(u, `{"prompt":"x","params":{"n":8}}`)
	s.refused(s.call("POST", "/generate/async", u, `{"prompt":"x","params":{"n":3}}`), http.StatusTooManyRequests, "TooManyPrompts")
	s.image(u, `{"prompt":"x","params":{"n":2}}`)
	t.Run("B023 two of twenty", func(t *testing.T) {
		s := s.in(t)
		u := s.user(0, 0)
		s.image(u, `{"prompt":"x","params":{"n":20}}`)
		s.refused(s.call("POST", "/generate/async", u, `{"prompt":"x","params":{"n":20}}`), http.StatusTooManyRequests, "TooManyPrompts")
	})
	t.Run("anonymous counts by model", func(t *testing.T) {
		s := s.in(t)
		for range 25 {
			s.image(anonymous, `{"prompt":"x","models":["RPG"],"params":{"n":20}}`)
		}
		s.refused(s.call("POST", "/generate/async", anonymous, `{"prompt":"x","models":["RPG"]}`), http.StatusTooManyRequests, "TooManyPrompts")
		s.image(anonymous, `{"prompt":"x","models":["ToonYou"]}`)
		s.text(anonymous, `{"prompt":"x"}`)
	})
}

func TestAccounts18Modes(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 18)
	example(t, "status", 12)
	s := open(t)
	u, mod, admin, w := s.user(100, 0), s.user(0, horde.Moderator), s.user(0, 0), s.user(0, 0)
	s.Engine.Admins = []horde.UserID{admin.id}
	put := func(as account, body string) answer { return s.call("PUT", "/status/modes", as, body) }
	shows := func(a answer, want string) {
		t.Helper()
		if got := strings.TrimSpace(s.want(a, http.StatusOK).text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	shows(put(mod, `{"raid_mode":true}`), `{"raid_mode":true}`)
	s.refused(put(mod, `{"maintenance_mode":true}`), http.StatusForbidden, "NotAdmin")
	s.refused(put(mod, `{}`), http.StatusBadRequest, "NoHordeModSelected")
	s.refused(put(u, `{"invite_only_mode":true}`), http.StatusForbidden, "NotModerator")
	s.refused(put(account{0, "bogus"}, `{"raid_mode":true}`), http.StatusUnauthorized, "InvalidAPIKey")
	s.refused(put(account{}, `{"raid_mode":true}`), http.StatusBadRequest, "")
	for _, bad := range []string{`"false"`, `"1"`, `2`, `1.5`, `[]`} {
		s.invalid(put(mod, `{"raid_mode":`+bad+`}`), "raid_mode")
	}
	// 0 and 1 are as good as false and true.
	shows(put(mod, `{"invite_only_mode":1}`), `{"invite_only_mode":true}`)
	shows(put(mod, `{"invite_only_mode":0}`), `{"invite_only_mode":false}`)
	shows(s.get("/status/modes", account{}), `{"maintenance_mode":false,"invite_only_mode":false}`)
	s.shows(s.get("/status/modes", mod), fields{"raid_mode": true})
	s.refused(s.get("/status/modes", u), http.StatusForbidden, "NotModerator")
	shows(s.get("/status/modes", account{}), `{"maintenance_mode":false,"invite_only_mode":false}`)

	image, text := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":2}}`), s.text(u, `{"prompt":"x"}`)
	running := s.popImage(w, "w", nil)
	shows(put(admin, `{"maintenance_mode":true}`), `{"maintenance_mode":true}`)
	s.shows(s.check(image), fields{"waiting": 0, "processing": 1, "done": false})
	s.shows(s.status("text", text), fields{"waiting": 0, "done": true})
	s.noJob(s.popImage(w, "w", nil)) // pops are not blocked
	s.deliver(w, running)
	s.shows(s.check(image), fields{"finished": 1, "done": true})
	shows(put(admin, `{"maintenance_mode":false}`), `{"maintenance_mode":false}`)
	s.image(u, `{"prompt":"x"}`)
}

func TestAccounts20TextsAreSanitised(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 20)
	s := open(t)
	u := s.user(0, 0)
	for in, want := range map[string]string{
		"<script>alert('xss')</script>hello": "&lt;script&gt;alert('xss')&lt;/script&gt;hello",
		"  a & b and more ":                  "a &amp; b and more",
		"a&amp;b and more":                   "a&amp;b and more",
		"a\x01b and more":                    "a?b and more",
		"<b>bold</b> and more":               "&lt;b&gt;bold&lt;/b&gt; and more",
	} {
		s.shows(s.want(s.call("PUT", u.path(), u, fields{"contact": in}), http.StatusOK), fields{"contact": want})
	}
}

func TestUsersAreListedInPages(t *testing.T) {
	t.Parallel()
	s := open(t)
	for i := range 27 {
		s.user(float64(100+i), 0)
	}
	first, second := s.want(s.get("/users", account{}), http.StatusOK), s.want(s.get("/users?page=2&sort=kudos", account{}), http.StatusOK)
	if len(first.list()) != 25 || len(second.list()) != 3 {
		t.Errorf("pages of %d and %d, want 25 and 3", len(first.list()), len(second.list()))
	}
	if first.number(0, "kudos") != 126 || second.number(2, "kudos") != 0 {
		t.Errorf("the order is not by kudos")
	}
	if a := s.want(s.get("/users?sort=age&page=0", account{}), http.StatusOK); a.number(0, "id") != 0 || a.number(24, "id") != 24 {
		t.Errorf("the order is not by age: %v", a.at(0))
	}
	if a := s.want(s.get("/users?page=10001", account{}), http.StatusOK); len(a.list()) != 0 {
		t.Error("there is something on page 10001")
	}
	if a := s.want(s.get("/users?page=3", account{}), http.StatusOK); strings.TrimSpace(a.text) != "[]" {
		t.Errorf("page 3 is %s", a.text)
	}
	s.invalid(s.get("/users?page=x", account{}), "page")
}

func TestB067ActiveGenerationsAreNobodyElsesBusiness(t *testing.T) {
	t.Parallel()
	example(t, "cases", 67)
	s := open(t)
	u, other, mod := s.user(0, 0), s.user(0, 0), s.user(0, horde.Moderator)
	image, text := s.image(u, `{"prompt":"x"}`), s.text(u, `{"prompt":"x"}`)
	s.image(anonymous, `{"prompt":"x"}`)
	for _, as := range []account{u, mod} {
		a := s.want(s.get(u.path(), as), http.StatusOK)
		if !slices.Equal(a.strings("active_generations", "image"), []string{image}) || !slices.Equal(a.strings("active_generations", "text"), []string{text}) {
			t.Errorf("active_generations is %v", a.at("active_generations"))
		}
	}
	for _, as := range []account{other, anonymous, {}} {
		if a := s.want(s.get(u.path(), as), http.StatusOK); a.has("active_generations") || strings.Contains(a.text, image) {
			t.Errorf("a stranger sees %s", a.text)
		}
	}
	if a := s.get("/users", mod); strings.Contains(a.text, image) {
		t.Errorf("the list shows %s", a.text)
	}
	if a := s.get("/find_user", anonymous); a.has("active_generations") && len(a.at("active_generations").(map[string]any)) > 0 {
		t.Errorf("anonymous sees the requests of everybody: %s", a.text)
	}
	private := []string{"contact", "vpn", "special", "sharedkey_ids", "worker_ids", "evaluating_kudos", "suspicious", "admin_comment", "proxy_passkey"}
	public := slices.Collect(maps.Keys(s.get(u.path(), other).value.(map[string]any)))
	for _, key := range private {
		if slices.Contains(public, key) {
			t.Errorf("a stranger sees %s", key)
		}
	}
}

// TestAccounts36TheClockOfDeletion tells what moves the 30 days, and what does not.
func TestAccounts36TheClockOfDeletion(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		const day = 24 * time.Hour
		reader, requester, maker, somebody := s.user(0, 0), s.user(100, 0), s.user(0, horde.Trusted), s.user(100, 0)
		s.away(20 * day)
		// Reading, changing, receiving: none of it is activity.
		s.want(s.get("/find_user", reader), http.StatusOK)
		s.want(s.get(reader.path(), reader), http.StatusOK)
		s.want(s.call("PUT", reader.path(), reader, `{"public_workers":true}`), http.StatusOK)
		s.want(s.call("POST", "/kudos/transfer", somebody, fields{"username": fmt.Sprint("x#", reader.id), "amount": 1}), http.StatusOK)
		// Asking and delivering are.
		s.text(requester, `{"prompt":"x"}`)
		s.deliverText(maker, s.job(s.popText(maker, "w", nil)), "y")
		s.away(11 * day)
		for _, u := range []account{reader, requester, maker} {
			s.want(s.call("DELETE", u.path(), u, nil), http.StatusOK)
		}
		s.want(s.call("DELETE", reader.path(), reader, nil), http.StatusOK)
		s.refused(s.call("DELETE", requester.path(), requester, nil), http.StatusForbidden, "CannotWipeActiveUser")
		s.refused(s.call("DELETE", maker.path(), maker, nil), http.StatusForbidden, "CannotWipeActiveUser")
		s.away(20 * day)
		s.want(s.call("DELETE", requester.path(), requester, nil), http.StatusOK)
		s.want(s.call("DELETE", maker.path(), maker, nil), http.StatusOK)
		for _, u := range []account{reader, requester, maker} {
			s.refused(s.get(u.path(), account{}), http.StatusNotFound, "UserNotFound")
			s.refused(s.call("PUT", u.path(), u, `{"undelete":true}`), http.StatusNotFound, "UserNotFound")
			s.refused(s.call("POST", "/kudos/transfer", somebody, fields{"username": fmt.Sprint("x#", u.id), "amount": 1}), http.StatusBadRequest, "InvalidTargetUsername")
		}
		s.away(day) // the books hold
	})
}
