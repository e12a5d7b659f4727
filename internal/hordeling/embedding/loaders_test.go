// SPDX-License-Identifier: AGPL-3.0-or-later

package embedding

import (
	"fmt"
	"testing"

	"horde/internal/hordeling/hordelingtest"
	"horde/internal/hordeling/safetensors"
)

// comfyUI picks the tensor as ComfyUI does: the key of the text encoder in use, or else the first tensor.
func comfyUI(f *safetensors.File, encoder string) *safetensors.Tensor {
	for i := range f.Tensors {
		if f.Tensors[i].Name == encoder {
			return &f.Tensors[i]
		}
	}
	return &f.Tensors[0]
}

// automatic1111 tells whether AUTOMATIC1111 takes a file: the two tensors of SDXL and no others, or exactly one.
func automatic1111(f *safetensors.File) bool {
	names := make(map[string]bool)
	for _, t := range f.Tensors {
		names[t.Name] = true
	}
	return len(names) == 1 || len(names) == 2 && names["clip_l"] && names["clip_g"]
}

// TestOutputsFollowTheRulesOfLoaders converts embeddings of the usual sizes, in every layout, and loads them by the rules
// of the two programs that most workers run: neither may miss the tensor because of its name or its width.
func TestOutputsFollowTheRulesOfLoaders(t *testing.T) {
	t.Parallel()
	text, dict, tensor, program := hordelingtest.Text, hordelingtest.Dict, hordelingtest.Tensor, hordelingtest.Program
	for _, width := range []int{768, 1024} {
		one := tensor("FloatStorage", "0", 2, width)
		for name, body := range map[string]string{
			"webui": dict(text("string_to_param"), dict(text("*"), one), text("step"), "K\x05"), "diffusers": dict(text("<cat>"), one),
			"emb_params": dict(text("emb_params"), one), "bare": one,
		} {
			t.Run(fmt.Sprint(name, " ", width), func(t *testing.T) {
				t.Parallel()
				f := load(t, hordelingtest.Model(program(body), hordelingtest.Floats(2*width, 1)))
				if got := comfyUI(f, "clip_l"); got.Shape[1] != int64(width) || got.Shape[0] != 2 || !automatic1111(f) {
					t.Errorf("got %+v of %d tensors", got.Shape, len(f.Tensors))
				}
			})
		}
	}
	body := dict(text("clip_l"), tensor("HalfStorage", "0", 3, 768), text("clip_g"), tensor("HalfStorage", "1", 3, 1280), text("extra"), tensor("HalfStorage", "2", 1))
	f := load(t, hordelingtest.Model(program(body), make([]byte, 2*3*768), make([]byte, 2*3*1280), make([]byte, 2)))
	if l, g := comfyUI(f, "clip_l"), comfyUI(f, "clip_g"); l.Shape[1] != 768 || g.Shape[1] != 1280 || !automatic1111(f) {
		t.Errorf("SDXL: %+v", f.Tensors)
	}
}

func load(t *testing.T, src []byte) *safetensors.File {
	t.Helper()
	r, err := convert(src)
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Parse(r.Bytes, safetensors.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}
