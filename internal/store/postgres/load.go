// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

const (
	// maxLoaders is how many connections a load reads on.
	maxLoaders = 8
	// minPiece is how many numbers a piece of work covers at least, and maxPieces how many pieces a table makes at most.
	// Loaders take pieces as they come free, so that they end together wherever the gaps in the numbers are.
	minPiece  = 4096
	maxPieces = 256
)

// Load reads the record as it was at one moment, on all processors. One load runs at a time.
func (s *Store) Load(ctx context.Context) (*store.State, error) {
	state, err := s.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("postgres: load: %w", err)
	}
	return state, nil
}

func (s *Store) load(ctx context.Context) (_ *store.State, err error) {
	release, err := take(ctx, s.writing)
	if err != nil {
		return nil, err
	}
	err = s.settle(ctx)
	release()
	if err != nil {
		return nil, err
	}
	if release, err = take(ctx, s.loading); err != nil {
		return nil, err
	}
	defer release()

	loaders, closeAll, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer closeAll()

	l := &load{}
	tasks, err := l.plan(ctx, loaders[0])
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	queue := make(chan task, len(tasks))
	for _, t := range tasks {
		queue <- t
	}
	close(queue)
	var running sync.WaitGroup
	for _, loader := range loaders {
		running.Go(func() {
			for t := range queue {
				if ctx.Err() != nil {
					return
				}
				if err := t(ctx, loader); err != nil {
					stop(err)
				}
			}
		})
	}
	running.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return l.State(), nil
}

// loader is one connection of a load.
type loader struct {
	conn *pgx.Conn
}

// task reads one piece of the record.
type task func(context.Context, *loader) error

// snapshot takes connections that all see the same state of the record. One of the pool is left for others.
func (s *Store) snapshot(ctx context.Context) (_ []*loader, _ func(), err error) {
	var loaders []*loader
	var conns []*pgxpool.Conn
	closeAll := func() {
		for _, conn := range conns {
			// The pool drops a connection whose transaction is not over.
			_, _ = conn.Exec(ctx, "ROLLBACK")
			conn.Release()
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	snapshot := ""
	for range max(1, min(runtime.GOMAXPROCS(0), maxLoaders, int(s.work.Config().MaxConns)-1)) {
		conn, err := s.work.Acquire(ctx)
		if err != nil {
			return nil, nil, err
		}
		conns = append(conns, conn)
		loaders = append(loaders, &loader{conn: conn.Conn()})
		begin := "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
		if snapshot != "" {
			begin += "; SET TRANSACTION SNAPSHOT '" + snapshot + "'"
		}
		if _, err := conn.Conn().PgConn().Exec(ctx, begin).ReadAll(); err != nil {
			return nil, nil, err
		}
		if snapshot == "" {
			if err := conn.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&snapshot); err != nil {
				return nil, nil, err
			}
		}
	}
	return loaders, closeAll, nil
}

// load collects what the tasks read. Each task writes to fields or slots of its own.
type load struct{ store.Pieces }

// The queries of a load. Those that read a piece have an index that serves it; TestQueriesUseIndexes says so.
var (
	selectRequests = "SELECT " + requests.columns() + ", data FROM requests LEFT JOIN orders ON request_no = no " +
		"WHERE no BETWEEN $1 AND $2 ORDER BY no"
	selectJobs      = "SELECT " + jobs.columns() + " FROM jobs WHERE request_id BETWEEN $1 AND $2"
	selectUsers     = "SELECT " + users.columns() + " FROM users WHERE id BETWEEN $1 AND $2 ORDER BY id"
	selectBalances  = "SELECT " + balances.columns() + " FROM balances WHERE user_id BETWEEN $1 AND $2"
	selectWorkers   = "SELECT " + workers.columns() + " FROM workers ORDER BY id"
	selectEarnings  = "SELECT " + earnings.columns() + " FROM earnings"
	selectSettings  = "SELECT data FROM settings"
	selectSystem    = "SELECT " + system.columns() + " FROM system_accounts"
	selectDocuments = "SELECT " + documents.columns() + " FROM documents ORDER BY kind, id"
	lastEvent       = "SELECT coalesce(max(no), 0) FROM events"
	jobRange        = "SELECT (SELECT request_id FROM jobs ORDER BY request_id LIMIT 1), " +
		"(SELECT request_id FROM jobs ORDER BY request_id DESC LIMIT 1)"
)

func (l *load) plan(ctx context.Context, ld *loader) (tasks []task, err error) {
	if l.Requests, tasks, err = pieces(ctx, tasks, ld, "requests", "no", readRequests); err != nil {
		return nil, err
	}
	if tasks, err = l.planJobs(ctx, tasks, ld); err != nil {
		return nil, err
	}
	if l.Users, tasks, err = pieces(ctx, tasks, ld, "users", "id", readUsers); err != nil {
		return nil, err
	}
	if l.Balances, tasks, err = pieces(ctx, tasks, ld, "balances", "user_id", readBalances); err != nil {
		return nil, err
	}
	return append(tasks, l.readWorkers, l.readEarnings, l.readSettings, l.readSystem, l.readDocuments), nil
}

// pieces cuts a table into ranges of its integer key and adds a task for each, which leaves its rows in a slot of its own.
func pieces[T any](ctx context.Context, tasks []task, ld *loader, table, key string,
	read func(ctx context.Context, l *loader, first, last int64) ([]T, error)) ([][]T, []task, error) {
	var low, high int64
	query := "SELECT coalesce(min(" + key + "), 0), coalesce(max(" + key + "), 0) FROM " + table
	if err := ld.conn.QueryRow(ctx, query).Scan(&low, &high); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", table, err)
	}
	width := max(minPiece, (high-low)/maxPieces+1)
	slots := make([][]T, (high-low)/width+1)
	for i := range slots {
		first := low + int64(i)*width
		tasks = append(tasks, func(ctx context.Context, l *loader) (err error) {
			if slots[i], err = read(ctx, l, first, first+width-1); err != nil {
				return fmt.Errorf("%s: %w", table, err)
			}
			return nil
		})
	}
	return slots, tasks, nil
}

