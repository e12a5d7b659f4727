// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
)

// The addresses of the documents.
const (
	SwaggerPath = "/api/swagger.json"
	OpenAPIPath = "/api/openapi.json"
)

// MountDocuments adds the two documents of what is registered at this point. It comes after the last operation.
func (r *Router) MountDocuments(info Info) error {
	swagger, err := r.Swagger(info)
	if err != nil {
		return err
	}
	if err := r.mountDocument(SwaggerPath, swagger); err != nil {
		return err
	}
	return r.MountOpenAPI(OpenAPIPath, info)
}

// MountOpenAPI adds the OpenAPI document of what is registered at this point.
func (r *Router) MountOpenAPI(path string, info Info) error {
	openapi, err := r.OpenAPI(info)
	if err != nil {
		return err
	}
	return r.mountDocument(path, openapi)
}

func (r *Router) mountDocument(path string, document any) error {
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	if err := out.Encode(document); err != nil {
		return err
	}
	r.Mount(path, DefaultLimits, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header()["Content-Type"] = jsonType
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(text.Bytes()))
	}))
	return nil
}
