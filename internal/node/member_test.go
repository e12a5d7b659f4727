// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/store"
	"horde/internal/store/memory"
)

// common is a record in memory that nodes of one test process share, with a leadership whose leases never lapse.
type common struct {
	*memory.Store
	mu      sync.Mutex // guards what follows
	leader  store.Leader
	holder  *fellow
	closed  bool // nobody can win
	commits map[*fellow]int
}

// fellow is the record as one node sees it.
type fellow struct{ *common }

func newCommon() *common { return &common{Store: memory.New(), commits: map[*fellow]int{}} }

func (c *common) seen(by *fellow) store.Leader {
	l := c.leader
	l.Mine = by == c.holder && by != nil
	if l.Node != "" {
		l.Remaining = time.Minute
	}
	return l
}

func (f *fellow) Campaign(_ context.Context, node, address string, _ time.Duration) (store.Leader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holder == nil && !f.closed {
		f.holder = f
		f.leader = store.Leader{Epoch: f.leader.Epoch + 1, Node: node, Address: address}
	}
	return f.seen(f), nil
}

func (f *fellow) Renew(context.Context, time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holder != f {
		return store.ErrDeposed
	}
	return nil
}

func (f *fellow) Resign(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holder == f {
		f.holder, f.leader.Node, f.leader.Address = nil, "", ""
	}
	return nil
}

func (f *fellow) Leader(context.Context) (store.Leader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen(f), nil
}

func (f *fellow) Commit(ctx context.Context, b *store.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holder != f {
		return store.ErrDeposed
	}
	f.commits[f]++
	return f.Store.Commit(ctx, b)
}

func (f *fellow) Settings(ctx context.Context) (*store.Settings, error) {
	state, err := f.Load(ctx)
	if err != nil {
		return nil, err
	}
	return state.Settings, nil
}

func (f *fellow) Close() error { return nil }

// shut keeps everybody from winning, or lets them.
func (c *common) shut(closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = closed
}

// depose takes the leadership from whoever has it.
func (c *common) depose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holder, c.leader.Node, c.leader.Address = nil, "", ""
}

// running is a member that serves on loopback.
type running struct {
	*Member
	url    string
	record *fellow
	stop   func() // tells it to stop, and waits
}

func serveMember(t *testing.T, c *common, change ...func(*Config)) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{url: "http://" + l.Addr().String(), record: &fellow{c}}
	cfg := Config{
		Data: t.TempDir(), NodeAddress: r.url, Version: "test", NoRateLimit: true, Log: slog.New(slog.DiscardHandler),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
	for _, f := range change {
		f(&cfg)
	}
	if r.Member, err = join(t.Context(), cfg, r.record); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, l) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := errors.Join(<-ended, r.Close()); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// await waits until a condition holds.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for range 500 {
		if condition() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("in vain: %s", what)
}

// leaderAndFollower are two nodes that know who leads.
func leaderAndFollower(t *testing.T, change ...func(*Config)) (c *common, leader, follower *running) {
	t.Helper()
	c = newCommon()
	leader = serveMember(t, c, change...)
	await(t, "a leader", func() bool { return leader.status() == "leads" })
	follower = serveMember(t, c, change...)
	await(t, "a follower", func() bool { return follower.status() == "follows" })
	return c, leader, follower
}

type answer struct {
	status int
	header http.Header
	text   string
}

