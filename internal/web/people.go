// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"cmp"
	"errors"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/limit"
	"horde/internal/login"
	"horde/internal/proofofwork"
)

// backPages are where a login may return to.
var backPages = []string{"register", "transfer", "profile"}

// The names of cookies. Over https they get a prefix that lets no other host and no plain connection set them.
const (
	sessionCookie = "horde-session"
	loginCookie   = "horde-login"
	hostPrefix    = "__Host-"
)

func (p *pages) mountPeople() {
	key := cmp.Or(p.SessionKey, p.Accounts.Secret())
	p.sealer = login.NewSealer(key)
	p.logins = login.NewService(p.sealer, p.Site.Logins...)
	p.riddles = proofofwork.New(p.SignUpWork)

	r := p.router
	form := func(path string, h http.HandlerFunc) { r.Mount(path, LimitsSignUp, p.guarded(h), http.MethodPost) }
	r.Mount("/register", LimitsPage, http.HandlerFunc(p.showRegister))
	form("/register", p.signUp)
	r.Mount("/transfer", LimitsPage, http.HandlerFunc(p.showTransfer))
	form("/transfer", p.transfer)
	r.Mount("/profile", LimitsPage, http.HandlerFunc(p.showProfile))
	form("/profile", p.changeProfile)
	r.Mount("/login", LimitsPage, http.HandlerFunc(p.showLogin))
	form("/login", p.loginWithKey)
	form("/logout", p.logOut)
	r.Mount("/finish_dance", LimitsPage, http.HandlerFunc(p.finishDance))
	for _, provider := range p.logins.Providers() {
		r.Mount("/"+provider.Name+"/{to}", LimitsPage, p.beginLogin(provider))
		r.Mount(login.CallbackPath(provider.Name), LimitsPage, p.finishLogin(provider))
	}
}

// visitor is somebody who is logged in.
type visitor struct {
	session login.Session
	state   engine.SessionState
	// User is the account, empty while there is none.
	User engine.UserView
	// Alias is the account's name as it was typed, empty while there is none.
	Alias string
	// Name is the account's name alone.
	Name string
	// With is what the person logged in with: the title of a login service, or "your key".
	With string
}

// named puts the name of the account in.
func (v *visitor) named() {
	v.Name, v.Alias = html.UnescapeString(v.User.User.Name), html.UnescapeString(v.User.User.Alias())
}

// signedIn is the visitor as the engine knows them.
func (v *visitor) signedIn() engine.SignedIn {
	return engine.SignedIn{OAuthID: v.session.OAuthID, Began: v.session.Began}
}

// secure tells whether visitors reach the horde over https.
func (p *pages) secure(req *http.Request) bool { return strings.HasPrefix(p.base(req), "https://") }

func (p *pages) cookieName(req *http.Request, name string) string {
	if p.secure(req) {
		return hostPrefix + name
	}
	return name
}

