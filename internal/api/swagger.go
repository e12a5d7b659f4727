// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"horde/internal/api/schema"
)

// Version is that of the interface, as its documents and the service information tell it. The version of the program is in the
// heartbeat.
const Version = "2.5"

// Info is what a document tells about itself.
type Info struct {
	Version string
	// Title and Description are those of the OpenAPI document; empty means those of the AI Horde.
	Title, Description string
}

// basePath is what the paths of the Swagger document start after.
const basePath = "/api"

// Swagger makes the Swagger 2.0 document of what the reference has too, as clients and generators of clients know it
// (clients chapter, 10.8). The error says that an operation or a type cannot be described.
func (r *Router) Swagger(info Info) (schema.Object, error) {
	types := schema.NewSwagger(r.models)
	paths := schema.Object{}
	for _, o := range r.operations {
		path, ok := strings.CutPrefix(o.Path, basePath)
		if o.Published.Ours || !ok || !strings.HasPrefix(path, "/v2/") {
			continue
		}
		item, _ := paths[path].(schema.Object)
		if item == nil {
			item = schema.Object{}
			if list, err := o.swaggerParameters(types, inPath); err != nil {
				return nil, o.fault(err)
			} else if len(list) > 0 {
				item["parameters"] = list
			}
			paths[path] = item
		}
		described, err := o.swagger(types)
		if err != nil {
			return nil, o.fault(err)
		}
		item[strings.ToLower(o.Method)] = described
	}
	if err := types.Finish(); err != nil {
		return nil, err
	}
	return schema.Object{
		"swagger": "2.0", "basePath": basePath, "paths": paths,
		"info": schema.Object{
			"title": "AI Horde", "version": info.Version, "description": "People with graphics cards lend them, people without use them.",
		},
		"produces": []string{"application/json"}, "consumes": []string{"application/json"},
		"tags": []schema.Object{{"name": "v2", "description": "API v2"}},
		"responses": schema.Object{
			"ParseError": schema.Object{"description": "The field mask cannot be read"},
			"MaskError":  schema.Object{"description": "The field mask does not fit the answer"},
		},
		"definitions": types.Definitions,
	}, nil
}

func (o *Operation) fault(err error) error { return fmt.Errorf("%s %s: %w", o.Method, o.Path, err) }

func (o *Operation) swagger(types *schema.Swagger) (schema.Object, error) {
	parameters := []schema.Object{}
	for _, where := range []place{inHeader, inQuery} {
		list, err := o.swaggerParameters(types, where)
		if err != nil {
			return nil, err
		}
		parameters = append(parameters, list...)
	}
	if !o.Published.NoAgent {
		parameters = append(parameters, schema.Object{
			"name": "Client-Agent", "in": "header", "type": "string", "default": DefaultAgent,
			"description": "The name, version and contact of the client, with colons in between.",
		})
	}
	if !o.Published.NoMask {
		parameters = append(parameters, schema.Object{
			"name": "X-Fields", "in": "header", "type": "string", "format": "mask", "description": "The fields of the answer that are wanted.",
		})
	}
	if t := o.input.bodyType; t != nil {
		body, err := types.Of(t)
		if err != nil {
			return nil, err
		}
		parameters = append(parameters, schema.Object{"name": "payload", "in": "body", "required": true, "schema": body})
	}
	responses := schema.Object{}
	answer := o.out
	if o.Published.Answer != nil {
		answer = reflect.TypeOf(o.Published.Answer)
	}
	success := o.Success
	if o.Published.Success != nil {
		success = o.Published.Success
	}
	for _, status := range success {
		response := schema.Object{"description": http.StatusText(status)}
		if !o.Published.NoAnswer && status != http.StatusNoContent && o.Media == "" {
			described, err := types.Of(answer)
			if err != nil {
				return nil, err
			}
			response["schema"] = described
		}
		responses[strconv.Itoa(status)] = response
	}
	for _, status := range o.Refuses {
		t := reflect.TypeFor[requestError]()
		if status == http.StatusBadRequest && o.Validates {
			t = reflect.TypeFor[requestValidationError]()
		}
		described, err := types.Of(t)
		if err != nil {
			return nil, err
		}
		responses[strconv.Itoa(status)] = schema.Object{"description": http.StatusText(status), "schema": described}
	}
	id := o.ID
	if o.Published.ID != "" {
		id = o.Published.ID
	}
	described := schema.Object{"operationId": id, "summary": o.Summary, "parameters": parameters, "responses": responses, "tags": o.Tags}
	if o.Description != "" {
		described["description"] = o.Description
	}
	return described, nil
}

// swaggerParameters describes the arguments in one place.
func (o *Operation) swaggerParameters(types *schema.Swagger, where place) ([]schema.Object, error) {
	var list []schema.Object
	for _, a := range o.input.arguments {
		if a.place != where || a.field.Tag.Get("published") == "-" {
			continue
		}
		p, err := types.Argument(a.field.Type, a.field.Tag)
		if err != nil {
			return nil, err
		}
		p["name"], p["in"] = a.name, places[where].tag
		if where == inPath || schema.Required(a.field.Tag) {
			p["required"] = true
		}
		if doc := a.field.Tag.Get("doc"); doc != "" {
			p["description"] = doc
		}
		list = append(list, p)
	}
	return list, nil
}
