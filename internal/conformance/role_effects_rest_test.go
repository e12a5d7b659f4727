// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"testing"

	"horde/internal/horde"
	"horde/internal/node"
)

func optIn(c *node.Config) { c.Sharing = horde.SharingOptIn }

func TestRoleEffectsEducation(t *testing.T) {
	t.Parallel()
	// made is what becomes of a request that asks for the contrary of all that is forced.
	made := func(tell func(s *server, id string, popped answer) string) func(*server, account) string {
		return func(s *server, u account) string {
			id := s.image(u, fields{
				"prompt": "x", "models": []string{"Deliberate"}, "nsfw": true, "censor_nsfw": false, "trusted_workers": false, "shared": true,
			})
			return tell(s, id, s.popImage(s.user(0, horde.Trusted), "w", fields{"nsfw": false}))
		}
	}
	details := func(kind, name string) func(*server, account) string {
		return func(s *server, u account) string {
			giver := s.user(1000, 0)
			s.want(s.transfer(giver, u, 7), http.StatusOK)
			who := giver
			if kind == "received" {
				who = u
			}
			return fmt.Sprint(s.get(who.path(), account{}).at("kudos_details", name))
		}
	}
	tryEffects(t, []effect{
		{sentence: "image requests are forced to nsfw false", role: horde.Education, with: "a job", without: "nothing", try: made(func(_ *server, _ string, popped answer) string { return got(popped) })},
		{sentence: "censor_nsfw true", role: horde.Education, with: "true", without: "false", try: func(s *server, u account) string {
			s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "nsfw": false, "censor_nsfw": false})
			return fmt.Sprint(s.popImage(s.user(0, horde.Trusted), "w", nil).at("payload", "use_nsfw_censor") == true)
		}},
		{sentence: "trusted_workers true", role: horde.Education, with: "nothing", without: "a job", try: func(s *server, u account) string {
			s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "trusted_workers": false})
			return got(s.popImage(s.user(0, 0), "w", nil))
		}},
		{sentence: "texts are not", role: horde.Education, with: "a job", without: "a job", try: func(s *server, u account) string {
			s.text(u, fields{"prompt": "x", "models": []string{"test/7B"}, "trusted_workers": false})
			return got(s.popText(s.user(0, 0), "w", nil))
		}},
		{sentence: "shared false", role: horde.Education, with: "false", without: "true", open: []func(*node.Config){optIn}, try: func(s *server, u account) string {
			return fmt.Sprint(s.status("image", s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "shared": true})).at("shared"))
		}},
		{sentence: "replacement filter always on", role: horde.Education, with: "202", without: "400 CorruptPrompt", open: []func(*node.Config){filterData(t)}, try: func(s *server, u account) string {
			s.exampleFilters(s.user(0, horde.Moderator))
			return said(s.ask(u, fields{"prompt": "a zebracorn, vermillex", "replacement_filter": false}))
		}},
		{sentence: "cannot send kudos", role: horde.Education, with: "400 EducationCannotSendKudos", without: "200", try: func(s *server, u account) string {
			return said(s.transfer(u, s.user(0, 0), 1))
		}},
		{sentence: "kudos sent to it count as donated for the sender", role: horde.Education, with: "-7", without: "0", try: details("sent", "donated")},
		{sentence: "instead of gifted", role: horde.Education, with: "0", without: "-7", try: details("sent", "gifted")},
		{sentence: "and as received for it, as any", role: horde.Education, with: "7", without: "7", try: details("received", "received")},
		{sentence: "shared-key limit 1000", role: horde.Education, with: "1000 keys, then 403 Forbidden", without: "3 keys, then 403 Forbidden", try: func(s *server, u account) string { return s.shareUntil(u, 1002) }},
		{sentence: "trusted is tested first", also: horde.Trusted, role: horde.Education, with: "10 keys, then 403 Forbidden", without: "10 keys, then 403 Forbidden",
			try: func(s *server, u account) string { return s.shareUntil(u, 12) }},
		{sentence: "relaxed rate-limit list", role: horde.Education, with: "10", without: "2", timed: true, open: []func(*node.Config){limited}, try: func(s *server, u account) string { return s.limitOf(u) }},
		{sentence: "public", role: horde.Education, with: "true true true", without: "false false false", try: func(s *server, u account) string { return s.shownTo(u, "education") }},
		// The role is given here, to an account that has it already or not.
		{sentence: "concurrency side effect", role: horde.Education, with: "200 30", without: "200 30", try: func(s *server, u account) string {
			s.change(u, fields{"education": true})
			given := s.get(u.path(), account{}).at("concurrency")
			s.change(u, fields{"education": false})
			return fmt.Sprint(given, " ", s.get(u.path(), account{}).at("concurrency"))
		}},
		{sentence: "more workers than others have nothing to do with it", role: horde.Education, with: "403 TooManyWorkers", without: "403 TooManyWorkers", try: func(s *server, u account) string { return s.workersUntil(u, 6) }},
	})
}

