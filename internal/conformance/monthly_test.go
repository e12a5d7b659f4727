// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"horde/internal/horde"
)

// Monthly kudos: kudos chapter, 10.1 and worked example 21.

func TestKudos21Monthly(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 21)
	inBubble(t, func(t *testing.T, s *server) {
		format := func(at time.Time) string { return at.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0000") }
		at := func(month time.Month, day, hour int) {
			t.Helper()
			s.away(time.Until(time.Date(2000, month, day, hour, 0, 0, 0, time.UTC)))
		}
		admin := s.user(0, 0)
		admins := []horde.UserID{admin.id}
		restarted := func() { s.Engine.Admins = admins } // which the configuration has elsewhere
		change := func(u account, body fields) answer {
			t.Helper()
			restarted()
			return s.want(s.call("PUT", u.path(), admin, body), http.StatusOK)
		}
		looked := func() { time.Sleep(2 * time.Minute) } // the server has looked who has kudos coming
		watcher := s.user(0, horde.Moderator)
		has := func(what string, u account, kudos float64, amount int, received time.Time) {
			t.Helper()
			if got := s.kudos(u); got != kudos {
				t.Errorf("%s: %v kudos, want %v", what, got, kudos)
			}
			want := fields{"amount": amount}
			if !received.IsZero() {
				want["last_received"] = format(received)
			}
			s.shows(answer{value: s.get(u.path(), watcher).at("monthly_kudos")}, want)
		}

		at(time.January, 31, 10)
		began := time.Now().UTC()
		u, none, pupil := s.user(1000, 0), s.user(1000, 0), s.user(1000, horde.Education)
		s.shows(change(u, fields{"monthly_kudos": 500}), fields{"monthly_kudos": 500.0})
		change(pupil, fields{"monthly_kudos": 70})
		has("at once", u, 1500, 500, began)
		looked()
		has("once", u, 1500, 500, began)
		has("without any", none, 1000, 0, time.Time{})
		mod := s.user(1000, horde.Moderator)
		change(mod, fields{"monthly_kudos": 250})
		at(time.February, 29, 9) // of a leap year; the month is over at 10
		looked()
		has("before the month is over", u, 1500, 500, began)
		at(time.March, 1, 9)
		looked()
		february := time.Date(2000, time.February, 29, 10, 0, 0, 0, time.UTC)
		has("31 January and a month", u, 2000, 500, february)
		has("an education account", pupil, 1140, 70, february)
		if got := s.get(pupil.path(), watcher).number("kudos_details", "recurring"); got != 140 {
			t.Errorf("recurring is %v", got)
		}
		s.refused(s.transfer(pupil, none, 10), http.StatusBadRequest, "EducationCannotSendKudos")
		modReceived := s.get(mod.path(), watcher).str("monthly_kudos", "last_received")
		has("a moderator", mod, 1000+250+300250, 300250, parseDate(t, modReceived))

		// However often it is looked, a month is paid once; months that were missed come one after the other.
		for range 3 {
			s.away(time.Minute)
			looked()
		}
		has("looked at again", u, 2000, 500, february)
		at(time.June, 15, 0) // March, April and May are over
		for i := 1; i <= 5; i++ {
			looked()
			paid := min(i, 3)
			has(fmt.Sprint("look ", i), u, 2000+500*float64(paid), 500, february.AddDate(0, paid, 0))
			s.away(time.Minute)
		}

		// The operator pays out of turn.
		for _, c := range []struct {
			keep  bool
			kudos float64
			month int
		}{{true, 4000, 3}, {true, 4500, 3}, {false, 5000, 4}} {
			if _, err := s.Engine.PayMonthly(t.Context(), u.id, c.keep); err != nil {
				t.Fatal(err)
			}
			has(fmt.Sprint("out of turn, keeping the date: ", c.keep), u, c.kudos, 500, february.AddDate(0, c.month, 0))
		}
		if _, err := s.Engine.PayMonthly(t.Context(), none.id, false); err == nil {
			t.Error("somebody who gets nothing was paid")
		}

		// Lowering takes nothing back, and what was missed meanwhile does not come later.
		change(u, fields{"monthly_kudos": 200})
		s.shows(change(u, fields{"monthly_kudos": -900}), fields{"monthly_kudos": 0.0})
		has("no more", u, 5200, 0, february.AddDate(0, 4, 0))
		at(time.November, 1, 0)
		looked()
		has("months without", u, 5200, 0, february.AddDate(0, 4, 0))
		again := time.Now().UTC()
		change(u, fields{"monthly_kudos": 10})
		has("again", u, 5210, 10, again)
		s.away(time.Minute)
		looked()
		has("again, once", u, 5210, 10, again)

		// As in the example: +500, +200 and -900 are 700 at once, and none a month.
		another := s.user(1000, 0)
		for _, c := range []struct{ by, amount float64 }{{500, 500}, {200, 700}, {-900, 0}} {
			s.shows(change(another, fields{"monthly_kudos": c.by}), fields{"monthly_kudos": c.amount})
		}
		s.away(time.Minute)
		looked()
		if got := s.kudos(another); got != 1700 {
			t.Errorf("after +500, +200 and -900 there are %v kudos, want 1700", got)
		}

		// A moderator who was none for months gets one month.
		change(mod, fields{"monthly_kudos": -250, "moderator": false})
		before := s.kudos(mod)
		at(time.December, 31, 0)
		change(mod, fields{"moderator": true})
		for range 3 {
			looked()
			s.away(time.Minute)
		}
		if got := s.kudos(mod) - before; got != 300_000 {
			t.Errorf("a moderator again has got %v", got)
		}
	})
}

func parseDate(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 -0700", text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
