// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build unix

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"horde/internal/localmodel"
)

// TestScribeWithARealModel runs a scribe in front of llama.cpp's server with SmolLM2: the server is recognised, a prompt
// is continued sensibly, a stop sequence ends the text and is part of it, and a prompt that is too long is cut.
func TestScribeWithARealModel(t *testing.T) {
	dir := os.Getenv("HORDE_TEST_PARTS")
	if dir == "" {
		dir = filepath.Join("..", "..", ".parts")
	}
	m, err := localmodel.Setup(t.Context(), filepath.Join(dir, "smollm2"), nil)
	for _, missing := range []error{localmodel.ErrNoPython, localmodel.ErrNoPip, localmodel.ErrNoNetwork, localmodel.ErrUnsupported} {
		if errors.Is(err, missing) && os.Getenv("HORDE_TEST_REQUIRE") != "1" {
			t.Skipf("the real model cannot be set up here: %v", err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Start(t.Context(), localmodel.Options{Threads: 1, Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	job := func(id, prompt, stop string) string {
		payload := map[string]any{"prompt": prompt, "max_length": 24, "max_context_length": 512, "temperature": 0, "min_p": 0}
		if stop != "" {
			payload["stop_sequence"] = []string{stop}
		}
		p, _ := json.Marshal(payload)
		return fmt.Sprintf(`{"id":%q,"ids":[%q],"model":"m","ttl":150,"payload":%s}`, id, id, p)
	}
	h := &fakeHorde{jobs: []string{
		job("paris", "Question: What is the capital of France?\nAnswer: The capital of France is", "."),
		job("long", strings.Repeat("The quick brown fox jumps over the lazy dog. ", 200)+"One, two, three,", ""),
	}}
	cfg := testConfig(t)
	cfg.KaiURL = s.URL()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	errs := make(chan error, 1)
	go func() {
		errs <- run(ctx, cfg, UI{Log: slog.New(slog.NewTextHandler(t.Output(), nil))}, Backends{}, []string{"scribe"}, h.options()...)
	}()
	for len(h.submitted()) < 2 && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	paris := submitOf(h, "paris")
	if text, _ := paris["generation"].(string); !strings.Contains(text, "Paris") || !strings.HasSuffix(text, ".") {
		t.Errorf("continued with %q", text)
	}
	long := submitOf(h, "long")
	if text, _ := long["generation"].(string); long["state"] != "ok" || text == "" {
		t.Errorf("long prompt: %v", long)
	}
	if agent := h.popped[0]["bridge_agent"]; agent != ScribeAgent("llamacpp") {
		t.Errorf("agent %v", agent)
	}
}
