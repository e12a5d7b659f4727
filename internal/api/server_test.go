// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/api"
)

// pipes is a listener for connections inside of a synctest bubble, where real sockets would stop the clock.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// serving runs a server for the test and stops it at its end.
func serving(t *testing.T, h http.Handler) *pipes {
	l := newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- api.NewServer(h, slog.New(slog.DiscardHandler)).Serve(ctx, l, time.Second) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return l
}

// exchange writes text in pieces, waiting between them, and returns the status of the answer and how long it took.
func exchange(t *testing.T, c net.Conn, wait time.Duration, pieces ...string) (*http.Response, time.Duration) {
	began := time.Now()
	go func() {
		for i, piece := range pieces {
			if i > 0 {
				time.Sleep(wait)
			}
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, time.Since(began)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp, time.Since(began)
}

const postImage = "POST " + imagePath + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\napikey: known\r\nConnection: close\r\nContent-Length: "

func TestSlowCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serving(t, toyRouter(api.Options{}))

		// Headers that do not end.
		if resp, took := exchange(t, l.dial(), 4*time.Second, "GET / HTTP/1.1\r\n", "Host: x\r\n", "A: b\r\n", "C: d\r\n"); resp != nil || took > 11*time.Second {
			t.Errorf("slow headers: %v after %v", resp, took)
		}
		// A body that trickles.
		resp, took := exchange(t, l.dial(), 20*time.Second, postImage+"14\r\n\r\n{", `"prom`, `pt":`, `"x"}`)
		if resp == nil || resp.StatusCode != http.StatusRequestTimeout || took > 61*time.Second {
			t.Errorf("slow body: %v after %v", resp, took)
		}
		// A slow line that is honest: 320 KiB at 40 KiB a second with a first pause.
		body := `{"prompt":"` + strings.Repeat("x", 320<<10) + `"}`
		pieces := []string{fmt.Sprint(postImage, len(body), "\r\n\r\n")}
		for i := 0; i < len(body); i += 40 << 10 {
			pieces = append(pieces, body[i:min(i+40<<10, len(body))])
		}
		if resp, took := exchange(t, l.dial(), time.Second, pieces...); resp == nil || resp.StatusCode != http.StatusAccepted || took < 8*time.Second {
			t.Errorf("slow line: %v after %v", resp, took)
		}
		// A body that ends early.
		c := l.dial()
		go func() {
			_, _ = io.WriteString(c, postImage+"100\r\n\r\n{")
			time.Sleep(time.Second)
			_ = c.Close()
		}()
		time.Sleep(2 * time.Second)
	})
}

func TestACallMayLastLongerThanItsBodyMay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := api.NewRouter(api.Options{Log: slog.New(slog.DiscardHandler)})
		handle(r, http.MethodPost, "/wait", nil, func(ctx context.Context, _ *api.Call[struct{ Body struct{} }]) (int, any, error) {
			select {
			case <-ctx.Done():
				return 0, nil, ctx.Err()
			case <-time.After(4 * time.Minute):
				return http.StatusOK, struct{}{}, nil
			}
		})
		handle(r, http.MethodGet, "/stream", nil, func(context.Context, *api.Call[api.NoInput]) (int, any, error) {
			return 0, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for i := range 3 {
					_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
					w.(http.Flusher).Flush()
					time.Sleep(4 * time.Minute)
				}
			}), nil
		})
		l := serving(t, r)
		if resp, took := exchange(t, l.dial(), 0, "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"); resp == nil || resp.StatusCode != 200 || took != 4*time.Minute {
			t.Errorf("%v after %v", resp, took)
		}
		c := l.dial()
		go func() {
			_, _ = io.WriteString(c, "GET /stream HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n")
		}()
		began := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(resp.Body)
		for i := range 3 {
			line, err := lines.ReadString('\n')
			if err != nil || line != fmt.Sprintf("data: %d\n", i) || time.Since(began) != time.Duration(i)*4*time.Minute {
				t.Fatalf("event %d: %q %v after %v", i, line, err, time.Since(began))
			}
			_, _ = lines.ReadString('\n')
		}
		_, _ = io.Copy(io.Discard, lines)
	})
}

