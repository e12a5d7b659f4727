// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"context"
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

const (
	// walPages is how many pages of the log make a commit fold it into the file.
	walPages = 1000
	// walLimit is how many bytes of the log's file are kept for the next round.
	walLimit = 64 << 20
)

// Commit writes a batch in one transaction. A context that ends keeps it from being written, or comes too late: it never
// interrupts the last step.
func (s *Store) Commit(ctx context.Context, b *store.Batch) error {
	if err := s.commit(ctx, b); err != nil {
		return fmt.Errorf("sqlite: commit: %w", err)
	}
	return nil
}

func (s *Store) commit(ctx context.Context, b *store.Batch) (err error) {
	if b.Empty() {
		return ctx.Err()
	}
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.writer == nil {
		if s.writer, err = openWriter(s.path); err != nil {
			return err
		}
	}
	conn := s.writer
	if err := execute(conn, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err = write(ctx, conn, b); err == nil {
		err = execute(conn, "COMMIT")
	}
	if err != nil && !conn.AutocommitEnabled() {
		// Some errors end the transaction, others leave that to us. A connection that cannot even do that is given up.
		if undo := execute(conn, "ROLLBACK"); undo != nil {
			err = errors.Join(err, undo, conn.Close())
			s.writer = nil
		}
	}
	return err
}

func execute(conn *sqlite.Conn, query string) error {
	stmt, err := conn.Prepare(query)
	if err != nil {
		return err
	}
	if _, err = stmt.Step(); err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	return stmt.Reset()
}

// The queries that find rows. Each has an index that serves it; TestQueriesUseIndexes says so.
const (
	removeUser     = "DELETE FROM users WHERE id = ?"
	removeWorker   = "DELETE FROM workers WHERE id = ?"
	removeEarnings = "DELETE FROM earnings WHERE worker_id = ?"
	removeOrder    = "DELETE FROM orders WHERE request_no = (SELECT no FROM requests WHERE id = ?)"
	removeRequest  = "DELETE FROM requests WHERE id = ?"
	removeJobs     = "DELETE FROM jobs WHERE request_id = ?"
	removeDocument = "DELETE FROM documents WHERE kind = ? AND id = ?"
	lastRequest    = "SELECT max(no) FROM requests"
	lastEvent      = "SELECT max(no) FROM events"
)

var updateRequest = "UPDATE requests SET (" + requestState + ") = (" + placeholders(requestState) + ") WHERE id = ?"

// parts of a batch, in the order in which they are written: what is deleted with something else after it.
var parts = []struct {
	name  string
	write func(*sqlite.Conn, *store.Batch) error
}{
	{"settings", writeSettings}, {"users", writeUsers}, {"balances", writeBalances}, {"workers", writeWorkers},
	{"earnings", writeEarnings}, {"new requests", writeNewRequests}, {"requests", writeRequests}, {"jobs", writeJobs},
	{"deleted requests", deleteRequests}, {"events", writeEvents}, {"system accounts", writeSystem}, {"documents", writeDocuments},
}

func write(ctx context.Context, conn *sqlite.Conn, b *store.Batch) error {
	for _, part := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := part.write(conn, b); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return ctx.Err()
}

func writeSettings(conn *sqlite.Conn, b *store.Batch) error {
	if b.Settings == nil {
		return nil
	}
	p, err := prepare(conn, "INSERT OR REPLACE INTO settings (id, data) VALUES (1, ?)")
	if err != nil {
		return err
	}
	if err := p.document(b.Settings); err != nil {
		return err
	}
	return p.run()
}

func prepare(conn *sqlite.Conn, query string) (*params, error) {
	stmt, err := conn.Prepare(query)
	return &params{Stmt: stmt}, err
}

const userColumns = "id, name, oauth_id, key_hash, created, last_active, roles, concurrency, monthly_kudos, " +
	"monthly_received, suspicions, wiped_at, data"

// writeUsers takes all old rows away before it writes the new ones, because keys may change hands within a batch.
func writeUsers(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.Users) == 0 {
		return nil
	}
	remove, err := prepare(conn, removeUser)
	if err != nil {
		return err
	}
	for i := range b.Users {
		remove.int(int64(b.Users[i].ID))
		if err := remove.run(); err != nil {
			return err
		}
	}
	p, err := prepare(conn, "INSERT INTO users ("+userColumns+") VALUES ("+placeholders(userColumns)+")")
	if err != nil {
		return err
	}
	for i := range b.Users {
		u := &b.Users[i]
		p.int(int64(u.ID))
		p.text(u.Name, u.OAuthID, u.KeyHash)
		p.time(u.Created, u.LastActive)
		p.int(int64(u.Roles), int64(u.Concurrency), int64(u.MonthlyKudos))
		p.time(u.MonthlyReceived)
		p.suspicions(u.Suspicions)
		p.time(u.WipedAt)
		if err := p.document(store.UserRest{User: u}); err != nil {
			return err
		}
		if err := p.run(); err != nil {
			return fmt.Errorf("user %d: %w", u.ID, err)
		}
	}
	return nil
}

