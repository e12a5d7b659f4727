// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/horde"
)

// Shared keys: accounts chapter, 4, kudos chapter, 12, and styles chapter, 6.

// sharedKey is what a shared key is now.
func (s *server) sharedKey(k account, want fields) answer {
	s.t.Helper()
	return s.shows(s.want(s.get("/sharedkeys/"+k.key, account{}), http.StatusOK), want)
}

func TestSharedKeysAreMadeChangedAndRemoved(t *testing.T) {
	t.Parallel()
	s := open(t)
	owner, stranger, mod := s.user(100, 0), s.user(100, 0), s.user(0, horde.Moderator)
	alias := s.want(s.get("/find_user", owner), http.StatusOK).str("username")
	made := s.want(s.call("PUT", "/sharedkeys", owner, fields{"name": "the <crew>", "kudos": "300", "expiry": -1, "max_image_pixels": 900000, "max_image_steps": 600.0}), http.StatusOK)
	s.shows(made, fields{"username": alias, "name": "the &lt;crew&gt;", "kudos": 300, "utilized": 0, "max_image_pixels": 900000, "max_image_steps": 600, "max_text_tokens": -1, "expiry": nil, "message": nil})
	id := made.str("id")
	plain := s.want(s.call("PUT", "/sharedkeys", owner, nil), http.StatusOK)
	s.shows(plain, fields{"kudos": 5000, "utilized": 0, "name": nil, "expiry": nil, "max_image_pixels": -1, "max_image_steps": -1, "max_text_tokens": -1})
	for _, c := range []struct {
		name         string
		method, path string
		as           account
		body         string
		status       int
		rc           string
		field        string
	}{
		{"no key", "PUT", "", account{}, `{}`, 400, "", "apikey"},
		{"an unknown key", "PUT", "", account{0, "bogus"}, `{}`, 401, "InvalidAPIKey", ""},
		{"anonymous", "PUT", "", anonymous, `{}`, 403, "AnonForbidden", ""},
		{"a profane name", "PUT", "", owner, `{"name":"fuck you"}`, 400, "BadRequest", ""},
		{"a budget below -1", "PUT", "", owner, `{"kudos":-2}`, 400, "", "kudos"},
		{"too large a budget", "PUT", "", owner, `{"kudos":50000001}`, 400, "", "kudos"},
		{"too many days", "PUT", "", owner, `{"expiry":36501}`, 400, "", "expiry"},
		{"steps below -1", "PUT", "", owner, `{"max_image_steps":-2}`, 400, "", "max_image_steps"},
		{"pixels beyond 32 bits", "PUT", "", owner, `{"max_image_pixels":2147483648}`, 400, "", "max_image_pixels"},
		{"tokens that are no number", "PUT", "", owner, `{"max_text_tokens":"many"}`, 400, "", "max_text_tokens"},
		{"a name of 256 characters", "PUT", "", owner, `{"name":"` + strings.Repeat("n", 256) + `"}`, 400, "", "name"},
		{"a name that is longer as it is kept", "PUT", "", owner, `{"name":"` + strings.Repeat("&", 60) + `"}`, 400, "", "name"},
		{"an unknown shared key", "GET", "/" + nobodysUUID, account{}, ``, 401, "InvalidAPIKey", ""},
		{"no UUID", "GET", "/nope", account{}, ``, 401, "InvalidAPIKey", ""},
		{"changed, unknown", "PATCH", "/nope", owner, `{"kudos":1}`, 401, "InvalidAPIKey", ""},
		{"changed by nobody", "PATCH", "/" + id, account{0, "bogus"}, `{"kudos":1}`, 401, "InvalidAPIKey", ""},
		{"changed by a stranger", "PATCH", "/" + id, stranger, `{}`, 403, "Forbidden", ""},
		{"changed by a moderator", "PATCH", "/" + id, mod, `{"kudos":1}`, 403, "Forbidden", ""},
		{"changed by itself", "PATCH", "/" + id, account{0, id}, `{"kudos":1}`, 401, "InvalidAPIKey", ""},
		{"nothing", "PATCH", "/" + id, owner, `{}`, 400, "NoSharedKeyModSelected", ""},
		{"a profane change", "PATCH", "/" + id, owner, `{"kudos":1,"name":"fuck you"}`, 400, "BadRequest", ""},
		{"removed by a stranger", "DELETE", "/" + id, stranger, ``, 403, "Forbidden", ""},
		{"removed by a moderator", "DELETE", "/" + id, mod, ``, 403, "Forbidden", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			var body any
			if c.body != "" {
				body = c.body
			}
			a := s.call(c.method, "/sharedkeys"+c.path, c.as, body)
			if c.field != "" {
				s.invalid(a, c.field)
				return
			}
			s.refused(a, c.status, c.rc)
		})
	}
	s.sharedKey(account{0, id}, fields{"kudos": 300, "name": "the &lt;crew&gt;"})
	s.shows(s.want(s.call("PATCH", "/sharedkeys/"+id, owner, `{"kudos":-1,"name":"","expiry":"30"}`), http.StatusOK), fields{"kudos": -1, "name": nil, "max_image_steps": 600})
	if a := s.sharedKey(account{0, strings.ToUpper(id)}, nil); !strings.HasSuffix(a.str("expiry"), " -0000") {
		t.Errorf("the key ends %q", a.str("expiry"))
	}
	s.shows(s.want(s.call("PATCH", "/sharedkeys/"+id, owner, `{"expiry":-1}`), http.StatusOK), fields{"expiry": nil})
	// What is shown of the account has the keys at once, for itself and for moderators.
	both := []string{id, plain.str("id")}
	for _, as := range []account{owner, mod} {
		if got := s.want(s.get(owner.path(), as), http.StatusOK).strings("sharedkey_ids"); fmt.Sprint(got) != fmt.Sprint(both) {
			t.Errorf("the keys are %v, want %v", got, both)
		}
	}
	if name := s.want(s.get("/find_user", account{0, id}), http.StatusOK).str("username"); name != alias+" (Shared Key)" {
		t.Errorf("the key is called %q", name)
	}
	s.shows(s.want(s.call("DELETE", "/sharedkeys/"+id, owner, nil), http.StatusOK), fields{"message": "OK"})
	if got := s.want(s.get("/find_user", owner), http.StatusOK).strings("sharedkey_ids"); fmt.Sprint(got) != fmt.Sprint(both[1:]) {
		t.Errorf("the keys are %v, want %v", got, both[1:])
	}
	s.refused(s.get("/sharedkeys/"+id, account{}), http.StatusUnauthorized, "InvalidAPIKey")
	s.refused(s.get("/find_user", account{0, id}), http.StatusNotFound, "UserNotFound")
}

