// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/picture"
)

// The bridge agents of the examples.
const (
	reGen     = "AI Horde Worker reGen:13:https://example.org"
	validated = "KoboldCppEmbedWorker:2:https://example.org"
)

func TestMain(m *testing.M) {
	picture.Warm() // as a node that serves does, but before any test: the race detector sees it beside the start of the runner
	os.Exit(examplesAreComplete(m.Run()))
}

// server is a node that is called without a network, so that it also runs in a bubble.
type server struct {
	*node.Node
	t testing.TB
}

// away lets a long time pass while the node is stopped, for every second of a running one costs something. The books are
// audited meanwhile.
func (s *server) away(d time.Duration) {
	s.t.Helper()
	cfg := s.Config
	if err := s.Close(); err != nil {
		s.t.Fatalf("close the node: %v", err)
	}
	time.Sleep(d)
	if report, err := node.Audit(s.t.Context(), cfg); err != nil || len(report.Findings) > 0 {
		s.t.Errorf("audit: %q, %v", report.Findings, err)
	}
	n, err := node.Open(s.t.Context(), cfg)
	if err != nil {
		s.t.Fatalf("open the node again: %v", err)
	}
	s.Node = n
}

// open opens a node in a directory of the test, without rate limits, which change may alter.
func open(t testing.TB, change ...func(*node.Config)) *server {
	t.Helper()
	cfg := node.Config{
		Data: directory(t), Version: "test", NoRateLimit: true, KeySalt: "pepper",
		ImageModels:    []string{"builtin", filepath.Join("testdata", "image.json")},
		TextModels:     []string{"builtin", filepath.Join("testdata", "text.json")},
		AllowPrivate:   []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")},
		Log:            slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, c := range change {
		c(&cfg)
	}
	n, err := node.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open the node: %v", err)
	}
	s := &server{n, t}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the node: %v", err)
		}
	})
	return s
}

// directory is in memory where the machine has such a place: a suite that waits for a disk at every step is slow, and what a
// disk keeps is tested elsewhere.
func directory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "horde-conformance-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// inBubble runs f with a node whose clock stands still while anything runs and jumps while everything waits.
func inBubble(t *testing.T, f func(*testing.T, *server), change ...func(*node.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, change...)
		f(t, s)
	})
}

// in gives the server to a subtest, so that failures are the subtest's.
func (s *server) in(t testing.TB) *server { return &server{s.Node, t} }

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// account is a user of the node.
type account struct {
	id  horde.UserID
	key string
}

func (a account) path() string { return fmt.Sprint("/users/", a.id) }

// alias is the name by which others call the account.
func (a account) alias() string { return fmt.Sprint("x#", a.id) }

var anonymous = account{horde.Anonymous, horde.AnonymousKey}

var names struct {
	sync.Mutex
	n int
}

// fresh is a name that nobody in this process has.
func fresh(prefix string) string {
	names.Lock()
	defer names.Unlock()
	names.n++
	return fmt.Sprint(prefix, " ", names.n)
}

// user makes a registered account.
func (s *server) user(kudos float64, roles horde.Roles) account {
	s.t.Helper()
	return s.userAs("g_", kudos, roles)
}

// userAs makes an account whose login starts with prefix; with an empty one it has no login and is pseudonymous.
func (s *server) userAs(prefix string, kudos float64, roles horde.Roles) account {
	s.t.Helper()
	name := fresh("user")
	login := ""
	if prefix != "" {
		login = prefix + name
	}
	v, key, err := s.Engine.Register(context.Background(), engine.NewUser{
		Name: name, OAuthID: login, Kudos: horde.NewKudos(kudos), Roles: roles,
	})
	if err != nil {
		s.t.Fatalf("make a user: %v", err)
	}
	return account{v.User.ID, key}
}

// answer is what a call got.
type answer struct {
	status int
	header http.Header
	text   string
	value  any // the decoded body
}

