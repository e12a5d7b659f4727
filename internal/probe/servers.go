// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// Each method first makes sure that it speaks with the right program and then fills in what more it can learn; a
// failure of the latter is no reason to say that nothing is there.

func (l *looker) comfyUI(ctx context.Context, f *Found) error {
	var stats struct {
		System *struct {
			Version string `json:"comfyui_version"` // absent before 2024
		} `json:"system"`
		Devices []json.RawMessage `json:"devices"`
	}
	if err := l.get(ctx, f.URL+"/system_stats", nil, &stats); err != nil {
		return err
	}
	if stats.System == nil || stats.Devices == nil {
		return errOther
	}
	f.Version = stats.System.Version
	// The node's first input is [[names…], {…}], or ["COMBO", {"options": [names…]}] in newer spellings.
	var info map[string]struct {
		Input struct {
			Required map[string][]json.RawMessage `json:"required"`
		} `json:"input"`
	}
	if l.get(ctx, f.URL+"/object_info/CheckpointLoaderSimple", nil, &info) != nil {
		return nil
	}
	field := info["CheckpointLoaderSimple"].Input.Required["ckpt_name"]
	if len(field) > 0 && json.Unmarshal(field[0], &f.Models) == nil {
		return nil
	}
	if len(field) > 1 {
		var combo struct {
			Options []string `json:"options"`
		}
		if json.Unmarshal(field[1], &combo) == nil {
			f.Models = combo.Options
		}
	}
	return nil
}

func (l *looker) a1111(ctx context.Context, f *Found) error {
	var models []struct {
		Title *string `json:"title"`
		Name  string  `json:"model_name"`
	}
	if err := l.get(ctx, f.URL+"/sdapi/v1/sd-models", nil, &models); err != nil {
		return err
	}
	if models == nil { // "null"
		return errOther
	}
	for _, m := range models {
		if m.Title == nil {
			return errOther
		}
		f.Models = append(f.Models, m.Name)
	}
	return nil
}

func (l *looker) koboldCpp(ctx context.Context, f *Found) error {
	var version struct {
		Result    string `json:"result"`
		Version   string `json:"version"`
		Protected bool   `json:"protected"`
	}
	if err := l.get(ctx, f.URL+"/api/extra/version", nil, &version); err != nil {
		return err
	}
	if version.Result != "KoboldCpp" {
		return errOther
	}
	f.Version, f.Locked = version.Version, version.Protected
	var model struct {
		Result string `json:"result"`
	}
	// "inactive" is what it answers while no text model is loaded.
	if l.get(ctx, f.URL+"/api/v1/model", nil, &model) == nil && model.Result != "" && !strings.HasSuffix(model.Result, "inactive") {
		f.Models = []string{model.Result}
	}
	var size struct {
		Value int `json:"value"`
	}
	if l.get(ctx, f.URL+"/api/extra/true_max_context_length", nil, &size) == nil {
		f.Context = size.Value
	}
	return nil
}

func (l *looker) llamaCpp(ctx context.Context, f *Found) error {
	var props struct {
		Settings *struct {
			Context int `json:"n_ctx"` // for each slot
		} `json:"default_generation_settings"`
		Build string `json:"build_info"`
	}
	err := l.get(ctx, f.URL+"/props", nil, &props)
	var status statusError
	if errors.As(err, &status) && int(status) == http.StatusServiceUnavailable {
		// Everything answers 503 while the model loads; /health tells llama.cpp from some other busy server.
		return l.llamaLoading(ctx, f)
	}
	if err != nil {
		return err
	}
	if props.Settings == nil {
		return errOther
	}
	f.Context, f.Version = props.Settings.Context, props.Build
	var models struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if l.get(ctx, f.URL+"/v1/models", nil, &models) == nil {
		for _, m := range models.Data {
			f.Models = append(f.Models, m.ID)
		}
	}
	return nil
}

func (l *looker) llamaLoading(ctx context.Context, f *Found) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var said struct {
		Error struct {
			Type string `json:"type"`
		} `json:"error"`
	}
	if json.NewDecoder(http.MaxBytesReader(nil, resp.Body, bodyMax)).Decode(&said) != nil || said.Error.Type != "unavailable_error" {
		return errOther
	}
	f.Loading = true
	return nil
}

func (l *looker) ollama(ctx context.Context, f *Found) error {
	var version struct {
		Version string `json:"version"`
	}
	if err := l.get(ctx, f.URL+"/api/version", nil, &version); err != nil {
		return err
	}
	var tags struct {
		Models []struct {
			Name string `json:"name"`
		} `json:"models"`
	}
	if err := l.get(ctx, f.URL+"/api/tags", nil, &tags); err != nil {
		return err
	}
	if version.Version == "" || tags.Models == nil {
		return errOther
	}
	f.Version = version.Version
	for _, m := range tags.Models {
		f.Models = append(f.Models, m.Name)
	}
	if len(f.Models) == 0 {
		return nil
	}
	// The key is "<architecture>.context_length".
	body, err := json.Marshal(map[string]string{"model": f.Models[0]})
	if err != nil {
		return nil
	}
	var show struct {
		Info map[string]any `json:"model_info"`
	}
	if l.get(ctx, f.URL+"/api/show", body, &show) == nil {
		for key, value := range show.Info {
			if n, ok := value.(float64); ok && strings.HasSuffix(key, ".context_length") && n > 0 && n < 1<<31 {
				f.Context = int(n)
			}
		}
	}
	return nil
}
