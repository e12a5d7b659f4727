// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"context"
	"fmt"
	"iter"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// eventPage is how many events are read at a time. Between pages nothing is held open, because a reader that stays in one
// transaction keeps the log from being folded into the file.
const eventPage = 1000

const selectEvents = "SELECT " + eventColumns + " FROM events WHERE no >= ? ORDER BY no LIMIT ?"

// Events yields the ledger's events, page by page.
func (s *Store) Events(ctx context.Context, first int64) iter.Seq2[*kudos.Event, error] {
	return func(yield func(*kudos.Event, error) bool) {
		for {
			page, err := s.events(ctx, first)
			if err != nil {
				yield(nil, fmt.Errorf("sqlite: events from %d: %w", first, err))
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				first = e.No + 1
			}
			if len(page) < eventPage {
				return
			}
		}
	}
}

func (s *Store) events(ctx context.Context, first int64) (page []*kudos.Event, err error) {
	conn, err := s.readers.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer s.readers.Put(conn)
	err = each(conn, selectEvents,
		func(p *params) { p.int(first, eventPage) },
		func(c *columns) error {
			e := &kudos.Event{
				No: c.int(), Key: c.text(), Kind: kudos.EventKind(c.text()), At: c.time(), Work: horde.Kind(c.int()),
				User: horde.UserID(c.int()), Owner: horde.UserID(c.int()), Worker: horde.WorkerID{UUID: c.id()},
				Debit: horde.Kudos(c.int()), Credit: horde.Kudos(c.int()), Usage: c.int(), Contribution: c.int(),
			}
			page = append(page, e)
			return c.document(&e.Entries)
		})
	return page, err
}
