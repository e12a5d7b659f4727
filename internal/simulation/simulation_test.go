// SPDX-License-Identifier: AGPL-3.0-or-later

package simulation_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"horde/internal/simulation"
)

var (
	seeds = flag.Int("seeds", 200, "how many seeds TestSeeds runs")
	first = flag.Uint64("first", 1, "the first seed of TestSeeds")
	seed  = flag.Uint64("seed", 0, "the one seed that TestSeeds runs, with its trace")
	steps = flag.Int("steps", 0, "how many steps a world has; zero is the default")
)

func replay(seed uint64) string {
	return fmt.Sprintf("go test ./internal/simulation -run 'TestSeeds$' -v -seed=%d", seed)
}

// TestSeeds runs many worlds. A seed that breaks a rule is told with the line that replays it alone.
func TestSeeds(t *testing.T) {
	if *seed != 0 {
		report := simulation.Run(t, *seed, simulation.Options{Steps: *steps, Trace: os.Stdout})
		t.Logf("seed %d: %+v", *seed, report)
		if report.Finding != "" {
			t.Errorf("seed %d: %s", *seed, report.Finding)
		}
		return
	}
	var all simulation.Report
	begun, failed := time.Now(), 0
	for n := range uint64(*seeds) {
		s := *first + n
		report := simulation.Run(t, s, simulation.Options{Steps: *steps})
		if report.Finding != "" {
			failed++
			t.Errorf("seed %d, step %d: %s\n\treplay: %s", s, report.Steps, report.Finding, replay(s))
		}
		all.Steps += report.Steps
		all.Commits += report.Commits
		all.FailedCommits += report.FailedCommits
		all.Deaths += report.Deaths
		all.Accepted += report.Accepted
		all.Popped += report.Popped
		all.Delivered += report.Delivered
		all.Unknown += report.Unknown
		all.Simulated += report.Simulated
		if n%1000 == 999 {
			fmt.Printf("%d seeds, %d failed, %s\n", n+1, failed, time.Since(begun).Round(time.Second))
		}
	}
	t.Logf("%d seeds from %d, %d failed, in %s: %d steps, %s of their time, %d commits (%d failed), %d deaths; %d requests accepted, "+
		"%d jobs handed out, %d results accepted, %d calls whose end nobody knows", *seeds, *first, failed,
		time.Since(begun).Round(time.Millisecond), all.Steps, all.Simulated.Round(time.Hour), all.Commits, all.FailedCommits, all.Deaths,
		all.Accepted, all.Popped, all.Delivered, all.Unknown)
	if all.Delivered == 0 || all.Deaths == 0 || all.FailedCommits == 0 || all.Unknown == 0 {
		t.Error("nothing happened in these worlds: they show nothing")
	}
}

// TestASeedMakesTheSameWorld runs seeds twice and compares everything that happened.
func TestASeedMakesTheSameWorld(t *testing.T) {
	traces := map[uint64]bool{}
	for s := uint64(1); s <= 20; s++ {
		a := simulation.Run(t, s, simulation.Options{})
		runtime.GC()
		b := simulation.Run(t, s, simulation.Options{})
		if a != b {
			t.Errorf("seed %d made two worlds:\n%+v\n%+v", s, a, b)
		}
		traces[a.Trace] = true
	}
	if len(traces) != 20 {
		t.Errorf("20 seeds made %d worlds", len(traces))
	}
}

// TestMutationsAreFound breaks one thing after the other and wants the checks to notice, each within a few seeds.
func TestMutationsAreFound(t *testing.T) {
	for _, m := range simulation.Mutations {
		t.Run(string(m), func(t *testing.T) {
			for s := uint64(1); s <= 40; s++ {
				if report := simulation.Run(t, s, simulation.Options{Mutation: m}); report.Finding != "" {
					t.Logf("seed %d, step %d: %s", s, report.Steps, report.Finding)
					return
				}
			}
			t.Error("40 seeds did not notice")
		})
	}
}
