// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type sharedKeyCreateInput struct {
	api.Key
	Body horde.SharedKeyChange `body:"optional"`
}

type sharedKeyInput struct {
	APIKey string `header:"apikey" published:"-" doc:"The owner's own API key shows what the key is used for at the moment."`
	ID     string `path:"sharedkey_id"`
}

type sharedKeyChangeInput struct {
	api.Key
	ID   string                `path:"sharedkey_id"`
	Body horde.SharedKeyChange `body:"optional"`
}

type sharedKeyDeleteInput struct {
	api.Key
	ID string `path:"sharedkey_id"`
}

func (a *API) sharedKeys(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodPut, Path: prefix + "/sharedkeys", Limits: LimitsRate, ID: "put_shared_key",
		Summary: "Make a key with which others generate on your account.", Example: `{"name":"for the crew","kudos":500,"expiry":30}`,
		Links: []api.Link{
			{To: "get_shared_key_single", Argument: "sharedkey_id", Member: "id"}, {To: "patch_shared_key_single", Argument: "sharedkey_id", Member: "id"},
			{To: "delete_shared_key_single", Argument: "sharedkey_id", Member: "id"},
		},
		Refuses: []int{400, 401, 403, 404},
	}, a.createSharedKey)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/sharedkeys/{sharedkey_id}", Limits: api.DefaultLimits, ID: "get_shared_key_single",
		Summary: "What a shared key may, and what is left of it.", Refuses: []int{401, 404},
	}, a.sharedKey)
	api.Handle(r, api.Operation{
		Method: http.MethodPatch, Path: prefix + "/sharedkeys/{sharedkey_id}", Limits: api.DefaultLimits, ID: "patch_shared_key_single",
		Summary: "Change a shared key of yours. What is not given stays.", Example: `{"kudos":1000}`,
		Refuses: []int{400, 401, 403, 404},
	}, a.changeSharedKey)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/sharedkeys/{sharedkey_id}", Limits: api.DefaultLimits, ID: "delete_shared_key_single",
		Summary: "Remove a shared key of yours.", Refuses: []int{404}, Also: []int{401, 403},
	}, a.deleteSharedKey)
}

// sharedKeyDetails is a shared key, as everybody sees it who knows it. Parts of a kudos are not shown.
type sharedKeyDetails struct {
	ID             string `json:"id"`
	Username       string `json:"username"`
	Name           string `json:"name,omitempty"`
	Kudos          int64  `json:"kudos"`
	Expiry         string `json:"expiry,omitempty" published:"format=date-time"`
	Utilized       int64  `json:"utilized"`
	MaxImagePixels int64  `json:"max_image_pixels"`
	MaxImageSteps  int64  `json:"max_image_steps"`
	MaxTextTokens  int64  `json:"max_text_tokens"`
	// ActiveUsage is shown to the owner, and in no list.
	ActiveUsage *sharedKeyUsage `json:"active_usage,omitempty" published:"-" doc:"What the key is used for at the moment. Shown to its owner."`
}

// sharedKeyUsage is what a shared key is used for.
type sharedKeyUsage struct {
	Image engine.ActiveUsage `json:"image"`
	Text  engine.ActiveUsage `json:"text"`
}

func detailedSharedKey(v engine.SharedKeyView) sharedKeyDetails {
	d := sharedKeyDetails{
		ID: v.ID.String(), Username: v.OwnerAlias, Name: v.Name, Kudos: int64(v.Budget / 100), Utilized: int64(v.Utilized / 100),
		MaxImagePixels: v.MaxImagePixels, MaxImageSteps: v.MaxImageSteps, MaxTextTokens: v.MaxTextTokens,
	}
	if v.Unlimited {
		d.Kudos = horde.Unlimited
	}
	if !v.Expiry.IsZero() {
		d.Expiry = date(v.Expiry)
	}
	if v.Usage != nil {
		d.ActiveUsage = &sharedKeyUsage{v.Usage[horde.Image], v.Usage[horde.Text]}
	}
	return d
}

func shownSharedKey(v engine.SharedKeyView, err error) (int, *sharedKeyDetails, error) {
	if err != nil {
		return 0, nil, err
	}
	out := detailedSharedKey(v)
	return http.StatusOK, &out, nil
}

func (a *API) createSharedKey(ctx context.Context, c *api.Call[sharedKeyCreateInput]) (int, *sharedKeyDetails, error) {
	return shownSharedKey(a.engine.CreateSharedKey(ctx, c.In.APIKey, &c.In.Body))
}

func (a *API) sharedKey(ctx context.Context, c *api.Call[sharedKeyInput]) (int, *sharedKeyDetails, error) {
	return shownSharedKey(a.engine.SharedKey(ctx, c.In.APIKey, c.In.ID))
}

func (a *API) changeSharedKey(ctx context.Context, c *api.Call[sharedKeyChangeInput]) (int, *sharedKeyDetails, error) {
	return shownSharedKey(a.engine.ChangeSharedKey(ctx, c.In.APIKey, c.In.ID, &c.In.Body))
}

func (a *API) deleteSharedKey(ctx context.Context, c *api.Call[sharedKeyDeleteInput]) (int, *done, error) {
	return removed(a.engine.DeleteSharedKey(ctx, c.In.APIKey, c.In.ID))
}
