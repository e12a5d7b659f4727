// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inProcess answers requests by calling a handler directly, so that tests with a fake clock need no network.
type inProcess struct{ h http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	t.h.ServeHTTP(rec, r)
	if rec.Code == 599 {
		return nil, io.ErrUnexpectedEOF
	}
	return rec.Result(), nil
}

func testClient(t *testing.T, h http.HandlerFunc, opts ...Option) *Client {
	t.Helper()
	opts = append([]Option{WithHTTPClient(&http.Client{Transport: inProcess{h}})}, opts...)
	c, err := New("http://horde.test", "k", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://h.example":              "https://h.example/api/v2",
		"https://h.example/":             "https://h.example/api/v2",
		"https://h.example/api":          "https://h.example/api/v2",
		"https://h.example/api/":         "https://h.example/api/v2",
		"https://h.example/api/v2/":      "https://h.example/api/v2",
		"http://127.0.0.1:7001/sub/api/": "http://127.0.0.1:7001/sub/api/v2",
		" http://h.example:80 ":          "http://h.example:80/api/v2",
		"h.example":                      "",
		"ftp://h.example":                "",
		"https://":                       "",
		"https://h.example/%zz":          "",
	} {
		c, err := New(in, "")
		switch {
		case want == "" && err == nil:
			t.Errorf("New(%q) = %q, want an error", in, c.BaseURL())
		case want != "" && err != nil:
			t.Errorf("New(%q): %v", in, err)
		case want != "" && c.BaseURL() != want:
			t.Errorf("New(%q) = %q, want %q", in, c.BaseURL(), want)
		}
	}
}

func TestDecodeTolerates(t *testing.T) {
	t.Parallel()
	var j ImageJob
	err := Decode([]byte(`{"id":"a","ids":null,"model":null,"ttl":"150","skipped":{"models":"3"},"new_member":{"x":[1]},
		"payload":{"seed":3735928559,"ddim_steps":"30","n_iter":2.0,"width":"512","karras":"true","hires_fix":0,
		"cfg_scale":"7.5","loras":null,"tis":null,"post_processing":"GFPGAN","clip_skip":null},
		"messages":[{"id":7,"message":"hi","expiry":"x","later":1}],"r2_uploads":["u"]}`), &j)
	if err != nil {
		t.Fatal(err)
	}
	p := j.Payload
	if j.TTL != 150 || j.Skipped["models"] != 3 || p.Seed != "3735928559" || *p.Steps != 30 || *p.NIter != 2 || *p.Width != 512 ||
		!p.Karras || p.HiresFix || *p.CFGScale != 7.5 || p.PostProcessing[0] != "GFPGAN" || p.ClipSkip != nil || j.Messages[0].ID != "7" {
		t.Errorf("decoded %+v", j)
	}
	for _, bad := range []string{`{`, `{} x`, `[]`, `{"payload":[]}`, `{"ttl":"soon"}`, `{"id":{}}`, `{"payload":{"width":1e300}}`} {
		var j ImageJob
		if err := Decode([]byte(bad), &j); err == nil && bad != `{"payload":[]}` {
			t.Errorf("Decode(%s) succeeded: %+v", bad, j)
		}
	}
}

