// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// callerOf finds out who calls.
func (r *Router) callerOf(req *http.Request) Caller {
	addr := r.addressOf(req)
	c := Caller{Addr: addr, Client: addr, Agent: agentOf(req.Header), ID: r.calls.Add(1)}
	if client, ok := r.proxiedFor(req.Header); ok {
		c.Client, c.Proxied = client, client != addr
	}
	return c
}

// addressOf starts at the peer and follows X-Forwarded-For from its end, as long as who wrote an entry is a trusted proxy.
// An entry that is no address ends the walk: the proxy before it is the best that is known.
func (r *Router) addressOf(req *http.Request) netip.Addr {
	addr := parseAddress(req.RemoteAddr)
	if !within(r.options.TrustedProxies, addr) {
		return addr
	}
	forwarded := req.Header.Values("X-Forwarded-For")
	for i := len(forwarded) - 1; i >= 0; i-- {
		rest := forwarded[i]
		for more := true; more; {
			cut := strings.LastIndexByte(rest, ',')
			entry := rest[cut+1:]
			if more = cut >= 0; more {
				rest = rest[:cut]
			}
			hop := parseAddress(strings.TrimSpace(entry))
			if !hop.IsValid() {
				return addr
			}
			if addr = hop; !within(r.options.TrustedProxies, addr) {
				return addr
			}
		}
	}
	return addr
}

// proxiedFor returns the one address in Proxied-For when the caller may speak for others.
func (r *Router) proxiedFor(h http.Header) (netip.Addr, bool) {
	passkey, client := h.Get("Proxy-Authorization"), h["Proxied-For"]
	// A list would be read as one address whose zone is the rest.
	if passkey == "" || len(client) != 1 || strings.Contains(client[0], ",") || r.options.Passkey == nil || !r.options.Passkey(passkey) {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(client[0]))
	return clean(addr), err == nil
}

// parseAddress reads an address with or without a port. The result is not valid when text is neither.
func parseAddress(text string) netip.Addr {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return clean(withPort.Addr())
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return clean(addr)
}

// clean makes addresses comparable: IPv4 inside IPv6 is IPv4, and a zone, which only this machine understands, is dropped.
func clean(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

func (r *Router) exempt(addr netip.Addr) bool { return within(r.options.Exempt, addr) }

func within(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// agentOf returns the Client-Agent of a caller.
func agentOf(h http.Header) string {
	for _, name := range [...]string{"Client-Agent", "Client_agent"} {
		if v := h[name]; len(v) > 0 && v[0] != "" {
			return v[0]
		}
	}
	return DefaultAgent
}
