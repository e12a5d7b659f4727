// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"horde/internal/horde"
)

// stylesPerPage is the length of a page of the list.
const stylesPerPage = 25

// maxStyleModel is where the name of a style's model is cut, in characters.
const maxStyleModel = 100

// style is a style in memory.
type style struct {
	horde.Style
	changed
}

// StyleView is a style as everybody may see it.
type StyleView struct {
	horde.Style
	Creator string // the owner's alias
}

// StyleFilter is what of the public styles of a kind is listed.
type StyleFilter struct {
	Kind       horde.Kind
	Sort       string // popular: the most used first; age: the oldest first
	Page       int    // from 1
	Tag, Model string // exact; empty for any
}

func (s *state) addStyle(t *style) { s.styles[t.ID] = t }

func (e *Engine) viewStyle(t *style) StyleView {
	v := StyleView{Style: t.Style}
	v.Tags, v.Models, v.Examples = slices.Clone(t.Tags), slices.Clone(t.Models), slices.Clone(t.Examples)
	if u := e.users[t.Owner]; u != nil {
		v.Creator = u.Alias()
	}
	return v
}

// byUse orders styles by how much they are used, the oldest first among equals.
func byUse(a, b *style) int { return cmp.Or(cmp.Compare(b.Uses, a.Uses), byAge(a, b)) }

func byAge(a, b *style) int {
	return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID.String(), b.ID.String()))
}

