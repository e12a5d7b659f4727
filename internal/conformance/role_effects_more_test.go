// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
)

// shownTo tells who sees a member of an account: everybody, the account itself, moderators. A value is as it is shown, "-" nothing.
func (s *server) shownTo(u account, name string) string {
	s.t.Helper()
	var seen []string
	for _, as := range []account{{}, u, s.user(0, horde.Moderator)} {
		text := "-"
		if a := s.want(s.get(u.path(), as), http.StatusOK); a.has(name) {
			text = fmt.Sprint(a.at(name))
		}
		seen = append(seen, text)
	}
	return strings.Join(seen, " ")
}

// has tells which of some members an answer has.
func has(a answer, names string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(names), func(name string) bool { return !a.has(name) }), " ")
}

func TestRoleEffectsModerator(t *testing.T) {
	t.Parallel()
	one := func(method, path string, body any) func(*server, account) string {
		return func(s *server, u account) string { return said(s.call(method, path, u, body)) }
	}
	tryEffects(t, []effect{
		{sentence: "privilege 2 in user details", role: horde.Moderator, with: "suspicious evaluating_kudos monthly_kudos vpn sharedkey_ids", without: "", try: func(s *server, u account) string {
			return has(s.want(s.get(s.user(0, 0).path(), u), http.StatusOK), "suspicious evaluating_kudos monthly_kudos vpn sharedkey_ids")
		}},
		{sentence: "privilege 2 in worker details", role: horde.Moderator, with: "owner ipaddr suspicious contact paused", without: "", try: func(s *server, u account) string {
			owner := s.user(0, 0)
			s.want(s.call("PUT", owner.path(), owner, `{"contact":"me@example.org"}`), http.StatusOK)
			return has(s.want(s.get("/workers/"+s.workerID(owner, "w"), u), http.StatusOK), "owner ipaddr suspicious contact paused")
		}},
		{sentence: "fields marked M", role: horde.Moderator, with: "200 403 NotAdmin", without: "403 NotModerator 403 NotAdmin", try: func(s *server, u account) string {
			other := s.user(0, 0)
			return said(s.call("PUT", other.path(), u, `{"trusted":true,"flagged":false,"customizer":true,"vpn":true,"service":true,"education":true,"special":true,`+
				`"concurrency":7,"worker_invited":7,"reset_suspicion":true,"admin_comment":"a comment"}`)) + " " + said(s.call("PUT", other.path(), u, `{"kudos":1}`))
		}},
		{sentence: "fields marked O of others", role: horde.Moderator, with: "200", without: "403 NotModerator", try: func(s *server, u account) string {
			return said(s.call("PUT", s.user(0, 0).path(), u, `{"public_workers":true,"username":"another name","contact":"me@example.org"}`))
		}},
		{sentence: "filters", role: horde.Moderator, with: "200", without: "403 NotModerator", try: one("PUT", "/filters", fields{"regex": "quixotle", "filter_type": 11})},
		{sentence: "IP operations", role: horde.Moderator, with: "200", without: "403 NotModerator", try: one("POST", "/operations/ipaddr", fields{"ipaddr": "192.0.2.99", "hours": 1})},
		{sentence: "invite-only mode", role: horde.Moderator, with: "200", without: "403 NotModerator", try: one("PUT", "/status/modes", fields{"invite_only_mode": true})},
		{sentence: "raid mode", role: horde.Moderator, with: "200", without: "403 NotModerator", try: one("PUT", "/status/modes", fields{"raid_mode": true})},
		{sentence: "but not maintenance mode", role: horde.Moderator, with: "403 NotAdmin", without: "403 NotAdmin", try: one("PUT", "/status/modes", fields{"maintenance_mode": true})},
		{sentence: "sees others' messages", role: horde.Moderator, with: "1", without: "0", try: func(s *server, u account) string {
			owner := s.user(0, 0)
			id := s.workerID(owner, "w")
			s.want(s.call("POST", "/workers/messages", owner, fields{"worker_id": id, "message": "hello"}), http.StatusOK)
			messages, _ := s.want(s.get("/workers/"+id, u), http.StatusOK).at("messages").([]any)
			return fmt.Sprint(len(messages))
		}},
		{sentence: "deletes others' messages", role: horde.Moderator, with: "200", without: "403 Forbidden", try: func(s *server, u account) string {
			owner := s.user(0, 0)
			message := s.want(s.call("POST", "/workers/messages", owner, fields{"worker_id": s.workerID(owner, "w"), "message": "hello"}), http.StatusOK).str("id")
			return said(s.call("DELETE", "/workers/messages/"+message, u, nil))
		}},
		{sentence: "deletes others' styles and collections", role: horde.Moderator, with: "200 200", without: "403 Forbidden 403 Forbidden", try: func(s *server, u account) string {
			owner := s.user(0, horde.Customizer)
			style := s.style("image", owner, nil)
			collection := s.want(s.call("POST", "/collections", owner, fields{"name": "C", "styles": []string{style}}), http.StatusOK).str("id")
			return said(s.call("DELETE", "/collections/"+collection, u, nil)) + " " + said(s.call("DELETE", "/styles/image/"+style, u, nil))
		}},
		{sentence: "deletes others' teams", role: horde.Moderator, with: "200", without: "403 NotModerator", try: func(s *server, u account) string {
			team := s.want(s.call("POST", "/teams", s.user(0, horde.Trusted), fields{"name": "team"}), http.StatusOK).str("id")
			return said(s.call("DELETE", "/teams/"+team, u, nil))
		}},
		{sentence: "deletes others' workers", role: horde.Moderator, with: "200", without: "403 NotModerator", try: func(s *server, u account) string {
			return said(s.call("DELETE", "/workers/"+s.workerID(s.user(0, 0), "w"), u, nil))
		}},
		{sentence: "+300000 monthly kudos", role: horde.Moderator, with: "300000", without: "0", try: func(s *server, u account) string {
			return fmt.Sprintf("%.0f", s.get(u.path(), s.user(0, horde.Moderator)).number("monthly_kudos", "amount"))
		}},
		{sentence: "a suspicious prompt is still refused but adds no suspicion and no IP timeout", role: horde.Moderator, with: "400 CorruptPrompt 0 202", without: "400 CorruptPrompt 1 403 TimeoutIP",
			try: func(s *server, u account) string {
				mod := s.user(0, horde.Moderator)
				s.exampleFilters(mod)
				at := from("198.51.100.9")
				first := said(s.ask(u, fields{"prompt": "zebracorn vermillex", "replacement_filter": false}, at))
				return fmt.Sprintf("%s %.0f %s", first, s.get(u.path(), mod).number("suspicious"), said(s.ask(u, nil, at)))
			}},
		{sentence: "cannot be deleted", role: horde.Moderator, with: "403 CannotDeleteMod 403 CannotDeleteMod", without: "200 403 CannotWipeActiveUser", try: func(s *server, u account) string {
			return said(s.call("DELETE", u.path(), u, nil)) + " " + said(s.call("DELETE", u.path(), s.user(0, horde.Moderator), nil))
		}},
		// What comes with the role stays without it.
		{sentence: "implies trusted at grant time", role: horde.Moderator, with: "true true", without: "false true", try: func(s *server, u account) string {
			before := s.get(u.path(), account{}).at("trusted")
			admin := s.user(0, 0)
			s.Engine.Admins = []horde.UserID{admin.id}
			s.want(s.call("PUT", u.path(), admin, `{"moderator":true}`), http.StatusOK)
			s.want(s.call("PUT", u.path(), admin, `{"moderator":false}`), http.StatusOK)
			return fmt.Sprint(before, " ", s.get(u.path(), account{}).at("trusted"))
		}},
	})
}

