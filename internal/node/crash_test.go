// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"horde/internal/node"
	"horde/internal/pgtest"
)

// crashDir tells the test binary to be a node on that directory in place of running tests.
const crashDir = "HORDE_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := serveChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if database := os.Getenv(memberDatabase); database != "" {
		if err := serveMember(database, os.Getenv(memberDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	pgtest.Main(m)
}

// serveChild is a node until it is killed. It tells on its output where it listens.
func serveChild(dir string) error {
	signal.Ignore(syscall.SIGXFSZ) // a file that may not grow is an error, as on a full disk
	n, err := node.Open(context.Background(), node.Config{
		Data: dir, Version: "test", NoRateLimit: true, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	return n.Serve(context.Background(), l)
}

// child is a node in another process.
type child struct {
	cmd *exec.Cmd
	url string
	log *logged // what it writes to its standard error, where somebody listens
}

// logged keeps what a process logs.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// childCommand is a node on a directory, not yet started, whose log is kept, and told if the test fails.
func childCommand(t *testing.T, dir string) (*exec.Cmd, *logged) {
	t.Helper()
	cmd, log := exec.Command(os.Args[0], "-test.run=^$"), &logged{}
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = log
	return cmd, log
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	cmd, log := childCommand(t, dir)
	defer func() {
		if t.Failed() {
			t.Logf("its log:\n%s", log)
		}
	}()
	c := await(t, cmd)
	c.log = log
	return c
}

// await starts a node's process and waits until it says where it listens.
func await(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the node did not start: %v", err)
	}
	return &child{cmd: cmd, url: strings.TrimSpace(line)}
}

// kill ends the process without warning.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
}

// audit asks a running node to audit itself: its ledger, its record, and its memory.
func audit(t *testing.T, dir string) func() node.AuditReport {
	return func() node.AuditReport {
		t.Helper()
		report, err := node.Audit(t.Context(), node.Config{Data: dir})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
}

const (
	// crashRounds is how many times the server is killed; make crash sets it.
	crashRounds = "HORDE_TEST_CRASH_ROUNDS"
	// crashClients play lifecycles at a time.
	crashClients = 9
	// crashRoundsEach is how many rounds are played on a data directory before the next one is begun: what 20 minutes of
	// traffic leave behind is enough to load.
	crashRoundsEach = 100
)

// TestKillsUnderLoadLoseNothing kills the server without warning at a random moment under load, starts it again on the same
// data directory, sometimes kills it again while it starts, looks for everything that it had answered for, and begins anew.
func TestKillsUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	rounds, most := 20, 300*time.Millisecond // from the first delivery on
	if n, err := strconv.Atoi(os.Getenv(crashRounds)); err == nil {
		rounds = n
	} else if testing.Short() {
		rounds = 3
	}
	var recoveries []time.Duration
	kills, played := 0, 0
	var sum journal
	defer func() {
		slices.Sort(recoveries)
		if n := len(recoveries); n > 0 && !t.Failed() {
			t.Logf("%d rounds, %d kills: %d requests and %d deliveries acknowledged, %d jobs handed out (%d images), %d calls without an answer; lost 0, "+
				"doubles 0, every audit clean; a change was acknowledged again after min %v, median %v, max %v", played, kills, sum.accepted, sum.delivered, sum.known,
				sum.pictures, sum.ambiguous, recoveries[0].Round(time.Millisecond), recoveries[n/2].Round(time.Millisecond), recoveries[n-1].Round(time.Millisecond))
		}
	}()
	for played < rounds {
		dir := t.TempDir()
		c := startChild(t, dir)
		j := newJournal(t, node.Config{Data: dir})
		j.images = true
		for j.round = 0; j.round < crashRoundsEach && played < rounds; j.round++ {
			stop, paid := make(chan struct{}), j.paid()
			var clients sync.WaitGroup
			for i := range crashClients {
				clients.Go(func() { j.work(i, c.ask, stop) })
			}
			for range 500 { // the moment is random, but not before there is something to lose
				if j.paid() > paid {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(rand.N(most))
			c.kill(t)
			kills++
			close(stop)
			clients.Wait()

			if rand.IntN(4) == 0 {
				cmd, _ := childCommand(t, dir)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(rand.N(150 * time.Millisecond))
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				kills++
			}
			began := time.Now()
			c = startChild(t, dir)
			if r := j.submit(c.ask, false); r.status != http.StatusAccepted {
				t.Fatalf("round %d: the first call after the restart: %d %s", played, r.status, r.text)
			}
			recoveries = append(recoveries, time.Since(began))
			j.check(t, c.ask, audit(t, dir))
			if played++; played%50 == 0 {
				t.Logf("%d rounds, %d kills; %d deliveries acknowledged on this directory; the audit is clean", played, kills, j.delivered)
			}
		}
		c.kill(t)
		sum.accepted, sum.delivered, sum.known = sum.accepted+j.accepted, sum.delivered+j.delivered, sum.known+j.known
		sum.pictures, sum.ambiguous = sum.pictures+j.pictures, sum.ambiguous+j.ambiguous
	}
	if sum.delivered < rounds || sum.pictures == 0 {
		t.Errorf("%d jobs were delivered before the kills, %d images were handed out: the test shows little", sum.delivered, sum.pictures)
	}
}
