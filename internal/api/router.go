// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"horde/internal/api/schema"
	"horde/internal/horde"
	"horde/internal/limit"
	"horde/internal/trace"
)

// Options is what a [Router] is made of. The zero value serves: it trusts no proxy, limits nothing and logs to
// [slog.Default].
type Options struct {
	// Node is sent as Horde-Node with every answer: host:port:version. Workers log it.
	Node string
	// Log takes failures and panics, and at debug level each call, without keys, prompts and ids.
	Log *slog.Logger
	// AccessLog logs each call at info level.
	AccessLog bool
	// Limiter counts the calls. Nil turns all rate limits off.
	Limiter *limit.Limiter
	// Services are networks of services, whose limits are raised too, but for those of a key.
	Services []netip.Prefix
	// Relaxed lists the clients with raised limits; whoever accepts submissions feeds it. Nil means none.
	Relaxed *limit.Relaxed
	// Exempt are networks that are never limited.
	Exempt []netip.Prefix
	// TrustedProxies are networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Passkey says, in constant time, whether a value of Proxy-Authorization is the passkey of an account that may speak
	// for others. Nil means that there is none. It is asked only when the header is there.
	Passkey func(passkey string) bool
	// BodyMemory bounds the bytes that bodies above 32 KiB take together while they are read and handled; more are
	// refused with 503. 0 means [DefaultBodyMemory].
	BodyMemory int64
	// Admit is asked of each call after its limits, and refuses it by an error; nil admits all.
	Admit func(req *http.Request, c Caller) error
	// InvalidRC is the code of refusals of bodies and arguments that are not as they are described. Those of the AI Horde have none.
	InvalidRC string
	// NotFound are messages for unknown paths that deserve more than the usual 404, by path without a trailing slash.
	NotFound map[string]string
}

// Router serves operations and pages. Register everything before it serves the first request.
type Router struct {
	options   Options
	log       *slog.Logger
	mux       *http.ServeMux
	endpoints map[string]*endpoint // by pattern
	// operations are what Handle registered, in that order.
	operations []*Operation
	models     []schema.Model
	handler    http.Handler // serve with compression around it
	errorPage  ErrorPage    // nil: none
	node       []string
	calls      atomic.Uint64
	meters     *meters
	callLevel  slog.Level   // at which calls are logged
	bodies     atomic.Int64 // bytes that large bodies take
}

// NewRouter returns a Router that knows no path yet.
func NewRouter(o Options) *Router {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.BodyMemory == 0 {
		o.BodyMemory = DefaultBodyMemory
	}
	r := &Router{options: o, log: o.Log, mux: http.NewServeMux(), endpoints: make(map[string]*endpoint), meters: newMeters(), callLevel: slog.LevelDebug}
	if o.AccessLog {
		r.callLevel = slog.LevelInfo
	}
	if o.Node != "" {
		r.node = []string{o.Node}
	}
	r.handler = compressed(http.HandlerFunc(r.serve))
	r.mux.HandleFunc("/", r.notFound)
	return r
}

// routeFunc answers one call, or returns the error to answer with.
type routeFunc func(w http.ResponseWriter, req *http.Request, c Caller) error

// endpoint is everything below one pattern.
type endpoint struct {
	routes map[string]*route // by method, HEAD excepted
	allow  []string          // the header
}

type route struct {
	limits []compiledLimit
	serve  routeFunc
	meter  *routeMeter
}

// Mount registers an ordinary handler for the given methods of a path, GET when there are none. path is a pattern of
// net/http without a method; one that ends in a slash stands for everything below it. GET includes HEAD. Errors may be
// written with [Router.WriteError].
func (r *Router) Mount(path string, limits Limits, h http.Handler, methods ...string) {
	if len(methods) == 0 {
		methods = []string{http.MethodGet}
	}
	for _, method := range methods {
		r.add(method, path, limits, func(w http.ResponseWriter, req *http.Request, _ Caller) error {
			h.ServeHTTP(w, req)
			return nil
		})
	}
}

// ErrorPage writes a refusal as a page, with the status in e, and returns true; or it writes nothing and returns false, and
// the usual document is sent. Headers such as Allow and Retry-After are set already.
type ErrorPage func(w http.ResponseWriter, req *http.Request, e *horde.Error) bool

// SetErrorPage lets page answer people with pages where programs get the error document: which of the two a request comes
// from, page decides. Nil, as at first, sends the document to everybody.
func (r *Router) SetErrorPage(page ErrorPage) { r.errorPage = page }

// Route is one method of one path that a router serves.
type Route struct {
	Method string
	// Path is the pattern, with {name} for what varies.
	Path string
	// Summary says in a few words what an operation is for. It is empty for what is mounted.
	Summary string
}

// Routes lists what is registered below prefix, by path and method.
func (r *Router) Routes(prefix string) []Route {
	var list []Route
	for pattern, e := range r.endpoints {
		if !strings.HasPrefix(pattern, prefix) {
			continue
		}
		for method := range e.routes {
			list = append(list, Route{Method: method, Path: pattern})
		}
	}
	for i := range list {
		for _, o := range r.operations {
			if o.Method == list[i].Method && o.Path == list[i].Path {
				list[i].Summary = o.Summary
			}
		}
	}
	slices.SortFunc(list, func(a, b Route) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
	})
	return list
}

// Name gives types other names in the documents than they have in Go.
func (r *Router) Name(models ...schema.Model) { r.models = append(r.models, models...) }

// Caller finds out who sent a request. It is for what is mounted; operations have theirs in [Call].
func (r *Router) Caller(req *http.Request) Caller { return r.callerOf(req) }

