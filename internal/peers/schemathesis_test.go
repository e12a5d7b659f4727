// SPDX-License-Identifier: AGPL-3.0-or-later

package peers

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"horde/internal/api"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
)

// schemathesisTime is how long requests are made up; what it takes to start and to make failures small comes on top.
const schemathesisTime = "60"

// TestSchemathesis makes requests from the OpenAPI document of the server, allowed ones and others, and holds the answers
// against it: none is a failure of the server, each has a status, a content type and a shape that are documented, and what
// the document forbids is refused. Streams of events, which end with their request, are left out.
func TestSchemathesis(t *testing.T) {
	t.Parallel()
	program := part(t, "schemathesis", "bin", "schemathesis")
	s := nodetest.Start(t)
	_, key := s.User("tester", 1_000_000, horde.Moderator|horde.Trusted)
	ctx, cancel := context.WithTimeout(t.Context(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "run", s.URL+api.OpenAPIPath, "--header", "apikey: "+key, "--seed", "1", "--no-color",
		"--max-time", schemathesisTime, "--exclude-operation-id", "get_events", "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "25", "--max-response-time", "10",
		"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"+
			"response_schema_conformance,negative_data_rejection,unsupported_method", "--warnings", "off")
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
}
