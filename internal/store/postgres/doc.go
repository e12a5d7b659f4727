// SPDX-License-Identifier: AGPL-3.0-or-later

// Package postgres keeps the record of a horde in PostgreSQL, where several nodes can have it open.
//
// # Durability
//
// A commit is one transaction in one round trip: all statements of a batch, each with all rows of a table as arrays, go out
// together, and the server commits them together. What was acknowledged survives whatever PostgreSQL is set up to survive:
// with synchronous replication also the loss of a machine. Where synchronous_commit is off for the role or the database, the
// driver turns it on for itself.
//
// # One writer, fenced
//
// The table "leader" has one row, which says who leads (see [store.Shared]) and holds the fence: a number that every commit
// carries. A commit first locks the row, if it has this number still, against a change of the number, so that
//
//   - a commit of a leader that was deposed, or whose earlier commit was given up in doubt, finds another number and writes
//     nothing, whenever it arrives;
//   - who takes the leadership, and so changes the number, waits for the commit that is being written, and has its work in
//     the record when it loads.
//
// No row of the record is locked without that lock. So a process that is paused or cut off in the middle of a commit keeps a
// successor from nothing but the lock, and the successor ends its connection when the lease has lapsed: see patience.
// Renewing the lease does not change the number, and waits for nothing.
//
// # Connections
//
// Each node has at most as many connections as pool_max_conns in the URL says (the larger of 4 and the number of processors
// without it) for its work, and three for the leadership, which so never waits for work. They go to the server that takes
// writes where the URL names several. A pooler between must keep a session on one server connection.
package postgres
