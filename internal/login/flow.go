// SPDX-License-Identifier: AGPL-3.0-or-later

package login

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// FlowFor is how long somebody may take at the login service.
const FlowFor = 10 * time.Minute

// maxUsed bounds the memory of logins that were completed. Each took a call of a login service, so nobody fills it.
const maxUsed = 1 << 16

// flow is what is remembered of a login between its two halves, in the browser.
type flow struct {
	Provider string    `json:"p"`
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Back     string    `json:"b"`
	Until    time.Time `json:"u"`
}

// Service runs logins. Make one with [NewService]; its methods may be called from any goroutine.
type Service struct {
	sealer *Sealer
	// providers are in the order in which they are offered.
	providers []*Provider

	mu   sync.Mutex           // guards used
	used map[string]time.Time // states of completed logins, until they are too old to be tried again
}

// NewService makes a service of providers, which are offered in the order Google, Discord, GitHub, OpenID Connect.
func NewService(s *Sealer, providers ...*Provider) *Service {
	order := []string{Google, Discord, GitHub, OpenID}
	providers = slices.Clone(providers)
	slices.SortStableFunc(providers, func(a, b *Provider) int { return slices.Index(order, a.Name) - slices.Index(order, b.Name) })
	return &Service{sealer: s, providers: providers, used: map[string]time.Time{}}
}

// Providers are those that can be used.
func (s *Service) Providers() []*Provider { return s.providers }

// Provider finds one by its name, or returns nil.
func (s *Service) Provider(name string) *Provider {
	for _, p := range s.providers {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// flowPurpose tells the cookie of a login from others.
const flowPurpose = "login"

// Begin sends a browser to a login service: it returns where to, and what the browser has to bring back, sealed. base is
// where the horde is reached, back what to return to afterwards, a word that comes back from Finish.
func (s *Service) Begin(ctx context.Context, p *Provider, base, back string) (location, sealed string, err error) {
	c, err := p.config(ctx, base+CallbackPath(p.Name))
	if err != nil {
		return "", "", err
	}
	f := flow{
		Provider: p.Name, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Back: back,
		Until: time.Now().Add(FlowFor),
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(f.Verifier)}
	if p.issuer != "" {
		options = append(options, oidc.Nonce(f.Nonce))
	}
	if p.prompt != "" {
		options = append(options, oauth2.SetAuthURLParam("prompt", p.prompt))
	}
	sealed, err = s.sealer.Seal(flowPurpose, f)
	return c.AuthCodeURL(f.State, options...), sealed, err
}

// Finished is a login that was completed.
type Finished struct {
	// OAuthID is that of the account of the person, whether there is one already or not.
	OAuthID string
	// Provider is the name of the login service.
	Provider string
	// Back is what Begin was given.
	Back string
}

// Finish takes what a browser brings back from a login service: sealed from Begin, and the query of the call. Each login
// counts once. The error wraps ErrRefused or ErrUnavailable.
func (s *Service) Finish(ctx context.Context, p *Provider, base, sealed string, query url.Values) (Finished, error) {
	var f flow
	if err := s.sealer.Open(flowPurpose, sealed, &f); err != nil {
		return Finished{}, fmt.Errorf("%w: this browser has not begun it, or too long ago", ErrRefused)
	}
	state, code := query.Get("state"), query.Get("code")
	switch {
	case f.Provider != p.Name || !equal(f.State, state):
		return Finished{}, fmt.Errorf("%w: the answer belongs to another login", ErrRefused)
	case time.Now().After(f.Until):
		return Finished{}, fmt.Errorf("%w: it took too long", ErrRefused)
	case query.Get("error") != "":
		return Finished{}, fmt.Errorf("%w: %s did not let you in", ErrRefused, p.Title)
	case code == "":
		return Finished{}, fmt.Errorf("%w: the answer has no code", ErrRefused)
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, p.http), 2*answerWithin)
	defer cancel()
	c, err := p.config(ctx, base+CallbackPath(p.Name))
	if err != nil {
		return Finished{}, err
	}
	token, err := c.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return Finished{}, exchangeError(p, err)
	}
	// Here, so that nobody fills the list without a login service having let them in.
	if !s.take(f.State, f.Until) {
		return Finished{}, fmt.Errorf("%w: it was completed before", ErrRefused)
	}
	id, err := p.person(ctx, c, token, f.Nonce)
	if err != nil {
		return Finished{}, err
	}
	return Finished{OAuthID: id, Provider: p.Name, Back: f.Back}, nil
}

// exchangeError tells a code that is not good from a service that is not there. It keeps what the service said, which may
// hold secrets, out of the error.
func exchangeError(p *Provider, err error) error {
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) && (answered.ErrorCode != "" || answered.Response.StatusCode < http.StatusInternalServerError) {
		return fmt.Errorf("%w: %s does not accept the code (%d)", ErrRefused, p.Title, answered.Response.StatusCode)
	}
	if answered != nil {
		return fmt.Errorf("%w: %s answers %d", ErrUnavailable, p.Title, answered.Response.StatusCode)
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, p.Title)
}

// take notes that a login is being completed, and says no if it was before.
func (s *Service) take(state string, until time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, used := s.used[state]; used {
		return false
	}
	if len(s.used) >= maxUsed {
		now := time.Now()
		for k, t := range s.used {
			if now.After(t) {
				delete(s.used, k)
			}
		}
		if len(s.used) >= maxUsed {
			return false
		}
	}
	s.used[state] = until
	return true
}
