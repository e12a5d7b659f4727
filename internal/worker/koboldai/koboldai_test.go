// SPDX-License-Identifier: AGPL-3.0-or-later

package koboldai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"horde/client"
	"horde/internal/worker/backend"
)

// example is the payload P of worked example 22.
const example = `{"prompt":"Once","n":1,"max_length":120,"max_context_length":4096,"temperature":0.7,"top_k":40,"rep_pen":1.1,
	"stop_sequence":["\nUser:"],"min_p":0.0,"smoothing_factor":0.0,"dynatemp_range":0.0,"dynatemp_exponent":1.0}`

func exampleJob(t *testing.T) backend.TextJob {
	t.Helper()
	var p client.TextPayload
	if err := client.Decode([]byte(example), &p); err != nil {
		t.Fatal(err)
	}
	return backend.NewTextJob("key-1", p, 0)
}

func serve(t *testing.T, h http.HandlerFunc) *backend.Endpoint {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	at, err := backend.NewEndpoint(s.URL+"/", "secret")
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// Worked example 22: the same members without n, and two of our own.
func TestBody(t *testing.T) {
	t.Parallel()
	var want map[string]any
	json.Unmarshal([]byte(example), &want)
	delete(want, "n")
	want["quiet"], want["genkey"] = true, "key-1"
	data, _ := json.Marshal(Body(exampleJob(t)))
	var got map[string]any
	json.Unmarshal(data, &got)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("body\n%v, want\n%v", got, want)
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/extra/generate/stream" || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("%s with %v", r.URL, r.Header)
		}
		io.WriteString(w, "event: message\ndata: {\"token\":\" upon\",\"finish_reason\":\"null\"}\n\n: keep-alive\n\n"+
			"event: message\ndata: {\"token\":\" a time\\nUser:\",\"finish_reason\":\"null\"}\n\ndata: {\"token\":\"\",\"finish_reason\":\"stop\"}\n\n")
	})
	last := 0
	res, err := New(at, "koboldcpp").Generate(t.Context(), exampleJob(t), func(p backend.TextProgress) { last = p.Tokens })
	if err != nil || res.Text != " upon a time\nUser:" || last != 2 || res.Seed != 0 {
		t.Errorf("got %+v after %d, %v", res, last, err)
	}
}

// Aphrodite's events hold the token alone, and an old KoboldAI has no stream at all.
func TestWithoutFinishReasonAndWithoutStream(t *testing.T) {
	t.Parallel()
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "data: {\"token\":\"a\"}\n\ndata: {\"token\":\"b\"}\n\n")
	})
	if res, err := New(at, "aphrodite").Generate(t.Context(), exampleJob(t), func(backend.TextProgress) {}); err != nil || res.Text != "ab" {
		t.Errorf("got %+v, %v", res, err)
	}
	at = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/generate" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, `{"results":[{"text":"whole"}]}`)
	})
	if res, err := New(at, "koboldcpp").Generate(t.Context(), exampleJob(t), func(backend.TextProgress) {}); err != nil || res.Text != "whole" {
		t.Errorf("got %+v, %v", res, err)
	}
}

func TestAbort(t *testing.T) {
	t.Parallel()
	aborted := make(chan string, 1)
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/extra/abort" {
			b, _ := io.ReadAll(r.Body)
			aborted <- string(b)
			return
		}
		io.WriteString(w, "data: {\"token\":\"so far\"}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	res, err := New(at, "koboldcpp").Generate(ctx, exampleJob(t), func(backend.TextProgress) { cancel() })
	if !errors.Is(err, context.Canceled) || res.Text != "so far" {
		t.Errorf("got %+v, %v", res, err)
	}
	select {
	case b := <-aborted:
		if b != `{"genkey":"key-1"}` {
			t.Errorf("abort with %s", b)
		}
	case <-time.After(5 * time.Second):
		t.Error("the server was not told to stop")
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		body   string
		want   backend.Kind
	}{
		{503, `{"detail":{"msg":"Server is busy; please try again later.","type":"service_unavailable"}}`, backend.Busy},
		{401, `{"detail":{"error":"Unauthorized","msg":"Authentication key is missing or invalid."}}`, backend.Denied},
		{422, `{"detail":[{"msg":"max_length must not exceed"}]}`, backend.Refused},
		{500, `oops`, backend.Failed},
		{200, "data: {broken\n\n", backend.Failed},
	} {
		at := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(tc.status); fmt.Fprint(w, tc.body) })
		_, err := New(at, "koboldcpp").Generate(t.Context(), exampleJob(t), func(backend.TextProgress) {})
		if err == nil || backend.KindOf(err) != tc.want {
			t.Errorf("%d: %v is of kind %v, want %v", tc.status, err, backend.KindOf(err), tc.want)
		}
	}
	at, _ := backend.NewEndpoint("http://127.0.0.1:1", "")
	if _, err := New(at, "koboldcpp").Probe(t.Context()); backend.KindOf(err) != backend.Unreachable {
		t.Errorf("nobody there: %v", err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/model":
			io.WriteString(w, `{"result":"koboldcpp/Tiny"}`)
		case "/api/extra/true_max_context_length":
			io.WriteString(w, `{"value":8192}`)
		case "/api/extra/version":
			io.WriteString(w, `{"result":"KoboldCpp","version":"1.101"}`)
		case "/api/extra/perf":
			io.WriteString(w, `{"idletime":33.5,"queue":0}`)
		default:
			http.NotFound(w, r)
		}
	})
	info, err := New(at, "koboldcpp").Probe(t.Context())
	if err != nil || info.Model != "koboldcpp/Tiny" || info.Context != 8192 || info.Version != "1.101" || info.Idle != 33.5 {
		t.Errorf("got %+v, %v", info, err)
	}
}
