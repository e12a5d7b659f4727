// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"horde/internal/horde"
	"horde/internal/store"
)

// Verify looks for contradictions, in words: within the memory, and between the memory and the record. None is a sound
// engine. The record is read while nothing is being written to it; what was changed since and waits to be written, and what
// is written lazily, is not compared. An engine that is down has nothing to say.
func (e *Engine) Verify(ctx context.Context) ([]string, error) {
	e.writing.Lock()
	defer e.writing.Unlock()
	record, err := e.Store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the record: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down || e.doubt {
		return nil, nil
	}
	return append(e.contradictions(time.Now()), e.differences(record)...), nil
}

// Contradictions looks for contradictions within the memory alone. It reads no record and takes a walk over everything that
// is alive.
func (e *Engine) Contradictions() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down || e.doubt {
		return nil
	}
	return e.contradictions(time.Now())
}

// findings are contradictions in words.
type findings []string

func (f *findings) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// lateness is how much longer than its lease a job may be seen running: the sweep comes once a period, and waits for the lock.
const lateness = 2 * sweepEvery

// queued sums what requests should have in a queue.
type queued struct {
	requests int
	results  int64
	things   float64
	users    map[horde.UserID]int
	models   map[string]int64
}

func (e *Engine) contradictions(now time.Time) (f findings) {
	sums := map[horde.Kind]*queued{}
	for _, st := range e.statistics {
		if err := st.Check(); err != nil {
			f.add("statistics of %s: %v", st.kind, err)
		}
	}
	for _, k := range horde.Generated {
		sums[k] = &queued{users: map[horde.UserID]int{}, models: map[string]int64{}}
	}
	held := map[horde.UserID]horde.Kudos{}
	jobs := 0
	expires := make(map[*request]bool, len(e.expiry))
	for _, r := range e.expiry {
		expires[r] = true
	}
	for id, r := range e.requests {
		if !expires[r] {
			f.add("request %s never expires", id)
		}
		jobs += len(r.jobs)
		held[r.User] += r.Hold.Remaining
		f.request(e, id, r)
		if r.entry != nil {
			q := sums[r.Order.Kind()]
			q.requests++
			q.results += int64(r.Left)
			q.things += float64(r.Left) * r.order().Things()
			q.users[r.User] += r.Left
			needs := r.order().Needs()
			for _, m := range needs.ModelList() {
				q.models[m] += int64(r.Left)
			}
		}
	}
	if jobs != len(e.jobs) {
		f.add("%d jobs are known, the requests have %d", len(e.jobs), jobs)
	}
	for id, j := range e.running {
		switch {
		case e.jobs[id] != j || j.State != horde.JobRunning:
			f.add("job %s has a lease and does not run", id)
		case j.Lease <= 0:
			f.add("job %s runs without a lease", id)
		case now.Sub(j.Started) > j.Lease+lateness && now.Sub(e.since) > lateness:
			f.add("job %s has run for %s on a lease of %s", id, now.Sub(j.Started), j.Lease)
		}
	}
	for _, k := range horde.Generated {
		f.queue(e, k, sums[k])
	}
	f.alchemy(e, now)
	f.accounts(e, held)
	f.styles(e)
	f.sharedKeys(e)
	return f
}

