// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"net/netip"
	"strconv"
	"time"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// How sets of ratings are handed on.
const (
	// setTimeout is how long a ratings service may take.
	setTimeout = 3 * time.Second
	// handEvery is how long a set waits for the next try where nobody knows whether the service has it, and handLife after which
	// it is given up: a service that is gone for so long is not the one that had it.
	handEvery = time.Minute
	handLife  = 24 * time.Hour
	// handAtOnce is how many such sets are handed on at a time.
	handAtOnce = 4
)

// handed is a set of ratings on its way to the ratings service, and what its owner is to get. It is in the record from before the
// service hears of it until the owner is paid, so neither a crash in between nor an answer that was lost takes the reward away: the
// set is handed on again, and a service that has it says so. Removing it and paying are one change, so nobody is paid twice.
type handed struct {
	changed
	ID     horde.RequestID `json:"id"`
	Owner  horde.UserID    `json:"owner"`
	Reward horde.Kudos     `json:"reward"`
	Set    horde.RatingSet `json:"set"`
	Images []handedImage   `json:"images,omitempty"` // of Set
	Since  time.Time       `json:"since"`

	busy  bool      // somebody hands it on
	again bool      // the service may have it
	next  time.Time // before which nobody tries
}

// handedImage is an image of a set with all that is known of it.
type handedImage struct {
	horde.SharedImage
	ID       string  `json:"id"`
	Pipeline string  `json:"pipeline,omitempty"`
	NSFW     float64 `json:"nsfw,omitempty"`
}

func (s *state) addHanded(h *handed) {
	h.again = true
	s.handed[h.ID] = h
}

// set is what the service is told.
func (h *handed) set() horde.RatingSet {
	set := h.Set
	set.Images = nil
	for _, i := range h.Images {
		image := i.SharedImage
		image.ID, image.Pipeline, image.NSFW = i.ID, i.Pipeline, i.NSFW
		set.Images = append(set.Images, image)
	}
	return set
}

// Rate takes what a client says of the images of its request, hands it to the ratings service and pays the owner for it. It
// returns the reward in kudos. A request is rated once; who knows its id may. What was handed on before without an answer is what
// counts, whatever is said now.
func (e *Engine) Rate(ctx context.Context, id string, agent string, from netip.Addr, a *horde.Aesthetics) (float64, error) {
	var (
		attempt handed
		waits   [2]*batch
		refusal *horde.Error
	)
	key, ok := horde.ParseRequestID(id)
	if !ok {
		return 0, horde.ErrRequestNotFound
	}
	if err := e.do(func() {
		r := e.requests[key]
		if r == nil || r.Order.Kind() != horde.Image {
			refusal = horde.ErrRequestNotFound
			return
		}
		var (
			set     horde.RatingSet
			verdict horde.Verdict
			now     = time.Now().UTC()
		)
		if set, verdict, refusal = e.judgeRating(r, agent, from, a, now); refusal != nil {
			return
		}
		h := e.handed[key]
		if h == nil {
			h = &handed{ID: key, Owner: r.user.ID, Reward: horde.Kudos(verdict.Reward) * 100, Set: set, Since: now}
			for _, i := range set.Images {
				h.Images = append(h.Images, handedImage{i, i.ID, i.Pipeline, i.NSFW})
			}
			e.handed[key] = h
			e.open.document(handedDocument, key.String(), h)
		}
		h.busy = true
		attempt, waits = *h, [2]*batch{e.pending(&r.changed), e.pending(&h.changed)}
	}); err != nil {
		return 0, err
	}
	if refusal != nil {
		return 0, refusal
	}
	// Whoever hangs up now is paid all the same: the service has the rating.
	ctx = context.WithoutCancel(ctx)
	if err := e.durable(ctx, waits[:]...); err != nil {
		return 0, unavailable(err)
	}
	return e.hand(ctx, attempt)
}

// hand gives a set to the ratings service and pays for it. It returns the reward in kudos.
func (e *Engine) hand(ctx context.Context, attempt handed) (float64, error) {
	err, sure := e.handOn(ctx, attempt.set())
	return change(ctx, e, func() (float64, *batch, *horde.Error) {
		h, now := e.handed[attempt.ID], time.Now().UTC()
		if h == nil {
			return 0, nil, horde.ErrAlreadyRated // somebody else was faster
		}
		h.busy = false
		switch {
		case err == nil, attempt.again && err == horde.ErrAlreadyRated:
		case attempt.again || !sure:
			h.again, h.next = true, now.Add(handEvery)
			return 0, nil, unavailable(err)
		default:
			e.dropHanded(h)
			return 0, nil, unavailable(err)
		}
		e.dropHanded(h)
		if u := e.users[h.Owner]; u == nil || !u.WipedAt.IsZero() {
			return 0, nil, horde.ErrInvalidAesthetic
		}
		if r := e.requests[h.ID]; r != nil {
			p := e.shownOf(r)
			p.Rated, p.Reward = true, h.Reward
			e.open.document(shownDocument, h.ID.String(), p)
		}
		if h.Reward > 0 {
			e.event(e.book.Grant(now, kudos.Award, "wp:"+h.ID.String()+":rating", h.Owner, h.Reward))
		}
		return h.Reward.Float(), e.open, nil
	})
}

