// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// transport answers requests in the process, so that time can be virtual.
type transport func(r *http.Request) (int, http.Header, any)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	status, header, body := f(r)
	if err, ok := body.(error); ok {
		return nil, err
	}
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func client(t *testing.T, f transport, opts ...Option) *Client {
	t.Helper()
	c, err := New(append([]Option{WithBaseURL("http://fediseer.test"), WithHTTPClient(&http.Client{Transport: f}), WithRateLimit(false)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type doc = map[string]any

// Worked example 15.
func TestNormalizeDomain(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{" HTTPS://Bücher.Example/x ": "xn--bcher-kva.example", "*.Evil.test": "*.evil.test", "a.test.": "a.test", "a": "a"} {
		if got, err := NormalizeDomain(in); err != nil || got != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	for _, in := range []string{"exa mple", "127.0.0.1", "", "a..b", "[::1]", "a:80", "u@a", "a_b", "0x7f.1", strings.Repeat("a", 64), "http://", "a?b"} {
		got, err := NormalizeDomain(in)
		var d *DomainError
		if !errors.As(err, &d) {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
}

// Worked example 1.
func TestGivenDomainsMakesOneFilteredRequest(t *testing.T) {
	t.Parallel()
	var asked []string
	c := client(t, func(r *http.Request) (int, http.Header, any) {
		asked = append(asked, r.URL.RequestURI())
		return 200, nil, doc{"domains": []string{"evil", "evil2"}, "total": 6}
	})
	got, err := c.Censures.GivenDomains(t.Context(), []string{"b", "a", "B"}, GivenFilter{Min: 2})
	if err != nil || !slices.Equal(got, []string{"evil", "evil2"}) || !slices.Equal(asked, []string{"/api/v1/censures_given/a,b?domains=true&min_censures=2"}) {
		t.Error(got, err, asked)
	}
}

// list serves n names in pages as the service does.
func pagesOf(n, total int, asked *[]string) transport {
	return func(r *http.Request) (int, http.Header, any) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		*asked = append(*asked, fmt.Sprint(page, "x", limit))
		items := []doc{}
		for i := (page - 1) * limit; i < min(n, page*limit); i++ {
			items = append(items, doc{"id": i, "domain": fmt.Sprintf("x%04d", i)})
		}
		return 200, nil, doc{"instances": items, "total": total}
	}
}

// Worked examples 2 and 3.
func TestPaging(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		n, total, requests int
	}{{2500, 2600, 3}, {2000, 2000, 2}, {2000, 2300, 3}, {10, 10, 1}, {0, 0, 1}} {
		var asked []string
		c := client(t, pagesOf(x.n, x.total, &asked))
		n := 0
		for in, err := range c.Censures.Given(t.Context(), []string{"a"}, GivenFilter{}) {
			if err != nil || in.Domain != fmt.Sprintf("x%04d", n) {
				t.Fatal(in, err)
			}
			n++
		}
		if n != x.n || len(asked) != x.requests {
			t.Errorf("%+v: %d items, %v", x, n, asked)
		}
	}
	// Filtered approvals: an empty first page is not the end.
	var asked []string
	c := client(t, func(r *http.Request) (int, http.Header, any) {
		asked = append(asked, r.URL.Query().Get("page"))
		return 200, nil, doc{"instances": []doc{}, "total": 1500}
	})
	for range c.Endorsements.Given(t.Context(), []string{"a"}, GivenFilter{Reasons: []string{"x"}}) {
	}
	if !slices.Equal(asked, []string{"1", "2"}) {
		t.Error(asked)
	}
	// The reader can stop at any time, and nothing more is asked.
	asked = nil
	c = client(t, pagesOf(5000, 5000, &asked))
	for range c.Censures.Given(t.Context(), []string{"a"}, GivenFilter{}) {
		break
	}
	if len(asked) != 1 {
		t.Error(asked)
	}
	// Rows that move to a later page come once.
	c = client(t, func(r *http.Request) (int, http.Header, any) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		items := []doc{}
		for i := range 100 {
			if page < 3 {
				items = append(items, doc{"id": (page-1)*99 + i})
			}
		}
		return 200, nil, doc{"instances": items, "total": 199}
	})
	ids := map[int]int{}
	for in, err := range c.Instances.List(t.Context(), WhitelistFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		ids[in.ID]++
	}
	if len(ids) != 199 || ids[99] != 1 {
		t.Error(len(ids), ids[99])
	}
}

func TestIteratorsYieldOneErrorAndStop(t *testing.T) {
	t.Parallel()
	n := 0
	c := client(t, func(r *http.Request) (int, http.Header, any) { return 403, nil, doc{"message": "hidden"} })
	for _, err := range c.Hesitations.Given(t.Context(), []string{"a"}, GivenFilter{}) {
		n++
		if !errors.Is(err, ErrForbidden) {
			t.Error(err)
		}
	}
	for _, err := range c.Reports.List(t.Context(), ReportFilter{}) {
		n++
		if !errors.Is(err, ErrForbidden) {
			t.Error(err)
		}
	}
	for _, err := range c.Censures.Given(t.Context(), nil, GivenFilter{}) {
		n++
		if !errors.Is(err, ErrNoDomain) {
			t.Error(err)
		}
	}
	if n != 3 {
		t.Error(n)
	}
}

// Long lists of domains are split, and the filters applied to the parts give what the service would give for the whole.
func TestGroupsEqualTheWhole(t *testing.T) {
	t.Parallel()
	judges := map[string]map[string]string{}
	var names []string
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 900 {
		name := fmt.Sprintf("%s%03d.test", strings.Repeat("j", 55), i)
		names = append(names, name)
		judges[name] = map[string]string{}
		for range 3 {
			judges[name][fmt.Sprintf("x%d", r.IntN(200))] = []string{"", "spam", "Spam, CSAM", "racism"}[r.IntN(4)]
		}
	}
	asked := 0
	serve := func(req *http.Request) (int, http.Header, any) {
		asked++
		if len(req.URL.EscapedPath()) > maxPath {
			t.Errorf("a path of %d bytes", len(req.URL.EscapedPath()))
		}
		parts := strings.Split(req.URL.Path, "/")
		said := map[string][]string{}
		counts := map[string]int{}
		for j := range strings.SplitSeq(parts[4], ",") {
			for x, reason := range judges[j] {
				counts[x]++
				if reason != "" {
					said[x] = append(said[x], reason)
				}
			}
		}
		items := []doc{}
		for x, n := range counts {
			items = append(items, doc{"domain": x, "censure_reasons": said[x], "censure_count": n, "endorsement_reasons": said[x]})
		}
		return 200, nil, doc{"instances": items, "total": 900}
	}
	c := client(t, serve)
	for _, f := range []GivenFilter{{}, {Min: 20}, {Reasons: []string{"spam"}, Min: 5}, {Reasons: []string{"__all_pedos__"}}, {Reasons: []string{"nothing"}}} {
		want := map[string]bool{}
		for i := range 200 {
			x := fmt.Sprintf("x%d", i)
			n, byLabel := 0, map[string]int{}
			for _, said := range judges {
				reason, ok := said[x]
				if !ok {
					continue
				}
				n++
				for _, l := range []string{"spam", "csam"} {
					if strings.Contains(strings.ToLower(reason), l) {
						byLabel[l]++
					}
				}
			}
			least := max(1, f.Min)
			switch {
			case f.Reasons == nil:
				want[x] = n >= least
			case f.Reasons[0] == "__all_pedos__":
				want[x] = byLabel["csam"] >= least
			default:
				want[x] = byLabel[f.Reasons[0]] >= least
			}
		}
		got, err := c.Censures.GivenDomains(t.Context(), names, f)
		if err != nil || !slices.IsSorted(got) {
			t.Fatal(err)
		}
		for _, x := range got {
			if !want[x] {
				t.Errorf("%+v: %s does not pass", f, x)
			}
			delete(want, x)
		}
		for x, missing := range want {
			if missing {
				t.Errorf("%+v: %s is missing", f, x)
			}
		}
	}
	// Endorsements tell no counts: each judge is asked alone.
	asked = 0
	if _, err := c.Endorsements.GivenDomains(t.Context(), names[:600], GivenFilter{Min: 2}); err != nil || asked != 600 {
		t.Error(err, asked)
	}
}

// Worked example 4, and the other rules of retries, in virtual time.
func TestRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var answers []func() (int, http.Header, any)
		n := 0
		c := client(t, func(*http.Request) (int, http.Header, any) {
			n++
			if n <= len(answers) {
				return answers[n-1]()
			}
			return 200, http.Header{"Retry-After": {"59"}}, doc{"message": "Changed"}
		}, WithAPIKey("k"))
		status := func(code int, retry string) func() (int, http.Header, any) {
			return func() (int, http.Header, any) {
				return code, http.Header{"Retry-After": {retry}}, doc{"message": "no"}
			}
		}
		run := func(f func() error, a ...func() (int, http.Header, any)) (time.Duration, int, error) {
			answers, n = a, 0
			start := time.Now()
			err := f()
			return time.Since(start), n, err
		}
		put := func() error { _, err := c.Censures.Put(t.Context(), "x", Judgement{}); return err }
		if d, n, err := run(put, status(429, "41")); err != nil || n != 2 || d < 41*time.Second || d > 42*time.Second {
			t.Error(d, n, err)
		}
		if d, n, err := run(put); err != nil || n != 1 || d != 0 {
			t.Error(d, n, err)
		}
		broken := func() (int, http.Header, any) { return 0, nil, errors.New("connection reset") }
		if d, n, err := run(put, status(502, "100"), status(504, "100"), broken); err != nil || n != 4 || d > 4*time.Second {
			t.Error(d, n, err)
		}
		if _, n, err := run(put, status(503, ""), status(503, ""), status(503, ""), status(503, "")); !errors.Is(err, ErrUnavailable) || n != 4 {
			t.Error(n, err)
		}
		if d, _, err := run(put, status(429, "100000")); err != nil || d != maxWait {
			t.Error(d, err)
		}
		if _, n, err := run(put, status(500, "")); err == nil || n != 1 {
			t.Error(n, err)
		}
		batch := func() error {
			_, err := c.Censures.Batch(t.Context(), []JudgementEntry{{Domain: "x"}}, BatchOptions{})
			return err
		}
		if _, n, err := run(batch, status(503, "1")); !errors.Is(err, ErrUnavailable) || n != 1 {
			t.Error(n, err)
		}
		if _, n, err := run(batch, broken); err == nil || n != 1 {
			t.Error(n, err)
		}
		if _, n, err := run(batch, status(429, "1")); err != nil || n != 2 {
			t.Error(n, err)
		}
		// No wait that the context does not allow.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if d, _, err := run(func() error { _, err := c.Censures.Put(ctx, "x", Judgement{}); return err }, status(429, "41")); !errors.Is(err, ErrRateLimited) || d != 0 {
			t.Error(d, err)
		}
		gone, stop := context.WithCancel(t.Context())
		stop()
		if _, _, err := run(func() error { _, err := c.Instances.Get(gone, "x"); return err }); err != context.Canceled {
			t.Error(err)
		}
	})
}