// Styles lists a page of the public styles of a kind.
func (e *Engine) Styles(ctx context.Context, f StyleFilter) ([]StyleView, error) {
	order := byUse
	switch {
	case f.Sort == "age":
		order = byAge
	case f.Sort != "popular":
		return nil, horde.ErrStyleSort
	}
	if f.Page < 1 {
		return nil, horde.ErrStylePage
	}
	views := []StyleView{}
	var waits []*batch
	if err := e.do(func() {
		var found []*style
		for _, t := range e.styles {
			if t.Public && t.Kind == f.Kind && (f.Tag == "" || slices.Contains(t.Tags, f.Tag)) &&
				(f.Model == "" || slices.Contains(t.Models, f.Model)) {
				found = append(found, t)
			}
		}
		slices.SortFunc(found, order)
		if pages := len(found)/stylesPerPage + 1; f.Page > pages {
			return
		}
		from := (f.Page - 1) * stylesPerPage
		for _, t := range found[from:min(from+stylesPerPage, len(found))] {
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

// styleByID finds a style; nil is none.
func (s *state) styleByID(text string) *style {
	id, ok := horde.ParseStyleID(text)
	if !ok {
		return nil
	}
	return s.styles[id]
}

// styleByName finds the style that a name means. Of several it is one of the wanted kind before others, then the most used.
func (s *state) styleByName(text string, kind horde.Kind) *style {
	r := horde.ParseStyleReference(text)
	if !r.Styles || r.Owned && !r.Known {
		return nil
	}
	clean := horde.Sanitize(r.Name)
	var best *style
	for _, t := range s.styles {
		switch {
		case t.Name != r.Name && t.Name != clean, r.Owned && t.Owner != r.Owner:
		case best == nil, (t.Kind == kind) != (best.Kind == kind) && t.Kind == kind, (t.Kind == kind) == (best.Kind == kind) && byUse(t, best) < 0:
			best = t
		}
	}
	return best
}

// Style shows the style with an id: StyleGetMistmatch for one of the other kind.
func (e *Engine) Style(ctx context.Context, kind horde.Kind, id string) (StyleView, error) {
	missing := horde.ErrTextStyleNotFound
	if kind == horde.Image {
		missing = horde.ErrImageStyleNotFound
	}
	return e.showStyle(ctx, kind, missing, func() *style { return e.styleByID(id) })
}

// StyleByName shows the style that a name means.
func (e *Engine) StyleByName(ctx context.Context, kind horde.Kind, name string) (StyleView, error) {
	return e.showStyle(ctx, kind, horde.ErrStyleNotFound, func() *style { return e.styleByName(name, kind) })
}

func (e *Engine) showStyle(ctx context.Context, kind horde.Kind, missing *horde.Error, find func() *style) (StyleView, error) {
	return change(ctx, e, func() (StyleView, *batch, *horde.Error) {
		switch t := find(); {
		case t == nil:
			return StyleView{}, nil, missing
		case t.Kind != kind:
			return StyleView{}, nil, horde.ErrStyleKind
		default:
			return e.viewStyle(t), e.pending(&t.changed), nil
		}
	})
}

// CreateStyle makes a style of what in holds; its id, owner and times are given here. The caller must be a customizer or trusted.
func (e *Engine) CreateStyle(ctx context.Context, key string, in horde.Style) (StyleView, error) {
	switch {
	case len(in.Models) == 0 || len(in.Models) > horde.MaxStyleModels:
		return StyleView{}, horde.ErrStyleModels
	case len(in.Tags) > horde.MaxStyleTags:
		return StyleView{}, horde.ErrStyleTags
	}
	return change(ctx, e, func() (StyleView, *batch, *horde.Error) {
		u, err := e.userOf(key)
		switch {
		case err != nil:
			return StyleView{}, nil, err
		case !u.Has(horde.Customizer) && !u.Has(horde.Trusted):
			return StyleView{}, nil, horde.ErrStylesCustomizer
		case u.ID == horde.Anonymous:
			return StyleView{}, nil, horde.ErrStylesAnonForbidden
		}
		if err := e.cleanStyle(&in); err != nil {
			return StyleView{}, nil, err
		}
		if u.Has(horde.Deleted) {
			return StyleView{}, nil, horde.ErrDeletedUser
		}
		for _, t := range e.styles {
			if t.Owner == u.ID && t.Name == in.Name {
				return StyleView{}, nil, horde.ErrStyleNameTaken
			}
		}
		if err := horde.CheckStylePrompt(in.Kind, in.Prompt); err != nil {
			return StyleView{}, nil, err
		}
		now := time.Now().UTC()
		in.ID, in.Owner, in.Created, in.Updated = horde.NewStyleID(), u.ID, now, now
		t := &style{Style: in}
		e.addStyle(t)
		e.open.document(styleDocument, t.ID.String(), t)
		return e.viewStyle(t), e.open, nil
	})
}

// cleanStyle sanitises the texts of a style, and makes sets of its tags and models.
func (e *Engine) cleanStyle(t *horde.Style) *horde.Error {
	profane := e.Profane(t.Name) || e.Profane(t.Info)
	clean := func(list []string, limit int) []string {
		out := make([]string, 0, len(list))
		for _, text := range list {
			profane = profane || e.Profane(text)
			text = horde.Sanitize(text)
			if r := []rune(text); limit > 0 && len(r) > limit {
				text = string(r[:limit])
			}
			if !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
		return out
	}
	t.Name, t.Info = horde.Sanitize(t.Name), horde.Sanitize(t.Info)
	t.Tags, t.Models = clean(t.Tags, 0), clean(t.Models, maxStyleModel)
	if profane {
		return horde.ErrProfaneStyle
	}
	return nil
}

// DeleteStyle removes a style, for its owner and for moderators.
func (e *Engine) DeleteStyle(ctx context.Context, key string, kind horde.Kind, id string) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		none := struct{}{}
		u, err := e.userOf(key)
		if err != nil {
			return none, nil, err
		}
		t := e.styleByID(id)
		switch {
		case u.ID == horde.Anonymous:
			return none, nil, horde.ErrStylesAnonForbidden
		case t == nil:
			return none, nil, horde.ErrStyleNotFound
		case u.ID != t.Owner && !u.Has(horde.Moderator):
			return none, nil, horde.ErrStyleForbidden
		case t.Kind != kind:
			return none, nil, horde.ErrStyleKind
		}
		delete(e.styles, t.ID)
		e.open.forgetDocument(styleDocument, t.ID.String())
		return none, e.open, nil
	})
	return err
}
