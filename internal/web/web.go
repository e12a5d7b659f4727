// SPDX-License-Identifier: AGPL-3.0-or-later

// Package web is the pages that people look at: what the horde is and how it does, a playground, registration, how to add a
// worker, and what the API can do.
//
// The pages are templates and a few kilobytes of style and script inside the program. They load nothing from elsewhere,
// which their Content-Security-Policy enforces, and need no build step. What they show of the horde they ask the public API
// for, as any other client does. Only what is somebody's own calls the engine: registration, the account, transfers. A node
// that does not run the engine serves everything else, and passes these on.
package web

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"horde/internal/api"
	"horde/internal/bulletin"
	"horde/internal/engine"
	"horde/internal/login"
	"horde/internal/proofofwork"
	"horde/internal/worker/sandbox"
)

// Site is what the pages need to know.
type Site struct {
	// Title is what the horde is called.
	Title string
	// Noun is what the pages call a horde in a sentence; empty means "horde".
	Noun string
	// Version is that of the program.
	Version string
	// PublicURL is where the world reaches the horde: "https://horde.example". Empty means the address by which each
	// visitor came.
	PublicURL string
	// SourceURL is where the source of the program can be had, which the AGPL asks for of a changed one. Empty shows no link.
	SourceURL string
	// ImageOrigins are further origins from which results are served, such as "https://images.example".
	ImageOrigins []string
	// Accounts has the accounts of people. Without it there are only the pages that are the same for everybody.
	Accounts *engine.Engine
	// Logins are the services with whose accounts people may log in. They need PublicURL.
	Logins []*login.Provider
	// SessionKey seals the cookies of sessions. Empty means a secret of the horde's own.
	SessionKey string
	// SignUpWork is how hard the riddle is that registration without a login asks to be solved: see package proofofwork. Zero
	// asks for nothing.
	SignUpWork int
	// Board has the documents; nil shows none.
	Board *bulletin.Board
	// Ratings is the path of the page on which people rate images, empty for none: see [MountRatings].
	Ratings string
	// LogoURL is a picture of the horde, for serviceinfo.
	LogoURL string
	// SiteVerification is what a search engine wants to read on the front page; empty for nothing.
	SiteVerification string
	// Landing makes a front page in place of the built-in one; nil leaves that. NoHome serves neither.
	Landing Landing
	NoHome  bool
	// NoAnonymous tells that the horde serves only people with an account, so that no page offers anything else.
	NoAnonymous bool
	// Log takes failures; nil means [slog.Default].
	Log *slog.Logger
}

// The rate limits of the pages. Files under /assets have none: browsers keep them for good.
var (
	// LimitsPage are for every page.
	LimitsPage = api.DefaultLimits
	// LimitsSignUp are for sending the registration form: enough for a class room behind one address, too few to fill a
	// horde with accounts.
	LimitsSignUp = api.Limits{
		{By: api.ByPath, Amount: 5, Per: time.Minute},
		{By: api.ByPath, Amount: 30, Per: time.Hour},
	}
)

// Mount adds the pages to a router. It comes after the operations of the API, which one of the pages lists.
func Mount(s Site, r *api.Router) {
	if s.Log == nil {
		s.Log = slog.Default()
	}
	s.PublicURL = strings.TrimRight(s.PublicURL, "/")
	p := &pages{Site: s, router: r, policy: []string{policy(s)}, operations: describe(r.Routes(apiPrefix))}
	for _, page := range []struct{ path, template string }{
		{"/{$}", "home"}, {"/workers", "workers"}, {"/api", "api"}, {"/moderation", "moderation"},
	} {
		if page.template == "home" {
			p.home()
			continue
		}
		r.Mount(page.path, LimitsPage, p.show(page.template))
	}
	mountReference(r, s.Title, "/api", api.OpenAPIPath)
	p.mountDocuments()
	if s.Accounts != nil {
		p.mountPeople()
	}
	p.mountFiles()
	r.SetErrorPage(p.refuse)
}

//go:embed html
var sources embed.FS

// templates are the pages by name, each inside the layout.
var templates = parse("home", "register", "registered", "workers", "api", "refusal", "login", "profile", "transfer", "document", "moderation", "rate", "ratings-api")

func parse(names ...string) map[string]*template.Template {
	all := make(map[string]*template.Template, len(names))
	for _, name := range names {
		t := template.New("layout.html").Funcs(template.FuncMap{"asset": assetPath, "lights": lights, "lower": strings.ToLower})
		all[name] = template.Must(t.ParseFS(sources, "html/layout.html", "html/"+name+".html"))
	}
	return all
}

// pages serves the pages of a Site.
type pages struct {
	Site
	router     *api.Router
	policy     []string
	operations []group
	// prefix is what the pages of the ratings service are below, and horde the address of all other pages where that is another one.
	prefix, horde string

	// Of people; nil where there are no accounts.
	sealer  *login.Sealer
	logins  *login.Service
	riddles *proofofwork.Riddler
}

