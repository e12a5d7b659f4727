// SPDX-License-Identifier: AGPL-3.0-or-later

package kudos

import (
	"fmt"
	"maps"
	"time"

	"horde/internal/horde"
)

// Book holds all balances and counters: the sum of the events. It is not safe for concurrent use; the engine's lock guards
// it. Pointers that it returns are live.
type Book struct {
	users   map[horde.UserID]*Balance
	workers map[horde.WorkerID]*Earnings
	system  map[AccountClass]horde.Kudos
	// spendable and escrow sum the accounts of all users.
	spendable, escrow horde.Kudos
	last              int64
	holds             int // requests that have something set aside
}

// NewBook returns the book of a horde in which nothing has happened yet.
func NewBook() *Book {
	return &Book{
		users:   map[horde.UserID]*Balance{},
		workers: map[horde.WorkerID]*Earnings{},
		system:  map[AccountClass]horde.Kudos{},
	}
}

// Restore sets what the store kept: the standing of a user, of a worker, of a system account, and the number of the last
// event.
func (b *Book) Restore(last int64, system map[AccountClass]horde.Kudos) {
	b.last = last
	for class, amount := range system {
		b.system[class] = amount
	}
}

// RestoreBalance sets what the store kept of a user.
func (b *Book) RestoreBalance(id horde.UserID, balance Balance, floor horde.Kudos) {
	balance.Floor, balance.Held = floor, 0 // holds are counted by RestoreHold
	b.users[id] = &balance
	b.spendable += balance.Spendable
	b.escrow += balance.Escrow
}

// RestoreEarnings sets what the store kept of a worker.
func (b *Book) RestoreEarnings(id horde.WorkerID, earnings Earnings) { b.workers[id] = &earnings }

// Open makes sure that a user has accounts and knows their floor. A new account starts at zero, below its floor.
func (b *Book) Open(id horde.UserID, floor horde.Kudos) {
	b.Balance(id).Floor = floor
}

// Balance is the standing of a user. It is made where there was none.
func (b *Book) Balance(id horde.UserID) *Balance {
	balance := b.users[id]
	if balance == nil {
		balance = &Balance{}
		b.users[id] = balance
	}
	return balance
}

// Earnings is what a worker has made. It is made where there was none.
func (b *Book) Earnings(id horde.WorkerID) *Earnings {
	e := b.workers[id]
	if e == nil {
		e = &Earnings{}
		b.workers[id] = e
	}
	return e
}

// Forget drops the earnings of a deleted worker. What its owner got from them stays.
func (b *Book) Forget(id horde.WorkerID) { delete(b.workers, id) }

// Systems copies the balances of all system accounts.
func (b *Book) Systems() map[AccountClass]horde.Kudos { return maps.Clone(b.system) }

// Sums are the balances of all accounts, summed by class. Together they are zero.
func (b *Book) Sums() map[AccountClass]horde.Kudos {
	sums := b.Systems()
	sums[Spendable], sums[Escrow] = b.spendable, b.escrow
	return sums
}

// System is the balance of a system account.
func (b *Book) System(class AccountClass) horde.Kudos { return b.system[class] }

// Activate charges the tax of a request that became active.
func (b *Book) Activate(at time.Time, r *horde.Request, tax horde.Kudos) *Event {
	return b.post(&Event{
		Key: "wp:" + r.ID.String() + ":activate", Kind: Activation, At: at,
		Entries: []Entry{{spendable(r.User), -tax}, {Account{Class: SystemTax}, tax}},
		Work:    r.Order.Kind(), User: r.User, Debit: tax,
	})
}

// Settled is one delivered job, as the ledger sees it.
type Settled struct {
	Request *horde.Request
	Job     horde.JobID
	Worker  *horde.Worker
	// ToEscrow tells that the owner is untrusted: half of the credit waits.
	ToEscrow bool
	// Debit is what the requester pays, Credit what the owner earns.
	Debit, Credit horde.Kudos
	// Things is the displayed measure of the job, UsageMultiplier the requester's.
	Things, UsageMultiplier float64
}

