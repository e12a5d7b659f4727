// SPDX-License-Identifier: AGPL-3.0-or-later

package simulation

import (
	"slices"
	"time"

	"horde/internal/blob"
	"horde/internal/engine"
	"horde/internal/horde"
)

// model is what the callers were told, and what they may therefore rely on.
type model struct {
	requests map[horde.RequestID]*request
	order    []*request // as they were accepted
	jobs     map[horde.JobID]*job
	inHand   []*job // jobs that workers know of, in the order in which they were told
	// grantsSure to grantsMax is what each user got from the admin for certain, and at most and at least.
	grantsSure, grantsMax map[horde.UserID]horde.Kudos
}

// request is a request that its client was told is accepted.
type request struct {
	id     horde.RequestID
	kind   horde.Kind
	wanted int
	// cancelled is when its client was told that it is cancelled; zero for never.
	cancelled time.Time
}

// job is a job that its worker was told of.
type job struct {
	id      horde.JobID
	request horde.RequestID
	worker  *worker
	owner   *person // of the worker
	lease   time.Duration
	told    time.Time
	// sent is everything that anybody sent as its result; accepted what the horde said it took, empty for nothing.
	sent     []string
	accepted string
	// acceptedAt is when the worker heard of it.
	acceptedAt time.Time
}

// worker is a program that polls.
type worker struct {
	name  string
	owner *person
	kind  horde.Kind
	agent string
}

func newModel() model {
	return model{
		requests: map[horde.RequestID]*request{}, jobs: map[horde.JobID]*job{},
		grantsSure: map[horde.UserID]horde.Kudos{}, grantsMax: map[horde.UserID]horde.Kudos{},
	}
}

// alive tells whether the record has a request whose time is not over.
func (r *record) alive(id horde.RequestID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	q, ok := r.requests[id]
	return ok && q.Expires.After(time.Now())
}

func (r *record) request(id horde.RequestID) (horde.Request, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q, ok := r.requests[id]
	return q, ok
}

func (r *record) job(id horde.JobID) (horde.Job, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, ok := r.jobs[id]
	return j, ok
}

// accepted is told that a request was accepted.
func (m *model) accepted(w *world, id horde.RequestID, kind horde.Kind, wanted int) {
	w.report.Accepted++
	if m.requests[id] != nil {
		w.find("request %s was accepted twice", id)
	}
	if q, ok := w.record.request(id); !ok || q.Wanted != wanted {
		w.find("request %s was acknowledged and is not in the record", id)
	}
	r := &request{id: id, kind: kind, wanted: wanted}
	m.requests[id] = r
	m.order = append(m.order, r)
}

// popped is told that jobs were handed out by a call that began at start.
func (m *model) popped(w *world, by *worker, owner *person, p *engine.Popped, start time.Time) {
	if r := m.requests[p.Request]; r != nil && !r.cancelled.IsZero() && r.cancelled.Before(start) {
		w.find("a job of request %s was handed out although its client was told that it is cancelled", p.Request)
	}
	for _, id := range p.IDs {
		w.report.Popped++
		if m.jobs[id] != nil {
			w.find("job %s was handed out twice", id)
		}
		got, ok := w.record.job(id)
		if _, there := w.record.request(p.Request); !ok && !there {
			continue // a decoy of a request whose time was over: it keeps nothing alive
		}
		if !ok || got.Request != p.Request || got.WorkerName != by.name {
			w.find("job %s of request %s was acknowledged and is not in the record (there: %t, %+v)", id, p.Request, ok, got)
		}
		j := &job{id: id, request: p.Request, worker: by, owner: owner, lease: p.Lease, told: start}
		m.jobs[id] = j
		m.inHand = append(m.inHand, j)
	}
	if n := len(m.inHand); n > 60 {
		m.inHand = m.inHand[n-60:]
	}
}

// late is how long after a lease a result may still be taken: the sweep comes once a second, and needs the engine.
const late = 3 * time.Second

// delivered is told that a result was accepted, by a call that began at start.
func (m *model) delivered(w *world, j *job, by *person, result string, start time.Time) {
	w.report.Delivered++
	switch {
	case by != j.owner:
		w.find("job %s of %s was delivered by %s", j.id, j.owner.name, by.name)
	case j.accepted != "":
		w.find("job %s was delivered twice: %q and %q", j.id, j.accepted, result)
	case start.Sub(j.told) > j.lease+late && start.Sub(w.opened) > late && !w.wasDown(start):
		w.find("job %s was delivered %s after it was handed out, its lease is %s", j.id, start.Sub(j.told), j.lease)
	}
	j.accepted, j.acceptedAt = result, time.Now()
	got, ok := w.record.job(j.id)
	if !ok {
		if w.record.alive(j.request) {
			w.find("the result of job %s was acknowledged and is not in the record", j.id)
		}
		return
	}
	if got.State != horde.JobDelivered || !got.Decoy && !m.shows(w, got, result) {
		w.find("the result of job %s was acknowledged and is not in the record: %+v", j.id, got)
	}
}

