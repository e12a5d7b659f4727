// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"horde/internal/bucket/buckettest"
	"horde/internal/horde"
)

func openS3(t testing.TB, endpoint string, change func(*S3Config)) *S3 {
	t.Helper()
	cfg := S3Config{
		Bucket: "images", Endpoint: endpoint, AccessKey: buckettest.Access, SecretKey: buckettest.Secret,
		MaxBytes: suiteMax, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := OpenS3(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// proxy stands before an S3 server. It keeps the name of the host, which is signed.
func proxy(t *testing.T, endpoint string, before func(w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter))) *httptest.Server {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	rp := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host
	}, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before(w, r, func(w http.ResponseWriter) { rp.ServeHTTP(w, r) })
	}))
	t.Cleanup(srv.Close)
	return srv
}

// strictS3 adds to a server what AWS's has: a copy with If-None-Match does not replace an object.
func strictS3(t *testing.T, endpoint string) *httptest.Server {
	var mu sync.Mutex
	exists := map[string]bool{} // objects that were copied or put to what is kept
	return proxy(t, endpoint, func(w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
		if strings.Contains(r.URL.Path, "/uploads/") || r.Method == http.MethodGet || r.Method == http.MethodHead {
			pass(w)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodDelete {
			delete(exists, r.URL.Path)
		}
		if r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "" && r.Header.Get("If-None-Match") == "*" && exists[r.URL.Path] {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusPreconditionFailed)
			io.WriteString(w, `<?xml version="1.0"?><Error><Code>PreconditionFailed</Code></Error>`)
			return
		}
		answer := &statusWriter{ResponseWriter: w}
		pass(answer)
		if r.Method == http.MethodPut && answer.status == http.StatusOK {
			exists[r.URL.Path] = true
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// TestCallsOfASeal counts what a delivery costs at the service.
func TestCallsOfASeal(t *testing.T) {
	t.Parallel()
	server := buckettest.Start(t, "images")
	var calls atomic.Int32
	count := func(endpoint string) string {
		return proxy(t, endpoint, func(w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
			calls.Add(1)
			pass(w)
		}).URL
	}
	for _, tt := range []struct {
		name, endpoint string
		want           int32
	}{
		{"conditions kept", count(strictS3(t, server.Endpoint).URL), 2},
		{"conditions ignored", count(server.Endpoint), 3},
	} {
		s, key := openS3(t, tt.endpoint, nil), freshResult()
		calls.Store(0)
		up := signed(t, s.SignPut, t.Context(), key)
		signed(t, s.SignGet, t.Context(), key)
		if n := calls.Load(); n != 0 {
			t.Errorf("%s: signing makes %d calls", tt.name, n)
		}
		put(t, up, "image")
		calls.Store(0)
		if _, err := s.Seal(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if n := calls.Load(); n != tt.want {
			t.Errorf("%s: Seal makes %d calls, want %d", tt.name, n, tt.want)
		}
	}
}

// A worker that replaces its upload just when it is looked at: what is kept has the size that was checked.
func TestAnUploadThatChangesWhileItIsSealed(t *testing.T) {
	t.Parallel()
	server := buckettest.Start(t, "images")
	var armed atomic.Bool
	var replace func()
	endpoint := proxy(t, server.Endpoint, func(w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
		pass(w)
		if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/uploads/") && armed.CompareAndSwap(true, false) {
			replace()
		}
	}).URL
	s, key := openS3(t, endpoint, nil), freshResult()
	up := signed(t, s.SignPut, t.Context(), key)
	for _, second := range []struct {
		content string
		want    error
	}{{"another image", nil}, {strings.Repeat("x", suiteMax+1), ErrTooLarge}} {
		put(t, up, "image")
		replace = func() { put(t, up, second.content) }
		armed.Store(true)
		info, err := s.Seal(t.Context(), key)
		if !errors.Is(err, second.want) || err == nil && info.Size != int64(len(second.content)) {
			t.Errorf("replaced by %d bytes: %+v, %v", len(second.content), info, err)
		}
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// A service that is away is an error for a while, at the start too, and nothing that was kept is lost.
func TestS3ThatIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	server := buckettest.Start(t, "images")
	s, ctx := openS3(t, server.Endpoint, nil), t.Context()
	kept, upload := freshResult(), freshResult()
	if err := s.Put(ctx, kept, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	put(t, signed(t, s.SignPut, ctx, upload), "uploaded")
	server.Stop()
	late := openS3(t, server.Endpoint, nil)
	if late.conditions.Load() != conditionsUnknown {
		t.Error("conditions are known without having been tried")
	}
	for name, call := range map[string]func(s *S3) error{
		"Put":    func(s *S3) error { return s.Put(ctx, freshResult(), []byte("x")) },
		"Seal":   func(s *S3) error { _, err := s.Seal(ctx, upload); return err },
		"Open":   func(s *S3) error { _, err := ReadAll(ctx, s, kept); return err },
		"Stat":   func(s *S3) error { _, err := s.Stat(ctx, kept); return err },
		"Delete": func(s *S3) error { return s.Delete(ctx, kept) },
		"Prune":  func(s *S3) error { _, err := s.Prune(ctx, time.Now()); return err },
	} {
		for _, s := range []*S3{s, late} {
			if err := call(s); err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrTooLarge) {
				t.Errorf("%s while the service is away: %v", name, err)
			}
		}
	}
	signed(t, s.SignGet, ctx, kept)
	server.Run()
	wantContent(t, late, kept, "kept")
	if info, err := late.Seal(ctx, upload); err != nil || info.Size != 8 {
		t.Errorf("Seal: %+v, %v", info, err)
	}
	wantContent(t, s, upload, "uploaded")
}

func TestS3ThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	server := buckettest.Start(t, "images")
	for name, change := range map[string]func(*S3Config){
		"a wrong key":              func(c *S3Config) { c.SecretKey = "wrong" },
		"an unknown key":           func(c *S3Config) { c.AccessKey = "nobody" },
		"a bucket that is missing": func(c *S3Config) { c.Bucket = "elsewhere" },
		"no bucket":                func(c *S3Config) { c.Bucket = "" },
		"a strange prefix":         func(c *S3Config) { c.Prefix = "../" },
		"an endpoint without http": func(c *S3Config) { c.Endpoint = "127.0.0.1:9000" },
	} {
		cfg := S3Config{Bucket: "images", Endpoint: server.Endpoint, AccessKey: buckettest.Access, SecretKey: buckettest.Secret}
		change(&cfg)
		s, err := OpenS3(t.Context(), cfg)
		if err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), cfg.SecretKey) {
			t.Errorf("%s: the error tells the key: %v", name, err)
		}
	}
}

// A full service is told from a broken one.
func TestAFullBucket(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	server := proxy(t, buckettest.Start(t, "images").Endpoint, func(w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
		if full.Load() && r.Method == http.MethodPut {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusInsufficientStorage)
			io.WriteString(w, `<?xml version="1.0"?><Error><Code>XMinioStorageFull</Code></Error>`)
			return
		}
		pass(w)
	})
	s, ctx, key := openS3(t, server.URL, nil), t.Context(), freshResult()
	put(t, signed(t, s.SignPut, ctx, key), "image")
	full.Store(true)
	if _, err := s.Seal(ctx, key); !errors.Is(err, ErrFull) {
		t.Errorf("Seal: %v, want ErrFull", err)
	}
	if err := s.Put(ctx, freshResult(), []byte("x")); !errors.Is(err, ErrFull) {
		t.Errorf("Put: %v, want ErrFull", err)
	}
	full.Store(false)
	if _, err := s.Seal(ctx, key); err != nil {
		t.Error(err)
	}
}

func TestS3URLs(t *testing.T) {
	t.Parallel()
	id := horde.NewJobID().String()
	for _, tt := range []struct{ place, want string }{
		{"s3://pics", "https://pics.s3.us-east-1.amazonaws.com/https/kept/results/"},
		{"s3://pics?region=eu-west-1", "https://pics.s3.eu-west-1.amazonaws.com/https/kept/results/"},
		{"s3://pics/a/b?endpoint=http://127.0.0.1:1/", "http://127.0.0.1:1/pics/a/b/https/kept/results/"},
		{"s3://pics?endpoint=http://127.0.0.1:1&public=https://images.example", "https://images.example/pics/https/kept/results/"},
		{"s3://pics?endpoint=http://127.0.0.1:1&style=host&public=https://images.example", "https://pics.images.example/https/kept/results/"},
	} {
		cfg, err := ParseS3(tt.place)
		if err != nil {
			t.Fatal(err)
		}
		cfg.AccessKey, cfg.SecretKey = "a", "b"
		place, err := cfg.place()
		if err != nil {
			t.Fatal(err)
		}
		base, err := publicBase(t.Context(), place, strings.TrimRight(cfg.Public, "/"))
		if err != nil {
			t.Fatal(err)
		}
		if got := base + cfg.Prefix + s3Kept + string(Result(id)); got != tt.want+id+".webp" {
			t.Errorf("%s: %s", tt.place, got)
		}
	}
	// The host is signed, so a public address needs its own signature: here it is another name of the same server.
	server := buckettest.Start(t, "images")
	public := strings.Replace(server.Endpoint, "127.0.0.1", "localhost", 1)
	s := openS3(t, server.Endpoint, func(c *S3Config) { c.Public = public })
	key := freshResult()
	up := signed(t, s.SignPut, t.Context(), key)
	if !strings.HasPrefix(up, public+"/images/") {
		t.Errorf("upload URL %s", up)
	}
	put(t, up, "image")
	if _, err := s.Seal(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	wantDownload(t, signed(t, s.SignGet, t.Context(), key), http.StatusOK, "image")
}

func TestParseS3Refuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "s3:", "s3://", "s3:images", "http://images", "s3://a", "s3://key:secret@images", "s3://images?bucket=x", "s3://images?style=x",
		"s3://images?endpoint=ftp://x", "s3://images?endpoint=http://u:p@x", "s3://images?public=//x", "s3://images?aws-config=perhaps",
		"s3://images/../x", "s3://images/a%20b", "s3://images/a//b", "s3://images#x", "s3://im ages", "s3://images?a=%zz",
	} {
		if cfg, err := ParseS3(text); err == nil {
			t.Errorf("%q: accepted as %+v", text, cfg)
		} else if strings.Contains(err.Error(), "secret@") {
			t.Errorf("%q: the error tells the key: %v", text, err)
		}
	}
}

