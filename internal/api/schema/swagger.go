// SPDX-License-Identifier: AGPL-3.0-or-later

package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Swagger describes types as the reference publishes them.
type Swagger struct {
	names names
	// Definitions has every named object that was met, by name.
	Definitions map[string]Object
	open        map[reflect.Type]bool // being described: a type may contain itself
	later       []base
}

// base is a definition that is composed of one of another type, which must exist when all is described.
type base struct{ definition, of string }

// NewSwagger returns a description of nothing yet.
func NewSwagger(models []Model) *Swagger {
	return &Swagger{names: namesOf(models), Definitions: map[string]Object{}, open: map[reflect.Type]bool{}}
}

// Of describes a type.
func (s *Swagger) Of(t reflect.Type) (Object, error) { return s.describe(t, "") }

// Argument describes a value outside of the body, in the few words that Swagger has for these.
func (s *Swagger) Argument(t reflect.Type, tag reflect.StructTag) (Object, error) {
	inner, _ := bare(t)
	o := scalar(inner, tag)
	if o == nil {
		return nil, unsupported(t)
	}
	o = Object{"type": o["type"]}
	if d, ok := tag.Lookup("default"); ok {
		o["default"] = value(o, d)
	}
	publish(o, tag)
	return o, nil
}

// Finish checks that every base exists.
func (s *Swagger) Finish() error {
	for _, b := range s.later {
		if s.Definitions[b.of] == nil {
			return fmt.Errorf("%s is composed of %s, which nothing defines", b.definition, b.of)
		}
	}
	return nil
}

func (s *Swagger) describe(t reflect.Type, tag reflect.StructTag) (Object, error) {
	t, _ = bare(t)
	o := scalar(t, tag)
	switch {
	case o != nil:
		if t.Implements(enumeratedType) {
			o["enum"] = reflect.Zero(t).Interface().(enumerated).PublishedEnum()
		}
	case isJSON(t):
		if name := tag.Get("model"); name != "" {
			return s.ref(name, Object{"type": "object", "properties": Object{
				"*": Object{"type": "object", "additionalProperties": Object{"type": tag.Get("wildcard")}},
			}})
		}
		o = Object{"type": "object"}
	case t.Kind() == reflect.Slice:
		items, err := s.describe(t.Elem(), reflect.StructTag(itemTag(tag)))
		if err != nil {
			return nil, err
		}
		o = Object{"type": "array", "items": items}
		if tag.Get("uniqueItems") == "true" {
			o["uniqueItems"] = true
		}
		if d := tag.Get("doc"); d != "" {
			o["description"] = d
		}
		return o, nil
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		members, err := s.describe(t.Elem(), "")
		if err != nil {
			return nil, err
		}
		o = Object{"type": "object", "additionalProperties": members}
		if tag.Get("wildcard") == "none" {
			delete(o, "additionalProperties")
		}
	case t.Kind() == reflect.Struct:
		return s.object(t)
	default:
		return nil, unsupported(t)
	}
	if d, ok := tag.Lookup("default"); ok {
		o["default"] = value(o, d)
	}
	if d := tag.Get("doc"); d != "" {
		o["description"] = d
	}
	publish(o, tag)
	return o, nil
}

// itemTag is the tag of a list's items: bounds of values and lengths are theirs, the rest is the list's.
func itemTag(tag reflect.StructTag) string {
	var b strings.Builder
	for _, k := range []string{"minLength", "maxLength", "minimum", "maximum", "multipleOf", "enum", "ours", "published", "model", "wildcard"} {
		if v, ok := tag.Lookup(k); ok {
			fmt.Fprintf(&b, "%s:%q ", k, v)
		}
	}
	return b.String()
}

// publish changes the keywords that the reference publishes differently.
func publish(o Object, tag reflect.StructTag) {
	list := tag.Get("published")
	if list == "" || list == "-" {
		return
	}
	for change := range strings.SplitSeq(list, ",") {
		k, v, _ := strings.Cut(change, "=")
		switch {
		case k == "required":
		case v == "":
			delete(o, k)
		case k == "type" || k == "format":
			o[k] = v
		case k == "default":
			o[k] = value(o, v)
		default:
			o[k] = json.Number(v)
		}
	}
}

// object describes a struct, in place or by a reference to its definition.
func (s *Swagger) object(t reflect.Type) (Object, error) {
	m := s.names.of(t)
	if m.name != "" && s.open[t] {
		return reference(m.name), nil
	}
	s.open[t] = true
	defer delete(s.open, t)

	own := Object{"type": "object", "properties": Object{}}
	parts := map[string]Object{"": own}
	for _, b := range m.bases {
		parts[b] = Object{"type": "object", "properties": Object{}}
	}
	var bases []string
	if err := s.members(t, m, parts, &bases); err != nil {
		return nil, err
	}
	if m.name == "" {
		return own, nil
	}
	if len(m.bases) > 0 {
		bases = m.bases[:1]
		for i, b := range slices.Backward(m.bases) {
			if len(parts[b]["properties"].(Object)) == 0 {
				s.later = append(s.later, base{m.name, b})
				continue
			}
			if _, err := s.ref(b, composed(m.bases[i+1:min(i+2, len(m.bases))], parts[b])); err != nil {
				return nil, err
			}
		}
	}
	return s.ref(m.name, composed(bases, own))
}

// members adds the fields of a struct to the parts of its definition.
func (s *Swagger) members(t reflect.Type, m Model, parts map[string]Object, bases *[]string) error {
	for _, f := range fieldsOf(t) {
		if f.tag.Get("published") == "-" {
			continue
		}
		if f.embedded {
			if inner := s.names.of(f.typ); inner.name != "" && len(m.bases) == 0 {
				if _, err := s.object(f.typ); err != nil {
					return err
				}
				*bases = append(*bases, inner.name)
				continue
			}
			if err := s.members(f.typ, m, parts, bases); err != nil {
				return err
			}
			continue
		}
		part := parts[f.tag.Get("part")]
		if part == nil {
			continue // of a base that another type defines
		}
		o, err := s.describe(f.typ, f.tag)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", t, f.name, err)
		}
		part["properties"].(Object)[f.name] = o
		if Required(f.tag) {
			list, _ := part["required"].([]string)
			part["required"] = slices.Sorted(slices.Values(append(list, f.name)))
		}
	}
	return nil
}

// Required tells whether the reference publishes a field as required.
func Required(tag reflect.StructTag) bool {
	for change := range strings.SplitSeq(tag.Get("published"), ",") {
		if k, v, ok := strings.Cut(change, "="); ok && k == "required" {
			return v == "true"
		}
	}
	return tag.Get("required") == "true"
}

// composed is a definition on top of others.
func composed(bases []string, own Object) Object {
	if len(bases) == 0 {
		return own
	}
	all := []Object{}
	for _, b := range bases {
		all = append(all, reference(b))
	}
	return Object{"allOf": append(all, own)}
}

func reference(name string) Object { return Object{"$ref": "#/definitions/" + name} }

// ref enters a definition and returns a reference to it.
func (s *Swagger) ref(name string, definition Object) (Object, error) {
	if other := s.Definitions[name]; other != nil && !equal(other, definition) {
		a, _ := json.Marshal(other)
		b, _ := json.Marshal(definition)
		return nil, fmt.Errorf("two definitions of %s: %s and %s", name, a, b)
	}
	s.Definitions[name] = maps.Clone(definition)
	return reference(name), nil
}
