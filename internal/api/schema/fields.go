// SPDX-License-Identifier: AGPL-3.0-or-later

package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"horde/internal/api/body"
)

// Object is a JSON object of a document.
type Object map[string]any

// Model is how a type is called.
type Model struct {
	typ   reflect.Type
	name  string
	bases []string
}

// Named gives T a name in the documents; the empty one publishes it in place. bases are the definitions that it is composed
// of in the reference's document, the nearest first: the fields with part:"…" are published in the one they name, and a
// base that no field names is that of another type, whose fields are left out here.
func Named[T any](name string, bases ...string) Model {
	return Model{reflect.TypeFor[T](), name, bases}
}

// names knows what types are called.
type names map[reflect.Type]Model

func namesOf(models []Model) names {
	n := names{}
	for _, m := range models {
		n[m.typ] = m
	}
	return n
}

// of returns how a struct type is called, with an empty name for one that is published in place.
func (n names) of(t reflect.Type) Model {
	if m, ok := n[t]; ok {
		return m
	}
	name := t.Name()
	if r, size := utf8.DecodeRuneInString(name); name != "" {
		name = string(unicode.ToUpper(r)) + name[size:]
	}
	return Model{typ: t, name: name}
}

// field is one member of an object.
type field struct {
	name     string
	typ      reflect.Type // without what says that it may be absent
	tag      reflect.StructTag
	nullable bool // a pointer
	omitted  bool // when empty
	embedded bool
}

var (
	rawType  = reflect.TypeFor[json.RawMessage]()
	anyType  = reflect.TypeFor[body.Any]()
	objType  = reflect.TypeFor[body.Object]()
	timeType = reflect.TypeFor[time.Time]()
	optional = reflect.TypeFor[interface{ IsZero() bool }]()
)

// bare takes off what says that a value may be absent.
func bare(t reflect.Type) (inner reflect.Type, nullable bool) {
	if t.Kind() == reflect.Pointer {
		return t.Elem(), true
	}
	if t.Kind() == reflect.Struct && t.NumField() == 2 && t.Field(0).Name == "V" && t.Field(1).Name == "Set" && t.Implements(optional) {
		return t.Field(0).Type, false // a body.Opt
	}
	return t, false
}

// fieldsOf lists the members of a struct. Embedded structs are members without a name.
func fieldsOf(t reflect.Type) []field {
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Tag.Get("hidden") == "true" || name == "-" {
			continue
		}
		if f.Anonymous && name == "" {
			inner, _ := bare(f.Type)
			list = append(list, field{typ: inner, tag: f.Tag, embedded: true})
			continue
		}
		if !f.IsExported() {
			continue
		}
		inner, nullable := bare(f.Type)
		list = append(list, field{
			name: name, typ: inner, tag: f.Tag, nullable: nullable,
			omitted: strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero"),
		})
	}
	return list
}

// flat lists the members of a struct with those of embedded ones. An embedded base stays one member.
func flat(t reflect.Type) []field {
	var list []field
	for _, f := range fieldsOf(t) {
		if f.embedded && f.tag.Get("base") != "true" {
			list = append(list, flat(f.typ)...)
		} else {
			list = append(list, f)
		}
	}
	return list
}

// enumerated is a type for whose values the reference publishes a list.
type enumerated interface{ PublishedEnum() []string }

var enumeratedType = reflect.TypeFor[enumerated]()

// scalar describes what is neither an object nor a list, or returns nil.
func scalar(t reflect.Type, tag reflect.StructTag) Object {
	o := Object{}
	switch kind := t.Kind(); {
	case t == timeType:
		return Object{"type": "string", "format": "date-time"}
	case kind == reflect.String:
		o["type"] = "string"
		if list := tag.Get("enum"); list != "" {
			o["enum"] = strings.Split(list, ",")
		}
		keywords(o, tag, "minLength", "maxLength")
		if f := tag.Get("format"); f != "" {
			o["format"] = f
		}
	case kind == reflect.Bool:
		o["type"] = "boolean"
	case kind >= reflect.Int && kind <= reflect.Uint64:
		o["type"] = "integer"
		keywords(o, tag, "minimum", "maximum", "multipleOf")
	case kind == reflect.Float64:
		o["type"] = "number"
		keywords(o, tag, "minimum", "maximum", "multipleOf")
	default:
		return nil
	}
	return o
}

func keywords(o Object, tag reflect.StructTag, list ...string) {
	for _, k := range list {
		if v, ok := tag.Lookup(k); ok {
			o[k] = json.Number(v)
		}
	}
}

// value reads the text of a tag as the type says.
func value(o Object, text string) any {
	switch o["type"] {
	case "integer", "number":
		return json.Number(text)
	case "boolean":
		return text == "true"
	}
	return text
}

// isJSON tells whether a type holds JSON that is not looked into.
func isJSON(t reflect.Type) bool { return t == rawType || t == anyType || t == objType }

// equal compares two parts of a document.
func equal(a, b any) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(x) == string(y)
}

func unsupported(t reflect.Type) error { return fmt.Errorf("the type %s cannot be described", t) }