func do(t *testing.T, req *http.Request) answer {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

func ask4(t *testing.T, method, url, body string, headers ...string) answer {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, url, in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return do(t, req)
}

const textPath = "/api/v2/generate/text/async"

// TestAFollowerAnswersAsTheLeaderDoes sends the same calls to both: whatever the leader answers, the follower must.
func TestAFollowerAnswersAsTheLeaderDoes(t *testing.T) {
	t.Parallel()
	_, leader, follower := leaderAndFollower(t)
	large := `{"prompt":"x"` + strings.Repeat(" ", 300<<10)
	for _, call := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
	}{
		{"a request", "POST", textPath, `{"prompt":"x"}`, []string{"apikey", horde.AnonymousKey}, http.StatusAccepted},
		{"a refusal", "POST", textPath, `{"prompt":""}`, []string{"apikey", "no key"}, http.StatusUnauthorized},
		{"a body that is no JSON", "POST", textPath, `{`, nil, http.StatusBadRequest},
		{"a large body", "POST", textPath, large + `}`, []string{"apikey", horde.AnonymousKey}, http.StatusAccepted},
		{"a large body that is no JSON", "POST", textPath, large, nil, http.StatusBadRequest},
		{"a body that is too large", "POST", "/api/v2/generate/text/pop", large + strings.Repeat(" ", api.DefaultMaxBody) + "}", nil, http.StatusRequestEntityTooLarge},
		{"a page of the API", "GET", "/api/v2/status/heartbeat", "", nil, http.StatusOK},
		{"a query that cannot be parsed", "GET", "/api/v2/users?page=1;2&%zz", "", nil, http.StatusOK},
		{"an unknown path", "GET", "/api/v2/nothing//here", "", nil, http.StatusNotFound},
		{"a method that is not allowed", "DELETE", "/api/v2/users", "", nil, http.StatusMethodNotAllowed},
		{"what a browser asks before", "OPTIONS", textPath, "", nil, http.StatusOK},
		{"an image with a wrong signature", "GET", "/blobs/https/results/00000000-0000-0000-0000-000000000000.webp?expires=1", "", nil, http.StatusForbidden},
	} {
		t.Run(call.name, func(t *testing.T) {
			direct := ask4(t, call.method, leader.url+call.path, call.body, call.headers...)
			passed := ask4(t, call.method, follower.url+call.path, call.body, call.headers...)
			if direct.status != call.status || passed.status != call.status {
				t.Errorf("the leader answers %d, the follower %d, want %d: %s %s", direct.status, passed.status, call.status, direct.text, passed.text)
			}
			if call.status >= http.StatusBadRequest && direct.text != passed.text {
				t.Errorf("the leader says %s, the follower %s", direct.text, passed.text)
			}
			for _, name := range []string{"Content-Type", "Access-Control-Allow-Origin", "Allow", "Horde-Node"} {
				if fmt.Sprint(direct.header[name]) != fmt.Sprint(passed.header[name]) && name != "Horde-Node" || len(passed.header[name]) > 1 {
					t.Errorf("%s is %q at the leader, %q at the follower", name, direct.header[name], passed.header[name])
				}
			}
		})
	}
	t.Run("a body of unknown length", func(t *testing.T) {
		req, _ := http.NewRequest("POST", follower.url+textPath, io.MultiReader(strings.NewReader(`{"prompt":`), strings.NewReader(`"x"}`)))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("apikey", horde.AnonymousKey)
		if a := do(t, req); a.status != http.StatusAccepted {
			t.Errorf("%d %s", a.status, a.text)
		}
	})
}

// TestLimitsAreThoseOfTheCaller sends calls of two callers through a follower: the leader counts them apart, and who claims
// to be passed on is not believed.
func TestLimitsAreThoseOfTheCaller(t *testing.T) {
	t.Parallel()
	_, leader, follower := leaderAndFollower(t, func(c *Config) { c.NoRateLimit = false })
	limited := func(url string, headers ...string) bool {
		return ask4(t, "GET", url+"/api/v2/find_user", "", headers...).status == http.StatusTooManyRequests
	}
	exhaust := func(headers ...string) {
		for range 200 {
			if limited(follower.url, headers...) {
				return
			}
		}
		t.Fatal("nothing is limited")
	}
	exhaust("X-Forwarded-For", "192.0.2.1")
	if !limited(leader.url, "X-Forwarded-For", "192.0.2.1") {
		t.Error("the same caller starts anew at the leader")
	}
	if limited(follower.url, "X-Forwarded-For", "192.0.2.2") {
		t.Error("another caller is limited too")
	}
	forged, _ := follower.vouch.seal(1, netip.MustParseAddr("192.0.2.9"), "POST", "/another/call")
	for _, seal := range []string{"", "1 192.0.2.9 x", "1 192.0.2.9", forged, strings.Repeat(" ", 1000)} {
		for _, url := range []string{leader.url, follower.url} {
			if !limited(url, "X-Forwarded-For", "192.0.2.1", sealHeader, seal) {
				t.Errorf("a caller with the seal %q of its own making is not limited", seal)
			}
		}
	}
}

