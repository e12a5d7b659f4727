// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"horde/internal/store"
)

// Settings reads the settings alone, for nodes that do not lead and load nothing. It is nil in a new database.
func (s *Store) Settings(ctx context.Context) (*store.Settings, error) {
	var data []byte
	err := s.lead.QueryRow(ctx, "SELECT data FROM settings WHERE id = 1").Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	settings := &store.Settings{}
	if err == nil && data != nil {
		err = json.Unmarshal(data, settings)
	}
	if err != nil {
		return nil, fmt.Errorf("postgres: settings: %w", err)
	}
	return settings, nil
}
