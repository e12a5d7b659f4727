// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"net/http"

	"horde/internal/horde"
)

// ErrSignUpClosed refuses strangers in raid mode. It does not name the mode, which only moderators may know.
var ErrSignUpClosed = &horde.Error{
	Status: http.StatusForbidden, Message: "New accounts cannot be made without a login at the moment. Please try again later.",
}

// SignUp is what the public form does: it makes an account without a login for somebody of whom nothing is known, and
// returns it with its key. It refuses what Register refuses and, in raid mode, everybody.
func (e *Engine) SignUp(ctx context.Context, name string) (UserView, string, error) {
	closed := false
	if err := e.do(func() { closed = e.settings.RaidMode }); err != nil {
		return UserView{}, "", err
	}
	if closed {
		return UserView{}, "", ErrSignUpClosed
	}
	return e.Register(ctx, NewUser{Name: name})
}
