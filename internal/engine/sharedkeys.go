// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"horde/internal/horde"
)

// sharedKey is a shared key in memory.
type sharedKey struct {
	horde.SharedKey
	changed
	// held is what requests that are alive may still take out of the budget: see passage.
	held horde.Kudos
	// requests are those that were made through the key and are alive.
	requests map[*request]struct{}
}

// passage is the shared key that a request is made through, and what of its budget is set aside for the request, so that many
// requests at a time cannot spend more than there is.
type passage struct {
	key  *sharedKey
	hold horde.Kudos
}

// SharedKeyView is a shared key as it is shown.
type SharedKeyView struct {
	horde.SharedKey
	OwnerAlias string
	// Usage is what the key is used for at the moment, by kind; nil where it is not shown.
	Usage map[horde.Kind]ActiveUsage
}

// ActiveUsage is what comes of the requests that were made through a shared key and are not done.
type ActiveUsage struct {
	Requests int `json:"requests"`
	// Queued, Processing and Finished count their results.
	Queued     int `json:"queued"`
	Processing int `json:"processing"`
	Finished   int `json:"finished"`
	// OldestQueuedAge is how many seconds ago the oldest request was made of which something waits; zero for none.
	OldestQueuedAge int64 `json:"oldest_queued_age"`
}

// usage adds up what the key is used for, and tells when of all that the last changed.
func (k *sharedKey) usage(now time.Time) (byKind map[horde.Kind]ActiveUsage, last changed) {
	byKind, last = map[horde.Kind]ActiveUsage{}, k.changed
	for r := range k.requests {
		last.in = max(last.in, r.in)
		if r.Done() {
			continue
		}
		kind := r.Order.Kind()
		a := byKind[kind]
		a.Requests++
		a.Processing += r.Running
		a.Finished += r.Finished
		if r.Waiting() {
			a.Queued += r.Left
			a.OldestQueuedAge = max(a.OldestQueuedAge, int64(now.Sub(r.Created).Seconds()))
		}
		byKind[kind] = a
	}
	return byKind, last
}

// addSharedKey puts a shared key into the memory. Its owner is there already.
func (s *state) addSharedKey(k *sharedKey) {
	u := s.users[k.Owner]
	if u == nil {
		return
	}
	s.sharedKeys[k.ID] = k
	u.sharedKeys = append(u.sharedKeys, k)
	slices.SortFunc(u.sharedKeys, func(a, b *sharedKey) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID.String(), b.ID.String()))
	})
}

// sharedKeyOf finds the shared key that a text is, in any spelling of a UUID, or nil.
func (s *state) sharedKeyOf(text string) *sharedKey {
	id, ok := horde.ParseSharedKeyID(text)
	if !ok {
		return nil
	}
	return s.sharedKeys[id]
}

// pays counts a charge of a request for the shared key that it was made through, if it was.
func (e *Engine) pays(r *request, amount horde.Kudos) {
	p := r.through
	if p == nil {
		return
	}
	used := min(p.hold, max(0, amount))
	p.hold -= used
	p.key.held -= used
	if p.key.Consume(amount) && e.sharedKeys[p.key.ID] == p.key {
		e.keepSharedKey(p.key)
	}
}

// releaseHold gives back what is still set aside for a request, of the account and of the shared key. Doing so again changes nothing.
func (e *Engine) releaseHold(r *request) {
	e.book.ReleaseHold(&r.Request)
	e.reserving.Delete(r)
	if p := r.through; p != nil {
		p.key.held -= p.hold
		p.hold = 0
	}
}

// passes files a request with the shared key that it was made through, if it was.
func (r *request) passes() {
	if r.through == nil {
		return
	}
	k := r.through.key
	if k.requests == nil {
		k.requests = map[*request]struct{}{}
	}
	k.requests[r] = struct{}{}
}

// forgotten takes the request from the lists that it is in, of its user and of the shared key that it was made through.
func (r *request) forgotten() {
	delete(r.user.requests, r)
	if r.through != nil {
		delete(r.through.key.requests, r)
	}
}

