// SPDX-License-Identifier: AGPL-3.0-or-later

package fetch

import "net/netip"

// notPublic4 are the IPv4 ranges that no stranger's URL may lead to, from the IANA special-purpose registry, with two
// additions: multicast, and the one metadata address of a cloud that lies in public space.
var notPublic4 = prefixes(
	"0.0.0.0/8",        // this network, unspecified
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // carrier-grade NAT; a cloud's metadata service at 100.100.100.200
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // Azure's platform channel, from inside its networks
	"169.254.0.0/16",   // link-local; most clouds' metadata service at 169.254.169.254
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocol assignments; a cloud's metadata service at 192.0.0.192
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // relays of 6to4
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarking
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, broadcast
)

// global6 is all that has been given out of IPv6 as global unicast. Whatever lies outside is loopback, link-local, unique
// local (two clouds' metadata services among them), multicast, discard-only or reserved.
var global6 = netip.MustParsePrefix("2000::/3")

// notPublic6 are the parts of global6 that are not the public internet.
var notPublic6 = prefixes(
	"2001::/23",     // protocol assignments: Teredo (which wraps IPv4), benchmarking, ORCHID
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4, which wraps IPv4; retired
	"3fff::/20",     // documentation
)

// nat64 wraps a public IPv4 address on networks that have IPv6 only, whose name servers make such addresses up for every
// IPv4 host. So it cannot be refused as a whole: the address inside decides.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Public tells whether addr is an address of the public internet that one host can have. Private, loopback, link-local,
// carrier-grade NAT, multicast, unspecified, documentation, benchmarking, reserved and cloud-metadata addresses are
// not, nor are IPv6 addresses that wrap one of those. An address with a zone is not, and neither is the zero Addr.
func Public(addr netip.Addr) bool {
	if !addr.IsValid() || addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	if addr.Is4() {
		return !within(addr, notPublic4)
	}
	return global6.Contains(addr) && !within(addr, notPublic6)
}

func within(addr netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}
