// SPDX-License-Identifier: AGPL-3.0-or-later

package bulletin_test

import (
	"path/filepath"
	"strings"
	"testing"

	"horde/internal/bulletin"
)

// TestShortNumbers begins with example 19 of the status chapter.
func TestShortNumbers(t *testing.T) {
	t.Parallel()
	for x, want := range map[float64]string{
		10: "10", 1000: "1000", 1001: "1.0 kilo (K)", 1234567: "1.2 mega (M)",
		123456: "123.5 kilo (K)", 2.5e12: "2.5 tera (T)", // accounts chapter, example 20
		0: "0", 0.25: "0.3", 7: "7", 999.96: "1000", 1e6: "1000.0 kilo (K)", 1e6 + 1: "1.0 mega (M)", 1e9 + 1: "1.0 giga (G)",
		1e12 + 1: "1.0 tera (T)", 1e15 + 1: "1.0 peta (P)", 2.5e18: "2500.0 peta (P)",
	} {
		number, prefix, letter := bulletin.Short(x)
		if prefix != "" {
			number += " " + prefix + " (" + letter + ")"
		}
		if number != want {
			t.Errorf("%v is %q, want %q", x, number, want)
		}
	}
}

func TestAFrontPageOfTheOperator(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	news, page := filepath.Join(dir, "news.json"), filepath.Join(dir, "index.md")
	write(t, news, `[{"date_published":"2026-01-01","newspiece":"old"},{"date_published":"2026-01-04","newspiece":"*four*\nlines"},
		{"date_published":"2026-01-03","newspiece":"three"},{"date_published":"2026-01-02","newspiece":"two"}]`)
	write(t, page, "# {page_title}\n\n{news}\n\n{avg_performance} {avg_thing_name}, {total_forms}{total_forms_char} forms, {unknown}\n")
	b := open(t, bulletin.Config{News: news, Landing: page, Title: "Ours"})
	if !b.HasLanding() {
		t.Fatal("there is none")
	}
	v := bulletin.Values{}
	v.Things("avg_performance", "avg_thing_name", 2_500_000, "pixelsteps")
	v.Count("total_forms", 1500)
	got, err := b.Landing("https://horde.example", v)
	if err != nil {
		t.Fatal(err)
	}
	want := "<h1>Ours</h1>\n<ul>\n<li>2026-01-04: <em>four</em> lines</li>\n<li>2026-01-03: three</li>\n<li>2026-01-02: two</li>\n</ul>\n" +
		"<p>2.5 megapixelsteps, 1.5K forms, {unknown}</p>\n<h2>Policies</h2>\n<p><a href=\"/privacy\">Privacy Policy</a></p>\n" +
		"<p><a href=\"/terms\">Terms and Conditions</a></p>\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if _, err := bulletin.New(bulletin.Config{Landing: filepath.Join(dir, "none.md")}); err == nil || !strings.Contains(err.Error(), "none.md") {
		t.Errorf("a page that is not there: %v", err)
	}
	if open(t, bulletin.Config{}).HasLanding() {
		t.Error("there is a page without a file")
	}
}
