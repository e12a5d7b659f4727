// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

const document = `{"id":5,"name":"a\u003cb","kudos":1.0,"team":{"id":"x","name":"T","n":[1,2]},"workers":[{"id":1,"n":"w"},{"id":2}],"none":null}`

func TestApply(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"id,kudos":                `{"id":5,"kudos":1.0}`,
		"{ id , kudos }":          `{"id":5,"kudos":1.0}`,
		"kudos id":                `{"id":5,"kudos":1.0}`,
		"id,":                     `{"id":5}`,
		"id,id":                   `{"id":5}`,
		"nobody":                  `{}`,
		"team{name},none":         `{"team":{"name":"T"},"none":null}`,
		"workers{id}":             `{"workers":[{"id":1},{"id":2}]}`,
		"{id,team{n}}":            `{"id":5,"team":{"n":[1,2]}}`,
		"id{x}":                   `{"id":5}`,
		"team{*}":                 `{"team":{"id":"x","name":"T","n":[1,2]}}`,
		"*":                       document,
		"name":                    `{"name":"a\u003cb"}`,
		"*,workers{n}, team{ id}": `{"id":5,"name":"a\u003cb","kudos":1.0,"team":{"id":"x"},"workers":[{"n":"w"},{}],"none":null}`,
	} {
		m, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := m.Apply(nil, []byte(document)); err != nil || string(got) != want {
			t.Errorf("%s leaves %s (%v), want %s", text, got, err, want)
		}
		list, err := m.Apply([]byte("before"), []byte(`[`+document+`,`+document+`]`))
		if err != nil || string(list) != `before[`+want+`,`+want+`]` {
			t.Errorf("%s leaves of an array %s (%v)", text, list, err)
		}
	}
	m, _ := Parse("a")
	for _, scalar := range []string{`5`, `"x"`, `null`, `[1,[{"b":1}]]`} {
		want := strings.Replace(scalar, `"b":1`, "", 1)
		if got, err := m.Apply(nil, []byte(scalar)); err != nil || string(got) != want {
			t.Errorf("%s became %s (%v)", scalar, got, err)
		}
	}
	for _, broken := range []string{``, `{`, `{"a":}`, `{} {}`, `]`} {
		if got, err := m.Apply([]byte("x"), []byte(broken)); err == nil || string(got) != "x" {
			t.Errorf("%q became %q", broken, got)
		}
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", " ", "{", "}", "{}", "{id", "id}", "{id}}", "{id},name", ",", ",id", "id,,name", "team{", "team{id", "team{}", "team{{id}}", "{{id}}",
		"team{id}}", "id,{name}", strings.Repeat("a{", 33) + "b" + strings.Repeat("}", 33), strings.Repeat("a{", 1<<16),
	} {
		_, err := Parse(text)
		var p *ParseError
		if !errors.As(err, &p) || !strings.HasPrefix(err.Error(), "Mask parse error: ") || len(err.Error()) > 100 {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func FuzzMask(f *testing.F) {
	for _, s := range []string{"id,kudos", "{a{b,c},*}", "*,workers{id}", "a{b", "ä"} {
		f.Add(s, document)
	}
	f.Fuzz(func(t *testing.T, text, doc string) {
		m, err := Parse(text)
		var p *ParseError
		if err != nil {
			if !errors.As(err, &p) || m != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		var whole, part any
		got, err := m.Apply(nil, []byte(doc))
		if err != nil {
			return
		}
		if json.Unmarshal([]byte(doc), &whole) != nil || json.Unmarshal(got, &part) != nil {
			t.Fatalf("not JSON: %s", got)
		}
		if !within(part, whole) {
			t.Fatalf("%s of %s gave %s", text, doc, got)
		}
		again, err := m.Apply(nil, got)
		if err != nil || string(again) != string(got) {
			t.Fatalf("applied twice: %s, then %s (%v)", got, again, err)
		}
	})
}

// within says whether part has nothing that whole does not have at the same place.
func within(part, whole any) bool {
	switch p := part.(type) {
	case map[string]any:
		w, ok := whole.(map[string]any)
		for name := range p {
			if ok = ok && within(p[name], w[name]); !ok {
				return false
			}
		}
		return ok
	case []any:
		w, ok := whole.([]any)
		ok = ok && len(w) == len(p)
		for i := range p {
			if ok = ok && within(p[i], w[i]); !ok {
				return false
			}
		}
		return ok
	}
	return reflect.DeepEqual(part, whole)
}
