// SPDX-License-Identifier: AGPL-3.0-or-later

package body

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Argument is one value that comes as text outside of the body: in the path, the query or a header. Its field has the same
// tags as a field of a body, and must be a scalar, a pointer to one or an [Opt] of one.
type Argument struct{ plan *plan }

// CompileArgument returns the argument that a field describes.
func CompileArgument(f reflect.StructField) (*Argument, error) {
	p, err := compileField(f, map[reflect.Type]*structPlan{})
	if err != nil {
		return nil, err
	}
	if p.shape > shapeFloat {
		return nil, fmt.Errorf("%s is not a scalar", f.Type)
	}
	return &Argument{p}, nil
}

// Set stores text in dst, the field, and returns why it is refused, or "". Integers are written in plain digits; booleans
// are true, false, 1 and 0.
func (a *Argument) Set(dst reflect.Value, text string) (reason string) {
	p, raw := a.plan, []byte(text)
	switch p.shape {
	case shapeString:
		if reason := p.stringFault(text); reason != "" {
			return show(raw) + " " + reason
		}
		p.in(dst).SetString(text)
	case shapeBool:
		switch strings.ToLower(text) {
		case "true", "1":
			p.in(dst).SetBool(true)
		case "false", "0":
			p.in(dst).SetBool(false)
		default:
			return p.notOfType(raw)
		}
	default:
		if !digits(raw) && (p.shape != shapeFloat || !decimal(raw)) {
			return p.notOfType(raw)
		}
		return p.number(dst, raw, false)
	}
	return ""
}

// decimal says whether s is a number in decimal notation, which excludes "inf" and "0x1p-2" that are numbers to Go.
func decimal(s []byte) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && strings.IndexByte("+-.eE", c) < 0 {
			return false
		}
	}
	_, err := strconv.ParseFloat(string(s), 64)
	return err == nil || errors.Is(err, strconv.ErrRange)
}
