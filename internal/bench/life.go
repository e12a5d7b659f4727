// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"horde/internal/horde"
)

// life is one request from its submission until its client holds the result. The client owns it; mu guards what workers write.
type life struct {
	id   uint64
	kind horde.Kind

	mu       sync.Mutex
	accepted time.Time // zero until the client knows
	handed   time.Time // zero until a worker has it
	sent     []byte    // what the worker delivers: a text, or a file; nil until it does
	// delivered is closed when a worker's delivery was acknowledged.
	delivered chan struct{}
	ended     bool // delivered is closed
}

// lives knows every request of the run that is under way, by the mark in its prompt. Safe for concurrent use.
type lives struct {
	run [4]byte // tells requests of this run from others'
	rec *recorder

	mu   sync.Mutex
	next uint64
	open map[uint64]*life

	// waiting is, for each kind, how many accepted requests no worker has yet.
	waiting [3]atomic.Int64
	// doubled counts requests that were handed out again, although nobody gave them back.
	doubled atomic.Int64
}

func newLives(run [4]byte, rec *recorder) *lives {
	return &lives{run: run, rec: rec, open: map[uint64]*life{}}
}

// begin makes a request known before it is sent, since a worker may have it before its client has the answer.
func (b *lives) begin(k horde.Kind) *life {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	l := &life{id: b.next, kind: k, delivered: make(chan struct{})}
	b.open[l.id] = l
	return l
}

// end forgets a request.
func (b *lives) end(l *life) {
	b.mu.Lock()
	delete(b.open, l.id)
	b.mu.Unlock()
}

// accept notes when the client knew that its request was accepted.
func (b *lives) accept(l *life, now time.Time) {
	b.waiting[l.kind].Add(1)
	l.mu.Lock()
	l.accepted = now
	if !l.handed.IsZero() { // the worker was faster than the answer
		b.rec.observe(spanDispatch, 0)
	}
	l.mu.Unlock()
}

// hand notes that a worker holds the request.
func (b *lives) hand(l *life, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.handed.IsZero() {
		b.doubled.Add(1)
		b.rec.fail("doubled: handed out twice")
		return
	}
	b.waiting[l.kind].Add(-1)
	l.handed = now
	if !l.accepted.IsZero() {
		b.rec.observe(spanDispatch, now.Sub(l.accepted))
	}
}

// deliver notes what a worker is about to deliver. Only the first delivery counts.
func (l *life) deliver(result []byte) {
	l.mu.Lock()
	if l.sent == nil {
		l.sent = result
	}
	l.mu.Unlock()
}

// acknowledged notes that the server has taken the delivery.
func (l *life) acknowledged() {
	l.mu.Lock()
	if !l.ended {
		l.ended = true
		close(l.delivered)
	}
	l.mu.Unlock()
}

// is tells whether a client holds what the worker delivered.
func (l *life) is(result []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent != nil && bytes.Equal(l.sent, result)
}

// The mark in a prompt: "horde-bench-", the run in 8 and the request in 12 hexadecimal digits.
const (
	markPrefix = "horde-bench-"
	runDigits  = 8
	idDigits   = 12
	markLength = len(markPrefix) + runDigits + idDigits
)

// mark appends the mark of a request. Preloaded requests have marks of their own, which no life has.
func (b *lives) mark(buf []byte, id uint64) []byte {
	buf = append(buf, markPrefix...)
	buf = hex.AppendEncode(buf, b.run[:])
	return fmt.Appendf(buf, "%012x", id)
}

// find is the request whose mark is in the answer to a pop, nil when it is none of this run.
func (b *lives) find(answer []byte) *life {
	at := bytes.Index(answer, []byte(markPrefix))
	if at < 0 || len(answer) < at+markLength {
		return nil
	}
	digits := answer[at+len(markPrefix) : at+markLength]
	var raw [(runDigits + idDigits) / 2]byte
	if _, err := hex.Decode(raw[:], digits); err != nil || !bytes.Equal(raw[:len(b.run)], b.run[:]) {
		return nil
	}
	id := uint64(0)
	for _, x := range raw[len(b.run):] {
		id = id<<8 | uint64(x)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[id]
}
