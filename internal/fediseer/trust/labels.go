// SPDX-License-Identifier: AGPL-3.0-or-later

package trust

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"horde/internal/fediseer"
	"horde/internal/fediseer/store"
)

// splitTags trims the items and drops empty ones; the case stays.
func splitTags(csv string) ([]string, error) {
	var out []string
	for _, t := range strings.Split(csv, ",") {
		t = strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1
			}
			return r
		}, strings.ToValidUTF8(t, "")))
		if utf8.RuneCountInString(t) > fediseer.MaxTagLength {
			return nil, fediseer.Refuse(http.StatusBadRequest, "A tag has at most %d characters", fediseer.MaxTagLength)
		}
		if t != "" {
			out = append(out, t)
		}
	}
	return out, nil
}

// AddTags puts tags on the caller's instance. It returns false when all are there already.
func (s *Service) AddTags(ctx context.Context, c Credential, csv string) (bool, error) {
	changed := false
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		changed = false
		caller, err := s.authenticate(tx, c, http.StatusForbidden)
		if err != nil {
			return err
		}
		if err := s.refuseRestricted(tx, caller.Instance); err != nil {
			return err
		}
		tags, err := splitTags(csv)
		if err != nil {
			return err
		}
		have, err := tx.Tags(caller.Instance.ID)
		if err != nil {
			return err
		}
		known := make(map[string]bool, len(have))
		for _, t := range have {
			known[strings.ToLower(t)] = true
		}
		asked := map[string]bool{}
		n := len(have)
		for _, t := range tags {
			low := strings.ToLower(t)
			if asked[low] {
				return fediseer.Refuse(http.StatusBadRequest, "The tag %q is there twice", t)
			}
			asked[low] = true
			if known[low] {
				continue
			}
			if n++; n > fediseer.MaxTags {
				return fediseer.Refuse(http.StatusBadRequest, "An instance has at most %d tags", fediseer.MaxTags)
			}
			if err := tx.InsertTag(caller.Instance.ID, t, time.Now()); err != nil {
				return err
			}
			changed = true
		}
		return nil
	})
	return changed, err
}

// RemoveTags takes tags from the caller's instance, whatever their case. It returns false when none was there.
func (s *Service) RemoveTags(ctx context.Context, c Credential, csv string) (bool, error) {
	changed := false
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		changed = false
		caller, err := s.authenticate(tx, c, http.StatusForbidden)
		if err != nil {
			return err
		}
		tags, err := splitTags(csv)
		if err != nil {
			return err
		}
		for _, t := range tags {
			had, err := tx.DeleteTag(caller.Instance.ID, t)
			if err != nil {
				return err
			}
			changed = changed || had
		}
		return nil
	})
	return changed, err
}

// flag is the frame of the service admin's actions on an instance's flags.
func (s *Service) flag(ctx context.Context, c Credential, domain string, do func(tx *store.Tx, in *fediseer.Instance) (bool, fediseer.ReportActivity, error)) (bool, error) {
	var d fediseer.Domain
	check := func(tx *store.Tx) (*Caller, error) {
		caller, err := s.authenticate(tx, c, http.StatusForbidden)
		if err == nil && !caller.ServiceAdmin {
			err = fediseer.Refuse(http.StatusForbidden, "Only the admin of this service sets flags")
		}
		return caller, err
	}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		_, err := check(tx)
		if err != nil {
			return err
		}
		d, err = fediseer.ParseDomain(domain)
		return err
	})
	if err != nil {
		return false, err
	}
	// A known instance can be flagged whatever state it is in; only a new one must be worth a row.
	known, err := s.Stored(ctx, d)
	if err != nil {
		return false, err
	}
	how := strict
	if known != nil {
		how = lenient
	}
	look, err := s.look(ctx, d, how)
	if err != nil {
		return false, err
	}
	var changed bool
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		caller, err := check(tx)
		if err != nil {
			return err
		}
		in, err := s.register(tx, d, look)
		if err != nil {
			return err
		}
		var activity fediseer.ReportActivity
		changed, activity, err = do(tx, in)
		if err != nil || !changed {
			return err
		}
		return s.report(tx, caller.Instance.Domain, string(d), false, fediseer.ReportFlag, activity)
	})
	return changed, err
}

// AddFlag puts a flag on an instance. It returns false when it is there already. RESTRICTED brings MUTED with it; either
// makes the three lists private.
func (s *Service) AddFlag(ctx context.Context, c Credential, domain string, f fediseer.FlagRecord) (bool, error) {
	return s.flag(ctx, c, domain, func(tx *store.Tx, in *fediseer.Instance) (bool, fediseer.ReportActivity, error) {
		if _, err := tx.Flag(in.ID, f.Flag); !errors.Is(err, store.ErrNotFound) {
			return false, "", err
		}
		now := time.Now()
		if err := tx.SetFlag(in.ID, f, now); err != nil {
			return false, "", err
		}
		if f.Flag == fediseer.Restricted {
			if _, err := tx.Flag(in.ID, fediseer.Muted); errors.Is(err, store.ErrNotFound) {
				why := "Restricted"
				if f.Comment != nil {
					why += ": " + *f.Comment
				}
				if r := []rune(why); len(r) > fediseer.MaxFlagCommentLength {
					why = string(r[:fediseer.MaxFlagCommentLength])
				}
				if err := tx.SetFlag(in.ID, fediseer.FlagRecord{Flag: fediseer.Muted, Comment: &why}, now); err != nil {
					return false, "", err
				}
			} else if err != nil {
				return false, "", err
			}
		}
		return true, fediseer.Added, hideLists(tx, in)
	})
}

// AmendFlag changes the comment of a flag. Without the flag it is 404; with the same comment it returns false.
func (s *Service) AmendFlag(ctx context.Context, c Credential, domain string, f fediseer.FlagRecord) (bool, error) {
	return s.flag(ctx, c, domain, func(tx *store.Tx, in *fediseer.Instance) (bool, fediseer.ReportActivity, error) {
		old, err := tx.Flag(in.ID, f.Flag)
		if errors.Is(err, store.ErrNotFound) {
			return false, "", fediseer.Refuse(http.StatusNotFound, "%s is not %s", in.Domain, f.Flag)
		}
		if err != nil || equal(old.Comment, f.Comment) {
			return false, "", err
		}
		return true, fediseer.Modified, tx.SetFlag(in.ID, f, time.Now())
	})
}

// RemoveFlag takes a flag off. It restores no visibility and leaves MUTED when RESTRICTED goes.
func (s *Service) RemoveFlag(ctx context.Context, c Credential, domain string, f fediseer.Flag) (bool, error) {
	return s.flag(ctx, c, domain, func(tx *store.Tx, in *fediseer.Instance) (bool, fediseer.ReportActivity, error) {
		had, err := tx.DeleteFlag(in.ID, f)
		return had, fediseer.Deleted, err
	})
}
