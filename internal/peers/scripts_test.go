// SPDX-License-Identifier: AGPL-3.0-or-later

package peers

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
)

// partsDir is where the parts are that the tests need.
func partsDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("HORDE_TEST_PARTS")
	if dir == "" {
		dir = filepath.Join("..", "..", ".parts")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// part is the path of an installed part. Without it the test is skipped, or fails where nothing may be skipped.
func part(t *testing.T, elem ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{partsDir(t)}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		missing(t, "not installed, see hack/parts-peers.sh: %v", err)
	}
	return path
}

func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("HORDE_TEST_REQUIRE") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// scriptTime is what a script may take: it starts an interpreter, and machines that run tests are busy.
const scriptTime = 4 * time.Minute

// play runs a script against a fresh node, which it gives accounts that ask, work and moderate, and compares what the script
// says with the transcript. In the end the node's books must be right.
func play(t *testing.T, s *nodetest.Server, transcript string, env []string, command ...string) {
	t.Helper()
	_, requester := s.User("requester", 100_000, 0)
	_, owner := s.User("owner", 0, horde.Trusted)
	_, moderator := s.User("moderator", 0, horde.Moderator)

	ctx, cancel := context.WithTimeout(t.Context(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "AI_HORDE_URL="+s.URL+"/api/", "REQUESTER_KEY="+requester, "OWNER_KEY="+owner, "MODERATOR_KEY="+moderator)
	cmd.Env = append(cmd.Env, env...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	start := time.Now()
	ended := cmd.Run()
	t.Logf("%s: %d lines in %.1f s", filepath.Base(transcript), bytes.Count(out.Bytes(), []byte("\n")), time.Since(start).Seconds())

	want, err := readTranscript(transcript, map[string]string{"server": s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if err := want.compare(out.Bytes()); err != nil {
		t.Errorf("%v", err)
	}
	if ended != nil {
		t.Errorf("the script ended with %v", ended)
	}
	if t.Failed() {
		t.Logf("its log:\n%s", log.Bytes())
	}
	report, err := node.Audit(t.Context(), s.Config)
	if err != nil || len(report.Findings) > 0 || report.Events == 0 {
		t.Errorf("the audit after it: %+v, %v", report, err)
	}
}
