// SPDX-License-Identifier: AGPL-3.0-or-later

package kudos

import (
	"fmt"
	"maps"
	"slices"

	"horde/internal/horde"
)

// Audit recomputes every balance and counter from the events and compares the result with what the store keeps. Feed it
// all events in order, then ask for the findings. The names of the invariants are those of the kudos chapter, 13.2.
type Audit struct {
	book     *Book
	settled  map[string]int // settlements by job id
	active   map[string]int // activations by request id
	keys     map[string]bool
	touched  map[horde.UserID]bool // spendable accounts that had a posting: a new account starts below its floor
	findings []string
}

// NewAudit returns an audit that has seen no event.
func NewAudit() *Audit {
	return &Audit{
		book: NewBook(), settled: map[string]int{}, active: map[string]int{}, keys: map[string]bool{},
		touched: map[horde.UserID]bool{},
	}
}

func (a *Audit) find(format string, args ...any) {
	a.findings = append(a.findings, fmt.Sprintf(format, args...))
}

// Event takes the next event.
func (a *Audit) Event(e *Event) {
	sum := horde.Kudos(0)
	for _, entry := range e.Entries {
		sum += entry.Amount
		if entry.Account.Class == Spendable {
			a.touched[entry.Account.User] = true
		}
	}
	if sum != 0 {
		a.find("L1: the entries of event %d (%s) sum to %s", e.No, e.Key, sum)
	}
	if e.No != a.book.last+1 {
		a.find("L9: event %d follows event %d", e.No, a.book.last)
	}
	if a.keys[e.Key] {
		a.find("L10: the key %s is used twice", e.Key)
	}
	a.keys[e.Key] = true
	switch e.Kind {
	case Settlement:
		a.settled[e.Key]++
	case Activation:
		a.active[e.Key]++
	}
	a.book.Apply(e)
}

// Stored is what the store keeps beside the events.
type Stored struct {
	Users    map[horde.UserID]*horde.User
	Balances map[horde.UserID]Balance
	Earnings map[horde.WorkerID]Earnings
	System   map[AccountClass]horde.Kudos
	Requests []*horde.Request
	Jobs     []*horde.Job
	Forms    []*horde.Form
	Last     int64
}

// Findings compares, and lists every difference in words. An empty list is a clean audit.
func (a *Audit) Findings(s Stored) []string {
	total := horde.Kudos(0)
	for _, class := range slices.Sorted(maps.Keys(union(a.book.system, s.System))) {
		if got, want := s.System[class], a.book.system[class]; got != want {
			a.find("L3: account %s holds %s, its entries sum to %s", class, got, want)
		}
		total += s.System[class]
	}
	for _, id := range slices.Sorted(maps.Keys(union(a.book.users, s.Balances))) {
		got, want := s.Balances[id], Balance{}
		if b := a.book.users[id]; b != nil {
			want = *b
		}
		total += got.Spendable + got.Escrow
		a.user(id, got, want, s.Users[id], a.book.users[id] != nil)
	}
	if total != 0 {
		a.find("L2: all accounts together hold %s", total)
	}
	for id, got := range s.Earnings {
		want := Earnings{}
		if e := a.book.workers[id]; e != nil {
			want = *e
		}
		if got != want {
			a.find("L14: worker %s: stored %+v, the events say %+v", id, got, want)
		}
	}
	if s.Last != a.book.last {
		a.find("L9: the store counts %d events, there are %d", s.Last, a.book.last)
	}
	a.holds(s.Requests)
	a.jobs(s.Requests, s.Jobs)
	a.forms(s.Forms)
	return a.findings
}

func union[K comparable, V, W any](m map[K]V, n map[K]W) map[K]bool {
	keys := make(map[K]bool, len(m)+len(n))
	for k := range m {
		keys[k] = true
	}
	for k := range n {
		keys[k] = true
	}
	return keys
}

