// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"horde/internal/modelref"
	"horde/internal/worker/backend"
)

// record is one model of the image model reference, as far as a worker uses it.
type record struct {
	Name       string `json:"name"`
	Baseline   string `json:"baseline"`
	Inpainting bool   `json:"inpainting"`
	NSFW       bool   `json:"nsfw"`
	Config     struct {
		Files []struct {
			Path    string `json:"path"`
			Type    string `json:"file_type"`
			Purpose string `json:"file_purpose"`
		} `json:"files"`
	} `json:"config"`
}

const (
	// maxReference bounds the list of models in bytes; it has about 2 MB.
	maxReference     = 64 << 20
	referenceTimeout = 20 * time.Second
	referenceFile    = "stable_diffusion.json"
)

// loadReference reads the list of models from its address, keeping a copy in dir; from that copy when the address does
// not answer; and from the list inside this program at last. The error tells what did not work; the list is usable all
// the same.
func loadReference(ctx context.Context, address, dir string) (map[string]record, error) {
	data, err := fetchReference(ctx, address)
	kept := filepath.Join(dir, referenceFile)
	if err == nil {
		var list map[string]record
		if err = json.Unmarshal(data, &list); err == nil && len(list) > 0 {
			if werr := os.WriteFile(kept, data, 0o644); werr != nil {
				return named(list), fmt.Errorf("keep a copy of the model list: %w", werr)
			}
			return named(list), nil
		}
	}
	if data, rerr := os.ReadFile(kept); rerr == nil {
		var list map[string]record
		if json.Unmarshal(data, &list) == nil && len(list) > 0 {
			return named(list), fmt.Errorf("model list: %w; using the copy from before", err)
		}
	}
	list := map[string]record{}
	if ref, berr := modelref.Load(ctx, modelref.Sources{}); berr == nil {
		for name, m := range ref.Image {
			list[name] = record{Name: name, Baseline: m.Baseline, Inpainting: m.Inpainting, NSFW: m.NSFW}
		}
	}
	return list, fmt.Errorf("model list: %w; using the one of this program", err)
}

func named(list map[string]record) map[string]record {
	for k, r := range list {
		r.Name = k
		list[k] = r
	}
	return list
}

