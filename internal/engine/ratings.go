// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"horde/internal/horde"
)

// Ratings is the service that keeps what people say of images.
type Ratings interface {
	// Share tells of an image that became public. It does not block; what it forgets is told again by Set.
	Share(horde.SharedImage)
	// Set hands on what was said of the images of a request. Refusals are *horde.Error values; any other error is one of the way
	// there.
	Set(context.Context, horde.RatingSet) error
}

// shown is what is kept of a request whose images are public, beside the request and for as long: which pipeline made which
// image, and what was paid for a rating.
type shown struct {
	changed
	ID        horde.RequestID `json:"id"`
	Pipelines map[string]int  `json:"pipelines,omitempty"` // by the id of the job
	Rated     bool            `json:"rated,omitempty"`
	Reward    horde.Kudos     `json:"reward,omitempty"`
}

func (s *state) addShown(r *shown) { s.shown[r.ID] = r }

func (e *Engine) shownOf(r *request) *shown {
	p := e.shown[r.ID]
	if p == nil {
		p = &shown{ID: r.ID, Pipelines: map[string]int{}}
		e.shown[r.ID] = p
	}
	return p
}

// forgetShown forgets what is kept of a request.
func (e *Engine) forgetShown(id horde.RequestID) {
	if e.shown[id] != nil {
		delete(e.shown, id)
		e.open.forgetDocument(shownDocument, id.String())
	}
}

// pairOf is the first model of a submission of which two images are compared, or empty.
func (e *Engine) pairOf(models []string) string {
	if len(e.Pairs) == 0 {
		return ""
	}
	for _, m := range models {
		if slices.Contains(e.Pairs, m) {
			return m
		}
	}
	return ""
}

// asPair makes a submission one of two images to compare. It does not change what s points to.
func asPair(s *horde.ImageSubmission, model string) {
	s.Models = []string{model}
	if s.Results() < pairSize {
		return // refused in its turn
	}
	p, two := *s.Params, pairSize
	p.N = &two
	s.Params = &p
}

// pairSize is how many images are compared.
const pairSize = 2

// publish decides whether the images of an order become public.
func (e *Engine) publish(o *horde.Order, u *horde.User, pair, asked bool, results int, seed uint32) *horde.Error {
	if pair {
		switch {
		case u.ID == horde.Anonymous:
			return horde.ErrBetaAnonymous
		case results < pairSize:
			return horde.ErrBetaComparison
		}
		// Each image goes to a pop of its own, which has a pipeline, and both have the same seed.
		o.Pair, o.DisableBatching, o.Image.SeedVariation = true, true, 0
		if o.Image.Seed == nil {
			o.Image.Seed = &seed
		}
	}
	o.Shared = e.Sharing.Shares(o, u, asked)
	return nil
}

// pipeline chooses which pipeline makes a job of a comparison: one that no other image of the request has.
func (e *Engine) pipeline(r *request, j *job) int {
	p := e.shownOf(r)
	taken := map[int]bool{}
	for _, other := range r.jobs {
		if n, ok := p.Pipelines[other.ID.String()]; ok && other != j && (other.State == horde.JobRunning || other.State == horde.JobDelivered) {
			taken[n] = true
		}
	}
	n := 0
	for taken[n] && n < pairSize-1 {
		n++
	}
	p.Pipelines[j.ID.String()] = n
	e.open.document(shownDocument, r.ID.String(), p)
	return n
}

// shuffle hides which pipeline made which image of a comparison.
func shuffle(o *horde.Order, generations []Generation) {
	if o.Pair {
		rand.Shuffle(len(generations), func(i, k int) { generations[i], generations[k] = generations[k], generations[i] })
	}
}

