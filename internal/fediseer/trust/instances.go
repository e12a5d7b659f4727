// SPDX-License-Identifier: AGPL-3.0-or-later

package trust

import (
	"context"
	"errors"
	"net/http"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/probe"
	"horde/internal/fediseer/store"
)

// DefaultWhitelistLimit and MaxWhitelistLimit bound the pages of the whitelist.
const (
	DefaultWhitelistLimit = 100
	MaxWhitelistLimit     = 100
)

// WhitelistQuery selects a page of the whitelist. Page counts from 1.
type WhitelistQuery struct {
	MinEndorsements, MinGuarantors int
	Tags, Software                 []string // lower case; nil does not filter
	NamePart                       string
	Page, Limit                    int
}

// Whitelist returns a page of the instances, newest first, and how many there are. A limit outside of
// MinLimit..MaxWhitelistLimit is 400.
func (s *Service) Whitelist(ctx context.Context, q WhitelistQuery) (out []*fediseer.Details, total int, err error) {
	if q.Limit < MinLimit || q.Limit > MaxWhitelistLimit {
		return nil, 0, fediseer.Refuse(http.StatusBadRequest, "The limit is between %d and %d", MinLimit, MaxWhitelistLimit)
	}
	const farthest = 1 << 30 // keeps the offset inside of what the database counts with
	page := min(max(q.Page, 1), farthest)
	err = s.store.View(ctx, func(tx *store.Tx) error {
		var list []*fediseer.Instance
		list, total, err = tx.Whitelist(store.WhitelistFilter{MinEndorsements: q.MinEndorsements, MinGuarantors: q.MinGuarantors,
			Tags: q.Tags, Software: q.Software, NamePart: q.NamePart, OrphanBefore: time.Now().Add(-fediseer.OrphanGrace)}, q.Limit, (page-1)*q.Limit)
		if err != nil {
			return err
		}
		out, err = tx.Details(list)
		return err
	})
	return out, total, err
}

// All calls f with every instance that is not hidden as an orphan, a few at a time, in the order of their names.
func (s *Service) All(ctx context.Context, f func([]*fediseer.Details) error) error {
	hidden := time.Now().Add(-fediseer.OrphanGrace)
	return s.walk(ctx, func(tx *store.Tx, list []*fediseer.Instance) error {
		kept := list[:0]
		for _, in := range list {
			if in.OrphanSince.IsZero() || !in.OrphanSince.Before(hidden) {
				kept = append(kept, in)
			}
		}
		details, err := tx.Details(kept)
		if err != nil {
			return err
		}
		return f(details)
	})
}

// walk calls f with all instances in chunks, each in a transaction of its own.
func (s *Service) walk(ctx context.Context, f func(*store.Tx, []*fediseer.Instance) error) error {
	var after fediseer.Domain
	for {
		n := 0
		err := s.store.View(ctx, func(tx *store.Tx) error {
			list, err := tx.DomainsAfter(after, detailsChunk)
			if err != nil || len(list) == 0 {
				return err
			}
			n, after = len(list), list[len(list)-1].Domain
			return f(tx, list)
		})
		if err != nil || n < detailsChunk {
			return err
		}
	}
}

// Instance returns what is known about a domain after a fresh look at it; a domain that was never seen is registered by
// that. A domain that is known and cannot be looked at is shown as it is stored; one that is not known is 400.
func (s *Service) Instance(ctx context.Context, domain string) (*fediseer.Details, error) {
	d, err := fediseer.ParseDomain(domain)
	if err != nil {
		return nil, err
	}
	known, err := s.Stored(ctx, d)
	if err != nil {
		return nil, err
	}
	if d.Wildcard() {
		if known == nil {
			return nil, fediseer.ErrUnknownInstance(http.StatusBadRequest, string(d))
		}
		return known, nil
	}
	if known != nil && known.IsRoot() {
		return known, nil
	}
	look, err := s.lookForStranger(ctx, d)
	if err != nil {
		if known != nil && ctx.Err() == nil {
			return known, nil
		}
		return nil, err
	}
	if known != nil && (!look.Reached || known.PollFailures == 0 && known.Attributes.Equal(look.Attributes)) {
		return known, nil
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		_, err := s.register(tx, d, look)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.Stored(ctx, d)
}

// Stored returns what is known about a domain without a look at it, or nil if nothing is.
func (s *Service) Stored(ctx context.Context, d fediseer.Domain) (out *fediseer.Details, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		in, err := tx.Instance(d)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		list, err := tx.Details([]*fediseer.Instance{in})
		if err == nil {
			out = list[0]
		}
		return err
	})
	return out, err
}

