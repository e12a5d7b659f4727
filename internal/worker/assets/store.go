// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"horde/internal/fetch"
)

// Why something was not had, for errors.Is.
var (
	// ErrOff: no folder is configured for this kind of file.
	ErrOff = errors.New("fetching is switched off")
	// ErrNotFound: there is no such model, or no file of it that could be used.
	ErrNotFound = errors.New("not found")
	// ErrRefused: there is one, but it may not be used: too large, not safe for work, no hash, odd address.
	ErrRefused = errors.New("not usable")
	// ErrDenied: the download needs a token, or another one.
	ErrDenied = errors.New("not given away without a login")
	// ErrBlocked: CivitAI does not serve this file here, or nothing at all; see Store.Blocked.
	ErrBlocked = errors.New("not available from here")
	// ErrUnavailable: the other side failed in a way that may pass.
	ErrUnavailable = errors.New("not available at the moment")
	// ErrSlow: the download would not have ended in time.
	ErrSlow = errors.New("the download is too slow")
	// ErrLate: the time of the caller ended first. The download may go on for others.
	ErrLate = errors.New("not here in time")
	// ErrBaseline: the LoRA was made for another kind of model.
	ErrBaseline = errors.New("made for another kind of model")
)

// Times and bounds of the workers chapter, sections 5.4, 10.4 and 10.5.
const (
	// metadataTimeout bounds one question to CivitAI; lookupLimit a look-up with all its repetitions.
	metadataTimeout = 35 * time.Second
	lookupLimit     = 90 * time.Second
	// downloadLimit bounds a LoRA's download, repetitions included.
	downloadLimit = 121 * time.Second
	// stallLimit is the longest time without a byte.
	stallLimit = 10 * time.Second
	// judgeAfter is when the speed of a download is known well enough to tell whether it can end in time.
	judgeAfter = 10 * time.Second
	// hordelingTimeout bounds one question to the hordeling, askLimit all of them, embeddingLimit a textual inversion
	// from the first question to the file.
	hordelingTimeout = 5 * time.Second
	askLimit         = 15 * time.Second
	embeddingLimit   = 45 * time.Second
	// foundLife is how long it is remembered what CivitAI said of a model, failedLife that something could not be had.
	failedLife = 600 * time.Second
	// pendingLife is the same for a hordeling that has not converted a file yet.
	pendingLife = 20 * time.Second
	foundLife   = 600 * time.Second
	// blockedLife is how long nothing is asked of a CivitAI that does not serve this place.
	blockedLife = 10 * time.Minute
	// parallel is how many files are downloaded at the same time.
	parallel = 5
	// maxMetadata bounds the answers of CivitAI, maxAnswer those of the hordeling, in bytes.
	maxMetadata = 8 << 20
	maxAnswer   = 64 << 10
	// MaxLoraBytes and MaxEmbeddingBytes are the largest files that are fetched.
	MaxLoraBytes      = 400 << 20
	MaxEmbeddingBytes = 20_000 << 10
	// embeddingBudget is the space for textual inversions, in bytes.
	embeddingBudget = 1024 << 20
	// remembered bounds what is kept in memory of earlier look-ups.
	remembered = 2000
)

// Config of a Store.
type Config struct {
	// LoraFolder and EmbeddingFolder are where the image server looks for such files. Empty: that kind is not fetched.
	LoraFolder, EmbeddingFolder string
	// LoraBudget is the space for LoRAs that were fetched, in bytes.
	LoraBudget int64
	// CivitAI is the address of the site or of a mirror, Hordeling that of the converter of textual inversions. Addresses
	// of this machine or network that are named here are exempt from the guard against private addresses.
	CivitAI, Hordeling string
	// Token is sent to the host of CivitAI and to no other; empty means none. It is never logged.
	Token string
	// NSFW: models that are not safe for work may be used.
	NSFW bool
	// Agent says who asks.
	Agent string
	// Log gets a line for each file and each failure. Nil means slog.Default.
	Log *slog.Logger
	// HTTP sends all requests. Nil means guarded clients of package fetch.
	HTTP fetch.Doer
}

// Store fetches and keeps files. It may be used by many goroutines. Close ends what it started.
type Store struct {
	cfg       Config
	log       *slog.Logger
	civitai   *url.URL
	hordeling *url.URL
	// metadata, answers and files differ in their bounds on time and size.
	metadata, answers, files fetch.Doer
	loras, embeddings        *shelf // nil: switched off
	slots                    chan struct{}
	flights                  singleflight.Group

	life context.Context // ends with Close
	end  context.CancelFunc

	mu         sync.Mutex // guards what follows
	closed     bool
	running    sync.WaitGroup // flights; Add only with mu held and closed false
	known      map[string]memo
	blockedTil time.Time
}

// memo is the result of an earlier look-up or download.
type memo struct {
	value any
	err   error
	until time.Time
}