// Settle pays for a delivered job. The caller has made sure that the job was running until now: a job is settled once.
func (b *Book) Settle(at time.Time, s Settled) *Event {
	owner := s.Worker.Owner
	return b.post(&Event{
		Key: "job:" + s.Job.String() + ":settle", Kind: Settlement, At: at,
		Entries: settlement(s.Request.User, owner, s.ToEscrow, s.Debit, s.Credit),
		Work:    s.Request.Order.Kind(), User: s.Request.User, Owner: owner, Worker: s.Worker.ID,
		Debit: s.Debit, Credit: s.Credit,
		Usage:        int64(horde.NewKudos(s.Things * s.UsageMultiplier)),
		Contribution: int64(horde.NewKudos(s.Things)),
	})
}

// SettledForm is one delivered form, as the ledger sees it.
type SettledForm struct {
	Form   horde.FormID
	User   horde.UserID // who asked
	Worker *horde.Worker
	// ToEscrow, Debit and Credit are those of [Settled].
	ToEscrow      bool
	Debit, Credit horde.Kudos
}

// SettleForm pays for a form of an alchemy request. The caller has made sure that the form was being worked on until now: a form
// is settled once. Forms have no measure, so no things are counted.
func (b *Book) SettleForm(at time.Time, s SettledForm) *Event {
	owner := s.Worker.Owner
	return b.post(&Event{
		Key: FormKey(s.Form), Kind: Settlement, At: at, Entries: settlement(s.User, owner, s.ToEscrow, s.Debit, s.Credit),
		Work: horde.Alchemy, User: s.User, Owner: owner, Worker: s.Worker.ID, Debit: s.Debit, Credit: s.Credit,
	})
}

// FormKey is the key of the settlement of a form.
func FormKey(id horde.FormID) string { return "form:" + id.String() + ":settle" }

// settlement are the entries of a settlement.
func settlement(payer, owner horde.UserID, toEscrow bool, debit, credit horde.Kudos) []Entry {
	entries := []Entry{{spendable(payer), -debit}}
	if held := half(credit); toEscrow && held != 0 {
		entries = append(entries, Entry{escrow(owner), held}, Entry{spendable(owner), credit - held})
	} else {
		entries = append(entries, Entry{spendable(owner), credit})
	}
	return append(entries, Entry{Account{Class: SystemJobs}, debit - credit})
}

// half of an amount, rounded to hundredths, halves to even.
func half(k horde.Kudos) horde.Kudos { return horde.NewKudos(k.Float() / 2) }

// RewardUptime pays a worker's owner for a stretch of uptime. cursor is the uptime that was reached, which makes the key
// unique. With toEscrow the whole reward waits.
func (b *Book) RewardUptime(at time.Time, w *horde.Worker, cursor time.Duration, reward horde.Kudos, toEscrow bool) *Event {
	account := spendable(w.Owner)
	if toEscrow {
		account = escrow(w.Owner)
	}
	return b.post(&Event{
		Key: fmt.Sprintf("worker:%s:uptime:%d", w.ID, int64(cursor/time.Second)), Kind: Uptime, At: at,
		Entries: []Entry{{account, reward}, {Account{Class: SystemUptime}, -reward}},
		Work:    w.Kind, Owner: w.Owner, Worker: w.ID, Credit: reward,
	})
}

// DrainEscrow moves all that waits to a user who is trusted now.
func (b *Book) DrainEscrow(at time.Time, id horde.UserID) *Event {
	amount := b.Balance(id).Escrow
	return b.post(&Event{
		Key: fmt.Sprintf("user:%d:drain:%d", id, b.last+1), Kind: Drain, At: at,
		Entries: []Entry{{escrow(id), -amount}, {spendable(id), amount}},
		User:    id, Credit: amount,
	})
}

