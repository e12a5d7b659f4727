// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"horde/internal/api"
	"horde/internal/horde"
)

const (
	// holdFor is how long a call waits for a leader: a lease that runs out, and the loading of a record.
	holdFor = 10 * time.Second
	// maxHeld is how many calls wait at most; the rest is refused at once. Each takes a goroutine and a connection.
	maxHeld = 20_000
	// triedPause is how long a call waits after it could not be passed on, unless there is a new leader before.
	triedPause = 250 * time.Millisecond
	// smallCall is the size in bytes up to which bodies are kept until the call is answered, so that they can be sent a
	// second time. Larger ones are sent on as they come; the leader is asked first whether it takes them.
	smallCall = 32 << 10
	// maxCallBytes bounds the bodies that are kept, all together. Above it they are sent on like large ones.
	maxCallBytes = 128 << 20
	// maxPassedBody bounds one body: the leader's own bound, which it enforces by operation.
	maxPassedBody = api.MaxGenerationBody
	// bodyWithin and bodyRate bound how long a body may take: the time, and a second for each bodyRate bytes.
	bodyWithin = 30 * time.Second
	bodyRate   = 32 << 10
	// dialWithin is how long the leader may take to accept a connection.
	dialWithin = 2 * time.Second
	// askWithin is how long it may take to say whether it takes a large body.
	askWithin = 5 * time.Second
	// idleLinks and idleFor are for connections between nodes that nobody uses at the moment.
	idleLinks = 512
	idleFor   = time.Minute
)

// ServeHTTP answers a call: here, or with what the leader answers.
func (m *Member) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.active.Add(1)
	defer m.active.Add(-1)
	seal := stripSeal(r)
	if strings.HasPrefix(r.URL.Path, commandPrefix) {
		m.serveCommand(w, r, seal)
		return
	}
	if seal != "" {
		if epoch, addr, ok := m.vouch.open(seal, r.Method, r.URL.RequestURI()); ok {
			m.servePassed(w, r, epoch, addr)
			return
		}
		// Not sealed by a node: a call like any other.
	}
	if m.local.serve(w, r) {
		return
	}
	m.serveOrPass(w, r)
}

