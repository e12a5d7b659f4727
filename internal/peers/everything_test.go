// SPDX-License-Identifier: AGPL-3.0-or-later

package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
)

// newestSDK is the release of horde-sdk for the Pythons after 3.11.
const newestSDK = "0.33.3"

// notServed are operations that the clients know and that this server does not have, with the reason.
var notServed = map[string]string{}

func init() {
	for reason, operations := range map[string]string{
		"another service, which has a host name of its own": `GET /api/v1/image/ratings/{}, GET /api/v1/user/validate/{}, GET /api/v1/user/check/{},
			GET /api/v1/user/ratings`,
	} {
		for o := range strings.SplitSeq(operations, ",") {
			notServed[strings.TrimSpace(o)] = reason
		}
	}
}

// harmless is what the SDK says aloud although nothing is wrong.
const harmless = `NoAvailableWorker`

// everything is what a script reports that has called all that its client has.
type everything struct {
	// Requests and Calls are what was called.
	Requests, Calls []string
	// Missing is what the client has and the script does not call; Problems are answers that the client did not understand;
	// Complaints are what the client wrote into its log.
	Missing, Problems, Complaints []string
	NotServed                     []string `json:"not served"`
}

// TestPythonSDKHasEverything makes every request that a release of horde-sdk knows, and every call of its clients. What there is
// is found by looking into the SDK, so a request that a new release brings fails the test until it is made here.
func TestPythonSDKHasEverything(t *testing.T) {
	t.Parallel()
	for _, release := range append(slices.Clone(sdkReleases), newestSDK) {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			if release == newestSDK && !newerPython() {
				t.Skip("there is no Python after 3.11 here")
			}
			python := part(t, "horde-sdk-"+release, "bin", "python")
			dir := filepath.Join("testdata", "python")
			got := callEverything(t, notServed, nil, python, "-W", "ignore", filepath.Join(dir, "everything.py"))
			if len(got.Requests) < 30 || len(got.Calls) < 30 {
				t.Errorf("%d requests and %d calls were made, which is less than any release has", len(got.Requests), len(got.Calls))
			}
		})
	}
}

// npmNotServed are the calls of the npm client for what this server does not have, with the reason.
var npmNotServed = map[string]string{
	"AIHorde.postKoboldTransfer":  "an operation of a horde of old that no longer has it either",
	"AIHordeRatings.getDatasets":  "another service, which has a host name of its own",
	"AIHordeRatings.getTeams":     "another service, which has a host name of its own",
	"AIHordeRatings.getNewRating": "another service, which has a host name of its own",
	"AIHordeRatings.postRating":   "another service, which has a host name of its own",
}

// TestNPMClientHasEverything makes every call that the npm client has. What there is is found by looking into it.
func TestNPMClientHasEverything(t *testing.T) {
	t.Parallel()
	client := part(t, "npm", "node_modules", "@zeldafan0225", "ai_horde")
	nodeJS, err := exec.LookPath("node")
	if err != nil {
		missing(t, "no Node.js: %v", err)
	}
	got := callEverything(t, npmNotServed, []string{"NODE_CLIENT=" + client}, nodeJS, filepath.Join("testdata", "npm", "everything.mjs"))
	if len(got.Calls) < 60 {
		t.Errorf("%d calls were made, which is less than it has", len(got.Calls))
	}
}

// newerPython tells whether this machine has a Python for the newest release: see hack/parts-peers.sh.
func newerPython() bool {
	places := []string{"/usr/bin", "/usr/local/bin"}
	if home, err := os.UserHomeDir(); err == nil {
		versions, _ := filepath.Glob(filepath.Join(home, ".pyenv", "versions", "3.1[2-9]*", "bin"))
		places = append(places, versions...)
	}
	for _, place := range places {
		if found, _ := filepath.Glob(filepath.Join(place, "python3.1[2-9]")); len(found) > 0 {
			return true
		}
	}
	return false
}

// callEverything runs a script against a fresh node, and reports what is wrong.
func callEverything(t *testing.T, absent map[string]string, env []string, command ...string) everything {
	t.Helper()
	s := nodetest.Start(t)
	_, awarder := s.User("awarder", 1000, 0) // the first account may award kudos
	_, requester := s.User("requester", 1_000_000, horde.Trusted|horde.Customizer)
	_, owner := s.User("owner", 100, horde.Trusted)
	_, moderator := s.User("moderator", 0, horde.Moderator)
	list, err := json.Marshal(absent)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "AI_HORDE_URL="+s.URL+"/api/", "REQUESTER_KEY="+requester, "OWNER_KEY="+owner, "MODERATOR_KEY="+moderator,
		"AWARDER_KEY="+awarder, "NOT_SERVED="+string(list), "HARMLESS="+harmless, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Env = append(cmd.Env, env...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("the script ended with %v:\n%s\n%s", err, out.Bytes(), log.Bytes())
	}
	var got everything
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s\n%s", err, out.Bytes(), log.Bytes())
	}
	t.Logf("%d requests and %d calls in %.1f s; %d are not served: %q", len(got.Requests), len(got.Calls), time.Since(start).Seconds(), len(got.NotServed), got.NotServed)
	for what, lines := range map[string][]string{"never called": got.Missing, "a problem": got.Problems, "a complaint": got.Complaints} {
		for _, line := range lines {
			t.Errorf("%s: %s", what, line)
		}
	}
	report, err := node.Audit(t.Context(), s.Config)
	if err != nil || len(report.Findings) > 0 || report.Events == 0 {
		t.Errorf("the audit after it: %+v, %v", report, err)
	}
	return got
}
