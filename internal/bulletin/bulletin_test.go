// SPDX-License-Identifier: AGPL-3.0-or-later

package bulletin_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"horde/internal/bulletin"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, c bulletin.Config) *bulletin.Board {
	t.Helper()
	if c.Title == "" {
		c.Title = "Test & Horde"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	b, err := bulletin.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// until waits for the board to look at its files again.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 60 {
		if is() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("after three seconds: %s", what)
}

const threeNews = `[
 {"date_published":"2025-06-25","newspiece":"*first*","title":"A","importance":"Information","tags":["x"],"more_info_urls":["https://example.org"]},
 {"date_published":"2025-12-16","newspiece":"newest","title":"B","importance":"Crisis","more_info_urls":[]},
 {"date_published":"2025-06-25","newspiece":"second","title":"C","importance":"Workers","tags":[]}]`

func titles(b *bulletin.Board) string {
	var all []string
	for _, n := range b.News() {
		all = append(all, *n.Title)
	}
	return strings.Join(all, "")
}

func TestNewsAreReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "news.json")
	b := open(t, bulletin.Config{News: file})
	if news := b.News(); news == nil || len(news) != 0 {
		t.Errorf("a file that is not there makes %v", news)
	}
	write(t, file, threeNews)
	until(t, "the news are not there", func() bool { return titles(b) == "BAC" })
	if n := b.News()[0]; n.Tags != nil || n.MoreInfoURLs == nil {
		t.Errorf("got %+v", n)
	}
	for _, broken := range []string{`[{"title": 1}]`, `{}`, `null`, `[`} {
		write(t, file, broken)
		until(t, "broken news are still there: "+broken, func() bool { return len(b.News()) == 0 })
	}
	write(t, file, `[{"title":"D"}]`)
	until(t, "the news are not mended", func() bool { return titles(b) == "D" })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	until(t, "the news outlive their file", func() bool { return len(b.News()) == 0 })
}

func TestBuiltinDocuments(t *testing.T) {
	t.Parallel()
	b := open(t, bulletin.Config{Contact: "me@example.org"})
	for name, heading := range map[bulletin.Name]string{
		bulletin.Terms: "Terms and Conditions", bulletin.Privacy: "Privacy Policy", bulletin.Sponsors: "Sponsors",
	} {
		d := b.Document(name, "https://horde.example")
		if !strings.HasPrefix(d.HTML, "<h1>"+heading+"</h1>\n") || !strings.HasPrefix(d.Markdown, "# "+heading+"\n") {
			t.Errorf("%s begins with %.80q and %.80q", name, d.HTML, d.Markdown)
		}
		if regexp.MustCompile(`<h\d [^>]`).MatchString(d.HTML) {
			t.Errorf("%s: a heading has attributes", name)
		}
		if !strings.Contains(d.HTML, "Test &amp; Horde") || !strings.Contains(d.Markdown, "Test & Horde") {
			t.Errorf("%s does not name the horde: %.300q", name, d.HTML)
		}
		if name != bulletin.Sponsors && (!strings.Contains(d.HTML, "me@example.org") || !strings.Contains(d.Markdown, "https://horde.example")) {
			t.Errorf("%s names neither address nor contact", name)
		}
		for _, text := range []string{d.HTML, d.Markdown} {
			if strings.Contains(text, "laceholder") || strings.ContainsAny(text, "{}") || text != strings.Trim(text, "\r\n") {
				t.Errorf("%s: %q", name, text)
			}
		}
	}
}

func TestDocumentsOfTheOperator(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, file, text, html, markdown string }{
		{"html", "terms.html", "<h1>Terms and Conditions</h1>\n<p>Of <b>{title}</b>, <a href=\"{url}/api\">here</a>.</p>\n<ul><li>one</li><li>two</li></ul>\n",
			"<h1>Terms and Conditions</h1>\n<p>Of <b>Test &amp; Horde</b>, <a href=\"http://h/api\">here</a>.</p>\n<ul><li>one</li><li>two</li></ul>",
			"# Terms and Conditions\n\nOf **Test & Horde**, [here](http://h/api).\n\n- one\n- two"},
		{"markdown", "terms.md", "\n# Terms\n\n[ask]({url}/x) {contact}, <i>thanks</i>\n\n",
			"<h1>Terms</h1>\n<p><a href=\"http://h/x\">ask</a> http://h, <i>thanks</i></p>", "# Terms\n\n[ask](http://h/x) http://h, <i>thanks</i>"},
		{"empty", "terms.html", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), c.file)
			write(t, file, c.text)
			b := open(t, bulletin.Config{Terms: file})
			d := b.Document(bulletin.Terms, "http://h")
			if d.HTML != c.html || d.Markdown != c.markdown {
				t.Errorf("got %q and %q, want %q and %q", d.HTML, d.Markdown, c.html, c.markdown)
			}
			write(t, file, "changed, changed")
			until(t, "the change is not there", func() bool {
				return strings.Contains(b.Document(bulletin.Terms, "").HTML, "changed, changed")
			})
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1200 * time.Millisecond)
			if d := b.Document(bulletin.Terms, ""); !strings.Contains(d.Markdown, "changed, changed") {
				t.Errorf("the last good text is gone with its file: %q", d.Markdown)
			}
		})
	}
}