// setCookie keeps a sealed value in the browser; an empty one is forgotten.
func (p *pages) setCookie(w http.ResponseWriter, req *http.Request, name, value string, lasts time.Duration) {
	c := &http.Cookie{
		Name: p.cookieName(req, name), Value: value, Path: "/", MaxAge: int(lasts / time.Second),
		HttpOnly: true, Secure: p.secure(req), SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func (p *pages) cookie(req *http.Request, name string) string {
	c, err := req.Cookie(p.cookieName(req, name))
	if err != nil {
		return ""
	}
	return c.Value
}

// visitorOf finds out who is logged in: nil for nobody. ended tells that there was a session that is over.
func (p *pages) visitorOf(w http.ResponseWriter, req *http.Request) (who *visitor, ended bool, err error) {
	sealed := p.cookie(req, sessionCookie)
	if sealed == "" {
		return nil, false, nil
	}
	session, ok := p.sealer.OpenSession(sealed)
	if ok {
		v := &visitor{session: session, With: "your key"}
		if provider := p.logins.Provider(session.Provider); provider != nil {
			v.With = provider.Title
		}
		if v.User, v.state, err = p.Accounts.Session(req.Context(), v.signedIn()); err != nil {
			return nil, false, err
		}
		v.named()
		switch {
		case v.state == engine.SessionOpen:
			return v, false, nil
		case v.state == engine.SessionNew && session.Provider != "": // of a key there is always an account
			v.Alias, v.Name = "", ""
			return v, false, nil
		}
	}
	p.setCookie(w, req, sessionCookie, "", 0)
	return nil, true, nil
}

// person is the view of a page of people's own, and who looks at it.
func (p *pages) person(w http.ResponseWriter, req *http.Request) (view, bool, error) {
	who, ended, err := p.visitorOf(w, req)
	v := p.view(req)
	v.Logins = p.logins.Providers()
	if who != nil {
		v.Who, v.FormToken = who, p.sealer.FormToken(who.session)
	}
	return v, ended, err
}

// form reads a form of a page, and who sent it. It has answered where ok is false.
func (p *pages) form(w http.ResponseWriter, req *http.Request, template string) (v view, ok bool) {
	req.Body = http.MaxBytesReader(w, req.Body, maxForm)
	v, ended, err := p.person(w, req)
	if err != nil {
		p.router.WriteError(w, req, err)
		return v, false
	}
	if template == "register" {
		p.pose(&v, req)
	}
	if err := req.ParseForm(); err != nil {
		status := http.StatusBadRequest
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		p.problem(w, req, status, template, v, "The form could not be read.")
		return v, false
	}
	switch {
	case ended:
		p.problem(w, req, http.StatusOK, template, v, "Your session is over. Please log in again.")
	case v.Who != nil && !p.sealer.FormTokenIs(v.Who.session, req.PostForm.Get("form_token")):
		p.problem(w, req, http.StatusForbidden, template, v, "That form was made for another session. Please send it again.")
	default:
		return v, true
	}
	return v, false
}

// problem answers with what is wrong with a form: for people on the page, for programs as a document.
func (p *pages) problem(w http.ResponseWriter, req *http.Request, status int, template string, v view, text string) {
	if wantsJSON(req) {
		if status == http.StatusOK {
			status = http.StatusBadRequest
		}
		p.router.WriteError(w, req, &horde.Error{Status: status, Message: text})
		return
	}
	v.Problem = text
	p.answer(w, req, status, template, v)
}

// showLogin offers ways to log in.
func (p *pages) showLogin(w http.ResponseWriter, req *http.Request) {
	v, ended, err := p.person(w, req)
	switch {
	case err != nil:
		p.router.WriteError(w, req, err)
	case v.Who != nil:
		http.Redirect(w, req, "/profile", http.StatusSeeOther)
	case ended:
		p.problem(w, req, http.StatusOK, "login", v, "Your session is over. Please log in again.")
	default:
		p.answer(w, req, http.StatusOK, "login", v)
	}
}

// loginWithKey begins a session for whoever has the key of an account.
func (p *pages) loginWithKey(w http.ResponseWriter, req *http.Request) {
	req.Body = http.MaxBytesReader(w, req.Body, maxForm)
	v := p.view(req)
	v.Logins = p.logins.Providers()
	if err := req.ParseForm(); err != nil {
		p.problem(w, req, http.StatusBadRequest, "login", v, "The form could not be read.")
		return
	}
	user, err := p.Accounts.FindUser(req.Context(), strings.TrimSpace(req.PostForm.Get("key")))
	switch {
	case errors.Is(err, horde.ErrUserNotFound), errors.Is(err, horde.ErrInvalidAPIKey):
		p.problem(w, req, http.StatusOK, "login", v, "That key opens no account.")
		return
	case err != nil:
		p.router.WriteError(w, req, err)
		return
	case !user.Own || user.User.ID == horde.Anonymous:
		p.problem(w, req, http.StatusOK, "login", v, "That key is for everybody, or shared: it is not that of an account of your own.")
		return
	}
	p.begin(w, req, login.NewSession(user.User.OAuthID, "", "profile"))
}

// begin keeps a session in the browser and goes to its page.
func (p *pages) begin(w http.ResponseWriter, req *http.Request, s login.Session) {
	if err := p.keep(w, req, s); err != nil {
		p.router.WriteError(w, req, err)
		return
	}
	to := "/"
	if slices.Contains(backPages, s.Back) {
		to += s.Back
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, req, to, http.StatusSeeOther)
}

func (p *pages) keep(w http.ResponseWriter, req *http.Request, s login.Session) error {
	sealed, err := p.sealer.SealSession(s)
	if err == nil {
		p.setCookie(w, req, sessionCookie, sealed, login.SessionFor)
	}
	return err
}

// finishDance goes to the page that the last login was for.
func (p *pages) finishDance(w http.ResponseWriter, req *http.Request) {
	to := "/"
	if s, ok := p.sealer.OpenSession(p.cookie(req, sessionCookie)); ok && slices.Contains(backPages, s.Back) {
		to += s.Back
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, req, to, http.StatusSeeOther)
}

// logOut ends all sessions of the account.
func (p *pages) logOut(w http.ResponseWriter, req *http.Request) {
	v, ok := p.form(w, req, "login")
	if !ok {
		return
	}
	if v.Who != nil {
		if err := p.Accounts.LogOut(req.Context(), v.Who.signedIn()); err != nil {
			p.router.WriteError(w, req, err)
			return
		}
		p.setCookie(w, req, sessionCookie, "", 0)
	}
	http.Redirect(w, req, "/login", http.StatusSeeOther)
}

// beginLogin sends the visitor to a login service.
func (p *pages) beginLogin(provider *login.Provider) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		back := req.PathValue("to")
		if !slices.Contains(backPages, back) {
			back = backPages[0]
		}
		location, sealed, err := p.logins.Begin(req.Context(), provider, p.PublicURL, back)
		if err != nil {
			p.loginFailed(w, req, provider, err)
			return
		}
		p.setCookie(w, req, loginCookie, sealed, login.FlowFor)
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, req, location, http.StatusFound)
	})
}

