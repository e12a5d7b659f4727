// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// MaxDomainLength is the longest name that DNS can hold in text form, without the final dot.
const MaxDomainLength = 253

const maxLabelLength = 63

// Domain is the normalised name of an instance: lower case ASCII letters, digits, hyphens and dots, optionally with a
// leading "*." that stands for all subdomains. Make one with [ParseDomain]; a conversion from an unchecked string breaks
// the promise. Two Domains name the same instance exactly when they are equal.
type Domain string

// Wildcard reports whether d stands for all subdomains of a name. Wildcards are judged but never contacted.
func (d Domain) Wildcard() bool { return strings.HasPrefix(string(d), "*.") }

// Contains reports whether d is other itself or a parent of it: "example.org" contains "a.example.org".
func (d Domain) Contains(other Domain) bool {
	return d == other || strings.HasSuffix(string(other), "."+string(d))
}

// nameProfile maps what people type to what DNS carries. It refuses what the lookup rules of IDNA 2008 refuse:
// disallowed code points, bidi violations, misplaced joiners.
var nameProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.Transitional(false))

// ParseDomain normalises a domain name. Upper case becomes lower case, one trailing dot is dropped, international names
// become punycode (so that a look-alike of a known name is visibly another name). It refuses with status 400: ports,
// paths and user information, IP addresses in every spelling that a browser or libc would accept (a last label that is a
// number), names of the local machine or network ("x.local", "x.internal", localhost and all below it) and those that never
// name a server ("x.invalid", "x.arpa"), labels that are empty or longer than 63, and names longer than
// [MaxDomainLength].
func ParseDomain(s string) (Domain, error) {
	if len(s) > 4*MaxDomainLength { // four bytes are the most that one character takes
		return "", badDomain(s[:64]+"...", "is too long")
	}
	rest, wildcard := strings.CutPrefix(s, "*.")
	if _, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
		return "", badDomain(s, "is an address, not a name")
	}
	ascii, err := nameProfile.ToASCII(rest)
	if err != nil {
		return "", badDomain(s, "is not a DNS name")
	}
	// What is no text becomes a replacement character, which is let through once and not again.
	if again, err := nameProfile.ToASCII(ascii); err != nil || again != ascii {
		return "", badDomain(s, "is not a DNS name")
	}
	ascii = strings.ToLower(strings.TrimSuffix(ascii, "."))
	labels := strings.Split(ascii, ".")
	for _, l := range labels {
		if !validLabel(l) {
			return "", badDomain(s, "is not a DNS name")
		}
	}
	switch last := labels[len(labels)-1]; {
	case last == "localhost":
		return "", badDomain(s, "is the local machine")
	case slices.Contains(reserved, last):
		return "", badDomain(s, "is a name that no instance on the internet has")
	case numeric(last):
		return "", badDomain(s, "is an address, not a name")
	}
	if wildcard {
		ascii = "*." + ascii
	}
	if len(ascii) > MaxDomainLength {
		return "", badDomain(s, "is too long")
	}
	return Domain(ascii), nil
}

// reserved are the last labels of names that no public server can have (RFC 6761 and 6762, ICANN's resolution on
// "internal"). "test" and "example" are not here: closed fediverses and examples live under them.
var reserved = []string{"local", "internal", "invalid", "arpa"}

func validLabel(l string) bool {
	if l == "" || len(l) > maxLabelLength || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	for i := range len(l) {
		c := l[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// numeric reports whether a last label makes the whole name an IPv4 address for common parsers: decimal, octal or
// hexadecimal digits ("0x7f").
func numeric(l string) bool {
	if h, ok := strings.CutPrefix(l, "0x"); ok {
		return strings.Trim(h, "0123456789abcdef") == ""
	}
	return strings.Trim(l, "0123456789") == ""
}
