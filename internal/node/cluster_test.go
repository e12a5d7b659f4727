// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"context"
	"encoding/json"
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
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"horde/internal/node"
	"horde/internal/pgtest"
	"horde/internal/store/postgres"
)

const (
	// memberDatabase tells the test binary to be one of several nodes on that database in place of running tests.
	memberDatabase = "HORDE_TEST_MEMBER_DATABASE"
	memberDir      = "HORDE_TEST_MEMBER_DIR"
	// clusterRounds is how many times a leader is got rid of; make crash-cluster sets it.
	clusterRounds = "HORDE_TEST_CLUSTER_ROUNDS"
)

// serveMember is a node until it is told to stop, or killed. It tells on its output where it listens.
func serveMember(database, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	level := slog.LevelError
	if os.Getenv("HORDE_TEST_VERBOSE") != "" {
		level = slog.LevelDebug
	}
	url := "http://" + l.Addr().String()
	m, err := node.Join(ctx, node.Config{
		Data: dir, Database: database, NodeAddress: url, Version: "test", NoRateLimit: true,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("at", l.Addr().String()),
	})
	if err != nil {
		return err
	}
	fmt.Println(url)
	if err := m.Serve(ctx, l); err != nil {
		return err
	}
	return m.Close()
}

// startMember starts a node in another process.
func startMember(t *testing.T, database string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), memberDatabase+"="+database, memberDir+"="+t.TempDir())
	return await(t, cmd)
}

// cluster is three nodes in processes of their own, and what was acknowledged by any of them.
type cluster struct {
	t        *testing.T
	database string
	record   *postgres.Store // to see who leads; it never does itself
	nodes    [3]atomic.Pointer[child]

	*journal
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, database: pgtest.Database(t)}
	var err error
	if c.record, err = postgres.Open(t.Context(), c.database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.record.Close() })
	c.journal = newJournal(t, c.config()) // nobody leads yet, so the commands do
	for i := range c.nodes {
		c.nodes[i].Store(startMember(t, c.database))
	}
	return c
}

// config is that of somebody who knows the database, and nothing else.
func (c *cluster) config() node.Config {
	return node.Config{Data: c.t.TempDir(), Database: c.database, Log: slog.New(slog.DiscardHandler)}
}

// leader returns the node that leads, or -1.
func (c *cluster) leader() int {
	l, err := c.record.Leader(context.Background())
	if err != nil || l.Remaining <= 0 {
		return -1
	}
	for i := range c.nodes {
		if c.nodes[i].Load().url == l.Address {
			return i
		}
	}
	return -1
}

