// SPDX-License-Identifier: AGPL-3.0-or-later

package trust

import (
	"context"
	"errors"
	"net/http"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/message"
	"horde/internal/fediseer/store"
)

// OrphanedComment is the comment of the solicitation that is made for an instance that lost its guarantor.
const OrphanedComment = "This instance was orphaned: its guarantor withdrew."

// Guarantee makes the caller's instance the guarantor of domain. It returns false when it is already. Refused with 403:
// a caller without guarantor, slot or unbroken chain, and a target that has another guarantor.
func (s *Service) Guarantee(ctx context.Context, c Credential, domain string) (bool, error) {
	return s.act(ctx, c, needGuarantor|needFreeSlot|needUnrestricted|needCalm|needChain, domain, strict,
		func(tx *store.Tx, caller *Caller, target *fediseer.Instance) (bool, []message.Notice, error) {
			own := caller.Instance
			if target.Domain.Wildcard() {
				return false, nil, fediseer.Refuse(http.StatusBadRequest, "%s stands for many instances; guarantee each", target.Domain)
			}
			switch g, err := tx.Guarantor(target.ID); {
			case err == nil && g.ID == own.ID && target.ID != own.ID:
				return false, nil, nil
			case err == nil:
				return false, nil, fediseer.Refuse(http.StatusForbidden, "%s is guaranteed by %s already", target.Domain, g.Domain)
			case !errors.Is(err, store.ErrNotFound):
				return false, nil, err
			}
			now := time.Now()
			if err := tx.InsertGuarantee(own.ID, target.ID, now); err != nil {
				return false, nil, err
			}
			if err := s.inheritMute(tx, own, target, now); err != nil {
				return false, nil, err
			}
			if err := tx.DeleteSolicitations(target.ID); err != nil {
				return false, nil, err
			}
			if err := s.report(tx, own.Domain, string(target.Domain), false, fediseer.ReportGuarantee, fediseer.Added); err != nil {
				return false, nil, err
			}
			// The caller's chain was checked in this transaction, so everything below the target reaches the root again.
			below, err := tx.Descendants(target.ID)
			if err != nil {
				return false, nil, err
			}
			ids := []int64{target.ID}
			first, err := s.notice(tx, target, s.textGuaranteed(own.Domain, target.Domain))
			if err != nil {
				return false, nil, err
			}
			notices := []message.Notice{first}
			for _, in := range below {
				ids = append(ids, in.ID)
				n, err := s.notice(tx, in, s.textRepaired(own.Domain, target.Domain, in.Domain))
				if err != nil {
					return false, nil, err
				}
				notices = append(notices, n)
			}
			return true, notices, tx.SetOrphanSince(ids, time.Time{})
		})
}

// inheritMute mutes what a muted instance guarantees.
func (s *Service) inheritMute(tx *store.Tx, own, target *fediseer.Instance, now time.Time) error {
	if _, err := tx.Flag(own.ID, fediseer.Muted); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	}
	if _, err := tx.Flag(target.ID, fediseer.Muted); !errors.Is(err, store.ErrNotFound) {
		return err // muted already, or a fault
	}
	why := "Inherited from the guarantor " + string(own.Domain)
	if err := tx.SetFlag(target.ID, fediseer.FlagRecord{Flag: fediseer.Muted, Comment: &why}, now); err != nil {
		return err
	}
	return hideLists(tx, target)
}

func hideLists(tx *store.Tx, in *fediseer.Instance) error {
	in.VisibilityOf = [fediseer.NumKinds]fediseer.Visibility{fediseer.Private, fediseer.Private, fediseer.Private}
	return tx.UpdateInstance(in)
}