// servePassed answers a call that another node has passed here.
func (m *Member) servePassed(w http.ResponseWriter, r *http.Request, epoch int64, addr netip.Addr) {
	t := m.view.Load().term
	if t != nil && t.epoch == epoch {
		wait := time.NewTimer(m.holdFor)
		defer wait.Stop()
		select {
		case <-t.ready:
			r.RemoteAddr = peerAddress(addr)
			r.Header.Del("X-Forwarded-For") // the node has read it already
			if t.holds() && t.answer(w, r) {
				return
			}
		case <-t.over.Done():
		case <-wait.C:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set(notLeading, "1")
	m.refuse(w, r, http.StatusMisdirectedRequest)
}

// refuse answers a call that nobody can answer now.
func (m *Member) refuse(w http.ResponseWriter, r *http.Request, status int) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	refusal := *horde.ErrUnavailable
	refusal.Status = status
	m.router.WriteError(w, r, &refusal)
}

// serveOrPass answers a call that came from outside, waiting for a leader where there is none.
func (m *Member) serveOrPass(w http.ResponseWriter, r *http.Request) {
	if t := m.view.Load().term; t != nil && t.answers() && t.answer(w, r) {
		return // the usual case on a leader
	}
	p, err := m.payload(w, r)
	if err != nil {
		m.router.WriteError(w, r, err)
		return
	}
	defer p.release()
	for deadline := time.Now().Add(m.holdFor); ; {
		v := m.view.Load()
		switch {
		case v.term != nil && v.term.answers():
			p.restore(r)
			if v.term.answer(w, r) {
				return
			}
		case v.address != "":
			switch m.pass.call(w, r, v, p) {
			case delivered:
				return
			case unknown:
				m.refuse(w, r, http.StatusServiceUnavailable)
				return
			}
		}
		if !m.hold(r.Context(), v, deadline) {
			m.refuse(w, r, http.StatusServiceUnavailable)
			return
		}
	}
}

// hold waits until it makes sense to look again who leads. It says no when the call has waited for long enough, or too many
// wait.
func (m *Member) hold(ctx context.Context, v *view, deadline time.Time) bool {
	defer m.held.Add(-1)
	if m.held.Add(1) > maxHeld {
		return false
	}
	wait := time.Until(deadline)
	if wait <= 0 {
		return false
	}
	var ready <-chan struct{}
	switch {
	case v.address != "":
		wait = min(wait, triedPause)
	case v.term != nil && !v.term.answers():
		ready = v.term.ready
		select {
		case <-ready: // it does not hold its lease at the moment
			ready = nil
			wait = min(wait, triedPause)
		default:
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-v.next:
	case <-ready:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// payload is the body of a call on its way to the leader.
type payload struct {
	length  int64
	kept    []byte        // all of it, when it is small
	stream  io.ReadCloser // else: what comes
	touched atomic.Bool   // some of the stream was read

	taken *atomic.Int64 // where kept is counted
}

// payload reads the body of a call, if it is small.
func (m *Member) payload(w http.ResponseWriter, r *http.Request) (*payload, error) {
	p := &payload{length: r.ContentLength, stream: r.Body}
	if r.ContentLength == 0 || r.Body == http.NoBody {
		p.stream = nil
		return p, nil
	}
	if r.ContentLength > maxPassedBody {
		w.Header().Set("Connection", "close")
		return nil, &horde.Error{Status: http.StatusRequestEntityTooLarge, Message: "The request body is too large"}
	}
	conn := http.NewResponseController(w)
	// It fails only where there is no connection that could be slow.
	_ = conn.SetReadDeadline(time.Now().Add(bodyWithin + time.Duration(max(r.ContentLength, maxPassedBody/4)/bodyRate)*time.Second))
	p.stream = http.MaxBytesReader(w, r.Body, maxPassedBody)
	if r.ContentLength < 0 || r.ContentLength > smallCall {
		return p, nil
	}
	if m.heldBytes.Add(r.ContentLength) > maxCallBytes {
		m.heldBytes.Add(-r.ContentLength)
		return p, nil
	}
	p.taken = &m.heldBytes
	p.kept = make([]byte, r.ContentLength)
	_ = conn.SetReadDeadline(time.Now().Add(bodyWithin))
	if _, err := io.ReadFull(r.Body, p.kept); err != nil {
		p.release()
		return nil, &horde.Error{Status: http.StatusBadRequest, Message: "The request body ended before its time"}
	}
	_ = conn.SetReadDeadline(time.Time{}) // one that stays would cancel the call when it passes
	return p, nil
}

func (p *payload) release() {
	if p.taken != nil {
		p.taken.Add(-int64(len(p.kept)))
		p.taken = nil
	}
}

// empty tells whether there is no body.
func (p *payload) empty() bool { return p.kept == nil && p.stream == nil }

// whole tells whether the body can still be sent from its start.
func (p *payload) whole() bool { return p.kept != nil || !p.touched.Load() }

// reader is the body for one try.
func (p *payload) reader() io.ReadCloser {
	switch {
	case p.kept != nil:
		return io.NopCloser(bytes.NewReader(p.kept))
	case p.stream != nil:
		return streamed{p}
	}
	return http.NoBody
}

// restore gives a call its body back, to be answered here.
func (p *payload) restore(r *http.Request) {
	if !p.empty() {
		r.Body = p.reader()
	}
}

// streamed is a body that is sent on as it comes. It is closed by the server, when the call is over.
type streamed struct{ p *payload }

func (s streamed) Read(b []byte) (int, error) {
	s.p.touched.Store(true)
	return s.p.stream.Read(b)
}

func (s streamed) Close() error { return nil }

// outcome is what became of a call that was passed on.
type outcome int

const (
	// delivered: the caller has the leader's answer.
	delivered outcome = iota
	// again: nothing has happened, or it may happen twice, and the caller has no answer yet.
	again
	// unknown: the leader may have done it, and nobody knows what it answered.
	unknown
)

// passer passes calls to the leader.
type passer struct {
	member    *Member
	transport *http.Transport
	proxy     *httputil.ReverseProxy
}

func newPasser(m *Member) passer {
	p := passer{member: m, transport: &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialWithin, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:    dialWithin,
		DisableCompression:     true, // the caller's own wish is passed on
		MaxIdleConns:           idleLinks,
		MaxIdleConnsPerHost:    idleLinks,
		IdleConnTimeout:        idleFor,
		ExpectContinueTimeout:  askWithin,
		MaxResponseHeaderBytes: 64 << 10,
	}}
	p.proxy = &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: p, FlushInterval: -1, BufferPool: &buffers{},
		ModifyResponse: modify, ErrorHandler: failed,
	}
	return p
}

func (p passer) close() { p.transport.CloseIdleConnections() }

// try is one try to pass a call on.
type try struct {
	view    *view
	payload *payload
	addr    netip.Addr
	writer  http.ResponseWriter
	sent    atomic.Bool // a connection was had, so something may have been sent
	err     error       // set by the proxy when there is no answer
}

type tryKey struct{}

// call passes a call to the leader of a view.
func (p passer) call(w http.ResponseWriter, r *http.Request, v *view, body *payload) outcome {
	t := &try{view: v, payload: body, addr: p.member.callerOf(r), writer: w}
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), tryKey{}, t))
	defer cancel()
	defer context.AfterFunc(v.gone, cancel)()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { t.sent.Store(true) }})
	out := r.WithContext(ctx)
	out.Body = body.reader()
	p.proxy.ServeHTTP(final{w}, out)
	switch {
	case t.err == nil:
		return delivered
	case r.Context().Err() != nil:
		return unknown
	case !body.whole():
		return unknown
	case !t.sent.Load(), errors.Is(t.err, errNotLeading), repeatable(r):
		p.member.cfg.Log.Debug("a call could not be passed to the leader", "address", v.address, "error", t.err)
		return again
	}
	p.member.cfg.Log.Warn("it is not known what became of a call that was passed to the leader", "address", v.address, "error", t.err)
	return unknown
}

