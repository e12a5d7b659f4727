// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"horde/internal/engine"
	"horde/internal/horde"
)

// transferForm is the form for giving kudos, as it was filled in.
type transferForm struct {
	To, Amount string
	// Given is how much was given.
	Given int64
}

func (p *pages) showTransfer(w http.ResponseWriter, req *http.Request) {
	v, ended, err := p.person(w, req)
	if err != nil {
		p.router.WriteError(w, req, err)
		return
	}
	if ended {
		v.Problem = "Your session is over. Log in again, or use your key."
	}
	v.Once = rand.Text()
	if to := req.URL.Query().Get("to"); len(to) <= maxEcho {
		v.Transfer.To = to
	}
	p.answer(w, req, http.StatusOK, "transfer", v)
}

// transfer gives kudos: those of the account that is logged in, else of the account whose key is in the form.
func (p *pages) transfer(w http.ResponseWriter, req *http.Request) {
	v, ok := p.form(w, req, "transfer")
	if !ok {
		return
	}
	v.Once = rand.Text()
	to, amount := strings.TrimSpace(req.PostForm.Get("username")), strings.TrimSpace(req.PostForm.Get("amount"))
	if !req.PostForm.Has("username") || !req.PostForm.Has("amount") {
		p.problem(w, req, http.StatusBadRequest, "transfer", v, "The form lacks a field.")
		return
	}
	if len(to) <= maxEcho && len(amount) <= maxEcho {
		v.Transfer.To, v.Transfer.Amount = to, amount
	}
	sum, err := digits(amount)
	if err != nil {
		p.problem(w, req, http.StatusOK, "transfer", v, err.Error())
		return
	}
	var by engine.Authority
	switch {
	case v.Who != nil && v.Who.state == engine.SessionOpen:
		by.SignedIn = v.Who.signedIn()
	default:
		by.Key = strings.TrimSpace(req.PostForm.Get("src_api_key"))
	}
	// A form that is sent twice gives once. Programs that send forms of their own have nothing of the kind.
	once := ""
	if text := req.PostForm.Get("once"); len(text) == len(v.Once) {
		once = "page " + text
	}
	given, err := p.Accounts.TransferBy(req.Context(), by, to, sum, once)
	var refused *horde.Error
	switch {
	case errors.Is(err, horde.ErrInvalidAPIKey):
		p.problem(w, req, http.StatusOK, "transfer", v, "That key opens no account.")
		return
	case errors.As(err, &refused) && refused.Status < http.StatusInternalServerError:
		p.problem(w, req, http.StatusOK, "transfer", v, refused.Message)
		return
	case err != nil:
		p.router.WriteError(w, req, err)
		return
	}
	v.Transfer = transferForm{To: to, Given: given}
	if v.Who != nil { // with what is left
		if v.Who.User, v.Who.state, err = p.Accounts.Session(req.Context(), v.Who.signedIn()); err != nil {
			p.router.WriteError(w, req, err)
			return
		}
	}
	p.answer(w, req, http.StatusOK, "transfer", v)
}

var errDigits = &horde.Error{Status: http.StatusBadRequest, Message: "The amount is a whole number of kudos, in digits."}

// digits reads an amount that has nothing but digits.
func digits(text string) (int64, error) {
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, errDigits
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errDigits
	}
	return n, nil
}
