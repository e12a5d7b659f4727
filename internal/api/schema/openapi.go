// SPDX-License-Identifier: AGPL-3.0-or-later

package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Direction tells who makes a value: what must be there differs.
type Direction bool

const (
	// In is for what callers send: a field is optional unless it is required, and never null.
	In Direction = false
	// Out is for what the server sends: a field is there unless it is left out when empty, and may be null when it is a
	// pointer.
	Out Direction = true
)

// OpenAPI describes types as this server takes and sends them, in JSON Schema 2020-12.
type OpenAPI struct {
	names names
	// Schemas has every named object that was met, by name.
	Schemas map[string]Object
	known   map[way]string
}

type way struct {
	typ reflect.Type
	dir Direction
}

// NewOpenAPI returns a description of nothing yet.
func NewOpenAPI(models []Model) *OpenAPI {
	return &OpenAPI{names: namesOf(models), Schemas: map[string]Object{}, known: map[way]string{}}
}

// Of describes a type.
func (a *OpenAPI) Of(t reflect.Type, dir Direction) (Object, error) { return a.describe(t, "", dir) }

// Argument describes a value outside of the body.
func (a *OpenAPI) Argument(t reflect.Type, tag reflect.StructTag) (Object, error) {
	o, err := a.describe(t, tag, In)
	if err == nil {
		delete(o, "description") // it belongs to the parameter
	}
	return o, err
}

func (a *OpenAPI) describe(t reflect.Type, tag reflect.StructTag, dir Direction) (Object, error) {
	t, _ = bare(t)
	o := scalar(t, tag)
	switch {
	case o != nil:
		a.scalar(o, t, tag, dir)
	case isJSON(t):
		o = Object{}
		if text := tag.Get("schema"); text != "" {
			if err := json.Unmarshal([]byte(text), &o); err != nil {
				return nil, fmt.Errorf("the schema %s: %w", text, err)
			}
		}
		if t == objType || tag.Get("type") == "object" {
			o["type"] = "object"
		}
	case t.Kind() == reflect.Slice:
		items, err := a.describe(t.Elem(), reflect.StructTag(itemTag(tag)), dir)
		if err != nil {
			return nil, err
		}
		o = Object{"type": "array", "items": items}
		if tag.Get("uniqueItems") == "true" {
			o["uniqueItems"] = true
		}
		keywords(o, tag, "minItems", "maxItems")
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		members, err := a.describe(t.Elem(), "", dir)
		if err != nil {
			return nil, err
		}
		o = Object{"type": "object", "additionalProperties": members}
	case t.Kind() == reflect.Struct:
		return a.object(t, dir)
	default:
		return nil, unsupported(t)
	}
	if d := tag.Get("doc"); d != "" {
		o["description"] = d
	}
	if d, ok := tag.Lookup("default"); ok && dir == In {
		o["default"] = value(o, d)
	}
	if e, ok := tag.Lookup("example"); ok {
		o["examples"] = []any{example(o, e)}
	}
	return o, nil
}

// scalar makes exact what the type says.
func (a *OpenAPI) scalar(o Object, t reflect.Type, tag reflect.StructTag, dir Direction) {
	kind := t.Kind()
	if list, ok := o["enum"].([]string); ok && tag.Get("ours") != "" {
		o["enum"] = append(list, strings.Split(tag.Get("ours"), ",")...)
	}
	switch {
	case kind >= reflect.Uint && kind <= reflect.Uint64 && o["minimum"] == nil:
		o["minimum"] = json.Number("0")
	case kind == reflect.Int64 || kind == reflect.Int:
		o["format"] = "int64"
	case kind == reflect.Int32:
		o["format"] = "int32"
	}
	if dir == In && tag.Get("coerce") == "true" && o["type"] == "integer" {
		// A string of digits is read as well, and a fraction is cut off. Null is as if nothing were there.
		types := []string{"number", "string"}
		if tag.Get("required") != "true" {
			types = append(types, "null")
		}
		o["type"] = types
		delete(o, "format")
		widen(o, "minimum", "exclusiveMinimum", -1)
		widen(o, "maximum", "exclusiveMaximum", 1)
	}
	if dir == In && tag.Get("coerce") == "true" && o["type"] == "string" {
		types := []string{"string", "number", "boolean"}
		if tag.Get("required") != "true" {
			types = append(types, "null")
		}
		o["type"] = types
	}
	if dir == In && tag.Get("coerce") == "true" && o["type"] == "boolean" {
		// 0 and 1 are read as well: the bounds are those of numbers only.
		o["type"] = []string{"boolean", "integer", "null"}
		o["minimum"], o["maximum"] = json.Number("0"), json.Number("1")
	}
	if list, ok := o["enum"].([]string); ok && dir == In && tag.Get("emptyabsent") == "true" {
		o["enum"] = append([]string{""}, list...)
	}
}

// widen lets a bound of a number in whose fraction is cut off, towards zero: -1.5 is read as -1. Away is which side of the bound is
// out of bounds.
func widen(o Object, bound, exclusive string, away int64) {
	n, ok := o[bound].(json.Number)
	if !ok {
		return
	}
	i, err := n.Int64()
	if err != nil || i*away < 0 {
		return
	}
	delete(o, bound)
	o[exclusive] = json.Number(strconv.FormatInt(i+away, 10))
}

func example(o Object, text string) any {
	if o["type"] != "string" && json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}

// object describes a struct, in place or by a reference.
func (a *OpenAPI) object(t reflect.Type, dir Direction) (Object, error) {
	m := a.names.of(t)
	if m.name == "" {
		return a.members(t, dir)
	}
	w := way{t, dir}
	if name, ok := a.known[w]; ok {
		return component(name), nil
	}
	// What is sent and what is received under one name may differ, and then has two names.
	name := m.name
	for _, other := range []string{"", "Answer", "Answer2", "Answer3"} {
		name = m.name + other
		if _, taken := a.Schemas[name]; !taken {
			break
		}
	}
	a.known[w] = name
	a.Schemas[name] = Object{}
	o, err := a.members(t, dir)
	if err != nil {
		return nil, err
	}
	a.Schemas[name] = o
	if name != m.name && equal(a.Schemas[m.name], o) {
		delete(a.Schemas, name)
		a.known[w], name = m.name, m.name
	}
	return component(name), nil
}

func component(name string) Object { return Object{"$ref": "#/components/schemas/" + name} }

func (a *OpenAPI) members(t reflect.Type, dir Direction) (Object, error) {
	properties, needed, bases := Object{}, []string{}, []Object{}
	for _, f := range flat(t) {
		if f.embedded {
			base, err := a.object(f.typ, dir)
			if err != nil {
				return nil, err
			}
			bases = append(bases, base)
			continue
		}
		o, err := a.describe(f.typ, f.tag, dir)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t, f.name, err)
		}
		switch dir {
		case In:
			if f.tag.Get("required") == "true" || f.tag.Get("argument") == "true" {
				needed = append(needed, f.name)
			}
		case Out:
			if !f.omitted {
				needed = append(needed, f.name)
				if f.nullable {
					o = orNull(o)
				}
			}
		}
		properties[f.name] = o
	}
	o := Object{"type": "object", "properties": properties}
	if len(needed) > 0 {
		o["required"] = needed
	}
	if len(bases) > 0 {
		return Object{"allOf": append(bases, o)}, nil
	}
	return o, nil
}

// orNull is a value or null.
func orNull(o Object) Object {
	if kind, ok := o["type"].(string); ok && o["enum"] == nil {
		o["type"] = []string{kind, "null"}
		return o
	}
	return Object{"anyOf": []Object{o, {"type": "null"}}}
}
