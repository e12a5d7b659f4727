// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"time"

	"horde/internal/horde"
)

// eligibleKey is what decides which workers can serve a request that names none.
type eligibleKey struct {
	needs horde.Needs
	// a and b are the request's size: see [dispatch.Size].
	a, b int64
	user horde.UserID // whose own workers serve in maintenance; zero where there are none
}

type eligible struct{ workers, threads int }

// maxEligible is how many answers are kept for as long as the list of workers is.
const maxEligible = 4096

// eligibleFor is how long a request's own answer is kept.
const eligibleFor = 5 * time.Second

// watched is what is known of a request whose client asks how it stands. All of it may be lost in a crash.
type watched struct {
	eligible
	until int64 // in nanoseconds since 1970: eligible is good for as long

	// since is when things stood before the request; zero while nothing of it waits.
	since  time.Time
	things float64
	stalls bool // what the last whole window came to
}

// progress is what a status tells beyond the place in the queue. things is what stands before the request, what is left of
// itself included.
func (e *Engine) progress(r *request, things float64, now time.Time) (found eligible, stalls bool) {
	w := r.watched
	if w == nil {
		w = &watched{}
		r.watched = w
	}
	if now.UnixNano() >= w.until {
		w.eligible, w.until = e.eligible(r, now), now.Add(eligibleFor).UnixNano()
	}
	return w.eligible, w.fallsBehind(r.Left > 0, things, now)
}

// eligible counts the workers that can serve a request, and their threads. Requests with equal needs share the answer while the
// list of workers that are online is good, so looking at many requests costs no more than looking at one of each sort.
func (e *Engine) eligible(r *request, now time.Time) (found eligible) {
	o, ref := r.order(), e.Reference()
	there := e.online(o.Kind, now)
	key := eligibleKey{needs: o.Needs()}
	if o.Kind == horde.Text {
		key.a, key.b = int64(*o.Text.MaxLength), int64(*o.Text.MaxContextLength)
	} else {
		key.a, key.b = o.Image.Pixels(), int64(o.Image.MaxSolverSteps())
	}
	if len(r.user.workers) > 0 {
		key.user = r.user.ID
	}
	shared := len(o.Workers) == 0
	if known, ok := there.eligible[key]; ok && shared {
		return known
	}
	wanted := key.needs.ModelList()
	seen := map[*worker]bool{}
	there.couldTake(wanted, func(w *worker) bool {
		if len(wanted) > 1 {
			if seen[w] {
				return true
			}
			seen[w] = true
		}
		if !((w.Maintenance || w.Paused) && w.owner != r.user) && w.standing(ref).Eligible(o, &key.needs, wanted) {
			found.workers++
			found.threads += w.Threads
		}
		return true
	})
	if shared && len(there.eligible) < maxEligible {
		if there.eligible == nil {
			there.eligible = map[eligibleKey]eligible{}
		}
		there.eligible[key] = found
	}
	return found
}

// stallWindow is over how long it is looked whether a request falls behind.
const stallWindow = 10 * time.Minute

// fallsBehind tells whether a request that waits falls behind: over ten minutes, more work that comes first has entered the queue
// than was handed out, so what stands before it has grown. It is looked at when the client asks: whoever never asks is never
// told.
func (w *watched) fallsBehind(waits bool, things float64, now time.Time) bool {
	switch {
	case !waits:
		w.since, w.stalls = time.Time{}, false
	case w.since.IsZero():
		w.since, w.things = now, things
	case now.Sub(w.since) >= stallWindow:
		w.stalls = things > w.things
		w.since, w.things = now, things
	}
	return w.stalls
}
