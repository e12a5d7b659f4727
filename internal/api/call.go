// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
)

// DefaultAgent is the Client-Agent of a caller that sends none.
const DefaultAgent = "unknown:0:unknown"

// Caller is what is known about whoever calls, before anything in the domain has looked.
type Caller struct {
	// Addr is the address of the peer, or what trusted proxies say it is. It is the zero Addr only when the server does
	// not listen on TCP.
	Addr netip.Addr
	// Client is the address that a service account with a valid passkey speaks for, else Addr. Requests, their
	// timeouts and suspicion go by Client; pop, alchemy, check and registration by Addr.
	Client netip.Addr
	// Proxied is whether Client was given by a service account.
	Proxied bool
	// Agent is the Client-Agent header, name:version:contact by convention but anything in practice; [DefaultAgent] when
	// there is none. Python's client_agent counts as Client-Agent.
	Agent string
	// ID tells the calls of this process apart in the log.
	ID uint64
}

// Call is one call of an operation whose input is of type In, decoded and validated. See [Handle].
type Call[In any] struct {
	Caller
	In In
	// NUL is whether a declared string of the body holds the character U+0000, which nothing can store: a handler
	// refuses it where its order of checks says so.
	NUL bool
	// Request is the underlying request. Its body has been read.
	Request *http.Request

	header http.Header
}

// Header returns the headers of the answer, for a handler that sets one of its own.
func (c *Call[In]) Header() http.Header { return c.header }

// Handler answers one call. Out is what is encoded as JSON and passed through the caller's field mask; its type is what the
// documents describe. It may be a pointer, which is nil where there is an error. Only an operation with an [Operation.Media]
// may have an Out that is any: nil sends no body, and an [http.Handler] writes the answer itself, status included. err, when
// not nil, is all that counts: a *[horde.Error], wrapped or not, becomes its document, anything else is logged and becomes a
// 500.
//
// Numbers that are whole are written without a fraction, nil slices as [], and fields with omitempty as encoding/json
// does it.
type Handler[In, Out any] func(ctx context.Context, c *Call[In]) (status int, out Out, err error)

// Key is embedded in the input of an operation that demands an apikey header. That the header is there is all that is
// checked: whose it is, the engine knows.
type Key struct {
	APIKey string `header:"apikey" required:"true" doc:"A User API key, a shared key, or 0000000000 for anonymous use."`
}

// LateKey is embedded in the input of an operation that demands an apikey header after it has looked at something else:
// APIKey may be empty, and the handler says so.
type LateKey struct {
	APIKey string `header:"apikey" argument:"true" published:"required=true" doc:"A User API key, a shared key, or 0000000000 for anonymous use."`
}

// OptionalKey is embedded in the input of an operation that shows more to some. APIKey is empty when none was sent.
type OptionalKey struct {
	APIKey string `header:"apikey" doc:"A User API key."`
}

// NoInput is the input of an operation that reads nothing.
type NoInput struct{}

// Handle registers an operation. It panics when the path has the method already, when In makes no sense, or when what the
// documents need is missing: an operation cannot be served without being described.
//
// The fields of In, those of embedded structs included, are filled by their tags:
//
//	ID   string            `path:"id"`                    a segment of the path, decoded; %252F counts as a slash
//	Page body.Opt[int]     `query:"page" minimum:"1"`     a query argument
//	Key  string            `header:"apikey" required:"true"`
//	Body ImageRequest      `body:"optional,coerce"`       the JSON body, see [body.Options] for the two words
//
// Arguments of path, query and header may be strings, integers, numbers and booleans, pointers to them or [body.Opt] of
// them, bounded by minimum and maximum. One that does not parse or is missing is refused with its name as the key. An
// empty header or query argument counts as absent. Only an In with a Body reads the body of the request.
func Handle[In, Out any](r *Router, o Operation, h Handler[In, Out]) {
	o.in, o.out = reflect.TypeFor[In](), reflect.TypeFor[Out]()
	if err := o.check(); err != nil {
		panic(fmt.Sprintf("api: %s %s: %v", o.Method, o.Path, err))
	}
	input, err := compileInput(o.in)
	if err != nil {
		panic(fmt.Sprintf("api: %s %s: %v", o.Method, o.Path, err))
	}
	o.input = input
	if err := o.tryExample(); err != nil {
		panic(fmt.Sprintf("api: %s %s: %v", o.Method, o.Path, err))
	}
	r.operations = append(r.operations, &o)
	r.add(o.Method, o.Path, o.Limits, func(w http.ResponseWriter, req *http.Request, caller Caller) error {
		wanted, err := maskOf(req)
		if err != nil {
			return err
		}
		c := &Call[In]{Caller: caller, Request: req, header: w.Header()}
		kept, err := r.readInput(w, req, input, o.MaxBody, reflect.ValueOf(&c.In).Elem(), &c.NUL)
		defer kept.release()
		if err != nil {
			return err
		}
		status, out, err := h(req.Context(), c)
		if err != nil {
			return err
		}
		return r.respond(w, req, status, out, wanted)
	})
}