// Field case B095: what a later server adds to its answers, members and values alike, breaks nothing.
func TestDecodeToleratesWhatIsNewer(t *testing.T) {
	t.Parallel()
	var image ImageStatus
	if err := Decode([]byte(`{"done":true,"finished":1,"later":{},"generations":[{"id":"a","img":"u","seed":"1","state":"new_state","later":[1],
		"gen_metadata":[{"type":"new_thing","value":"new_value","ref":"1","later":true}]}]}`), &image); err != nil || len(image.Generations) != 1 || image.Generations[0].ID != "a" {
		t.Errorf("images: %+v, %v", image, err)
	}
	var text TextStatus
	if err := Decode([]byte(`{"done":true,"generations":[{"text":"x","state":"new_state","gen_metadata":[{"type":"new_thing","value":"v"}]}]}`), &text); err != nil ||
		len(text.Generations) != 1 || text.Generations[0].Text != "x" {
		t.Errorf("texts: %+v, %v", text, err)
	}
	var alchemy AlchemyStatus
	if err := Decode([]byte(`{"state":"new_state","later":1,"forms":[{"form":"new_form","state":"new_state","result":{"new_form":{"deep":[null]}}},{"form":"caption","state":"done","result":{"caption":"x"}}]}`), &alchemy); err != nil ||
		len(alchemy.Forms) != 2 || alchemy.Forms[0].Form != "new_form" || alchemy.Forms[1].Result["caption"] != "x" {
		t.Errorf("forms: %+v, %v", alchemy, err)
	}
	var popped struct {
		Forms []PoppedForm `json:"forms"`
	}
	if err := Decode([]byte(`{"forms":[{"id":"a","form":"new_form","source_image":"u","later":1}],"skipped":{"new_reason":3}}`), &popped); err != nil ||
		len(popped.Forms) != 1 || popped.Forms[0].ID != "a" {
		t.Errorf("popped forms: %+v, %v", popped, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"id":null,"payload":{"seed":1}}`)
	f.Add(`{"ids":[1,true,null,"x"],"skipped":{"a":"1"}}`)
	f.Fuzz(func(t *testing.T, s string) {
		var a ImageJob
		var b TextJob
		var c ImageStatus
		_ = Decode([]byte(s), &a)
		_ = Decode([]byte(s), &b)
		_ = Decode([]byte(s), &c)
	})
}

// A pop answer without a job is full of default values; only the id decides (worked example 1 of the workers chapter).
func TestPopWithoutJob(t *testing.T) {
	t.Parallel()
	c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"id":null,"ids":[],"payload":{"sampler_name":"k_euler_a","width":512},"model":null,
			"source_processing":"img2img","skipped":{"models":3},"messages":[]}`)
	})
	j, err := c.PopImage(t.Context(), PopImageRequest{})
	if err != nil || j.Found() || j.Skipped["models"] != 3 {
		t.Errorf("got %+v, %v", j, err)
	}
}

