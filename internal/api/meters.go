// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meters count calls by route: the registered pattern, never the path, of which there are as many as clients like.
type meters struct {
	calls     *prometheus.CounterVec
	durations *prometheus.HistogramVec
	unmatched *routeMeter // for what no route serves
}

// callSeconds are the bounds of the durations of calls. Few, for there is a set of them for each route.
var callSeconds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30}

func newMeters() *meters {
	m := &meters{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "horde_http_requests_total", Help: "Calls by route, method and status; 429 are those over a rate limit.",
		}, []string{"route", "method", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "horde_http_request_duration_seconds", Help: "Time from the headers of a call to the end of its answer.", Buckets: callSeconds,
		}, []string{"route", "method"}),
	}
	m.unmatched = m.route("unmatched", "any")
	return m
}

// routeMeter counts the calls of one route. A status that the route has answered before costs no look-up by labels.
type routeMeter struct {
	codes    atomic.Pointer[map[int]prometheus.Counter] // replaced, never changed
	counter  func(code int) prometheus.Counter
	duration prometheus.Observer
}

func (m *meters) route(pattern, method string) *routeMeter {
	r := &routeMeter{
		counter:  func(code int) prometheus.Counter { return m.calls.WithLabelValues(pattern, method, strconv.Itoa(code)) },
		duration: m.durations.WithLabelValues(pattern, method),
	}
	r.codes.Store(&map[int]prometheus.Counter{})
	return r
}

func (r *routeMeter) count(code int, took time.Duration) {
	if code == 0 {
		code = http.StatusOK // what net/http sends for a handler that wrote nothing
	}
	known := r.codes.Load()
	c := (*known)[code]
	if c == nil {
		c = r.counter(code)
		more := maps.Clone(*known)
		more[code] = c
		r.codes.CompareAndSwap(known, &more) // whoever loses looks it up again next time
	}
	c.Inc()
	r.duration.Observe(took.Seconds())
}

// Describe implements prometheus.Collector.
func (r *Router) Describe(ch chan<- *prometheus.Desc) {
	r.meters.calls.Describe(ch)
	r.meters.durations.Describe(ch)
}

// Collect implements prometheus.Collector: the calls by route.
func (r *Router) Collect(ch chan<- prometheus.Metric) {
	r.meters.calls.Collect(ch)
	r.meters.durations.Collect(ch)
}
