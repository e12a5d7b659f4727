// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"horde/client"
)

func exampleBoard() *board {
	b := newBoard("https://horde.example")
	b.status.Started = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
	b.top(func(s *Status) { s.Username, s.Kudos = "Tester#7", 1234 })
	b.add("dreamer", "D", "megapixelsteps/s")
	b.change("dreamer", func(k *KindStatus) {
		k.State, k.Backend, k.Healthy, k.Submitted, k.Faulted, k.Earned, k.Speed, k.Models = "working", "comfyui 0.3.75", true, 5, 1, 62.5, 3.25, []string{"A", "B", "C", "D"}
		k.Skipped = map[string]int{"nsfw": 2}
	})
	b.job("dreamer", "0123456789", func(j *JobStatus) {
		j.What, j.Stage, j.Step, j.Steps, j.Deadline = "A 512x512 30 steps\x1b[31m\n", "sampling", 15, 30, time.Date(2026, 1, 1, 11, 2, 0, 0, time.UTC)
	})
	b.note([]client.Message{{ID: "1", Message: "Update please", Origin: "Admins"}})
	b.warn("slow")
	b.warn("slow")
	return b
}

func TestRender(t *testing.T) {
	t.Parallel()
	lines := Render(exampleBoard().snapshot(), time.Date(2026, 1, 1, 11, 0, 30, 0, time.UTC), 100)
	text := strings.NewReplacer(bold, "", dim, "", red, "", green, "", plain, "").Replace(strings.Join(lines, "\n"))
	for _, want := range []string{"https://horde.example  1h00m  Tester#7, 1234 kudos", `dreamer "D"  working  on comfyui 0.3.75`,
		"5 done, 1 faulted, 0 late   62.5 kudos (62 an hour)   3.2 megapixelsteps/s", "A, B, C and 1 more",
		"01234567 ████████░░░░░░░░ sampling           A 512x512 30 steps[31m  1m30s left", "message: Update please (Admins)", "warning: slow"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Count(text, "slow") != 1 || strings.Contains(text, "\x1b") {
		t.Errorf("a repeated warning or a control character from outside:\n%q", text)
	}
	for _, l := range Render(exampleBoard().snapshot(), time.Now(), 30) {
		if n := len([]rune(strings.NewReplacer(bold, "", dim, "", red, "", green, "", plain, "").Replace(l))); n > 30 {
			t.Errorf("%d characters in %q", n, l)
		}
	}
}

// Log lines come above the block, which is drawn again below them.
func TestScreen(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := newScreen(&out, exampleBoard())
	s.draw()
	height := s.lines
	out.Reset()
	slog.New(slog.NewTextHandler(s, nil)).Info("hello")
	if got := out.String(); !strings.HasPrefix(got, "\x1b["+string(rune('0'+height))+"F\x1b[J") || !strings.Contains(got, "msg=hello") || s.lines != 0 {
		t.Errorf("wrote %q", got)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	b := exampleBoard()
	get := func(path string) (int, string) {
		rec := httptest.NewRecorder()
		b.handler().ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		return rec.Code, rec.Body.String()
	}
	_, text := get("/metrics")
	for _, want := range []string{`horde_worker_results_total{outcome="submitted",worker="dreamer"} 5`, `horde_worker_kudos_total{worker="dreamer"} 62.5`, `horde_worker_backend_up{worker="dreamer"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	_, doc := get("/status.json")
	var s Status
	if err := json.Unmarshal([]byte(doc), &s); err != nil || s.Workers[0].Jobs[0].Steps != 30 || s.Kudos != 1234 {
		t.Errorf("status %s, %v", doc, err)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("healthz %d", code)
	}
	b.change("dreamer", func(k *KindStatus) { k.Healthy = false })
	if code, body := get("/healthz"); code != 503 || !strings.Contains(body, "dreamer") {
		t.Errorf("healthz of a worker whose server is away: %d %s", code, body)
	}
}
