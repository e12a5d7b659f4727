// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The calls of a lifecycle, in order, and what is measured of a lifecycle besides.
type measure int

const (
	callSubmit measure = iota
	callPop            // pops that gave a job
	callPopEmpty
	callUpload
	callDeliver
	callCheck
	callFetch
	callDownload
	// spanDispatch is from when the client knew that its request was accepted until a worker held the job.
	spanDispatch
	// spanLifecycle is from when the request was to be sent until the client held the result and it was the right one.
	spanLifecycle
	measures
)

var measureNames = [measures]string{"submit", "pop", "pop-empty", "upload", "deliver", "check", "fetch", "download", "dispatch", "lifecycle"}

// Latencies are kept with three significant digits from a microsecond to an hour.
const (
	maxLatency = int64(time.Hour / time.Microsecond)
	latencies  = 3
)

// recorder keeps latencies and counts errors. All methods may be called from anywhere; latencies count only between open and
// close.
type recorder struct {
	measuring atomic.Bool
	series    [measures]struct {
		sync.Mutex
		*hdrhistogram.Histogram
	}
	mu     sync.Mutex
	errors map[string]int
}

func newRecorder() *recorder {
	r := &recorder{errors: map[string]int{}}
	for i := range r.series {
		r.series[i].Histogram = hdrhistogram.New(1, maxLatency, latencies)
	}
	return r
}

func (r *recorder) observe(m measure, d time.Duration) {
	if !r.measuring.Load() {
		return
	}
	s := &r.series[m]
	s.Lock()
	_ = s.RecordValue(min(max(d.Microseconds(), 0), maxLatency))
	s.Unlock()
}

// fail counts an error. Errors count whenever they happen.
func (r *recorder) fail(kind string) {
	r.mu.Lock()
	if len(r.errors) >= maxErrorKinds && r.errors[kind] == 0 {
		kind = "others"
	}
	r.errors[kind]++
	r.mu.Unlock()
}

// maxErrorKinds keeps a server that words every refusal anew from filling the report.
const maxErrorKinds = 100

// failCall counts a call that did not get the answer it should.
func (r *recorder) failCall(m measure, status int, code string, err error) {
	what := measureNames[m]
	switch {
	case err != nil:
		r.fail(what + ": " + errorKind(err))
	case code != "":
		r.fail(fmt.Sprintf("%s: %d %s", what, status, code))
	default:
		r.fail(fmt.Sprintf("%s: %d", what, status))
	}
}

func errorKind(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection closed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return err.Error()
}

func (r *recorder) failures() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.errors)
}

// Latency sums up how long something took.
type Latency struct {
	Count int64 `json:"count"`
	// Durations are in milliseconds.
	Mean float64 `json:"mean_ms"`
	P50  float64 `json:"p50_ms"`
	P95  float64 `json:"p95_ms"`
	P99  float64 `json:"p99_ms"`
	Max  float64 `json:"max_ms"`
}

// latencies are those that were observed, by name.
func (r *recorder) latencies() map[string]Latency {
	out := map[string]Latency{}
	for m := range measures {
		s := &r.series[m]
		s.Lock()
		if n := s.TotalCount(); n > 0 {
			ms := func(us int64) float64 { return float64(us) / 1000 }
			out[measureNames[m]] = Latency{
				Count: n, Mean: s.Mean() / 1000, P50: ms(s.ValueAtQuantile(50)), P95: ms(s.ValueAtQuantile(95)),
				P99: ms(s.ValueAtQuantile(99)), Max: ms(s.Max()),
			}
		}
		s.Unlock()
	}
	return out
}
