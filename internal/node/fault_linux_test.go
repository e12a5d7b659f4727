// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"horde/internal/node"
	"horde/internal/pgtest"
)

// outage is something that keeps a server from its record for a while.
type outage struct {
	name   string
	begin  func(t *testing.T, dir string, c *child)
	end    func(t *testing.T, dir string, c *child)
	logged string // what the log says, in part
}

// smallDisk mounts a disk of some megabytes on a directory of the test.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("mounting a small disk needs rights that this process does not have: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// growth sets how large a file of the process may become, in bytes. With none every write to a file fails, as on a broken or
// read-only disk, whoever runs the test.
func growth(t *testing.T, c *child, most uint64) {
	t.Helper()
	limit := unix.Rlimit{Cur: most, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(c.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Fatal(err)
	}
}

func nothingMayBeWritten(t *testing.T, _ string, c *child)    { growth(t, c, 0) }
func everythingMayBeWritten(t *testing.T, _ string, c *child) { growth(t, c, unix.RLIM_INFINITY) }

// fill leaves no room on the disk of a directory.
func fill(t *testing.T, dir string, _ *child) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func makeRoom(t *testing.T, dir string, _ *child) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
}

// record are the files of a record in SQLite.
func record(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, node.RecordFile+"*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		if !strings.HasSuffix(f, ".lock") {
			all = append(all, f)
		}
	}
	return all
}

