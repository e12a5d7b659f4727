// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"encoding/json"
	"errors"
	"testing"

	"horde/internal/horde"
	"horde/internal/store/memory"
)

// What a later version of the program finds wrong with a style that was stored makes it unusable, and harms nothing else.
func TestStyleWhoseDeclarationsAreNotValid(t *testing.T) {
	t.Parallel()
	db, ctx := memory.New(), t.Context()
	open := func() *Engine {
		e, err := Open(ctx, Config{Store: db, Reference: noModels})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := open()
	_, key, err := e.Register(ctx, NewUser{Name: "author", OAuthID: "g_author", Roles: horde.Customizer})
	if err != nil {
		t.Fatal(err)
	}
	name, prompt := "a style", "{p}"
	made, err := e.CreateStyle(ctx, key, horde.Text, &horde.StyleChange{Name: &name, Models: []string{"m"}})
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{made.ID}
	if _, err := e.CreateCollection(ctx, key, &horde.CollectionChange{Name: &name, Styles: ids}); err != nil {
		t.Fatal(err)
	}
	if err := e.do(func() {
		style := e.styleByID(made.ID)
		style.Policy = &horde.StylePolicy{Overridable: []string{"gone"}}
		e.keepStyle(style)
	}); err != nil {
		t.Fatal(err)
	}
	e.Close()
	e = open()
	defer e.Close()
	collection := "collection::a style"
	for ref, want := range map[*string]*horde.Error{&name: horde.ErrStyleDeclaration, &collection: horde.ErrTemplateFieldsNone} {
		if _, err := e.SubmitText(ctx, Caller{Key: key}, &horde.TextSubmission{Prompt: &prompt, Style: ref}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", *ref, err, want)
		}
	}
	mended := horde.OverrideNone
	if _, err := e.ChangeStyle(ctx, key, horde.Text, made.ID, &horde.StyleChange{Policy: &horde.StylePolicy{Override: &mended}}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.SubmitText(ctx, Caller{Key: key}, &horde.TextSubmission{Prompt: &prompt, Style: &name}); err != nil {
		t.Error(err)
	}
}

// Whatever a style was stored with, only what a request could say comes of it, and members that are wrong take no others along.
func FuzzStyleSettings(f *testing.F) {
	for _, text := range []string{``, `{}`, `{"seed":"x","n":4,"mine":1}`, `{"steps":0,"width":64}`, `{"width":64,"width":128}`, `{"loras":[{}],"karras":true}`, `[]`, `{"steps`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, kind := range horde.Generated {
			a := settingsOf(&horde.Style{Kind: kind, Params: json.RawMessage(text)})
			var got any = a.image
			if kind == horde.Text {
				got = a.text
			}
			again, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if kind == horde.Image {
				_, err = imageSettings.Decode(again, new(horde.ImageSettings))
			} else {
				_, err = textSettings.Decode(again, new(horde.TextSettings))
			}
			if err != nil {
				t.Errorf("%s became %s: %v", text, again, err)
			}
		}
		if a := settingsOf(&horde.Style{Kind: horde.Image, Params: json.RawMessage(`{"width":100,"height":128}`)}); a.image.Width != nil || *a.image.Height != 128 {
			t.Error("a member that is wrong took another along")
		}
	})
}
