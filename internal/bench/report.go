// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a run measured. What was not asked for is nil.
type Report struct {
	Started   time.Time  `json:"started"`
	Machine   Machine    `json:"machine"`
	Servers   []string   `json:"servers"`
	Restart   *Restart   `json:"restart,omitempty"`
	Yardstick *Yardstick `json:"yardstick,omitempty"`
	Preload   *Preload   `json:"preload,omitempty"`
	Pops      *Pops      `json:"pops,omitempty"`
	Idle      *Idle      `json:"idle,omitempty"`
	Load      *Load      `json:"load,omitempty"`
}

// Honest is nil if every client got exactly what the worker made for it. Otherwise the error says what went wrong.
func (r *Report) Honest() error {
	if p := r.Pops; p != nil && p.Doubled > 0 {
		return fmt.Errorf("%d jobs were given out twice", p.Doubled)
	}
	if p := r.Preload; p != nil && p.Requests < p.Wanted {
		return fmt.Errorf("only %d of %d requests could be made to wait: what was measured beside them is of a shorter queue", p.Requests, p.Wanted)
	}
	l := r.Load
	switch {
	case l == nil:
		return nil
	case l.Lost+l.Doubled+l.Mismatched > 0:
		return fmt.Errorf("of %d accepted requests %d were lost, %d doubled, %d mismatched", l.Accepted, l.Lost, l.Doubled, l.Mismatched)
	case l.Completed == 0:
		return fmt.Errorf("not one lifecycle was completed")
	}
	return nil
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	p := &printer{w: w}
	p.f("horde bench, %s, on %d processors (%s), %s, %s\n", strings.Join(r.Servers, " "), r.Machine.CPUs, r.Machine.Model, r.Machine.OS, r.Machine.Go)
	if s := r.Restart; s != nil {
		p.title("Start", "From the start of the server's process until it answered.")
		p.f("%.2f s, with %d results waiting\n", s.Seconds, s.Waiting)
	}
	if y := r.Yardstick; y != nil {
		p.title("Yardstick", "What net/http alone does here: POST of such a body, decoded and answered, server and clients together.")
		p.f("%.0f posts/s with %d clients, %.0f µs of processor for each, p99 %s\n", y.PerSecond, y.Clients, y.CPU, ms(y.Latency.P99))
	}
	if l := r.Preload; l != nil {
		p.title("Waiting requests", "Submitted, and not served while the rest was measured.")
		p.f("%d of the kind %q in %.1f s: %.0f/s, %.2f s of the server's processors per 1,000, submit p50 %s, p99 %s\n",
			l.Requests, l.Kind, l.Seconds, l.PerSecond, l.ServerPer1000, ms(l.Submit.P50), ms(l.Submit.P99))
		if l.MemoryAfter > 0 {
			p.f("the server's memory went from %s to %s: %d bytes for each waiting request\n", mib(l.MemoryBefore), mib(l.MemoryAfter), l.BytesPerRequest)
		}
		if l.HeapAfter > 0 {
			p.f("its Go heap from %s to %s: %d bytes for each\n", mib(l.HeapBefore), mib(l.HeapAfter), l.HeapBytesPerRequest)
		}
		if l.DatabasePerRequest != 0 {
			p.f("its database's memory grew by %d bytes for each\n", l.DatabasePerRequest)
		}
		p.errors(l.Errors)
	}
	if l := r.Pops; l != nil {
		p.title("Calls at this length of the queue", "One caller, one call after another, nothing else going on. CPU is the server's, in µs for each call.")
		t := p.table("CALL\tCOUNT\tCPU\tP50\tP95\tP99\tMAX")
		for _, row := range []struct {
			name string
			cpu  float64
			Latency
		}{{"pop, with a job", l.PopCPU, l.Pop}, {"pop, none fits", l.EmptyCPU, l.Empty}, {"check, waiting", l.CheckCPU, l.Check}} {
			fmt.Fprintf(t, "%s\t%d\t%.0f\t%s\t%s\t%s\t%s\t\n", row.name, row.Count, row.cpu, ms(row.P50), ms(row.P95), ms(row.P99), ms(row.Max))
		}
		p.flush(t)
		p.errors(l.Errors)
	}
	if l := r.Idle; l != nil {
		p.title("Idle workers", "They poll and there is nothing for them. Latency counts from when a poll was due.")
		p.f("%d workers, each every %g s: %.0f polls/s; the server used %.2f processors and %s of memory\n", l.Workers, l.Every, l.PerSecond, l.CPU.ServerCores, mib(l.ServerMemory))
		p.f("p50 %s, p95 %s, p99 %s, max %s\n", ms(l.Latency.P50), ms(l.Latency.P95), ms(l.Latency.P99), ms(l.Latency.Max))
		p.errors(l.Errors)
	}
	if l := r.Load; l != nil {
		r.printLoad(p, l)
	}
	return p.err
}

func (r *Report) printLoad(p *printer, l *Load) {
	how := fmt.Sprintf("%d clients, each with one request at a time", l.Clients)
	if l.Mode == "open" {
		how = fmt.Sprintf("%g requests a second, come what may; latency counts from when a request was due", l.Rate)
	}
	p.title("Lifecycles", "Submit, pop, deliver, check, fetch; images also upload and download. Counted when the client held, byte for byte, what the\nworker had sent. "+
		how+"; "+fmt.Sprint(l.Workers)+" workers.")
	p.f("%d in %.1f s (%d images, %d texts): %.1f lifecycles/s\n", l.Lifecycles, l.Seconds, l.OfImages, l.OfTexts, l.PerSecond)
	if l.CPU.Server > 0 {
		p.f("processor: the server used %.2f of %d, %.2f s per 1,000 lifecycles", l.CPU.ServerCores, r.Machine.CPUs, l.ServerPer1000)
		if l.CPU.Database > 0 {
			p.f("; its database %.2f, %.2f s per 1,000", l.CPU.DatabaseCores, l.DatabasePer1000)
		}
		p.f("\n")
	}
	p.f("this generator used %.2f, %.2f s per 1,000\n", l.CPU.OwnCores, l.GeneratorPer1000)
	t := p.table("CALL\tCOUNT\tMEAN\tP50\tP95\tP99\tMAX")
	for m := range measures {
		x, ok := l.Latencies[measureNames[m]]
		if !ok {
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t\n", measureNames[m], x.Count, ms(x.Mean), ms(x.P50), ms(x.P95), ms(x.P99), ms(x.Max))
	}
	p.flush(t)
	p.f("dispatch: from the client's knowing that its request was accepted to a worker's having the job\n")
	p.f("whole run: %d accepted, %d completed, %d lost, %d doubled, %d mismatched\n", l.Accepted, l.Completed, l.Lost, l.Doubled, l.Mismatched)
	p.errors(l.Errors)
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) title(title, explanation string) { p.f("\n%s\n%s\n\n", title, explanation) }

func (p *printer) table(header string) *tabwriter.Writer {
	t := tabwriter.NewWriter(p.w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, header+"\t")
	return t
}

func (p *printer) flush(t *tabwriter.Writer) {
	if err := t.Flush(); p.err == nil {
		p.err = err
	}
}

func (p *printer) errors(kinds map[string]int) {
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		p.f("error  %7d  %s\n", kinds[k], k)
	}
}

func ms(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f ms", v)
	case v < 1000:
		return fmt.Sprintf("%.0f ms", v)
	}
	return fmt.Sprintf("%.2f s", v/1000)
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
