// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"horde/internal/horde"
)

// maxStyleModel is where the name of a style's model is cut, in characters.
const maxStyleModel = 100

// StyleChanged is the answer to making or changing a style.
type StyleChanged struct {
	ID string
	// Warnings are those that a request with the parameters of an image style would get; never nil for one that was changed.
	Warnings []horde.Warning
}

// counted refuses too many tags and, of a style, models that are too many or none.
func counted(c *horde.StyleChange, whole bool) (models, tags *horde.Error) {
	if n := len(c.Models); (c.Models != nil || whole) && (n == 0 || n > horde.MaxStyleModels) {
		models = horde.ErrStyleModels
	}
	if len(c.Tags) > horde.MaxStyleTags {
		tags = horde.ErrStyleTags
	}
	return models, tags
}

// CreateStyle makes a style. The caller must be a customizer or trusted.
func (e *Engine) CreateStyle(ctx context.Context, key string, kind horde.Kind, c *horde.StyleChange) (StyleChanged, error) {
	if models, tags := counted(c, true); models != nil {
		return StyleChanged{}, models
	} else if tags != nil {
		return StyleChanged{}, tags
	}
	t := &style{Style: horde.Style{Kind: kind, Public: true, Prompt: defaultTemplate}}
	c.Onto(&t.Style)
	return change(ctx, e, func() (StyleChanged, *batch, *horde.Error) {
		u, err := e.userOf(key)
		switch {
		case err != nil:
			return StyleChanged{}, nil, err
		case !u.Has(horde.Customizer) && !u.Has(horde.Trusted):
			return StyleChanged{}, nil, horde.ErrStylesCustomizer
		case u.ID == horde.Anonymous:
			return StyleChanged{}, nil, horde.ErrStylesAnonForbidden
		}
		if err := e.cleanStyle(&t.Style); err != nil {
			return StyleChanged{}, nil, err
		}
		if c.SharedKey != nil {
			if t.SharedKey, err = e.bindable(u, *c.SharedKey, time.Now()); err != nil {
				return StyleChanged{}, nil, err
			}
		}
		switch {
		case u.Has(horde.Deleted):
			return StyleChanged{}, nil, horde.ErrDeletedUser
		case e.stylesOf[u.ID][t.Name] != nil:
			return StyleChanged{}, nil, horde.ErrStyleNameTaken
		case e.full(len(e.stylesOf[u.ID])):
			return StyleChanged{}, nil, horde.ErrTooManyStyles.Withf("This account may have %d styles.", e.StylesPerAccount)
		}
		warnings, err := e.checkStyle(&t.Style, u)
		if err != nil {
			return StyleChanged{}, nil, err
		}
		now := time.Now().UTC()
		t.ID, t.Owner, t.Created, t.Updated = horde.NewStyleID(), u.ID, now, now
		e.addStyle(t)
		e.keepStyle(t)
		return StyleChanged{t.ID.String(), warnings}, e.open, nil
	})
}

// full tells that an account that has so many styles, or collections, may have no more.
func (e *Engine) full(have int) bool { return e.StylesPerAccount > 0 && have >= e.StylesPerAccount }

// defaultTemplate changes no prompt.
const defaultTemplate = "{p}{np}"

// keepStyle notes that the record is to have the style as it is now.
func (e *Engine) keepStyle(t *style) { e.open.document(styleDocument, t.ID.String(), t) }

// checkStyle checks the parameters, the template and the declarations of a style of u.
func (e *Engine) checkStyle(t *horde.Style, u *user) ([]horde.Warning, *horde.Error) {
	if len(t.Params) > horde.MaxStyleText {
		return nil, horde.ErrStyleParams
	}
	settings, warnings := settingsOf(t), []horde.Warning{}
	if t.Kind == horde.Image {
		found, err := t.CheckImage(settings.image, &u.User, e.Reference())
		if err != nil {
			return nil, err
		}
		warnings = append(warnings, found...)
	} else if err := t.CheckText(settings.text); err != nil {
		return nil, err
	}
	_, err := t.Declarations()
	return warnings, err
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
	for i, f := range t.Fields {
		profane = profane || e.Profane(*f.Description)
		description := horde.Sanitize(*f.Description)
		t.Fields[i].Description = &description
	}
	switch {
	case profane:
		return horde.ErrProfaneStyle
	case horde.Blank(t.Name):
		return blankName("name")
	}
	return nil
}

// ChangeStyle changes what is given of a style, for its owner. All is checked before anything is set.
func (e *Engine) ChangeStyle(ctx context.Context, key string, kind horde.Kind, id string, c *horde.StyleChange) (StyleChanged, error) {
	models, tags := counted(c, false)
	if tags != nil {
		return StyleChanged{}, tags
	}
	return change(ctx, e, func() (StyleChanged, *batch, *horde.Error) {
		u, err := e.userOf(key)
		if err != nil {
			return StyleChanged{}, nil, err
		}
		t := e.styleByID(id)
		switch {
		case t == nil:
			return StyleChanged{}, nil, horde.ErrStyleNotFound
		case u.ID != t.Owner || u.ID == horde.Anonymous:
			return StyleChanged{}, nil, horde.ErrStyleForbidden
		case t.Kind != kind:
			return StyleChanged{}, nil, horde.ErrStyleKind
		case models != nil:
			return StyleChanged{}, nil, models
		case c.Empty():
			return StyleChanged{ID: t.ID.String()}, e.pending(&t.changed), nil
		}
		next := t.Style
		c.Onto(&next)
		next.Fields = slices.Clone(next.Fields)
		if err := e.cleanStyle(&next); err != nil {
			return StyleChanged{}, nil, err
		}
		if c.SharedKey != nil {
			if next.SharedKey, err = e.bindable(u, *c.SharedKey, time.Now()); err != nil {
				return StyleChanged{}, nil, err
			}
		}
		if other := e.stylesOf[u.ID][next.Name]; other != nil && other != t {
			return StyleChanged{}, nil, horde.ErrStyleNameTaken
		}
		warnings, err := e.checkStyle(&next, u)
		if err != nil {
			return StyleChanged{}, nil, err
		}
		next.Updated = time.Now().UTC()
		e.removeStyle(t)
		t.Style = next
		e.addStyle(t)
		e.keepStyle(t)
		return StyleChanged{t.ID.String(), warnings}, e.open, nil
	})
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
		e.dropStyle(t)
		return none, e.open, nil
	})
	return err
}

