// SPDX-License-Identifier: AGPL-3.0-or-later

package peers

import (
	"path/filepath"
	"testing"

	"horde/internal/node/nodetest"
)

// sdkReleases are the releases of horde-sdk that are tested: what the worker reGen is built on, and the newest that runs on
// Python 3.11.
var sdkReleases = []string{"0.17.1", "0.18.0"}

// TestPythonSDK drives horde-sdk: its manual client through every call that it has for images, texts, users, workers and
// status, its asynchronous client likewise, and its simple clients, which wait for results by themselves.
func TestPythonSDK(t *testing.T) {
	t.Parallel()
	for _, release := range sdkReleases {
		python := part(t, "horde-sdk-"+release, "bin", "python")
		for _, script := range []string{"manual", "aio", "simple"} {
			t.Run(release+"/"+script, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join("testdata", "python")
				play(t, nodetest.Start(t), filepath.Join(dir, script+".jsonl"), []string{"PYTHONDONTWRITEBYTECODE=1"},
					python, "-W", "ignore", filepath.Join(dir, script+".py"))
			})
		}
	}
}