func TestRoleEffectsFlagged(t *testing.T) {
	t.Parallel()
	// served tells in which order two requests are served: that of u, and one of somebody who has so many kudos.
	served := func(kudos float64) func(*server, account) string {
		return func(s *server, u account) string {
			body, w := fields{"prompt": "x", "models": []string{"Deliberate"}}, s.user(0, 0)
			own := s.image(u, body)
			s.image(s.user(kudos, 0), body)
			s.deliver(w, s.popImage(w, "w", nil))
			if s.check(own).at("done") == true {
				return "first"
			}
			return "second"
		}
	}
	tryEffects(t, []effect{
		{sentence: "worker pop", role: horde.Flagged, with: "403 WorkerFlaggedMaintenance 403 WorkerFlaggedMaintenance 403 WorkerFlaggedMaintenance", without: "200 200 200", try: func(s *server, u account) string {
			return said(s.tryPopImage(u, "i", nil)) + " " + said(s.tryPopText(u, "t", nil)) + " " + said(s.tryPopForms(u, "a", nil))
		}},
		{sentence: "kudos transfers from", role: horde.Flagged, with: "400 SourceAccountFlagged", without: "200", try: func(s *server, u account) string {
			return said(s.transfer(u, s.user(0, 0), 1))
		}},
		{sentence: "kudos transfers to", role: horde.Flagged, with: "400 TargetAccountFlagged", without: "200", try: func(s *server, u account) string {
			return said(s.transfer(s.user(1000, 0), u, 1))
		}},
		{sentence: "awards to it", role: horde.Flagged, with: "400 TargetAccountFlagged 1000", without: "200 1005", try: func(s *server, u account) string {
			awarder := s.user(0, 0)
			s.Engine.Awarders = []horde.UserID{awarder.id}
			a := s.call("POST", "/kudos/award", awarder, fields{"username": u.id.String(), "amount": 5})
			return fmt.Sprint(said(a), " ", s.kudos(u))
		}},
		{sentence: "request priority is round(kudos/1000) when kudos > 10", role: horde.Flagged, kudos: 5000, with: "second", without: "first", try: served(100)},
		{sentence: "which still counts", role: horde.Flagged, kudos: 500_000, with: "first", without: "first", try: served(100)},
		{sentence: "else -100", role: horde.Flagged, kudos: -1, with: "second", without: "first", try: served(0)},
		{sentence: "every image prompt goes through the replacement pipeline", role: horde.Flagged, with: "a red cat ###N", without: "a (red:1.2) cat!", open: []func(*node.Config){filterData(t)},
			try: func(s *server, u account) string {
				s.want(s.ask(u, fields{"prompt": "a (red:1.2) cat!"}), http.StatusAccepted)
				return s.popImage(s.user(0, 0), "w", nil).str("payload", "prompt")
			}},
		{sentence: "and no text prompt", role: horde.Flagged, with: "a (red:1.2) cat!", without: "a (red:1.2) cat!", open: []func(*node.Config){filterData(t)},
			try: func(s *server, u account) string {
				s.want(s.askText(u, fields{"prompt": "a (red:1.2) cat!"}), http.StatusAccepted)
				return s.popText(s.user(0, 0), "w", nil).str("payload", "prompt")
			}},
		{sentence: "its passkey is ignored", also: horde.Service, role: horde.Flagged, with: "202", without: "403 TimeoutIP", try: func(s *server, u account) string {
			s.want(s.call("POST", "/operations/ipaddr", s.user(0, horde.Moderator), fields{"ipaddr": "198.51.100.66", "hours": 1}), http.StatusOK)
			passkey := s.want(s.call("PUT", u.path(), s.user(0, horde.Moderator), `{"generate_proxy_passkey":true}`), http.StatusOK).str("proxy_passkey")
			return said(s.ask(u, nil, header{"Proxy-Authorization", passkey}, header{"Proxied-For", "198.51.100.66"}))
		}},
		{sentence: "publicly visible", role: horde.Flagged, with: "true true true", without: "false false false", try: func(s *server, u account) string { return s.shownTo(u, "flagged") }},
	})
}

