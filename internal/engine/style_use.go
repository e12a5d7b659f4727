// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"horde/internal/api/body"
	"horde/internal/horde"
)

// appliedSettings are the parameters of a style as those of a request, which are never changed, and what the style declares.
type appliedSettings struct {
	image *horde.ImageSettings // of an image style
	text  *horde.TextSettings  // of a text style
	// declared is nil when what the style declares is not valid, which a later version of the program may find.
	declared *horde.StyleDeclarations
}

var (
	imageSettings = body.Compile[horde.ImageSettings]()
	textSettings  = body.Compile[horde.TextSettings]()
)

// settingsOf reads the parameters of a style. Members that only a request declares count too; what no request could send is left
// out.
func settingsOf(t *horde.Style) (a appliedSettings) {
	if t.Kind == horde.Image {
		a.image = readSettings(imageSettings, t.Params)
	} else {
		a.text = readSettings(textSettings, t.Params)
	}
	if d, err := t.Declarations(); err == nil {
		a.declared = d
	}
	return a
}

// readSettings decodes the members of params that are valid.
func readSettings[T any](d *body.Decoder[T], params json.RawMessage) *T {
	if len(params) == 0 {
		return new(T)
	}
	settings := new(T)
	_, err := d.Decode(params, settings)
	if err == nil {
		return settings
	}
	var members map[string]json.RawMessage
	var invalid *horde.Error
	if !errors.As(err, &invalid) || invalid.Fields == nil || json.Unmarshal(params, &members) != nil {
		return new(T)
	}
	for path := range invalid.Fields {
		name, _, _ := strings.Cut(path, ".")
		delete(members, name)
	}
	rest, err := json.Marshal(members)
	settings = new(T)
	if err == nil {
		_, err = d.Decode(rest, settings)
	}
	if err != nil {
		return new(T)
	}
	return settings
}

// styleUse is the style that a request is made with, and the collection that it was drawn from, or nil.
type styleUse struct {
	style      *style
	collection *collection
}

// chooseStyle finds what the field style of a request means: a style, or one of a collection, drawn from those that take the
// texts in fields.
func (e *Engine) chooseStyle(text string, kind horde.Kind, fields map[string]string) (*styleUse, *horde.Error) {
	t, c := e.styleByID(text), e.collectionByID(text)
	if t == nil && c == nil {
		r := horde.ParseStyleReference(text)
		t, c = e.styleByName(r, kind), e.collectionByName(r, kind)
		if t != nil && c != nil && (t.Kind == kind || c.Kind != kind) {
			c = nil
		}
	}
	switch {
	case c != nil && c.Kind != kind, c == nil && t != nil && t.Kind != kind:
		return nil, horde.ErrStyleMismatch
	case c != nil:
		if t = e.draw(c, fields); t == nil {
			return nil, refuseEither(len(c.Styles) == 0, horde.ErrStyleNotFound, horde.ErrTemplateFieldsNone)
		}
	case t == nil:
		return nil, horde.ErrStyleNotFound
	}
	if t.applied.declared == nil {
		return nil, horde.ErrStyleDeclaration
	}
	if err := t.AcceptsFields(fields); err != nil {
		return nil, err
	}
	return &styleUse{t, c}, nil
}

func refuseEither(when bool, yes, no *horde.Error) *horde.Error {
	if when {
		return yes
	}
	return no
}

// draws is how often a style is drawn from all of a collection before those that take the fields are looked for.
const draws = 16

// draw picks a style of a collection, all that take the fields with the same chance. Mostly all do, so it draws from all first.
func (e *Engine) draw(c *collection, fields map[string]string) *style {
	takes := func(t *style) bool { return t.applied.declared != nil && t.AcceptsFields(fields) == nil }
	for range min(draws, len(c.Styles)) {
		if t := e.styles[c.Styles[e.Random.IntN(len(c.Styles))]]; takes(t) {
			return t
		}
	}
	taking := make([]*style, 0, len(c.Styles))
	for _, id := range c.Styles {
		if t := e.styles[id]; takes(t) {
			taking = append(taking, t)
		}
	}
	if len(taking) == 0 {
		return nil
	}
	return taking[e.Random.IntN(len(taking))]
}

// applyStyle makes the submission what the style makes of it. Nothing is counted yet.
func (e *Engine) applyStyle(s *submission) *horde.Error {
	use, err := e.chooseStyle(*s.style, s.kind, s.fields)
	if err == nil {
		err = s.apply(use.style)
	}
	if err == nil {
		s.use = use
	}
	return err
}

