// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"html/template"
	"io"
	"net/http"

	swaggerui "github.com/swaggo/files/v2"

	"horde/internal/api"
)

// referencePolicy is that of the other pages, and lets the viewer of the document have the styles and images it brings.
const referencePolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; " +
	"font-src 'self' data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

var referencePage = template.Must(template.New("reference").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>API reference · {{.Title}}</title><link rel="icon" href="/favicon.ico"><link rel="stylesheet" href="/api/ui/swagger-ui.css">
<style>body{margin:0}#ui{overflow-x:auto;overflow-wrap:anywhere}.back{margin:1rem;font-family:sans-serif}</style></head>
<body><p class="back"><a href="/api/">{{.Title}}: the API</a></p><div id="ui"></div>
<script src="/api/ui/swagger-ui-bundle.js"></script><script src="/api/ui/start.js"></script></body></html>
`))

// referenceStart is a script of its own, since the policy allows none in the page.
const referenceStart = `SwaggerUIBundle({url: "` + api.OpenAPIPath + `", dom_id: "#ui", presets: [SwaggerUIBundle.presets.apis], deepLinking: true, docExpansion: "list"});
`

// mountReference adds the page on which every operation of the OpenAPI document can be read and tried. All of it is in the
// program.
func mountReference(r *api.Router, title string) {
	r.Mount("/api/reference", LimitsPage, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", referencePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		// An error means that the visitor has gone.
		_ = referencePage.Execute(w, struct{ Title string }{title})
	}))
	r.Mount("/api/ui/start.js", nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		_, _ = io.WriteString(w, referenceStart)
	}))
	for _, name := range []string{"swagger-ui.css", "swagger-ui-bundle.js"} {
		r.Mount("/api/ui/"+name, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=86400")
			http.ServeFileFS(w, req, swaggerui.FS, name)
		}))
	}
}
