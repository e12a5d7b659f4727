// SPDX-License-Identifier: AGPL-3.0-or-later

package simulation

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
	"horde/internal/store/memory"
)

// errFault is what a record answers whose seed wants it to fail; errDead one whose process was killed.
var (
	errFault = errors.New("the record failed, as the seed wants it")
	errDead  = errors.New("the process is dead")
)

// Mutation breaks something on purpose. The zero value breaks nothing.
type Mutation string

// The mutations.
const (
	// LoseCommit answers now and then that a batch is written that is not.
	LoseCommit Mutation = "a commit is lost"
	// LateCommit answers before the batch is written, as a disk does that does not wait.
	LateCommit Mutation = "commits are acknowledged before they are written"
	// HalfCommit writes now and then a batch without its events.
	HalfCommit Mutation = "half a commit is written"
	// DoublePay pays a job twice, in a ledger that balances.
	DoublePay Mutation = "a job is paid twice"
	// WrongBalance stores a balance that is not what the events add up to.
	WrongBalance Mutation = "a balance is off by a hundredth"
	// ForgetJob loads the record without one of its running jobs.
	ForgetJob Mutation = "a running job is forgotten in a restart"
	// Resurrect loads a delivered job as a running one.
	Resurrect Mutation = "a delivered job runs again after a restart"
	// ForgetHold loads a request without what it has set aside.
	ForgetHold Mutation = "a hold is forgotten in a restart"
	// ForgetCancel loads a cancelled request as one that waits.
	ForgetCancel Mutation = "a cancelled request waits again after a restart"
)

// Mutations lists all of them.
var Mutations = []Mutation{LoseCommit, LateCommit, HalfCommit, DoublePay, WrongBalance, ForgetJob, Resurrect, ForgetHold, ForgetCancel}

// record is what is kept when a process dies, with a mirror of it that says whether each batch was allowed.
type record struct {
	*memory.Store
	mutation Mutation
	find     func(format string, args ...any)

	mu     sync.Mutex // guards all below
	rng    *rand.Rand // what becomes of each commit
	broken time.Time  // until then nothing is written and nothing can be read
	calm   bool       // no faults any more
	late   *store.Batch

	audit    *kudos.Audit
	requests map[horde.RequestID]horde.Request
	jobs     map[horde.JobID]horde.Job
	balances map[horde.UserID]kudos.Balance
	users    map[horde.UserID]horde.User
	workers  map[string]horde.WorkerID
	everReq  map[horde.RequestID]bool
	everJob  map[horde.JobID]bool
	settled  map[horde.JobID]int
	granted  map[horde.UserID]horde.Kudos // by admin events
	counted  counted
	commits  int
	failed   int
	// lastFault is when the record last failed, or when an engine came back from that.
	lastFault time.Time
	trace     io.Writer
}

func newRecord(rng *rand.Rand, m Mutation, find func(string, ...any), trace io.Writer) *record {
	return &record{
		Store: memory.New(), mutation: m, find: find, rng: rng, trace: trace, audit: kudos.NewAudit(),
		requests: map[horde.RequestID]horde.Request{}, jobs: map[horde.JobID]horde.Job{},
		balances: map[horde.UserID]kudos.Balance{}, users: map[horde.UserID]horde.User{},
		everReq: map[horde.RequestID]bool{}, everJob: map[horde.JobID]bool{}, settled: map[horde.JobID]int{},
		granted: map[horde.UserID]horde.Kudos{}, workers: map[string]horde.WorkerID{}, counted: newCounted(),
	}
}

// fate is what the seed wants with a commit.
type fate struct {
	before, after time.Duration // waits before and after the batch is written
	fail, applied bool
}

// draw decides on one commit.
func (r *record) draw() (f fate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commits++
	if time.Now().Before(r.broken) {
		return fate{fail: true}
	}
	if r.calm {
		return fate{}
	}
	wait := func() time.Duration {
		switch n := r.rng.IntN(100); {
		case n < 50:
			return 0
		case n < 85:
			return time.Duration(1+r.rng.IntN(20_000)) * time.Microsecond
		case n < 97:
			return time.Duration(1+r.rng.IntN(999_999)) * time.Microsecond
		}
		return time.Duration(1+r.rng.IntN(90_000_000)) * time.Microsecond
	}
	f.before, f.after = wait(), wait()
	if n := r.rng.IntN(100); n < 3 {
		f.fail, f.applied = true, n == 0 || n == 1 && r.rng.IntN(2) == 0
	}
	return f
}

