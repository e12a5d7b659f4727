// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store/memory"
)

// TestTrustOfTheExamples is example 17 of the kudos chapter, with a threshold of 100: what waits is spendable once an account is
// trusted, which takes more than the threshold, seven days, and fewer than five suspicions.
func TestTrustOfTheExamples(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name       string
		age        time.Duration
		suspicions int
		escrow     horde.Kudos
		credit     horde.Kudos // of a job, half of which waits
		trusted    bool
		spendable  horde.Kudos
		waits      horde.Kudos
		later      bool // whether the account is trusted at 7 days without doing any more
	}{
		{"8 days old", 8 * day, 0, 90_00, 40_00, true, 1130_00, 0, true},
		{"2 days old", 2 * day, 0, 90_00, 40_00, false, 1020_00, 110_00, true},
		{"exactly the threshold", 8 * day, 0, 80_00, 40_00, false, 1020_00, 100_00, false},
		{"a hundredth more", 8 * day, 0, 80_01, 40_00, true, 1120_01, 0, true},
		{"5 suspicions", 8 * day, 5, 90_00, 40_00, false, 1020_00, 110_00, false},
		{"4 suspicions", 8 * day, 4, 90_00, 40_00, true, 1130_00, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e, err := Open(t.Context(), Config{Store: memory.New(), Reference: noModels, TrustThreshold: 100_00})
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				began := now()
				v, _, err := e.Register(t.Context(), NewUser{Name: "owner", OAuthID: "g_1", Kudos: 1000_00})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.age)
				worker := &horde.Worker{ID: horde.NewWorkerID(), Owner: v.User.ID, Kind: horde.Image}
				err = e.do(func() {
					u := e.users[v.User.ID]
					for n := range c.suspicions {
						e.suspectUser(u, horde.Suspicion(n+1))
					}
					e.event(e.book.RewardUptime(now(), worker, time.Hour, c.escrow, true))
					e.promote(u, now())
					if b := e.book.Balance(u.ID); b.Escrow != c.escrow || u.Has(horde.Trusted) {
						t.Errorf("before the job %v wait, and trusted is %v", b.Escrow, u.Has(horde.Trusted))
					}
					r := &horde.Request{ID: horde.NewRequestID(), User: horde.Anonymous, Order: (&horde.Order{Kind: horde.Text, Text: &horde.TextParams{}}).Pack()}
					e.event(e.book.Settle(now(), kudos.Settled{Request: r, Job: horde.NewJobID(), Worker: worker, ToEscrow: true, Debit: c.credit, Credit: c.credit}))
					e.promote(u, now())
				})
				if err != nil {
					t.Fatal(err)
				}
				stands := func(what string, trusted bool, spendable, escrow horde.Kudos) {
					t.Helper()
					if err := e.do(func() {
						b := e.book.Balance(v.User.ID)
						if b.Spendable != spendable || b.Escrow != escrow || e.users[v.User.ID].Has(horde.Trusted) != trusted {
							t.Errorf("%s: %v, %v wait, trusted %v; want %v, %v, %v", what, b.Spendable, b.Escrow, e.users[v.User.ID].Has(horde.Trusted), spendable, escrow, trusted)
						}
					}); err != nil {
						t.Error(err)
					}
				}
				stands("after the job", c.trusted, c.spendable, c.waits)
				time.Sleep(max(0, 7*day-time.Since(began)-time.Minute))
				if c.age < 7*day {
					stands("before the 7 days are over", false, c.spendable, c.waits)
				}
				time.Sleep(3 * time.Minute)
				if c.later {
					stands("after 7 days", true, c.spendable+c.waits, 0)
				} else {
					stands("after 7 days", false, c.spendable, c.waits)
				}
			})
		})
	}
}
