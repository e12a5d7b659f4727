// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"horde/internal/api"
)

func TestEveryAnswerIsOpenToBrowsers(t *testing.T) {
	t.Parallel()
	r := toyRouter(api.Options{})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/api/v2/users", 200},
		{"POST", imagePath, 400},
		{"GET", "/api/v2/users/99999999999", 404},
		{"GET", "/api/v2/nowhere", 404},
		{"OPTIONS", "/api/v2/nowhere", 404},
		{"GET", "/elsewhere", 404},
		{"GET", imagePath, 405},
		{"GET", "/api/v2/fault/panic", 500},
		{"GET", "/api/v2/fault/error", 500},
		{"OPTIONS", imagePath, 200},
		{"OPTIONS", "/api/v2/users/5", 200},
		{"CONNECT", "/api/v2/users", 404},
		{"BREW", "/api/v2/users", 405},
	} {
		a := call(t, r, c.method, c.path, "", "Origin: null", "Access-Control-Request-Headers: apikey, client-agent, content-type, x-fields")
		h := a.Header
		if a.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, a.StatusCode, c.status)
		}
		if h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Horde-Node") != "node:7001:1.0" || h.Get("Access-Control-Allow-Credentials") != "" ||
			!strings.Contains(h.Get("Access-Control-Expose-Headers"), "Retry-After") {
			t.Errorf("%s %s: %v", c.method, c.path, h)
		}
		for _, name := range []string{"apikey", "Client-Agent", "Content-Type", "X-Fields"} {
			if !strings.Contains(h.Get("Access-Control-Allow-Headers"), name) {
				t.Errorf("%s %s does not allow %s", c.method, c.path, name)
			}
		}
		for _, name := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if !strings.Contains(h.Get("Access-Control-Allow-Methods"), name) {
				t.Errorf("%s %s does not allow %s", c.method, c.path, name)
			}
		}
		if c.method == "OPTIONS" && c.status == 200 {
			if a.text != "" || !strings.Contains(h.Get("Allow"), "OPTIONS") {
				t.Errorf("OPTIONS %s: %q %v", c.path, a.text, h)
			}
			continue
		}
		if h.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%s %s is %q", c.method, c.path, h.Get("Content-Type"))
		}
		if c.status >= 400 {
			var doc struct{ Message string }
			if a.decode(t, &doc); doc.Message == "" {
				t.Errorf("%s %s has no message: %s", c.method, c.path, a.text)
			}
		}
	}
}

func TestAllowNamesTheMethods(t *testing.T) {
	t.Parallel()
	r := toyRouter(api.Options{})
	for path, want := range map[string]string{
		imagePath:                   "OPTIONS, POST",
		"/api/v2/generate/status/x": "DELETE, GET, HEAD, OPTIONS",
		"/api/v2/status/modes":      "GET, HEAD, OPTIONS, PUT",
	} {
		for _, method := range []string{http.MethodOptions, http.MethodPatch} {
			if got := call(t, r, method, path, "").Header.Get("Allow"); got != want {
				t.Errorf("%s %s: %q, want %q", method, path, got, want)
			}
		}
	}
}

