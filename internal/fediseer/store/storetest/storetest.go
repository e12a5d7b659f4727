// SPDX-License-Identifier: AGPL-3.0-or-later

// Package storetest gives tests both databases: a SQLite file, and a PostgreSQL that it starts by itself.
package storetest

import (
	"context"
	"path/filepath"
	"testing"

	"horde/internal/fediseer/store"
	"horde/internal/pgtest"
)

// Each runs a test as a parallel subtest on a fresh store of each kind.
func Each(t *testing.T, f func(t *testing.T, st *store.Store)) {
	for _, kind := range Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t, Open(t, kind))
		})
	}
}

// Kinds are the kinds of databases.
var Kinds = []string{"sqlite", "postgres"}

// Open opens a fresh store that ends with the test.
func Open(t testing.TB, kind string) *store.Store {
	t.Helper()
	st, err := store.Open(context.Background(), Location(t, kind))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// Location names a fresh database.
func Location(t testing.TB, kind string) string {
	t.Helper()
	if kind == "sqlite" {
		return filepath.Join(t.TempDir(), "test.db")
	}
	return pgtest.Database(t)
}

// Main runs the tests of a package and ends the PostgreSQL that they may have started. Call it from TestMain.
func Main(m *testing.M) { pgtest.Main(m) }
