// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/bucket/buckettest"
	"horde/internal/horde"
)

// suiteMax is the largest object of the stores that the suite runs on, in bytes.
const suiteMax = 1000

// TestStores holds every Store to what the interface promises, by way of its signed URLs.
func TestStores(t *testing.T) {
	t.Parallel()
	stores := map[string]func(t *testing.T) (Store, context.Context){
		"disk": func(t *testing.T) (Store, context.Context) {
			d := openDisk(t, func(c *DiskConfig) { c.MaxBytes = suiteMax })
			return d, mounted(t, d)
		},
		"S3": func(t *testing.T) (Store, context.Context) {
			return openS3(t, buckettest.Start(t, "images").Endpoint, nil), t.Context()
		},
		"S3 below a prefix": func(t *testing.T) (Store, context.Context) {
			return openS3(t, buckettest.Start(t, "images").Endpoint, func(c *S3Config) { c.Prefix = "my/horde/" }), t.Context()
		},
		"S3 that keeps the condition of copies": func(t *testing.T) (Store, context.Context) {
			s := openS3(t, strictS3(t, buckettest.Start(t, "images").Endpoint).URL, nil)
			if s.conditions.Load() != conditionsKept {
				t.Error("the condition is not found out")
			}
			return s, t.Context()
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, ctx := open(t)
			for _, test := range []struct {
				name string
				run  func(*testing.T, context.Context, Store)
			}{
				{"malformed keys are refused everywhere", suiteKeys},
				{"what is put is kept and not exchanged", suitePut},
				{"uploads are replaced until they are sealed", suiteSeal},
				{"a URL permits one thing", suitePermission},
				{"what is too large is refused", suiteTooLarge},
				{"sealed content never changes", suiteRace},
				{"what a worker says of its upload is not passed on", suiteHeader},
				{"old objects are pruned", suitePrune}, // last: it removes everything
			} {
				t.Run(test.name, func(t *testing.T) { test.run(t, ctx, s) })
			}
		})
	}
}

// put uploads as the workers do, without a Content-Type, and wants 200.
func put(t *testing.T, url, content string, header ...string) {
	t.Helper()
	if resp, text := do(t, http.MethodPut, url, strings.NewReader(content), header...); resp.StatusCode != http.StatusOK {
		t.Fatalf("PUT: %d %s", resp.StatusCode, text)
	}
}

func wantDownload(t *testing.T, url string, status int, want string) {
	t.Helper()
	resp, text := do(t, http.MethodGet, url, nil)
	if resp.StatusCode != status || status == http.StatusOK && text != want {
		t.Errorf("GET: %d %q, want %d %q", resp.StatusCode, text, status, want)
	}
}

func freshResult() Key { return Result(horde.NewJobID().String()) }

func suiteKeys(t *testing.T, ctx context.Context, s Store) {
	const key = Key("results/../../x.webp")
	calls := map[string]func() error{
		"Put":     func() error { return s.Put(ctx, key, nil) },
		"Seal":    func() error { _, err := s.Seal(ctx, key); return err },
		"Open":    func() error { _, _, err := s.Open(ctx, key); return err },
		"Stat":    func() error { _, err := s.Stat(ctx, key); return err },
		"Delete":  func() error { return s.Delete(ctx, key) },
		"SignGet": func() error { _, err := s.SignGet(ctx, key, time.Hour); return err },
		"SignPut": func() error { _, err := s.SignPut(ctx, key, time.Hour); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v, want ErrKey", name, err)
		}
	}
}

func suitePut(t *testing.T, ctx context.Context, s Store) {
	id := horde.NewRequestID().String()
	for _, key := range []Key{SourceImage(id), SourceMask(id), ExtraSourceImage(id, 3), AlchemySource(id), Result(id)} {
		get := signed(t, s.SignGet, ctx, key)
		if _, err := s.Stat(ctx, key); !errors.Is(err, ErrNotFound) {
			t.Errorf("before: %v, want ErrNotFound", err)
		}
		wantDownload(t, get, http.StatusNotFound, "")
		put(t, signed(t, s.SignPut, ctx, key), "an upload in whose place the server puts something")
		for _, content := range []string{"first", "second, longer", ""} {
			if err := s.Put(ctx, key, []byte(content)); err != nil {
				t.Fatal(err)
			}
		}
		if info, err := s.Seal(ctx, key); err != nil || info.Size != 5 {
			t.Errorf("Seal of what was put: %+v, %v", info, err)
		}
		wantContent(t, s, key, "first")
		wantDownload(t, get, http.StatusOK, "first")
		if info, err := s.Stat(ctx, key); err != nil || info.Size != 5 || time.Since(info.Stored).Abs() > time.Minute {
			t.Errorf("Stat: %+v, %v", info, err)
		}
		for range 2 {
			if err := s.Delete(ctx, key); err != nil {
				t.Error(err)
			}
		}
		if _, err := ReadAll(ctx, s, key); !errors.Is(err, ErrNotFound) {
			t.Errorf("after: %v, want ErrNotFound", err)
		}
		if _, err := s.Seal(ctx, key); !errors.Is(err, ErrNotFound) {
			t.Errorf("the upload outlived Delete: %v", err)
		}
	}
}

