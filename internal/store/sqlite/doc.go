// SPDX-License-Identifier: AGPL-3.0-or-later

// Package sqlite keeps the record of a horde in one SQLite file, with no service to install.
//
// # Durability
//
// The file is in WAL mode with synchronous=FULL: a commit is one write and one fsync of the log, and what was acknowledged
// survives the death of the process and of the machine. One connection writes; others read what was last committed without
// waiting for it. The log is folded into the file by [Store.Commit] when it has grown, see walPages.
//
// # Who may open the file
//
// A lock on "<path>.lock" keeps a second process from writing. It goes away with the process, however that ends. Programs
// that only read, the sqlite3 shell for instance, may do so at any time.
//
// # The driver
//
// zombiezen.com/go/sqlite, because it binds and reads values without the interfaces of database/sql between. Migrations
// run through database/sql on the same engine, before the store opens its own connections.
package sqlite
