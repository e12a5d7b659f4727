// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"horde/internal/worker/a1111"
	"horde/internal/worker/backend"
	"horde/internal/worker/comfyui"
	"horde/internal/worker/koboldai"
	"horde/internal/worker/openai"
)

// detectTimeout bounds one question to a server whose kind is not known.
const detectTimeout = 3 * time.Second

// textPorts are where text servers usually listen: KoboldCpp, llama.cpp, Ollama, TabbyAPI and KoboldAI, vLLM.
var textPorts = []string{"5001", "8080", "11434", "5000", "8000"}

// FindText returns a driver for the text server that cfg names, or for the first one found at the usual ports of this
// machine.
func FindText(ctx context.Context, cfg *Config) (backend.Text, error) {
	if cfg.ScribeBackend == "sandbox" {
		return DemoText{}, nil
	}
	if cfg.KaiURL != "" {
		at, err := endpoint(cfg, cfg.KaiURL)
		if err != nil {
			return nil, exitf(ExitConfig, "kai_url: %w", err)
		}
		kind := cfg.ScribeBackend
		if kind == "auto" {
			if kind, err = DetectText(ctx, at); err != nil {
				return nil, err
			}
		}
		return textDriver(at, kind, cfg.BackendModel), nil
	}
	for _, port := range textPorts {
		at, err := endpoint(cfg, "http://127.0.0.1:"+port)
		if err != nil {
			return nil, exitf(ExitConfig, "backend: %w", err)
		}
		if kind, err := DetectText(ctx, at); err == nil && (cfg.ScribeBackend == "auto" || cfg.ScribeBackend == kind) {
			return textDriver(at, kind, cfg.BackendModel), nil
		}
	}
	return nil, backend.Errorf(backend.Unreachable, "no text server at the ports %s of this machine; kai_url names one elsewhere",
		strings.Join(textPorts, ", "))
}

func endpoint(cfg *Config, raw string) (*backend.Endpoint, error) {
	if cfg.BackendBasicAuth != "" {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, err
		}
		name, pass, _ := strings.Cut(cfg.BackendBasicAuth, ":")
		u.User = url.UserPassword(name, pass)
		raw = u.String()
	}
	return backend.NewEndpoint(raw, cfg.BackendAPIKey)
}

func textDriver(at *backend.Endpoint, kind, model string) backend.Text {
	switch kind {
	case "koboldcpp", "koboldai":
		return koboldai.New(at, kind)
	}
	return openai.New(at, kind, model)
}

// DetectText asks a server what it is, in an order in which the more particular answers come first: several of these
// servers imitate others.
func DetectText(ctx context.Context, at *backend.Endpoint) (string, error) {
	get := func(path string, out any) error {
		ctx, cancel := context.WithTimeout(ctx, detectTimeout)
		defer cancel()
		return at.JSON(ctx, http.MethodGet, path, nil, out)
	}
	var version struct {
		Result string `json:"result"`
	}
	err := get("/api/extra/version", &version)
	if backend.KindOf(err) == backend.Unreachable || ctx.Err() != nil {
		return "", err
	}
	if err == nil && version.Result == "KoboldCpp" && get("/v1/model", nil) != nil {
		return "koboldcpp", nil
	}
	var props map[string]any
	if get("/props", &props) == nil && props["default_generation_settings"] != nil {
		return "llamacpp", nil
	}
	var models struct {
		Data []struct {
			Owner string `json:"owned_by"`
		} `json:"data"`
	}
	listed := get("/v1/models", &models) == nil
	if listed && len(models.Data) > 0 {
		switch models.Data[0].Owner {
		case "pygmalionai":
			return "aphrodite", nil
		case "vllm":
			return "vllm", nil
		}
	}
	var tags map[string]any
	if get("/api/tags", &tags) == nil && tags["models"] != nil && get("/api/version", nil) == nil {
		return "ollama", nil
	}
	if get("/v1/model", nil) == nil {
		return "tabby", nil
	}
	if listed {
		return "openai", nil
	}
	if get("/api/v1/model", nil) == nil {
		return "koboldai", nil
	}
	return "", fmt.Errorf("%s: %w", at.Base(), backend.Errorf(backend.Refused, "no API that this worker speaks"))
}

// FindImages returns a driver for the image server that cfg names, or for the first that answers at the configured
// addresses.
func FindImages(ctx context.Context, cfg *Config) (backend.Images, error) {
	urls := map[string]string{"comfyui": cfg.ComfyUIURL, "a1111": cfg.A1111URL, "forge": cfg.A1111URL, "sdnext": cfg.A1111URL, "sdcpp": cfg.SDCPPURL}
	driver := func(at *backend.Endpoint, kind string) backend.Images {
		if kind == "comfyui" {
			return comfyui.New(at, cfg.ModelMap)
		}
		return a1111.New(at, kind, cfg.ModelMap)
	}
	switch cfg.DreamerBackend {
	case "sandbox":
		return DemoImages{}, nil
	case "auto":
	default:
		at, err := endpoint(cfg, urls[cfg.DreamerBackend])
		if err != nil {
			return nil, exitf(ExitConfig, "%s: %w", cfg.DreamerBackend, err)
		}
		return driver(at, cfg.DreamerBackend), nil
	}
	for _, raw := range []string{cfg.ComfyUIURL, cfg.A1111URL, cfg.SDCPPURL} {
		at, err := endpoint(cfg, raw)
		if err != nil {
			return nil, exitf(ExitConfig, "image server: %w", err)
		}
		short, cancel := context.WithTimeout(ctx, detectTimeout)
		err = at.JSON(short, http.MethodGet, "/system_stats", nil, nil)
		cancel()
		if err == nil {
			return driver(at, "comfyui"), nil
		}
		if backend.KindOf(err) == backend.Unreachable {
			continue
		}
		if kind, err := a1111.Detect(ctx, at); err == nil {
			return driver(at, kind), nil
		}
	}
	return nil, backend.Errorf(backend.Unreachable, "no image server at %s, %s or %s", cfg.ComfyUIURL, cfg.A1111URL, cfg.SDCPPURL)
}
