// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// missing are the operations of the contract that are not served. One that is served must not be listed: the list only ever
// shrinks.
var missing = strings.Fields(`
`)

// dryRuns are the two operations for which existing clients demand a documented 200 (clients chapter, demand 128), which the
// contract does not have.
var dryRuns = []string{"post:/v2/generate/async", "post:/v2/generate/text/async"}

type document = map[string]any

// swagger is the document that the node publishes.
func (s *server) swagger() document {
	s.t.Helper()
	a := s.send(s.request("GET", "/api/swagger.json", account{}, nil))
	if a.status != 200 {
		s.t.Fatalf("got %d %.500s", a.status, a.text)
	}
	s.common(a)
	return a.value.(document)
}

func TestThePublishedInterfaceIsThatOfTheContract(t *testing.T) {
	t.Parallel()
	s := open(t)
	text, err := os.ReadFile(filepath.Join("testdata", "contract.json"))
	if err != nil {
		t.Fatal(err)
	}
	var contract document
	if err := json.Unmarshal(text, &contract); err != nil {
		t.Fatal(err)
	}
	published := s.swagger()

	want, got := operationsOf(contract), operationsOf(published)
	for _, op := range missing {
		if want[op] == nil {
			t.Errorf("%s is listed as missing, and is not in the contract", op)
		}
		if got[op] != nil {
			t.Errorf("%s is listed as missing, and is served", op)
		}
		delete(want, op)
	}
	for _, op := range dryRuns {
		if got[op] == nil {
			continue
		}
		responses := got[op].(document)["responses"].(document)
		if _, ok := responses["200"]; !ok {
			t.Errorf("%s documents no 200", op)
		}
		delete(responses, "200")
	}
	differences(t, "operation ", want, got)

	// Definitions are compared as far as the operations that are served lead to them; there is no other one.
	differences(t, "definition ", reachable(contract["definitions"].(document), want), published["definitions"].(document))
	for _, k := range []string{"swagger", "basePath"} {
		if contract[k] != published[k] {
			t.Errorf("%s is %v, want %v", k, published[k], contract[k])
		}
	}
	t.Logf("%d operations and %d definitions as in the contract; %d operations are not served", len(got),
		len(published["definitions"].(document)), len(missing))
}

// operationsOf lists the operations of a document as method:path, each with the parameters of its path.
func operationsOf(doc document) document {
	all := document{}
	for path, item := range doc["paths"].(document) {
		shared, _ := item.(document)["parameters"].([]any)
		for method, op := range item.(document) {
			if method == "parameters" {
				continue
			}
			o := maps.Clone(op.(document))
			parameters, _ := o["parameters"].([]any)
			byName := document{}
			for _, p := range slices.Concat(shared, parameters) {
				byName[fmt.Sprint(p.(document)["in"], " ", p.(document)["name"])] = p
			}
			o["parameters"] = byName
			all[method+":"+path] = o
		}
	}
	return all
}

// reachable are the definitions that a part of a document refers to, with those that these refer to.
func reachable(definitions document, from any) document {
	found := document{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case document:
			for k, e := range v {
				name, _ := e.(string)
				name, ok := strings.CutPrefix(name, "#/definitions/")
				if k == "$ref" && ok && found[name] == nil {
					found[name] = definitions[name]
					walk(definitions[name])
				}
				walk(e)
			}
		}
	}
	walk(from)
	return found
}

// words are what a document says to people, which is ours to say.
var words = []string{"description", "summary", "title", "example"}

// differences reports where two parts of a document differ, both ways.
func differences(t *testing.T, at string, want, got any) {
	t.Helper()
	w, wok := want.(document)
	g, gok := got.(document)
	if wok && gok {
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if _, text := w[k].(string); text && slices.Contains(words, k) {
				continue
			}
			if _, ok := g[k]; !ok {
				short, _ := json.Marshal(w[k])
				t.Errorf("%s.%s is missing: %.300s", at, k, short)
			} else {
				differences(t, at+"."+k, w[k], g[k])
			}
		}
		for _, k := range slices.Sorted(maps.Keys(g)) {
			if _, text := g[k].(string); text && slices.Contains(words, k) {
				continue
			}
			if _, ok := w[k]; !ok {
				short, _ := json.Marshal(g[k])
				t.Errorf("%s.%s is not in the contract: %.300s", at, k, short)
			}
		}
		return
	}
	if list, ok := want.([]any); ok && (strings.HasSuffix(at, ".enum") || strings.HasSuffix(at, ".required") || strings.HasSuffix(at, ".tags")) {
		want, got = sortedTexts(list), sortedTexts(got)
	} else if other, same := got.([]any); ok && same && len(list) == len(other) {
		for i := range list {
			differences(t, fmt.Sprint(at, ".", i), list[i], other[i])
		}
		return
	}
	x, _ := json.Marshal(want)
	y, _ := json.Marshal(got)
	if string(x) != string(y) {
		t.Errorf("%s is %.300s, want %.300s", at, y, x)
	}
}