// view is what a template sees.
type view struct {
	Title, Noun, Version, SourceURL string
	SiteVerification                string
	NoAnonymous                     bool
	// Base is where the horde is reached, without a slash at the end; Path the page's own.
	Base, Path string
	// Home is what paths of the horde's own pages begin with: nothing, but on another host.
	Home string
	// Ratings is the page on which people rate images, empty for none.
	Ratings string
	// Of the ratings service: its API, its images and what tells of the API, as paths, and the API of the horde, empty where that
	// is not known. Then what can be chosen.
	RatingsAPI, RatingsImages, RatingsDocs, HordeAPI string
	Ratings10                                        []string
	Artifacts                                        []ratingChoice
	// Demos are the models that are no models.
	Demos      string
	Operations []group

	// Of registration.
	NameLimit int
	Name      string
	// Alias is the name as it was typed; stored names have their tags escaped (accounts 2).
	Alias string
	Key   string
	// Created tells that the account is new; else it has got another key.
	Created bool
	// Riddle is to be solved, Bits hard; empty for none.
	Riddle string
	Bits   int

	// Of people. Who is nil for those who are not logged in.
	Who    *visitor
	Logins []*login.Provider
	// FormToken goes into every form of a session.
	FormToken string
	// Once is another text each time that a form is shown which must not count twice, however often it is sent.
	Once string
	// Done says what was done.
	Done string
	// Shared tells that documents can be shown.
	Documents bool
	Document  document
	Profile   profile
	Transfer  transferForm

	// Of a refusal, and of what is wrong with a form.
	Status  int
	Heading string
	Problem string
}

func (p *pages) view(req *http.Request) view {
	v := view{
		Title: p.Title, Noun: cmp.Or(p.Noun, "horde"), Version: p.Version, SourceURL: p.SourceURL, SiteVerification: p.SiteVerification, NoAnonymous: p.NoAnonymous,
		Base: p.base(req), Path: req.URL.Path,
		Demos: sandbox.ImageModel + "\n" + sandbox.TextModel, NameLimit: engine.MaxUserName, Documents: p.Board != nil,
		Home: p.horde, Ratings: p.Ratings, RatingsAPI: p.prefix + "/api/v1", RatingsImages: p.prefix + "/images/", RatingsDocs: p.prefix + "/api",
		Ratings10: ratingMarks, Artifacts: artifactChoices,
	}
	if p.prefix != "" || p.horde != "" {
		v.HordeAPI = p.horde + "/api/v2"
	}
	return v
}

// base is the address of the horde as the visitor sees it.
func (p *pages) base(req *http.Request) string {
	if p.PublicURL != "" && p.horde == "" {
		return p.PublicURL
	}
	scheme := "http://"
	if req.TLS != nil {
		scheme = "https://"
	}
	return scheme + req.Host
}

// show serves a page that is the same for everybody. Browsers keep it and ask whether it has changed.
func (p *pages) show(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		v := p.view(req)
		v.Operations = p.operations
		text, err := render(name, v)
		if err != nil {
			p.router.WriteError(w, req, err)
			return
		}
		p.headers(w)
		h := w.Header()
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag(text))
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(text))
	})
}

// write answers with a page that nobody may keep.
func (p *pages) write(w http.ResponseWriter, status int, name string, v view) error {
	text, err := render(name, v)
	if err != nil {
		return err
	}
	p.headers(w)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text) // an error means that the visitor has gone
	return nil
}

func render(name string, v view) ([]byte, error) {
	var b bytes.Buffer
	if err := templates[name].Execute(&b, v); err != nil {
		return nil, fmt.Errorf("page %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// headers sets what every page has. Other origins may read the API, but no pages: one of them shows a key.
func (p *pages) headers(w http.ResponseWriter) {
	h := w.Header()
	h.Del("Access-Control-Allow-Origin")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h["Content-Security-Policy"] = p.policy
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// policy lets a page load its own script and style, talk to its own API and show results, and nothing else.
func policy(s Site) string {
	images := append([]string{"'self'"}, s.ImageOrigins...)
	if s.PublicURL != "" {
		images = append(images, originOf(s.PublicURL))
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src " + strings.Join(images, " ") +
		"; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
}

// apiPrefix is below what programs talk; they get JSON whatever they accept.
const apiPrefix = "/api/"

// refuse writes a refusal as a page for people with a browser, outside of the API.
func (p *pages) refuse(w http.ResponseWriter, req *http.Request, e *refusal) bool {
	if strings.HasPrefix(req.URL.Path, p.prefix+apiPrefix) || !strings.Contains(req.Header.Get("Accept"), "text/html") {
		return false
	}
	v := p.view(req)
	v.Status, v.Heading, v.Problem = e.Status, http.StatusText(e.Status), e.Message
	switch e.Status {
	case http.StatusNotFound:
		v.Heading, v.Problem = "There is nothing here", "The address is wrong, or what was here has gone."
	case http.StatusTooManyRequests:
		v.Heading = "That was a bit too fast"
		v.Problem = "This address has asked for this page more often than " + e.Message + "."
		if after := w.Header().Get("Retry-After"); after != "" {
			v.Problem += " Try again in " + after + " seconds."
		}
	case http.StatusServiceUnavailable:
		v.Heading = "The horde is catching its breath"
	}
	if err := p.write(w, e.Status, "refusal", v); err != nil {
		p.Log.Error("page", "err", err)
		return false
	}
	return true
}

func etag(text []byte) string { return `"` + digest(text) + `"` }

// digest is long enough to tell versions of a file apart.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}
