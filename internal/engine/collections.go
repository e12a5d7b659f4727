// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"maps"
	"slices"
	"time"

	"horde/internal/horde"
)

// collection is a collection in memory.
type collection struct {
	horde.Collection
	changed
	// Earlier and counted are as those of a style.
	Earlier int64 `json:"uses,omitempty"`
	counted *use
}

// CollectionView is a collection as everybody may see it.
type CollectionView struct {
	horde.Collection
	Creator string // the owner's alias
	Members []StyleName
}

// addCollection puts a collection into the memory.
func (s *styleIndex) addCollection(c *collection) {
	s.collections[c.ID] = c
	s.collectionsNamed[c.Name] = append(s.collectionsNamed[c.Name], c)
	if s.collectionsOf[c.Owner] == nil {
		s.collectionsOf[c.Owner] = map[string]*collection{}
	}
	s.collectionsOf[c.Owner][c.Name] = c
	for _, shelf := range s.collectionShelves(c) {
		shelf.put(c)
	}
	for _, id := range c.Styles {
		if s.collectionsHaving[id] == nil {
			s.collectionsHaving[id] = map[*collection]struct{}{}
		}
		s.collectionsHaving[id][c] = struct{}{}
	}
}

func (s *styleIndex) removeCollection(c *collection) {
	for _, shelf := range s.collectionShelves(c) {
		shelf.take(c)
	}
	delete(s.collections, c.ID)
	s.collectionsNamed[c.Name] = without(s.collectionsNamed[c.Name], c)
	if len(s.collectionsNamed[c.Name]) == 0 {
		delete(s.collectionsNamed, c.Name)
	}
	delete(s.collectionsOf[c.Owner], c.Name)
	if len(s.collectionsOf[c.Owner]) == 0 {
		delete(s.collectionsOf, c.Owner)
	}
	for _, id := range c.Styles {
		delete(s.collectionsHaving[id], c)
		if len(s.collectionsHaving[id]) == 0 {
			delete(s.collectionsHaving, id)
		}
	}
}

func (s *styleIndex) collectionByID(text string) *collection {
	id, ok := horde.ParseCollectionID(text)
	if !ok {
		return nil
	}
	return s.collections[id]
}

// collectionByName is styleByName for collections.
func (s *styleIndex) collectionByName(r horde.StyleReference, kind horde.Kind) *collection {
	if !r.Collections || r.Owned && !r.Known {
		return nil
	}
	var best *collection
	for _, name := range names(r) {
		for _, c := range s.collectionsNamed[name] {
			switch {
			case r.Owned && c.Owner != r.Owner:
			case best == nil, (c.Kind == kind) != (best.Kind == kind) && c.Kind == kind, (c.Kind == kind) == (best.Kind == kind) && byUse(c.used(), best.used()) < 0:
				best = c
			}
		}
	}
	return best
}

func (e *Engine) keepCollection(c *collection) {
	e.open.document(collectionDocument, c.ID.String(), c)
}

func (e *Engine) viewCollection(c *collection) CollectionView {
	v := CollectionView{Collection: c.Collection, Members: make([]StyleName, 0, len(c.Styles))}
	if u := e.users[c.Owner]; u != nil {
		v.Creator = u.Alias()
	}
	for _, id := range c.Styles {
		t := e.styles[id]
		if t == nil {
			continue
		}
		alias := ""
		if owner := e.users[t.Owner]; owner != nil {
			alias = owner.Alias()
		}
		v.Members = append(v.Members, StyleName{t.ID, t.UniqueName(alias), t.Kind})
	}
	return v
}

// Collections lists a page of the public collections of a kind, or of both for "all". For sort and page see StyleFilter.
func (e *Engine) Collections(ctx context.Context, kind, sort string, page int) ([]CollectionView, error) {
	of := map[string]horde.Kind{"all": everyKind, horde.Image.String(): horde.Image, horde.Text.String(): horde.Text}
	if refusal := listing(sort, page); refusal != nil {
		return nil, refusal
	} else if _, known := of[kind]; !known {
		return nil, horde.ErrCollectionType
	}
	views := []CollectionView{}
	var waits []*batch
	if err := e.do(func() {
		for _, c := range e.shelvesOfCollections[of[kind]].page(sort, page, nil) {
			views, waits = append(views, e.viewCollection(c)), append(waits, e.pending(&c.changed))
		}
	}); err != nil {
		return nil, err
	}
	if err := e.durable(ctx, waits...); err != nil {
		return nil, unavailable(err)
	}
	return views, nil
}

// Collection shows the collection with an id.
func (e *Engine) Collection(ctx context.Context, id string) (CollectionView, error) {
	return e.showCollection(ctx, func() *collection { return e.collectionByID(id) })
}

// CollectionByName shows the collection that a name means.
func (e *Engine) CollectionByName(ctx context.Context, name string) (CollectionView, error) {
	return e.showCollection(ctx, func() *collection { return e.collectionByName(horde.ParseStyleReference(name), horde.Image) })
}

func (e *Engine) showCollection(ctx context.Context, find func() *collection) (CollectionView, error) {
	return change(ctx, e, func() (CollectionView, *batch, *horde.Error) {
		c := find()
		if c == nil {
			return CollectionView{}, nil, horde.ErrCollectionNotFound
		}
		return e.viewCollection(c), e.pending(&c.changed), nil
	})
}