// Grant gives (or, with a negative amount, takes) kudos by a decision of people: kind is Admin, Monthly or Award, and key
// names the decision.
func (b *Book) Grant(at time.Time, kind EventKind, key string, id horde.UserID, amount horde.Kudos) *Event {
	other := SystemAward
	if kind == Admin {
		other = SystemAdmin
	}
	return b.post(&Event{
		Key: key, Kind: kind, At: at, User: id, Credit: amount,
		Entries: []Entry{{spendable(id), amount}, {Account{Class: other}, -amount}},
	})
}

// GrantMonthly gives an account the first of its monthly kudos, by a decision that key names. Those that follow by the clock are
// grants of the kind Monthly.
func (b *Book) GrantMonthly(at time.Time, key string, id horde.UserID, amount horde.Kudos) *Event {
	return b.post(&Event{
		Key: key, Kind: Monthly, At: at, User: id, Credit: amount,
		Entries: []Entry{{spendable(id), amount}, {Account{Class: SystemAdmin}, -amount}},
	})
}

// Transfer moves kudos from one user to another: kind is Gift or Donation. key is unique for the source; it makes a repeated
// transfer one. The caller has made sure that the source has the amount available.
func (b *Book) Transfer(at time.Time, kind EventKind, key string, from, to horde.UserID, amount horde.Kudos) *Event {
	return b.post(&Event{
		Key: fmt.Sprintf("transfer:%d:%s", from, key), Kind: kind, At: at, User: from, Owner: to, Debit: amount, Credit: amount,
		Entries: []Entry{{spendable(from), -amount}, {spendable(to), amount}},
	})
}

// StyleReward is what the author of a style gets for a request of somebody else.
const StyleReward horde.Kudos = 2_00

// RewardStyle pays the author of the style that an accepted request was made with. A request is made with one style.
func (b *Book) RewardStyle(at time.Time, r *horde.Request, author horde.UserID) *Event {
	return b.post(&Event{
		Key: "wp:" + r.ID.String() + ":style", Kind: Styled, At: at,
		Entries: []Entry{{spendable(author), StyleReward}, {Account{Class: SystemTax}, -StyleReward}},
		Work:    r.Order.Kind(), Owner: author, Credit: StyleReward,
	})
}

func spendable(id horde.UserID) Account { return Account{Spendable, id} }
func escrow(id horde.UserID) Account    { return Account{Escrow, id} }

// post completes an event with what floors absorb, numbers it and applies it. An account that a user owns twice in one
// event, as payer and as earner, counts with the sum of both.
func (b *Book) post(e *Event) *Event {
	net := map[horde.UserID]horde.Kudos{}
	for _, entry := range e.Entries {
		if entry.Account.Class == Spendable {
			net[entry.Account.User] += entry.Amount
		}
	}
	for _, entry := range e.Entries {
		id := entry.Account.User
		change, first := net[id]
		if entry.Account.Class != Spendable || !first {
			continue
		}
		delete(net, id)
		balance := b.Balance(id)
		if short := balance.Floor - (balance.Spendable + change); short > 0 {
			e.Entries = append(e.Entries, Entry{spendable(id), short}, Entry{Account{Class: SystemFloor}, -short})
		}
	}
	e.No = b.last + 1
	b.Apply(e)
	return e
}