func TestRoleEffectsCustomizerAndVPN(t *testing.T) {
	t.Parallel()
	tryEffects(t, []effect{
		{sentence: "customizer: image workers may offer model names outside the reference", role: horde.Customizer, with: "nothing", without: "400 BadRequest", try: func(s *server, u account) string {
			return got(s.tryPopImage(u, "w", fields{"models": []string{"my very own"}}))
		}},
		{sentence: "customizer: and serve them", role: horde.Customizer, with: "my very own", without: "none", try: func(s *server, u account) string {
			s.want(s.ask(s.user(1000, 0), fields{"models": []string{"my very own"}}), http.StatusAccepted)
			a := s.popImage(u, "w", fields{"models": []string{"my very own", "Deliberate"}})
			if a.at("id") == nil {
				return "none"
			}
			return a.str("model")
		}},
		{sentence: "customizer: may create styles", role: horde.Customizer, with: "200 200 200", without: "403 StylesRequiresCustomizer 403 StylesRequiresCustomizer 403 StylesRequiresCustomizer",
			try: func(s *server, u account) string {
				image := s.call("POST", "/styles/image", u, fields{"name": "a", "models": []string{"Deliberate"}})
				text := s.call("POST", "/styles/text", u, fields{"name": "b", "models": []string{"test/7B"}})
				if image.status != http.StatusOK {
					return said(image) + " " + said(text) + " " + said(image)
				}
				return said(image) + " " + said(text) + " " + said(s.call("POST", "/collections", u, fields{"name": "c", "styles": []string{image.str("id")}}))
			}},
		{sentence: "vpn: worker IP-safety check skipped", role: horde.VPN, with: "nothing nothing nothing", without: "403 UnsafeIP 403 UnsafeIP 403 UnsafeIP", open: []func(*node.Config){knowsHidden},
			try: func(s *server, u account) string {
				text := s.call("POST", "/generate/text/pop", u, fields{"name": "t", "models": []string{"test/7B"}, "max_length": 80, "max_context_length": 1024}, hidden)
				return got(s.popAt(u, "i", hidden)) + " " + got(text) + " " + got(s.call("POST", "/interrogate/pop", u, fields{"name": "a", "forms": []string{"caption"}}, hidden))
			}},
		{sentence: "vpn: in a raid no suspicion either", role: horde.VPN, with: "200 0", without: "200 1", open: []func(*node.Config){knowsHidden}, try: func(s *server, u account) string {
			s.raid()
			a := s.popAt(u, "i", hidden)
			return fmt.Sprintf("%s %.0f", said(a), s.get(u.path(), s.user(0, horde.Moderator)).number("suspicious"))
		}},
		{sentence: "vpn: requesters are checked all the same", role: horde.VPN, with: "403 UntrustedUnsafeIP", without: "403 UntrustedUnsafeIP", open: []func(*node.Config){knowsHidden}, try: func(s *server, u account) string {
			s.raid()
			return said(s.ask(u, nil, hidden))
		}},
		{sentence: "vpn: visible to owner and moderators", role: horde.VPN, with: "- true true", without: "- false false", try: func(s *server, u account) string { return s.shownTo(u, "vpn") }},
		{sentence: "customizer: public", role: horde.Customizer, with: "true true true", without: "false false false", try: func(s *server, u account) string { return s.shownTo(u, "customizer") }},
	})
}