// request checks one request and its jobs.
func (f *findings) request(e *Engine, id horde.RequestID, r *request) {
	running, finished, faults := 0, 0, 0
	for _, j := range r.jobs {
		if e.jobs[j.ID] != j || j.request != r {
			f.add("job %s of request %s is not filed", j.ID, id)
		}
		if (j.State == horde.JobRunning) != (e.running[j.ID] == j) {
			f.add("job %s is in state %d, and has a lease: %t", j.ID, j.State, e.running[j.ID] == j)
		}
		switch {
		case j.Decoy:
		case j.State == horde.JobRunning:
			running++
		case j.State == horde.JobDelivered:
			finished++
		case j.State == horde.JobFaulted:
			faults++
		}
	}
	if r.Running != running || r.Finished != finished || r.Faults != faults {
		f.add("request %s counts %d running, %d finished, %d faulted; its jobs are %d, %d, %d",
			id, r.Running, r.Finished, r.Faults, running, finished, faults)
	}
	if sum := r.Left + r.Running + r.Finished; r.Left < 0 || !r.Cancelled && sum != r.Wanted || sum > r.Wanted {
		f.add("request %s wants %d results: %d left, %d running, %d finished (cancelled: %t)",
			id, r.Wanted, r.Left, r.Running, r.Finished, r.Cancelled)
	}
	if r.Waiting() != (r.entry != nil) {
		f.add("request %s waits: %t; it is queued: %t", id, r.Waiting(), r.entry != nil)
	}
	if r.Faulted != (r.Faults >= horde.MaxFaults) && !r.Cancelled {
		f.add("request %s was given up: %t after %d faults", id, r.Faulted, r.Faults)
	}
	if r.Hold.Remaining < 0 || r.Hold.Remaining > r.Hold.Amount {
		f.add("L5: request %s holds %s of %s", id, r.Hold.Remaining, r.Hold.Amount)
	}
	if r.Hold.Remaining > 0 && (r.Done() || r.Cancelled && r.Running == 0) {
		f.add("request %s is over and holds %s", id, r.Hold.Remaining)
	}
	if _, filed := r.user.requests[r]; !filed || e.users[r.User] != r.user {
		f.add("request %s is not filed with its user", id)
	}
}

// alchemy compares where forms are filed with how they stand.
func (f *findings) alchemy(e *Engine, now time.Time) {
	pending, waiting, processing := map[*user]int{}, 0, 0
	for id, x := range e.alchemy.forms {
		switch x.State {
		case horde.FormWaiting:
			waiting++
		case horde.FormProcessing:
			processing++
			if e.processing[id] != x || x.worker == nil {
				f.add("form %s is in hand, and nobody has it", id)
			}
			if late := now.Sub(x.Started); late > horde.FormLease+lateness && now.Sub(e.since) > lateness {
				f.add("form %s has been in hand for %s", id, late)
			}
		}
		if x.State.Pending() {
			pending[x.of.user]++
		}
		if x.Settled != (x.State == horde.FormDone) && x.State != horde.FormCancelled {
			f.add("form %s is %s and was paid for: %t", id, x.State, x.Settled)
		}
		if e.interrogations[x.Request] != x.of || x.Index >= len(x.of.forms) || x.of.forms[x.Index] != x {
			f.add("form %s is not filed with its request", id)
		}
	}
	if waiting != e.waiting.Len() || processing != len(e.processing) {
		f.add("%d forms wait and %d are queued; %d are in hand and %d have a lease", waiting, e.waiting.Len(), processing, len(e.processing))
	}
	for id, u := range e.users {
		if u.pendingForms != pending[u] || u.arrivingForms < 0 {
			f.add("user %d counts %d forms that are pending, and %d arriving; there are %d", id, u.pendingForms, u.arrivingForms, pending[u])
		}
	}
	for id, i := range e.interrogations {
		if _, filed := i.user.interrogations[i]; !filed || i.place == nil {
			f.add("alchemy request %s is not filed with its user, or never expires", id)
		}
	}
	if len(e.interrogations) != e.expiring.Len() {
		f.add("there are %d alchemy requests, and %d expire", len(e.interrogations), e.expiring.Len())
	}
}

// queue compares a queue with what the requests say should be in it.
func (f *findings) queue(e *Engine, k horde.Kind, want *queued) {
	requests, results, things := e.queues[k].Waiting()
	if requests != want.requests || results != want.results || things != want.things {
		f.add("the %s queue sums to %d requests, %d results, %g things; the requests to %d, %d, %g",
			k, requests, results, things, want.requests, want.results, want.things)
	}
	for id := range e.users {
		if got := e.queues[k].WaitingOf(id, nil); got != want.users[id] {
			f.add("user %d has %d results in the %s queue, the requests say %d", id, got, k, want.users[id])
		}
	}
	seen := 0
	e.queues[k].Models(func(m string, results int64, _ float64) {
		seen++
		if results != want.models[m] {
			f.add("model %q has %d results in the %s queue, the requests say %d", m, results, k, want.models[m])
		}
	})
	if seen != len(want.models) {
		f.add("the %s queue knows %d models, the requests %d", k, seen, len(want.models))
	}
}

