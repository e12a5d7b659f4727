// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
)

const (
	// requestIDHeader carries the id of a call, both ways.
	requestIDHeader = "X-Request-Id"
	// maxRequestID is the length in bytes of the longest id that is taken from a proxy.
	maxRequestID = 64
)

type requestIDKey struct{}

// RequestID is the id of the call that ctx belongs to: what the answer's header X-Request-ID says. Empty when it belongs to
// none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// requestID takes the id that a trusted proxy gave the call, if it is well-formed, or makes one.
func (r *Router) requestID(req *http.Request) string {
	if given := req.Header[requestIDHeader]; len(given) == 1 && wellFormedID(given[0]) &&
		within(r.options.TrustedProxies, parseAddress(req.RemoteAddr)) {
		return given[0]
	}
	const digits = "0123456789abcdef"
	var id [16]byte
	for n, i := rand.Uint64(), 0; i < len(id); n, i = n>>4, i+1 {
		id[i] = digits[n&15]
	}
	return string(id[:])
}

// wellFormedID tells whether id is safe in a log and in a header: letters, digits, and - _ . between them.
func wellFormedID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// LogHandler adds the id of the call to every record that is logged with the context of one.
func LogHandler(next slog.Handler) slog.Handler { return logHandler{next} }

type logHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("request_id", id))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
