// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// Decode reads JSON into v, a pointer, as this package reads every answer. It follows the json tags, and is more
// forgiving than encoding/json: numbers may be written as strings and strings as numbers, booleans as "true" or 1, a
// whole number as 5.0, a single value where a list is expected; null leaves the zero value. A scalar that cannot be
// read as its field's type, and an object where a scalar should be, is an error that names the place.
func Decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("not JSON: data after the value")
	}
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("decode into %T", v)
	}
	return assign(p.Elem(), tree, "")
}

// assign stores a tree of map, slice, string, json.Number, bool and nil in dst.
func assign(dst reflect.Value, src any, path string) error {
	if src == nil {
		return nil
	}
	switch dst.Kind() {
	case reflect.Pointer:
		p := reflect.New(dst.Type().Elem())
		if err := assign(p.Elem(), src, path); err != nil {
			return err
		}
		dst.Set(p)
	case reflect.Interface:
		dst.Set(reflect.ValueOf(src))
	case reflect.Struct:
		m, ok := src.(map[string]any)
		if !ok {
			return mismatch(path, "object", src)
		}
		for name, index := range fieldsOf(dst.Type()) {
			if value, ok := m[name]; ok {
				if err := assign(dst.FieldByIndex(index), value, join(path, name)); err != nil {
					return err
				}
			}
		}
	case reflect.Map:
		m, ok := src.(map[string]any)
		if !ok {
			return mismatch(path, "object", src)
		}
		out := reflect.MakeMapWithSize(dst.Type(), len(m))
		for k, value := range m {
			e := reflect.New(dst.Type().Elem()).Elem()
			if err := assign(e, value, join(path, k)); err != nil {
				return err
			}
			out.SetMapIndex(reflect.ValueOf(k).Convert(dst.Type().Key()), e)
		}
		dst.Set(out)
	case reflect.Slice:
		list, ok := src.([]any)
		if !ok {
			list = []any{src}
		}
		out := reflect.MakeSlice(dst.Type(), len(list), len(list))
		for i, value := range list {
			if err := assign(out.Index(i), value, join(path, strconv.Itoa(i))); err != nil {
				return err
			}
		}
		dst.Set(out)
	default:
		return assignScalar(dst, src, path)
	}
	return nil
}

func assignScalar(dst reflect.Value, src any, path string) error {
	text, isScalar := scalarText(src)
	if !isScalar {
		return mismatch(path, dst.Kind().String(), src)
	}
	switch dst.Kind() {
	case reflect.String:
		dst.SetString(text)
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true", "1":
			dst.SetBool(true)
		case "false", "0", "":
			dst.SetBool(false)
		default:
			return mismatch(path, "boolean", src)
		}
	case reflect.Int, reflect.Int64, reflect.Int32:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			f, ferr := number(src, text)
			if ferr != nil || math.Abs(f) > math.MaxInt64/2 {
				return mismatch(path, "whole number", src)
			}
			n = int64(math.Round(f))
		}
		if dst.OverflowInt(n) {
			return mismatch(path, "whole number", src)
		}
		dst.SetInt(n)
	case reflect.Float64, reflect.Float32:
		f, err := number(src, text)
		if err != nil {
			return mismatch(path, "number", src)
		}
		dst.SetFloat(f)
	default:
		return mismatch(path, dst.Kind().String(), src)
	}
	return nil
}

func number(src any, text string) (float64, error) {
	if b, ok := src.(bool); ok {
		if b {
			return 1, nil
		}
		return 0, nil
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
		err = strconv.ErrRange
	}
	return f, err
}

func scalarText(src any) (string, bool) {
	switch s := src.(type) {
	case string:
		return s, true
	case json.Number:
		return s.String(), true
	case bool:
		return strconv.FormatBool(s), true
	}
	return "", false
}

func mismatch(path, want string, got any) error {
	if path == "" {
		path = "the answer"
	}
	kind := "a list"
	switch g := got.(type) {
	case map[string]any:
		kind = "an object"
	case string:
		kind = strconv.Quote(cut(g, 40))
	case json.Number:
		kind = g.String()
	case bool:
		kind = strconv.FormatBool(g)
	}
	return fmt.Errorf("%s: want %s, got %s", path, want, kind)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fieldIndex caches, for each struct type, the JSON names of its fields and where they are.
var fieldIndex sync.Map // reflect.Type -> map[string][]int

func fieldsOf(t reflect.Type) map[string][]int {
	if m, ok := fieldIndex.Load(t); ok {
		return m.(map[string][]int)
	}
	m := map[string][]int{}
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || name == "" {
			continue
		}
		m[name] = f.Index
	}
	fieldIndex.Store(t, m)
	return m
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
