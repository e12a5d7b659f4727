// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/pgtest"
	"horde/internal/store"
	"horde/internal/store/postgres"
	"horde/internal/store/storetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// lease is one that does not lapse while a test runs.
const lease = time.Hour

func open(t testing.TB, location string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(context.Background(), location)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lead opens a record and takes the leadership.
func lead(t testing.TB, location string) *postgres.Store {
	t.Helper()
	s := open(t, location)
	campaign(t, s, "a node")
	return s
}

func campaign(t testing.TB, s *postgres.Store, node string) store.Leader {
	t.Helper()
	leader, err := s.Campaign(context.Background(), node, "http://"+node, lease)
	if err != nil || !leader.Mine || leader.Node != node {
		t.Fatalf("%s: %+v (%v)", node, leader, err)
	}
	return leader
}

// leave resigns and closes the store.
func leave(t testing.TB, s *postgres.Store) {
	t.Helper()
	if err := s.Resign(context.Background()); err != nil {
		t.Error(err)
	}
	closeStore(t, s)
}

func closeStore(t testing.TB, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// newRecord makes an empty record, by copying one: that is quicker than to make the tables.
func newRecord(t testing.TB) string {
	t.Helper()
	server := pgtest.Shared(t)
	template.Do(func() {
		location := server.Database(t)
		closeStore(t, open(t, location))
		template.name = location[strings.LastIndex(location, "/")+1 : strings.Index(location, "?")]
	})
	location := server.Copy(t, template.name)
	t.Cleanup(func() { server.Drop(t, location) })
	return location
}

var template struct {
	sync.Once
	name string
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) (store.Store, func() store.Store) {
		location := newRecord(t)
		s := lead(t, location)
		t.Cleanup(func() { leave(t, s) })
		return s, func() store.Store {
			leave(t, s)
			s = lead(t, location)
			return s
		}
	})
}
