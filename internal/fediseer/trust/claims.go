// SPDX-License-Identifier: AGPL-3.0-or-later

package trust

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"horde/internal/fediseer"
	"horde/internal/fediseer/message"
	"horde/internal/fediseer/probe"
	"horde/internal/fediseer/store"
)

// maxUsernameLength keeps accounts inside of their column, whatever the domain; real names are far shorter.
const maxUsernameLength = 64

// Claim asks for the key of an instance.
type Claim struct {
	Admin     string           // local part of the admin's account
	Guarantor string           // a domain to solicit; empty for none
	PMProxy   fediseer.PMProxy // empty leaves it
	// Proof and Secret replace the private message: the domain publishes fediseer.ProofValue of the secret. With a
	// proof, the admin need not be listed by the instance, and an existing claim gets a new key.
	Proof  probe.Proof
	Secret string
}

// Claimed is the answer to a claim.
type Claimed struct {
	*fediseer.Details
	// Delivery tells how the key went out by private message; it is empty after a proof.
	Delivery message.Delivery
	// NewKey is the key, only after a proof.
	NewKey string
}

// CheckUsername refuses with 400 what cannot be the name of an admin in a claim.
func CheckUsername(name string) error {
	if name == "" || len(name) > maxUsernameLength || strings.ContainsAny(name, `@/\?#%<>"&`) ||
		strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }) {
		return fediseer.Refuse(http.StatusBadRequest, "%q is not a user name; give the part between the @ signs", name)
	}
	return nil
}

// Claim makes a key for an admin of an instance and sends it by private message, or returns it against a proof. Refused:
// 400 for a bad name, an instance that cannot be examined, an unregistered guarantor, a proxy that the software cannot
// use, a message that could not be delivered and a proof that is not published; 401 when no admin can be found out; 403
// for somebody who is no admin and for an account that has a key. The last is waived when the key was never used and is
// older than fediseer.ResendAfter: then it is taken to have got lost, and a new one goes out.
func (s *Service) Claim(ctx context.Context, domain string, c Claim) (*Claimed, error) {
	if err := CheckUsername(c.Admin); err != nil {
		return nil, err
	}
	d, err := fediseer.ParseDomain(domain)
	if err != nil {
		return nil, err
	}
	if d.Wildcard() || d == s.cfg.Root {
		return nil, fediseer.Refuse(http.StatusBadRequest, "%s cannot be claimed", d)
	}
	look, err := s.lookForStranger(ctx, d)
	if err != nil {
		return nil, err
	}
	if c.Proof != probe.ProofNone {
		if err := s.checkProof(ctx, d, c); err != nil {
			return nil, err
		}
	}
	var in *fediseer.Instance
	var guarantor *fediseer.Instance
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if in, err = s.register(tx, d, look); err != nil {
			return err
		}
		guarantor, err = s.claimGuarantor(tx, c.Guarantor)
		return err
	})
	if err != nil {
		return nil, err
	}
	if c.Proof == probe.ProofNone {
		if len(look.Admins) == 0 {
			return nil, fediseer.Refuse(http.StatusUnauthorized, "The admins of %s could not be found out; prove the claim by DNS or a well-known file", d)
		}
		if !s.prober.IsAdmin(ctx, d, *look, c.Admin) {
			return nil, fediseer.Refuse(http.StatusForbidden, "%s is not an admin of %s", c.Admin, d)
		}
	}
	if err := s.store.View(ctx, func(tx *store.Tx) error { return s.claimable(tx, d, c) }); err != nil {
		return nil, err
	}
	if c.PMProxy == fediseer.ProxyMastodon && in.Software == fediseer.SoftwareLemmy {
		return nil, errLemmyProxy
	}
	to := recipient(in, c.Admin)
	if c.PMProxy != "" {
		to.Proxy = c.PMProxy
	}
	out := &Claimed{}
	key := fediseer.NewKey()
	if c.Proof == probe.ProofNone {
		if out.Delivery, err = s.pm.Send(ctx, to, s.textKey(d, key)); err != nil {
			return nil, undelivered(err)
		}
	} else {
		out.NewKey = key
	}
	var notice *message.Notice
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		notice, err = s.storeClaim(tx, in.ID, d, c, guarantor, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	if notice != nil {
		s.pm.Queue(*notice)
	}
	out.Details, err = s.Stored(ctx, d)
	return out, err
}