// restorePassage sets aside what a request may still take out of the budget of its shared key. A key that is gone has none.
func (s *state) restorePassage(r *request) {
	o := r.order()
	if o.SharedKey == "" {
		return
	}
	k := s.sharedKeyOf(o.SharedKey)
	if k == nil {
		return
	}
	r.through = &passage{key: k}
	r.passes()
	if over := r.Done() || r.Faulted || r.Cancelled && r.Running == 0; !over {
		r.through.hold = max(0, o.KeyHold-r.Charged)
		k.held += r.through.hold
	}
}

// keepSharedKey notes that the record is to have the key as it is now.
func (e *Engine) keepSharedKey(k *sharedKey) { e.open.document(sharedKeyDocument, k.ID.String(), k) }

// payer is who a submission runs as.
type payer struct {
	user *user
	// caller is the account whose own key was sent, nil for a shared key.
	caller *user
	// speaker is who says what is asked for: user but with a style that is paid for, where it is the account of the caller's key, be
	// it its own or a shared one. What an account is bound by holds for what it says, whoever pays.
	speaker *user
	// key is the shared key that limits the submission, or nil; styled tells that it came with the style and not with the caller, and
	// its limits of a job are not asked then.
	key    *sharedKey
	styled bool
	// low tells that the request starts behind those that are paid for.
	low bool
}

// payerOf finds who a submission runs as: the owner of the shared key of its style, where that can be used, else whoever the caller's
// key opens, be it an account's own or a shared one.
func (e *Engine) payerOf(c Caller, s *submission, now time.Time) (payer, *horde.Error) {
	own := e.sharedKeyOf(c.Key)
	if s.use != nil {
		if k := e.sharedKeys[s.use.style.SharedKey]; k != nil && k.Valid(now) {
			p := payer{user: e.users[k.Owner], key: k, styled: true}
			var err *horde.Error
			if p.speaker, err = e.accountOf(c.Key); err != nil {
				return payer{}, err
			}
			if own == nil {
				p.caller = p.speaker
			}
			return p, nil
		}
	}
	if own == nil {
		u, err := e.userOf(c.Key)
		return payer{user: u, caller: u, speaker: u}, err
	}
	p := payer{user: e.users[own.Owner], key: own}
	switch {
	case own.Empty() && (!s.downgrade || e.NoAnonymous):
		return payer{}, horde.ErrSharedKeyEmpty
	case own.Expired(now):
		return payer{}, horde.ErrSharedKeyExpired
	case own.Empty():
		p.user, p.low = e.users[horde.Anonymous], true
	}
	if len(e.stylesHaving[own.ID]) > 0 {
		return payer{}, horde.ErrSharedKeyAssigned
	}
	p.speaker = p.user
	return p, nil
}

// bound tells whether the one who pays or the one who speaks has a role that binds.
func (p *payer) bound(r horde.Roles) bool { return p.user.Has(r) || p.speaker.Has(r) }

// account is the account that a submission runs as, with what the one who speaks is bound by.
func (p *payer) account() *horde.User {
	binding := p.speaker.Roles & (horde.Education | horde.Flagged)
	if p.user.Roles|binding == p.user.Roles {
		return &p.user.User
	}
	u := p.user.User
	u.Roles |= binding
	return &u
}

// accountOf finds the account that a key opens or, of a shared key, that it generates for.
func (e *Engine) accountOf(key string) (*user, *horde.Error) {
	if k := e.sharedKeyOf(key); k != nil {
		return e.users[k.Owner], nil
	}
	return e.userOf(key)
}

// markOf is by what an order knows the key that it was made with. All spellings of a shared key are one.
func (e *Engine) markOf(key string) string {
	if k := e.sharedKeyOf(key); k != nil {
		key = k.ID.String()
	}
	return horde.MarkOf(horde.HashKey(e.settings.KeySalt, key))
}

func (e *Engine) viewSharedKey(k *sharedKey) SharedKeyView {
	return SharedKeyView{SharedKey: k.SharedKey, OwnerAlias: e.users[k.Owner].Alias()}
}

