// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"encoding/json"
	"fmt"
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
	"horde/internal/horde"
	"horde/internal/modelref"
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
	attempts, onAttempt := webhookAttempts()
	hooks.OnAttempt = onAttempt
	w.registry.MustRegister(
		router, n.Engine, attempts,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "horde_http_in_flight", Help: "Calls that are being handled."},
			func() float64 { return float64(n.active.Load()) }),
		hook("ok", func(c webhook.Counts) int64 { return c.Delivered }),
		hook("giveup", func(c webhook.Counts) int64 { return c.Failed }),
		hook("dropped", func(c webhook.Counts) int64 { return c.Dropped }),
	)
	return w
}

// ofProcess are the metrics of a process, whether an engine runs in it or not.
func ofProcess(version string) []prometheus.Collector {
	return []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "horde_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": version},
		}, func() float64 { return 1 }),
	}
}

// Whether a process leads: one that is alone always does.
const (
	leaderMetric = "horde_leader"
	leaderHelp   = "1 on the node that leads and serves, 0 on others."
)

// ofModels tell how old the lists of models are that are in use.
func ofModels(models *modelref.Holder) []prometheus.Collector {
	var all []prometheus.Collector
	for _, k := range horde.Generated {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "horde_model_reference_age_seconds", Help: "Time since the model reference in use was read from its sources.",
			ConstLabels: prometheus.Labels{"kind": k.String()},
		}, func() float64 { return models.Age(k).Seconds() }))
	}
	return all
}

// healthz answers while the process lives.
func healthz(rw http.ResponseWriter, _ *http.Request) {
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
	found := w.check()
	answerReady(rw, allOK(found), map[string]any{"checks": found})
}

func allOK(found map[string]string) bool {
	for _, state := range found {
		if state != "ok" {
			return false
		}
	}
	return true
}

func answerReady(rw http.ResponseWriter, ready bool, more map[string]any) {
	more["ready"] = ready
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(more)
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

// listenMetrics opens the listener of the metrics, nil where none are wanted. It belongs to the process: one that cannot have
// it does not start, rather than fail when it is to lead.
func listenMetrics(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics: %w", err)
	}
	return l, nil
}

// serveMetrics answers /metrics, /healthz and /readyz on a listener of their own until ctx is done.
func serveMetrics(ctx context.Context, l net.Listener, metrics prometheus.Gatherer, readyz http.HandlerFunc) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", healthz)
	mux.HandleFunc("GET /readyz", readyz)
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