// hooks lets tests stand in for an engine: what is posted to /test/NAME is answered by a function, at the leader only.
type testHooks map[string]http.HandlerFunc

func (h testHooks) config(c *Config) {
	c.Pages = func(_ *Node, r *api.Router) {
		for name, f := range h {
			r.Mount("/test/"+name, nil, f, http.MethodPost)
			r.Mount("/api/test/"+name, nil, f, http.MethodPut)
		}
		r.Mount("/page", nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") }))
	}
}

// TestStreamsPassAsTheyCome reads the first event before the second is written, and sees the stream end, in good order, when
// the leader is told to stop.
func TestStreamsPassAsTheyCome(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	_, leader, follower := leaderAndFollower(t, testHooks{"stream": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; ; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-api.Draining(r.Context()):
				fmt.Fprint(w, "data: end\n\n")
				return
			}
		}
	}}.config)
	res, err := http.Post(follower.url+"/test/stream", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	read := func() string {
		for lines.Scan() {
			if text := lines.Text(); text != "" {
				return text
			}
		}
		return fmt.Sprint(lines.Err())
	}
	for i := range 3 {
		if got, want := read(), fmt.Sprintf("data: %d", i); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
		if i < 2 {
			next <- struct{}{}
		}
	}
	go leader.stop()
	if got := read(); got != "data: end" {
		t.Errorf("%q at the end", got)
	}
	if got := read(); got != "<nil>" {
		t.Errorf("%q behind the end", got)
	}
	await(t, "the follower leads", func() bool { return follower.status() == "leads" })
}

// TestCallsWaitForALeader sends calls when nobody leads: they are answered when somebody does, and refused when that takes
// too long, or too many wait. Pages need no leader.
func TestCallsWaitForALeader(t *testing.T) {
	t.Parallel()
	c := newCommon()
	c.shut(true)
	m := serveMember(t, c, testHooks{}.config)
	for path, want := range map[string]string{"/page": "a page", "/page/": "a page", HealthPath: `{"status":"ok","role":"waits"}` + "\n"} {
		if a := ask4(t, "GET", m.url+path, ""); a.status != http.StatusOK || a.text != want {
			t.Errorf("GET %s without a leader: %d %q", path, a.status, a.text)
		}
	}
	for _, path := range []string{"/api/v2/documents/terms", "/api/v2/documents/privacy?format=markdown", "/api/v2/documents/sponsors", "/api/v2/status/news", "/api/v2/status/heartbeat"} {
		if a := ask4(t, "GET", m.url+path, ""); a.status != http.StatusOK {
			t.Errorf("GET %s without a leader: %d %q", path, a.status, a.text)
		}
	}
	got := make(chan answer)
	go func() { got <- ask4(t, "POST", m.url+textPath, `{"prompt":"x"}`, "apikey", horde.AnonymousKey) }()
	await(t, "a call waits", func() bool { return m.held.Load() == 1 })
	c.shut(false)
	if a := <-got; a.status != http.StatusAccepted {
		t.Errorf("the call that waited: %d %s", a.status, a.text)
	}

	c.shut(true)
	c.depose()
	await(t, "nobody leads", func() bool { return m.status() == "waits" })
	refused := func(why string) {
		t.Helper()
		a := ask4(t, "POST", m.url+textPath, `{"prompt":"x"}`, "apikey", horde.AnonymousKey)
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.header.Get("Access-Control-Allow-Origin") != "*" ||
			a.header.Get("Content-Type") != "application/json; charset=utf-8" || !strings.HasPrefix(a.text, `{"message":"`) {
			t.Errorf("%s: %d %v %s", why, a.status, a.header, a.text)
		}
	}
	m.held.Store(maxHeld)
	refused("too many wait")
	m.held.Store(0)
	m.holdFor = 100 * time.Millisecond
	refused("nobody comes")
	if n := m.heldBytes.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are still counted", n)
	}
}

