// SPDX-License-Identifier: AGPL-3.0-or-later

package openai

import (
	"math"
	"slices"

	"horde/internal/worker/backend"
)

// neutral returns the value of p, or the one that switches a sampler off: these servers have defaults of their own that
// the requester did not ask for.
func neutral[T any](p *T, off T) T {
	if p == nil {
		return off
	}
	return *p
}

func set[T any](b map[string]any, name string, p *T) {
	if p != nil {
		b[name] = *p
	}
}

// LlamaBody is the request for llama.cpp's own /completion.
func LlamaBody(j backend.TextJob) map[string]any {
	b := map[string]any{
		"prompt": j.Prompt, "n_predict": j.MaxLength, "cache_prompt": true, "stream": true,
		"temperature": neutral(j.Temperature, 1), "top_k": neutral(j.TopK, 0), "top_p": neutral(j.TopP, 1),
		"min_p": neutral(j.MinP, 0), "repeat_penalty": neutral(j.RepPen, 1),
	}
	set(b, "typical_p", j.Typical)
	set(b, "repeat_last_n", j.RepPenRange)
	set(b, "dynatemp_range", j.DynatempRange)
	set(b, "dynatemp_exponent", j.DynatempExponent)
	set(b, "ignore_eos", j.BanEOS)
	if len(j.Stop) > 0 {
		b["stop"] = j.Stop
	}
	if names := LlamaSamplers(j.SamplerOrder); names != nil {
		b["samplers"] = names
	}
	return b
}

// LlamaSamplers translates a sampler order into llama.cpp's names. top_a and tfs have no counterpart; min_p is put right
// behind top_p. Nil means the server's own order.
func LlamaSamplers(order []int) []string {
	names := map[int]string{0: "top_k", 2: "top_p", 4: "typ_p", 5: "temperature", 6: "penalties"}
	var out []string
	for _, id := range order {
		if n, ok := names[id]; ok {
			out = append(out, n)
		}
		if id == 2 {
			out = append(out, "min_p")
		}
	}
	return out
}

// CompletionBody is the request for /v1/completions of kind "vllm", "aphrodite", "tabby" or "openai". contextSize is
// the server's in tokens, 0 when unknown.
func CompletionBody(kind string, j backend.TextJob, contextSize int) map[string]any {
	b := map[string]any{
		"model": j.Model, "prompt": j.Prompt, "max_tokens": j.MaxLength, "stream": true,
		"temperature": neutral(j.Temperature, 1), "top_p": neutral(j.TopP, 1),
	}
	if len(j.Stop) > 0 {
		b["stop"] = j.Stop
	}
	if kind == "openai" {
		// Nothing more is known about such a server, and some refuse what they do not know.
		if len(j.Stop) > hostedStops {
			b["stop"] = j.Stop[:hostedStops]
		}
		return b
	}
	topK := neutral(j.TopK, 0)
	if topK == 0 && kind != "tabby" {
		topK = -1
	}
	b["top_k"] = topK
	b["min_p"] = neutral(j.MinP, 0)
	b["repetition_penalty"] = neutral(j.RepPen, 1)
	if j.BanEOS != nil {
		b[map[bool]string{true: "ban_eos_token", false: "ignore_eos"}[kind == "tabby"]] = *j.BanEOS
	}
	switch kind {
	case "vllm", "aphrodite":
		budget := j.MaxContext
		if contextSize > 0 {
			budget = min(budget, contextSize)
		}
		b["truncate_prompt_tokens"] = max(1, budget-j.MaxLength)
		b["include_stop_str_in_output"] = true
	case "tabby":
		set(b, "typical", j.Typical)
		if j.RepPenRange != nil {
			if b["penalty_range"] = *j.RepPenRange; *j.RepPenRange == 0 {
				b["penalty_range"] = -1
			}
		}
		if n := len(j.SamplerOrder); n > 0 {
			b["temperature_last"] = j.SamplerOrder[n-1] == 5
		}
	}
	if kind != "vllm" {
		set(b, "tfs", j.TFS)
		set(b, "top_a", j.TopA)
		set(b, "smoothing_factor", j.SmoothingFactor)
		dynatemp(b, kind, j)
	}
	if kind == "aphrodite" {
		set(b, "typical_p", j.Typical)
	}
	return b
}

// hostedStops is the number of stop sequences that the hosted OpenAI API takes.
const hostedStops = 4

// dynatemp turns a range around the temperature into its two ends.
func dynatemp(b map[string]any, kind string, j backend.TextJob) {
	r := neutral(j.DynatempRange, 0)
	if r <= 0 {
		return
	}
	lo, hi, exp := "dynatemp_min", "dynatemp_max", "dynatemp_exponent"
	if kind == "tabby" {
		lo, hi, exp = "min_temp", "max_temp", "temp_exponent"
	}
	t := neutral(j.Temperature, 1)
	b[lo], b[hi] = math.Max(0, t-r), t+r
	set(b, exp, j.DynatempExponent)
}

// OllamaBody is the request for Ollama's /api/generate.
func OllamaBody(j backend.TextJob) map[string]any {
	o := map[string]any{
		"num_predict": j.MaxLength, "num_ctx": j.MaxContext,
		"temperature": neutral(j.Temperature, 1), "top_k": neutral(j.TopK, 0), "top_p": neutral(j.TopP, 1),
		"min_p": neutral(j.MinP, 0), "repeat_penalty": neutral(j.RepPen, 1),
	}
	set(o, "typical_p", j.Typical)
	set(o, "repeat_last_n", j.RepPenRange)
	if len(j.Stop) > 0 {
		o["stop"] = slices.Clone(j.Stop)
	}
	return map[string]any{"model": j.Model, "prompt": j.Prompt, "raw": true, "stream": true, "options": o}
}
