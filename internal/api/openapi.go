// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"horde/internal/api/schema"
)

// OpenAPI makes the OpenAPI 3.1 document of everything that this server has, as it really is. The error says that an
// operation or a type cannot be described.
func (r *Router) OpenAPI(info Info) (schema.Object, error) {
	types := schema.NewOpenAPI(r.models)
	paths := schema.Object{}
	for _, o := range r.operations {
		described, err := o.openapi(types)
		if err != nil {
			return nil, o.fault(err)
		}
		item, _ := paths[o.Path].(schema.Object)
		if item == nil {
			item = schema.Object{}
			paths[o.Path] = item
		}
		item[strings.ToLower(o.Method)] = described
	}
	return schema.Object{
		"openapi": "3.1.0",
		"info": schema.Object{
			"title": cmp.Or(info.Title, "AI Horde"), "version": info.Version,
			"description": cmp.Or(info.Description, "People with graphics cards lend them, people without use them. Every operation answers JSON, and reads two headers "+
				"beside its own: Client-Agent names the calling program, X-Fields the fields of the answer that are wanted."),
			"license": schema.Object{"name": "GNU Affero General Public License v3.0 or later", "identifier": "AGPL-3.0-or-later"},
		},
		"paths":      paths,
		"components": schema.Object{"schemas": types.Schemas},
	}, nil
}

// always are the refusals that any operation may answer with.
var always = []int{http.StatusBadRequest, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable}

// ofBodies are those of any operation with a body.
var ofBodies = []int{http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}

func (o *Operation) openapi(types *schema.OpenAPI) (schema.Object, error) {
	parameters := []schema.Object{}
	for _, a := range o.input.arguments {
		described, err := types.Argument(a.field.Type, a.field.Tag)
		if err != nil {
			return nil, err
		}
		p := schema.Object{"name": a.name, "in": places[a.place].tag, "schema": described}
		if a.place == inPath || schema.Required(a.field.Tag) || a.field.Tag.Get("argument") == "true" {
			p["required"] = true
		}
		if doc := a.field.Tag.Get("doc"); doc != "" {
			p["description"] = doc
		}
		parameters = append(parameters, p)
	}
	described := schema.Object{"operationId": o.ID, "summary": o.Summary, "parameters": parameters, "tags": o.Tags}
	if o.Description != "" {
		described["description"] = o.Description
	}
	refusals := slices.Concat(always, o.Refuses, o.Also)
	if t := o.input.bodyType; t != nil {
		body, err := types.Of(t, schema.In)
		if err != nil {
			return nil, err
		}
		media := content("application/json", body)
		if o.Example != "" {
			media["application/json"].(schema.Object)["example"] = json.RawMessage(o.Example)
		}
		described["requestBody"] = schema.Object{"required": !o.input.optional, "content": media}
		refusals = append(refusals, ofBodies...)
	}
	responses := schema.Object{}
	for _, status := range o.Success {
		response := schema.Object{"description": http.StatusText(status)}
		switch {
		case status == http.StatusNoContent:
		case o.Media != "":
			response["content"] = content(o.Media, schema.Object{})
		default:
			answer, err := types.Of(o.out, schema.Out)
			if err != nil {
				return nil, err
			}
			response["content"] = content("application/json", answer)
			if o.AlsoMedia != "" {
				maps.Copy(response["content"].(schema.Object), content(o.AlsoMedia, schema.Object{}))
			}
		}
		for _, l := range o.Links {
			links, _ := response["links"].(schema.Object)
			if links == nil {
				links = schema.Object{}
				response["links"] = links
			}
			links[l.To] = schema.Object{"operationId": l.To, "parameters": schema.Object{l.Argument: "$response.body#/" + l.Member}}
		}
		responses[strconv.Itoa(status)] = response
	}
	refusal, err := types.Of(reflect.TypeFor[requestValidationError](), schema.Out)
	if err != nil {
		return nil, err
	}
	for _, status := range refusals {
		responses[strconv.Itoa(status)] = schema.Object{"description": http.StatusText(status), "content": content("application/json", maps.Clone(refusal))}
	}
	described["responses"] = responses
	return described, nil
}

func content(media string, described schema.Object) schema.Object {
	return schema.Object{media: schema.Object{"schema": described}}
}