// TestWhatMayHappenTwice breaks connections off after the leader has begun with a call: only what may happen twice is passed
// on again.
func TestWhatMayHappenTwice(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	breaks := func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
	}
	_, leader, follower := leaderAndFollower(t, testHooks{"break": breaks}.config)
	for _, body := range []string{"", "x", strings.Repeat("x", 2*smallCall)} {
		calls.Store(0)
		a := ask4(t, "POST", follower.url+"/test/break", body, "Idempotency-Key", "1")
		if a.status != http.StatusServiceUnavailable || calls.Load() != 1 {
			t.Errorf("a POST of %d bytes that broke off: %d, %d times", len(body), a.status, calls.Load())
		}
	}
	// A GET: the heartbeat, while the leader drops the first connections.
	gate := &gatedListener{drop: 2}
	gate.serve(t, leader.Member)
	follower.setView(&view{epoch: leader.view.Load().epoch, address: gate.url})
	if a := ask4(t, "GET", follower.url+"/api/v2/status/heartbeat", ""); a.status != http.StatusOK {
		t.Errorf("a GET whose connections broke off twice: %d %s", a.status, a.text)
	}
}

// gatedListener serves a handler on a second address, and breaks the first connections off after it has read what came.
type gatedListener struct {
	drop int64
	url  string
}

func (g *gatedListener) serve(t *testing.T, h http.Handler) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + l.Addr().String()
	left := atomic.Int64{}
	left.Store(g.drop)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if left.Add(-1) >= 0 {
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
}

// TestANodeThatDoesNotLeadRefusesWhatIsPassedToIt gives a follower wrong ideas of who leads: a call is done once, by the one
// that does, and never goes round.
func TestANodeThatDoesNotLeadRefusesWhatIsPassedToIt(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	hooks := testHooks{"count": func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(body) != 2*smallCall {
			t.Errorf("the leader gets %d bytes", len(body))
		}
		calls.Add(1)
	}}
	c, leader, follower := leaderAndFollower(t, hooks.config)
	third := serveMember(t, c, hooks.config)
	await(t, "a third node", func() bool { return third.status() == "follows" })
	epoch := leader.view.Load().epoch
	for name, wrong := range map[string]*view{
		"a node that follows": {epoch: epoch, address: third.url},
		"itself":              {epoch: epoch, address: follower.url},
		"an older leadership": {epoch: epoch - 1, address: leader.url},
		"nobody":              {epoch: epoch, address: "http://127.0.0.1:1"},
	} {
		calls.Store(0)
		follower.setView(wrong)
		a := ask4(t, "POST", follower.url+"/test/count", strings.Repeat("x", 2*smallCall))
		if a.status != http.StatusOK || calls.Load() != 1 {
			t.Errorf("passed to %s: %d %s, done %d times", name, a.status, a.text, calls.Load())
		}
	}
	seal, _ := follower.vouch.seal(epoch, netip.Addr{}, "POST", "/test/count")
	if a := ask4(t, "POST", third.url+"/test/count", "", sealHeader, seal); a.status != http.StatusMisdirectedRequest {
		t.Errorf("a call that was passed on to a follower: %d", a.status)
	}
}

