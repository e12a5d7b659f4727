// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"

	"horde/internal/api"
	"horde/internal/api/body"
	"horde/internal/engine"
	"horde/internal/horde"
)

type testUserInput struct {
	Body struct {
		Username  *string `json:"username"`
		OAuthID   *string `json:"oauth_id"`
		Moderator *bool   `json:"moderator"`
		Trusted   *bool   `json:"trusted"`
		// Kudos may be null, which leaves the balance, unlike absence, which has a default.
		Kudos body.Any `json:"kudos"`
	} `body:"optional"`
}

type testUser struct {
	APIKey    string `json:"api_key"`
	UserID    string `json:"user_id"`
	Username  string `json:"username"`
	Alias     string `json:"alias"`
	Kudos     int64  `json:"kudos"`
	Trusted   bool   `json:"trusted"`
	Moderator bool   `json:"moderator"`
	Created   bool   `json:"created"`
}

// RegisterTestUsers adds the operation by which integration tests on this machine make themselves accounts, moderators
// too. It is for servers that are nothing but a test.
func RegisterTestUsers(r *api.Router, e *engine.Engine) {
	a := &API{engine: e}
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/dev/test-user", ID: "post_test_user", Summary: "Make or change an account for tests.",
		Success: []int{http.StatusOK, http.StatusCreated}, Also: []int{403}, Published: api.Published{Ours: true},
	}, a.testUser)
}

const (
	testKudos    = 10_000                // unless the call says otherwise
	maxTestKudos = 1_000_000_000_000_000 // keeps sums far from where integers end
)

var errNotHere = &horde.Error{RC: "Forbidden", Status: http.StatusForbidden, Message: "Forbidden"}

func (a *API) testUser(ctx context.Context, c *api.Call[testUserInput]) (int, *testUser, error) {
	// The peer of the socket counts: what a proxy says of where a call came from is no proof.
	peer, err := netip.ParseAddrPort(c.Request.RemoteAddr)
	if at := peer.Addr().Unmap(); err != nil || at != netip.AddrFrom4([4]byte{127, 0, 0, 1}) && at != netip.IPv6Loopback() {
		return 0, nil, errNotHere
	}
	in := &c.In.Body
	t := engine.TestAccount{Name: "test_user", OAuthID: "ci_test_user", Moderator: true, Trusted: true}
	if in.Username != nil {
		t.Name = *in.Username
	}
	if in.OAuthID != nil {
		t.OAuthID = *in.OAuthID
	}
	if in.Moderator != nil {
		t.Moderator = *in.Moderator
	}
	if in.Trusted != nil {
		t.Trusted = *in.Trusted
	}
	whole := new(int64)
	*whole = testKudos
	if in.Kudos != nil {
		if err := json.Unmarshal(in.Kudos, &whole); err != nil || whole != nil && (*whole < 0 || *whole > maxTestKudos) {
			return 0, nil, horde.Invalid(map[string]string{"kudos": "want a whole number that is not negative, or null"})
		}
	}
	if whole != nil {
		amount := horde.Kudos(*whole) * 100
		t.Kudos = &amount
	}
	v, key, created, err := a.engine.SetTestAccount(ctx, t)
	if err != nil {
		return 0, nil, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return status, &testUser{
		APIKey: key, UserID: v.User.ID.String(), Username: v.User.Alias(), Alias: v.User.Name, Kudos: v.Balance.Spendable.Whole(),
		Trusted: v.User.Has(horde.Trusted), Moderator: v.User.Has(horde.Moderator), Created: created,
	}, nil
}
