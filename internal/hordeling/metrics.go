// SPDX-License-Identifier: AGPL-3.0-or-later

package hordeling

import (
	"github.com/prometheus/client_golang/prometheus"

	"horde/internal/hordeling/archive"
)

// metrics of a service; they count also where nobody collects them.
type metrics struct {
	requests    *prometheus.CounterVec   // by route and status
	answers     *prometheus.CounterVec   // by kind: native, converted
	conversions *prometheus.HistogramVec // seconds, by result
	upstream    *prometheus.CounterVec   // by call and result
}

func newMetrics(reg prometheus.Registerer, a *archive.Archive) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hordeling_requests_total", Help: "HTTP requests by route and status.",
		}, []string{"route", "status"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hordeling_links_total", Help: "Links made, to CivitAI's own safetensors (native) or to converted files.",
		}, []string{"kind"}),
		conversions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hordeling_conversion_seconds", Help: "Time from the start of the download to the stored result, by result (ok or rc).",
			Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30},
		}, []string{"result"}),
		upstream: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hordeling_civitai_calls_total", Help: "Calls of CivitAI by kind and result, retries not counted.",
		}, []string{"call", "result"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.answers, m.conversions, m.upstream,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "hordeling_archive_rows", Help: "Conversions and refusals that are known.",
			}, func() float64 { n, _ := a.Stats(); return float64(n) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "hordeling_archive_bytes", Help: "Bytes of them against the budget.",
			}, func() float64 { _, n := a.Stats(); return float64(n) }))
	}
	return m
}

// outcome is the label for an error: "ok" or the rc that a caller would be told.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return RefusalOf(err).RC
}
