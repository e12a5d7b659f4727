// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres_test

import (
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// wire is the network between a store and its server. It can stop in the middle of a message, as when a process is paused
// or a cable pulled, and go on later. What a client sent before it closed its connection arrives all the same.
type wire struct {
	location string
	listener net.Listener
	server   string

	mu     sync.Mutex // guards what follows
	moved  sync.Cond
	sent   int   // bytes that clients have sent
	held   *hold // of the connections that are made now
	closed bool
	conns  []net.Conn
}

// hold is what keeps connections from going on.
type hold struct {
	budget   int  // how many more bytes of clients go through; negative for all
	muted    bool // no answers
	carriers sync.WaitGroup
}

// newWire puts a wire before the server of a database.
func newWire(t testing.TB, location string) *wire {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{server: u.Host, held: &hold{budget: -1}}
	w.moved.L = &w.mu
	if w.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	u.Host = w.listener.Addr().String()
	w.location = u.String()
	t.Cleanup(w.close)
	go w.accept()
	return w
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.server)
		if err != nil {
			client.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, client, server)
		held := w.held
		held.carriers.Go(func() { w.carry(server, client, func(n int) int { return w.allow(held, n) }) })
		w.mu.Unlock()
		go w.carry(client, server, func(n int) int { return w.hear(held, n) })
	}
}

// carry moves what one side sends to the other, as far as allowed.
func (w *wire) carry(to, from net.Conn, allow func(int) int) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			k := allow(len(rest))
			if k == 0 {
				return
			}
			if _, err := to.Write(rest[:k]); err != nil {
				return
			}
			rest = rest[k:]
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				from.Close()
			}
			return
		}
	}
}

// allow waits until some of n bytes of a client may go through. It returns zero when the wire is closed.
func (w *wire) allow(h *hold, n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for h.budget == 0 && !w.closed {
		w.moved.Wait()
	}
	if w.closed {
		return 0
	}
	if h.budget > 0 {
		n = min(n, h.budget)
		h.budget -= n
		w.moved.Broadcast()
	}
	w.sent += n
	return n
}

// hear waits until what the server says may go through.
func (w *wire) hear(h *hold, n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for h.muted && !w.closed {
		w.moved.Wait()
	}
	if w.closed {
		return 0
	}
	return n
}

// stopAfter lets that many more bytes of clients through, and no answers from now on if muted.
func (w *wire) stopAfter(n int, muted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held.budget, w.held.muted = n, muted
}

// spent waits until all bytes that were allowed are through.
func (w *wire) spent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.held.budget > 0 {
		w.moved.Wait()
	}
}

// resume lets everything through again.
func (w *wire) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held.budget, w.held.muted = -1, false
	w.moved.Broadcast()
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

// splice keeps what is held back held, and lets new connections go free. It returns what lets the rest go, and waits until the
// server has had it.
func (w *wire) splice() (free func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.held
	w.held = &hold{budget: -1}
	return func() {
		w.mu.Lock()
		old.budget = -1
		w.moved.Broadcast()
		w.mu.Unlock()
		old.carriers.Wait()
	}
}

// cut closes the clients' ends of all connections.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := 0; i < len(w.conns); i += 2 {
		w.conns[i].Close()
	}
	w.conns = nil
}

func (w *wire) close() {
	w.listener.Close()
	w.mu.Lock()
	w.closed = true
	w.moved.Broadcast()
	conns := w.conns
	w.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
	}
}
