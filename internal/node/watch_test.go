// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"net/http"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
)

func scrape(t *testing.T, s *nodetest.Server) map[string]*dto.MetricFamily {
	t.Helper()
	res, err := http.Get("http://" + s.MetricsAddr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		t.Fatalf("the metrics do not parse: %v", err)
	}
	return families
}

// sum adds the counters, gauges or observations of a family whose labels have all the values.
func sum(f *dto.MetricFamily, values ...string) (total float64) {
	for _, m := range f.GetMetric() {
		has := map[string]bool{}
		for _, l := range m.GetLabel() {
			has[l.GetValue()] = true
		}
		match := true
		for _, v := range values {
			match = match && has[v]
		}
		if match {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return total
}

func TestALifecycleMovesTheMetrics(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t, func(c *node.Config) { c.MetricsListen = "127.0.0.1:0" })
	_, owner := s.User("owner", 0, 0)
	pop := `{"name":"scribe","models":["m/x"],"max_context_length":4096}`
	s.Call("POST", "/generate/text/pop", owner, pop)
	a := s.Call("POST", "/generate/text/async", horde.AnonymousKey, `{"prompt":"Once","params":{"max_length":80},"models":["m/x"]}`)
	if waiting := scrape(t, s); sum(waiting["horde_queue_jobs"], "text") != 1 || sum(waiting["horde_queue_model_jobs"], "text", "other") != 1 {
		t.Errorf("while a request waits: %v %v", waiting["horde_queue_jobs"], waiting["horde_queue_model_jobs"])
	}
	j := s.Call("POST", "/generate/text/pop", owner, pop)
	s.Call("POST", "/generate/text/submit", owner, map[string]any{"id": j.Body["id"], "generation": " upon", "seed": nil})
	s.Call("GET", "/generate/text/status/"+a.Body["id"].(string), "", nil)
	after := scrape(t, s)
	for _, want := range []struct {
		family string
		labels []string
		value  float64
	}{
		{"horde_queue_jobs", []string{"text"}, 0},
		{"horde_requests_total", []string{"text"}, 1},
		{"horde_pops_total", []string{"text", "match"}, 1},
		{"horde_pops_total", []string{"text", "no_match"}, 1},
		{"horde_dispatch_latency_seconds", []string{"text"}, 1},
		{"horde_submit_outcomes_total", []string{"text", "accepted"}, 1},
		{"horde_worker_threads", []string{"text"}, 1},
		{"horde_http_requests_total", []string{"/api/v2/generate/text/pop", "POST", "200"}, 2},
		{"horde_http_requests_total", []string{"/api/v2/generate/text/status/{id}", "GET", "200"}, 1},
		{"horde_ledger_kudos", nil, 0},
		{"horde_engine_up", nil, 1},
	} {
		if after[want.family] == nil {
			t.Errorf("no %s", want.family)
		} else if got := sum(after[want.family], want.labels...); got != want.value {
			t.Errorf("%s%v is %v, want %v", want.family, want.labels, got, want.value)
		}
	}
	if sum(after["horde_commit_duration_seconds"]) == 0 || after["go_goroutines"] == nil || after["horde_build_info"] == nil {
		t.Error("no commits, runtime or version")
	}
}

func TestWhatIsServedWhere(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t)
	for path, want := range map[string]int{
		"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/metrics": http.StatusNotFound, "/debug/pprof/": http.StatusNotFound,
		"/debug/pprof/profile": http.StatusNotFound,
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			req, _ := http.NewRequest(method, s.URL+path, nil)
			if a := s.Do(req); a.Status != want {
				t.Errorf("%s %s: %d %s, want %d", method, path, a.Status, a.Text, want)
			}
		}
	}
	req, _ := http.NewRequest(http.MethodGet, s.URL+"/readyz", nil)
	if a := s.Do(req); !strings.Contains(a.Text, `"ready":true`) {
		t.Errorf("readiness: %s", a.Text)
	}
}

func TestRunningIsAskedOfTheSocket(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t)
	if !node.Running(n.Data) {
		t.Error("a node that serves does not run")
	}
	if node.Running(t.TempDir()) {
		t.Error("a node runs in an empty directory")
	}
}