// dropHanded forgets a set.
func (e *Engine) dropHanded(h *handed) {
	delete(e.handed, h.ID)
	e.open.forgetDocument(handedDocument, h.ID.String())
}

// handOn gives a set to the ratings service. sure is whether the outcome is known: after a refusal the service does not have the
// set, or had it before.
func (e *Engine) handOn(ctx context.Context, set horde.RatingSet) (_ error, sure bool) {
	if e.Ratings == nil {
		return horde.ErrRatingsDown, true
	}
	ctx, cancel := context.WithTimeout(ctx, setTimeout)
	defer cancel()
	err := e.Ratings.Set(ctx, set)
	if _, refused := err.(*horde.Error); err != nil && !refused {
		e.Log.Warn("a rating could not be handed on", "request", set.Set, "error", err)
		return horde.ErrInvalidAesthetic, false
	}
	return err, err != horde.ErrRatingsTimeout
}

// dueHanded takes sets whose outcome nobody knows and that are due for another try. It is called with the lock.
func (e *Engine) dueHanded(now time.Time) (list []handed) {
	for _, h := range e.handed {
		switch {
		case h.busy || !h.again || h.next.After(now) || len(list) == handAtOnce:
		case now.Sub(h.Since) > handLife:
			e.Log.Warn("a rating was not taken within a day, and is given up", "request", h.ID)
			e.dropHanded(h)
		default:
			h.busy = true
			list = append(list, *h)
		}
	}
	return list
}

// handAgain hands on what is due.
func (e *Engine) handAgain(list []handed) {
	for _, h := range list {
		if reward, err := e.hand(context.Background(), h); err != nil {
			e.Log.Warn("a rating was handed on again, in vain", "request", h.ID, "error", err)
		} else {
			e.Log.Info("a rating was handed on again, and paid", "request", h.ID, "kudos", reward)
		}
	}
}

// ratersPaid is up to which of its payments a ratings service was served. A service numbers them upwards and makes the next one
// when the last is in the record, so this one number tells for each payment whether it was made.
type ratersPaid struct {
	changed
	Service string `json:"service"`
	Last    int64  `json:"last"`
}

func (s *state) addRatersPaid(p *ratersPaid) { s.ratersPaid[p.Service] = p }

// RatersPaid is the number of the last payment that was made for a ratings service, 0 for none.
func (e *Engine) RatersPaid(ctx context.Context, service string) (int64, error) {
	return change(ctx, e, func() (int64, *batch, *horde.Error) {
		if p := e.ratersPaid[service]; p != nil {
			return p.Last, e.pending(&p.changed), nil
		}
		return 0, nil, nil
	})
}

// PayRater awards an account for images that it rated, or with a negative amount takes back what it got. no is the number of the
// payment among those of the service; one that was made is not made again. An account that gets nothing, since it is flagged or
// gone, makes no error. After an error the payment may have been made: try again with the same number, before any higher one.
func (e *Engine) PayRater(ctx context.Context, service string, no int64, id horde.UserID, amount horde.Kudos) error {
	_, err := change(ctx, e, func() (bool, *batch, *horde.Error) {
		p := e.ratersPaid[service]
		switch {
		case p == nil:
			p = &ratersPaid{Service: service}
			e.ratersPaid[service] = p
		case no <= p.Last:
			return false, e.pending(&p.changed), nil
		}
		p.Last = no
		e.open.document(ratersPaidDocument, service, p)
		u := e.users[id]
		if u == nil || id == horde.Anonymous || !u.WipedAt.IsZero() || amount == 0 || amount > 0 && (u.Has(horde.Flagged) || u.Has(horde.Deleted)) {
			return false, e.open, nil
		}
		e.event(e.book.Grant(time.Now().UTC(), kudos.Award, "rating:"+service+":"+strconv.FormatInt(no, 10), id, amount))
		return true, e.open, nil
	})
	return err
}
