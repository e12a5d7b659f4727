// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/api"
	"horde/internal/limit"
)

const (
	imagePath = "/api/v2/generate/async"
	textPath  = "/api/v2/generate/text/async"
)

// The worked examples of the errors chapter, section 9, as far as they need no horde.
func TestWorkedExamplesOfValidation(t *testing.T) {
	t.Parallel()
	r := toyRouter(api.Options{})
	for _, c := range []struct {
		name, path, body string
		headers          []string
		status           int
		rc               string
		keys             []string
	}{
		{"1: an empty body, no key", imagePath, `{}`, nil, 400, "", []string{"prompt"}},
		{"2: no key", imagePath, `{"prompt":"x"}`, nil, 400, "", []string{"apikey"}},
		{"2: an empty key", imagePath, `{"prompt":"x"}`, []string{"apikey: "}, 400, "", []string{"apikey"}},
		{"2: an unknown key", imagePath, `{"prompt":"x"}`, []string{"apikey: nobody"}, 401, "InvalidAPIKey", nil},
		{"3: all violations at once", imagePath, `{"prompt":5,"params":{"width":100,"height":4096,"n":21,"steps":0}}`, nil, 400, "",
			[]string{"params.height", "params.n", "params.steps", "params.width", "prompt"}},
		{"4: inside an array", imagePath, `{"prompt":"x","params":{"loras":[{"model":9}]}}`, nil, 400, "", []string{"params.loras.0.model", "params.loras.0.name"}},
		{"5: text without a prompt", textPath, `{}`, []string{"apikey: known"}, 400, "", []string{"prompt"}},
		{"5: text with an empty prompt", textPath, `{"prompt":""}`, []string{"apikey: known"}, 400, "MissingPrompt", nil},
		{"6: an array", imagePath, `[1]`, nil, 400, "", []string{""}},
		{"6: null", imagePath, `null`, nil, 400, "", []string{""}},
		{"6: not JSON", imagePath, `{bad`, nil, 400, "", nil},
		{"6: no JSON content type", imagePath, `{"prompt":"x"}`, []string{"Content-Type: text/plain"}, 400, "", nil},
		{"6: no content type", imagePath, `{"prompt":"x"}`, []string{"Content-Type: "}, 400, "", nil},
		{"6: an empty body", imagePath, ``, []string{"Content-Type: application/json"}, 400, "", nil},
		{"7: a NUL", imagePath, `{"prompt":"a\u0000b"}`, []string{"apikey: known"}, 400, "NulByteInPayload", nil},
		{"accepted", imagePath, `{"prompt":"x"}`, []string{"apikey: known"}, 202, "", nil},
		{"accepted with a charset", imagePath, `{"prompt":"x"}`, []string{"apikey: known", "Content-Type: application/json; charset=utf-8"}, 202, "", nil},
		{"accepted as a kind of JSON", imagePath, `{"prompt":"x"}`, []string{"apikey: known", "Content-Type: application/problem+json"}, 202, "", nil},
		{"compressed", imagePath, `{"prompt":"x"}`, []string{"apikey: known", "Content-Encoding: gzip"}, 415, "", nil},
		{"identity is no compression", imagePath, `{"prompt":"x"}`, []string{"apikey: known", "Content-Encoding: identity"}, 202, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := call(t, r, http.MethodPost, c.path, c.body, c.headers...)
			if a.StatusCode != c.status || a.rc(t) != c.rc || !slices.Equal(a.errorKeys(t), c.keys) {
				t.Errorf("%d %s", a.StatusCode, a.text)
			}
			if c.status >= 400 && (c.rc == "") == strings.Contains(a.text, `"rc"`) {
				t.Errorf("rc: %s", a.text)
			}
			if c.status >= 400 && (c.keys == nil) == strings.Contains(a.text, `"errors"`) {
				t.Errorf("errors: %s", a.text)
			}
			if c.status == 400 && c.keys != nil && !strings.Contains(a.text, `"message":"Input payload validation failed"`) {
				t.Errorf("message: %s", a.text)
			}
		})
	}
	t.Run("8: not a UUID", func(t *testing.T) {
		if a := call(t, r, http.MethodGet, "/api/v2/generate/check/not-a-uuid", ""); a.StatusCode != 404 || a.rc(t) != "RequestNotFound" {
			t.Errorf("%d %s", a.StatusCode, a.text)
		}
	})
	t.Run("8: another method", func(t *testing.T) {
		a := call(t, r, http.MethodGet, imagePath, "")
		if a.StatusCode != 405 || a.Header.Get("Allow") != "OPTIONS, POST" || a.rc(t) != "" || !strings.Contains(a.text, "message") {
			t.Errorf("%d %s %v", a.StatusCode, a.text, a.Header)
		}
	})
	t.Run("15: a number above all ids", func(t *testing.T) {
		if a := call(t, r, http.MethodGet, "/api/v2/users/99999999999999999999999999", ""); a.StatusCode != 404 || a.rc(t) != "UserNotFound" {
			t.Errorf("%d %s", a.StatusCode, a.text)
		}
	})
}

