// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

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
	s.Call("POST", "/generate/text/submit", owner, map[string]any{"id": j.Body["id"], "generation": " upon", "seed": nil})
	s.Call("POST", "/generate/text/submit", owner, map[string]any{"id": "00000000-0000-4000-8000-000000000000", "generation": "x", "seed": nil})
	s.Call("GET", "/generate/text/status/00000000-0000-4000-8000-000000000000", "", nil)
	s.Call("GET", "/generate/check/00000000-0000-4000-8000-000000000000", "", nil)
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
		{"horde_leader", nil, 1},
		{"horde_generate_duration_seconds", []string{"text"}, 1},
		{"horde_generate_duration_seconds", []string{"image"}, 0},
		{"horde_generate_step_duration_seconds", []string{"text", "commit"}, 1},
		{"horde_pop_duration_seconds", []string{"text", "match"}, 1},
		{"horde_pop_duration_seconds", []string{"text", "no_match"}, 1},
		{"horde_pop_eval_duration_seconds", []string{"text"}, 2},
		{"horde_submit_duration_seconds", []string{"text", "accepted"}, 1},
		{"horde_submit_duration_seconds", []string{"text", "already_submitted"}, 1},
		{"horde_submit_duration_seconds", []string{"text", "error"}, 1},
		{"horde_submit_step_duration_seconds", []string{"text", "commit"}, 1},
		{"horde_submit_kudos", []string{"text", "accepted"}, 1},
		{"horde_status_duration_seconds", []string{"text", "ok"}, 1},
		{"horde_status_duration_seconds", []string{"text", "not_found"}, 1},
		{"horde_check_outcomes_total", []string{"image", "not_found"}, 1},
		{"horde_check_duration_seconds", []string{"image", "not_found"}, 1},
		{"horde_parked_pops", nil, 0},
		{"horde_event_streams", nil, 0},
		{"horde_kudos_active_reservations", nil, 0},
		{"horde_kudos_reservations_rejected_total", nil, 0},
		{"horde_kudos_transfer_replays_total", nil, 0},
		{"horde_kudos_floor_adjustments_total", []string{"registered"}, 1},
		{"horde_model_reference_age_seconds", []string{"nothing"}, 0},
		{"horde_job_failures_total", []string{"prune_images"}, 0},
	} {
		if after[want.family] == nil {
			t.Errorf("no %s", want.family)
		} else if got := sum(after[want.family], want.labels...); got != want.value {
			t.Errorf("%s%v is %v, want %v", want.family, want.labels, got, want.value)
		}
	}
	if sum(after["horde_job_duration_seconds"], "prune_images", "false") == 0 {
		t.Error("no run of a job in the background")
	}
	if sum(after["horde_commit_duration_seconds"]) == 0 || after["go_goroutines"] == nil || after["horde_build_info"] == nil {
		t.Error("no commits, runtime or version")
	}
}

// Who is not trusted is asked about once; what is known of the address after that needs no question.
func TestChecksOfAddressesAreMeasured(t *testing.T) {
	t.Parallel()
	checker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "0.1") }))
	t.Cleanup(checker.Close)
	s := nodetest.Start(t, func(c *node.Config) {
		c.MetricsListen, c.IPCheck.URL = "127.0.0.1:0", checker.URL+"/{ipaddr}"
		c.AllowPrivate = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	_, owner := s.User("owner", 0, 0)
	for range 3 {
		if a := s.Call("POST", "/generate/text/pop", owner, `{"name":"scribe","models":["m/x"],"max_context_length":4096}`); a.Status != http.StatusOK {
			t.Errorf("%d %s", a.Status, a.Text)
		}
	}
	checks := scrape(t, s)["horde_ip_check_duration_seconds"]
	if asked, known := sum(checks, "false"), sum(checks, "true"); asked != 1 || known != 2 {
		t.Errorf("asked %v times, and knew %v times", asked, known)
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

// TestAnImageMovesTheMetrics plays one image, whose client wants to be told and cannot be.
func TestAnImageMovesTheMetrics(t *testing.T) {
	t.Parallel()
	client := httptest.NewTLSServer(http.NotFoundHandler()) // whose certificate nobody knows
	client.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer client.Close()
	s := nodetest.Start(t, func(c *node.Config) {
		c.MetricsListen, c.AllowPrivate = "127.0.0.1:0", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	_, owner := s.User("owner", 0, horde.Trusted)
	a := s.Call("POST", "/generate/async", horde.AnonymousKey, map[string]any{"prompt": "x", "models": []string{"Deliberate"}, "webhook": client.URL})
	if a.Status != http.StatusAccepted {
		t.Fatalf("submission: %d %s", a.Status, a.Text)
	}
	pop := map[string]any{"name": "painter", "models": []string{"Dreamshaper"}, "bridge_agent": "AI Horde Worker reGen:13:https://example.org"}
	s.Call("POST", "/generate/pop", owner, pop)
	pop["models"] = []string{"Deliberate", "Dreamshaper"}
	time.Sleep(10 * time.Millisecond)
	pop["name"] = "other painter"
	j := s.Call("POST", "/generate/pop", owner, pop)
	link, ok := j.Body["r2_upload"].(string)
	if !ok {
		t.Fatalf("pop: %d %s", j.Status, j.Text)
	}
	upload, _ := http.NewRequest(http.MethodPut, link, strings.NewReader("image"))
	s.Do(upload)
	if a := s.Call("POST", "/generate/submit", owner, map[string]any{"id": j.Body["id"], "generation": "R2", "seed": 1}); a.Status != http.StatusOK {
		t.Fatalf("submit: %d %s", a.Status, a.Text)
	}
	for range 250 {
		if sum(scrape(t, s)["horde_webhook_outcomes_total"], "giveup") == 1 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	after := scrape(t, s)
	for _, want := range []struct {
		family string
		labels []string
		value  float64
	}{
		{"horde_webhook_attempt_seconds", []string{"exception", ""}, 3},
		{"horde_webhook_attempt_seconds", []string{"0", "exception"}, 1},
		{"horde_webhook_outcomes_total", []string{"giveup"}, 1},
		{"horde_blob_operation_seconds", []string{"seal", "ok"}, 1},
		{"horde_blob_bytes_total", []string{"seal"}, 5},
		{"horde_generate_duration_seconds", []string{"image", "false"}, 1},
		{"horde_pop_skipped_total", []string{"image", "models"}, 1},
		{"horde_submit_step_duration_seconds", []string{"image", "upload"}, 1},
	} {
		if got := sum(after[want.family], want.labels...); got != want.value {
			t.Errorf("%s%v is %v, want %v", want.family, want.labels, got, want.value)
		}
	}
}
