// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"bytes"
	"cmp"
	"container/heap"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"time"

	"github.com/tidwall/btree"

	"horde/internal/dispatch"
	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

// state is the hot state. Engine.mu guards it and everything it points at, except orders, which never change.
type state struct {
	settings *store.Settings

	users   map[horde.UserID]*user
	byKey   map[string]*user // by hash of the API key
	byOAuth map[string]*user
	// active are those whose last activity the record lacks: half a minute of it may be lost in a crash.
	active   map[*user]bool
	rankings map[bool]ranking // of the public list of accounts, by whether it is by age
	// services are the users who may speak for the addresses of others, by hash of their passkey.
	services map[string]*user

	workers map[horde.WorkerID]*worker
	byName  map[string]*worker

	teams      map[horde.TeamID]*team
	teamByName map[string]*team // by name in lower case

	styleIndex
	mail

	sharedKeys map[horde.SharedKeyID]*sharedKey

	supporters map[horde.SupportSource]*supporters
	// support is what supporters comes to for each account.
	support map[horde.UserID]support

	transfers map[transferKey]*transfer
	gifts     gifts

	shown map[horde.RequestID]*shown // of requests that are shared, as far as there is something to keep
	// handed are sets of ratings on their way, by request; ratersPaid is by ratings service.
	handed     map[horde.RequestID]*handed
	ratersPaid map[string]*ratersPaid

	requests map[horde.RequestID]*request
	jobs     map[horde.JobID]*job
	running  map[horde.JobID]*job // those with a lease
	expiry   expiryHeap

	queues map[horde.Kind]*dispatch.Queue
	// lots hold the pops that wait for a job.
	lots map[horde.Kind]*dispatch.Lot[*parkedPop]
	// fresh are requests of which there is more to hand out than before, to be offered to the parked pops: see serveParked.
	fresh []*request
	book  *kudos.Book
	// reserving are the requests that were accepted with kudos set aside, the oldest first. One whose kudos are used up may stay until
	// it ends.
	reserving *btree.BTreeG[*request]
	pulse     map[horde.Kind]*pulse
	// statistics are of the kinds that are generated.
	statistics map[horde.Kind]*statistics
	figures    figures
	alchemy
	moderated
	// filtersStale is set while the compiled filters are not these.
	filtersStale bool
}

// changed is the number of the batch that last changed an object, for readers to wait for; zero for none since the record was
// loaded. It is embedded in what readers read. A number, for a pointer would keep the batch and all in it.
type changed struct{ in int64 }

type user struct {
	horde.User
	changed
	workers map[horde.WorkerID]*worker
	// sharedKeys are those of the user, the oldest first.
	sharedKeys []*sharedKey
	// requests are those of the user that are alive.
	requests map[*request]struct{}
	// arriving counts results of requests that are admitted and whose source images are still being stored, by kind.
	arriving map[horde.Kind]int
	// interrogations are those of the user that are alive. pendingForms counts their forms that wait or are being worked on,
	// arrivingForms those of interrogations that are admitted and whose images are still being looked at.
	interrogations              map[*interrogation]struct{}
	pendingForms, arrivingForms int
}

type worker struct {
	horde.Worker
	changed
	owner *user
	team  *team // nil for none
	// messages are those to this worker, in order of creation, with those that have expired.
	messages []*message
	// tricked are the requests that the worker was given a decoy of. It may be lost in a crash.
	tricked map[horde.RequestID]bool
	// failed is when the worker last gave a job back as failed. It may be lost in a crash.
	failed time.Time
	// lazy is set when the record lacks something of the worker that may be lost.
	lazy bool
	// online is the offer as of the last full check-in, for questions about who could take a request: see standing. Nil
	// until somebody asks.
	online *horde.Offer
	// popped is the offer of the last pop.
	popped *poppedOffer
}

type request struct {
	horde.Request
	changed
	user  *user
	entry *dispatch.Entry // nil while nothing waits
	// through is the shared key that the request was made through, nil for none.
	through *passage
	// unpacked is the order while something of the request is being made, else nil: see order.
	unpacked *horde.Order
	jobs     []*job // in the order in which they were handed out

	// possibleUntil is until when possible answers whether some worker could take the request, in nanoseconds since 1970: a
	// time.Time is three times as large, and there may be a million of these.
	possibleUntil int64
	possible      bool
	// watched is nil until somebody asks how the request stands.
	watched *watched
	// returned is when workers gave a job of the request back as failed. It may be lost in a crash.
	returned map[horde.WorkerID]time.Time
	// seen is when the expiry heap looks at the request again, in nanoseconds since 1970.
	seen int64
}