func TestSponsorsFromAList(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sponsors.json")
	write(t, file, `[{"name":"small <b>","monthly":3},{"name":"none","monthly":2.5},{"name":"Large","url":"https://l.example/?a=1&b=2","monthly":100},
		{"name":"_Host_"},{"name":"middle","monthly":99}]`)
	d := open(t, bulletin.Config{Sponsors: file}).Document(bulletin.Sponsors, "http://h")
	want := "<ul>\n<li>_Host_</li>\n<li><a href=\"https://l.example/?a=1&amp;b=2\">Large</a></li>\n</ul>\n<p>middle, small &lt;b&gt;</p>"
	if !strings.HasSuffix(d.HTML, want) {
		t.Errorf("got %q, want %q at the end", d.HTML, want)
	}
	if !strings.Contains(d.Markdown, "[Large](https://l.example/?a=1&b=2)") {
		t.Errorf("got %q", d.Markdown)
	}
}

func TestWhatIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		write(t, path, text)
		return path
	}
	for name, c := range map[string]bulletin.Config{
		"a file that is not there": {Privacy: filepath.Join(t.TempDir(), "privacy.md")},
		"terms as JSON":            {Terms: file("terms.json", `[]`)},
		"a list that is none":      {Sponsors: file("s.json", `{}`)},
		"a sponsor without a name": {Sponsors: file("s.json", `[{"url":"https://x.example"}]`)},
		"a link that runs":         {Sponsors: file("s.json", `[{"name":"x","url":"javascript:alert(1)"}]`)},
		"too large":                {Terms: file("terms.html", strings.Repeat("x", 4<<20+1))},
	} {
		c.Log = slog.New(slog.DiscardHandler)
		if _, err := bulletin.New(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Patrons are thanked beside those whom the operator names, at the end of whatever text the operator has.
func TestPatronsAreThanked(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "sponsors.json")
	write(t, list, `[{"name":"Host"},{"name":"middle","monthly":50}]`)
	page := filepath.Join(t.TempDir(), "sponsors.md")
	write(t, page, "# Thanks\n\nto *all*.\n")
	patrons := []bulletin.Sponsor{
		{Name: "small <b>", Monthly: 3}, {Name: "too small", Monthly: 2}, {Name: "nothing", Monthly: 0}, {Name: "", Monthly: 500},
		{Name: "Large", URL: "https://l.example/?a=1&b=2", Monthly: 100}, {Name: "a script", URL: "javascript:alert(1)", Monthly: 200},
		{Name: "Larger", Monthly: 150}, {Name: "ninety-nine", Monthly: 99},
	}
	const items = "<li>Larger</li>\n<li><a href=\"https://l.example/?a=1&amp;b=2\">Large</a></li>\n</ul>\n<p>ninety-nine, "
	for _, c := range []struct{ name, file, begins, ends string }{
		{"the text of the program", "", "<h1>Sponsors</h1>", "\n<ul>\n" + items + "small &lt;b&gt;</p>"},
		{"a list", list, "<h1>Sponsors</h1>", "\n<ul>\n<li>Host</li>\n" + items + "middle, small &lt;b&gt;</p>"},
		{"a page", page, "<h1>Thanks</h1>\n<p>to <em>all</em>.</p>", "</p>\n<ul>\n" + items + "small &lt;b&gt;</p>"},
	} {
		b := open(t, bulletin.Config{Sponsors: c.file})
		without := b.Document(bulletin.Sponsors, "http://h")
		now := patrons
		b.SetPatrons(func() []bulletin.Sponsor { return now })
		for range 2 {
			d := b.Document(bulletin.Sponsors, "http://h")
			if !strings.HasPrefix(d.HTML, c.begins) || !strings.HasSuffix(d.HTML, c.ends) {
				t.Errorf("%s: got %q, want %q at the end", c.name, d.HTML, c.ends)
			}
			if !strings.Contains(d.Markdown, "[Large](https://l.example/?a=1&b=2)") || strings.Contains(d.Markdown, "script") {
				t.Errorf("%s: got %q", c.name, d.Markdown)
			}
		}
		if d := b.Document(bulletin.Terms, "http://h"); strings.Contains(d.HTML, "Large") {
			t.Errorf("%s: the terms thank somebody: %q", c.name, d.HTML)
		}
		now = patrons[:1]
		if d := b.Document(bulletin.Sponsors, "http://h"); strings.Contains(d.HTML, "Large") || !strings.Contains(d.HTML, "small &lt;b&gt;") {
			t.Errorf("%s: who left is still thanked: %q", c.name, d.HTML)
		}
		now = nil
		if d := b.Document(bulletin.Sponsors, "http://h"); d != without {
			t.Errorf("%s: nobody is thanked in other words: %q", c.name, d.HTML)
		}
	}
}
