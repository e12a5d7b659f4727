// SPDX-License-Identifier: AGPL-3.0-or-later

// Package server puts the Fediseer together: record, probes, messages, use cases, API and pages. Commands and tests
// start the whole service through it, in their own process.
package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/api"
	"horde/internal/fediseer/message"
	"horde/internal/fediseer/observer"
	"horde/internal/fediseer/probe"
	"horde/internal/fediseer/store"
	"horde/internal/fediseer/trust"
	"horde/internal/fediseer/web"
	"horde/internal/fetch"
)

// Version is the version of the service, which is also that of its root instance. It names the API that it is compatible
// with.
const Version = "0.25.1"

const (
	// maxForeign bounds what a foreign instance can make us read.
	maxForeign = 1 << 20
	// UpdateTimeout is the patience of the updater, which nobody waits for.
	UpdateTimeout = 20 * time.Second
	// shutdownPatience is how long running requests may take when the service ends.
	shutdownPatience = 10 * time.Second
	// maxHeader bounds the header of a request. The pages send the domains of all guaranteed instances in one path.
	maxHeader = 1 << 20
)

// Config is everything that can be set. See the flags of the command for what each means; Default fills in the defaults.
// An empty PublicURL is the address that the service listens on.
type Config struct {
	Listen    string
	Data      string
	Database  string
	Domain    string
	PublicURL string
	GUIURL    string
	RootUser  string
	Operator  string
	Contact   string

	AdminKey         string
	Salt             string
	AllowDefaultSalt bool
	PrivateKey       string

	MastodonURL   string
	MastodonToken string

	TrustedProxies int
	RateLimits     bool

	Suspicions     string
	ProbeTimeout   time.Duration
	BatchDeadline  time.Duration
	UpdateEvery    time.Duration
	UpdateParallel int
	IgnoreFails    int
	// Existing refuses to make anything: record, secrets and data directory must be there.
	Existing       bool
	AllowAddresses []netip.Prefix
	CAFile         string

	// Resolver and RootCAs replace the system's in tests. Nil is the system's.
	Resolver probe.Resolver
	RootCAs  *x509.CertPool
}

// Default returns the configuration of a service that was told nothing.
func Default() Config {
	return Config{Listen: "127.0.0.1:10001", Data: "fediseer-data", Domain: "fediseer.com", PublicURL: "https://fediseer.com",
		RootUser: api.ActorName, RateLimits: true, Suspicions: observer.DefaultURL, ProbeTimeout: 5 * time.Second,
		BatchDeadline: 20 * time.Second, UpdateEvery: 12 * time.Hour, UpdateParallel: 25, IgnoreFails: -1}
}

// check refuses numbers that cannot be meant. It names the flags of the command.
func (c *Config) check() error {
	switch {
	case c.ProbeTimeout <= 0:
		return errors.New("--probe-timeout must be longer than nothing")
	case c.BatchDeadline <= 0:
		return errors.New("--batch-deadline must be longer than nothing")
	case c.UpdateEvery < 0:
		return errors.New("--update-every must not be negative; 0 leaves polling to fediseer update")
	case c.UpdateParallel <= 0:
		return errors.New("--update-parallel must be at least 1")
	case c.IgnoreFails < -1:
		return errors.New("--ignore-poll-fails must be at least -1, which polls all")
	case c.TrustedProxies < 0:
		return errors.New("--trusted-proxies must not be negative")
	}
	return nil
}

// Server is a running service. End it with Close.
type Server struct {
	cfg       Config
	log       *slog.Logger
	store     *store.Store
	trust     *trust.Service
	updates   *trust.Service // with more patience
	messenger *message.Messenger
	own       []*http.Transport // of the clients of ownClient, whose idle connections end with the service
	api       *api.API
	http      *http.Server
	listener  net.Listener
	stop      context.CancelFunc // ends the updater
	wg        sync.WaitGroup     // the updater and the HTTP server
}

