// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"horde/internal/horde"
	"horde/internal/moderation"
)

// ReviewSearch chooses what a review shows. Limit is per section; all else is about paused workers, and chooses all where it is
// zero.
type ReviewSearch struct {
	Limit       int
	Kinds       []horde.Kind
	Suspicions  []horde.Suspicion
	Online      *bool
	SortBy      string // suspicion, last_check_in, name or owner
	AllWorkers  bool   // suspicious workers that are not paused, too
	AllAccounts bool   // suspicious accounts that would not be promoted anyway, too
}

// Review is one look at the accounts and workers that wait for a moderator.
type Review struct {
	// Threshold is the escrow above which an account is trusted by itself; zero for never.
	Threshold horde.Kudos
	// Blocked accounts fulfil all that is asked for trust, but are suspicious. Eligible ones will be trusted.
	Blocked, Eligible []ReviewedUser
	// Suspicious accounts are all that collected suspicions, whether or not trust is near, the most suspicious first.
	Suspicious []ReviewedUser
	Workers    []ReviewedWorker
	// Total is how many workers the search chooses, beyond the limit too.
	Total int
}

// ReviewedUser is an account as moderators look at it.
type ReviewedUser struct {
	horde.User
	Age              time.Duration
	Kudos, Escrow    horde.Kudos
	WorkerKudos      horde.Kudos
	WorkerFulfilled  int64
	Workers          int
	PausedWorkers    int
	SuspicionsByKind []SuspicionCount
}

// ReviewedWorker is a worker as moderators look at it.
type ReviewedWorker struct {
	horde.Worker
	Online                     bool
	OwnerAlias, OwnerContact   string
	OwnerTrusted, OwnerFlagged bool
	OwnerSuspicions            int
	Fulfilled                  int64
	SuspicionsByKind           []SuspicionCount
}

// SuspicionCount is a suspicion and how often it was noted.
type SuspicionCount struct {
	Suspicion horde.Suspicion
	Count     int
}

func countSuspicions(list []horde.Suspicion) []SuspicionCount {
	var counts []SuspicionCount
	for _, s := range list {
		if i := slices.IndexFunc(counts, func(c SuspicionCount) bool { return c.Suspicion == s }); i >= 0 {
			counts[i].Count++
		} else {
			counts = append(counts, SuspicionCount{s, 1})
		}
	}
	slices.SortFunc(counts, func(a, b SuspicionCount) int { return cmp.Compare(a.Suspicion, b.Suspicion) })
	return counts
}

// Review shows accounts that are stuck before trust, and workers that are paused.
func (e *Engine) Review(ctx context.Context, key string, s ReviewSearch) (Review, error) {
	return change(ctx, e, func() (Review, *batch, *horde.Error) {
		u, refusal := e.moderator(key)
		if refusal != nil {
			return Review{}, nil, refusal
		}
		now := time.Now().UTC()
		r := Review{Threshold: e.TrustThreshold}
		for _, u := range e.users {
			if e.alive(u.ID) == nil || u.ID == horde.Anonymous || u.Has(horde.Trusted) {
				continue
			}
			if len(u.Suspicions) > 0 && s.AllAccounts {
				r.Suspicious = append(r.Suspicious, e.reviewUser(u, now))
			}
			if e.TrustThreshold == 0 || e.book.Balance(u.ID).Escrow <= e.TrustThreshold || now.Sub(u.Created) < trustAge {
				continue
			}
			if u.Suspicious() {
				r.Blocked = append(r.Blocked, e.reviewUser(u, now))
			} else {
				r.Eligible = append(r.Eligible, e.reviewUser(u, now))
			}
		}
		for _, w := range e.workers {
			if s.chooses(w, now) {
				r.Workers = append(r.Workers, e.reviewWorker(w, now))
			}
		}
		r.Total = len(r.Workers)
		for _, list := range []*[]ReviewedUser{&r.Blocked, &r.Eligible} {
			slices.SortFunc(*list, func(a, b ReviewedUser) int { return cmp.Or(cmp.Compare(b.Escrow, a.Escrow), cmp.Compare(a.ID, b.ID)) })
		}
		slices.SortFunc(r.Suspicious, func(a, b ReviewedUser) int {
			return cmp.Or(cmp.Compare(len(b.Suspicions), len(a.Suspicions)), cmp.Compare(a.ID, b.ID))
		})
		slices.SortFunc(r.Workers, s.compare)
		for _, list := range []*[]ReviewedUser{&r.Blocked, &r.Eligible, &r.Suspicious} {
			*list = (*list)[:min(len(*list), s.Limit)]
		}
		r.Workers = r.Workers[:min(len(r.Workers), s.Limit)]
		e.Log.Info("accounts and workers were reviewed", "moderator", u.ID)
		return r, nil, nil
	})
}