const balanceColumns = "user_id, spendable, escrow, accumulated, gifted, donated, admin, received, recurring, awarded, " +
	"styled, requests_image, requests_text, requests_alchemy, fulfilments_image, fulfilments_text, fulfilments_alchemy, " +
	"styles_image, styles_text, styles_alchemy, usage_image, usage_text, usage_alchemy, contribution_image, " +
	"contribution_text, contribution_alchemy"

func writeBalances(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.Balances) == 0 {
		return nil
	}
	p, err := prepare(conn, "INSERT OR REPLACE INTO balances ("+balanceColumns+") VALUES ("+placeholders(balanceColumns)+")")
	if err != nil {
		return err
	}
	for id, v := range b.Balances {
		d, r := &v.Details, &v.Records
		p.int(int64(id), int64(v.Spendable), int64(v.Escrow),
			int64(d.Accumulated), int64(d.Gifted), int64(d.Donated), int64(d.Admin), int64(d.Received),
			int64(d.Recurring), int64(d.Awarded), int64(d.Styled))
		for _, t := range []kudos.Tally{r.Requests, r.Fulfilments, r.Styles, r.Usage, r.Contribution} {
			p.int(t.Image, t.Text, t.Alchemy)
		}
		if err := p.run(); err != nil {
			return fmt.Errorf("user %d: %w", id, err)
		}
	}
	return nil
}

const workerColumns = "id, kind, owner, name, created, paused, maintenance, suspicions, last_check_in, agent, speed, " +
	"uptime, rewarded_uptime, data"

// writeWorkers takes all old rows away before it writes the new ones, because names may change hands within a batch.
func writeWorkers(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.Workers)+len(b.DeletedWorkers) == 0 {
		return nil
	}
	remove, err := prepare(conn, removeWorker)
	if err != nil {
		return err
	}
	for i := range b.Workers {
		remove.id(b.Workers[i].ID.UUID)
		if err := remove.run(); err != nil {
			return err
		}
	}
	for _, id := range b.DeletedWorkers {
		remove.id(id.UUID)
		if err := remove.run(); err != nil {
			return err
		}
	}
	p, err := prepare(conn, "INSERT INTO workers ("+workerColumns+") VALUES ("+placeholders(workerColumns)+")")
	if err != nil {
		return err
	}
	for i := range b.Workers {
		w := &b.Workers[i]
		p.id(w.ID.UUID)
		p.int(int64(w.Kind), int64(w.Owner))
		p.text(w.Name)
		p.time(w.Created)
		p.bool(w.Paused, w.Maintenance)
		p.suspicions(w.Suspicions)
		p.time(w.LastCheckIn)
		p.text(w.Agent)
		p.float(w.Speed)
		p.int(int64(w.Uptime), int64(w.RewardedUptime))
		if err := p.document(store.WorkerRest{Worker: w}); err != nil {
			return fmt.Errorf("worker %s: %w", w.ID, err)
		}
		if err := p.run(); err != nil {
			return fmt.Errorf("worker %s: %w", w.ID, err)
		}
	}
	return nil
}

