// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// figure is something that is compared between runs.
type figure struct {
	name string
	unit string
	// of is the figure in a report; false where the report does not have it.
	of func(*Report) (float64, bool)
}

func ofLoad(f func(*Load) float64) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		if r.Load == nil {
			return 0, false
		}
		return f(r.Load), true
	}
}

func latency(m measure, f func(Latency) float64) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		if r.Load == nil {
			return 0, false
		}
		l, ok := r.Load.Latencies[measureNames[m]]
		return f(l), ok
	}
}

func ofPops(f func(*Pops) float64) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		if r.Pops == nil {
			return 0, false
		}
		return f(r.Pops), true
	}
}

func figures() []figure {
	p50, p99 := func(l Latency) float64 { return l.P50 }, func(l Latency) float64 { return l.P99 }
	list := []figure{
		{"net/http alone (yardstick)", "posts/s", func(r *Report) (float64, bool) {
			if r.Yardstick == nil {
				return 0, false
			}
			return r.Yardstick.PerSecond, true
		}},
		{"lifecycles", "1/s", ofLoad(func(l *Load) float64 { return l.PerSecond })},
		{"server per 1,000 lifecycles", "CPU s", ofLoad(func(l *Load) float64 { return l.ServerPer1000 })},
		{"database per 1,000 lifecycles", "CPU s", func(r *Report) (float64, bool) {
			if r.Load == nil || r.Load.CPU.Database == 0 {
				return 0, false
			}
			return r.Load.DatabasePer1000, true
		}},
		{"generator per 1,000 lifecycles", "CPU s", ofLoad(func(l *Load) float64 { return l.GeneratorPer1000 })},
		{"server", "CPUs", ofLoad(func(l *Load) float64 { return l.CPU.ServerCores })},
	}
	for m := range measures {
		list = append(list, figure{measureNames[m] + " p50", "ms", latency(m, p50)}, figure{measureNames[m] + " p99", "ms", latency(m, p99)})
	}
	preload := func(f func(*Preload) float64) func(*Report) (float64, bool) {
		return func(r *Report) (float64, bool) {
			if r.Preload == nil {
				return 0, false
			}
			return f(r.Preload), true
		}
	}
	idle := func(f func(*Idle) float64) func(*Report) (float64, bool) {
		return func(r *Report) (float64, bool) {
			if r.Idle == nil {
				return 0, false
			}
			return f(r.Idle), true
		}
	}
	return append(list,
		figure{"lost, doubled, mismatched", "", ofLoad(func(l *Load) float64 { return float64(l.Lost + l.Doubled + l.Mismatched) })},
		figure{"errors", "", ofLoad(func(l *Load) float64 {
			sum := 0
			for _, n := range l.Errors {
				sum += n
			}
			return float64(sum)
		})},
		figure{"waiting requests", "", preload(func(p *Preload) float64 { return float64(p.Requests) })},
		figure{"preloaded", "1/s", preload(func(p *Preload) float64 { return p.PerSecond })},
		figure{"memory per waiting request", "bytes", preload(func(p *Preload) float64 { return float64(p.BytesPerRequest) })},
		figure{"heap per waiting request", "bytes", preload(func(p *Preload) float64 { return float64(p.HeapBytesPerRequest) })},
		figure{"pop with a job, server", "CPU µs", ofPops(func(p *Pops) float64 { return p.PopCPU })},
		figure{"pop with a job p50", "ms", ofPops(func(p *Pops) float64 { return p.Pop.P50 })},
		figure{"pop with a job p99", "ms", ofPops(func(p *Pops) float64 { return p.Pop.P99 })},
		figure{"pop, none fits, server", "CPU µs", ofPops(func(p *Pops) float64 { return p.EmptyCPU })},
		figure{"pop, none fits p50", "ms", ofPops(func(p *Pops) float64 { return p.Empty.P50 })},
		figure{"check, waiting, server", "CPU µs", ofPops(func(p *Pops) float64 { return p.CheckCPU })},
		figure{"check, waiting p50", "ms", ofPops(func(p *Pops) float64 { return p.Check.P50 })},
		figure{"idle polls", "1/s", idle(func(i *Idle) float64 { return i.PerSecond })},
		figure{"idle, server", "CPUs", idle(func(i *Idle) float64 { return i.CPU.ServerCores })},
		figure{"idle poll p99", "ms", idle(func(i *Idle) float64 { return i.Latency.P99 })},
		figure{"start until ready", "s", func(r *Report) (float64, bool) {
			if r.Restart == nil {
				return 0, false
			}
			return r.Restart.Seconds, true
		}},
	)
}

// Summarize prints minimum, median and maximum of the figures that all reports have.
func Summarize(w io.Writer, reports []Report) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "FIGURE\tUNIT\tMIN\tMEDIAN\tMAX\n")
	for _, f := range figures() {
		var values []float64
		for i := range reports {
			if v, ok := f.of(&reports[i]); ok {
				values = append(values, v)
			}
		}
		if len(values) == 0 || len(values) < len(reports) {
			continue
		}
		slices.Sort(values)
		fmt.Fprintf(t, "%s\t%s\t%.4g\t%.4g\t%.4g\n", f.name, f.unit, values[0], values[len(values)/2], values[len(values)-1])
	}
	return t.Flush()
}