// process is the record as one process sees it. It dies with the process.
type process struct {
	*record
	dead    chan struct{} // closed when the process is killed
	writing atomic.Bool   // while a commit is under way
}

// pause waits, unless the process dies or the caller gives up first.
func (p *process) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-p.dead:
		return errDead
	default:
	}
	if d == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.dead:
		return errDead
	}
}

// Commit writes a batch, as the seed wants.
func (p *process) Commit(ctx context.Context, b *store.Batch) (err error) {
	select {
	case <-p.dead: // how often the rest of a dead process tries is left to the scheduler
		return errDead
	default:
	}
	p.writing.Store(true)
	defer p.writing.Store(false)
	defer func() {
		// An engine that comes back writes its settings alone: until now it was down.
		if err != nil || b.Settings != nil && len(b.Users)+len(b.Events) == 0 {
			p.mu.Lock()
			p.lastFault = time.Now()
			p.mu.Unlock()
		}
	}()
	f := p.draw()
	if err := p.pause(ctx, f.before); err != nil {
		return err
	}
	if f.fail && !f.applied {
		return p.fault()
	}
	if err := p.write(ctx, b); err != nil {
		return err
	}
	if err := p.pause(ctx, f.after); err != nil {
		return err
	}
	if f.fail {
		return p.fault()
	}
	return nil
}

func (r *record) fault() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed++
	r.lastFault = time.Now()
	return errFault
}

// rest turns faults off or on.
func (r *record) rest(calm bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calm = calm
}

// reborn is told that a process died: what was never written is gone.
func (r *record) reborn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = nil
}