// Worked example 7: in thirty days a key has ended, and what it says of itself outlives a restart.
func TestSharedKeysEndAndLast(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 7)
	inBubble(t, func(t *testing.T, s *server) {
		owner, giver := s.user(1000, 0), s.user(1000, 0)
		key := s.share(owner, fields{"expiry": 30, "name": "thirty days"})
		until := time.Now().UTC().AddDate(0, 0, 30).Format("Mon, 02 Jan 2006 15:04:05 -0000")
		s.sharedKey(key, fields{"expiry": until, "kudos": 5000, "utilized": 0})
		never := s.share(owner, fields{"expiry": 0})
		s.sharedKey(never, fields{"expiry": nil})
		s.text(key, `{"prompt":"x"}`)
		s.away(29 * 24 * time.Hour)
		s.sharedKey(key, fields{"expiry": until, "kudos": 4999, "utilized": 1, "name": "thirty days"})
		s.text(key, `{"prompt":"x"}`)
		s.away(25 * time.Hour)
		s.refused(s.call("POST", "/generate/text/async", key, `{"prompt":"x","allow_downgrade":true}`), http.StatusForbidden, "SharedKeyExpired")
		s.refused(s.call("POST", "/kudos/transfer", giver, fields{"username": key.key, "amount": 5}), http.StatusBadRequest, "SharedKeyExpired")
		s.text(never, `{"prompt":"x"}`)
		s.want(s.call("PATCH", "/sharedkeys/"+never.key, owner, `{"expiry":0}`), http.StatusOK)
		s.refused(s.call("POST", "/generate/text/async", never, `{"prompt":"x"}`), http.StatusForbidden, "SharedKeyExpired")
		// Empty is told before expired.
		s.want(s.call("PATCH", "/sharedkeys/"+never.key, owner, `{"kudos":0}`), http.StatusOK)
		s.refused(s.call("POST", "/generate/text/async", never, `{"prompt":"x"}`), http.StatusForbidden, "SharedKeyEmpty")
	})
}

