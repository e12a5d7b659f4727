// SPDX-License-Identifier: AGPL-3.0-or-later

package trust

import (
	"context"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"horde/internal/fediseer"
	"horde/internal/fediseer/message"
	"horde/internal/fediseer/store"
)

// Words are the texts of a judgement as they came in. Nil means not given.
type Words struct{ Reason, Evidence *string }

// clean sanitises and refuses what is too long.
func (w Words) clean(k fediseer.Kind) (Words, error) {
	var out Words
	if w.Reason != nil {
		r, err := fediseer.CheckReason(*w.Reason)
		if err != nil {
			return out, err
		}
		out.Reason = &r
	}
	if w.Evidence != nil && k.HasEvidence() {
		if n := utf8.RuneCountInString(*w.Evidence); n > fediseer.MaxEvidenceLength {
			return out, fediseer.Refuse(http.StatusBadRequest, "The evidence has %d characters; %d are allowed", n, fediseer.MaxEvidenceLength)
		}
		e := fediseer.Sanitize(*w.Evidence)
		out.Evidence = &e
	}
	return out, nil
}

// Judge stores a judgement of the caller's instance about domain. It returns false, and changes nothing, when there is
// one of the kind already.
func (s *Service) Judge(ctx context.Context, c Credential, k fediseer.Kind, domain string, w Words) (bool, error) {
	how := lenient
	if k == fediseer.Endorsement {
		how = strict
	}
	return s.act(ctx, c, needGuarantor|needUnrestricted|needOther|needCalm|needChain, domain, how,
		func(tx *store.Tx, caller *Caller, target *fediseer.Instance) (bool, []message.Notice, error) {
			own := caller.Instance
			if k == fediseer.Endorsement {
				if _, err := tx.Guarantor(target.ID); errors.Is(err, store.ErrNotFound) {
					return false, nil, fediseer.Refuse(http.StatusForbidden, "%s has no guarantor; only guaranteed instances can be endorsed", target.Domain)
				} else if err != nil {
					return false, nil, err
				}
			}
			// A censured instance cannot be endorsed, nor an endorsed one censured or hesitated about.
			conflict := fediseer.Endorsement
			if k == fediseer.Endorsement {
				conflict = fediseer.Censure
			}
			if has, err := tx.HasJudgement(conflict, own.ID, target.ID); err != nil {
				return false, nil, err
			} else if has {
				return false, nil, fediseer.Refuse(http.StatusBadRequest, "%s has given %s %s; withdraw that first", own.Domain, target.Domain, conflict.WithArticle())
			}
			if has, err := tx.HasJudgement(k, own.ID, target.ID); err != nil || has {
				return false, nil, err
			}
			n, err := tx.CountJudgements(k, own.ID)
			if err != nil {
				return false, nil, err
			}
			if n >= own.MaxListSize {
				return false, nil, fediseer.Refuse(http.StatusForbidden, "%s has %d %s already; no more are allowed", own.Domain, n, k.Plural())
			}
			words, err := w.clean(k)
			if err != nil {
				return false, nil, err
			}
			err = tx.SetJudgement(k, fediseer.Judgement{JudgeID: own.ID, TargetID: target.ID, Reason: words.Reason,
				Evidence: words.Evidence, Created: time.Now()})
			if err != nil {
				return false, nil, err
			}
			return s.judged(tx, k, own, target, fediseer.Added, words.Reason)
		})
}

// judged reports a change and, for an endorsement that is not private, tells the target.
func (s *Service) judged(tx *store.Tx, k fediseer.Kind, own, target *fediseer.Instance, a fediseer.ReportActivity, reason *string) (bool, []message.Notice, error) {
	if err := s.report(tx, own.Domain, string(target.Domain), own.VisibilityOf[k] != fediseer.Open, k.Report(), a); err != nil {
		return false, nil, err
	}
	if k != fediseer.Endorsement || own.VisibilityOf[k] == fediseer.Private || a == fediseer.Modified {
		return true, nil, nil
	}
	n, err := s.notice(tx, target, s.textEndorsement(own.Domain, target.Domain, a, reason))
	return true, []message.Notice{n}, err
}

