// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"strings"
	"testing"
	"unicode"
)

func TestLabelsArePlainText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`<b>bold</b> <a href="https://x.example/a,b">link</a>, spam`: "bold link, spam",
		"a<script>alert(1), x</script>b":                             "ab",
		"&lt;b&gt;x&lt;/b&gt; &amp;amp; y":                           "x & y",
		"one<br>two<br/>three":                                       "one two three",
		"\x1b[31mred\x07\u202eevil\u200b\x00":                        "[31mredevil",
		"i < 3 > 2":                                                  "i 3 2",
		"unfinished <a href='x":                                      "unfinished",
		"bad \xff\xfe utf":                                           "bad utf",
		"line\nbreak\tTab":                                           "line break tab",
		"AT&T":                                                       "at&t",
	} {
		if got := Labels([]string{in}); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
	}
	if n := len([]rune(Labels([]string{strings.Repeat("ü,", 1) + strings.Repeat("ä", 1<<20)}))); n != commentLength {
		t.Error(n)
	}
}

func FuzzLabels(f *testing.F) {
	f.Add("<b>x</b>, y")
	f.Add("&lt;&amp;lt;i&gt;")
	f.Fuzz(func(t *testing.T, s string) {
		got := Labels([]string{s})
		if strings.ContainsAny(got, "<>") || len([]rune(got)) > commentLength || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}
