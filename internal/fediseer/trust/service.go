// SPDX-License-Identifier: AGPL-3.0-or-later

// Package trust holds the use cases of the Fediseer: claiming, guaranteeing, judging, and the lists that come of it.
//
// A [Service] is the only writer of the record. Each use case checks who asks ([Credential]) and whether they may, in
// the order that clients know; looks at foreign instances outside of any transaction; then checks again and writes in
// one transaction; and sends messages when that is committed. Refusals are *horde.Error values; any other error is a
// fault of the service itself.
package trust

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/message"
	"horde/internal/fediseer/probe"
	"horde/internal/fediseer/store"
)

// Prober looks at foreign instances. *probe.Prober is one.
type Prober interface {
	// Probe asks an instance what it is. It reports everything in the result and never fails as a whole.
	Probe(ctx context.Context, d fediseer.Domain) probe.Result
	// IsAdmin tells whether user is among the admins that r found, asking again where a software has another way.
	IsAdmin(ctx context.Context, d fediseer.Domain, r probe.Result, user string) bool
	// Published returns the proof values that a domain publishes in DNS or in its well-known file.
	Published(ctx context.Context, d fediseer.Domain, how probe.Proof) ([]string, error)
}

// Messenger reaches the admins of foreign instances. *message.Messenger is one.
type Messenger interface {
	// Send delivers a message now and tells how, or why not.
	Send(ctx context.Context, to message.Recipient, text string) (message.Delivery, error)
	// Queue delivers a notice in the background, as well as it can.
	Queue(n message.Notice)
}

// Config names the service. All fields are needed.
type Config struct {
	Salt string
	// Root is the domain of the root instance, RootUser the name of its admin, Version the service's own version.
	Root     fediseer.Domain
	RootUser string
	Version  string
	// GUI is the address of the pages that messages lead to, Contact where people can ask.
	GUI, Contact string
	// BatchDeadline bounds the time that a batch spends on looking at unknown domains; those that did not answer by
	// then are registered as unknown.
	BatchDeadline time.Duration
}

// Service carries out the use cases. All methods may be called from any goroutine.
type Service struct {
	cfg    Config
	store  *store.Store
	prober Prober
	pm     Messenger
	log    *slog.Logger
}

// New returns a Service on a store that Bootstrap has prepared.
func New(cfg Config, st *store.Store, p Prober, m Messenger, log *slog.Logger) *Service {
	return &Service{cfg: cfg, store: st, prober: p, pm: m, log: log}
}

// IsAdminKey tells whether key is that of the service's admin in a record that Bootstrap has prepared.
func IsAdminKey(ctx context.Context, cfg Config, st *store.Store, key string) (valid bool, err error) {
	err = st.View(ctx, func(tx *store.Tx) error {
		u, err := tx.UserByKey(fediseer.HashKey(cfg.Salt, key))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		valid = err == nil && u.Account == fediseer.Account(cfg.RootUser, cfg.Root)
		return err
	})
	return valid, err
}

// Bootstrap creates the root instance with its guarantee for itself and its admin on an empty database. adminKey makes a
// key for the admin and is called only if the root does not exist. A record whose root is of another domain is refused.
func Bootstrap(ctx context.Context, cfg Config, st *store.Store, adminKey func() (string, error)) error {
	return st.Update(ctx, func(tx *store.Tx) error {
		known, err := tx.InstanceByID(fediseer.RootID)
		if err == nil && known.Domain != cfg.Root {
			return fmt.Errorf("the record is that of %s, not of %s: the domain of a service cannot be changed", known.Domain, cfg.Root)
		}
		if err == nil || !errors.Is(err, store.ErrNotFound) {
			return err
		}
		key, err := adminKey()
		if err != nil {
			return err
		}
		now, no := time.Now(), false
		root := &fediseer.Instance{ID: fediseer.RootID, Domain: cfg.Root, Created: now, Updated: now,
			Attributes:  fediseer.Attributes{Software: fediseer.SoftwareFediseer, Version: cfg.Version, OpenRegistrations: &no, EmailVerify: &no},
			MaxListSize: fediseer.DefaultMaxListSize, PMProxy: fediseer.ProxyNone,
			VisibilityOf: [fediseer.NumKinds]fediseer.Visibility{fediseer.Open, fediseer.Open, fediseer.Open}}
		if err := tx.InsertInstance(root, true); err != nil {
			return err
		}
		if err := tx.InsertGuarantee(root.ID, root.ID, now); err != nil {
			return err
		}
		u := fediseer.User{Account: fediseer.Account(cfg.RootUser, cfg.Root), Username: cfg.RootUser, InstanceID: root.ID,
			KeyHash: fediseer.HashKey(cfg.Salt, key), KeySent: now, KeyUsed: true}
		return tx.InsertUser(&u, now, true)
	})
}

