// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"horde/internal/login"
	"horde/internal/node"
)

func TestLoginsAreConfiguredWithOurNamesAndThoseOfTheAIHorde(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("of a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  map[string]string
		want string // the names of the services, or what an error says
	}{
		{"none", nil, ""},
		{"ours", map[string]string{"HORDE_OAUTH_GOOGLE_ID": "a", "HORDE_OAUTH_GOOGLE_SECRET": "b"}, "google"},
		{"theirs", map[string]string{
			"GOOGLE_CLIENT_ID": "a", "GLOOGLE_CLIENT_SECRET": "b", "DISCORD_CLIENT_ID": "a", "DISCORD_CLIENT_SECRET": "b",
			"GITHUB_CLIENT_ID": "a", "GITHUB_CLIENT_SECRET": "b",
		}, "google discord github"},
		{"a file", map[string]string{"HORDE_OAUTH_GITHUB_ID": "a", "HORDE_OAUTH_GITHUB_SECRET_FILE": file}, "github"},
		{"no such file", map[string]string{"HORDE_OAUTH_GITHUB_ID": "a", "HORDE_OAUTH_GITHUB_SECRET_FILE": file + "s"}, "HORDE_OAUTH_GITHUB_SECRET_FILE"},
		{"no secret", map[string]string{"HORDE_OAUTH_GITHUB_ID": "a"}, "--oauth-github-secret"},
		{"OpenID Connect", map[string]string{"HORDE_OAUTH_OIDC_ISSUER": "https://login.example/realm", "HORDE_OAUTH_OIDC_ID": "a"}, "oidc"},
		{"without an id", map[string]string{"HORDE_OAUTH_OIDC_ISSUER": "https://login.example"}, "--oauth-oidc-id"},
		{"no address", map[string]string{"HORDE_OAUTH_OIDC_ISSUER": "login.example", "HORDE_OAUTH_OIDC_ID": "a"}, "--oauth-oidc-issuer"},
		{"too much work", map[string]string{"HORDE_SIGNUP_WORK": "33"}, "--sign-up-work"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			got, err := parse(t, "serve", "--public-url", "https://horde.example")
			if err != nil {
				t.Fatal(err)
			}
			list, err := got.Serve.logins(got.Serve.PublicURL)
			if err != nil {
				if c.want == "" || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %s", err, c.want)
				}
				return
			}
			var names []string
			for _, p := range login.NewService(login.NewSealer("s"), list...).Providers() {
				names = append(names, p.Name)
			}
			if s := strings.Join(names, " "); s != c.want {
				t.Errorf("services %q, want %q", s, c.want)
			}
			if len(list) > 0 {
				if _, err := got.Serve.logins(""); err == nil {
					t.Error("logins without a public URL")
				}
			}
		})
	}
}

// started is a horde as its options make it, and its address.
func started(t *testing.T, options ...string) (*node.Node, string) {
	t.Helper()
	got, err := parse(t, append([]string{"serve", "--data", t.TempDir()}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := got.Serve.node()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Log = quiet()
	n, err := node.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- n.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, "http://" + l.Addr().String() + "/"
}

// TestPagesShowResultsFromABucket lets the playground load what is kept elsewhere.
func TestPagesShowResultsFromABucket(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for place, origin := range map[string]string{
		"s3://images?endpoint=http://127.0.0.1:9":                                      "http://127.0.0.1:9",
		"s3://images?endpoint=http://127.0.0.1:9&public=https://images.example/at":     "https://images.example",
		"s3://images?endpoint=http://127.0.0.1:9&public=https://eu.example&style=host": "https://images.eu.example",
	} {
		_, at := started(t, "--blobs", place)
		resp, err := http.Get(at)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "img-src 'self' "+origin+";") {
			t.Errorf("%s: %q, want %s", place, policy, origin)
		}
	}
}

func TestRegisterAtAHorde(t *testing.T) {
	t.Parallel()
	n, at := started(t, "--sign-up-work", "8")
	c := registerCommand{Name: "Ada", URL: at}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v, err := n.Engine.ShowUser(t.Context(), 1); err != nil || v.User.Alias() != "Ada#1" {
		t.Errorf("the horde has %q, %v", v.User.Alias(), err)
	}
	c.Name = strings.Repeat("a", 31)
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "1 to 30 characters") {
		t.Errorf("a long name: %v", err)
	}
	c.URL = "http://127.0.0.1:1"
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "is there a horde") {
		t.Errorf("no horde: %v", err)
	}
}
