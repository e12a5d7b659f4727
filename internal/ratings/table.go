// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"bytes"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// wantsTable tells whether a query of a moderator asks for a table in place of JSON.
func (v *served) wantsTable(r *http.Request) bool {
	path, below := strings.CutPrefix(r.URL.Path, v.prefix+apiPath)
	return below && r.Method == http.MethodGet && (strings.HasPrefix(path, "/image/ratings/") || strings.HasPrefix(path, "/user/")) && r.URL.Query().Get("format") == "html"
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *recorder) Header() http.Header         { return a.header }
func (a *recorder) Write(b []byte) (int, error) { return a.body.Write(b) }
func (a *recorder) WriteHeader(status int)      { a.status = status }

// table answers a query with its records as a table, with a thumbnail for each image. Refusals stay as they are.
func (v *served) table(w http.ResponseWriter, r *http.Request) {
	plain := r.Clone(r.Context())
	plain.Header.Del("Accept-Encoding")
	plain.Header.Del("X-Fields")
	a := &recorder{header: w.Header(), status: http.StatusOK}
	v.router.ServeHTTP(a, plain)
	text := a.body.Bytes()
	if a.status == http.StatusOK {
		page, err := v.tablePage(r, text)
		if err != nil {
			v.router.WriteError(w, r, err)
			return
		}
		text = page
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; img-src *; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(a.status)
	_, _ = w.Write(text) // an error means that the caller has gone
}

// tableCell is a text, or a picture with a text beneath.
type tableCell struct{ Text, Image string }

var tablePage = template.Must(template.New("table").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Ratings</title>
<style>body{font:1rem/1.4 system-ui,sans-serif;margin:1rem}div{overflow-x:auto}table{border-collapse:collapse}th,td{padding:.3rem .8rem;border-bottom:1px solid #8885;text-align:left;vertical-align:top}
img{display:block;max-width:8rem;max-height:8rem}dt{float:left;clear:left;width:22rem;max-width:60%}dd{margin:0 0 .3rem}:root{color-scheme:light dark}</style></head>
<body>{{with .Facts}}<dl>{{range .}}<dt>{{.Name}}</dt><dd>{{with .Image}}<img src="{{.}}" alt="">{{end}}{{.Text}}</dd>{{end}}</dl>{{end}}
{{if .Rows}}<div><table><thead><tr>{{range .Columns}}<th scope="col">{{.}}</th>{{end}}</tr></thead><tbody>{{range .Rows}}<tr>{{range .}}<td>{{with .Image}}<img src="{{.}}" alt="" loading="lazy">{{end}}{{.Text}}</td>{{end}}</tr>
{{end}}</tbody></table></div>{{end}}</body></html>
`))

// tablePage makes the page of an answer: its numbers first, then the records of its list.
func (v *served) tablePage(r *http.Request, answer []byte) ([]byte, error) {
	var whole map[string]any
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber()
	if err := decoder.Decode(&whole); err != nil {
		return nil, err
	}
	type fact struct {
		Name string
		tableCell
	}
	var page struct {
		Facts   []fact
		Columns []string
		Rows    [][]tableCell
	}
	for _, name := range slices.Sorted(maps.Keys(whole)) {
		list, isList := whole[name].([]any)
		if !isList {
			page.Facts = append(page.Facts, fact{name, v.cell(r, name, whole[name])})
			continue
		}
		for _, record := range list {
			record, _ := record.(map[string]any)
			if page.Columns == nil {
				page.Columns = slices.Sorted(maps.Keys(record))
			}
			var row []tableCell
			for _, column := range page.Columns {
				row = append(row, v.cell(r, column, record[column]))
			}
			page.Rows = append(page.Rows, row)
		}
	}
	var out bytes.Buffer
	err := tablePage.Execute(&out, page)
	return out.Bytes(), err
}

func (v *served) cell(r *http.Request, name string, value any) tableCell {
	switch value := value.(type) {
	case nil:
		return tableCell{Text: "–"}
	case string:
		if name == "image" {
			at := value
			if uuid.Validate(value) == nil {
				at = v.addressOf(r, value)
			}
			return tableCell{value, at}
		}
		return tableCell{Text: value}
	case json.Number:
		return tableCell{Text: value.String()}
	case []any:
		var words []string
		for _, word := range value {
			text, _ := word.(string)
			words = append(words, text)
		}
		return tableCell{Text: strings.Join(words, ", ")}
	}
	return tableCell{}
}

// addressOf is where an image is.
func (v *served) addressOf(r *http.Request, id string) string {
	own := ""
	_ = v.change(func() (err error) { // without an answer it is looked for here
		own, err = v.text("select url from images where id = ?", id)
		return err
	})
	return imageURL(v.base(r), own, id)
}
