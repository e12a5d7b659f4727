// SPDX-License-Identifier: AGPL-3.0-or-later

package body

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// shape is what a JSON value is read as.
type shape uint8

const (
	shapeString shape = iota
	shapeBool
	shapeInt
	shapeUint
	shapeFloat
	shapeSlice
	shapeStruct
	shapeObject
	shapeAny
)

// wrapping is how a Go value says that it may be absent.
type wrapping uint8

const (
	wrapNone wrapping = iota
	wrapPointer
	wrapOpt
)

// plan is everything that is known about one value before it is read. Plans are made once for each type and never change.
type plan struct {
	typ   reflect.Type // of the value inside the wrapping
	shape shape
	wrap  wrapping

	coerce      bool
	plain       bool // of an integer: neither a fraction nor an exponent, not even of value zero
	noNull      bool // null is refused where leniency would take it for absent
	repair      bool // half of a surrogate pair becomes U+FFFD
	emptyAbsent bool

	// Bounds of numbers. For integers they include what the Go type can hold. The text is as written in the tag.
	min, max           float64
	minInt, maxInt     int64
	minText, maxText   string
	multipleOf         float64 // 0: none
	multipleOfText     string
	minLength          int // code points
	maxLength          int
	enum               []string
	enumText           string
	minItems, maxItems int
	unique             bool

	elem   *plan       // of a slice
	object *structPlan // of a struct
}

type structPlan struct {
	fields   map[string]*field
	required []*field
	// whole is the field that takes the text of the object; nil for none.
	whole []int
}

type field struct {
	name  string
	index []int
	bit   int // in the set of fields seen
	plan  *plan
}

// maxFields is how many fields one struct may have; the widest body of the API has about 40.
const maxFields = 128

var (
	structPlans sync.Map // reflect.Type to *structPlan
	optional    = reflect.TypeFor[interface{ optional() }]()
	objectType  = reflect.TypeFor[Object]()
	anyType     = reflect.TypeFor[Any]()
	rawType     = reflect.TypeFor[json.RawMessage]()
)

// structPlanOf panics when t cannot describe a body: that is a mistake in the program, found when it starts.
func structPlanOf(t reflect.Type) *structPlan {
	if known, ok := structPlans.Load(t); ok {
		return known.(*structPlan)
	}
	return compileStruct(t, map[reflect.Type]*structPlan{})
}

func compileStruct(t reflect.Type, open map[reflect.Type]*structPlan) *structPlan {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("body: %s is not a struct", t))
	}
	if known, ok := structPlans.Load(t); ok {
		return known.(*structPlan)
	}
	if p, ok := open[t]; ok {
		return p // a type that contains itself
	}
	p := &structPlan{fields: make(map[string]*field)}
	open[t] = p
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Tag.Get("whole") == "true" {
			if f.Type != rawType || name != "-" || len(f.Index) > 1 {
				panic(fmt.Sprintf("body: %s.%s cannot take the whole object", t, f.Name))
			}
			p.whole = f.Index
			continue
		}
		if !f.IsExported() || name == "-" || (f.Anonymous && name == "") {
			continue
		}
		if name == "" {
			panic(fmt.Sprintf("body: %s.%s has no json name", t, f.Name))
		}
		for i := range len(f.Index) - 1 {
			if outer := t.FieldByIndex(f.Index[:i+1]); outer.Type.Kind() == reflect.Pointer {
				panic(fmt.Sprintf("body: %s embeds the pointer %s", t, outer.Name))
			}
		}
		if _, twice := p.fields[name]; twice {
			panic(fmt.Sprintf("body: %s has two fields named %q", t, name))
		}
		if len(p.fields) == maxFields {
			panic(fmt.Sprintf("body: %s has more than %d fields", t, maxFields))
		}
		fp, err := compileField(f, open)
		if err != nil {
			panic(fmt.Sprintf("body: %s.%s: %v", t, f.Name, err))
		}
		entry := &field{name: name, index: f.Index, bit: len(p.fields), plan: fp}
		p.fields[name] = entry
		if f.Tag.Get("required") == "true" {
			p.required = append(p.required, entry)
		}
	}
	structPlans.Store(t, p)
	return p
}

