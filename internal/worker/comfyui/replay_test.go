// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"net/http/httptest"
	"testing"

	"horde/internal/worker/backend"
	"horde/internal/worker/recorded"
)

// tapes are recordings of exercise against real servers: ComfyUI of March 2024, which ends a prompt by an "executing"
// without a node, and 0.3.75, which sends "execution_success" too.
var tapes = []string{"testdata/comfyui-2024-03.json.gz", "testdata/comfyui-0.3.75.json.gz"}

// The driver must ask today what it asked the real servers, and make of their answers what it made then.
func TestRecorded(t *testing.T) {
	t.Parallel()
	for _, tape := range tapes {
		t.Run(tape, func(t *testing.T) {
			t.Parallel()
			p, err := recorded.Load(tape)
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(p)
			defer s.Close()
			at, err := backend.NewEndpoint(s.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			exercise(t, New(at, map[string]string{"RealESRGAN_x4plus": "anime_x4.pth"}))
			for _, m := range p.Missed() {
				t.Errorf("the real server was never asked %s", backend.Cut(m, 600))
			}
		})
	}
}