// dropStyle removes a style, also from all collections.
func (e *Engine) dropStyle(t *style) {
	for c := range e.collectionsHaving[t.ID] {
		c.Styles = without(slices.Clone(c.Styles), t.ID)
		e.keepCollection(c)
	}
	delete(e.collectionsHaving, t.ID)
	e.removeStyle(t)
	e.open.forgetDocument(styleDocument, t.ID.String())
	e.open.forgetUse(t.counted, t.ID.String())
}

// dropStylesOf removes the styles and the collections of an account.
func (e *Engine) dropStylesOf(id horde.UserID) {
	for _, c := range e.collectionsOf[id] {
		e.dropCollection(c)
	}
	for _, t := range e.stylesOf[id] {
		e.dropStyle(t)
	}
}

// AddExample shows a picture that a style makes. The first one is the primary one.
func (e *Engine) AddExample(ctx context.Context, key, id, url string, primary bool) (string, error) {
	if err := checkExample(&url); err != nil {
		return "", err
	}
	return change(ctx, e, func() (string, *batch, *horde.Error) {
		t, err := e.styleWithExamples(key, id)
		switch {
		case err != nil:
			return "", nil, err
		case t.Kind != horde.Image:
			return "", nil, horde.ErrExampleOfText
		case len(t.Examples) >= horde.MaxStyleExamples:
			return "", nil, horde.ErrTooManyExamples
		case t.exampleOf(url) >= 0:
			return "", nil, horde.ErrExampleInUse
		}
		x := horde.StyleExample{ID: uuid.New(), URL: url}
		t.Examples = append(t.Examples, x)
		if primary || len(t.Examples) == 1 {
			t.makePrimary(len(t.Examples) - 1)
		}
		e.keepStyle(t)
		return x.ID.String(), e.open, nil
	})
}

func checkExample(url *string) *horde.Error {
	return refuseIf(url != nil && !strings.HasPrefix(*url, "https://"), horde.ErrExampleURL)
}

// styleWithExamples finds a style whose examples the caller may change.
func (e *Engine) styleWithExamples(key, id string) (*style, *horde.Error) {
	u, err := e.userOf(key)
	if err != nil {
		return nil, err
	}
	t := e.styleByID(id)
	switch {
	case t == nil:
		return nil, horde.ErrStyleNotFound
	case u.ID == horde.Anonymous || u.ID != t.Owner && !u.Has(horde.Moderator):
		return nil, horde.ErrStyleForbidden
	}
	return t, nil
}

// exampleOf is where the example with a URL is, or -1.
func (t *style) exampleOf(url string) int {
	return slices.IndexFunc(t.Examples, func(x horde.StyleExample) bool { return x.URL == url })
}

func (t *style) makePrimary(at int) {
	for i := range t.Examples {
		t.Examples[i].Primary = i == at
	}
}

// example is where an example of a style is, or -1.
func (t *style) example(id string) int {
	parsed, err := uuid.Parse(id)
	if err != nil || t == nil {
		return -1
	}
	return slices.IndexFunc(t.Examples, func(x horde.StyleExample) bool { return x.ID == parsed })
}

// exampleOf finds an example of a style whose examples this key may change, and its place among them. A style that is not there is
// told to those whose key is known.
func (e *Engine) exampleOf(key, id, example string) (*style, int, *horde.Error) {
	at := 0
	if t := e.styleByID(id); t != nil {
		if at = t.example(example); at < 0 {
			return nil, 0, horde.ErrExampleNotFound
		}
	} else if _, err := uuid.Parse(example); err != nil {
		return nil, 0, horde.ErrExampleNotFound
	}
	t, err := e.styleWithExamples(key, id)
	return t, at, err
}

// ChangeExample changes what is given of an example.
func (e *Engine) ChangeExample(ctx context.Context, key, id, example string, url *string, primary *bool) error {
	if err := checkExample(url); err != nil {
		return err
	}
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		none := struct{}{}
		t, at, err := e.exampleOf(key, id, example)
		if err != nil {
			return none, nil, err
		}
		if url != nil {
			if other := t.exampleOf(*url); other >= 0 && other != at {
				return none, nil, horde.ErrExampleInUse
			}
		}
		if primary != nil && !*primary && t.Examples[at].Primary {
			return none, nil, horde.ErrExamplePrimary
		}
		if url != nil {
			t.Examples[at].URL = *url
		}
		if is(primary) {
			t.makePrimary(at)
		}
		e.keepStyle(t)
		return none, e.open, nil
	})
	return err
}

// DeleteExample removes an example. The oldest that is left is the primary one if that was removed.
func (e *Engine) DeleteExample(ctx context.Context, key, id, example string) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		none := struct{}{}
		t, at, err := e.exampleOf(key, id, example)
		if err != nil {
			return none, nil, err
		}
		primary := t.Examples[at].Primary
		t.Examples = slices.Delete(slices.Clone(t.Examples), at, at+1)
		if primary && len(t.Examples) > 0 {
			t.makePrimary(0)
		}
		e.keepStyle(t)
		return none, e.open, nil
	})
	return err
}