func TestPathsHaveManySpellingsAndNoRedirect(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(toyRouter(api.Options{}))
	defer server.Close()
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for path, want := range map[string]string{
		"/api/v2/users/plain":           "plain",
		"/api/v2/users/plain/":          "plain",
		"//api/v2/users/plain":          "plain",
		"/api//v2///users/plain//":      "plain",
		"/api/v2/./users/x/../plain":    "plain",
		"/api/v2/users/a%23b%3Ac%20d":   "a#b:c d",
		"/api/v2/users/10.0%2F8":        "10.0/8",
		"/api/v2/users/10.0%252F8":      "10.0/8",
		"/api/v2/users/10.0%252f8/":     "10.0/8",
		"/api/v2/users/50%2525":         "50%25",
		"/api/v2/users/%C3%A9":          "é",
		"/api/v2/users/a+b":             "a+b",
		"/api/v2/users/%2e%2e":          "..",
		"/api/v2/users/x?page=notanint": "x",
	} {
		resp, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		a := answer{resp, string(text)}
		var user toyUser
		if a.decode(t, &user); a.StatusCode != 200 || user.Name != want {
			t.Errorf("%s: %d %s, want %q", path, a.StatusCode, a.text, want)
		}
	}
	for _, path := range []string{"/", "/api", "/api/", "/api/v2", "/api/v2/", "/api/v1/servers", "/api/v2/users/a/b", "/api/v2/generate/sync/"} {
		a := call(t, toyRouter(api.Options{}), http.MethodPost, path, "{}")
		if a.StatusCode != 404 || strings.Contains(path, "sync") != strings.Contains(a.text, "/api/v2/generate/async") {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.text)
		}
	}
	if a := call(t, toyRouter(api.Options{}), http.MethodPost, "//api/v2/generate/async/", `{}`); a.StatusCode != 400 || !slices.Equal(a.errorKeys(t), []string{"prompt"}) {
		t.Errorf("POST with slashes: %d %s", a.StatusCode, a.text)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	r := toyRouter(api.Options{})
	for _, c := range []struct {
		path    string
		headers []string
		want    string
	}{
		{"/api/v2/users", nil, `[{"id":1,"username":"a<b&c","kudos":8,"worker_ids":[],"records":{}},{"id":2,"username":"","kudos":0.5,"trusted":true,"worker_ids":["w"],"records":{}}]`},
		{"/api/v2/users?page=3", nil, `[]`},
		{"/api/v2/users", []string{"X-Fields: id,kudos"}, `[{"id":1,"kudos":8},{"id":2,"kudos":0.5}]`},
		{"/api/v2/users/a", []string{"X-Fields: {username, records{image{done}}, nothing}"}, `{"username":"a","records":{"image":{"done":5}}}`},
		{"/api/v2/users/a", []string{"X-Fields: id{"}, `{"message":"Mask parse error: a name is missing at byte 3"}`},
		{"/api/v2/users/99999999999", []string{"X-Fields: id"}, `{"message":"User with ID '99999999999' not found.","rc":"UserNotFound"}`},
		{"/api/v2/users?page=", nil, `[{"id":1,"username":"a<b&c","kudos":8,"worker_ids":[],"records":{}},{"id":2,"username":"","kudos":0.5,"trusted":true,"worker_ids":["w"],"records":{}}]`},
		{"/api/v2/users?page=x", nil, `{"message":"Input payload validation failed","errors":{"page":"x is not of type 'integer'"}}`},
		{"/api/v2/users?page=1.5", nil, `{"message":"Input payload validation failed","errors":{"page":"1.5 is not of type 'integer'"}}`},
		{"/api/v2/users?page=0", nil, `{"message":"Input payload validation failed","errors":{"page":"0 is less than the minimum of 1"}}`},
		{"/api/v2/users?page=99999999999999999999", nil, `{"message":"Input payload validation failed","errors":{"page":"99999999999999999999 is greater than the maximum of 9223372036854775807"}}`},
		{"/api/v2/users?sort=name&page=x", nil, `{"message":"Input payload validation failed","errors":{"page":"x is not of type 'integer'"}}`},
		{"/api/v2/users?sort=name", nil, `{"message":"Input payload validation failed","errors":{"sort":"name is not one of [\"kudos\", \"age\"]"}}`},
		{"/api/v2/users?full=maybe", nil, `{"message":"Input payload validation failed","errors":{"full":"maybe is not of type 'boolean'"}}`},
		{"/api/v2/users?min=inf", nil, `{"message":"Input payload validation failed","errors":{"min":"inf is not of type 'number'"}}`},
		{"/api/v2/users?page=3&full=True&sort=age&min=-1.5e2", nil, `[]`},
		{"/api/v2/fault/error", nil, `{"message":"Internal Server Error"}`},
		{"/api/v2/fault/panic", nil, `{"message":"Internal Server Error"}`},
		{"/api/v2/fault/encode", nil, `{"message":"Internal Server Error"}`},
		{"/api/v2/fault/bare", nil, `{"message":"Internal Server Error","rc":"Bare"}`},
	} {
		if a := call(t, r, http.MethodGet, c.path, "", c.headers...); a.text != c.want {
			t.Errorf("%s %v: %s\nwant %s", c.path, c.headers, a.text, c.want)
		}
	}
	if a := call(t, r, http.MethodGet, "/api/v2/fault/wait", ""); a.Header.Get("Retry-After") != "1201" || a.StatusCode != 423 {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	if a := call(t, r, http.MethodPost, imagePath, `{"prompt":"x"}`); !strings.Contains(a.text, "Missing required parameter in the HTTP headers") {
		t.Error(a.text)
	}
	if a := call(t, r, http.MethodGet, "/api/v2/long", ""); a.Header.Get("X-Of-Its-Own") != "yes" {
		t.Errorf("%v", a.Header)
	}
}

func TestBodiesOfAllMethods(t *testing.T) {
	t.Parallel()
	r := toyRouter(api.Options{})
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		want               string
	}{
		{"DELETE", "/api/v2/operations/ipaddr", `{"ipaddr":"x"}`, []string{"apikey: k"}, 200, `{"message":"x"}`},
		{"DELETE", "/api/v2/generate/status/5", ``, []string{"Content-Type: application/json"}, 404, ""},
		{"GET", "/api/v2/users", ``, []string{"Content-Type: application/json"}, 200, ""},
		{"GET", "/api/v2/users", `{"x`, []string{"Content-Type: application/json"}, 200, ""},
		{"PUT", "/api/v2/status/modes", ``, nil, 200, `{"kudos":-1,"raid":false}`},
		{"PUT", "/api/v2/status/modes", `{}`, nil, 200, `{"kudos":-1,"raid":false}`},
		{"PUT", "/api/v2/status/modes", `{"kudos":"5","raid_mode":1}`, nil, 200, `{"kudos":5,"raid":true}`},
		{"PUT", "/api/v2/status/modes", `{"raid_mode":"false"}`, nil, 400, ""},
		{"PUT", "/api/v2/status/modes", `kudos=5`, []string{"Content-Type: application/x-www-form-urlencoded"}, 400, ""},
	} {
		a := call(t, r, c.method, c.path, c.body, c.headers...)
		if a.StatusCode != c.status || (c.want != "" && a.text != c.want) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, a.StatusCode, a.text)
		}
	}
}

