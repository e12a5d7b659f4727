// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"horde/internal/horde"
)

// The requests of this test are made from the document that the server publishes: one for each value at a bound and just
// beyond one, of each field of each operation.

// probe is a value for one place.
type probe struct {
	value any
	// fault is the path that must be refused; empty for a value that is allowed there.
	fault string
	why   string
}

// absent is the value of a field that is taken away.
type absent struct{}

// resolved follows a reference inside of the document, and takes off that a value may be null.
func resolved(schema document) document {
	for {
		ref, ok := schema["$ref"].(string)
		if !ok {
			return schema
		}
		var at any = openapi.document
		for key := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			at = at.(document)[key]
		}
		schema = at.(document)
	}
}

func whole(v any) (int, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return int(i), err == nil
}

func fraction(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

// kindOf is the first type of a schema.
func kindOf(schema document) string {
	switch kind := schema["type"].(type) {
	case string:
		return kind
	case []any:
		return kind[0].(string)
	}
	return ""
}

// sample is a value that a schema allows.
func sample(schema document) any {
	schema = resolved(schema)
	if list, ok := schema["enum"].([]any); ok {
		return list[len(list)-1]
	}
	switch kindOf(schema) {
	case "string":
		n, _ := whole(schema["minLength"])
		return strings.Repeat("a", max(n, 1))
	case "integer":
		if n, ok := whole(schema["minimum"]); ok {
			return n
		}
		return 1
	case "number":
		if n, ok := fraction(schema["minimum"]); ok {
			return n
		}
		return 1
	case "boolean":
		return false
	case "array":
		return []any{}
	case "object":
		o := document{}
		for _, name := range listOf(schema["required"]) {
			o[name] = sample(schema["properties"].(document)[name].(document))
		}
		return o
	}
	return document{}
}

func listOf(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		out = append(out, e.(string))
	}
	return out
}

// probes are the values to try for a schema, with how a whole body is made of each.
func probes(schema document, path string, within func(any) any) []probe {
	schema = resolved(schema)
	var list []probe
	good := func(why string, v any) { list = append(list, probe{within(v), "", path + " " + why}) }
	bad := func(why string, v any) {
		if kinds, _ := schema["type"].([]any); v == nil && slices.Contains(kinds, any("null")) {
			return
		}
		list = append(list, probe{within(v), path, path + " " + why})
	}
	switch kindOf(schema) {
	case "string":
		if _, one := schema["type"].(string); one {
			bad("of another type", 5)
		} else {
			bad("of another type", []any{})
		}
		bad("null", nil)
		if values := listOf(schema["enum"]); len(values) > 0 {
			for _, v := range values {
				good("is "+v, v)
			}
			bad("not of the enumeration", "nonsense")
			break
		}
		if n, ok := whole(schema["minLength"]); ok && n > 0 {
			good("as short as it may be", strings.Repeat("a", n))
			bad("too short", strings.Repeat("a", n-1))
		}
		if n, ok := whole(schema["maxLength"]); ok {
			good("as long as it may be", strings.Repeat("ß", n))
			bad("too long", strings.Repeat("ß", n+1))
		}
	case "integer":
		step := 1
		if n, ok := whole(schema["multipleOf"]); ok {
			step = n
			least, _ := whole(schema["minimum"])
			bad("between two multiples", least+1)
		}
		bad("of another type", true)
		bad("with a fraction", 1.5)
		bad("null", nil)
		if n, ok := whole(schema["minimum"]); ok {
			good("as small as it may be", n)
			bad("too small", n-step)
		}
		if n, ok := whole(schema["maximum"]); ok {
			good("as large as it may be", n)
			bad("too large", n+step)
		}
	case "number":
		bad("of another type", []any{})
		bad("null", nil)
		if n, ok := fraction(schema["minimum"]); ok {
			good("as small as it may be", n)
			bad("too small", n-0.005)
		}
		if n, ok := fraction(schema["maximum"]); ok {
			good("as large as it may be", n)
			bad("too large", n+0.005)
		}
	case "boolean":
		good("true", true)
		bad("of another type", "true")
		bad("null", nil)
	case "array":
		bad("of another type", document{})
		bad("null", nil)
		items := schema["items"].(document)
		good("empty", []any{})
		list = append(list, probes(items, path+".0", func(v any) any { return within([]any{v}) })...)
		if schema["uniqueItems"] == true {
			bad("the same twice", []any{sample(items), sample(items)})
		}
		if n, ok := whole(schema["maxItems"]); ok {
			bad("too many", slices.Repeat([]any{sample(items)}, n+1))
		}
	case "object":
		if path != "" {
			bad("of another type", []any{})
		}
		properties, _ := schema["properties"].(document)
		base := sample(schema).(document)
		set := func(name string, v any) any {
			o := maps.Clone(base)
			if o[name] = v; v == (absent{}) {
				delete(o, name)
			}
			return within(o)
		}
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			list = append(list, probes(properties[name].(document), strings.TrimPrefix(path+"."+name, "."), func(v any) any { return set(name, v) })...)
		}
		for _, name := range listOf(schema["required"]) {
			at := strings.TrimPrefix(path+"."+name, ".")
			list = append(list, probe{set(name, absent{}), at, at + " missing"})
		}
	}
	return list
}

