// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"horde/internal/api"
	"horde/internal/limit"
)

// FuzzRequest sends whatever net/http takes for a request. Every answer is final and, where it has a body, JSON.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET /api/v2/users?page=1&sort=age HTTP/1.1\r\nHost: x\r\nX-Fields: id{a}\r\n\r\n",
		"POST //api/v2/generate/async/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\napikey: known\r\n\r\n{\"prompt\":\"x\"}",
		"OPTIONS /api/v2/status/modes HTTP/1.1\r\nHost: x\r\n\r\n",
		"DELETE /api/v2/users/%2e%2e/%252F/.. HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4, ::1\r\nProxied-For: 9\r\nProxy-Authorization: p\r\n\r\n",
		"GET http://other/api/v2/users/%00%ff HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add(s)
	}
	r := toyRouter(api.Options{
		Limiter: limit.New(1 << 10), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Passkey: func(s string) bool { return s == "p" },
	})
	f.Fuzz(func(t *testing.T, text string) {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil || strings.Contains(req.URL.Path, "/fault/") {
			return
		}
		req.RemoteAddr = "192.0.2.1:5"
		req.Header.Del("Accept-Encoding")
		rec := httptest.NewRecorder()
		r.ServeHTTP(rec, req)
		if rec.Code >= 300 && rec.Code < 400 || rec.Code >= 500 {
			t.Fatalf("%d %s %v", rec.Code, rec.Body, rec.Header())
		}
		if rec.Body.Len() > 0 && !json.Valid(rec.Body.Bytes()) {
			t.Fatalf("%d %q", rec.Code, rec.Body)
		}
	})
}
