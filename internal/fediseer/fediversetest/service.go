// SPDX-License-Identifier: AGPL-3.0-or-later

package fediversetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/fediseer/message"
	"horde/internal/fediseer/server"
)

// AdminKey is the key of the service's admin in tests.
const AdminKey = "adminkey"

// Service is a whole Fediseer in the test's process, on a fediverse of its own.
type Service struct {
	*server.Server
	Net *Network
	// Keys holds the keys of the instances that were claimed with Claim, by domain, and that of fediseer.com.
	Keys map[string]string

	t testing.TB
}

// Start starts a service that ends with the test. Rate limits are off; set changes its configuration.
func Start(t testing.TB, set func(*server.Config)) *Service {
	t.Helper()
	n := New(t)
	dir := t.TempDir()
	nodes := filepath.Join(dir, "nodes.json")
	if err := os.WriteFile(nodes, []byte(nodesJSON), 0o600); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(key, privateKey(), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := server.Default()
	cfg.PrivateKey = key
	cfg.Listen, cfg.PublicURL, cfg.Data = "127.0.0.1:0", "", dir
	cfg.AdminKey, cfg.Salt, cfg.RateLimits, cfg.UpdateEvery = AdminKey, "salty", false, 0
	cfg.Resolver, cfg.RootCAs, cfg.AllowAddresses = n, n.Roots, []netip.Prefix{n.Prefix}
	cfg.Suspicions, cfg.ProbeTimeout, cfg.BatchDeadline = nodes, 3*time.Second, 5*time.Second
	if set != nil {
		set(&cfg)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := server.Start(context.Background(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Service{Server: s, Net: n, Keys: map[string]string{"fediseer.com": AdminKey}, t: t}
}

// privateKey is the key of all services of a test process: making one takes seconds with the race detector.
var privateKey = sync.OnceValue(func() []byte {
	pem, err := message.NewPrivatePEM()
	if err != nil {
		panic(err)
	}
	return pem
})

// nodesJSON are the nodes of worked example 13.
const nodesJSON = `{"data":{"nodes":[
{"domain":"bots.test","uptime_alltime":"99.5","total_users":1000,"active_users_monthly":100,"signup":true,"local_posts":10,"comment_counts":20},
{"domain":"small.test","uptime_alltime":50,"total_users":299,"active_users_monthly":0,"signup":false,"local_posts":0,"comment_counts":0},
{"domain":"silent.test","uptime_alltime":null,"total_users":300,"active_users_monthly":null,"signup":"1","local_posts":null,"comment_counts":0},
{"domain":"quiet.test","total_users":1000,"active_users_monthly":200,"local_posts":15,"comment_counts":35}]}}`

// Answer is what the service answered.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	// JSON is the decoded body when that is an object, List when it is a list.
	JSON map[string]any
	List []any
}

// Message is the message of the answer.
func (a Answer) Message() string { s, _ := a.JSON["message"].(string); return s }

// Domains is the list of domains of the answer, joined by spaces.
func (a Answer) Domains() string {
	list, _ := a.JSON["domains"].([]any)
	var out []string
	for _, d := range list {
		out = append(out, fmt.Sprint(d))
	}
	return strings.Join(out, " ")
}

// Items are the instances of the answer.
func (a Answer) Items() []map[string]any {
	list, _ := a.JSON["instances"].([]any)
	var out []map[string]any
	for _, x := range list {
		m, _ := x.(map[string]any)
		out = append(out, m)
	}
	return out
}

// NoKey and EmptyKey can stand for the name of an instance in Do: no apikey header, and one without a value.
const (
	NoKey    = "-"
	EmptyKey = ""
)

// Do sends a request as an instance: its domain picks the key from Keys, and what is not there is taken as a key itself.
// body is nil for none, a string for itself, and anything else for its JSON.
func (s *Service) Do(as, method, path string, body any) Answer {
	s.t.Helper()
	header := http.Header{}
	switch key, ok := s.Keys[as]; {
	case as == NoKey:
	case ok:
		header.Set("apikey", key)
	default:
		header.Set("apikey", as)
	}
	return s.Request(method, "/api/v1"+path, header, body)
}

// Request sends a request to any path.
func (s *Service) Request(method, path string, header http.Header, body any) Answer {
	s.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, s.URL()+path, r)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, v := range header {
		req.Header[name] = v
	}
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(b)}
	if json.Unmarshal(b, &a.JSON) != nil {
		_ = json.Unmarshal(b, &a.List) // neither: a page
	}
	return a
}

// Expect sends a request and fails the test unless it is answered with the status.
func (s *Service) Expect(status int, as, method, path string, body any) Answer {
	s.t.Helper()
	a := s.Do(as, method, path, body)
	if a.Status != status {
		s.t.Fatalf("%s %s as %q: %d %s, want %d", method, path, as, a.Status, a.Body, status)
	}
	return a
}

// Says is Expect for a success with this message.
func (s *Service) Says(msg, as, method, path string, body any) {
	s.t.Helper()
	if a := s.Expect(http.StatusOK, as, method, path, body); a.Message() != msg {
		s.t.Fatalf("%s %s as %q: %s, want %q", method, path, as, a.Body, msg)
	}
}

var keyInMessage = regexp.MustCompile(`<p>([A-Za-z0-9_-]{22})</p>`)

// KeyFrom finds an API key in a message.
func KeyFrom(content string) string {
	m := keyInMessage.FindStringSubmatch(content)
	if m == nil {
		return ""
	}
	return m[1]
}

// LastKey reads the key out of the last message to a user.
func (s *Service) LastKey(domain, user string) string {
	s.t.Helper()
	msgs := s.Net.Messages(domain, user)
	if len(msgs) == 0 {
		s.t.Fatalf("no message came to %s@%s; refused: %v", user, domain, s.Net.Bad())
	}
	key := KeyFrom(msgs[len(msgs)-1].Content)
	if key == "" {
		s.t.Fatalf("no key in %q", msgs[len(msgs)-1].Content)
	}
	return key
}

// Claim adds Lemmy servers and claims them as their user admin.
func (s *Service) Claim(domains ...string) {
	s.t.Helper()
	for _, d := range domains {
		s.Net.Add(Lemmy(d, "admin"))
		s.Expect(http.StatusOK, NoKey, http.MethodPut, "/whitelist/"+d, map[string]string{"admin": "admin"})
		s.Keys[d] = s.LastKey(d, "admin")
	}
}

// Guarantee makes each domain the guarantor of the next.
func (s *Service) Guarantee(chain ...string) {
	s.t.Helper()
	for i := range len(chain) - 1 {
		s.Says("Changed", chain[i], http.MethodPut, "/guarantees/"+chain[i+1], nil)
	}
}
