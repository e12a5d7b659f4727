// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// mounted serves d at PathPrefix and returns a context that makes it sign for that server.
func mounted(t *testing.T, d *Disk) context.Context {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(PathPrefix, d)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return WithBase(t.Context(), srv.URL)
}

// do sends a request with a literal header, "Name: value" lines, and returns the answer with its body read.
func do(t *testing.T, method, url string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

func signed(t *testing.T, sign func(context.Context, Key, time.Duration) (string, error), ctx context.Context, key Key) string {
	t.Helper()
	u, err := sign(ctx, key, URLLifetime)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestURLShape(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"http://horde.test:7001", "https://horde.test", "https://proxy.test/horde/"} {
		d := openDisk(t, func(c *DiskConfig) { c.Base = base })
		a, b := signed(t, d.SignPut, t.Context(), Result(id1)), signed(t, d.SignPut, t.Context(), Result(id2))
		for _, u := range []string{a, b, signed(t, d.SignGet, t.Context(), Result(id1))} {
			if !strings.HasPrefix(u, strings.TrimSuffix(base, "/")+"/") || !strings.Contains(u, "https") {
				t.Errorf("%s: wrong base, or programs will not see that it is a URL", u)
			}
		}
		if x, y := strings.Split(a, id1+".webp?")[0], strings.Split(b, id2+".webp?")[0]; x != y || !strings.HasSuffix(x, "/") {
			t.Errorf("URLs of a batch differ before the id: %s, %s", a, b)
		}
	}
	d := openDisk(t, nil)
	if u := signed(t, d.SignGet, WithBase(t.Context(), "http://192.0.2.1:7001/"), Result(id1)); !strings.HasPrefix(u, "http://192.0.2.1:7001/blobs/") {
		t.Errorf("the context's base is not used: %s", u)
	}
}

func TestUploadAndDownload(t *testing.T) {
	t.Parallel()
	d := openDisk(t, nil)
	ctx := mounted(t, d)
	put, get := signed(t, d.SignPut, ctx, Result(id1)), signed(t, d.SignGet, ctx, Result(id1))

	if resp, _ := do(t, http.MethodHead, put, nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("HEAD before the upload: %d", resp.StatusCode)
	}
	uploads := []struct {
		name   string
		header []string
		body   io.Reader
	}{
		{"no Content-Type", nil, strings.NewReader("hello")},
		{"an image type", []string{"Content-Type: image/webp"}, strings.NewReader("hello")},
		{"a form type", []string{"Content-Type: application/x-www-form-urlencoded"}, strings.NewReader("hello")},
		{"expecting to be asked", []string{"Expect: 100-continue"}, strings.NewReader("hello")},
		{"chunked", nil, io.MultiReader(strings.NewReader("hel"), strings.NewReader("lo"))},
	}
	for _, up := range uploads {
		if resp, body := do(t, http.MethodPut, put, up.body, up.header...); resp.StatusCode != http.StatusOK {
			t.Errorf("PUT with %s: %d %s", up.name, resp.StatusCode, body)
		}
	}
	if resp, _ := do(t, http.MethodHead, put, nil); resp.StatusCode != http.StatusOK || resp.ContentLength != 5 {
		t.Errorf("HEAD after the upload: %d, %d bytes", resp.StatusCode, resp.ContentLength)
	}
	if resp, _ := do(t, http.MethodGet, get, nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("GET before sealing: %d", resp.StatusCode)
	}
	if resp, _ := do(t, http.MethodHead, get, nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("HEAD by a reader before sealing: %d", resp.StatusCode)
	}
	if _, err := d.Seal(ctx, Result(id1)); err != nil {
		t.Fatal(err)
	}
	resp, body := do(t, http.MethodGet, get, nil, "Origin: https://client.test")
	if resp.StatusCode != http.StatusOK || body != "hello" {
		t.Errorf("GET: %d %q", resp.StatusCode, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "image/webp", "Access-Control-Allow-Origin": "*", "Content-Length": "5", "X-Content-Type-Options": "nosniff",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if resp, body := do(t, http.MethodHead, get, nil); resp.StatusCode != http.StatusOK || body != "" || resp.ContentLength != 5 {
		t.Errorf("HEAD: %d %q, %d bytes", resp.StatusCode, body, resp.ContentLength)
	}
	if resp, body := do(t, http.MethodGet, get, nil, "Range: bytes=1-3"); resp.StatusCode != http.StatusPartialContent || body != "ell" {
		t.Errorf("GET of a range: %d %q", resp.StatusCode, body)
	}
	if resp, _ := do(t, http.MethodPut, put, strings.NewReader("swapped")); resp.StatusCode != http.StatusConflict {
		t.Errorf("PUT after sealing: %d, want 409", resp.StatusCode)
	}
	wantContent(t, d, Result(id1), "hello")
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	d := openDisk(t, func(c *DiskConfig) { c.MaxBytes = 1000 })
	ctx := mounted(t, d)
	if err := d.Put(ctx, Result(id2), []byte("kept")); err != nil {
		t.Fatal(err)
	}
	put, get := signed(t, d.SignPut, ctx, Result(id1)), signed(t, d.SignGet, ctx, Result(id2))
	other := openDisk(t, func(c *DiskConfig) { c.Secret = []byte("another secret of 32 bytes length") })
	edit := func(raw, param, value string) string {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set(param, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
	tests := []struct {
		name, method, url string
		size              int
		want              int
	}{
		{"no signature", "GET", strings.Split(get, "?")[0], 0, http.StatusForbidden},
		{"empty signature", "GET", edit(get, "signature", ""), 0, http.StatusForbidden},
		{"cut signature", "GET", get[:len(get)-1], 0, http.StatusForbidden},
		{"later expiry", "GET", edit(get, "expires", "99999999999"), 0, http.StatusForbidden},
		{"another object", "GET", strings.Replace(get, id2, id1, 1), 0, http.StatusForbidden},
		{"another bucket", "GET", strings.Replace(get, "results", "sources", 1), 0, http.StatusForbidden},
		{"another secret", "GET", signed(t, other.SignGet, ctx, Result(id2)), 0, http.StatusForbidden},
		{"GET with the signature of PUT", "GET", signed(t, d.SignPut, ctx, Result(id2)), 0, http.StatusForbidden},
		{"PUT with the signature of GET", "PUT", get, 10, http.StatusForbidden},
		{"POST", "POST", put, 10, http.StatusMethodNotAllowed},
		{"DELETE", "DELETE", put, 0, http.StatusMethodNotAllowed},
		{"a missing object", "GET", signed(t, d.SignGet, ctx, SourceMask(id1)), 0, http.StatusNotFound},
		{"no key", "GET", strings.Split(get, "results")[0], 0, http.StatusNotFound},
		{"a directory", "GET", strings.Split(get, id2)[0], 0, http.StatusNotFound},
		{"traversal", "GET", strings.Replace(get, "results/", "results/%2e%2e/", 1), 0, http.StatusNotFound},
		{"encoded traversal", "GET", strings.Replace(get, "results/", "results/..%2f", 1), 0, http.StatusNotFound},
		{"too large", "PUT", put, 1001, http.StatusRequestEntityTooLarge},
		{"the largest", "PUT", put, 1000, http.StatusOK},
	}
	for _, tt := range tests {
		for _, chunked := range []bool{false, true} {
			var body io.Reader
			if tt.size > 0 {
				body = bytes.NewReader(make([]byte, tt.size))
				if chunked {
					body = io.MultiReader(body)
				}
			}
			resp, text := do(t, tt.method, tt.url, body)
			if resp.StatusCode != tt.want {
				t.Errorf("%s (chunked %v): %d, want %d", tt.name, chunked, resp.StatusCode, tt.want)
			}
			if resp.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s: a browser cannot see the answer", tt.name)
			}
			if tt.want != http.StatusOK && (!strings.HasPrefix(text, `{"message":"`) || resp.Header.Get("Content-Type") != "application/json") {
				t.Errorf("%s: the refusal is not that of an API: %s", tt.name, text)
			}
			if strings.Contains(text, d.cfg.Dir) {
				t.Errorf("%s: the answer names a path: %s", tt.name, text)
			}
		}
	}
	wantContent(t, d, Result(id2), "kept")
}

func TestURLsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := openDisk(t, nil)
		if err := d.Put(t.Context(), Result(id1), []byte("x")); err != nil {
			t.Fatal(err)
		}
		get, put := signed(t, d.SignGet, t.Context(), Result(id1)), signed(t, d.SignPut, t.Context(), Result(id2))
		status := func(method, url string) int {
			rec := httptest.NewRecorder()
			d.ServeHTTP(rec, httptest.NewRequest(method, url, nil))
			return rec.Code
		}
		time.Sleep(30*time.Minute - time.Second)
		if a, b := status("GET", get), status("PUT", put); a != http.StatusOK || b != http.StatusOK {
			t.Errorf("a second early: %d, %d", a, b)
		}
		time.Sleep(time.Second)
		if a, b, c := status("GET", get), status("PUT", put), status("HEAD", get); a != 403 || b != 403 || c != 403 {
			t.Errorf("at 30 minutes: %d, %d, %d", a, b, c)
		}
	})
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	d := openDisk(t, nil)
	ctx := mounted(t, d)
	resp, _ := do(t, http.MethodOptions, signed(t, d.SignPut, ctx, Result(id1)), nil, "Origin: https://client.test",
		"Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: content-type")
	h := resp.Header
	if resp.StatusCode != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != "*" ||
		!strings.Contains(h.Get("Access-Control-Allow-Methods"), "PUT") || h.Get("Access-Control-Allow-Headers") != "content-type" {
		t.Errorf("%d %v", resp.StatusCode, h)
	}
}

// A client that announces more than it sends, and one that asks before it sends what is not wanted.
func TestRawUploads(t *testing.T) {
	t.Parallel()
	d := openDisk(t, func(c *DiskConfig) { c.MaxBytes = 1000 })
	ctx := mounted(t, d)
	put := signed(t, d.SignPut, ctx, Result(id1))
	u, err := url.Parse(put)
	if err != nil {
		t.Fatal(err)
	}
	send := func(uri, header, body string) (firstLine string) {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n%s", uri, u.Host, header, body)
		conn.(*net.TCPConn).CloseWrite()
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return strings.TrimSpace(line)
	}
	send(u.RequestURI(), "Content-Length: 500", "only this")
	if n := files(t, d); n != 0 {
		t.Errorf("an upload that broke off left %d files", n)
	}
	if line := send(u.RequestURI(), "Content-Length: 5000\r\nExpect: 100-continue", ""); !strings.Contains(line, "413") {
		t.Errorf("a large upload that asked first got %q", line)
	}
	if line := send(u.Path, "Content-Length: 5\r\nExpect: 100-continue", ""); !strings.Contains(line, "403") {
		t.Errorf("an unsigned upload that asked first got %q", line)
	}
	if line := send(u.RequestURI(), "Content-Length: 5\r\nExpect: 100-continue", ""); !strings.Contains(line, "100 Continue") {
		t.Errorf("an upload that asked first got %q", line)
	}
}

func TestSlowUploadIsCutOff(t *testing.T) {
	t.Parallel()
	d := openDisk(t, func(c *DiskConfig) { c.UploadTimeout = 50 * time.Millisecond })
	ctx := mounted(t, d)
	r, w := io.Pipe()
	defer w.Close()
	go io.WriteString(w, "a little")
	if resp, _ := do(t, http.MethodPut, signed(t, d.SignPut, ctx, Result(id1)), r); resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%d, want 408", resp.StatusCode)
	}
	if n := files(t, d); n != 0 {
		t.Errorf("%d files are left", n)
	}
}
