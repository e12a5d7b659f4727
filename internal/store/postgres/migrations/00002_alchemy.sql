-- SPDX-License-Identifier: AGPL-3.0-or-later
--
-- Alchemy is the third kind of work: 3 in workers.kind and in events.work.

-- +goose Up
ALTER TABLE balances
	ADD COLUMN requests_alchemy bigint NOT NULL DEFAULT 0,
	ADD COLUMN fulfilments_alchemy bigint NOT NULL DEFAULT 0,
	ADD COLUMN styles_alchemy bigint NOT NULL DEFAULT 0,
	ADD COLUMN usage_alchemy bigint NOT NULL DEFAULT 0,
	ADD COLUMN contribution_alchemy bigint NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE balances
	DROP COLUMN requests_alchemy,
	DROP COLUMN fulfilments_alchemy,
	DROP COLUMN styles_alchemy,
	DROP COLUMN usage_alchemy,
	DROP COLUMN contribution_alchemy;