func compileField(f reflect.StructField, open map[reflect.Type]*structPlan) (*plan, error) {
	p, err := compileType(f.Type, open)
	if err != nil {
		return nil, err
	}
	item := p
	for item.shape == shapeSlice {
		item = item.elem
	}
	if item.shape == shapeAny && f.Tag.Get("type") == "object" {
		item.shape = shapeObject
	}
	tags := tagReader{tag: f.Tag}
	p.coerce = tags.flag("coerce")
	item.coerce = item.coerce || p.coerce
	p.noNull = tags.flag("nonull")
	p.repair = tags.flag("repair")
	p.emptyAbsent = tags.flag("emptyabsent")
	if p.emptyAbsent && p.shape != shapeString {
		return nil, fmt.Errorf("emptyabsent is for strings")
	}
	if p.shape == shapeSlice {
		p.minItems = tags.count("minItems", 0)
		p.maxItems = tags.count("maxItems", DefaultMaxItems)
		p.unique = tags.flag("uniqueItems")
		if p.unique && p.elem.shape > shapeFloat {
			return nil, fmt.Errorf("uniqueItems is for scalars")
		}
	}
	switch item.shape {
	case shapeString:
		item.minLength = tags.count("minLength", 0)
		item.maxLength = tags.count("maxLength", math.MaxInt)
		if list := f.Tag.Get("enum"); list != "" {
			item.enum = strings.Split(list, ",")
			if ours := f.Tag.Get("ours"); ours != "" {
				item.enum = append(item.enum, strings.Split(ours, ",")...)
			}
			quoted := make([]string, len(item.enum))
			for i, s := range item.enum {
				quoted[i] = strconv.Quote(s)
			}
			item.enumText = "[" + strings.Join(quoted, ", ") + "]"
		}
	case shapeInt, shapeUint, shapeFloat:
		item.plain = tags.flag("plain")
		if text, v := tags.number("minimum"); text != "" && v >= item.min {
			item.min, item.minText = v, text
			item.minInt = int64(math.Ceil(v))
		}
		if text, v := tags.number("maximum"); text != "" && v <= item.max {
			item.max, item.maxText = v, text
			item.maxInt = int64(math.Floor(v))
		}
		item.multipleOfText, item.multipleOf = tags.number("multipleOf")
		if item.multipleOf < 0 || (item.shape != shapeFloat && item.multipleOf != math.Trunc(item.multipleOf)) {
			tags.fail("multipleOf", item.multipleOfText)
		}
	}
	return p, tags.finish()
}

func compileType(t reflect.Type, open map[reflect.Type]*structPlan) (*plan, error) {
	p := &plan{typ: t}
	switch {
	case t.Kind() == reflect.Pointer:
		p.wrap, p.typ = wrapPointer, t.Elem()
	case t.Implements(optional):
		p.wrap, p.typ = wrapOpt, t.Field(0).Type
	}
	p.min, p.max = math.Inf(-1), math.Inf(1)
	switch kind := p.typ.Kind(); {
	case p.typ == objectType:
		p.shape = shapeObject
	case p.typ == anyType, p.typ == rawType:
		p.shape = shapeAny
	case kind == reflect.String:
		p.shape = shapeString
	case kind == reflect.Bool:
		p.shape = shapeBool
	case kind >= reflect.Int && kind <= reflect.Int64:
		p.shape = shapeInt
		bits := p.typ.Bits()
		p.setRange(-1<<(bits-1), 1<<(bits-1)-1)
	case kind >= reflect.Uint && kind <= reflect.Uint64:
		p.shape = shapeUint
		// What exceeds int64 is of no use to anyone who speaks JSON.
		p.setRange(0, 1<<min(p.typ.Bits(), 63)-1)
	case kind == reflect.Float64:
		p.shape = shapeFloat
		p.minText, p.maxText = "-1.7976931348623157e308", "1.7976931348623157e308"
	case kind == reflect.Slice:
		p.shape = shapeSlice
		elem, err := compileType(p.typ.Elem(), open)
		if err != nil {
			return nil, err
		}
		p.elem = elem
		p.maxItems = DefaultMaxItems
	case kind == reflect.Struct:
		if p.typ.Implements(optional) {
			return nil, fmt.Errorf("%s is optional twice", t)
		}
		p.shape = shapeStruct
		p.object = compileStruct(p.typ, open)
	default:
		return nil, fmt.Errorf("type %s is not supported", t)
	}
	if p.shape == shapeString {
		p.maxLength = math.MaxInt
	}
	return p, nil
}

func (p *plan) setRange(lowest, highest int64) {
	p.minInt, p.maxInt = lowest, highest
	p.min, p.max = float64(lowest), float64(highest)
	p.minText, p.maxText = strconv.FormatInt(lowest, 10), strconv.FormatInt(highest, 10)
}

func (p *plan) allows(s string) bool { return p.enum == nil || slices.Contains(p.enum, s) }

// tagReader reads the tags of one field and keeps the first mistake.
type tagReader struct {
	tag reflect.StructTag
	err error
}

func (t *tagReader) flag(name string) bool {
	text, ok := t.tag.Lookup(name)
	if ok && text != "true" && text != "false" {
		t.fail(name, text)
	}
	return text == "true"
}

func (t *tagReader) count(name string, absent int) int {
	text, ok := t.tag.Lookup(name)
	if !ok {
		return absent
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.fail(name, text)
	}
	return n
}

func (t *tagReader) number(name string) (string, float64) {
	text, ok := t.tag.Lookup(name)
	if !ok {
		return "", 0
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.fail(name, text)
	}
	return text, v
}

func (t *tagReader) fail(name, text string) {
	if t.err == nil {
		t.err = fmt.Errorf("bad tag %s:%q", name, text)
	}
}

func (t *tagReader) finish() error { return t.err }
