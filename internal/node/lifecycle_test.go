// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"horde/internal/horde"
	"horde/internal/node/nodetest"
)

const reGen = "AI Horde Worker reGen:13.0.0:https://example.org"

func TestAnImageRequestFromSubmissionToResult(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t)
	_, requester := s.User("requester", 1000, 0)
	_, owner := s.User("owner", 0, horde.Trusted)

	a := s.Call("POST", "/generate/async", requester, `{"prompt":"a cat###dog","params":{"n":2,"seed":"5"},"models":["Deliberate"]}`)
	if a.Status != http.StatusAccepted {
		t.Fatalf("submit: %d %s", a.Status, a.Text)
	}
	id := a.Body["id"].(string)
	pop := fmt.Sprintf(`{"name":"w","models":["Deliberate"],"bridge_agent":%q,"amount":4,"max_pixels":1048576}`, reGen)
	j := s.Call("POST", "/generate/pop", owner, pop)
	if j.Status != http.StatusOK || j.Body["id"] == nil {
		t.Fatalf("pop: %d %s", j.Status, j.Text)
	}
	ids, uploads := j.Body["ids"].([]any), j.Body["r2_uploads"].([]any)
	if len(ids) != 2 || len(uploads) != 2 {
		t.Fatalf("the batch has %d ids and %d uploads, want 2 of each: %s", len(ids), len(uploads), j.Text)
	}
	for i, id := range ids {
		req, _ := http.NewRequest(http.MethodPut, uploads[i].(string), strings.NewReader("image bytes"))
		if a := s.Do(req); a.Status != http.StatusOK {
			t.Fatalf("upload: %d %s", a.Status, a.Text)
		}
		a := s.Call("POST", "/generate/submit", owner, map[string]any{"id": id, "generation": "R2", "seed": 5})
		if a.Status != http.StatusOK || a.Body["reward"].(float64) <= 0 {
			t.Fatalf("deliver: %d %s", a.Status, a.Text)
		}
		if a := s.Call("POST", "/generate/submit", owner, map[string]any{"id": id, "generation": "R2", "seed": 5}); a.RC() != "DuplicateGen" {
			t.Errorf("delivering again: %d %s", a.Status, a.Text)
		}
	}
	a = s.Call("GET", "/generate/status/"+id, "", nil)
	if a.Status != http.StatusOK || a.Body["done"] != true || a.Body["finished"] != 2.0 {
		t.Fatalf("status: %d %s", a.Status, a.Text)
	}
	for _, g := range a.Body["generations"].([]any) {
		req, _ := http.NewRequest(http.MethodGet, g.(map[string]any)["img"].(string), nil)
		if a := s.Do(req); a.Text != "image bytes" {
			t.Errorf("download: %d %q", a.Status, a.Text)
		}
	}
	for _, path := range []string{"/find_user", "/users", "/users/1", "/workers", "/status/performance", "/status/models", "/status/heartbeat", "/status/modes"} {
		if a := s.Call("GET", path, requester, nil); a.Status != http.StatusOK && path != "/status/modes" {
			t.Errorf("GET %s: %d %s", path, a.Status, a.Text)
		} else {
			t.Log(path, a.Text)
		}
	}
}

func TestATextRequestFromSubmissionToResult(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t)
	_, owner := s.User("owner", 0, 0)
	a := s.Call("POST", "/generate/text/async", horde.AnonymousKey, `{"prompt":"Once","params":{"max_length":80}}`)
	if a.Status != http.StatusAccepted {
		t.Fatalf("submit: %d %s", a.Status, a.Text)
	}
	j := s.Call("POST", "/generate/text/pop", owner, `{"name":"scribe","models":["m/x"],"max_context_length":4096}`)
	if j.Body["id"] == nil {
		t.Fatalf("pop: %d %s", j.Status, j.Text)
	}
	d := s.Call("POST", "/generate/text/submit", owner, map[string]any{"id": j.Body["id"], "generation": " upon a time", "seed": nil})
	if d.Status != http.StatusOK {
		t.Fatalf("deliver: %d %s", d.Status, d.Text)
	}
	st := s.Call("GET", "/generate/text/status/"+a.Body["id"].(string), "", nil)
	if st.Body["done"] != true || st.Body["generations"].([]any)[0].(map[string]any)["text"] != " upon a time" {
		t.Fatalf("status: %s", st.Text)
	}
}
