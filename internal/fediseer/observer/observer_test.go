// SPDX-License-Identifier: AGPL-3.0-or-later

package observer

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What the source answers, and what becomes of it.
func TestSource(t *testing.T) {
	t.Parallel()
	answer, status, calls := "", 200, 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || !strings.Contains(string(body), "softwarename") {
			t.Error(r.Method, string(body), err)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	for _, bad := range []struct {
		status int
		answer string
	}{{500, ""}, {301, ""}, {200, "<html>"}, {200, "{}"}, {200, `{"data":{"nodes":7}}`}, {200, `{"data":{"nodes":[{"domain":"a","total_users":"many"}]}}`}} {
		status, answer = bad.status, bad.answer
		s := &Source{Location: srv.URL, HTTP: srv.Client()}
		if _, err := s.Nodes(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Error(bad, err)
		}
	}
	status, answer = 200, `{"data":{"nodes":[{"domain":"A.test","uptime_alltime":"99.5","total_users":7,"signup":true},{"domain":"not a domain"},{"domain":"b.test","local_posts":null,"comment_counts":"12"}]}}`
	s := &Source{Location: srv.URL, HTTP: srv.Client()}
	calls = 0
	for range 3 {
		nodes, err := s.Nodes(t.Context())
		if err != nil || len(nodes) != 2 || nodes[0].Domain != "a.test" || nodes[0].UptimeAllTime != 99.5 || !nodes[0].Signup || nodes[1].CommentCounts != 12 {
			t.Error(nodes, err)
		}
	}
	if calls != 1 {
		t.Errorf("the source was asked %d times", calls)
	}
	if _, err := (&Source{Location: "http://127.0.0.1:1", HTTP: srv.Client()}).Nodes(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if _, err := (&Source{Location: t.TempDir() + "/none"}).Nodes(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func TestAnswersAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s := &Source{Location: "http://x", HTTP: &http.Client{Transport: roundTrip(func() string { calls++; return `{"data":{"nodes":[]}}` })}}
		for range 4 {
			if _, err := s.Nodes(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(keepFor / 2)
		}
		if calls != 2 {
			t.Error(calls)
		}
	})
}

type roundTrip func() string

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(f())), Request: r}, nil
}
