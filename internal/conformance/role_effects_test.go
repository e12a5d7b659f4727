// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
)

// What each role brings, sentence by sentence of the accounts chapter, 2.2. What the roles may call is in testdata/roles.txt.

// patron stands in a row for what is no role: an active member of the campaign at Patreon; subscriber for somebody at Stripe.
const (
	patron     horde.Roles = 1 << 14
	subscriber horde.Roles = 1 << 15
)

// effect is what a sentence says of a role.
type effect struct {
	sentence string
	role     horde.Roles
	// also are roles that the account has in any case.
	also horde.Roles
	// try does what the sentence is about as an account, and tells what came of it.
	try func(s *server, u account) string
	// with is what must come of it with the role, and without without.
	with, without string
	// kudos is what the account has, 1000 where it says nothing; -1 stands for none at all.
	kudos float64
	open  []func(*node.Config)
	// served starts all that runs beside the calls.
	served bool
	// timed runs in a bubble, where waiting takes no time.
	timed bool
}

func tryEffects(t *testing.T, effects []effect) {
	for _, e := range effects {
		t.Run(e.sentence, func(t *testing.T) {
			t.Parallel()
			for _, has := range []bool{true, false} {
				want, named := e.without, "without the role"
				roles := e.also
				if has {
					want, named, roles = e.with, "with the role", roles|e.role
				}
				try := func(t *testing.T, s *server) {
					if e.served {
						s.background(t)
					}
					kudos := max(0, cmp.Or(e.kudos, 1000))
					u := s.user(kudos, roles&^(patron|subscriber))
					for role, source := range map[horde.Roles]horde.SupportSource{patron: horde.SourcePatreon, subscriber: horde.SourceStripe} {
						if roles&role != 0 {
							s.supports(source, horde.Supporter{User: u.id, Monthly: 5})
						}
					}
					if got := e.try(s, u); got != want {
						t.Errorf("%s: got %q, want %q", named, got, want)
					}
				}
				t.Run(named, func(t *testing.T) {
					if e.timed {
						inBubble(t, try, e.open...)
						return
					}
					try(t, open(t, e.open...))
				})
			}
		})
	}
}

// said is a status, with the code of a refusal.
func said(a answer) string { return strings.TrimSpace(fmt.Sprint(a.status, " ", a.rc())) }

// hidden is an address of a VPN, where a row knows such.
var hidden = from("203.0.113.5")

func knowsHidden(c *node.Config) {
	c.IPCheck.Deny = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
}

// raid begins a raid.
func (s *server) raid() {
	s.t.Helper()
	s.want(s.call("PUT", "/status/modes", s.user(0, horde.Moderator), `{"raid_mode":true}`), http.StatusOK)
}

func (s *server) ask(as account, more fields, headers ...header) answer {
	s.t.Helper()
	return s.call("POST", "/generate/async", as, fields{"prompt": "x", "models": []string{"Deliberate"}}.with(more), headers...)
}

func (s *server) askText(as account, more fields, headers ...header) answer {
	s.t.Helper()
	return s.call("POST", "/generate/text/async", as, fields{"prompt": "x", "models": []string{"test/7B"}}.with(more), headers...)
}

func (s *server) popAt(as account, name string, at ...header) answer {
	s.t.Helper()
	return s.call("POST", "/generate/pop", as, fields{"name": name, "models": []string{"Deliberate"}, "bridge_agent": reGen, "max_pixels": 4 << 20}, at...)
}

// got tells whether a pop got a job, or forms.
func got(a answer) string {
	switch {
	case a.status != http.StatusOK:
		return said(a)
	case a.at("id") != nil, a.at("forms", 0) != nil:
		return "a job"
	}
	return "nothing"
}

// change changes an account as a moderator.
func (s *server) change(u account, body fields) answer {
	s.t.Helper()
	return s.want(s.call("PUT", u.path(), s.user(0, horde.Moderator), body), http.StatusOK)
}

