// SPDX-License-Identifier: AGPL-3.0-or-later

// Package store keeps the Fediseer's record in SQLite or PostgreSQL.
//
// A [Store] runs functions in transactions: [Store.View] to read, [Store.Update] to write. The methods of [Tx] are small
// reads and writes that a caller composes; they hold no rule of the domain beyond what the schema's constraints say. The
// SQL is the same for both databases but for the few words in dialect.go, and the tests of this package run every one of
// its methods on both.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"
)

// ErrNotFound tells that a row that was asked for by name or id does not exist.
var ErrNotFound = errors.New("no such row")

const (
	// busyTimeout is how long SQLite waits for another process (the updater) to finish its transaction.
	busyTimeout = 10 * time.Second
	// maxConns bounds the connections to PostgreSQL.
	maxConns = 16
	// maxTries bounds how often a transaction that lost against others is run.
	maxTries = 20
	// longestPause bounds the pause before a transaction is run again; it doubles from a millisecond, less a random part.
	longestPause = 250 * time.Millisecond
)

// Store is a database. All methods may be called from any goroutine.
type Store struct {
	dialect *dialect
	// On SQLite writers take turns on the one connection of write; on PostgreSQL both are the same pool.
	read, write *sql.DB
	lists       *listCache
}

// Open opens the database that location names and brings its schema up to date: a URL that starts with postgres:// or
// postgresql://, or else the path of a SQLite file, which is made if it does not exist.
func Open(ctx context.Context, location string) (*Store, error) {
	s := &Store{lists: newListCache(DefaultListCacheBytes)}
	if err := checkLocation(location); err != nil {
		return nil, err
	}
	if onPostgres(location) {
		db, err := sql.Open("pgx", location)
		if err != nil {
			return nil, fmt.Errorf("open PostgreSQL: %w", err)
		}
		db.SetMaxOpenConns(maxConns)
		s.dialect, s.read, s.write = postgresDialect, db, db
	} else {
		// SQLite gives the files beside the database the same permissions.
		f, err := os.OpenFile(location, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the SQLite file: %w", err)
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("open the SQLite file: %w", err)
		}
		pragmas := url.Values{"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
			"cache_size(-65536)", // KiB, for each connection
		}}
		file := "file:" + (&url.URL{Path: location}).EscapedPath() + "?" + pragmas.Encode()
		write, err := sql.Open("sqlite", file+"&_txlock=immediate")
		if err != nil {
			return nil, fmt.Errorf("open SQLite: %w", err)
		}
		write.SetMaxOpenConns(1)
		read, err := sql.Open("sqlite", file)
		if err != nil {
			write.Close()
			return nil, fmt.Errorf("open SQLite: %w", err)
		}
		read.SetMaxOpenConns(max(2, runtime.GOMAXPROCS(0)))
		s.dialect, s.read, s.write = sqliteDialect, read, write
	}
	if err := s.migrate(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func onPostgres(location string) bool {
	return strings.HasPrefix(location, "postgres://") || strings.HasPrefix(location, "postgresql://")
}

// checkLocation refuses URLs of other databases. It does not repeat them, since they may hold a password.
func checkLocation(location string) error {
	if scheme, _, ok := strings.Cut(location, "://"); ok && !onPostgres(location) {
		return fmt.Errorf("a database %s://... is not understood; give a postgres:// URL or the path of a SQLite file", scheme)
	}
	return nil
}

// Exists tells whether the SQLite file that location names is there: nil if it is, and for PostgreSQL, which is not asked.
func Exists(location string) error {
	if err := checkLocation(location); err != nil || onPostgres(location) {
		return err
	}
	if _, err := os.Stat(location); err != nil {
		return fmt.Errorf("find the SQLite file: %w", err)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context) error {
	files, err := s.dialect.migrations()
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(s.dialect.name, s.write, files)
	if err != nil {
		return fmt.Errorf("prepare the migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the schema up to date: %w", err)
	}
	return nil
}

// Close closes the database.
func (s *Store) Close() error {
	err := s.write.Close()
	if s.read != s.write {
		err = errors.Join(err, s.read.Close())
	}
	return err
}

// View runs f in a transaction that only reads and sees one state of the database.
func (s *Store) View(ctx context.Context, f func(*Tx) error) error {
	opts := sql.TxOptions{ReadOnly: true}
	if s.dialect == postgresDialect {
		opts.Isolation = sql.LevelRepeatableRead
	}
	return s.run(ctx, s.read, &opts, f)
}

// Update runs f in a transaction and commits what it wrote when it returns nil. f is run again when the transaction lost
// against another one, so it must have no effect outside of the transaction that a second run would not repeat.
func (s *Store) Update(ctx context.Context, f func(*Tx) error) error {
	for try := 1; ; try++ {
		err := s.run(ctx, s.write, &s.dialect.update, f)
		if err == nil || !s.dialect.retry(err) || try == maxTries {
			return err
		}
		// The losers come back at different times, or they would lose against each other again.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(min(time.Millisecond<<try, longestPause))):
		}
	}
}

func (s *Store) run(ctx context.Context, db *sql.DB, opts *sql.TxOptions, f func(*Tx) error) error {
	tx, err := db.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() // does nothing after a commit
	if err := f(&Tx{ctx: ctx, tx: tx, s: s}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Tx is a transaction. It belongs to the function that View or Update calls and ends with it; it must not be used from
// several goroutines. Errors of its methods name what was tried.
type Tx struct {
	ctx context.Context
	tx  *sql.Tx
	s   *Store
}

func (t *Tx) exec(what, query string, args ...any) (int64, error) {
	res, err := t.tx.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return n, nil
}

// insert runs an insert that returns the id of the new row.
func (t *Tx) insert(what, query string, args ...any) (int64, error) {
	var id int64
	if err := t.tx.QueryRowContext(t.ctx, query+" returning id", args...).Scan(&id); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return id, nil
}

// one scans a single row. No row is ErrNotFound.
func (t *Tx) one(what, query string, args []any, dest ...any) error {
	err := t.tx.QueryRowContext(t.ctx, query, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (t *Tx) count(what, query string, args ...any) (int, error) {
	var n int
	err := t.one(what, query, args, &n)
	return n, err
}

// each calls f for every row.
func (t *Tx) each(what, query string, args []any, f func(scan func(...any) error) error) error {
	rows, err := t.tx.QueryContext(t.ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(n int64) time.Time { return time.UnixMicro(n).UTC() }

func nullMicros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}
