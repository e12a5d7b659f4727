// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"time"
)

// ErrDeposed is what a store returns that does not lead, or does not any more: another took the leadership, it was given
// up, or was never won. Nothing was written. The engine on top of it must stop.
var ErrDeposed = errors.New("this node does not lead")

// Shared is a record that several processes have open. One at a time leads: only its store commits, and only an engine that
// loaded after its store had won may answer from memory. Whoever loads without leading sees the record as it is at that
// moment, and no more.
//
// The leadership is a row of the database with an epoch, which grows each time the leadership changes hands, and a lease by
// the database's clock. Lapsed leases change nothing by themselves: the leader leads until another takes its place. That
// waits for the commit that is being written, and is committed itself before the new leader learns of it, so the new
// leader's Load has all that was ever acknowledged, and no commit of the old one can follow.
//
// Commit returns an error that wraps ErrDeposed where the store does not lead. After a Commit whose outcome is not known (the
// connection broke, say), Load and Commit first make sure that it cannot take effect later.
type Shared interface {
	Store
	// Campaign takes the leadership where nobody has it or the lease of who has it has lapsed, and tells who leads now. The
	// store has won where Leader.Mine is true; one that leads already has its lease prolonged. The node names the process
	// for people and must not be empty; address is where the others reach it.
	Campaign(ctx context.Context, node, address string, lease time.Duration) (Leader, error)
	// Renew lets the lease end that long from now. It does not wait for a commit. The error wraps ErrDeposed where the
	// store does not lead; after any other the leadership may last or not.
	Renew(ctx context.Context, lease time.Duration) error
	// Resign gives the leadership up, so that another can have it at once. It does nothing where the store does not lead.
	Resign(ctx context.Context) error
	// Leader tells who leads.
	Leader(ctx context.Context) (Leader, error)
}

// Leader is who leads. No Node means that nobody does: not yet, or the last one resigned.
type Leader struct {
	Epoch         int64
	Node, Address string
	// Remaining is how long the lease lasts by the database's clock. Zero or less: whoever asks for it may have it.
	Remaining time.Duration
	// Mine tells that it is the store itself that was asked.
	Mine bool
}
