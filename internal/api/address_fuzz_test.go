// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// FuzzAddress writes what it likes into the headers that say who calls. Nobody becomes an address that neither the
// connection nor a trusted proxy names, and from an untrusted connection the headers say nothing.
func FuzzAddress(f *testing.F) {
	f.Add("127.0.0.1:1", "198.51.100.7", "10.0.0.1, 203.0.113.9:80")
	f.Add("[::1]:1", "::ffff:1.2.3.4, fe80::1%eth0", "[2001:db8::1]:443")
	f.Add("198.51.100.1:9", "1.2.3.4", "")
	f.Add("127.0.0.1", ",,", "unknown, 1.2.3.4")
	f.Add("", "\x00", "127.0.0.1,127.0.0.1")
	r := NewRouter(Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("10.0.0.0/8")}})
	f.Fuzz(func(t *testing.T, remote, first, second string) {
		req := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {first, second}, "Proxied-For": {first}, "Proxy-Authorization": {second}}}
		c := r.callerOf(req)
		if c.Client != c.Addr || c.Proxied {
			t.Fatalf("somebody without a passkey speaks for %v", c.Client)
		}
		peer := parseAddress(remote)
		if c.Addr != clean(c.Addr) {
			t.Errorf("%v is not in the one form of addresses", c.Addr)
		}
		if !within(r.options.TrustedProxies, peer) {
			if c.Addr != peer {
				t.Errorf("%v from %v, which nobody trusts", c.Addr, peer)
			}
			return
		}
		if c.Addr == peer {
			return
		}
		for _, entry := range strings.Split(first+","+second, ",") {
			if parseAddress(strings.TrimSpace(entry)) == c.Addr {
				return
			}
		}
		t.Errorf("%v stands nowhere", c.Addr)
	})
}