func fetchReference(ctx context.Context, address string) ([]byte, error) {
	if address == "" {
		return nil, fmt.Errorf("no address is set")
	}
	ctx, cancel := context.WithTimeout(ctx, referenceTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", address, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxReference))
}

// Usage is how often models were used in the last month, for "top n".
type Usage map[string]int

// ExpandModels turns names and instructions into names. Instructions are matched at the start of an entry in any case;
// the word models may follow. The result is sorted; names that are not in the reference are kept.
func ExpandModels(entries []string, ref map[string]record, usage Usage, large bool) []string {
	set := map[string]bool{}
	add := func(keep func(record) bool) {
		for name, r := range ref {
			if keep(r) {
				set[name] = true
			}
		}
	}
	base := func(want ...backend.Baseline) func(record) bool {
		return func(r record) bool { return slices.Contains(want, backend.ParseBaseline(r.Baseline)) }
	}
	for _, e := range entries {
		words := strings.Fields(strings.ToLower(e))
		if n := len(words); n > 1 && words[n-1] == "models" {
			words = words[:n-1]
		}
		switch strings.Join(words, " ") {
		case "all":
			add(func(r record) bool { return large || !backend.ParseBaseline(r.Baseline).Large() })
		case "all sdxl":
			add(base(backend.SDXL))
		case "all sd15":
			add(base(backend.SD1))
		case "all sd21":
			add(base(backend.SD2, backend.SD2_512))
		case "all sfw":
			add(func(r record) bool { return !r.NSFW })
		case "all nsfw":
			add(func(r record) bool { return r.NSFW })
		case "all inpainting":
			add(func(r record) bool { return r.Inpainting })
		default:
			if n, ok := ranked(words); ok {
				for _, name := range rank(usage, ref, words[0] == "top", n) {
					set[name] = true
				}
			} else if name := strings.TrimSpace(e); name != "" {
				set[name] = true
			}
		}
	}
	return sortedKeys(set)
}

func ranked(words []string) (n int, ok bool) {
	if len(words) != 2 || words[0] != "top" && words[0] != "bottom" {
		return 0, false
	}
	n, err := strconv.Atoi(words[1])
	return n, err == nil && n > 0
}

// rank returns the n most or least used models of the reference.
func rank(usage Usage, ref map[string]record, most bool, n int) []string {
	names := slices.DeleteFunc(sortedKeys(usage), func(s string) bool { _, known := ref[s]; return !known })
	slices.SortStableFunc(names, func(a, b string) int {
		if most {
			a, b = b, a
		}
		return usage[a] - usage[b]
	})
	return names[:min(n, len(names))]
}

// pickModels decides what to offer: what was asked for, minus what is to be skipped, as far as the server has the files
// and can run the family. missing names what was asked for by name and is not there.
func pickModels(cfg *Config, ref map[string]record, usage Usage, info backend.ImageInfo) (models []backend.Model, missing []string) {
	for _, c := range cfg.CustomModels {
		ref[c.Name] = record{Name: c.Name, Baseline: c.Baseline, NSFW: true}
	}
	for name := range cfg.ModelMap {
		if _, known := ref[name]; !known && !isPostProcessor(name) {
			ref[name] = record{Name: name, NSFW: true}
		}
	}
	wanted := ExpandModels(cfg.ModelsToLoad, ref, usage, cfg.LoadLargeModels)
	everything := len(cfg.ModelsToLoad) == 0
	if everything {
		wanted = sortedKeys(ref)
		if info.Kind == "sandbox" {
			wanted = info.Models
		}
	}
	skip := ExpandModels(append([]string{"SDXL_beta::stability.ai#6901"}, cfg.ModelsToSkip...), ref, usage, true)
	for _, name := range wanted {
		if slices.Contains(skip, name) {
			continue
		}
		m, ok := locate(cfg, ref[name], name, info)
		switch {
		case ok:
			models = append(models, m)
		case !everything && slices.ContainsFunc(cfg.ModelsToLoad, func(e string) bool { return strings.TrimSpace(e) == name }):
			missing = append(missing, name)
		}
	}
	return models, missing
}

func isPostProcessor(name string) bool { return backend.IsUpscaler(name) || backend.IsFaceFixer(name) }

// locate finds the files of a model at the server.
func locate(cfg *Config, r record, name string, info backend.ImageInfo) (backend.Model, bool) {
	m := backend.Model{Name: name, Baseline: backend.ParseBaseline(r.Baseline), Inpainting: r.Inpainting, NSFW: r.NSFW || r.Name == "", Files: map[string]string{}}
	need := map[backend.Baseline]backend.Feature{backend.Flux1: backend.Flux, backend.StableCascade: backend.Cascade,
		backend.QwenImage: backend.Qwen, backend.ZImageTurbo: backend.ZImage}[m.Baseline]
	if need != "" && !info.Has[need] {
		return m, false
	}
	if info.Kind == "sandbox" {
		m.Files[""] = name
		return m, slices.Contains(info.Models, name)
	}
	find := func(want string) string {
		for _, have := range info.Models {
			if want != "" && sameModelFile(have, want) {
				return have
			}
		}
		return ""
	}
	if file, mapped := cfg.ModelMap[name]; mapped {
		m.Files[""] = find(file)
		return m, m.Files[""] != ""
	}
	for _, c := range cfg.CustomModels {
		if c.Name == name {
			m.Files[""] = find(c.Filepath)
			return m, m.Files[""] != ""
		}
	}
	for _, f := range r.Config.Files {
		purpose := f.Type
		if purpose == "" {
			purpose = f.Purpose
		}
		end := strings.ToLower(path.Ext(f.Path))
		if end != ".ckpt" && end != ".safetensors" && end != ".pth" {
			continue
		}
		switch m.Baseline {
		case backend.StableCascade, backend.QwenImage, backend.ZImageTurbo:
			m.Files[purpose] = path.Base(f.Path)
			if purpose == "stable_cascade_stage_c" || purpose == "unet" {
				m.Files[""] = find(f.Path)
			}
		default:
			if m.Files[""] == "" {
				m.Files[""] = find(f.Path)
			}
		}
	}
	if m.Files[""] == "" {
		// A file that is called like the model.
		m.Files[""] = find(name)
	}
	return m, m.Files[""] != ""
}

func sameModelFile(a, b string) bool {
	clean := func(s string) string {
		s = strings.ToLower(path.Base(strings.ReplaceAll(s, `\`, "/")))
		for _, end := range []string{".safetensors", ".ckpt", ".pth", ".gguf"} {
			s = strings.TrimSuffix(s, end)
		}
		return strings.NewReplacer(" ", "_", "-", "_").Replace(s)
	}
	return clean(a) == clean(b)
}
