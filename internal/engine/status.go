// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"horde/internal/blob"
	"horde/internal/dispatch"
	"horde/internal/horde"
)

// Status is how a request stands. Finished, Processing and Waiting add up to what the client wanted until the request is
// cancelled.
type Status struct {
	Finished, Processing, Restarted, Waiting int
	Done, Faulted                            bool
	// WaitTime is how many seconds the rest will take, by a guess.
	WaitTime int
	// QueuePosition is 1 for the request that is served next, and 0 when nothing of it waits.
	QueuePosition int
	// Kudos is all that was charged so far.
	Kudos horde.Kudos
	// Possible tells whether a worker could serve the request now. It is true for every request that is done.
	Possible bool
	// EligibleWorkers are the workers that are online and pass every known gate for the request, EligibleThreads what they work
	// on at a time. Both are zero for a request that is done.
	EligibleWorkers, EligibleThreads int
	// MightStall tells that what waits of the request falls behind: see watched.
	MightStall bool
	// Generations are the finished results, in the order in which they were handed out. Nil where they were not asked for.
	Generations []Generation
	// Shared tells that the images are public.
	Shared bool
}

// Generation is one finished result.
type Generation struct {
	ID         horde.JobID
	Worker     horde.WorkerID
	WorkerName string
	Model      string
	Seed       int64
	Censored   bool
	Metadata   []horde.Metadata
	// Image is a link that works for half an hour or, for orders that want it so, base64.
	Image string
	Text  string
}

// State is what a text result is called: "ok", "censored" or, if its worker said so, "csam".
func (g *Generation) State() string {
	if !g.Censored {
		return "ok"
	}
	for _, m := range g.Metadata {
		if m.Type == "censorship" && m.Value == "csam" {
			return "csam"
		}
	}
	return "censored"
}

// Check tells how a request stands, without its results.
func (e *Engine) Check(ctx context.Context, kind horde.Kind, id string) (Status, error) {
	began := time.Now()
	s, _, _, err := e.status(ctx, kind, id, nil)
	e.meters.calls[kind].looked(began, false, err)
	return s, err
}

// Status tells how a request stands, with the results that are finished.
func (e *Engine) Status(ctx context.Context, kind horde.Kind, id string) (Status, error) {
	began := time.Now()
	s, jobs, order, err := e.status(ctx, kind, id, nil)
	if err == nil {
		s, err = e.withResults(ctx, s, jobs, order)
	}
	e.meters.calls[kind].looked(began, true, err)
	return s, err
}

// Cancel ends a request: nothing more of it is handed out, what runs is still accepted, paid and shown. It returns the
// status from before.
func (e *Engine) Cancel(ctx context.Context, kind horde.Kind, id string) (Status, error) {
	s, jobs, order, err := e.status(ctx, kind, id, e.cancel)
	if err != nil {
		return s, err
	}
	return e.withResults(ctx, s, jobs, order)
}

func (e *Engine) cancel(r *request) {
	if r.Cancelled {
		return
	}
	e.dequeue(r, time.Now().UTC())
	r.Cancelled, r.Left = true, 0
	e.meters.kinds[r.Order.Kind()].cancelled.Inc()
	if r.Running == 0 {
		e.releaseHold(r)
	}
	e.open.request(r, false)
}

// status reads a request and its finished jobs, and then lets change alter it. It returns when all that it read and
// changed is in the record.
func (e *Engine) status(ctx context.Context, kind horde.Kind, text string, change func(*request)) (Status, []horde.Job, horde.PackedOrder, error) {
	id, ok := horde.ParseRequestID(text)
	if !ok {
		return Status{}, nil, "", horde.ErrRequestNotFound
	}
	var (
		s     Status
		jobs  []horde.Job
		order horde.PackedOrder
		wait  *batch
	)
	if err := e.do(func() {
		r := e.requests[id]
		if r == nil || r.Order.Kind() != kind {
			return
		}
		s, jobs, order = e.stand(r, time.Now().UTC())
		if change != nil {
			change(r)
		}
		wait = e.pending(&r.changed)
	}); err != nil {
		return Status{}, nil, "", err
	}
	if order == "" {
		return Status{}, nil, "", horde.ErrRequestNotFound
	}
	if err := e.durable(ctx, wait); err != nil {
		return Status{}, nil, "", unavailable(err)
	}
	return s, jobs, order, nil
}

// stand tells how a request stands, and copies its finished jobs.
func (e *Engine) stand(r *request, now time.Time) (Status, []horde.Job, horde.PackedOrder) {
	s := Status{
		Finished: r.Finished, Processing: r.Running, Restarted: r.Faults,
		Waiting: min(max(r.Left, 0), max(r.Wanted-r.Running-r.Finished, 0)),
		Done:    r.Done(), Faulted: r.Faulted, Kudos: r.Charged, Possible: e.possible(r, now),
	}
	var ahead dispatch.Rank
	s.WaitTime, ahead = e.waitTime(r, now)
	s.QueuePosition = ahead.Position
	if !s.Done {
		found, stalls := e.progress(r, ahead.Things, now)
		s.EligibleWorkers, s.EligibleThreads, s.MightStall = found.workers, found.threads, stalls
	}
	jobs := make([]horde.Job, 0, r.Finished)
	for _, j := range r.jobs {
		if j.State == horde.JobDelivered && !j.Decoy {
			jobs = append(jobs, j.Job)
		}
	}
	return s, jobs, r.Order
}

