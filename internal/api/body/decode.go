// SPDX-License-Identifier: AGPL-3.0-or-later

package body

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"horde/internal/horde"
)

const (
	// MaxDepth is how many objects and arrays a body may have inside each other.
	MaxDepth = 32
	// MaxErrors is how many violations are reported at once; further ones are dropped.
	MaxErrors = 100
	// DefaultMaxItems is the longest array where no maxItems says otherwise. The longest that honest programs send are
	// the models of a worker, about 500.
	DefaultMaxItems = 10_000
	// maxShown is how many bytes of an offending value an error repeats.
	maxShown = 100
)

// Options chooses how forgiving a decoder is. The zero value is strict.
type Options struct {
	// Coerce reads the whole body leniently: an integer also from a number with a fraction, which is cut off, or from a
	// string of digits; a number also from a string of digits; a boolean also from 0 and 1; a string also from a number
	// or a boolean; and null counts as absent. The tag coerce:"true" does the same to one field.
	Coerce bool
	// Optional lets a body be missing altogether: it then counts as {}.
	Optional bool
}

// Decoder reads bodies into values of type T. It is made once by [Compile] and may be used by any number of goroutines.
type Decoder[T any] struct{ typed *TypeDecoder }

// Compile returns a decoder for T with the given options, of which there may be one. It panics when the tags of T make no
// sense.
func Compile[T any](opts ...Options) *Decoder[T] {
	var o Options
	if len(opts) > 0 {
		o = opts[0]
	}
	return &Decoder[T]{CompileType(reflect.TypeFor[T](), o)}
}

// TypeDecoder is [Decoder] for a type that is known at run time only.
type TypeDecoder struct {
	opts Options
	plan *structPlan
}

// CompileType is [Compile] for a type that is known at run time only.
func CompileType(t reflect.Type, opts Options) *TypeDecoder {
	return &TypeDecoder{opts: opts, plan: structPlanOf(t)}
}

// Report is what a decoder noticed about a body that is valid.
type Report struct {
	// NUL is whether a declared string holds the character U+0000, which no database column takes. Strings inside an
	// [Object] or [Any] count.
	NUL bool
}

// Decode reads text into dst, which must be a zero value. The error is a *[horde.Error] with status 400: with Fields when
// the text is JSON but does not validate, and with a message only when it is empty or no JSON. What dst holds after an
// error is undefined. Nothing in dst refers to text.
func (d *Decoder[T]) Decode(text []byte, dst *T) (Report, error) {
	return d.typed.Decode(text, reflect.ValueOf(dst).Elem())
}

// Decode is [Decoder.Decode] into a value that can be set.
func (d *TypeDecoder) Decode(text []byte, dst reflect.Value) (Report, error) {
	return decode(d.plan, d.opts, text, dst)
}

var (
	decoders = sync.Pool{New: func() any { return new(decoder) }}
	syntax   = jsontext.AllowDuplicateNames(true)
	lenient  = jsontext.AllowInvalidUTF8(true) // for halves of surrogate pairs; the text itself is checked before
)

// decoder is the state of one pass.
type decoder struct {
	json   jsontext.Decoder
	reader bytes.Buffer
	text   []byte
	coerce bool
	nul    bool
	path   []byte // of the current value
	errors map[string]string
	// dropped is whether there were more violations than MaxErrors. A later value of the same name may then make the
	// recorded ones undone, never those that were not recorded.
	dropped bool
}

func decode(plan *structPlan, opts Options, text []byte, dst reflect.Value) (Report, error) {
	if blank(text) {
		if opts.Optional {
			text = []byte("{}")
		} else {
			return Report{}, malformed("The request body is empty. A JSON object is expected")
		}
	}
	if !utf8.Valid(text) {
		return Report{}, malformed("The request body is not UTF-8")
	}
	d := decoders.Get().(*decoder)
	defer d.release()
	d.text, d.coerce = text, opts.Coerce
	d.reader = *bytes.NewBuffer(text)
	d.json.Reset(&d.reader, syntax, lenient)

	err := d.root(plan, dst)
	switch {
	case err != nil:
		return Report{}, d.malformed(err)
	case d.dropped && len(d.errors) == 0:
		return Report{}, horde.Invalid(map[string]string{"": "The body has too many violations to report"})
	case len(d.errors) > 0:
		return Report{}, horde.Invalid(d.errors)
	}
	return Report{NUL: d.nul}, nil
}

func (d *decoder) release() {
	d.reader = bytes.Buffer{}
	d.text, d.errors = nil, nil
	d.path = d.path[:0]
	d.coerce, d.nul, d.dropped = false, false, false
	decoders.Put(d)
}

func blank(text []byte) bool { return len(bytes.TrimLeft(text, " \t\r\n")) == 0 }

