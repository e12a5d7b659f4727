// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build unix

package localmodel

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"horde/internal/probe"
)

// partsDir is where tests keep real parts between runs: HORDE_TEST_PARTS, or .parts in the root of the repository.
func partsDir() string {
	if dir := os.Getenv("HORDE_TEST_PARTS"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", ".parts")
}

// TestTheRealModelAnswers sets up the real model, asks it, kills its server and asks again.
func TestTheRealModelAnswers(t *testing.T) {
	dir := filepath.Join(partsDir(), "smollm2")
	start := time.Now()
	m, err := Setup(t.Context(), dir, func(p Progress) {
		if p.Total == 0 || p.Done == p.Total {
			t.Logf("%6.2fs %s", time.Since(start).Seconds(), p)
		}
	})
	for _, missing := range []error{ErrNoPython, ErrNoPip, ErrNoNetwork, ErrUnsupported} {
		if errors.Is(err, missing) && os.Getenv("HORDE_TEST_REQUIRE") != "1" {
			t.Skipf("the real model cannot be set up here: %v", err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	if _, err := Setup(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("the second set-up took %v", d)
	}

	start = time.Now()
	s, err := m.Start(t.Context(), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Logf("up after %.2fs at %s", time.Since(start).Seconds(), s.URL())

	start = time.Now()
	answer, tokens := ask(t, s.URL())
	t.Logf("%q: %d tokens in %.2fs", answer, tokens, time.Since(start).Seconds())
	if !strings.Contains(answer, "Paris") {
		t.Errorf("asked for the capital of France it said %q", answer)
	}
	var props struct {
		Settings struct {
			Context int `json:"n_ctx"`
		} `json:"default_generation_settings"`
		Alias string `json:"model_alias"`
		Slots int    `json:"total_slots"`
	}
	get(t, s.URL()+"/props", &props)
	if props.Settings.Context != 2048 || props.Slots != 2 || props.Alias != ModelName {
		t.Errorf("the server's own account of its options: %+v", props)
	}

	found := probe.Look(t.Context(), []probe.Place{{Kind: probe.LlamaCpp, URL: s.URL()}})
	if len(found) != 1 || found[0].Context != 2048 || len(found[0].Models) != 1 || found[0].Models[0] != ModelName {
		t.Errorf("package probe says of it: %+v", found)
	}

	pid := s.PID()
	syscall.Kill(pid, syscall.SIGKILL)
	eventually(t, "it serves again", func() bool { return s.PID() != pid && s.PID() != 0 && healthy(s.URL()) })
	if again, _ := ask(t, s.URL()); again != answer {
		t.Errorf("after its death it said %q", again)
	}
	pid = s.PID()
	s.Close()
	if !gone(pid) {
		t.Error("the server lives on after Close")
	}
}

func ask(t *testing.T, url string) (answer string, tokens int) {
	t.Helper()
	body, _ := json.Marshal(map[string]any{
		"prompt":    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
		"n_predict": 24, "temperature": 0,
	})
	resp, err := http.Post(url+"/completion", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var said struct {
		Content   string `json:"content"`
		Predicted int    `json:"tokens_predicted"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return said.Content, said.Predicted
}

func get(t *testing.T, url string, into any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}
