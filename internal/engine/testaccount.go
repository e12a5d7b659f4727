// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// TestAccount is an account as an integration test wants it (accounts chapter, 1.6).
type TestAccount struct {
	Name, OAuthID string
	Moderator     bool
	// Trusted counts only for accounts that are no moderators: those are always trusted.
	Trusted bool
	// Kudos is the balance that the account shall have, nil to leave it.
	Kudos *horde.Kudos
}

// The refusals of test accounts have no code.
var (
	errTestAccount = &horde.Error{Status: http.StatusBadRequest,
		Message: "A test account needs a name of at most 30 characters, an OAuth id that is its own, and no negative kudos."}
	errProfaneTestAccount = &horde.Error{Status: http.StatusBadRequest, Message: "This name contains profanity."}
)

// SetTestAccount makes the account with this OAuth id what the test wants, and the account itself where there is none. It
// returns the account with a new key; the old one is dead at once.
func (e *Engine) SetTestAccount(ctx context.Context, t TestAccount) (v UserView, key string, created bool, err error) {
	t.Name, t.OAuthID = horde.Sanitize(t.Name), horde.Sanitize(t.OAuthID)
	switch {
	case t.Name == "", len([]rune(t.Name)) > MaxUserName, t.OAuthID == "", t.OAuthID == horde.AnonymousOAuthID, t.Kudos != nil && *t.Kudos < 0:
		return UserView{}, "", false, errTestAccount
	case e.Profane(t.Name):
		return UserView{}, "", false, errProfaneTestAccount
	}
	key = horde.NewKey()
	v, err = e.read(ctx, func() (*user, privilege, *horde.Error) {
		now := time.Now().UTC()
		u := e.byOAuth[t.OAuthID]
		if created = u == nil; created {
			u = e.register(NewUser{Name: t.Name, OAuthID: t.OAuthID}, key, now)
		} else {
			e.rekey(u, key)
			u.Name = t.Name
		}
		u.SetRole(horde.Moderator, t.Moderator)
		if !t.Moderator {
			u.SetRole(horde.Trusted, t.Trusted)
		}
		if t.Kudos != nil {
			if missing := *t.Kudos - e.book.Balance(u.ID).Spendable; missing != 0 {
				e.event(e.book.Grant(now, kudos.Admin, "admin:"+uuid.NewString(), u.ID, missing))
			}
		}
		e.afterRoles(u, &horde.UserChange{}, &UserChanged{}, now)
		e.open.user(u)
		e.open.balances[u.ID] = true
		return u, seesAll, nil
	})
	return v, key, created, err
}