// wasDown tells whether the record was broken shortly before, so that the engine's clock could not do its work.
func (w *world) wasDown(at time.Time) bool {
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	return at.Sub(w.record.lastFault) < 10*time.Second
}

// shows tells whether a job of the record has the result that was sent.
func (m *model) shows(w *world, j horde.Job, result string) bool {
	if !j.Stored {
		return j.Result == result
	}
	w.blobs.mu.Lock()
	defer w.blobs.mu.Unlock()
	kept := string(w.blobs.kept[blob.Result(j.ID.String())])
	// An image that was kept stays, even where the delivery that brought it came to nothing.
	return slices.Contains(m.jobs[j.ID].sent, kept) || slices.Contains(m.jobs[j.ID].sent, uploaded) && kept != ""
}

// seen is told what a client read of its request, in a call that began at start.
func (m *model) seen(w *world, r *request, s *engine.Status, start time.Time) {
	if sum := s.Finished + s.Processing + s.Waiting; r.cancelled.IsZero() && sum != r.wanted {
		if q, ok := w.record.request(r.id); ok && !q.Cancelled {
			w.find("request %s accounts for %d results of %d", r.id, sum, r.wanted)
		}
	}
	if s.Generations == nil {
		return
	}
	shown := map[horde.JobID]*engine.Generation{}
	for i := range s.Generations {
		g := &s.Generations[i]
		shown[g.ID] = g
		j := m.jobs[g.ID]
		if j == nil {
			continue // its worker never heard of it, and cannot have delivered it
		}
		if r.kind == horde.Text && !slices.Contains(j.sent, g.Text) {
			w.find("request %s shows %q for job %s, which nobody sent", r.id, g.Text, g.ID)
		}
		if r.kind == horde.Text && j.accepted != "" && j.accepted != g.Text {
			w.find("request %s shows %q for job %s, %q was accepted", r.id, g.Text, g.ID, j.accepted)
		}
	}
	if len(s.Generations) != s.Finished {
		w.find("request %s has %d results and shows %d", r.id, s.Finished, len(s.Generations))
	}
	for _, j := range m.inHand {
		if j.request != r.id || j.accepted == "" || !j.acceptedAt.Before(start) || shown[j.id] != nil {
			continue
		}
		if got, ok := w.record.job(j.id); !ok || !got.Decoy {
			w.find("the accepted result of job %s is not shown by request %s", j.id, r.id)
		}
	}
}

// readBack reads every request that was accepted and whose time is not over.
func (m *model) readBack(w *world) {
	for _, r := range m.order {
		if !w.record.alive(r.id) {
			continue
		}
		start := time.Now()
		s, err := w.engine.Status(w.ctx, r.kind, r.id.String())
		if err != nil {
			w.find("the accepted request %s cannot be read: %v", r.id, err)
			continue
		}
		m.seen(w, r, &s, start)
	}
	m.grants(w)
}

// grants compares what the admin was told with the ledger.
func (m *model) grants(w *world) {
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	for _, p := range w.persons {
		if got := w.record.granted[p.id]; got < m.grantsSure[p.id] || got > m.grantsMax[p.id] {
			w.find("%s was granted between %s and %s, the ledger says %s", p.name, m.grantsSure[p.id], m.grantsMax[p.id], got)
		}
	}
}

// over checks that nothing is left when everybody has been gone for hours.
func (m *model) over(w *world) {
	for _, k := range horde.Generated {
		if p, err := w.engine.Performance(w.ctx, k); err != nil || p.Queued != 0 {
			w.find("hours later %d %s results are queued (%v)", p.Queued, k, err)
		}
	}
	users, err := w.engine.AllUsers(w.ctx)
	if err != nil {
		w.find("hours later the accounts cannot be read: %v", err)
	}
	for _, u := range users {
		if u.Balance.Held != 0 {
			w.find("hours later %s is set aside for user %d", u.Balance.Held, u.User.ID)
		}
	}
	for _, found := range w.engine.Contradictions() {
		w.find("hours later: %s", found)
	}
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	if n := len(w.record.requests) + len(w.record.jobs); n > 0 {
		w.find("hours later the record still has %d requests and jobs", n)
	}
}
