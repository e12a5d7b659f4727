// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"regexp"
	"sync"
	"time"

	"github.com/dlclark/regexp2"
)

// MatchTime is how long an expression that goes back and forth may look at one text.
const MatchTime = 50 * time.Millisecond

// matcher is a compiled expression.
type matcher interface {
	// find is where the leftmost match begins and ends, in bytes, or nil.
	find(text string) []int
	// replace puts a text in the place of all that is found. It returns false where that could not be told.
	replace(text, with string) (string, bool)
}

// compile compiles the expression of a filter. Package regexp takes most and is never slow. What it does not take, looking around
// and references to what was found before, is left to an engine that goes back and forth, and is stopped after [MatchTime]: a text
// for which that was not enough counts as one in which the expression is found, and timedOut is told, unless it is nil.
func compile(regex string, timedOut func()) (matcher, error) {
	re, err := regexp.Compile(group(regex))
	if err == nil {
		return linear{re}, nil
	}
	back, other := regexp2.Compile(group(regex), regexp2.RE2)
	if other != nil {
		return nil, err
	}
	checkOften()
	back.MatchTimeout = MatchTime
	return backtracking{back, timedOut}, nil
}

// checkOften has time-outs noticed more often than each 100 ms, which is what the engine does by itself.
var checkOften = sync.OnceFunc(func() { regexp2.SetTimeoutCheckPeriod(MatchTime / 5) })

// linear is an expression that takes a time in proportion to the text.
type linear struct{ *regexp.Regexp }

func (l linear) find(text string) []int { return l.FindStringIndex(text) }

func (l linear) replace(text, with string) (string, bool) {
	return l.ReplaceAllLiteralString(text, with), true
}

// backtracking is an expression that may take any time.
type backtracking struct {
	re       *regexp2.Regexp
	timedOut func()
}

func (b backtracking) find(text string) []int {
	m, err := b.re.FindStringMatch(text)
	switch {
	case err != nil: // the only error there is: it took too long
		b.late()
		return []int{0, len(text)}
	case m == nil:
		return nil
	}
	runes := []rune(text)
	begin := len(string(runes[:m.Index]))
	return []int{begin, begin + len(m.String())}
}

func (b backtracking) replace(text, with string) (string, bool) {
	out, err := b.re.ReplaceFunc(text, func(regexp2.Match) string { return with }, -1, -1)
	if err != nil {
		b.late()
		return "", false
	}
	return out, true
}

func (b backtracking) late() {
	if b.timedOut != nil {
		b.timedOut()
	}
}