func TestWorkedExample12TwoSubmissionsASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		relaxed := new(limit.Relaxed)
		r := toyRouter(api.Options{Limiter: limit.New(0), Relaxed: relaxed})
		for i, bad := range []string{`{}`, `[`, `{}`} {
			a := call(t, r, http.MethodPost, imagePath, bad, "apikey: known")
			if i < 2 {
				want := []string{"2", fmt.Sprint(1 - i), "1"}
				got := []string{a.Header.Get("X-RateLimit-Limit"), a.Header.Get("X-RateLimit-Remaining"), a.Header.Get("Retry-After")}
				if a.StatusCode != 400 || !slices.Equal(got, want) {
					t.Errorf("call %d: %d %v", i, a.StatusCode, got)
				}
				continue
			}
			h := a.Header
			if a.StatusCode != 429 || a.text != `{"message":"2 per 1 second"}` || h.Get("X-RateLimit-Limit") != "2" || h.Get("X-RateLimit-Remaining") != "0" ||
				h.Get("Retry-After") != "1" || h.Get("X-RateLimit-Reset") != fmt.Sprint(time.Now().Add(time.Second).Unix()) {
				t.Errorf("third call: %d %s %v", a.StatusCode, a.text, h)
			}
		}
		addr := call(t, r, http.MethodOptions, imagePath, "") // takes no hit
		if addr.StatusCode != 200 || addr.Header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("OPTIONS: %d %v", addr.StatusCode, addr.Header)
		}
		relaxed.Add(testAddr)
		for i := range 11 {
			a := call(t, r, http.MethodPost, imagePath, `{"prompt":"x"}`, "apikey: known")
			if want := map[bool]int{true: 202, false: 429}[i < 10]; a.StatusCode != want || a.Header.Get("X-RateLimit-Limit") != "10" {
				t.Errorf("relaxed call %d: %d %s", i, a.StatusCode, a.text)
			}
		}
		time.Sleep(time.Second)
		if a := call(t, r, http.MethodPost, imagePath, `{"prompt":"x"}`, "apikey: known"); a.StatusCode != 202 {
			t.Errorf("a second later: %d", a.StatusCode)
		}
	})
}

func TestWorkedExample13StatusAndItsDeletionCountApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := toyRouter(api.Options{Limiter: limit.New(0)})
		const id = "/api/v2/generate/status/0B1C"
		// Spellings of one path share its limit.
		for i, path := range []string{id, id + "/", "/" + id, strings.ToLower(id), strings.Replace(id, "B", "%42", 1), id, id, id, id, id, id, id, id} {
			a := call(t, r, http.MethodGet, path, "")
			if i < 12 && a.StatusCode != 404 || i == 12 && (a.StatusCode != 429 || a.text != `{"message":"12 per 1 minute"}`) {
				t.Errorf("status %d: %d %s", i, a.StatusCode, a.text)
			}
		}
		if a := call(t, r, http.MethodHead, id, ""); a.StatusCode != 429 {
			t.Errorf("HEAD is another GET: %d", a.StatusCode)
		}
		if a := call(t, r, http.MethodDelete, id, ""); a.StatusCode != 404 || a.Header.Get("X-RateLimit-Remaining") != "11" {
			t.Errorf("DELETE: %d %v", a.StatusCode, a.Header)
		}
		if a := call(t, r, http.MethodGet, id+"2", ""); a.StatusCode != 404 {
			t.Errorf("another id: %d", a.StatusCode)
		}
		time.Sleep(time.Minute)
		if a := call(t, r, http.MethodGet, id, ""); a.StatusCode != 404 {
			t.Errorf("a minute later: %d", a.StatusCode)
		}
	})
}
