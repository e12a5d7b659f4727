// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"errors"
	"html"
	"net/http"
	"strings"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
)

// profile is what an account sees of itself.
type profile struct {
	// Kudos is the balance, Available what of it can be given or promised now, Escrow what is not the account's yet.
	Kudos, Available, Escrow string
	Days                     int
	Roles                    []string
	Concurrency              int
	Pseudonymous             bool
	PublicWorkers            bool
	Contact                  string
	Workers                  []profileWorker
	Active                   int
	// Deleted tells that the account is marked; ErasedFrom is the first day on which it can be erased.
	Deleted    bool
	Erasable   bool
	ErasedFrom string
	// Moderator tells that the account may set the modes of the horde, which stand as they are shown.
	Moderator        bool
	Raid, InviteOnly bool
}

type profileWorker struct {
	ID, Name, Kind string
	Online         bool
	Kudos          string
}

// maxProfileWorkers is how many workers a profile shows.
const maxProfileWorkers = 100

func (p *pages) showProfile(w http.ResponseWriter, req *http.Request) {
	v, ended, err := p.person(w, req)
	switch {
	case err != nil:
		p.router.WriteError(w, req, err)
	case ended:
		p.problem(w, req, http.StatusOK, "login", v, "Your session is over. Please log in again.")
	case v.Who == nil:
		http.Redirect(w, req, "/login", http.StatusSeeOther)
	case v.Who.state == engine.SessionNew:
		http.Redirect(w, req, "/register", http.StatusSeeOther)
	default:
		p.profile(w, req, http.StatusOK, v)
	}
}

// profile answers with the page of the account of v.Who.
func (p *pages) profile(w http.ResponseWriter, req *http.Request, status int, v view) {
	u := v.Who.User
	shown := profile{
		Kudos: u.Balance.Spendable.String(), Available: max(0, u.Balance.Available()).String(), Escrow: u.Balance.Escrow.String(),
		Days: int(u.Age / (24 * time.Hour)), Concurrency: u.User.Concurrency, Pseudonymous: u.User.Class() == horde.ClassPseudonymous,
		PublicWorkers: u.User.PublicWorkers, Contact: html.UnescapeString(u.User.Contact),
		Deleted: u.User.Has(horde.Deleted), Moderator: u.User.Has(horde.Moderator),
	}
	shown.Roles = (u.User.Roles &^ horde.Deleted).Names()
	for _, list := range u.Active {
		shown.Active += len(list)
	}
	from := u.User.LastActive.Add(engine.WipeAfter)
	shown.Erasable, shown.ErasedFrom = !time.Now().Before(from), from.Format("2 January 2006")
	if shown.Moderator {
		modes, err := p.Accounts.ModesFor(req.Context(), engine.Authority{SignedIn: v.Who.signedIn()})
		if err != nil {
			p.router.WriteError(w, req, err)
			return
		}
		shown.InviteOnly, shown.Raid = modes.InviteOnly, modes.Raid != nil && *modes.Raid
	}
	for i, id := range u.Workers {
		if i == maxProfileWorkers {
			break
		}
		found, err := p.Accounts.Worker(req.Context(), "", id.String(), false)
		switch {
		case errors.Is(err, horde.ErrWorkerNotFound):
			continue // removed a moment ago
		case err != nil:
			p.router.WriteError(w, req, err)
			return
		}
		shown.Workers = append(shown.Workers, profileWorker{
			ID: id.String(), Name: html.UnescapeString(found.Worker.Name), Kind: found.Worker.Kind.String(), Online: found.Online,
			Kudos: found.Earnings.Total().String(),
		})
	}
	v.Profile = shown
	p.answer(w, req, status, "profile", v)
}

// changeProfile does what a form of the profile asks for.
func (p *pages) changeProfile(w http.ResponseWriter, req *http.Request) {
	v, ok := p.form(w, req, "login")
	if !ok {
		return
	}
	if v.Who == nil || v.Who.state != engine.SessionOpen {
		p.problem(w, req, http.StatusOK, "login", v, "Please log in first.")
		return
	}
	by, id := engine.Authority{SignedIn: v.Who.signedIn()}, v.Who.User.User.ID
	var err error
	switch req.PostForm.Get("do") {
	case "settings":
		var c horde.UserChange
		if c, err = settings(req, &v.Who.User.User); err == nil {
			if _, err = p.Accounts.ChangeUser(req.Context(), by, id, &c); err == nil {
				v.Done = "Your settings were kept."
			}
		}
	case "delete":
		if req.PostForm.Get("sure") != "yes" {
			v.Problem = "Tick the box if you are sure."
			break
		}
		if err = p.Accounts.DeleteUser(req.Context(), by, id); err == nil {
			v.Done = "Your account is marked for deletion."
		}
	case "modes":
		raid, invite := req.PostForm.Get("raid") == "yes", req.PostForm.Get("invite") == "yes"
		if err = p.Accounts.SetModes(req.Context(), by, &horde.ModesChange{RaidMode: &raid, InviteOnlyMode: &invite}); err == nil {
			v.Done = "The modes are set."
		}
	case "undelete":
		yes := true
		if _, err = p.Accounts.ChangeUser(req.Context(), by, id, &horde.UserChange{Undelete: &yes}); err == nil {
			v.Done = "Your account stays."
		}
	default:
		p.problem(w, req, http.StatusBadRequest, "login", v, "The form does not say what to do.")
		return
	}
	var refused *horde.Error
	switch {
	case errors.As(err, &refused) && refused.Status < http.StatusInternalServerError:
		v.Problem = refused.Message
	case err != nil:
		p.router.WriteError(w, req, err)
		return
	}
	// Shown as it is now; an account that was erased is shown no more.
	if v.Who.User, v.Who.state, err = p.Accounts.Session(req.Context(), v.Who.signedIn()); err != nil {
		p.router.WriteError(w, req, err)
		return
	}
	if v.Who.state != engine.SessionOpen {
		p.setCookie(w, req, sessionCookie, "", 0)
		v.Who, v.Done = nil, "Your account was erased."
		p.answer(w, req, http.StatusOK, "login", v)
		return
	}
	v.Who.named()
	p.profile(w, req, http.StatusOK, v)
}

// The bounds of what an account says of itself, in characters (accounts chapter, 3.5).
const (
	minUserName, minContact, maxContact = 3, 5, 500
)

var (
	errShortName = &horde.Error{Status: http.StatusBadRequest, Message: "A name has 3 to 30 characters here."}
	errContact   = &horde.Error{Status: http.StatusBadRequest, Message: "A way to reach you has 5 to 500 characters."}
)

// settings reads the form of what an account says of itself: only what differs is changed.
func settings(req *http.Request, u *horde.User) (horde.UserChange, error) {
	var c horde.UserChange
	public := req.PostForm.Get("public_workers") == "yes"
	c.PublicWorkers = &public
	if name := strings.TrimSpace(req.PostForm.Get("username")); name != html.UnescapeString(u.Name) {
		if len([]rune(name)) < minUserName || len(name) > maxEcho {
			return c, errShortName
		}
		c.Username = &name
	}
	if contact := strings.TrimSpace(req.PostForm.Get("contact")); contact != html.UnescapeString(u.Contact) {
		if n := len([]rune(contact)); n != 0 && n < minContact || n > maxContact {
			return c, errContact
		}
		c.Contact = &contact
	}
	return c, nil
}
