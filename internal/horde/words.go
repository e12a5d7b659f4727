// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"regexp"
	"strings"
	"unicode"
)

var entity = regexp.MustCompile(`^&(?:[a-zA-Z][a-zA-Z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});`)

// Sanitize makes a text that a user chose fit to be shown by pages that do not escape it: "<" and ">" become entities, and
// so does a "&" that starts none; NUL is dropped, other control characters but tab and line ends become "?", and white
// space around the text goes.
func Sanitize(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i, r := range s {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&' && !entity.MatchString(s[i:]):
			b.WriteString("&amp;")
		case r == 0:
		case r < ' ' && r != '\t' && r != '\n' && r != '\r':
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}

// Blank tells whether a text shows nothing: it has no letter, digit, sign or symbol, or only such as are invisible. A name
// must not be blank, for nobody could point at it.
func Blank(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsOneOf([]*unicode.RangeTable{unicode.L, unicode.N, unicode.P, unicode.S}, r) && !strings.ContainsRune(fillers, r)
	})
}

// fillers are letters and symbols by their class that are shown as nothing: of Hangul, and of Braille.
const fillers = "\u115f\u1160\u3164\uffa0\u2800"

// Profanity tells whether a text that everybody will see holds a swear word.
type Profanity func(text string) bool

// NewProfanity makes the test from a list of words, compared without regard to case and as whole words. A word that ends
// in "*" also matches longer words that start with it.
func NewProfanity(words []string) Profanity {
	whole, prefixes := map[string]bool{}, []string{}
	for _, w := range words {
		w = strings.ToLower(strings.TrimSpace(w))
		if p, ok := strings.CutSuffix(w, "*"); ok && p != "" {
			prefixes = append(prefixes, p)
		} else if w != "" {
			whole[w] = true
		}
	}
	notLetter := func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > 127) }
	return func(text string) bool {
		for _, w := range strings.FieldsFunc(strings.ToLower(text), notLetter) {
			if whole[w] {
				return true
			}
			for _, p := range prefixes {
				if strings.HasPrefix(w, p) {
					return true
				}
			}
		}
		return false
	}
}

// CommonProfanity is the English list that is used where the operator gives none.
var CommonProfanity = NewProfanity([]string{
	"fuck*", "motherfuck*", "shit", "shits", "shitty", "bullshit", "cunt*", "bitch*", "bastard*", "asshole*", "arsehole*",
	"dickhead*", "cocksuck*", "wank*", "twat*", "slut*", "whore*", "nigger*", "nigga*", "faggot*", "fag", "fags", "retard",
	"retards", "retarded", "pussy", "pussies", "prick", "pricks", "bollocks", "tits", "jizz", "spic", "kike", "chink",
})