func sortedTexts(v any) any {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = fmt.Sprint(e)
	}
	slices.Sort(out)
	return out
}

// Demands 121 to 130 of the clients chapter, which the contract alone does not show.
func TestClients121To130Swagger(t *testing.T) {
	t.Parallel()
	s := open(t)
	doc := s.swagger()
	keys := func(at string, o any, allowed string) {
		for k := range o.(document) {
			if !slices.Contains(strings.Fields(allowed), k) {
				t.Errorf("%s has a key %q", at, k)
			}
		}
	}
	keys("the document", doc, "swagger basePath paths info produces consumes tags responses definitions")
	keys("info", doc["info"], "title version description")
	if info := doc["info"].(document); info["title"] != "AI Horde" || info["version"] != "2.5" || info["description"] == "" {
		t.Errorf("info is %v", info)
	}
	for _, k := range []string{"produces", "consumes"} {
		if !slices.Contains(doc[k].([]any), any("application/json")) {
			t.Errorf("%s is %v", k, doc[k])
		}
	}
	if len(doc["responses"].(document)) == 0 {
		t.Error("no responses")
	}
	for name, r := range doc["responses"].(document) {
		keys("response "+name, r, "description")
	}
	known := strings.Fields("200 201 202 204 400 401 403 404 405 406 408 409 410 422 429 500 501 503 504")
	ids := map[string]string{}
	for name, op := range operationsOf(doc) {
		method, path, _ := strings.Cut(name, ":")
		if !strings.HasPrefix(path, "/v2/") {
			t.Errorf("a path %s", path)
		}
		o := op.(document)
		keys(name, o, "summary description operationId parameters responses tags")
		// The contract has one id for both look-ups of styles by name.
		if other := ids[o["operationId"].(string)]; other != "" && o["operationId"] != "get_single_image_style_by_name" {
			t.Errorf("%s and %s have one operationId", name, other)
		}
		ids[o["operationId"].(string)] = name
		bodies := 0
		for at, p := range o["parameters"].(document) {
			keys(name+" "+at, p, "name in description required schema default type format")
			if p.(document)["in"] == "body" {
				bodies++
				if p.(document)["name"] != "payload" {
					t.Errorf("%s has a body named %v", name, p.(document)["name"])
				}
			}
		}
		if writes := method == "post" || method == "put" || method == "patch"; writes && bodies != 1 || bodies > 1 {
			t.Errorf("%s has %d bodies", name, bodies)
		}
		for status, r := range o["responses"].(document) {
			keys(name+" "+status, r, "description schema")
			if !slices.Contains(known, status) {
				t.Errorf("%s documents %s", name, status)
			}
		}
		want := "200"
		switch name {
		case "post:/v2/generate/async", "post:/v2/generate/text/async":
			want = "200 202"
		case "post:/v2/interrogate/async":
			want = "202"
		case "put:/v2/filters":
			want = "201"
		}
		var successes []string
		for status := range o["responses"].(document) {
			if status < "300" {
				successes = append(successes, status)
			}
		}
		slices.Sort(successes)
		if strings.Join(successes, " ") != want {
			t.Errorf("%s documents the successes %q, want %s", name, successes, want)
		}
	}
	for name, d := range doc["definitions"].(document) {
		parts := []any{d}
		if all, ok := d.(document)["allOf"]; ok {
			keys(name, d, "allOf")
			parts = all.([]any)
		}
		for _, part := range parts {
			if ref, ok := part.(document)["$ref"].(string); ok {
				if target := strings.TrimPrefix(ref, "#/definitions/"); doc["definitions"].(document)[target] == nil {
					t.Errorf("%s refers to %s, which is not there", name, ref)
				}
				continue
			}
			keys(name, part, "type properties required")
			for p, property := range part.(document)["properties"].(document) {
				keys(name+"."+p, property, `type description title default example format enum $ref minimum maximum minLength maxLength
					multipleOf uniqueItems additionalProperties items`)
			}
		}
	}
}
