// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// mask is a parsed X-Fields header: what to keep of an object, by name. A nil mask keeps everything.
type mask map[string]mask

const (
	maxMask      = 4 << 10 // bytes
	maxMaskDepth = 16
)

var errMask = errors.New("the X-Fields header cannot be understood; its form is a,b{c,d}")

// parseMask reads "a,b{c,*}" with or without braces around the whole.
func parseMask(s string) (mask, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		s = s[1 : len(s)-1]
	}
	if len(s) > maxMask {
		return nil, errMask
	}
	m, rest, err := parseMaskList(s, 0)
	if err != nil || rest != "" {
		return nil, errMask
	}
	return m, nil
}

func parseMaskList(s string, depth int) (mask, string, error) {
	if depth > maxMaskDepth {
		return nil, "", errMask
	}
	m := mask{}
	for {
		end := strings.IndexAny(s, ",{}")
		name := s
		if end >= 0 {
			name = s[:end]
		}
		name = strings.TrimSpace(name)
		if name == "" {
			return nil, "", errMask
		}
		var inner mask
		if end < 0 {
			m[name] = nil
			return m, "", nil
		}
		s = s[end:]
		if s[0] == '{' {
			var err error
			if inner, s, err = parseMaskList(s[1:], depth+1); err != nil {
				return nil, "", err
			}
			if !strings.HasPrefix(s, "}") {
				return nil, "", errMask
			}
			s = strings.TrimLeft(s[1:], " ")
		}
		m[name] = inner
		if !strings.HasPrefix(s, ",") {
			return m, s, nil
		}
		s = s[1:]
	}
}

// project keeps of a JSON document what an X-Fields header names. Lists are projected item by item.
func project(body []byte, header string) ([]byte, error) {
	m, err := parseMask(header)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err = enc.Encode(m.apply(v))
	return b.Bytes(), err
}

func (m mask) apply(v any) any {
	if m == nil {
		return v
	}
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = m.apply(v[i])
		}
	case map[string]any:
		_, all := m["*"]
		for name, x := range v {
			inner, ok := m[name]
			switch {
			case ok:
				v[name] = inner.apply(x)
			case !all:
				delete(v, name)
			}
		}
	}
	return v
}