func (r *Router) add(method, pattern string, limits Limits, serve routeFunc) {
	e := r.endpoints[pattern]
	if e == nil {
		e = &endpoint{routes: make(map[string]*route)}
		r.endpoints[pattern] = e
		handler := r.endpoint(e)
		if pattern == "/" {
			panic("api: / stands for everything unknown; a page at the root is /{$}")
		}
		r.mux.Handle(pattern, handler)
		if below := strings.TrimSuffix(pattern, "/"); below != pattern {
			// Without this net/http redirects from the path to the one with a slash.
			r.mux.Handle(below, handler)
		}
	}
	if e.routes[method] != nil || method == http.MethodHead || method == http.MethodOptions {
		panic(fmt.Sprintf("api: %s %s cannot be registered", method, pattern))
	}
	e.routes[method] = &route{limits: compileLimits(pattern, limits), serve: serve, meter: r.meters.route(pattern, method)}

	allow := append(slices.Collect(maps.Keys(e.routes)), http.MethodOptions)
	if e.routes[http.MethodGet] != nil {
		allow = append(allow, http.MethodHead)
	}
	slices.Sort(allow)
	e.allow = []string{strings.Join(allow, ", ")}
}

// Every answer has these, so that browsers let pages of any origin see it.
var (
	corsOrigin  = []string{"*"}
	corsMethods = []string{"POST, GET, OPTIONS, PUT, DELETE, PATCH"}
	corsHeaders = []string{"Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, apikey, Client-Agent, X-Fields, X-Forwarded-For, Proxied-For, Proxy-Authorization"}
	corsExpose  = []string{"Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Horde-Node, X-Request-ID"}
)

// ServeHTTP answers any request.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h["Access-Control-Allow-Origin"] = corsOrigin
	h["Access-Control-Allow-Methods"] = corsMethods
	h["Access-Control-Allow-Headers"] = corsHeaders
	h["Access-Control-Expose-Headers"] = corsExpose
	if r.node != nil {
		h["Horde-Node"] = r.node
	}
	id := r.requestID(req)
	h[requestIDHeader] = []string{id}
	r.handler.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), requestIDKey{}, id)))
}

// serve finds the endpoint. A panic on the way becomes a 500, or ends the connection when the answer has begun.
func (r *Router) serve(w http.ResponseWriter, req *http.Request) {
	answer := &response{ResponseWriter: w, meter: r.meters.unmatched}
	began := time.Now()
	req, span := trace.Serving(req)
	defer func() {
		if p := recover(); p != nil {
			r.recovered(answer, req, p)
		}
		span.Served(req.Method, req.Pattern, answer.status, RequestID(req.Context()))
		took := time.Since(began)
		answer.meter.count(answer.status, took)
		if r.log.Enabled(req.Context(), r.callLevel) {
			r.log.LogAttrs(req.Context(), r.callLevel, "call",
				slog.String("method", req.Method), slog.String("route", req.Pattern), slog.Int("status", answer.status),
				slog.Duration("took", took))
		}
	}()
	req = normalised(req)
	if req.Method == http.MethodConnect {
		r.notFound(answer, req) // net/http would not look at the path in the usual way
		return
	}
	r.mux.ServeHTTP(answer, req)
}

func (r *Router) recovered(w *response, req *http.Request, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	r.log.ErrorContext(req.Context(), "panic", "method", req.Method, "route", req.Pattern, "value", p, "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler) // the caller must not take half an answer for a whole one
	}
	h := w.Header()
	h.Del("Content-Encoding")
	h.Del("Content-Length")
	r.WriteError(w, req, &horde.Error{Status: http.StatusInternalServerError, Message: "Internal Server Error"})
}

func (r *Router) endpoint(e *endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		method := req.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		rt := e.routes[method]
		switch {
		case rt != nil:
			if answer, ok := w.(*response); ok {
				answer.meter = rt.meter
			}
		case method == http.MethodOptions:
			w.Header()["Allow"] = e.allow
			w.WriteHeader(http.StatusOK)
			return
		default:
			w.Header()["Allow"] = e.allow
			r.WriteError(w, req, &horde.Error{Status: http.StatusMethodNotAllowed, Message: "The method is not allowed for the requested URL."})
			return
		}
		c := r.callerOf(req)
		err := r.takeLimits(w.Header(), req, rt.limits, &c)
		if err == nil && r.options.Admit != nil {
			err = r.options.Admit(req, c)
		}
		if err == nil {
			err = rt.serve(w, req, c)
		}
		if err != nil {
			r.WriteError(w, req, err)
		}
	})
}

func (r *Router) notFound(w http.ResponseWriter, req *http.Request) {
	message, ok := r.options.NotFound[req.URL.Path]
	if !ok {
		message = "The requested URL was not found on the server."
	}
	r.WriteError(w, req, &horde.Error{Status: http.StatusNotFound, Message: message})
}

// normalised returns req with a path that has one spelling: no empty segments, no dots, no slash at the end. Clients that
// append to a base URL with a slash too many are served what they mean, since a redirect would turn their POST into a GET.
func normalised(req *http.Request) *http.Request {
	given := req.URL.EscapedPath()
	if !strings.HasPrefix(given, "/") {
		given = "/" + given
	}
	clean := path.Clean(given)
	if clean == given && req.URL.Path != "" {
		return req
	}
	decoded, err := url.PathUnescape(clean)
	if err != nil {
		return req // cannot be: what net/http parsed can be parsed
	}
	u := *req.URL
	u.Path, u.RawPath = decoded, clean
	other := *req
	other.URL = &u
	return &other
}

// response remembers the status of an answer, which tells whether it has begun.
type response struct {
	http.ResponseWriter
	status int         // 0: not begun
	meter  *routeMeter // of the route, once it is known
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush sends what has been written so far.
func (w *response) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }
