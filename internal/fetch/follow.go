// SPDX-License-Identifier: AGPL-3.0-or-later

package fetch

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
)

// Doer sends requests. Client is the one to use; tests have others.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Exempt returns what an operator's own choice of a server allows beyond public addresses and the usual ports: the
// address itself where base names one, or loopback for localhost, and its port. They are the AllowPrefixes and Ports of
// a Config. A name other than localhost exempts nothing but its port: who answers for it is not the operator's choice.
func Exempt(bases ...*url.URL) (allow []netip.Prefix, ports []uint16) {
	ports = []uint16{80, 443}
	for _, base := range bases {
		if p, err := strconv.ParseUint(base.Port(), 10, 16); err == nil {
			ports = append(ports, uint16(p))
		}
		host := base.Hostname()
		if host == "localhost" {
			allow = append(allow, netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128"))
		} else if addr, err := netip.ParseAddr(host); err == nil {
			allow = append(allow, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return allow, ports
}

// Follow fetches what req asks for with at most hops redirects, and calls prepare for the request of each hop before it
// is sent: to add a secret where the address is the one that the secret is for, or to refuse the hop by an error, which
// Follow returns. What prepare changes in a request, its URL included, does not reach the next hop. via must not follow
// redirects itself (MaxRedirects 0). The caller closes the body.
func Follow(req *http.Request, via Doer, hops int, prepare func(*http.Request) error) (*http.Response, error) {
	u := req.URL
	for range hops + 1 {
		hop := req.Clone(req.Context())
		address := *u
		hop.URL, hop.Host = &address, u.Host
		if err := prepare(hop); err != nil {
			return nil, err
		}
		resp, err := via.Do(hop)
		if err != nil {
			return nil, err
		}
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return resp, nil
		}
		location := resp.Header.Get("Location")
		next, err := u.Parse(location)
		resp.Body.Close()
		if err != nil || location == "" {
			return nil, fmt.Errorf("fetch: %w", ErrAnswer)
		}
		u = next
	}
	return nil, fmt.Errorf("fetch: %w", ErrRedirects)
}
