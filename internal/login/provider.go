// SPDX-License-Identifier: AGPL-3.0-or-later

// Package login lets people prove who they are with an account that they have elsewhere: at Google, Discord, GitHub, or any
// service that speaks OpenID Connect.
//
// Of what such a service tells, only a stable id of the person is used, and only to make the OAuth id of their account here:
// no name, no e-mail address, and no token is kept. A change of name or address over there therefore changes nothing here.
//
// The flow is that of an authorization code with PKCE. What has to be remembered between its two halves travels in a sealed
// cookie of the browser that began it (see [Sealer]), so that an answer counts only in that browser, and any node of several
// can take it.
package login

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

const (
	// answerWithin bounds each exchange with a login service.
	answerWithin = 10 * time.Second
	// maxAnswer bounds an answer of a login service in bytes. Real ones have a few thousand.
	maxAnswer = 1 << 20
	// maxOAuthID is the longest OAuth id that an account may have, in bytes (accounts chapter, 1.2).
	maxOAuthID = 50
)

// The names of providers. They are part of the addresses at which the services send people back, which are registered there.
const (
	Google  = "google"
	Discord = "discord"
	GitHub  = "github"
	OpenID  = "oidc"
)

// Client is what this horde is to a login service.
type Client struct{ ID, Secret string }

// Provider is a login service. It is safe for concurrent use.
type Provider struct {
	// Name is the part of addresses that stands for it: Google, Discord, GitHub or OpenID.
	Name string
	// Title is what people call it.
	Title string

	client Client
	scopes []string
	// prefix goes before the id of a person.
	prefix   string
	endpoint oauth2.Endpoint
	// userURL answers who somebody is, as a document with a member "id". Empty for OpenID Connect, which says it in the token.
	userURL string
	// prompt is sent to ask for consent again; empty for what the service thinks right.
	prompt string

	// Of OpenID Connect: where the service is and, once it has been asked, what it says of itself. asking has the question that is
	// under way, so that all who log in meanwhile wait for one answer.
	issuer string
	said   atomic.Pointer[discovery]
	asking singleflight.Group
	http   *http.Client
}

// discovery is what an OpenID service says of itself.
type discovery struct {
	verifier *oidc.IDTokenVerifier
	endpoint oauth2.Endpoint
}

// NewGoogle is Google: ids become g_ID.
func NewGoogle(c Client) *Provider {
	return &Provider{
		Name: Google, Title: "Google", client: c, scopes: []string{"email"}, prefix: "g_", prompt: "consent",
		endpoint: oauth2.Endpoint{AuthURL: "https://accounts.google.com/o/oauth2/v2/auth", TokenURL: "https://oauth2.googleapis.com/token"},
		userURL:  "https://www.googleapis.com/oauth2/v2/userinfo", http: bounded(),
	}
}

// NewDiscord is Discord: ids become d_ID.
func NewDiscord(c Client) *Provider {
	return &Provider{
		Name: Discord, Title: "Discord", client: c, scopes: []string{"identify"}, prefix: "d_",
		endpoint: oauth2.Endpoint{AuthURL: "https://discord.com/oauth2/authorize", TokenURL: "https://discord.com/api/oauth2/token"},
		userURL:  "https://discord.com/api/users/@me", http: bounded(),
	}
}

// NewGitHub is GitHub: ids become gh_ID. It needs no scope to say who somebody is.
func NewGitHub(c Client) *Provider {
	return &Provider{
		Name: GitHub, Title: "GitHub", client: c, prefix: "gh_",
		endpoint: oauth2.Endpoint{AuthURL: "https://github.com/login/oauth/authorize", TokenURL: "https://github.com/login/oauth/access_token"},
		userURL:  "https://api.github.com/user", http: bounded(),
	}
}

// NewOpenID is any service that speaks OpenID Connect, by its issuer, such as "https://login.example". It is asked for its
// addresses and keys when somebody first logs in, and again until it answers.
func NewOpenID(issuer, title string, c Client) *Provider {
	return &Provider{Name: OpenID, Title: title, client: c, scopes: []string{oidc.ScopeOpenID}, prefix: "oidc_", issuer: issuer, http: bounded()}
}

