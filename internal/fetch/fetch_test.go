// SPDX-License-Identifier: AGPL-3.0-or-later

package fetch_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"horde/internal/fetch"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// names answers look-ups from a table, one answer after the other; the last one repeats.
type names struct {
	answers map[string][][]netip.Addr
	asked   atomic.Int64
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.asked.Add(1)
	list := n.answers[host]
	if len(list) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(list) > 1 {
		n.answers[host] = list[1:]
	}
	return append([]netip.Addr(nil), list[0]...), nil
}

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func client(t *testing.T, cfg fetch.Config) *fetch.Client {
	t.Helper()
	c := fetch.New(cfg)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// read fetches rawURL to the end.
func read(c *fetch.Client, rawURL string) (status int, body []byte, err error) {
	resp, err := c.Get(context.Background(), rawURL)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

func TestGet(t *testing.T) {
	t.Parallel()
	var agent, encoding string
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		agent, encoding = r.UserAgent(), r.Header.Get("Accept-Encoding")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "short and stout")
	})
	status, body, err := read(client(t, fetch.Config{AllowPrefixes: loopback, UserAgent: "horde-test/1"}), srv.URL)
	if err != nil || status != http.StatusTeapot || string(body) != "short and stout" {
		t.Errorf("got %d %q %v", status, body, err)
	}
	if agent != "horde-test/1" || encoding != "identity" {
		t.Errorf("sent User-Agent %q, Accept-Encoding %q", agent, encoding)
	}
}

