// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/mozillazg/go-unidecode"
)

// Separator parts a prompt from the negative prompt behind it.
const Separator = "###"

// split parts a prompt at the first separator.
func split(prompt string) (positive, negative string, found bool) {
	return strings.Cut(prompt, Separator)
}

// weighted is a part of a prompt with a weight: (red fox:1.3).
var weighted = regexp.MustCompile(`\((.*?):[0-9]+\.[0-9]+\)`)

// shortestRun is how many single letters with gaps between them count as one spaced word.
const shortestRun = 3

// Normalise brings the positive part of a prompt into the form in which filters see it (accounts chapter, 7.3): weights go,
// signs become spaces, words spelt w i t h gaps are joined, white space is collapsed but not trimmed, and everything is written
// in ASCII. Case and digits stay.
func Normalise(text string) string { return normalise(text, false) }

// normalise does that. With atStart a spaced word at the very beginning is joined whole; else its first letter stays apart.
func normalise(text string, atStart bool) string {
	if strings.IndexByte(text, '(') >= 0 {
		text = weighted.ReplaceAllString(text, "$1")
	}
	plain := strings.Map(func(r rune) rune {
		switch {
		case isWord(r), unicode.IsSpace(r):
			return r
		}
		return ' '
	}, text)
	added := atStart && !strings.HasPrefix(plain, " ")
	if added {
		plain = " " + plain
	}
	plain = collapse(joinSpaced(plain))
	if added {
		plain = plain[1:]
	}
	if !isASCII(plain) {
		plain = unidecode.Unidecode(plain)
	}
	return plain
}

// isWord tells whether a character is part of words: letters, digits, combining marks, and what joins letters or keeps them
// apart without being seen.
func isWord(r rune) bool {
	if r < 0x80 {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) || r == '\u200c' || r == '\u200d'
}

// joinSpaced joins words that are spelt with gaps. Each run that is found is joined wherever it occurs, in the order in which
// they were found.
func joinSpaced(text string) string {
	runs := spacedRuns(text)
	if len(runs) == 0 {
		return text
	}
	seen := make(map[string]bool, len(runs))
	for _, run := range runs {
		if seen[run] {
			continue
		}
		seen[run] = true
		if len(seen) > maxRuns {
			break
		}
		joined := strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) {
				return -1
			}
			return r
		}, run)
		text = strings.ReplaceAll(text, run, " "+joined)
	}
	return text
}

// maxRuns bounds how many different spaced words of a prompt are joined: each costs a pass over the prompt, and no prompt of a
// person has so many.
const maxRuns = 64

// spacedRuns finds three and more single letters, each after white space, at whose end a word ends.
func spacedRuns(text string) []string {
	var runs []string
	letters := []rune(text)
	for i := 0; i+1 < len(letters); {
		end, count := i, 0
		for end+1 < len(letters) && unicode.IsSpace(letters[end]) && isWord(letters[end+1]) {
			end += 2
			count++
		}
		if end < len(letters) && count > 0 && isWord(letters[end]) {
			end -= 2 // the last letter begins a longer word
			count--
		}
		if count < shortestRun {
			i++
			continue
		}
		runs = append(runs, string(letters[i:end]))
		i = end
	}
	return runs
}

// collapse makes one space of each stretch of white space.
func collapse(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	gap := false
	for _, r := range text {
		if unicode.IsSpace(r) {
			gap = true
			continue
		}
		if gap {
			b.WriteByte(' ')
			gap = false
		}
		b.WriteRune(r)
	}
	if gap {
		b.WriteByte(' ')
	}
	return b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// lookAlikes are digits, signs and letters of other scripts that stand for a Latin letter by their shape.
var lookAlikes = map[rune]rune{
	'0': 'o', '1': 'i', '3': 'e', '4': 'a', '5': 's', '7': 't', '8': 'b', '@': 'a', '$': 's', '!': 'i', '|': 'l',
	'а': 'a', 'в': 'b', 'е': 'e', 'к': 'k', 'м': 'm', 'н': 'h', 'о': 'o', 'р': 'p', 'с': 'c', 'т': 't', 'у': 'y', 'х': 'x',
	'і': 'i', 'ј': 'j', 'ѕ': 's', 'ԁ': 'd', 'ո': 'n', 'ս': 'u', 'α': 'a', 'ε': 'e', 'ι': 'i', 'κ': 'k', 'ν': 'v', 'ο': 'o',
	'ρ': 'p', 'τ': 't', 'υ': 'u', 'χ': 'x',
}

// fold replaces what looks like a Latin letter by that letter.
func fold(text string) string {
	return strings.Map(func(r rune) rune {
		if to, ok := lookAlikes[unicode.ToLower(r)]; ok {
			return to
		}
		return r
	}, text)
}

// startsSpaced tells whether a text begins with a spaced word, which [Normalise] joins but for its first letter.
func startsSpaced(text string) bool {
	letters := make([]rune, 0, 2*shortestRun)
	for _, r := range strings.TrimSpace(text) {
		if letters = append(letters, r); len(letters) == 2*shortestRun-1 {
			break
		}
	}
	if len(letters) < 2*shortestRun-1 {
		return false
	}
	for i, r := range letters {
		if word := isWord(r); word != (i%2 == 0) {
			return false
		}
	}
	return true
}