// Credential is what came in the apikey header.
type Credential struct {
	Given bool   // the header was there
	Key   string // may be empty
}

// Caller is who asks: an admin acting as their instance.
type Caller struct {
	User     fediseer.User
	Instance *fediseer.Instance
	// ServiceAdmin is true for the root account.
	ServiceAdmin bool
}

// authenticate finds the caller. status is the route's answer to a key that nobody has.
func (s *Service) authenticate(tx *store.Tx, c Credential, status int) (*Caller, error) {
	if !c.Given {
		return nil, fediseer.ErrNoKey
	}
	if c.Key == "" {
		return nil, fediseer.ErrEmptyKey
	}
	u, err := tx.UserByKey(fediseer.HashKey(s.cfg.Salt, c.Key))
	if errors.Is(err, store.ErrNotFound) {
		return nil, fediseer.ErrUnknownKey(status)
	}
	if err != nil {
		return nil, err
	}
	in, err := tx.InstanceByID(u.InstanceID)
	if err != nil {
		return nil, err
	}
	return &Caller{User: u, Instance: in, ServiceAdmin: u.Account == fediseer.Account(s.cfg.RootUser, s.cfg.Root)}, nil
}

// Requester finds who asks on routes where a key is optional: nil for anonymous, 401 for a key that nobody has.
func (s *Service) requester(tx *store.Tx, c Credential) (*fediseer.Instance, error) {
	if c.Key == "" {
		return nil, nil
	}
	caller, err := s.authenticate(tx, c, http.StatusUnauthorized)
	if err != nil {
		return nil, err
	}
	return caller.Instance, nil
}

// markUsed remembers that a key has arrived, the first time that it is presented.
func (s *Service) markUsed(ctx context.Context, c *Caller) error {
	if c.User.KeyUsed {
		return nil
	}
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.MarkKeyUsed(c.User.ID) })
}

// need says which of the common checks a use case makes. They are made in the order of the constants, whatever the use
// case, with the key always first.
type need uint

const (
	needGuarantor    need = 1 << iota // own instance has a guarantor
	needFreeSlot                      // fewer guarantees given than allowed
	needUnrestricted                  // own instance is not RESTRICTED
	needOther                         // the target is not one's own instance
	needCalm                          // few logged actions in the last minute
	needChain                         // own chain reaches the root
)

