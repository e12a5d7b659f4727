// SPDX-License-Identifier: AGPL-3.0-or-later

package hordeling

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	embeddingPrefix = "/api/v1/embedding/"
	filesPrefix     = "/files/"

	// maxAgentLog is how much of a Client-Agent is logged.
	maxAgentLog = 120
)

var (
	//go:embed pages/index.html
	indexPage []byte
	//go:embed pages/api.html
	apiPage []byte
	//go:embed pages/swagger.json
	swagger []byte
)

// route is what a path leads to: a name for the metrics, the methods, and the handler.
type route struct {
	name    string
	methods []string // HEAD is where GET is; OPTIONS everywhere
	handle  func(http.ResponseWriter, *http.Request) error
}

// Handler returns the public HTTP surface. Paths are compared as they are: nothing is cleaned or redirected, which the
// reference does not do either.
func (s *Service) Handler() http.Handler {
	get := []string{http.MethodGet, http.MethodHead}
	fixed := map[string]route{
		"/":                 {"index", get, s.page(indexPage, "text/html; charset=utf-8")},
		"/api/":             {"api", get, s.page(apiPage, "text/html; charset=utf-8")},
		"/api/swagger.json": {"swagger", get, s.page(swagger, "application/json")},
		"/healthz":          {"health", get, s.health},
	}
	embeddingRoute := route{"embedding", get, s.serveEmbedding}
	filesRoute := route{"files", get, s.serveFile}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rt, ok := fixed[r.URL.Path]
		if id, found := strings.CutPrefix(r.URL.Path, embeddingPrefix); found && id != "" && !strings.Contains(id, "/") {
			rt, ok = embeddingRoute, true
		} else if strings.HasPrefix(r.URL.Path, filesPrefix) && s.cfg.Archive.Local() {
			rt, ok = filesRoute, true
		}
		if !ok {
			rt = route{"none", nil, func(http.ResponseWriter, *http.Request) error { return ErrNotFound }}
		}
		s.serve(w, r, rt)
	})
}

// serve runs one route between the headers that every answer has, and the count and log line of every request.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, rt route) {
	start := time.Now()
	out := &answer{ResponseWriter: w}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE, PATCH")
	h.Set("Access-Control-Allow-Headers", "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, apikey, Client-Agent, X-Fields")
	h.Set("X-Content-Type-Options", "nosniff")
	if s.cfg.Node != "" {
		h.Set("Hordeling-Node", s.cfg.Node)
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("a handler panicked", "panic", p, "stack", string(debug.Stack()))
			if out.status == 0 {
				writeError(out, ErrInternal)
			}
		}
		s.metrics.requests.WithLabelValues(rt.name, strconv.Itoa(out.status)).Inc()
		s.log.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", out.status), slog.Duration("took", time.Since(start)), slog.String("agent", agent(r)))
	}()
	switch {
	case r.Method == http.MethodOptions && rt.methods != nil:
		h.Set("Allow", strings.Join(append(slices.Clone(rt.methods), http.MethodOptions), ", "))
		writeBody(out, http.StatusOK, nil)
	case rt.methods != nil && !slices.Contains(rt.methods, r.Method):
		h.Set("Allow", strings.Join(append(slices.Clone(rt.methods), http.MethodOptions), ", "))
		writeError(out, ErrMethodNotAllowed)
	default:
		if err := rt.handle(out, r); err != nil {
			writeError(out, err)
		}
	}
}

// answer remembers the status that was written.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// agent is who calls, for the log.
func agent(r *http.Request) string {
	name := r.Header.Get("Client-Agent")
	if name == "" {
		return "unknown:0:unknown"
	}
	return strings.ToValidUTF8(name[:min(len(name), maxAgentLog)], "")
}

// writeBody writes a whole body with its ETag.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	sum := sha1.Sum(body)
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values of this package are written
	}
	w.Header().Set("Content-Type", "application/json")
	writeBody(w, status, append(body, '\n'))
}

// writeError is the one place where an error becomes a body: {"message", "rc"}.
func writeError(w http.ResponseWriter, err error) {
	e := RefusalOf(err)
	status := e.Status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	writeJSON(w, status, struct {
		Message string `json:"message"`
		RC      string `json:"rc,omitempty"`
	}{e.Message, e.RC})
}

func (s *Service) page(body []byte, contentType string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		writeBody(w, http.StatusOK, body)
		return nil
	}
}

