// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"

	"horde/internal/api"
	"horde/internal/api/body"
	"horde/internal/engine"
	"horde/internal/horde"
)

// testUserInput has its members as they came, since a refusal of this operation is a message and nothing else, whatever is wrong.
type testUserInput struct {
	Body struct {
		Username  body.Any `json:"username" doc:"A text; test_user if not given."`
		OAuthID   body.Any `json:"oauth_id" doc:"A text, by which the account is found again; ci_test_user if not given."`
		Moderator body.Any `json:"moderator" doc:"A boolean; true if not given. Moderators are trusted, too."`
		Trusted   body.Any `json:"trusted" doc:"A boolean; true if not given. It counts where moderator is false."`
		Kudos     body.Any `json:"kudos" doc:"The balance, a whole number that is not negative, or null to leave it; 10000 if not given."`
	} `body:"optional"`
}

// testUser is the account as it is now. Username is its name, Alias the one that others call it by.
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

var errNotHere = &horde.Error{Status: http.StatusForbidden, Message: "This is for callers on the machine of the server."}

// member reads a member that was sent into v, which has the value of one that was not.
func member[T any](sent body.Any, name string, v *T) *horde.Error {
	if sent != nil && (bytes.Equal(sent, []byte("null")) || json.Unmarshal(sent, v) != nil) {
		return &horde.Error{Status: http.StatusBadRequest, Message: name + " is not of the right type."}
	}
	return nil
}

func (a *API) testUser(ctx context.Context, c *api.Call[testUserInput]) (int, *testUser, error) {
	// The peer of the socket counts: what a proxy says of where a call came from is no proof.
	peer, err := netip.ParseAddrPort(c.Request.RemoteAddr)
	if at := peer.Addr().Unmap(); err != nil || at != netip.AddrFrom4([4]byte{127, 0, 0, 1}) && at != netip.IPv6Loopback() {
		return 0, nil, errNotHere
	}
	in := &c.In.Body
	t := engine.TestAccount{Name: "test_user", OAuthID: "ci_test_user", Moderator: true, Trusted: true}
	whole := int64(testKudos)
	left := bytes.Equal(in.Kudos, []byte("null")) // the balance stays as it is
	if left {
		in.Kudos = nil
	}
	if err := cmp.Or(
		member(in.Username, "username", &t.Name), member(in.OAuthID, "oauth_id", &t.OAuthID),
		member(in.Moderator, "moderator", &t.Moderator), member(in.Trusted, "trusted", &t.Trusted), member(in.Kudos, "kudos", &whole),
	); err != nil {
		return 0, nil, err
	}
	if whole < 0 || whole > maxTestKudos {
		return 0, nil, &horde.Error{Status: http.StatusBadRequest, Message: "kudos is a whole number that is not negative."}
	}
	if !left {
		amount := horde.Kudos(whole) * 100
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
		APIKey: key, UserID: v.User.ID.String(), Username: v.User.Name, Alias: v.User.Alias(), Kudos: v.Balance.Spendable.Whole(),
		Trusted: v.User.Has(horde.Trusted), Moderator: v.User.Has(horde.Moderator), Created: created,
	}, nil
}
