// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// maxHeader is the size in bytes of all headers of a request.
	maxHeader = 16 << 10
	// headerTimeout is how long the headers of a request may take.
	headerTimeout = 10 * time.Second
	// writeTimeout is how long a call may take from its headers to the last byte of its answer. Streams lift it.
	writeTimeout = 5 * time.Minute
	// idleTimeout is how long a connection is kept for the next call. Clients poll every few seconds.
	idleTimeout = 2 * time.Minute
)

// Server serves a handler on a listener with the bounds that an open network asks for.
type Server struct {
	http     *http.Server
	draining chan struct{} // closed when Shutdown begins
}

// NewServer returns a server for h. What net/http has to say goes to log at debug level: it is about broken callers.
func NewServer(h http.Handler, log *slog.Logger) *Server {
	s := &Server{draining: make(chan struct{})}
	s.http = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), drainingKey{}, (<-chan struct{})(s.draining))
		},
	}
	return s
}

type drainingKey struct{}

// WithDraining replaces the channel that [Draining] returns, for a call whose handler has to end before its server does.
func WithDraining(ctx context.Context, ending <-chan struct{}) context.Context {
	return context.WithValue(ctx, drainingKey{}, ending)
}

// Draining returns a channel that is closed when the server of a call wants to stop. A handler that waits, or streams,
// ends then. It is nil, which is never ready, when the call has no [Server].
func Draining(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(drainingKey{}).(<-chan struct{})
	return c
}

// Serve answers on l until ctx is done, then lets running calls finish for at most grace and returns. The listener is
// closed in any case. The error is nil after an orderly end, [context.DeadlineExceeded] when calls had to be cut off.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(l) }() // ends with Shutdown or Close
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	close(s.draining)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := s.http.Shutdown(last)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-failed
	return err
}
