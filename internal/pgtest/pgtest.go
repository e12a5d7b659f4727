// SPDX-License-Identifier: AGPL-3.0-or-later

// Package pgtest gives tests a PostgreSQL that they start by themselves. Where none is installed the test is skipped, or
// fails if HORDE_TEST_REQUIRE=1.
package pgtest

import (
	"bytes"
	"context"
	"errors"
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

	"github.com/jackc/pgx/v5"
)

// shared is the server of the test process, which starts at the first call of Database.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Main runs the tests of a package and ends the PostgreSQL that they may have started. Call it from TestMain, if anything
// calls Database.
func Main(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.remove()
	}
	os.Exit(code)
}

// Database makes an empty database in the server that all tests of the process share, and returns its URL.
func Database(t testing.TB) string {
	t.Helper()
	return Shared(t).Database(t)
}

// Shared is the server that all tests of the process share. Do not stop it.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = newServer("fsync=off") })
	if shared.err != nil {
		missing(t, shared.err)
	}
	return shared.server
}

// New starts a server for one test. Settings are "name=value".
func New(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := newServer(settings...)
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(s.remove)
	return s
}

func missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("HORDE_TEST_REQUIRE") == "1" {
		t.Fatalf("no PostgreSQL: %v", err)
	}
	t.Skipf("no PostgreSQL: %v", err)
}

// Server is a PostgreSQL on a port of the loopback address.
type Server struct {
	dir      string
	port     int
	settings []string
	attr     *syscall.SysProcAttr
	next     atomic.Int64 // number of the last database

	cmd *exec.Cmd // nil while it is stopped; one test at a time starts and stops it
	log bytes.Buffer
}

// newServer makes a cluster in a temporary directory and waits until it answers. PostgreSQL refuses to run as root, so then
// it runs as the user postgres, or nobody.
func newServer(settings ...string) (_ *Server, err error) {
	initdb, err := binary("initdb")
	if err != nil {
		return nil, err
	}
	s := &Server{settings: settings, attr: &syscall.SysProcAttr{}}
	if s.dir, err = os.MkdirTemp("", "horde-pg-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			if u, err = user.Lookup("nobody"); err != nil {
				return nil, err
			}
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return nil, err
		}
	}
	init := exec.Command(initdb, "-D", s.data(), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	init.SysProcAttr, init.Dir = s.attr, s.dir
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	return s, s.Start()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// binary finds a program of PostgreSQL, newest version first.
func binary(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err == nil && len(found) > 0 {
		slices.Sort(found)
		return found[len(found)-1], nil
	}
	return exec.LookPath(name)
}

// Start starts the server again and waits until it answers.
func (s *Server) Start() error {
	server, err := binary("postgres")
	if err != nil {
		return err
	}
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.port), "-k", s.dir, "-c", "listen_addresses=127.0.0.1",
		"-c", "max_connections=300", "-c", "shared_buffers=64MB"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.cmd = exec.Command(server, args...)
	s.cmd.SysProcAttr, s.cmd.Dir, s.cmd.Stderr = s.attr, s.dir, &s.log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	for range 600 {
		if err = s.exec("select 1"); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond) // another process starts; there is nothing to wait on
	}
	return fmt.Errorf("PostgreSQL does not answer: %w: %s", err, s.log.String())
}

// Stop ends the server: with SIGINT in good order, breaking off what is running; with SIGQUIT as a crash would.
func (s *Server) Stop(how os.Signal) error {
	if s.cmd == nil {
		return nil
	}
	cmd := s.cmd
	s.cmd = nil
	if err := cmd.Process.Signal(how); err != nil {
		return err
	}
	err := cmd.Wait()
	if _, ended := errors.AsType[*exec.ExitError](err); ended { // its code differs with the signal
		return nil
	}
	return err
}

func (s *Server) remove() {
	_ = s.Stop(syscall.SIGINT)
	_ = os.RemoveAll(s.dir)
}

// PID is the number of the server's first process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// URL names a database of the server.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// Database makes an empty database and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	return s.Copy(t, "template1")
}

// Copy makes a database like another, which nobody may be connected to, and returns its URL.
func (s *Server) Copy(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprintf("t%d", s.next.Add(1))
	if err := s.exec("create database " + name + " template " + template); err != nil {
		t.Fatal(err)
	}
	return s.URL(name)
}

// Drop removes a database that Database or Copy made, and whoever is connected to it.
func (s *Server) Drop(t testing.TB, location string) {
	t.Helper()
	config, err := pgx.ParseConfig(location)
	if err == nil {
		err = s.exec("drop database " + config.Database + " with (force)")
	}
	if err != nil {
		t.Error(err)
	}
}

// Exec runs SQL that needs no answer in a database.
func Exec(location, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, location)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

func (s *Server) exec(sql string) error { return Exec(s.URL("postgres"), sql) }
