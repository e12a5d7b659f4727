// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"slices"

	"horde/internal/horde"
)

// style is a style in memory.
type style struct {
	horde.Style
	changed
	// Earlier are the uses from before they had a document of their own, and counted those since; nil for none.
	Earlier int64 `json:"uses,omitempty"`
	counted *use
	// applied is what a request needs of the style, made when the style is made, changed or loaded.
	applied appliedSettings
}

// styleIndex are the styles and collections, by all that they are looked up by: requests name them. Names are compared as they are
// kept, which is sanitised.
type styleIndex struct {
	styles            map[horde.StyleID]*style
	stylesNamed       map[string][]*style
	stylesOf          map[horde.UserID]map[string]*style // by owner and name
	collections       map[horde.CollectionID]*collection
	collectionsNamed  map[string][]*collection
	collectionsOf     map[horde.UserID]map[string]*collection
	collectionsHaving map[horde.StyleID]map[*collection]struct{}
	stylesHaving      map[horde.SharedKeyID]map[*style]struct{}
	// shelves and shelvesOfCollections have what is public, in the orders of lists.
	shelves              map[shelfKey]*shelf[*style]
	shelvesOfCollections map[horde.Kind]*shelf[*collection]
	// uses are those of the record, by the id of what was used, until restoreUses.
	uses map[string]*use
}

func newStyleIndex() styleIndex {
	return styleIndex{
		styles: map[horde.StyleID]*style{}, stylesNamed: map[string][]*style{}, stylesOf: map[horde.UserID]map[string]*style{},
		collections: map[horde.CollectionID]*collection{}, collectionsNamed: map[string][]*collection{},
		collectionsOf:     map[horde.UserID]map[string]*collection{},
		collectionsHaving: map[horde.StyleID]map[*collection]struct{}{},
		stylesHaving:      map[horde.SharedKeyID]map[*style]struct{}{},
		shelves:           map[shelfKey]*shelf[*style]{},
		shelvesOfCollections: map[horde.Kind]*shelf[*collection]{
			everyKind: newShelf[*collection](), horde.Image: newShelf[*collection](), horde.Text: newShelf[*collection](),
		},
		uses: map[string]*use{},
	}
}

// addStyle puts a style into the memory.
func (s *styleIndex) addStyle(t *style) {
	t.applied = settingsOf(&t.Style)
	s.styles[t.ID] = t
	s.stylesNamed[t.Name] = append(s.stylesNamed[t.Name], t)
	if s.stylesOf[t.Owner] == nil {
		s.stylesOf[t.Owner] = map[string]*style{}
	}
	s.stylesOf[t.Owner][t.Name] = t
	s.shelve(t)
	if k := t.SharedKey; k != (horde.SharedKeyID{}) {
		if s.stylesHaving[k] == nil {
			s.stylesHaving[k] = map[*style]struct{}{}
		}
		s.stylesHaving[k][t] = struct{}{}
	}
}

func (s *styleIndex) removeStyle(t *style) {
	s.unshelve(t)
	delete(s.styles, t.ID)
	s.stylesNamed[t.Name] = without(s.stylesNamed[t.Name], t)
	if len(s.stylesNamed[t.Name]) == 0 {
		delete(s.stylesNamed, t.Name)
	}
	delete(s.stylesOf[t.Owner], t.Name)
	if len(s.stylesOf[t.Owner]) == 0 {
		delete(s.stylesOf, t.Owner)
	}
	delete(s.stylesHaving[t.SharedKey], t)
	if len(s.stylesHaving[t.SharedKey]) == 0 {
		delete(s.stylesHaving, t.SharedKey)
	}
}

func without[T comparable](list []T, x T) []T {
	return slices.DeleteFunc(list, func(y T) bool { return x == y })
}

// StyleView is a style as it is shown.
type StyleView struct {
	horde.Style
	Creator string // the owner's alias
	// Own tells that the owner looks.
	Own bool
	// Key is the shared key that pays for requests with the style, for the owner, else nil.
	Key *SharedKeyView
}

// StyleFilter is what of the public styles of a kind is listed.
type StyleFilter struct {
	Kind       horde.Kind
	Sort       string // popular: the most used first; age: the oldest first
	Page       int    // from 1
	Tag, Model string // exact; empty for any
}

func (e *Engine) viewStyle(t *style) StyleView {
	v := StyleView{Style: t.Style}
	// Lists are replaced, not changed in place, but for the examples.
	v.Examples = slices.Clone(t.Examples)
	if u := e.users[t.Owner]; u != nil {
		v.Creator = u.Alias()
	}
	return v
}

