// SPDX-License-Identifier: AGPL-3.0-or-later

// Package web holds the pages that people look at: search, an instance with its chain of trust as a picture, lists with
// reasons and filters, and the pages on which admins claim and act. What is open to everybody is rendered here; what
// needs a key is done by the admins' browsers over the API.
package web

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"horde/internal/fediseer"
	"horde/internal/fediseer/api"
	"horde/internal/fediseer/observer"
	"horde/internal/fediseer/store"
	"horde/internal/fediseer/trust"
	"horde/internal/horde"
)

// Config says how the pages present the service.
type Config struct {
	Version, BaseURL string
	// ProxyAccount is the page of the account that messages through Mastodon come from; empty for none.
	ProxyAccount string
}

//go:embed templates/*.html static/*
var files embed.FS

// site renders the pages.
type site struct {
	cfg   Config
	trust *trust.Service
	nodes *observer.Source
	pages map[string]*template.Template
}

var functions = template.FuncMap{
	"rich": rich, "labels": labels, "evidence": evidence,
	"known": func(b *bool) string {
		return map[bool]string{true: "yes", false: "no"}[b != nil && *b] + map[bool]string{true: "", false: " (unknown)"}[b != nil]
	},
	"num": func(n *int) string {
		if n == nil {
			return "not told"
		}
		return strconv.Itoa(*n)
	},
	"state": func(n int) fediseer.State { return fediseer.StateOf(n) },
	"join":  strings.Join,
}

// Register adds the pages.
func Register(a *api.API, cfg Config, svc *trust.Service, nodes *observer.Source) {
	s := &site{cfg: cfg, trust: svc, nodes: nodes, pages: map[string]*template.Template{}}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err) // a bad pattern
	}
	for _, name := range names {
		base := strings.TrimSuffix(strings.TrimPrefix(name, "templates/"), ".html")
		if base != "layout" {
			s.pages[base] = template.Must(template.New("layout.html").Funcs(functions).ParseFS(files, "templates/layout.html", name))
		}
	}
	a.Page("/{$}", func(w http.ResponseWriter, _ *http.Request) { s.render(w, http.StatusOK, "index", "Fediseer", nil) })
	a.Page("/find", s.find)
	a.Page("/instances", s.instances)
	a.Page("/instances/{domain}", s.instance)
	a.Page("/lists", s.lists)
	a.Page("/solicitations", s.solicitations)
	a.Page("/suspicions", s.suspicions)
	a.Page("/reports", s.reports)
	a.Page("/claim", func(w http.ResponseWriter, r *http.Request) {
		s.render(w, http.StatusOK, "claim", "Claim an instance", r.URL.Query().Get("domain"))
	})
	a.Page("/admin", func(w http.ResponseWriter, _ *http.Request) {
		s.render(w, http.StatusOK, "admin", "Administration", nil)
	})
	a.Page("/faq", s.faq)
	a.Page("/faq/{$}", s.faq)
	a.Page("/faq/{lang}", s.faq)
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // embedded
	}
	for path, name := range map[string]string{"/static/style.css": "style.css", "/static/claim.js": "claim.js", "/static/admin.js": "admin.js",
		"/static/copy.js": "copy.js", "/static/icon.svg": "icon.svg",
		"/favicon.ico": "icon.svg", // where browsers look if a page names no icon
	} {
		a.Page(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=600")
			http.ServeFileFS(w, r, static, name)
		})
	}
}

// page is what every template gets.
type page struct {
	Title string
	// Lang is the language of the text, as HTML names it.
	Lang   string
	Config Config
	Data   any
}

func (s *site) render(w http.ResponseWriter, status int, name, title string, data any) {
	s.renderIn(w, "en", status, name, title, data)
}

func (s *site) renderIn(w http.ResponseWriter, lang string, status int, name, title string, data any) {
	var b strings.Builder
	if err := s.pages[name].Execute(&b, page{Title: title, Lang: lang, Config: s.cfg, Data: data}); err != nil {
		http.Error(w, "The page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	fmt.Fprint(w, b.String())
}

// fail shows a refusal, or a fault without its details.
func (s *site) fail(w http.ResponseWriter, err error) {
	var e *horde.Error
	if !errors.As(err, &e) {
		e = fediseer.Refuse(http.StatusInternalServerError, "The service could not do this")
	}
	s.render(w, e.Status, "error", http.StatusText(e.Status), e.Message)
}

// find leads from what somebody typed to an instance or, if there is none of that name, to a search.
func (s *site) find(w http.ResponseWriter, r *http.Request) {
	q := strings.TrimSpace(r.URL.Query().Get("q"))
	name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(q, "https://"), "http://"), "/")
	if d, err := fediseer.ParseDomain(name); err == nil {
		if in, err := s.trust.Stored(r.Context(), d); err == nil && in != nil || strings.Contains(string(d), ".") {
			http.Redirect(w, r, "/instances/"+url.PathEscape(string(d)), http.StatusSeeOther)
			return
		}
	}
	http.Redirect(w, r, "/instances?guarantors=0&q="+url.QueryEscape(q), http.StatusSeeOther)
}

