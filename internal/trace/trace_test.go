// SPDX-License-Identifier: AGPL-3.0-or-later

package trace_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"horde/internal/horde"
	"horde/internal/node/nodetest"
	"horde/internal/trace"
)

// sink plays a collector: it takes OTLP over HTTP, and keeps the spans by name.
type sink struct {
	mu    sync.Mutex // guards what follows
	spans map[string][]*spans.Span
	raw   []byte
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
		z, zerr := gzip.NewReader(bytes.NewReader(body))
		if err = zerr; err == nil {
			body, err = io.ReadAll(z)
		}
	}
	var sent collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &sent)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = append(s.raw, body...)
	for _, of := range sent.ResourceSpans {
		for _, in := range of.ScopeSpans {
			for _, span := range in.Spans {
				s.spans[span.Name] = append(s.spans[span.Name], span)
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func TestALifecycleIsTraced(t *testing.T) {
	s := &sink{spans: map[string][]*spans.Span{}}
	at := httptest.NewServer(s)
	defer at.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", at.URL)
	flush, err := trace.Setup(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	n := nodetest.Start(t)
	_, key := n.User("somebody", 1000, horde.Trusted)

	const traceID, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.URL+"/api/v2/generate/text/async",
		strings.NewReader(`{"prompt":"the secret prompt","models":["m"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Apikey": {key}, "Traceparent": {"00-" + traceID + "-" + parent + "-01"}}
	if a := n.Do(req); a.Status != http.StatusAccepted {
		t.Fatalf("submit: %d", a.Status)
	}
	flush()

	s.mu.Lock()
	defer s.mu.Unlock()
	call := s.spans["POST /api/v2/generate/text/async"]
	if len(call) != 1 || call[0].Kind != spans.Span_SPAN_KIND_SERVER {
		t.Fatalf("spans %v", s.spans)
	}
	if got := hex.EncodeToString(call[0].TraceId) + " " + hex.EncodeToString(call[0].ParentSpanId); got != traceID+" "+parent {
		t.Errorf("the call is %s, and not within that of its caller", got)
	}
	for name, list := range map[string][]*spans.Span{"wait for the record": s.spans["wait for the record"], "commit": s.spans["commit"]} {
		if len(list) == 0 {
			t.Errorf("no span %q in %v", name, s.spans)
		}
	}
	for _, secret := range []string{key, "the secret prompt"} {
		if bytes.Contains(s.raw, []byte(secret)) {
			t.Errorf("%q is in what was sent", secret)
		}
	}
}

func TestWhatAsksForSpans(t *testing.T) {
	const endpoint, traces, old, off = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "AI_HORDE_TELEMETRY_ENABLED", "OTEL_SDK_DISABLED"
	for _, c := range []struct {
		name string
		env  map[string]string
		want bool
	}{
		{"nothing", nil, false},
		{"an endpoint", map[string]string{endpoint: "http://127.0.0.1:4318"}, true},
		{"one for traces", map[string]string{traces: "http://127.0.0.1:4318/v1/traces"}, true},
		{"the old switch", map[string]string{old: "true"}, true},
		{"the old switch as a number", map[string]string{old: "1"}, true},
		{"the old switch, off", map[string]string{old: "false"}, false},
		{"off wins", map[string]string{endpoint: "http://127.0.0.1:4318", old: "true", off: "true"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{endpoint, traces, old, off} {
				t.Setenv(name, c.env[name])
			}
			if got := trace.Configured(); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}