func suiteSeal(t *testing.T, ctx context.Context, s Store) {
	key := freshResult()
	up, get := signed(t, s.SignPut, ctx, key), signed(t, s.SignGet, ctx, key)
	if _, err := s.Seal(ctx, key); !errors.Is(err, ErrNotFound) {
		t.Errorf("sealing nothing: %v, want ErrNotFound", err)
	}
	put(t, up, "one")
	put(t, up, "two")
	if _, err := s.Stat(ctx, key); !errors.Is(err, ErrNotFound) {
		t.Errorf("an upload can be read before it is sealed: %v", err)
	}
	wantDownload(t, get, http.StatusNotFound, "")
	for range 2 {
		if info, err := s.Seal(ctx, key); err != nil || info.Size != 3 || time.Since(info.Stored).Abs() > time.Minute {
			t.Errorf("Seal: %+v, %v", info, err)
		}
	}
	// Whether the URL still takes something or not, it does not become the object, sealed again or not.
	if resp, _ := do(t, http.MethodPut, up, strings.NewReader("exchanged")); resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusConflict {
		t.Errorf("PUT after sealing: %d", resp.StatusCode)
	}
	wantDownload(t, get, http.StatusOK, "two")
	if info, err := s.Seal(ctx, key); err != nil || info.Size != 3 {
		t.Errorf("Seal after an upload that came late: %+v, %v", info, err)
	}
	wantDownload(t, get, http.StatusOK, "two")
	if err := s.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	put(t, up, "another try")
	if info, err := s.Seal(ctx, key); err != nil || info.Size != 11 {
		t.Errorf("Seal after Delete: %+v, %v", info, err)
	}
	wantDownload(t, get, http.StatusOK, "another try")
}

