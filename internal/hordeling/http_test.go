// SPDX-License-Identifier: AGPL-3.0-or-later

package hordeling

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"horde/internal/hordeling/hordelingtest"
)

func TestHTTPSurface(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	h.site.Add(1, ti, pickleFile("n.pt", hordelingtest.WebUI))
	for _, c := range []struct {
		method, path string
		status       int
		contentType  string
		contains     string
	}{
		{"GET", "/api/v1/embedding/1", 200, "application/json", `"sha256"`},
		{"GET", "/api/v1/embedding/1?b=2&a=1", 200, "application/json", `"sha256"`},
		{"HEAD", "/api/v1/embedding/1", 200, "application/json", ""},
		{"HEAD", "/api/v1/embedding/abc", 400, "application/json", ""},
		{"OPTIONS", "/api/v1/embedding/1", 200, "", ""},
		{"OPTIONS", "/api/v1/embedding/abc", 200, "", ""},
		{"POST", "/api/v1/embedding/12", 405, "application/json", `"message"`},
		{"DELETE", "/api/v1/embedding/12", 405, "application/json", `"message"`},
		{"GET", "/api/v1/embedding/12/", 404, "application/json", `"message"`},
		{"GET", "/api/v1/embedding/", 404, "application/json", `"message"`},
		{"GET", "/api/v1/embedding", 404, "application/json", `"message"`},
		{"GET", "/api/v1//embedding/1", 404, "application/json", `"message"`},
		{"GET", "/api/v1/x/../embedding/1", 404, "application/json", `"message"`},
		{"POST", "/nothing", 404, "application/json", `"message"`},
		{"GET", "/", 200, "text/html; charset=utf-8", "safetensors"},
		{"GET", "/api/", 200, "text/html; charset=utf-8", "swagger.json"},
		{"GET", "/api", 404, "application/json", `"message"`},
		{"GET", "/api/swagger.json", 200, "application/json", `"/v1/embedding/{model_id}"`},
		{"GET", "/healthz", 200, "application/json", "ok"},
	} {
		w := h.ask(c.method, c.path)
		hd := w.Header()
		if w.Code != c.status || hd.Get("Content-Type") != c.contentType || !strings.Contains(w.Body.String(), c.contains) {
			t.Errorf("%s %s: %d %s %.200s", c.method, c.path, w.Code, hd.Get("Content-Type"), w.Body)
		}
		if hd.Get("Access-Control-Allow-Origin") != "*" || hd.Get("Access-Control-Allow-Methods") != "POST, GET, OPTIONS, PUT, DELETE, PATCH" ||
			hd.Get("Access-Control-Allow-Headers") != "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, apikey, Client-Agent, X-Fields" ||
			hd.Get("Hordeling-Node") != "host:1:test" || len(hd.Get("ETag")) != 42 {
			t.Errorf("%s %s: headers %v", c.method, c.path, hd)
		}
		if (c.method == "OPTIONS" || c.status == 405) && hd.Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s %s: Allow %q", c.method, c.path, hd.Get("Allow"))
		}
	}
	server := httptest.NewServer(h.Handler())
	defer server.Close()
	get, err := http.Get(server.URL + "/api/v1/embedding/1")
	if err != nil {
		t.Fatal(err)
	}
	content, _ := io.ReadAll(get.Body)
	get.Body.Close()
	head, err := http.Head(server.URL + "/api/v1/embedding/1")
	if err != nil {
		t.Fatal(err)
	}
	none, _ := io.ReadAll(head.Body)
	head.Body.Close()
	if head.ContentLength != int64(len(content)) || head.Header.Get("ETag") != get.Header.Get("ETag") || len(none) != 0 {
		t.Errorf("HEAD differs from GET: %v, %v", head.Header, get.Header)
	}
}

func TestSwaggerDescribesTheService(t *testing.T) {
	t.Parallel()
	var doc struct {
		Swagger     string                    `json:"swagger"`
		BasePath    string                    `json:"basePath"`
		Paths       map[string]map[string]any `json:"paths"`
		Definitions map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"definitions"`
	}
	if err := json.Unmarshal(swagger, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Swagger != "2.0" || doc.BasePath != "/api" || len(doc.Paths) != 1 || doc.Paths["/v1/embedding/{model_id}"]["get"] == nil {
		t.Errorf("got %+v", doc)
	}
	for name, fields := range map[string][]string{"DownloadURL": {"url", "sha256"}, "RequestError": {"message"}, "SimpleResponse": {"message"}} {
		for _, f := range fields {
			if doc.Definitions[name].Properties[f] == nil {
				t.Errorf("%s has no %s", name, f)
			}
		}
	}
}

func TestFieldsAreMasked(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	h.site.Add(1, ti, pickleFile("n.pt", hordelingtest.WebUI))
	for fields, want := range map[string]string{"": "sha256,url", "url": "url", "{sha256}": "sha256", "url, sha256": "sha256,url", "*": "sha256,url", "other": ""} {
		got := body(t, h.embedding(1, "X-Fields", fields))
		var names []string
		for _, n := range []string{"sha256", "url"} {
			if _, ok := got[n]; ok {
				names = append(names, n)
			}
		}
		if strings.Join(names, ",") != want || len(got) != len(names) {
			t.Errorf("mask %q: %v", fields, got)
		}
	}
}

// TestLinksNameTheHostThatWasAsked is the service without a configured address.
func TestLinksNameTheHostThatWasAsked(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *Config) { c.PublicURL = "" })
	h.site.Add(1, ti, pickleFile("n.pt", hordelingtest.WebUI))
	for _, c := range []struct{ host, peer, proto, want string }{
		{"a.example", "203.0.113.1:1", "", "http://a.example/files/"},
		{"b.example:12001", "203.0.113.1:1", "https", "http://b.example:12001/files/"},
		{"c.example", "192.0.2.1:1", "https", "https://c.example/files/"},
		{"a.example", "203.0.113.1:1", "", "http://a.example/files/"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/embedding/1", nil)
		r.Host, r.RemoteAddr = c.host, c.peer
		r.Header.Set("X-Forwarded-Proto", c.proto)
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, r)
		if got := body(t, w)["url"]; !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", c.host, got, c.want)
		}
	}
}
