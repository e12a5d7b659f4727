// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzURL calls a Disk at any path with any query. Without a signature that it gave out nothing is read or written.
func FuzzURL(f *testing.F) {
	d, err := OpenDisk(DiskConfig{Dir: f.TempDir(), Secret: secret, Base: "http://horde.test"})
	if err != nil {
		f.Fatal(err)
	}
	if err := d.Put(f.Context(), Result(id1), []byte("kept")); err != nil {
		f.Fatal(err)
	}
	get, err := d.SignGet(f.Context(), Result(id1), 100*365*24*time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	good, err := url.Parse(get)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Path, good.RawQuery, "GET")
	f.Add(good.Path, "expires=99999999999&signature=", "PUT")
	f.Add(PathPrefix+"results/../../x", "expires=a&expires=b;signature=%zz", "HEAD")
	f.Add(PathPrefix+"results/"+id1+".webp\x00", "", "DELETE")
	f.Fuzz(func(t *testing.T, path, query, method string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}, Body: http.NoBody}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r.WithContext(t.Context()))
		switch {
		case method == http.MethodOptions:
		case w.Code < 300 && (path != good.Path || method == http.MethodPut || r.URL.Query().Get(paramSignature) != good.Query().Get(paramSignature)):
			t.Errorf("%s %q?%q: %d", method, path, query, w.Code)
		case w.Code >= 500:
			t.Errorf("%s %q?%q: %d %s", method, path, query, w.Code, w.Body)
		}
		if key := Key(strings.TrimPrefix(path, PathPrefix)); key.Valid() {
			if p := d.path(dirKept, key); !strings.HasPrefix(p, filepath.Join(d.cfg.Dir, dirKept)+"/") || filepath.Clean(p) != p {
				t.Errorf("key %q lies at %s", key, p)
			}
		}
	})
}

// FuzzParseS3 reads addresses of buckets. What is accepted names an object unambiguously and holds no keys.
func FuzzParseS3(f *testing.F) {
	f.Add("s3://images/a/b?endpoint=http://127.0.0.1:9000&public=https://x.example&region=eu&style=host&aws-config=1")
	f.Add("s3://key:secret@images")
	f.Add("s3://images/../..//?endpoint=%00")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := ParseS3(text)
		if err != nil {
			return
		}
		cfg.AccessKey, cfg.SecretKey = "a", "b"
		place, err := cfg.place()
		if err != nil {
			t.Fatalf("%q is accepted and then not: %v", text, err)
		}
		if cfg.Prefix != "" && (!strings.HasSuffix(cfg.Prefix, "/") || strings.Contains(cfg.Prefix, "..") && strings.Contains("/"+cfg.Prefix, "/../")) {
			t.Errorf("%q has the prefix %q", text, cfg.Prefix)
		}
		base, err := publicBase(t.Context(), place, cfg.Public)
		if err != nil {
			return // a region or a bucket that AWS does not have
		}
		if u, err := url.Parse(base + cfg.Prefix + s3Kept + string(Result(id1))); err != nil || u.RawQuery != "" || u.User != nil || !strings.HasSuffix(u.Path, "/"+string(Result(id1))) {
			t.Errorf("%q leads to %s, %v", text, base, err)
		}
	})
}
