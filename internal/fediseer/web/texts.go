// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"html/template"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/html"

	"horde/internal/fediseer"
)

// strangersLink is how links in texts of strangers are marked: search engines give them no weight, and what they lead
// to learns nothing about this page.
const strangersLink = `rel="nofollow ugc noopener noreferrer"`

// rich shows text of a stranger: it is sanitised when it is stored, and again here. Links in it are marked.
func rich(s string) template.HTML {
	// A sanitised text has "<" only where a tag begins, and in attributes it is escaped.
	return template.HTML(strings.ReplaceAll(fediseer.Sanitize(s), "<a ", "<a "+strangersLink+" "))
}

// plain is what a sanitised text says without its markup.
func plain(s string) string {
	var out strings.Builder
	z := html.NewTokenizer(strings.NewReader(fediseer.Sanitize(s)))
	for kind := z.Next(); kind != html.ErrorToken; kind = z.Next() {
		if kind == html.TextToken {
			out.Write(z.Text())
		}
	}
	return out.String()
}

// label is one of the short reasons that judges give, and how many of the texts hold it.
type label struct {
	Text  string
	Count int
}

// labels splits reasons at commas, trims and lower-cases them and counts the same ones together, in the order in which
// they turn up first. A text that repeats a reason counts once.
func labels(reasons []string) []label {
	var out []label
	at := map[string]int{}
	for _, reason := range reasons {
		seen := map[string]bool{}
		for _, text := range fediseer.SplitList(plain(reason)) {
			if text == "" || seen[text] {
				continue
			}
			seen[text] = true
			i, ok := at[text]
			if !ok {
				i = len(out)
				at[text] = i
				out = append(out, label{Text: text})
			}
			out[i].Count++
		}
	}
	return out
}

// address finds web addresses in plain text.
var address = regexp.MustCompile(`(?i)\bhttps?://[^\s<>"]+`)

// evidence shows evidence: web addresses in it become links, unless it comes with markup of its own.
func evidence(s string) template.HTML {
	shown := rich(s)
	if strings.Contains(string(shown), "<") {
		return shown
	}
	text := plain(s)
	var out strings.Builder
	done := 0
	for _, found := range address.FindAllStringIndex(text, -1) {
		link := strings.TrimRight(text[found[0]:found[1]], ".,;:!?)'")
		if u, err := url.Parse(link); err != nil || u.Host == "" {
			continue
		}
		escaped := html.EscapeString(link)
		out.WriteString(html.EscapeString(text[done:found[0]]) + `<a ` + strangersLink + ` href="` + escaped + `">` + escaped + `</a>`)
		done = found[0] + len(link)
	}
	out.WriteString(html.EscapeString(text[done:]))
	return template.HTML(out.String())
}