var errLemmyProxy = fediseer.Refuse(http.StatusBadRequest, "Lemmy does not show messages from Mastodon; the proxy MASTODON cannot be used for it")

func undelivered(err error) error {
	return fediseer.Refuse(http.StatusBadRequest, "The private message was not delivered: %s. Another way is a proof by DNS or a well-known file", err)
}

func (s *Service) claimGuarantor(tx *store.Tx, name string) (*fediseer.Instance, error) {
	if name == "" {
		return nil, nil
	}
	d, err := fediseer.ParseDomain(name)
	if err != nil {
		return nil, err
	}
	in, err := tx.Instance(d)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fediseer.ErrUnknownInstance(http.StatusBadRequest, name)
	}
	return in, err
}

func (s *Service) checkProof(ctx context.Context, d fediseer.Domain, c Claim) error {
	if len(c.Secret) < fediseer.MinProofSecret {
		return fediseer.Refuse(http.StatusBadRequest, "The secret of a proof has at least %d characters", fediseer.MinProofSecret)
	}
	values, err := s.prober.Published(ctx, d, c.Proof)
	if err != nil {
		return fediseer.Refuse(http.StatusBadRequest, "The proof could not be read: %s", err)
	}
	if !slices.Contains(values, fediseer.ProofValue(d, c.Admin, c.Secret)) {
		return fediseer.Refuse(http.StatusBadRequest, "%s does not publish the proof for this secret and admin", d)
	}
	return nil
}

// claimable refuses an account that has a key, unless the key got lost or there is a proof.
func (s *Service) claimable(tx *store.Tx, d fediseer.Domain, c Claim) error {
	u, err := tx.UserByAccount(fediseer.Account(c.Admin, d))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || c.Proof != probe.ProofNone {
		return err
	}
	age := time.Since(u.KeySent)
	if u.KeyUsed {
		return fediseer.Refuse(http.StatusForbidden, "%s has claimed %s already; PATCH resets the key", c.Admin, d)
	}
	if age < fediseer.ResendAfter {
		return fediseer.RefuseFor(http.StatusForbidden, fediseer.ResendAfter-age,
			"%s has claimed %s already; if the key does not arrive, claim again after %s", c.Admin, d, u.KeySent.Add(fediseer.ResendAfter).UTC().Format(time.RFC3339))
	}
	return nil
}

