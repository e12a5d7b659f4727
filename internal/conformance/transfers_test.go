// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"horde/internal/horde"
)

// Transfers and awards: kudos chapter, 10.4 and 11.

func (s *server) transfer(from, to account, amount any, headers ...header) answer {
	s.t.Helper()
	return s.call("POST", "/kudos/transfer", from, fields{"username": "x#" + to.id.String(), "amount": amount}, headers...)
}

func TestKudos19Transfers(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 19)
	inBubble(t, func(t *testing.T, s *server) {
		a, b, c := s.user(100, 0), s.user(100, 0), s.user(100, 0)
		school := s.user(100, horde.Education)
		s.shows(s.want(s.transfer(a, b, 60), http.StatusOK), fields{"transferred": 60.0})
		s.refused(s.transfer(a, b, 60), http.StatusBadRequest, "KudosTransferNotEnough") // 15 are available
		s.refused(s.transfer(b, a, 1), http.StatusBadRequest, "TooFastKudosTransfers")
		k1 := header{"Idempotency-Key", "k1"}
		for range 2 {
			s.shows(s.want(s.transfer(b, c, 20, k1), http.StatusOK), fields{"transferred": 20.0})
		}
		s.refused(s.transfer(b, school, 20, k1), http.StatusBadRequest, "IdempotencyKeyConflict")
		s.refused(s.transfer(b, c, 21, k1), http.StatusBadRequest, "IdempotencyKeyConflict")
		s.shows(s.want(s.transfer(a, c, 1, k1), http.StatusOK), fields{"transferred": 1.0}) // everybody has keys of their own
		if x, y, z := s.kudos(a), s.kudos(b), s.kudos(c); x != 39 || y != 140 || z != 121 {
			t.Errorf("the three have %v, %v and %v kudos, want 39, 140 and 121", x, y, z)
		}
		s.shows(s.want(s.transfer(b, school, 10), http.StatusOK), fields{"transferred": 10.0})
		if d := s.get("/users/"+b.id.String(), b).at("kudos_details").(map[string]any); d["donated"] != -10.0 || d["gifted"] != -20.0 || d["received"] != 60.0 {
			t.Errorf("the details of the middle one are %v", d)
		}
		s.away(2 * time.Minute) // with an audit
		s.shows(s.want(s.transfer(b, c, 20, k1), http.StatusOK), fields{"transferred": 20.0})
		s.refused(s.transfer(b, a, 20, k1), http.StatusBadRequest, "IdempotencyKeyConflict")
		s.want(s.transfer(b, a, 1), http.StatusOK) // the minute is over
		if y := s.kudos(b); y != 129 {
			t.Errorf("the repeated transfer moved kudos: %v are left, want 129", y)
		}
	})
}

// What was sent is gone once: after ten transfers nothing is left to spend, neither less nor more.
func TestB045WhatWasSentIsGoneOnce(t *testing.T) {
	t.Parallel()
	example(t, "cases", 45)
	s := open(t)
	a, b := s.user(125, 0), s.user(100, 0) // 100 above the floor
	for range 10 {
		s.want(s.transfer(a, b, 10), http.StatusOK)
	}
	available := func(want float64) {
		t.Helper()
		v, err := s.Engine.User(t.Context(), a.key, a.id)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Balance.Available().Float(); got != want || s.kudos(a) != 25+want {
			t.Errorf("%v can be spent of %v, want %v of %v", got, s.kudos(a), want, 25+want)
		}
	}
	available(0)
	s.refused(s.transfer(a, b, 1), http.StatusBadRequest, "KudosTransferNotEnough")
	if got := s.kudos(b); got != 200 {
		t.Errorf("who got it has %v, want 200", got)
	}
	// 20 are needed upfront for a long text: a gift of as much is enough.
	long := `{"prompt":"x","params":{"max_length":600,"max_context_length":4096}}`
	s.refused(s.call("POST", "/generate/text/async", a, long), http.StatusForbidden, "KudosUpfront")
	c := s.user(100, 0)
	s.want(s.transfer(c, a, 20), http.StatusOK)
	available(20)
	s.text(a, long)
	s.away(time.Second)
}

