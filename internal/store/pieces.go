// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"context"
	"iter"
	"slices"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// Pieces are what a load reads, by tables and in the pieces that it reads them in: each is written by one goroutine.
type Pieces struct {
	Settings  *Settings
	LastEvent int64
	System    map[kudos.AccountClass]horde.Kudos
	Documents []Document
	Workers   []*horde.Worker
	Earnings  map[horde.WorkerID]kudos.Earnings
	Users     [][]*horde.User
	Balances  [][]UserBalance
	Requests  [][]*horde.Request
	Jobs      [][]*horde.Job
}

// UserBalance is one row of balances.
type UserBalance struct {
	User    horde.UserID
	Balance kudos.Balance
}

// State puts the pieces together.
func (p *Pieces) State() *State {
	s := &State{
		Settings: p.Settings, Users: slices.Concat(p.Users...), Workers: p.Workers, Earnings: p.Earnings,
		Requests: slices.Concat(p.Requests...), Jobs: slices.Concat(p.Jobs...), System: p.System, LastEvent: p.LastEvent,
		Documents: p.Documents,
	}
	n := 0
	for _, piece := range p.Balances {
		n += len(piece)
	}
	s.Balances = make(map[horde.UserID]kudos.Balance, n)
	for _, piece := range p.Balances {
		for _, row := range piece {
			s.Balances[row.User] = row.Balance
		}
	}
	return s
}

// EventPage is how many events a page has: see EventPages.
const EventPage = 1000

// EventPages yields the ledger's events from the number first on. page reads EventPage of them, or what is left, and holds
// nothing of the database when it returns, so that a reader may take its time.
func EventPages(ctx context.Context, first int64, page func(ctx context.Context, first int64) ([]*kudos.Event, error)) iter.Seq2[*kudos.Event, error] {
	return func(yield func(*kudos.Event, error) bool) {
		for {
			events, err := page(ctx, first)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
				first = e.No + 1
			}
			if len(events) < EventPage {
				return
			}
		}
	}
}
