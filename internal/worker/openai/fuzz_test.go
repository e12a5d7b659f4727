// SPDX-License-Identifier: AGPL-3.0-or-later

package openai

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"horde/internal/worker/backend"
)

// answers is a server that says the same to everything, without a network.
type answers struct {
	status int
	body   string
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

// FuzzAnswer lets a text server say what it likes, to a probe and to a job. A text that comes of it came from the server.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "data: {\"content\":\" upon\",\"stop\":false}\n\ndata: {\"content\":\"\",\"stop\":true,\"stop_type\":\"word\",\"stopping_word\":\"x\"}\n\n")
	f.Add(200, "data: {\"choices\":[{\"text\":\" upon\",\"finish_reason\":null}]}\n\ndata: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\ndata: [DONE]")
	f.Add(200, "{\"response\":\" upon\",\"done\":false}\n{\"response\":\"\",\"done\":true}\n")
	f.Add(200, `{"data":[{"id":"m","max_model_len":-1}],"models":[{"name":"m"}],"model_info":{"x.context_length":1e99},"parameters":{"max_seq_len":1}}`)
	f.Add(400, `{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}`)
	f.Add(200, `{"default_generation_settings":{"n_ctx":9223372036854775807},"tokens":[1,2,3],"content":"x"}`)
	var jobs []backend.TextJob
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		if jobs == nil {
			jobs = append(jobs, job(t, example))
		}
		for _, kind := range []string{"llamacpp", "vllm", "tabby", "ollama", "openai"} {
			at, err := backend.NewEndpoint("http://server.test", "")
			if err != nil {
				t.Fatal(err)
			}
			d := New(at.WithHTTP(&http.Client{Transport: answers{status, body}}), kind, "")
			_, _ = d.Probe(t.Context())
			res, err := d.Generate(t.Context(), jobs[0], quiet)
			if err == nil && status >= 300 {
				t.Errorf("%s: %d gave %q", kind, status, res.Text)
			}
			if len(res.Text) > 3*len(body) { // a broken byte becomes three
				t.Errorf("%s: %d bytes of text came of %d", kind, len(res.Text), len(body))
			}
		}
	})
}
