// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"horde/internal/worker/backend"
	"horde/internal/worker/recorded"
)

// tapes are recordings of exercise against real servers: ComfyUI of March 2024, which ends a prompt by an "executing"
// without a node, and 0.3.75, which sends "execution_success" too.
var tapes = []string{"testdata/comfyui-2024-03.json.gz", "testdata/comfyui-0.3.75.json.gz"}

// recording puts a recorder between driver and real server when HORDE_TEST_RECORD names a file.
func recording(t *testing.T, e *backend.Endpoint) (*backend.Endpoint, error) {
	file := os.Getenv("HORDE_TEST_RECORD")
	if file == "" {
		return e, nil
	}
	rec := recorded.NewRecorder(e.Base(), trim)
	s := httptest.NewServer(rec)
	t.Cleanup(func() {
		s.Close()
		if !t.Failed() {
			if err := rec.Save(file, "ComfyUI on a CPU"); err != nil {
				t.Error(err)
			}
		}
	})
	return backend.NewEndpoint(s.URL, "")
}

// trim keeps of /object_info only the classes that graphs of ours can hold; a server has hundreds.
func trim(path string, body []byte) []byte {
	if path != "/object_info" {
		return body
	}
	var all, kept map[string]json.RawMessage
	if json.Unmarshal(body, &all) != nil {
		return body
	}
	kept = map[string]json.RawMessage{}
	for class, spec := range all {
		if strings.HasPrefix(class, "StableCascade") || used[class] {
			kept[class] = spec
		}
	}
	out, _ := json.Marshal(kept)
	return out
}

var used = map[string]bool{"CheckpointLoaderSimple": true, "CLIPSetLastLayer": true, "CLIPTextEncode": true, "KSampler": true, "VAEDecode": true,
	"PreviewImage": true, "EmptyLatentImage": true, "LoadImage": true, "RepeatImageBatch": true, "VAEEncode": true, "SetLatentNoiseMask": true,
	"VAEEncodeForInpaint": true, "LoraLoader": true, "LatentUpscale": true, "UpscaleModelLoader": true, "ImageUpscaleWithModel": true, "ControlNetLoader": true,
	"ControlNetApply": true, "DiffControlNetLoader": true, "Canny": true, "UNETLoader": true, "CLIPLoader": true, "VAELoader": true,
	"SamplerCustomAdvanced": true, "BasicScheduler": true, "KSamplerSelect": true, "RandomNoise": true, "CFGGuider": true,
	"EmptySD3LatentImage": true, "ModelSamplingAuraFlow": true, "ConditioningZeroOut": true, "ImageScale": true,
	"unCLIPCheckpointLoader": true, "CLIPVisionEncode": true, "unCLIPConditioning": true}

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