// workersUntil adds workers at addresses of their own until one is refused, and tells how; it gives up at most.
func (s *server) workersUntil(u account, most int) string {
	s.t.Helper()
	for n := range most {
		if a := s.popAt(u, fresh("worker"), from(fmt.Sprint("198.18.0.", n+1))); a.status != http.StatusOK {
			return said(a)
		}
	}
	return fmt.Sprint(most, " workers")
}

func TestRoleEffectsSpecial(t *testing.T) {
	t.Parallel()
	own := func(s *server, u account) string { return s.get("/find_user", u).str("username") }
	tryEffects(t, []effect{
		{sentence: "may use the special request parameter", role: horde.Special, with: "202", without: "400 BadRequest", try: func(s *server, u account) string {
			return said(s.ask(u, fields{"params": fields{"special": fields{"a": 1}}}))
		}},
		{sentence: "and models containing horde_special", role: horde.Special, with: "202", without: "403 Forbidden", try: func(s *server, u account) string {
			return said(s.ask(u, fields{"models": []string{"horde_special::" + own(s, u)}, "params": fields{"special": fields{"a": 1}}}))
		}},
		{sentence: "its workers may host name::alias with their own alias", role: horde.Special, with: "nothing", without: "400 BadRequest", try: func(s *server, u account) string {
			return got(s.tryPopImage(u, "w", fields{"models": []string{"mine::" + own(s, u)}}))
		}},
		{sentence: "only", role: horde.Special, with: "400 BadRequest", without: "400 BadRequest", try: func(s *server, u account) string {
			return got(s.tryPopImage(u, "w", fields{"models": []string{"mine::" + own(s, s.user(0, 0))}}))
		}},
		{sentence: "visible to owner and moderators", role: horde.Special, with: "- true true", without: "- false false", try: func(s *server, u account) string { return s.shownTo(u, "special") }},
	})
}

func TestRoleEffectsDeleted(t *testing.T) {
	t.Parallel()
	tryEffects(t, []effect{
		{sentence: "generation", role: horde.Deleted, with: "403 DeletedUser 403 DeletedUser 403 DeletedUser", without: "202 202 202", try: func(s *server, u account) string {
			return said(s.ask(u, nil)) + " " + said(s.askText(u, nil)) + " " + said(s.tryAlchemy(u, nil, "caption"))
		}},
		{sentence: "pop", role: horde.Deleted, with: "403 DeletedUser 403 DeletedUser 403 DeletedUser", without: "200 200 200", try: func(s *server, u account) string {
			return said(s.tryPopImage(u, "i", nil)) + " " + said(s.tryPopText(u, "t", nil)) + " " + said(s.tryPopForms(u, "a", nil))
		}},
		{sentence: "kudos transfers from it", role: horde.Deleted, with: "400 DeletedUser", without: "200", try: func(s *server, u account) string { return said(s.transfer(u, s.user(0, 0), 1)) }},
		{sentence: "and to it", role: horde.Deleted, with: "400 DeletedUser", without: "200", try: func(s *server, u account) string { return said(s.transfer(s.user(1000, 0), u, 1)) }},
		{sentence: "awards by it", role: horde.Deleted, with: "403 DeletedUser", without: "200", try: func(s *server, u account) string {
			s.Engine.Awarders = []horde.UserID{u.id}
			return said(s.call("POST", "/kudos/award", u, fields{"username": s.user(0, 0).id.String(), "amount": 5}))
		}},
		{sentence: "creating styles and collections", also: horde.Customizer, role: horde.Deleted, with: "403 DeletedUser 403 DeletedUser", without: "200 200", try: func(s *server, u account) string {
			foreign := s.style("image", s.user(0, horde.Customizer), nil)
			return said(s.call("POST", "/styles/image", u, fields{"name": "a", "models": []string{"Deliberate"}})) + " " +
				said(s.call("POST", "/collections", u, fields{"name": "c", "styles": []string{foreign}}))
		}},
		{sentence: "shared key creation", role: horde.Deleted, with: "403 DeletedUser", without: "200", try: func(s *server, u account) string { return said(s.call("PUT", "/sharedkeys", u, nil)) }},
		{sentence: "not reading and editing", role: horde.Deleted, with: "200 200 200", without: "200 200 200", try: func(s *server, u account) string {
			return said(s.get("/find_user", u)) + " " + said(s.get(u.path(), u)) + " " + said(s.call("PUT", u.path(), u, `{"contact":"me@example.org"}`))
		}},
		{sentence: "details show it", role: horde.Deleted, with: "true true true", without: "false false false", try: func(s *server, u account) string { return s.shownTo(u, "deleted") }},
		{sentence: "undelete reverses the mark", role: horde.Deleted, with: "200 202", without: "400 UserNotDeleted 202", try: func(s *server, u account) string {
			return said(s.call("PUT", u.path(), u, `{"undelete":true}`)) + " " + said(s.ask(u, nil))
		}},
	})
}

