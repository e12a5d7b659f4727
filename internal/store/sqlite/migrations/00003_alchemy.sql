-- SPDX-License-Identifier: AGPL-3.0-or-later
--
-- Alchemy is the third kind of work: 3 in workers.kind and in events.work.

-- +goose Up
ALTER TABLE balances ADD COLUMN requests_alchemy INTEGER NOT NULL DEFAULT 0;
ALTER TABLE balances ADD COLUMN fulfilments_alchemy INTEGER NOT NULL DEFAULT 0;
ALTER TABLE balances ADD COLUMN styles_alchemy INTEGER NOT NULL DEFAULT 0;
ALTER TABLE balances ADD COLUMN usage_alchemy INTEGER NOT NULL DEFAULT 0;
ALTER TABLE balances ADD COLUMN contribution_alchemy INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE balances DROP COLUMN requests_alchemy;
ALTER TABLE balances DROP COLUMN fulfilments_alchemy;
ALTER TABLE balances DROP COLUMN styles_alchemy;
ALTER TABLE balances DROP COLUMN usage_alchemy;
ALTER TABLE balances DROP COLUMN contribution_alchemy;
