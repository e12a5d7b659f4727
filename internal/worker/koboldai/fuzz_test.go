// SPDX-License-Identifier: AGPL-3.0-or-later

package koboldai

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
	f.Add(200, "event: message\ndata: {\"token\":\" upon\",\"finish_reason\":\"null\"}\n\ndata: {\"token\":\"\",\"finish_reason\":\"stop\"}\n\n")
	f.Add(200, `{"results":[{"text":"whole"}]}`)
	f.Add(200, `{"result":"KoboldCpp","version":"1.79","value":-2048}`)
	f.Add(404, `{"detail":"Not Found"}`)
	f.Add(503, `{"detail":{"msg":"Server is busy; please try again later.","type":"service_unavailable"}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		for _, kind := range []string{"koboldcpp", "aphrodite", "koboldai"} {
			at, err := backend.NewEndpoint("http://server.test", "")
			if err != nil {
				t.Fatal(err)
			}
			d := New(at.WithHTTP(&http.Client{Transport: answers{status, body}}), kind)
			_, _ = d.Probe(t.Context())
			res, err := d.Generate(t.Context(), exampleJob(t), func(backend.TextProgress) {})
			if err == nil && status >= 300 {
				t.Errorf("%s: %d gave %q", kind, status, res.Text)
			}
			if len(res.Text) > 3*len(body) { // a broken byte becomes three
				t.Errorf("%s: %d bytes of text came of %d", kind, len(res.Text), len(body))
			}
		}
	})
}
