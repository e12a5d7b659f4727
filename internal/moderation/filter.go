// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"errors"
	"fmt"

	"horde/internal/horde"
)

// FilterType says what a filter is for.
type FilterType int

// The types that count, and the range of those that may be stored. Values are published.
const (
	// UnderAge is an under-age context. Its filters carry the replacements of [Set.Replace].
	UnderAge FilterType = 10
	// UnderAgeToo is the same without a replacement.
	UnderAgeToo FilterType = 11
	// Lewd is a lewd context.
	Lewd FilterType = 20

	MinFilterType FilterType = 10
	MaxFilterType FilterType = 29
)

// Evaluated are the types that count for anything, in the order in which they are looked at.
var Evaluated = []FilterType{UnderAge, UnderAgeToo, Lewd}

// groups are the types by what they add to the suspicion of a prompt: each group at most 1.
var groups = [][]FilterType{{UnderAge, UnderAgeToo}, {Lewd}}

// Filter is one regular expression that prompts are looked at with.
type Filter struct {
	ID    int64      `json:"id"`
	Regex string     `json:"regex"`
	Type  FilterType `json:"type"`
	// Description is for moderators; nil for none.
	Description *string `json:"description,omitempty"`
	// Replacement is what takes the place of what is found, of type [UnderAge] only.
	Replacement string `json:"replacement,omitempty"`
	// Editor is who changed the filter last.
	Editor horde.UserID `json:"editor"`
}

// maxRegex is how many bytes an expression may have: what is larger is a list that belongs into several filters.
const maxRegex = 10_000

// CheckRegex tells what keeps an expression from being a filter: a syntax that nobody knows, or that it is found in every prompt.
func CheckRegex(text string) error {
	if len(text) > maxRegex {
		return fmt.Errorf("it has more than %d characters", maxRegex)
	}
	re, err := compile(text, nil)
	switch {
	case err != nil:
		return err
	case findsNothing(re, ""), findsNothing(re, "a 0"):
		return errors.New("it is found in every prompt")
	}
	return nil
}

// findsNothing tells whether what an expression finds in a text is empty.
func findsNothing(re matcher, text string) bool {
	at := re.find(text)
	return at != nil && at[0] == at[1]
}

// group makes an expression that can stand beside others.
func group(regex string) string { return "(?i)(?:" + regex + ")" }