// sharedImage describes an image of a request that is public. ok is false for what has none to show.
func (e *Engine) sharedImage(r *request, j *job, o *horde.Order) (_ horde.SharedImage, ok bool) {
	if !o.Shared || j.Decoy || j.State != horde.JobDelivered || j.Censored || !j.Stored {
		return horde.SharedImage{}, false
	}
	kind := "oauth"
	switch {
	case r.user.ID == horde.Anonymous:
		kind = "anon"
	case r.user.Class() == horde.ClassPseudonymous:
		kind = "pseudonymous"
	}
	q := o.Image
	s := horde.SharedImage{
		ID: j.ID.String(), Prompt: o.Prompt, Width: q.Width, Height: q.Height, Steps: q.Steps, Sampler: q.Sampler, CFG: q.CFGScale,
		Karras: q.Karras, PP: append([]string{}, q.PostProcessing...), Set: r.ID.String(), UserType: kind, Seed: j.Seed, Model: j.Model,
	}
	if o.NSFW {
		s.NSFW = horde.AllowedNSFW
	}
	if slices.ContainsFunc(j.Metadata, horde.Metadata.IsNSFW) {
		s.NSFW = 1
	}
	if p := e.shown[r.ID]; p != nil && o.Pair {
		if n, known := p.Pipelines[s.ID]; known {
			s.Pipeline = "pipeline" + strconv.Itoa(n)
		}
	}
	return s, true
}

// judgeRating makes the checks of a rating, in the order of the ratings chapter, 5.2, and puts together what the service gets.
func (e *Engine) judgeRating(r *request, agent string, from netip.Addr, a *horde.Aesthetics, now time.Time) (set horde.RatingSet, v horde.Verdict, _ *horde.Error) {
	o := r.order()
	switch {
	case !r.Faulted && (r.Left > 0 || r.Finished+r.Faults-r.Running < r.Wanted):
		return set, v, horde.ErrNotCompleted
	case !o.Shared:
		return set, v, horde.ErrNotShared
	}
	for _, j := range r.jobs {
		if s, ok := e.sharedImage(r, j, o); ok {
			set.All, set.Images = append(set.All, s.ID), append(set.Images, s)
		}
	}
	v, err := a.Judge(set.All, r.Charged.Whole())
	if err != nil {
		return set, v, err
	}
	if p, h := e.shown[r.ID], e.handed[r.ID]; p != nil && p.Rated || h != nil && h.busy {
		return set, v, horde.ErrAlreadyRated
	}
	set.Set, set.Agent, set.Best = r.ID.String(), agent, v.Best
	for _, rated := range a.Ratings {
		set.Rated = append(set.Rated, horde.ImageRating{ID: strings.ToLower(*rated.ID), Rating: *rated.Rating, Artifacts: rated.Artifacts})
	}
	b := e.book.Balance(r.user.ID)
	set.User = horde.RatingUser{
		Name: r.user.Alias(), Trusted: r.user.Has(horde.Trusted), AccountAge: now.Sub(r.user.Created).Seconds(),
		Kudos: b.Spendable.Float(), Accumulated: b.Details.Accumulated.Float(), Address: from.String(),
	}
	return set, v, nil
}

// WipedUsers lists the accounts that were erased for good.
func (e *Engine) WipedUsers(ctx context.Context) ([]horde.UserID, error) {
	return change(ctx, e, func() (ids []horde.UserID, _ *batch, _ *horde.Error) {
		for id, u := range e.users {
			if !u.WipedAt.IsZero() {
				ids = append(ids, id)
			}
		}
		return ids, nil, nil
	})
}

// Rater is what a ratings service wants to know of who calls it.
type Rater struct {
	ID                 horde.UserID
	Name               string
	Trusted, Moderator bool
	Age                time.Duration
	Kudos              float64
	Requests           int64 // images requested so far
}

// RaterOf tells whose key it is. Refusals are *horde.Error values.
func (e *Engine) RaterOf(ctx context.Context, key string) (Rater, error) {
	return change(ctx, e, func() (Rater, *batch, *horde.Error) {
		u, err := e.userOf(key)
		if err != nil {
			return Rater{}, nil, err
		}
		b := e.book.Balance(u.ID)
		return Rater{
			ID: u.ID, Name: u.Alias(), Trusted: u.Has(horde.Trusted), Moderator: u.Has(horde.Moderator), Age: time.Since(u.Created),
			Kudos: b.Spendable.Float(), Requests: b.Records.Requests.Image,
		}, e.pending(&u.changed), nil
	})
}
