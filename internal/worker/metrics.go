// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serveMetrics answers /metrics, /status.json and /healthz at metrics_listen. The returned function ends that; it is nil
// where nothing is served.
func (p *process) serveMetrics() (stop func(), err error) {
	if p.cfg.MetricsListen == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", p.cfg.MetricsListen)
	if err != nil {
		return nil, exitf(ExitConfig, "metrics_listen: %w", err)
	}
	srv := &http.Server{Handler: p.board.handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }()
	p.log.Info("metrics", "at", "http://"+l.Addr().String()+"/metrics")
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	}, nil
}

// handler serves the board.
func (b *board) handler() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{b})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b.snapshot())
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		for _, k := range b.snapshot().Workers {
			if !k.Healthy {
				http.Error(w, k.Kind+": the inference server does not answer", http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}

// collector turns the board into metrics at each scrape.
type collector struct{ board *board }

var (
	metricJobs    = prometheus.NewDesc("horde_worker_results_total", "Results by what became of them.", []string{"worker", "outcome"}, nil)
	metricKudos   = prometheus.NewDesc("horde_worker_kudos_total", "Kudos earned in this session.", []string{"worker"}, nil)
	metricSpeed   = prometheus.NewDesc("horde_worker_speed", "Moving average: tokens or megapixelsteps a second.", []string{"worker", "unit"}, nil)
	metricBusy    = prometheus.NewDesc("horde_worker_busy_seconds_total", "Time that the inference server worked.", []string{"worker"}, nil)
	metricInHand  = prometheus.NewDesc("horde_worker_jobs", "Jobs in hand.", []string{"worker"}, nil)
	metricHealthy = prometheus.NewDesc("horde_worker_backend_up", "1 while the inference server answers.", []string{"worker"}, nil)
	metricBalance = prometheus.NewDesc("horde_account_kudos", "Balance of the account.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.board.snapshot()
	gauge(metricBalance, s.Kudos)
	for _, k := range s.Workers {
		count(metricJobs, float64(k.Submitted), k.Kind, "submitted")
		count(metricJobs, float64(k.Faulted), k.Kind, "faulted")
		count(metricJobs, float64(k.Slow), k.Kind, "late")
		count(metricJobs, float64(k.Lost), k.Kind, "lost")
		count(metricKudos, k.Earned, k.Kind)
		count(metricBusy, k.Busy.Seconds(), k.Kind)
		gauge(metricSpeed, k.Speed, k.Kind, k.Unit)
		gauge(metricInHand, float64(len(k.Jobs)), k.Kind)
		up := 0.0
		if k.Healthy {
			up = 1
		}
		gauge(metricHealthy, up, k.Kind)
	}
}