// At moves a provider of ids to other addresses: a service of the same kind elsewhere, such as an enterprise's own GitHub.
func (p *Provider) At(e oauth2.Endpoint, userURL string) *Provider {
	p.endpoint, p.userURL = e, userURL
	return p
}

// CallbackPath is where the service sends people back to. It is registered there, and the same in every horde.
func CallbackPath(name string) string { return "/" + name + "/" + name + "/authorized" }

// bounded is a client for services that an operator names: bounded in time and bytes, and not redirected.
func bounded() *http.Client {
	return &http.Client{
		Timeout: answerWithin, Transport: boundedTransport{http.DefaultTransport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type boundedTransport struct{ next http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

// ErrUnavailable means that a login service does not answer, or not as it should. That is nobody's fault here.
var ErrUnavailable = errors.New("the login service does not answer")

// ErrRefused means that the answer of a login does not prove anything: it was tampered with, is too old, was used before, or
// belongs to another browser; or the person said no.
var ErrRefused = errors.New("the login was not completed")

// config is what oauth2 needs to know, after asking an OpenID service where it is.
func (p *Provider) config(ctx context.Context, callback string) (*oauth2.Config, error) {
	c := &oauth2.Config{ClientID: p.client.ID, ClientSecret: p.client.Secret, Scopes: p.scopes, RedirectURL: callback}
	if p.issuer == "" {
		c.Endpoint = p.endpoint
		return c, nil
	}
	said, err := p.discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, p.Title, err)
	}
	c.Endpoint = said.endpoint
	return c, nil
}

// discover asks an OpenID service where it is, unless it has said so. A caller waits for as long as its context allows, and the
// question goes on for the others.
func (p *Provider) discover(ctx context.Context) (*discovery, error) {
	if said := p.said.Load(); said != nil {
		return said, nil
	}
	// The keys that this provider keeps are fetched again later, so its context must outlive the call.
	lasting := oidc.ClientContext(context.WithoutCancel(ctx), p.http)
	answer := p.asking.DoChan(p.issuer, func() (any, error) {
		found, err := oidc.NewProvider(lasting, p.issuer)
		if err != nil {
			return nil, err
		}
		said := &discovery{found.Verifier(&oidc.Config{ClientID: p.client.ID}), found.Endpoint()}
		p.said.Store(said)
		return said, nil
	})
	select {
	case a := <-answer:
		said, _ := a.Val.(*discovery)
		return said, a.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// person finds out who a token was given to, as an OAuth id.
func (p *Provider) person(ctx context.Context, c *oauth2.Config, token *oauth2.Token, nonce string) (string, error) {
	if p.issuer == "" {
		id, err := p.asked(ctx, c, token)
		if err != nil {
			return "", err
		}
		return p.prefix + id, nil
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return "", fmt.Errorf("%w: %s sent no id token", ErrUnavailable, p.Title)
	}
	said, err := p.discover(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrUnavailable, p.Title, err)
	}
	id, err := said.verifier.Verify(ctx, raw)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrRefused, err)
	case id.Nonce != nonce:
		return "", fmt.Errorf("%w: the id token was made for another login", ErrRefused)
	case id.Subject == "":
		return "", fmt.Errorf("%w: the id token names nobody", ErrRefused)
	}
	// A subject may be longer than an OAuth id, and is unique only within its issuer.
	sum := sha256.Sum256([]byte(id.Issuer + "\n" + id.Subject))
	return p.prefix + base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// asked asks the service who somebody is.
func (p *Provider) asked(ctx context.Context, c *oauth2.Config, token *oauth2.Token) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.userURL, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "horde")
	res, err := c.Client(ctx, token).Do(req)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrUnavailable, p.Title, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w: %s answers %d when asked who somebody is", ErrUnavailable, p.Title, res.StatusCode)
	}
	// An id is a string at some and a number at others, too large for a float.
	var who struct {
		ID json.RawMessage `json:"id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&who); err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrUnavailable, p.Title, err)
	}
	id := strings.Trim(string(who.ID), `"`)
	if !plainID(id) || len(p.prefix)+len(id) > maxOAuthID {
		return "", fmt.Errorf("%w: %s names nobody that could have an account", ErrUnavailable, p.Title)
	}
	return id, nil
}

// plainID tells whether an id of a person has one spelling.
func plainID(id string) bool {
	if id == "" || id == "null" || id == "true" || id == "false" {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
