// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"horde/client"
)

// brokenTLS lets polls through, and for a while fails submits as a proxy with a certificate of its own makes them fail.
type brokenTLS struct {
	*fakeHorde
	mu    sync.Mutex
	until time.Time
	tries int
}

func (b *brokenTLS) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/submit") {
		b.mu.Lock()
		b.tries++
		fails := time.Now().Before(b.until)
		b.mu.Unlock()
		if fails {
			return nil, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
		}
	}
	return b.fakeHorde.RoundTrip(r)
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// TestScribeNamesWhatIsWrongWithTheConnection is field case B129: the log names the cause, tries have pauses, and once the
// connection works the result that was computed is delivered.
func TestScribeNamesWhatIsWrongWithTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &brokenTLS{fakeHorde: &fakeHorde{jobs: []string{textJob("a", 150)}}, until: time.Now().Add(60 * time.Second)}
		var log lines
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- run(ctx, testConfig(t), UI{Log: slog.New(slog.NewTextHandler(&log, nil))}, Backends{Text: &fakeText{takes: time.Second}}, []string{"scribe"},
				client.WithHTTPClient(&http.Client{Transport: h}))
		}()
		time.Sleep(120 * time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if got := states(h.submitted()); got["a"] != "ok" {
			t.Errorf("submitted %v once the connection worked", got)
		}
		if h.tries < 3 || h.tries > 40 {
			t.Errorf("%d tries in a minute", h.tries)
		}
		if text := log.text.String(); !strings.Contains(text, "submit failed") || !strings.Contains(text, "certificate signed by unknown authority") {
			t.Errorf("the log does not tell what is wrong:\n%s", text)
		}
	})
}
