// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/url"
	"strconv"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/login"
)

// refusal is what the router wants shown.
type refusal = horde.Error

// maxForm bounds a form in bytes. Those of the pages have a few hundred.
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
		v.Problem = "Accounts are made and changed only with the forms on this site. If this is where you filled it in, load the page again and send it once more."
		p.answer(w, req, http.StatusForbidden, "refusal", v)
	}))
	return guard.Handler(next)
}

// riddleDocument is how programs are asked to solve a riddle. Bits is 0 where none is asked.
type riddleDocument struct {
	Challenge string `json:"challenge"`
	Bits      int    `json:"bits"`
}

// registeredDocument is a new account, for programs.
type registeredDocument struct {
	Username string `json:"username"`
	APIKey   string `json:"api_key"`
}

// writeJSON answers a program with something that nobody may keep.
func writeJSON(w http.ResponseWriter, v any) {
	h := w.Header()
	h.Del("Access-Control-Allow-Origin")
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // an error means that the caller has gone
}

// pose gives those who are not logged in a riddle.
func (p *pages) pose(v *view, req *http.Request) {
	if v.Who == nil && p.riddles.Bits() > 0 {
		v.Riddle, v.Bits = p.riddles.Make(p.address(req)), p.riddles.Bits()
	}
}

// showRegister shows the form, or gives a program its riddle.
func (p *pages) showRegister(w http.ResponseWriter, req *http.Request) {
	v, ended, err := p.person(w, req)
	if err != nil {
		p.router.WriteError(w, req, err)
		return
	}
	p.pose(&v, req)
	w.Header().Set("Vary", "Accept, Cookie")
	if wantsJSON(req) {
		writeJSON(w, riddleDocument{v.Riddle, v.Bits})
		return
	}
	if ended {
		v.Done = "Your session is over. Log in again if you want to change your account."
	}
	if v.Who != nil {
		v.Name = v.Who.Name
	}
	p.answer(w, req, http.StatusOK, "register", v)
}

// signUp makes an account, or gives the account of those who are logged in another name and key, and shows the key, this
// once. As in every horde, a name that will not do is answered with the form and status 200; only a form without the field is
// a bad request.
func (p *pages) signUp(w http.ResponseWriter, req *http.Request) {
	v, ok := p.form(w, req, "register")
	if !ok {
		return
	}
	names := req.PostForm["username"]
	if len(names) == 0 {
		p.problem(w, req, http.StatusBadRequest, "register", v, "The form has no field for the name.")
		return
	}
	if len(names[0]) <= maxEcho {
		v.Name = names[0]
	}
	if err := p.Accounts.Barred(p.router.Caller(req).Addr); err != nil {
		var barred *horde.Error
		if !errors.As(err, &barred) || barred.RC != horde.ErrTimeoutIP.RC {
			p.router.WriteError(w, req, err)
			return
		}
		p.problem(w, req, http.StatusOK, "register", v, barred.Message)
		return
	}
	if v.Who == nil && p.riddles.Bits() > 0 {
		if err := p.riddles.Check(req.PostForm.Get("challenge"), req.PostForm.Get("work"), p.address(req)); err != nil {
			p.problem(w, req, http.StatusOK, "register", v, "The small riddle that your browser solves for this page was not solved, or is too old. Please send the form again.")
			return
		}
	}
	done, err := p.enrol(req, v.Who, names[0])
	limit := strconv.Itoa(engine.MaxUserName)
	switch {
	case errors.Is(err, horde.ErrTooLongUserName):
		p.problem(w, req, http.StatusOK, "register", v, "That name will not do: a name has 1 to "+limit+" characters.")
	case errors.Is(err, horde.ErrProfaneUserName):
		p.problem(w, req, http.StatusOK, "register", v, "That name will not do: everybody will see it, so please choose one without swear words.")
	case errors.Is(err, engine.ErrSignUpClosed):
		p.problem(w, req, http.StatusOK, "register", v, engine.ErrSignUpClosed.Message)
	case errors.Is(err, horde.ErrInvalidAPIKey):
		p.problem(w, req, http.StatusOK, "register", v, "Your session is over. Please log in again.")
	case err != nil:
		p.router.WriteError(w, req, err)
	default:
		if v.Who != nil && !done.Created { // the session ended with the old key: go on with a new one
			s := v.Who.session
			if err := p.keep(w, req, login.NewSession(s.OAuthID, s.Provider, s.Back)); err != nil {
				p.router.WriteError(w, req, err)
				return
			}
		}
		v.Alias, v.Key, v.Created = html.UnescapeString(done.User.User.Alias()), done.Key, done.Created
		if wantsJSON(req) {
			writeJSON(w, registeredDocument{v.Alias, v.Key})
			return
		}
		p.answer(w, req, http.StatusOK, "registered", v)
	}
}

func (p *pages) enrol(req *http.Request, who *visitor, name string) (engine.Enrolled, error) {
	if who != nil {
		return p.Accounts.Enrol(req.Context(), who.signedIn(), name)
	}
	user, key, err := p.Accounts.SignUp(req.Context(), name)
	return engine.Enrolled{User: user, Key: key, Created: true}, err
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
