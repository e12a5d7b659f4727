// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"time"

	"horde/internal/horde"
	"horde/internal/moderation"
)

// judged is a prompt that the filters have looked at, without the lock: a long prompt and many filters may take a millisecond.
// The question is guessed from what a submission says. Where it turns out, with the lock, to be another one, because of the user
// or of a style, the submission starts over with the right one.
type judged struct {
	question moderation.Question
	moderation.Judgement
}

// judge looks at a prompt. It is called without the lock.
func (e *Engine) judge(q moderation.Question) *judged {
	return &judged{q, e.filterSet.Load().Judge(q)}
}

// question is what decides about a prompt, as far as models and accounts tell. replace is the request's replacement_filter, p nil
// while nobody knows whose it is.
func (e *Engine) question(k horde.Kind, prompt string, models []string, replace bool, p *payer) moderation.Question {
	q := moderation.Question{Prompt: prompt, Kind: k, MayReplace: replace, Lewd: e.Reference().Lewd(k, models)}
	if len(models) == 1 {
		q.Model = models[0]
	}
	if p != nil {
		q.MayReplace = replace || p.bound(horde.Education)
		q.Flagged = p.bound(horde.Flagged) && k == horde.Image
	}
	return q
}

// rule turns a judgement into what becomes of the submission: nil lets it go on with the judged prompt. Who sent what the
// filters stop is suspected, and the address gets a time-out.
func (e *Engine) rule(c Caller, s *submission, models []string, j *judged, now time.Time) *horde.Error {
	if j.Ruling == moderation.Passed {
		return nil
	}
	u := s.payer.speaker
	exempt := u.Has(horde.Moderator) && e.sharedKeyOf(c.Key) == nil // a shared key is in the hands of others
	v := moderation.Evidence{
		Kind: s.kind, User: &u.ID, ProxiedAccount: str(s.proxied), Models: models, Reason: moderation.ReasonModel,
		Outcome: moderation.OutcomeRejected, Submitted: str(s.sent), Judged: j.question.Prompt,
	}
	refusal := horde.ErrUnethicalPrompt
	switch j.Ruling {
	case moderation.RefusedTooLong:
		return horde.ErrLongReplacement
	case moderation.RefusedForAge:
		refusal = horde.ErrAgeInPrompt
	case moderation.RefusedByFilter:
		refusal = horde.ErrCorruptPrompt
		v.Reason = moderation.ReasonFilter
		if !exempt {
			e.suspectUser(u, horde.SuspicionCorruptPrompt)
			e.notePlace(e.places.Report(c.Addr, now), now)
			e.meters.promptsRefused.Inc()
		}
	}
	if !exempt && (j.Ruling == moderation.RefusedByFilter || j.Ruling == moderation.RefusedForModel) {
		e.addEvidence(v, c.Addr, now)
	}
	if c.Proxied && j.Ruling != moderation.RefusedForAge {
		e.reportProxy(c, u, str(s.proxied), now)
	}
	return refusal
}
