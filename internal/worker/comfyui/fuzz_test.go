// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"horde/client"
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

// FuzzAnswer lets an image server say what it likes: about itself, about what it queued and made, and as an event.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"KSampler":{"input":{"required":{"sampler_name":[["euler","dpmpp_2m"]]}}},"CheckpointLoaderSimple":{"input":{"required":{"ckpt_name":["COMBO",{"options":["mini.safetensors"]}]}}},"CLIPTextEncode":{},"VAEDecode":{},"PreviewImage":{},"EmptyLatentImage":{}}`)
	f.Add(200, `{"prompt_id":"p","node_errors":{"out":{}}}`)
	f.Add(200, `{"p":{"outputs":{"out":{"images":[{"filename":"a.png","subfolder":"..","type":"temp"}]}},"status":{"status_str":"success","messages":[]}}}`)
	f.Add(200, `{"p":{"outputs":null,"status":{"status_str":"error","messages":[["execution_error",{"exception_type":"torch.OutOfMemoryError","exception_message":"x","node_type":"KSampler"}],["execution_error"],7,null]}}}`)
	f.Add(200, `{"type":"executing","data":{"node":null,"prompt_id":"p"}}`)
	f.Add(200, `{"type":"progress","data":{"value":-1,"max":0,"node":"sampler"}}`)
	f.Add(400, `{"error":{"type":"prompt_no_outputs","message":"Prompt has no outputs"},"node_errors":[]}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		at, err := backend.NewEndpoint("http://server.test", "")
		if err != nil {
			t.Fatal(err)
		}
		at = at.WithHTTP(&http.Client{Transport: answers{status, body}})
		d := New(at, map[string]string{"RealESRGAN_x4plus": "x.pth"})
		if _, err := d.Probe(t.Context()); err == nil {
			o, err := d.known(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			o.features()
			d.postProcessors(o)
			for class := range o {
				o.Options(class, "ckpt_name")
				o.Find(class, "ckpt_name", "x")
			}
		}
		_, _ = d.Reload(t.Context())
		if prompt, err := d.queue(t.Context(), Graph{}, "c"); err == nil && prompt == "" {
			t.Error("a prompt without an id was queued")
		}
		_, _ = d.view(t.Context(), file{Name: body})
		w := &follower{at: at, id: "c", progress: func(p backend.ImageProgress) {
			if p.Stage == "" {
				t.Error("progress without a stage")
			}
		}}
		if _, done, err := w.look(t.Context(), "p"); done && status >= 300 && err == nil {
			t.Errorf("%d is a result", status)
		}
		var e event
		if client.Decode([]byte(body), &e) == nil {
			_, _ = w.take(e, "p")
		}
	})
}