func (e *Engine) withResults(ctx context.Context, s Status, jobs []horde.Job, order horde.PackedOrder) (Status, error) {
	s.Generations = make([]Generation, len(jobs))
	if len(jobs) == 0 && order.Kind() != horde.Image {
		return s, nil
	}
	o, err := order.Unpack()
	if err != nil {
		return Status{}, err
	}
	s.Shared = o.Shared
	for i, j := range jobs {
		g, err := e.generation(ctx, j, o)
		if err != nil {
			return Status{}, e.storageRefusal(err)
		}
		s.Generations[i] = g
	}
	shuffle(o, s.Generations)
	return s, nil
}

// missingImage is what a client gets in place of an image that the store no longer has.
const missingImage = "N/A"

// generation is a finished job as clients see it.
func (e *Engine) generation(ctx context.Context, j horde.Job, o *horde.Order) (Generation, error) {
	g := Generation{
		ID: j.ID, Worker: j.Worker, WorkerName: j.WorkerName, Model: j.Model, Seed: j.Seed, Censored: j.Censored,
		Metadata: j.Metadata,
	}
	key := blob.Result(j.ID.String())
	switch {
	case o.Kind == horde.Text:
		g.Text = j.Result
	case !j.Stored:
		g.Image = j.Result
	case o.R2:
		url, err := e.Blobs.SignGet(ctx, key, blob.URLLifetime)
		if err != nil {
			return g, err
		}
		g.Image = url
	default:
		data, err := blob.ReadAll(ctx, e.Blobs, key)
		if errors.Is(err, blob.ErrNotFound) {
			g.Image = missingImage
			break
		}
		if err != nil {
			return g, err // the image is there, and can be had later
		}
		g.Image = base64.StdEncoding.EncodeToString(data)
	}
	return g, nil
}

// How long the answer to whether a request can be served is kept. A no is asked again soon: clients give up on it.
const (
	possibleFor   = time.Minute
	impossibleFor = 2 * time.Second
)

// possible tells whether some worker could serve the request, or has.
func (e *Engine) possible(r *request, now time.Time) bool {
	switch {
	case r.Faulted:
		return false
	case r.Running > 0 || r.Done():
		return true
	case now.UnixNano() < r.possibleUntil:
		return r.possible
	}
	o, ref := r.order(), e.Reference()
	needs := o.Needs()
	wanted := needs.ModelList()
	r.possible, r.possibleUntil = false, now.Add(impossibleFor).UnixNano()
	e.online(o.Kind, now).couldTake(wanted, func(w *worker) bool {
		if !((w.Maintenance || w.Paused) && w.owner != r.user) && w.standing(ref).CouldTake(o, &needs, wanted) {
			r.possible, r.possibleUntil = true, now.Add(possibleFor).UnixNano()
		}
		return !r.possible
	})
	return r.possible
}

// unservable says why no worker can serve a request now.
func (e *Engine) unservable(r *request, now time.Time) string {
	o := r.order()
	if len(o.Workers) == 0 || o.WorkerBlacklist {
		return horde.NoAvailableWorker.Message
	}
	var names []string
	for _, id := range o.Workers {
		w := e.workers[id]
		if w == nil || w.Online(now) {
			return horde.NoAvailableWorker.Message
		}
		names = append(names, w.Name)
	}
	return fmt.Sprintf("The request is for certain workers only, and none of them is online now: %s. It waits, and expires in "+
		"20 minutes unless one comes.", strings.Join(names, ", "))
}

// waitTime guesses when a request is done, in seconds, and finds its place in the queue.
func (e *Engine) waitTime(r *request, now time.Time) (seconds int, rank dispatch.Rank) {
	kind := r.Order.Kind()
	there := e.online(kind, now)
	if r.entry != nil {
		rank = e.queues[kind].Rank(r.entry, there.offers, now)
	}
	rest := 0.0
	for _, j := range r.jobs {
		if j.State != horde.JobRunning || j.Decoy || j.worker == nil {
			continue
		}
		rest = max(rest, r.order().Things()/j.worker.Speed-now.Sub(j.Started).Seconds())
	}
	threads := min(int64(there.threads), rank.Results)
	rate := there.speed / kind.ThingsDivisor() * float64(threads)
	if rate == 0 {
		rate = 1
	}
	wait := rank.Things/kind.ThingsDivisor()/rate + rest
	return int(math.RoundToEven(min(wait, math.MaxInt32))), rank
}