// Accounts chapter, examples 7 and 8; clients chapter, examples 17 and 18; kudos chapter, example 20; and field case B043.
func TestSharedKeysOfTheExamples(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 7, 8)
	example(t, "clients", 17, 18)
	example(t, "kudos", 20)
	example(t, "cases", 43)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
		s := open(t)
		owner, giver, w := s.user(10_000, 0), s.user(1000, 0), s.user(100, horde.Trusted)
		made := s.want(s.call("PUT", "/sharedkeys", owner, `{"kudos":5000,"expiry":30}`), http.StatusOK)
		s.shows(made, fields{"expiry": "Sat, 31 Jan 2026 00:00:00 -0000", "utilized": 0, "kudos": 5000, "max_image_pixels": -1, "max_image_steps": -1, "max_text_tokens": -1})
		if made.has("name") {
			t.Errorf("a key without a name has one: %s", made.text)
		}
		key := account{owner.id, made.str("id")}
		// A text costs its tax of 1 and 6.62: what is left and what is used are shown without their hundredths.
		s.text(key, fields{"prompt": strings.Repeat("p", 4000), "models": []string{"test/7B"}, "params": fields{"max_length": 80}})
		s.deliverText(w, s.job(s.popText(w, "scribe", nil)), strings.Repeat("a", 500))
		s.sharedKey(key, fields{"kudos": 4992, "utilized": 7})
		if got := s.kudos(owner); got != 10_000-7.62 {
			t.Errorf("the owner has %v", got)
		}

		gift := s.share(owner, nil)
		had := s.kudos(owner)
		s.shows(s.want(s.call("POST", "/kudos/transfer", giver, fields{"username": gift.key, "amount": 500}), http.StatusOK), fields{"transferred": 500.0})
		s.sharedKey(gift, fields{"kudos": 5500})
		if got := s.kudos(owner) - had; got != 500 {
			t.Errorf("the owner got %v of what the key was given", got)
		}

		// The body of one program, which writes its numbers as texts.
		change := func(body string) answer { return s.call("PATCH", "/sharedkeys/"+key.key, owner, body) }
		a := s.want(change(`{"name":"k","kudos":5000,"expiry":"30","max_image_pixels":-1,"max_image_steps":-1,"max_text_tokens":-1}`), http.StatusOK)
		s.shows(a, fields{"name": "k", "kudos": 5000, "expiry": "Sat, 31 Jan 2026 00:00:00 -0000", "max_image_pixels": -1})
		s.invalid(change(`{"expiry":"NaN"}`), "expiry")

		// What is not sent stays as it is, and the name is told.
		s.want(change(`{"kudos":300,"max_image_steps":40}`), http.StatusOK)
		for range 2 {
			s.shows(s.want(change(`{"name":"x"}`), http.StatusOK), fields{"name": "x", "kudos": 300})
			s.sharedKey(key, fields{"name": "x", "kudos": 300, "max_image_steps": 40, "expiry": "Sat, 31 Jan 2026 00:00:00 -0000", "utilized": 7})
			s.away(time.Second)
		}
	})
	t.Run("8 limits of a job", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		owner := s.user(100_000, 0)
		pixels, steps := s.share(owner, fields{"max_image_pixels": 262144}), s.share(owner, fields{"max_image_steps": 0})
		for _, c := range []struct {
			name string
			key  account
			kind string
			body fields
			ok   bool
		}{
			{"512x512 of 262144", pixels, "image", size(512, 512, nil), true},
			{"512x576 of 262144", pixels, "image", size(512, 576, nil), false},
			{"576x512 of 262144", pixels, "image", size(576, 512, nil), false},
			{"a text beside", pixels, "text", nil, true},
			{"no steps at all", steps, "image", size(64, 64, fields{"steps": 1}), false},
			{"no steps, with the default", steps, "image", nil, false},
			{"tokens without a limit", steps, "text", fields{"params": fields{"max_length": 4096, "max_context_length": 8192}}, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				s := s.in(t)
				a := s.call("POST", generate(c.kind)+"/async", c.key, fields{"prompt": "x"}.with(c.body))
				if c.ok {
					s.want(a, http.StatusAccepted)
				} else {
					s.refused(a, http.StatusBadRequest, "BadRequest")
				}
			})
		}
	})
}

