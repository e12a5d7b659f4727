// SPDX-License-Identifier: AGPL-3.0-or-later

// Package kudos is what work is worth and who owes whom: prices as pure functions, and the double-entry ledger.
//
// # The ledger
//
// Every movement of kudos is an [Event]: a set of [Entry] values that sum to zero, under a key that is accepted once. Events
// are only ever appended. All balances and counters are what the events add up to: a [Book] holds them, and applying the
// same events to an empty book gives the same book, which is what [Audit] checks.
//
// A user has two accounts: spendable ("u:7") and escrow ("e:7"), where half of what an untrusted user's workers earn waits
// for the user to be trusted. System accounts ("s:tax") are the other side of what is created and destroyed; they have no
// floor.
//
// The package does no I/O and reads no clock. The engine owns the book and guards it with its lock; the store keeps events
// and book in one transaction.
package kudos

import (
	"fmt"
	"strconv"
	"time"

	"horde/internal/horde"
)

// Account names one account of the ledger.
type Account struct {
	Class AccountClass
	// User is the owner of a spendable or escrow account, and zero for system accounts.
	User horde.UserID
}

// AccountClass is the letter and, for system accounts, the name of an account.
type AccountClass string

// The accounts.
const (
	Spendable    AccountClass = "u"
	Escrow       AccountClass = "e"
	SystemTax    AccountClass = "s:tax"    // activation taxes; pays style rewards
	SystemJobs   AccountClass = "s:jobs"   // what requesters pay beyond what workers get, and the reverse
	SystemUptime AccountClass = "s:uptime" // the other side of uptime rewards
	SystemAward  AccountClass = "s:award"
	SystemAdmin  AccountClass = "s:admin"
	SystemFloor  AccountClass = "s:floor" // what the floors of accounts absorb
)

func (a Account) String() string {
	if a.Class == Spendable || a.Class == Escrow {
		return string(a.Class) + ":" + strconv.Itoa(int(a.User))
	}
	return string(a.Class)
}

// MarshalText writes the account as "u:7" or "s:tax".
func (a Account) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Account) UnmarshalText(text []byte) error {
	s := string(text)
	if len(s) > 2 && (s[:2] == "u:" || s[:2] == "e:") {
		id, err := strconv.ParseInt(s[2:], 10, 32)
		if err != nil {
			return fmt.Errorf("account %q: %w", s, err)
		}
		*a = Account{AccountClass(s[:1]), horde.UserID(id)}
		return nil
	}
	*a = Account{Class: AccountClass(s)}
	return nil
}

// Entry is one line of an event.
type Entry struct {
	Account Account     `json:"a"`
	Amount  horde.Kudos `json:"k"`
}

// EventKind is why kudos moved.
type EventKind string

// The kinds of events (kudos chapter, 13.3).
const (
	Activation EventKind = "activation"
	Settlement EventKind = "settlement"
	Uptime     EventKind = "uptime"
	Drain      EventKind = "drain"
	Admin      EventKind = "admin"
	Monthly    EventKind = "monthly"
	Award      EventKind = "award"
	// Gift is a transfer from one user to another, Donation one to an education account.
	Gift     EventKind = "gift"
	Donation EventKind = "donation"
	// Styled pays the author of a style that somebody else's request was made with.
	Styled EventKind = "style_reward"
)

// Event is one movement. Besides its entries it holds all that the counters are made from, so that they can be recomputed.
type Event struct {
	// No orders the events of a horde, from 1, without gaps.
	No   int64     `json:"-"`
	Key  string    `json:"-"`
	Kind EventKind `json:"-"`
	At   time.Time `json:"-"`

	Entries []Entry `json:"entries"`

	Work horde.Kind `json:"work,omitempty"`
	// User is who paid or, where nobody did, whose balance changed; Owner the owner of the Worker that earned.
	User   horde.UserID   `json:"user,omitempty"`
	Owner  horde.UserID   `json:"owner,omitempty"`
	Worker horde.WorkerID `json:"worker,omitzero"`
	// Debit is what the user paid, Credit what the owner earned in both accounts together.
	Debit  horde.Kudos `json:"debit,omitempty"`
	Credit horde.Kudos `json:"credit,omitempty"`
	// Usage and Contribution are displayed things (megapixelsteps, tokens) in hundredths.
	Usage        int64 `json:"usage,omitempty"`
	Contribution int64 `json:"contribution,omitempty"`
}

// Balance is the standing of one user.
type Balance struct {
	Spendable horde.Kudos `json:"spendable"`
	Escrow    horde.Kudos `json:"escrow,omitempty"`
	Details   Details     `json:"details,omitzero"`
	Records   Records     `json:"records,omitzero"`
	// Floor is the lowest spendable balance; it follows from the class of the account and is not stored here.
	Floor horde.Kudos `json:"-"`
	// Held is the sum of what the user's requests have set aside. It follows from the requests and is not stored here.
	Held horde.Kudos `json:"-"`
}

// Available is what the user can promise now.
func (b *Balance) Available() horde.Kudos { return b.Spendable - b.Floor - b.Held }

// Details are the sums of a user's movements by reason, signed.
type Details struct {
	Accumulated horde.Kudos `json:"accumulated,omitempty"`
	Gifted      horde.Kudos `json:"gifted,omitempty"`
	Donated     horde.Kudos `json:"donated,omitempty"`
	Admin       horde.Kudos `json:"admin,omitempty"`
	Received    horde.Kudos `json:"received,omitempty"`
	Recurring   horde.Kudos `json:"recurring,omitempty"`
	Awarded     horde.Kudos `json:"awarded,omitempty"`
	Styled      horde.Kudos `json:"styled,omitempty"`
}

// Records are what a user has asked for and done, by kind of work.
type Records struct {
	Requests    Tally `json:"requests,omitzero"`
	Fulfilments Tally `json:"fulfilments,omitzero"`
	Styles      Tally `json:"styles,omitzero"`
	// Usage and Contribution are displayed things in hundredths.
	Usage        Tally `json:"usage,omitzero"`
	Contribution Tally `json:"contribution,omitzero"`
}

// Tally counts by kind of work.
type Tally struct {
	Image   int64 `json:"image,omitempty"`
	Text    int64 `json:"text,omitempty"`
	Alchemy int64 `json:"interrogation,omitempty"`
}

// Add counts n more of a kind.
func (t *Tally) Add(k horde.Kind, n int64) {
	switch k {
	case horde.Image:
		t.Image += n
	case horde.Text:
		t.Text += n
	case horde.Alchemy:
		t.Alchemy += n
	}
}

// Earnings are what one worker has made.
type Earnings struct {
	Generated horde.Kudos `json:"generated,omitempty"`
	Uptime    horde.Kudos `json:"uptime,omitempty"`
	// Contribution is displayed things in hundredths.
	Contribution int64 `json:"contribution,omitempty"`
	Fulfilments  int64 `json:"fulfilments,omitempty"`
}

// Total is what the worker has brought its owner.
func (e *Earnings) Total() horde.Kudos { return e.Generated + e.Uptime }