func TestRefusedURLs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, url string
		want      error
	}{
		{"empty", "", fetch.ErrURL},
		{"another scheme", "ftp://example.com/a.png", fetch.ErrURL},
		{"a file", "file:///etc/passwd", fetch.ErrURL},
		{"no host", "http:///a.png", fetch.ErrURL},
		{"opaque", "http:example.com", fetch.ErrURL},
		{"credentials", "http://user:hunter2@example.com/", fetch.ErrURL},
		{"a name without password", "http://user@example.com/", fetch.ErrURL},
		{"not parsable", "http://exa mple.com/", fetch.ErrURL},
		{"control characters", "http://example.com/\r\nX: y", fetch.ErrURL},
		{"another port", "http://1.1.1.1:22/", fetch.ErrURL},
		{"a port too large", "http://1.1.1.1:70000/", fetch.ErrURL},
		{"a host name too long", "http://" + strings.Repeat("a.", 200) + "com/", fetch.ErrURL},
		{"loopback", "http://127.0.0.1/", fetch.ErrPrivateAddress},
		{"loopback on another port", "http://127.0.0.1:6379/", fetch.ErrPrivateAddress},
		{"cloud metadata", "http://169.254.169.254/latest/meta-data/", fetch.ErrPrivateAddress},
		{"unspecified", "http://0.0.0.0/", fetch.ErrPrivateAddress},
		{"IPv6 loopback", "http://[::1]/", fetch.ErrPrivateAddress},
		{"IPv6 unspecified", "http://[::]/", fetch.ErrPrivateAddress},
		{"IPv4 in IPv6", "http://[::ffff:127.0.0.1]/", fetch.ErrPrivateAddress},
		{"IPv4 in IPv6, hexadecimal", "http://[::ffff:7f00:1]/", fetch.ErrPrivateAddress},
		{"NAT64 of loopback", "http://[64:ff9b::7f00:1]/", fetch.ErrPrivateAddress},
		{"IPv6 zone", "http://[fe80::1%25lo]/", fetch.ErrURL},
		{"IPv6 zone on loopback", "http://[::1%25lo]/", fetch.ErrURL},
		{"decimal address", "http://2130706433/", fetch.ErrURL},
		{"hexadecimal address", "http://0x7f000001/", fetch.ErrURL},
		{"hexadecimal parts", "http://0x7f.0x0.0x0.0x1/", fetch.ErrURL},
		{"octal parts", "http://0177.0.0.01/", fetch.ErrURL},
		{"short address", "http://127.1/", fetch.ErrURL},
		{"final dot", "http://127.0.0.1./", fetch.ErrURL},
		{"full-width digits", "http://１２７.０.０.１/", fetch.ErrPrivateAddress},
		{"ideographic full stops", "http://127。0。0。1/", fetch.ErrPrivateAddress},
		{"a name that is loopback", "http://inside.test/", fetch.ErrPrivateAddress},
		{"an unknown name", "http://unknown.test/", fetch.ErrUnresolved},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := client(t, fetch.Config{Resolver: &names{answers: map[string][][]netip.Addr{
				"inside.test": {addrs("127.0.0.1", "::1", "10.0.0.8")},
			}}})
			_, _, err := read(c, tt.url)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestPortsOfPublicAddresses(t *testing.T) {
	t.Parallel()
	// 1.1.1.1 is never dialled: the context is over before.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := client(t, fetch.Config{Ports: []uint16{8443}})
	if _, err := c.Get(ctx, "http://1.1.1.1:8443/"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a cancelled context", err)
	}
	if _, _, err := read(c, "http://1.1.1.1:80/"); !errors.Is(err, fetch.ErrURL) {
		t.Errorf("got %v, want ErrURL", err)
	}
}

// A name that shows a harmless address first and a private one a moment later: one look-up, and the address it gave is
// the one that is dialled.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	srv := serve(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	port := netip.MustParseAddrPort(srv.Listener.Addr().String()).Port()

	n := &names{answers: map[string][][]netip.Addr{"rebind.test": {addrs("127.0.0.1"), addrs("127.0.0.2")}}}
	c := client(t, fetch.Config{Resolver: n, AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if _, _, err := read(c, fmt.Sprintf("http://rebind.test:%d/", port)); err != nil {
		t.Fatal(err)
	}
	if n.asked.Load() != 1 || hits.Load() != 1 {
		t.Errorf("%d look-ups and %d requests, want 1 and 1", n.asked.Load(), hits.Load())
	}
	c.CloseIdleConnections()
	if _, _, err := read(c, fmt.Sprintf("http://rebind.test:%d/", port)); !errors.Is(err, fetch.ErrPrivateAddress) {
		t.Errorf("after the name moved: got %v, want ErrPrivateAddress", err)
	}
	if hits.Load() != 1 {
		t.Errorf("the private address was reached")
	}
}

// A name with private and permitted addresses: only the permitted ones are dialled.
func TestMixedAddresses(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	port := netip.MustParseAddrPort(srv.Listener.Addr().String()).Port()
	n := &names{answers: map[string][][]netip.Addr{"mixed.test": {addrs("127.0.0.3", "::ffff:127.0.0.1", "10.0.0.1")}}}
	c := client(t, fetch.Config{Resolver: n, AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if _, body, err := read(c, fmt.Sprintf("http://mixed.test:%d/", port)); err != nil || string(body) != "ok" {
		t.Errorf("got %q %v", body, err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	var referer string
	mux.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) {
		referer = r.Referer()
		fmt.Fprint(w, "end")
	})
	mux.HandleFunc("/hop/{n}", func(w http.ResponseWriter, r *http.Request) {
		next := map[string]string{"1": "/end", "2": "/hop/1", "3": "/hop/2"}[r.PathValue("n")]
		http.Redirect(w, r, next, http.StatusFound)
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.FormValue("u"))
		w.WriteHeader(http.StatusFound)
	})
	srv := serve(t, mux.ServeHTTP)
	tests := []struct {
		name, path string
		max        int
		status     int
		err        error
	}{
		{"none is followed by default", "/hop/1", 0, http.StatusFound, nil},
		{"one is followed", "/hop/1", 1, http.StatusOK, nil},
		{"three are followed", "/hop/3", 3, http.StatusOK, nil},
		{"one too many", "/hop/3", 2, 0, fetch.ErrRedirects},
		{"to a private address", "/to?u=http://127.0.0.9/", 3, 0, fetch.ErrPrivateAddress},
		{"to cloud metadata", "/to?u=http://169.254.169.254/latest", 3, 0, fetch.ErrPrivateAddress},
		{"to a decimal address", "/to?u=http://2130706433/", 3, 0, fetch.ErrURL},
		{"to a file", "/to?u=file:///etc/passwd", 3, 0, fetch.ErrURL},
		{"to another scheme", "/to?u=gopher://1.1.1.1/", 3, 0, fetch.ErrURL},
		{"to a URL with credentials", "/to?u=http://a:hunter2@1.1.1.1/", 3, 0, fetch.ErrURL},
		{"to something that is no URL", "/to?u=http://%25zzhunter2/", 3, 0, fetch.ErrAnswer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, fetch.Config{
				AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, MaxRedirects: tt.max,
			})
			status, _, err := read(c, srv.URL+tt.path)
			if status != tt.status || !errors.Is(err, tt.err) {
				t.Errorf("got %d %v, want %d %v", status, err, tt.status, tt.err)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("the error repeats what the server sent: %v", err)
			}
			if referer != "" {
				t.Errorf("the address that redirected was told: %q", referer)
			}
		})
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	const limit = 1000
	tests := []struct {
		name     string
		size     int
		chunked  bool
		err      error
		atHeader bool
	}{
		{"exact, announced", limit, false, nil, false},
		{"exact, chunked", limit, true, nil, false},
		{"too large, announced", limit + 1, false, fetch.ErrTooLarge, true},
		{"too large, chunked", limit + 1, true, fetch.ErrTooLarge, false},
		{"far too large, chunked", 500 * limit, true, fetch.ErrTooLarge, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if tt.chunked {
					w.(http.Flusher).Flush()
				}
				w.Write(make([]byte, tt.size))
			})
			resp, err := client(t, fetch.Config{AllowPrefixes: loopback, MaxBytes: limit}).Get(t.Context(), srv.URL)
			if tt.atHeader {
				if !errors.Is(err, tt.err) {
					t.Errorf("got %v before reading, want %v", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if !errors.Is(err, tt.err) || len(body) != limit {
				t.Errorf("read %d bytes, %v; want %d, %v", len(body), err, limit, tt.err)
			}
			if _, again := resp.Body.Read(make([]byte, 1)); tt.err != nil && !errors.Is(again, tt.err) {
				t.Errorf("reading on: %v, want %v", again, tt.err)
			}
		})
	}
}

func TestHeadMayAnnounceMore(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "5000") })
	req, _ := http.NewRequest(http.MethodHead, srv.URL, nil)
	resp, err := client(t, fetch.Config{AllowPrefixes: loopback, MaxBytes: 10}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// A gzip bomb stays compressed: what is read is what came over the wire.
func TestCompressedBodyIsLeftAlone(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	zw := gzip.NewWriter(&bomb)
	zw.Write(make([]byte, 10<<20))
	zw.Close()
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	})
	_, body, err := read(client(t, fetch.Config{AllowPrefixes: loopback, MaxBytes: 64 << 10}), srv.URL)
	if err != nil || !bytes.Equal(body, bomb.Bytes()) {
		t.Errorf("got %d bytes, %v; want the %d compressed ones", len(body), err, bomb.Len())
	}
}

