// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"time"

	"horde/internal/horde"
)

// Figures are what a front page tells of one kind of work.
type Figures struct {
	// Speed is the mean of the speeds of all workers, in raw things a second, zero without any; Performance that of all threads
	// that are online together.
	Speed, Performance float64
	// Things and Fulfilments are what the workers that there are have made, in raw things and results.
	Things      float64
	Fulfilments int64
}

// figuresFor is how long figures may be old: they go through all workers.
const figuresFor = 5 * time.Second

// figures are those of all kinds, as of a moment ago. The map is replaced, never changed.
type figures struct {
	at time.Time
	of map[horde.Kind]Figures
}

// Figures are what a front page tells, by kind. The map is shared: do not change it.
func (e *Engine) Figures(ctx context.Context) (map[horde.Kind]Figures, error) {
	var of map[horde.Kind]Figures
	err := e.do(func() {
		now := time.Now()
		if e.figures.of == nil || now.Sub(e.figures.at) >= figuresFor {
			e.figures = figures{now, e.figuresNow(now)}
		}
		of = e.figures.of
	})
	return of, err
}

func (e *Engine) figuresNow(now time.Time) map[horde.Kind]Figures {
	all := map[horde.Kind]Figures{}
	for _, k := range horde.Kinds {
		t := e.online(k, now)
		_, threads := t.totals()
		all[k] = Figures{Speed: round2(t.speed), Performance: t.speed * float64(threads)}
	}
	for _, w := range e.workers {
		f, earned := all[w.Kind], e.book.Earnings(w.ID)
		f.Things += float64(earned.Contribution) / 100 * w.Kind.ThingsDivisor()
		f.Fulfilments += earned.Fulfilments
		all[w.Kind] = f
	}
	return all
}