// Withdraw ends the guarantee of the caller's instance for domain or, when domain is the caller's own, the guarantee that
// it received. It returns false when there is none. Refused with 403: the root's guarantee for itself, and a second
// withdrawal from the same instance within a day.
func (s *Service) Withdraw(ctx context.Context, c Credential, domain string) (bool, error) {
	return s.act(ctx, c, needCalm, domain, registered400,
		func(tx *store.Tx, caller *Caller, target *fediseer.Instance) (bool, []message.Notice, error) {
			own, guarantor := caller.Instance, caller.Instance
			if target.ID == own.ID {
				if own.IsRoot() {
					return false, nil, fediseer.Refuse(http.StatusForbidden, "The root guarantees itself; without that nobody would be trusted")
				}
				var err error
				guarantor, err = tx.Guarantor(own.ID)
				if errors.Is(err, store.ErrNotFound) {
					return false, nil, nil
				}
				if err != nil {
					return false, nil, err
				}
			}
			since, err := tx.GuaranteeSince(guarantor.ID, target.ID)
			if errors.Is(err, store.ErrNotFound) {
				return false, nil, nil
			}
			if err != nil {
				return false, nil, err
			}
			now := time.Now()
			switch last, err := tx.LastRejection(own.ID, target.ID); {
			case err == nil && now.Sub(last) < fediseer.CoolDown:
				return false, nil, fediseer.RefuseFor(http.StatusForbidden, fediseer.CoolDown-now.Sub(last),
					"This guarantee was withdrawn at %s already; wait a day", last.Format(time.RFC3339))
			case err != nil && !errors.Is(err, store.ErrNotFound):
				return false, nil, err
			}
			if _, err := tx.DeleteJudgement(fediseer.Endorsement, own.ID, target.ID); err != nil {
				return false, nil, err
			}
			if err := s.orphanSolicits(tx, target, since); err != nil {
				return false, nil, err
			}
			// Read before the guarantee goes: a target with a cycle below it, made by hand, must not orphan itself.
			below, err := tx.Descendants(target.ID)
			if err != nil {
				return false, nil, err
			}
			if err := tx.DeleteGuarantee(guarantor.ID, target.ID); err != nil {
				return false, nil, err
			}
			if err := tx.Reject(own.ID, target.ID, now); err != nil {
				return false, nil, err
			}
			if err := s.report(tx, own.Domain, string(target.Domain), false, fediseer.ReportGuarantee, fediseer.Deleted); err != nil {
				return false, nil, err
			}
			first, err := s.notice(tx, target, s.textWithdrawn(own.Domain, target.Domain))
			if err != nil {
				return false, nil, err
			}
			notices := []message.Notice{first}
			var ids []int64
			for _, in := range below {
				ids = append(ids, in.ID)
				n, err := s.notice(tx, in, s.textBroken(own.Domain, target.Domain, in.Domain))
				if err != nil {
					return false, nil, err
				}
				notices = append(notices, n)
			}
			return true, notices, tx.SetOrphanSince(ids, now)
		})
}

// orphanSolicits asks for a new guarantor on behalf of a claimed instance that lost its own.
func (s *Service) orphanSolicits(tx *store.Tx, target *fediseer.Instance, since time.Time) error {
	users, err := tx.Claims(target.ID)
	if err != nil || users == nil {
		return err
	}
	open, err := tx.Solicitations(target.ID)
	if err != nil {
		return err
	}
	for _, o := range open {
		if o.Target == nil {
			return nil // one asks already
		}
	}
	comment := OrphanedComment
	if err := tx.InsertSolicitation(store.Solicitation{Source: target.ID, Comment: &comment, Created: since}); err != nil {
		return err
	}
	return s.report(tx, target.Domain, string(target.Domain), false, fediseer.ReportSolicitation, fediseer.Added)
}

// GuarantorsOf returns the instances that guarantee for domain: none or one. Unknown domains are 404.
func (s *Service) GuarantorsOf(ctx context.Context, domain string) (out []*fediseer.Details, err error) {
	err = s.viewInstance(ctx, domain, http.StatusNotFound, func(tx *store.Tx, in *fediseer.Instance) error {
		g, err := tx.Guarantor(in.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		out, err = tx.Details([]*fediseer.Instance{g})
		return err
	})
	return out, err
}

// GuaranteedBy returns the instances that domain guarantees. Unknown domains are 404.
func (s *Service) GuaranteedBy(ctx context.Context, domain string) (out []*fediseer.Details, err error) {
	err = s.viewInstance(ctx, domain, http.StatusNotFound, func(tx *store.Tx, in *fediseer.Instance) error {
		list, err := tx.GuaranteedBy(in.ID)
		if err != nil {
			return err
		}
		out, err = tx.Details(list)
		return err
	})
	return out, err
}

// ChainOf returns the chain of trust of a registered domain, the domain itself first. Unknown domains are 404.
func (s *Service) ChainOf(ctx context.Context, domain string) (chain fediseer.Chain, err error) {
	err = s.viewInstance(ctx, domain, http.StatusNotFound, func(tx *store.Tx, in *fediseer.Instance) error {
		chain, err = tx.Chain(in.ID)
		return err
	})
	return chain, err
}

// viewInstance runs f on a registered instance. Unknown and impossible domains are status.
func (s *Service) viewInstance(ctx context.Context, domain string, status int, f func(*store.Tx, *fediseer.Instance) error) error {
	d, err := fediseer.ParseDomain(domain)
	if err != nil {
		return fediseer.ErrUnknownInstance(status, domain)
	}
	return s.store.View(ctx, func(tx *store.Tx) error {
		in, err := tx.Instance(d)
		if errors.Is(err, store.ErrNotFound) {
			return fediseer.ErrUnknownInstance(status, string(d))
		}
		if err != nil {
			return err
		}
		return f(tx, in)
	})
}