func TestRoleEffectsPatron(t *testing.T) {
	t.Parallel()
	for role, has := range map[horde.Roles]bool{patron: true, subscriber: false} {
		name, pick := "a patron", func(with, without string) string { return with }
		if !has {
			name, pick = "a subscriber at Stripe gets kudos only", func(with, without string) string { return without }
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tryEffects(t, []effect{
				{sentence: "skips the raid-mode requester check", role: role, with: pick("202 202", "403 UntrustedUnsafeIP 403 UntrustedUnsafeIP"), without: "403 UntrustedUnsafeIP 403 UntrustedUnsafeIP",
					open: []func(*node.Config){knowsHidden}, try: func(s *server, u account) string {
						s.raid()
						s.away(0)
						return said(s.ask(u, nil, hidden)) + " " + said(s.call("POST", "/interrogate/async", u, fields{"source_image": small, "forms": formsOf("caption")}, hidden))
					}},
				{sentence: "skips the worker IP check", role: role, with: pick("nothing nothing", "403 UnsafeIP 403 TooManyNewIPs"), without: "403 UnsafeIP 403 TooManyNewIPs",
					open: []func(*node.Config){func(c *node.Config) { c.IPCheck.URL = checker(t) }}, try: func(s *server, u account) string {
						return got(s.popAt(u, "w", hidden)) + " " + got(s.popAt(u, "w", from("198.51.100.5")))
					}},
				{sentence: "no suspicion in a raid", role: role, with: pick("200 0", "200 1"), without: "200 1", open: []func(*node.Config){knowsHidden}, try: func(s *server, u account) string {
					s.raid()
					a := s.popAt(u, "w", hidden)
					return fmt.Sprintf("%s %.0f", said(a), s.get(u.path(), s.user(0, horde.Moderator)).number("suspicious"))
				}},
				{sentence: "may send several extra images", role: role, with: pick("202", "400 MoreThanMinExtraSourceImage."), without: "400 MoreThanMinExtraSourceImage.", try: func(s *server, u account) string {
					return said(s.ask(u, remix(2)))
				}},
				{sentence: "but not more than anybody", role: role, with: "400 TooManyExtraSourceImages.", without: "400 TooManyExtraSourceImages.", try: func(s *server, u account) string {
					return said(s.ask(u, remix(6)))
				}},
				{sentence: "may disable batching", role: role, with: pick("202 202", "400 RequiresTrust 400 RequiresTrust"), without: "400 RequiresTrust 400 RequiresTrust", try: func(s *server, u account) string {
					two := fields{"disable_batching": true, "params": fields{"n": 2}}
					return said(s.ask(u, two)) + " " + said(s.askText(u, two))
				}},
				{sentence: "nothing else of what trusted accounts may", role: role, with: "403 UntrustedTeamCreation 403 StylesRequiresCustomizer 3 keys, then 403 Forbidden false",
					without: "403 UntrustedTeamCreation 403 StylesRequiresCustomizer 3 keys, then 403 Forbidden false", try: func(s *server, u account) string {
						return fmt.Sprint(said(s.call("POST", "/teams", u, fields{"name": "team"})), " ", said(s.call("POST", "/styles/image", u, fields{"name": "a", "models": []string{"Deliberate"}})),
							" ", s.shareUntil(u, 5), " ", s.get(u.path(), account{}).at("trusted"))
					}},
			})
		})
	}
}
