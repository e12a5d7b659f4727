// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"context"
	"fmt"
	"path/filepath"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitemigration"
	"zombiezen.com/go/sqlite/sqlitex"
)

// databaseFile is the name of the database in the directory of the service.
const databaseFile = "ratings.db"

// migrations are the steps of the schema. Times are seconds since 1970. What was released never changes: add steps.
var migrations = []string{`
create table secrets (name text primary key, value blob not null, created integer not null);
create table datasets (
	id text primary key, name text not null unique, description text not null, kind text not null,
	is_default integer not null, active integer not null, license text not null);
create table images (
	id text primary key, dataset text not null references datasets, url text not null, model text not null default '',
	prompt text not null default '', width integer not null default 0, height integer not null default 0,
	seed integer not null default 0, steps integer not null default 0, sampler text not null default '', cfg real not null default 0,
	pipeline text not null default '', nsfw real not null default 0, active integer not null default 1, rand real not null,
	created integer not null, rating_count integer not null default 0, rating_sum integer not null default 0,
	artifact_count integer not null default 0, artifact_sum integer not null default 0, ignored integer not null default 0);
create index images_choice on images (dataset, active, rating_count, rand);
create table ratings (
	id integer primary key autoincrement, image text not null references images, rater text not null, user_id integer not null,
	username text not null, day integer not null, rating integer not null, artifacts integer, source text not null, set_id text,
	client_agent text not null, country text, popped integer, created integer not null, kudos real not null,
	account_age integer not null, usage_requests integer not null, trusted integer not null, excluded integer not null default 0,
	reward integer not null, reward_state text not null);
create unique index ratings_of_user on ratings (image, user_id) where user_id <> 0;
create unique index ratings_of_address on ratings (image, rater, day) where user_id = 0;
create index ratings_by_rater on ratings (rater, created);
create index ratings_by_user on ratings (user_id, created);
create index ratings_unpaid on ratings (reward_state) where reward_state in ('pending', 'due', 'paying');
create table sets (id text primary key, created integer not null);
create table pairs (
	set_id text not null, winner text not null, loser text not null, user_id integer not null, created integer not null,
	primary key (set_id, loser));
create table pops (
	rater text not null, image text not null, kind text not null, answer integer, created integer not null,
	done integer not null default 0, primary key (rater, image));
create index pops_by_age on pops (created);
create index pops_by_image on pops (image) where done = 0;
create table raters (
	rater text primary key, user_id integer not null, passed integer not null default 0, failed integer not null default 0,
	failed_in_row integer not null default 0, to_pass integer not null default 0, timeout_until integer not null default 0,
	flagged integer not null default 0, validated integer not null default 0, last_pass integer not null default 0);
create table payments (id integer primary key autoincrement, user_id integer not null, amount integer not null, done integer not null default 0);
`, `
alter table raters add column corr real not null default 0;
alter table raters add column owed integer not null default 0;
alter table raters add column extra integer not null default 0;
alter table raters add column extra_from integer not null default 0;
alter table pairs add column excluded integer not null default 0;
create table repeats (
	rater text not null, image text not null, first integer not null, rating integer not null, created integer not null,
	primary key (rater, image));
`, `
alter table payments add column created integer not null default 0;
alter table payments add column reversed integer not null default 0;
create index payments_open on payments (id) where done = 0;
create index payments_by_user on payments (user_id, created);
`, `
alter table pops add column milli integer not null default 0; -- of the second in created
`}

// openDatabase opens the database in a directory, makes it where there is none, and brings an older one up to date.
func openDatabase(ctx context.Context, dir string) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(filepath.Join(dir, databaseFile), sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenWAL)
	if err != nil {
		return nil, fmt.Errorf("open the ratings: %w", err)
	}
	err = sqlitex.ExecuteTransient(conn, "pragma synchronous = full", nil)
	if err == nil {
		err = sqlitemigration.Migrate(ctx, conn, sqlitemigration.Schema{Migrations: migrations})
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open the ratings: %w", err)
	}
	return conn, nil
}

// do runs one statement with positional arguments and hands its rows to row, which may be nil. It is called with the lock.
func (s *Service) do(query string, row func(*sqlite.Stmt), args ...any) error {
	o := &sqlitex.ExecOptions{Args: args}
	if row != nil {
		o.ResultFunc = func(stmt *sqlite.Stmt) error { row(stmt); return nil }
	}
	return sqlitex.Execute(s.conn, query, o)
}

// number is the first column of the first row, 0 where there is none.
func (s *Service) number(query string, args ...any) (n int64, err error) {
	err = s.do(query, func(r *sqlite.Stmt) { n = r.ColumnInt64(0) }, args...)
	return n, err
}

// text is the first column of the first row, empty where there is none.
func (s *Service) text(query string, args ...any) (text string, err error) {
	err = s.do(query, func(r *sqlite.Stmt) { text = r.ColumnText(0) }, args...)
	return text, err
}

// change runs f in one transaction, with the lock.
func (s *Service) change(f func() error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end, err := sqlitex.ImmediateTransaction(s.conn)
	if err != nil {
		return err
	}
	defer end(&err)
	return f()
}