// SharedKey shows a shared key to whoever knows it, and what it is used for to whom the caller's own key shows to be its owner.
func (e *Engine) SharedKey(ctx context.Context, key, id string) (SharedKeyView, error) {
	return change(ctx, e, func() (SharedKeyView, *batch, *horde.Error) {
		k := e.sharedKeyOf(id)
		if k == nil {
			return SharedKeyView{}, nil, horde.ErrInvalidAPIKey
		}
		v, last := e.viewSharedKey(k), k.changed
		if u, err := e.userOf(key); err == nil && u.ID == k.Owner {
			v.Usage, last = k.usage(time.Now())
		}
		return v, e.pending(&last), nil
	})
}

// CreateSharedKey makes a shared key for the account of the caller.
func (e *Engine) CreateSharedKey(ctx context.Context, key string, c *horde.SharedKeyChange) (SharedKeyView, error) {
	return change(ctx, e, func() (SharedKeyView, *batch, *horde.Error) {
		u, err := e.userOf(key)
		switch {
		case err != nil:
			return SharedKeyView{}, nil, err
		case u.ID == horde.Anonymous:
			return SharedKeyView{}, nil, horde.ErrAnonForbidden
		case u.Has(horde.Deleted):
			return SharedKeyView{}, nil, horde.ErrDeletedUser
		case len(u.sharedKeys) >= u.Roles.SharedKeyLimit():
			return SharedKeyView{}, nil, horde.ErrTooManySharedKeys.Withf("This account may have %d shared keys.", u.Roles.SharedKeyLimit())
		}
		given := *c
		if given.Expiry != nil && *given.Expiry == 0 {
			given.Expiry = nil // only a change makes a key that has ended
		}
		now := time.Now().UTC()
		k := &sharedKey{SharedKey: horde.SharedKey{
			ID: horde.NewSharedKeyID(), Owner: u.ID, Budget: horde.DefaultSharedKeyBudget * 100, Created: now,
			SharedKeyLimits: horde.SharedKeyLimits{MaxImagePixels: horde.Unlimited, MaxImageSteps: horde.Unlimited, MaxTextTokens: horde.Unlimited},
		}}
		given.Onto(&k.SharedKey, now)
		if k.Name, err = e.sharedKeyName(k.Name); err != nil {
			return SharedKeyView{}, nil, err
		}
		e.addSharedKey(k)
		e.keepSharedKey(k)
		u.note(e.open.number) // the account is shown with its keys
		return e.viewSharedKey(k), e.open, nil
	})
}

// sharedKeyName is a name as it is kept, empty for none.
func (e *Engine) sharedKeyName(given string) (string, *horde.Error) {
	name := horde.Sanitize(given)
	if horde.Blank(name) {
		name = ""
	}
	if utf8.RuneCountInString(name) > horde.MaxSharedKeyName {
		return "", horde.Invalid(map[string]string{"name": "is too long when its signs are written for HTML"})
	}
	return name, refuseIf(e.Profane(name), horde.ErrProfaneSharedKey)
}

// ownSharedKey finds a shared key for its owner, and for nobody else.
func (e *Engine) ownSharedKey(key, id string) (*sharedKey, *horde.Error) {
	k := e.sharedKeyOf(id)
	if k == nil {
		return nil, horde.ErrInvalidAPIKey
	}
	u, err := e.userOf(key)
	if err == nil && u.ID != k.Owner {
		err = horde.ErrSharedKeyForbidden
	}
	return k, err
}

// ChangeSharedKey changes what is given of a shared key.
func (e *Engine) ChangeSharedKey(ctx context.Context, key, id string, c *horde.SharedKeyChange) (SharedKeyView, error) {
	return change(ctx, e, func() (SharedKeyView, *batch, *horde.Error) {
		k, err := e.ownSharedKey(key, id)
		switch {
		case err != nil:
			return SharedKeyView{}, nil, err
		case c.Empty():
			return SharedKeyView{}, nil, horde.ErrNoSharedKeyMod
		}
		next := k.SharedKey
		c.Onto(&next, time.Now().UTC())
		if c.Name != nil {
			if next.Name, err = e.sharedKeyName(next.Name); err != nil {
				return SharedKeyView{}, nil, err
			}
		}
		k.SharedKey = next
		e.keepSharedKey(k)
		return e.viewSharedKey(k), e.open, nil
	})
}