// WhoAmI returns the instance that a key belongs to. A key that nobody has is 404.
func (s *Service) WhoAmI(ctx context.Context, c Credential) (*fediseer.Details, error) {
	var caller *Caller
	var out *fediseer.Details
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		if caller, err = s.authenticate(tx, c, http.StatusNotFound); err != nil {
			return err
		}
		list, err := tx.Details([]*fediseer.Instance{caller.Instance})
		if err == nil {
			out = list[0]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, s.markUsed(ctx, caller)
}

// Solicited is an instance that asks for a guarantee.
type Solicited struct {
	*fediseer.Details
	Comment *string
}

// liveFailures is the number of failed polls from which a soliciting instance is hidden.
const liveFailures = 2

// Solicitations lists the instances that ask for a guarantee and are alive, longest waiting first.
func (s *Service) Solicitations(ctx context.Context) (out []Solicited, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		list, err := tx.SolicitingInstances(liveFailures)
		if err != nil {
			return err
		}
		ids := make([]int64, len(list))
		comments := make(map[int64]*string, len(list))
		for i, x := range list {
			ids[i], comments[x.ID] = x.ID, x.Comment
		}
		details, err := tx.DetailsByID(ids)
		out = make([]Solicited, len(details))
		for i, d := range details {
			out[i] = Solicited{Details: d, Comment: comments[d.ID]}
		}
		return err
	})
	return out, err
}

// ReportsPerPage is the fixed page size of the public log.
const ReportsPerPage = 10

// Reports returns a page of the public log, newest first. Pages count from 1; lower ones act as 1.
func (s *Service) Reports(ctx context.Context, f store.ReportFilter, page int) (out []fediseer.Report, err error) {
	const farthest = 1 << 30
	err = s.store.View(ctx, func(tx *store.Tx) error {
		out, err = tx.Reports(f, ReportsPerPage, (min(max(page, 1), farthest)-1)*ReportsPerPage)
		return err
	})
	return out, err
}

// TagCounts counts the tags of all instances that are not muted.
func (s *Service) TagCounts(ctx context.Context) (out []store.TagCount, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		out, err = tx.TagCounts()
		return err
	})
	return out, err
}

// Poll looks at a known instance and keeps account of its failures: a nodeinfo that answers resets them, one that does
// not counts one, a name that DNS does not know counts like a month, and a domain that now leads to somebody else's site
// is offline at once.
func (s *Service) Poll(ctx context.Context, d fediseer.Domain) error {
	look := s.prober.Probe(ctx, d)
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		in, err := tx.Instance(d)
		if err != nil {
			return err
		}
		if look.Reached {
			if look.Err == nil && (in.PollFailures > 0 || !in.Attributes.Equal(look.Attributes)) {
				_, err = s.register(tx, d, &look)
			}
			return err
		}
		in.PollFailures = failures(in.PollFailures, look)
		in.Updated = time.Now()
		return tx.UpdateInstance(in)
	})
}

// unresolvedFailures is what a failed name look-up counts: a month of polls.
const unresolvedFailures = 60

// maxFailures keeps the count readable; it lies far inside of DECOMMISSIONED.
const maxFailures = 100000

func failures(n int, look probe.Result) int {
	switch {
	case !look.Resolves:
		n += unresolvedFailures
	case look.Foreign:
		n = max(n+1, offlineFailures)
	default:
		n++
	}
	return min(n, maxFailures)
}

// PollAll polls all instances but the root and wildcards, in parallel. Instances with more than ignoreFails failures are
// left out; a negative number leaves out none. It returns how many were polled.
func (s *Service) PollAll(ctx context.Context, parallel, ignoreFails int) (int, error) {
	work := make(chan fediseer.Domain)
	done := make(chan int)
	for range max(parallel, 1) {
		go func() {
			n := 0
			for d := range work {
				if err := s.Poll(ctx, d); err != nil && ctx.Err() == nil {
					s.log.Warn("an instance could not be polled", "domain", d, "error", err)
				}
				n++
			}
			done <- n
		}()
	}
	err := s.feed(ctx, work, ignoreFails)
	close(work)
	total := 0
	for range max(parallel, 1) {
		total += <-done
	}
	return total, err
}

// feed sends the domains to poll. The transactions are over before anything is polled, so that a slow instance does not
// hold one open.
func (s *Service) feed(ctx context.Context, work chan<- fediseer.Domain, ignoreFails int) error {
	var after fediseer.Domain
	for {
		var list []*fediseer.Instance
		err := s.store.View(ctx, func(tx *store.Tx) (err error) {
			list, err = tx.DomainsAfter(after, detailsChunk)
			return err
		})
		if err != nil || len(list) == 0 {
			return err
		}
		after = list[len(list)-1].Domain
		for _, in := range list {
			if in.IsRoot() || in.Domain.Wildcard() || ignoreFails >= 0 && in.PollFailures > ignoreFails {
				continue
			}
			select {
			case work <- in.Domain:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}