// Open prepares a service without listening: enough for the updater.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, log: log}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) error {
	cfg := &s.cfg
	if err := cfg.check(); err != nil {
		return err
	}
	database := cfg.Database
	if database == "" {
		database = filepath.Join(cfg.Data, "fediseer.db")
	}
	if cfg.Existing {
		if err := store.Exists(database); err != nil {
			return fmt.Errorf("there is no record to work on; fediseer serve makes one: %w", err)
		}
	} else if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	root, err := fediseer.ParseDomain(cfg.Domain)
	if err != nil {
		return fmt.Errorf("the domain of the service: %w", err)
	}
	base, err := url.Parse(strings.TrimRight(cfg.PublicURL, "/"))
	if err != nil || base.Host == "" {
		return errors.New("the public URL needs a scheme and a host, such as https://fediseer.example")
	}
	if cfg.GUIURL == "" {
		cfg.GUIURL = base.String()
	}
	if cfg.Contact == "" {
		cfg.Contact = "@" + cfg.RootUser + "@" + string(root)
	}
	if err := s.secrets(); err != nil {
		return err
	}
	keyPEM, err := s.keep(cfg.PrivateKey, filepath.Join(cfg.Data, "private.pem"), message.NewPrivatePEM)
	if err != nil {
		return err
	}
	key, err := message.ParsePrivatePEM(keyPEM)
	if err != nil {
		return fmt.Errorf("read the private key: %w", err)
	}
	publicPEM, err := message.PublicPEM(&key.PublicKey)
	if err != nil {
		return err
	}
	if s.store, err = store.Open(ctx, database); err != nil {
		return err
	}
	if err := s.trustedCAs(); err != nil {
		return err
	}
	agent := "Fediseer/" + Version
	resolver := cfg.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	client := func(timeout time.Duration) *fetch.Client {
		return fetch.New(fetch.Config{AllowPrefixes: cfg.AllowAddresses, Ports: []uint16{443}, Timeout: timeout, MaxBytes: maxForeign,
			UserAgent: agent, Resolver: resolver, RootCAs: cfg.RootCAs})
	}
	prober := func(timeout time.Duration) *probe.Prober {
		return &probe.Prober{HTTP: client(timeout), Resolver: resolver, UserAgent: agent, Timeout: timeout}
	}
	s.messenger = message.New(message.Config{BaseURL: base.String(), Actor: base.String() + api.ActorPath, Key: key, UserAgent: agent,
		Foreign: client(message.SendTimeout), Own: s.ownClient(message.SendTimeout), MastodonURL: serverURL(cfg.MastodonURL),
		MastodonToken: cfg.MastodonToken, Root: root, Operator: cfg.Operator}, prober(cfg.ProbeTimeout), s.log)
	tc := trust.Config{Salt: cfg.Salt, Root: root, RootUser: cfg.RootUser, Version: Version, GUI: cfg.GUIURL, Contact: cfg.Contact,
		BatchDeadline: cfg.BatchDeadline}
	if err := trust.Bootstrap(ctx, tc, s.store, s.adminKey); err != nil {
		return err
	}
	if cfg.AdminKey != "" {
		valid, err := trust.IsAdminKey(ctx, tc, s.store, cfg.AdminKey)
		if err != nil {
			return err
		}
		if !valid {
			s.log.Warn("the admin API key of the configuration is not the one in the record and does not count: it is read only when the record is made")
		}
	}
	s.trust = trust.New(tc, s.store, prober(cfg.ProbeTimeout), s.messenger, s.log)
	s.updates = trust.New(tc, s.store, prober(UpdateTimeout), s.messenger, s.log)
	nodes := &observer.Source{Location: cfg.Suspicions, HTTP: s.ownClient(observer.Timeout)}
	_, port, _ := net.SplitHostPort(cfg.Listen)
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	s.api, err = api.New(api.Config{Version: Version, Node: host + ":" + port, BaseURL: base.String(), Host: string(root), PublicPEM: publicPEM,
		TrustedProxies: cfg.TrustedProxies, RateLimits: cfg.RateLimits, SnapshotDir: cfg.Data}, s.trust, nodes, s.messenger, s.log)
	if err != nil {
		return err
	}
	web.Register(s.api, web.Config{Version: Version, BaseURL: base.String(), ProxyAccount: proxyAccount(cfg)}, s.trust, nodes)
	return nil
}

// serverURL makes a URL of what may be a host name only.
func serverURL(s string) string {
	if s != "" && !strings.Contains(s, "://") {
		s = "https://" + s
	}
	return strings.TrimRight(s, "/")
}

// proxyAccount is the page of the account that messages through Mastodon come from.
func proxyAccount(cfg *Config) string {
	if cfg.MastodonURL == "" {
		return ""
	}
	return serverURL(cfg.MastodonURL) + "/@" + cfg.RootUser
}

// ownClient reaches servers that the operator named. They may be anywhere, and their certificates are checked against the
// same authorities as those of strangers.
func (s *Server) ownClient(timeout time.Duration) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: s.cfg.RootCAs, MinVersion: tls.VersionTLS12}
	s.own = append(s.own, transport)
	return &http.Client{Timeout: timeout, Transport: transport}
}

