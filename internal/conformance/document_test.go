// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// openapi is the OpenAPI document of the node, and holds answers against it. It is the same for every node of this process,
// but for the route that makes accounts for tests, which most do not serve.
var openapi = struct {
	sync.Mutex // guards the schemas, and the rest until it is there
	document   document
	routes     *http.ServeMux
	compiler   *jsonschema.Compiler
	schemas    map[string]*jsonschema.Schema // by JSON pointer
}{schemas: map[string]*jsonschema.Schema{}}

const openapiURL = "https://horde.example/openapi.json"

// readOpenAPI reads the document once.
func (s *server) readOpenAPI() {
	openapi.Lock()
	defer openapi.Unlock()
	if openapi.document != nil {
		return
	}
	if s.Config.TestUsers {
		s = open(s.t) // one that serves what all others do
	}
	a := s.bare(s.request("GET", "/api/openapi.json", account{}, nil))
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(a.text))
	if err != nil || a.status != http.StatusOK {
		panic(fmt.Sprintf("the document: %d %v", a.status, err))
	}
	openapi.compiler, openapi.routes = jsonschema.NewCompiler(), http.NewServeMux()
	if err := openapi.compiler.AddResource(openapiURL, value); err != nil {
		panic(err)
	}
	for path, item := range value.(document)["paths"].(document) {
		for method := range item.(document) {
			openapi.routes.Handle(strings.ToUpper(method)+" "+path, http.NotFoundHandler())
		}
	}
	openapi.document = value.(document)
}

// asDocumented checks that an answer has a status and a shape that the OpenAPI document has for the operation. Every answer
// to every call of this package passes here.
func (s *server) asDocumented(req *http.Request, a answer) {
	s.t.Helper()
	s.readOpenAPI()
	_, pattern := openapi.routes.Handler(req)
	method, path, ok := strings.Cut(pattern, " ")
	if !ok || method != req.Method {
		return
	}
	noteAnswer(pattern, a)
	op := openapi.document["paths"].(document)[path].(document)[strings.ToLower(method)].(document)
	response, ok := op["responses"].(document)[fmt.Sprint(a.status)].(document)
	if !ok {
		s.t.Errorf("%s answers %d, which is not documented: %.300s", pattern, a.status, a.text)
		return
	}
	content, _ := response["content"].(document)
	if content["application/json"] == nil || req.Header.Get("X-Fields") != "" {
		return
	}
	at := fmt.Sprintf("#/paths/%s/%s/responses/%d/content/application~1json/schema", pointer(path), strings.ToLower(method), a.status)
	schema := compiled(at)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(a.text))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		s.t.Errorf("%s answers %d unlike its schema: %v\n%.500s", pattern, a.status, err, a.text)
	}
}

// compiled is the schema at a JSON pointer of the document.
func compiled(at string) *jsonschema.Schema {
	openapi.Lock()
	defer openapi.Unlock()
	if known := openapi.schemas[at]; known != nil {
		return known
	}
	schema, err := openapi.compiler.Compile(openapiURL + at)
	if err != nil {
		panic(err)
	}
	openapi.schemas[at] = schema
	return schema
}

// pointer writes a key as a part of a JSON pointer in a URL.
func pointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(key)
}