// check authenticates and makes the checks. An unknown key is status.
func (s *Service) check(tx *store.Tx, c Credential, status int, n need, target string) (*Caller, fediseer.Domain, error) {
	caller, err := s.authenticate(tx, c, status)
	if err != nil {
		return nil, "", err
	}
	own := caller.Instance
	if n&needGuarantor != 0 {
		if _, err := tx.Guarantor(own.ID); errors.Is(err, store.ErrNotFound) {
			return nil, "", fediseer.Refuse(http.StatusForbidden, "%s has no guarantor; only guaranteed instances can do this", own.Domain)
		} else if err != nil {
			return nil, "", err
		}
	}
	if n&needFreeSlot != 0 && !own.IsRoot() {
		given, err := tx.CountGuarantees(own.ID)
		if err != nil {
			return nil, "", err
		}
		if given >= fediseer.MaxGuarantees {
			return nil, "", fediseer.Refuse(http.StatusForbidden, "%s guarantees %d instances already; no more are allowed", own.Domain, given)
		}
	}
	if n&needUnrestricted != 0 {
		if err := s.refuseRestricted(tx, own); err != nil {
			return nil, "", err
		}
	}
	var d fediseer.Domain
	if target != "" {
		if d, err = fediseer.ParseDomain(target); err != nil {
			return nil, "", err
		}
	}
	if n&needOther != 0 && d == own.Domain {
		return nil, "", fediseer.Refuse(http.StatusBadRequest, "An instance cannot do this to itself")
	}
	if n&needCalm != 0 {
		if err := s.refuseHasty(tx, own.Domain); err != nil {
			return nil, "", err
		}
	}
	if n&needChain != 0 {
		chain, err := tx.Chain(own.ID)
		if err != nil {
			return nil, "", err
		}
		if !chain.Unbroken() {
			return nil, "", fediseer.Refuse(http.StatusForbidden, "The chain of trust of %s is broken: %s has no guarantor", own.Domain, chain.BrokenAt())
		}
	}
	return caller, d, nil
}

func (s *Service) refuseRestricted(tx *store.Tx, own *fediseer.Instance) error {
	f, err := tx.Flag(own.ID, fediseer.Restricted)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	why := "no comment"
	if f.Comment != nil {
		why = *f.Comment
	}
	return fediseer.Refuse(http.StatusForbidden, "%s is restricted (%s)", own.Domain, why)
}

func (s *Service) refuseHasty(tx *store.Tx, own fediseer.Domain) error {
	n, err := tx.CountReports(own, time.Now().Add(-fediseer.ActionWindow))
	if err != nil {
		return err
	}
	if n > fediseer.MaxActionsPerMinute {
		return fediseer.RefuseFor(http.StatusTooManyRequests, fediseer.ActionWindow, "%s did more than %d things in the last minute",
			own, fediseer.MaxActionsPerMinute)
	}
	return nil
}

// strictness says what happens when a target cannot be looked at.
type strictness int

const (
	registered400 strictness = iota // not looked at; a domain without a row is 400
	registered404                   // likewise, 404
	strict                          // looked at; what answers strangely is 400
	lenient                         // looked at; whatever it is, it is registered
)

// act is the frame of all actions on a target: check, look at the target, check again, do it in one transaction, then
// notify. do may run more than once; it returns whether it changed something and the notices to send.
func (s *Service) act(ctx context.Context, c Credential, n need, target string, how strictness,
	do func(tx *store.Tx, caller *Caller, target *fediseer.Instance) (bool, []message.Notice, error)) (bool, error) {
	var caller *Caller
	var d fediseer.Domain
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		caller, d, err = s.check(tx, c, http.StatusNotFound, n, target)
		return err
	})
	if err != nil {
		return false, err
	}
	if err := s.markUsed(ctx, caller); err != nil {
		return false, err
	}
	var look *probe.Result
	if how == strict || how == lenient {
		if look, err = s.look(ctx, d, how); err != nil {
			return false, err
		}
	}
	var changed bool
	var notices []message.Notice
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		caller, _, err := s.check(tx, c, http.StatusNotFound, n, target)
		if err != nil {
			return err
		}
		var in *fediseer.Instance
		if look != nil {
			in, err = s.register(tx, d, look)
		} else {
			in, err = tx.Instance(d)
			if errors.Is(err, store.ErrNotFound) {
				status := http.StatusBadRequest
				if how == registered404 {
					status = http.StatusNotFound
				}
				err = fediseer.ErrUnknownInstance(status, string(d))
			}
		}
		if err != nil {
			return err
		}
		changed, notices, err = do(tx, caller, in)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, n := range notices {
		s.pm.Queue(n)
	}
	return changed, nil
}

