// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

// commitTimeout is how long a commit may take before it is given up, its outcome in doubt.
const commitTimeout = 30 * time.Second

// The codes of errors that the function expect raises.
const (
	codeDeposed  = "HD001"
	codeMismatch = "HD002"
)

// Commit writes a batch in one transaction. A context that ends keeps it from being written, or comes too late: it never
// interrupts what has been sent.
func (s *Store) Commit(ctx context.Context, b *store.Batch) error {
	if err := s.commit(ctx, b); err != nil {
		return fmt.Errorf("postgres: commit: %w", err)
	}
	return nil
}

func (s *Store) commit(ctx context.Context, b *store.Batch) error {
	if b.Empty() {
		return ctx.Err()
	}
	release, err := take(ctx, s.writing)
	if err != nil {
		return err
	}
	defer release()
	list, err := statements(b)
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := s.settle(waiting); err != nil {
		return err
	}
	mine, _ := s.leading()
	if mine.epoch == 0 {
		return store.ErrDeposed
	}
	conn, err := s.work.Acquire(waiting)
	if err != nil {
		return err
	}
	defer conn.Release()
	list[0].parameters = numbers(mine.fence)
	transaction := &pgconn.Batch{}
	for i := range list {
		prepared, err := conn.Conn().Prepare(waiting, list[i].query, list[i].query)
		if err != nil {
			return fmt.Errorf("%s: %w", list[i].what, err)
		}
		transaction.ExecPrepared(prepared.Name, list[i].parameters, binaryFormat, nil)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	sent, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	return s.outcome(mine, list, conn.Conn().PgConn().ExecBatch(sent, transaction))
}

// outcome reads the answers to the statements of a commit.
func (s *Store) outcome(mine term, list []statement, answers *pgconn.MultiResultReader) error {
	answered := 0
	for answers.NextResult() {
		if _, err := answers.ResultReader().Close(); err != nil {
			break
		}
		answered++
	}
	err := answers.Close()
	if err == nil {
		return nil
	}
	// An error of the server is a transaction that it has rolled back, unless the session went with it.
	refused, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok || refused.SeverityUnlocalized != "ERROR":
		s.mu.Lock()
		s.doubt = s.doubt || s.mine == mine
		s.mu.Unlock()
	case refused.Code == codeDeposed:
		s.stepDown(mine)
		return fmt.Errorf("%w: %w", store.ErrDeposed, err)
	}
	if answered < len(list) {
		return fmt.Errorf("%s: %w", list[answered].what, err)
	}
	return err
}

// statement writes one part of a batch.
type statement struct {
	what       string
	query      string
	parameters [][]byte
}

// The columns that are written, in the order in which the functions below give their values.
var (
	users = newTable("users", "id bigint, name text, oauth_id text, key_hash text, created timestamptz, "+
		"last_active timestamptz, roles bigint, concurrency bigint, monthly_kudos bigint, monthly_received timestamptz, "+
		"suspicions bytea, wiped_at timestamptz, data json")
	balances = newTable("balances", "user_id bigint, spendable bigint, escrow bigint, accumulated bigint, gifted bigint, "+
		"donated bigint, admin bigint, received bigint, recurring bigint, awarded bigint, styled bigint, "+
		"requests_image bigint, requests_text bigint, requests_alchemy bigint, fulfilments_image bigint, "+
		"fulfilments_text bigint, fulfilments_alchemy bigint, styles_image bigint, styles_text bigint, styles_alchemy bigint, "+
		"usage_image bigint, usage_text bigint, usage_alchemy bigint, contribution_image bigint, contribution_text bigint, "+
		"contribution_alchemy bigint")
	workers = newTable("workers", "id uuid, kind bigint, owner bigint, name text, created timestamptz, paused boolean, "+
		"maintenance boolean, suspicions bytea, last_check_in timestamptz, agent text, speed double precision, "+
		"uptime bigint, rewarded_uptime bigint, data json")
	earnings = newTable("earnings", "worker_id uuid, generated bigint, uptime bigint, contribution bigint, fulfilments bigint")
	requests = newTable("requests", "id uuid, user_id bigint, created timestamptz, expires timestamptz, queued timestamptz, "+
		"wanted bigint, \"left\" bigint, running bigint, finished bigint, faults bigint, cancelled boolean, faulted boolean, "+
		"priority bigint, price bigint, charged bigint, hold_amount bigint, hold_remaining bigint")
	jobs = newTable("jobs", "request_id uuid, id uuid, worker_id uuid, model text, state bigint, decoy boolean, "+
		"started timestamptz, lease bigint, ended timestamptz, result text, stored boolean, seed bigint, censored boolean, "+
		"metadata json, worker_name text, reward double precision")
	events = newTable("events", "no bigint, key text, kind text, at timestamptz, work bigint, user_id bigint, owner bigint, "+
		"worker_id uuid, debit bigint, credit bigint, usage bigint, contribution bigint, entries json")
	system      = newTable("system_accounts", "account text, balance bigint")
	settings    = newTable("settings", "id bigint, data json")
	orders      = newTable("orders", "data bytea")
	documents   = newTable("documents", "kind text, id text, data bytea")
	documentIDs = newTable("documents", "kind text, id text")
	ids         = newTable("", "id uuid")
)

// The queries of a commit. Each that looks for rows has an index that serves it; TestQueriesUseIndexes says so.
var (
	checkFence = "SELECT expect(count(*), 1, 'fence', '" + codeDeposed + "') FROM " +
		"(SELECT FROM leader WHERE fence = $1 FOR KEY SHARE) AS held"
	upsertUsers     = users.upsert("id")
	upsertBalances  = balances.upsert("user_id")
	upsertWorkers   = workers.upsert("id")
	upsertEarnings  = earnings.upsert("worker_id")
	upsertJobs      = jobs.upsert("request_id, id")
	upsertSystem    = system.upsert("account")
	upsertDocuments = documents.upsert("kind, id")
	removeDocuments = "DELETE FROM documents AS d USING " + documentIDs.unnest() + " AS gone (kind, id) " +
		"WHERE d.kind = gone.kind AND d.id = gone.id"
	upsertSettings = settings.upsert("id")
	removeWorkers  = "DELETE FROM workers WHERE id = ANY($1::uuid[])"
	removeEarnings = "DELETE FROM earnings WHERE worker_id = ANY($1::uuid[])"
	insertRequests = "INSERT INTO requests (no, " + requests.columns() + ") " +
		"SELECT last + n, " + requests.columns() + " FROM (SELECT coalesce(max(no), 0) AS last FROM requests) AS before, " +
		requests.unnest() + " WITH ORDINALITY AS new (" + requests.columns() + ", n)"
	// The requests that the orders belong to are the last ones.
	insertOrders = "INSERT INTO orders (request_no, data) SELECT last - $2::bigint + n, data " +
		"FROM (SELECT max(no) AS last FROM requests) AS before, unnest($1::bytea[]) WITH ORDINALITY AS new (data, n)"
	updateRequests = "WITH changed AS (UPDATE requests AS r SET " + assign(requests, "new") + " FROM " + requests.unnest() +
		" AS new (" + requests.columns() + ") WHERE r.id = new.id RETURNING 1) " +
		"SELECT expect(count(*), $" + fmt.Sprint(len(requests.names)+1) + "::bigint, 'requests that are there', '" + codeMismatch +
		"') FROM changed"
	removeRequests = "WITH gone AS (DELETE FROM requests WHERE id = ANY($1::uuid[]) RETURNING no), " +
		"theirs AS (DELETE FROM orders USING gone WHERE request_no = gone.no) " +
		"DELETE FROM jobs WHERE request_id = ANY($1::uuid[])"
	checkEvents  = "SELECT expect(coalesce(max(no), 0), $1::bigint, 'last event', '" + codeMismatch + "') FROM events"
	insertEvents = events.insert()
)

// assign sets all columns of a table but the id.
func assign(t table, from string) (list string) {
	for _, name := range t.names {
		if name != "id" {
			list += ", " + name + " = " + from + "." + name
		}
	}
	return list[2:]
}

