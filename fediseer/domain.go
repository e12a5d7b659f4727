// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// DomainError refuses a text that is no domain. No request was made.
type DomainError struct{ Input, Reason string }

func (e *DomainError) Error() string { return "fediseer: " + e.Input + ": " + e.Reason }

const maxDomain = 253

var profile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true))

// NormalizeDomain brings a domain into the form in which the service knows it: lower case ASCII, international names as
// punycode. Surrounding spaces, a leading https:// or http://, a path and one trailing dot are dropped; a leading "*." is
// kept. Addresses, ports and everything else are a *[DomainError].
func NormalizeDomain(s string) (string, error) {
	fail := func(why string) (string, error) { return "", &DomainError{Input: s, Reason: why} }
	d := strings.TrimSpace(s)
	for _, scheme := range []string{"https://", "http://"} {
		if len(d) >= len(scheme) && strings.EqualFold(d[:len(scheme)], scheme) {
			d = d[len(scheme):]
			break
		}
	}
	d, _, _ = strings.Cut(d, "/")
	d, wildcard := strings.CutPrefix(d, "*.")
	if _, err := netip.ParseAddr(strings.Trim(d, "[]")); err == nil {
		return fail("is an address, not a domain")
	}
	ascii, err := profile.ToASCII(d)
	if err != nil {
		return fail("is not a domain")
	}
	ascii = strings.ToLower(strings.TrimSuffix(ascii, "."))
	last := ""
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fail("is not a domain")
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		return fail("is an address, not a domain")
	}
	if wildcard {
		ascii = "*." + ascii
	}
	if len(ascii) > maxDomain {
		return fail("is too long")
	}
	return ascii, nil
}

// normalizeSet normalises, sorts and deduplicates, so that equal sets make equal requests.
func normalizeSet(in []string) ([]string, error) {
	out := make([]string, len(in))
	for i, s := range in {
		d, err := NormalizeDomain(s)
		if err != nil {
			return nil, err
		}
		out[i] = d
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