func (s *Service) storeClaim(tx *store.Tx, id int64, d fediseer.Domain, c Claim, guarantor *fediseer.Instance, key string) (*message.Notice, error) {
	now := time.Now()
	in, err := tx.InstanceByID(id)
	if err != nil {
		return nil, err
	}
	if err := s.claimable(tx, d, c); err != nil { // another claim may have been faster
		return nil, err
	}
	hash := fediseer.HashKey(s.cfg.Salt, key)
	if c.PMProxy != "" && c.PMProxy != in.PMProxy {
		in.PMProxy = c.PMProxy
		if err := tx.UpdateInstance(in); err != nil {
			return nil, err
		}
	}
	old, err := tx.UserByAccount(fediseer.Account(c.Admin, d))
	switch {
	case err == nil:
		return nil, tx.SetKey(old.ID, hash, now)
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	u := fediseer.User{Account: fediseer.Account(c.Admin, d), Username: c.Admin, InstanceID: in.ID, KeyHash: hash, KeySent: now}
	if err := tx.InsertUser(&u, now, false); err != nil {
		return nil, err
	}
	if err := s.report(tx, d, string(d), false, fediseer.ReportClaim, fediseer.Added); err != nil {
		return nil, err
	}
	if guarantor == nil {
		return nil, nil
	}
	if _, err := tx.Guarantor(in.ID); !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	asked, err := tx.Solicitations(in.ID)
	if err != nil {
		return nil, err
	}
	for _, x := range asked {
		if x.Target != nil && *x.Target == guarantor.ID {
			return nil, nil
		}
	}
	if err := tx.InsertSolicitation(store.Solicitation{Source: in.ID, Target: &guarantor.ID, Created: now}); err != nil {
		return nil, err
	}
	if err := s.report(tx, d, string(guarantor.Domain), false, fediseer.ReportSolicitation, fediseer.Added); err != nil {
		return nil, err
	}
	n, err := s.notice(tx, guarantor, s.textSolicitation(d, guarantor.Domain, nil))
	return &n, err
}

// Settings change an instance. Nil fields are left alone.
type Settings struct {
	AdminUsername         string // whose key to reset; empty resets none
	ReturnNewKey          bool
	Sysadmins, Moderators *int
	PMProxy               *fediseer.PMProxy
	Visibility            [fediseer.NumKinds]*fediseer.Visibility
}

// Changed is the answer to a change of settings.
type Changed struct {
	Any      bool
	NewKey   string           // only if it was asked for
	Delivery message.Delivery // how the message about a key reset went out
}

// Change applies settings to domain, which is the caller's own instance or any if the caller is the service's admin.
func (s *Service) Change(ctx context.Context, c Credential, domain string, set Settings) (Changed, error) {
	var out Changed
	var caller *Caller
	var in *fediseer.Instance
	var d fediseer.Domain
	prepare := func(tx *store.Tx) (err error) {
		if caller, err = s.authenticate(tx, c, http.StatusForbidden); err != nil {
			return err
		}
		if d, err = fediseer.ParseDomain(domain); err != nil {
			return err
		}
		if d != caller.Instance.Domain && !caller.ServiceAdmin {
			return fediseer.Refuse(http.StatusForbidden, "Only the admins of %s can change it", d)
		}
		in, err = tx.Instance(d)
		if errors.Is(err, store.ErrNotFound) {
			return fediseer.ErrUnknownInstance(http.StatusNotFound, string(d))
		}
		return err
	}
	var reset *fediseer.User
	var admins []fediseer.User
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		if err = prepare(tx); err != nil {
			return err
		}
		trial := *in
		if _, err := s.applySettings(tx, &trial, set); err != nil {
			return err
		}
		if admins, err = tx.Claims(in.ID); err != nil || set.AdminUsername == "" {
			return err
		}
		u, err := tx.UserByAccount(fediseer.Account(set.AdminUsername, d))
		if errors.Is(err, store.ErrNotFound) {
			return fediseer.Refuse(http.StatusNotFound, "%s has not claimed %s", set.AdminUsername, d)
		}
		reset = &u
		return err
	})
	if err != nil {
		return out, err
	}
	if err := s.markUsed(ctx, caller); err != nil {
		return out, err
	}
	if set.PMProxy != nil && in.PMProxy != *set.PMProxy {
		if err := s.announceProxy(ctx, caller, in, admins, *set.PMProxy); err != nil {
			return out, err
		}
	}
	key := fediseer.NewKey()
	if reset != nil {
		to := recipient(in, reset.Username)
		if set.PMProxy != nil {
			to.Proxy = *set.PMProxy
		}
		if out.Delivery, err = s.pm.Send(ctx, to, s.textReset(d, caller.User.Account, key, set.ReturnNewKey)); err != nil {
			return out, undelivered(err)
		}
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := prepare(tx); err != nil {
			return err
		}
		out.Any, err = s.applySettings(tx, in, set)
		if err != nil {
			return err
		}
		if out.Any {
			in.Updated = time.Now()
			if err := tx.UpdateInstance(in); err != nil {
				return err
			}
		}
		if reset != nil {
			out.Any = true
			return tx.SetKey(reset.ID, fediseer.HashKey(s.cfg.Salt, key), time.Now())
		}
		return nil
	})
	if err == nil && reset != nil && set.ReturnNewKey {
		out.NewKey = key
	}
	return out, err
}

// applySettings changes in, not its row, and tells whether anything differs.
func (s *Service) applySettings(tx *store.Tx, in *fediseer.Instance, set Settings) (bool, error) {
	changed := false
	number := func(to **int, n *int) {
		if n != nil && (*to == nil || **to != *n) {
			*to, changed = n, true
		}
	}
	number(&in.Sysadmins, set.Sysadmins)
	number(&in.Moderators, set.Moderators)
	if p := set.PMProxy; p != nil {
		if *p == fediseer.ProxyMastodon && in.Software == fediseer.SoftwareLemmy {
			return false, errLemmyProxy
		}
		if in.PMProxy != *p {
			in.PMProxy, changed = *p, true
		}
	}
	for _, k := range fediseer.Kinds {
		v := set.Visibility[k]
		if v == nil || *v == in.VisibilityOf[k] {
			continue
		}
		if _, err := tx.Flag(in.ID, fediseer.Muted); err == nil {
			return false, fediseer.Refuse(http.StatusForbidden, "%s is muted; its visibilities cannot be changed", in.Domain)
		} else if !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
		in.VisibilityOf[k], changed = *v, true
	}
	return changed, nil
}

