-- SPDX-License-Identifier: AGPL-3.0-or-later
--
-- The record. Ids of requests, jobs and workers are the 16 bytes of their UUID. Amounts are hundredths of kudos, times
-- microseconds since 1970 (NULL for never), durations nanoseconds, suspicions one byte each. "data" holds the fields of a
-- thing that no query looks at, as JSON.

-- +goose Up
CREATE TABLE settings (
	id   INTEGER PRIMARY KEY CHECK (id = 1),
	data TEXT NOT NULL
) STRICT;

CREATE TABLE users (
	id               INTEGER PRIMARY KEY,
	name             TEXT NOT NULL,
	oauth_id         TEXT NOT NULL,
	key_hash         TEXT NOT NULL,
	created          INTEGER,
	last_active      INTEGER,
	roles            INTEGER NOT NULL,
	concurrency      INTEGER NOT NULL,
	monthly_kudos    INTEGER NOT NULL,
	monthly_received INTEGER,
	suspicions       BLOB,
	wiped_at         INTEGER,
	data             TEXT NOT NULL -- '' where it would be '{}'
) STRICT;
CREATE UNIQUE INDEX users_oauth_id ON users (oauth_id) WHERE oauth_id <> '';
CREATE UNIQUE INDEX users_key_hash ON users (key_hash) WHERE key_hash <> '';

CREATE TABLE balances (
	user_id                INTEGER PRIMARY KEY,
	spendable              INTEGER NOT NULL,
	escrow                 INTEGER NOT NULL,
	accumulated            INTEGER NOT NULL,
	gifted                 INTEGER NOT NULL,
	donated                INTEGER NOT NULL,
	admin                  INTEGER NOT NULL,
	received               INTEGER NOT NULL,
	recurring              INTEGER NOT NULL,
	awarded                INTEGER NOT NULL,
	styled                 INTEGER NOT NULL,
	requests_image         INTEGER NOT NULL,
	requests_text          INTEGER NOT NULL,
	fulfilments_image      INTEGER NOT NULL,
	fulfilments_text       INTEGER NOT NULL,
	styles_image           INTEGER NOT NULL,
	styles_text            INTEGER NOT NULL,
	usage_image            INTEGER NOT NULL, -- displayed things in hundredths, as the three below
	usage_text             INTEGER NOT NULL,
	contribution_image     INTEGER NOT NULL,
	contribution_text      INTEGER NOT NULL
) STRICT;

CREATE TABLE workers (
	id                  BLOB NOT NULL PRIMARY KEY,
	kind                INTEGER NOT NULL, -- 1 image, 2 text
	owner               INTEGER NOT NULL,
	name                TEXT NOT NULL UNIQUE,
	created             INTEGER,
	paused              INTEGER NOT NULL,
	maintenance         INTEGER NOT NULL,
	suspicions          BLOB,
	last_check_in       INTEGER,
	agent               TEXT NOT NULL,
	speed               REAL NOT NULL, -- raw things a second
	uptime              INTEGER NOT NULL,
	rewarded_uptime     INTEGER NOT NULL,
	data                TEXT NOT NULL
) STRICT;

CREATE TABLE earnings (
	worker_id    BLOB PRIMARY KEY,
	generated    INTEGER NOT NULL,
	uptime       INTEGER NOT NULL,
	contribution INTEGER NOT NULL,
	fulfilments  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The state of a request changes several times in its life, what was ordered never: they are apart, so that a change
-- writes a hundred bytes and not a long prompt.
CREATE TABLE requests (
	no             INTEGER PRIMARY KEY, -- in the order in which they came
	id             BLOB NOT NULL UNIQUE,
	user_id        INTEGER NOT NULL,
	created        INTEGER,
	expires        INTEGER,
	queued         INTEGER, -- when it last entered the queue: priority counts from then
	wanted         INTEGER NOT NULL,
	"left"         INTEGER NOT NULL,
	running        INTEGER NOT NULL,
	finished       INTEGER NOT NULL,
	faults         INTEGER NOT NULL,
	cancelled      INTEGER NOT NULL,
	faulted        INTEGER NOT NULL,
	priority       INTEGER NOT NULL,
	price          INTEGER NOT NULL,
	charged        INTEGER NOT NULL,
	hold_amount    INTEGER NOT NULL,
	hold_remaining INTEGER NOT NULL
) STRICT;

CREATE TABLE orders (
	request_no INTEGER PRIMARY KEY, -- requests.no
	data       BLOB NOT NULL        -- Protocol Buffers; the fields are listed in internal/horde/packed.go
) STRICT;

CREATE TABLE jobs (
	request_id  BLOB NOT NULL,
	id          BLOB NOT NULL,
	worker_id   BLOB NOT NULL,
	model       TEXT NOT NULL,
	state       INTEGER NOT NULL, -- 1 running, 2 delivered, 3 faulted
	decoy       INTEGER NOT NULL,
	started     INTEGER,
	lease       INTEGER NOT NULL,
	ended       INTEGER,
	result      TEXT NOT NULL,
	stored      INTEGER NOT NULL,
	seed        INTEGER NOT NULL,
	censored    INTEGER NOT NULL,
	metadata    TEXT NOT NULL, -- JSON, or '' for none
	worker_name TEXT NOT NULL,
	reward      REAL NOT NULL,
	PRIMARY KEY (request_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
	no           INTEGER PRIMARY KEY,
	key          TEXT NOT NULL UNIQUE,
	kind         TEXT NOT NULL,
	at           INTEGER,
	work         INTEGER NOT NULL, -- 1 image, 2 text, 0 neither
	user_id      INTEGER NOT NULL,
	owner        INTEGER NOT NULL,
	worker_id    BLOB,
	debit        INTEGER NOT NULL,
	credit       INTEGER NOT NULL,
	usage        INTEGER NOT NULL, -- displayed things in hundredths
	contribution INTEGER NOT NULL,
	entries      TEXT NOT NULL -- JSON: [{"a": account, "k": amount}, …]
) STRICT;

CREATE TABLE system_accounts (
	account TEXT PRIMARY KEY,
	balance INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE system_accounts;
DROP TABLE events;
DROP TABLE jobs;
DROP TABLE orders;
DROP TABLE requests;
DROP TABLE earnings;
DROP TABLE workers;
DROP TABLE balances;
DROP TABLE users;
DROP TABLE settings;