// Apply adds an event to the book as it is. Posting and replaying both end here, so a replay cannot differ.
func (b *Book) Apply(e *Event) {
	for _, entry := range e.Entries {
		switch entry.Account.Class {
		case Spendable:
			b.spendable += entry.Amount
			b.Balance(entry.Account.User).Spendable += entry.Amount
		case Escrow:
			b.escrow += entry.Amount
			b.Balance(entry.Account.User).Escrow += entry.Amount
		default:
			b.system[entry.Account.Class] += entry.Amount
		}
	}
	b.last = e.No
	switch e.Kind {
	case Activation:
		user := b.Balance(e.User)
		user.Details.Accumulated -= e.Debit
		user.Records.Requests.Add(e.Work, 1)
	case Settlement:
		user, owner, worker := b.Balance(e.User), b.Balance(e.Owner), b.Earnings(e.Worker)
		user.Details.Accumulated -= e.Debit
		user.Records.Requests.Add(e.Work, 1)
		user.Records.Usage.Add(e.Work, e.Usage)
		owner.Details.Accumulated += e.Credit - e.escrowed()
		owner.Records.Fulfilments.Add(e.Work, 1)
		owner.Records.Contribution.Add(e.Work, e.Contribution)
		worker.Generated += e.Credit
		worker.Contribution += e.Contribution
		worker.Fulfilments++
	case Uptime:
		b.Balance(e.Owner).Details.Accumulated += e.Credit - e.escrowed()
		b.Earnings(e.Worker).Uptime += e.Credit
	case Drain:
		b.Balance(e.User).Details.Accumulated += e.Credit
	case Admin:
		b.Balance(e.User).Details.Admin += e.Credit
	case Monthly:
		b.Balance(e.User).Details.Recurring += e.Credit
	case Award:
		b.Balance(e.User).Details.Awarded += e.Credit
	case Styled:
		author := b.Balance(e.Owner)
		author.Details.Styled += e.Credit
		author.Records.Styles.Add(e.Work, 1)
	case Gift:
		b.Balance(e.User).Details.Gifted -= e.Debit
		b.Balance(e.Owner).Details.Received += e.Credit
	case Donation:
		b.Balance(e.User).Details.Donated -= e.Debit
		b.Balance(e.Owner).Details.Received += e.Credit
	}
}

// escrowed is how much of the credit waits in escrow.
func (e *Event) escrowed() (sum horde.Kudos) {
	for _, entry := range e.Entries {
		if entry.Account.Class == Escrow {
			sum += entry.Amount
		}
	}
	return sum
}

// Touched lists what an event changed, for the store: users, and the worker if there is one.
func (e *Event) Touched() (users []horde.UserID, worker horde.WorkerID) {
	seen := map[horde.UserID]bool{}
	for _, entry := range e.Entries {
		if c := entry.Account.Class; (c == Spendable || c == Escrow) && !seen[entry.Account.User] {
			seen[entry.Account.User] = true
			users = append(users, entry.Account.User)
		}
	}
	return users, e.Worker
}

// PlaceHold sets an amount of the payer's balance aside for a request, if the payer has it. A request has one hold.
func (b *Book) PlaceHold(r *horde.Request, amount horde.Kudos) bool {
	balance := b.Balance(r.User)
	if r.Hold.Remaining != 0 || balance.Available() < amount {
		return false
	}
	r.Hold = horde.Hold{Amount: amount, Remaining: amount}
	if amount > 0 {
		b.holds++
	}
	balance.Held += amount
	return true
}

// UseHold lowers the hold of a request by what was just charged for it.
func (b *Book) UseHold(r *horde.Request, charged horde.Kudos) {
	used := min(charged, r.Hold.Remaining)
	if used > 0 && used == r.Hold.Remaining {
		b.holds--
	}
	r.Hold.Remaining -= used
	b.Balance(r.User).Held -= used
}

// ReleaseHold gives the rest of a hold back. Doing so again changes nothing.
func (b *Book) ReleaseHold(r *horde.Request) {
	if r.Hold.Remaining > 0 {
		b.holds--
	}
	b.Balance(r.User).Held -= r.Hold.Remaining
	r.Hold.Remaining = 0
}

// RestoreHold counts a hold that the store kept.
func (b *Book) RestoreHold(r *horde.Request) {
	if r.Hold.Remaining > 0 {
		b.holds++
	}
	b.Balance(r.User).Held += r.Hold.Remaining
}

// Holds is how many requests have something set aside.
func (b *Book) Holds() int { return b.holds }
