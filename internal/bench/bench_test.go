// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gen2brain/webp"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
	"horde/internal/picture"
)

func TestMain(m *testing.M) {
	picture.Warm() // before any test: the race detector sees it beside the start of the runner
	os.Exit(m.Run())
}

// nodeAccounts makes accounts on a node in this process.
type nodeAccounts struct{ *nodetest.Server }

func (nodeAccounts) MaxWaiting() int { return 1_000_000 }

func (n nodeAccounts) Make(ctx context.Context, count int, a Account) ([]string, error) {
	keys := make([]string, count)
	for i := range keys {
		var err error
		if _, keys[i], err = n.Engine.Register(ctx, engine.NewUser{
			Name: a.Name, Kudos: horde.Kudos(a.Kudos) * 100, Concurrency: a.Waiting, Roles: horde.Trusted,
		}); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func config(t testing.TB, server string, a Accounts) Config {
	cfg := Default()
	cfg.Servers, cfg.Accounts = []string{server}, a
	cfg.WarmUp, cfg.Duration, cfg.Settle, cfg.IdleEvery, cfg.IdleFor = 0, time.Minute, 0, 100*time.Millisecond, 500*time.Millisecond
	cfg.Timeout = 30 * time.Second
	cfg.ServerPIDs = []int{os.Getpid()}
	cfg.Progress = func(text string) { t.Log(text) }
	return cfg
}

func TestLifecyclesOfARealNode(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"clients and workers know of each other": func(c *Config) { c.Clients = 8 },
		"clients and workers poll":               func(c *Config) { c.Clients, c.CheckEvery, c.PopEvery = 8, 20*time.Millisecond, 20*time.Millisecond },
		"texts only":                             func(c *Config) { c.Clients, c.ImageShare = 4, 0 },
		"images only":                            func(c *Config) { c.Clients, c.ImageShare = 4, 1 },
		"a constant rate":                        func(c *Config) { c.Rate, c.MaxOutstanding = 100, 1000 },
		"behind a queue":                         func(c *Config) { c.Clients, c.Preload, c.PreloadKind, c.Pops = 8, 200, PreloadMixed, 20 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nodetest.Start(t)
			cfg := config(t, s.URL, nodeAccounts{s})
			cfg.Workers, cfg.MaxLifecycles = 4, 40
			change(&cfg)
			report, err := Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			l := report.Load
			if err := report.Honest(); err != nil || l.Completed < 40 || l.Accepted != l.Completed || len(l.Errors) > 0 {
				t.Errorf("%v; %d of %d accepted requests completed, errors %v", err, l.Completed, l.Accepted, l.Errors)
			}
			for _, call := range []measure{callSubmit, callPop, callDeliver, callCheck, callFetch, spanDispatch, spanLifecycle} {
				if x := l.Latencies[measureNames[call]]; x.Count < 30 || x.P50 <= 0 && call != spanDispatch || x.P99 < x.P50 || x.Max < x.P99 {
					t.Errorf("%s: %+v", measureNames[call], x)
				}
			}
			if downloads := l.Latencies[measureNames[callDownload]].Count; (downloads > 0) != (cfg.ImageShare > 0) {
				t.Errorf("%d downloads with %g of images", downloads, cfg.ImageShare)
			}
			if l.CPU.Server <= 0 || l.ServerPer1000 <= 0 || l.CPU.Generator <= 0 {
				t.Errorf("processor: %+v", l.CPU)
			}
			if p := report.Preload; cfg.Preload > 0 {
				if p.Requests != 200 || p.MemoryAfter == 0 || len(p.Errors) > 0 {
					t.Errorf("preload: %+v", p)
				}
				if q := report.Pops; q.Count != 19 || q.Empty.Count != 20 || q.Check.Count != 20 || len(q.Errors) > 0 {
					t.Errorf("pops: %+v", q)
				}
			}
			var text bytes.Buffer
			if err := report.Print(&text); err != nil || !strings.Contains(text.String(), "lifecycles/s") {
				t.Errorf("%v, printed %q", err, text.String())
			}
			if _, err := json.Marshal(report); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAShortQueueIsAFailure(t *testing.T) {
	t.Parallel()
	for accepted, fails := range map[int]bool{199: true, 200: false} {
		if err := (&Report{Preload: &Preload{Wanted: 200, Requests: accepted}}).Honest(); (err != nil) != fails {
			t.Errorf("%d of 200 waited: %v", accepted, err)
		}
	}
}

func TestAccountsByTestUsers(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t, func(c *node.Config) { c.TestUsers = true })
	cfg := config(t, s.URL, &TestUsers{Server: s.URL, Run: "t"})
	cfg.Clients, cfg.Workers, cfg.MaxLifecycles = 40, 22, 200 // more clients and workers than one account may have
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Honest(); err != nil || len(report.Load.Errors) > 0 {
		t.Errorf("%v, errors %v", err, report.Load.Errors)
	}
}

func TestIdleWorkersAreCounted(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t)
	cfg := config(t, s.URL, nodeAccounts{s})
	cfg.IdleWorkers, cfg.Yardstick = 25, 100*time.Millisecond
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	i := report.Idle
	if i.Polls < 10 || i.Latency.Count == 0 || len(i.Errors) > 0 {
		t.Errorf("%+v", i)
	}
	if y := report.Yardstick; y.PerSecond <= 0 || y.CPU <= 0 {
		t.Errorf("%+v", y)
	}
}

// A liar is a server that passes calls on and falsifies answers.
func TestLyingServersAreCaught(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		images float64
		// lie changes the answer to a call.
		lie  func(path string, call int, body []byte) []byte
		want func(*Load) int64
		kind string
	}{
		"a text that is one letter off": {
			lie: func(path string, call int, body []byte) []byte {
				if strings.HasPrefix(path, "GET /api/v2/generate/text/status/") {
					return bytes.Replace(body, []byte(`"text":"F`), []byte(`"text":"f`), 1)
				}
				return body
			},
			want: func(l *Load) int64 { return l.Mismatched }, kind: "mismatched",
		},
		"an image that is one byte off": {
			images: 1,
			lie: func(path string, call int, body []byte) []byte {
				if !strings.HasPrefix(path, "GET /api/") && len(body) > 0 {
					body[len(body)-1] ^= 1
				}
				return body
			},
			want: func(l *Load) int64 { return l.Mismatched }, kind: "mismatched",
		},
		"done without a result": {
			lie: func(path string, call int, body []byte) []byte {
				if strings.HasPrefix(path, "GET /api/v2/generate/text/status/") {
					at, end := bytes.Index(body, []byte(`"generations":[`)), bytes.LastIndexByte(body, ']')
					return append(body[:at+len(`"generations":[`):at+len(`"generations":[`)], body[end:]...)
				}
				return body
			},
			want: func(l *Load) int64 { return l.Lost }, kind: "lost",
		},
		"two results for one": {
			lie: func(path string, call int, body []byte) []byte {
				if strings.HasPrefix(path, "GET /api/v2/generate/text/status/") {
					at, end := bytes.Index(body, []byte(`"generations":[`))+len(`"generations":[`), bytes.LastIndexByte(body, ']')
					one := bytes.Clone(body[at:end])
					return bytes.Join([][]byte{body[:at], one, []byte(","), one, body[end:]}, nil)
				}
				return body
			},
			want: func(l *Load) int64 { return l.Doubled }, kind: "doubled",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nodetest.Start(t)
			front := httptest.NewServer(&liar{to: s.URL, lie: tc.lie})
			t.Cleanup(front.Close)
			cfg := config(t, front.URL, nodeAccounts{s})
			cfg.Clients, cfg.Workers, cfg.ImageShare, cfg.Duration = 2, 2, tc.images, 500*time.Millisecond
			report, err := Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			l := report.Load
			if tc.want(l) == 0 || l.Completed != 0 || report.Honest() == nil {
				t.Errorf("not %s: %+v", tc.kind, l)
			}
		})
	}
}

