// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite/sqlitex"

	zsqlite "zombiezen.com/go/sqlite"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
	"horde/internal/store/sqlite"
)

// crashFile names, in the environment of a child process, the database that it writes until it is killed.
const crashFile = "HORDE_TEST_CRASH_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		if err := writeForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// What each batch of the crash test holds. Batches are numbered from 1, and everything in a batch carries its number.
const (
	crashRequests = 7
	crashEvents   = 3
	crashKeep     = 10 // how many batches' requests are kept
	crashUsers    = 5
	crashPrompt   = 20_000 // bytes, so that the log fills up and is folded into the file while the child lives
)

func crashRequest(batch, i int64) horde.RequestID {
	var id horde.RequestID
	copy(id.UUID[:], fmt.Sprintf("%08d%08d", batch, i))
	return id
}

func crashBatch(n int64) *store.Batch {
	b := &store.Batch{
		Settings: &store.Settings{NextUser: horde.UserID(n)},
		Balances: map[horde.UserID]kudos.Balance{horde.UserID(n % crashUsers): {Spendable: horde.Kudos(n)}},
		System:   map[kudos.AccountClass]horde.Kudos{kudos.SystemTax: horde.Kudos(n)},
	}
	for i := range int64(crashRequests) {
		id := crashRequest(n, i)
		b.NewRequests = append(b.NewRequests, horde.Request{ID: id, Priority: n, Order: (&horde.Order{
			Kind: horde.Image, Prompt: strings.Repeat("x", crashPrompt), Image: &horde.ImageParams{},
		}).Pack()})
		b.Jobs = append(b.Jobs, horde.Job{Request: id, ID: horde.JobID(id), Seed: n})
		if n > 1 {
			b.Requests = append(b.Requests, horde.Request{ID: crashRequest(n-1, i), Priority: n - 1, Charged: horde.Kudos(n)})
		}
		if n > crashKeep {
			b.DeletedRequests = append(b.DeletedRequests, crashRequest(n-crashKeep, i))
		}
	}
	for i := range int64(crashEvents) {
		b.Events = append(b.Events, &kudos.Event{No: (n-1)*crashEvents + i + 1, Key: fmt.Sprintf("%d:%d", n, i), Usage: n})
	}
	return b
}

// writeForever prints the number of each batch when it is committed.
func writeForever(path string) error {
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return err
	}
	state, err := s.Load(context.Background())
	if err != nil {
		return err
	}
	for n := state.LastEvent/crashEvents + 1; ; n++ {
		if err := s.Commit(context.Background(), crashBatch(n)); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestCrash kills a process that writes, again and again.
func TestCrash(t *testing.T) {
	t.Parallel()
	const (
		rounds  = 20
		longest = 60 * time.Millisecond // that a child may write
	)
	path := filepath.Join(t.TempDir(), "horde.db")
	total := int64(0)
	for round := range rounds {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashFile+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged := int64(0)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			n, err := strconv.ParseInt(lines.Text(), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if acknowledged == 0 {
				if round == 0 {
					_, err := sqlite.Open(t.Context(), path)
					if err == nil || !strings.Contains(err.Error(), strconv.Itoa(child.Process.Pid)) {
						t.Errorf("two processes opened the file, or the other one is not named: %v", err)
					}
				}
				time.AfterFunc(rand.N(longest), func() { _ = child.Process.Kill() })
			}
			acknowledged = n
		}
		if err := child.Wait(); err == nil || acknowledged == 0 {
			t.Fatalf("round %d: the child ended by itself after batch %d: %v", round, acknowledged, err)
		}
		total = checkCrash(t, path, acknowledged)
	}
	t.Logf("%d batches in %d lives", total, rounds)
}

// checkCrash opens what a killed process left, and returns the number of the last batch in it.
func checkCrash(t *testing.T, path string, acknowledged int64) int64 {
	t.Helper()
	s := open(t, path)
	state, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := int64(state.Settings.NextUser)
	if last < acknowledged || last > acknowledged+1 {
		t.Fatalf("batch %d was acknowledged, the record ends with %d", acknowledged, last)
	}
	seen := int64(0)
	for e, err := range s.Events(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; e.No != seen || e.Usage != (seen-1)/crashEvents+1 {
			t.Fatalf("event %d is %+v", seen, e)
		}
	}
	if seen != last*crashEvents || state.LastEvent != seen || state.System[kudos.SystemTax] != horde.Kudos(last) {
		t.Fatalf("batch %d: %d events, last %d, tax %d", last, seen, state.LastEvent, state.System[kudos.SystemTax])
	}
	for n := max(1, last-crashUsers+1); n <= last; n++ {
		if b := state.Balances[horde.UserID(n%crashUsers)]; b.Spendable != horde.Kudos(n) {
			t.Fatalf("batch %d: the balance is %d", n, b.Spendable)
		}
	}
	first := max(1, last-crashKeep+1)
	if want := int(last-first+1) * crashRequests; len(state.Requests) != want || len(state.Jobs) != want {
		t.Fatalf("%d requests and %d jobs, want %d", len(state.Requests), len(state.Jobs), want)
	}
	for i, r := range state.Requests {
		n := first + int64(i/crashRequests)
		charged := horde.Kudos(n + 1) // by the batch after
		if n == last {
			charged = 0
		}
		if r.ID != crashRequest(n, int64(i%crashRequests)) || r.Priority != n || r.Charged != charged || len(r.Order.Prompt()) != crashPrompt {
			t.Fatalf("request %d is %+v", i, r)
		}
	}
	for i, j := range state.Jobs {
		if n := first + int64(i/crashRequests); j.Seed != n || j.Request != crashRequest(n, int64(i%crashRequests)) {
			t.Fatalf("job %d is %+v", i, j)
		}
	}
	closeStore(t, s)

	conn, err := zsqlite.OpenConn(path, zsqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = sqlitex.Execute(conn, "PRAGMA integrity_check", &sqlitex.ExecOptions{ResultFunc: func(stmt *zsqlite.Stmt) error {
		if answer := stmt.ColumnText(0); answer != "ok" {
			return fmt.Errorf("integrity check: %s", answer)
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return last
}
