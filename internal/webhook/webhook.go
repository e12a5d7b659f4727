// SPDX-License-Identifier: AGPL-3.0-or-later

// Package webhook tells the owners of requests about finished results: one POST of JSON for each, to the URL that the
// request names (requests chapter, section 18).
//
// The receiver is a stranger's machine that may be slow, gone or hostile. Deliveries therefore wait in a bounded queue
// and several senders work it off, of which one host can occupy a few only; what does not fit is dropped and counted, and
// what fails three times too. Nothing of it is durable: a client that must know asks for the status of its request.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"horde/internal/fetch"
)

const (
	// queueLen is how many deliveries wait at most.
	queueLen = 256
	// queuePerHost is the part of the queue that deliveries to one host may fill, so that a dead host leaves room.
	queuePerHost = queueLen / 2
	// queueBytes bounds the bodies that wait: results inside them as base64 may be megabytes each.
	queueBytes = 64 << 20
	// senders is how many deliveries run at once, and sendersPerHost how many of them to one host.
	senders        = 16
	sendersPerHost = 4
	// attempts are made in immediate succession, each with a time-out of its own.
	attempts       = 3
	attemptTimeout = 3 * time.Second
	// drainTime is how long deliveries go on after the end of Run was asked for.
	drainTime = 5 * time.Second
	// discardBytes of an answer are read so that its connection can be used again.
	discardBytes = 4 << 10
)

// FetchConfig is how webhooks are called: no redirects, since a POST that was redirected has not been received. Addresses
// in allow may be reached although they are private.
func FetchConfig(allow []netip.Prefix) fetch.Config {
	return fetch.Config{AllowPrefixes: allow, Timeout: attemptTimeout}
}

// Counts says what became of deliveries since the start.
type Counts struct {
	Queued    int64 // taken by Send
	Delivered int64 // answered with a status below 300
	Failed    int64 // given up
	Dropped   int64 // not taken by Send, or still waiting at the end
}

// Sender delivers. It is safe for concurrent use; Run does the work.
type Sender struct {
	client *fetch.Client
	// OnAttempt is told of each attempt, from 0, with the status of the answer or else an error. Set it before Run; nil ignores it.
	OnAttempt func(attempt, status int, err error, took time.Duration)

	mu      sync.Mutex // guards all below
	changed *sync.Cond // the queue, running or closed
	queue   []delivery // oldest first
	bytes   int        // sum of the bodies in queue
	waiting map[string]int
	running map[string]int // deliveries by host
	closed  bool           // no more deliveries are taken
	counts  Counts
}

type delivery struct {
	url, host string
	body      []byte
}

// New returns a sender that calls with client, made from FetchConfig.
func New(client *fetch.Client) *Sender {
	s := &Sender{client: client, waiting: map[string]int{}, running: map[string]int{}}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// Counts returns what became of deliveries so far.
func (s *Sender) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Send queues body, as JSON, for rawURL and returns at once. It returns false, and the delivery is dropped, when the
// queue is full, after the end of Run, or for what is no URL or cannot be JSON.
func (s *Sender) Send(rawURL string, body any) (queued bool) {
	d := delivery{url: rawURL}
	u, err := url.Parse(rawURL)
	if err == nil {
		d.host = strings.ToLower(u.Host)
		d.body, err = json.Marshal(body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.closed || len(s.queue) >= queueLen || s.waiting[d.host] >= queuePerHost || s.bytes+len(d.body) > queueBytes {
		s.counts.Dropped++
		return false
	}
	s.queue = append(s.queue, d)
	s.waiting[d.host]++
	s.bytes += len(d.body)
	s.counts.Queued++
	s.changed.Signal()
	return true
}

// Run delivers until ctx ends, and then for at most another five seconds what was queued before. It is called once.
func (s *Sender) Run(ctx context.Context) {
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	stop := context.AfterFunc(ctx, func() {
		s.close()
		time.AfterFunc(drainTime, stopWorking)
	})
	defer stop()
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for d, ok := s.take(working); ok; d, ok = s.take(working) {
				s.finish(d, s.deliver(working, d))
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Dropped += int64(len(s.queue))
	s.queue, s.bytes = nil, 0
	clear(s.waiting)
}

// close refuses further deliveries.
func (s *Sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.changed.Broadcast()
}

// take waits for the oldest delivery whose host is not busy. It returns false when there is no more to come.
func (s *Sender) take(ctx context.Context) (d delivery, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if ctx.Err() != nil || s.closed && len(s.queue) == 0 {
			return delivery{}, false
		}
		for i, d := range s.queue {
			if s.running[d.host] < sendersPerHost {
				s.queue = slices.Delete(s.queue, i, i+1)
				s.bytes -= len(d.body)
				count(s.waiting, d.host, -1)
				count(s.running, d.host, 1)
				return d, true
			}
		}
		s.changed.Wait()
	}
}

// finish frees the place of d for the next delivery to its host.
func (s *Sender) finish(d delivery, delivered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count(s.running, d.host, -1)
	if delivered {
		s.counts.Delivered++
	} else {
		s.counts.Failed++
	}
	// All are woken: whether one is enough depends on whose turn it is next.
	s.changed.Broadcast()
}

// count adds to a counter and forgets it at zero.
func count(m map[string]int, key string, n int) {
	if m[key] += n; m[key] == 0 {
		delete(m, key)
	}
}

// deliver makes the attempts. What is logged is the host and the reason: a URL may hold a secret, and the body does.
func (s *Sender) deliver(ctx context.Context, d delivery) bool {
	for attempt := 1; ; attempt++ {
		began := time.Now()
		status, err := s.post(ctx, d)
		if s.OnAttempt != nil {
			s.OnAttempt(attempt-1, status, err, time.Since(began))
		}
		if err == nil && status < http.StatusMultipleChoices {
			return true
		}
		// A redirect, and a URL that may not be called, stay what they are.
		final := err == nil && status < http.StatusBadRequest || errors.Is(err, fetch.ErrURL) || errors.Is(err, fetch.ErrPrivateAddress)
		if final || attempt == attempts || ctx.Err() != nil {
			slog.Debug("webhook given up", "host", d.host, "attempts", attempt, "status", status, "err", err)
			return false
		}
	}
}

// post makes one attempt.
func (s *Sender) post(ctx context.Context, d delivery) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(d.body))
	if err != nil {
		return 0, fetch.ErrURL
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	// What the answer says, and whether it ends well, does not matter.
	_, _ = io.CopyN(io.Discard, resp.Body, discardBytes)
	return resp.StatusCode, nil
}
