// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build real

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

// realServer names the variable with the address of a running ComfyUI that hack/comfyui.sh installed:
//
//	HORDE_TEST_COMFYUI=http://127.0.0.1:8188 go test -tags real -run Real ./internal/worker/comfyui
//
// The test takes minutes on a CPU. With HORDE_TEST_RECORD=FILE it writes what TestRecorded replays.
const realServer = "HORDE_TEST_COMFYUI"

func realDriver(t *testing.T) *Driver {
	t.Helper()
	at := os.Getenv(realServer)
	if at == "" {
		t.Fatal(realServer + " is not set")
	}
	e, err := backend.NewEndpoint(at, "")
	if err != nil {
		t.Fatal(err)
	}
	d := New(e, map[string]string{"RealESRGAN_x4plus": "anime_x4.pth"})
	if d.at, err = recording(t, e); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestReal(t *testing.T) { exercise(t, realDriver(t)) }

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
