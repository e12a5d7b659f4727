// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"horde/internal/worker/backend"
)

func TestDetectText(t *testing.T) {
	t.Parallel()
	for want, pages := range map[string]map[string]string{
		"koboldcpp": {"/api/extra/version": `{"result":"KoboldCpp"}`, "/v1/models": `{"data":[{"owned_by":"koboldcpp"}]}`, "/api/v1/model": `{}`},
		"tabby":     {"/api/extra/version": `{"result":"KoboldCpp"}`, "/v1/model": `{"id":"x"}`, "/v1/models": `{"data":[]}`},
		"llamacpp":  {"/props": `{"default_generation_settings":{}}`, "/v1/models": `{"data":[{"owned_by":"llamacpp"}]}`},
		"vllm":      {"/v1/models": `{"data":[{"owned_by":"vllm"}]}`, "/version": `{}`},
		"aphrodite": {"/v1/models": `{"data":[{"owned_by":"pygmalionai"}]}`},
		"ollama":    {"/api/tags": `{"models":[]}`, "/api/version": `{"version":"1"}`, "/v1/models": `{"data":[]}`},
		"openai":    {"/v1/models": `{"data":[{"owned_by":"me"}]}`},
		"koboldai":  {"/api/v1/model": `{"result":"x"}`},
		"":          {"/": `hello`},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if p, ok := pages[r.URL.Path]; ok {
				io.WriteString(w, p)
				return
			}
			http.NotFound(w, r)
		}))
		at, _ := backend.NewEndpoint(s.URL, "")
		got, err := DetectText(t.Context(), at)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("found %q, %v, want %q", got, err, want)
		}
		s.Close()
	}
}
