// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/node"
)

// waitingCount makes TestWaitingCostsMemoryOnly measure with so many connections of each kind, for minutes:
// HORDE_TEST_WAITING=10000. Without it a few are served for a moment, which measures nothing.
const (
	waitingCount = "HORDE_TEST_WAITING"
	fewWaiting   = 50
)

// calm is how long nothing happens while n connections are measured.
func calm(n int) time.Duration {
	if n <= fewWaiting {
		return 200 * time.Millisecond
	}
	return 30 * time.Second
}

// wakeSamples is how many wake-ups are timed.
const wakeSamples = 1000

// workersPerOwner is how many workers a trusted account may have.
const workersPerOwner = 20

// TestWaitingCostsMemoryOnly measures, of a node in a process of its own with its database on disk, what parked workers and
// streams of events cost: resident memory, processor time while nothing happens, and the time until one of them has its news.
// It asserts that all of them are served, and prints the figures for docs/performance.md.
func TestWaitingCostsMemoryOnly(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv(waitingCount))
	if n <= 0 {
		n = fewWaiting
	}
	files := uint64(n + 1000)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < files {
		limit.Cur, limit.Max = files, max(limit.Max, files)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Skipf("the limit of open files cannot be raised to %d: %v", files, err)
		}
	}
	t.Run("parked workers", func(t *testing.T) { measureParked(t, n) })
	t.Run("streams of events", func(t *testing.T) { measureStreams(t, n) })
}

func measureParked(t *testing.T, n int) {
	m, owners := meter(t, n)
	answers := make(chan time.Time, n)
	var sent atomic.Int64
	before, began := m.settled(), time.Now()
	for i := range n {
		w := &rawWorker{m: m, name: fmt.Sprint("worker ", i), key: owners[i/workersPerOwner], model: fmt.Sprint("some/model ", i%20)}
		w.dial()
		go w.work(answers, &sent)
		if i%100 == 99 {
			time.Sleep(10 * time.Millisecond) // a backlog of connections is not what is measured
		}
	}
	m.until(func() bool { return sent.Load() >= int64(n) })
	t.Logf("%d workers are parked after %v", n, time.Since(began).Round(time.Millisecond))
	t.Logf("nothing happening, nobody's wait ending: %.2f %% of one core", m.load(calm(n)/2))
	after := m.settled()
	t.Logf("%.1f MiB resident more, %.1f KiB each", mib(after-before), float64(after-before)/1024/float64(n))
	t.Logf("every wait ending once a minute, and begun again: %.2f %% of one core", m.load(2*calm(n)))
	var wakes []time.Duration
	for i := range min(wakeSamples, 2*n) {
		asked := time.Now()
		m.submit(fmt.Sprint("some/model ", i%20))
		wakes = append(wakes, (<-answers).Sub(asked))
	}
	t.Logf("from the client's request to the worker's job: %s", spread(wakes))
}