// elsewhere is how long another worker is preferred after one gave a job of the request back.
const elsewhere = time.Minute

// order is the request's order.
func (r *request) order() *horde.Order {
	if r.unpacked != nil {
		return r.unpacked
	}
	o, err := r.Order.Unpack()
	if err != nil {
		panic(err) // it was packed here, or was tried when the record was loaded
	}
	return o
}

func (r *request) gaveBack(w *worker, now time.Time) {
	if r.returned == nil {
		r.returned = map[horde.WorkerID]time.Time{}
	}
	r.returned[w.ID], w.failed = now, now
}

type job struct {
	horde.Job
	changed
	request *request // nil for nothing: a job goes with its request
	worker  *worker  // nil when the worker was deleted
}

// newState builds the memory from the record. An order that cannot be read is an error.
func newState(r *store.State, now time.Time) (*state, error) {
	s := &state{
		settings: r.Settings,
		users:    make(map[horde.UserID]*user, len(r.Users)), byKey: make(map[string]*user, len(r.Users)),
		byOAuth: make(map[string]*user, len(r.Users)), active: map[*user]bool{}, services: map[string]*user{},
		workers: make(map[horde.WorkerID]*worker, len(r.Workers)), byName: make(map[string]*worker, len(r.Workers)),
		requests: make(map[horde.RequestID]*request, len(r.Requests)), jobs: make(map[horde.JobID]*job, len(r.Jobs)),
		running: map[horde.JobID]*job{}, queues: map[horde.Kind]*dispatch.Queue{}, book: kudos.NewBook(), reserving: btree.NewBTreeGOptions(older, btree.Options{NoLocks: true}),
		teams: map[horde.TeamID]*team{}, teamByName: map[string]*team{},
		styleIndex: newStyleIndex(), mail: mail{messages: map[horde.MessageID]*message{}},
		transfers: map[transferKey]*transfer{}, gifts: gifts{},
		sharedKeys: map[horde.SharedKeyID]*sharedKey{},
		supporters: map[horde.SupportSource]*supporters{},
		shown:      map[horde.RequestID]*shown{}, handed: map[horde.RequestID]*handed{}, ratersPaid: map[string]*ratersPaid{},
		lots:  map[horde.Kind]*dispatch.Lot[*parkedPop]{},
		pulse: map[horde.Kind]*pulse{}, rankings: map[bool]ranking{}, alchemy: newAlchemy(), moderated: newModerated(),
		statistics: map[horde.Kind]*statistics{},
	}
	for _, k := range horde.Kinds {
		s.pulse[k] = newPulse()
	}
	for _, k := range horde.Generated {
		s.queues[k] = dispatch.New(k)
		s.lots[k] = dispatch.NewLot[*parkedPop]()
		s.statistics[k] = newStatistics(k)
	}
	s.book.Restore(r.LastEvent, r.System)
	for _, u := range r.Users {
		s.addUser(&user{User: *u})
		s.book.RestoreBalance(u.ID, r.Balances[u.ID], u.Floor())
	}
	for _, w := range r.Workers {
		s.addWorker(&worker{Worker: *w, owner: s.users[w.Owner]})
		s.book.RestoreEarnings(w.ID, r.Earnings[w.ID])
	}
	for _, d := range r.Documents {
		if err := s.addDocument(d); err != nil {
			return nil, err
		}
	}
	s.restoreCollections()
	s.restoreUses()
	for _, q := range s.queues {
		q.Fill()
	}
	s.restoreAlchemy()
	slices.SortFunc(s.evidence, func(a, b *evidence) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.reports, func(a, b *report) int { return cmp.Compare(a.ID, b.ID) })
	lately := newLately(r.Jobs, now)
	for r, err := range unpacked(r.Requests) {
		if err != nil {
			return nil, err
		}
		lately.request(r)
		r.user = s.users[r.User]
		s.addRequest(r)
		s.book.RestoreHold(&r.Request)
		s.restorePassage(r)
		r.unpacked = nil
	}
	for _, q := range s.queues {
		q.Filled()
	}
	for _, j := range r.Jobs {
		s.addJob(&job{Job: *j, request: s.requests[j.Request], worker: s.workers[j.Worker]})
	}
	lately.restore(s)
	return s, nil
}

// unpackedAtATime is how many requests one goroutine unpacks before another may go on from there.
const unpackedAtATime = 1024