func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(toyRouter(api.Options{}))
	defer server.Close()
	for path, status := range map[string]int{"/api/v2/users/5": 200, "/api/v2/nowhere": 404, imagePath: 405} {
		resp, err := http.Head(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != status || len(text) != 0 || resp.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("HEAD %s: %d %q %v", path, resp.StatusCode, text, resp.Header)
		}
	}
}

func TestCompression(t *testing.T) {
	t.Parallel()
	r := toyRouter(api.Options{})
	r.Mount("/image", nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/webp")
		_, _ = w.Write(make([]byte, 5000))
	}))
	for _, c := range []struct{ path, accept, encoding string }{
		{"/api/v2/long", "", ""},
		{"/api/v2/long", "gzip", "gzip"},
		{"/api/v2/long", "gzip, deflate", "gzip"},
		{"/api/v2/long", "br, gzip;q=0.5", "gzip"},
		{"/api/v2/long", "zstd, gzip", "gzip"},
		{"/api/v2/long", "br", ""},
		{"/api/v2/long", "gzip;q=0", ""},
		{"/api/v2/long", "identity", ""},
		{"/api/v2/users", "gzip", ""},
		{"/image", "gzip", ""},
	} {
		a := call(t, r, http.MethodGet, c.path, "", "Accept-Encoding: "+c.accept)
		if got := a.Header.Get("Content-Encoding"); a.StatusCode != 200 || got != c.encoding {
			t.Errorf("%s for %q: %d %q", c.path, c.accept, a.StatusCode, got)
		}
		if c.encoding == "" {
			continue
		}
		if len(a.text) > 1000 || a.Header.Get("Content-Length") != "" || a.Header.Get("X-Of-Its-Own") != "yes" || a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%d bytes, %v", len(a.text), a.Header)
		}
		z, err := gzip.NewReader(strings.NewReader(a.text))
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := io.ReadAll(z); err != nil || len(plain) != 5011 {
			t.Errorf("%d bytes: %v", len(plain), err)
		}
	}
}