// jobPieces is how many pieces the jobs are read in.
const jobPieces = 64

// planJobs cuts the jobs by the first eight bytes of their request's id, which begins with a time.
func (l *load) planJobs(ctx context.Context, tasks []task, ld *loader) ([]task, error) {
	var low, high uint64
	err := each(ctx, ld.conn, jobRange, nil, func(c *columns) error {
		first, last := c.id(), c.id()
		low, high = binary.BigEndian.Uint64(first[:]), binary.BigEndian.Uint64(last[:])
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	width := (high-low)/jobPieces + 1
	l.Jobs = make([][]*horde.Job, (high-low)/width+1)
	for i := range l.Jobs {
		first := low + uint64(i)*width
		last := min(first+(width-1), high)
		if last < first { // beyond the largest number
			last = high
		}
		tasks = append(tasks, func(ctx context.Context, ld *loader) (err error) {
			l.Jobs[i], err = readJobs(ctx, ld, first, last)
			return err
		})
	}
	return tasks, nil
}

func readRequests(ctx context.Context, l *loader, first, last int64) (list []*horde.Request, err error) {
	err = each(ctx, l.conn, selectRequests, numbers(first, last), func(c *columns) error {
		r := &horde.Request{
			ID: horde.RequestID{UUID: c.id()}, User: horde.UserID(c.int()), Created: c.time(), Expires: c.time(), Queued: c.time(),
			Wanted: int(c.int()), Left: int(c.int()), Running: int(c.int()), Finished: int(c.int()), Faults: int(c.int()),
			Cancelled: c.bool(), Faulted: c.bool(), Priority: c.int(), Price: horde.Kudos(c.int()),
			Charged: horde.Kudos(c.int()),
			Hold:    horde.Hold{Amount: horde.Kudos(c.int()), Remaining: horde.Kudos(c.int())},
		}
		data := c.next()
		if len(data) == 0 {
			return fmt.Errorf("request %s has no order", r.ID)
		}
		r.Order = horde.PackedOrder(data)
		list = append(list, r)
		return nil
	})
	return list, err
}

func readJobs(ctx context.Context, l *loader, first, last uint64) (list []*horde.Job, err error) {
	low := binary.BigEndian.AppendUint64(nil, first)
	high := binary.BigEndian.AppendUint64(nil, last)
	low = binary.BigEndian.AppendUint64(low, 0)
	high = binary.BigEndian.AppendUint64(high, math.MaxUint64)
	err = each(ctx, l.conn, selectJobs, [][]byte{low, high}, func(c *columns) error {
		j := &horde.Job{
			Request: horde.RequestID{UUID: c.id()}, ID: horde.JobID{UUID: c.id()}, Worker: horde.WorkerID{UUID: c.id()},
			Model: c.text(), State: horde.JobState(c.int()), Decoy: c.bool(), Started: c.time(), Lease: c.duration(),
			Ended: c.time(), Result: c.text(), Stored: c.bool(), Seed: c.int(), Censored: c.bool(),
		}
		c.document(&j.Metadata)
		j.WorkerName, j.Reward = c.text(), c.float()
		list = append(list, j)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	return list, nil
}

func readUsers(ctx context.Context, l *loader, first, last int64) (list []*horde.User, err error) {
	err = each(ctx, l.conn, selectUsers, numbers(first, last), func(c *columns) error {
		u := &horde.User{
			ID: horde.UserID(c.int()), Name: c.text(), OAuthID: c.text(), KeyHash: c.text(),
			Created: c.time(), LastActive: c.time(), Roles: horde.Roles(c.int()), Concurrency: int(c.int()),
			MonthlyKudos: horde.Kudos(c.int()), MonthlyReceived: c.time(), Suspicions: c.suspicions(),
			WipedAt: c.time(),
		}
		c.document(&store.UserRest{User: u})
		list = append(list, u)
		return nil
	})
	return list, err
}

func readBalances(ctx context.Context, l *loader, first, last int64) (list []store.UserBalance, err error) {
	err = each(ctx, l.conn, selectBalances, numbers(first, last), func(c *columns) error {
		row := store.UserBalance{User: horde.UserID(c.int())}
		b := &row.Balance
		d, r := &b.Details, &b.Records
		for _, amount := range []*horde.Kudos{&b.Spendable, &b.Escrow, &d.Accumulated, &d.Gifted, &d.Donated, &d.Admin,
			&d.Received, &d.Recurring, &d.Awarded, &d.Styled} {
			*amount = horde.Kudos(c.int())
		}
		for _, t := range []*kudos.Tally{&r.Requests, &r.Fulfilments, &r.Styles, &r.Usage, &r.Contribution} {
			t.Image, t.Text, t.Alchemy = c.int(), c.int(), c.int()
		}
		list = append(list, row)
		return nil
	})
	return list, err
}

func (l *load) readWorkers(ctx context.Context, ld *loader) error {
	err := each(ctx, ld.conn, selectWorkers, nil, func(c *columns) error {
		w := &horde.Worker{
			ID: horde.WorkerID{UUID: c.id()}, Kind: horde.Kind(c.int()), Owner: horde.UserID(c.int()), Name: c.text(),
			Created: c.time(), Paused: c.bool(), Maintenance: c.bool(), Suspicions: c.suspicions(), LastCheckIn: c.time(),
			Agent: c.text(), Speed: c.float(), Uptime: c.duration(), RewardedUptime: c.duration(),
		}
		c.document(&store.WorkerRest{Worker: w})
		l.Workers = append(l.Workers, w)
		return nil
	})
	if err != nil {
		return fmt.Errorf("workers: %w", err)
	}
	return nil
}

func (l *load) readEarnings(ctx context.Context, ld *loader) error {
	l.Earnings = map[horde.WorkerID]kudos.Earnings{}
	err := each(ctx, ld.conn, selectEarnings, nil, func(c *columns) error {
		l.Earnings[horde.WorkerID{UUID: c.id()}] = kudos.Earnings{
			Generated: horde.Kudos(c.int()), Uptime: horde.Kudos(c.int()), Contribution: c.int(), Fulfilments: c.int(),
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("earnings: %w", err)
	}
	return nil
}

func (l *load) readSettings(ctx context.Context, ld *loader) error {
	err := each(ctx, ld.conn, selectSettings, nil, func(c *columns) error {
		l.Settings = &store.Settings{}
		c.document(l.Settings)
		return nil
	})
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	return nil
}

func (l *load) readSystem(ctx context.Context, ld *loader) error {
	l.System = map[kudos.AccountClass]horde.Kudos{}
	err := each(ctx, ld.conn, selectSystem, nil, func(c *columns) error {
		l.System[kudos.AccountClass(c.text())] = horde.Kudos(c.int())
		return nil
	})
	if err != nil {
		return fmt.Errorf("system accounts: %w", err)
	}
	err = each(ctx, ld.conn, lastEvent, nil, func(c *columns) error {
		l.LastEvent = c.int()
		return nil
	})
	if err != nil {
		return fmt.Errorf("last event: %w", err)
	}
	return nil
}

func (l *load) readDocuments(ctx context.Context, ld *loader) error {
	err := each(ctx, ld.conn, selectDocuments, nil, func(c *columns) error {
		l.Documents = append(l.Documents, store.Document{Kind: c.text(), ID: c.text(), Data: append([]byte{}, c.next()...)})
		return nil
	})
	if err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	return nil
}
