// SPDX-License-Identifier: AGPL-3.0-or-later

// Package api serves the Fediseer's HTTP API v1, its documents, and the few routes that make the service an actor on the
// fediverse. It decodes, calls package trust, and encodes; the rules are elsewhere.
//
// Every route is one [operation] in a table: method, path, parameters, body schema and handler. The table routes,
// validates and writes the OpenAPI document, so that the three cannot disagree. The order of what happens to a request is
// part of the contract: rate limit, cache, validation of the body, parameters (a missing key is found here), handler.
package api

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"horde/internal/fediseer"
	"horde/internal/fediseer/message"
	"horde/internal/fediseer/observer"
	"horde/internal/fediseer/trust"
	"horde/internal/horde"
	"horde/internal/limit"
)

// Base is the path below which all operations of the API lie.
const Base = "/api/v1"

const (
	// maxBody bounds request bodies; a full batch with reasons and evidence has about 6 MB.
	maxBody = 8 << 20
	// maxInbox bounds what strangers' servers can post.
	maxInbox = 1 << 20
	// cacheEntries and maxCached bound the memory of the cache to 64 MB.
	cacheEntries = 512
	maxCached    = 128 << 10
)

// Config says how the service presents itself.
type Config struct {
	Version string
	// Node is "<hostname>:<port>" for the Fediseer-Node header.
	Node string
	// BaseURL is the public address without a final slash, Host its host as account names carry it.
	BaseURL, Host string
	// PublicPEM is the key of the service's actor.
	PublicPEM string
	// TrustedProxies is the number of reverse proxies in front whose X-Forwarded-For is believed.
	TrustedProxies int
	// RateLimits switches the limits of clients on.
	RateLimits bool
	// SnapshotDir holds the file of all instances.
	SnapshotDir string
}

// API is the handler of the service. Make one with New, add pages with Page; it is then used from any goroutine.
type API struct {
	cfg     Config
	trust   *trust.Service
	nodes   *observer.Source
	log     *slog.Logger
	mux     *http.ServeMux
	limiter *limit.Limiter
	cache   *lru.Cache[[sha256.Size]byte, *cached]
	// changes counts successful writes; cached answers of before a write are not served after it.
	changes  atomic.Int64
	snapshot snapshot
	ops      []operation
	swagger  []byte // the OpenAPI document, made by New
}

// New returns the API. messenger fetches the keys of signers.
func New(cfg Config, svc *trust.Service, nodes *observer.Source, messenger *message.Messenger, log *slog.Logger) (*API, error) {
	cache, err := lru.New[[sha256.Size]byte, *cached](cacheEntries)
	if err != nil {
		return nil, fmt.Errorf("make a cache: %w", err)
	}
	a := &API{cfg: cfg, trust: svc, nodes: nodes, log: log, mux: http.NewServeMux(), limiter: limit.New(0), cache: cache}
	a.snapshot.dir = cfg.SnapshotDir
	a.ops = a.operations()
	byPath := map[string][]*operation{}
	var paths []string
	for i := range a.ops {
		op := &a.ops[i]
		if byPath[op.path] == nil {
			paths = append(paths, op.path)
		}
		byPath[op.path] = append(byPath[op.path], op)
	}
	for _, p := range paths {
		a.mux.Handle(Base+p, a.route(Base+p, byPath[p]))
	}
	if a.swagger, err = json.Marshal(a.document()); err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	a.documents()
	a.activityPub(messenger)
	return a, nil
}

// Page adds a page or file that answers GET and HEAD (or also POST, when the pattern says so by starting with "POST ").
func (a *API) Page(pattern string, h http.HandlerFunc) {
	method, path, found := strings.Cut(pattern, " ")
	if !found {
		method, path = http.MethodGet, pattern
	}
	a.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		a.common(w)
		if r.Method == http.MethodOptions {
			options(w, method)
			return
		}
		if !a.allow(w, r, []limit.Hit{{Rule: ruleOther, Key: a.client(r) + " " + path}}) {
			return
		}
		if r.Method != method && (r.Method != http.MethodHead || method != http.MethodGet) {
			w.Header().Set("Allow", method)
			writeError(w, fediseer.Refuse(http.StatusMethodNotAllowed, "The method is not allowed for this address"))
			return
		}
		h(w, r)
	})
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if e := recover(); e != nil {
			if e == http.ErrAbortHandler {
				panic(e)
			}
			a.log.Error("a request crashed", "path", r.URL.Path, "panic", e)
			writeError(w, &horde.Error{Status: http.StatusInternalServerError, Message: "Internal error"})
		}
	}()
	if _, pattern := a.mux.Handler(r); pattern == "" {
		a.common(w)
		if a.allow(w, r, []limit.Hit{{Rule: ruleOther, Key: a.client(r) + " unknown"}}) {
			notFoundPage(w)
		}
		return
	}
	a.mux.ServeHTTP(w, r)
}