// takeAway moves the record elsewhere. A file that is open stays readable and writable, so the next write is made to fail: the
// server drops its memory, and has nothing to load.
func takeAway(t *testing.T, dir string, c *child) {
	t.Helper()
	away := filepath.Join(dir, "away")
	if err := os.Mkdir(away, 0o700); err != nil {
		t.Fatal(err)
	}
	growth(t, c, 0)
	for _, f := range record(t, dir) {
		if err := os.Rename(f, filepath.Join(away, filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
	await503(t, c)
	growth(t, c, unix.RLIM_INFINITY)
}

func bringBack(t *testing.T, dir string, _ *child) {
	t.Helper()
	if made := record(t, dir); len(made) > 0 {
		t.Errorf("in place of a record that was away there are %v", made)
	}
	for _, f := range record(t, filepath.Join(dir, "away")) {
		if err := os.Rename(f, filepath.Join(dir, filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
}

// await503 waits until the server says that it cannot serve.
func await503(t *testing.T, c *child) {
	t.Helper()
	for range 500 {
		if r := c.ask("POST", "/generate/text/async", "0000000000", map[string]any{"prompt": "x", "models": []string{"no worker has this"}}); r.status == http.StatusServiceUnavailable {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the server does not notice")
}

// TestOutagesOfTheDisk keeps a server under load from its disk: it must refuse with 503, answer nothing that is not so, say why
// in its log, and serve again without a hand, with everything that it had acknowledged.
func TestOutagesOfTheDisk(t *testing.T) {
	t.Parallel()
	for _, o := range []outage{
		{"nothing may be written", nothingMayBeWritten, everythingMayBeWritten, "the record could not be written"},
		{"the disk is full", fill, makeRoom, "full"},
		{"the file is gone", takeAway, bringBack, "the record is still not to be had"},
	} {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if o.name == "the disk is full" {
				dir = smallDisk(t)
			}
			c := startChild(t, dir)
			defer func() {
				if t.Failed() {
					t.Logf("the server's log:\n%s", c.log)
				}
			}()
			j := newJournal(t, node.Config{Data: dir})
			j.images = true
			for j.round = range 2 {
				j.during(t, c.ask, func() {
					o.begin(t, dir, c)
					await503(t, c)
					time.Sleep(1500 * time.Millisecond)
					j.mu.Lock()
					before := j.accepted
					j.mu.Unlock()
					j.reads(t, c.ask)
					if r := j.submit(c.ask, false); r.status != http.StatusServiceUnavailable {
						t.Errorf("in the outage: %d %s", r.status, r.text)
					}
					j.mu.Lock()
					if n := j.accepted - before; n > 0 && o.name != "the disk is full" { // which may take what is small
						t.Errorf("%d requests were accepted in the outage", n)
					}
					j.mu.Unlock()
					o.end(t, dir, c)
				})
				j.check(t, c.ask, audit(t, dir))
			}
			if log := c.log.String(); !strings.Contains(log, o.logged) {
				t.Errorf("the log does not say %q", o.logged)
			}
			// The same from the record alone.
			c.kill(t)
			c = startChild(t, dir)
			j.check(t, c.ask, audit(t, dir))
			t.Logf("%d requests and %d deliveries acknowledged, %d calls refused, %d without an answer; nothing lost or doubled, the audit is clean",
				j.accepted, j.delivered, j.refused, j.ambiguous)
		})
	}
}

// reads asks for some of what was acknowledged: the answer may be a refusal, and otherwise it must be right.
func (j *journal) reads(t *testing.T, call caller) {
	t.Helper()
	j.mu.Lock()
	ids, requests := slices.Collect(maps.Keys(j.requests)), maps.Clone(j.requests)
	j.mu.Unlock()
	for _, id := range ids[:min(50, len(ids))] {
		r := call("GET", j.path(requests[id].image)+"/status/"+id, "", nil)
		if r.status == http.StatusServiceUnavailable {
			continue
		}
		if r.status != http.StatusOK || r.body["finished"].(float64)+r.body["processing"].(float64)+r.body["waiting"].(float64) != 1 {
			t.Errorf("in the outage, of the accepted request %s: %d %s", id, r.status, r.text)
		}
	}
}

// during plays lifecycles while something happens, and tells how long after it a change was acknowledged again.
func (j *journal) during(t *testing.T, call caller, happens func()) {
	t.Helper()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() { j.work(i, call, stop) })
	}
	defer clients.Wait()
	defer close(stop)
	time.Sleep(500 * time.Millisecond)
	happens()
	began := time.Now()
	for time.Since(began) < time.Minute {
		if r := j.submit(call, false); r.status == http.StatusAccepted {
			t.Logf("round %d: a change was acknowledged %v after the end of the outage", j.round, time.Since(began).Round(time.Millisecond))
			time.Sleep(200 * time.Millisecond)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the server does not come back")
}

// TestAReadOnlyDisk starts a server where nothing can be written: it says so and ends, and starts when that is over.
func TestAReadOnlyDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	c := startChild(t, dir)
	j := newJournal(t, node.Config{Data: dir})
	j.during(t, c.ask, func() {})
	c.kill(t)
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=24m"); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var out bytes.Buffer
	cmd.Stderr = &out
	err := cmd.Run()
	if ctx.Err() != nil || err == nil || !strings.Contains(out.String(), "read-only file system") {
		t.Errorf("on a read-only disk: %v %s", err, out.String())
	}
	remount(0)
	c = startChild(t, dir)
	j.check(t, c.ask, audit(t, dir))
}

// TestTheDatabaseStopsForAWhile stops PostgreSQL, in good order and as a crash would, under the load of one node.
func TestTheDatabaseStopsForAWhile(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t)
	database := server.Database(t)
	cfg := node.Config{Data: t.TempDir(), Database: database}
	j := newJournal(t, cfg)
	c := startMember(t, database)
	for i, how := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		j.round = i
		j.during(t, c.ask, func() {
			if err := server.Stop(how); err != nil {
				t.Fatal(err)
			}
			// Calls wait for a leader for some seconds, and are refused then.
			if r := j.submit(c.ask, false); r.status != http.StatusServiceUnavailable {
				t.Errorf("while the database is stopped: %d %s", r.status, r.text)
			}
			time.Sleep(3 * time.Second)
			j.reads(t, c.ask)
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
		})
		j.check(t, c.ask, func() node.AuditReport {
			report, err := node.Audit(t.Context(), cfg)
			if err != nil {
				t.Fatal(fmt.Errorf("audit: %w", err))
			}
			return report
		})
	}
	t.Logf("%d requests and %d deliveries acknowledged, %d calls refused, %d without an answer; nothing lost or doubled, the audit is clean",
		j.accepted, j.delivered, j.refused, j.ambiguous)
}