// final passes on answers, but not the leader's word that it takes a body: that was said to this node.
type final struct{ http.ResponseWriter }

func (f final) WriteHeader(status int) {
	if status != http.StatusContinue {
		f.ResponseWriter.WriteHeader(status)
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (f final) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// repeatable tells whether a call may happen twice.
func repeatable(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
}

// rewrite leaves everything as the caller sent it, the host and the query included, but for what concerns the connection.
func rewrite(r *httputil.ProxyRequest) {
	r.Out.Host = r.In.Host
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	for _, name := range [...]string{"Proxy-Authorization", "Proxied-For"} { // a service's passkey, which is meant for the leader
		if v := r.In.Header[name]; v != nil {
			r.Out.Header[name] = v
		}
	}
	r.Out.Header.Del("X-Forwarded-For")
	// With these net/http would send a call twice that it takes for repeatable.
	r.Out.Header.Del("Idempotency-Key")
	r.Out.Header.Del("X-Idempotency-Key")
}

var errNotLeading = errors.New("the node does not lead")
var errNoSecret = errors.New("the nodes' secret is not known yet")

// RoundTrip sends a call to the leader, with a seal that says for whom.
func (p passer) RoundTrip(r *http.Request) (*http.Response, error) {
	t := r.Context().Value(tryKey{}).(*try)
	scheme, host, _ := strings.Cut(t.view.address, "://")
	r.URL.Scheme, r.URL.Host = scheme, host
	seal, ok := p.member.vouch.seal(t.view.epoch, t.addr, r.Method, r.URL.RequestURI())
	if !ok {
		return nil, errNoSecret
	}
	r.Header.Set(sealHeader, seal)
	r.ContentLength = t.payload.length
	switch {
	case t.payload.empty():
		r.Body, r.ContentLength = nil, 0
	case t.payload.kept == nil:
		r.Header.Set("Expect", "100-continue")
	}
	return p.transport.RoundTrip(r)
}

// modify looks at an answer before the caller gets it.
func modify(res *http.Response) error {
	if res.Header.Get(notLeading) != "" {
		return errNotLeading
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		// It may take any time to write; until when is the leader's business.
		t := res.Request.Context().Value(tryKey{}).(*try)
		_ = http.NewResponseController(t.writer).SetWriteDeadline(time.Time{})
	}
	return nil
}

// failed notes that there is no answer. The caller gets one later.
func failed(_ http.ResponseWriter, r *http.Request, err error) {
	r.Context().Value(tryKey{}).(*try).err = err
}

// buffers are for copying answers.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, 16<<10)
}

func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }
