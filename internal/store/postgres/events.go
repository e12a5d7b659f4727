// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

var selectEvents = "SELECT " + events.columns() + " FROM events WHERE no >= $1 ORDER BY no LIMIT $2"

// Events yields the ledger's events, page by page.
func (s *Store) Events(ctx context.Context, first int64) iter.Seq2[*kudos.Event, error] {
	return store.EventPages(ctx, first, func(ctx context.Context, first int64) ([]*kudos.Event, error) {
		page, err := s.events(ctx, first)
		if err != nil {
			return nil, fmt.Errorf("postgres: events from %d: %w", first, err)
		}
		return page, nil
	})
}

func (s *Store) events(ctx context.Context, first int64) (page []*kudos.Event, err error) {
	conn, err := s.work.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	err = each(ctx, conn.Conn(), selectEvents, numbers(first, store.EventPage), func(c *columns) error {
		e := &kudos.Event{
			No: c.int(), Key: c.text(), Kind: kudos.EventKind(c.text()), At: c.time(), Work: horde.Kind(c.int()),
			User: horde.UserID(c.int()), Owner: horde.UserID(c.int()), Worker: horde.WorkerID{UUID: c.id()},
			Debit: horde.Kudos(c.int()), Credit: horde.Kudos(c.int()), Usage: c.int(), Contribution: c.int(),
		}
		c.document(&e.Entries)
		page = append(page, e)
		return nil
	})
	return page, err
}

// numbers are parameters of the type bigint.
func numbers(values ...int64) [][]byte {
	list := make([][]byte, len(values))
	for i, v := range values {
		list[i] = binary.BigEndian.AppendUint64(nil, uint64(v))
	}
	return list
}
