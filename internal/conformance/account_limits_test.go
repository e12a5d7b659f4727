// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"testing"

	"horde/internal/horde"
	"horde/internal/node"
)

// Privileges that are no roles, and the limits of accounts: accounts chapter, 2.3 and 2.4.

func TestPrivilegesThatAreNoRoles(t *testing.T) {
	t.Parallel()
	s := open(t)
	first, admin, awarder, checker := s.user(0, 0), s.user(0, 0), s.user(0, 0), s.user(0, 0)
	plain, mod, target := s.user(0, 0), s.user(0, horde.Moderator), s.user(0, 0)
	kudos := func(as account) string { return said(s.call("PUT", target.path(), as, `{"kudos":1}`)) }
	award := func(as account) string {
		return said(s.call("POST", "/kudos/award", as, fields{"username": target.id.String(), "amount": 1}))
	}
	check := func(as account) string { return said(s.call("POST", "/filters", as, `{"prompt":"x"}`)) }
	other := func(as account) string { return said(s.call("PUT", target.path(), as, `{"trusted":true}`)) }
	const notAdmin, notMod, notAwarder = "403 NotAdmin", "403 NotModerator", "403 NotAllowedAwards"
	for _, c := range []struct {
		sentence string
		set      func()
		try      func(account) string
		as       account
		want     string
	}{
		{"admins: unset is nobody", nil, kudos, first, notAdmin},
		{"admins: nor a moderator", nil, kudos, mod, notAdmin},
		{"admins: who is on the list", func() { s.Engine.Admins = []horde.UserID{admin.id} }, kudos, admin, "200"},
		{"admins: who is not", nil, kudos, plain, notAdmin},
		{"admins: ids are compared, so renaming one changes nothing", func() {
			s.want(s.call("PUT", admin.path(), admin, `{"username":"somebody else"}`), http.StatusOK)
		}, kudos, admin, "200"},
		{"admins: and taking the name of one gives nothing", func() {
			s.want(s.call("PUT", plain.path(), plain, `{"username":"somebody else"}`), http.StatusOK)
		}, kudos, plain, notAdmin},
		{"admins: are no moderators", nil, other, admin, notMod},
		{"awarder: only the first account", nil, award, first, "200"},
		{"awarder: not a moderator", nil, award, mod, notAwarder},
		{"awarder: not an admin", nil, award, admin, notAwarder},
		{"awarder: configured", func() { s.Engine.Awarders = []horde.UserID{awarder.id} }, award, awarder, "200"},
		{"awarder: in place of the first", nil, award, first, notAwarder},
		{"prompt checker: not without being one", nil, check, checker, notMod},
		{"prompt checker: a moderator", nil, check, mod, "200"},
		{"prompt checker: configured", func() { s.Engine.PromptCheckers = []horde.UserID{checker.id} }, check, checker, "200"},
		{"prompt checker: nobody else", nil, check, plain, notMod},
		{"prompt checker: nothing but that", nil, func(as account) string { return said(s.get("/filters", as)) }, checker, notMod},
		// The node of this test speaks plain HTTP.
		{"plain HTTP opens filters to nobody", nil, func(as account) string { return said(s.get("/filters", as)) }, anonymous, notMod},
		{"plain HTTP opens operations to nobody", nil, func(as account) string { return said(s.get("/operations/ipaddr", as)) }, anonymous, notMod},
	} {
		if c.set != nil {
			c.set()
		}
		if got := c.try(c.as); got != c.want {
			t.Errorf("%s: got %q, want %q", c.sentence, got, c.want)
		}
	}
}

