// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/limit"
)

// The stream of events of one request: text/event-stream as HTML defines it. The data of each event is one line of JSON.
const (
	// eventStatus has the document of a check, or of alchemy that of a status, and comes first and after each change.
	eventStatus = "status"
	// eventDone and eventFault have the status document with the results, and end the stream: all is made, or the request was
	// given up.
	eventDone  = "done"
	eventFault = "fault"
	// eventGone has the document of the refusal that a check would get, and ends the stream: the request is forgotten.
	eventGone = "gone"

	// lastEvent is the id of the event that ends a stream; others are numbered. Browsers connect again after the end and tell
	// this id: they are answered 204, which stops them.
	lastEvent = "end"
)

const (
	// eventHeartbeat is how often a stream says something, whether there is news or not: proxies cut connections that are
	// silent for half a minute or more. Queue position and waiting time, which change without the request, are renewed then.
	eventHeartbeat = 15 * time.Second
	// eventWrite is how long a client may take to receive an event.
	eventWrite = 30 * time.Second
)

// Bounds on open streams: a stream costs memory as long as the client likes.
const (
	maxStreams = 50_000
	// maxAddressStreams is for one address (IPv6: one /64) that the rate limits apply to.
	maxAddressStreams = 200
)

type eventsInput struct {
	ID   string `path:"id"`
	Last string `header:"Last-Event-ID"`
}

// streams counts the open streams.
type streams struct {
	mu    sync.Mutex // guards what follows
	total int
	of    map[netip.Prefix]int
}

var (
	errTooManyStreams = &horde.Error{Status: http.StatusTooManyRequests, RetryAfter: eventHeartbeat,
		Message: "Too many streams of events are open from this address. Close some, or ask for the status now and then."}
	errStreamsFull = &horde.Error{Status: http.StatusServiceUnavailable, RetryAfter: eventHeartbeat,
		Message: "No further stream of events can be opened now. Ask for the status now and then."}
)

func (s *streams) enter(addr netip.Addr, limited bool) (leave func(), err error) {
	unit := limit.Unit(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.total >= maxStreams:
		return nil, errStreamsFull
	case limited && s.of[unit] >= maxAddressStreams:
		return nil, errTooManyStreams
	}
	if s.of == nil {
		s.of = map[netip.Prefix]int{}
	}
	s.total++
	s.of[unit]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total--
		if s.of[unit]--; s.of[unit] == 0 {
			delete(s.of, unit)
		}
	}, nil
}

func (a *API) eventStreams(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/events/{id}", Limits: LimitsCheck, ID: "get_events",
		Summary: "Tells every change of a request, of any kind, as server-sent events, and in the end its results. Better than asking.",
		Success: []int{http.StatusOK, http.StatusNoContent}, Also: []int{404}, Media: "text/event-stream",
		Published: api.Published{Ours: true},
	}, func(_ context.Context, c *api.Call[eventsInput]) (int, any, error) {
		if c.In.Last == lastEvent {
			return http.StatusNoContent, nil, nil
		}
		watch, err := a.engine.Watch(c.In.ID)
		if err != nil {
			return 0, nil, err
		}
		leave, err := a.streams.enter(c.Addr, r.Limits(c.Caller))
		if err != nil {
			watch.Close()
			return 0, nil, err
		}
		return http.StatusOK, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			defer leave()
			defer watch.Close()
			a.stream(w, req, watch)
		}), nil
	})
}

// stream writes the events of a request until it is done, the client leaves or the server stops.
func (a *API) stream(w http.ResponseWriter, req *http.Request, watch *engine.Watch) {
	h := w.Header()
	h["Content-Type"] = []string{"text/event-stream; charset=utf-8"}
	h["Cache-Control"] = []string{"no-store, no-transform"}
	h["X-Accel-Buffering"] = []string{"no"} // nginx would wait for a full buffer
	h.Del("Retry-After")                    // a success needs none, and programs take it for a pause
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodHead {
		return
	}
	out := eventWriter{ResponseController: http.NewResponseController(w), w: w}
	beat := time.NewTicker(eventHeartbeat)
	defer beat.Stop()
	ctx := req.Context()
	for {
		ended, err := a.tell(ctx, &out, watch)
		if err != nil || ended {
			return
		}
		select {
		case <-watch.News():
		case <-beat.C:
			out.beat = true
		case <-ctx.Done():
			return
		case <-watch.Over():
			return
		}
	}
}