// Worked example 5.
func TestErrors(t *testing.T) {
	t.Parallel()
	known := true
	c := client(t, func(r *http.Request) (int, http.Header, any) {
		switch {
		case r.URL.Path == "/api/v1/find_instance" && !known:
			return 404, nil, doc{"message": "unknown key"}
		case r.URL.Path == "/api/v1/find_instance":
			return 200, nil, doc{"domain": "me.test"}
		case strings.HasPrefix(r.URL.Path, "/api/v1/censures_given"):
			return 401, nil, doc{"message": "unknown key"}
		case r.URL.Path == "/api/v1/config":
			return 502, nil, strings.Repeat("<html>", 100)
		case r.URL.Path == "/api/v1/faq":
			return 200, nil, "no json"
		case r.Method == http.MethodPut:
			return 404, nil, doc{"message": "nothing there", "errors": doc{"reason": "too long"}}
		}
		return 404, nil, doc{"message": "nothing there"}
	}, WithAPIKey("k"), WithRetry(RetryPolicy{Attempts: 1}))
	if in, err := c.LogIn(t.Context()); err != nil || in.Domain != "me.test" || c.Home() != "me.test" || c.WithKey("o").Home() != "" {
		t.Error(in, err)
	}
	_, err := c.Censures.Put(t.Context(), "x", Judgement{})
	var api *APIError
	if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadKey) || !errors.As(err, &api) || api.Fields["reason"] != "too long" {
		t.Error(err)
	}
	known = false
	if _, err := c.LogIn(t.Context()); !errors.Is(err, ErrBadKey) || !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := c.Censures.GivenDomains(t.Context(), []string{"a"}, GivenFilter{}); !errors.Is(err, ErrBadKey) || !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
	if _, err := c.Censures.Put(t.Context(), "x", Judgement{}); !errors.Is(err, ErrBadKey) || !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := c.Instances.Get(t.Context(), "x"); errors.Is(err, ErrBadKey) || !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if cfg, err := c.Instances.Config(t.Context()); cfg != nil || !errors.As(err, &api) || len(api.Message) != maxErrorText {
		t.Error(err)
	}
	if list, err := c.FAQ.List(t.Context(), "", ""); list != nil || err == nil {
		t.Error(list, err)
	}
	if _, err := c.Censures.Batch(t.Context(), nil, BatchOptions{Delete: true}); err == nil {
		t.Error("a nil list clears everything")
	}
	var bad *DomainError
	if _, err := c.Guarantees.Put(t.Context(), "127.0.0.1"); !errors.As(err, &bad) {
		t.Error(err)
	}
	if _, err := New(WithBaseURL("not a url")); err == nil {
		t.Error("any URL is taken")
	}
}

