// SPDX-License-Identifier: AGPL-3.0-or-later

package fetch

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		addr string
		want bool
	}{
		{"1.1.1.1", true},
		{"93.184.216.34", true},
		{"172.15.255.255", true},
		{"172.32.0.0", true},
		{"100.63.255.255", true},
		{"100.128.0.0", true},
		{"2606:4700::1111", true},
		{"2a00:1450:4001::1", true},
		{"64:ff9b::1.1.1.1", true},
		{"::ffff:1.1.1.1", true},

		{"0.0.0.0", false},
		{"0.1.2.3", false},
		{"10.0.0.1", false},
		{"100.64.0.1", false},
		{"100.100.100.200", false},
		{"127.0.0.1", false},
		{"127.255.255.254", false},
		{"168.63.129.16", false},
		{"169.254.169.254", false},
		{"172.16.0.1", false},
		{"172.31.255.255", false},
		{"192.0.0.192", false},
		{"192.0.2.1", false},
		{"192.88.99.1", false},
		{"192.168.1.1", false},
		{"198.18.0.1", false},
		{"198.19.255.255", false},
		{"198.51.100.7", false},
		{"203.0.113.7", false},
		{"224.0.0.1", false},
		{"239.255.255.255", false},
		{"240.0.0.1", false},
		{"255.255.255.255", false},
		{"::", false},
		{"::1", false},
		{"::127.0.0.1", false},
		{"::ffff:127.0.0.1", false},
		{"::ffff:10.0.0.1", false},
		{"::ffff:0:127.0.0.1", false},
		{"64:ff9b::127.0.0.1", false},
		{"64:ff9b::10.1.2.3", false},
		{"64:ff9b::a9fe:a9fe", false},
		{"64:ff9b:1::1.1.1.1", false},
		{"100::1", false},
		{"2001::1", false},
		{"2001:0:4136:e378:8000:63bf:3fff:fdd2", false},
		{"2001:2::1", false},
		{"2001:db8::1", false},
		{"2002:7f00:1::", false},
		{"2002:a00:1::1", false},
		{"3fff::1", false},
		{"5f00::1", false},
		{"fc00::1", false},
		{"fd00:ec2::254", false},
		{"fd20:ce::254", false},
		{"fe80::1", false},
		{"fe80::1%eth0", false},
		{"2606:4700::1111%eth0", false},
		{"fec0::1", false},
		{"ff02::1", false},
	}
	for _, tt := range tests {
		if got := Public(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("Public(%s) = %v, want %v", tt.addr, got, tt.want)
		}
	}
	if Public(netip.Addr{}) {
		t.Error("the zero address counts as public")
	}
}

// The standard library knows some of the ranges; what it calls special must never be public, however it is wrapped.
func TestPublicAgreesWithStandardLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v4 := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
		special := v4.IsLoopback() || v4.IsPrivate() || v4.IsMulticast() || v4.IsLinkLocalUnicast() || v4.IsUnspecified()
		if special && Public(v4) {
			t.Fatalf("%s is public", v4)
		}
		if mapped := netip.AddrFrom16(v4.As16()); Public(mapped) != Public(v4) {
			t.Fatalf("%s and %s differ", mapped, v4)
		}
		b := netip.MustParseAddr("64:ff9b::").As16()
		copy(b[12:], v4.AsSlice())
		if wrapped := netip.AddrFrom16(b); Public(wrapped) != Public(v4) {
			t.Fatalf("%s and %s differ", wrapped, v4)
		}
		v6 := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")))
		if !v6.IsGlobalUnicast() && !v6.Is4In6() && Public(v6) {
			t.Fatalf("%s is public", v6)
		}
	})
}
