// SPDX-License-Identifier: AGPL-3.0-or-later

package archive

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"horde/internal/bucket"
	"horde/internal/hordeling/hordelingtest"
)

func TestS3(t *testing.T) {
	t.Parallel()
	endpoint := hordelingtest.StartS3(t)
	ctx := context.Background()
	b, err := bucket.OpenS3(ctx, bucket.S3{Endpoint: endpoint, Bucket: "hordeling", AccessKey: hordelingtest.S3Access, SecretKey: hordelingtest.S3Secret})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a := open(t, b, Config{LinkLife: time.Minute})
	stem := keep(t, a, 17, []byte("0123456789"))
	if row := find(t, open(t, b, Config{}), stem); row == nil || row.Size != 10 {
		t.Fatalf("another node finds %+v", row)
	}
	link, err := a.Link(ctx, stem, "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(link, endpoint+"/hordeling/ti/17-") || !strings.Contains(link, "X-Amz-Expires=60&") {
		t.Errorf("link %s", link)
	}
	for byteRange, want := range map[string]string{"": "0123456789", "bytes=0-0": "0", "bytes=4-": "456789"} {
		req, _ := http.NewRequest(http.MethodGet, link, nil)
		status := http.StatusOK
		if byteRange != "" {
			req.Header.Set("Range", byteRange)
			status = http.StatusPartialContent
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != status || string(body) != want {
			t.Errorf("range %q: %d %q", byteRange, resp.StatusCode, body)
		}
	}
	resp, err := http.Get(strings.Split(link, "?")[0])
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("without signature: %d", resp.StatusCode)
	}
	if err := b.Delete(ctx, "ti/"+stem+".safetensors"); err != nil {
		t.Fatal(err)
	}
	if row := find(t, a, stem); row != nil {
		t.Errorf("found without its object: %+v", row)
	}
	if public, _ := open(t, b, Config{PublicURL: "https://files.example/x"}).Link(ctx, stem, ""); public != "https://files.example/x/ti/"+stem+".safetensors" {
		t.Errorf("public link %s", public)
	}
}

func TestS3ThatIsNotThere(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	b, err := bucket.OpenS3(ctx, bucket.S3{Endpoint: "http://127.0.0.1:1", Bucket: "hordeling", AccessKey: "a", SecretKey: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := Open(ctx, b, Config{}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := bucket.OpenS3(ctx, bucket.S3{}); err == nil {
		t.Error("a bucket without a name")
	}
}

// TestForbiddenObjectsAreAbsent is what S3 answers for a missing object to whoever may not list the bucket.
func TestForbiddenObjectsAreAbsent(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("list-type") {
			io.WriteString(w, `<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>`)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`)
	}))
	defer server.Close()
	ctx := context.Background()
	b, err := bucket.OpenS3(ctx, bucket.S3{Endpoint: server.URL, Bucket: "hordeling", AccessKey: "a", SecretKey: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a := open(t, b, Config{})
	if row := find(t, a, Stem(1, strings.Repeat("ab", 32))); row != nil {
		t.Errorf("found %+v", row)
	}
	if err := a.KeepRefusal(ctx, Stem(1, strings.Repeat("ab", 32)), &Row{RC: "UnsafePickle"}); err == nil {
		t.Error("a forbidden write is no error")
	}
}
