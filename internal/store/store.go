// SPDX-License-Identifier: AGPL-3.0-or-later

// Package store is the record that the engine's memory follows: one interface, a driver for each database, and one
// test-suite (storetest) that every driver passes.
//
// The engine holds everything that is alive in memory. It reads the record once, at start-up, and from then on only
// writes: a [Batch] is all that changed since the last one, and is written in one transaction. What a batch holds is
// copied from the engine's memory, so a driver may take its time.
package store

import (
	"context"
	"iter"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// Store is one database. Only one engine may write to it at a time. Its methods may be called from several goroutines.
//
// What was committed is loaded as it was, but for two things: times are cut to the microsecond and come back in UTC, and
// an empty list may come back nil, unless its tag says "omitzero".
type Store interface {
	// Load reads the whole hot state. A new database gives an empty State.
	Load(ctx context.Context) (*State, error)
	// Commit writes a batch durably, or nothing of it. After an error the caller cannot know which, and must Load. The
	// store stays usable: when the cause of the error is gone, the next Commit succeeds. A batch that does not follow the
	// record (a name or key that is taken, an event out of order, a change of a request that is not there) is an error.
	Commit(ctx context.Context, b *Batch) error
	// Events yields the ledger's events in order, from the number first on. It ends at the first error. A reader may take
	// its time: it holds up nobody.
	Events(ctx context.Context, first int64) iter.Seq2[*kudos.Event, error]
	// Ping tells whether the database answers.
	Ping(ctx context.Context) error
	// Close releases the database. No other method may be running.
	Close() error
}

// State is everything that the engine holds in memory.
type State struct {
	// Settings is nil in a new database.
	Settings *Settings
	Users    []*horde.User
	Balances map[horde.UserID]kudos.Balance
	Workers  []*horde.Worker
	Earnings map[horde.WorkerID]kudos.Earnings
	// Requests come with their orders, in the order in which they were first written.
	Requests []*horde.Request
	Jobs     []*horde.Job
	System   map[kudos.AccountClass]horde.Kudos
	// Documents are ordered by kind and id.
	Documents []Document
	// LastEvent is the number of the newest event of the ledger, zero for none.
	LastEvent int64
}

// Settings are the switches of the horde and the secrets that it made for itself.
type Settings struct {
	MaintenanceMode bool `json:"maintenance_mode,omitempty"`
	InviteOnlyMode  bool `json:"invite_only_mode,omitempty"`
	RaidMode        bool `json:"raid_mode,omitempty"`
	// KeySalt goes into the hashes of API keys: changing it locks everybody out.
	KeySalt string `json:"key_salt"`
	// SigningSecret signs links to images.
	SigningSecret string `json:"signing_secret"`
	// NextUser is the id that the next account gets.
	NextUser horde.UserID `json:"next_user"`
}

// Batch is what changed. Each thing appears at most once, with its last state. Values are copies; what they point at is
// never changed any more. Names and keys may change hands within a batch.
type Batch struct {
	Settings *Settings

	Users    []horde.User
	Balances map[horde.UserID]kudos.Balance

	Workers []horde.Worker
	// DeletedWorkers go with their earnings.
	DeletedWorkers []horde.WorkerID
	Earnings       map[horde.WorkerID]kudos.Earnings

	// NewRequests are written with their orders, Requests without: an order never changes.
	NewRequests []horde.Request
	Requests    []horde.Request
	// DeletedRequests go with their orders and jobs.
	DeletedRequests []horde.RequestID
	Jobs            []horde.Job

	// Events follow each other without gaps, and follow the last one of the record.
	Events []*kudos.Event
	System map[kudos.AccountClass]horde.Kudos

	Documents []Document
}

// Document is one of the many small things that a horde keeps beside its users, workers and requests: a team, a style, a
// filter. All are read at a start, and each is written whole when it changes. What the data means is the engine's affair, so a
// new kind needs nothing of a driver.
type Document struct {
	Kind, ID string // neither is empty
	Data     []byte // nil in a batch removes the document, if it is there; it is never nil in a State
}

// Empty tells whether there is nothing to write.
func (b *Batch) Empty() bool {
	return b.Settings == nil && len(b.Users)+len(b.Balances)+len(b.Workers)+len(b.DeletedWorkers)+len(b.Earnings)+
		len(b.NewRequests)+len(b.Requests)+len(b.DeletedRequests)+len(b.Jobs)+len(b.Events)+len(b.System)+len(b.Documents) == 0
}