// statements are what writes a batch, in this order: what is deleted with something else after it. The first is the check of
// the fence, whose number is not known yet.
func statements(b *store.Batch) ([]statement, error) {
	w := &writer{list: []statement{{what: "fence", query: checkFence}}}
	for _, part := range []func(*store.Batch) error{
		w.settings, w.users, w.balances, w.workers, w.earnings, w.newRequests, w.requests, w.jobs, w.deletedRequests,
		w.events, w.system, w.documents,
	} {
		if err := part(b); err != nil {
			return nil, err
		}
	}
	return w.list, nil
}

// writer collects the statements of a batch.
type writer struct{ list []statement }

// add adds a statement that takes rows, and other parameters after them, unless there are no rows.
func (w *writer) add(what, query string, t table, r *rows, more ...[]byte) {
	if r.length() > 0 {
		w.list = append(w.list, statement{what, query, append(r.parameters(t.types), more...)})
	}
}

func (w *writer) settings(b *store.Batch) error {
	r := settings.rows(1)
	if b.Settings != nil {
		r.int(1)
		if err := r.document(b.Settings); err != nil {
			return fmt.Errorf("settings: %w", err)
		}
	}
	w.add("settings", upsertSettings, settings, r)
	return nil
}

func (w *writer) users(b *store.Batch) error {
	r := users.rows(len(b.Users))
	for i := range b.Users {
		u := &b.Users[i]
		r.int(int64(u.ID))
		r.text(u.Name)
		r.name(u.OAuthID, u.KeyHash)
		r.time(u.Created, u.LastActive)
		r.int(int64(u.Roles), int64(u.Concurrency), int64(u.MonthlyKudos))
		r.time(u.MonthlyReceived)
		r.suspicions(u.Suspicions)
		r.time(u.WipedAt)
		if err := r.document(store.UserRest{User: u}); err != nil {
			return fmt.Errorf("user %d: %w", u.ID, err)
		}
	}
	w.add("users", upsertUsers, users, r)
	return nil
}

func (w *writer) balances(b *store.Batch) error {
	r := balances.rows(len(b.Balances))
	for id, v := range b.Balances {
		d, records := &v.Details, &v.Records
		r.int(int64(id), int64(v.Spendable), int64(v.Escrow),
			int64(d.Accumulated), int64(d.Gifted), int64(d.Donated), int64(d.Admin), int64(d.Received),
			int64(d.Recurring), int64(d.Awarded), int64(d.Styled))
		for _, t := range []kudos.Tally{records.Requests, records.Fulfilments, records.Styles, records.Usage, records.Contribution} {
			r.int(t.Image, t.Text, t.Alchemy)
		}
	}
	w.add("balances", upsertBalances, balances, r)
	return nil
}

// deletedWorkers are the ids of the workers that go.
func deletedWorkers(b *store.Batch) *rows {
	r := ids.rows(2 * len(b.DeletedWorkers))
	for _, id := range b.DeletedWorkers {
		r.bytes(id.UUID[:])
	}
	return r
}

func (w *writer) workers(b *store.Batch) error {
	w.add("deleted workers", removeWorkers, ids, deletedWorkers(b))
	r := workers.rows(len(b.Workers))
	for i := range b.Workers {
		k := &b.Workers[i]
		r.bytes(k.ID.UUID[:])
		r.int(int64(k.Kind), int64(k.Owner))
		r.text(k.Name)
		r.time(k.Created)
		r.bool(k.Paused, k.Maintenance)
		r.suspicions(k.Suspicions)
		r.time(k.LastCheckIn)
		r.text(k.Agent)
		r.float(k.Speed)
		r.int(int64(k.Uptime), int64(k.RewardedUptime))
		if err := r.document(store.WorkerRest{Worker: k}); err != nil {
			return fmt.Errorf("worker %s: %w", k.ID, err)
		}
	}
	w.add("workers", upsertWorkers, workers, r)
	return nil
}

func (w *writer) earnings(b *store.Batch) error {
	r := earnings.rows(len(b.Earnings))
	for id, e := range b.Earnings {
		r.bytes(id.UUID[:])
		r.int(int64(e.Generated), int64(e.Uptime), e.Contribution, e.Fulfilments)
	}
	w.add("earnings", upsertEarnings, earnings, r)
	w.add("earnings of deleted workers", removeEarnings, ids, deletedWorkers(b))
	return nil
}

