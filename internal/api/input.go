// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"horde/internal/api/body"
	"horde/internal/horde"
)

// inputPlan is how the input type of an operation is filled.
type inputPlan struct {
	arguments []argument
	query     bool // whether one of the arguments is in the query
	body      *body.TypeDecoder
	bodyType  reflect.Type
	bodyIndex []int
	// optional is whether a body may be missing.
	optional bool
}

// argument is one input that is not in the body.
type argument struct {
	place    place
	name     string
	index    []int
	required bool
	missing  string // the reason when it is required and not there
	value    *body.Argument
	field    reflect.StructField
}

type place uint8

const (
	inPath place = iota
	inQuery
	inHeader
)

var places = []struct {
	tag  string
	text string // as in the reason for a missing argument
}{inPath: {"path", "the path"}, inQuery: {"query", "the query string"}, inHeader: {"header", "the HTTP headers"}}

func compileInput(t reflect.Type) (*inputPlan, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("the input %s is not a struct", t)
	}
	p := &inputPlan{}
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		if f.Name == "Body" {
			opts, err := bodyOptions(f.Tag.Get("body"))
			if err != nil {
				return nil, err
			}
			p.bodyType = f.Type
			p.body, p.bodyIndex, p.optional = body.CompileType(f.Type, opts), f.Index, opts.Optional
			continue
		}
		a, err := compileArgument(f)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t, f.Name, err)
		}
		p.query = p.query || a.place == inQuery
		p.arguments = append(p.arguments, a)
	}
	return p, nil
}

func bodyOptions(words string) (o body.Options, err error) {
	for word := range strings.SplitSeq(words, ",") {
		switch word {
		case "":
		case "optional":
			o.Optional = true
		case "coerce":
			o.Coerce = true
		default:
			return o, fmt.Errorf("unknown word %q in the tag of Body", word)
		}
	}
	return o, nil
}

func compileArgument(f reflect.StructField) (argument, error) {
	a := argument{index: f.Index, field: f, required: f.Tag.Get("required") == "true"}
	for at, where := range places {
		if name := f.Tag.Get(where.tag); name != "" {
			if a.name != "" {
				return a, errors.New("an argument has one place")
			}
			a.place, a.name = place(at), name
			a.missing = strings.TrimSpace(f.Tag.Get("doc") + " Missing required parameter in " + where.text)
		}
	}
	if a.name == "" {
		return a, errors.New("no tag says where the argument is")
	}
	value, err := body.CompileArgument(f)
	a.value = value
	return a, err
}

// readInput fills dst, the input of an operation: the body as a whole, then the arguments up to the first that is wrong.
// What is held must be released when the call is over, also after an error.
func (r *Router) readInput(w http.ResponseWriter, req *http.Request, p *inputPlan, maxBody int64, dst reflect.Value, nul *bool) (held, error) {
	var h held
	if p.body != nil {
		text, err := r.readBody(w, req, p.optional, maxBody, &h)
		if err != nil {
			return h, err
		}
		report, err := p.body.Decode(text, dst.FieldByIndex(p.bodyIndex))
		h.decoded()
		if err != nil {
			return h, err
		}
		*nul = report.NUL
	}
	var query url.Values
	if p.query {
		query = req.URL.Query()
	}
	for i := range p.arguments {
		a := &p.arguments[i]
		var text string
		switch a.place {
		case inPath:
			text = pathValue(req, a.name)
		case inQuery:
			text = query.Get(a.name)
		case inHeader:
			text = req.Header.Get(a.name)
		}
		reason := ""
		switch {
		case text != "":
			reason = a.value.Set(dst.FieldByIndex(a.index), text)
		case a.required:
			reason = a.missing
		}
		if reason != "" {
			return h, horde.Invalid(map[string]string{a.name: reason})
		}
	}
	return h, nil
}

// pathValue returns a segment of the path. It is decoded once, and an encoded slash once more: some clients encode the
// slash of a model name or an address block twice, so that proxies in between leave it alone.
func pathValue(req *http.Request, name string) string {
	v := req.PathValue(name)
	if strings.Contains(v, "%2F") || strings.Contains(v, "%2f") {
		v = encodedSlash.Replace(v)
	}
	return v
}

var encodedSlash = strings.NewReplacer("%2F", "/", "%2f", "/")