const earningsColumns = "worker_id, generated, uptime, contribution, fulfilments"

func writeEarnings(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.Earnings)+len(b.DeletedWorkers) == 0 {
		return nil
	}
	p, err := prepare(conn, "INSERT OR REPLACE INTO earnings ("+earningsColumns+") VALUES ("+placeholders(earningsColumns)+")")
	if err != nil {
		return err
	}
	for id, e := range b.Earnings {
		p.id(id.UUID)
		p.int(int64(e.Generated), int64(e.Uptime), e.Contribution, e.Fulfilments)
		if err := p.run(); err != nil {
			return fmt.Errorf("worker %s: %w", id, err)
		}
	}
	remove, err := prepare(conn, removeEarnings)
	if err != nil {
		return err
	}
	for _, id := range b.DeletedWorkers {
		remove.id(id.UUID)
		if err := remove.run(); err != nil {
			return err
		}
	}
	return nil
}

const requestState = "user_id, created, expires, queued, wanted, \"left\", running, finished, faults, cancelled, faulted, " +
	"priority, price, charged, hold_amount, hold_remaining"

func bindRequest(p *params, r *horde.Request) {
	p.int(int64(r.User))
	p.time(r.Created, r.Expires, r.Queued)
	p.int(int64(r.Wanted), int64(r.Left), int64(r.Running), int64(r.Finished), int64(r.Faults))
	p.bool(r.Cancelled, r.Faulted)
	p.int(r.Priority, int64(r.Price), int64(r.Charged), int64(r.Hold.Amount), int64(r.Hold.Remaining))
}

func writeNewRequests(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.NewRequests) == 0 {
		return nil
	}
	no, err := highest(conn, lastRequest)
	if err != nil {
		return err
	}
	request, err := prepare(conn, "INSERT INTO requests (no, id, "+requestState+") VALUES (?, ?, "+placeholders(requestState)+")")
	if err != nil {
		return err
	}
	order, err := prepare(conn, "INSERT INTO orders (request_no, data) VALUES (?, ?)")
	if err != nil {
		return err
	}
	for i := range b.NewRequests {
		r := &b.NewRequests[i]
		if r.Order == "" {
			return fmt.Errorf("request %s has no order", r.ID)
		}
		no++
		request.int(no)
		request.id(r.ID.UUID)
		bindRequest(request, r)
		if err := request.run(); err != nil {
			return fmt.Errorf("request %s: %w", r.ID, err)
		}
		order.int(no)
		order.bytes([]byte(r.Order))
		if err := order.run(); err != nil {
			return fmt.Errorf("order of request %s: %w", r.ID, err)
		}
	}
	return nil
}

// highest returns the number that a query gives, zero for NULL.
func highest(conn *sqlite.Conn, query string) (int64, error) {
	stmt, err := conn.Prepare(query)
	if err != nil {
		return 0, err
	}
	if _, err := stmt.Step(); err != nil {
		return 0, err
	}
	n := stmt.ColumnInt64(0)
	return n, stmt.Reset()
}

func writeRequests(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.Requests) == 0 {
		return nil
	}
	p, err := prepare(conn, updateRequest)
	if err != nil {
		return err
	}
	for i := range b.Requests {
		r := &b.Requests[i]
		bindRequest(p, r)
		p.id(r.ID.UUID)
		if err := p.run(); err != nil {
			return fmt.Errorf("request %s: %w", r.ID, err)
		}
		if conn.Changes() != 1 {
			return fmt.Errorf("request %s is not there", r.ID)
		}
	}
	return nil
}

const jobColumns = "request_id, id, worker_id, model, state, decoy, started, lease, ended, result, stored, seed, " +
	"censored, metadata, worker_name, reward"