func measureStreams(t *testing.T, n int) {
	m, _ := meter(t, 1)
	var ids []string
	for range n {
		ids = append(ids, m.submit("some/model"))
	}
	ends := map[string]chan time.Time{}
	var open atomic.Int64
	before := m.settled()
	for i, id := range ids {
		ends[id] = make(chan time.Time, 1)
		go m.follow(id, &open, ends[id])
		if i%100 == 99 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	m.until(func() bool { return open.Load() == int64(n) })
	after := m.settled()
	t.Logf("%d streams: %.1f MiB resident more, %.1f KiB each", n, mib(after-before), float64(after-before)/1024/float64(n))
	t.Logf("nothing happening but heartbeats: %.2f %% of one core", m.load(calm(n)))
	var wakes []time.Duration
	for _, id := range ids[:min(n, wakeSamples)] {
		asked := time.Now()
		m.call("DELETE", "/generate/text/status/"+id, "", "")
		wakes = append(wakes, (<-ends[id]).Sub(asked))
	}
	t.Logf("from the client's cancellation to the event: %s", spread(wakes))
}

// meter starts a node in a process of its own, with accounts for n workers.
func meter(t *testing.T, n int) (m *waitingMeter, owners []string) {
	dir := t.TempDir()
	owners, requester := makeOwners(t, dir, (n+workersPerOwner-1)/workersPerOwner)
	c := startChild(t, dir)
	m = &waitingMeter{t: t, pid: c.cmd.Process.Pid, url: c.url, addr: strings.TrimPrefix(c.url, "http://"), requester: requester,
		pause: min(3*time.Second, calm(n))}
	for range 50 { // what any server has allocated once it has run
		m.call("GET", "/status/performance", "", "")
	}
	t.Logf("the node: %.1f MiB resident", mib(m.settled()))
	return m, owners
}

// makeOwners makes accounts for the workers and one for the client, and returns their keys.
func makeOwners(t *testing.T, dir string, n int) (owners []string, requester string) {
	t.Helper()
	nd, err := node.Open(t.Context(), node.Config{Data: dir, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer nd.Close()
	register := func(name string) string {
		_, key, err := nd.Engine.Register(context.Background(), engine.NewUser{
			Name: name, OAuthID: "g_" + name, Kudos: 1_000_000_00, Concurrency: 1_000_000, Roles: horde.Trusted})
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for i := range n {
		owners = append(owners, register(fmt.Sprint("owner ", i)))
	}
	return owners, register("requester")
}

// waitingMeter looks at a node from outside.
type waitingMeter struct {
	pause     time.Duration // between two looks at the memory
	t         *testing.T
	pid       int
	url, addr string
	requester string
}

func (m *waitingMeter) call(method, path, key, body string) map[string]any {
	req, err := http.NewRequest(method, m.url+"/api/v2"+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("apikey", key)
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode > 299 {
		m.t.Fatalf("%s %s: %d %.200s %v", method, path, res.StatusCode, text, err)
	}
	var doc map[string]any
	_ = json.Unmarshal(text, &doc)
	return doc
}

func (m *waitingMeter) submit(model string) string {
	return m.call("POST", "/generate/text/async", m.requester, fmt.Sprintf(`{"prompt":"Once upon a time","models":[%q]}`, model))["id"].(string)
}

// resident is the memory of the node in bytes.
func (m *waitingMeter) resident() int64 {
	text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(m.pid), "statm"))
	if err != nil {
		m.t.Skip("this machine does not tell the memory of a process: ", err)
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// settled is the resident memory once it does not grow any more.
func (m *waitingMeter) settled() int64 {
	last := m.resident()
	for {
		time.Sleep(m.pause)
		now := m.resident()
		if now-last < 1<<20 {
			return now
		}
		last = now
	}
}

// processor is the processor time that the node has taken.
func (m *waitingMeter) processor() time.Duration {
	text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(m.pid), "stat"))
	if err != nil {
		m.t.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond // a hundredth of a second each, on every Linux
}

// load is how much of one core the node takes, in percent.
func (m *waitingMeter) load(over time.Duration) float64 {
	before := m.processor()
	time.Sleep(over)
	return 100 * float64(m.processor()-before) / float64(over)
}

func (m *waitingMeter) until(done func() bool) {
	deadline := time.Now().Add(2 * time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			m.t.Fatal("not all of them wait")
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(2 * time.Second) // the last have sent; now they are parked too
}

// rawWorker pops over one connection again and again, and costs the measuring process little.
type rawWorker struct {
	m                *waitingMeter
	name, key, model string
	conn             net.Conn
}

func (w *rawWorker) dial() {
	conn, err := net.Dial("tcp", w.m.addr)
	if err != nil {
		w.m.t.Fatal(err)
	}
	w.conn = conn
	w.m.t.Cleanup(func() { conn.Close() })
}

func (w *rawWorker) work(answers chan<- time.Time, sent *atomic.Int64) {
	body := fmt.Sprintf(`{"name":%q,"models":[%q],"bridge_agent":"KoboldCppEmbedWorker:2:x","max_length":512,"max_context_length":4096,"wait":60}`, w.name, w.model)
	request := fmt.Sprintf("POST /api/v2/generate/text/pop HTTP/1.1\r\nHost: x\r\napikey: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", w.key, len(body), body)
	lines := bufio.NewReaderSize(w.conn, 2048)
	for first := true; ; first = false {
		if _, err := io.WriteString(w.conn, request); err != nil {
			return
		}
		if first {
			sent.Add(1)
		}
		res, err := http.ReadResponse(lines, nil)
		if err != nil {
			return
		}
		text, err := io.ReadAll(res.Body)
		at := time.Now()
		if err != nil || res.StatusCode != http.StatusOK {
			w.m.t.Errorf("a pop is answered %d %.200s", res.StatusCode, text)
			return
		}
		if !strings.Contains(string(text), `"id":null`) {
			answers <- at
		}
	}
}

// follow reads a stream until its last event.
func (m *waitingMeter) follow(id string, open *atomic.Int64, end chan<- time.Time) {
	conn, err := net.Dial("tcp", m.addr)
	if err != nil {
		m.t.Error(err)
		return
	}
	m.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /api/v2/events/%s HTTP/1.1\r\nHost: x\r\n\r\n", id)
	lines, began := bufio.NewReaderSize(conn, 512), false
	for {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil:
			return
		case !began && strings.HasPrefix(line, "event: status"):
			began = true
			open.Add(1)
		case strings.HasPrefix(line, "event: done"):
			end <- time.Now()
			return
		}
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func spread(d []time.Duration) string {
	slices.Sort(d)
	at := func(p float64) time.Duration { return d[int(p*float64(len(d)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %v, p95 %v, p99 %v, most %v of %d", at(0.5), at(0.95), at(0.99), at(1), len(d))
}