func TestErrorsAreTyped(t *testing.T) {
	t.Parallel()
	c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"message":"Input payload validation failed","errors":{"params.width":"100 is not a multiple of 64"}}`)
	})
	_, err := c.SubmitImage(t.Context(), ImageRequest{Prompt: "x"})
	var e *Error
	if !errors.As(err, &e) || e.Status != 400 || e.Fields["params.width"] == "" || e.RetryAfter != 7*time.Second {
		t.Fatalf("got %#v", err)
	}
	if !strings.Contains(err.Error(), "params.width: 100 is not a multiple of 64") {
		t.Errorf("text %q names no field", err)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	read := func(c *Client, ctx context.Context) error { _, err := c.Check(ctx, "x"); return err }
	write := func(c *Client, ctx context.Context) error { _, err := c.SubmitImage(ctx, ImageRequest{}); return err }
	deliver := func(c *Client, ctx context.Context) error {
		_, err := c.SubmitImageResult(ctx, ImageResult{})
		return err
	}
	pop := func(c *Client, ctx context.Context) error { _, err := c.PopImage(ctx, PopImageRequest{}); return err }
	for name, tc := range map[string]struct {
		call  func(*Client, context.Context) error
		codes []int // then 200
		after string
		rc    string
		calls int
		ok    bool
		least time.Duration
	}{
		"a read is repeated after 500":                 {call: read, codes: []int{500, 502}, calls: 3, ok: true},
		"a read is repeated after a broken connection": {call: read, codes: []int{599}, calls: 2, ok: true},
		"a read gives up after four tries":             {call: read, codes: []int{500, 500, 500, 500}, calls: 4},
		"404 is final":                                 {call: read, codes: []int{404}, calls: 1},
		"a request is not repeated after 500":          {call: write, codes: []int{500}, calls: 1},
		"nor after a broken connection":                {call: write, codes: []int{599}, calls: 1},
		"a request is repeated after a rate limit":     {call: write, codes: []int{429}, after: "3", calls: 2, ok: true, least: 3 * time.Second},
		"but not when too much waits":                  {call: write, codes: []int{429}, rc: "TooManyPrompts", calls: 1},
		"a request is repeated after 503 with a time":  {call: write, codes: []int{503}, after: "2", calls: 2, ok: true, least: 2 * time.Second},
		"not after 503 without":                        {call: write, codes: []int{503}, calls: 1},
		"a longer time than Max is returned":           {call: write, codes: []int{429}, after: "3600", calls: 1},
		"a result is handed in again":                  {call: deliver, codes: []int{599, 503, 500}, calls: 4, ok: true},
		"a pop is not repeated by the client":          {call: pop, codes: []int{429}, calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
					n := int(calls.Add(1))
					if n > len(tc.codes) {
						io.WriteString(w, `{"id":"x"}`)
						return
					}
					if tc.after != "" {
						w.Header().Set("Retry-After", tc.after)
					}
					w.WriteHeader(tc.codes[n-1])
					json.NewEncoder(w).Encode(map[string]string{"message": "no", "rc": tc.rc})
				})
				start := time.Now()
				err := tc.call(c, t.Context())
				if (err == nil) != tc.ok || int(calls.Load()) != tc.calls || time.Since(start) < tc.least {
					t.Errorf("error %v after %d calls and %v, want ok %v after %d calls and %v", err, calls.Load(),
						time.Since(start), tc.ok, tc.calls, tc.least)
				}
			})
		})
	}
}

func TestRequestLeavesOutWhatIsNotSet(t *testing.T) {
	t.Parallel()
	got, _ := json.Marshal(ImageRequest{Prompt: "a cat"})
	if string(got) != `{"prompt":"a cat"}` {
		t.Errorf("image request %s", got)
	}
	got, _ = json.Marshal(TextRequest{Prompt: "Once", Params: TextParams{MaxLength: 20, TopK: new(0)}})
	if string(got) != `{"prompt":"Once","params":{"max_length":20,"top_k":0}}` {
		t.Errorf("text request %s", got)
	}
}

// The upload must carry neither key nor content type: the address is signed without them.
func TestUpload(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPut || r.Header.Get("apikey") != "" || r.Header.Get("Content-Type") != "" || string(body) != "data" || r.ContentLength != 4 {
			t.Errorf("%s with %v, %q", r.Method, r.Header, body)
		}
		w.WriteHeader(status)
	})
	if err := c.Upload(t.Context(), "http://store.test/b/x.webp?sig=1", []byte("data")); err != nil {
		t.Error(err)
	}
	status = http.StatusNoContent
	if err := c.Upload(t.Context(), "http://store.test/b/x.webp?sig=1", []byte("data")); err == nil {
		t.Error("204 counts as success")
	}
}

func TestGenerateImageCancelsWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var deleted atomic.Bool
		c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodPost:
				w.WriteHeader(http.StatusAccepted)
				io.WriteString(w, `{"id":"r1","kudos":8}`)
			case http.MethodGet:
				io.WriteString(w, `{"done":false,"waiting":1,"is_possible":false}`)
			case http.MethodDelete:
				deleted.Store(true)
				io.WriteString(w, `{"done":false,"generations":[{"id":"g","img":"aGk="}]}`)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		polls := 0
		out, err := c.GenerateImage(ctx, ImageRequest{Prompt: "x"}, func(Status) { polls++ })
		if !errors.Is(err, context.DeadlineExceeded) || !deleted.Load() || len(out.Images) != 1 || string(out.Images[0].Data) != "hi" {
			t.Errorf("got %+v, %v, deleted %v", out, err, deleted.Load())
		}
		if polls < 5 || polls > 20 {
			t.Errorf("%d polls in ten seconds", polls)
		}
	})
}

func TestGenerateTextReturnsWhatAFaultedRequestHad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				io.WriteString(w, `{"id":"r1"}`)
				return
			}
			io.WriteString(w, `{"done":true,"faulted":true,"finished":1,"restarted":3,"generations":[{"text":"a","seed":"5"}]}`)
		})
		out, err := c.GenerateText(t.Context(), TextRequest{Prompt: "x"}, nil)
		if !errors.Is(err, ErrFaulted) || len(out.Texts) != 1 || out.Texts[0].Seed != 5 {
			t.Errorf("got %+v, %v", out, err)
		}
	})
}
