// SPDX-License-Identifier: AGPL-3.0-or-later

// Package mask implements the X-Fields header: a client names the fields of a response that it wants.
//
//	id,kudos               these two fields
//	{id, kudos}            the same: outer braces and spaces are decoration
//	name,team{id,name}     a field of which only two fields are wanted
//	*,workers{id}          everything, but of workers only the ids
//
// A mask is applied to an object, and to each element of an array wherever one stands. Names that the response does not
// have are dropped silently; a value that is neither object nor array cannot be masked further and is kept whole.
package mask

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deeply the braces of a mask may be nested. No response is deeper.
const MaxDepth = 32

// Mask is a parsed mask. It may be used by any number of goroutines.
type Mask struct {
	rest   bool             // the mask has a *
	fields map[string]*Mask // nil: the whole field
}

// ParseError says what is wrong with a mask. Its text starts with "Mask parse error: ", as clients know it.
type ParseError struct {
	// Reason names the mistake and where it is, in bytes from the start.
	Reason string
}

func (e *ParseError) Error() string { return "Mask parse error: " + e.Reason }

// Parse reads a mask. Every error is a *[ParseError]. A comma may follow the last name, and spaces may stand for commas.
func Parse(text string) (*Mask, error) {
	p := parser{text: text}
	outer := p.peek() == '{'
	if outer {
		p.at++
	}
	m, err := p.list(1)
	if err != nil {
		return nil, err
	}
	if outer {
		if p.peek() != '}' {
			return nil, p.fault("a closing brace is missing")
		}
		p.at++
	}
	switch p.peek() {
	case 0:
		return m, nil
	case '}':
		return nil, p.fault("a closing brace has no opening one")
	}
	return nil, p.fault("something follows the mask")
}

type parser struct {
	text string
	at   int
}

func (p *parser) fault(reason string) error {
	return &ParseError{Reason: fmt.Sprintf("%s at byte %d", reason, p.at)}
}

const space = " \t\r\n"

// peek skips spaces and returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	for p.at < len(p.text) && strings.IndexByte(space, p.text[p.at]) >= 0 {
		p.at++
	}
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

func (p *parser) name() string {
	start := p.at
	for p.at < len(p.text) && strings.IndexByte("{},"+space, p.text[p.at]) < 0 {
		p.at++
	}
	return p.text[start:p.at]
}

// list reads names up to a closing brace or the end.
func (p *parser) list(depth int) (*Mask, error) {
	if depth > MaxDepth {
		return nil, p.fault("braces are nested too deep")
	}
	m := &Mask{fields: make(map[string]*Mask)}
	for named := false; ; {
		switch p.peek() {
		case 0, '}':
			if len(m.fields) == 0 && !m.rest {
				return nil, p.fault("a name is missing")
			}
			return m, nil
		case ',':
			if !named {
				return nil, p.fault("a comma follows no name")
			}
			named = false
			p.at++
		case '{':
			return nil, p.fault("an opening brace follows no name")
		default:
			name := p.name()
			named = true
			var sub *Mask
			if p.peek() == '{' {
				p.at++
				var err error
				if sub, err = p.list(depth + 1); err != nil {
					return nil, err
				}
				if p.peek() != '}' {
					return nil, p.fault("a closing brace is missing")
				}
				p.at++
			}
			if name == "*" && sub == nil {
				m.rest = true
			} else {
				m.fields[name] = sub
			}
		}
	}
}

// filters are reused, since an encoder and a decoder are large.
var filters = sync.Pool{New: func() any { return new(filter) }}

type filter struct {
	in  jsontext.Decoder
	out jsontext.Encoder
}

// Apply appends to dst what the mask leaves of a JSON document. The document is one of ours: an error says that it is not
// JSON.
func (m *Mask) Apply(dst, document []byte) ([]byte, error) {
	f := filters.Get().(*filter)
	defer filters.Put(f)
	result := bytes.NewBuffer(dst)
	same := jsontext.AllowDuplicateNames(true) // what comes in goes out
	f.in.Reset(bytes.NewBuffer(document), same)
	f.out.Reset(result, same, jsontext.PreserveRawStrings(true))
	if err := f.value(m); err != nil {
		return dst, fmt.Errorf("mask: %w", err)
	}
	if _, err := f.in.ReadToken(); !errors.Is(err, io.EOF) {
		return dst, errors.New("mask: more than one document")
	}
	f.in.Reset(new(bytes.Buffer))
	f.out.Reset(io.Discard)
	return bytes.TrimSuffix(result.Bytes(), []byte("\n")), nil
}

// value copies one value through m; nil copies it whole.
func (f *filter) value(m *Mask) error {
	kind := f.in.PeekKind()
	if m == nil || (kind != '{' && kind != '[') {
		v, err := f.in.ReadValue()
		if err != nil {
			return err
		}
		return f.out.WriteValue(v)
	}
	if err := f.token(); err != nil {
		return err
	}
	for {
		switch next := f.in.PeekKind(); {
		case next == '}' || next == ']':
			return f.token()
		case kind == '[':
			if err := f.value(m); err != nil {
				return err
			}
		default:
			if err := f.member(m); err != nil {
				return err
			}
		}
	}
}

func (f *filter) member(m *Mask) error {
	name, err := f.in.ReadToken()
	if err != nil {
		return err
	}
	sub, named := m.fields[name.String()]
	if !named && !m.rest {
		return f.in.SkipValue()
	}
	if err := f.out.WriteToken(name); err != nil {
		return err
	}
	return f.value(sub)
}

func (f *filter) token() error {
	t, err := f.in.ReadToken()
	if err != nil {
		return err
	}
	return f.out.WriteToken(t)
}
