// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"time"

	"horde/internal/horde"
)

// SignedIn is somebody with a session in a browser. The session itself is the pages' business; here it is who proved to be
// somebody, and when.
type SignedIn struct {
	// OAuthID is that of the account. Empty means nobody.
	OAuthID string
	// Began is when the session began.
	Began time.Time
}

// callerBy finds the account of whoever makes a change, the operator excepted.
func (e *Engine) callerBy(by Authority) (*user, *horde.Error) {
	if by.SignedIn.OAuthID == "" {
		return e.userOf(by.Key)
	}
	u := e.signedIn(by.SignedIn)
	if u == nil {
		return nil, horde.ErrInvalidAPIKey
	}
	return u, nil
}

// signedIn finds the account of a session, or nil: there is none yet, it was erased, or the session was ended.
func (e *Engine) signedIn(s SignedIn) *user {
	u := e.byOAuth[s.OAuthID]
	if u == nil || u.ID == horde.Anonymous || e.alive(u.ID) == nil || s.Began.Before(u.SessionsFrom) {
		return nil
	}
	return u
}

// SessionState is what a session is good for.
type SessionState int

const (
	// SessionNew is of somebody who has no account yet.
	SessionNew SessionState = iota
	// SessionOpen has an account.
	SessionOpen
	// SessionEnded was ended, by logging out or by a new key.
	SessionEnded
)

// Session finds the account of a session. The view is what the account itself may see, and empty unless the session is open.
func (e *Engine) Session(ctx context.Context, s SignedIn) (UserView, SessionState, error) {
	var (
		v     UserView
		wait  *batch
		state SessionState
	)
	err := e.do(func() {
		switch u := e.signedIn(s); {
		case u != nil:
			v, wait, state = e.view(u, seesOwn), e.pending(&u.changed), SessionOpen
		case e.byOAuth[s.OAuthID] != nil:
			state = SessionEnded
		}
	})
	if err != nil {
		return UserView{}, SessionEnded, err
	}
	return v, state, e.durable(ctx, wait)
}

// Enrolled is what became of a registration by somebody who is logged in.
type Enrolled struct {
	User UserView
	// Key is the new key of the account, which nobody can read again.
	Key string
	// Created tells that there was no account before.
	Created bool
}

// Enrol is registration by somebody who is logged in. It makes the account of the login or, where there is one, gives it
// another name and another key; the old key is dead at once, and so are all sessions of the account.
func (e *Engine) Enrol(ctx context.Context, s SignedIn, name string) (Enrolled, error) {
	name, refused := e.userName(name)
	if refused != nil {
		return Enrolled{}, refused
	}
	out := Enrolled{Key: horde.NewKey()}
	var err error
	out.User, err = e.read(ctx, func() (*user, privilege, *horde.Error) {
		now := time.Now().UTC()
		u := e.byOAuth[s.OAuthID]
		switch {
		case s.OAuthID == "" || s.OAuthID == horde.AnonymousOAuthID:
			return nil, 0, horde.ErrInvalidAPIKey
		case u == nil:
			out.Created = true
			u = e.register(NewUser{Name: name, OAuthID: s.OAuthID}, out.Key, now)
		case e.signedIn(s) == nil:
			return nil, 0, horde.ErrInvalidAPIKey
		default:
			u.Name = name
			e.rekey(u, out.Key)
		}
		e.open.user(u)
		return u, seesOwn, nil
	})
	if err != nil {
		return Enrolled{}, err
	}
	return out, nil
}

// LogOut ends all sessions of the account of a session. It says nothing of sessions without an account.
func (e *Engine) LogOut(ctx context.Context, s SignedIn) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		u := e.signedIn(s)
		if u == nil {
			return struct{}{}, nil, nil
		}
		u.SessionsFrom = time.Now().UTC()
		e.open.user(u)
		return struct{}{}, e.open, nil
	})
	return err
}