func TestRequestsAtAndBeyondEachBound(t *testing.T) {
	t.Parallel()
	inBubble(t, requestsAtBounds) // pops with all the patience there is wait a minute
}

func requestsAtBounds(t *testing.T, s *server) {
	s.readOpenAPI()
	mod := s.user(1e6, horde.Moderator|horde.Trusted)
	subject := s.user(0, 0)
	s.popImage(mod, "dreamer", nil)
	places := map[string]string{
		"user_id": fmt.Sprint(subject.id), "worker_name": "dreamer", "worker_id": s.get("/workers/name/dreamer", account{}).str("id"),
	}
	allowed, refused := 0, 0
	for path, item := range openapi.document["paths"].(document) {
		for method, op := range item.(document) {
			method, op := strings.ToUpper(method), op.(document)
			at := method + " " + path
			parameters := op["parameters"].([]any)
			target, key := path, mod
			query, headers := url.Values{}, []header{}
			for _, p := range parameters {
				p := p.(document)
				name := p["name"].(string)
				switch {
				case p["in"] == "path":
					value, ok := places[name]
					if !ok {
						value = "unknown"
					}
					target = strings.Replace(target, "{"+name+"}", url.PathEscape(value), 1)
				case p["required"] == true && name != "apikey":
					t.Fatalf("%s: no value for the %s %s", at, p["in"], name)
				}
			}
			call := func(key account, body any, query url.Values, headers ...header) answer {
				to := target
				if len(query) > 0 {
					to += "?" + query.Encode()
				}
				return s.send(s.request(method, to, key, body, headers...))
			}
			check := func(p probe, a answer) {
				reasons, _ := a.at("errors").(map[string]any)
				_, named := reasons[p.fault]
				_, conditional := reasons["forms.0.payload.control_type"] // what an annotation needs beside its name no schema says
				switch {
				case p.fault == "" && len(reasons) == 1 && conditional:
				case p.fault == "" && len(reasons) > 0:
					t.Errorf("%s, %s: allowed, and refused with %d %.300s", at, p.why, a.status, a.text)
				case p.fault != "" && (a.status != http.StatusBadRequest || !named):
					t.Errorf("%s, %s: not allowed, and answered with %d %.300s", at, p.why, a.status, a.text)
				}
				if p.fault == "" {
					allowed++
				} else {
					refused++
				}
			}
			var body any
			if b, ok := op["requestBody"].(document); ok {
				schema := b["content"].(document)["application/json"].(document)["schema"].(document)
				body = sample(schema)
				for _, p := range probes(schema, "", func(v any) any { return v }) {
					check(p, call(key, p.value, query, headers...))
				}
				if a := call(key, "[]", query, headers...); a.status != http.StatusBadRequest || a.at("errors", "") == nil {
					t.Errorf("%s, an array as the body: %d %.300s", at, a.status, a.text)
				}
			}
			for _, p := range parameters {
				p := p.(document)
				name := p["name"].(string)
				if name == "apikey" {
					a := call(account{}, body, query, headers...)
					if p["required"] == true && a.status != http.StatusUnauthorized && (a.status != http.StatusBadRequest || a.at("errors", "apikey") == nil) {
						t.Errorf("%s, without a key: %d %.300s", at, a.status, a.text)
					}
					continue
				}
				for _, x := range probes(p["schema"].(document), name, func(v any) any { return v }) {
					text := fmt.Sprint(x.value)
					if x.value == nil || kindOf(resolved(p["schema"].(document))) == "string" && x.value == 5 || text == "true" || text == "1" {
						continue // everything is text here, and nothing is null
					}
					switch p["in"] {
					case "query":
						check(x, call(key, body, url.Values{name: {text}}, headers...))
					case "header":
						check(x, call(key, body, query, header{name, text}))
					}
				}
			}
		}
	}
	t.Logf("%d requests at bounds, %d beyond", allowed, refused)
	if allowed < 200 || refused < 300 {
		t.Error("too few requests were made")
	}
}