func number(r *http.Request, name string, def int) int {
	if n, err := strconv.Atoi(strings.TrimSpace(r.URL.Query().Get(name))); err == nil {
		return n
	}
	return def
}

// pager links the pages of a list.
type pager struct {
	Page, Pages int
	query       url.Values
}

func (p pager) link(n int) string {
	q := url.Values{}
	for k, v := range p.query {
		q[k] = v
	}
	q.Set("page", strconv.Itoa(n))
	return "?" + q.Encode()
}

func (p pager) Prev() string {
	if p.Page <= 1 {
		return ""
	}
	return p.link(p.Page - 1)
}

func (p pager) Next() string {
	if p.Page >= p.Pages {
		return ""
	}
	return p.link(p.Page + 1)
}

const rowsPerPage = 50

func (s *site) instances(w http.ResponseWriter, r *http.Request) {
	get := r.URL.Query().Get
	page := max(1, number(r, "page", 1))
	q := trust.WhitelistQuery{MinEndorsements: number(r, "endorsements", 0), MinGuarantors: number(r, "guarantors", 1),
		Tags: fediseer.SplitList(get("tags")), Software: fediseer.SplitList(get("software")), NamePart: strings.ToLower(strings.TrimSpace(get("q"))),
		Page: page, Limit: rowsPerPage}
	list, total, err := s.trust.Whitelist(r.Context(), q)
	if err != nil {
		s.fail(w, err)
		return
	}
	s.render(w, http.StatusOK, "instances", "Instances", map[string]any{"List": list, "Total": total, "Q": get("q"), "Tags": get("tags"),
		"Software": get("software"), "Endorsements": q.MinEndorsements, "Guarantors": q.MinGuarantors,
		"Pager": pager{Page: page, Pages: (total + rowsPerPage - 1) / rowsPerPage, query: r.URL.Query()}})
}

// listOf is a list of judgements under a heading.
type listOf struct {
	Title  string
	Hidden bool // the list is not open to everybody
	Lines  []trust.Judged
	Kind   fediseer.Kind
	More   string // the address of the whole list
}

// shownLines bounds the lists on an instance's page.
const shownLines = 100

func (s *site) instance(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	d, err := fediseer.ParseDomain(r.PathValue("domain"))
	if err != nil {
		s.fail(w, err)
		return
	}
	in, err := s.trust.Stored(ctx, d)
	if err != nil {
		s.fail(w, err)
		return
	}
	if in == nil {
		s.render(w, http.StatusNotFound, "unknown", string(d), string(d))
		return
	}
	chain, err := s.trust.ChainOf(ctx, string(d))
	if err != nil {
		s.fail(w, err)
		return
	}
	below, err := s.trust.GuaranteedBy(ctx, string(d))
	if err != nil {
		s.fail(w, err)
		return
	}
	var lists []listOf
	for _, k := range fediseer.Kinds {
		received, err := s.trust.Received(ctx, trust.Credential{}, k, string(d))
		if err != nil {
			s.fail(w, err)
			return
		}
		lists = append(lists, listOf{Title: "Received " + k.Plural(), Kind: k, Lines: received.Items[:min(len(received.Items), shownLines)]})
		l := listOf{Title: "Given " + k.Plural(), Kind: k, More: "/lists?kind=" + k.Plural() + "&domains=" + url.QueryEscape(string(d))}
		limit := shownLines
		given, err := s.trust.Given(ctx, trust.Credential{}, k, trust.GivenQuery{Domains: []string{string(d)}, Min: 1, Limit: &limit})
		var e *horde.Error
		switch {
		case errors.As(err, &e) && e.Status == http.StatusForbidden:
			l.Hidden = true
		case err != nil:
			s.fail(w, err)
			return
		}
		l.Lines = given.Items
		lists = append(lists, l)
	}
	s.render(w, http.StatusOK, "instance", string(d), map[string]any{"In": in, "Chain": drawChain(chain, below), "Unbroken": chain.Unbroken(),
		"BrokenAt": chain.BrokenAt(), "Below": len(below), "MaxBelow": maxBelow, "Lists": lists, "Base": s.cfg.BaseURL})
}