// finishLogin takes what the visitor brings back from a login service.
func (p *pages) finishLogin(provider *login.Provider) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		query, err := url.ParseQuery(req.URL.RawQuery)
		if err != nil {
			query = url.Values{}
		}
		done, err := p.logins.Finish(req.Context(), provider, p.PublicURL, p.cookie(req, loginCookie), query)
		if !errors.Is(err, login.ErrUnavailable) {
			p.setCookie(w, req, loginCookie, "", 0)
		}
		if err != nil {
			p.loginFailed(w, req, provider, err)
			return
		}
		p.begin(w, req, login.NewSession(done.OAuthID, done.Provider, done.Back))
	})
}

// loginFailed says why a login came to nothing. Who is to blame decides on the status: a refusal is a page like any other.
func (p *pages) loginFailed(w http.ResponseWriter, req *http.Request, provider *login.Provider, err error) {
	v := p.view(req)
	v.Logins = p.logins.Providers()
	if errors.Is(err, login.ErrUnavailable) {
		p.Log.Warn("a login could not be completed", "service", provider.Name, "err", err)
		p.problem(w, req, http.StatusBadGateway, "login", v, provider.Title+" does not answer at the moment. Please try again later, or log in another way.")
		return
	}
	p.Log.Debug("a login was refused", "service", provider.Name, "err", err)
	p.problem(w, req, http.StatusOK, "login", v, "The login at "+provider.Title+" was not completed. Please try again.")
}

// address names a visitor for riddles.
func (p *pages) address(req *http.Request) string { return limit.Bucket(p.router.Caller(req).Addr) }

// wantsJSON tells programs from browsers.
func wantsJSON(req *http.Request) bool {
	accept := req.Header.Get("Accept")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}