// The owner pays for everything, tax and results, and the key counts the same amounts.
func TestSharedKeysTheOwnerPaysAndTheKeyCounts(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		owner, w := s.user(10_000, 0), s.user(0, horde.Trusted)
		key, free := s.share(owner, fields{"kudos": 500}), s.share(owner, fields{"kudos": -1})
		spend := func(key account) float64 {
			before := s.kudos(owner)
			s.image(key, fields{"prompt": "x", "models": []string{"Deliberate"}, "params": fields{"n": 2}})
			s.away(time.Second) // what is set aside outlives a restart
			for range 2 {
				s.deliver(w, s.popImage(w, "painter", nil))
			}
			return before - s.kudos(owner)
		}
		spent := spend(key)
		if spent < 5 {
			t.Fatalf("the owner paid %v", spent)
		}
		s.sharedKey(key, fields{"kudos": float64(int(500 - spent)), "utilized": float64(int(spent + 1e-6))})
		s.sharedKey(free, fields{"kudos": -1, "utilized": 0})
		spent = spend(free)
		s.sharedKey(free, fields{"kudos": -1, "utilized": float64(int(spent + 1e-6))})
		if active := s.want(s.get(owner.path(), owner), http.StatusOK); active.has("active_generations") {
			t.Errorf("requests are left: %s", active.text)
		}
		// Requests of a key that is removed run on, and its owner pays (kudos chapter, 12).
		two := s.image(key, fields{"prompt": "x", "models": []string{"Deliberate"}, "params": fields{"n": 2}})
		waits := s.image(key, fields{"prompt": "x", "models": []string{"Deliberate"}})
		popped := s.popImage(w, "painter", nil)
		before := s.kudos(owner)
		s.want(s.call("DELETE", "/sharedkeys/"+key.key, owner, nil), http.StatusOK)
		s.away(time.Second)
		s.deliver(w, popped)
		s.deliver(w, s.popImage(w, "painter", nil))
		s.deliver(w, s.popImage(w, "painter", nil))
		if after := s.kudos(owner); after >= before {
			t.Errorf("the owner has %v kudos, %v before", after, before)
		}
		for id, finished := range map[string]int{two: 2, waits: 1} {
			s.shows(s.want(s.get("/generate/check/"+id, account{}), http.StatusOK), fields{"done": true, "finished": finished, "waiting": 0})
		}
		s.away(time.Second)
	})
}

