// SPDX-License-Identifier: AGPL-3.0-or-later

package openai

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"horde/client"
	"horde/internal/worker/backend"
)

const example = `{"prompt":"Once","n":1,"max_length":120,"max_context_length":4096,"temperature":0.7,"top_k":40,"rep_pen":1.1,
	"stop_sequence":["\nUser:"],"min_p":0.0,"smoothing_factor":0.0,"dynatemp_range":0.0,"dynatemp_exponent":1.0}`

func job(t *testing.T, payload string) backend.TextJob {
	t.Helper()
	var p client.TextPayload
	if err := client.Decode([]byte(payload), &p); err != nil {
		t.Fatal(err)
	}
	j := backend.NewTextJob("k", p, 0)
	j.Model = "m"
	return j
}

func same(t *testing.T, name string, got map[string]any, want string) {
	t.Helper()
	data, _ := json.Marshal(got)
	var a, b map[string]any
	json.Unmarshal(data, &a)
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s: body\n%v, want\n%v", name, a, b)
	}
}

// Worked example 23 and the table of section 12.2.
func TestBodies(t *testing.T) {
	t.Parallel()
	same(t, "vllm", CompletionBody("vllm", job(t, example), 0), `{"model":"m","stream":true,"prompt":"Once","max_tokens":120,
		"truncate_prompt_tokens":3976,"temperature":0.7,"top_k":40,"top_p":1,"min_p":0,"repetition_penalty":1.1,
		"stop":["\nUser:"],"include_stop_str_in_output":true}`)
	same(t, "vllm, little set", CompletionBody("vllm", job(t, `{"prompt":"x","max_length":100,"max_context_length":4096}`), 2048),
		`{"model":"m","stream":true,"prompt":"x","max_tokens":100,"truncate_prompt_tokens":1948,"temperature":1,"top_k":-1,
		"top_p":1,"min_p":0,"repetition_penalty":1,"include_stop_str_in_output":true}`)
	same(t, "llama.cpp", LlamaBody(job(t, example)), `{"prompt":"Once","stream":true,"cache_prompt":true,"n_predict":120,
		"temperature":0.7,"top_k":40,"top_p":1,"min_p":0,"repeat_penalty":1.1,"dynatemp_range":0,"dynatemp_exponent":1,
		"stop":["\nUser:"]}`)
	full := `{"prompt":"x","max_length":100,"max_context_length":4096,"temperature":0.5,"top_a":0.1,"tfs":0.9,"typical":0.8,
		"smoothing_factor":0.2,"dynatemp_range":0.7,"dynatemp_exponent":2,"rep_pen_range":0,"sampler_order":[6,0,1,3,4,2,5],
		"use_default_badwordsids":true,"stop_sequence":["a","b","","c","d","e"]}`
	same(t, "aphrodite", CompletionBody("aphrodite", job(t, full), 0), `{"model":"m","stream":true,"prompt":"x","max_tokens":100,
		"truncate_prompt_tokens":3996,"temperature":0.5,"top_k":-1,"top_p":1,"min_p":0,"repetition_penalty":1,"tfs":0.9,
		"top_a":0.1,"typical_p":0.8,"smoothing_factor":0.2,"dynatemp_min":0,"dynatemp_max":1.2,"dynatemp_exponent":2,
		"ignore_eos":true,"stop":["a","b","c","d","e"],"include_stop_str_in_output":true}`)
	same(t, "tabby", CompletionBody("tabby", job(t, full), 0), `{"model":"m","stream":true,"prompt":"x","max_tokens":100,
		"temperature":0.5,"top_k":0,"top_p":1,"min_p":0,"repetition_penalty":1,"tfs":0.9,"top_a":0.1,"typical":0.8,
		"smoothing_factor":0.2,"min_temp":0,"max_temp":1.2,"temp_exponent":2,"penalty_range":-1,"temperature_last":true,
		"ban_eos_token":true,"stop":["a","b","c","d","e"]}`)
	same(t, "openai", CompletionBody("openai", job(t, full), 0), `{"model":"m","stream":true,"prompt":"x","max_tokens":100,
		"temperature":0.5,"top_p":1,"stop":["a","b","c","d"]}`)
	same(t, "ollama", OllamaBody(job(t, example)), `{"model":"m","prompt":"Once","raw":true,"stream":true,"options":{
		"num_predict":120,"num_ctx":4096,"temperature":0.7,"top_k":40,"top_p":1,"min_p":0,"repeat_penalty":1.1,"stop":["\nUser:"]}}`)
	if got := LlamaSamplers([]int{6, 0, 1, 3, 4, 2, 5}); strings.Join(got, " ") != "penalties top_k typ_p top_p min_p temperature" {
		t.Errorf("samplers %v", got)
	}
}

