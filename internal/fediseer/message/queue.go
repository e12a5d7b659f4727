// SPDX-License-Identifier: AGPL-3.0-or-later

package message

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/probe"
)

const (
	// queueLength bounds the notices that wait; more are dropped and logged.
	queueLength = 10000
	// senders is how many notices go out at the same time.
	senders = 4
)

// retryAfter are the waits between the tries of a notice.
var retryAfter = []time.Duration{time.Minute, 10 * time.Minute, time.Hour}

// Notice is a text for the admins of an instance.
type Notice struct {
	// Recipient says where; its User is not used.
	Recipient
	// Users are the admins by name. Nil means those that a probe finds.
	Users []string
	Text  string

	tries int
}

// Prober finds out who the admins of an instance are.
type Prober interface {
	Probe(ctx context.Context, d fediseer.Domain) probe.Result
}

// Messenger sends messages. Make one with New and end it with Close. All methods may be called from any goroutine.
type Messenger struct {
	cfg    Config
	prober Prober
	log    *slog.Logger
	queue  chan Notice
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the senders

	proxyOnce sync.Once
	proxyGTS  bool // set by proxyOnce
}

// New starts the senders of the queue; Close ends them.
func New(cfg Config, p Prober, log *slog.Logger) *Messenger {
	m := &Messenger{cfg: cfg, prober: p, log: log, queue: make(chan Notice, queueLength)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for range senders {
		m.wg.Go(m.work)
	}
	return m
}

// Close ends the senders. Notices that wait are lost: they are a courtesy, and what they tell stands in the public log.
func (m *Messenger) Close() {
	m.cancel()
	m.wg.Wait()
}

// Queue takes a notice for delivery in the background. It does not wait.
func (m *Messenger) Queue(n Notice) {
	if n.Recipient.Domain.Wildcard() || m.ctx.Err() != nil {
		return
	}
	select {
	case m.queue <- n:
	default:
		m.log.Warn("a notice was dropped, too many wait", "to", n.Recipient.Domain)
	}
}

func (m *Messenger) work() {
	for {
		select {
		case <-m.ctx.Done():
			return
		case n := <-m.queue:
			m.deliver(n)
		}
	}
}

// deliver tries a notice once. Users that it could not reach are tried again later.
func (m *Messenger) deliver(n Notice) {
	if n.Users == nil {
		n.Users = m.prober.Probe(m.ctx, n.Recipient.Domain).Admins
	}
	var left []string
	var last error
	for _, u := range n.Users {
		to := n.Recipient
		to.User = u
		if _, err := m.Send(m.ctx, to, n.Text); err != nil {
			left, last = append(left, u), err
		}
	}
	if m.ctx.Err() != nil || left == nil && n.Users != nil {
		return
	}
	if n.tries == len(retryAfter) {
		m.log.Info("a notice could not be delivered", "to", n.Recipient.Domain, "error", last)
		return
	}
	n.Users = left
	wait := retryAfter[n.tries]
	n.tries++
	time.AfterFunc(wait, func() { m.Queue(n) })
}
