// SPDX-License-Identifier: AGPL-3.0-or-later

package trust

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/probe"
	"horde/internal/fediseer/store"
	"horde/internal/horde"
)

// Entry is one judgement of a batch.
type Entry struct {
	Domain string
	Words
}

// BatchOptions say how a batch meets what is there already.
type BatchOptions struct {
	// Delete removes all judgements of the kind whose target is not in the batch; an empty batch then clears the list.
	Delete bool
	// Overwrite replaces reason and evidence of judgements that exist, also by nothing.
	Overwrite bool
}

// batchProbes is how many unknown domains of a batch are looked at at the same time.
const batchProbes = 25

// Batch stores many judgements of one kind in one transaction. It returns false when nothing changed. Domains that no
// name server could know refuse the whole batch; domains that were never seen are looked at, all at once and within the
// configured deadline, and registered whatever comes of it.
func (s *Service) Batch(ctx context.Context, c Credential, k fediseer.Kind, entries []Entry, o BatchOptions) (bool, error) {
	const needs = needGuarantor | needUnrestricted | needCalm | needChain
	var caller *Caller
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		if caller, _, err = s.check(tx, c, http.StatusNotFound, needs, ""); err != nil {
			return err
		}
		return batchFits(tx, k, caller.Instance, len(entries), o)
	})
	if err != nil {
		return false, err
	}
	if err := s.markUsed(ctx, caller); err != nil {
		return false, err
	}
	wanted, order, err := cleanEntries(k, entries)
	if err != nil {
		return false, err
	}
	looks, err := s.lookAtUnknown(ctx, order, caller.Instance.Domain)
	if err != nil {
		return false, err
	}
	var changed bool
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		changed = false
		caller, _, err := s.check(tx, c, http.StatusNotFound, needs, "")
		if err != nil {
			return err
		}
		if err := batchFits(tx, k, caller.Instance, len(entries), o); err != nil {
			return err
		}
		done, err := s.applyBatch(tx, k, caller.Instance, wanted, order, looks, o)
		if err != nil {
			return err
		}
		for _, a := range fediseer.ReportActivities {
			if done[a] {
				changed = true
				if err := s.report(tx, caller.Instance.Domain, fediseer.TargetMultiple, false, k.Report(), a); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return changed, err
}

func batchFits(tx *store.Tx, k fediseer.Kind, own *fediseer.Instance, entries int, o BatchOptions) error {
	size := entries
	if !o.Delete {
		have, err := tx.CountJudgements(k, own.ID)
		if err != nil {
			return err
		}
		size += have
	}
	if size >= own.MaxListSize {
		return fediseer.Refuse(http.StatusForbidden, "The batch would bring %s to %d %s; fewer than %d are allowed", own.Domain, size, k.Plural(), own.MaxListSize)
	}
	if !o.Delete && entries == 0 {
		return fediseer.Refuse(http.StatusBadRequest, "The batch is empty")
	}
	return nil
}

// cleanEntries normalises all entries before anything is looked at. Of several for one domain the first counts.
func cleanEntries(k fediseer.Kind, entries []Entry) (map[fediseer.Domain]Words, []fediseer.Domain, error) {
	wanted := make(map[fediseer.Domain]Words, len(entries))
	var order []fediseer.Domain
	bad := map[string]string{}
	for i, e := range entries {
		d, err := fediseer.ParseDomain(e.Domain)
		var w Words
		if err == nil {
			w, err = e.clean(k)
		}
		if err != nil {
			bad[fmt.Sprintf("%s.%d", k.Plural(), i)] = err.Error()
			continue
		}
		if _, ok := wanted[d]; !ok {
			wanted[d] = w
			order = append(order, d)
		}
	}
	if len(bad) > 0 {
		return nil, nil, horde.Invalid(bad)
	}
	return wanted, order, nil
}

// lookAtUnknown probes the domains that have no row. Those that did not answer within the deadline are unknown.
func (s *Service) lookAtUnknown(ctx context.Context, ds []fediseer.Domain, own fediseer.Domain) (map[fediseer.Domain]*probe.Result, error) {
	looks := make(map[fediseer.Domain]*probe.Result)
	known := map[fediseer.Domain]bool{own: true}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		list, err := tx.Instances(ds)
		for _, in := range list {
			known[in.Domain] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	deadline, cancel := context.WithTimeout(ctx, s.cfg.BatchDeadline)
	defer cancel()
	var mu sync.Mutex // guards looks
	var wg sync.WaitGroup
	slots := make(chan struct{}, batchProbes)
	for _, d := range ds {
		if known[d] {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			r, err := s.look(deadline, d, lenient)
			if err != nil { // out of time
				r = &probe.Result{Attributes: fediseer.Attributes{Software: fediseer.SoftwareUnknown, Version: fediseer.SoftwareUnknown}, Resolves: true}
			}
			mu.Lock()
			looks[d] = r
			mu.Unlock()
		})
	}
	wg.Wait()
	return looks, ctx.Err()
}

func (s *Service) applyBatch(tx *store.Tx, k fediseer.Kind, own *fediseer.Instance, wanted map[fediseer.Domain]Words,
	order []fediseer.Domain, looks map[fediseer.Domain]*probe.Result, o BatchOptions) (map[fediseer.ReportActivity]bool, error) {
	done := map[fediseer.ReportActivity]bool{}
	targets := make(map[fediseer.Domain]*fediseer.Instance, len(order))
	list, err := tx.Instances(order)
	if err != nil {
		return nil, err
	}
	wantedID := make(map[int64]bool, len(list))
	for _, in := range list {
		targets[in.Domain] = in
		wantedID[in.ID] = true
	}
	have := map[int64]fediseer.Judgement{}
	existing, err := tx.JudgementsBy(k, own.ID)
	if err != nil {
		return nil, err
	}
	for _, j := range existing {
		if o.Delete && !wantedID[j.TargetID] {
			if _, err := tx.DeleteJudgement(k, own.ID, j.TargetID); err != nil {
				return nil, err
			}
			done[fediseer.Deleted] = true
			continue
		}
		have[j.TargetID] = j
	}
	opposed := map[int64]bool{}
	for _, opposite := range k.Opposites() {
		js, err := tx.JudgementsBy(opposite, own.ID)
		if err != nil {
			return nil, err
		}
		for _, j := range js {
			opposed[j.TargetID] = true
		}
	}
	now := time.Now()
	for _, d := range order {
		if d == own.Domain {
			continue
		}
		in := targets[d]
		if in == nil {
			if in, err = s.register(tx, d, looks[d]); err != nil {
				return nil, err
			}
		}
		if opposed[in.ID] {
			continue
		}
		w := wanted[d]
		j, exists := have[in.ID]
		switch {
		case exists && (!o.Overwrite || equal(j.Reason, w.Reason) && equal(j.Evidence, w.Evidence)):
			continue
		case exists:
			done[fediseer.Modified] = true
		default:
			if k == fediseer.Endorsement {
				if _, err := tx.Guarantor(in.ID); errors.Is(err, store.ErrNotFound) {
					continue // as for a single one: the unguaranteed cannot be endorsed
				} else if err != nil {
					return nil, err
				}
			}
			done[fediseer.Added] = true
			j = fediseer.Judgement{JudgeID: own.ID, TargetID: in.ID, Created: now}
		}
		j.Reason, j.Evidence = w.Reason, w.Evidence
		if err := tx.SetJudgement(k, j); err != nil {
			return nil, err
		}
	}
	return done, nil
}
