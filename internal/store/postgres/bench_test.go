// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres_test

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

	"horde/internal/pgtest"
	"horde/internal/store"
	"horde/internal/store/storetest"
)

func commit(tb testing.TB, s store.Store, batch *store.Batch) {
	tb.Helper()
	if err := s.Commit(context.Background(), batch); err != nil {
		tb.Fatal(err)
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

// serverTime is what the processes of a server have used of the processors, of those that live still; zero where the system
// does not tell.
func serverTime(server *pgtest.Server) (sum time.Duration) {
	const tick = 10 * time.Millisecond // of Linux
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		data, _ := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(data), ") ") // after the name of the program
		fields := strings.Fields(rest)
		if len(fields) < 15 || fields[1] != strconv.Itoa(server.PID()) {
			continue
		}
		for _, field := range fields[11:13] {
			n, _ := strconv.Atoi(field)
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

// BenchmarkCommit writes batches of that many lifecycles to a server that syncs. It reports the time of a lifecycle, and the
// median and worst time of a commit.
func BenchmarkCommit(b *testing.B) {
	server := pgtest.New(b)
	for _, n := range []int{1, 10, 100, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := lead(b, server.Database(b))
			traffic, first := storetest.NewTraffic(1)
			commit(b, s, first)
			var times []time.Duration
			var cpu time.Duration
			serverStart := serverTime(server)
			for b.Loop() {
				b.StopTimer()
				batch := traffic.Batch(n)
				b.StartTimer()
				start, cpuStart := time.Now(), cpuTime(b)
				commit(b, s, batch)
				times, cpu = append(times, time.Since(start)), cpu+cpuTime(b)-cpuStart
			}
			b.StopTimer()
			theirs := serverTime(server) - serverStart
			leave(b, s)
			slices.Sort(times)
			b.ReportMetric(float64(cpu.Microseconds())/float64(len(times)*n), "cpu-µs/lifecycle")
			b.ReportMetric(float64(theirs.Microseconds())/float64(len(times)*n), "server-cpu-µs/lifecycle")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(len(times)*n), "µs/lifecycle")
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "µs-p50")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "µs-p99")
			b.ReportMetric(float64(times[len(times)-1].Microseconds()), "µs-max")
		})
	}
}

// BenchmarkLoad loads records of that many waiting requests.
func BenchmarkLoad(b *testing.B) {
	server := pgtest.New(b)
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			location := server.Database(b)
			s := lead(b, location)
			traffic, first := storetest.NewTraffic(1)
			commit(b, s, first)
			const batch = 10_000
			for range n / batch {
				commit(b, s, traffic.Waiting(batch))
			}
			leave(b, s)
			var cpu time.Duration
			for b.Loop() {
				cpuStart := cpuTime(b)
				s := open(b, location)
				state, err := s.Load(b.Context())
				if err != nil || len(state.Requests) != n {
					b.Fatal(len(state.Requests), err)
				}
				b.StopTimer()
				cpu += cpuTime(b) - cpuStart
				closeStore(b, s)
				b.StartTimer()
			}
			b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/load")
			server.Drop(b, location)
		})
	}
}
