// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

// pages is a server that answers these paths; a value that starts with three digits and a space sets the status.
type pages map[string]string

func (p pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, ok := p[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if strings.HasPrefix(body, "503 ") {
		w.WriteHeader(http.StatusServiceUnavailable)
		body = body[4:]
	}
	w.Write([]byte(body))
}

func TestServersAreRecognised(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		kind  Kind
		pages pages
		want  *Found // without Kind and URL; nil: not recognised
		line  string // of String, with URL for the address
	}{
		{"ComfyUI with two checkpoints", ComfyUI, pages{
			"/system_stats":                       `{"system":{"os":"posix","comfyui_version":"0.3.75"},"devices":[{"name":"cpu"}]}`,
			"/object_info/CheckpointLoaderSimple": `{"CheckpointLoaderSimple":{"input":{"required":{"ckpt_name":[["a.safetensors","b.safetensors"],{"tooltip":"x"}]}}}}`,
		}, &Found{Version: "0.3.75", Models: []string{"a.safetensors", "b.safetensors"}}, "ComfyUI at URL (a.safetensors, b.safetensors)"},
		{"ComfyUI that spells its lists anew", ComfyUI, pages{
			"/system_stats":                       `{"system":{},"devices":[]}`,
			"/object_info/CheckpointLoaderSimple": `{"CheckpointLoaderSimple":{"input":{"required":{"ckpt_name":["COMBO",{"options":["a.ckpt"]}]}}}}`,
		}, &Found{Models: []string{"a.ckpt"}}, "ComfyUI at URL (a.ckpt)"},
		{"ComfyUI that says no more", ComfyUI, pages{"/system_stats": `{"system":{},"devices":[{}]}`}, &Found{}, "ComfyUI at URL (no model)"},
		{"something else with statistics", ComfyUI, pages{"/system_stats": `{"load":1}`}, nil, ""},
		{"A1111 with three models", A1111, pages{
			"/sdapi/v1/sd-models": `[{"title":"a.ckpt [1]","model_name":"a"},{"title":"b","model_name":"b"},{"title":"c","model_name":"c"}]`,
		}, &Found{Models: []string{"a", "b", "c"}}, "AUTOMATIC1111 at URL (a and 2 more models)"},
		{"A1111 without the API", A1111, pages{"/": `<html>`}, nil, ""},
		{"A1111 without a model", A1111, pages{"/sdapi/v1/sd-models": `[]`}, &Found{}, "AUTOMATIC1111 at URL (no model)"},
		{"no list at all", A1111, pages{"/sdapi/v1/sd-models": `null`}, nil, ""},
		{"a list of other things", A1111, pages{"/sdapi/v1/sd-models": `[{"id":1}]`}, nil, ""},
		{"KoboldCpp", KoboldCpp, pages{
			"/api/extra/version":                 `{"result":"KoboldCpp","version":"1.79","protected":false}`,
			"/api/v1/model":                      `{"result":"koboldcpp/tiny"}`,
			"/api/extra/true_max_context_length": `{"value":4096}`,
		}, &Found{Version: "1.79", Models: []string{"koboldcpp/tiny"}, Context: 4096}, "KoboldCpp at URL (koboldcpp/tiny, 4096 tokens)"},
		{"KoboldCpp without a text model", KoboldCpp, pages{
			"/api/extra/version": `{"result":"KoboldCpp","version":"1.79"}`,
			"/api/v1/model":      `{"result":"inactive"}`,
		}, &Found{Version: "1.79"}, "KoboldCpp at URL (no model)"},
		{"KoboldCpp with a password", KoboldCpp, pages{"/api/extra/version": `{"result":"KoboldCpp","version":"1.79","protected":true}`},
			&Found{Version: "1.79", Locked: true}, "KoboldCpp at URL (wants a password)"},
		{"KoboldAI", KoboldCpp, pages{"/api/extra/version": `{"result":"other"}`}, nil, ""},
		{"llama.cpp", LlamaCpp, pages{
			"/props":     `{"default_generation_settings":{"n_ctx":2048},"total_slots":2,"build_info":"b1-x"}`,
			"/v1/models": `{"object":"list","data":[{"id":"SmolLM2"}]}`,
		}, &Found{Version: "b1-x", Models: []string{"SmolLM2"}, Context: 2048}, "llama.cpp at URL (SmolLM2, 2048 tokens)"},
		{"llama.cpp that loads", LlamaCpp, pages{
			"/props":  `503 {"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`,
			"/health": `503 {"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`,
		}, &Found{Loading: true}, "llama.cpp at URL (still loading)"},
		{"a web server that is overloaded", LlamaCpp, pages{"/props": `503 busy`, "/health": `503 {"status":"busy"}`}, nil, ""},
		{"a web server", LlamaCpp, pages{"/": "hello", "/props": `{}`}, nil, ""},
		{"Ollama", Ollama, pages{
			"/api/version": `{"version":"0.17.4"}`,
			"/api/tags":    `{"models":[{"name":"qwen3:0.6b"},{"name":"gemma3:1b"}]}`,
			"/api/show":    `{"model_info":{"general.architecture":"qwen3","qwen3.context_length":40960}}`,
		}, &Found{Version: "0.17.4", Models: []string{"qwen3:0.6b", "gemma3:1b"}, Context: 40960}, "Ollama at URL (qwen3:0.6b, gemma3:1b, 40960 tokens)"},
		{"Ollama without models", Ollama, pages{"/api/version": `{"version":"0.17.4"}`, "/api/tags": `{"models":[]}`},
			&Found{Version: "0.17.4"}, "Ollama at URL (no model)"},
		{"nonsense", Ollama, pages{"/api/version": `{{{`}, nil, ""},
		{"an answer without an end", Ollama, pages{"/api/version": `"` + strings.Repeat("x", bodyMax+10) + `"`}, nil, ""},
		{"a program that nobody knows", "other", pages{}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(c.pages)
			defer srv.Close()
			got := Look(t.Context(), []Place{{c.kind, srv.URL}})
			if c.want == nil {
				if len(got) != 0 {
					t.Errorf("recognised %+v", got)
				}
				return
			}
			c.want.Kind, c.want.URL = c.kind, srv.URL
			if len(got) != 1 || !reflect.DeepEqual(got[0], *c.want) {
				t.Fatalf("got %+v, want %+v", got, *c.want)
			}
			if line := strings.Replace(got[0].String(), srv.URL, "URL", 1); line != c.line {
				t.Errorf("got %q, want %q", line, c.line)
			}
		})
	}
}