// look probes a domain. With strict, what answers but cannot be understood, or hides in a private network, is refused;
// a domain that does not answer at all is not.
func (s *Service) look(ctx context.Context, d fediseer.Domain, how strictness) (*probe.Result, error) {
	if d.Wildcard() {
		return &probe.Result{Attributes: fediseer.Attributes{Software: fediseer.SoftwareWildcard, Version: fediseer.SoftwareUnknown}, Resolves: true}, nil
	}
	r := s.prober.Probe(ctx, d)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.Err != nil && how == strict {
		return nil, fediseer.Refuse(http.StatusBadRequest, "%s could not be examined: %s", d, r.Err)
	}
	return &r, nil
}

// lookForStranger is a strict look for somebody without a key, for whom a name without a dot that DNS does not know is
// refused too: whoever asks must not fill the record with words.
func (s *Service) lookForStranger(ctx context.Context, d fediseer.Domain) (*probe.Result, error) {
	r, err := s.look(ctx, d, strict)
	if err == nil && !r.Resolves && !strings.Contains(string(d), ".") {
		return nil, fediseer.Refuse(http.StatusBadRequest, "%s is not the name of an instance", d)
	}
	return r, err
}

// register stores what a look at a domain found. A known instance that could not be reached keeps what is known of it.
func (s *Service) register(tx *store.Tx, d fediseer.Domain, r *probe.Result) (*fediseer.Instance, error) {
	now := time.Now()
	in, err := tx.Instance(d)
	switch {
	case errors.Is(err, store.ErrNotFound):
		in = &fediseer.Instance{Domain: d, Created: now, Updated: now, Attributes: r.Attributes,
			MaxListSize: fediseer.DefaultMaxListSize, PMProxy: fediseer.ProxyNone,
			VisibilityOf: [fediseer.NumKinds]fediseer.Visibility{fediseer.Open, fediseer.Open, fediseer.Open}}
		if !r.Resolves {
			in.PollFailures = fediseer.DeadPollFailures
		}
		if r.Foreign {
			in.PollFailures = offlineFailures
		}
		return in, tx.InsertInstance(in, false)
	case err != nil:
		return nil, err
	case in.IsRoot() || d.Wildcard() || !r.Reached || r.Err != nil:
		return in, nil
	case in.PollFailures > 0 || !in.Attributes.Equal(r.Attributes):
		in.Attributes, in.PollFailures, in.Updated = r.Attributes, 0, now
		return in, tx.UpdateInstance(in)
	}
	return in, nil
}

// offlineFailures is the failure count at which an instance counts as OFFLINE.
const offlineFailures = 3

// report adds a line to the public log. The target is hidden when hide is true.
func (s *Service) report(tx *store.Tx, source fediseer.Domain, target string, hide bool, t fediseer.ReportType, a fediseer.ReportActivity) error {
	if hide {
		target = fediseer.TargetRedacted
	}
	return tx.InsertReport(fediseer.Report{Source: string(source), Target: target, Type: t, Activity: a, Created: time.Now()})
}

// notice makes a notice to the admins of an instance: to those who claimed it, else to those that a probe finds.
func (s *Service) notice(tx *store.Tx, to *fediseer.Instance, text string) (message.Notice, error) {
	users, err := tx.Claims(to.ID)
	if err != nil {
		return message.Notice{}, err
	}
	n := message.Notice{Recipient: recipient(to, ""), Text: text}
	for _, u := range users {
		n.Users = append(n.Users, u.Username)
	}
	if n.Users == nil {
		n.Recipient.Proxy = fediseer.ProxyNone
	}
	return n, nil
}

func recipient(in *fediseer.Instance, user string) message.Recipient {
	return message.Recipient{User: user, Domain: in.Domain, Software: in.Software, Version: in.Version, Proxy: in.PMProxy}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func equal(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }
