// SPDX-License-Identifier: AGPL-3.0-or-later

package a1111

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"horde/internal/worker/backend"
)

// answers is a server that says the same to everything but the lists it is probed for, without a network.
type answers struct {
	status      int
	list, image string
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	body := a.list
	if r.Method == http.MethodPost {
		body = a.image
	}
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// FuzzAnswer lets an image server say what it likes. There are as many pictures as were asked for, or an error.
func FuzzAnswer(f *testing.F) {
	png, err := backend.EncodePNG(picture(8, 8))
	if err != nil {
		f.Fatal(err)
	}
	one := base64.StdEncoding.EncodeToString(png)
	f.Add(200, `[{"title":"Model.safetensors [abc]","model_name":"Model","filename":"/m/Model.safetensors","name":"Euler","aliases":["k_euler"],"label":"Karras"}]`,
		`{"images":["`+one+`","`+one+`"],"image":"`+one+`","info":"{\"index_of_first_image\":0,\"all_seeds\":[1,2],\"sd_model_name\":\"Model\"}"}`)
	f.Add(200, `[null]`, `{"images":["`+one+`"],"info":"{\"index_of_first_image\":-1,\"all_seeds\":[]}"}`)
	f.Add(200, `{"loaded":{"a":null},"skipped":[]}`, `{"images":["`+one+`"],"info":"{\"index_of_first_image\":99}"}`)
	f.Add(500, `null`, `{"error":"OutOfMemoryError","errors":"CUDA out of memory"}`)
	f.Add(200, `[{}]`, `{"images":["data:image/png;base64,`+one+`",null,""],"info":null}`)
	f.Fuzz(func(t *testing.T, status int, list, image string) {
		if status < 200 || status > 599 {
			return
		}
		for _, kind := range []string{"a1111", "forge", "sdcpp"} {
			at, err := backend.NewEndpoint("http://server.test", "")
			if err != nil {
				t.Fatal(err)
			}
			d := New(at.WithHTTP(&http.Client{Transport: answers{status, list, image}}), kind, nil)
			_, _ = d.Probe(t.Context())
			_, _ = d.Reload(t.Context())
			ids := []string{"a", "b"}
			res, err := d.Generate(t.Context(), newJob("k", nil, backend.Sources{}, ids...), quiet)
			if err == nil && len(res.Pictures) != len(ids) {
				t.Errorf("%s: %d pictures of %d, and no error", kind, len(res.Pictures), len(ids))
			}
			if p, err := d.PostProcess(t.Context(), backend.Picture{Data: png}, "GFPGAN", 1); err == nil && len(p.Data) == 0 {
				t.Errorf("%s: a picture without bytes", kind)
			}
			_, _ = Detect(t.Context(), d.at)
		}
	})
}
