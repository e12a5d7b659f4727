// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"horde/internal/api"
)

func TestWhoCalls(t *testing.T) {
	t.Parallel()
	r := toyRouter(api.Options{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		Passkey:        func(s string) bool { return s == "right" },
	})
	for _, c := range []struct {
		name, peer   string
		forwarded    []string
		passkey      string
		proxiedFor   []string
		addr, client string
	}{
		{"a direct caller", "203.0.113.9:5", nil, "", nil, "203.0.113.9", ""},
		{"a direct caller who lies", "203.0.113.9:5", []string{"1.2.3.4"}, "", nil, "203.0.113.9", ""},
		{"IPv4 in IPv6", "[::ffff:203.0.113.9]:5", nil, "", nil, "203.0.113.9", ""},
		{"a zone", "[fe80::1%eth0]:5", nil, "", nil, "fe80::1", ""},
		{"behind a proxy", "10.0.0.1:5", []string{"203.0.113.9"}, "", nil, "203.0.113.9", ""},
		{"behind a proxy by IPv4 in IPv6", "[::ffff:10.0.0.1]:5", []string{"::ffff:203.0.113.9"}, "", nil, "203.0.113.9", ""},
		{"a liar behind a proxy", "10.0.0.1:5", []string{"1.2.3.4, 5.6.7.8 ,203.0.113.9"}, "", nil, "203.0.113.9", ""},
		{"two proxies", "10.0.0.1:5", []string{"1.2.3.4, 203.0.113.9, 10.0.0.2"}, "", nil, "203.0.113.9", ""},
		{"two headers", "10.0.0.1:5", []string{"1.2.3.4, 203.0.113.9", "10.0.0.2"}, "", nil, "203.0.113.9", ""},
		{"proxies all the way", "10.0.0.1:5", []string{"10.0.0.3,10.0.0.2"}, "", nil, "10.0.0.3", ""},
		{"a proxy that says nothing", "10.0.0.1:5", nil, "", nil, "10.0.0.1", ""},
		{"a proxy that says nonsense", "10.0.0.1:5", []string{"1.2.3.4, unknown"}, "", nil, "10.0.0.1", ""},
		{"nonsense behind two proxies", "10.0.0.1:5", []string{"1.2.3.4, , 10.0.0.2"}, "", nil, "10.0.0.2", ""},
		{"an empty header", "10.0.0.1:5", []string{""}, "", nil, "10.0.0.1", ""},
		{"with a port", "10.0.0.1:5", []string{"203.0.113.9:443"}, "", nil, "203.0.113.9", ""},
		{"IPv6 with a port", "[fd00::1]:5", []string{"[2001:db8::9]:443"}, "", nil, "2001:db8::9", ""},
		{"IPv6 in brackets", "[fd00::1]:5", []string{"[2001:db8::9]"}, "", nil, "2001:db8::9", ""},
		{"a service", "203.0.113.9:5", nil, "right", []string{" 198.51.100.7 "}, "203.0.113.9", "198.51.100.7"},
		{"a service behind a proxy", "10.0.0.1:5", []string{"203.0.113.9"}, "right", []string{"::ffff:198.51.100.7"}, "203.0.113.9", "198.51.100.7"},
		{"a wrong passkey", "203.0.113.9:5", nil, "wrong", []string{"198.51.100.7"}, "203.0.113.9", ""},
		{"no passkey", "203.0.113.9:5", nil, "", []string{"198.51.100.7"}, "203.0.113.9", ""},
		{"a service that says nonsense", "203.0.113.9:5", nil, "right", []string{"localhost"}, "203.0.113.9", ""},
		{"a service that names two", "203.0.113.9:5", nil, "right", []string{"198.51.100.7, 198.51.100.8"}, "203.0.113.9", ""},
		{"a service that names two in two headers", "203.0.113.9:5", nil, "right", []string{"198.51.100.7", "198.51.100.8"}, "203.0.113.9", ""},
		{"a service that names itself", "203.0.113.9:5", nil, "right", []string{"203.0.113.9"}, "203.0.113.9", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			req := httptest.NewRequest(http.MethodPost, imagePath, strings.NewReader(`{"prompt":"x"}`))
			req.Header = http.Header{"Apikey": {"known"}, "Content-Type": {"application/json"}, "X-Forwarded-For": c.forwarded, "Proxied-For": c.proxiedFor}
			if c.passkey != "" {
				req.Header.Set("Proxy-Authorization", c.passkey)
			}
			req.RemoteAddr = c.peer
			if got := r.Caller(req).Addr.String(); got != c.addr {
				t.Errorf("address %s, want %s", got, c.addr)
			}
			rec := httptest.NewRecorder()
			r.ServeHTTP(rec, req)
			var got struct {
				Client  string
				Proxied bool
			}
			want := c.client
			if want == "" {
				want = c.addr
			}
			answer{rec.Result(), rec.Body.String()}.decode(t, &got)
			if got.Client != want || got.Proxied != (c.client != "") {
				t.Errorf("%+v, want client %q", got, want)
			}
		})
	}
}

func TestClientAgent(t *testing.T) {
	t.Parallel()
	r := toyRouter(api.Options{})
	for headers, want := range map[string]string{
		"":                                       "unknown:0:unknown",
		"Client-Agent: a:1:b":                    "a:1:b",
		"client-agent: it's me":                  "it's me",
		"client_agent: sdk:1:x":                  "sdk:1:x",
		"CLIENT_AGENT: sdk:1:x":                  "sdk:1:x",
		"Client-Agent: a|client_agent: b":        "a",
		"User-Agent: curl|Client-Agent: a:b:c:d": "a:b:c:d",
	} {
		var got struct{ Agent string }
		all := append(strings.Split(headers, "|"), "apikey: known")
		call(t, r, http.MethodPost, imagePath, `{"prompt":"x"}`, all...).decode(t, &got)
		if got.Agent != want {
			t.Errorf("%s: %q, want %q", headers, got.Agent, want)
		}
	}
}
