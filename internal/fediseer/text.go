// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// allowedTags maps the tags that may stand in reasons, evidence, rebuttals and comments to their allowed attributes.
var allowedTags = map[string][]string{
	"a": {"href", "title"}, "abbr": {"title"}, "acronym": {"title"}, "b": nil, "blockquote": nil, "code": nil, "em": nil,
	"i": nil, "li": nil, "ol": nil, "strong": nil, "ul": nil,
}

// Sanitize makes text of a stranger safe to show as HTML and trims it. Allowed tags stay, without attributes that are
// not allowed; other tags become visible text; comments vanish; bare "&", "<" and ">" become entities; what was opened
// is closed. Sanitizing twice is the same as once.
func Sanitize(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	var out strings.Builder
	var open []string
	z := html.NewTokenizer(strings.NewReader(s))
	for {
		kind := z.Next()
		raw := string(z.Raw())
		if kind == html.ErrorToken {
			out.WriteString(escapeText(raw))
			break
		}
		switch kind {
		case html.TextToken:
			out.WriteString(escapeText(raw))
		case html.StartTagToken, html.SelfClosingTagToken:
			t := z.Token()
			attrs, ok := allowedTags[t.Data]
			if !ok {
				out.WriteString(escapeText(raw))
				z.NextIsNotRawText()
				continue
			}
			writeTag(&out, t, attrs)
			open = append(open, t.Data)
		case html.EndTagToken:
			t := z.Token()
			if _, ok := allowedTags[t.Data]; !ok {
				out.WriteString(escapeText(raw))
				continue
			}
			if !slices.Contains(open, t.Data) {
				continue // closes nothing
			}
			for { // what was opened later is closed first
				last := open[len(open)-1]
				open = open[:len(open)-1]
				out.WriteString("</" + last + ">")
				if last == t.Data {
					break
				}
			}
		case html.DoctypeToken:
			out.WriteString(escapeText(raw))
		case html.CommentToken: // dropped
		}
	}
	for _, t := range slices.Backward(open) {
		out.WriteString("</" + t + ">")
	}
	return strings.TrimSpace(out.String())
}

func writeTag(out *strings.Builder, t html.Token, allowed []string) {
	out.WriteString("<" + t.Data)
	for i, a := range t.Attr {
		if !slices.Contains(allowed, a.Key) || slices.ContainsFunc(t.Attr[:i], func(b html.Attribute) bool { return b.Key == a.Key }) {
			continue
		}
		if a.Key == "href" && !allowedURL(a.Val) {
			continue
		}
		out.WriteString(" " + a.Key + `="` + html.EscapeString(a.Val) + `"`)
	}
	out.WriteString(">")
}

func allowedURL(s string) bool {
	u, err := url.Parse(strings.TrimSpace(s))
	return err == nil && slices.Contains([]string{"http", "https", "mailto"}, strings.ToLower(u.Scheme))
}

// escapeText escapes what would be markup and leaves entities that are written out in full.
func escapeText(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '<':
			out.WriteString("&lt;")
		case '>':
			out.WriteString("&gt;")
		case '&':
			if isEntity(s[i:]) {
				out.WriteByte('&')
			} else {
				out.WriteString("&amp;")
			}
		default:
			out.WriteByte(s[i])
		}
	}
	return out.String()
}

// longestEntity bounds the search for the semicolon; the longest name in HTML has 31 letters.
const longestEntity = 33

func isEntity(s string) bool {
	end := strings.IndexByte(s[:min(len(s), longestEntity)], ';')
	if end < 2 {
		return false
	}
	body := s[1:end]
	if num, ok := strings.CutPrefix(body, "#"); ok {
		digits := "0123456789"
		if hex, ok := strings.CutPrefix(strings.ToLower(num), "x"); ok {
			num, digits = hex, "0123456789abcdef"
		}
		return num != "" && strings.Trim(strings.ToLower(num), digits) == ""
	}
	for i := range len(body) {
		c := body[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || body[i] < '0' || body[i] > '9') {
			return false
		}
	}
	return true
}
