// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"horde/internal/fediseer"
	"horde/internal/fediseer/trust"
	"horde/internal/horde"
)

// operation is one method of one path.
type operation struct {
	method, path string
	summary      string
	params       []param
	body         *object // nil: the body is not looked at
	key          keyUse
	limits       limits
	cache        time.Duration // of successful GETs; 0 is not at all
	answer       any           // a value of the answer's type, for the document
	handle       func(*request) (any, error)
}

// keyUse says whether an operation wants the apikey header.
type keyUse int

const (
	keyNone keyUse = iota
	keyOptional
	keyRequired
)

// param is a parameter in the query.
type param struct {
	name, kind, doc string // kind is "string", "integer" or "boolean"
	def             any
}

// object is the schema of a JSON body.
type object struct {
	name   string // in the document
	fields []field
}

// field is a property of a body.
type field struct {
	name     string
	kind     string // "string", "integer", "boolean" or "array"
	required bool
	min, max int // length of a string, range of an integer; max 0 is none
	enum     []string
	items    *object // of an array
	doc      string
}

// run validates and handles a request.
func (op *operation) run(q *request) (any, error) {
	if op.body != nil {
		if err := q.readBody(); err != nil {
			return nil, err
		}
	}
	for _, p := range op.params {
		if p.kind != "integer" {
			continue
		}
		if _, err := q.integer(p.name); err != nil {
			return nil, err
		}
	}
	if op.key == keyRequired && !q.cred().Given {
		return nil, fediseer.ErrNoKey
	}
	return op.handle(q)
}

// request is a request while it is handled.
type request struct {
	r    *http.Request
	op   *operation
	body map[string]any
}

// cred is what came in the apikey header.
func (q *request) cred() trust.Credential {
	v, given := q.r.Header["Apikey"]
	c := trust.Credential{Given: given}
	if given {
		c.Key = strings.TrimSpace(v[0])
	}
	return c
}

func (q *request) domain() string { return q.r.PathValue("domain") }

// flag is a boolean in the query: any text is true, even "false".
func (q *request) flag(name string) bool { return q.r.URL.Query().Get(name) != "" }

// integer is an integer in the query, or nil when it is absent.
func (q *request) integer(name string) (*int, error) {
	v, ok := q.r.URL.Query()[name]
	if !ok {
		return nil, nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(v[0]))
	if err != nil {
		return nil, horde.Invalid(map[string]string{name: fmt.Sprintf("%q is not an integer", v[0])})
	}
	return &n, nil
}

// number is an integer in the query that has a default. It was validated before the handler.
func (q *request) number(name string, def int) int {
	if n, err := q.integer(name); err == nil && n != nil {
		return *n
	}
	return def
}

// csv is a comma-separated list in the query, trimmed and in lower case; nil when it is absent or empty.
func (q *request) csv(name string) []string { return fediseer.SplitList(q.r.URL.Query().Get(name)) }

// text, integerField and truth read validated properties of the body. Absent ones are nil.
func (q *request) text(name string) *string {
	s, ok := q.body[name].(string)
	if !ok {
		return nil
	}
	return &s
}

func (q *request) stringOr(name, def string) string {
	if s := q.text(name); s != nil {
		return *s
	}
	return def
}

func (q *request) integerField(name string) *int {
	n, ok := q.body[name].(json.Number)
	if !ok {
		return nil
	}
	i, err := strconv.Atoi(n.String())
	if err != nil {
		return nil
	}
	return &i
}

func (q *request) truth(name string) bool {
	b, _ := q.body[name].(bool)
	return b
}

// readBody reads and validates a JSON object.
func (q *request) readBody() error {
	raw, err := readAll(q.r, maxBody)
	if err != nil {
		return err
	}
	kind, _, _ := mime.ParseMediaType(q.r.Header.Get("Content-Type"))
	if kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return horde.Invalid(map[string]string{"": "The body must be JSON and say so: Content-Type: application/json"})
	}
	v, err := decodeJSON(raw)
	if err != nil {
		return horde.Invalid(map[string]string{"": err.Error()})
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return horde.Invalid(map[string]string{"": "The body must be a JSON object"})
	}
	bad := map[string]string{}
	q.op.body.validate(obj, "", bad)
	if len(bad) > 0 {
		return horde.Invalid(bad)
	}
	q.body = obj
	return nil
}

func readAll(r *http.Request, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fediseer.Refuse(http.StatusRequestEntityTooLarge, "The body is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, fediseer.Refuse(http.StatusBadRequest, "The body could not be read")
	}
	return raw, nil
}

// decodeJSON decodes exactly one JSON value.
func decodeJSON(raw []byte) (any, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errors.New("the body is not JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

// maxFieldErrors bounds the list of what is wrong with a body.
const maxFieldErrors = 100

func (o *object) validate(v map[string]any, path string, bad map[string]string) {
	for _, f := range o.fields {
		at := path + f.name
		x, ok := v[f.name]
		switch {
		case len(bad) >= maxFieldErrors:
			return
		case !ok && f.required:
			bad[at] = fmt.Sprintf("%q is a required property", f.name)
		case ok:
			f.validate(x, at, bad)
		}
	}
}

func (f *field) validate(x any, at string, bad map[string]string) {
	switch f.kind {
	case "string":
		s, ok := x.(string)
		n := utf8.RuneCountInString(s)
		switch {
		case !ok:
			bad[at] = "is not of type string"
		case n < f.min:
			bad[at] = fmt.Sprintf("is shorter than %d characters", f.min)
		case f.max > 0 && n > f.max:
			bad[at] = fmt.Sprintf("is longer than %d characters", f.max)
		case f.enum != nil && !slices.Contains(f.enum, s):
			bad[at] = "is not one of " + strings.Join(f.enum, ", ")
		}
	case "integer":
		num, ok := x.(json.Number)
		if !ok {
			bad[at] = "is not of type integer"
			return
		}
		n, err := strconv.Atoi(num.String())
		if err != nil {
			bad[at] = "is not of type integer"
		} else if n < f.min || f.max > 0 && n > f.max {
			bad[at] = fmt.Sprintf("is not between %d and %d", f.min, f.max)
		}
	case "boolean":
		if _, ok := x.(bool); !ok {
			bad[at] = "is not of type boolean"
		}
	case "array":
		list, ok := x.([]any)
		if !ok {
			bad[at] = "is not of type array"
			return
		}
		for i, e := range list {
			inner := at + "." + strconv.Itoa(i)
			obj, ok := e.(map[string]any)
			if !ok {
				bad[inner] = "is not of type object"
				continue
			}
			f.items.validate(obj, inner+".", bad)
		}
	}
}