func TestAccountLimitsOfConcurrency(t *testing.T) {
	t.Parallel()
	s := open(t)
	const tooMany = "429 TooManyPrompts"
	n := func(n int) fields { return fields{"params": fields{"n": n}} }
	u := s.user(1000, 0)
	s.change(u, fields{"concurrency": 4})
	s.want(s.ask(u, n(3)), http.StatusAccepted)
	for _, c := range []struct {
		sentence, got, want string
	}{
		{"waiting + n > concurrency", said(s.ask(u, n(2))), tooMany},
		{"of the same kind", said(s.askText(u, n(4))), "202"},
		{"and of this kind as well", said(s.askText(u, n(1))), tooMany},
		{"what fits", said(s.ask(u, n(1))), "202"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.sentence, c.got, c.want)
		}
	}
	// Alchemy: ten times as many forms.
	eight := []string{"caption", "interrogation", "nsfw", "palette", "describe", "GFPGAN", "RealESRGAN_x4plus", "strip_background"}
	for range 4 {
		s.alchemy(u, nil, eight...)
	}
	s.popForms(s.user(0, 0), "alchemist", fields{"forms": []string{"caption"}, "amount": 1}) // what is being worked on counts as well
	s.alchemy(u, nil, eight[:7]...)
	s.refused(s.tryAlchemy(u, nil, eight[:2]...), http.StatusTooManyRequests, "TooManyPrompts")
	s.alchemy(u, nil, eight[:1]...)
	// Anonymous with a list of models: a request that names two of those asked for counts twice.
	for range 24 {
		s.image(anonymous, fields{"prompt": "x", "models": []string{"RPG", "ToonYou"}, "params": fields{"n": 10}})
	}
	for _, c := range []struct {
		sentence string
		body     fields
		want     string
	}{
		{"one of the models: 240 of 500", fields{"models": []string{"RPG"}, "params": fields{"n": 20}}, "202"},
		{"both: 480, and the 20 from above", fields{"models": []string{"RPG", "ToonYou"}, "params": fields{"n": 1}}, tooMany},
		{"another", fields{"models": []string{"Deliberate"}, "params": fields{"n": 20}}, "202"},
	} {
		if got := said(s.ask(anonymous, c.body)); got != c.want {
			t.Errorf("anonymous, %s: got %q, want %q", c.sentence, got, c.want)
		}
	}
	// Nobody else is counted so.
	rich := s.user(1000, 0)
	for range 2 {
		s.want(s.ask(rich, fields{"models": []string{"RPG", "ToonYou"}, "params": fields{"n": 10}}), http.StatusAccepted)
	}
	if got := said(s.ask(rich, fields{"models": []string{"RPG", "ToonYou"}, "params": fields{"n": 10}})); got != "202" {
		t.Errorf("30 of 30: got %q, want 202", got)
	}
	if got := said(s.ask(rich, fields{"models": []string{"Deliberate"}})); got != tooMany {
		t.Errorf("31 of 30, by whatever models: got %q, want %s", got, tooMany)
	}
}