// accounts checks balances and who may use which name.
func (f *findings) accounts(e *Engine, held map[horde.UserID]horde.Kudos) {
	total := horde.Kudos(0)
	for _, amount := range e.book.Systems() {
		total += amount
	}
	for id, u := range e.users {
		b := e.book.Balance(id)
		total += b.Spendable + b.Escrow
		if arriving := u.arriving[horde.Image] + u.arriving[horde.Text]; b.Held < held[id] || b.Held != held[id] && arriving == 0 {
			f.add("user %d has %s set aside, the requests hold %s", id, b.Held, held[id])
		}
		if b.Escrow < 0 {
			f.add("L4: user %d has %s in escrow", id, b.Escrow)
		}
		if u.Has(horde.Trusted) && b.Escrow > 0 {
			f.add("L11: user %d is trusted and has %s in escrow", id, b.Escrow)
		}
		if u.WipedAt.IsZero() && (u.KeyHash != "" && e.byKey[u.KeyHash] != u || e.byOAuth[u.OAuthID] != u) {
			f.add("user %d cannot come in", id)
		}
		for _, n := range u.arriving {
			if n < 0 {
				f.add("user %d has %d results arriving", id, n)
			}
		}
	}
	if total != 0 {
		f.add("L2: all accounts together hold %s", total)
	}
	for id, w := range e.workers {
		if e.byName[w.Name] != w || w.owner.workers[id] != w {
			f.add("worker %s is not filed", id)
		}
	}
}

// differences compares the memory with the record, except for what the open batch holds.
func (e *Engine) differences(record *store.State) (f findings) {
	if record.Settings == nil || !e.open.settings && *record.Settings != *e.settings {
		f.add("the settings differ from the record's")
	}
	gone := map[horde.RequestID]bool{}
	for _, id := range e.open.gone {
		gone[id] = true
	}
	stored := make(map[horde.RequestID]bool, len(record.Requests))
	for _, want := range record.Requests {
		stored[want.ID] = true
		r := e.requests[want.ID]
		if r == nil {
			if !gone[want.ID] {
				f.add("request %s is in the record only", want.ID)
			}
			continue
		}
		if _, changed := e.open.requests[r]; !changed && atRest(r.Request) != atRest(*want) {
			f.add("request %s differs from the record's: %+v, %+v", want.ID, atRest(r.Request), atRest(*want))
		}
	}
	for id, r := range e.requests {
		if !stored[id] && !e.open.requests[r] {
			f.add("request %s is in memory only", id)
		}
	}
	storedJobs := make(map[horde.JobID]bool, len(record.Jobs))
	for _, want := range record.Jobs {
		storedJobs[want.ID] = true
		j := e.jobs[want.ID]
		if j == nil {
			if !gone[want.Request] {
				f.add("job %s is in the record only", want.ID)
			}
			continue
		}
		if !e.open.jobs[j] && !sameJob(j.Job, *want) {
			f.add("job %s differs from the record's: %+v, %+v", want.ID, j.Job, *want)
		}
	}
	for id, j := range e.jobs {
		if !storedJobs[id] && !e.open.jobs[j] {
			f.add("job %s is in memory only", id)
		}
	}
	f.documents(e, record)
	f.people(e, record)
	return f
}