func TestDeadlineCoversTheWholeExchange(t *testing.T) {
	t.Parallel()
	const timeout = 150 * time.Millisecond
	tests := []struct {
		name    string
		handler func(w http.ResponseWriter, r *http.Request)
	}{
		{"no header", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"a body that drips", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write([]byte("."))
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(timeout / 10):
				}
			}
		}},
		{"redirects that take their time", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(timeout / 3):
				http.Redirect(w, r, "/", http.StatusFound)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, tt.handler)
			start := time.Now()
			_, _, err := read(client(t, fetch.Config{AllowPrefixes: loopback, Timeout: timeout, MaxRedirects: 9}), srv.URL)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want DeadlineExceeded", err)
			}
			if took := time.Since(start); took > 20*timeout {
				t.Errorf("took %v with a timeout of %v", took, timeout)
			}
		})
	}
}

// A port where something speaks another protocol: its banner must not come back in the error.
func TestErrorsDoNotRepeatTheAnswer(t *testing.T) {
	t.Parallel()
	for _, banner := range []string{"SSH-2.0-OpenSecret\r\n", "HTTP/1.1 OpenSecret\r\n\r\n", "HTTP/1.1 200 OK\r\nOpenSecret\r\n\r\n"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(conn, banner)
				conn.Close()
			}
		}()
		for _, scheme := range []string{"http", "https"} {
			_, _, err = read(client(t, fetch.Config{AllowPrefixes: loopback}), scheme+"://"+ln.Addr().String()+"/?token=OpenSecret")
			if err == nil || strings.Contains(err.Error(), "OpenSecret") {
				t.Errorf("%s: got %v", scheme, err)
			}
		}
	}
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	_, _, err = read(client(t, fetch.Config{AllowPrefixes: loopback}), "http://"+ln.Addr().String())
	if !errors.Is(err, fetch.ErrConnect) {
		t.Errorf("got %v, want ErrConnect", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "secret") }))
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	if _, body, err := read(client(t, fetch.Config{AllowPrefixes: loopback, RootCAs: roots}), srv.URL); err != nil || string(body) != "secret" {
		t.Errorf("with the authority: got %q %v", body, err)
	}
	if _, _, err := read(client(t, fetch.Config{AllowPrefixes: loopback}), srv.URL); !errors.Is(err, fetch.ErrConnect) {
		t.Errorf("without the authority: got %v, want ErrConnect", err)
	}
}

func TestNoProxyFromTheEnvironment(t *testing.T) {
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was used") })
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	n := &names{answers: map[string][][]netip.Addr{}}
	if _, _, err := read(client(t, fetch.Config{Resolver: n}), "http://somewhere.test/"); !errors.Is(err, fetch.ErrUnresolved) {
		t.Errorf("got %v, want ErrUnresolved", err)
	}
}

func FuzzGet(f *testing.F) {
	for _, seed := range []string{
		"http://127.0.0.1/", "http://[::1%25lo]:80/", "http://0x7f.1", "https://user:pw@host/", "http://１２７.０.０.１/", "//x", "http://a:0/",
		"http://[::ffff:127.0.0.1]/", "HTTP://localhost", "http://%31%32%37.0.0.1/", "http://127.0.0.1#@1.1.1.1/", "http://[0:0:0:0:0:ffff:7f00:1]",
	} {
		f.Add(seed)
	}
	// Every name is inside and public addresses have no permitted port, so nothing may ever be reached, whatever the
	// spelling.
	inside := resolverFunc(func() ([]netip.Addr, error) { return addrs("127.0.0.1", "::1", "169.254.169.254"), nil })
	c := fetch.New(fetch.Config{Resolver: inside, Ports: []uint16{}, Timeout: time.Second, MaxRedirects: 3})
	f.Fuzz(func(t *testing.T, rawURL string) {
		resp, err := c.Get(t.Context(), rawURL)
		if err == nil {
			resp.Body.Close()
			t.Fatalf("%q was fetched", rawURL)
		}
		if errors.Is(err, fetch.ErrConnect) || errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%q was dialled", rawURL)
		}
	})
}

type resolverFunc func() ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return f() }