// Amend changes the given words of a judgement. It returns false when nothing differs. Without a judgement it is 400.
func (s *Service) Amend(ctx context.Context, c Credential, k fediseer.Kind, domain string, w Words) (bool, error) {
	return s.act(ctx, c, needCalm, domain, registered400,
		func(tx *store.Tx, caller *Caller, target *fediseer.Instance) (bool, []message.Notice, error) {
			own := caller.Instance
			j, err := tx.Judgement(k, own.ID, target.ID)
			if errors.Is(err, store.ErrNotFound) {
				return false, nil, fediseer.Refuse(http.StatusBadRequest, "There is no %s of %s by %s", k, target.Domain, own.Domain)
			}
			if err != nil {
				return false, nil, err
			}
			words, err := w.clean(k)
			if err != nil {
				return false, nil, err
			}
			before := j
			if words.Reason != nil {
				j.Reason = words.Reason
			}
			if words.Evidence != nil {
				j.Evidence = words.Evidence
			}
			if equal(before.Reason, j.Reason) && equal(before.Evidence, j.Evidence) {
				return false, nil, nil
			}
			if err := tx.SetJudgement(k, j); err != nil {
				return false, nil, err
			}
			return s.judged(tx, k, own, target, fediseer.Modified, nil)
		})
}

// Unjudge removes a judgement. It returns false when there is none.
func (s *Service) Unjudge(ctx context.Context, c Credential, k fediseer.Kind, domain string) (bool, error) {
	n := needCalm
	if k == fediseer.Censure {
		n = 0 // censures can be withdrawn however busy the instance is
	}
	return s.act(ctx, c, n, domain, registered400,
		func(tx *store.Tx, caller *Caller, target *fediseer.Instance) (bool, []message.Notice, error) {
			if had, err := tx.DeleteJudgement(k, caller.Instance.ID, target.ID); err != nil || !had {
				return false, nil, err
			}
			return s.judged(tx, k, caller.Instance, target, fediseer.Deleted, nil)
		})
}

// Rebut answers the judgement of domain about the caller's instance. It returns false when there is a rebuttal already.
// Without a visible censure or hesitation by domain it is 400.
func (s *Service) Rebut(ctx context.Context, c Credential, domain, text string) (bool, error) {
	return s.act(ctx, c, needGuarantor|needUnrestricted|needCalm|needChain, domain, registered404,
		func(tx *store.Tx, caller *Caller, target *fediseer.Instance) (bool, []message.Notice, error) {
			own := caller.Instance
			if _, err := tx.Rebuttal(own.ID, target.ID); !errors.Is(err, store.ErrNotFound) {
				return false, nil, err
			}
			seen := false
			for _, k := range []fediseer.Kind{fediseer.Censure, fediseer.Hesitation} {
				has, err := tx.HasJudgement(k, target.ID, own.ID)
				if err != nil {
					return false, nil, err
				}
				seen = seen || has && target.VisibilityOf[k] == fediseer.Open
			}
			if !seen {
				return false, nil, fediseer.Refuse(http.StatusBadRequest, "%s has no open censure or hesitation about %s", target.Domain, own.Domain)
			}
			if err := tx.SetRebuttal(own.ID, target.ID, fediseer.Sanitize(text), time.Now()); err != nil {
				return false, nil, err
			}
			return true, nil, s.report(tx, own.Domain, string(target.Domain), false, fediseer.ReportRebuttal, fediseer.Added)
		})
}

// AmendRebuttal changes a rebuttal; nil leaves it. Without a rebuttal it is 400.
func (s *Service) AmendRebuttal(ctx context.Context, c Credential, domain string, text *string) (bool, error) {
	return s.act(ctx, c, needCalm, domain, registered400,
		func(tx *store.Tx, caller *Caller, target *fediseer.Instance) (bool, []message.Notice, error) {
			own := caller.Instance
			old, err := tx.Rebuttal(own.ID, target.ID)
			if errors.Is(err, store.ErrNotFound) {
				return false, nil, fediseer.Refuse(http.StatusBadRequest, "There is no rebuttal of %s to %s", own.Domain, target.Domain)
			}
			if err != nil || text == nil {
				return false, nil, err
			}
			clean := fediseer.Sanitize(*text)
			if clean == old {
				return false, nil, nil
			}
			if err := tx.SetRebuttal(own.ID, target.ID, clean, time.Now()); err != nil {
				return false, nil, err
			}
			hide := own.VisibilityOf[fediseer.Censure] != fediseer.Open
			return true, nil, s.report(tx, own.Domain, string(target.Domain), hide, fediseer.ReportRebuttal, fediseer.Modified)
		})
}

// Unrebut removes a rebuttal. It returns false when there is none.
func (s *Service) Unrebut(ctx context.Context, c Credential, domain string) (bool, error) {
	return s.act(ctx, c, 0, domain, registered400,
		func(tx *store.Tx, caller *Caller, target *fediseer.Instance) (bool, []message.Notice, error) {
			if had, err := tx.DeleteRebuttal(caller.Instance.ID, target.ID); err != nil || !had {
				return false, nil, err
			}
			hide := caller.Instance.VisibilityOf[fediseer.Censure] != fediseer.Open
			return true, nil, s.report(tx, caller.Instance.Domain, string(target.Domain), hide, fediseer.ReportRebuttal, fediseer.Deleted)
		})
}
