// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"maps"
	"slices"
	"time"

	"horde/internal/horde"
)

// supporters are those of one source, as it last told them. They stay until it tells others, over restarts too.
type supporters struct {
	Source horde.SupportSource `json:"source"`
	List   []horde.Supporter   `json:"list"`
	changed
}

// support is what an account has from its supporting the horde.
type support struct {
	kudos  horde.Kudos // each month
	patron bool
}

// addSupporters puts the supporters of a source in the place of those that were known.
func (s *state) addSupporters(list *supporters) {
	s.supporters[list.Source] = list
	s.support = supportOf(s.supporters)
}

func supportOf(all map[horde.SupportSource]*supporters) map[horde.UserID]support {
	sums := map[horde.UserID]support{}
	for source, of := range all {
		for _, p := range of.List {
			sum := sums[p.User]
			sum.kudos += p.Kudos
			sum.patron = sum.patron || source == horde.SourcePatreon
			sums[p.User] = sum
		}
	}
	return sums
}

// isPatron tells whether an account is an active patron's: it has some of what trusted accounts have.
func (s *state) isPatron(u *user) bool { return s.support[u.ID].patron }

// SetSupporters takes down who supports the horde, as a source tells it: all of them, in place of those that were known.
// It returns when that is in the record.
func (e *Engine) SetSupporters(ctx context.Context, source horde.SupportSource, list []horde.Supporter) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		before := e.supporters[source]
		if before != nil && slices.Equal(before.List, list) {
			return struct{}{}, e.pending(&before.changed), nil
		}
		if before == nil && len(list) == 0 {
			return struct{}{}, nil, nil
		}
		next := &supporters{Source: source, List: slices.Clone(list)}
		all := maps.Clone(e.supporters)
		all[source] = next
		now := time.Now().UTC()
		was, is := e.support, supportOf(all)
		for id, sum := range is {
			if u := e.alive(id); u != nil && sum.kudos > was[id].kudos {
				e.resumeMonthly(u, now, false)
				e.open.user(u)
			}
		}
		for id := range was {
			if u := e.alive(id); u != nil && is[id] != was[id] {
				u.note(e.open.number) // the account is shown with what it gets
			}
		}
		e.addSupporters(next)
		e.open.document(supportersDocument, string(source), next)
		e.Log.Info("those who support the horde have changed", "source", source, "subscriptions", len(list))
		return struct{}{}, e.open, nil
	})
	return err
}

// Patrons are who supports the horde at Patreon, for thanks. Nobody may change the list.
func (e *Engine) Patrons() []horde.Supporter {
	e.mu.Lock()
	defer e.mu.Unlock()
	if of := e.supporters[horde.SourcePatreon]; of != nil {
		return of.List
	}
	return nil
}

// keptSupporters adds what is kept of supporters.
func (s *state) keptSupporters(kept map[documentKey]documented) {
	for source, of := range s.supporters {
		kept[documentKey{supportersDocument, string(source)}] = of
	}
}
