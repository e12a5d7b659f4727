// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"zombiezen.com/go/sqlite"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

const (
	// maxLoaders is how many connections a load reads on: more than a few wait for each other's memory.
	maxLoaders = 8
	// minPiece is how many numbers a piece of work covers at least, and maxPieces how many pieces a table makes at most.
	// Loaders take pieces as they come free, so that they end together wherever the gaps in the numbers are.
	minPiece  = 4096
	maxPieces = 256
)

// Load reads the record as it was at one moment, on all processors.
func (s *Store) Load(ctx context.Context) (*store.State, error) {
	state, err := s.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("sqlite: load: %w", err)
	}
	return state, nil
}

func (s *Store) load(ctx context.Context) (_ *store.State, err error) {
	loaders, closeAll, err := s.snapshot(ctx, min(runtime.GOMAXPROCS(0), maxLoaders))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeAll()) }()

	l := &load{}
	tasks, err := l.plan(loaders[0].conn)
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
				if err := t(loader); err != nil {
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

// loader is one connection with what its owner needs for decoding.
type loader struct {
	conn *sqlite.Conn
	buf  []byte
}

// task reads one piece of the record.
type task func(*loader) error

// snapshot opens n connections that all see the same state of the record. No commit may come between their first reads.
func (s *Store) snapshot(ctx context.Context, n int) (_ []*loader, closeAll func() error, err error) {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	var loaders []*loader
	closeAll = func() error {
		var errs []error
		for _, l := range loaders {
			errs = append(errs, l.conn.Close())
		}
		return errors.Join(errs...)
	}
	for range n {
		conn, err := openReader(s.path)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		loaders = append(loaders, &loader{conn: conn})
		if err = execute(conn, "BEGIN"); err == nil {
			_, err = highest(conn, "SELECT count(*) FROM settings")
		}
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
	}
	return loaders, closeAll, nil
}

// load collects what the tasks read. Each task writes to fields or slots of its own.
type load struct{ store.Pieces }

func (l *load) plan(conn *sqlite.Conn) (tasks []task, err error) {
	l.Requests, tasks, err = pieces(tasks, conn, "requests", "no", readRequests)
	if err != nil {
		return nil, err
	}
	if tasks, err = l.planJobs(tasks, conn); err != nil {
		return nil, err
	}
	if l.Users, tasks, err = pieces(tasks, conn, "users", "id", readUsers); err != nil {
		return nil, err
	}
	if l.Balances, tasks, err = pieces(tasks, conn, "balances", "user_id", readBalances); err != nil {
		return nil, err
	}
	return append(tasks, l.readWorkers, l.readEarnings, l.readSettings, l.readSystem, l.readDocuments), nil
}

// pieces cuts a table into ranges of its integer key and adds a task for each, which leaves its rows in a slot of its own.
func pieces[T any](tasks []task, conn *sqlite.Conn, table, key string,
	read func(l *loader, first, last int64) ([]T, error)) ([][]T, []task, error) {
	low, err := highest(conn, "SELECT min("+key+") FROM "+table)
	if err != nil {
		return nil, nil, err
	}
	high, err := highest(conn, "SELECT max("+key+") FROM "+table)
	if err != nil {
		return nil, nil, err
	}
	width := max(minPiece, (high-low)/maxPieces+1)
	slots := make([][]T, (high-low)/width+1)
	for i := range slots {
		first := low + int64(i)*width
		tasks = append(tasks, func(l *loader) (err error) {
			if slots[i], err = read(l, first, first+width-1); err != nil {
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
func (l *load) planJobs(tasks []task, conn *sqlite.Conn) ([]task, error) {
	var low, high uint64
	err := each(conn, "SELECT min(request_id), max(request_id) FROM jobs", nil, func(c *columns) error {
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
		tasks = append(tasks, func(ld *loader) (err error) {
			l.Jobs[i], err = readJobs(ld, first, last)
			return err
		})
	}
	return tasks, nil
}

// each calls read for every row of a query.
func each(conn *sqlite.Conn, query string, bind func(*params), read func(*columns) error) error {
	stmt, err := conn.Prepare(query)
	if err != nil {
		return err
	}
	if bind != nil {
		bind(&params{Stmt: stmt})
	}
	row := &columns{Stmt: stmt}
	for {
		more, err := stmt.Step()
		if err != nil {
			return err
		}
		if !more {
			return stmt.Reset()
		}
		row.n = 0
		if err := read(row); err != nil {
			return errors.Join(err, stmt.Reset())
		}
	}
}

const (
	selectRequests = "SELECT id, " + requestState + ", data FROM requests LEFT JOIN orders ON request_no = no " +
		"WHERE no BETWEEN ? AND ? ORDER BY no"
	selectJobs     = "SELECT " + jobColumns + " FROM jobs WHERE request_id BETWEEN ? AND ? ORDER BY request_id, id"
	selectUsers    = "SELECT " + userColumns + " FROM users WHERE id BETWEEN ? AND ? ORDER BY id"
	selectBalances = "SELECT " + balanceColumns + " FROM balances WHERE user_id BETWEEN ? AND ?"
)

func between(first, last int64) func(*params) { return func(p *params) { p.int(first, last) } }

func readRequests(l *loader, first, last int64) (list []*horde.Request, err error) {
	err = each(l.conn, selectRequests, between(first, last), func(c *columns) error {
		r := &horde.Request{
			ID: horde.RequestID{UUID: c.id()}, User: horde.UserID(c.int()), Created: c.time(), Expires: c.time(), Queued: c.time(),
			Wanted: int(c.int()), Left: int(c.int()), Running: int(c.int()), Finished: int(c.int()), Faults: int(c.int()),
			Cancelled: c.bool(), Faulted: c.bool(), Priority: c.int(), Price: horde.Kudos(c.int()),
			Charged: horde.Kudos(c.int()),
			Hold:    horde.Hold{Amount: horde.Kudos(c.int()), Remaining: horde.Kudos(c.int())},
		}
		data := c.next()
		n := c.ColumnLen(data)
		if n == 0 {
			return fmt.Errorf("request %s has no order", r.ID)
		}
		l.buf = slices.Grow(l.buf[:0], n)[:n]
		c.ColumnBytes(data, l.buf)
		r.Order = horde.PackedOrder(l.buf)
		list = append(list, r)
		return nil
	})
	return list, err
}

func readJobs(l *loader, first, last uint64) (list []*horde.Job, err error) {
	low := binary.BigEndian.AppendUint64(nil, first)
	high := binary.BigEndian.AppendUint64(nil, last)
	low = binary.BigEndian.AppendUint64(low, 0)
	high = binary.BigEndian.AppendUint64(high, math.MaxUint64)
	err = each(l.conn, selectJobs,
		func(p *params) { p.bytes(low); p.bytes(high) },
		func(c *columns) error {
			j := &horde.Job{
				Request: horde.RequestID{UUID: c.id()}, ID: horde.JobID{UUID: c.id()}, Worker: horde.WorkerID{UUID: c.id()},
				Model: c.text(), State: horde.JobState(c.int()), Decoy: c.bool(), Started: c.time(), Lease: c.duration(),
				Ended: c.time(), Result: c.text(), Stored: c.bool(), Seed: c.int(), Censored: c.bool(),
			}
			if err := c.document(&j.Metadata); err != nil {
				return fmt.Errorf("job %s: %w", j.ID, err)
			}
			j.WorkerName, j.Reward = c.text(), c.float()
			list = append(list, j)
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	return list, nil
}

func readUsers(l *loader, first, last int64) (list []*horde.User, err error) {
	err = each(l.conn, selectUsers, between(first, last),
		func(c *columns) error {
			u := &horde.User{
				ID: horde.UserID(c.int()), Name: c.text(), OAuthID: c.text(), KeyHash: c.text(),
				Created: c.time(), LastActive: c.time(), Roles: horde.Roles(c.int()), Concurrency: int(c.int()),
				MonthlyKudos: horde.Kudos(c.int()), MonthlyReceived: c.time(), Suspicions: c.suspicions(),
				WipedAt: c.time(),
			}
			if err := c.document(&store.UserRest{User: u}); err != nil {
				return fmt.Errorf("user %d: %w", u.ID, err)
			}
			list = append(list, u)
			return nil
		})
	return list, err
}

func readBalances(l *loader, first, last int64) (list []store.UserBalance, err error) {
	err = each(l.conn, selectBalances, between(first, last),
		func(c *columns) error {
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

func (l *load) readWorkers(ld *loader) error {
	err := each(ld.conn, "SELECT "+workerColumns+" FROM workers ORDER BY id", nil, func(c *columns) error {
		w := &horde.Worker{
			ID: horde.WorkerID{UUID: c.id()}, Kind: horde.Kind(c.int()), Owner: horde.UserID(c.int()), Name: c.text(),
			Created: c.time(), Paused: c.bool(), Maintenance: c.bool(), Suspicions: c.suspicions(), LastCheckIn: c.time(),
			Agent: c.text(), Speed: c.float(), Uptime: c.duration(), RewardedUptime: c.duration(),
		}
		if err := c.document(&store.WorkerRest{Worker: w}); err != nil {
			return fmt.Errorf("worker %s: %w", w.ID, err)
		}
		l.Workers = append(l.Workers, w)
		return nil
	})
	if err != nil {
		return fmt.Errorf("workers: %w", err)
	}
	return nil
}

func (l *load) readEarnings(ld *loader) error {
	l.Earnings = map[horde.WorkerID]kudos.Earnings{}
	err := each(ld.conn, "SELECT "+earningsColumns+" FROM earnings", nil, func(c *columns) error {
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

func (l *load) readSettings(ld *loader) error {
	err := each(ld.conn, "SELECT data FROM settings", nil, func(c *columns) error {
		l.Settings = &store.Settings{}
		return c.document(l.Settings)
	})
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	return nil
}

func (l *load) readSystem(ld *loader) error {
	l.System = map[kudos.AccountClass]horde.Kudos{}
	err := each(ld.conn, "SELECT account, balance FROM system_accounts", nil, func(c *columns) error {
		l.System[kudos.AccountClass(c.text())] = horde.Kudos(c.int())
		return nil
	})
	if err == nil {
		l.LastEvent, err = highest(ld.conn, lastEvent)
	}
	if err != nil {
		return fmt.Errorf("system accounts: %w", err)
	}
	return nil
}

func (l *load) readDocuments(ld *loader) error {
	err := each(ld.conn, "SELECT kind, id, data FROM documents ORDER BY kind, id", nil, func(c *columns) error {
		d := store.Document{Kind: c.text(), ID: c.text()}
		i := c.next()
		d.Data = make([]byte, c.ColumnLen(i))
		c.ColumnBytes(i, d.Data)
		l.Documents = append(l.Documents, d)
		return nil
	})
	if err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	return nil
}
