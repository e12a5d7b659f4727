// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/horde"
	"horde/internal/store/memory"
)

// The styles chapter, sections 3 and 5, against the engine alone.
func TestStyles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, ctx := memory.New(), t.Context()
		e, err := Open(ctx, Config{Store: db, Reference: noModels})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { e.Close() }()
		user := func(name string, roles horde.Roles) (horde.User, string) {
			u, key, err := e.Register(ctx, NewUser{Name: name, OAuthID: "g_" + name, Roles: roles})
			if err != nil {
				t.Fatal(err)
			}
			return u.User, key
		}
		refused := func(err error, want *horde.Error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		owner, key := user("db0", horde.Customizer)
		_, stranger := user("stranger", horde.Trusted)
		_, plain := user("plain", 0)
		_, mod := user("mod", horde.Moderator)
		good := func() horde.Style {
			return horde.Style{Kind: horde.Image, Name: "X & <Y>", Prompt: "{p}{np}", Public: true, Tags: []string{"a", "a", "b"},
				Models: []string{"Fustercluck"}, Params: json.RawMessage(`{"seed":"x","steps":8}`)}
		}
		for _, c := range []struct {
			name   string
			key    string
			change func(*horde.Style)
			want   *horde.Error
		}{
			{"no models, before the key", "bogus", func(s *horde.Style) { s.Models = nil }, horde.ErrStyleModels},
			{"6 models", key, func(s *horde.Style) { s.Models = make([]string, 6) }, horde.ErrStyleModels},
			{"11 tags", key, func(s *horde.Style) { s.Tags = make([]string, 11) }, horde.ErrStyleTags},
			{"an unknown key", "bogus", func(*horde.Style) {}, horde.ErrInvalidAPIKey},
			{"no role", plain, func(*horde.Style) {}, horde.ErrStylesCustomizer},
			{"anonymous", horde.AnonymousKey, func(*horde.Style) {}, horde.ErrStylesCustomizer},
			{"a profane name", key, func(s *horde.Style) { s.Name = "fuck you" }, horde.ErrProfaneStyle},
			{"a profane tag", key, func(s *horde.Style) { s.Tags = []string{"fuck you"} }, horde.ErrProfaneStyle},
			{"no place for the negative prompt", key, func(s *horde.Style) { s.Prompt = "{p} only" }, horde.ErrStylePromptMissingVars},
		} {
			in := good()
			c.change(&in)
			if _, err := e.CreateStyle(ctx, c.key, in); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
		list := func(f StyleFilter) []string {
			t.Helper()
			views, err := e.Styles(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			names := []string{}
			for _, v := range views {
				names = append(names, v.Name)
			}
			return names
		}
		if names := list(StyleFilter{Kind: horde.Image, Sort: "age", Page: 1}); len(names) > 0 {
			t.Errorf("what was refused left %v", names)
		}

		made, err := e.CreateStyle(ctx, key, good())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(made.Tags, []string{"a", "b"}) || made.Creator != owner.Alias() || made.Name != horde.Sanitize("X & <Y>") {
			t.Errorf("%+v", made)
		}
		_, err = e.CreateStyle(ctx, key, good())
		refused(err, horde.ErrStyleNameTaken)
		time.Sleep(time.Second)
		theirs := good()
		theirs.Kind, theirs.Prompt = horde.Text, "{p}"
		other, err := e.CreateStyle(ctx, stranger, theirs) // a name is one owner's
		if err != nil {
			t.Fatal(err)
		}

		e.Close()
		if e, err = Open(ctx, Config{Store: db, Reference: noModels}); err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprint(int(owner.ID))
		for _, name := range []string{"X & <Y>", made.Name, "style::X & <Y>", owner.Alias() + "::X & <Y>", id + "::X & <Y>",
			"style::" + owner.Alias() + "::X & <Y>", made.UniqueName(owner.Alias())} {
			v, err := e.StyleByName(ctx, horde.Image, name)
			if err != nil || v.ID != made.ID || string(v.Params) != `{"seed":"x","steps":8}` {
				t.Errorf("%q: %+v, %v", name, v, err)
			}
		}
		for _, name := range []string{"nope", "collection::X & <Y>", "nobody::X & <Y>", "77::X & <Y>"} {
			_, err := e.StyleByName(ctx, horde.Image, name)
			refused(err, horde.ErrStyleNotFound)
		}
		if v, err := e.StyleByName(ctx, horde.Text, "X & <Y>"); err != nil || v.ID != other.ID {
			t.Errorf("the wanted kind is not preferred: %v, %v", v.ID, err)
		}
		_, err = e.StyleByName(ctx, horde.Text, made.UniqueName(owner.Alias()))
		refused(err, horde.ErrStyleKind)
		_, err = e.Style(ctx, horde.Image, other.ID.String())
		refused(err, horde.ErrStyleKind)
		_, err = e.Style(ctx, horde.Image, "nope")
		refused(err, horde.ErrImageStyleNotFound)
		_, err = e.Style(ctx, horde.Text, horde.NewStyleID().String())
		refused(err, horde.ErrTextStyleNotFound)

		for i := range stylesPerPage {
			in := good()
			in.Name, in.Tags = fmt.Sprint("style ", i), []string{"many"}
			if _, err := e.CreateStyle(ctx, key, in); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		hidden := good()
		hidden.Name, hidden.Public = "hidden", false
		if _, err := e.CreateStyle(ctx, key, hidden); err != nil {
			t.Fatal(err)
		}
		if _, err := e.StyleByName(ctx, horde.Image, "hidden"); err != nil {
			t.Error("a style that is not listed is not found: ", err)
		}
		for _, c := range []struct {
			filter      StyleFilter
			count       int
			first, last string
		}{
			{StyleFilter{Kind: horde.Image, Sort: "age", Page: 1}, 25, made.Name, "style 23"},
			{StyleFilter{Kind: horde.Image, Sort: "popular", Page: 2}, 1, "style 24", "style 24"},
			{StyleFilter{Kind: horde.Image, Sort: "age", Page: 1, Tag: "many"}, 25, "style 0", "style 24"},
			{StyleFilter{Kind: horde.Text, Sort: "age", Page: 1, Model: "Fustercluck"}, 1, other.Name, other.Name},
		} {
			names := list(c.filter)
			if len(names) != c.count || names[0] != c.first || names[len(names)-1] != c.last {
				t.Errorf("%+v: %q", c.filter, names)
			}
		}
		for _, f := range []StyleFilter{{Kind: horde.Image, Sort: "age", Page: 1 << 62}, {Kind: horde.Image, Sort: "age", Page: 1, Tag: "man"}} {
			if names := list(f); len(names) > 0 {
				t.Errorf("%+v: %q", f, names)
			}
		}
		_, err = e.Styles(ctx, StyleFilter{Sort: "new", Page: 1})
		refused(err, horde.ErrStyleSort)
		_, err = e.Styles(ctx, StyleFilter{Sort: "age"})
		refused(err, horde.ErrStylePage)

		refused(e.DeleteStyle(ctx, "bogus", horde.Image, made.ID.String()), horde.ErrInvalidAPIKey)
		refused(e.DeleteStyle(ctx, horde.AnonymousKey, horde.Image, made.ID.String()), horde.ErrStylesAnonForbidden)
		refused(e.DeleteStyle(ctx, stranger, horde.Image, made.ID.String()), horde.ErrStyleForbidden)
		refused(e.DeleteStyle(ctx, key, horde.Text, made.ID.String()), horde.ErrStyleKind)
		for _, err := range []error{e.DeleteStyle(ctx, mod, horde.Image, made.ID.String()), e.DeleteStyle(ctx, stranger, horde.Text, other.ID.String())} {
			if err != nil {
				t.Error(err)
			}
		}
		refused(e.DeleteStyle(ctx, key, horde.Image, made.ID.String()), horde.ErrStyleNotFound)
	})
}