// trustedCAs adds the configured authorities to those that are trusted anyway.
func (s *Server) trustedCAs() error {
	if s.cfg.CAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(s.cfg.CAFile)
	if err != nil {
		return fmt.Errorf("read the certificate authorities: %w", err)
	}
	var pool *x509.CertPool
	if s.cfg.RootCAs != nil {
		pool = s.cfg.RootCAs.Clone()
	} else if pool, err = x509.SystemCertPool(); err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", s.cfg.CAFile)
	}
	s.cfg.RootCAs = pool
	return nil
}

// secrets finds or makes the salt of the key hashes.
func (s *Server) secrets() error {
	if s.cfg.Salt == "" {
		b, err := s.keep("", filepath.Join(s.cfg.Data, "salt"), func() ([]byte, error) { return []byte(fediseer.NewKey()), nil })
		if err != nil {
			return err
		}
		s.cfg.Salt = strings.TrimSpace(string(b))
	}
	if s.cfg.Salt == fediseer.DefaultSalt && !s.cfg.AllowDefaultSalt {
		return errors.New("the salt is the published default; set another one, or allow the default explicitly")
	}
	return nil
}

// adminKey is the configured key of the service's admin, or a new one that is left in a file for them.
func (s *Server) adminKey() (string, error) {
	if s.cfg.Existing {
		return "", errors.New("there is no record to work on; fediseer serve makes one")
	}
	if s.cfg.AdminKey != "" {
		return s.cfg.AdminKey, nil
	}
	path := filepath.Join(s.cfg.Data, "admin-key")
	b, err := s.keep("", path, func() ([]byte, error) { return []byte(fediseer.NewKey() + "\n"), nil })
	if err == nil {
		s.log.Info("the API key of the service's admin was made", "file", path)
	}
	return strings.TrimSpace(string(b)), err
}

// keep reads the file that was configured, or else the usual one, which is made if it does not exist and may be made.
func (s *Server) keep(configured, usual string, content func() ([]byte, error)) ([]byte, error) {
	path := usual
	if configured != "" {
		path = configured
	}
	b, err := os.ReadFile(path)
	if err == nil || configured != "" || s.cfg.Existing || !errors.Is(err, os.ErrNotExist) {
		if err != nil {
			return nil, fmt.Errorf("read a secret: %w", err)
		}
		return b, nil
	}
	if b, err = content(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return nil, fmt.Errorf("keep a secret: %w", err)
	}
	return b, nil
}

// Start opens the service, listens and runs the updater. The context is that of starting only.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	cfg.Listen = listener.Addr().String()
	if cfg.PublicURL == "" {
		cfg.PublicURL = "http://" + cfg.Listen
	}
	s, err := Open(ctx, cfg, log)
	if err != nil {
		listener.Close()
		return nil, err
	}
	s.listener = listener
	s.http = &http.Server{Handler: s.api, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
		WriteTimeout: 5 * time.Minute, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	s.wg.Go(func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the HTTP server ended", "error", err)
		}
	})
	var running context.Context
	running, s.stop = context.WithCancel(context.Background())
	if cfg.UpdateEvery > 0 {
		s.wg.Go(func() { s.updateLoop(running) })
	}
	return s, nil
}

// Addr is where the service listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL is the address of the service on this machine.
func (s *Server) URL() string { return "http://" + s.Addr() }

// Port is the port that the service listens on.
func (s *Server) Port() int {
	_, p, _ := net.SplitHostPort(s.Addr())
	n, _ := strconv.Atoi(p)
	return n
}

func (s *Server) updateLoop(ctx context.Context) {
	for t := time.NewTicker(s.cfg.UpdateEvery); ; {
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
			if err := s.Update(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("the update of instances failed", "error", err)
			}
		}
	}
}

// Update polls all instances once.
func (s *Server) Update(ctx context.Context) error {
	start := time.Now()
	n, err := s.updates.PollAll(ctx, s.cfg.UpdateParallel, s.cfg.IgnoreFails)
	s.log.Info("instances were polled", "number", n, "took", time.Since(start).Round(time.Millisecond))
	return err
}

// Close ends the service: running requests get some seconds, notices that wait are lost.
func (s *Server) Close() error {
	var err error
	if s.stop != nil {
		s.stop()
	}
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownPatience)
		err = s.http.Shutdown(ctx)
		cancel()
	}
	s.wg.Wait()
	if s.messenger != nil {
		s.messenger.Close()
	}
	if s.api != nil {
		s.api.Close()
	}
	for _, t := range s.own {
		t.CloseIdleConnections()
	}
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	return err
}
