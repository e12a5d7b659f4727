// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"strings"
	"testing"
)

func TestSummariesAreOfWhatAllReportsHave(t *testing.T) {
	t.Parallel()
	load := func(rate float64) *Load {
		return &Load{PerSecond: rate, Latencies: map[string]Latency{measureNames[spanDispatch]: {P99: rate / 100}}}
	}
	var out strings.Builder
	if err := Summarize(&out, []Report{
		{Load: load(900)}, {Load: load(1300), Idle: &Idle{PerSecond: 5000}}, {Load: load(1100)},
	}); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"lifecycles 1/s 900 1100 1300", "dispatch p99 ms 9 11 13"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if strings.Contains(text, "idle") {
		t.Errorf("one report's figure is in %s", text)
	}
}
