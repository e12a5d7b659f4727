// SPDX-License-Identifier: AGPL-3.0-or-later

package kudos

import (
	"testing"
	"time"

	"horde/internal/horde"
)

// The accounts of the examples: a requester, a trusted owner and one who is not trusted, all registered.
const (
	requester horde.UserID = iota + 1
	trusted
	untrusted
)

// opened is a book in which these accounts have what they are said to have.
func opened(balances map[horde.UserID]horde.Kudos) *Book {
	b := NewBook()
	for id, k := range balances {
		b.RestoreBalance(id, Balance{Spendable: k}, (&horde.User{ID: id, OAuthID: "g_1"}).Floor())
	}
	return b
}

// stands is what an account has and what waits for it.
type stands struct{ spendable, escrow horde.Kudos }

func (b *Book) shows(t *testing.T, id horde.UserID, want stands) {
	t.Helper()
	if got := b.Balance(id); (stands{got.Spendable, got.Escrow}) != want {
		t.Errorf("account %d has %v, and %v wait; want %v and %v", id, got.Spendable, got.Escrow, want.spendable, want.escrow)
	}
}

func (b *Book) showsSystem(t *testing.T, class AccountClass, want horde.Kudos) {
	t.Helper()
	if got := b.System(class); got != want {
		t.Errorf("%s has %v, want %v", class, got, want)
	}
}

// balanced checks that all accounts together have nothing but what they were opened with.
func (b *Book) balanced(t *testing.T, with horde.Kudos) {
	t.Helper()
	var sum horde.Kudos
	for _, k := range b.Sums() {
		sum += k
	}
	if sum != with {
		t.Errorf("all accounts have %v, want %v", sum, with)
	}
}

// What system accounts have after a job of the kudos chapter's examples 2, 4, 5, 7 and 15.
func TestJobsOfTheExamples(t *testing.T) {
	t.Parallel()
	bridge := func(agent string) float64 { return horde.ParseAgent(agent).Capabilities().Multiplier }
	for _, c := range []struct {
		name       string
		owner      horde.UserID
		reward     float64 // J
		agent      string
		censored   bool
		slow       bool
		debit      horde.Kudos // of the requester
		earned     stands
		systemJobs horde.Kudos
	}{
		{"2 SDXL, newest bridge", trusted, 41.40, "AI Horde Worker reGen:13.0.0:u", false, true, 42_40, stands{41_40, 0}, 1_00},
		{"4 an older bridge of an untrusted owner", untrusted, 41.40, "AI Horde Worker reGen:9.0.1-citests:u", false, true, 42_40, stands{18_63, 18_63}, 5_14},
		{"5 an unknown bridge", trusted, 50, "mine:1:u", false, true, 51_00, stands{37_50, 0}, 13_50},
		{"7 censored, fast workers only", trusted, 41.40, "AI Horde Worker reGen:13.0.0:u", true, false, 1_20, stands{41_40, 0}, -40_20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := opened(map[horde.UserID]horde.Kudos{requester: 1000_00, trusted: 100_00, untrusted: 100_00})
			o := image(func(o *horde.Order) { o.SlowWorkers = c.slow })
			r := &horde.Request{ID: horde.NewRequestID(), User: requester, Order: o.Pack()}
			charged := c.reward
			if c.censored {
				charged = 0
			}
			now := time.Now()
			b.Activate(now, r, Tax(o, false))
			w := &horde.Worker{ID: horde.NewWorkerID(), Owner: c.owner, Kind: horde.Image}
			b.Settle(now, Settled{Request: r, Job: horde.NewJobID(), Worker: w, ToEscrow: c.owner == untrusted,
				Debit: horde.NewKudos(Burn(o, charged)), Credit: horde.NewKudos(c.reward * bridge(c.agent))})
			b.shows(t, requester, stands{1000_00 - 3_00 - c.debit, 0})
			b.shows(t, c.owner, stands{100_00 + c.earned.spendable, c.earned.escrow})
			if got := b.Earnings(w.ID).Total(); got != c.earned.spendable+c.earned.escrow {
				t.Errorf("the worker has made %v", got)
			}
			b.showsSystem(t, SystemTax, 3_00)
			b.showsSystem(t, SystemJobs, c.systemJobs)
			b.balanced(t, 1200_00)
		})
	}
	t.Run("15 a form of 4 of an untrusted owner", func(t *testing.T) {
		t.Parallel()
		b := opened(map[horde.UserID]horde.Kudos{requester: 1000_00, untrusted: 100_00})
		w := &horde.Worker{ID: horde.NewWorkerID(), Owner: untrusted, Kind: horde.Alchemy}
		b.SettleForm(time.Now(), SettledForm{Form: horde.NewFormID(), User: requester, Worker: w, ToEscrow: true, Debit: horde.NewKudos(FormBurn(4, true)), Credit: 4_00})
		b.shows(t, untrusted, stands{102_00, 2_00})
		b.shows(t, requester, stands{994_00, 0})
		b.showsSystem(t, SystemJobs, 2_00)
		b.balanced(t, 1100_00)
	})
	if price := FormPrice("GFPGAN", 6); price != 18 || FormBurn(price, true) != 20 || FormBurn(price, false) != 19 || FormBurn(FormPrice("caption", 6), true) != 3 {
		t.Errorf("15 GFPGAN on 6 tiles is worth %v", price)
	}
}

// Example 18 of the kudos chapter: what floors absorb.
func TestFloorsOfTheExamples(t *testing.T) {
	t.Parallel()
	const pseudonymous, fresh horde.UserID = 4, 5
	b := opened(map[horde.UserID]horde.Kudos{requester: 30_00, horde.Anonymous: -40_00, fresh: 0})
	b.RestoreBalance(pseudonymous, Balance{Spendable: 20_00}, (&horde.User{ID: pseudonymous, OAuthID: "6bd1a7a2-9b1c-4b6f-9a51-0a4a3b4c1d2e"}).Floor())
	absorbed := horde.Kudos(0)
	for _, c := range []struct {
		name     string
		id       horde.UserID
		by, want horde.Kudos
		floor    horde.Kudos // what the floor puts in
	}{
		{"registered 30 less 100", requester, -100_00, 25_00, 95_00},
		{"then 20 more", requester, 20_00, 45_00, 0},
		{"pseudonymous 20 less 1000", pseudonymous, -1000_00, 14_00, 994_00},
		{"anonymous -40 less 100", horde.Anonymous, -100_00, -50_00, 90_00},
		{"a new one gets 10", fresh, 10_00, 25_00, 15_00},
	} {
		b.Grant(time.Now(), Admin, c.name, c.id, c.by)
		absorbed -= c.floor
		if got := b.Balance(c.id).Spendable; got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got := b.System(SystemFloor); got != absorbed {
			t.Errorf("%s: s:floor has %v, want %v", c.name, got, absorbed)
		}
		b.balanced(t, 30_00-40_00+20_00)
	}
}