// at follows members and indexes, for example at("generations", 0, "img"). It is nil where there is nothing.
func (a answer) at(path ...any) any {
	v := a.value
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func (a answer) rc() string { rc, _ := a.at("rc").(string); return rc }

// has tells whether the body has a member.
func (a answer) has(name string) bool {
	m, _ := a.value.(map[string]any)
	_, ok := m[name]
	return ok
}

func (a answer) number(path ...any) float64 {
	n, ok := a.at(path...).(float64)
	if !ok {
		panic(fmt.Sprintf("%v is no number in %d %s", path, a.status, a.text))
	}
	return n
}

func (a answer) str(path ...any) string {
	v, ok := a.at(path...).(string)
	if !ok {
		panic(fmt.Sprintf("%v is no string in %d %s", path, a.status, a.text))
	}
	return v
}

func (a answer) list(path ...any) []any {
	v, ok := a.at(path...).([]any)
	if !ok {
		panic(fmt.Sprintf("%v is no array in %d %s", path, a.status, a.text))
	}
	return v
}

func (a answer) strings(path ...any) []string {
	var out []string
	for _, v := range a.list(path...) {
		out = append(out, v.(string))
	}
	return out
}

// fields are a JSON object being put together.
type fields map[string]any

// with returns the fields with others on top.
func (f fields) with(more fields) fields {
	out := fields{}
	for k, v := range f {
		out[k] = v
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// header is one header of a call.
type header struct{ name, value string }

// call makes a call below /api/v2. body is a string of JSON, nil for none, or anything that can be marshalled.
func (s *server) call(method, path string, as account, body any, headers ...header) answer {
	s.t.Helper()
	return s.send(s.request(method, "/api/v2"+path, as, body, headers...))
}

func (s *server) request(method, path string, as account, body any, headers ...header) *http.Request {
	s.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case []byte:
		r = bytes.NewReader(b)
	case io.Reader:
		r = b
	default:
		text, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	req := httptest.NewRequest(method, path, r)
	if as.key != "" {
		req.Header.Set("apikey", as.key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		if h.value == "" {
			req.Header.Del(h.name)
		} else {
			req.Header.Set(h.name, h.value)
		}
	}
	return req
}

// send sends a request and holds the answer against the document.
func (s *server) send(req *http.Request) answer {
	s.t.Helper()
	a := s.bare(req)
	s.asDocumented(req, a)
	return a
}

// bare sends a request.
func (s *server) bare(req *http.Request) answer {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, req)
	a := answer{status: w.Code, header: w.Header(), text: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &a.value)
	return a
}

func (s *server) get(path string, as account) answer {
	s.t.Helper()
	return s.call("GET", path, as, nil)
}

// want stops the test unless the answer has the status.
func (s *server) want(a answer, status int) answer {
	s.t.Helper()
	if a.status != status {
		s.t.Fatalf("got %d %.2000s, want %d", a.status, a.text, status)
	}
	return a
}

// refused checks that the answer is a refusal with a status and a code, in the shape of one.
func (s *server) refused(a answer, status int, rc string) answer {
	s.t.Helper()
	if a.status != status || a.rc() != rc {
		s.t.Errorf("got %d %.500s, want %d %s", a.status, a.text, status, rc)
		return a
	}
	s.isRefusal(a)
	return a
}

// isRefusal checks the shape that every refusal has (errors chapter, 1).
func (s *server) isRefusal(a answer) {
	s.t.Helper()
	if m, _ := a.at("message").(string); m == "" {
		s.t.Errorf("a refusal without a message: %d %.500s", a.status, a.text)
	}
	if rc, ok := a.value.(map[string]any)["rc"]; ok {
		if text, _ := rc.(string); text == "" {
			s.t.Errorf("an rc that is no code: %d %.500s", a.status, a.text)
		}
		if a.has("errors") {
			s.t.Errorf("a refusal with an rc and with errors: %d %.500s", a.status, a.text)
		}
	}
	if e, ok := a.value.(map[string]any)["errors"]; ok {
		for path, reason := range e.(map[string]any) {
			if text, _ := reason.(string); text == "" {
				s.t.Errorf("no reason for %q: %d %.500s", path, a.status, a.text)
			}
		}
	}
	s.common(a)
}

// common checks what every answer of the API has.
func (s *server) common(a answer) {
	s.t.Helper()
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "*" {
		s.t.Errorf("Access-Control-Allow-Origin is %q", got)
	}
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		s.t.Errorf("Content-Type is %q", got)
	}
	if a.header.Get("Horde-Node") == "" {
		s.t.Error("no Horde-Node")
	}
}

// invalid checks that the answer names exactly these fields as not valid.
func (s *server) invalid(a answer, paths ...string) answer {
	s.t.Helper()
	errs, _ := a.at("errors").(map[string]any)
	if a.status != http.StatusBadRequest || len(errs) != len(paths) || a.has("rc") {
		s.t.Errorf("got %d %.500s, want 400 with errors for %q", a.status, a.text, paths)
		return a
	}
	for _, p := range paths {
		if _, ok := errs[p]; !ok {
			s.t.Errorf("got %.500s, want errors for %q", a.text, paths)
		}
	}
	s.isRefusal(a)
	return a
}

// submit sends a request and returns its id.
func (s *server) submit(kind string, as account, body any) string {
	s.t.Helper()
	return s.want(s.call("POST", generate(kind)+"/async", as, body), http.StatusAccepted).str("id")
}

func (s *server) image(as account, body any) string { s.t.Helper(); return s.submit("image", as, body) }
func (s *server) text(as account, body any) string  { s.t.Helper(); return s.submit("text", as, body) }

// generate is where a kind of work is.
func generate(kind string) string {
	if kind == "text" {
		return "/generate/text"
	}
	return "/generate"
}

// popImage polls as an image worker of a program that can do everything. more overrides what it says.
func (s *server) popImage(as account, name string, more fields) answer {
	s.t.Helper()
	return s.want(s.tryPopImage(as, name, more), http.StatusOK)
}

func (s *server) tryPopImage(as account, name string, more fields) answer {
	s.t.Helper()
	return s.call("POST", "/generate/pop", as, fields{
		"name": name, "models": []string{"Deliberate"}, "bridge_agent": reGen, "max_pixels": 4 << 20,
		"allow_lora": true, "allow_controlnet": true, "allow_sdxl_controlnet": true,
	}.with(more))
}

// popText polls as a text worker of a known backend.
func (s *server) popText(as account, name string, more fields) answer {
	s.t.Helper()
	return s.want(s.tryPopText(as, name, more), http.StatusOK)
}

func (s *server) tryPopText(as account, name string, more fields) answer {
	s.t.Helper()
	return s.call("POST", "/generate/text/pop", as, fields{
		"name": name, "models": []string{"test/7B"}, "bridge_agent": validated, "max_length": 1024, "max_context_length": 8192,
	}.with(more))
}

// job is the id of the job that a pop got; the test stops where it got none.
func (s *server) job(a answer) string {
	s.t.Helper()
	id, ok := a.at("id").(string)
	if !ok {
		s.t.Fatalf("the pop got no job: %d %.1000s", a.status, a.text)
	}
	return id
}

// noJob checks that a pop got nothing.
func (s *server) noJob(a answer) answer {
	s.t.Helper()
	if a.status != http.StatusOK || a.at("id") != nil {
		s.t.Errorf("the pop got a job, or failed: %d %.1000s", a.status, a.text)
	}
	return a
}

// deliver uploads and submits all images of a pop, and returns the answer to the last submit.
func (s *server) deliver(as account, popped answer) (last answer) {
	s.t.Helper()
	for i, id := range popped.strings("ids") {
		s.upload(popped.strings("r2_uploads")[i], "image")
		last = s.want(s.call("POST", "/generate/submit", as, fields{"id": id, "generation": "R2", "seed": 1}), http.StatusOK)
	}
	return last
}

func (s *server) upload(url, content string) answer {
	s.t.Helper()
	return s.want(s.put(url, content), http.StatusOK)
}

func (s *server) put(url, content string) answer {
	s.t.Helper()
	return s.send(httptest.NewRequest("PUT", url, strings.NewReader(content)))
}

// fetch downloads what a link shows.
func (s *server) fetch(url string) answer {
	s.t.Helper()
	return s.send(httptest.NewRequest("GET", url, nil))
}

// deliverText submits a text.
func (s *server) deliverText(as account, id, text string) answer {
	s.t.Helper()
	return s.want(s.call("POST", "/generate/text/submit", as, fields{"id": id, "generation": text}), http.StatusOK)
}

// fault hands a job back undone.
func (s *server) fault(kind string, as account, id string) answer {
	s.t.Helper()
	return s.want(s.call("POST", generate(kind)+"/submit", as, fields{"id": id, "generation": "faulted", "state": "faulted", "seed": -1}), http.StatusOK)
}

// check is how a request stands.
func (s *server) check(id string) answer {
	s.t.Helper()
	return s.want(s.get("/generate/check/"+id, account{}), http.StatusOK)
}

// status is how a request stands, with its results.
func (s *server) status(kind, id string) answer {
	s.t.Helper()
	return s.want(s.get(generate(kind)+"/status/"+id, account{}), http.StatusOK)
}

// shows checks members of an object.
func (s *server) shows(a answer, want fields) answer {
	s.t.Helper()
	for name, v := range want {
		if got := a.at(name); fmt.Sprint(got) != fmt.Sprint(v) || got == nil != (v == nil) {
			s.t.Errorf("%s is %v, want %v: %.1500s", name, got, v, a.text)
		}
	}
	return a
}

// kudos is the balance of an account, exactly.
func (s *server) kudos(a account) float64 { return s.balance(a).Spendable.Float() }

// balance is what is booked for an account, in hundredths: the API shows whole kudos only.
func (s *server) balance(a account) balance {
	s.t.Helper()
	v, err := s.Engine.User(context.Background(), a.key, a.id)
	if err != nil {
		s.t.Fatalf("read the user %d: %v", a.id, err)
	}
	return balance{v.Balance.Spendable, v.Balance.Escrow}
}

type balance struct{ Spendable, Escrow horde.Kudos }

// size is "params" for an image of a size.
func size(width, height int, more fields) fields {
	return fields{"params": fields{"width": width, "height": height}.with(more)}
}
