// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type collectionsInput struct {
	Sort string `query:"sort" default:"popular" doc:"popular, or age for the oldest first."`
	Page *int   `query:"page" default:"1" doc:"Pages have 25 collections and are counted from 1."`
	Type string `query:"type" default:"all" doc:"image, text or all."`
}

type collectionInput struct {
	ID string `path:"collection_id"`
}

type collectionByNameInput struct {
	Name string `path:"collection_name"`
}

type collectionDeleteInput struct {
	api.Key
	ID string `path:"collection_id"`
}

type collectionPost struct {
	api.Key
	Body newCollection
}

type collectionPatch struct {
	api.Key
	ID   string `path:"collection_id"`
	Body inputModelCollection
}

type inputModelCollection struct {
	Name   *string  `json:"name" minLength:"1" maxLength:"100"`
	Info   *string  `json:"info" minLength:"1" maxLength:"1000"`
	Public *bool    `json:"public" default:"true" doc:"Whether the collection is listed."`
	Styles []string `json:"styles" minLength:"1" doc:"Ids or names of styles, all for images or all for texts."`
}

// newCollection is inputModelCollection where a collection needs all that it cannot be without.
type newCollection struct {
	Name   *string  `json:"name" required:"true" minLength:"1" maxLength:"100" published:"required=false"`
	Info   *string  `json:"info" minLength:"1" maxLength:"1000"`
	Public *bool    `json:"public" default:"true" doc:"Whether the collection is listed."`
	Styles []string `json:"styles" required:"true" minLength:"1" doc:"Ids or names of styles, all for images or all for texts." published:"required=false"`
}

type responseModelCollection struct {
	ID       string       `json:"id"`
	Name     string       `json:"name" published:"minLength=1,maxLength=100"`
	Type     string       `json:"type" enum:"image,text"`
	Info     *string      `json:"info" published:"minLength=1,maxLength=1000"`
	Public   bool         `json:"public" default:"true"`
	Styles   []styleShort `json:"styles"`
	UseCount int64        `json:"use_count"`
	Creator  string       `json:"creator" published:"-" doc:"The alias of who made it."`
}

func (a *API) collections(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/collections", Limits: LimitsStyles, ID: "get_collection",
		Summary: "The collections of styles that are listed.", Also: []int{400},
	}, a.listCollections)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/collections", Limits: LimitsStyles, ID: "post_collection",
		Summary: "Make a collection of styles. A request that names it gets one of them.",
		Example: `{"name":"Weather","info":"All kinds of it","styles":["Storm"]}`,
		Links: []api.Link{
			{To: "get_single_collection", Argument: "collection_id", Member: "id"}, {To: "patch_single_collection", Argument: "collection_id", Member: "id"},
			{To: "delete_single_collection", Argument: "collection_id", Member: "id"},
		},
		Refuses: []int{400, 401}, Validates: true, Also: []int{403},
	}, a.createCollection)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/collections/{collection_id}", Limits: LimitsStyles, ID: "get_single_collection",
		Summary: "One collection.", Also: []int{404},
	}, func(ctx context.Context, c *api.Call[collectionInput]) (int, *responseModelCollection, error) {
		return shownCollection(a.engine.Collection(ctx, c.In.ID))
	})
	api.Handle(r, api.Operation{
		Method: http.MethodPatch, Path: prefix + "/collections/{collection_id}", Limits: LimitsStyles, ID: "patch_single_collection",
		Summary: "Change a collection of yours. What is not given stays.", Example: `{"info":"Fair and foul"}`,
		Refuses: []int{400, 401}, Validates: true, Also: []int{403, 404},
	}, a.changeCollection)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/collections/{collection_id}", Limits: LimitsStyles, ID: "delete_single_collection",
		Summary: "Remove a collection of yours. Its styles stay.", Refuses: []int{400, 401}, Validates: true, Also: []int{403, 404},
	}, func(ctx context.Context, c *api.Call[collectionDeleteInput]) (int, *done, error) {
		return removed(a.engine.DeleteCollection(ctx, c.In.APIKey, c.In.ID))
	})
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/collection_by_name/{collection_name}", Limits: api.DefaultLimits,
		ID: "get_single_collection_by_name", Summary: "The collection that a name means.", Also: []int{404},
	}, func(ctx context.Context, c *api.Call[collectionByNameInput]) (int, *responseModelCollection, error) {
		return shownCollection(a.engine.CollectionByName(ctx, c.In.Name))
	})
}

func collectionOf(v engine.CollectionView) responseModelCollection {
	out := responseModelCollection{
		ID: v.ID.String(), Name: v.Name, Type: v.Kind.String(), Info: present(v.Info), Public: v.Public, UseCount: v.Uses,
		Creator: v.Creator, Styles: make([]styleShort, len(v.Members)),
	}
	for i, m := range v.Members {
		out.Styles[i] = styleShort{m.Name, m.ID.String()}
	}
	return out
}

func shownCollection(v engine.CollectionView, err error) (int, *responseModelCollection, error) {
	if err != nil {
		return 0, nil, err
	}
	out := collectionOf(v)
	return http.StatusOK, &out, nil
}

func (a *API) listCollections(ctx context.Context, c *api.Call[collectionsInput]) (int, []responseModelCollection, error) {
	kind := c.In.Type
	if kind == "" {
		kind = "all"
	}
	sort, page := sorted(c.In.Sort, c.In.Page)
	views, err := a.engine.Collections(ctx, kind, sort, page)
	if err != nil {
		return 0, nil, err
	}
	out := make([]responseModelCollection, len(views))
	for i, v := range views {
		out[i] = collectionOf(v)
	}
	return http.StatusOK, out, nil
}

func (a *API) createCollection(ctx context.Context, c *api.Call[collectionPost]) (int, *styleModify, error) {
	if c.NUL {
		return 0, nil, horde.ErrNulByte
	}
	in := inputModelCollection(c.In.Body)
	id, err := a.engine.CreateCollection(ctx, c.In.APIKey, collectionChange(&in))
	return modified(engine.StyleChanged{ID: id, Warnings: []horde.Warning{}}, err)
}

func collectionChange(in *inputModelCollection) *horde.CollectionChange {
	return &horde.CollectionChange{Name: in.Name, Info: in.Info, Public: in.Public, Styles: in.Styles}
}

func (a *API) changeCollection(ctx context.Context, c *api.Call[collectionPatch]) (int, *styleModify, error) {
	if c.NUL {
		return 0, nil, horde.ErrNulByte
	}
	return modified(a.engine.ChangeCollection(ctx, c.In.APIKey, c.In.ID, collectionChange(&c.In.Body)))
}