// write applies a batch, or what the mutation makes of it.
func (r *record) write(ctx context.Context, b *store.Batch) error {
	switch {
	case r.mutation == LoseCommit && r.commits > 20 && r.commits%17 == 0 && !b.Empty():
		return nil
	case r.mutation == LateCommit:
		r.mu.Lock()
		b, r.late = r.late, b
		r.mu.Unlock()
		if b == nil {
			return nil
		}
	case r.mutation == HalfCommit && len(b.Events) > 0 && r.commits > 20:
		half := *b
		half.Events = nil
		b = &half
	case r.mutation == WrongBalance && r.commits > 20 && len(b.Events) > 0:
		for _, id := range slices.Sorted(maps.Keys(b.Balances)) {
			balance := b.Balances[id]
			balance.Spendable++
			b.Balances[id] = balance
			break
		}
	case r.mutation == DoublePay:
		payTwice(b)
	}
	if err := r.Store.Commit(ctx, b); err != nil {
		r.find("the record refuses what the engine writes: %v", err)
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.allowed(b)
	return nil
}

// payTwice adds a second settlement of a job, with everything that belongs to it.
func payTwice(b *store.Batch) {
	for i, e := range b.Events {
		if e.Kind != kudos.Settlement || i != len(b.Events)-1 {
			continue
		}
		again := *e
		again.Key, again.No = e.Key+":again", e.No+1
		b.Events = append(b.Events[:len(b.Events):len(b.Events)], &again)
		return
	}
}

// Load reads the record, if it can be read, or what the mutation makes of it.
func (p *process) Load(ctx context.Context) (*store.State, error) {
	select {
	case <-p.dead:
		return nil, errDead
	default:
	}
	p.mu.Lock()
	broken := time.Now().Before(p.broken)
	p.mu.Unlock()
	if broken {
		return nil, p.fault()
	}
	s, err := p.Store.Load(ctx)
	if err != nil {
		return nil, err
	}
	switch p.mutation {
	case ForgetJob:
		if i := slices.IndexFunc(s.Jobs, func(j *horde.Job) bool { return j.State == horde.JobRunning && !j.Decoy }); i >= 0 {
			s.Jobs = slices.Delete(s.Jobs, i, i+1)
		}
	case Resurrect:
		for _, j := range s.Jobs {
			if j.State == horde.JobDelivered && !j.Decoy {
				j.State, j.Started = horde.JobRunning, time.Now()
				for _, r := range s.Requests {
					if r.ID == j.Request {
						r.Finished--
						r.Running++
					}
				}
				break
			}
		}
	case ForgetHold:
		for _, r := range s.Requests {
			r.Hold = horde.Hold{}
		}
	case ForgetCancel:
		for _, r := range s.Requests {
			if r.Cancelled {
				r.Cancelled, r.Left = false, r.Wanted-r.Running-r.Finished
			}
		}
	}
	return s, nil
}

// allowed compares a batch that was written with what was there, and then mirrors it. It is called with the lock.
func (r *record) allowed(b *store.Batch) {
	now := time.Now()
	before := maps.Clone(r.balances)
	for _, e := range b.Events {
		r.event(e, b)
	}
	for _, u := range b.Users {
		r.users[u.ID] = u
	}
	for _, worker := range b.Workers {
		r.workers[worker.Name] = worker.ID
	}
	maps.Copy(r.balances, b.Balances)
	for _, q := range b.NewRequests {
		if r.everReq[q.ID] {
			r.find("the request id %s was given twice", q.ID)
		}
		r.everReq[q.ID] = true
		r.holdGranted(&q, b, before)
		r.requests[q.ID] = q
	}
	for _, q := range b.Requests {
		r.requestMoved(&q)
	}
	r.tallied(b)
	for _, j := range b.Jobs {
		r.jobMoved(&j)
	}
	for _, id := range b.DeletedRequests {
		if q, ok := r.requests[id]; ok && q.Expires.After(now) {
			r.find("request %s is forgotten at %s and expires at %s", id, now, q.Expires)
		}
		delete(r.requests, id)
	}
	if len(b.DeletedRequests) > 0 {
		maps.DeleteFunc(r.jobs, func(_ horde.JobID, j horde.Job) bool {
			_, ok := r.requests[j.Request]
			return !ok
		})
	}
	r.describe(b)
}

// event takes one event of a batch: it must balance, come once, and come with what it pays for.
func (r *record) event(e *kudos.Event, b *store.Batch) {
	r.audit.Event(e)
	sum := horde.Kudos(0)
	for _, entry := range e.Entries {
		sum += entry.Amount
	}
	if sum != 0 {
		r.find("L1: the entries of event %d (%s) sum to %s", e.No, e.Key, sum)
	}
	switch e.Kind {
	case kudos.Settlement:
		text, _, _ := strings.Cut(strings.TrimPrefix(e.Key, "job:"), ":")
		id, ok := horde.ParseJobID(text)
		r.settled[id]++
		if !ok || r.settled[id] > 1 {
			r.find("L7: event %d (%s) pays a job again", e.No, e.Key)
		}
		if !slices.ContainsFunc(b.Jobs, func(j horde.Job) bool { return j.ID == id && j.State == horde.JobDelivered && !j.Decoy }) {
			r.find("L8: event %d (%s) comes without the delivery that it pays", e.No, e.Key)
		}
	case kudos.Activation:
		if !slices.ContainsFunc(b.NewRequests, func(q horde.Request) bool { return "wp:"+q.ID.String()+":activate" == e.Key }) {
			r.find("L8: event %d (%s) comes without its request", e.No, e.Key)
		}
	case kudos.Admin:
		r.granted[e.User] += e.Credit
	}
}

// holdGranted checks what a new request set aside, where nothing else of the batch moved the user's kudos.
func (r *record) holdGranted(q *horde.Request, b *store.Batch, before map[horde.UserID]kudos.Balance) {
	if q.Hold.Amount == 0 || len(b.Events) != 1 || len(b.Requests)+len(b.DeletedRequests) > 0 {
		return
	}
	held := q.Hold.Amount
	for _, other := range r.requests {
		if other.User == q.User {
			held += other.Hold.Remaining
		}
	}
	u := r.users[q.User]
	if able := before[q.User].Spendable - u.Floor(); held > able {
		r.find("L6: request %s sets %s aside, so that user %d promises %s of %s", q.ID, q.Hold.Amount, q.User, held, able)
	}
}

// requestMoved checks how a request changed.
func (r *record) requestMoved(q *horde.Request) {
	was, ok := r.requests[q.ID]
	switch {
	case !ok:
	case was.Cancelled && !q.Cancelled:
		r.find("request %s is no longer cancelled", q.ID)
	case q.Finished < was.Finished, q.Faults < was.Faults, q.Charged < was.Charged:
		r.find("request %s went back from %+v to %+v", q.ID, was, *q)
	case q.User != was.User, q.Wanted != was.Wanted, q.Price != was.Price, q.Hold.Amount != was.Hold.Amount:
		r.find("request %s became another: from %+v to %+v", q.ID, was, *q)
	case q.Hold.Remaining > was.Hold.Remaining:
		r.find("L5: the hold of request %s grew from %s to %s", q.ID, was.Hold.Remaining, q.Hold.Remaining)
	case was.Expires.Truncate(time.Microsecond).After(q.Expires):
		r.find("request %s expires earlier than it did: %s, then %s", q.ID, was.Expires, q.Expires)
	}
	r.requests[q.ID] = *q
}

// jobMoved checks how a job changed, and that it was paid if it had to be.
func (r *record) jobMoved(j *horde.Job) {
	was, known := r.jobs[j.ID]
	switch {
	case !known && r.everJob[j.ID]:
		r.find("the job id %s was given twice", j.ID)
	case !known:
	case was.State != horde.JobRunning && (was.State != j.State || was.Result != j.Result || was.Reward != j.Reward):
		r.find("job %s changed after its end: %+v, then %+v", j.ID, was, *j)
	case was.Decoy != j.Decoy || was.Request != j.Request || was.Worker != j.Worker || was.Lease != j.Lease:
		r.find("job %s became another: %+v, then %+v", j.ID, was, *j)
	}
	pays := j.State == horde.JobDelivered && !j.Decoy
	if n := r.settled[j.ID]; pays && n != 1 || !pays && n != 0 {
		r.find("L7: job %s (state %d, decoy: %t) was paid %d times", j.ID, j.State, j.Decoy, n)
	}
	r.everJob[j.ID] = true
	r.jobs[j.ID] = *j
}

// describe writes what a batch did into the trace.
func (r *record) describe(b *store.Batch) {
	h := fnv.New64a()
	lines := make([]string, 0, len(b.Jobs)+len(b.Requests)+len(b.NewRequests))
	for _, q := range append(slices.Clone(b.NewRequests), b.Requests...) {
		lines = append(lines, fmt.Sprint(q.ID, q.Left, q.Running, q.Finished, q.Faults, q.Cancelled, q.Priority, q.Charged, q.Hold, q.Expires.UnixMicro()))
	}
	for _, j := range b.Jobs {
		lines = append(lines, fmt.Sprint(j.ID, j.State, j.Decoy, j.Result, j.Reward, j.Seed, j.Model))
	}
	for _, w := range b.Workers {
		lines = append(lines, fmt.Sprint(w.ID, w.Uptime, w.Maintenance, w.Paused, len(w.Suspicions), w.Aborted))
	}
	for _, u := range b.Users {
		lines = append(lines, fmt.Sprint(u.ID, u.Name, u.Roles, u.KeyHash, len(u.Suspicions)))
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(h, line)
	}
	for _, e := range b.Events {
		fmt.Fprintln(h, e.No, e.Key, e.Entries)
	}
	fmt.Fprintf(r.trace, "  commit %d: %d new, %d changed, %d gone, %d jobs, %d events, %d users, %d workers [%016x]\n", r.commits,
		len(b.NewRequests), len(b.Requests), len(b.DeletedRequests), len(b.Jobs), len(b.Events), len(b.Users), len(b.Workers), h.Sum64())
}

// full audits the ledger and all that is stored beside it.
func (r *record) full(ctx context.Context) []string {
	s, err := r.Store.Load(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	users := make(map[horde.UserID]*horde.User, len(s.Users))
	for _, u := range s.Users {
		users[u.ID] = u
	}
	forms, err := engine.StoredForms(s.Documents)
	if err != nil {
		return []string{err.Error()}
	}
	return r.audit.Findings(kudos.Stored{
		Users: users, Balances: s.Balances, Earnings: s.Earnings, System: s.System, Requests: s.Requests, Jobs: s.Jobs, Forms: forms, Last: s.LastEvent,
	})
}

// Events and the rest are those of the record.
func (p *process) Events(ctx context.Context, first int64) iter.Seq2[*kudos.Event, error] {
	return p.Store.Events(ctx, first)
}
