// SPDX-License-Identifier: AGPL-3.0-or-later

package peers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// transcript is what a script is to report, line by line: JSON in which strings may hold what differs from run to run.
//
//	{"id": "{uuid:request}", "img": "{server}/…/{uuid:job}.webp?{word}", "account_age": "{integer}"}
//
// {KIND} stands for any text of a kind, and a string that is nothing but {number} or {integer} for a number.
// {KIND:NAME} also keeps the text: the same NAME further on stands for the same text. {NAME} is a text given beforehand.
type transcript struct {
	lines [][]byte
	known map[string]string
}

// kinds are the texts that a placeholder stands for.
var kinds = map[string]string{
	"uuid":    `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`,
	"integer": `-?[0-9]+`,
	"number":  `-?[0-9]+(?:\.[0-9]+)?`,
	"word":    `[^\s/]+`,
}

var placeholder = regexp.MustCompile(`\{([a-z]+)(?::([a-z0-9]+))?\}`)

// readTranscript reads a transcript; known are texts for {NAME}.
func readTranscript(path string, known map[string]string) (*transcript, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &transcript{lines: bytes.Split(bytes.TrimSpace(text), []byte("\n")), known: maps.Clone(known)}, nil
}

// compare returns the first difference between the transcript and the output of a script, or nil.
func (t *transcript) compare(output []byte) error {
	got := bytes.Split(bytes.TrimSpace(output), []byte("\n"))
	for i, want := range t.lines {
		if i == len(got) {
			return fmt.Errorf("line %d is missing: want %s", i+1, want)
		}
		if err := t.line(want, got[i]); err != nil {
			return fmt.Errorf("line %d: %w\n got %s\nwant %s", i+1, err, got[i], want)
		}
	}
	if len(got) > len(t.lines) {
		return fmt.Errorf("a line more than expected: %s", got[len(t.lines)])
	}
	return nil
}

func (t *transcript) line(want, got []byte) error {
	w, err := decode(want)
	if err != nil {
		return fmt.Errorf("the transcript: %w", err)
	}
	g, err := decode(got)
	if err != nil {
		return fmt.Errorf("the output: %w", err)
	}
	return t.value("", w, g)
}

// decode reads one JSON value and keeps numbers as they are written.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("something follows the JSON value")
	}
	return v, nil
}

func (t *transcript) value(path string, want, got any) error {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is %v, want an object", path, got)
		}
		for _, k := range slices.Sorted(maps.Keys(g)) {
			if _, ok := w[k]; !ok {
				return fmt.Errorf("%s.%s is there: %v", path, k, g[k])
			}
		}
		for _, k := range slices.Sorted(maps.Keys(w)) {
			v, ok := g[k]
			if !ok {
				return fmt.Errorf("%s.%s is missing", path, k)
			}
			if err := t.value(path+"."+k, w[k], v); err != nil {
				return err
			}
		}
		return nil
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Errorf("%s is %v, want an array of %d", path, got, len(w))
		}
		for i := range w {
			if err := t.value(path+"["+strconv.Itoa(i)+"]", w[i], g[i]); err != nil {
				return err
			}
		}
		return nil
	case json.Number:
		if g, ok := got.(json.Number); ok && sameNumber(w, g) {
			return nil
		}
	case string:
		if t.text(w, got) {
			return nil
		}
	default:
		if want == got {
			return nil
		}
	}
	return fmt.Errorf("%s is %#v, want %#v", path, got, want)
}

// sameNumber tells whether two numbers are equal: Python writes 8.0 where JavaScript writes 8.
func sameNumber(a, b json.Number) bool {
	x, errX := a.Float64()
	y, errY := b.Float64()
	return errX == nil && errY == nil && x == y
}

// text compares a string that may hold placeholders, and keeps what they stood for.
func (t *transcript) text(want string, got any) bool {
	g, isText := got.(string)
	if n, ok := got.(json.Number); ok && (want == "{number}" || want == "{integer}") {
		g, isText = n.String(), true
	}
	if !isText {
		return false
	}
	var pattern strings.Builder
	var names []string // of the groups of pattern, in order
	rest := want
	for {
		at := placeholder.FindStringSubmatchIndex(rest)
		if at == nil {
			break
		}
		kind, name := rest[at[2]:at[3]], ""
		if at[4] >= 0 {
			name = rest[at[4]:at[5]]
		}
		pattern.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		text, ok := t.known[name]
		if name == "" {
			text, ok = t.known[kind]
		}
		switch {
		case ok:
			pattern.WriteString(regexp.QuoteMeta(text))
		case kinds[kind] == "":
			return false
		case name != "":
			names = append(names, name)
			pattern.WriteString("(" + kinds[kind] + ")")
		default:
			pattern.WriteString(kinds[kind])
		}
		rest = rest[at[1]:]
	}
	pattern.WriteString(regexp.QuoteMeta(rest))
	found := regexp.MustCompile("^" + pattern.String() + "$").FindStringSubmatch(g)
	if found == nil {
		return false
	}
	for i, name := range names {
		t.known[name] = found[i+1]
	}
	return true
}

func TestTranscript(t *testing.T) {
	t.Parallel()
	const one, two = "6b073eda-be85-4407-ad8b-eb4c9c5b5c6b", "6b073eda-e8b9-4b51-807a-fbea9981c1ba"
	for _, c := range []struct {
		name, want, got string
		same            bool
	}{
		{"equal", `{"a": [1, "x", null, true]}`, `{"a":[1.0,"x",null,true]}`, true},
		{"another number", `{"a": 1}`, `{"a": 1.5}`, false},
		{"a number as text", `{"a": 1}`, `{"a": "1"}`, false},
		{"a text as number", `{"a": "1"}`, `{"a": 1}`, false},
		{"null and absent", `{"a": null}`, `{}`, false},
		{"a member more", `{"a": 1}`, `{"a": 1, "b": 2}`, false},
		{"an element less", `[1, 2]`, `[1]`, false},
		{"false and null", `false`, `null`, false},
		{"a line more", `1`, "1\n2", false},
		{"a line less", "1\n2", `1`, false},
		{"no JSON", `1`, `Traceback`, false},
		{"an integer", `"{integer}"`, `17`, true},
		{"a fraction for an integer", `"{integer}"`, `17.5`, false},
		{"a fraction", `"{number}"`, `17.5`, true},
		{"a number within a text", `"{number} tokens"`, `"17.5 tokens"`, true},
		{"an id", `"{uuid}"`, `"` + one + `"`, true},
		{"an id without its version", `"{uuid}"`, `"6b073eda-be85-1407-ad8b-eb4c9c5b5c6b"`, false},
		{"the same id again", "\"{uuid:a}\"\n\"http://x/{uuid:a}.webp?{word}\"", "\"" + one + "\"\n\"http://x/" + one + ".webp?z=1\"", true},
		{"another id", "\"{uuid:a}\"\n\"{uuid:a}\"", "\"" + one + "\"\n\"" + two + "\"", false},
		{"what is known", `"{server}/x"`, `"http://127.0.0.1:1/x"`, true},
		{"another server", `"{server}/x"`, `"http://127.0.0.1:2/x"`, false},
		{"nothing known", `"{nothing}"`, `"{nothing}"`, false},
	} {
		tr := &transcript{lines: bytes.Split([]byte(c.want), []byte("\n")), known: map[string]string{"server": "http://127.0.0.1:1"}}
		if err := tr.compare([]byte(c.got)); (err == nil) != c.same {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
