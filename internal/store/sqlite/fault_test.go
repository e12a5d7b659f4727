// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"horde/internal/store"
	"horde/internal/store/storetest"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "horde.db"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// requests counts what is loaded from the record, and checks the file.
func requests(t *testing.T, s *Store) int {
	t.Helper()
	state, err := s.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return len(state.Requests)
}

// TestFaults makes commits fail, and checks that nothing of them is left and that the next one succeeds when the cause of
// the failure is gone.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		want  sqlite.ResultCode
		fault string
		mend  string
	}{
		{"the file may not grow", sqlite.ResultFull, "max_page_count = 1", "max_page_count = 1000000"},
		{"the file may not be written", sqlite.ResultReadOnly, "query_only = ON", "query_only = OFF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			defer mustClose(t, s)
			traffic, first := storetest.NewTraffic(1)
			if err := s.Commit(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			if err := pragmas(s.writer, test.fault); err != nil {
				t.Fatal(err)
			}
			batch := traffic.Waiting(100)
			for range 3 {
				err := s.Commit(t.Context(), batch)
				if got := sqlite.ErrCode(err).ToPrimary(); got != test.want {
					t.Fatalf("commit: %v (%v)", err, got)
				}
				if n := requests(t, s); n != 0 {
					t.Fatalf("%d requests of a commit that failed", n)
				}
			}
			if err := pragmas(s.writer, test.mend); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(t.Context(), batch); err != nil {
				t.Fatalf("the cause is gone: %v", err)
			}
			if n := requests(t, s); n != 100 {
				t.Fatalf("%d requests", n)
			}
		})
	}
}

// Another program may hold the file for a while: a backup, or a shell with a transaction.
func TestBusyFile(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	defer mustClose(t, s)
	s.writer.SetBusyTimeout(0) // so as not to wait for the five seconds
	other, err := sqlite.OpenConn(s.path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := execute(other, "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	traffic, first := storetest.NewTraffic(1)
	if err := s.Commit(t.Context(), first); sqlite.ErrCode(err).ToPrimary() != sqlite.ResultBusy {
		t.Fatalf("commit: %v", err)
	}
	if err := execute(other, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	for _, b := range []*store.Batch{first, traffic.Waiting(5)} {
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
}

// A writer that was given up is replaced.
func TestLostWriter(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	defer mustClose(t, s)
	if err := s.writer.Close(); err != nil {
		t.Fatal(err)
	}
	s.writer = nil
	traffic, _ := storetest.NewTraffic(1)
	if err := s.Commit(t.Context(), traffic.Waiting(3)); err != nil {
		t.Fatal(err)
	}
	if n := requests(t, s); n != 3 {
		t.Fatalf("%d requests", n)
	}
}

func TestCorruptFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "horde.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	traffic, first := storetest.NewTraffic(1)
	for _, b := range []*store.Batch{first, traffic.Waiting(3000)} {
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		from int
	}{{"from the first byte", 0}, {"in the middle", len(data) / 2}} {
		bad := slices.Clone(data)
		for i := range bad[test.from:] {
			bad[test.from+i] = 0xa5
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), path)
		if err == nil {
			_, err = s.Load(t.Context())
			_ = s.Close()
		}
		if err == nil {
			t.Errorf("a file that is garbage %s was loaded", test.name)
		}
	}
}

// An order that is missing or unreadable must not become a request without one.
func TestLostOrder(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"DELETE FROM orders WHERE request_no = 2", "UPDATE orders SET data = x'' WHERE request_no = 2"} {
		s := newStore(t)
		traffic, _ := storetest.NewTraffic(1)
		if err := s.Commit(t.Context(), traffic.Waiting(3)); err != nil {
			t.Fatal(err)
		}
		if err := execute(s.writer, query); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(t.Context()); err == nil {
			t.Errorf("loaded after %s", query)
		}
		mustClose(t, s)
	}
}

// schema is the text of all tables and indexes but goose's.
func schema(t *testing.T, path string) string {
	t.Helper()
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var all strings.Builder
	err = sqlitex.Execute(conn, "SELECT sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'goose%' AND tbl_name NOT LIKE 'sqlite%' ORDER BY name",
		&sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
			all.WriteString(stmt.ColumnText(0) + "\n")
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "horde.db")
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	schemas := []string{""}
	for version := range int64(len(files)) {
		if err := migrate(t.Context(), path, version+1); err != nil {
			t.Fatal(err)
		}
		schemas = append(schemas, schema(t, path))
	}
	if !strings.Contains(schemas[len(files)], "CREATE TABLE requests") {
		t.Fatalf("the schema is\n%s", schemas[len(files)])
	}
	for version := int64(len(files)) - 1; version >= 0; version-- {
		if err := migrate(t.Context(), path, version); err != nil {
			t.Fatal(err)
		}
		if got := schema(t, path); got != schemas[version] {
			t.Fatalf("down to %d the schema is\n%s\nwant\n%s", version, got, schemas[version])
		}
	}
	if err := migrate(t.Context(), path, latest); err != nil {
		t.Fatal(err)
	}
	if got := schema(t, path); got != schemas[len(files)] {
		t.Fatalf("up again the schema is\n%s", got)
	}
}

func TestNewerSchema(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if err := execute(s.writer, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if _, err := Open(t.Context(), s.path); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Fatalf("opened: %v", err)
	}
	// What failed to open left no lock behind.
	db, err := sql.Open("sqlite", s.path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec("DELETE FROM goose_db_version WHERE version_id = 99")
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s, err = Open(t.Context(), s.path)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
}

func TestQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	defer mustClose(t, s)
	for _, query := range []string{
		removeUser, removeWorker, removeEarnings, removeOrder, removeRequest, removeJobs, removeDocument, lastRequest, lastEvent,
		updateRequest, selectRequests, selectJobs, selectUsers, selectBalances, selectEvents,
	} {
		plan := ""
		err := each(s.writer, "EXPLAIN QUERY PLAN "+query, nil, func(c *columns) error {
			plan += c.ColumnText(3) + "\n"
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// max() reads one end of an index, which is called a search.
		if !strings.Contains(plan, "SEARCH") || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s\n%s", query, plan)
		}
	}
}
