// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"slices"
	"testing"
)

func TestLabels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   []string
		want []label
	}{
		{nil, nil},
		{[]string{""}, nil},
		{[]string{"spam, open regs"}, []label{{"spam", 1}, {"open regs", 1}}},
		{[]string{"Spam ,bots", " spam", "trolls,SPAM,spam,,"}, []label{{"spam", 3}, {"bots", 1}, {"trolls", 1}}},
		{[]string{`<b>spam</b>, <a href="https://x.test/a,b">R&amp;D</a>`, "&lt;script&gt;"}, []label{{"spam", 1}, {"r&d", 1}, {"<script>", 1}}},
	} {
		if got := labels(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v", c.in, got, c.want)
		}
	}
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	const a = `<a rel="nofollow ugc noopener noreferrer" href="`
	for _, c := range []struct{ in, want string }{
		{"seen", "seen"},
		{"https://x.test/a?b=1&amp;c=2", a + `https://x.test/a?b=1&amp;c=2">https://x.test/a?b=1&amp;c=2</a>`},
		{"see HTTP://x.test/, and\n(https://y.test).", "see " + a + `HTTP://x.test/">HTTP://x.test/</a>, and` + "\n(" + a + `https://y.test">https://y.test</a>).`},
		{"javascript:alert(1) ftp://x.test https://", "javascript:alert(1) ftp://x.test https://"},
		{`https://x.test/"onclick="a <img src=x>`, a + `https://x.test/">https://x.test/</a>&#34;onclick=&#34;a &lt;img src=x&gt;`},
		{`<a href="https://x.test">there</a> https://y.test`, a + `https://x.test">there</a> https://y.test`},
	} {
		if got := string(evidence(c.in)); got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}