// Open makes a store. The folders must exist.
func Open(cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, log: cfg.Log, slots: make(chan struct{}, parallel), known: map[string]memo{}}
	if s.log == nil {
		s.log = slog.Default()
	}
	var err error
	if s.civitai, err = webURL(cfg.CivitAI); err != nil {
		return nil, fmt.Errorf("civitai_url: %w", err)
	}
	if s.hordeling, err = webURL(cfg.Hordeling); err != nil {
		return nil, fmt.Errorf("hordeling_url: %w", err)
	}
	if cfg.LoraFolder != "" {
		if s.loras, err = openShelf(cfg.LoraFolder, cfg.LoraBudget); err != nil {
			return nil, fmt.Errorf("lora_folder: %w", err)
		}
	}
	if cfg.EmbeddingFolder != "" {
		if s.embeddings, err = openShelf(cfg.EmbeddingFolder, embeddingBudget); err != nil {
			return nil, fmt.Errorf("embedding_folder: %w", err)
		}
	}
	s.metadata, s.answers, s.files = cfg.HTTP, cfg.HTTP, cfg.HTTP
	if cfg.HTTP == nil {
		allow, ports := fetch.Exempt(s.civitai, s.hordeling)
		guarded := func(timeout time.Duration, maxBytes int64) fetch.Doer {
			return fetch.New(fetch.Config{AllowPrefixes: allow, Ports: ports, Timeout: timeout, MaxBytes: maxBytes, UserAgent: cfg.Agent})
		}
		s.metadata = guarded(metadataTimeout, maxMetadata)
		s.answers = guarded(hordelingTimeout, maxAnswer)
		s.files = guarded(downloadLimit, MaxLoraBytes)
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

func webURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("want http:// or https:// and a host")
	}
	if u.Path == "" {
		u.Path = "/" // JoinPath would leave the path without its first slash
	}
	return u, nil
}

// Close gives up what is under way and returns when all of it has ended. A nil store has nothing to close.
func (s *Store) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.running.Wait()
	for _, d := range []fetch.Doer{s.metadata, s.answers, s.files} {
		if c, ok := d.(*fetch.Client); ok {
			c.CloseIdleConnections()
		}
	}
}

// Loras tells whether LoRAs are fetched.
func (s *Store) Loras() bool { return s != nil && s.loras != nil }

// Embeddings tells whether textual inversions are fetched.
func (s *Store) Embeddings() bool { return s != nil && s.embeddings != nil }

// Blocked tells whether CivitAI as a whole was found not to serve this place in the last ten minutes.
func (s *Store) Blocked() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.blockedTil)
}

func (s *Store) block() {
	s.mu.Lock()
	s.blockedTil = time.Now().Add(blockedLife)
	s.mu.Unlock()
	s.log.Warn("CivitAI does not serve this place; it is left alone for a while", "for", blockedLife)
}

func (s *Store) recall(key string) (memo, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.known[key]
	return m, ok && time.Now().Before(m.until)
}

func (s *Store) remember(key string, m memo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if len(s.known) >= remembered {
		for k, old := range s.known {
			if now.After(old.until) {
				delete(s.known, k)
			}
		}
		for k := range s.known {
			if len(s.known) < remembered {
				break
			}
			delete(s.known, k)
		}
	}
	s.known[key] = m
}

// failedUntil is how long a failure is repeated without trying again.
func (s *Store) failedUntil(err error) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case errors.Is(err, errPending):
		return now.Add(pendingLife)
	case errors.Is(err, ErrBlocked) && now.Before(s.blockedTil):
		return s.blockedTil
	}
	return now.Add(failedLife)
}

// shared does work once for all who want the same at the same time, and repeats its result for a while: a success as
// long as keep says, a failure until failedUntil. The work goes on when the caller's time ends, up to limit.
func shared[V any](ctx context.Context, s *Store, key string, limit, keep time.Duration, work func(context.Context) (V, error)) (V, error) {
	var none V
	if m, ok := s.recall(key); ok {
		v, _ := m.value.(V)
		return v, m.err
	}
	done := s.flights.DoChan(key, func() (any, error) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return none, ErrLate
		}
		s.running.Add(1)
		s.mu.Unlock()
		defer s.running.Done()
		if m, ok := s.recall(key); ok { // who did the same work ended between the question above and now
			return m.value, m.err
		}
		limited, cancel := context.WithTimeout(s.life, limit)
		defer cancel()
		v, err := work(limited)
		switch {
		case s.life.Err() != nil:
		case err != nil:
			s.log.Info("not to be had", "what", key, "error", err)
			s.remember(key, memo{value: none, err: err, until: s.failedUntil(err)})
		case keep > 0:
			s.remember(key, memo{value: v, until: time.Now().Add(keep)})
		}
		return v, err
	})
	select {
	case r := <-done:
		v, _ := r.Val.(V)
		return v, r.Err
	case <-ctx.Done():
		return none, ErrLate
	}
}

// sleep waits, unless ctx ends before or would end meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// request makes a GET; the address is one that was parsed before.
func (s *Store) request(ctx context.Context, u *url.URL) *http.Request {
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: make(http.Header)}).WithContext(ctx)
	if s.cfg.Agent != "" {
		req.Header.Set("User-Agent", s.cfg.Agent)
	}
	return req
}