// members finds the styles that a collection is to have. kind is that of the collection, and zero for a new one, whose first style
// decides.
func (e *Engine) members(list []string, kind horde.Kind) ([]horde.StyleID, horde.Kind, *horde.Error) {
	var ids []horde.StyleID
	seen := map[horde.StyleID]bool{}
	for _, text := range list {
		t := e.styleByID(text)
		if t == nil {
			t = e.styleByName(horde.ParseStyleReference(text), kind)
		}
		switch {
		case t == nil:
			return nil, kind, horde.ErrCollectionMember.Withf("There is no style %.100q.", text)
		case kind == 0:
			kind = t.Kind
		case t.Kind != kind:
			return nil, kind, horde.ErrStyleMismatch.Withf("The style %.100q is not of the kind %s.", text, kind)
		}
		if !seen[t.ID] {
			seen[t.ID] = true
			ids = append(ids, t.ID)
		}
		if len(ids) > horde.MaxCollectionStyles {
			return nil, kind, horde.ErrCollectionSize
		}
	}
	return ids, kind, nil
}

// CreateCollection makes a collection.
func (e *Engine) CreateCollection(ctx context.Context, key string, in *horde.CollectionChange) (string, error) {
	if len(in.Styles) == 0 {
		return "", horde.ErrCollectionEmpty
	}
	return change(ctx, e, func() (string, *batch, *horde.Error) {
		u, err := e.userOf(key)
		switch {
		case err != nil:
			return "", nil, err
		case u.Has(horde.Deleted):
			return "", nil, horde.ErrDeletedUser
		case u.ID == horde.Anonymous:
			return "", nil, horde.ErrStylesAnonForbidden
		case e.full(len(e.collectionsOf[u.ID])):
			return "", nil, horde.ErrTooManyStyles.Withf("This account may have %d collections.", e.StylesPerAccount)
		}
		ids, kind, err := e.members(in.Styles, 0)
		if err != nil {
			return "", nil, err
		}
		now := time.Now().UTC()
		c := &collection{Collection: horde.Collection{
			ID: horde.NewCollectionID(), Kind: kind, Owner: u.ID, Public: in.Public == nil || *in.Public, Styles: ids, Created: now, Updated: now,
		}}
		if c.Name, c.Info, err = e.nameCollection(u, nil, str(in.Name), str(in.Info)); err != nil {
			return "", nil, err
		}
		e.addCollection(c)
		e.keepCollection(c)
		return c.ID.String(), e.open, nil
	})
}

// nameCollection sanitises what a collection of u is to be called. own is the collection itself, nil for a new one.
func (e *Engine) nameCollection(u *user, own *collection, name, info string) (string, string, *horde.Error) {
	if e.Profane(name) || e.Profane(info) {
		return "", "", horde.ErrProfaneStyle
	}
	name, info = horde.Sanitize(name), horde.Sanitize(info)
	if horde.Blank(name) {
		return "", "", blankName("name")
	}
	if other := e.collectionsOf[u.ID][name]; other != nil && other != own {
		return "", "", horde.ErrCollectionNameTaken
	}
	return name, info, nil
}

// ChangeCollection changes what is given of a collection, for its owner. It tells whether anything was to be changed.
func (e *Engine) ChangeCollection(ctx context.Context, key, id string, in *horde.CollectionChange) (StyleChanged, error) {
	return change(ctx, e, func() (StyleChanged, *batch, *horde.Error) {
		u, err := e.userOf(key)
		if err != nil {
			return StyleChanged{}, nil, err
		}
		c := e.collectionByID(id)
		switch {
		case c == nil:
			return StyleChanged{}, nil, horde.ErrCollectionNotFound
		case u.ID != c.Owner || u.ID == horde.Anonymous:
			return StyleChanged{}, nil, horde.ErrCollectionForbidden
		case in.Styles != nil && len(in.Styles) == 0:
			return StyleChanged{}, nil, horde.ErrCollectionEmpty
		case in.Name == nil && in.Info == nil && in.Public == nil && in.Styles == nil:
			return StyleChanged{ID: c.ID.String()}, e.pending(&c.changed), nil
		}
		next := c.Collection
		if in.Styles != nil {
			if next.Styles, _, err = e.members(in.Styles, c.Kind); err != nil {
				return StyleChanged{}, nil, err
			}
		}
		name, info := c.Name, c.Info
		if in.Name != nil {
			name = *in.Name
		}
		if in.Info != nil {
			info = *in.Info
		}
		if next.Name, next.Info, err = e.nameCollection(u, c, name, info); err != nil {
			return StyleChanged{}, nil, err
		}
		if in.Public != nil {
			next.Public = *in.Public
		}
		next.Updated = time.Now().UTC()
		e.removeCollection(c)
		c.Collection = next
		e.addCollection(c)
		e.keepCollection(c)
		return StyleChanged{c.ID.String(), []horde.Warning{}}, e.open, nil
	})
}

// DeleteCollection removes a collection, for its owner and for moderators. Its styles stay.
func (e *Engine) DeleteCollection(ctx context.Context, key, id string) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		none := struct{}{}
		u, err := e.userOf(key)
		if err != nil {
			return none, nil, err
		}
		c := e.collectionByID(id)
		switch {
		case c == nil:
			return none, nil, horde.ErrCollectionNotFound
		case u.ID == horde.Anonymous || u.ID != c.Owner && !u.Has(horde.Moderator):
			return none, nil, horde.ErrCollectionForbidden
		}
		e.dropCollection(c)
		return none, e.open, nil
	})
	return err
}

func (e *Engine) dropCollection(c *collection) {
	e.removeCollection(c)
	e.open.forgetDocument(collectionDocument, c.ID.String())
	e.open.forgetUse(c.counted, c.ID.String())
}

// restoreCollections drops members that the record has no more.
func (s *styleIndex) restoreCollections() {
	for _, c := range slices.Collect(maps.Values(s.collections)) {
		s.removeCollection(c)
		c.Styles = slices.DeleteFunc(c.Styles, func(id horde.StyleID) bool { return s.styles[id] == nil })
		s.addCollection(c)
	}
}