func TestAccountLimitsOfWorkers(t *testing.T) {
	t.Parallel()
	// add adds workers, each at an address of its own unless it says one, until one is refused; it tells how many were taken, and why no more.
	add := func(s *server, u account, most int, pop func(name string, at header) answer, at string) string {
		for n := range most {
			where := at
			if where == "" {
				where = fmt.Sprintf("198.18.%d.%d", u.id, n+1)
			}
			if a := pop(fresh("worker"), from(where)); a.status != http.StatusOK {
				return fmt.Sprint(n, ", then ", said(a))
			}
		}
		return fmt.Sprint(most)
	}
	image := func(s *server, u account) func(string, header) answer {
		return func(name string, at header) answer { return s.popAt(u, name, at) }
	}
	forms := func(s *server, u account) func(string, header) answer {
		return func(name string, at header) answer {
			return s.call("POST", "/interrogate/pop", u, fields{"name": name, "forms": []string{"caption"}}, at)
		}
	}
	text := func(s *server, u account) func(string, header) answer {
		return func(name string, at header) answer {
			return s.call("POST", "/generate/text/pop", u, fields{"name": name, "models": []string{"test/7B"}, "max_length": 80, "max_context_length": 1024}, at)
		}
	}
	for _, c := range []struct {
		sentence string
		roles    horde.Roles
		invited  int
		invites  bool // invite-only mode
		at       string
		pop      func(*server, account) func(string, header) answer
		before   int // alchemists at the same address
		want     string
	}{
		{sentence: "untrusted: 4 fit", want: "4, then 403 TooManyWorkers"},
		{sentence: "untrusted: an invitation does not help", invited: 30, want: "4, then 403 TooManyWorkers"},
		{sentence: "untrusted: of text workers too", pop: text, want: "4, then 403 TooManyWorkers"},
		{sentence: "trusted: 21 fit", roles: horde.Trusted, want: "21, then 403 TooManyWorkersTrusted"},
		{sentence: "trusted: an invitation lifts that", roles: horde.Trusted, invited: 23, want: "24, then 403 TooManyWorkersTrusted"},
		{sentence: "invite-only: nobody without an invitation", invites: true, want: "0, then 403 WorkerInviteOnly"},
		{sentence: "invite-only: not the trusted either", invites: true, roles: horde.Trusted, want: "0, then 403 WorkerInviteOnly"},
		{sentence: "invite-only: as many as invited", invites: true, invited: 2, want: "2, then 403 WorkerInviteOnly"},
		{sentence: "invite-only: and no more than others", invites: true, invited: 9, want: "4, then 403 TooManyWorkers"},
		{sentence: "same IP, untrusted", at: "198.18.0.9", pop: forms, want: "4, then 403 TooManySameIPs"},
		{sentence: "same IP, trusted", roles: horde.Trusted, at: "198.18.0.9", pop: forms, want: "21, then 403 TooManySameIPs"},
		{sentence: "same IP: an invitation lifts that", invited: 6, at: "198.18.0.9", pop: forms, want: "7, then 403 TooManySameIPs"},
		{sentence: "alchemists do not count as workers", pop: forms, want: "30"},
		{sentence: "but at the same IP they do", at: "198.18.0.9", before: 4, want: "0, then 403 TooManySameIPs"},
		{sentence: "IPv6 is compared by /64", at: "2001:db8:1:2::7", before: 4, want: "0, then 403 TooManySameIPs"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			mod, u := s.user(0, horde.Moderator), s.user(0, c.roles)
			if c.invited > 0 {
				s.want(s.call("PUT", u.path(), mod, fields{"worker_invited": c.invited}), http.StatusOK)
			}
			if c.invites {
				s.want(s.call("PUT", "/status/modes", mod, `{"invite_only_mode":true}`), http.StatusOK)
			}
			for n := range c.before {
				at := c.at
				if at == "2001:db8:1:2::7" {
					at = fmt.Sprintf("2001:db8:1:2:%d::1", n)
				}
				s.want(forms(s, u)(fresh("alchemist"), from(at)), http.StatusOK)
			}
			pop := image
			if c.pop != nil {
				pop = c.pop
			}
			if got := add(s, u, 30, pop(s, u), c.at); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	t.Run("only when the name is new", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		u := s.user(0, 0)
		for n := range 4 {
			s.want(s.popAt(u, fmt.Sprint("w", n)), http.StatusOK)
		}
		s.want(s.call("PUT", "/status/modes", s.user(0, horde.Moderator), `{"invite_only_mode":true}`), http.StatusOK)
		if got := said(s.popAt(u, "w3")); got != "200" {
			t.Errorf("a known worker gets %q", got)
		}
		s.refused(s.popAt(u, "w4"), http.StatusForbidden, "WorkerInviteOnly")
	})
}

// The checks around a pop, in order: each row breaks all that its checks look at, and the first of them must answer.
func TestAccountLimitsOrderOfPopChecks(t *testing.T) {
	t.Parallel()
	const (
		blocked = "198.18.5.5" // in time-out, and unsafe
		unsafe  = "203.0.113.5"
		unknown = "198.51.100.5"
		fine    = "198.18.6.6"
	)
	for _, kind := range []string{"image", "text", "alchemy"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := open(t, func(c *node.Config) { c.IPCheck.URL = checker(t) })
			mod, other := s.user(0, horde.Moderator), s.user(0, horde.Trusted)
			for _, addr := range []string{blocked, "203.0.113.66", "198.51.100.66"} {
				s.want(s.call("POST", "/operations/ipaddr", mod, fields{"ipaddr": addr, "hours": 1}), http.StatusOK)
			}
			pop := func(kind string, as account, name, agent, at string) answer {
				switch kind {
				case "text":
					return s.call("POST", "/generate/text/pop", as, fields{"name": name, "bridge_agent": agent, "models": []string{"test/7B"}, "max_length": 80, "max_context_length": 1024}, from(at))
				case "alchemy":
					return s.call("POST", "/interrogate/pop", as, fields{"name": name, "bridge_agent": agent, "forms": []string{"caption"}}, from(at))
				}
				return s.call("POST", "/generate/pop", as, fields{"name": name, "bridge_agent": agent, "models": []string{"Deliberate"}}, from(at))
			}
			otherKind := map[string]string{"image": "text", "text": "alchemy", "alchemy": "image"}[kind]
			s.want(pop(otherKind, other, "of another kind", reGen, fine), http.StatusOK)
			s.want(pop(kind, other, "of another owner", reGen, fine), http.StatusOK)
			const badAgent = "fuck this:1:x"
			plain, full := s.user(0, 0), s.user(0, 0)
			for range 4 { // alchemists, for the limit of one address
				s.want(pop("alchemy", full, fresh("one of four"), reGen, "198.18.8.1"), http.StatusOK)
			}
			for n := range 4 {
				s.want(s.popAt(full, fresh("one of four"), from(fmt.Sprint("198.18.7.", n+1))), http.StatusOK)
			}
			for _, c := range []struct {
				name      string
				as        account
				worker    string
				agent, at string
				invites   bool
				want      string
			}{
				{"an unknown key before all", account{0, "bogus"}, "of another kind", badAgent, blocked, true, "401 InvalidAPIKey"},
				{"deleted before flagged", s.user(0, horde.Deleted|horde.Flagged), "of another kind", badAgent, blocked, true, "403 DeletedUser"},
				{"flagged before the kind", s.user(0, horde.Flagged), "of another kind", badAgent, blocked, true, "403 WorkerFlaggedMaintenance"},
				{"anonymous before the kind", anonymous, "of another kind", badAgent, blocked, true, "403 AnonForbiddenWorker"},
				{"the kind before the time-out", plain, "of another kind", badAgent, blocked, true, "400 PolymorphicNameConflict"},
				{"the time-out before an unknown address", plain, "fuck this", badAgent, "198.51.100.66", true, "403 TimeoutIP"},
				{"the time-out before an unsafe address", plain, "fuck this", badAgent, "203.0.113.66", true, "403 TimeoutIP"},
				{"an unknown address before the name", plain, "fuck this", badAgent, unknown, true, "403 TooManyNewIPs"},
				{"an unsafe address before the name", plain, "fuck this", badAgent, unsafe, true, "403 UnsafeIP"},
				{"an unsafe address before whose the worker is", plain, "of another owner", reGen, unsafe, false, "403 UnsafeIP"},
				{"the name before the agent", plain, "fuck this colab", badAgent, fine, true, "400 ProfaneWorkerName"},
				{"the agent before where it runs", plain, "my colab worker", badAgent, fine, true, "400 ProfaneBridgeAgent"},
				{"where it runs before invitations", full, "my Google worker", reGen, fine, true, "400 BadRequest"},
				{"where it runs before invitations, TPU", full, "my TPU worker", reGen, fine, true, "400 BadRequest"},
				{"invitations before how many", full, "a new one", reGen, "198.18.8.1", true, "403 WorkerInviteOnly"},
				{"how many before how many at an address", full, "a new one", reGen, "198.18.8.1", false, "403 TooManyWorkers"},
				{"whose the worker is, last", plain, "of another owner", badAgent, fine, true, "403 WrongCredentials"},
				{"and none of it", plain, "a good one", reGen, fine, false, "200"},
			} {
				s.want(s.call("PUT", "/status/modes", mod, fields{"invite_only_mode": c.invites}), http.StatusOK)
				if got := said(pop(kind, c.as, c.worker, c.agent, c.at)); got != c.want {
					t.Errorf("%s: got %q, want %q", c.name, got, c.want)
				}
			}
		})
	}
}

func TestAccountLimitsPublicWorkers(t *testing.T) {
	t.Parallel()
	tryPublic := func(public bool) (string, string) {
		s := open(t)
		u := s.user(0, 0)
		id := s.workerID(u, "w")
		s.want(s.call("POST", "/workers/messages", u, fields{"worker_id": id, "message": "hello"}), http.StatusOK)
		s.want(s.call("PUT", u.path(), u, fields{"public_workers": public}), http.StatusOK)
		user, worker := s.want(s.get(u.path(), account{}), http.StatusOK), s.want(s.get("/workers/"+id, account{}), http.StatusOK)
		messages, _ := worker.at("messages").([]any)
		return fmt.Sprint(user.has("worker_ids"), worker.has("owner"), len(messages)), fmt.Sprint(s.get(u.path(), u).has("worker_ids"))
	}
	for public, want := range map[bool]string{true: "true true 1", false: "false false 0"} {
		if got, own := tryPublic(public); got != want || own != "true" {
			t.Errorf("public_workers %v: everybody sees worker_ids, owner and messages: %s, want %s; the owner sees worker_ids: %s", public, got, want, own)
		}
	}
}
