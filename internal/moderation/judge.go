// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"unicode/utf8"

	"horde/internal/horde"
)

// Question is everything that decides about a prompt. It can be compared, so that an answer found before a lock was taken can
// be used after it if the question is still the same.
type Question struct {
	Prompt string
	Kind   horde.Kind
	// MayReplace tells that a prompt which would be stopped may be changed instead: the request says so, or its user is a pupil.
	MayReplace bool
	// Flagged is whether the user is, which counts for images: what makes a picture safer would only break a text. Lewd is
	// whether one of the models makes lewd images or texts.
	Flagged, Lewd bool
	// Model is the only model of the request, or empty.
	Model string
}

// Idle tells that nothing can come of the question.
func (q Question) Idle() bool { return q.Kind != horde.Image && !q.Lewd }

// Ruling is how a prompt was judged.
type Ruling int

// The rulings.
const (
	// Passed is a prompt that goes on, perhaps changed.
	Passed Ruling = iota
	// RefusedTooLong is a prompt that is too long to be replaced.
	RefusedTooLong
	// RefusedByFilter is a prompt that the filters stop: its sender has done what they are to be kept from.
	RefusedByFilter
	// RefusedForModel is a prompt of which nothing was left. Nobody is to be blamed for it.
	RefusedForModel
	// RefusedForAge is a prompt that tells an age. Nobody is to be blamed for it.
	RefusedForAge
)

// Judgement is the answer to a [Question].
type Judgement struct {
	Ruling
	// Prompt is what goes to workers, when it passed.
	Prompt string
	// Score and Matches are what the filters found.
	Score   int
	Matches []string
}

// Judge decides about a prompt (accounts chapter, 7.5).
func (s *Set) Judge(q Question) Judgement {
	j := Judgement{Prompt: q.Prompt}
	if q.Idle() {
		return j
	}
	replaced := false
	if q.Kind == horde.Image {
		if s.options.AgeRule && !s.options.Off && TellsAge(q.Prompt) {
			j.Ruling = RefusedForAge
			return j
		}
		j.Score, j.Matches = s.Score(q.Prompt, 0)
		if j.Score >= Stopped {
			// What shows only when letters are taken for others stands nowhere in the prompt, and cannot be replaced there.
			disguised := false
			if s.options.Fold {
				plain, _ := s.score(q.Prompt, 0, false)
				disguised = plain < Stopped
			}
			if !q.MayReplace || disguised {
				j.Ruling = RefusedByFilter
				return j
			}
			if positive, _, _ := split(q.Prompt); utf8.RuneCountInString(positive) > MaxReplaced {
				j.Ruling = RefusedTooLong
				return j
			}
			if j.Prompt, replaced = s.Replace(q.Prompt); !replaced {
				j.Ruling = RefusedByFilter
				return j
			}
		}
	}
	countTags := s.options.Data.CountTagModel != "" && q.Model == s.options.Data.CountTagModel
	if q.Flagged && q.Kind == horde.Image || q.Lewd && s.youthful(j.Prompt, countTags) {
		var ok bool
		if j.Prompt, ok = s.replaceLewd(j.Prompt, replaced, countTags); !ok {
			j.Ruling = RefusedForModel
		}
	}
	return j
}
