// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"math/big"
	"strings"
	"testing"
)

func TestParseSeed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint32{
		"5": 5, "00042": 42, "0": 0, "4294967295": 4294967295, "4294967296": 1, "8589934597": 2,
		"18446744073709551616": 1, // 2^64: two shifts
		"abc":                  6513249, "abcd": 1684234849, "hello": 111, "-5": 13613, "3.7": 3616307,
		"The little seed that could": 25708,
		"²":                          0xb2c2, // a digit, but no ASCII one
		" 5":                         0x3520, "\x00": 0,
		"\x01\x00\x00\x00\x00": 1, // the bytes above are zero, so nothing is shifted
		"\x01\x00\x00\x00\x02": 2,
	} {
		if got, ok := ParseSeed(text); got != want || !ok {
			t.Errorf("%q: %d, %v; want %d", text, got, ok, want)
		}
	}
	if got, ok := ParseSeed(""); ok {
		t.Errorf("no seed was read as %d", got)
	}
}

// plainSeed follows the definition word by word: an integer, shifted while it does not fit.
func plainSeed(s string) uint32 {
	n, digits := new(big.Int), s != ""
	for _, c := range []byte(s) {
		digits = digits && '0' <= c && c <= '9'
	}
	if digits {
		n.SetString(s, 10)
	} else {
		for i := len(s) - 1; i >= 0; i-- {
			n.Lsh(n, 8).Or(n, big.NewInt(int64(s[i])))
		}
	}
	for limit := big.NewInt(1 << 32); n.Cmp(limit) >= 0; {
		n.Rsh(n, 32)
	}
	return uint32(n.Uint64())
}

func FuzzParseSeed(f *testing.F) {
	for _, s := range []string{"", "7", "4294967296", "hello", "\x00\x00\x00\x00\x01\x00\x00", strings.Repeat("9", 60), "¼"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseSeed(s)
		if ok != (s != "") || got != plainSeed(s) {
			t.Errorf("%q: %d, %v; want %d", s, got, ok, plainSeed(s))
		}
	})
}

func TestPopSeed(t *testing.T) {
	t.Parallel()
	seeded := func(seed uint32, variation int) *Order {
		return &Order{Kind: Image, Image: &ImageParams{Seed: &seed, SeedVariation: variation}}
	}
	for _, c := range []struct {
		name string
		o    *Order
		want []uint32 // for the pops of an order of that many results, one at a time
	}{
		{"a variation of hello", seeded(111, 7), []uint32{125, 118}},
		{"a variation of 100", seeded(100, 7), []uint32{121, 114, 107}},
		{"a variation of 42", seeded(42, 10), []uint32{72, 62, 52}},
		{"past 32 bits", seeded(4294967295, 1), []uint32{1}},
		{"the same without a variation", seeded(6513249, 0), []uint32{6513249, 6513249}},
		{"drawn where the client sent none", &Order{Kind: Image, Image: &ImageParams{}}, []uint32{99, 99}},
	} {
		for i, want := range c.want {
			if got := c.o.PopSeed(len(c.want)-i, 99); got != want {
				t.Errorf("%s: pop %d has seed %d, want %d", c.name, i+1, got, want)
			}
		}
	}
}
