// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSanitize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"<script>alert('xss')</script>hello": "&lt;script&gt;alert('xss')&lt;/script&gt;hello",
		"  a & b ":                           "a &amp; b",
		"a&amp;b":                            "a&amp;b",
		"hello <i>":                          "hello &lt;i&gt;",
		"<b>x</b>":                           "&lt;b&gt;x&lt;/b&gt;",
		"&#39; &#x27; &lt;":                  "&#39; &#x27; &lt;",
		"&; &# &#; &#x; &a b; &am\x00p;":     "&amp;; &amp;# &amp;#; &amp;#x; &amp;a b; &amp;amp;",
		"a\x00b":                             "ab",
		"\x00":                               "",
		"bell\a, tab\t, line\n, end":         "bell?, tab\t, line\n, end",
		"  \n ":                              "",
		"\"quotes\" 'stay'":                  "\"quotes\" 'stay'",
		"zébrà 水":                            "zébrà 水",
		"broken\xff":                         "broken\ufffd",
	} {
		if got := Sanitize(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzSanitize(f *testing.F) {
	for _, s := range []string{"", "a & b", "&amp;", "&#x1;<", "&\x00lt;", " \xff\u0085", "&aamp;&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Sanitize(s)
		switch {
		case strings.ContainsAny(got, "<>\x00"), !utf8.ValidString(got), got != strings.TrimSpace(got):
			t.Errorf("%q became %q", s, got)
		case Sanitize(got) != got:
			t.Errorf("%q became %q, and that %q", s, got, Sanitize(got))
		case len(got) > 5*len(s):
			t.Errorf("%d bytes became %d", len(s), len(got))
		}
	})
}

func TestProfanity(t *testing.T) {
	t.Parallel()
	own := NewProfanity([]string{" Zebra ", "quag*", "", "*"})
	for text, want := range map[string]bool{
		"zebra": true, "ZEBRA!": true, "a_zebra_b": true, "zebras": false, "quagga": true, "quag": true, "aquag": false,
		"": false, "anything": false, "zébra": false,
	} {
		if got := own(text); got != want {
			t.Errorf("own list, %q: %v, want %v", text, got, want)
		}
	}
	for text, want := range map[string]bool{
		"fuck": true, "Fucking Worker": true, "what a SHIT-worker": true, "cunt": true, "horde worker": false,
		"Scunthorpe": false, "Essex": false, "class assignment": false, "cockatoo": false, "Dickens": false, "shitake": false,
		"title": false, "therapist": false,
	} {
		if got := CommonProfanity(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