func (s *site) lists(w http.ResponseWriter, r *http.Request) {
	get := r.URL.Query().Get
	kind := fediseer.Censure
	for _, k := range fediseer.Kinds {
		if get("kind") == k.Plural() {
			kind = k
		}
	}
	data := map[string]any{"Kind": kind.Plural(), "Domains": get("domains"), "Min": max(1, number(r, "min", 1)), "Reasons": get("reasons")}
	if strings.TrimSpace(get("domains")) == "" {
		s.render(w, http.StatusOK, "lists", "Combined lists", data)
		return
	}
	page := max(1, number(r, "page", 1))
	limit := rowsPerPage
	domains := strings.FieldsFunc(get("domains"), func(c rune) bool { return c == ',' || c == ' ' || c == '\n' || c == '\r' })
	q := trust.GivenQuery{Domains: domains, Min: max(1, number(r, "min", 1)), Reasons: fediseer.SplitList(get("reasons")), Page: &page, Limit: &limit}
	list, err := s.trust.Given(r.Context(), trust.Credential{}, kind, q)
	if err != nil {
		var e *horde.Error
		if !errors.As(err, &e) {
			s.fail(w, err)
			return
		}
		data["Error"] = e.Message
		s.render(w, e.Status, "lists", "Combined lists", data)
		return
	}
	given := kind.Plural() + "_given"
	if kind == fediseer.Endorsement {
		given = "approvals"
	}
	export := url.Values{}
	if q.Min > 1 {
		export.Set("min_"+kind.Plural(), strconv.Itoa(q.Min))
	}
	if q.Reasons != nil {
		export.Set("reasons_csv", strings.Join(q.Reasons, ","))
	}
	export.Set("limit", "1000000")
	address := "/api/v1/" + given + "/" + url.PathEscape(strings.Join(domains, ",")) + "?" + export.Encode()
	pages := page
	if len(list.Items) == limit {
		pages++
	}
	data["List"] = listOf{Title: "", Lines: list.Items, Kind: kind}
	data["Total"] = list.Total
	data["API"], data["CSV"], data["JSON"] = address, address+"&csv=1", address+"&domains=1"
	data["Pager"] = pager{Page: page, Pages: pages, query: r.URL.Query()}
	s.render(w, http.StatusOK, "lists", "Combined lists", data)
}

func (s *site) solicitations(w http.ResponseWriter, r *http.Request) {
	list, err := s.trust.Solicitations(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	s.render(w, http.StatusOK, "solicitations", "Who asks for a guarantee", list)
}

// suspicion is a line of the page of suspicions.
type suspicion struct {
	fediseer.Node
	Activity, Active float64
}

func (s *site) suspicions(w http.ResponseWriter, r *http.Request) {
	nodes, err := s.nodes.Nodes(r.Context())
	if err != nil {
		s.fail(w, fediseer.Refuse(http.StatusServiceUnavailable, "The source of these numbers does not answer. Come back later"))
		return
	}
	activityLimit, activeLimit := number(r, "activity", 20), number(r, "active", 500)
	var list []suspicion
	for _, n := range nodes {
		if activity, active, suspect := n.Suspicion(float64(activityLimit), float64(activeLimit)); suspect {
			list = append(list, suspicion{n, activity, active})
		}
	}
	s.render(w, http.StatusOK, "suspicions", "Suspicious instances", map[string]any{"List": list, "Activity": activityLimit, "Active": activeLimit})
}

func (s *site) reports(w http.ResponseWriter, r *http.Request) {
	page := max(1, number(r, "page", 1))
	var f store.ReportFilter
	if d := strings.TrimSpace(r.URL.Query().Get("domain")); d != "" {
		f.Sources = []string{d}
	}
	list, err := s.trust.Reports(r.Context(), f, page)
	if err != nil {
		s.fail(w, err)
		return
	}
	pages := page
	if len(list) == trust.ReportsPerPage {
		pages++
	}
	s.render(w, http.StatusOK, "reports", "What happened", map[string]any{"List": list, "Domain": r.URL.Query().Get("domain"),
		"Pager": pager{Page: page, Pages: pages, query: r.URL.Query()}})
}
