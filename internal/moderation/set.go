// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Stopped is the suspicion from which an image request is stopped.
const Stopped = 2

// MaxReplaced is how many characters the positive part of a prompt may have that is to be replaced.
const MaxReplaced = 7000

// Options are how filters are used.
type Options struct {
	// Off lets every prompt pass; those of flagged users are replaced all the same.
	Off bool
	// Fold looks at prompts a second time with digits, signs and foreign letters that look like Latin ones taken for these.
	Fold bool
	// AgeRule refuses prompts that tell an age up to 22 years.
	AgeRule bool
	Data    Data
	// TimedOut is told of a filter that took too long for a prompt, which counts as one in which it is found. It is called by
	// whoever judges; nil tells nobody.
	TimedOut func(filter int64)
}

// Set is all filters, compiled. It never changes, so any number of goroutines may use it at once.
type Set struct {
	options      Options
	filters      map[FilterType][]expression // in the order of their ids
	replacements []replacement
}

type replacement struct {
	re   matcher
	with string
}

// Compile makes a set of the filters, which are put into the order of their ids. The second result says which of them are no
// regular expressions, and are left out: the record of another program may have such.
func Compile(filters []Filter, o Options) (*Set, error) {
	if err := o.Data.compile(); err != nil {
		return nil, err
	}
	s := &Set{options: o, filters: map[FilterType][]expression{}}
	slices.SortFunc(filters, func(a, b Filter) int { return cmp.Compare(a.ID, b.ID) })
	var bad []string
	for _, f := range filters {
		if !slices.Contains(Evaluated, f.Type) {
			continue
		}
		var timedOut func()
		if o.TimedOut != nil {
			timedOut = func() { o.TimedOut(f.ID) }
		}
		x, err := newExpression(f.Regex, timedOut)
		if err != nil {
			bad = append(bad, strconv.FormatInt(f.ID, 10))
			continue
		}
		s.filters[f.Type] = append(s.filters[f.Type], x)
		if f.Type == UnderAge {
			s.replacements = append(s.replacements, replacement{x.re, f.Replacement})
		}
	}
	if bad != nil {
		return s, fmt.Errorf("filters that are no regular expressions: %s", strings.Join(bad, ", "))
	}
	return s, nil
}

// Regex is all filters of a type as one expression, as they are published: joined by "|" in the order of their ids. It is empty
// where there are none.
func Regex(filters []Filter, t FilterType) string {
	slices.SortFunc(filters, func(a, b Filter) int { return cmp.Compare(a.ID, b.ID) })
	var parts []string
	for _, f := range filters {
		if f.Type == t {
			parts = append(parts, f.Regex)
		}
	}
	return strings.Join(parts, "|")
}

// Score is the suspicion of a prompt, 0 to 2, with what was found (accounts chapter, 7.4). Only the positive part counts. only
// is a type to look with alone, or 0 for all.
func (s *Set) Score(prompt string, only FilterType) (score int, matches []string) {
	return s.score(prompt, only, s.options.Fold)
}

func (s *Set) score(prompt string, only FilterType, folding bool) (score int, matches []string) {
	matches = []string{}
	if s.options.Off {
		return 0, matches
	}
	positive, _, _ := split(prompt)
	score, matches = s.scoreText(positive, Normalise(positive), only)
	if startsSpaced(positive) {
		score, matches = larger(score, matches)(s.scoreText(positive, normalise(positive, true), only))
	}
	if folding {
		folded := fold(positive)
		score, matches = larger(score, matches)(s.scoreText(positive, normalise(folded, true), only))
	}
	return score, matches
}

func larger(score int, matches []string) func(int, []string) (int, []string) {
	return func(other int, found []string) (int, []string) {
		if other > score {
			return other, found
		}
		return score, matches
	}
}

func (s *Set) scoreText(raw, text string, only FilterType) (score int, matches []string) {
	matches = []string{}
	lower := strings.ToLower(text)
next:
	for _, types := range groups {
		for _, t := range types {
			if only != 0 && t != only {
				continue
			}
			if t == UnderAge {
				if emoji := s.options.Data.emojiIn(raw); len(emoji) > 0 {
					matches = append(matches, emoji...)
					score++
					continue next
				}
			}
			if m := findFirst(s.filters[t], text, lower); m != "" {
				matches = append(matches, m)
				score++
				continue next
			}
		}
	}
	return score, matches
}

// clean is the normalised positive part in which the most is found.
func (s *Set) clean(positive string) string {
	text := Normalise(positive)
	if !startsSpaced(positive) {
		return text
	}
	joined := normalise(positive, true)
	before, _ := s.scoreText(positive, text, 0)
	if after, _ := s.scoreText(positive, joined, 0); after > before {
		return joined
	}
	return text
}

// Replace takes what the filters for an under-age context find out of a prompt, and steers away from it. It returns false when
// nothing is left (accounts chapter, 7.5).
func (s *Set) Replace(prompt string) (string, bool) {
	positive, negative, had := split(prompt)
	text := s.clean(positive)
	for _, r := range s.replacements {
		var ok bool
		if text, ok = r.re.replace(text, r.with); !ok {
			return "", false
		}
	}
	if strings.TrimSpace(text) == "" {
		return "", false
	}
	return s.withNegative(text, negative, had), true
}

func (s *Set) withNegative(positive, negative string, had bool) string {
	out := positive + Separator + s.options.Data.negative()
	if had {
		out += ", " + negative
	}
	return out
}

// replaceLewd is the stricter replacement: of what a lewd model is asked for, and of what flagged users ask for.
func (s *Set) replaceLewd(prompt string, replaced, countTags bool) (string, bool) {
	if !replaced {
		var ok bool
		if prompt, ok = s.Replace(prompt); !ok {
			return "", false
		}
	}
	positive, negative, had := split(prompt)
	for i := range s.options.Data.Rules {
		positive = s.options.Data.Rules[i].apply(positive, countTags)
	}
	if strings.TrimSpace(positive) == "" {
		return "", false
	}
	if had {
		positive += Separator + negative
	}
	return positive, true
}

// youthful tells whether a prompt may not go to a lewd model as it is.
func (s *Set) youthful(prompt string, countTags bool) bool {
	if s.options.Off {
		return false
	}
	positive, _, _ := split(prompt)
	text := normalise(positive, true)
	for i := range s.options.Data.Rules {
		if s.options.Data.Rules[i].found(text, countTags) {
			return true
		}
	}
	score, _ := s.Score(prompt, UnderAge)
	return score > 0
}

// age is an age up to 22 years.
var age = regexp.MustCompile(`(?i)(?:^|[^0-9A-Za-z_])0?(?:[0-9]|1[0-9]|2[0-2])\s*years?\s*old`)

// TellsAge tells whether a prompt tells an age of somebody up to 22 years.
func TellsAge(prompt string) bool {
	positive, _, _ := split(prompt)
	return age.MatchString(Normalise(positive))
}
