// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// Worked example 10 and its neighbours.
func TestSanitize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{" <b>Good</b> <script>x</script> & fine ", "<b>Good</b> &lt;script&gt;x&lt;/script&gt; &amp; fine"},
		{"a < b", "a &lt; b"},
		{"<!-- c -->z", "z"},
		{"<b>un", "<b>un</b>"},
		{"x &amp; y", "x &amp; y"},
		{"http://x/?a=1&b=2", "http://x/?a=1&amp;b=2"},
		{"<b onclick=x>b</b>", "<b>b</b>"},
		{`<a href="javascript:x" title="t">l</a>`, `<a title="t">l</a>`},
		{`<a href="HTTPS://x/">l</a>`, `<a href="HTTPS://x/">l</a>`},
		{`<a href="/x">l</a>`, `<a>l</a>`},
		{"<b><i>x</b></i>", "<b><i>x</i></b>"},
		{"</b>x", "x"},
		{"<img src=x onerror=y>", "&lt;img src=x onerror=y&gt;"},
		{"<textarea><b>x", "&lt;textarea&gt;<b>x</b>"},
		{"\x00a\xff", "a\uFFFD"},
		{"&#x41; &#; &bad", "&#x41; &amp;#; &amp;bad"},
		{"", ""},
	} {
		if got := Sanitize(c.in); got != c.want {
			t.Errorf("Sanitize(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func FuzzSanitize(f *testing.F) {
	for _, s := range []string{"<b>un", "a < b", "<script>alert(1)</script>", `<a href=" java\tscript:x">`, "<!-- ", "<b <i>>", "</ b>", "<![CDATA[x]]>", "<svg><b>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := Sanitize(s)
		if twice := Sanitize(once); twice != once {
			t.Fatalf("%q: once %q, twice %q", s, once, twice)
		}
		z := html.NewTokenizer(strings.NewReader(once))
		for {
			switch z.Next() {
			case html.ErrorToken:
				return
			case html.StartTagToken, html.SelfClosingTagToken:
				tok := z.Token()
				attrs, ok := allowedTags[tok.Data]
				if !ok {
					t.Fatalf("%q lets <%s> through: %q", s, tok.Data, once)
				}
				for _, a := range tok.Attr {
					if !strings.Contains(strings.Join(attrs, " "), a.Key) || a.Key == "href" && !allowedURL(a.Val) {
						t.Fatalf("%q lets %s=%q through", s, a.Key, a.Val)
					}
				}
			}
		}
	})
}
