// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/alecthomas/kong"
)

// FuzzConfig reads bridgeData files, which people bring along from other workers. None ends the program by itself.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("api_key: x\nmodels_to_load: [top 3, SDXL 1.0]\nmax_power: 1e9\nallow_lora: yes\n"))
	f.Add([]byte("models: {a: 1}\nblacklist: 5\ncustom_models: [{name: x, baseline: y, filepath: z}]\n"))
	f.Add([]byte("a: &a [*a, *a]\n"))
	f.Add([]byte("dreamer_name: \"\\x00\"\nhorde_url: ':'\nqueue_size: -1\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		path := filepath.Join(t.TempDir(), "bridgeData.yaml")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		var cli struct {
			Worker Command `cmd:""`
		}
		k, err := kong.New(&cli, kong.Name("horde"), kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) { t.Error("the program ends") }))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Parse([]string{"worker", "--config", path}); err == nil {
			if read, err := ReadFile(path); err == nil {
				read.Warnings()
			}
		}
	})
}

// FuzzReference reads the lists of models that a worker fetches.
func FuzzReference(f *testing.F) {
	f.Add([]byte(`{"Deliberate":{"name":"Deliberate","baseline":"stable diffusion 1","config":{"files":[{"path":"x.ckpt"}]},"nsfw":false}}`), "top 5")
	f.Add([]byte(`{"a":null,"b":{"config":{"files":[null,{}]}}}`), "bottom 99999999999999999999")
	f.Add([]byte(`[]`), "all sdxl models")
	f.Fuzz(func(t *testing.T, list []byte, wish string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, referenceFile), list, 0o600); err != nil {
			t.Fatal(err)
		}
		// Without an address it is the copy of before that is read, in the same way, or the list inside the program.
		ref, _ := loadReference(t.Context(), "", dir)
		if len(ref) == 0 {
			t.Error("there is no list at all")
		}
		for name, r := range ref {
			if r.Name != name {
				t.Errorf("%q calls itself %q", name, r.Name)
			}
		}
		if names := ExpandModels([]string{wish, "all models"}, ref, Usage{"a": 1}, true); len(names) < len(ref) {
			t.Errorf("all models are %d of %d", len(names), len(ref))
		}
	})
}
