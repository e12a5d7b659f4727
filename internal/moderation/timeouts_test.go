// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestReportedAddressesWaitLongerEachTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := NewPlaces([]netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")})
	for _, c := range []struct {
		addr    string
		minutes []int
	}{
		{"203.0.113.7", []int{3, 9, 15, 21, 27, 33}},
		{"198.51.100.7", []int{3, 5, 5, 5, 5, 5}},
		{"::ffff:203.0.113.8", []int{3, 9}},
		{"2001:db8::1", []int{3, 9}},
	} {
		at, addr := now, netip.MustParseAddr(c.addr)
		for i, minutes := range c.minutes {
			s.Report(addr, at)
			if got := s.Timeout(addr, at); got != minutes*60 {
				t.Errorf("%s, time %d: %d seconds", c.addr, i+1, got)
			}
			at = at.Add(time.Duration(minutes) * time.Minute)
			if got := s.Timeout(addr, at); got != 0 {
				t.Errorf("%s: still %d seconds at the end", c.addr, got)
			}
		}
	}
	neighbour := netip.MustParseAddr("2001:db8::ffff:1")
	if p := s.Report(neighbour, now.Add(time.Hour)); p.Count != 3 {
		t.Errorf("an address of the same /64 is the same caller: %+v", p)
	}
	if p := s.Report(neighbour, now.Add(26*time.Hour)); p.Count != 1 {
		t.Errorf("after a day all is forgotten: %+v", p)
	}
	for i := range 12 {
		if _, before := s.ReportProxy(netip.MustParseAddr("192.0.2.1"), now); before != i {
			t.Errorf("got %d before, want %d", before, i)
		}
	}
	if s.Timeout(netip.MustParseAddr("192.0.2.1"), now) != 0 {
		t.Error("a service has no time-out for what its users do")
	}
	if len(s.Expired(now.Add(27*time.Hour))) != s.Len()-1 {
		t.Errorf("%d of %d have expired", len(s.Expired(now.Add(27*time.Hour))), s.Len())
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"10.0.0.5": "10.0.0.5/32", "10.0.0.0/8": "10.0.0.0/8 block", "::1": "::1/128", "2001:db8::/32": "2001:db8::/32 block",
		"::ffff:10.0.0.5": "10.0.0.5/32", "::ffff:10.0.0.0/104": "10.0.0.0/8 block",
		"10.0.0.5/8": "", "10.0.0.0/99": "", "fe80::1%eth0": "", "example.org": "", "": "", "::ffff:0:0/90": "",
	} {
		network, block, ok := ParseNetwork(text)
		got := ""
		if ok {
			got = network.String()
			if block {
				got += " block"
			}
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := NewPlaces(nil)
	block := func(text string, d time.Duration) Key {
		network, isBlock, _ := ParseNetwork(text)
		k := Key{network, isBlock}
		s.Set(k, now.Add(d))
		return k
	}
	block("172.16.0.0/16", 5*time.Hour)
	inner := block("172.16.5.0/24", 9*time.Hour)
	block("2001:db8:abcd:1234::/64", 48*time.Hour)
	for addr, want := range map[string]int{
		"172.16.5.5": 9 * 3600, "172.16.6.5": 5 * 3600, "172.17.0.1": 0, "2001:db8:abcd:1234:5678::1": 172800, "2001:db8:abcd:1235::1": 0,
		"::ffff:172.16.6.5": 5 * 3600,
	} {
		if got := s.Timeout(netip.MustParseAddr(addr), now); got != want {
			t.Errorf("%s: got %d, want %d", addr, got, want)
		}
	}
	if got := s.Of(netip.MustParsePrefix("172.16.5.5/32"), true, now); len(got) != 2 || got[0].Name() != "172.16.0.0/16" {
		t.Errorf("got %v", got)
	}
	if got := s.Of(netip.MustParsePrefix("172.16.0.0/12"), false, now); len(got) != 0 {
		t.Errorf("a network inside is no block of the whole: %v", got)
	}
	s.Remove(inner)
	if got := s.Timeout(netip.MustParseAddr("172.16.5.5"), now); got != 5*3600 {
		t.Errorf("after the inner one was lifted: %d", got)
	}
	if got := len(s.Blocks(now)); got != 2 {
		t.Errorf("%d blocks", got)
	}
	if got := s.Timeout(netip.Addr{}, now); got != 0 {
		t.Errorf("no address at all: %d", got)
	}
}

// However places come and go, an address is refused as long as the longest that holds for it.
func TestTheLongestCounts(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		s, all := NewPlaces(nil), map[Key]time.Time{}
		addr := rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 3).Draw(t, "c")), byte(rapid.IntRange(0, 3).Draw(t, "d"))})
		})
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			a := addr.Draw(t, "address")
			p, _ := a.Prefix(rapid.SampledFrom([]int{8, 16, 23, 24, 31, 32}).Draw(t, "bits"))
			k := Key{p, rapid.Bool().Draw(t, "block") || p.Bits() < 32}
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				s.Remove(k)
				delete(all, k)
				continue
			}
			all[k] = now.Add(time.Duration(rapid.IntRange(-5, 100).Draw(t, "seconds")) * time.Second)
			s.Set(k, all[k])
		}
		a, want := addr.Draw(t, "asked"), 0
		for k, until := range all {
			if k.Prefix.Contains(a) {
				want = max(want, int(until.Sub(now).Seconds()))
			}
		}
		if got := s.Timeout(a, now); got != want {
			t.Fatalf("%s: got %d, want %d", a, got, want)
		}
	})
}