// The client waits where the service would refuse it, and no longer than the context allows.
func TestRateLimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		var mu sync.Mutex
		c := client(t, func(*http.Request) (int, http.Header, any) {
			mu.Lock()
			defer mu.Unlock()
			n++
			return 200, nil, doc{"message": "OK", "instances": []doc{}}
		}, WithRateLimit(true))
		start := time.Now()
		for range 20 {
			if _, err := c.Censures.Put(t.Context(), "x", Judgement{}); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(start) != 0 {
			t.Error("the first 20 wait")
		}
		if _, err := c.Censures.Put(t.Context(), "y", Judgement{}); err != nil || time.Since(start) != 0 {
			t.Error("another path waits", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Censures.Put(ctx, "x", Judgement{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 0 {
			t.Error(err, time.Since(start))
		}
		if _, err := c.WithKey("other").Censures.Put(t.Context(), "x", Judgement{}); err != nil || time.Since(start) != limitWindow {
			t.Error(err, time.Since(start))
		}
		// 30 by path and 45 by route for given lists.
		start = time.Now()
		for range 30 {
			if _, err := c.Censures.GivenDomains(t.Context(), []string{"a"}, GivenFilter{}); err != nil {
				t.Fatal(err)
			}
		}
		for range 15 {
			if _, err := c.Censures.GivenDomains(t.Context(), []string{"b"}, GivenFilter{}); err != nil || time.Since(start) != 0 {
				t.Fatal(err, time.Since(start))
			}
		}
		if _, err := c.Censures.GivenDomains(t.Context(), []string{"b"}, GivenFilter{}); err != nil || time.Since(start) != limitWindow {
			t.Error(err, time.Since(start))
		}
	})
}