// TestADeposedLeaderWritesNothing takes the leadership away while a commit is held up: nothing of it gets into the record,
// its caller gets 503, and the node follows from then on.
func TestADeposedLeaderWritesNothing(t *testing.T) {
	t.Parallel()
	c, leader, follower := leaderAndFollower(t)
	key := register(t, leader)
	c.mu.Lock() // no commit and no renewal gets through
	status := make(chan int)
	go func() {
		status <- ask4(t, "POST", leader.url+textPath, `{"prompt":"x"}`, "apikey", key).status
	}()
	time.Sleep(50 * time.Millisecond)
	c.holder, c.leader = follower.record, store.Leader{Epoch: c.leader.Epoch + 1, Node: "f", Address: follower.url}
	before := c.commits[leader.record]
	c.mu.Unlock()
	if got := <-status; got != http.StatusServiceUnavailable {
		t.Errorf("the caller of a leader that was deposed before its commit gets %d", got)
	}
	await(t, "the one follows", func() bool { return leader.status() == "follows" })
	await(t, "the other leads", func() bool { return follower.status() == "leads" })
	c.mu.Lock()
	if n := c.commits[leader.record] - before; n != 0 {
		t.Errorf("%d commits of the deposed leader", n)
	}
	c.mu.Unlock()
	if a := ask4(t, "GET", leader.url+"/api/v2/status/performance", ""); !strings.Contains(a.text, `"queued_text_requests":0`) && !strings.Contains(a.text, `"queued_text_requests": 0`) {
		t.Errorf("the request of the deposed leader is there: %s", a.text)
	}
	if a := ask4(t, "POST", leader.url+textPath, `{"prompt":"x"}`, "apikey", key); a.status != http.StatusAccepted {
		t.Errorf("afterwards: %d %s", a.status, a.text)
	}
}

func register(t *testing.T, r *running) string {
	t.Helper()
	var key string
	body := []byte(`{"Name":"somebody","OAuthID":"g_1","Kudos":100000}`)
	answer, err := r.administer(t.Context(), "create", body)
	if err != nil {
		t.Fatal(err)
	}
	if _, after, ok := bytes.Cut(answer, []byte(`"Key":"`)); ok {
		key = string(after[:bytes.IndexByte(after, '"')])
	}
	if key == "" {
		t.Fatalf("no key in %s", answer)
	}
	return key
}

// TestAdministrationFindsTheLeader gives commands on the machine of a follower, to somebody who knows the record only, and
// when nobody leads; and lets a stranger try.
func TestAdministrationFindsTheLeader(t *testing.T) {
	t.Parallel()
	c, leader, follower := leaderAndFollower(t)
	register(t, follower)
	var users []engine.UserView
	if err := Administer(t.Context(), Config{Data: follower.cfg.Data}, "list", nil, &users); err != nil || len(users) != 2 {
		t.Errorf("through a follower's socket: %d accounts, %v", len(users), err)
	}
	if report, err := Audit(t.Context(), Config{Data: follower.cfg.Data}); err != nil || len(report.Findings) > 0 || report.Accounts != 2 {
		t.Errorf("an audit through a follower's socket: %+v, %v", report, err)
	}
	mine := &fellow{c}
	list := func() {
		t.Helper()
		answer, err := administerOn(t.Context(), Config{Data: t.TempDir()}, mine, "list", []byte("null"))
		if err != nil || !bytes.Contains(answer, []byte("somebody")) {
			t.Errorf("%s, %v", answer, err)
		}
	}
	list()
	var refusal *horde.Error
	if _, err := administerOn(t.Context(), Config{Data: t.TempDir()}, mine, "show", []byte("77")); !errors.As(err, &refusal) || refusal.Status != http.StatusNotFound {
		t.Errorf("an account that is not there: %v", err)
	}
	for _, seal := range []string{"", "1 - x", "x"} {
		for _, m := range []*running{leader, follower} {
			if a := ask4(t, "POST", m.url+commandPrefix+"create", `{"Name":"x"}`, sealHeader, seal); a.status != http.StatusNotFound {
				t.Errorf("a stranger's command: %d %s", a.status, a.text)
			}
		}
	}
	leader.stop()
	follower.stop()
	if c.commits[mine] != 0 {
		t.Fatal("the program has written beside the leader")
	}
	list()
	if c.holder != nil || c.commits[mine] == 0 {
		t.Errorf("the program has not led, or still does: %+v", c.leader)
	}
}

