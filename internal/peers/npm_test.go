// SPDX-License-Identifier: AGPL-3.0-or-later

package peers

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNPMClient drives the npm package @zeldafan0225/ai_horde through its calls for images, texts, users, workers and
// status, with and without field masks, and through what it makes of refusals.
func TestNPMClient(t *testing.T) {
	t.Parallel()
	client := part(t, "npm", "node_modules", "@zeldafan0225", "ai_horde")
	nodeJS, err := exec.LookPath("node")
	if err != nil {
		missing(t, "no Node.js: %v", err)
	}
	dir := filepath.Join("testdata", "npm")
	play(t, filepath.Join(dir, "client.jsonl"), []string{"NODE_CLIENT=" + client}, nodeJS, filepath.Join(dir, "client.mjs"))
}
