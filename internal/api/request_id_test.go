// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestIDsOfCalls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		peer, given string
		kept        bool
	}{
		"a trusted proxy's is kept":      {"10.0.0.1:1", "abc-123_4.z", true},
		"a stranger's is not":            {"192.0.2.1:1", "abc", false},
		"a line break is not":            {"10.0.0.1:1", "abc\nlevel=ERROR", false},
		"a long one is not":              {"10.0.0.1:1", strings.Repeat("a", maxRequestID+1), false},
		"none at all, and one is made":   {"10.0.0.1:1", "", false},
		"quotes and spaces are not kept": {"10.0.0.1:1", `a "b"`, false},
	} {
		var text bytes.Buffer
		r := NewRouter(Options{
			Log: slog.New(LogHandler(slog.NewTextHandler(&text, nil))), AccessLog: true,
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		})
		r.Mount("/page/{id}", nil, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		req := httptest.NewRequest("GET", "/page/7?apikey=hidden", nil)
		req.RemoteAddr, req.Header["X-Request-Id"] = c.peer, []string{c.given}
		req.Header.Set("apikey", "hidden")
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		id := w.Header().Get("X-Request-ID")
		if (id == c.given) != c.kept || !c.kept && len(id) != 16 {
			t.Errorf("%s: the id is %q", name, id)
		}
		if log := text.String(); !strings.Contains(log, "request_id="+id) || !strings.Contains(log, "/page/{id}") ||
			strings.Contains(log, "hidden") || strings.Count(log, "\n") != 1 {
			t.Errorf("%s: the log has %q", name, log)
		}
	}
	if RequestID(context.Background()) != "" {
		t.Error("an id without a call")
	}
}
