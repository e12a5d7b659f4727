// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"strings"
	"testing"
)

func TestParseDomain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"a", "a"},
		{"Lemmy.Example.ORG", "lemmy.example.org"},
		{"example.org.", "example.org"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
		{"аpple.com", "xn--pple-43d.com"}, // Cyrillic first letter: another name than apple.com
		{"*.evil", "*.evil"},
		{"*.Evil.Test", "*.evil.test"},
		{"indie-verse.example", "indie-verse.example"},
		{"4chan.example", "4chan.example"},
		{"１２７.example", "127.example"},
		{strings.Repeat("a", 63) + ".test", strings.Repeat("a", 63) + ".test"},
	} {
		got, err := ParseDomain(c.in)
		if err != nil || string(got) != c.want {
			t.Errorf("ParseDomain(%q) = %q, %v; want %q", c.in, got, err, c.want)
		}
		if again, err := ParseDomain(string(got)); err != nil || again != got {
			t.Errorf("ParseDomain(%q) again = %q, %v", got, again, err)
		}
	}
	for _, in := range []string{"", ".", "..", "a..b", ".a", "localhost", "LOCALHOST", "x.localhost", "foo.local", "a.Foo.LOCAL.", "foo.internal", "*.internal", "foo.invalid", "1.0.0.127.in-addr.arpa", "home.arpa", "local", "localhost.", "127.0.0.1",
		"１２７.0.0.1", "0x7f.1", "2130706433", "127.1", "1.2.3.0x4", "::1", "[::1]", "[::ffff:127.0.0.1]", "a:80",
		"https://a.test", "a.test/x", "u@a.test", "a b", "exa mple", "a_b.test", "-a.test", "a-.test", "*", "*.", "**.a", "a.*.b",
		"*.*.a", "a\x00b", "a\n", "%61", "a%2eb", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 130) + "test",
		strings.Repeat("ü", 3000), "xn--a", "xn--\xff", "a。localhost", "evil.test?x", "evil.test#x", "a\\b"} {
		if got, err := ParseDomain(in); err == nil {
			t.Errorf("ParseDomain(%q) = %q, want a refusal", in, got)
		}
	}
}

func FuzzParseDomain(f *testing.F) {
	for _, s := range []string{"a.test", "*.Bücher.example", "127.0.0.1", "[::1]:80", "xn--bcher-kva.example."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDomain(s)
		if err != nil {
			return
		}
		if again, err := ParseDomain(string(d)); err != nil || again != d {
			t.Fatalf("%q gives %q, which gives %q, %v", s, d, again, err)
		}
		if strings.ContainsAny(string(d), "/:@%?# \\[]_") || len(d) > MaxDomainLength || strings.ToLower(string(d)) != string(d) {
			t.Fatalf("%q gives %q", s, d)
		}
	})
}
