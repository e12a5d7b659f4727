// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"horde/internal/blob"
	"horde/internal/engine"
)

// jobMeters count the runs of what happens in the background of a process, whether it leads or not.
type jobMeters struct {
	durations *prometheus.HistogramVec
	failures  *prometheus.CounterVec
}

func newJobMeters() *jobMeters {
	return &jobMeters{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "horde_job_duration_seconds", Help: "Time that runs of background jobs took.", Buckets: engine.Seconds,
		}, []string{"job", "failed"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "horde_job_failures_total", Help: "Runs of background jobs that failed.",
		}, []string{"job"}),
	}
}

// ran takes down a run that began then.
func (m *jobMeters) ran(job string, began time.Time, err error) {
	m.durations.WithLabelValues(job, strconv.FormatBool(err != nil)).Observe(time.Since(began).Seconds())
	failures := m.failures.WithLabelValues(job)
	if err != nil {
		failures.Inc()
	}
}

// webhookAttempts are how long each attempt to deliver a notice took, and how it ended.
func webhookAttempts() (*prometheus.HistogramVec, func(attempt, status int, err error, took time.Duration)) {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "horde_webhook_attempt_seconds", Help: "Time that attempts to deliver a webhook took; the first is 0. status_code is empty where there was no answer.",
		Buckets: engine.Seconds,
	}, []string{"attempt", "outcome", "status_code"})
	return v, func(attempt, status int, err error, took time.Duration) {
		outcome, code := "ok", strconv.Itoa(status)
		switch {
		case err != nil:
			outcome, code = "exception", ""
		case status >= 300:
			outcome = "http_error"
		}
		v.WithLabelValues(strconv.Itoa(attempt), outcome, code).Observe(took.Seconds())
	}
}

// meteredBlobs are images whose operations are counted, but for what clients and workers do with links: those are calls like
// others where the local disk serves them, and none of this program's on S3.
type meteredBlobs struct {
	blob.Store
	jobs      *jobMeters
	durations *prometheus.HistogramVec
	bytes     *prometheus.CounterVec
	pruned    prometheus.Counter
}

func meterBlobs(s blob.Store, jobs *jobMeters) *meteredBlobs {
	return &meteredBlobs{
		Store: s, jobs: jobs,
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "horde_blob_operation_seconds", Help: "Time that operations on stored images took.", Buckets: engine.Seconds,
		}, []string{"operation", "outcome"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "horde_blob_bytes_total", Help: "Bytes of images that the server stored, took over from uploads or read.",
		}, []string{"operation"}),
		pruned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "horde_blob_pruned_total", Help: "Images that were deleted because their time was over.",
		}),
	}
}

func (m *meteredBlobs) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.durations, m.bytes, m.pruned}
}

// done takes an operation down.
func (m *meteredBlobs) done(operation string, began time.Time, bytes int64, err error) {
	outcome := "ok"
	switch {
	case errors.Is(err, blob.ErrNotFound):
		outcome = "not_found"
	case errors.Is(err, blob.ErrTooLarge):
		outcome = "too_large"
	case errors.Is(err, blob.ErrFull):
		outcome = "full"
	case err != nil:
		outcome = "error"
	default:
		m.bytes.WithLabelValues(operation).Add(float64(bytes))
	}
	m.durations.WithLabelValues(operation, outcome).Observe(time.Since(began).Seconds())
}

// Put implements [blob.Store].
func (m *meteredBlobs) Put(ctx context.Context, key blob.Key, data []byte) error {
	began := time.Now()
	err := m.Store.Put(ctx, key, data)
	m.done("put", began, int64(len(data)), err)
	return err
}

// Seal implements [blob.Store].
func (m *meteredBlobs) Seal(ctx context.Context, key blob.Key) (blob.Info, error) {
	began := time.Now()
	info, err := m.Store.Seal(ctx, key)
	m.done("seal", began, info.Size, err)
	return info, err
}

// Open implements [blob.Store].
func (m *meteredBlobs) Open(ctx context.Context, key blob.Key) (io.ReadCloser, blob.Info, error) {
	began := time.Now()
	r, info, err := m.Store.Open(ctx, key)
	m.done("open", began, info.Size, err)
	return r, info, err
}

// Delete implements [blob.Store].
func (m *meteredBlobs) Delete(ctx context.Context, key blob.Key) error {
	began := time.Now()
	err := m.Store.Delete(ctx, key)
	m.done("delete", began, 0, err)
	return err
}

// Prune implements [blob.Store].
func (m *meteredBlobs) Prune(ctx context.Context, before time.Time) (int, error) {
	began := time.Now()
	n, err := m.Store.Prune(ctx, before)
	m.pruned.Add(float64(n))
	m.jobs.ran("prune_images", began, err)
	return n, err
}