// Without keys nothing is asked, of nobody.
func TestS3WithoutKeys(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	if _, err := OpenS3(t.Context(), S3Config{Bucket: "images"}); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("got %v", err)
	}
	server := buckettest.Start(t, "images")
	t.Setenv("AWS_ACCESS_KEY_ID", buckettest.Access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.Secret)
	s, err := OpenS3(t.Context(), S3Config{Bucket: "images", Endpoint: server.Endpoint})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func BenchmarkSignS3(b *testing.B) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	s := openS3(b, srv.URL, nil)
	key := freshResult()
	for b.Loop() {
		if _, err := s.SignPut(b.Context(), key, URLLifetime); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSealS3 is an upload's way through a real server, 16 at a time: uploaded by URL, then sealed.
func BenchmarkSealS3(b *testing.B) {
	s := openS3(b, buckettest.Start(b, "images").Endpoint, func(c *S3Config) { c.MaxBytes = 0 })
	image := strings.Repeat("x", 40_000)
	var total, n atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := freshResult()
			up, err := s.SignPut(context.Background(), key, URLLifetime)
			if err != nil {
				b.Error(err)
				return
			}
			req, _ := http.NewRequest(http.MethodPut, up, strings.NewReader(image))
			resp, err := http.DefaultClient.Do(req)
			if err != nil || resp.StatusCode != http.StatusOK {
				b.Error(fmt.Errorf("upload: %v", err))
				return
			}
			resp.Body.Close()
			start := time.Now()
			if _, err := s.Seal(context.Background(), key); err != nil {
				b.Error(err)
				return
			}
			total.Add(int64(time.Since(start)))
			n.Add(1)
		}
	})
	b.ReportMetric(float64(total.Load())/float64(n.Load())/1e6, "ms/seal")
}
