// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

//go:embed bridgeData.template.yaml
var template []byte

// oldEnv lists the names under which deployed worker programs read options from the environment.
var oldEnv = map[string][]string{
	"horde_url": {"HORDE_URL", "AI_HORDE_URL"}, "api_key": {"HORDE_API_KEY"}, "worker_name": {"HORDE_WORKER_NAME"},
	"priority_usernames": {"HORDE_PRIORITY_USERNAMES"}, "max_power": {"HORDE_MAX_POWER"}, "max_threads": {"HORDE_MAX_THREADS"},
	"queue_size": {"HORDE_QUEUE_SIZE"}, "allow_unsafe_ip": {"HORDE_ALLOW_UNSAFE_IP"}, "nsfw": {"HORDE_NSFW"},
	"censor_nsfw": {"HORDE_CENSOR"}, "blacklist": {"HORDE_BLACKLIST"}, "censorlist": {"HORDE_CENSORLIST"},
	"allow_img2img": {"HORDE_IMG2IMG"}, "allow_painting": {"HORDE_PAINTING"}, "models_to_load": {"HORDE_MODELNAMES"},
	"models_to_skip": {"HORDE_SKIPPED_MODELNAMES"}, "max_length": {"HORDE_MAX_LENGTH"},
	"max_context_length": {"HORDE_MAX_CONTEXT_LENGTH"}, "branded_model": {"HORDE_BRANDED_MODEL"},
	"require_upfront_kudos": {"REQUIRE_UPFRONT_KUDOS"}, "stats_output_frequency": {"STATS_OUTPUT_FREQUENCY"},
	"disable_terminal_ui": {"DISABLE_TERMINAL_UI"}, "allow_post_processing": {"ALLOW_POST_PROCESSING"},
	"allow_controlnet": {"ALLOW_CONTROLNET"}, "allow_lora": {"ALLOW_LORA"},
	"max_lora_cache_size": {"HORDE_MAX_LORA_CACHE"}, "civitai_api_token": {"CIVIT_API_TOKEN"}, "dreamer_name": {"AIWORKER_DREAMER_WORKER_NAME"},
}

// oldKeys are other spellings of keys in files.
var oldKeys = map[string]string{
	"default_worker_name": "worker_name", "allow_inpainting": "allow_painting", "models_folder_parent": "cache_home",
}

// ignoredKeys belong to deployed worker programs that load models themselves; here the inference server does that.
var ignoredKeys = []string{
	"always_download", "capture_kudos_training_data", "cycle_process_on_model_change",
	"disable_disk_cache", "download_timeout", "dynamic_models", "extra_stable_diffusion_models_folders",
	"high_memory_mode", "kudos_training_data_file", "limited_console_messages",
	"max_models_to_download", "minutes_allowed_without_jobs", "model_stickiness", "number_of_dynamic_models",
	"post_process_job_overlap", "process_timeout", "purge_loras_on_download", "ram_to_leave_free", "safety_on_gpu", "temp_dir",
	"unload_models_from_vram_often", "very_fast_disk_mode", "very_high_memory_mode", "vram_to_leave_free", "backend_engine",
	"openai_api",
}

// File is a configuration file that was read. It is a kong.Resolver: options on the command line and in the environment
// win over it.
type File struct {
	values map[string]any
	used   map[string]bool
}

// ReadFile reads a YAML file. The error names the place in it.
func ReadFile(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{values: map[string]any{}, used: map[string]bool{}}
	if err := yaml.Unmarshal(data, &f.values); err != nil {
		hint := ""
		if strings.Contains(string(data), `\`) {
			hint = " (paths are written with forward slashes in YAML)"
		}
		return nil, fmt.Errorf("%s: %w%s", path, err, hint)
	}
	for old, key := range oldKeys {
		if v, ok := f.values[old]; ok {
			delete(f.values, old)
			if _, taken := f.values[key]; !taken {
				f.values[key] = v
			}
		}
	}
	return f, nil
}

// WriteTemplate writes a commented configuration file unless there is one.
func WriteTemplate(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(template)
	return errors.Join(err, f.Close())
}

// Validate implements kong.Resolver.
func (f *File) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (f *File) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	key := strings.ReplaceAll(flag.Name, "-", "_")
	v, ok := f.values[key]
	if ok {
		f.used[key] = true
	}
	for _, name := range flag.Tag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil // kong has it already
		}
	}
	for _, name := range append(oldEnv[key], "AIWORKER_"+strings.ToUpper(key)) {
		if env, set := os.LookupEnv(name); set && fromWorkerGroup(flag) {
			return strings.Trim(env, "[]"), nil
		}
	}
	if !ok || v == nil {
		return nil, nil
	}
	return v, nil
}

func fromWorkerGroup(flag *kong.Flag) bool {
	return len(flag.Tag.Envs) > 0 && strings.HasPrefix(flag.Tag.Envs[0], "WORKER_")
}

// Warnings names keys of the file that mean nothing, after the options were resolved.
func (f *File) Warnings() []string {
	var unknown, ignored []string
	for k := range f.values {
		switch {
		case f.used[k]:
		case slices.Contains(ignoredKeys, k):
			ignored = append(ignored, k)
		default:
			unknown = append(unknown, k)
		}
	}
	sort.Strings(unknown)
	sort.Strings(ignored)
	var out []string
	if len(unknown) > 0 {
		out = append(out, "unknown keys in the configuration file: "+strings.Join(unknown, ", "))
	}
	if len(ignored) > 0 {
		out = append(out, "keys that this worker does not need: "+strings.Join(ignored, ", "))
	}
	return out
}