func notFoundPage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprintln(w, `<!doctype html><html lang="en"><title>404 Not Found</title><h1>Not Found</h1><p>There is nothing at this address. <a href="/">Start page</a></p></html>`)
}

// The limits of clients. The first two groups are counted by client and path; their GETs of given lists also by client
// and route.
var (
	ruleOther    = limit.Rule{Name: "by route", Amount: 90, Per: time.Minute}
	ruleGiven    = limit.Rule{Name: "given lists by route", Amount: 45, Per: time.Minute}
	ruleGivenKey = limit.Rule{Name: "given lists by path", Amount: 30, Per: time.Minute}
	ruleJudge    = limit.Rule{Name: "judgements by path", Amount: 20, Per: time.Minute}
	ruleBatch    = limit.Rule{Name: "batches by path", Amount: 2, Per: time.Minute}
)

// limits says which limits an operation counts against.
type limits int

const (
	limitOther limits = iota
	limitGiven
	limitJudge
	limitBatch
)

func (a *API) hits(l limits, r *http.Request, route string) []limit.Hit {
	who := a.client(r)
	path := who + " " + r.Method + " " + r.URL.Path
	switch l {
	case limitGiven:
		return []limit.Hit{{Rule: ruleGiven, Key: who + " " + route}, {Rule: ruleGivenKey, Key: path}}
	case limitJudge:
		return []limit.Hit{{Rule: ruleJudge, Key: path}}
	case limitBatch:
		return []limit.Hit{{Rule: ruleBatch, Key: path}}
	}
	return []limit.Hit{{Rule: ruleOther, Key: who + " " + route}}
}

// client is whom a request is counted for: the address that the outermost trusted proxy saw.
func (a *API) client(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if a.cfg.TrustedProxies > 0 {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if n := len(hops) - a.cfg.TrustedProxies; n >= 0 {
			host = strings.TrimSpace(hops[n])
		}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return "unknown"
	}
	return limit.Bucket(addr)
}

// allow counts a request and answers it if it is one too many.
func (a *API) allow(w http.ResponseWriter, r *http.Request, hits []limit.Hit) bool {
	if !a.cfg.RateLimits {
		return true
	}
	res := a.limiter.TakeAll(hits...)
	h := w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(res.Rule.Amount))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(res.Remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(res.Reset.Unix(), 10))
	h.Set("Retry-After", strconv.Itoa(int(res.RetryAfter().Seconds())))
	if !res.OK {
		writeError(w, &horde.Error{Status: http.StatusTooManyRequests, Message: res.Rule.String()})
	}
	return res.OK
}

// common sets the headers that every answer has.
func (a *API) common(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE, PATCH")
	h.Set("Access-Control-Allow-Headers", "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, apikey, Client-Agent, X-Fields")
	h.Set("Fediseer-Node", a.cfg.Node+":"+a.cfg.Version)
	h.Set("X-Content-Type-Options", "nosniff")
}

func options(w http.ResponseWriter, methods ...string) {
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	w.Header().Set("Allow", strings.Join(append(methods, http.MethodOptions), ", "))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusOK)
}

// route answers all methods of one path.
func (a *API) route(pattern string, ops []*operation) http.Handler {
	methods := make([]string, len(ops))
	byMethod := map[string]*operation{}
	for i, op := range ops {
		methods[i] = op.method
		byMethod[op.method] = op
	}
	if get := byMethod[http.MethodGet]; get != nil {
		byMethod[http.MethodHead] = get
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.common(w)
		op := byMethod[r.Method]
		if op == nil {
			if r.Method == http.MethodOptions {
				if ops[0].limits == limitOther && !a.allow(w, r, a.hits(limitOther, r, pattern)) {
					return
				}
				options(w, methods...)
				return
			}
			if a.allow(w, r, a.hits(limitOther, r, pattern)) {
				w.Header().Set("Allow", strings.Join(methods, ", "))
				writeError(w, fediseer.Refuse(http.StatusMethodNotAllowed, "The method is not allowed for this address"))
			}
			return
		}
		if !a.allow(w, r, a.hits(op.limits, r, pattern)) {
			return
		}
		a.serve(w, r, op)
	})
}

func (a *API) serve(w http.ResponseWriter, r *http.Request, op *operation) {
	var key [sha256.Size]byte
	generation := a.changes.Load()
	if op.cache > 0 {
		key = cacheKey(r)
		if c, ok := a.cache.Get(key); ok && time.Now().Before(c.until) && c.generation == generation {
			c.write(w, r)
			return
		}
	}
	q := &request{r: r, op: op}
	out, err := op.run(q)
	if err != nil {
		var refusal *horde.Error
		if !errors.As(err, &refusal) {
			if r.Context().Err() != nil {
				return // nobody waits for the answer
			}
			a.log.Error("a request failed", "method", r.Method, "path", op.path, "error", err)
			refusal = &horde.Error{Status: http.StatusInternalServerError, Message: "The service could not do this; its operator finds the reason in the log"}
		}
		writeError(w, refusal)
		return
	}
	if f, ok := out.(*os.File); ok {
		a.serveSnapshot(w, r, f)
		return
	}
	c, err := encode(out, r.Header.Get("X-Fields"))
	if err != nil {
		writeError(w, fediseer.Refuse(http.StatusBadRequest, "%s", err))
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		a.changes.Add(1)
	} else if op.cache > 0 && len(c.body) <= maxCached {
		c.generation, c.until = generation, time.Now().Add(op.cache)
		a.cache.Add(key, c)
	}
	c.write(w, r)
}