// The owner sees what a key is used for at the moment, and nobody else does (newer chapter, 2.1).
func TestSharedKeysShowTheirUseToTheOwner(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		owner, w := s.user(10_000, 0), s.user(0, horde.Trusted)
		key, other := s.share(owner, fields{"kudos": -1}), s.share(owner, fields{"kudos": -1})
		use := func(requests, queued, processing, finished, age int) fields {
			return fields{"requests": requests, "queued": queued, "processing": processing, "finished": finished, "oldest_queued_age": age}
		}
		uses := func(image, text fields) {
			t.Helper()
			a := s.want(s.get("/sharedkeys/"+key.key, owner), http.StatusOK)
			for kind, want := range map[string]fields{"image": image, "text": text} {
				for name, value := range want {
					if got := a.at("active_usage", kind, name); fmt.Sprint(got) != fmt.Sprint(value) {
						t.Errorf("%s: %s is %v, want %v", kind, name, got, value)
					}
				}
			}
		}
		uses(use(0, 0, 0, 0, 0), use(0, 0, 0, 0, 0))
		body := fields{"prompt": "x", "models": []string{"Deliberate"}, "params": fields{"n": 3}}
		three := s.image(key, body)
		s.image(owner, body) // not through a key
		s.image(other, body)
		s.away(20 * time.Second)
		s.image(key, body.with(fields{"params": fields{"n": 1}}))
		s.want(s.call("POST", "/generate/text/async", key, fields{"prompt": "x", "models": []string{"test/7B"}}), http.StatusAccepted)
		s.away(10 * time.Second)
		uses(use(2, 4, 0, 0, 30), use(1, 1, 0, 0, 10))
		popped := s.popImage(w, "painter", nil)
		uses(use(2, 3, 1, 0, 30), use(1, 1, 0, 0, 10))
		s.deliver(w, popped)
		uses(use(2, 3, 0, 1, 30), use(1, 1, 0, 0, 10))
		s.want(s.call("DELETE", "/generate/status/"+three, anonymous, nil), http.StatusOK)
		uses(use(1, 1, 0, 0, 10), use(1, 1, 0, 0, 10))
		for _, as := range []account{{}, key, w, s.user(0, horde.Moderator), {0, "bogus"}} {
			if a := s.want(s.get("/sharedkeys/"+key.key, as), http.StatusOK); a.has("active_usage") {
				t.Errorf("%v sees %s", as, a.text)
			}
		}
		s.away(30 * time.Minute)
		time.Sleep(2 * time.Second) // what has expired is forgotten
		uses(use(0, 0, 0, 0, 0), use(0, 0, 0, 0, 0))
	})
}

// What waits holds its part of the budget, and gives it back when it ends.
func TestSharedKeysSetAside(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		owner, w := s.user(10_000, 0), s.user(0, horde.Trusted)
		key := s.share(owner, fields{"kudos": 20})
		body := fields{"prompt": "x", "models": []string{"Deliberate"}}
		first := s.image(key, body) // about 10 of 20
		s.refused(s.call("POST", "/generate/async", key, body), http.StatusForbidden, "SharedKeyInsufficientKudos")
		s.refused(s.call("POST", "/generate/async", key, body.with(fields{"dry_run": true})), http.StatusForbidden, "SharedKeyInsufficientKudos")
		s.away(time.Second)
		s.refused(s.call("POST", "/generate/async", key, body), http.StatusForbidden, "SharedKeyInsufficientKudos")
		s.want(s.call("DELETE", "/generate/status/"+first, anonymous, nil), http.StatusOK)
		second := s.image(key, body)
		// With allow_downgrade a request starts behind even those who have nothing, and the owner pays for it.
		low := s.image(key, body.with(fields{"allow_downgrade": true}))
		poor := s.image(s.user(0, 0), body)
		for _, want := range []string{second, poor, low} {
			popped := s.popImage(w, "painter", nil)
			s.deliver(w, popped)
			if a := s.want(s.get("/generate/check/"+want, account{}), http.StatusOK); a.at("done") != true {
				t.Errorf("%s is not the one that was served", want)
			}
		}
		s.sharedKey(key, fields{"kudos": 0})
		// An empty key with allow_downgrade is anonymous.
		before := s.kudos(owner)
		s.refused(s.call("POST", "/generate/async", key, body), http.StatusForbidden, "SharedKeyEmpty")
		s.image(key, body.with(fields{"allow_downgrade": true}))
		s.deliver(w, s.popImage(w, "painter", nil))
		if after := s.kudos(owner); after != before {
			t.Errorf("the owner paid %v for what was anonymous", before-after)
		}
		// A gift fills it again.
		s.want(s.call("POST", "/kudos/transfer", s.user(1000, 0), fields{"username": key.key, "amount": 100}), http.StatusOK)
		s.sharedKey(key, fields{"kudos": 100})
		s.image(key, body)
		s.away(time.Second)
	})
}

