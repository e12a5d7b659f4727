// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build unix

package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"horde/internal/store"
	"horde/internal/store/sqlite"
	"horde/internal/store/storetest"
)

func openBench(b *testing.B) (store.Store, string) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "horde.db")
	s, err := sqlite.Open(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	return s, path
}

func commit(tb testing.TB, s store.Store, batch *store.Batch) {
	tb.Helper()
	if err := s.Commit(context.Background(), batch); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkCommit writes batches of that many lifecycles. It reports the time of a lifecycle, and the median and worst
// time of a commit.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 10, 50, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _ := openBench(b)
			traffic, first := storetest.NewTraffic(1)
			commit(b, s, first)
			var times []time.Duration
			var cpu time.Duration
			written := writtenBytes(b)
			for b.Loop() {
				b.StopTimer()
				batch := traffic.Batch(n)
				b.StartTimer()
				start, cpuStart := time.Now(), cpuTime(b)
				commit(b, s, batch)
				times, cpu = append(times, time.Since(start)), cpu+cpuTime(b)-cpuStart
			}
			b.StopTimer()
			written = writtenBytes(b) - written
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			slices.Sort(times)
			b.ReportMetric(float64(cpu.Microseconds())/float64(len(times)*n), "cpu-µs/lifecycle")
			b.ReportMetric(float64(written)/float64(len(times)*n), "written-B/lifecycle")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(len(times)*n), "µs/lifecycle")
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "µs-p50")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "µs-p99")
			b.ReportMetric(float64(times[len(times)-1].Microseconds()), "µs-max")
		})
	}
}

// cpuTime is what the process has used of the processors.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writtenBytes is what the process has written to files, log and file together; zero where the system does not tell.
func writtenBytes(b *testing.B) (n int64) {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "wchar: "); ok {
			if n, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
				b.Fatal(err)
			}
		}
	}
	return n
}

// BenchmarkLoad loads records of that many waiting requests.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, path := openBench(b)
			traffic, first := storetest.NewTraffic(1)
			commit(b, s, first)
			const batch = 10_000
			for range n / batch {
				commit(b, s, traffic.Waiting(batch))
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			var cpu time.Duration
			for b.Loop() {
				cpuStart := cpuTime(b)
				s, err := sqlite.Open(b.Context(), path)
				if err != nil {
					b.Fatal(err)
				}
				state, err := s.Load(b.Context())
				if err != nil || len(state.Requests) != n {
					b.Fatal(len(state.Requests), err)
				}
				b.StopTimer()
				cpu += cpuTime(b) - cpuStart
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/load")
			b.ReportMetric(float64(info.Size())/float64(n), "bytes/request")
		})
	}
}