// TestAServerThatDoesNotAnswerIsNamed asks a socket that nobody serves.
func TestAServerThatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := net.Listen("unix", dir+"/"+adminSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	_, err = Audit(t.Context(), Config{Data: dir})
	if err == nil || !strings.Contains(err.Error(), "does not answer") || time.Since(began) > 2*helloWithin {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

func TestALeaseEndsByEitherClock(t *testing.T) {
	t.Parallel()
	var l lease
	l.extend(time.Now())
	if !l.valid() {
		t.Error("a new lease is over")
	}
	l.extend(time.Now().Add(-leaseFor))
	if l.valid() {
		t.Error("an old lease is not over")
	}
	past := time.Now().Round(0).Add(-time.Second) // without a monotonic clock, as after a sleep of the machine
	l.until.Store(&past)
	if l.valid() {
		t.Error("a lease that is over by the wall clock is not over")
	}
}

// TestMembersAreWatched scrapes a leader and a follower, lets the leader lead a second time, and asks both whether they are
// ready.
func TestMembersAreWatched(t *testing.T) {
	t.Parallel()
	c := newCommon()
	metrics := func(cfg *Config) { cfg.MetricsListen = "127.0.0.1:0" }
	get := func(url string) (int, string) {
		t.Helper()
		a := ask4(t, "GET", url, "")
		return a.status, a.text
	}
	until := func(m *running, role string) {
		t.Helper()
		await(t, "the node "+role, func() bool { return m.status() == role })
	}
	c.shut(true)
	leader := serveMember(t, c, metrics)
	until(leader, "waits")
	if status, body := get(leader.url + ReadyPath); status != http.StatusServiceUnavailable || !strings.Contains(body, `"role":"waits"`) {
		t.Errorf("without a leader: %d %s", status, body)
	}
	if status, body := get(leader.url + HealthPath); status != http.StatusOK || !strings.Contains(body, `"status":"ok"`) {
		t.Errorf("without a leader: %d %s", status, body)
	}
	c.shut(false)
	until(leader, "leads")
	follower := serveMember(t, c, metrics)
	until(follower, "follows")
	look := func() {
		t.Helper()
		_, leads := get("http://" + leader.metrics.Addr().String() + "/metrics")
		_, follows := get("http://" + follower.metrics.Addr().String() + "/metrics")
		for _, want := range []string{"horde_leader 1\n", "horde_workers{", "go_goroutines ", "horde_build_info{"} {
			if !strings.Contains(leads, want) {
				t.Errorf("the leader does not show %s", want)
			}
		}
		for _, want := range []string{"horde_leader 0\n", "go_goroutines ", "horde_build_info{", "horde_calls_held 0\n"} {
			if !strings.Contains(follows, want) {
				t.Errorf("the follower does not show %s", want)
			}
		}
		if strings.Contains(follows, "horde_workers{") {
			t.Error("the follower shows an engine")
		}
		for m, role := range map[*running]string{leader: "leads", follower: "follows"} {
			if status, body := get(m.url + ReadyPath); status != http.StatusOK || !strings.Contains(body, `"role":"`+role+`"`) {
				t.Errorf("the node that %s: %d %s", role, status, body)
			}
		}
	}
	look()
	follower.stop()
	epoch := leader.view.Load().epoch
	c.depose()
	await(t, "the leader leads again", func() bool { return leader.view.Load().epoch > epoch })
	until(leader, "leads")
	follower = serveMember(t, c, metrics)
	until(follower, "follows")
	look() // the second term is watched as the first was
}

// TestATakenMetricsPortIsFoundAtTheStart keeps a node from joining that could not lead later.
func TestATakenMetricsPortIsFoundAtTheStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := Config{Data: t.TempDir(), Version: "test", MetricsListen: l.Addr().String(), Log: slog.New(slog.DiscardHandler)}
	if m, err := join(t.Context(), cfg, &fellow{newCommon()}); err == nil || !strings.Contains(err.Error(), "metrics") {
		t.Errorf("joined with %v: %v", m, err)
	}
}