func (s *ReviewSearch) chooses(w *worker, now time.Time) bool {
	switch {
	case !w.Paused && !(s.AllWorkers && len(w.Suspicions) > 0), len(s.Kinds) > 0 && !slices.Contains(s.Kinds, w.Kind),
		s.Online != nil && w.Online(now) != *s.Online:
		return false
	}
	return len(s.Suspicions) == 0 || slices.ContainsFunc(w.Suspicions, func(had horde.Suspicion) bool { return slices.Contains(s.Suspicions, had) })
}

func (s *ReviewSearch) compare(a, b ReviewedWorker) int {
	first := 0
	switch s.SortBy {
	case "last_check_in":
		first = b.LastCheckIn.Compare(a.LastCheckIn)
	case "name":
	case "owner":
		first = strings.Compare(a.OwnerAlias, b.OwnerAlias)
	default:
		first = cmp.Compare(len(b.Suspicions), len(a.Suspicions))
	}
	return cmp.Or(first, strings.Compare(a.Name, b.Name))
}

func (e *Engine) reviewUser(u *user, now time.Time) ReviewedUser {
	b := e.book.Balance(u.ID)
	r := ReviewedUser{
		User: u.User, Age: now.Sub(u.Created), Kudos: b.Spendable, Escrow: b.Escrow, Workers: len(u.workers),
		SuspicionsByKind: countSuspicions(u.Suspicions),
	}
	for _, w := range u.workers {
		earned := e.book.Earnings(w.ID)
		r.WorkerKudos += earned.Total()
		r.WorkerFulfilled += earned.Fulfilments
		if w.Paused {
			r.PausedWorkers++
		}
	}
	return r
}

func (e *Engine) reviewWorker(w *worker, now time.Time) ReviewedWorker {
	return ReviewedWorker{
		Worker: w.Worker, Online: w.Online(now), OwnerAlias: w.owner.Alias(), OwnerContact: w.owner.Contact,
		OwnerTrusted: w.owner.Has(horde.Trusted), OwnerFlagged: w.owner.Has(horde.Flagged), OwnerSuspicions: len(w.owner.Suspicions),
		Fulfilled: e.book.Earnings(w.ID).Fulfilments, SuspicionsByKind: countSuspicions(w.Suspicions),
	}
}

// SuspicionSearch chooses reports against workers. Zero values choose all.
type SuspicionSearch struct {
	Limit  int
	Before int64 // an id: only older ones
	Worker string
	User   *horde.UserID
}

// SuspicionEvents lists reports against workers, the newest first. next is what to give as Before for the next page; 0 for none.
func (e *Engine) SuspicionEvents(ctx context.Context, key string, s SuspicionSearch) (events []moderation.SuspicionEvent, next int64, _ error) {
	events, err := change(ctx, e, func() ([]moderation.SuspicionEvent, *batch, *horde.Error) {
		if _, refusal := e.moderator(key); refusal != nil {
			return nil, nil, refusal
		}
		page := []moderation.SuspicionEvent{}
		for i := len(e.reports) - 1; i >= 0; i-- {
			r := e.reports[i]
			if s.Before != 0 && r.ID >= s.Before || s.Worker != "" && r.Worker.String() != s.Worker || s.User != nil && r.User != *s.User {
				continue
			}
			if len(page) == s.Limit {
				next = page[s.Limit-1].ID
				break
			}
			page = append(page, r.SuspicionEvent)
		}
		return page, e.pending(&e.counters.changed), nil
	})
	return events, next, err
}