// Styles lists a page of the public styles of a kind.
func (e *Engine) Styles(ctx context.Context, f StyleFilter) ([]StyleView, error) {
	if refusal := listing(f.Sort, f.Page); refusal != nil {
		return nil, refusal
	}
	views := []StyleView{}
	var waits []*batch
	if err := e.do(func() {
		for _, t := range e.listed(f) {
			views, waits = append(views, e.viewStyle(t)), append(waits, e.pending(&t.changed))
		}
	}); err != nil {
		return nil, err
	}
	if err := e.durable(ctx, waits...); err != nil {
		return nil, unavailable(err)
	}
	return views, nil
}

// listed are the styles of a page. Of a tag and a model, whichever fewer styles have is looked through for the other.
func (s *styleIndex) listed(f StyleFilter) []*style {
	from, fits := s.shelves[shelfKey{f.Kind, f.Tag, ""}], (func(*style) bool)(nil)
	if f.Model != "" {
		model := s.shelves[shelfKey{f.Kind, "", f.Model}]
		switch {
		case f.Tag == "" || model == nil:
			from = model
		case from == nil:
		case model.aged.Len() < from.aged.Len():
			from, fits = model, func(t *style) bool { return slices.Contains(t.Tags, f.Tag) }
		default:
			fits = func(t *style) bool { return slices.Contains(t.Models, f.Model) }
		}
	}
	if from == nil {
		return nil
	}
	return from.page(f.Sort, f.Page, fits)
}

// styleByID finds a style; nil is none.
func (s *styleIndex) styleByID(text string) *style {
	id, ok := horde.ParseStyleID(text)
	if !ok {
		return nil
	}
	return s.styles[id]
}

// names are the forms in which a name may be kept.
func names(r horde.StyleReference) []string {
	if clean := horde.Sanitize(r.Name); clean != r.Name {
		return []string{r.Name, clean}
	}
	return []string{r.Name}
}

// styleByName finds the style that a name means. Of several it is one of the wanted kind before others, then the most used.
func (s *styleIndex) styleByName(r horde.StyleReference, kind horde.Kind) *style {
	if !r.Styles || r.Owned && !r.Known {
		return nil
	}
	var best *style
	for _, name := range names(r) {
		for _, t := range s.stylesNamed[name] {
			switch {
			case r.Owned && t.Owner != r.Owner:
			case best == nil, (t.Kind == kind) != (best.Kind == kind) && t.Kind == kind, (t.Kind == kind) == (best.Kind == kind) && byUse(t.used(), best.used()) < 0:
				best = t
			}
		}
	}
	return best
}

// Style shows the style with an id: StyleGetMistmatch for one of the other kind. key may be empty; an owner's shows more.
func (e *Engine) Style(ctx context.Context, key string, kind horde.Kind, id string) (StyleView, error) {
	missing := horde.ErrTextStyleNotFound
	if kind == horde.Image {
		missing = horde.ErrImageStyleNotFound
	}
	return e.showStyle(ctx, key, kind, missing, func() *style { return e.styleByID(id) })
}

// StyleByName shows the style that a name means.
func (e *Engine) StyleByName(ctx context.Context, key string, kind horde.Kind, name string) (StyleView, error) {
	return e.showStyle(ctx, key, kind, horde.ErrStyleNotFound, func() *style {
		return e.styleByName(horde.ParseStyleReference(name), kind)
	})
}

func (e *Engine) showStyle(ctx context.Context, key string, kind horde.Kind, missing *horde.Error, find func() *style) (StyleView, error) {
	return change(ctx, e, func() (StyleView, *batch, *horde.Error) {
		switch t := find(); {
		case t == nil:
			return StyleView{}, nil, missing
		case t.Kind != kind:
			return StyleView{}, nil, horde.ErrStyleKind
		default:
			v := e.viewStyle(t)
			if u, err := e.userOf(key); err == nil {
				v.Own = u.ID == t.Owner && u.ID != horde.Anonymous
			}
			if k := e.sharedKeys[t.SharedKey]; k != nil && v.Own {
				view := e.viewSharedKey(k)
				v.Key = &view
			}
			return v, e.pending(&t.changed), nil
		}
	})
}

// StyleName names a style of an account.
type StyleName struct {
	ID   horde.StyleID
	Name string // the unique one
	Kind horde.Kind
}

// namesOfStyles are the styles of an account, the oldest first: the public ones or all.
func (e *Engine) namesOfStyles(u *user, all bool) []StyleName {
	var own []*style
	for _, t := range e.stylesOf[u.ID] {
		if t.Public || all {
			own = append(own, t)
		}
	}
	slices.SortFunc(own, func(a, b *style) int { return byAge(a.used(), b.used()) })
	list := make([]StyleName, len(own))
	for i, t := range own {
		list[i] = StyleName{t.ID, t.UniqueName(u.Alias()), t.Kind}
	}
	return list
}