func TestRoleEffectsService(t *testing.T) {
	t.Parallel()
	problems := newChannel(t)
	tryEffects(t, []effect{
		{sentence: "may send proxied_account", role: horde.Service, with: "202 202", without: "400 OnlyServiceAccountProxy 400 OnlyServiceAccountProxy", try: func(s *server, u account) string {
			return said(s.ask(u, fields{"proxied_account": "somebody"})) + " " + said(s.askText(u, fields{"proxied_account": "somebody"}))
		}},
		{sentence: "may generate a proxy passkey", role: horde.Service, with: "200", without: "403 NonServiceForbidden", try: func(s *server, u account) string {
			return said(s.call("PUT", u.path(), u, `{"generate_proxy_passkey":true}`))
		}},
		{sentence: "which counts while it is a service", also: horde.Service, role: horde.Trusted, with: "403 TimeoutIP 202", without: "403 TimeoutIP 202", try: func(s *server, u account) string {
			s.want(s.call("POST", "/operations/ipaddr", s.user(0, horde.Moderator), fields{"ipaddr": "198.51.100.66", "hours": 1}), http.StatusOK)
			passkey := s.want(s.call("PUT", u.path(), u, `{"generate_proxy_passkey":true}`), http.StatusOK).str("proxy_passkey")
			proxied := func() string {
				return said(s.ask(u, nil, header{"Proxy-Authorization", passkey}, header{"Proxied-For", "198.51.100.66"}))
			}
			first := proxied()
			s.change(u, fields{"service": false})
			return first + " " + proxied()
		}},
		{sentence: "relaxed rate-limit list", role: horde.Service, with: "10", without: "2", timed: true, open: []func(*node.Config){limited}, try: func(s *server, u account) string { return s.limitOf(u) }},
		{sentence: "problem jobs are counted per proxied account", role: horde.Service, kudos: 1_000_000, with: "no alert", without: "an alert", served: true,
			open: []func(*node.Config){func(c *node.Config) { c.NotifyProblemURL, c.ProblemExempt = problems.URL, []horde.UserID{77} }}, try: func(s *server, u account) string {
				worker, isService := s.user(0, horde.Trusted), s.get(u.path(), account{}).at("service") == true
				for i := range 52 {
					body := fields{"prompt": "a tree", "models": []string{"stable_diffusion"}}
					if isService {
						body["proxied_account"] = fmt.Sprint("somebody ", i%2)
					}
					s.want(s.ask(u, body, from(fmt.Sprint("198.51.100.", i+1))), http.StatusAccepted)
					popped := s.popImage(worker, "watcher", fields{"models": []string{"stable_diffusion"}})
					s.upload(popped.strings("r2_uploads")[0], "image")
					s.want(s.call("POST", "/generate/submit", worker, fields{
						"id": s.job(popped), "generation": "R2", "seed": 1, "gen_metadata": []fields{{"type": "censorship", "value": "csam"}},
					}), http.StatusOK)
				}
				for range 100 { // alerts take a moment
					problems.mu.Lock()
					n := len(problems.said)
					problems.said = nil
					problems.mu.Unlock()
					if n > 0 {
						return "an alert"
					}
					time.Sleep(5 * time.Millisecond)
				}
				return "no alert"
			}},
		{sentence: "public", role: horde.Service, with: "true true true", without: "false false false", try: func(s *server, u account) string { return s.shownTo(u, "service") }},
	})
}
