-- SPDX-License-Identifier: AGPL-3.0-or-later
--
-- The record. Amounts are hundredths of kudos, durations nanoseconds, suspicions one byte each; NULL is a time that never
-- was. "data" holds the fields of a thing that no query looks at; NULL is the same as {}. A text that PostgreSQL could not
-- hold is escaped: see internal/store/postgres/value.go.
--
-- Tables whose rows change leave room in their pages, so that a change needs no new entry in an index.

-- +goose Up

-- expect breaks off a transaction whose statement did not meet the record that it was made for.
-- +goose StatementBegin
CREATE FUNCTION expect(got bigint, want bigint, what text, code text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF got <> want THEN
		RAISE EXCEPTION '%: % instead of %', what, got, want USING ERRCODE = code;
	END IF;
END
$$;
-- +goose StatementEnd

-- Who leads. A commit locks the row against a change of its key, the fence, and nothing else: the lease can be renewed
-- meanwhile, and who takes the leadership waits.
CREATE TABLE leader (
	fence   bigint PRIMARY KEY,      -- commits carry it; grows with each epoch, and whenever a commit's outcome is in doubt
	epoch   bigint NOT NULL,         -- grows when the leadership changes hands
	holder  uuid,                    -- of the process's store; NULL for nobody
	node    text NOT NULL,
	address text NOT NULL,
	expires timestamptz NOT NULL,
	one     boolean NOT NULL DEFAULT true UNIQUE CHECK (one)
) WITH (fillfactor = 10);
INSERT INTO leader (fence, epoch, node, address, expires) VALUES (0, 0, '', '', 'epoch');

CREATE TABLE settings (
	id   bigint PRIMARY KEY CHECK (id = 1),
	data json
);

CREATE TABLE users (
	id               bigint PRIMARY KEY,
	name             text NOT NULL,
	oauth_id         text UNIQUE DEFERRABLE INITIALLY DEFERRED, -- NULL for none, as the next
	key_hash         text UNIQUE DEFERRABLE INITIALLY DEFERRED,
	created          timestamptz,
	last_active      timestamptz,
	roles            bigint NOT NULL,
	concurrency      bigint NOT NULL,
	monthly_kudos    bigint NOT NULL,
	monthly_received timestamptz,
	suspicions       bytea,
	wiped_at         timestamptz,
	data             json
) WITH (fillfactor = 80);

CREATE TABLE balances (
	user_id            bigint PRIMARY KEY,
	spendable          bigint NOT NULL,
	escrow             bigint NOT NULL,
	accumulated        bigint NOT NULL,
	gifted             bigint NOT NULL,
	donated            bigint NOT NULL,
	admin              bigint NOT NULL,
	received           bigint NOT NULL,
	recurring          bigint NOT NULL,
	awarded            bigint NOT NULL,
	styled             bigint NOT NULL,
	requests_image     bigint NOT NULL,
	requests_text      bigint NOT NULL,
	fulfilments_image  bigint NOT NULL,
	fulfilments_text   bigint NOT NULL,
	styles_image       bigint NOT NULL,
	styles_text        bigint NOT NULL,
	usage_image        bigint NOT NULL, -- displayed things in hundredths, as the three below
	usage_text         bigint NOT NULL,
	contribution_image bigint NOT NULL,
	contribution_text  bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE workers (
	id              uuid PRIMARY KEY,
	kind            bigint NOT NULL, -- 1 image, 2 text
	owner           bigint NOT NULL,
	name            text NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED,
	created         timestamptz,
	paused          boolean NOT NULL,
	maintenance     boolean NOT NULL,
	suspicions      bytea,
	last_check_in   timestamptz,
	agent           text NOT NULL,
	speed           double precision NOT NULL, -- raw things a second
	uptime          bigint NOT NULL,
	rewarded_uptime bigint NOT NULL,
	data            json
) WITH (fillfactor = 50);

CREATE TABLE earnings (
	worker_id    uuid PRIMARY KEY,
	generated    bigint NOT NULL,
	uptime       bigint NOT NULL,
	contribution bigint NOT NULL,
	fulfilments  bigint NOT NULL
) WITH (fillfactor = 50);

-- The state of a request changes several times in its life, what was ordered never: they are apart, so that a change
-- writes a hundred bytes and not a long prompt.
CREATE TABLE requests (
	no             bigint PRIMARY KEY, -- in the order in which they came
	id             uuid NOT NULL UNIQUE,
	user_id        bigint NOT NULL,
	created        timestamptz,
	expires        timestamptz,
	queued         timestamptz, -- when it last entered the queue: priority counts from then
	wanted         bigint NOT NULL,
	"left"         bigint NOT NULL,
	running        bigint NOT NULL,
	finished       bigint NOT NULL,
	faults         bigint NOT NULL,
	cancelled      boolean NOT NULL,
	faulted        boolean NOT NULL,
	priority       bigint NOT NULL,
	price          bigint NOT NULL,
	charged        bigint NOT NULL,
	hold_amount    bigint NOT NULL,
	hold_remaining bigint NOT NULL
) WITH (fillfactor = 60);

CREATE TABLE orders (
	request_no bigint PRIMARY KEY, -- requests.no
	data       bytea NOT NULL      -- Protocol Buffers, as in a SQLite record
);

CREATE TABLE jobs (
	request_id  uuid NOT NULL,
	id          uuid NOT NULL,
	worker_id   uuid NOT NULL,
	model       text NOT NULL,
	state       bigint NOT NULL, -- 1 running, 2 delivered, 3 faulted
	decoy       boolean NOT NULL,
	started     timestamptz,
	lease       bigint NOT NULL,
	ended       timestamptz,
	result      text NOT NULL,
	stored      boolean NOT NULL,
	seed        bigint NOT NULL,
	censored    boolean NOT NULL,
	metadata    json,
	worker_name text NOT NULL,
	reward      double precision NOT NULL,
	PRIMARY KEY (request_id, id)
) WITH (fillfactor = 60);

CREATE TABLE events (
	no           bigint PRIMARY KEY,
	key          text NOT NULL UNIQUE,
	kind         text NOT NULL,
	at           timestamptz,
	work         bigint NOT NULL, -- 1 image, 2 text, 0 neither
	user_id      bigint NOT NULL,
	owner        bigint NOT NULL,
	worker_id    uuid,
	debit        bigint NOT NULL,
	credit       bigint NOT NULL,
	usage        bigint NOT NULL, -- displayed things in hundredths
	contribution bigint NOT NULL,
	entries      json -- [{"a": account, "k": amount}, …]
);

CREATE TABLE system_accounts (
	account text PRIMARY KEY,
	balance bigint NOT NULL
) WITH (fillfactor = 50);

-- Small things beside the others, of which only the engine knows what they mean.
CREATE TABLE documents (
	kind text COLLATE "C" NOT NULL,
	id   text COLLATE "C" NOT NULL,
	data bytea NOT NULL,
	PRIMARY KEY (kind, id)
);

-- +goose Down
DROP TABLE documents;
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
DROP TABLE leader;
DROP FUNCTION expect;