func serve(t *testing.T, h http.HandlerFunc) *backend.Endpoint {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	at, err := backend.NewEndpoint(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func quiet(backend.TextProgress) {}

func TestStreams(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ kind, path, reply, want string }{
		"llama.cpp puts the stop word back": {"llamacpp", "/completion", "data: {\"content\":\" upon a\",\"stop\":false}\n\ndata: {\"content\":\" time\",\"stop\":false}\n\n" +
			"data: {\"content\":\"\",\"stop\":true,\"stop_type\":\"word\",\"stopping_word\":\"\\nUser:\"}\n\n", " upon a time\nUser:"},
		"vllm": {"vllm", "/v1/completions", ": hi\n\ndata: {\"choices\":[{\"text\":\" upon\",\"finish_reason\":null}]}\n\ndata: {\"choices\":[{\"text\":\" a time\",\"finish_reason\":\"length\"}]}\n\n" +
			"data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\ndata: [DONE]", " upon a time"},
		"a server that cannot stream": {"openai", "/v1/completions", "\n{\"choices\":[{\"text\":\" upon a time\",\"finish_reason\":\"length\"}]}\n", " upon a time"},
		"ollama":                      {"ollama", "/api/generate", "{\"response\":\" upon\",\"done\":false}\n{\"response\":\" a time\",\"done\":false}\n{\"response\":\"\",\"done\":true,\"done_reason\":\"stop\"}\n", " upon a time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != tc.path {
					t.Errorf("asked %s", r.URL.Path)
				}
				io.WriteString(w, tc.reply)
			})
			res, err := New(at, tc.kind, "").Generate(t.Context(), job(t, example), quiet)
			if err != nil || res.Text != tc.want {
				t.Errorf("got %q, %v", res.Text, err)
			}
		})
	}
}

func TestBrokenStreams(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		kind, reply string
		status      int
		want        backend.Kind
	}{
		"cut off":           {"llamacpp", "data: {\"content\":\"a\",\"stop\":false}\n\n", 200, backend.Unreachable},
		"no JSON":           {"llamacpp", "data: {\n\n", 200, backend.Failed},
		"error in a stream": {"llamacpp", "data: {\"error\":{\"code\":503,\"message\":\"loading\"}}\n\n", 200, backend.Busy},
		"loading":           {"llamacpp", `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`, 503, backend.Busy},
		"unknown model":     {"ollama", `{"error":"model 'x' not found"}`, 404, backend.Refused},
		"key":               {"vllm", `{"error":"Unauthorized"}`, 401, backend.Denied},
		"out of memory":     {"vllm", `{"message":"CUDA out of memory"}`, 500, backend.OutOfMemory},
	} {
		at := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(tc.status); io.WriteString(w, tc.reply) })
		j := job(t, example)
		j.Prompt = "x"
		if _, err := New(at, tc.kind, "").Generate(t.Context(), j, quiet); err == nil || backend.KindOf(err) != tc.want {
			t.Errorf("%s: %v is %v, want %v", name, err, backend.KindOf(err), tc.want)
		}
	}
}