func remix(n int) fields {
	extras := make([]fields, n)
	for i := range extras {
		extras[i] = fields{"image": small}
	}
	return fields{"models": []string{"Stable Cascade 1.0"}, "source_image": small, "source_processing": "remix", "extra_source_images": extras}
}

// shareUntil makes shared keys until it is refused, or has most of them.
func (s *server) shareUntil(u account, most int) string {
	s.t.Helper()
	for n := range most {
		if a := s.call("PUT", "/sharedkeys", u, nil); a.status != http.StatusOK {
			return fmt.Sprint(n, " keys, then ", said(a))
		}
	}
	return fmt.Sprint(most, " keys")
}

// limitOf is the rate limit that an address has after an account generated from it. A row that asks for it is timed.
func (s *server) limitOf(u account, headers ...header) string {
	s.t.Helper()
	s.want(s.ask(u, nil, headers...), http.StatusAccepted)
	time.Sleep(2 * time.Second)
	return s.ask(u, nil, headers...).header.Get("X-RateLimit-Limit")
}

func TestRoleEffectsTrusted(t *testing.T) {
	t.Parallel()
	tryEffects(t, []effect{
		{sentence: "never suspicious", role: horde.Trusted, with: "200", without: "400 FaultWhenKudosSending", try: func(s *server, u account) string {
			s.tooFast(u, "quick", 5)
			return said(s.transfer(u, s.user(0, 0), 1))
		}},
		{sentence: "own workers are never auto-paused", role: horde.Trusted, with: "false", without: "true", try: func(s *server, u account) string {
			s.tooFast(u, "quick", 5)
			return fmt.Sprint(s.get("/workers/"+s.workerID(u, "quick"), s.user(0, horde.Moderator)).at("paused"))
		}},
		{sentence: "suspicion rows are still recorded", role: horde.Trusted, with: "true", without: "true", try: func(s *server, u account) string {
			s.tooFast(u, "quick", 5)
			return fmt.Sprint(s.get(u.path(), s.user(0, horde.Moderator)).number("suspicious") >= 5)
		}},
		{sentence: "rewards go straight to the balance", role: horde.Trusted, with: "0.00", without: "half", try: func(s *server, u account) string {
			s.image(s.user(1000, 0), fields{"prompt": "x", "models": []string{"Deliberate"}})
			s.deliver(u, s.popImage(u, "w", nil))
			if b := s.balance(u); b.Escrow > 0 && b.Escrow-(b.Spendable-1000_00) <= 1 && b.Escrow-(b.Spendable-1000_00) >= -1 {
				return "half"
			}
			return s.balance(u).Escrow.String()
		}},
		{sentence: "shared-key limit 10", role: horde.Trusted, with: "10 keys, then 403 Forbidden", without: "3 keys, then 403 Forbidden",
			try: func(s *server, u account) string { return s.shareUntil(u, 12) }},
		{sentence: "worker IP-safety check skipped", role: horde.Trusted, with: "nothing", without: "403 UnsafeIP", open: []func(*node.Config){knowsHidden},
			try: func(s *server, u account) string { return got(s.popAt(u, "w", hidden)) }},
		{sentence: "in raid mode the requester IP-safety check is skipped", role: horde.Trusted, with: "202 202", without: "403 UntrustedUnsafeIP 403 UntrustedUnsafeIP",
			open: []func(*node.Config){knowsHidden}, try: func(s *server, u account) string {
				s.raid()
				return said(s.ask(u, nil, hidden)) + " " + said(s.call("POST", "/interrogate/async", u, fields{"source_image": small, "forms": formsOf("caption")}, hidden))
			}},
		{sentence: "may send more than 1 extra source image", role: horde.Trusted, with: "202 202", without: "202 400 MoreThanMinExtraSourceImage.", try: func(s *server, u account) string {
			return said(s.ask(u, remix(1))) + " " + said(s.ask(u, remix(5)))
		}},
		{sentence: "may use disable_batching with n > 1", role: horde.Trusted, with: "202 202 202", without: "202 400 RequiresTrust 400 RequiresTrust", try: func(s *server, u account) string {
			two := fields{"disable_batching": true, "params": fields{"n": 2}}
			return said(s.ask(u, fields{"disable_batching": true})) + " " + said(s.ask(u, two)) + " " + said(s.askText(u, two))
		}},
		{sentence: "may create teams", role: horde.Trusted, with: "200", without: "403 UntrustedTeamCreation", try: func(s *server, u account) string {
			return said(s.call("POST", "/teams", u, fields{"name": fresh("team")}))
		}},
		{sentence: "may create styles", role: horde.Trusted, with: "200 200", without: "403 StylesRequiresCustomizer 403 StylesRequiresCustomizer", try: func(s *server, u account) string {
			return said(s.call("POST", "/styles/image", u, fields{"name": "a", "models": []string{"Deliberate"}})) + " " +
				said(s.call("POST", "/styles/text", u, fields{"name": "b", "models": []string{"test/7B"}}))
		}},
		{sentence: "upfront-kudos demands of a worker do not apply to its requests", role: horde.Trusted, kudos: 25, with: "a job", without: "nothing", try: func(s *server, u account) string {
			s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}})
			return got(s.popImage(s.user(0, 0), "w", fields{"require_upfront_kudos": true}))
		}},
		{sentence: "jobs that ask for trusted_workers go only to its workers", role: horde.Trusted, with: "a job a job a job", without: "nothing nothing nothing", try: func(s *server, u account) string {
			other, wants := s.user(1000, 0), fields{"trusted_workers": true}
			s.want(s.ask(other, wants), http.StatusAccepted)
			s.want(s.askText(other, wants), http.StatusAccepted)
			s.alchemy(other, wants, "caption")
			return got(s.popImage(u, "i", nil)) + " " + got(s.popText(u, "t", nil)) + " " + got(s.popForms(u, "a", nil))
		}},
		{sentence: "image and alchemy jobs flagged unsafe-IP from untrusted requesters go only to its workers", role: horde.Trusted, with: "a job a job", without: "nothing nothing",
			open: []func(*node.Config){knowsHidden}, try: func(s *server, u account) string {
				s.raid()
				visitor := s.user(1000, 0) // whom a raid lets in from there
				s.supports(horde.SourcePatreon, horde.Supporter{User: visitor.id, Monthly: 5})
				s.want(s.ask(visitor, nil, hidden), http.StatusAccepted)
				s.want(s.call("POST", "/interrogate/async", visitor, fields{"source_image": small, "forms": formsOf("caption")}, hidden), http.StatusAccepted)
				s.away(time.Second)
				return got(s.popImage(u, "i", nil)) + " " + got(s.popForms(u, "a", nil))
			}},
		{sentence: "and those of trusted requesters to any that takes such", role: horde.Trusted, with: "nothing a job a job", without: "nothing nothing nothing",
			open: []func(*node.Config){knowsHidden}, try: func(s *server, u account) string {
				s.raid()
				s.supports(horde.SourcePatreon, horde.Supporter{User: u.id, Monthly: 5})
				s.want(s.ask(u, nil, hidden), http.StatusAccepted)
				s.want(s.call("POST", "/interrogate/async", u, fields{"source_image": small, "forms": formsOf("caption")}, hidden), http.StatusAccepted)
				w := s.user(0, 0)
				return got(s.popImage(w, "careful", fields{"allow_unsafe_ipaddr": false})) + " " + got(s.popImage(w, "i", nil)) + " " + got(s.popForms(w, "a", nil))
			}},
		{sentence: "text jobs are always stored as safe-IP", role: horde.Trusted, with: "202 a job", without: "202 a job", open: []func(*node.Config){knowsHidden}, try: func(s *server, u account) string {
			s.raid()
			return said(s.askText(u, nil, hidden)) + " " + got(s.popText(s.user(0, 0), "t", nil))
		}},
		{sentence: "text workers with an unknown model get the token-based reward", role: horde.Trusted, with: "2.71", without: "1.26", try: func(s *server, u account) string {
			long := strings.Repeat("word", 100)
			s.want(s.askText(s.user(1000, 0), fields{"prompt": long, "models": []string{"unheard of"}, "params": fields{"max_length": 80}}), http.StatusAccepted)
			a := s.deliverText(u, s.job(s.popText(u, "t", fields{"models": []string{"unheard of"}})), long)
			return fmt.Sprintf("%.2f", a.number("reward"))
		}},
		{sentence: "calling a generation endpoint puts the caller IP on the relaxed list", role: horde.Trusted, with: "10", without: "2", timed: true,
			open: []func(*node.Config){limited}, try: func(s *server, u account) string { return s.limitOf(u) }},
		{sentence: "but not via a proxy", role: horde.Trusted, also: horde.Service, with: "2", without: "2", timed: true,
			open: []func(*node.Config){limited}, try: func(s *server, u account) string {
				passkey := s.want(s.call("PUT", u.path(), u, `{"generate_proxy_passkey":true}`), http.StatusOK).str("proxy_passkey")
				return s.limitOf(u, header{"Proxy-Authorization", passkey}, header{"Proxied-For", "198.51.100.7"}, from("198.51.100.8"))
			}},
		{sentence: "for 1 day", role: horde.Trusted, with: "10 2", without: "2 2", timed: true, open: []func(*node.Config){limited}, try: func(s *server, u account) string {
			first := s.limitOf(u)
			time.Sleep(24 * time.Hour)
			return first + " " + s.ask(s.user(1000, 0), nil).header.Get("X-RateLimit-Limit")
		}},
	})
}