// documents compares alchemy, styles, shared keys, supporters and the statistics with the record.
func (f *findings) documents(e *Engine, record *store.State) {
	kept := map[documentKey]documented{}
	for id, i := range e.interrogations {
		kept[documentKey{interrogationDocument, id.String()}] = i
	}
	for id, x := range e.alchemy.forms {
		kept[documentKey{formDocument, id.String()}] = x
	}
	e.keptStatistics(kept)
	e.keptStyles(kept)
	e.keptSharedKeys(kept)
	e.keptSupporters(kept)
	compared := map[string]bool{interrogationDocument: true, formDocument: true, styleDocument: true, sharedKeyDocument: true, supportersDocument: true, collectionDocument: true, useDocument: true, minuteDocument: true, hourDocument: true, pastDocument: true}
	for key := range e.open.documents {
		delete(kept, key)
	}
	for _, d := range record.Documents {
		key := documentKey{d.Kind, d.ID}
		if _, changed := e.open.documents[key]; changed || !compared[d.Kind] {
			continue
		}
		switch got := kept[key]; {
		case got == nil:
			f.add("%s %s is in the record only", d.Kind, d.ID)
		case text(got) != string(d.Data):
			f.add("%s %s differs from the record's: %s, %s", d.Kind, d.ID, text(got), d.Data)
		}
		delete(kept, key)
	}
	for key := range kept {
		f.add("%s %s is in memory only", key.kind, key.id)
	}
}

// people compares accounts, workers and what they have with the record.
func (f *findings) people(e *Engine, record *store.State) {
	if len(record.Users) > len(e.users) {
		f.add("%d accounts are in the record, %d in memory", len(record.Users), len(e.users))
	}
	for _, want := range record.Users {
		u := e.users[want.ID]
		if u == nil {
			f.add("account %d is in the record only", want.ID)
			continue
		}
		if e.active[u] {
			want.LastActive = u.LastActive
		}
		if !e.open.users[u] && text(settledUser(u.User)) != text(settledUser(*want)) {
			f.add("account %d differs from the record's: %s, %s", want.ID, text(u.User), text(*want))
		}
		got := *e.book.Balance(u.ID)
		got.Floor, got.Held = 0, 0
		balance := record.Balances[u.ID]
		balance.Floor, balance.Held = 0, 0
		if !e.open.balances[u.ID] && got != balance {
			f.add("account %d has %+v, the record says %+v", u.ID, got, balance)
		}
	}
	gone := map[horde.WorkerID]bool{}
	for _, id := range e.open.goneWorker {
		gone[id] = true
	}
	for _, want := range record.Workers {
		w := e.workers[want.ID]
		if w == nil {
			if !gone[want.ID] {
				f.add("worker %s is in the record only", want.ID)
			}
			continue
		}
		if !e.open.workers[w] && !w.lazy && text(settledWorker(w.Worker)) != text(settledWorker(*want)) {
			f.add("worker %s differs from the record's: %s, %s", want.ID, text(w.Worker), text(*want))
		}
		if got := *e.book.Earnings(w.ID); !e.open.earnings[w.ID] && got != record.Earnings[w.ID] {
			f.add("worker %s has earned %+v, the record says %+v", w.ID, got, record.Earnings[w.ID])
		}
	}
	if len(e.open.events) == 0 {
		for class, amount := range e.book.Systems() {
			if record.System[class] != amount {
				f.add("account %s holds %s, the record says %s", class, amount, record.System[class])
			}
		}
	}
}

// instant is a time as the record keeps it.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// atRest is a request as the record keeps it, without its order.
func atRest(r horde.Request) horde.Request {
	r.Order = ""
	r.Created, r.Expires, r.Queued = instant(r.Created), instant(r.Expires), instant(r.Queued)
	return r
}

func sameJob(a, b horde.Job) bool {
	for _, j := range []*horde.Job{&a, &b} {
		j.Started, j.Ended = instant(j.Started), instant(j.Ended)
	}
	return text(a) == text(b)
}

func settledUser(u horde.User) horde.User {
	u.SessionsFrom = instant(u.SessionsFrom)
	u.Created, u.LastActive, u.WipedAt, u.MonthlyReceived = instant(u.Created), instant(u.LastActive), instant(u.WipedAt), instant(u.MonthlyReceived)
	return u
}

func settledWorker(w horde.Worker) horde.Worker {
	w.RequireUpfrontKudos = false // of the last pop, and told again by the next
	w.Created, w.LastCheckIn, w.LastAborted = instant(w.Created), instant(w.LastCheckIn), instant(w.LastAborted)
	return w
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