func TestAFaultIsLoggedOnceAndTellsTheCallerNothing(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{"panic": "router_test", "error": "secret detail", "encode": "func()"} {
		if kind == "panic" {
			want = "toy_test.go" // in the stack
		}
		var log bytes.Buffer
		r := toyRouter(api.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		a := call(t, r, http.MethodGet, "/api/v2/fault/"+kind, "", "Accept-Encoding: gzip")
		if a.StatusCode != 500 || strings.Contains(a.text, "secret") {
			t.Errorf("%s: %d %s", kind, a.StatusCode, a.text)
		}
		if strings.Count(log.String(), "level=ERROR") != 1 || !strings.Contains(log.String(), want) {
			t.Errorf("%s: %s", kind, log.String())
		}
	}
}

func TestAPanicInTheMiddleOfAnAnswerEndsTheConnection(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(toyRouter(api.Options{}))
	defer server.Close()
	resp, err := http.Get(server.URL + "/api/v2/fault/late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("half an answer looked whole")
	}
	if resp, err = http.Get(server.URL + "/api/v2/users/5"); err != nil || resp.StatusCode != 200 {
		t.Errorf("the server did not survive: %v", err)
	}
}

func TestCallsAreLoggedWithoutSecrets(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := toyRouter(api.Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	call(t, r, http.MethodPost, imagePath, `{"prompt":"secretprompt"}`, "apikey: secretkey", "Proxy-Authorization: secretpass")
	call(t, r, http.MethodGet, "/api/v2/generate/check/secretid?apikey=secretkey", "")
	call(t, r, http.MethodGet, "/api/v2/users/secretname", "")
	if got := log.String(); strings.Contains(got, "secret") || strings.Count(got, "msg=call ") != 3 || !strings.Contains(got, "/api/v2/generate/check/{id}") {
		t.Error(got)
	}
}

func TestMountedHandlers(t *testing.T) {
	t.Parallel()
	r := toyRouter(api.Options{})
	page := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, req.URL.Path+" for "+r.Caller(req).Addr.String())
	})
	r.Mount("/{$}", api.DefaultLimits, page)
	r.Mount("/static/", nil, page)
	r.Mount("/form", nil, page, http.MethodGet, http.MethodPost)
	for _, c := range []struct {
		method, path string
		status       int
		text         string
	}{
		{"GET", "/", 200, "/ for 192.0.2.1"},
		{"GET", "/static/a/b.css", 200, "/static/a/b.css for 192.0.2.1"},
		{"GET", "/static/", 200, "/static for 192.0.2.1"},
		{"GET", "/static", 200, "/static for 192.0.2.1"},
		{"POST", "/form/", 200, "/form for 192.0.2.1"},
		{"POST", "/", 405, ""},
		{"OPTIONS", "/form", 200, ""},
	} {
		a := call(t, r, c.method, c.path, "")
		if a.StatusCode != c.status || (c.text != "" && a.text != c.text) || a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.StatusCode, a.text)
		}
	}
}

func TestOperationsThatCannotBe(t *testing.T) {
	t.Parallel()
	h := func(r *api.Router, method, path string) {
		handle(r, method, path, nil, func(context.Context, *api.Call[api.NoInput]) (int, any, error) { return 200, nil, nil })
	}
	for name, register := range map[string]func(*api.Router){
		"twice":      func(r *api.Router) { h(r, "GET", "/a"); h(r, "GET", "/a") },
		"OPTIONS":    func(r *api.Router) { h(r, "OPTIONS", "/a") },
		"everything": func(r *api.Router) { h(r, "GET", "/") },
		"no place":   func(r *api.Router) { input[struct{ A string }](r) },
		"two places": func(r *api.Router) {
			input[struct {
				A string `query:"a" header:"a"`
			}](r)
		},
		"a list": func(r *api.Router) {
			input[struct {
				A []string `query:"a"`
			}](r)
		},
		"not a struct": func(r *api.Router) { input[int](r) },
		"a strange word": func(r *api.Router) {
			input[struct {
				Body struct{} `body:"maybe"`
			}](r)
		},
		"a strange body":  func(r *api.Router) { input[struct{ Body int }](r) },
		"a field unnamed": func(r *api.Router) { input[struct{ Body struct{ A int } }](r) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("registered")
				}
			}()
			register(toyRouter(api.Options{}))
		})
	}
}

func input[In any](r *api.Router) {
	handle(r, http.MethodGet, "/a", nil, func(context.Context, *api.Call[In]) (int, any, error) { return 200, nil, nil })
}
