// SPDX-License-Identifier: AGPL-3.0-or-later

// Package nodetest starts whole nodes for tests.
package nodetest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/node"
)

// Server is a node that serves on loopback until the test ends.
type Server struct {
	*node.Node
	// URL is where it answers, without a path: "http://127.0.0.1:34567".
	URL string
	t   testing.TB
}

// Start starts a node in a directory of the test, without rate limits, which change may alter. Its address is in Listen
// by then.
func Start(t testing.TB, change ...func(*node.Config)) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := node.Config{
		Listen: l.Addr().String(),
		Data:   t.TempDir(), Version: "test", NoRateLimit: true,
		AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Log:          slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, c := range change {
		c(&cfg)
	}
	n, err := node.Open(t.Context(), cfg)
	if err != nil {
		l.Close()
		t.Fatalf("open the node: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- n.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &Server{Node: n, URL: "http://" + l.Addr().String(), t: t}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// User makes an account and returns its id and its key.
func (s *Server) User(name string, kudos int, roles horde.Roles) (horde.UserID, string) {
	s.t.Helper()
	v, key, err := s.Engine.Register(context.Background(), engine.NewUser{
		Name: name, OAuthID: "g_" + name, Kudos: horde.Kudos(kudos) * 100, Roles: roles,
	})
	if err != nil {
		s.t.Fatalf("make the user %s: %v", name, err)
	}
	return v.User.ID, key
}

// Answer is what a call got.
type Answer struct {
	Status int
	Header http.Header
	Text   string
	Body   map[string]any // nil when the body is no object
}

// RC is the code of a refusal.
func (a Answer) RC() string { rc, _ := a.Body["rc"].(string); return rc }

// Errors are the fields that did not validate.
func (a Answer) Errors() map[string]any { e, _ := a.Body["errors"].(map[string]any); return e }

// Call makes a call below /api/v2. body is a string of JSON, nil for none, or anything that can be marshalled.
func (s *Server) Call(method, path, key string, body any) Answer {
	s.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = bytes.NewReader([]byte(b))
	default:
		text, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, s.URL+"/api/v2"+path, r)
	if err != nil {
		s.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("apikey", key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return s.Do(req)
}

// Do sends a request.
func (s *Server) Do(req *http.Request) Answer {
	s.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := Answer{Status: res.StatusCode, Header: res.Header, Text: string(text)}
	_ = json.Unmarshal(text, &a.Body)
	return a
}
