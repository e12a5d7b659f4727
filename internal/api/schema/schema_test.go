// SPDX-License-Identifier: AGPL-3.0-or-later

package schema_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"horde/internal/api/body"
	"horde/internal/api/schema"
)

type color string

func (color) PublishedEnum() []string { return []string{"red", "green"} }

type lite struct {
	ID string `json:"id" required:"true"`
}

type whole struct {
	lite
	Count  int64    `json:"count" minimum:"1" maximum:"9" published:"maximum=,type=number"`
	Color  color    `json:"color,omitempty"`
	Ours   bool     `json:"ours" published:"-"`
	Secret bool     `json:"secret" hidden:"true"`
	Note   *string  `json:"note" maxLength:"5"`
	Tags   []string `json:"tags" maxLength:"3" uniqueItems:"true"`
}

type derived struct {
	lite `base:"true"`
	More bool `json:"more"`
}

type inner struct {
	Width body.Opt[int] `json:"width" default:"64" multipleOf:"64" part:"Base"`
	Steps *int          `json:"steps" argument:"true" doc:"How many."`
	Free  body.Object   `json:"free" part:"Root" model:"Wild" wildcard:"string"`
}

type sent struct {
	Width int  `json:"width" part:"-"`
	Extra bool `json:"extra"`
}

type self struct {
	Next *self `json:"next"`
}

var models = []schema.Model{schema.Named[lite]("Lite"), schema.Named[inner]("Inner", "Root", "Base"), schema.Named[sent]("Sent", "Root")}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSwaggerIsWhatTheReferencePublishes(t *testing.T) {
	t.Parallel()
	s := schema.NewSwagger(models)
	for _, typ := range []reflect.Type{reflect.TypeFor[*whole](), reflect.TypeFor[[]inner](), reflect.TypeFor[sent](), reflect.TypeFor[self]()} {
		if _, err := s.Of(typ); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Finish(); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{
		"Lite": `{"properties":{"id":{"type":"string"}},"required":["id"],"type":"object"}`,
		"Whole": `{"allOf":[{"$ref":"#/definitions/Lite"},{"properties":{"color":{"enum":["red","green"],"type":"string"},` +
			`"count":{"minimum":1,"type":"number"},"note":{"maxLength":5,"type":"string"},` +
			`"tags":{"items":{"maxLength":3,"type":"string"},"type":"array","uniqueItems":true}},"type":"object"}]}`,
		"Inner": `{"allOf":[{"$ref":"#/definitions/Root"},{"properties":{"steps":{"description":"How many.","type":"integer"}},"type":"object"}]}`,
		"Root":  `{"allOf":[{"$ref":"#/definitions/Base"},{"properties":{"free":{"$ref":"#/definitions/Wild"}},"type":"object"}]}`,
		"Base":  `{"properties":{"width":{"default":64,"multipleOf":64,"type":"integer"}},"type":"object"}`,
		"Wild":  `{"properties":{"*":{"additionalProperties":{"type":"string"},"type":"object"}},"type":"object"}`,
		"Sent":  `{"allOf":[{"$ref":"#/definitions/Root"},{"properties":{"extra":{"type":"boolean"}},"type":"object"}]}`,
		"Self":  `{"properties":{"next":{"$ref":"#/definitions/Self"}},"type":"object"}`,
	} {
		if got := text(t, s.Definitions[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if len(s.Definitions) != 8 {
		t.Errorf("there are %d definitions", len(s.Definitions))
	}
}

func TestOpenAPIIsWhatIsTakenAndSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		typ  reflect.Type
		dir  schema.Direction
		want string
	}{
		"Whole": {reflect.TypeFor[whole](), schema.Out, `{"properties":{"color":{"type":"string"},"count":{"format":"int64","maximum":9,"minimum":1,"type":"integer"},` +
			`"id":{"type":"string"},"note":{"maxLength":5,"type":["string","null"]},"ours":{"type":"boolean"},` +
			`"tags":{"items":{"maxLength":3,"type":"string"},"type":"array","uniqueItems":true}},` +
			`"required":["id","count","ours","note","tags"],"type":"object"}`},
		"Inner": {reflect.TypeFor[inner](), schema.In, `{"properties":{"free":{"type":"object"},"steps":{"description":"How many.","format":"int64","type":"integer"},` +
			`"width":{"default":64,"format":"int64","multipleOf":64,"type":"integer"}},"required":["steps"],"type":"object"}`},
		"Derived": {reflect.TypeFor[derived](), schema.Out, `{"allOf":[{"$ref":"#/components/schemas/Lite"},` +
			`{"properties":{"more":{"type":"boolean"}},"required":["more"],"type":"object"}]}`},
		"Self": {reflect.TypeFor[self](), schema.Out, `{"properties":{"next":{"anyOf":[{"$ref":"#/components/schemas/Self"},{"type":"null"}]}},"required":["next"],"type":"object"}`},
	} {
		a := schema.NewOpenAPI(models)
		if _, err := a.Of(c.typ, c.dir); err != nil {
			t.Fatal(err)
		}
		if got := text(t, a.Schemas[name]); got != c.want {
			t.Errorf("%s is %s, want %s", name, got, c.want)
		}
	}
}

func TestWhatIsSentAndWhatIsTakenMayDiffer(t *testing.T) {
	t.Parallel()
	a := schema.NewOpenAPI(models)
	in, err1 := a.Of(reflect.TypeFor[whole](), schema.In)
	out, err2 := a.Of(reflect.TypeFor[whole](), schema.Out)
	same, err3 := a.Of(reflect.TypeFor[whole](), schema.In)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	if text(t, in) == text(t, out) || text(t, in) != text(t, same) || len(a.Schemas) != 2 {
		t.Errorf("%s and %s of %d", text(t, in), text(t, out), len(a.Schemas))
	}
}

func TestMistakesAreFound(t *testing.T) {
	t.Parallel()
	type other struct {
		Name string `json:"name"`
	}
	type odd struct {
		Wrong chan int `json:"wrong"`
	}
	s := schema.NewSwagger([]schema.Model{schema.Named[lite]("Same"), schema.Named[other]("Same"), schema.Named[sent]("Sent", "Nowhere")})
	if _, err := s.Of(reflect.TypeFor[lite]()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Of(reflect.TypeFor[other]()); err == nil || !strings.Contains(err.Error(), "two definitions of Same") {
		t.Errorf("one name for two types: %v", err)
	}
	if _, err := s.Of(reflect.TypeFor[odd]()); err == nil {
		t.Error("a channel is described")
	}
	if _, err := schema.NewOpenAPI(nil).Of(reflect.TypeFor[odd](), schema.In); err == nil {
		t.Error("a channel is described")
	}
	if _, err := s.Of(reflect.TypeFor[sent]()); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(); err == nil {
		t.Error("a base that nothing defines is missed")
	}
}
