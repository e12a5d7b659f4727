// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

// Landing makes a front page of the operator's own, as a fragment of HTML, for somebody who reaches the horde at base and sees
// its picture at logo.
type Landing func(ctx context.Context, base, logo string) (string, error)

var landingTemplate = parse("landing")["landing"]

// landingView is what the template of the operator's front page sees.
type landingView struct {
	view
	Landing template.HTML
}

// home serves the front page: the built-in one or the operator's. Where another node makes that, it answers.
func (p *pages) home() {
	switch {
	case p.Landing != nil:
		p.router.Mount("/{$}", LimitsPage, http.HandlerFunc(p.serveLanding))
	case !p.NoHome:
		p.router.Mount("/{$}", LimitsPage, p.show("home"))
	}
}

func (p *pages) serveLanding(w http.ResponseWriter, req *http.Request) {
	v := p.view(req)
	text, err := p.Landing(req.Context(), v.Base, cmp.Or(p.LogoURL, v.Base+assetPath("favicon.svg")))
	if err != nil {
		p.router.WriteError(w, req, err)
		return
	}
	// The text is the operator's own and may hold any markup; the policy of the page keeps scripts out all the same.
	var b bytes.Buffer
	if err := landingTemplate.Execute(&b, landingView{v, template.HTML(text)}); err != nil {
		p.router.WriteError(w, req, fmt.Errorf("page landing: %w", err))
		return
	}
	p.headers(w)
	h := w.Header()
	h["Content-Security-Policy"] = []string{strings.Replace(p.policy[0], "img-src ", "img-src https: ", 1)}
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write(b.Bytes()) // an error means that the visitor has gone
}