func suitePermission(t *testing.T, ctx context.Context, s Store) {
	key, other := freshResult(), freshResult()
	if err := s.Put(ctx, key, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	up, get := signed(t, s.SignPut, ctx, key), signed(t, s.SignGet, ctx, key)
	otherID := strings.TrimSuffix(strings.TrimPrefix(string(other), "results/"), ".webp")
	id := strings.TrimSuffix(strings.TrimPrefix(string(key), "results/"), ".webp")
	for _, u := range []string{up, get} {
		if !strings.Contains(u, "/results/"+id+".webp?") || !strings.Contains(u, "https") {
			t.Errorf("workers find no id, or see no URL, in %s", u)
		}
	}
	if a, b := strings.Split(up, id)[0], strings.Split(signed(t, s.SignPut, ctx, other), otherID)[0]; a != b {
		t.Errorf("URLs of a batch differ before the id: %s, %s", a, b)
	}
	brief, err := s.SignGet(ctx, key, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	made := time.Now()
	for name, tt := range map[string]struct{ method, url string }{
		"no signature":                  {"GET", strings.Split(get, "?")[0]},
		"cut signature":                 {"GET", get[:len(get)-1]},
		"another object":                {"GET", strings.Replace(get, id, otherID, 1)},
		"another bucket":                {"GET", strings.Replace(get, "results", "sources", 1)},
		"GET with the signature of PUT": {"GET", up},
		"PUT with the signature of GET": {"PUT", get},
		"an upload to another object":   {"PUT", strings.Replace(up, id, otherID, 1)},
		"DELETE":                        {"DELETE", get},
	} {
		var resp *http.Response
		if tt.method == "PUT" {
			resp, _ = do(t, tt.method, tt.url, strings.NewReader("forged"))
		} else {
			resp, _ = do(t, tt.method, tt.url, nil)
		}
		if resp.StatusCode < 400 || resp.StatusCode >= 500 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	time.Sleep(time.Until(made.Add(2200 * time.Millisecond))) // a real server has a clock of its own
	wantDownload(t, brief, http.StatusForbidden, "")
	wantDownload(t, get, http.StatusOK, "kept")
}

func suiteTooLarge(t *testing.T, ctx context.Context, s Store) {
	key := freshResult()
	if err := s.Put(ctx, key, make([]byte, suiteMax+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Put: %v, want ErrTooLarge", err)
	}
	up := signed(t, s.SignPut, ctx, key)
	resp, _ := do(t, http.MethodPut, up, bytes.NewReader(make([]byte, suiteMax+1)))
	switch _, err := s.Seal(ctx, key); {
	case resp.StatusCode == http.StatusRequestEntityTooLarge && errors.Is(err, ErrNotFound): // never taken
	case resp.StatusCode == http.StatusOK && errors.Is(err, ErrTooLarge): // seen afterwards
	default:
		t.Errorf("PUT: %d, then Seal: %v", resp.StatusCode, err)
	}
	if _, err := s.Seal(ctx, key); !errors.Is(err, ErrNotFound) {
		t.Errorf("what was too large is still there: %v", err)
	}
	put(t, up, strings.Repeat("x", suiteMax))
	if info, err := s.Seal(ctx, key); err != nil || info.Size != suiteMax {
		t.Errorf("the largest: %+v, %v", info, err)
	}
	// What is kept stays, whatever is uploaded later.
	do(t, http.MethodPut, up, bytes.NewReader(make([]byte, suiteMax+1)))
	if info, err := s.Seal(ctx, key); err != nil || info.Size != suiteMax {
		t.Errorf("sealed again after a large upload: %+v, %v", info, err)
	}
}

// However uploads, seals and puts run into each other, what was read once is what is read ever after.
func suiteRace(t *testing.T, ctx context.Context, s Store) {
	for range 10 {
		key := freshResult()
		up := signed(t, s.SignPut, ctx, key)
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[string]bool{}
		read := func() {
			data, err := ReadAll(ctx, s, key)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[string(data)] = true
		}
		for i := range 4 {
			wg.Go(func() { do(t, http.MethodPut, up, strings.NewReader(fmt.Sprint("upload ", i))) })
			wg.Go(func() {
				_, err := s.Seal(ctx, key)
				if err == nil {
					read()
				} else if !errors.Is(err, ErrNotFound) && !strings.Contains(err.Error(), "stay the same") {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := s.Put(ctx, key, []byte("put")); err != nil {
				t.Error(err)
			}
			read()
		})
		wg.Wait()
		read()
		if len(seen) != 1 {
			t.Fatalf("a kept object had several contents: %v", seen)
		}
	}
}

func suiteHeader(t *testing.T, ctx context.Context, s Store) {
	for _, header := range [][]string{nil, {"Content-Type: text/html"}, {"Content-Type: image/webp", "Cache-Control: no-store"}} {
		key := freshResult()
		put(t, signed(t, s.SignPut, ctx, key), "<script>", header...)
		if _, err := s.Seal(ctx, key); err != nil {
			t.Fatal(err)
		}
		resp, _ := do(t, http.MethodGet, signed(t, s.SignGet, ctx, key), nil)
		if got := resp.Header.Get("Content-Type"); got != ContentType {
			t.Errorf("uploaded with %v: downloaded as %q", header, got)
		}
		if got := resp.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("uploaded with %v: Cache-Control %q", header, got)
		}
	}
}

func suitePrune(t *testing.T, ctx context.Context, s Store) {
	if _, err := s.Prune(ctx, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	kept, source, upload := freshResult(), SourceMask(horde.NewRequestID().String()), freshResult()
	for _, key := range []Key{kept, source} {
		if err := s.Put(ctx, key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	put(t, signed(t, s.SignPut, ctx, upload), "x")
	if n, err := s.Prune(ctx, time.Now().Add(-MaxAge)); n != 0 || err != nil {
		t.Errorf("Prune of what is young: %d, %v", n, err)
	}
	wantContent(t, s, kept, "x")
	if n, err := s.Prune(ctx, time.Now().Add(time.Minute)); n != 3 || err != nil {
		t.Errorf("Prune of all: %d, %v", n, err)
	}
	if _, err := s.Seal(ctx, upload); !errors.Is(err, ErrNotFound) {
		t.Errorf("the upload outlived Prune: %v", err)
	}
	for _, key := range []Key{kept, source} {
		if _, err := s.Stat(ctx, key); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s outlived Prune: %v", key, err)
		}
	}
}