// cacheKey covers everything that an answer depends on: path, query in any order, who asks, and the projection.
func cacheKey(r *http.Request) [sha256.Size]byte {
	h := sha256.New()
	query := r.URL.Query()
	for _, s := range []string{r.URL.Path, query.Encode(), r.Header.Get("apikey"), r.Header.Get("X-Fields")} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// cached is an answer with status 200.
type cached struct {
	contentType, etag string
	body              []byte
	until             time.Time
	generation        int64
}

// svg is an answer that is a picture, not JSON.
type svg string

func encode(out any, fields string) (*cached, error) {
	if s, ok := out.(svg); ok {
		return newCached("image/svg+xml", []byte(s)), nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, fmt.Errorf("the answer could not be written: %w", err)
	}
	body := b.Bytes()
	if fields != "" {
		var err error
		if body, err = project(body, fields); err != nil {
			return nil, err
		}
	}
	return newCached("application/json", body), nil
}

func newCached(contentType string, body []byte) *cached {
	sum := sha1.Sum(body)
	return &cached{contentType: contentType, etag: `"` + hex.EncodeToString(sum[:]) + `"`, body: body}
}

func (c *cached) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("ETag", c.etag)
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && matches(r.Header.Get("If-None-Match"), c.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", c.contentType)
	h.Set("Content-Length", strconv.Itoa(len(c.body)))
	w.Write(c.body) // net/http drops it for HEAD
}

func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == etag || tag == "*" {
			return true
		}
	}
	return false
}

// writeError is the one place that turns a refusal into JSON.
func writeError(w http.ResponseWriter, e *horde.Error) {
	doc := map[string]any{"message": e.Message}
	if e.Fields != nil {
		doc["errors"] = e.Fields
	}
	status := e.Status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	b, err := json.Marshal(doc)
	if err != nil { // texts always marshal
		b = []byte(`{"message":"Internal error"}`)
	}
	b = append(b, '\n')
	sum := sha1.Sum(b)
	h := w.Header()
	h.Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	h.Set("Content-Type", "application/json")
	if e.RetryAfter > 0 && status != http.StatusOK {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	w.WriteHeader(status)
	w.Write(b)
}

// snapshot is the file of all instances. It is made anew when it is older than minSnapshotAge and twenty times the time
// that making it takes, so that it never costs more than a twentieth of a processor.
type snapshot struct {
	dir  string
	mu   sync.Mutex
	path string        // guarded by mu
	made time.Time     // guarded by mu
	took time.Duration // guarded by mu
	etag string        // guarded by mu
}

const minSnapshotAge = 10 * time.Second

// open returns the file of all instances, making it if need be. The caller closes it.
func (a *API) openSnapshot(r *http.Request) (*os.File, error) {
	s := &a.snapshot
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" && time.Since(s.made) < max(minSnapshotAge, 20*s.took) {
		if f, err := os.Open(s.path); err == nil {
			return f, nil
		}
	}
	start := time.Now()
	f, err := os.CreateTemp(s.dir, "all-instances-*.json")
	if err != nil {
		return nil, fmt.Errorf("make the file of all instances: %w", err)
	}
	sum := sha1.New()
	if err := a.writeAll(r, newTee(f, sum)); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	if s.path != "" {
		os.Remove(s.path) // readers that have it open keep it
	}
	s.path, s.made, s.took, s.etag = f.Name(), time.Now(), time.Since(start), `"`+hex.EncodeToString(sum.Sum(nil))+`"`
	return f, nil
}

func (a *API) serveSnapshot(w http.ResponseWriter, r *http.Request, f *os.File) {
	defer f.Close()
	if mask := r.Header.Get("X-Fields"); mask != "" {
		b, err := os.ReadFile(f.Name())
		if err == nil {
			b, err = project(b, mask)
		}
		if err != nil {
			writeError(w, fediseer.Refuse(http.StatusBadRequest, "%s", err))
			return
		}
		newCached("application/json", b).write(w, r)
		return
	}
	a.snapshot.mu.Lock()
	w.Header().Set("ETag", a.snapshot.etag)
	a.snapshot.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	http.ServeContent(w, r, "", time.Time{}, f)
}

// Close removes the file of all instances.
func (a *API) Close() {
	a.snapshot.mu.Lock()
	defer a.snapshot.mu.Unlock()
	if a.snapshot.path != "" {
		os.Remove(a.snapshot.path)
		a.snapshot.path = ""
	}
}

// absolute makes a public address of a path.
func (a *API) absolute(path string) string { return a.cfg.BaseURL + path }
