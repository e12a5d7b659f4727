// SPDX-License-Identifier: AGPL-3.0-or-later

package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// doer answers by a function.
type doer func(*http.Request) *http.Response

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r), nil }

func TestFollow(t *testing.T) {
	t.Parallel()
	errStop := errors.New("stop")
	for name, tc := range map[string]struct {
		locations map[string]string
		asked     string
		err       error
	}{
		"no redirect":         {nil, "a.example/x?secret", nil},
		"relative and abroad": {map[string]string{"/x": "/y?q=1", "/y": "https://b.example/z"}, "a.example/x?secret a.example/y?q=1&secret b.example/z?", nil},
		"without an address":  {map[string]string{"/x": ""}, "a.example/x?secret", ErrAnswer},
		"in a circle":         {map[string]string{"/x": "/x"}, "a.example/x?secret a.example/x?secret a.example/x?secret", ErrRedirects},
		"to where it may not": {map[string]string{"/x": "https://bad.example/"}, "a.example/x?secret", errStop},
	} {
		var asked []string
		via := doer(func(r *http.Request) *http.Response {
			asked = append(asked, r.Host+r.URL.Path+"?"+r.URL.RawQuery)
			rec := httptest.NewRecorder()
			if to, ok := tc.locations[r.URL.Path]; ok {
				rec.Header().Set("Location", to)
				rec.WriteHeader(http.StatusFound)
			}
			return rec.Result()
		})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://a.example/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := Follow(req, via, 2, func(hop *http.Request) error {
			switch hop.URL.Host {
			case "bad.example":
				return errStop
			case "a.example":
				hop.URL.RawQuery = strings.TrimPrefix(hop.URL.RawQuery+"&secret", "&")
			}
			return nil
		})
		if err == nil {
			resp.Body.Close()
		}
		if !errors.Is(err, tc.err) || strings.Join(asked, " ") != tc.asked {
			t.Errorf("%s: %v, asked %q", name, err, asked)
		}
	}
}

func TestExempt(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://civitai.com": "[] [80 443]", "http://127.0.0.1:8080/x": "[127.0.0.1/32] [80 443 8080]", "http://[::1]:90": "[::1/128] [80 443 90]",
		"http://localhost:1": "[127.0.0.1/32 ::1/128] [80 443 1]", "https://intranet:8443": "[] [80 443 8443]",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		allow, ports := Exempt(u)
		if allow == nil {
			allow = []netip.Prefix{}
		}
		if got := fmt.Sprint(allow, ports); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}
