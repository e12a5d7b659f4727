// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"context"
	"fmt"
	"iter"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

const selectEvents = "SELECT " + eventColumns + " FROM events WHERE no >= ? ORDER BY no LIMIT ?"

// Events yields the ledger's events, page by page.
func (s *Store) Events(ctx context.Context, first int64) iter.Seq2[*kudos.Event, error] {
	return store.EventPages(ctx, first, func(ctx context.Context, first int64) ([]*kudos.Event, error) {
		page, err := s.events(ctx, first)
		if err != nil {
			return nil, fmt.Errorf("sqlite: events from %d: %w", first, err)
		}
		return page, nil
	})
}

func (s *Store) events(ctx context.Context, first int64) (page []*kudos.Event, err error) {
	conn, err := s.readers.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer s.readers.Put(conn)
	err = each(conn, selectEvents,
		func(p *params) { p.int(first, store.EventPage) },
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
