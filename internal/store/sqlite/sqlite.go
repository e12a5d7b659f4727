// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"horde/internal/store"
)

// Store is one SQLite file.
type Store struct {
	path string
	lock *flock.Flock
	// writing holds a token while somebody uses the writer.
	writing chan struct{}
	// writer is nil after a failure that it could not be rid of; the next commit opens it anew.
	writer *sqlite.Conn
	// readers serve the cold queries. A load opens its own connections, which know one state of the record.
	readers *sqlitex.Pool
}

var _ store.Store = (*Store)(nil)

const (
	// busyTimeout is how long a commit waits for another process that holds the file, a backup for instance.
	busyTimeout = 5 * time.Second
	// readerCount is how many cold queries may run at a time.
	readerCount = 2
)

// Open opens the database in the file, makes it where there is none, and brings an older one up to date. It fails if
// another process has it open, or if a newer version of this program wrote it.
func Open(ctx context.Context, path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	s := &Store{path: path, lock: lock, writing: make(chan struct{}, 1)}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	err := migrate(ctx, s.path, latest)
	if err != nil {
		return err
	}
	if s.writer, err = openWriter(s.path); err != nil {
		return err
	}
	s.readers, err = sqlitex.NewPool(s.path, sqlitex.PoolOptions{
		Flags: sqlite.OpenReadWrite, PoolSize: readerCount, PrepareConn: prepareReader,
	})
	return err
}

func openWriter(path string) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	conn.SetBusyTimeout(busyTimeout)
	err = pragmas(conn, "synchronous = FULL", fmt.Sprintf("wal_autocheckpoint = %d", walPages),
		fmt.Sprintf("journal_size_limit = %d", walLimit), "temp_store = MEMORY", "cache_size = -16384")
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func openReader(path string) (*sqlite.Conn, error) {
	// Reading from a log needs to write to its index, so the connection is not opened read-only.
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	if err := prepareReader(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func prepareReader(conn *sqlite.Conn) error {
	conn.SetBusyTimeout(busyTimeout)
	return pragmas(conn, "query_only = ON")
}

func pragmas(conn *sqlite.Conn, settings ...string) error {
	for _, setting := range settings {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+setting, nil); err != nil {
			return fmt.Errorf("%s: %w", setting, err)
		}
	}
	return nil
}

// Ping reads from the file.
func (s *Store) Ping(ctx context.Context) error {
	conn, err := s.readers.Take(ctx)
	if err == nil {
		defer s.readers.Put(conn)
		err = sqlitex.Execute(conn, "SELECT count(*) FROM settings", nil)
	}
	if err != nil {
		return fmt.Errorf("sqlite: ping: %w", err)
	}
	return nil
}

// Close folds the log into the file and lets other processes have it.
func (s *Store) Close() error {
	var errs []error
	if s.readers != nil {
		errs = append(errs, s.readers.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
	}
	errs = append(errs, s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sqlite: close: %w", err)
	}
	return nil
}

// placeholders is "?, ?, ?" for a statement's columns, which are separated by commas.
func placeholders(columns string) string {
	return strings.Repeat("?, ", strings.Count(columns, ",")) + "?"
}