// Who is trusted without anybody's doing: every condition, and the lack of each.
func TestRoleEffectsAutomaticPromotion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		threshold horde.Kudos
		days      int
		// tooFast is how many texts a worker of the account makes faster than any can, for which it is suspected.
		tooFast, suspicions int
		trusted             bool
	}{
		{"all of it", 1_00, 8, 0, 0, true},
		{"no threshold", 0, 8, 0, 0, false},
		{"less than the threshold", 100_000_00, 8, 0, 0, false},
		{"six days old", 1_00, 6, 0, 0, false},
		{"6 suspicions", 1_00, 8, 3, 6, false},
		{"4 suspicions", 1_00, 8, 2, 4, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, s *server) {
				u := s.user(0, 0)
				s.image(s.user(1000, 0), fields{"prompt": "x", "models": []string{"Deliberate"}})
				s.deliver(u, s.popImage(u, "w", nil))
				for range c.tooFast {
					id := s.text(s.user(100_000, 0), fields{"prompt": "a", "params": fields{"max_length": 512}, "models": []string{"test/7B"}})
					popped := s.job(s.popText(u, "quick", nil))
					time.Sleep(time.Second)
					s.deliverText(u, popped, strings.Repeat("word ", 500))
					s.want(s.get("/generate/text/status/"+id, account{}), http.StatusOK)
				}
				if got := int(s.get(u.path(), s.user(0, horde.Moderator)).number("suspicious")); got != c.suspicions {
					t.Fatalf("%d suspicions, want %d", got, c.suspicions)
				}
				s.away(time.Duration(c.days) * 24 * time.Hour)
				time.Sleep(2 * time.Minute) // the server looks who has become old enough
				if got := s.get(u.path(), account{}).at("trusted"); got != c.trusted {
					t.Errorf("trusted is %v, want %v", got, c.trusted)
				}
			}, func(cfg *node.Config) { cfg.TrustThreshold = c.threshold })
		})
	}
}
