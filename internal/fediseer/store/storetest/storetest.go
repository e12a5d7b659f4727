// SPDX-License-Identifier: AGPL-3.0-or-later

// Package storetest gives tests both databases: a SQLite file, and a PostgreSQL that it starts by itself.
package storetest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"horde/internal/fediseer/store"
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
	return postgres(t)
}

// Main runs the tests of a package and ends the PostgreSQL that they may have started. Call it from TestMain.
func Main(m *testing.M) {
	code := m.Run()
	cluster.stop()
	os.Exit(code)
}

// pg is the PostgreSQL of a test process.
type pg struct {
	once sync.Once
	err  error
	dir  string
	port int
	cmd  *exec.Cmd
	next atomic.Int64
}

var cluster pg

// postgres makes a database in the cluster of the process, which starts at the first call.
func postgres(t testing.TB) string {
	t.Helper()
	cluster.once.Do(func() { cluster.err = cluster.start() })
	if cluster.err != nil {
		if os.Getenv("HORDE_TEST_REQUIRE") == "1" {
			t.Fatal(cluster.err)
		}
		t.Skipf("no PostgreSQL: %v", cluster.err)
	}
	name := fmt.Sprintf("t%d", cluster.next.Add(1))
	db, err := sql.Open("pgx", cluster.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("create database " + name); err != nil {
		t.Fatal(err)
	}
	return cluster.url(name)
}

func (p *pg) url(db string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", p.port, db)
}

// binary finds a program of PostgreSQL, newest version first.
func binary(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err == nil && len(found) > 0 {
		slices.Sort(found)
		return found[len(found)-1], nil
	}
	return exec.LookPath(name)
}

// start makes a cluster in a temporary directory and waits until it answers. PostgreSQL refuses to run as root, so then
// it runs as the user postgres, or nobody.
func (p *pg) start() error {
	initdb, err := binary("initdb")
	if err != nil {
		return err
	}
	server, err := binary("postgres")
	if err != nil {
		return err
	}
	if p.dir, err = os.MkdirTemp("", "fediseer-pg-"); err != nil {
		return err
	}
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			if u, err = user.Lookup("nobody"); err != nil {
				return err
			}
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(p.dir, uid, gid); err != nil {
			return err
		}
	}
	data := filepath.Join(p.dir, "data")
	init := exec.Command(initdb, "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	init.SysProcAttr, init.Dir = attr, p.dir
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	var log bytes.Buffer
	p.cmd = exec.Command(server, "-D", data, "-p", strconv.Itoa(p.port), "-k", p.dir, "-c", "listen_addresses=127.0.0.1",
		"-c", "fsync=off", "-c", "max_connections=300", "-c", "shared_buffers=32MB")
	p.cmd.SysProcAttr, p.cmd.Dir, p.cmd.Stderr = attr, p.dir, &log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	for range 300 {
		if err = db.Ping(); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond) // another process starts; there is nothing to wait on
	}
	return fmt.Errorf("PostgreSQL does not answer: %w: %s", err, log.String())
}

func (p *pg) stop() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		_ = p.cmd.Wait()
	}
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}