// unpacked yields requests with their orders unpacked, in order. Unpacking is most of the work of a start, so all processors
// share it.
func unpacked(list []*horde.Request) iter.Seq2[*request, error] {
	type piece struct {
		requests []*request
		err      error
	}
	return func(yield func(*request, error) bool) {
		ahead := make(chan chan piece, 2*runtime.GOMAXPROCS(0))
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			defer close(ahead)
			for part := range slices.Chunk(list, unpackedAtATime) {
				done := make(chan piece, 1)
				select {
				case ahead <- done:
				case <-stop:
					return
				}
				go func() {
					p := piece{requests: make([]*request, len(part))}
					for i, r := range part {
						o, err := r.Order.Unpack()
						if err != nil {
							p.err = fmt.Errorf("request %s: %w", r.ID, err)
							break
						}
						p.requests[i] = &request{Request: *r, unpacked: o}
					}
					done <- p
				}()
			}
		}()
		for done := range ahead {
			p := <-done
			if p.err != nil {
				yield(nil, p.err)
				return
			}
			for _, r := range p.requests {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

func (s *state) addUser(u *user) {
	s.users[u.ID] = u
	if !u.WipedAt.IsZero() {
		return
	}
	s.byOAuth[u.OAuthID] = u
	if u.KeyHash != "" {
		s.byKey[u.KeyHash] = u
	}
	if u.PasskeyHash != "" {
		s.services[u.PasskeyHash] = u
	}
}

func (s *state) addWorker(w *worker) {
	s.workers[w.ID] = w
	s.byName[w.Name] = w
	if w.owner.workers == nil {
		w.owner.workers = map[horde.WorkerID]*worker{}
	}
	w.owner.workers[w.ID] = w
}

// addRequest files a request and queues it if it waits.
func (s *state) addRequest(r *request) {
	s.requests[r.ID] = r
	if r.user.requests == nil {
		r.user.requests = map[*request]struct{}{}
	}
	r.user.requests[r] = struct{}{}
	if r.Hold.Remaining > 0 {
		s.reserving.Set(r)
	}
	r.seen = r.Expires.UnixNano()
	heap.Push(&s.expiry, r)
	s.enqueue(r)
}

// older orders requests by when they were made.
func older(a, b *request) bool {
	if c := a.Created.Compare(b.Created); c != 0 {
		return c < 0
	}
	return bytes.Compare(a.ID.UUID[:], b.ID.UUID[:]) < 0
}

// reservedFor is for how long the oldest request that has kudos set aside has had them; zero for none. Those that have used theirs up
// are dropped on the way.
func (s *state) reservedFor(now time.Time) time.Duration {
	for {
		r, ok := s.reserving.Min()
		switch {
		case !ok:
			return 0
		case r.Hold.Remaining > 0:
			return now.Sub(r.Created)
		}
		s.reserving.PopMin()
	}
}

// enqueue puts a request that waits into its queue.
func (s *state) enqueue(r *request) {
	if r.Waiting() && r.entry == nil {
		r.entry = s.queues[r.Order.Kind()].Add(&r.Request, r.order())
		s.offer(r)
	}
}

// offer notes that there is more of a request to hand out than before.
func (s *state) offer(r *request) {
	if s.lots[r.Order.Kind()].Len() > 0 {
		s.fresh = append(s.fresh, r)
	}
}

// dequeue takes a request that no longer waits out of its queue.
func (s *state) dequeue(r *request, now time.Time) {
	if r.entry != nil {
		s.queues[r.Order.Kind()].Remove(r.entry, now)
		r.entry = nil
	}
}

// setLeft changes how many results of a request are to be handed out, and files it where that belongs.
func (s *state) setLeft(r *request, left int, now time.Time) {
	switch {
	case r.entry != nil && left > 0:
		more := left > r.Left
		s.queues[r.Order.Kind()].SetLeft(r.entry, left)
		if more {
			s.offer(r)
		}
	case r.entry != nil:
		s.dequeue(r, now)
		r.Left = left
	default:
		r.Left, r.Queued = left, now
		s.enqueue(r)
	}
}

func (s *state) addJob(j *job) {
	s.jobs[j.ID] = j
	if j.request != nil {
		j.request.jobs = append(j.request.jobs, j)
	}
	if j.State == horde.JobRunning {
		s.running[j.ID] = j
		if j.request != nil {
			j.request.unpacked = j.request.order()
		}
	}
}

// expiryHeap orders requests by when they expire. A request's expiry only moves on, so the heap is put right when a
// request comes up whose time has moved.
type expiryHeap []*request

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].seen < h[j].seen }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *expiryHeap) Push(x any) {
	*h = append(*h, x.(*request))
}

// Pop implements heap.Interface.
func (h *expiryHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return r
}