// tell writes how the request stands, if that is news, and returns true after the last event.
func (a *API) tell(ctx context.Context, out *eventWriter, watch *engine.Watch) (ended bool, err error) {
	if watch.Kind == horde.Alchemy {
		return tellAlchemy(ctx, out, watch)
	}
	s, err := watch.Status(ctx)
	switch {
	case err != nil:
		return out.failed(err)
	case !s.Done:
		return false, out.status(checked(s))
	}
	name := eventDone
	if s.Faulted {
		name = eventFault
	}
	if watch.Kind == horde.Text {
		_, doc, err := textStatus(s, nil)
		if err != nil {
			return false, err
		}
		return true, out.event(name, lastEvent, doc)
	}
	_, doc, err := imageStatus(s, nil)
	if err != nil {
		return false, err
	}
	return true, out.event(name, lastEvent, doc)
}

// tellAlchemy is tell for alchemy requests.
func tellAlchemy(ctx context.Context, out *eventWriter, watch *engine.Watch) (ended bool, err error) {
	_, doc, err := interrogationOf(watch.Interrogation(ctx))
	switch {
	case err != nil:
		return out.failed(err)
	case doc.State.Pending():
		return false, out.status(doc)
	case doc.State == horde.FormFaulted:
		return true, out.event(eventFault, lastEvent, doc)
	}
	return true, out.event(eventDone, lastEvent, doc)
}

// digest tells documents apart: a stream need not keep what it has sent.
var digest = maphash.MakeSeed()

// eventWriter writes one stream.
type eventWriter struct {
	*http.ResponseController
	w       http.ResponseWriter
	number  int
	last    uint64 // of the last status written, by digest
	written bool   // whether there is one
	beat    bool   // whether something must be written, news or not
}

// failed tells that a request is gone. Any other error is none of the client's.
func (e *eventWriter) failed(err error) (ended bool, _ error) {
	var refusal *horde.Error
	if errors.As(err, &refusal) && refusal.Status == http.StatusNotFound {
		return true, e.event(eventGone, lastEvent, api.RefusalDocument(refusal))
	}
	return false, e.idle() // the engine is recovering: it tells when it has
}

func (e *eventWriter) status(doc any) error {
	data, err := api.Marshal(doc)
	if err != nil {
		return err
	}
	sum := maphash.Bytes(digest, data)
	if e.written && sum == e.last {
		return e.idle()
	}
	e.written, e.last = true, sum
	e.number++
	return e.line(eventStatus, strconv.Itoa(e.number), data)
}

// idle writes a comment if something must be written.
func (e *eventWriter) idle() error {
	if !e.beat && e.written {
		return nil
	}
	return e.send([]byte(": still here\n\n"))
}

func (e *eventWriter) event(name, id string, doc any) error {
	data, err := api.Marshal(doc)
	if err != nil {
		return err
	}
	return e.line(name, id, data)
}

// line writes an event with JSON as its data.
func (e *eventWriter) line(name, id string, data []byte) error {
	var b bytes.Buffer
	b.Grow(len(data) + 64)
	b.WriteString("event: " + name + "\nid: " + id + "\ndata: ")
	b.Write(data) // without a line break: the encoder writes none, and escapes those in strings
	b.WriteString("\n\n")
	return e.send(b.Bytes())
}

func (e *eventWriter) send(text []byte) error {
	e.beat = false
	_ = e.SetWriteDeadline(time.Now().Add(eventWrite)) // not there in tests without a connection
	if _, err := e.w.Write(text); err != nil {
		return err
	}
	return e.Flush()
}
