// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres

import (
	"context"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"horde/internal/pgtest"
	"horde/internal/store/storetest"
)

func newStore(t *testing.T, location string) *Store {
	t.Helper()
	s, err := Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if l, err := s.Campaign(t.Context(), "a node", "", time.Hour); err != nil || !l.Mine {
		t.Fatalf("%+v (%v)", l, err)
	}
	return s
}

// reload loads until that succeeds, as an engine does after a failed commit, and returns how many requests there are.
func reload(t *testing.T, s *Store) int {
	t.Helper()
	for start := time.Now(); ; {
		state, err := s.Load(context.Background())
		if err == nil {
			return len(state.Requests)
		}
		if time.Since(start) > 20*time.Second {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // the server may be starting
	}
}

// TestLostConnections ends the store's connections again and again while it commits. What was acknowledged is there, and a
// commit that failed is there whole or not at all, and stays so.
func TestLostConnections(t *testing.T) {
	t.Parallel()
	location := pgtest.Database(t)
	s := newStore(t, location)
	traffic, first := storetest.NewTraffic(1)
	if err := s.Commit(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var killer sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); killer.Wait() })
	defer end()
	killer.Go(func() {
		conn, err := pgx.Connect(context.Background(), location+"&application_name=killer")
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.Background())
		for {
			select {
			case <-stop:
				return
			case <-time.After(7 * time.Millisecond):
			}
			// Who has locked the leader's row is in the middle of a commit.
			_, err := conn.Exec(context.Background(), "select pg_terminate_backend(pid) from pg_locks "+
				"where relation = 'leader'::regclass and mode = 'RowShareLock'")
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	const size = 40
	want, failed := 0, 0
	for range 150 {
		err := s.Commit(context.Background(), traffic.Waiting(size))
		if err == nil {
			want += size
			continue
		}
		failed++
		switch n := reload(t, s); n {
		case want, want + size:
			want = n
		default:
			t.Fatalf("%d requests, want %d or %d (%v)", n, want, want+size, err)
		}
	}
	end()
	if n := reload(t, s); n != want {
		t.Fatalf("%d requests in the end, want %d", n, want)
	}
	if failed == 0 {
		t.Error("no commit was broken off")
	}
	t.Logf("%d of 150 commits were broken off", failed)
}

// TestRestart stops the server, in good order and as a crash would, and starts it again. The leadership is a part of the
// record and outlives it.
func TestRestart(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t)
	s := newStore(t, server.Database(t))
	traffic, first := storetest.NewTraffic(1)
	if err := s.Commit(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, how := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if err := s.Commit(t.Context(), traffic.Waiting(100)); err != nil {
			t.Fatal(err)
		}
		want += 100
		if err := server.Stop(how); err != nil {
			t.Fatal(err)
		}
		lost := traffic.Waiting(10)
		for range 3 {
			if err := s.Commit(t.Context(), lost); err == nil {
				t.Fatal("committed without a server")
			}
		}
		if err := s.Ping(t.Context()); err == nil {
			t.Fatal("a server that is stopped answers")
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		if n := reload(t, s); n != want {
			t.Fatalf("%d requests, want %d", n, want)
		}
		if err := s.Commit(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		want += 10
		if l, err := s.Leader(t.Context()); err != nil || !l.Mine {
			t.Fatalf("%+v (%v)", l, err)
		}
	}
	if n := reload(t, s); n != want {
		t.Fatalf("%d requests, want %d", n, want)
	}
}

// An order that is missing must not become a request without one.
func TestLostOrder(t *testing.T) {
	t.Parallel()
	location := pgtest.Database(t)
	s := newStore(t, location)
	traffic, _ := storetest.NewTraffic(1)
	if err := s.Commit(t.Context(), traffic.Waiting(3)); err != nil {
		t.Fatal(err)
	}
	if err := pgtest.Exec(location, "delete from orders where request_no = 2"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context()); err == nil {
		t.Error("loaded without an order")
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-of-the-database"
	for _, location := range []string{
		"postgres://u:" + secret + "@127.0.0.1:1/x", "postgres://u:" + secret + "@[::1/x", "mysql://u:" + secret + "@h/x", "horde.db",
		"postgres://u:" + secret + "@127.0.0.1:1/x?pool_max_conns=many",
	} {
		s, err := Open(t.Context(), location)
		if err == nil {
			t.Error(location, s.Close())
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells the password: %v", err)
		}
	}

	// Nodes that start at the same time on an empty database.
	location := pgtest.Database(t)
	var starting sync.WaitGroup
	for range 4 {
		starting.Go(func() {
			s, err := Open(t.Context(), location)
			if err != nil {
				t.Error(err)
				return
			}
			_ = s.Close()
		})
	}
	starting.Wait()

	if err := pgtest.Exec(location, "insert into goose_db_version (version_id, is_applied) values (99, true)"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), location); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Fatalf("a newer schema: %v", err)
	}
}

func TestDurable(t *testing.T) {
	t.Parallel()
	s := newStore(t, pgtest.Database(t)+"&synchronous_commit=off")
	var is string
	if err := s.work.QueryRow(t.Context(), "show synchronous_commit").Scan(&is); err != nil || is != "on" {
		t.Fatal(is, err)
	}
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	location := pgtest.Database(t)
	config, err := pgx.ParseConfig(location)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []int64{latest, 0, latest} {
		if err := migrate(t.Context(), config, version); err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.Connect(t.Context(), location)
		if err != nil {
			t.Fatal(err)
		}
		var left int
		err = conn.QueryRow(t.Context(), "select (select count(*) from pg_class where relnamespace = 'public'::regnamespace and "+
			"relkind = 'r' and relname not like 'goose%') + (select count(*) from pg_proc where pronamespace = 'public'::regnamespace)").Scan(&left)
		if err != nil || (left == 0) != (version == 0) {
			t.Fatalf("version %d: %d tables and functions (%v)", version, left, err)
		}
		_ = conn.Close(t.Context())
	}
}

func TestQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	s := newStore(t, pgtest.Database(t))
	conn, err := s.work.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, query := range []string{
		removeWorkers, removeEarnings, insertOrders, insertRequests, updateRequests, removeRequests, removeDocuments, checkEvents,
		selectRequests, selectJobs, selectUsers, selectBalances, selectEvents, lastEvent, jobRange,
	} {
		prepared, err := conn.Conn().Prepare(t.Context(), "explained", query)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		execute := "explain execute explained"
		if n := len(prepared.ParamOIDs); n > 0 {
			execute += "(" + strings.Repeat("null, ", n-1) + "null)"
		}
		rows, err := conn.Query(t.Context(), execute, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if plan := strings.Join(lines, "\n"); !strings.Contains(plan, "Index") || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s\n%s", query, plan)
		}
		if err := conn.Conn().Deallocate(t.Context(), "explained"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEscape(t *testing.T) {
	t.Parallel()
	for plain, want := range map[string]string{"": "", "a é 🐴\n": "a é 🐴\n", "\x00": "\x1a00", "a\x1ab": "a\x1a1ab", "\xffé": "\x1affé", "�": "�"} {
		if got := escape(plain); got != want {
			t.Errorf("%q became %q", plain, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "text"))
		e := escape(s)
		if back, err := unescape(e); err != nil || back != s || strings.ContainsRune(e, 0) || strings.ToValidUTF8(e, "") != e {
			t.Fatalf("%q became %q and %q (%v)", s, e, back, err)
		}
	})
	for _, bad := range []string{"\x1a", "\x1a0", "a\x1azz"} {
		if s, err := unescape(bad); err == nil {
			t.Errorf("%q became %q", bad, s)
		}
	}
}