// A prompt that is too long loses whole tokens at its beginning.
func TestLongPrompt(t *testing.T) {
	t.Parallel()
	var sent string
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var b struct {
			Content string `json:"content"`
			Tokens  []int  `json:"tokens"`
			Prompt  string `json:"prompt"`
		}
		json.NewDecoder(r.Body).Decode(&b)
		switch r.URL.Path {
		case "/tokenize": // a token for each character
			ids := []int{}
			for _, c := range b.Content {
				ids = append(ids, int(c))
			}
			json.NewEncoder(w).Encode(map[string]any{"tokens": ids})
		case "/detokenize":
			s := ""
			for _, id := range b.Tokens {
				s += string(rune(id))
			}
			json.NewEncoder(w).Encode(map[string]any{"content": s})
		default:
			sent = b.Prompt
			io.WriteString(w, "data: {\"content\":\"\",\"stop\":true}\n\n")
		}
	})
	j := job(t, `{"prompt":"`+strings.Repeat("abcdefghij", 30)+`","max_length":20,"max_context_length":100}`)
	if _, err := New(at, "llamacpp", "").Generate(t.Context(), j, quiet); err != nil || sent != strings.Repeat("abcdefghij", 8) {
		t.Errorf("sent %q, %v", sent, err)
	}
	// Without a tokeniser the server's refusal makes it shorter, once.
	tries := 0
	at = serve(t, func(w http.ResponseWriter, r *http.Request) {
		var b struct{ Prompt string }
		json.NewDecoder(r.Body).Decode(&b)
		if tries++; len(b.Prompt) > 260 {
			w.WriteHeader(400)
			io.WriteString(w, `{"error":{"message":"This model's maximum context length is 100 tokens"}}`)
			return
		}
		io.WriteString(w, "data: {\"choices\":[{\"text\":\"ok\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	})
	if res, err := New(at, "openai", "m").Generate(t.Context(), j, quiet); err != nil || res.Text != "ok" || tries != 2 {
		t.Errorf("got %+v after %d tries, %v", res, tries, err)
	}
}

// Cancelling closes the connection, which makes these servers stop, and returns what arrived.
func TestCancel(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "data: {\"choices\":[{\"text\":\"so far\"}]}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(closed)
	})
	ctx, cancel := context.WithCancel(t.Context())
	res, err := New(at, "vllm", "m").Generate(ctx, job(t, example), func(backend.TextProgress) { cancel() })
	if !errors.Is(err, context.Canceled) || res.Text != "so far" {
		t.Errorf("got %+v, %v", res, err)
	}
	<-closed
}

func TestProbes(t *testing.T) {
	t.Parallel()
	pages := map[string]string{
		"/props":     `{"default_generation_settings":{"n_ctx":2048},"model_path":"/m/tiny.gguf","build_info":"b1"}`,
		"/v1/models": `{"data":[{"id":"one","max_model_len":4096,"owned_by":"vllm"},{"id":"two"}]}`, "/version": `{"version":"0.9"}`,
		"/api/tags": `{"models":[{"name":"llama3:8b"}]}`, "/api/show": `{"model_info":{"llama.context_length":8192}}`, "/api/version": `{"version":"0.17"}`,
		"/v1/model": `{"id":"exl","parameters":{"max_seq_len":16384}}`,
	}
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if p, ok := pages[r.URL.Path]; ok {
			io.WriteString(w, p)
			return
		}
		http.NotFound(w, r)
	})
	for kind, want := range map[string]backend.TextInfo{
		"llamacpp": {Kind: "llamacpp", Version: "b1", Model: "/m/tiny.gguf", Context: 2048},
		"vllm":     {Kind: "vllm", Version: "0.9", Model: "one", Context: 4096},
		"ollama":   {Kind: "ollama", Version: "0.17", Model: "llama3:8b", Context: 8192},
		"tabby":    {Kind: "tabby", Model: "exl", Context: 16384},
		"openai":   {Kind: "openai", Model: "one", Context: 4096},
	} {
		want.Streams, want.Idle = true, -1
		if got, err := New(at, kind, "").Probe(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", kind, got, err, want)
		}
	}
}
