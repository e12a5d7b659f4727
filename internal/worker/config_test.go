// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// parse runs a command line with a configuration file.
func parse(t *testing.T, file string, args ...string) (*Command, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bridgeData.yaml")
	if file != "" {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var cli struct {
		Worker Command `cmd:""`
	}
	k, err := kong.New(&cli, kong.Name("horde"), kong.Exit(func(int) { t.Error("kong ended the process") }))
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Parse(append([]string{"worker", "--config", path}, args...))
	return &cli.Worker, err
}

// Sources from weakest to strongest: default, file, environment (old names below new ones), command line.
func TestConfigSources(t *testing.T) {
	t.Setenv("HORDE_MAX_POWER", "16")
	t.Setenv("AIWORKER_MAX_THREADS", "2")
	t.Setenv("WORKER_QUEUE_SIZE", "3")
	t.Setenv("HORDE_QUEUE_SIZE", "4")
	t.Setenv("HORDE_BLACKLIST", "[one,two]")
	c, err := parse(t, `
default_worker_name: "W"
dreamer_name: "D"
max_power: 32
max_threads: 8
queue_size: 0
max_batch: 4
models_to_load: ["top 2", "Deliberate"]
model_map: {"My Model": "file.safetensors"}
custom_models: [{name: X, baseline: SDXL, filepath: /x.safetensors}]
nsfw: false
allow_lora: true
api_key: null
civitai_api_token: "x"
lora_folder: /models/loras
download_timeout: 121
new_key: 1
`, "dreamer", "--max-batch", "2", "--no-allow-img2img")
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxPower != 16 || c.MaxThreads != 2 || c.QueueSize != 3 || c.MaxBatch != 2 || c.WorkerName != "W" || c.DreamerName != "D" || c.NSFW || !c.AllowLora || c.CivitAIAPIToken != "x" || c.LoraFolder != "/models/loras" ||
		c.AllowImg2Img || !c.AllowPainting || c.APIKey != anonymousKey || c.Kind != "dreamer" || strings.Join(c.ModelsToLoad, "|") != "top 2|Deliberate" ||
		c.ModelMap["My Model"] != "file.safetensors" || len(c.CustomModels) != 1 || c.CustomModels[0].Baseline != "SDXL" || strings.Join(c.Blacklist, "|") != "one|two" {
		t.Errorf("got %+v", c.Config)
	}
	w := strings.Join(c.file.Warnings(), "; ")
	if !strings.Contains(w, "new_key") || !strings.Contains(w, "download_timeout") || strings.Contains(w, "civitai") || strings.Contains(w, "max_power") {
		t.Errorf("warnings %q", w)
	}
}

func TestConfigMistakes(t *testing.T) {
	if _, err := parse(t, "dreamer_name: \"C:\\models\"\n"); err == nil || !strings.Contains(err.Error(), "forward slashes") {
		t.Errorf("backslash: %v", err)
	}
	if _, err := parse(t, "max_power: lots\n"); err == nil || !strings.Contains(err.Error(), "max-power") {
		t.Errorf("wrong type: %v", err)
	}
	for key, bad := range map[string]func(*Config){
		"max_threads":        func(c *Config) { c.MaxThreads = 17 },
		"max_power":          func(c *Config) { c.MaxPower = 0 },
		"api_key":            func(c *Config) { c.APIKey = "with space 12345" },
		"scribe_name":        func(c *Config) { c.ScribeName = defaultScribe },
		"dreamer_name":       func(c *Config) { c.DreamerName = strings.Repeat("x", 101) },
		"source_prefixes":    func(c *Config) { c.SourcePrefixes = []string{"10.0.0.0"} },
		"lora_folder":        func(c *Config) { c.LoraFolder = "/no such folder" },
		"civitai_url":        func(c *Config) { c.CivitAIURL = "ftp://civitai.example" },
		"metrics_listen":     func(c *Config) { c.MetricsListen = "9890" },
		"safety_url":         func(c *Config) { c.SafetyURL, c.NSFW = "off", false },
		"max_context_length": func(c *Config) { c.MaxContextLength = 10 },
	} {
		c := testConfig(t)
		bad(&c)
		if _, err := c.Prepare(); CodeOf(err) != ExitConfig || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	good := testConfig(t)
	if w, err := good.Prepare(); err != nil || len(w) != 0 {
		t.Errorf("%v, %v", w, err)
	}
}

// The template is what a newcomer gets, so it must parse and name only keys that exist.
func TestTemplate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.yaml")
	if err := WriteTemplate(path); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(path)
	c, err := parse(t, string(data))
	if err != nil {
		t.Fatal(err)
	}
	if w := c.file.Warnings(); len(w) != 0 {
		t.Errorf("warnings %v", w)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteTemplate(path); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(path); string(data) != "mine" {
		t.Error("an existing file was written over")
	}
	fresh, err := parse(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Run(); CodeOf(err) != ExitConfig {
		t.Errorf("without a name: %v", err)
	}
	if _, err := os.Stat(fresh.File); err != nil {
		t.Errorf("no template was written: %v", err)
	}
}
