// SPDX-License-Identifier: AGPL-3.0-or-later

package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"horde/internal/fetch"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

// start runs a sender until the test ends and returns it with what ends it earlier.
func start(t *testing.T, cfg fetch.Config) (s *Sender, stop func()) {
	t.Helper()
	s = New(fetch.New(cfg))
	return s, run(t, s)
}

// run runs a sender until stop is called, which waits for what was queued.
func run(t *testing.T, s *Sender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Content-Type"), " ", string(body))
	})
	s, stop := start(t, FetchConfig(loopback))
	if !s.Send(url+"/hook?key=1", map[string]any{"id": "x", "seed": 7}) {
		t.Fatal("not queued")
	}
	if got, want := <-got, `POST /hook?key=1 application/json {"id":"x","seed":7}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	stop()
	if want := (Counts{Queued: 1, Delivered: 1}); s.Counts() != want {
		t.Errorf("%+v, want %+v", s.Counts(), want)
	}
}

func TestAttempts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		statuses  []int // of the answers in turn; the last one repeats; 0 hangs up
		requests  int64
		delivered bool
	}{
		{"accepted", []int{200}, 1, true},
		{"accepted without content", []int{204}, 1, true},
		{"refused", []int{400}, 3, false},
		{"broken", []int{500}, 3, false},
		{"broken twice", []int{500, 503, 200}, 3, true},
		{"hung up", []int{0}, 3, false},
		{"hung up once", []int{0, 200}, 2, true},
		{"redirected", []int{302}, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/" {
					t.Error("the redirect was followed")
				}
				i := min(int(n.Add(1)), len(tt.statuses)) - 1
				if tt.statuses[i] == 0 {
					panic(http.ErrAbortHandler)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.statuses[i])
				// An answer of any length is not waited for.
				w.Write(make([]byte, 1<<20))
			})
			s, stop := start(t, FetchConfig(loopback))
			s.Send(url, "body")
			stop()
			c := s.Counts()
			if n.Load() != tt.requests || (c.Delivered == 1) != tt.delivered || c.Delivered+c.Failed != 1 {
				t.Errorf("%d requests, %+v; want %d, delivered %v", n.Load(), c, tt.requests, tt.delivered)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	s := New(fetch.New(fetch.Config{AllowPrefixes: loopback, Timeout: 50 * time.Millisecond}))
	var n atomic.Int64 // of attempts, for a busy machine may end one before it has reached the server
	s.OnAttempt = func(int, int, error, time.Duration) { n.Add(1) }
	stop := run(t, s)
	s.Send(url, "body")
	stop()
	if c := s.Counts(); n.Load() != attempts || c.Failed != 1 {
		t.Errorf("%d attempts, %+v", n.Load(), c)
	}
}

func TestPrivateAddressesAreNotCalled(t *testing.T) {
	t.Parallel()
	url := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("called") })
	s, stop := start(t, FetchConfig(nil))
	s.Send(url, "body")
	s.Send("https://user:password@127.0.0.1/", "body")
	s.Send("ftp://127.0.0.1/", "body")
	stop()
	if c := s.Counts(); c.Failed != 3 {
		t.Errorf("%+v", c)
	}
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	s := New(fetch.New(FetchConfig(nil)))
	for i := range queuePerHost {
		if !s.Send("https://one.test/", i) {
			t.Fatalf("delivery %d to a host was dropped", i)
		}
	}
	if s.Send("https://ONE.test/other", 0) {
		t.Error("one host fills the whole queue")
	}
	for i := range queueLen - queuePerHost {
		if !s.Send(fmt.Sprintf("https://host%d.test/", i), i) {
			t.Fatalf("delivery %d to others was dropped", i)
		}
	}
	if s.Send("https://two.test/", 0) {
		t.Error("the queue has no end")
	}
	if want := (Counts{Queued: queueLen, Dropped: 2}); s.Counts() != want {
		t.Errorf("%+v, want %+v", s.Counts(), want)
	}

	s = New(fetch.New(FetchConfig(nil)))
	large := strings.Repeat("x", queueBytes/4)
	for i, want := range []bool{true, true, true, false} {
		if got := s.Send(fmt.Sprintf("https://host%d.test/", i), large); got != want {
			t.Errorf("delivery %d of %d bytes queued: %v", i, len(large), got)
		}
	}
	if s.Send("https://host.test/", func() {}) || s.Send("https://host.test/%zz", 1) {
		t.Error("what cannot be sent was queued")
	}
}

// Deliveries to a host that does not answer wait for each other and for nobody else.
func TestSlowHostDoesNotStallOthers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var running, most, slow atomic.Int64
	slowURL := serve(t, func(http.ResponseWriter, *http.Request) {
		now := running.Add(1)
		for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
		}
		<-release
		running.Add(-1)
		slow.Add(1)
	})
	var wg sync.WaitGroup
	fastURL := serve(t, func(http.ResponseWriter, *http.Request) { wg.Done() })
	s, stop := start(t, FetchConfig(loopback))
	for i := range 40 {
		if !s.Send(slowURL, i) {
			t.Fatal("not queued")
		}
	}
	const fast = 20
	wg.Add(fast)
	for i := range fast {
		s.Send(fastURL, i)
	}
	wg.Wait()
	if slow.Load() != 0 {
		t.Error("the slow host was not slow")
	}
	close(release)
	stop()
	if most.Load() > sendersPerHost {
		t.Errorf("%d deliveries at once to one host", most.Load())
	}
	if want := (Counts{Queued: 60, Delivered: 60}); s.Counts() != want {
		t.Errorf("%+v, want %+v: what was queued before the end is delivered", s.Counts(), want)
	}
	if s.Send(fastURL, 0) {
		t.Error("queued after the end")
	}
}

func TestRunEndsWithNothingToDo(t *testing.T) {
	t.Parallel()
	_, stop := start(t, FetchConfig(nil))
	stop()
}

// Not parallel: it replaces the program's log.
func TestLogsHoldNoSecrets(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer slog.SetDefault(before)
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "SECRET", http.StatusInternalServerError) })
	s, stop := start(t, FetchConfig(loopback))
	s.Send(url+"/SECRET?token=SECRET", "SECRET")
	s.Send("http://SECRET@127.0.0.1/", "SECRET")
	stop()
	if !strings.Contains(log.String(), "webhook given up") || strings.Contains(log.String(), "SECRET") {
		t.Errorf("logged: %s", log.String())
	}
}
