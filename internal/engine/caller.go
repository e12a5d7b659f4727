// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"net/netip"
	"slices"

	"horde/internal/horde"
)

// Caller is who makes a submission, as far as the connection tells.
type Caller struct {
	// Key is the API key that was sent, empty for none.
	Key string
	// Addr is where the caller is: the address of the connection or, with Proxied, the one that a service vouched for.
	Addr    netip.Addr
	Proxied bool
	// Peer is the address of the connection, which is a service's where the caller is proxied.
	Peer netip.Addr
	// Agent is the Client-Agent.
	Agent string
}

// userOf finds the account that a key opens.
func (e *Engine) userOf(key string) (*user, *horde.Error) {
	if key == "" || e.NoAnonymous && key == horde.AnonymousKey {
		return nil, horde.ErrInvalidAPIKey
	}
	u := e.byKey[horde.HashKey(e.settings.KeySalt, key)]
	if u == nil {
		return nil, horde.ErrInvalidAPIKey
	}
	return u, nil
}

// IsPasskey tells whether a passkey is that of a service that may speak for the addresses of its users.
func (e *Engine) IsPasskey(passkey string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	u := e.services[horde.HashKey(e.settings.KeySalt, passkey)]
	return u != nil && u.Has(horde.Service) && u.Roles&(horde.Flagged|horde.Deleted) == 0
}

// privilege is how much of an account a caller may see.
type privilege int

const (
	seesPublic privilege = iota
	seesOwn
	seesAll
)

// privilegeOf tells what the owner of key may see of u. An empty key sees what everybody does.
func (e *Engine) privilegeOf(key string, u *user) (privilege, *horde.Error) {
	if key == "" {
		return seesPublic, nil
	}
	caller, err := e.userOf(key)
	switch {
	case err != nil:
		return seesPublic, err
	case caller.Has(horde.Moderator):
		return seesAll, nil
	case caller == u:
		return seesOwn, nil
	}
	return seesPublic, nil
}

func (e *Engine) isAdmin(u *user) bool { return slices.Contains(e.Admins, u.ID) }