func TestStoppingEndsWhoWaitsAndSparesWhoWorks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := api.NewRouter(api.Options{Log: slog.New(slog.DiscardHandler)})
		for path, works := range map[string]time.Duration{"/wait": time.Hour, "/work": 5 * time.Second} {
			handle(r, http.MethodGet, path, nil, func(ctx context.Context, _ *api.Call[api.NoInput]) (int, any, error) {
				draining := api.Draining(ctx)
				if path == "/work" {
					draining = nil
				}
				select {
				case <-draining:
				case <-time.After(works):
				}
				return http.StatusOK, struct{}{}, nil
			})
		}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- api.NewServer(r, slog.Default()).Serve(ctx, l, 10*time.Second) }()
		var answered atomic.Int32
		for _, path := range []string{"/wait", "/work"} {
			c := l.dial()
			go func() {
				if resp, _ := exchange(t, c, 0, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); resp != nil && resp.StatusCode == 200 {
					answered.Add(1)
				}
			}()
		}
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(began) > 6*time.Second {
			t.Errorf("stopped with %v after %v", err, time.Since(began))
		}
		synctest.Wait()
		if answered.Load() != 2 {
			t.Errorf("%d of 2 calls were answered", answered.Load())
		}
	})
}

func TestStoppingDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := api.NewRouter(api.Options{Log: slog.New(slog.DiscardHandler)})
		handle(r, http.MethodGet, "/stubborn", nil, func(ctx context.Context, _ *api.Call[api.NoInput]) (int, any, error) {
			<-ctx.Done()
			return 0, nil, ctx.Err()
		})
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- api.NewServer(r, slog.Default()).Serve(ctx, l, 10*time.Second) }()
		c := l.dial()
		go func() { _, _ = exchange(t, c, 0, "GET /stubborn HTTP/1.1\r\nHost: x\r\n\r\n") }()
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 11*time.Second {
			t.Errorf("stopped with %v after %v", err, time.Since(began))
		}
	})
}

func TestLargeBodies(t *testing.T) {
	t.Parallel()
	r := toyRouter(api.Options{BodyMemory: 8 << 20})
	prompt := func(size int) string { return `{"prompt":"` + strings.Repeat("x", size) + `"}` }
	for name, c := range map[string]struct {
		path, body string
		unknown    bool // the length is not announced
		status     int
	}{
		"small":                            {imagePath, prompt(10 << 10), false, 202},
		"just above a recycled buffer":     {imagePath, prompt(33 << 10), false, 202},
		"large":                            {imagePath, prompt(1 << 20), false, 202},
		"large and not announced":          {imagePath, prompt(1 << 20), true, 202},
		"above the limit of its operation": {textPath, prompt(1 << 20), false, 413},
		"above it and not announced":       {textPath, prompt(1 << 20), true, 413},
		"just below it":                    {textPath, prompt(1<<20 - 13), true, 202},
		"above what all may take":          {imagePath, prompt(16 << 20), false, 503},
		"above it, not announced, in vain": {imagePath, prompt(16 << 20), true, 503},
	} {
		t.Run(name, func(t *testing.T) {
			var reader io.Reader = strings.NewReader(c.body)
			if c.unknown {
				reader = struct{ io.Reader }{reader}
			}
			req, err := http.NewRequest(http.MethodPost, c.path, reader)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("apikey", "known")
			req.RemoteAddr = "192.0.2.1:5"
			if c.unknown {
				req.ContentLength = -1
			}
			rec := &recorder{header: http.Header{}}
			r.ServeHTTP(rec, req)
			if rec.status != c.status || rec.status == 503 && rec.header.Get("Retry-After") != "1" {
				t.Errorf("%d %s %v, want %d", rec.status, rec.body.String(), rec.header, c.status)
			}
			if c.status >= 400 && !strings.Contains(rec.body.String(), `"message"`) {
				t.Errorf("%s", rec.body.String())
			}
		})
	}
	// Nothing is held on to after the calls.
	for range 20 {
		if a := call(t, r, http.MethodPost, imagePath, prompt(1<<20), "apikey: known"); a.StatusCode != 202 {
			t.Fatalf("%d %s", a.StatusCode, a.text)
		}
	}
}

// recorder is a ResponseWriter that is no connection.
type recorder struct {
	header http.Header
	status int
	body   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serving(t, toyRouter(api.Options{}))
		resp, _ := exchange(t, l.dial(), 0, "GET / HTTP/1.1\r\nHost: x\r\nA: "+strings.Repeat("a", 40<<10)+"\r\n\r\n")
		if resp == nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%v", resp)
		}
	})
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	t.Parallel()
	l := newPipes()
	_ = l.Close()
	if err := api.NewServer(http.NotFoundHandler(), slog.Default()).Serve(t.Context(), l, time.Second); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
