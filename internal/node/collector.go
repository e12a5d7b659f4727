// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage may come together before it is collected. Go's own rule, as much again as is alive, is expensive at both
// ends: a small horde would collect many times a second, and a million waiting requests would take twice the memory that
// they need.
const (
	minGarbage  = 64 << 20 // bytes
	minPercent  = 50       // of what is alive
	maxPercent  = 1000
	paceEvery   = time.Second
	liveBytes   = "/gc/heap/live:bytes"
	goPercent   = "/gc/gogc:percent"
	closeEnough = 10 // percent of the percentage, within which it stays as it is
)

// gcPercent is the setting of the garbage collector for so many live bytes.
func gcPercent(live uint64) int {
	return int(max(minPercent, min(100*minGarbage/max(live, 1), maxPercent)))
}

// paceCollector keeps the garbage collector's setting right while the heap grows and shrinks, unless GOGC or GOMEMLIMIT say
// that somebody knows better.
func paceCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	sample := []metrics.Sample{{Name: liveBytes}, {Name: goPercent}}
	metrics.Read(sample)
	now := int(sample[1].Value.Uint64())
	defer debug.SetGCPercent(now)
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	for {
		metrics.Read(sample)
		if p := gcPercent(sample[0].Value.Uint64()); 100*abs(p-now) > closeEnough*now {
			debug.SetGCPercent(p)
			now = p
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func abs(n int) int { return max(n, -n) }
