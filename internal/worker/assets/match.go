// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxNameRunes and maxNameBytes bound the part of a file name that comes from a model's name. File systems take 255
	// bytes, and a version's number and the ending follow.
	maxNameRunes = 128
	maxNameBytes = 200
	// minPart is how many characters a name needs to be found as a part of another.
	minPart = 4
	// nearLora, nearEmbedding and nearTrigger are the ratios of Ratio from which two texts count as the same.
	nearLora      = 90
	nearEmbedding = 80
	nearTrigger   = 65
	// maxWords bounds trigger words that are put into a prompt, in bytes.
	maxWords = 1000
)

// Sanitise reduces a model's name to what is compared and what may stand in a file name: lower case, no accents, only
// letters, digits, "_" and "-". It may be empty.
func Sanitise(name string) string {
	var b strings.Builder
	n := 0
	for _, r := range norm.NFD.String(strings.ToLower(name)) {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' {
			continue
		}
		if n++; n > maxNameRunes || b.Len() >= maxNameBytes {
			break
		}
		b.WriteRune(r)
	}
	return norm.NFC.String(b.String())
}

// Ratio is how alike two texts are, 0 to 100: twice the length of their longest common subsequence by the sum of their
// lengths. Only the first maxNameRunes characters count.
func Ratio(a, b string) int {
	x, y := []rune(a), []rune(b)
	x, y = x[:min(len(x), maxNameRunes)], y[:min(len(y), maxNameRunes)]
	if len(x)+len(y) == 0 {
		return 100
	}
	row := make([]int, len(y)+1)
	for _, r := range x {
		diagonal := 0
		for j, s := range y {
			above := row[j+1]
			if r == s {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return 200 * row[len(y)] / (len(x) + len(y))
}

// How well a name fits, better ones being larger.
const (
	fitsNot = iota
	fitsNearly
	fitsPartly
	fitsExactly
	fitsByID
)

// fit compares the name that a job has with that of a model.
func fit(want, have string, near int) int {
	w, h := Sanitise(want), Sanitise(have)
	switch {
	case w == "" || h == "":
		return fitsNot
	case w == h:
		return fitsExactly
	case len(w) >= minPart && strings.Contains(h, w):
		return fitsPartly
	case Ratio(w, h) >= near:
		return fitsNearly
	}
	return fitsNot
}

// trigger returns the words to put before a prompt for inject_trigger: the first trained word for "any", all of them for
// "all", else the one that is or holds or most resembles what was asked for; empty when none does.
func trigger(ask string, trained []string) string {
	var words []string
	for _, w := range trained {
		if w = plain(w); w != "" {
			words = append(words, w)
		}
	}
	if ask == "" || len(words) == 0 {
		return ""
	}
	switch strings.ToLower(ask) {
	case "any":
		return words[0]
	case "all":
		all := strings.Join(words, ", ")
		if len(all) > maxWords {
			all = all[:strings.LastIndex(all[:maxWords], ", ")+1]
			all = strings.TrimRight(all, ", ")
		}
		return all
	}
	low := strings.ToLower(ask)
	best, bestRatio := "", nearTrigger
	for _, w := range words {
		if strings.EqualFold(w, ask) {
			return w
		}
	}
	for _, w := range words {
		if strings.Contains(strings.ToLower(w), low) {
			return w
		}
		if r := Ratio(low, strings.ToLower(w)); r > bestRatio {
			best, bestRatio = w, r
		}
	}
	return best
}

// plain takes tags such as <lora:x:1> out of an author's words, which image servers would obey, and what cannot be seen.
func plain(s string) string {
	for {
		from := strings.IndexByte(s, '<')
		if from < 0 {
			break
		}
		to := strings.IndexByte(s[from:], '>')
		if to < 0 {
			s = s[:from]
			break
		}
		s = s[:from] + s[from+to+1:]
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Trim(strings.TrimSpace(s), ",")
	if len(s) > maxWords {
		return ""
	}
	return strings.TrimSpace(s)
}
