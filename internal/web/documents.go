// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"encoding/json"
	"html/template"
	"net/http"
	"strings"

	"horde/internal/api"
	"horde/internal/bulletin"
)

// document is one of the operator's texts in the frame of a page.
type document struct {
	Heading string
	Text    template.HTML
}

var documentPages = []struct {
	path    string
	name    bulletin.Name
	heading string
}{
	{"/terms", bulletin.Terms, "Terms"}, {"/privacy", bulletin.Privacy, "Privacy"}, {"/sponsors", bulletin.Sponsors, "Sponsors"},
}

// mountDocuments adds the pages of documents and what the horde says of itself to machines.
func (p *pages) mountDocuments() {
	p.router.Mount("/.well-known/serviceinfo", LimitsPage, http.HandlerFunc(p.serviceInfo))
	if p.Board == nil {
		return
	}
	for _, d := range documentPages {
		p.router.Mount(d.path, LimitsPage, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			v := p.view(req)
			// The text is the operator's own and may hold any markup; the policy of the page keeps scripts out all the same.
			v.Document = document{d.heading, template.HTML(p.Board.Document(d.name, v.Base).HTML)}
			p.answer(w, req, http.StatusOK, "document", v)
		}))
	}
}

// The names of serviceinfo: its own version, and the API that hordes have in common.
const (
	serviceInfoVersion = "0.2"
	apiName            = "AI Horde API"
	apiBase            = "/api/v2"
)

type serviceInfo struct {
	Version  string                `json:"version"`
	Software serviceSoftware       `json:"software"`
	API      map[string]serviceAPI `json:"api"`
}

type serviceSoftware struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Repository string `json:"repository"`
	Homepage   string `json:"homepage"`
	Logo       string `json:"logo"`
}

type serviceAPI struct {
	Name          string `json:"name"`
	Version       string `json:"version"`
	BaseURL       string `json:"base_url"`
	RelURL        string `json:"rel_url"`
	Documentation string `json:"documentation"`
}

// serviceInfo tells programs what is here. Unlike pages, others may read it in a browser.
func (p *pages) serviceInfo(w http.ResponseWriter, req *http.Request) {
	base := p.base(req)
	logo := p.LogoURL
	if logo == "" {
		logo = strings.TrimRight(base, "/") + assetPath("favicon.svg")
	}
	text, err := json.Marshal(serviceInfo{
		Version:  serviceInfoVersion,
		Software: serviceSoftware{Name: p.Title, Version: p.Version, Repository: p.SourceURL, Homepage: base, Logo: logo},
		API: map[string]serviceAPI{"aihorde": {
			Name: apiName, Version: api.Version, BaseURL: base + apiBase, RelURL: apiBase, Documentation: base + strings.TrimRight(apiPrefix, "/"),
		}},
	})
	if err != nil {
		p.router.WriteError(w, req, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // an error means that the caller has gone
}
