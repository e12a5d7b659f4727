// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"regexp/syntax"
	"strings"
)

// expression is one regular expression with what a text must hold for it to be found: looking for a few letters costs a
// hundredth of looking for an expression, and most prompts hold nothing of most filters.
type expression struct {
	re matcher
	// any are literals in lower case, one of which is in every text in which the expression is found. Nil says nothing.
	any []string
}

func newExpression(regex string, timedOut func()) (expression, error) {
	re, err := compile(regex, timedOut)
	if err != nil {
		return expression{}, err
	}
	x := expression{re: re}
	if parsed, err := syntax.Parse(regex, syntax.Perl); err == nil {
		x.any = literals(parsed.Simplify())
	}
	return x, nil
}

// find is where the expression is in a text; lower is the text in lower case.
func (x *expression) find(text, lower string) []int {
	if x.any != nil && !containsAny(lower, x.any) {
		return nil
	}
	return x.re.find(text)
}

func containsAny(text string, list []string) bool {
	for _, l := range list {
		if strings.Contains(text, l) {
			return true
		}
	}
	return false
}

// findFirst is what the first of the expressions finds: the leftmost place counts, and of those at one place the first. So the
// alternatives of one large expression would do it.
func findFirst(list []expression, text, lower string) string {
	found, at := "", len(text)+1
	for i := range list {
		if m := list[i].find(text, lower); m != nil && m[0] < at && m[1] > m[0] {
			found, at = text[m[0]:m[1]], m[0]
		}
	}
	return found
}

// maxLiterals bounds how many literals stand for an expression.
const maxLiterals = 2000

// literals are texts in lower case of which a match holds at least one, or nil where nothing is known. Texts that filters see
// are ASCII, so what else an expression could match does not matter.
func literals(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		text := strings.ToLower(string(re.Rune))
		if text == "" || !isASCII(text) {
			return nil
		}
		return []string{text}
	case syntax.OpCapture, syntax.OpPlus:
		return literals(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return literals(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if l := literals(sub); l != nil && (best == nil || shortest(l) > shortest(best)) {
				best = l
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			l := literals(sub)
			if l == nil || len(all)+len(l) > maxLiterals {
				return nil
			}
			all = append(all, l...)
		}
		return all
	}
	return nil
}

func shortest(list []string) int {
	n := len(list[0])
	for _, l := range list {
		n = min(n, len(l))
	}
	return n
}