// Worked example 15 of the styles chapter.
func TestSharedKeysOfStyles(t *testing.T) {
	t.Parallel()
	example(t, "styles", 15)
	inBubble(t, func(t *testing.T, s *server) {
		owner, client, w := s.user(10_000, horde.Customizer), s.user(1000, 0), s.user(0, horde.Trusted)
		for _, kind := range []string{"image", "text"} {
			key := s.share(owner, fields{"max_image_pixels": 0, "max_text_tokens": 0}) // which is not asked of the style's own key
			style := s.style(kind, owner, nil)
			s.want(s.call("PATCH", "/styles/"+kind+"/"+style, owner, fields{"sharedkey": key.key}), http.StatusOK)
			s.away(time.Second)
			s.refused(s.call("POST", generate(kind)+"/async", key, `{"prompt":"x"}`), http.StatusForbidden, "SharedKeyAssignedStyles")
			pays := func(as account, body fields) (byOwner, byClient float64) {
				o, c := s.kudos(owner), s.kudos(client)
				s.submit(kind, as, fields{"prompt": "x", "style": style}.with(body))
				if kind == "image" {
					s.deliver(w, s.popImage(w, "painter", fields{"models": []string{"Deliberate", "stable_diffusion"}}))
				} else {
					s.deliverText(w, s.job(s.popText(w, "writer", nil)), "a text")
				}
				return o - s.kudos(owner), c - s.kudos(client)
			}
			if o, c := pays(client, nil); o <= 0 || c != 0 {
				t.Errorf("%s: the owner of the key paid %v, the client %v", kind, o, c)
			}
			if o, _ := pays(key, nil); o <= 0 { // the key reaches the style
				t.Errorf("%s: the owner of the key paid %v", kind, o)
			}
			// The owner sees the key, and nobody else does.
			s.shows(s.want(s.get("/styles/"+kind+"/"+style, owner), http.StatusOK), fields{"sharedkey": nil})
			if a := s.get("/styles/"+kind+"/"+style, owner); a.str("shared_key", "id") != key.key {
				t.Errorf("the style shows %s", a.text)
			}
			for _, as := range []account{{}, client} {
				if a := s.get("/styles/"+kind+"/"+style, as); strings.Contains(a.text, key.key) {
					t.Errorf("everybody sees the key: %s", a.text)
				}
			}
			// An empty key is ignored, and the client's own account pays.
			s.want(s.call("PATCH", "/sharedkeys/"+key.key, owner, `{"kudos":0}`), http.StatusOK)
			if o, c := pays(client, nil); o > 0 || c <= 0 {
				t.Errorf("%s: the owner of the empty key paid %v, the client %v", kind, o, c)
			}
			other := s.style(kind, owner, nil)
			for body, rc := range map[string]string{`{"kudos":0}`: "SharedKeyEmpty", `{"kudos":1,"expiry":0}`: "SharedKeyExpired"} {
				s.want(s.call("PATCH", "/sharedkeys/"+key.key, owner, body), http.StatusOK)
				s.refused(s.call("PATCH", "/styles/"+kind+"/"+other, owner, fields{"sharedkey": key.key}), http.StatusBadRequest, rc)
			}
			// A budget that is too small refuses, or lets the request wait longer.
			s.want(s.call("PATCH", "/sharedkeys/"+key.key, owner, `{"kudos":1,"expiry":-1}`), http.StatusOK)
			s.refused(s.call("POST", generate(kind)+"/async", client, fields{"prompt": "x", "style": style, "params": fields{"n": 2}}), http.StatusForbidden, "SharedKeyInsufficientKudos")
			if o, c := pays(client, fields{"allow_downgrade": true}); o <= 0 || c != 0 {
				t.Errorf("%s, behind: the owner of the key paid %v, the client %v", kind, o, c)
			}
			// With the key its styles are free of it.
			s.want(s.call("DELETE", "/sharedkeys/"+key.key, owner, nil), http.StatusOK)
			s.away(time.Second)
			if _, c := pays(client, nil); c <= 0 {
				t.Errorf("%s: the client paid %v for a style without a key", kind, c)
			}
		}
	})
}