func (a *Audit) user(id horde.UserID, got, want Balance, user *horde.User, posted bool) {
	if got.Spendable != want.Spendable {
		a.find("L3: account u:%d holds %s, its entries sum to %s", id, got.Spendable, want.Spendable)
	}
	if got.Escrow != want.Escrow {
		a.find("L3: account e:%d holds %s, its entries sum to %s", id, got.Escrow, want.Escrow)
	}
	if got.Escrow < 0 {
		a.find("L4: account e:%d holds %s", id, got.Escrow)
	}
	if got.Details != want.Details {
		a.find("L14: user %d: stored details %+v, the events say %+v", id, got.Details, want.Details)
	}
	if got.Records != want.Records {
		a.find("L14: user %d: stored records %+v, the events say %+v", id, got.Records, want.Records)
	}
	if user == nil {
		if posted {
			a.find("user %d has postings but no account", id)
		}
		return
	}
	if a.touched[id] && got.Spendable < user.Floor() {
		a.find("L4: account u:%d holds %s, below its floor of %s", id, got.Spendable, user.Floor())
	}
	if user.Has(horde.Trusted) && got.Escrow > 0 {
		a.find("L11: user %d is trusted and has %s in escrow", id, got.Escrow)
	}
}

func (a *Audit) holds(requests []*horde.Request) {
	for _, r := range requests {
		if r.Hold.Remaining < 0 || r.Hold.Remaining > r.Hold.Amount {
			a.find("L5: request %s holds %s of %s", r.ID, r.Hold.Remaining, r.Hold.Amount)
		}
		if a.active["wp:"+r.ID.String()+":activate"] != 1 {
			a.find("L8: request %s was activated %d times", r.ID, a.active["wp:"+r.ID.String()+":activate"])
		}
	}
}

// forms are settled when they were delivered, or cancelled while they were worked on: once, and no others.
func (a *Audit) forms(forms []*horde.Form) {
	for _, f := range forms {
		want := 0
		if f.Settled {
			want = 1
		}
		if n := a.settled[FormKey(f.ID)]; n != want || f.State == horde.FormDone && !f.Settled {
			a.find("L7: form %s (%s) was settled %d times", f.ID, f.State, n)
		}
	}
}

func (a *Audit) jobs(requests []*horde.Request, jobs []*horde.Job) {
	byID := make(map[horde.RequestID]*horde.Request, len(requests))
	type count struct{ running, finished, faults int }
	counts := make(map[horde.RequestID]*count, len(requests))
	for _, r := range requests {
		byID[r.ID] = r
		counts[r.ID] = &count{}
	}
	for _, j := range jobs {
		settled, want := a.settled["job:"+j.ID.String()+":settle"], 0
		if j.State == horde.JobDelivered && !j.Decoy {
			want = 1
		}
		if settled != want {
			a.find("L7: job %s (state %d, decoy %t) was settled %d times", j.ID, j.State, j.Decoy, settled)
		}
		c := counts[j.Request]
		if c == nil {
			a.find("job %s belongs to no request", j.ID)
			continue
		}
		switch {
		case j.Decoy:
		case j.State == horde.JobRunning:
			c.running++
		case j.State == horde.JobDelivered:
			c.finished++
		case j.State == horde.JobFaulted:
			c.faults++
		}
	}
	for id, c := range counts {
		r := byID[id]
		if r.Running != c.running || r.Finished != c.finished || r.Faults != c.faults {
			a.find("request %s counts %d running, %d finished, %d faulted; its jobs are %d, %d, %d",
				id, r.Running, r.Finished, r.Faults, c.running, c.finished, c.faults)
		}
		if sum := r.Left + r.Running + r.Finished; !r.Cancelled && sum != r.Wanted {
			a.find("request %s wants %d results and accounts for %d", id, r.Wanted, sum)
		}
		if r.Left < 0 {
			a.find("request %s has %d left", id, r.Left)
		}
	}
}
