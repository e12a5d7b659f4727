// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"horde/internal/login"
	"horde/internal/proofofwork"
)

// peopleFlags are about how people get accounts and log in. Every secret may also be given as a file: the environment
// variable with _FILE behind it names one.
type peopleFlags struct {
	SessionKey string `env:"HORDE_SESSION_KEY" placeholder:"SECRET" help:"Seals the cookies of people who are logged in. Without it the horde uses a secret of its own; another one logs everybody out."`
	SignUpWork int    `name:"sign-up-work" env:"HORDE_SIGNUP_WORK" default:"18" placeholder:"BITS" help:"How hard the riddle is that a browser solves before it may make an account without a login: each bit doubles the work. ${default}, which is the default, takes a moment, 22 some seconds on a computer and most of a minute on an old phone; 0 asks for none."`

	GoogleID      string `name:"oauth-google-id" env:"HORDE_OAUTH_GOOGLE_ID,GOOGLE_CLIENT_ID" placeholder:"ID" help:"Client id at Google. With a client of a service people may log in with it. Needs --public-url; register PUBLIC_URL/google/google/authorized there."`
	GoogleSecret  string `name:"oauth-google-secret" env:"HORDE_OAUTH_GOOGLE_SECRET,GLOOGLE_CLIENT_SECRET,GOOGLE_CLIENT_SECRET" placeholder:"SECRET" help:"The client's secret."`
	DiscordID     string `name:"oauth-discord-id" env:"HORDE_OAUTH_DISCORD_ID,DISCORD_CLIENT_ID" placeholder:"ID" help:"Client id at Discord; PUBLIC_URL/discord/discord/authorized."`
	DiscordSecret string `name:"oauth-discord-secret" env:"HORDE_OAUTH_DISCORD_SECRET,DISCORD_CLIENT_SECRET" placeholder:"SECRET" help:"The client's secret."`
	GitHubID      string `name:"oauth-github-id" env:"HORDE_OAUTH_GITHUB_ID,GITHUB_CLIENT_ID" placeholder:"ID" help:"Client id at GitHub; PUBLIC_URL/github/github/authorized."`
	GitHubSecret  string `name:"oauth-github-secret" env:"HORDE_OAUTH_GITHUB_SECRET,GITHUB_CLIENT_SECRET" placeholder:"SECRET" help:"The client's secret."`
	OpenIDIssuer  string `name:"oauth-oidc-issuer" env:"HORDE_OAUTH_OIDC_ISSUER" placeholder:"URL" help:"Issuer of a login service that speaks OpenID Connect: https://login.example; PUBLIC_URL/oidc/oidc/authorized. Accounts belong to this issuer: another one makes others."`
	OpenIDTitle   string `name:"oauth-oidc-title" env:"HORDE_OAUTH_OIDC_TITLE" placeholder:"NAME" help:"What people call it; the host of the issuer by default."`
	OpenIDID      string `name:"oauth-oidc-id" env:"HORDE_OAUTH_OIDC_ID" placeholder:"ID" help:"Client id there."`
	OpenIDSecret  string `name:"oauth-oidc-secret" env:"HORDE_OAUTH_OIDC_SECRET" placeholder:"SECRET" help:"The client's secret; none for a client that needs only PKCE."`
}

// secret is a value or, if there is none, what the file holds that the environment names.
func secret(value, env string) (string, error) {
	file := os.Getenv(env + "_FILE")
	if file == "" || value != "" {
		return value, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", env, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// logins are the services with which people may log in.
func (f *peopleFlags) logins(publicURL string) ([]*login.Provider, error) {
	if f.SignUpWork < 0 || f.SignUpWork > proofofwork.MaxBits {
		return nil, fmt.Errorf("--sign-up-work is 0 to %d", proofofwork.MaxBits)
	}
	var list []*login.Provider
	for _, s := range []struct {
		flag, env  string
		id, secret string
		provider   func(login.Client) *login.Provider
	}{
		{"google", "HORDE_OAUTH_GOOGLE_SECRET", f.GoogleID, f.GoogleSecret, login.NewGoogle},
		{"discord", "HORDE_OAUTH_DISCORD_SECRET", f.DiscordID, f.DiscordSecret, login.NewDiscord},
		{"github", "HORDE_OAUTH_GITHUB_SECRET", f.GitHubID, f.GitHubSecret, login.NewGitHub},
	} {
		if s.id == "" {
			continue
		}
		key, err := secret(s.secret, s.env)
		if err != nil {
			return nil, err
		}
		if key == "" {
			return nil, fmt.Errorf("--oauth-%s-id needs --oauth-%s-secret", s.flag, s.flag)
		}
		list = append(list, s.provider(login.Client{ID: s.id, Secret: key}))
	}
	if f.OpenIDIssuer != "" {
		issuer, err := url.Parse(f.OpenIDIssuer)
		if err != nil || issuer.Scheme != "https" && issuer.Scheme != "http" || issuer.Host == "" {
			return nil, errors.New("--oauth-oidc-issuer must be https://host, as the service calls itself")
		}
		if f.OpenIDID == "" {
			return nil, errors.New("--oauth-oidc-issuer needs --oauth-oidc-id")
		}
		key, err := secret(f.OpenIDSecret, "HORDE_OAUTH_OIDC_SECRET")
		if err != nil {
			return nil, err
		}
		title := f.OpenIDTitle
		if title == "" {
			title = issuer.Host
		}
		list = append(list, login.NewOpenID(f.OpenIDIssuer, title, login.Client{ID: f.OpenIDID, Secret: key}))
	}
	if len(list) > 0 && publicURL == "" {
		return nil, errors.New("logins need --public-url: login services send people back there")
	}
	return list, nil
}
