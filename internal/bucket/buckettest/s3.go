// SPDX-License-Identifier: AGPL-3.0-or-later

// Package buckettest starts a real S3 server for tests.
package buckettest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The keys of a Server.
const (
	Access = "access"
	Secret = "secretsecret"
)

// Server is versitygw, a real S3 server, over a directory with one bucket. It can be stopped and started again on the
// same address.
type Server struct {
	// Endpoint is its address as a URL. Dir is the directory in which a bucket is a directory and an object a file.
	Endpoint, Dir string

	t       testing.TB
	addr    string
	program string
	cmd     *exec.Cmd
}

// Start starts the server over a directory with an empty bucket until the test ends. Where versitygw is not installed the
// test is skipped, or fails if HORDE_TEST_REQUIRE is 1. It lies in HORDE_TEST_PARTS, or in .parts of the repository.
func Start(t testing.TB, bucket string) *Server {
	t.Helper()
	s := &Server{t: t, program: program(t), Dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(s.Dir, bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.Endpoint = "http://" + s.addr
	l.Close()
	s.Run()
	t.Cleanup(s.Stop)
	return s
}

// Run starts a server that was stopped.
func (s *Server) Run() {
	s.t.Helper()
	s.cmd = exec.Command(s.program, "--port", s.addr, "posix", s.Dir)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+Access, "ROOT_SECRET_KEY="+Secret)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("versitygw does not listen")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Stop kills the server. Its objects stay.
func (s *Server) Stop() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// program is the path of versitygw.
func program(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("HORDE_TEST_PARTS")
	if dir == "" {
		dir = filepath.Join(root(t), ".parts")
	}
	path := filepath.Join(dir, "bin", "versitygw")
	if _, err := os.Stat(path); err != nil {
		const why = "versitygw is not installed: run hack/parts-hordeling.sh"
		if os.Getenv("HORDE_TEST_REQUIRE") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return path
}

// root is the directory of go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}