// rewards tells whether the author of the style is paid for its use by u.
func (e *Engine) rewards(use *styleUse, u *user) bool {
	return use != nil && use.style.Owner != u.ID && e.alive(use.style.Owner) != nil
}

// countUse counts the use of a style by a request that was accepted, once whatever the number of results, and pays its author.
func (e *Engine) countUse(now time.Time, r *request, use *styleUse) {
	if use == nil {
		return
	}
	if e.styles[use.style.ID] == use.style { // it may have been deleted while source images were being stored
		e.styleUsed(use.style, 1)
		e.open.keepUse(&use.style.counted, use.style.ID.String())
		use.style.note(e.open.number)
	}
	if c := use.collection; c != nil && e.collections[c.ID] == c {
		e.collectionUsed(c, 1)
		e.open.keepUse(&c.counted, c.ID.String())
		c.note(e.open.number)
	}
	if e.rewards(use, r.user) {
		e.event(e.book.RewardStyle(now, &r.Request, use.style.Owner))
	}
}

// keptStyles adds what is kept of styles and collections.
func (s *styleIndex) keptStyles(kept map[documentKey]documented) {
	for id, t := range s.styles {
		kept[documentKey{styleDocument, id.String()}] = t
		if t.counted != nil {
			kept[documentKey{useDocument, id.String()}] = t.counted
		}
	}
	for id, c := range s.collections {
		kept[documentKey{collectionDocument, id.String()}] = c
		if c.counted != nil {
			kept[documentKey{useDocument, id.String()}] = c.counted
		}
	}
}

// filed tells whether a shelf has something in both orders.
func filed[T interface {
	comparable
	used() used
}](s *shelf[T], x T) bool {
	popular, _ := s.popular.Get(x)
	aged, _ := s.aged.Get(x)
	return popular == x && aged == x
}

// counted checks how often something was used.
func (f *findings) counted(what string, id uuid.UUID, uses, earlier int64, since *use) {
	if kept := earlier + since.total(); uses != kept {
		f.add("%s %s was used %d times, the record has %d", what, id, uses, kept)
	}
}

// styles compares the ways in which styles and collections are found.
func (f *findings) styles(e *Engine) {
	shelved := map[shelfKey]int{}
	for id, t := range e.styles {
		if !slices.Contains(e.stylesNamed[t.Name], t) || e.stylesOf[t.Owner][t.Name] != t {
			f.add("style %s is not filed", id)
		}
		f.counted("style", id.UUID, t.Uses, t.Earlier, t.counted)
		for _, key := range shelvesOf(t) {
			shelved[key]++
			if s := e.shelves[key]; s == nil || !filed(s, t) {
				f.add("style %s is not listed where it belongs", id)
			}
		}
	}
	for key, s := range e.shelves {
		if s.popular.Len() != shelved[key] || s.aged.Len() != shelved[key] {
			f.add("%d and %d styles are listed for %v, there are %d", s.popular.Len(), s.aged.Len(), key, shelved[key])
		}
	}
	listed := map[horde.Kind]int{}
	for id, c := range e.collections {
		if !slices.Contains(e.collectionsNamed[c.Name], c) || e.collectionsOf[c.Owner][c.Name] != c {
			f.add("collection %s is not filed", id)
		}
		f.counted("collection", id.UUID, c.Uses, c.Earlier, c.counted)
		if c.Public {
			listed[everyKind]++
			listed[c.Kind]++
		}
		for _, s := range e.collectionShelves(c) {
			if !filed(s, c) {
				f.add("collection %s is not listed where it belongs", id)
			}
		}
		for _, member := range c.Styles {
			_, filed := e.collectionsHaving[member][c]
			if t := e.styles[member]; t == nil || t.Kind != c.Kind || !filed {
				f.add("collection %s has the style %s, which is not filed or of another kind", id, member)
			}
		}
	}
	for kind, s := range e.shelvesOfCollections {
		if s.popular.Len() != listed[kind] || s.aged.Len() != listed[kind] {
			f.add("%d and %d collections are listed, there are %d", s.popular.Len(), s.aged.Len(), listed[kind])
		}
	}
	for _, id := range slices.Collect(maps.Keys(e.collectionsHaving)) {
		if e.styles[id] == nil {
			f.add("a collection has the style %s, which is gone", id)
		}
	}
}
