// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// answers is a server that says the same to everything, without a network.
type answers struct {
	status int
	body   string
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

// FuzzServers lets whatever listens on the port of an inference server say what it likes. It can be shown in any case.
func FuzzServers(f *testing.F) {
	f.Add(200, `{"system":{"comfyui_version":"1"},"devices":[],"CheckpointLoaderSimple":{"input":{"required":{"ckpt_name":["COMBO",{"options":["a.ckpt"]}]}}}}`)
	f.Add(200, `[{"title":"a","model_name":"a"},{}]`)
	f.Add(200, `{"result":"KoboldCpp","version":"1.79","protected":true,"model":"x"}`)
	f.Add(503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`)
	f.Add(200, `{"models":[{"name":"m"}],"data":[{"id":"m","owned_by":"llamacpp"}],"model_path":"/x/y.gguf","default_generation_settings":{}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		l := &looker{client: &http.Client{Transport: answers{status, body}}}
		for _, look := range []func(context.Context, *Found) error{l.comfyUI, l.a1111, l.koboldCpp, l.llamaCpp, l.llamaLoading, l.ollama} {
			found := Found{URL: "http://server.test"}
			if look(t.Context(), &found) == nil && found.String() == "" {
				t.Errorf("%q is shown as nothing", body)
			}
		}
	})
}
