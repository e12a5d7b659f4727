// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"horde/internal/store"
)

// Store is one database of a PostgreSQL server, as one process sees it.
type Store struct {
	// holder tells this store from all others in the row of the leader.
	holder uuid.UUID
	// work is for commits, loads and cold queries; lead for the leadership alone.
	work, lead *pgxpool.Pool
	// writing holds a token while a commit is under way; loading while a load takes its connections.
	writing, loading chan struct{}

	mu   sync.Mutex // guards what follows
	mine term
	// doubt tells that a commit with the fence of mine may still take effect.
	doubt bool
}

var _ store.Shared = (*Store)(nil)

// term is a leadership of this store. No epoch means that it does not lead.
type term struct{ epoch, fence int64 }

const (
	// connectTimeout is how long a server may take to answer a new connection, unless the URL says otherwise.
	connectTimeout = 5 * time.Second
	// leadConns are the connections for the leadership: one that renews, one that takes and waits, one that clears its way.
	leadConns = 3
)

// session are settings of each connection. What the URL says goes before.
var session = map[string]string{
	"application_name": "horde",
	// Each statement of a commit sees what those before it have done, and what the leader before has.
	"default_transaction_isolation": "read committed",
	// All queries of the driver are small or go along an index, in tables whose statistics may be far from the truth, as
	// when a million requests have just come.
	"enable_seqscan": "off", "enable_hashjoin": "off", "jit": "off", "max_parallel_workers_per_gather": "0",
	"plan_cache_mode": "force_generic_plan",
	// When the server gives up a client that has vanished, in seconds and milliseconds.
	"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
	"idle_in_transaction_session_timeout": "60000",
}

// Open opens the database that a URL (postgres://user:password@host/database) names, and brings its tables up to date, in
// the schema that comes first in the search path. It fails if a newer version of this program has been there. No error
// repeats the password.
func Open(ctx context.Context, location string) (*Store, error) {
	s := &Store{holder: uuid.New(), writing: make(chan struct{}, 1), loading: make(chan struct{}, 1)}
	if err := s.open(ctx, location); err != nil {
		if s.lead != nil {
			s.lead.Close()
		}
		return nil, fmt.Errorf("postgres: open: %w", err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, location string) error {
	if !strings.HasPrefix(location, "postgres://") && !strings.HasPrefix(location, "postgresql://") {
		return errors.New("not a URL that begins with postgres://")
	}
	config, err := pgxpool.ParseConfig(location)
	if err != nil {
		return err
	}
	c := config.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	for name, value := range session {
		if _, set := c.RuntimeParams[name]; !set {
			c.RuntimeParams[name] = value
		}
	}
	if err := migrate(ctx, c, latest); err != nil {
		return err
	}
	config.AfterConnect = durable
	lead := config.Copy()
	lead.MaxConns, lead.MinConns, lead.MinIdleConns = leadConns, 0, 0
	// A leader must not lose its lease because a connection broke while it was idle.
	lead.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	if s.lead, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), lead); err != nil {
		return err
	}
	s.work, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	return err
}

// durable lets commits of a connection be acknowledged only when they are on disk.
func durable(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
	return err
}

// Ping reads from the record.
func (s *Store) Ping(ctx context.Context) error {
	if _, err := s.work.Exec(ctx, "SELECT count(*) FROM settings"); err != nil {
		return fmt.Errorf("postgres: ping: %w", err)
	}
	return nil
}

// Close ends the connections. A leadership that was not resigned stays until its lease has lapsed.
func (s *Store) Close() error {
	s.work.Close()
	s.lead.Close()
	return nil
}

// take takes a token, and returns what gives it back.
func take(ctx context.Context, token chan struct{}) (func(), error) {
	select {
	case token <- struct{}{}:
		return func() { <-token }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// each calls read for every row of a query whose parameters are in binary format.
func each(ctx context.Context, conn *pgx.Conn, query string, parameters [][]byte, read func(*columns) error) error {
	prepared, err := conn.Prepare(ctx, query, query)
	if err != nil {
		return err
	}
	reader := conn.PgConn().ExecPrepared(ctx, prepared.Name, parameters, binaryFormat, binaryFormat)
	row := &columns{}
	for err == nil && reader.NextRow() {
		row.values, row.n = reader.Values(), 0
		if err = read(row); err == nil {
			err = row.err
		}
	}
	_, closed := reader.Close()
	return errors.Join(err, closed)
}

// binaryFormat is the format of all parameters and results.
var binaryFormat = []int16{pgx.BinaryFormatCode}