// awaitLeader waits until a node other than one leads.
func (c *cluster) awaitLeader(other int) int {
	c.t.Helper()
	for range 300 {
		if i := c.leader(); i >= 0 && i != other {
			return i
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.t.Fatal("no node leads")
	return -1
}

// any is a node that is not the one given.
func (c *cluster) any(but int) *child {
	i := rand.IntN(len(c.nodes))
	if i == but {
		i = (i + 1) % len(c.nodes)
	}
	return c.nodes[i].Load()
}

// anywhere makes a call to any node.
func (c *cluster) anywhere(method, path, key string, body any) reply {
	return c.any(-1).ask(method, path, key, body)
}

// back measures how long it takes until a change that was asked for after now is acknowledged by a node other than one.
func (c *cluster) back(but int) time.Duration {
	began := time.Now()
	for time.Since(began) < time.Minute {
		if r := c.submit(c.any(but).ask, false); r.status == http.StatusAccepted {
			return time.Since(began)
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatal("the horde does not come back")
	return 0
}

// settled repeats a call through any node until it is answered by an engine.
func (c *cluster) settled(method, path, key string, body any) (r reply) {
	for range 100 {
		if r = c.anywhere(method, path, key, body); r.status != 0 && r.status != http.StatusServiceUnavailable {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return r
}

// look looks for everything that was acknowledged by any node.
func (c *cluster) look() {
	c.t.Helper()
	var report node.AuditReport
	c.check(c.t, c.settled, func() node.AuditReport {
		var err error
		if report, err = node.Audit(c.t.Context(), c.config()); err != nil {
			c.t.Fatal(err)
		}
		return report
	})
	c.t.Logf("round %d: %d requests accepted, %d jobs handed out and paid in the last three rounds; %d events, the audit is clean",
		c.round, len(c.requests), len(c.jobs), report.Events)
}

// TestLeadersThatDieOrSleepLoseNothing takes the leader of three nodes away under load, time and again: it is killed, stopped
// for longer than its lease and woken, or told to stop. What any node acknowledged must be there afterwards, once, and the
// books must be right.
func TestLeadersThatDieOrSleepLoseNothing(t *testing.T) {
	rounds := 3
	if n, err := strconv.Atoi(os.Getenv(clusterRounds)); err == nil {
		rounds = n
	} else if testing.Short() {
		t.Skip("takes a minute")
	}
	c := startCluster(t)
	c.awaitLeader(-1)
	times := map[string][]time.Duration{}
	ways := []struct {
		name string
		lose func(*cluster, int) time.Duration
	}{
		{"killed", (*cluster).kill}, {"slept", (*cluster).sleep}, {"told to stop", (*cluster).stop},
	}
	for c.round = range rounds {
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for i := range 60 {
			clients.Go(func() { c.work(i, c.anywhere, stop) })
		}
		time.Sleep(time.Duration(1000+rand.IntN(1000)) * time.Millisecond)
		way := ways[c.round%len(ways)]
		took := way.lose(c, c.awaitLeader(-1))
		times[way.name] = append(times[way.name], took)
		time.Sleep(500 * time.Millisecond)
		close(stop)
		clients.Wait()
		t.Logf("round %d: the leader was %s; changes were acknowledged again after %v", c.round, way.name, took.Round(time.Millisecond))
		c.look()
	}
	if c.delivered == 0 {
		t.Fatal("no job was paid: the test shows nothing")
	}
	for name, all := range times {
		slices.Sort(all)
		t.Logf("the leader was %s %d times: service was back after min %v, median %v, max %v", name, len(all),
			all[0].Round(time.Millisecond), all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
		if most := all[len(all)-1]; most > 15*time.Second {
			t.Errorf("service was away for %v", most)
		}
	}
}

// kill kills the leader and starts another process in its place.
func (c *cluster) kill(leader int) time.Duration {
	p := c.nodes[leader].Load()
	if err := p.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	took := c.back(leader)
	_ = p.cmd.Wait()
	c.nodes[leader].Store(startMember(c.t, c.database))
	return took
}

// stop tells the leader to stop, which must lose nobody a call, and starts another process in its place.
func (c *cluster) stop(leader int) time.Duration {
	p := c.nodes[leader].Load()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	took := c.back(leader)
	if err := p.cmd.Wait(); err != nil {
		c.t.Errorf("the leader that was told to stop: %v", err)
	}
	c.nodes[leader].Store(startMember(c.t, c.database))
	return took
}

// sleep stops the leader's process until another has its place and has changed something, and wakes it. Calls that came while
// it slept, and calls that come as it wakes, must not be answered from what it remembers.
func (c *cluster) sleep(leader int) time.Duration {
	p := c.nodes[leader].Load()
	status, body := p.call("POST", "/generate/text/async", c.requester, map[string]any{"prompt": "to be cancelled", "models": []string{"no worker has this"}})
	if status != http.StatusAccepted {
		c.t.Fatalf("submit: %d %v", status, body)
	}
	id := body["id"].(string)
	check := func() (int, map[string]any) { return p.call("GET", "/generate/text/status/"+id, "", nil) }
	if status, body := check(); status != http.StatusOK || body["waiting"] != 1.0 {
		c.t.Fatalf("before: %d %v", status, body)
	}
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		c.t.Fatal(err)
	}
	took := c.back(leader)
	if status, body := c.any(leader).call("DELETE", "/generate/text/status/"+id, "", nil); status != http.StatusOK {
		c.t.Fatalf("cancel: %d %v", status, body)
	}
	var reads sync.WaitGroup
	var fresh, refused atomic.Int64
	awake := make(chan struct{})
	for i := range 40 {
		reads.Go(func() {
			if i%2 == 1 { // these come as it wakes, the others have come before
				<-awake
				time.Sleep(time.Duration(i) * 500 * time.Microsecond)
			}
			switch status, body := check(); {
			case status != http.StatusOK:
				refused.Add(1)
			case body["waiting"] != 0.0:
				text, _ := json.Marshal(body)
				c.t.Errorf("the leader that woke up told of a request that was cancelled while it slept: %s", text)
			default:
				fresh.Add(1)
			}
		})
	}
	time.Sleep(time.Second) // so that the calls wait in its socket
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		c.t.Fatal(err)
	}
	close(awake)
	reads.Wait()
	c.t.Logf("round %d: the leader that woke up answered %d reads with what is, and refused %d", c.round, fresh.Load(), refused.Load())
	if status, _ := c.settledAt(p, "GET", "/generate/text/status/"+id); status != http.StatusOK {
		c.t.Errorf("the node that woke up does not serve: %d", status)
	}
	return took
}

// settledAt is settled at one node.
func (c *cluster) settledAt(p *child, method, path string) (status int, body map[string]any) {
	for range 100 {
		if status, body = p.call(method, path, "", nil); status == http.StatusOK {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return status, body
}
