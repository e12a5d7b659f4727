// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"

	"horde/internal/api"
	"horde/internal/limit"
)

// testAddr is what httptest gives as the peer.
var testAddr = netip.MustParseAddr("192.0.2.1")

// passing returns how many of n submissions in one instant are not refused by a rate limit.
func passing(t *testing.T, r http.Handler, n int, headers func(i int) []string) (passed int) {
	for i := range n {
		if a := call(t, r, http.MethodPost, imagePath, `{"prompt":"x"}`, headers(i)...); a.StatusCode != http.StatusTooManyRequests {
			passed++
		}
	}
	return passed
}

func TestWhoseHitsAreCounted(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	passkey := func(s string) bool { return s == "right" }
	for _, c := range []struct {
		name    string
		options api.Options
		n, want int
		headers func(i int) []string
	}{
		{"one address, many keys", api.Options{}, 6, 2, func(i int) []string { return []string{fmt.Sprint("apikey: ", i)} }},
		{"many addresses, one key", api.Options{TrustedProxies: trusted}, 6, 2, func(i int) []string {
			return []string{"apikey: k", fmt.Sprint("X-Forwarded-For: 198.51.100.", i)}
		}},
		{"many addresses, the anonymous key", api.Options{TrustedProxies: trusted}, 70, 60, func(i int) []string {
			return []string{"apikey: 0000000000", fmt.Sprint("X-Forwarded-For: 198.51.100.", i)}
		}},
		{"many addresses, no key", api.Options{TrustedProxies: trusted}, 70, 60, func(i int) []string {
			return []string{fmt.Sprint("X-Forwarded-For: 198.51.100.", i)}
		}},
		{"many addresses, many keys", api.Options{TrustedProxies: trusted}, 6, 6, func(i int) []string {
			return []string{fmt.Sprint("apikey: ", i), fmt.Sprint("X-Forwarded-For: 198.51.100.", i)}
		}},
		{"one /64 of IPv6", api.Options{TrustedProxies: trusted}, 6, 2, func(i int) []string {
			return []string{fmt.Sprint("apikey: ", i), fmt.Sprint("X-Forwarded-For: 2001:db8::", i)}
		}},
		{"X-Forwarded-For of a stranger", api.Options{}, 6, 2, func(i int) []string {
			return []string{fmt.Sprint("apikey: ", i), fmt.Sprint("X-Forwarded-For: 198.51.100.", i)}
		}},
		{"a service with its passkey", api.Options{Passkey: passkey}, 6, 6, func(i int) []string {
			return []string{fmt.Sprint("apikey: ", i), "Proxy-Authorization: right", fmt.Sprint("Proxied-For: 198.51.100.", i)}
		}},
		{"a service with a wrong passkey", api.Options{Passkey: passkey}, 6, 2, func(i int) []string {
			return []string{fmt.Sprint("apikey: ", i), "Proxy-Authorization: wrong", fmt.Sprint("Proxied-For: 198.51.100.", i)}
		}},
		{"a service without a passkey", api.Options{Passkey: passkey}, 6, 2, func(i int) []string {
			return []string{fmt.Sprint("apikey: ", i), fmt.Sprint("Proxied-For: 198.51.100.", i)}
		}},
		{"a passkey and no proof that there are any", api.Options{}, 6, 2, func(i int) []string {
			return []string{fmt.Sprint("apikey: ", i), "Proxy-Authorization: right", fmt.Sprint("Proxied-For: 198.51.100.", i)}
		}},
		{"an exempt network", api.Options{Exempt: trusted}, 20, 20, func(int) []string { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c.options.Limiter = limit.New(0)
				if got := passing(t, toyRouter(c.options), c.n, c.headers); got != c.want {
					t.Errorf("%d of %d passed, want %d", got, c.n, c.want)
				}
			})
		})
	}
	t.Run("no limiter", func(t *testing.T) {
		r := toyRouter(api.Options{})
		if got := passing(t, r, 20, func(int) []string { return nil }); got != 20 {
			t.Errorf("%d passed", got)
		}
		if a := call(t, r, http.MethodPost, imagePath, `{}`); a.Header.Get("X-RateLimit-Limit") != "" || a.Header.Get("Retry-After") != "" {
			t.Errorf("%v", a.Header)
		}
	})
}

func TestLimitsByAddressAreSharedByMethodsAndNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := toyRouter(api.Options{Limiter: limit.New(0)})
		for i := range 31 {
			method := []string{http.MethodGet, http.MethodPut}[i%2]
			a := call(t, r, method, "/api/v2/status/modes", "")
			if want := map[bool]int{true: 200, false: 429}[i < 30]; a.StatusCode != want {
				t.Fatalf("call %d: %d %s", i, a.StatusCode, a.text)
			}
		}
		for range 200 {
			if a := call(t, r, http.MethodGet, "/api/v2/status/heartbeat", ""); a.StatusCode != 200 || a.Header.Get("X-RateLimit-Limit") != "" {
				t.Fatalf("heartbeat: %d", a.StatusCode)
			}
			if a := call(t, r, http.MethodGet, "/api/v2/nowhere", ""); a.StatusCode != 404 {
				t.Fatalf("unknown path: %d", a.StatusCode)
			}
			if a := call(t, r, http.MethodPost, "/api/v2/users", ""); a.StatusCode != 405 {
				t.Fatalf("unknown method: %d", a.StatusCode)
			}
			if a := call(t, r, http.MethodOptions, "/api/v2/users", ""); a.StatusCode != 200 {
				t.Fatalf("OPTIONS: %d", a.StatusCode)
			}
		}
		a := call(t, r, http.MethodGet, "/api/v2/users", "")
		if a.StatusCode != 200 || a.Header.Get("X-RateLimit-Limit") != "90" || a.Header.Get("X-RateLimit-Remaining") != "89" || a.Header.Get("Retry-After") != "60" {
			t.Errorf("users: %d %v", a.StatusCode, a.Header)
		}
	})
}