func (s *Service) health(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

func (s *Service) serveEmbedding(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), AnswerWithin)
	defer cancel()
	addr := s.clientAddr(r)
	if err := s.take(rule(lookupRule, s.cfg.Lookups), addr); err != nil {
		return err
	}
	key := answerKey{r.URL.Path, sortedQuery(r.URL.RawQuery), s.base(r)}
	out, ok := s.answers.get(key)
	if ok && out.stem != "" && s.cfg.Archive.Local() {
		// The file may have been taken away behind the archive's back. To look at a bucket each time would cost a call.
		row, err := s.room.find(ctx, out.stem)
		ok = err == nil && row != nil && row.SHA256 == out.link.SHA256
	}
	if !ok {
		var err error
		if out, err = s.handOut(ctx, strings.TrimPrefix(r.URL.Path, embeddingPrefix), addr, key.base); err != nil {
			return err
		}
		s.answers.put(key, out, answerLife)
	}
	writeJSON(w, http.StatusOK, mask(out.link, r.Header.Get("X-Fields")))
	return nil
}

// maxQuery is how long a query may be to have an answer cached by itself; nothing in it has a meaning.
const maxQuery = 256

// sortedQuery makes queries that differ in order alone equal.
func sortedQuery(raw string) string {
	if len(raw) > maxQuery {
		return ""
	}
	parts := strings.Split(raw, "&")
	slices.Sort(parts)
	return strings.Join(parts, "&")
}

// mask keeps the fields that X-Fields names; empty means all of them.
func mask(link DownloadURL, fields string) any {
	fields = strings.Trim(strings.TrimSpace(fields), "{}")
	if fields == "" {
		return link
	}
	out := make(map[string]string)
	for f := range strings.SplitSeq(fields, ",") {
		switch strings.TrimSpace(f) {
		case "*":
			return link
		case "url":
			out["url"] = link.URL
		case "sha256":
			if link.SHA256 != "" {
				out["sha256"] = link.SHA256
			}
		}
	}
	return out
}

// serveFile serves a converted file out of a directory: whole, in parts, and not again where the client has it.
func (s *Service) serveFile(w http.ResponseWriter, r *http.Request) error {
	object, row, err := s.room.object(r.Context(), strings.TrimPrefix(r.URL.Path, filesPrefix))
	if err != nil {
		s.log.ErrorContext(r.Context(), "the archive failed", "error", err)
		return ErrStorage
	}
	if object == nil {
		return ErrNotFound
	}
	defer object.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", `"`+row.SHA256+`"`)
	http.ServeContent(w, r, "", row.Made, object)
	return nil
}

// base is the address of this service for links to its own files: the configured one, or what the request was sent to.
func (s *Service) base(r *http.Request) string {
	if s.cfg.PublicURL != "" {
		return s.cfg.PublicURL
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if s.fromProxy(r) {
		if proto := r.Header.Get("X-Forwarded-Proto"); proto == "https" || proto == "http" {
			scheme = proto
		}
	}
	return (&url.URL{Scheme: scheme, Host: r.Host}).String()
}

// peer is the address at the other end of the connection.
func peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}

func (s *Service) fromProxy(r *http.Request) bool {
	addr := peer(r)
	return slices.ContainsFunc(s.cfg.Proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// clientAddr is who asks. Exactly one hop of X-Forwarded-For is believed, the last, and only from a known proxy: all
// before it is what the client wrote.
func (s *Service) clientAddr(r *http.Request) netip.Addr {
	if !s.fromProxy(r) {
		return peer(r)
	}
	lines := r.Header.Values("X-Forwarded-For")
	if len(lines) == 0 {
		return peer(r)
	}
	last := lines[len(lines)-1]
	if i := strings.LastIndexByte(last, ','); i >= 0 {
		last = last[i+1:]
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(last))
	if err != nil {
		return peer(r)
	}
	return addr.Unmap()
}

// readyTime bounds the look at the storage of a health check.
const readyTime = 3 * time.Second

// Admin returns the surface for the operator: /metrics, which handler shows, and /healthz, which unlike the public one
// also asks the storage.
func (s *Service) Admin(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTime)
		defer cancel()
		if err := s.cfg.Archive.Ready(ctx); err != nil {
			s.log.WarnContext(ctx, "the storage is not ready", "error", err)
			writeError(w, ErrStorage)
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	return mux
}
