// SPDX-License-Identifier: AGPL-3.0-or-later

package blob_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/blob"
)

// recorder is a Store of which only Prune is used.
type recorder struct {
	blob.Store
	start  time.Time
	at     []time.Duration // when Prune was called
	before []time.Duration // with what
}

func (r *recorder) Prune(_ context.Context, before time.Time) (int, error) {
	r.at = append(r.at, time.Since(r.start))
	r.before = append(r.before, before.Sub(r.start))
	return 0, errors.New("a failure does not end the loop")
}

func TestPrunerInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{start: time.Now()}
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
		defer cancel()
		blob.Pruner{Store: rec, Interval: 10 * time.Minute, Log: slog.New(slog.DiscardHandler)}.Run(ctx)
		at := []time.Duration{0, 10 * time.Minute, 20 * time.Minute}
		before := []time.Duration{-120 * time.Minute, -110 * time.Minute, -100 * time.Minute}
		if !slices.Equal(rec.at, at) || !slices.Equal(rec.before, before) {
			t.Errorf("pruned at %v what is older than %v", rec.at, rec.before)
		}
	})
}