// request adds the values of a request.
func (r *rows) request(q *horde.Request) {
	r.bytes(q.ID.UUID[:])
	r.int(int64(q.User))
	r.time(q.Created, q.Expires, q.Queued)
	r.int(int64(q.Wanted), int64(q.Left), int64(q.Running), int64(q.Finished), int64(q.Faults))
	r.bool(q.Cancelled, q.Faulted)
	r.int(q.Priority, int64(q.Price), int64(q.Charged), int64(q.Hold.Amount), int64(q.Hold.Remaining))
}

func (w *writer) newRequests(b *store.Batch) error {
	r, ordered := requests.rows(len(b.NewRequests)), orders.rows(32*len(b.NewRequests))
	for i := range b.NewRequests {
		q := &b.NewRequests[i]
		if q.Order == "" {
			return fmt.Errorf("request %s has no order", q.ID)
		}
		r.request(q)
		ordered.string(string(q.Order))
	}
	w.add("new requests", insertRequests, requests, r)
	w.add("orders", insertOrders, orders, ordered, numbers(int64(len(b.NewRequests)))...)
	return nil
}

func (w *writer) requests(b *store.Batch) error {
	r := requests.rows(len(b.Requests))
	for i := range b.Requests {
		r.request(&b.Requests[i])
	}
	w.add("requests", updateRequests, requests, r, numbers(int64(len(b.Requests)))...)
	return nil
}

func (w *writer) jobs(b *store.Batch) error {
	r := jobs.rows(len(b.Jobs))
	for i := range b.Jobs {
		j := &b.Jobs[i]
		r.bytes(j.Request.UUID[:])
		r.bytes(j.ID.UUID[:])
		r.bytes(j.Worker.UUID[:])
		r.text(j.Model)
		r.int(int64(j.State))
		r.bool(j.Decoy)
		r.time(j.Started)
		r.int(int64(j.Lease))
		r.time(j.Ended)
		r.text(j.Result)
		r.bool(j.Stored)
		r.int(j.Seed)
		r.bool(j.Censored)
		if len(j.Metadata) == 0 {
			r.null()
		} else if err := r.document(j.Metadata); err != nil {
			return fmt.Errorf("job %s: %w", j.ID, err)
		}
		r.text(j.WorkerName)
		r.float(j.Reward)
	}
	w.add("jobs", upsertJobs, jobs, r)
	return nil
}

func (w *writer) deletedRequests(b *store.Batch) error {
	r := ids.rows(2 * len(b.DeletedRequests))
	for _, id := range b.DeletedRequests {
		r.bytes(id.UUID[:])
	}
	w.add("deleted requests", removeRequests, ids, r)
	return nil
}

func (w *writer) events(b *store.Batch) error {
	if len(b.Events) == 0 {
		return nil
	}
	r, last := events.rows(len(b.Events)), b.Events[0].No-1
	w.list = append(w.list, statement{"events", checkEvents, numbers(last)})
	for _, e := range b.Events {
		if e.No != last+1 {
			return fmt.Errorf("event %d follows event %d", e.No, last)
		}
		last = e.No
		r.int(e.No)
		r.text(e.Key, string(e.Kind))
		r.time(e.At)
		r.int(int64(e.Work), int64(e.User), int64(e.Owner))
		r.id(e.Worker.UUID)
		r.int(int64(e.Debit), int64(e.Credit), e.Usage, e.Contribution)
		if err := r.document(e.Entries); err != nil {
			return fmt.Errorf("event %d: %w", e.No, err)
		}
	}
	w.add("events", insertEvents, events, r)
	return nil
}

func (w *writer) system(b *store.Batch) error {
	r := system.rows(len(b.System))
	for account, balance := range b.System {
		r.text(string(account))
		r.int(int64(balance))
	}
	w.add("system accounts", upsertSystem, system, r)
	return nil
}

func (w *writer) documents(b *store.Batch) error {
	r, gone := documents.rows(len(b.Documents)), documentIDs.rows(len(b.Documents))
	for _, d := range b.Documents {
		if d.Data == nil {
			gone.text(d.Kind, d.ID)
			continue
		}
		r.text(d.Kind, d.ID)
		r.bytes(d.Data)
	}
	w.add("documents", upsertDocuments, documents, r)
	w.add("removed documents", removeDocuments, documentIDs, gone)
	return nil
}