// announceProxy tells every admin over the new and the old way, so that a switch that silences them is noticed.
func (s *Service) announceProxy(ctx context.Context, caller *Caller, in *fediseer.Instance, admins []fediseer.User, to fediseer.PMProxy) error {
	text := s.textProxy(in.Domain, caller.User.Account, in.PMProxy, to)
	for _, u := range admins {
		for _, p := range []fediseer.PMProxy{to, in.PMProxy} {
			r := recipient(in, u.Username)
			r.Proxy = p
			if _, err := s.pm.Send(ctx, r, text); err != nil {
				return undelivered(err)
			}
		}
	}
	return nil
}

// Unclaim deletes the caller's own claim of domain; the key stops working. The root's admin is refused with 403.
func (s *Service) Unclaim(ctx context.Context, c Credential, domain string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		caller, err := s.authenticate(tx, c, http.StatusForbidden)
		if err != nil {
			return err
		}
		if d, err := fediseer.ParseDomain(domain); err != nil {
			return err
		} else if d != caller.Instance.Domain {
			return fediseer.Refuse(http.StatusForbidden, "This key belongs to %s", caller.Instance.Domain)
		}
		if caller.Instance.IsRoot() {
			return fediseer.Refuse(http.StatusForbidden, "The root cannot be left without its admin")
		}
		if err := tx.DeleteUser(caller.User.ID); err != nil {
			return err
		}
		d := caller.Instance.Domain
		return s.report(tx, d, string(d), false, fediseer.ReportClaim, fediseer.Deleted)
	})
}

// Solicit asks for a guarantee: of one instance, or of anybody when guarantor is empty.
func (s *Service) Solicit(ctx context.Context, c Credential, guarantor string, comment *string) error {
	var notice *message.Notice
	var caller *Caller
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		notice = nil
		if caller, err = s.authenticate(tx, c, http.StatusNotFound); err != nil {
			return err
		}
		own := caller.Instance
		if g, err := tx.Guarantor(own.ID); err == nil {
			return fediseer.Refuse(http.StatusBadRequest, "%s is guaranteed by %s already", own.Domain, g.Domain)
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := s.refuseHasty(tx, own.Domain); err != nil {
			return err
		}
		to, err := s.claimGuarantor(tx, guarantor)
		if err != nil {
			return err
		}
		now := time.Now()
		asked, err := tx.Solicitations(own.ID)
		if err != nil {
			return err
		}
		recent := false
		for _, x := range asked {
			if x.Target == nil && to == nil || x.Target != nil && to != nil && *x.Target == to.ID {
				return fediseer.Refuse(http.StatusForbidden, "%s has asked this already", own.Domain)
			}
			recent = recent || now.Sub(x.Created) < fediseer.CoolDown
		}
		if recent {
			return fediseer.RefuseFor(http.StatusForbidden, fediseer.CoolDown, "%s has asked for a guarantee within the last day already", own.Domain)
		}
		x := store.Solicitation{Source: own.ID, Created: now}
		if comment != nil {
			x.Comment = optional(fediseer.Sanitize(*comment))
		}
		target := own.Domain
		if to != nil {
			target, x.Target = to.Domain, &to.ID
			n, err := s.notice(tx, to, s.textSolicitation(own.Domain, to.Domain, x.Comment))
			if err != nil {
				return err
			}
			notice = &n
		}
		if err := tx.InsertSolicitation(x); err != nil {
			return err
		}
		return s.report(tx, own.Domain, string(target), false, fediseer.ReportSolicitation, fediseer.Added)
	})
	if err != nil {
		return err
	}
	if notice != nil {
		s.pm.Queue(*notice)
	}
	return s.markUsed(ctx, caller)
}
