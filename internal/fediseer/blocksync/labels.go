// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/html"
)

const (
	// reasonLength bounds what is read of one reason, in bytes. A Fediseer's own bound is 255 characters.
	reasonLength = 4096
	// zeroWidthJoiner holds pictographs and letters of some scripts together; it is the one formatting character that stays.
	zeroWidthJoiner = '\u200d'
	// maxUnescape bounds how often text that was escaped again and again is unescaped.
	maxUnescape = 4
)

// Labels makes a comment of reasons: their labels as plain text in lower case, most frequent first, each once. It has at most
// 500 characters.
func Labels(reasons []string) string {
	counts := map[string]int{}
	for _, r := range reasons {
		for l := range strings.SplitSeq(plainText(r), ",") {
			if l = strings.ToLower(strings.Join(strings.Fields(l), " ")); l != "" {
				counts[l]++
			}
		}
	}
	labels := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a, b))
	})
	return cutRunes(strings.Join(labels, ", "), commentLength)
}

// plainText takes markup, control characters and invisible formatting out of a reason, which a stranger wrote and which is
// shown on terminals and on web pages.
func plainText(s string) string {
	if len(s) > reasonLength {
		s = s[:reasonLength]
	}
	s = strings.ToValidUTF8(s, "")
	for range maxUnescape {
		if !strings.ContainsAny(s, "<&") {
			break
		}
		s = withoutTags(s)
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '<' || r == '>':
			return -1
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r) && r != zeroWidthJoiner:
			return -1
		}
		return r
	}, s)
}

// withoutTags leaves the text of markup, without that of scripts and style sheets.
func withoutTags(s string) string {
	var b strings.Builder
	skip := ""
	for z := html.NewTokenizer(strings.NewReader(s)); ; {
		switch z.Next() {
		case html.ErrorToken:
			return b.String()
		case html.TextToken:
			if skip == "" {
				b.Write(z.Text())
			}
		case html.StartTagToken:
			name, _ := z.TagName()
			if n := string(name); n == "script" || n == "style" {
				skip = n
			} else if n == "br" || n == "p" || n == "div" || n == "li" {
				b.WriteByte(' ')
			}
		case html.EndTagToken:
			if name, _ := z.TagName(); string(name) == skip {
				skip = ""
			}
		case html.SelfClosingTagToken:
			b.WriteByte(' ')
		}
	}
}
