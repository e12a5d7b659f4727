// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"fmt"
	"html/template"
	"net/http"

	swaggerui "github.com/swaggo/files/v2"

	"horde/internal/api"
)

// referencePolicy is that of the other pages, and lets the viewer of the document have the styles and images it brings.
const referencePolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; " +
	"font-src 'self' data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

var referencePage = template.Must(template.New("reference").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>API reference · {{.Title}}</title><link rel="icon" href="/favicon.ico"><link rel="stylesheet" href="{{.At}}/ui/swagger-ui.css">
<style>body{margin:0}#ui{overflow-x:auto;overflow-wrap:anywhere}.back{margin:1rem;font-family:sans-serif}</style></head>
<body><p class="back"><a href="{{.At}}/">{{.Title}}: the API</a></p><div id="ui"></div>
<script src="{{.At}}/ui/swagger-ui-bundle.js"></script><script src="{{.At}}/ui/start.js"></script></body></html>
`))

// referenceStart is a script of its own, since the policy allows none in the page. What is inserted is a path of ours.
const referenceStart = `SwaggerUIBundle({url: "%s", dom_id: "#ui", presets: [SwaggerUIBundle.presets.apis], deepLinking: true, docExpansion: "list"});
`

// mountReference adds the page on which every operation of an OpenAPI document can be read and tried, below a path.
// All of it is in the program.
func mountReference(r *api.Router, title, at, document string) {
	r.Mount(at+"/reference", LimitsPage, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", referencePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		// An error means that the visitor has gone.
		_ = referencePage.Execute(w, struct{ Title, At string }{title, at})
	}))
	r.Mount(at+"/ui/start.js", nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		_, _ = fmt.Fprintf(w, referenceStart, document)
	}))
	for _, name := range []string{"swagger-ui.css", "swagger-ui-bundle.js"} {
		r.Mount(at+"/ui/"+name, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=86400")
			http.ServeFileFS(w, req, swaggerui.FS, name)
		}))
	}
}