func malformed(message string) error {
	return &horde.Error{Status: http.StatusBadRequest, Message: message}
}

var errDepth = fmt.Errorf("values are nested more than %d deep", MaxDepth)

// malformed puts what the parser says in words that do not repeat the input.
func (d *decoder) malformed(err error) error {
	at := d.json.InputOffset()
	var s *jsontext.SyntacticError
	if errors.As(err, &s) {
		err, at = s.Err, s.ByteOffset
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	reason := strings.TrimPrefix(err.Error(), "jsontext: ")
	return malformed(fmt.Sprintf("The request body is not valid JSON: %s at byte %d", reason, at))
}

// The methods below return an error only for text that is not JSON; violations are recorded with fail.

func (d *decoder) root(plan *structPlan, dst reflect.Value) error {
	if d.json.PeekKind() == '{' {
		if err := d.object(plan, dst); err != nil {
			return err
		}
	} else {
		raw, err := d.skip()
		if err != nil {
			return err
		}
		d.fail(show(raw) + " is not of type 'object'")
	}
	if _, err := d.json.ReadToken(); err == nil {
		return errors.New("something follows the object")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (d *decoder) object(plan *structPlan, dst reflect.Value) error {
	start := d.start()
	if err := d.enter(); err != nil {
		return err
	}
	var seen [maxFields / 64]uint64
	for d.json.PeekKind() != '}' {
		name, err := d.json.ReadValue()
		if err != nil {
			return err
		}
		f := plan.fieldNamed(name)
		if f == nil {
			if _, err := d.skip(); err != nil {
				return err
			}
			continue
		}
		v := dst.FieldByIndex(f.index)
		above := d.push(f.name)
		word, mask := &seen[f.bit/64], uint64(1)<<(f.bit%64)
		if *word&mask != 0 {
			if _, err := d.skip(); err != nil {
				return err
			}
			d.fail("'" + f.name + "' is there more than once")
			d.path = d.path[:above]
			continue
		}
		*word |= mask
		absent, err := d.value(f.plan, v)
		if err != nil {
			return err
		}
		if absent {
			seen[f.bit/64] &^= 1 << (f.bit % 64)
		}
		d.path = d.path[:above]
	}
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	if plan.whole != nil {
		text := d.text[start:d.json.InputOffset()]
		d.nul = d.nul || holdsNUL(text)
		dst.FieldByIndex(plan.whole).SetBytes(bytes.Clone(text))
	}
	for _, f := range plan.required {
		if seen[f.bit/64]&(1<<(f.bit%64)) == 0 {
			above := d.push(f.name)
			d.fail("'" + f.name + "' is a required property")
			d.path = d.path[:above]
		}
	}
	return nil
}

// fieldNamed returns the field of a name as it stands in the text, with its quotes.
func (p *structPlan) fieldNamed(quoted []byte) *field {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') < 0 {
		return p.fields[string(name)]
	}
	unquoted, _ := unquote(quoted)
	return p.fields[unquoted]
}

// value reads one value. It returns true when the value counts as absent.
func (d *decoder) value(p *plan, dst reflect.Value) (absent bool, err error) {
	kind := d.json.PeekKind()
	if p.shape == shapeAny {
		raw, err := d.skip()
		if err == nil {
			d.nul = d.nul || holdsNUL(raw)
			p.in(dst).SetBytes(bytes.Clone(raw))
		}
		return false, err
	}
	if kind == 'n' && (d.coerce || p.coerce) && !p.noNull {
		_, err := d.skip()
		return true, err
	}
	switch p.shape {
	case shapeStruct:
		if kind == '{' {
			return false, d.object(p.object, p.in(dst))
		}
	case shapeSlice:
		if kind == '[' {
			return false, d.array(p, p.in(dst))
		}
	case shapeObject:
		if kind == '{' {
			raw, err := d.skip()
			if err == nil {
				d.nul = d.nul || holdsNUL(raw)
				p.in(dst).SetBytes(bytes.Clone(raw))
			}
			return false, err
		}
	default:
		if kind != '{' && kind != '[' {
			raw, err := d.json.ReadValue()
			if err != nil {
				return false, err
			}
			return d.scalar(p, dst, kind, raw), nil
		}
	}
	raw, err := d.skip()
	if err == nil {
		d.failType(p, raw)
	}
	return false, err
}

// scalar reads a string, a number or a literal that has been taken from the text. It returns true when the value counts
// as absent.
func (d *decoder) scalar(p *plan, dst reflect.Value, kind jsontext.Kind, raw []byte) (absent bool) {
	coerce := d.coerce || p.coerce
	switch p.shape {
	case shapeString:
		var s string
		switch {
		case kind == '"':
			var whole bool
			if s, whole = unquote(raw); !whole && !p.repair {
				d.fail(show(raw) + " holds half of a surrogate pair")
				return false
			}
		case coerce && kind != 'n':
			s = string(raw)
		default:
			d.failType(p, raw)
			return false
		}
		if s == "" && p.emptyAbsent {
			return true
		}
		if reason := p.stringFault(s); reason != "" {
			d.fail(show(raw) + " " + reason)
			return false
		}
		d.nul = d.nul || strings.IndexByte(s, 0) >= 0
		p.in(dst).SetString(s)
	case shapeBool:
		switch {
		case kind == 't' || kind == 'f':
			p.in(dst).SetBool(kind == 't')
		case coerce && (string(raw) == "0" || string(raw) == "1"):
			p.in(dst).SetBool(raw[0] == '1')
		default:
			d.failType(p, raw)
		}
	default:
		number := raw
		if kind == '"' && coerce {
			number = raw[1 : len(raw)-1]
			if !digits(number) {
				d.failType(p, raw)
				return false
			}
		} else if kind != '0' {
			d.failType(p, raw)
			return false
		}
		if reason := p.number(dst, number, coerce); reason != "" {
			d.fail(reason)
		}
	}
	return false
}

// number reads a JSON number and returns why it is refused, or "".
func (p *plan) number(dst reflect.Value, raw []byte, truncate bool) (reason string) {
	var i int64
	var f float64
	if p.shape == shapeFloat {
		f, _ = strconv.ParseFloat(string(raw), 64) // infinite when out of range
	} else {
		var ok bool
		if i, f, ok = integer(raw, truncate); !ok || p.plain && bytes.ContainsAny(raw, ".eE") {
			return p.notOfType(raw)
		}
	}
	isInt := p.shape != shapeFloat
	switch {
	case f < p.min || math.IsInf(f, -1) || (isInt && f < 0 && i < p.minInt):
		return show(raw) + " is less than the minimum of " + p.minText
	case f > p.max || math.IsInf(f, 1) || (isInt && f > 0 && i > p.maxInt):
		return show(raw) + " is greater than the maximum of " + p.maxText
	case p.multipleOf != 0 && isInt && i%int64(p.multipleOf) != 0, p.multipleOf != 0 && !isInt && !isMultiple(f, p.multipleOf):
		return show(raw) + " is not a multiple of " + p.multipleOfText
	case p.shape == shapeFloat:
		p.in(dst).SetFloat(f)
	case p.shape == shapeUint:
		p.in(dst).SetUint(uint64(i))
	default:
		p.in(dst).SetInt(i)
	}
	return ""
}

// integer reads a JSON number. ok is false when it has a fraction that may not be cut off. i is right whenever it fits,
// and saturated otherwise; f is the value in float64 precision, infinite when it has no such value.
func integer(raw []byte, truncate bool) (i int64, f float64, ok bool) {
	if len(raw) <= 20 {
		i, err := strconv.ParseInt(string(raw), 10, 64)
		switch {
		case err == nil:
			return i, float64(i), true
		case errors.Is(err, strconv.ErrRange): // as a float64 the first values beyond the range are not told from its ends
			return i, math.Inf(cmp.Compare(i, 0)), true
		}
	}
	f, _ = strconv.ParseFloat(string(raw), 64)
	whole := math.Trunc(f)
	if whole != f && !truncate {
		return 0, f, false
	}
	switch {
	case whole >= math.MaxInt64: // as a float64 that is 2^63
		return math.MaxInt64, math.Inf(1), true
	case whole < math.MinInt64:
		return math.MinInt64, math.Inf(-1), true
	}
	return int64(whole), whole, true
}

// isMultiple allows for the rounding of decimal fractions.
func isMultiple(f, of float64) bool {
	q := f / of
	return math.Abs(q-math.Round(q)) <= 1e-9*max(1, math.Abs(q))
}

func digits(s []byte) bool {
	s = bytes.TrimPrefix(s, []byte("-"))
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(s) > 0
}

// stringFault returns the reason why s is refused, to follow the value, or "".
func (p *plan) stringFault(s string) string {
	if p.minLength > 0 || p.maxLength < len(s) {
		switch n := utf8.RuneCountInString(s); {
		case n < p.minLength && n == 0 && p.minLength == 1:
			return "should be non-empty"
		case n < p.minLength:
			return "is too short (at least " + strconv.Itoa(p.minLength) + " characters)"
		case n > p.maxLength:
			return "is too long (at most " + strconv.Itoa(p.maxLength) + " characters)"
		}
	}
	if !p.allows(s) {
		return "is not one of " + p.enumText
	}
	return ""
}

func (d *decoder) array(p *plan, dst reflect.Value) error {
	start := d.start()
	if err := d.enter(); err != nil {
		return err
	}
	dst.Set(reflect.MakeSlice(p.typ, 0, 0))
	tooLong := false
	for n := 0; d.json.PeekKind() != ']'; n++ {
		if n >= p.maxItems {
			tooLong = true
			if _, err := d.skip(); err != nil {
				return err
			}
			continue
		}
		dst.Grow(1)
		dst.SetLen(n + 1)
		above := d.pushIndex(n)
		absent, err := d.value(p.elem, dst.Index(n))
		if err != nil {
			return err
		}
		if absent { // an item cannot be
			d.failType(p.elem, []byte("null"))
		}
		d.path = d.path[:above]
	}
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	raw := d.text[start:d.json.InputOffset()]
	switch n := dst.Len(); {
	case tooLong:
		d.fail(show(raw) + " is too long (at most " + strconv.Itoa(p.maxItems) + " items)")
	case n < p.minItems && n == 0 && p.minItems == 1:
		d.fail(show(raw) + " should be non-empty")
	case n < p.minItems:
		d.fail(show(raw) + " is too short (at least " + strconv.Itoa(p.minItems) + " items)")
	case p.unique && repeats(dst, p.elem):
		d.fail(show(raw) + " has non-unique elements")
	}
	return nil
}

// repeats says whether a slice of scalars holds a value twice.
func repeats(slice reflect.Value, elem *plan) bool {
	seen := make(map[any]struct{}, slice.Len())
	for i := range slice.Len() {
		item := slice.Index(i)
		if elem.wrap == wrapPointer && item.IsNil() {
			continue
		}
		seen[elem.in(item).Interface()] = struct{}{}
		if len(seen) <= i {
			return true
		}
	}
	return false
}

// enter reads the start of an object or an array.
func (d *decoder) enter() error {
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	if d.json.StackDepth() > MaxDepth {
		return errDepth
	}
	return nil
}

// skip reads any one value and returns its text.
func (d *decoder) skip() ([]byte, error) {
	switch d.json.PeekKind() {
	case '{', '[':
	default:
		return d.json.ReadValue()
	}
	start, depth := d.start(), d.json.StackDepth()
	for {
		if err := d.enter(); err != nil {
			return nil, err
		}
		if d.json.StackDepth() == depth {
			return d.text[start:d.json.InputOffset()], nil
		}
	}
}

// start returns the offset of the next token, which is known to be there.
func (d *decoder) start() int {
	at := int(d.json.InputOffset())
	for at < len(d.text) && strings.IndexByte(" \t\r\n:,", d.text[at]) >= 0 {
		at++
	}
	return at
}

// push appends a name to the path and returns the length to cut it back to.
func (d *decoder) push(name string) (above int) {
	above = len(d.path)
	if above > 0 {
		d.path = append(d.path, '.')
	}
	d.path = append(d.path, name...)
	return above
}

func (d *decoder) pushIndex(i int) (above int) {
	above = len(d.path)
	d.path = strconv.AppendInt(append(d.path, '.'), int64(i), 10)
	return above
}

func (d *decoder) fail(reason string) {
	if d.errors == nil {
		d.errors = make(map[string]string)
	}
	if _, known := d.errors[string(d.path)]; !known && len(d.errors) == MaxErrors {
		d.dropped = true
		return
	}
	d.errors[string(d.path)] = reason
}

func (d *decoder) failType(p *plan, raw []byte) {
	d.fail(p.notOfType(raw))
}

// in returns the value inside the wrapping, and marks it as set.
func (p *plan) in(dst reflect.Value) reflect.Value {
	switch p.wrap {
	case wrapPointer:
		if dst.IsNil() {
			dst.Set(reflect.New(p.typ))
		}
		return dst.Elem()
	case wrapOpt:
		dst.Field(1).SetBool(true)
		return dst.Field(0)
	}
	return dst
}

func (p *plan) notOfType(raw []byte) string {
	return show(raw) + " is not of type '" + p.typeName() + "'"
}

func (p *plan) typeName() string {
	switch p.shape {
	case shapeString:
		return "string"
	case shapeBool:
		return "boolean"
	case shapeInt, shapeUint:
		return "integer"
	case shapeFloat:
		return "number"
	case shapeSlice:
		return "array"
	}
	return "object"
}

// unquote returns the text of a JSON string, and whether it is whole: for half of a surrogate pair U+FFFD stands in it.
func unquote(quoted []byte) (s string, whole bool) {
	if inner := quoted[1 : len(quoted)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	text, err := jsontext.AppendUnquote(nil, quoted) // the text is valid otherwise: it was read before
	return string(text), err == nil
}

// show returns text as an error repeats it: in short.
func show(text []byte) string {
	if len(text) <= maxShown {
		return string(text)
	}
	end := maxShown
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return string(text[:end]) + "…"
}