// What strangers say through a shared key, or with a style that one pays for, is their own doing.
func TestSharedKeysOfModeratorsHideNobody(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		mod, author := s.user(1000, horde.Moderator), s.user(1000, horde.Trusted)
		s.exampleFilters(mod)
		bad := fields{"prompt": "zebracorn vermillex", "replacement_filter": false}
		key := s.share(mod, nil)
		s.refused(s.call("POST", "/generate/async", key, bad, from("203.0.113.7")), 400, "CorruptPrompt")
		s.refused(s.call("POST", "/generate/async", key, fields{"prompt": "a"}, from("203.0.113.7")), 403, "TimeoutIP")

		stranger := s.user(1000, 0)
		style := s.style("image", author, fields{"sharedkey": s.share(author, nil).key})
		s.refused(s.call("POST", "/generate/async", stranger, fields{"prompt": "zebracorn vermillex", "replacement_filter": false, "style": style},
			from("203.0.113.8")), 400, "CorruptPrompt")
		for _, c := range []struct {
			who  account
			want float64
		}{{author, 0}, {stranger, 1}} {
			if a := s.want(s.get(c.who.path(), mod), http.StatusOK); a.number("suspicious") != c.want {
				t.Errorf("suspicious is %v, want %v", a.number("suspicious"), c.want)
			}
		}
	})
}

// Who asks with a style that somebody else pays for is bound by what their own account is bound by.
func TestStylesThatArePaidForFreeNobody(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.Engine.Safety = unsafe{}
	mod, author := s.user(0, horde.Moderator), s.user(10_000, horde.Trusted)
	flagged, pupil, service, leaving := s.user(1000, horde.Flagged), s.user(1000, horde.Education), s.user(1000, horde.Service), s.user(1000, 0)
	s.exampleFilters(mod)
	key := s.share(author, nil)
	styled := func(as account, more fields) answer {
		return s.call("POST", "/generate/async", as, fields{"prompt": "a horse, (standing:1.2)!", "style": "Of all", "dry_run": true}.with(more))
	}
	s.style("image", author, fields{"name": "Of all", "prompt": "{p}, oil{np}", "sharedkey": key.key})
	prompt := func(a answer) string { return s.want(a, http.StatusOK).str("resolved", "prompt") }
	if got, want := prompt(styled(leaving, nil)), "a horse, (standing:1.2)!, oil"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := prompt(styled(flagged, nil)); !strings.HasPrefix(got, "a horse standing oil###") {
		t.Errorf("the prompt of a flagged account goes on as %q", got)
	}
	bad := fields{"prompt": "zebracorn vermillex", "replacement_filter": false}
	if got := prompt(styled(pupil, bad)); strings.Contains(got, "zebracorn") {
		t.Errorf("the prompt of an education account goes on as %q", got)
	}
	w := s.user(0, horde.Trusted)
	s.want(styled(pupil, fields{"dry_run": false, "nsfw": true, "censor_nsfw": false}), http.StatusAccepted)
	if job := s.popImage(w, "painter", fields{"models": []string{"Deliberate"}}); job.at("payload", "use_nsfw_censor") != true {
		t.Errorf("the image of an education account is not censored: %s", job.text)
	}
	s.refused(styled(leaving, fields{"proxied_account": "joe"}), http.StatusBadRequest, "OnlyServiceAccountProxy")
	s.want(styled(service, fields{"proxied_account": "joe"}), http.StatusOK)
	s.want(s.call("DELETE", leaving.path(), leaving, nil), http.StatusOK)
	s.refused(styled(leaving, nil), http.StatusForbidden, "DeletedUser")
	// In a raid it is the one who asks whose address is looked at.
	s.want(s.call("PUT", "/status/modes", mod, `{"raid_mode":true}`), http.StatusOK)
	s.refused(styled(service, nil), http.StatusForbidden, "UntrustedUnsafeIP")
	s.refused(styled(anonymous, nil), http.StatusForbidden, "UntrustedUnsafeIP")
	s.want(styled(s.user(0, horde.Trusted), nil), http.StatusOK)
}
