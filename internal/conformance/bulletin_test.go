// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"horde/internal/node"
)

// News and documents: status chapter, 1.5 and 4.

func TestNewsComeFromAFile(t *testing.T) {
	t.Parallel()
	example(t, "status", 11)
	s := open(t)
	if a := s.want(s.get("/status/news", account{}), http.StatusOK); a.text != "[]\n" && a.text != "[]" {
		t.Errorf("a horde without a file has news: %s", a.text)
	}
	file := filepath.Join(t.TempDir(), "news.json")
	if err := os.WriteFile(file, []byte(`[
		{"date_published":"2025-06-25","newspiece":"*first*","title":"A","importance":"Information","tags":["x"],"more_info_urls":["https://example.org"]},
		{"date_published":"2025-12-16","newspiece":"newest","title":"B","importance":"Crisis","more_info_urls":[]},
		{"date_published":"2025-06-25","newspiece":"second","title":"C","importance":"Workers","tags":[]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, func(c *node.Config) { c.NewsFile = file })
	a := s.want(s.get("/status/news", account{}), http.StatusOK)
	for i, title := range []string{"B", "A", "C"} {
		if a.at(i, "title") != title {
			t.Errorf("piece %d is %v, want %s", i, a.at(i), title)
		}
	}
	if !strings.Contains(a.text, `"tags":null`) || a.at(1, "tags", 0) != "x" || a.at(1, "more_info_urls", 0) != "https://example.org" {
		t.Errorf("got %s", a.text)
	}
}

func TestDocumentsHaveTwoForms(t *testing.T) {
	t.Parallel()
	example(t, "status", 14)
	file := filepath.Join(t.TempDir(), "privacy.html")
	if err := os.WriteFile(file, []byte("<h1>Privacy Policy</h1>\n<p>We know {contact}.</p>\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, func(c *node.Config) {
		c.PrivacyFile, c.Title, c.Contact, c.PublicURL = file, "Our <Horde>", "us@example.org", "https://horde.example/"
	})
	for _, c := range []struct{ path, key, begins, has string }{
		{"/documents/terms", "html", "<h1>Terms and Conditions</h1>\n", "Our &lt;Horde&gt; (https://horde.example) "},
		{"/documents/terms?format=html", "html", "<h1>Terms and Conditions</h1>\n", "us@example.org"},
		{"/documents/terms?format=markdown", "markdown", "# Terms and Conditions\n", "Our <Horde> (https://horde.example) "},
		{"/documents/privacy", "html", "<h1>Privacy Policy</h1>\n", "<p>We know us@example.org.</p>"},
		{"/documents/privacy?format=markdown", "markdown", "# Privacy Policy\n\nWe know", "us@example.org"},
		{"/documents/sponsors", "html", "<h1>Sponsors</h1>\n", "Our &lt;Horde&gt;"},
		{"/documents/sponsors?format=markdown", "markdown", "# Sponsors\n", "Our <Horde>"},
	} {
		a := s.want(s.get(c.path, account{}), http.StatusOK)
		text, _ := a.at(c.key).(string)
		if members := a.value.(map[string]any); len(members) != 1 || !strings.HasPrefix(text, c.begins) || !strings.Contains(text, c.has) {
			t.Errorf("%s: %.300s", c.path, a.text)
		}
	}
	for _, name := range []string{"terms", "privacy", "sponsors"} {
		s.refused(s.get("/documents/"+name+"?format=pdf", account{}), http.StatusBadRequest, "BadRequest")
	}
}
