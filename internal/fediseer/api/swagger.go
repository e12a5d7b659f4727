// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"fmt"
	"net/http"
	"path"
	"reflect"
	"strings"

	swaggerui "github.com/swaggo/files/v2"
)

// document writes the OpenAPI 2 document of the table of operations.
func (a *API) document() map[string]any {
	defs := map[string]any{"Error": map[string]any{"type": "object", "required": []string{"message"}, "properties": map[string]any{
		"message": map[string]any{"type": "string"}, "errors": map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}}}}}
	paths := map[string]map[string]any{}
	for _, op := range a.ops {
		if paths[op.path] == nil {
			paths[op.path] = map[string]any{}
		}
		paths[op.path][strings.ToLower(op.method)] = op.describe(defs)
	}
	return map[string]any{
		"swagger": "2.0", "basePath": Base, "consumes": []string{"application/json"}, "produces": []string{"application/json"},
		"info": map[string]any{"title": "Fediseer", "version": a.cfg.Version,
			"description": "Fediverse instances vouch for and judge each other."},
		"paths": paths, "definitions": defs,
	}
}

func (op *operation) describe(defs map[string]any) map[string]any {
	params := []any{
		map[string]any{"name": "Client-Agent", "in": "header", "type": "string", "default": "unknown:0:unknown",
			"description": "Name, version and contact of the client, separated by colons"},
		map[string]any{"name": "X-Fields", "in": "header", "type": "string", "format": "mask",
			"description": "What to keep of the answer, for example instances{domain}"},
	}
	for rest := op.path; ; {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			break
		}
		name, tail, _ := strings.Cut(after, "}")
		params = append(params, map[string]any{"name": name, "in": "path", "type": "string", "required": true})
		rest = tail
	}
	if op.key != keyNone {
		params = append(params, map[string]any{"name": "apikey", "in": "header", "type": "string", "required": op.key == keyRequired,
			"description": "The key of an instance"})
	}
	for _, p := range op.params {
		m := map[string]any{"name": p.name, "in": "query", "type": p.kind, "description": p.doc}
		if p.def != nil {
			m["default"] = p.def
		}
		params = append(params, m)
	}
	if op.body != nil {
		params = append(params, map[string]any{"name": "payload", "in": "body", "required": true, "schema": op.body.describe(defs)})
	}
	ok := map[string]any{"description": "Success"}
	if op.answer != nil {
		ok["schema"] = schemaOf(reflect.TypeOf(op.answer), defs)
	}
	failure := func(what string) any {
		return map[string]any{"description": what, "schema": map[string]any{"$ref": "#/definitions/Error"}}
	}
	responses := map[string]any{"200": ok, "400": failure("Not valid"), "429": failure("Too many requests")}
	if op.key != keyNone {
		responses["401"], responses["403"], responses["404"] = failure("No key"), failure("Not allowed"), failure("Not known")
	}
	id := strings.ToLower(op.method) + strings.NewReplacer("/", "_", "{", "", "}", "").Replace(op.path)
	return map[string]any{"summary": op.summary, "operationId": id, "parameters": params, "responses": responses,
		"tags": []string{strings.Split(op.path, "/")[1]}}
}

func (o *object) describe(defs map[string]any) any {
	ref := map[string]any{"$ref": "#/definitions/" + o.name}
	if defs[o.name] != nil {
		return ref
	}
	props, required := map[string]any{}, []string{}
	for _, f := range o.fields {
		m := map[string]any{"type": f.kind}
		if f.doc != "" {
			m["description"] = f.doc
		}
		if f.enum != nil {
			m["enum"] = f.enum
		}
		switch {
		case f.kind == "string" && f.min > 0:
			m["minLength"] = f.min
		case f.kind == "integer":
			m["minimum"] = f.min
		}
		if f.max > 0 {
			m[map[string]string{"string": "maxLength", "integer": "maximum"}[f.kind]] = f.max
		}
		if f.items != nil {
			m["items"] = f.items.describe(defs)
		}
		if f.required {
			required = append(required, f.name)
		}
		props[f.name] = m
	}
	def := map[string]any{"type": "object", "properties": props}
	if len(required) > 0 {
		def["required"] = required
	}
	defs[o.name] = def
	return ref
}

// schemaOf describes the type of an answer.
func schemaOf(t reflect.Type, defs map[string]any) any {
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), defs)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), defs)}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Struct:
	default:
		panic(fmt.Sprintf("api: the document cannot describe %s", t))
	}
	if t.Name() == "" {
		return map[string]any{"type": "object", "properties": properties(t, defs)}
	}
	name := t.Name()
	if generic, inner, ok := strings.Cut(name, "["); ok { // List[horde/...InstanceDetails]
		name = strings.TrimSuffix(path.Ext(inner), "]")[1:] + generic
	}
	if defs[name] == nil {
		defs[name] = map[string]any{} // against endless recursion
		defs[name] = map[string]any{"type": "object", "properties": properties(t, defs)}
	}
	return map[string]any{"$ref": "#/definitions/" + name}
}

func properties(t reflect.Type, defs map[string]any) map[string]any {
	props := map[string]any{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			for n, p := range properties(f.Type, defs) {
				props[n] = p
			}
			continue
		}
		props[name] = schemaOf(f.Type, defs)
	}
	return props
}

// documents adds the OpenAPI document and the page that lets people try it.
func (a *API) documents() {
	a.Page("/api/swagger.json", func(w http.ResponseWriter, r *http.Request) {
		newCached("application/json", a.swagger).write(w, r)
	})
	a.Page("/api/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Fediseer API</title><link rel="icon" href="/static/icon.svg" type="image/svg+xml"><link rel="stylesheet" href="/api/ui/swagger-ui.css"><style>body{margin:0}#ui{overflow-x:auto;overflow-wrap:anywhere}</style></head>
<body><div id="ui"></div><script src="/api/ui/swagger-ui-bundle.js"></script><script src="/api/start.js"></script></body></html>`)
	})
	a.Page("/api/start.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		fmt.Fprintln(w, `SwaggerUIBundle({url: "/api/swagger.json", dom_id: "#ui", presets: [SwaggerUIBundle.presets.apis]});`)
	})
	// pythonseer asks here whether the service is there.
	a.Page("/api", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/api/", http.StatusFound)
	})
	for _, name := range []string{"swagger-ui.css", "swagger-ui-bundle.js"} {
		a.Page("/api/ui/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=86400")
			http.ServeFileFS(w, r, swaggerui.FS, name)
		})
	}
}
