// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"errors"
	"html"
	"net/http"
	"net/url"
	"strconv"

	"horde/internal/engine"
	"horde/internal/horde"
)

// refusal is what the router wants shown.
type refusal = horde.Error

// maxForm bounds the registration form in bytes. A form of the page has a few dozen.
const maxForm = 16 << 10

// guarded refuses forms that pages of other origins send: browsers tell, in Sec-Fetch-Site or Origin, where a form comes
// from. Programs that send neither are no browsers and carry nobody's session.
func (p *pages) guarded(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	if p.PublicURL != "" {
		if err := guard.AddTrustedOrigin(originOf(p.PublicURL)); err != nil {
			p.Log.Warn("the public URL is no origin that browsers could name", "err", err)
		}
	}
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		v := p.view(req)
		v.Status, v.Heading = http.StatusForbidden, "That form came from another site"
		v.Problem = "Accounts are made only with the form on this site. If this is where you filled it in, load the page again and send it once more."
		p.answer(w, req, http.StatusForbidden, "refusal", v)
	}))
	return guard.Handler(next)
}

// signUp makes an account and shows its key, this once. As in every horde, a name that will not do is answered with the form
// and status 200; only a form without the field is a bad request.
func (p *pages) signUp(w http.ResponseWriter, req *http.Request) {
	req.Body = http.MaxBytesReader(w, req.Body, maxForm)
	v := p.view(req)
	if err := req.ParseForm(); err != nil {
		status := http.StatusBadRequest
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		v.Problem = "The form could not be read."
		p.answer(w, req, status, "register", v)
		return
	}
	names := req.PostForm["username"]
	if len(names) == 0 {
		v.Problem = "The form has no field for the name."
		p.answer(w, req, http.StatusBadRequest, "register", v)
		return
	}
	user, key, err := p.Accounts.SignUp(req.Context(), names[0])
	limit := strconv.Itoa(engine.MaxUserName)
	switch {
	case errors.Is(err, horde.ErrTooLongUserName):
		v.Problem = "That name will not do: a name has 1 to " + limit + " characters."
	case errors.Is(err, horde.ErrProfaneUserName):
		v.Problem = "That name will not do: everybody will see it, so please choose one without swear words."
	case errors.Is(err, engine.ErrSignUpClosed):
		v.Problem = engine.ErrSignUpClosed.Message
	case err != nil:
		p.router.WriteError(w, req, err)
		return
	default:
		v.Alias, v.Key = html.UnescapeString(user.User.Alias()), key
		p.answer(w, req, http.StatusOK, "registered", v)
		return
	}
	if len(names[0]) <= maxEcho {
		v.Name = names[0]
	}
	p.answer(w, req, http.StatusOK, "register", v)
}

// maxEcho is the length in bytes up to which a refused name is put back into the form.
const maxEcho = 8 * engine.MaxUserName

// originOf is the scheme and host of a URL, as browsers send it in Origin.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Scheme + "://" + u.Host
}

// answer writes a page that nobody may keep.
func (p *pages) answer(w http.ResponseWriter, req *http.Request, status int, name string, v view) {
	if err := p.write(w, status, name, v); err != nil {
		p.router.WriteError(w, req, err)
	}
}