func TestTransfersAreRefused(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 19)
	s := open(t)
	rich, poor, flagged := s.user(1000, 0), s.user(0, 0), s.user(1000, horde.Flagged)
	school, gone := s.user(1000, horde.Education), s.user(1000, horde.Deleted)
	anonymous := account{0, horde.AnonymousKey}
	nobody := account{77, "bogus"}
	for _, c := range []struct {
		name     string
		from, to account
		amount   any
		status   int
		rc       string
	}{
		{"an unknown key", nobody, poor, 1, 401, "InvalidAPIKey"},
		{"from anonymous", anonymous, poor, 1, 400, "KudosTransferFromAnon"},
		{"to nobody", rich, nobody, 1, 400, "InvalidTargetUsername"},
		{"to anonymous", rich, anonymous, 1, 400, "KudosTransferToAnon"},
		{"to oneself", rich, rich, 1, 400, "KudosTransferToSelf"},
		{"from a flagged account", flagged, poor, 1, 400, "SourceAccountFlagged"},
		{"to a flagged account", rich, flagged, 1, 400, "TargetAccountFlagged"},
		{"from a school", school, poor, 1, 400, "EducationCannotSendKudos"},
		{"to a deleted account", rich, gone, 1, 400, "DeletedUser"},
		{"from a deleted account", gone, poor, 1, 400, "DeletedUser"},
		{"less than nothing", rich, poor, -1, 400, "NegativeKudosTransfer"},
		{"nothing", rich, poor, 0, 400, "InvalidKudosTransferAmount"},
		{"more than there is", rich, poor, 976, 400, "KudosTransferNotEnough"}, // the floor of 25 stays
		{"more than there can be", rich, poor, 9007199254740993, 400, "KudosTransferNotEnough"},
		{"a word", rich, poor, "many", 400, ""},
		{"null, which is no amount", rich, poor, nil, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			a := s.transfer(c.from, c.to, c.amount)
			if c.rc == "" {
				s.invalid(a, "amount")
				return
			}
			s.refused(a, c.status, c.rc)
		})
	}
	s.invalid(s.call("POST", "/kudos/transfer", rich, `{"amount":1}`), "username")
	s.shows(s.want(s.call("POST", "/kudos/transfer", rich, fields{"username": poor.id.String()}), http.StatusOK), fields{"transferred": 100.0})
	s.shows(s.want(s.transfer(rich, poor, "12"), http.StatusOK), fields{"transferred": 12.0})
}

func TestKudosAreSpentOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	from, to := s.user(125, 0), s.user(100, 0)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			var headers []header
			if i%2 == 0 {
				headers = append(headers, header{"Idempotency-Key", "the same"})
			}
			s.transfer(from, to, 40, headers...)
		})
	}
	all.Wait()
	if a, b := s.kudos(from), s.kudos(to); a != 45 || b != 180 {
		t.Errorf("%v and %v kudos, want 45 and 180: two transfers of 40 fit", a, b)
	}
	s.away(0)
}

func TestAwards(t *testing.T) {
	t.Parallel()
	example(t, "ratings", 18)
	s := open(t)
	first, mod, u, flagged := s.user(0, 0), s.user(0, horde.Moderator), s.user(100, 0), s.user(0, horde.Flagged)
	if first.id != 1 {
		t.Fatalf("the first account is %v", first.id)
	}
	award := func(by account, to string, amount any) answer {
		return s.call("POST", "/kudos/award", by, fields{"username": to, "amount": amount})
	}
	s.refused(award(account{0, "bogus"}, "u#3", 5), http.StatusUnauthorized, "InvalidAPIKey")
	s.refused(award(mod, "u#3", 5), http.StatusForbidden, "NotAllowedAwards")
	s.refused(award(first, "u#99", 5), http.StatusBadRequest, "InvalidAwardUsername")
	for _, name := range []string{"Anonymous#0", "x#0"} {
		s.refused(award(first, name, 5), http.StatusBadRequest, "KudosAwardToAnon")
	}
	s.shows(s.want(award(first, "someone#"+u.id.String(), 5), http.StatusOK), fields{"awarded": 5.0})
	s.want(award(first, u.id.String(), -5), http.StatusOK)
	s.refused(award(first, flagged.id.String(), 5), http.StatusBadRequest, "TargetAccountFlagged")
	s.shows(s.want(award(first, "u#"+u.id.String(), 50), http.StatusOK), fields{"awarded": 50.0})
	s.shows(s.want(award(first, "u#"+u.id.String(), -20), http.StatusOK), fields{"awarded": -20.0})
	if k, d := s.kudos(u), s.get("/users/"+u.id.String(), u).at("kudos_details", "awarded"); k != 130 || d != 30.0 {
		t.Errorf("%v kudos, %v awarded, want 130 and 30", k, d)
	}
	s.away(0)
}
