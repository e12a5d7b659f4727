-- SPDX-License-Identifier: AGPL-3.0-or-later

-- +goose Up
CREATE TABLE documents (
	kind TEXT NOT NULL,
	id   TEXT NOT NULL,
	data BLOB NOT NULL,
	PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE documents;
