// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"horde/internal/api"
	"horde/internal/webhook"
)

// watch is what shows a node to those who look after it: metrics, health and readiness.
type watch struct {
	registry *prometheus.Registry
	node     *Node

	mu      sync.Mutex // guards what follows, and is held while the checks run, so that many callers are one
	checked time.Time
	found   map[string]string
}

func newWatch(n *Node, router *api.Router, hooks *webhook.Sender) *watch {
	w := &watch{registry: prometheus.NewRegistry(), node: n}
	hook := func(name string, value func(webhook.Counts) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "horde_webhook_outcomes_total", Help: "Webhook deliveries by outcome.", ConstLabels: prometheus.Labels{"outcome": name},
		}, func() float64 { return float64(value(hooks.Counts())) })
	}
	w.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), router, n.Engine,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "horde_http_in_flight", Help: "Calls that are being handled."},
			func() float64 { return float64(n.active.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "horde_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": n.Version},
		}, func() float64 { return 1 }),
		hook("ok", func(c webhook.Counts) int64 { return c.Delivered }),
		hook("giveup", func(c webhook.Counts) int64 { return c.Failed }),
		hook("dropped", func(c webhook.Counts) int64 { return c.Dropped }),
	)
	return w
}

func (w *watch) metrics() http.Handler {
	return promhttp.HandlerFor(w.registry, promhttp.HandlerOpts{})
}

// healthz answers while the process lives.
func (w *watch) healthz(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	_, _ = rw.Write([]byte("{\"status\":\"ok\"}\n"))
}

const (
	// checkEvery bounds how often readiness is looked into, however often it is asked for.
	checkEvery = time.Second
	// pingTimeout is how long the record may take to answer.
	pingTimeout = 2 * time.Second
)

// readyz answers 200 when the node can serve, else 503; the document says why, in fixed words that tell nothing secret.
func (w *watch) readyz(rw http.ResponseWriter, _ *http.Request) {
	found, ready := w.check(), true
	for _, state := range found {
		ready = ready && state == "ok"
	}
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(map[string]any{"ready": ready, "checks": found})
}

func (w *watch) check() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.found != nil && time.Since(w.checked) < checkEvery {
		return w.found
	}
	found := map[string]string{"engine": "ok", "record": "ok", "disk": "ok"}
	if !w.node.Engine.Healthy() {
		found["engine"] = "reading the record again"
	}
	ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
	defer cancel()
	if w.node.Engine.Store.Ping(ctx) != nil {
		found["record"] = "does not answer"
	}
	if !writable(w.node.Data) {
		found["disk"] = "cannot be written"
	}
	w.found, w.checked = found, time.Now()
	return found
}

// writable tells whether something can be written in dir.
func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".ready-*")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	_, err = f.Write([]byte("ready\n"))
	return f.Close() == nil && err == nil
}

// serveMetrics answers /metrics, /healthz and /readyz on a listener of their own until ctx is done.
func (w *watch) serveMetrics(ctx context.Context, l net.Listener) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", w.metrics())
	mux.HandleFunc("GET /healthz", w.healthz)
	mux.HandleFunc("GET /readyz", w.readyz)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	_ = server.Serve(l)
}

// profiles adds the profiles of the process to the administration socket, the only place where they are served.
func profiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}
