// SPDX-License-Identifier: AGPL-3.0-or-later

package peers

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"horde/internal/api"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
	"horde/internal/ratings"
)

// schemathesisTime is how long requests are made up, in seconds; what it takes to start and to make failures small comes on top.
// statefulTime is how long of what follows from each other, ratingsTime how long of the ratings service.
const schemathesisTime, statefulTime, ratingsTime = "40", "30", "20"

// TestSchemathesis makes requests from the OpenAPI document of the server, allowed ones and others, and holds the answers
// against it: none is a failure of the server, each has a status, a content type and a shape that are documented, and what
// the document forbids is refused. Streams of events, which end with their request, are left out.
func TestSchemathesis(t *testing.T) {
	t.Parallel()
	schemathesis(t, "--max-time", schemathesisTime, "--phases", "examples,coverage,fuzzing", "--max-examples", "25")
}

// links is what schemathesis tells of the links of the document that it went along.
var links = regexp.MustCompile(`API Links:\s+(\d+) covered`)

// leastLinks is along how many links a run goes at least.
const leastLinks = 10

// TestSchemathesisGoesOnFromAnswers makes requests of which each follows from the answer to another, as the links of the document
// say: what was submitted is looked at, read back and cancelled, and what was made is changed and removed.
func TestSchemathesisGoesOnFromAnswers(t *testing.T) {
	t.Parallel()
	out := schemathesis(t, "--max-time", statefulTime, "--phases", "stateful", "--mode", "positive", "--max-examples", "200")
	covered := 0
	if found := links.FindStringSubmatch(out); found != nil {
		covered, _ = strconv.Atoi(found[1])
	}
	if covered < leastLinks {
		t.Errorf("it went along %d links, want %d or more", covered, leastLinks)
	}
}

// TestSchemathesisOfTheRatingsService does the same to the ratings service of the node, which has a document of its own.
func TestSchemathesisOfTheRatingsService(t *testing.T) {
	t.Parallel()
	schemathesisOf(t, "/ratings"+ratings.DocumentPath, "--max-time", ratingsTime, "--max-examples", "25")
}

// schemathesis runs it against a fresh node and returns what it says.
func schemathesis(t *testing.T, options ...string) string {
	t.Helper()
	return schemathesisOf(t, api.OpenAPIPath, options...)
}

// schemathesisOf runs it with the document at a path.
func schemathesisOf(t *testing.T, document string, options ...string) string {
	t.Helper()
	program := part(t, "schemathesis", "bin", "schemathesis")
	s := nodetest.Start(t, func(c *node.Config) { c.RatingsService = true })
	_, key := s.User("tester", 1_000_000, horde.Moderator|horde.Trusted)
	s.Call(http.MethodPost, "/generate/pop", key, map[string]any{"name": "a dreamer to look at", "models": []string{"Deliberate"}})
	ctx, cancel := context.WithTimeout(t.Context(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"run", s.URL + document, "--header", "apikey: " + key, "--seed", "1", "--no-color",
		"--exclude-operation-id", "get_events", "--max-response-time", "10", "--warnings", "off",
		"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance," +
			"response_schema_conformance,negative_data_rejection,unsupported_method"}, options...)...)
	hooks, err := filepath.Abs(filepath.Join("testdata", "schemathesis_hooks.py"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "SCHEMATHESIS_HOOKS="+hooks, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Dir = t.TempDir() // it keeps what it learns beside itself
	start := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("%.1f s\n%s", time.Since(start).Seconds(), out)
	if err != nil {
		t.Errorf("schemathesis ended with %v", err)
	}
	report, err := node.Audit(t.Context(), s.Config)
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("the audit after it: %+v, %v", report, err)
	}
	return string(out)
}