func writeJobs(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.Jobs) == 0 {
		return nil
	}
	p, err := prepare(conn, "INSERT OR REPLACE INTO jobs ("+jobColumns+") VALUES ("+placeholders(jobColumns)+")")
	if err != nil {
		return err
	}
	for i := range b.Jobs {
		j := &b.Jobs[i]
		p.id(j.Request.UUID)
		p.id(j.ID.UUID)
		p.bytes(j.Worker.UUID[:])
		p.text(j.Model)
		p.int(int64(j.State))
		p.bool(j.Decoy)
		p.time(j.Started)
		p.int(int64(j.Lease))
		p.time(j.Ended)
		p.text(j.Result)
		p.bool(j.Stored)
		p.int(j.Seed)
		p.bool(j.Censored)
		if len(j.Metadata) == 0 {
			p.text("")
		} else if err := p.document(j.Metadata); err != nil {
			return fmt.Errorf("job %s: %w", j.ID, err)
		}
		p.text(j.WorkerName)
		p.float(j.Reward)
		if err := p.run(); err != nil {
			return fmt.Errorf("job %s: %w", j.ID, err)
		}
	}
	return nil
}

func deleteRequests(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.DeletedRequests) == 0 {
		return nil
	}
	// The order goes first: it is found through the request.
	for _, query := range []string{removeOrder, removeRequest, removeJobs} {
		p, err := prepare(conn, query)
		if err != nil {
			return err
		}
		for _, id := range b.DeletedRequests {
			p.id(id.UUID)
			if err := p.run(); err != nil {
				return fmt.Errorf("request %s: %w", id, err)
			}
		}
	}
	return nil
}

const eventColumns = "no, key, kind, at, work, user_id, owner, worker_id, debit, credit, usage, contribution, entries"

func writeEvents(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.Events) == 0 {
		return nil
	}
	last, err := highest(conn, lastEvent)
	if err != nil {
		return err
	}
	p, err := prepare(conn, "INSERT INTO events ("+eventColumns+") VALUES ("+placeholders(eventColumns)+")")
	if err != nil {
		return err
	}
	for _, e := range b.Events {
		if e.No != last+1 {
			return fmt.Errorf("event %d follows event %d", e.No, last)
		}
		last = e.No
		p.int(e.No)
		p.text(e.Key, string(e.Kind))
		p.time(e.At)
		p.int(int64(e.Work), int64(e.User), int64(e.Owner))
		p.id(e.Worker.UUID)
		p.int(int64(e.Debit), int64(e.Credit), e.Usage, e.Contribution)
		if err := p.document(e.Entries); err != nil {
			return fmt.Errorf("event %d: %w", e.No, err)
		}
		if err := p.run(); err != nil {
			return fmt.Errorf("event %d (%s): %w", e.No, e.Key, err)
		}
	}
	return nil
}

func writeSystem(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.System) == 0 {
		return nil
	}
	p, err := prepare(conn, "INSERT OR REPLACE INTO system_accounts (account, balance) VALUES (?, ?)")
	if err != nil {
		return err
	}
	for account, balance := range b.System {
		p.text(string(account))
		p.int(int64(balance))
		if err := p.run(); err != nil {
			return fmt.Errorf("account %s: %w", account, err)
		}
	}
	return nil
}

func writeDocuments(conn *sqlite.Conn, b *store.Batch) error {
	if len(b.Documents) == 0 {
		return nil
	}
	write, err := prepare(conn, "INSERT OR REPLACE INTO documents (kind, id, data) VALUES (?, ?, ?)")
	if err != nil {
		return err
	}
	remove, err := prepare(conn, removeDocument)
	if err != nil {
		return err
	}
	for _, d := range b.Documents {
		p := write
		if d.Data == nil {
			p = remove
		}
		p.text(d.Kind, d.ID)
		if d.Data != nil {
			p.bytes(d.Data)
		}
		if err := p.run(); err != nil {
			return fmt.Errorf("%s %s: %w", d.Kind, d.ID, err)
		}
	}
	return nil
}