func TestLookKeepsToItsBudgetAndOrder(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	defer close(hang)
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-hang }))
	defer silent.CloseClientConnections()
	slow := pages{"/system_stats": `{"system":{},"devices":[]}`}
	// It is recognised, but the list of its models never comes.
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/system_stats" {
			<-hang
		}
		slow.ServeHTTP(w, r)
	}))
	defer half.CloseClientConnections()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	kobold := httptest.NewServer(pages{"/api/extra/version": `{"result":"KoboldCpp"}`})
	defer kobold.Close()

	start := time.Now()
	got := Look(t.Context(), []Place{
		{Ollama, silent.URL}, {ComfyUI, half.URL}, {LlamaCpp, "http://" + closed.Addr().String()}, {KoboldCpp, kobold.URL},
	})
	if d := time.Since(start); d < Budget || d > 2*Budget {
		t.Errorf("took %v", d)
	}
	if len(got) != 2 || got[0].Kind != ComfyUI || got[1].Kind != KoboldCpp {
		t.Errorf("got %+v", got)
	}
}

func TestLookFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(pages{"/api/extra/version": `{"result":"KoboldCpp"}`})
	defer target.Close()
	srv := httptest.NewServer(http.RedirectHandler(target.URL+"/api/extra/version", http.StatusFound))
	defer srv.Close()
	if got := Look(t.Context(), []Place{{KoboldCpp, srv.URL}}); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestLookEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	if got := Look(ctx, Usual()); len(got) != 0 || time.Since(start) > Budget/2 {
		t.Errorf("got %v after %v", got, time.Since(start))
	}
}

func TestUsualPlacesAreOnLoopback(t *testing.T) {
	t.Parallel()
	images := 0
	for _, p := range Usual() {
		if !strings.HasPrefix(p.URL, "http://127.0.0.1:") || asks[p.Kind] == nil {
			t.Errorf("%+v", p)
		}
		if p.Kind.Images() {
			images++
		}
	}
	if images != 2 {
		t.Errorf("%d kinds make images", images)
	}
}
