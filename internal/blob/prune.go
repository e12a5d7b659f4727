// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"context"
	"log/slog"
	"time"
)

// PruneInterval is the time between two passes of a Pruner. A pass looks at every object (about a second for 300,000 on
// disk), and nobody minds if one lives some minutes longer.
const PruneInterval = 5 * time.Minute

// Pruner deletes old objects for as long as it runs. Among nodes that share a store, one runs it.
type Pruner struct {
	Store Store
	// MaxAge and Interval; zero means the constants of these names (PruneInterval for the latter).
	MaxAge, Interval time.Duration
	// Log receives failures and what was deleted (debug). Nil means slog.Default.
	Log *slog.Logger
}

// Run prunes at once and then at each interval, until ctx ends.
func (p Pruner) Run(ctx context.Context) {
	if p.MaxAge <= 0 {
		p.MaxAge = MaxAge
	}
	if p.Interval <= 0 {
		p.Interval = PruneInterval
	}
	if p.Log == nil {
		p.Log = slog.Default()
	}
	tick := time.NewTicker(p.Interval)
	defer tick.Stop()
	for {
		n, err := p.Store.Prune(ctx, time.Now().Add(-p.MaxAge))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.Log.Error("pruning objects failed", "deleted", n, "err", err)
		case n > 0:
			p.Log.Debug("objects pruned", "deleted", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
