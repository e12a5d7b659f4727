// SPDX-License-Identifier: AGPL-3.0-or-later

// Package trace tells an OpenTelemetry collector how the time of a call was spent, where one is configured by the usual
// environment. Where none is, nothing is measured and nothing is allocated.
//
// No key, prompt, address of a caller or id of a request or result goes into a span.
package trace

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// tracer is nil while nobody wants spans.
var tracer atomic.Pointer[trace.Tracer]

var propagator = propagation.TraceContext{}

// stopWithin is how long the last spans may take to get out.
const stopWithin = 5 * time.Second

// Configured tells whether the environment names a collector, or wants the one at its usual place.
func Configured() bool {
	wanted, _ := strconv.ParseBool(os.Getenv("AI_HORDE_TELEMETRY_ENABLED"))
	return os.Getenv("OTEL_SDK_DISABLED") != "true" &&
		(wanted || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "")
}

// Setup starts sending spans by OTLP over HTTP, as the OTEL_* variables say, if they name a collector. stop sends what is left,
// within a few seconds; it is never nil.
func Setup(ctx context.Context, version string) (stop func(), err error) {
	if !Configured() {
		return func() {}, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return func() {}, fmt.Errorf("traces: %w", err)
	}
	named, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "horde"), attribute.String("service.version", version)),
		resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return func() {}, fmt.Errorf("traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(named))
	t := provider.Tracer("horde")
	tracer.Store(&t)
	return func() {
		tracer.CompareAndSwap(&t, nil)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			otel.Handle(err)
		}
	}, nil
}

// Span is a stretch of time. The zero value is one that nobody wants.
type Span struct{ span trace.Span }

// Start begins a span within that of ctx.
func Start(ctx context.Context, name string) (context.Context, Span) {
	t := tracer.Load()
	if t == nil {
		return ctx, Span{}
	}
	ctx, span := (*t).Start(ctx, name)
	return ctx, Span{span}
}

// Int notes a number. It must be nothing that tells one caller from another.
func (s Span) Int(key string, n int) {
	if s.span != nil {
		s.span.SetAttributes(attribute.Int(key, n))
	}
}

// End ends the span; err may be nil. Its text stays out: there may be addresses in it.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// Serving begins the span of a call, within the caller's own if it sent one.
func Serving(req *http.Request) (*http.Request, Span) {
	t := tracer.Load()
	if t == nil {
		return req, Span{}
	}
	ctx := propagator.Extract(req.Context(), propagation.HeaderCarrier(req.Header))
	ctx, span := (*t).Start(ctx, req.Method, trace.WithSpanKind(trace.SpanKindServer))
	return req.WithContext(ctx), Span{span}
}

// Served ends the span of a call. route is the pattern of its path, empty for none, and requestID what the logs call it.
func (s Span) Served(method, route string, status int, requestID string) {
	if s.span == nil {
		return
	}
	if route != "" {
		s.span.SetName(method + " " + route)
	}
	s.span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route),
		attribute.Int("http.response.status_code", status), attribute.String("horde.request_id", requestID))
	if status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// Transport makes a span of each call of next, named after what is called for. The trace is not told to whom is called:
// the addresses are those of strangers.
func Transport(name string, next http.RoundTripper) http.RoundTripper { return transport{name, next} }

type transport struct {
	name string
	next http.RoundTripper
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	_, span := Start(req.Context(), t.name)
	answer, err := t.next.RoundTrip(req)
	if answer != nil {
		span.Int("http.response.status_code", answer.StatusCode)
	}
	span.End(err)
	return answer, err
}
