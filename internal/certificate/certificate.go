// SPDX-License-Identifier: AGPL-3.0-or-later

// Package certificate lets a server speak TLS with a certificate from files, which it reads again when they change. So a
// program that renews certificates has nothing to tell the server.
package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const (
	// lookEvery is how often the files are looked at.
	lookEvery = 5 * time.Second
	// maxFile bounds a file in bytes. A chain of certificates has some thousand.
	maxFile = 1 << 20
	// soonOver is how long before its end a certificate is complained about.
	soonOver = 7 * 24 * time.Hour
)

// Keeper has the certificate that is in two files. All methods may be called from any goroutine.
type Keeper struct {
	certFile, keyFile string
	log               *slog.Logger

	mu        sync.RWMutex // guards what follows
	current   *tls.Certificate
	cert, key []byte // what was last read, good or not
}

// Load reads a certificate with its chain, and its key, both in PEM.
func Load(certFile, keyFile string, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{certFile: certFile, keyFile: keyFile, log: log}
	_, err := k.Reload()
	return k, err
}

// Reload reads the files again and tells whether there is a new certificate. Where they are not good, or do not belong
// together, as while one of them is being replaced, the certificate stays that there was.
func (k *Keeper) Reload() (changed bool, err error) {
	cert, err := read(k.certFile)
	if err != nil {
		return false, err
	}
	key, err := read(k.keyFile)
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if bytes.Equal(cert, k.cert) && bytes.Equal(key, k.key) {
		return false, nil
	}
	k.cert, k.key = cert, key
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		// It says what does not fit, and nothing of the key.
		return false, fmt.Errorf("certificate %s with key %s: %w", k.certFile, k.keyFile, err)
	}
	k.current = &pair
	return true, nil
}

func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is far too large for a certificate", name)
	}
	return text, err
}

// Until is when the certificate is over.
func (k *Keeper) Until() time.Time { return k.leaf().NotAfter }

func (k *Keeper) leaf() *x509.Certificate {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.current.Leaf
}

// Config is for a server: TLS 1.2 or later, HTTP/2 and 1.1.
func (k *Keeper) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			k.mu.RLock()
			defer k.mu.RUnlock()
			return k.current, nil
		},
	}
}

// Run reads the files again when they change, and at once at SIGHUP, until ctx is done. What goes wrong is logged, once.
func (k *Keeper) Run(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	k.run(ctx, hangup)
}

func (k *Keeper) run(ctx context.Context, hangup <-chan os.Signal) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	said := ""
	k.warn()
	for day := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-hangup:
			said = ""
		}
		changed, err := k.Reload()
		switch {
		case err != nil && err.Error() != said:
			said = err.Error()
			k.log.Error("the certificate could not be read again; going on with the one there is", "err", err)
		case changed:
			said = ""
			k.log.Info("a new certificate", "file", k.certFile, "until", k.Until())
			k.warn()
		}
		if time.Since(day) > 24*time.Hour {
			day = time.Now()
			k.warn()
		}
	}
}

func (k *Keeper) warn() {
	if until := k.Until(); time.Until(until) < soonOver {
		k.log.Warn("the certificate is over soon", "file", k.certFile, "until", until)
	}
}

const (
	redirectHeader = 5 * time.Second
	redirectIdle   = 30 * time.Second
	redirectSize   = 8 << 10
)

// Redirect answers every call on l, in plain HTTP, with the same address under https, until ctx is done. port is that of the
// listener with TLS. Calls of the API are not redirected but refused: a key was sent in the clear already, and a client that
// follows would go on doing it.
func Redirect(ctx context.Context, l net.Listener, port string, log *slog.Logger) error {
	s := &http.Server{
		Handler: redirect(port), ReadHeaderTimeout: redirectHeader, ReadTimeout: redirectHeader, WriteTimeout: redirectHeader, IdleTimeout: redirectIdle,
		MaxHeaderBytes: redirectSize, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
