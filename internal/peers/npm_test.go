// SPDX-License-Identifier: AGPL-3.0-or-later

package peers

import (
	"os/exec"
	"path/filepath"
	"testing"

	"horde/internal/node"
	"horde/internal/node/nodetest"
)

// TestNPMClient drives the npm package @zeldafan0225/ai_horde through its calls for images, texts, users, workers and
// status, with and without field masks, and through what it makes of refusals.
func TestNPMClient(t *testing.T) {
	t.Parallel()
	playNode(t, nodetest.Start(t), "client")
}

// TestNPMClientWithinLimits has the rate limits on: what a client in a hurry is told, and how it gets on.
func TestNPMClientWithinLimits(t *testing.T) {
	t.Parallel()
	playNode(t, nodetest.Start(t, func(c *node.Config) { c.NoRateLimit = false }), "limits")
}

// playNode plays a script of testdata/npm.
func playNode(t *testing.T, s *nodetest.Server, script string) {
	t.Helper()
	client := part(t, "npm", "node_modules", "@zeldafan0225", "ai_horde")
	nodeJS, err := exec.LookPath("node")
	if err != nil {
		missing(t, "no Node.js: %v", err)
	}
	dir := filepath.Join("testdata", "npm")
	play(t, s, filepath.Join(dir, script+".jsonl"), []string{"NODE_CLIENT=" + client}, nodeJS, filepath.Join(dir, script+".mjs"))
}