func TestAJobHandedOutTwiceIsCaught(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t)
	var mu sync.Mutex
	var last []byte
	pops := 0
	front := httptest.NewServer(&liar{to: s.URL, lie: func(path string, call int, body []byte) []byte {
		if path != "POST /api/v2/generate/text/pop" {
			return body
		}
		mu.Lock()
		defer mu.Unlock()
		if last == nil {
			last = bytes.Clone(body)
		} else if pops++; pops%4 == 0 {
			return last
		}
		if bytes.Contains(body, []byte(markPrefix)) {
			last = bytes.Clone(body)
		}
		return body
	}})
	t.Cleanup(front.Close)
	cfg := config(t, front.URL, nodeAccounts{s})
	cfg.Clients, cfg.Workers, cfg.ImageShare, cfg.Duration, cfg.Timeout = 32, 16, 0, 1500*time.Millisecond, 2*time.Second
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if l := report.Load; l.Doubled == 0 || report.Honest() == nil {
		t.Errorf("%+v", l)
	}
}

// liar passes calls on to a server and lies about the answers.
type liar struct {
	to  string
	lie func(path string, call int, body []byte) []byte

	mu    sync.Mutex
	calls int
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := http.NewRequestWithContext(r.Context(), r.Method, l.to+r.URL.RequestURI(), r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	q.Header, q.ContentLength, q.Host = r.Header.Clone(), r.ContentLength, r.Host
	a, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer a.Body.Close()
	body, _ := io.ReadAll(a.Body)
	l.mu.Lock()
	l.calls++
	n := l.calls
	l.mu.Unlock()
	body = l.lie(r.Method+" "+r.URL.Path, n, body)
	w.Header().Set("Content-Type", a.Header.Get("Content-Type"))
	w.WriteHeader(a.StatusCode)
	_, _ = w.Write(body)
}

func TestOnlyThisMachineUnasked(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]bool{
		"http://127.0.0.1:7001": true, "http://localhost:7001": true, "http://[::1]:7001": true,
		"http://192.0.2.1:7001": false, "https://horde.example": false, "http://0.0.0.0:1": false, "http://localhost.example": false,
	} {
		cfg := config(t, server, Keys{"x"})
		err := cfg.check()
		if want != (err == nil) || !want && !errors.Is(err, ErrNotLoopback) {
			t.Errorf("%s: %v", server, err)
		}
		cfg.Remote = true
		if err := cfg.check(); err != nil {
			t.Errorf("%s with --remote: %v", server, err)
		}
	}
}

func TestWhatCannotBeMeasuredIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no server":                         func(c *Config) { c.Servers = nil },
		"a server with a path":              func(c *Config) { c.Servers = []string{"http://127.0.0.1:1/api"} },
		"no accounts":                       func(c *Config) { c.Accounts = nil },
		"clients without workers":           func(c *Config) { c.Clients = 1 },
		"too many clients":                  func(c *Config) { c.Clients, c.Workers = maxVirtual+1, 1 },
		"a mix that one worker cannot do":   func(c *Config) { c.Clients, c.Workers = 2, 1 },
		"pops without a queue to pop from":  func(c *Config) { c.Preload, c.Pops = 10, 1 },
		"more pops than there are requests": func(c *Config) { c.Preload, c.PreloadKind, c.Pops = 10, PreloadMixed, 6 },
		"an endless measurement":            func(c *Config) { c.Clients, c.Workers, c.Duration = 2, 2, 25*time.Hour },
		"prompts too short for a mark":      func(c *Config) { c.PromptBytes = 10 },
	} {
		cfg := config(t, "http://127.0.0.1:1", Keys{"x"})
		change(&cfg)
		if _, err := Run(t.Context(), cfg); err == nil {
			t.Errorf("%s was not refused", name)
		}
	}
}

func TestAnswersAreReadWhateverTheirForm(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		status int
		body   string
		keep   bool
		fails  bool
	}{
		"with a length":        {answer: "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}", status: 202, body: "{}", keep: true},
		"in chunks":            {answer: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\n{\"\r\n3\r\na\":\r\n0\r\nT: x\r\n\r\n", status: 200, body: `{"a":`, keep: true},
		"until the end":        {answer: "HTTP/1.1 200 OK\r\n\r\nabc", status: 200, body: "abc"},
		"to be closed":         {answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", status: 200, body: "x"},
		"of an older version":  {answer: "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", status: 200, body: "x"},
		"without a body":       {answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, keep: true},
		"cut off":              {answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx", status: 200, body: "x\x00\x00\x00\x00", fails: true},
		"with a foul length":   {answer: "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx", fails: true},
		"of another protocol":  {answer: "SSH-2.0-OpenSSH_9.9\r\n", fails: true},
		"with a foul chunk":    {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", status: 200, fails: true},
		"with a foul header":   {answer: "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", fails: true},
		"with an endless line": {answer: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<16) + "\r\n\r\n", fails: true},
	} {
		status, body, keep, err := readAnswer(bufio.NewReaderSize(strings.NewReader(tc.answer), 4096), nil)
		if (err != nil) != tc.fails {
			t.Errorf("%s: %v", name, err)
		} else if err == nil && (status != tc.status || string(body) != tc.body || keep != tc.keep) {
			t.Errorf("%s: %d %q keep=%v", name, status, body, keep)
		}
	}
}

func TestAConnectionThatTheServerClosedIsOpenedAgain(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(c)
			for line := ""; line != "\r\n"; {
				if line, err = in.ReadString('\n'); err != nil {
					break
				}
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			c.Close() // without having said so
		}
	}()
	cfg := config(t, "http://"+l.Addr().String(), Keys{"x"})
	c := newCaller(&cfg, 0)
	defer c.close()
	for i := range 3 {
		if status, _, err := c.api(t.Context(), http.MethodGet, "/x", "", nil); err != nil || status != http.StatusOK {
			t.Fatalf("call %d: %d %v", i, status, err)
		}
	}
	if _, _, err := c.api(t.Context(), http.MethodPost, "/x", "", []byte("{}")); err == nil {
		t.Error("a call that may not be repeated was repeated")
	}
}

func TestImagesAreValidAndUnique(t *testing.T) {
	t.Parallel()
	cfg := config(t, "http://127.0.0.1:1", Keys{"x"})
	for _, size := range []int{0, 2000, 2001, 20480} {
		cfg.ImageBytes = size
		m, err := newMaterial(&cfg)
		if err != nil {
			t.Fatal(err)
		}
		a, b := m.imageResult("6a5b", 1), m.imageResult("6a5b", 2)
		if bytes.Equal(a, b) {
			t.Error("two images are the same")
		}
		if len(a) > size+1 && size > 4000 {
			t.Errorf("%d bytes were wanted, %d are there", size, len(a))
		}
		p, err := webp.Decode(bytes.NewReader(a))
		if err != nil || p.Bounds().Dx() != m.width {
			t.Errorf("an image of %d bytes: %v", size, err)
		}
	}
}

func TestTextsSurviveJSON(t *testing.T) {
	t.Parallel()
	cfg := config(t, "http://127.0.0.1:1", Keys{"x"})
	m, err := newMaterial(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	sent := m.textResult("6a5b", 7)
	body := fmt.Sprintf(`{"done":true,"faulted":false,"generations":[{"text":%s,"state":"ok"}],"x":{"done":false}}`, quoted(sent))
	var r answerReader
	s, err := r.status([]byte(body))
	if err != nil || !s.done || s.faulted || s.results != 1 || !bytes.Equal(s.result, sent) {
		t.Errorf("%v %+v", err, s)
	}
	if s, err := r.status([]byte(`{"done":false}`)); err != nil || s.done || s.results != 0 {
		t.Errorf("%v %+v", err, s)
	}
	for _, bad := range []string{"", "[]", `{"done":`, "<html>"} {
		if _, err := r.status([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestChildrenOfAProcessCount(t *testing.T) {
	t.Parallel()
	// The shell waits for two children: one that has ended and used time, and one that lives.
	cmd := exec.Command("sh", "-c", `sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; sleep 60 & echo ready; wait`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip("there is no shell:", err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	p := processes{cmd.Process.Pid}
	tree, err := p.tree()
	if err != nil || line != "ready\n" || len(tree) != 2 {
		t.Errorf("%v, %q, %+v", err, line, tree)
	}
	u, err := p.all()
	if err != nil || u.cpu <= 0 || u.memory <= 0 {
		t.Errorf("%v, %+v", err, u)
	}
	for _, s := range tree[1:] {
		if child, err := os.FindProcess(s.pid); err == nil {
			_ = child.Kill()
		}
	}
	_ = cmd.Wait()
	if _, err := p.cpu(); err == nil {
		t.Error("a process that has ended was read")
	}
}

func TestStatsOfOddNames(t *testing.T) {
	t.Parallel()
	fields := make([]string, 0, 50)
	for i := range 50 {
		fields = append(fields, strconv.Itoa(i+4))
	}
	line := "12 (a (b) c d) S " + strings.Join(fields, " ")
	s, ok := parseStat([]byte(line))
	// Fields 14 to 17 are the times; field n holds the number n here.
	if !ok || s.pid != 12 || s.parent != 4 || s.ticks != 14+15+16+17 {
		t.Errorf("%v %+v", ok, s)
	}
	if _, ok := parseStat([]byte("12 (x) S 1")); ok {
		t.Error("a short line was read")
	}
}
