// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
)

// Those who support the horde with money: accounts chapter, 12, and kudos chapter, 10.1.

// supports lets a source name supporters.
func (s *server) supports(source horde.SupportSource, list ...horde.Supporter) {
	s.t.Helper()
	if err := s.Engine.SetSupporters(s.t.Context(), source, list); err != nil {
		s.t.Fatal(err)
	}
}

// Worked example 19 of the accounts chapter, as far as it is not a table: a moderator with 5000 of their own and a plan.
func TestAccounts19MonthlyKudosOfSupporters(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 19)
	inBubble(t, func(t *testing.T, s *server) {
		time.Sleep(time.Hour) // not at the turn of a year
		admin, watcher := s.user(0, 0), s.user(0, horde.Moderator)
		mod, patron, both, none := s.user(100, horde.Moderator), s.user(100, 0), s.user(100, 0), s.user(100, 0)
		looked := func() { s.away(time.Minute); time.Sleep(2 * time.Minute) } // after a start the server looks who has kudos coming
		monthly := func(what string, u account, kudos, amount float64) {
			t.Helper()
			if got := s.kudos(u); got != kudos {
				t.Errorf("%s: %v kudos, want %v", what, got, kudos)
			}
			if got := s.get(u.path(), watcher).number("monthly_kudos", "amount"); got != amount {
				t.Errorf("%s: %v a month, want %v", what, got, amount)
			}
		}
		s.Engine.Admins = []horde.UserID{admin.id}
		s.want(s.call("PUT", mod.path(), admin, fields{"monthly_kudos": 5000}), http.StatusOK)
		s.supports(horde.SourceStripe, horde.Supporter{User: mod.id, Kudos: 700_000_00}, horde.Supporter{User: both.id, Kudos: 20_000_00},
			horde.Supporter{User: both.id, Kudos: 75_000_00})
		s.supports(horde.SourcePatreon, horde.Supporter{User: patron.id, Kudos: 70_000_00, Monthly: 7}, horde.Supporter{User: both.id, Kudos: 150_000_00, Monthly: 10},
			horde.Supporter{User: 77_777, Kudos: 1_00}, horde.Supporter{User: none.id, Monthly: 12})
		monthly("before the look", patron, 100, 70_000)
		looked()
		// 5000 came at once when they were given. The moderator's month began then, so the rest comes with the next.
		monthly("a moderator", mod, 5100, 1_005_000)
		monthly("a patron", patron, 70_100, 70_000)
		monthly("both", both, 245_100, 245_000)
		monthly("a patron whose amount is in no table", none, 100, 0)
		s.shows(answer{value: s.get(patron.path(), watcher).at("kudos_details")}, fields{"recurring": 70_000.0})
		for range 3 {
			looked()
		}
		monthly("once a month", patron, 70_100, 70_000)

		// Who leaves and comes back within the month has had it.
		s.supports(horde.SourcePatreon)
		monthly("gone", patron, 70_100, 0)
		looked()
		s.supports(horde.SourcePatreon, horde.Supporter{User: patron.id, Kudos: 90_000_00, Monthly: 9})
		looked()
		monthly("back", patron, 70_100, 90_000)
		monthly("half gone", both, 245_100, 95_000)
		s.away(31 * 24 * time.Hour)
		looked()
		monthly("the next month", patron, 160_100, 90_000)
		monthly("the next month of half", both, 340_100, 95_000)
		monthly("the next month of a moderator", mod, 1_010_100, 1_005_000)

		// Months away are not paid later.
		s.supports(horde.SourcePatreon)
		s.away(100 * 24 * time.Hour)
		looked()
		s.supports(horde.SourcePatreon, horde.Supporter{User: patron.id, Kudos: 10_000_00, Monthly: 1})
		for range 3 {
			looked()
		}
		monthly("back after months", patron, 170_100, 10_000)

		// The operator pays out of turn what they have coming, with the date kept and without.
		for i, keep := range []bool{true, false} {
			if got, err := s.Engine.PayMonthly(t.Context(), patron.id, keep); err != nil || got != 10_000_00 {
				t.Errorf("out of turn: %v, %v", got, err)
			}
			monthly("out of turn", patron, 180_100+float64(i)*10_000, 10_000)
		}
		s.away(32 * 24 * time.Hour)
		looked()
		monthly("in place of the next", patron, 190_100, 10_000) // which was paid already
		s.away(31 * 24 * time.Hour)
		looked()
		monthly("the one after", patron, 200_100, 10_000)
	})
}

// What a patron gives is told to moderators alone, and thanks go to names that are shown.
func TestSupportersAreNobodysBusiness(t *testing.T) {
	t.Parallel()
	s := open(t)
	patron, stranger, mod := s.user(100, 0), s.user(100, 0), s.user(0, horde.Moderator)
	s.supports(horde.SourcePatreon,
		horde.Supporter{User: patron.id, Kudos: 1_500_000_00, Monthly: 100, Name: "A <Patron>", Link: "https://patron.example/"},
		horde.Supporter{User: stranger.id, Kudos: 30_000_00, Monthly: 3, Name: "Another"},
		horde.Supporter{User: stranger.id, Monthly: 2, Name: "Too little"})
	s.supports(horde.SourceStripe, horde.Supporter{User: mod.id, Kudos: 1_500_000_00})
	for _, as := range []account{{}, patron, stranger, anonymous} {
		if a := s.want(s.get(patron.path(), as), http.StatusOK); a.has("monthly_kudos") || strings.Contains(a.text, "1500000") {
			t.Errorf("%v sees %s", as.id, a.text)
		}
	}
	s.shows(answer{value: s.get(patron.path(), mod).at("monthly_kudos")}, fields{"amount": 1_500_000.0})
	for range 2 {
		text := s.want(s.get("/documents/sponsors", account{}), http.StatusOK).str("html")
		if want := "<li><a href=\"https://patron.example/\">A &lt;Patron&gt;</a></li>\n</ul>\n<p>Another</p>"; !strings.HasSuffix(text, want) {
			t.Errorf("got %q, want %q at the end", text, want)
		}
		if md := s.want(s.get("/documents/sponsors?format=markdown", account{}), http.StatusOK).str("markdown"); !strings.Contains(md, "(https://patron.example/)") {
			t.Errorf("got %q", md)
		}
		s.away(time.Second)
	}
	findings, err := s.Engine.Verify(t.Context())
	if err != nil || len(findings) > 0 {
		t.Errorf("found %v, %v", findings, err)
	}
}
