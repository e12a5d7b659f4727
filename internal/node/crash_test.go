// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
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
	n, err := node.Open(context.Background(), node.Config{Data: dir, Version: "test", NoRateLimit: true, Log: slog.New(slog.DiscardHandler)})
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
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	return await(t, cmd)
}

// await starts a node's process and waits until it says where it listens.
func await(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the node did not start: %v", err)
	}
	return &child{cmd, strings.TrimSpace(line)}
}

// call makes a call and returns the status, zero when there was no answer.
func (c *child) call(method, path, key string, body any) (int, map[string]any) {
	text, _ := json.Marshal(body)
	req, _ := http.NewRequest(method, c.url+"/api/v2"+path, bytes.NewReader(text))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("apikey", key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil
	}
	var object map[string]any
	_ = json.Unmarshal(answer, &object)
	return res.StatusCode, object
}

// acknowledged is what the node has answered for before it was killed.
type acknowledged struct {
	sync.Mutex
	requests map[string]bool    // accepted
	popped   map[string]bool    // jobs handed out
	paid     map[string]float64 // job to reward
}

// TestKillInTheMiddleOfManyLifecyclesLosesNothing kills the server without warning while 200 lifecycles are under way, starts
// it again, and looks for everything that it had answered for.
func TestKillInTheMiddleOfManyLifecyclesLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n, err := node.Open(t.Context(), node.Config{Data: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	user := func(name string, roles horde.Roles) string {
		_, key, err := n.Engine.Register(t.Context(), engine.NewUser{Name: name, OAuthID: "g_" + name, Kudos: 1_000_000_00, Concurrency: 500, Roles: roles})
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	requester, owner := user("requester", 0), user("owner", horde.Trusted)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	seen := &acknowledged{requests: map[string]bool{}, popped: map[string]bool{}, paid: map[string]float64{}}
	for round := range 3 {
		c := startChild(t, dir)
		if round > 0 {
			seen.check(t, c, owner)
		}
		var clients sync.WaitGroup
		stop := make(chan struct{})
		for i := range 200 {
			clients.Go(func() { seen.lifecycles(c, i, requester, owner, stop) })
		}
		seen.wait(50 + rand.IntN(100))
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.cmd.Wait()
		close(stop)
		clients.Wait()
		report, err := node.Audit(t.Context(), node.Config{Data: dir})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Findings) > 0 {
			t.Fatalf("round %d: the audit finds:\n%s", round, strings.Join(report.Findings, "\n"))
		}
		t.Logf("round %d: %d requests accepted, %d jobs handed out, %d paid so far; %d events", round, len(seen.requests), len(seen.popped), len(seen.paid), report.Events)
	}
	seen.check(t, startChild(t, dir), owner)
	if len(seen.paid) == 0 {
		t.Fatal("no job was paid before the kills: the test shows nothing")
	}
}

// wait returns when so many more jobs are paid, or after a while.
func (a *acknowledged) wait(jobs int) {
	paid := func() int {
		a.Lock()
		defer a.Unlock()
		return len(a.paid)
	}
	enough := paid() + jobs
	for range 600 {
		if paid() >= enough {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// lifecycles submits, pops and delivers texts until the node is gone.
func (a *acknowledged) lifecycles(c *child, i int, requester, owner string, stop chan struct{}) {
	worker := fmt.Sprintf("worker %d", i%4)
	for {
		select {
		case <-stop:
			return
		default:
		}
		status, body := c.call("POST", "/generate/text/async", requester, map[string]any{"prompt": "x", "models": []string{"some model"}})
		if status == 0 {
			return
		}
		if status == http.StatusAccepted {
			a.Lock()
			a.requests[body["id"].(string)] = true
			a.Unlock()
		}
		status, body = c.call("POST", "/generate/text/pop", owner, map[string]any{"name": worker, "models": []string{"some model"}})
		if status == 0 {
			return
		}
		job, _ := body["id"].(string)
		if job == "" {
			continue
		}
		a.Lock()
		a.popped[job] = true
		a.Unlock()
		status, body = c.call("POST", "/generate/text/submit", owner, map[string]any{"id": job, "generation": "answer to " + job})
		if status == 0 {
			return
		}
		if status == http.StatusOK {
			a.Lock()
			a.paid[job] = body["reward"].(float64)
			a.Unlock()
		}
	}
}

// check looks for everything that was acknowledged: each accepted request is there and accounts for its result, each paid job
// is delivered, so that delivering it again is refused as a repetition, and each job handed out is still known.
func (a *acknowledged) check(t *testing.T, c *child, owner string) {
	t.Helper()
	for id := range a.requests {
		status, body := c.call("GET", "/generate/text/status/"+id, "", nil)
		if status != http.StatusOK {
			t.Fatalf("the accepted request %s is answered with %d after the restart", id, status)
		}
		if sum := body["finished"].(float64) + body["processing"].(float64) + body["waiting"].(float64); sum != 1 {
			t.Errorf("request %s accounts for %g results of 1", id, sum)
		}
	}
	for job := range a.popped {
		status, body := c.call("POST", "/generate/text/submit", owner, map[string]any{"id": job, "generation": "again"})
		_, paid := a.paid[job]
		switch rc := body["rc"]; {
		case paid && rc != "DuplicateGen":
			t.Errorf("the paid job %s can be delivered again: %d %v", job, status, body)
		case !paid && status != http.StatusOK && rc != "DuplicateGen":
			t.Errorf("the job %s, handed out before the kill, cannot be delivered: %d %v", job, status, body)
		case status == http.StatusOK:
			a.paid[job] = body["reward"].(float64)
		}
	}
}
