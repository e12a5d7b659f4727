// SPDX-License-Identifier: AGPL-3.0-or-later

package certificate

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/certificate/certificatetest"
)

// server serves with a keeper of a certificate in a directory, and returns its address.
func server(t *testing.T, dir string) (*Keeper, string) {
	t.Helper()
	k, err := Load(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }), ReadHeaderTimeout: time.Minute}
	s.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	go func() { _ = s.Serve(tls.NewListener(l, k.Config())) }()
	t.Cleanup(func() { _ = s.Close() })
	return k, l.Addr().String()
}

// seen is the name in the certificate that a server shows, and the protocol of a call.
func seen(t *testing.T, addr string, ca *certificatetest.Authority, h2 bool, name string) (string, string) {
	t.Helper()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool, ServerName: name}, ForceAttemptHTTP2: h2, DisableKeepAlives: true,
	}}
	res, err := client.Get("https://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.TLS.PeerCertificates[0].Subject.CommonName, string(text)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir, ca := t.TempDir(), certificatetest.New(t)
	ca.Write(t, dir, "one.example", time.Hour)
	_, addr := server(t, dir)
	if name, proto := seen(t, addr, ca, true, "one.example"); name != "one.example" || proto != "HTTP/2.0" {
		t.Errorf("%s over %s", name, proto)
	}
	if _, proto := seen(t, addr, ca, false, "one.example"); proto != "HTTP/1.1" {
		t.Errorf("an older client gets %s", proto)
	}
	for version, works := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.Pool, ServerName: "one.example", MinVersion: version, MaxVersion: version})
		if err == nil {
			conn.Close()
		}
		if (err == nil) != works {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

func TestACertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	dir, ca := t.TempDir(), certificatetest.New(t)
	ca.Write(t, dir, "one.example", time.Hour)
	k, addr := server(t, dir)
	if changed, err := k.Reload(); changed || err != nil {
		t.Errorf("nothing has changed: %t, %v", changed, err)
	}
	old, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca.Write(t, dir, "two.example", time.Hour)
	fresh, _ := os.ReadFile(filepath.Join(dir, "key.pem"))

	// Between the two files that a renewal replaces, the old certificate stays.
	for name, key := range map[string][]byte{"the old key": old, "half a key": fresh[:len(fresh)/2], "nothing": nil, "too much": make([]byte, maxFile+1)} {
		if err := os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		if changed, err := k.Reload(); changed || err == nil {
			t.Errorf("with %s: %t, %v", name, changed, err)
		} else if strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("with %s the error tells the key: %v", name, err)
		}
		if name, _ := seen(t, addr, ca, true, "one.example"); name != "one.example" {
			t.Errorf("served with %s", name)
		}
	}
	if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Reload(); err == nil {
		t.Error("without a file")
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), fresh, 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := k.Reload(); !changed || err != nil {
		t.Fatalf("the new pair: %t, %v", changed, err)
	}
	if name, _ := seen(t, addr, ca, true, "two.example"); name != "two.example" {
		t.Errorf("served with %s", name)
	}
}

func TestTheFilesAreLookedAt(t *testing.T) {
	t.Parallel()
	dir, ca := t.TempDir(), certificatetest.New(t)
	synctest.Test(t, func(t *testing.T) {
		ca.Write(t, dir, "one.example", 30*24*time.Hour)
		k, err := Load(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		hangup := make(chan os.Signal, 1)
		done := make(chan struct{})
		go func() { defer close(done); k.run(ctx, hangup) }()
		defer func() { stop(); <-done }()

		ca.Write(t, dir, "two.example", 30*24*time.Hour)
		time.Sleep(lookEvery + time.Millisecond)
		synctest.Wait()
		if name := k.leaf().Subject.CommonName; name != "two.example" {
			t.Errorf("after a look it is that of %s", name)
		}
		ca.Write(t, dir, "three.example", 30*24*time.Hour)
		hangup <- syscall.SIGHUP
		synctest.Wait()
		if name := k.leaf().Subject.CommonName; name != "three.example" {
			t.Errorf("after SIGHUP it is that of %s", name)
		}
	})
}

func TestFilesThatAreNoCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none"), filepath.Join(dir, "none"), slog.Default()); err == nil {
		t.Error("no file")
	}
	name := filepath.Join(dir, "text")
	if err := os.WriteFile(name, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(name, name, slog.Default()); err == nil {
		t.Error("a text")
	}
}

func TestPeopleAreSentToHTTPS(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Redirect(ctx, l, "8443", slog.New(slog.DiscardHandler)) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, c := range []struct {
		host, path string
		status     int
		location   string
	}{
		{"horde.example", "/register?a=b", http.StatusPermanentRedirect, "https://horde.example:8443/register?a=b"},
		{"horde.example:80", "/", http.StatusPermanentRedirect, "https://horde.example:8443/"},
		{"[::1]:80", "/x", http.StatusPermanentRedirect, "https://[::1]:8443/x"},
		{"horde.example", "//evil.example/", http.StatusPermanentRedirect, "https://horde.example:8443//evil.example/"},
		{"a@evil.example", "/", http.StatusBadRequest, ""},
		{"horde.example", "/api/v2/find_user", http.StatusForbidden, ""},
		{"", "/", http.StatusPermanentRedirect, "https://" + strings.ReplaceAll(l.Addr().String(), portOf(l), "8443") + "/"},
	} {
		req, err := http.NewRequest(http.MethodGet, "http://"+l.Addr().String()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.status || res.Header.Get("Location") != c.location {
			t.Errorf("%s%s: %d %s", c.host, c.path, res.StatusCode, res.Header.Get("Location"))
		}
	}
}

func portOf(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