// DeleteSharedKey removes a shared key. Its requests run on, and its owner pays for them.
func (e *Engine) DeleteSharedKey(ctx context.Context, key, id string) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		k, err := e.ownSharedKey(key, id)
		if err != nil {
			return struct{}{}, nil, err
		}
		e.dropSharedKey(k)
		return struct{}{}, e.open, nil
	})
	return err
}

// dropSharedKey removes a shared key, also from all styles.
func (e *Engine) dropSharedKey(k *sharedKey) {
	for t := range e.stylesHaving[k.ID] {
		t.SharedKey = horde.SharedKeyID{}
		e.keepStyle(t)
	}
	delete(e.stylesHaving, k.ID)
	delete(e.sharedKeys, k.ID)
	u := e.users[k.Owner]
	u.sharedKeys = without(u.sharedKeys, k)
	u.note(e.open.number)
	e.open.forgetDocument(sharedKeyDocument, k.ID.String())
}

// bindable finds the shared key that a style of u is to be bound to.
func (e *Engine) bindable(u *user, text string, now time.Time) (horde.SharedKeyID, *horde.Error) {
	k := e.sharedKeyOf(text)
	switch {
	case k == nil:
		return horde.SharedKeyID{}, horde.ErrSharedKeyUnknown
	case k.Empty():
		return horde.SharedKeyID{}, horde.ErrStyleKeyEmpty
	case k.Expired(now):
		return horde.SharedKeyID{}, horde.ErrStyleKeyExpired
	case k.Owner != u.ID:
		return horde.SharedKeyID{}, horde.ErrSharedKeyForbidden
	}
	return k.ID, nil
}

// keptSharedKeys adds what is kept of shared keys.
func (s *state) keptSharedKeys(kept map[documentKey]documented) {
	for id, k := range s.sharedKeys {
		kept[documentKey{sharedKeyDocument, id.String()}] = k
	}
}

// sharedKeys checks that each key is its owner's, is not overspent (L13) and sets aside what its requests hold.
func (f *findings) sharedKeys(e *Engine) {
	held, made := map[*sharedKey]horde.Kudos{}, map[*sharedKey]int{}
	for _, r := range e.requests {
		if r.through == nil {
			continue
		}
		held[r.through.key] += r.through.hold
		made[r.through.key]++
		if _, filed := r.through.key.requests[r]; !filed {
			f.add("request %s is not filed with its shared key", r.ID)
		}
	}
	for id, k := range e.sharedKeys {
		if u := e.users[k.Owner]; u == nil || !u.WipedAt.IsZero() || !slices.Contains(u.sharedKeys, k) {
			f.add("shared key %s is not its owner's", id)
		}
		if k.Budget < 0 || k.Utilized < 0 {
			f.add("L13: shared key %s has %s left, and %s was used", id, k.Budget, k.Utilized)
		}
		if len(k.requests) != made[k] {
			f.add("shared key %s has %d requests filed, there are %d", id, len(k.requests), made[k])
		}
		arriving := 0
		if u := e.users[k.Owner]; u != nil {
			arriving = u.arriving[horde.Image] + u.arriving[horde.Text]
		}
		if k.held < held[k] || k.held != held[k] && arriving == 0 {
			f.add("shared key %s has %s set aside, the requests hold %s", id, k.held, held[k])
		}
	}
	for id, styles := range e.stylesHaving {
		for t := range styles {
			if t.SharedKey != id || e.sharedKeys[id] == nil || e.sharedKeys[id].Owner != t.Owner {
				f.add("style %s is filed with the shared key of another", t.ID)
			}
		}
	}
}
