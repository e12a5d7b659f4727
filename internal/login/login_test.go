// SPDX-License-Identifier: AGPL-3.0-or-later

package login_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"horde/internal/login"
	"horde/internal/login/logintest"
)

const base = "http://horde.example"

func begin(t *testing.T, s *login.Service, p *login.Provider) (location, sealed string) {
	t.Helper()
	location, sealed, err := s.Begin(t.Context(), p, base, "register")
	if err != nil {
		t.Fatal(err)
	}
	return location, sealed
}

func queryOf(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func service(t *testing.T) (*logintest.OpenID, *login.Service, *login.Provider) {
	o := logintest.Start(t, base)
	p := o.Provider()
	return o, login.NewService(login.NewSealer("a secret"), p), p
}

func TestALoginNamesThePersonAndNothingElse(t *testing.T) {
	t.Parallel()
	o, s, p := service(t)
	in := func(name string) string {
		location, sealed := begin(t, s, p)
		q := queryOf(t, location)
		if q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("nonce") == "" || len(q.Get("state")) < 20 || q.Get("scope") != "openid" {
			t.Errorf("the login service is asked %v", q)
		}
		callback := logintest.NewBrowser(t, nil).Authorize(location, name)
		if !strings.HasPrefix(callback, base+"/oidc/oidc/authorized?") {
			t.Errorf("it sends people to %s", callback)
		}
		done, err := s.Finish(t.Context(), p, base, sealed, queryOf(t, callback))
		if err != nil {
			t.Fatal(err)
		}
		if done.Back != "register" || done.Provider != "oidc" {
			t.Errorf("finished %+v", done)
		}
		return done.OAuthID
	}
	ada, bob := in("ada"), in("bob")
	if ada == bob || !strings.HasPrefix(ada, "oidc_") || len(ada) > 50 {
		t.Errorf("Ada is %q, Bob is %q", ada, bob)
	}
	o.Person("1", "countess", "lovelace@example.org")
	o.Person("2", "ada", "ada@example.org") // Bob takes her old name and address
	if again := in("countess"); again != ada {
		t.Errorf("with another name and address she is %q, and was %q", again, ada)
	}
	if again := in("ada"); again != bob {
		t.Errorf("under her name he is %q, and was %q", again, bob)
	}
}

func TestAnAnswerCountsOnceAndOnlyInTheBrowserThatAsked(t *testing.T) {
	t.Parallel()
	_, s, p := service(t)
	location, sealed := begin(t, s, p)
	callback := queryOf(t, logintest.NewBrowser(t, nil).Authorize(location, "ada"))
	_, others := begin(t, s, p)
	with := func(name, value string) url.Values {
		q := url.Values{}
		for k, v := range callback {
			q[k] = v
		}
		q.Set(name, value)
		return q
	}
	for _, c := range []struct {
		name   string
		sealed string
		query  url.Values
	}{
		{"no cookie", "", callback},
		{"the cookie of another login", others, callback},
		{"a cookie that was tampered with", sealed[:len(sealed)-2] + "AA", callback},
		{"a cookie of another horde", func() string {
			_, c, _ := login.NewService(login.NewSealer("another secret"), p).Begin(t.Context(), p, base, "register")
			return c
		}(), callback},
		{"another state", sealed, with("state", "AAAAAAAAAAAAAAAAAAAAAAAAAA")},
		{"no state", sealed, with("state", "")},
	} {
		if _, err := s.Finish(t.Context(), p, base, c.sealed, c.query); !errors.Is(err, login.ErrRefused) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// Two tabs bring back the same code at the same time.
	var taken atomic.Int32
	var both sync.WaitGroup
	for range 4 {
		both.Go(func() {
			if _, err := s.Finish(t.Context(), p, base, sealed, callback); err == nil {
				taken.Add(1)
			} else if !errors.Is(err, login.ErrRefused) {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if n := taken.Load(); n != 1 {
		t.Errorf("one code was taken %d times", n)
	}
	// A node that knows nothing of that asks the service, which knows.
	if _, err := login.NewService(login.NewSealer("a secret"), p).Finish(t.Context(), p, base, sealed, callback); !errors.Is(err, login.ErrRefused) {
		t.Errorf("the same code at another node: %v", err)
	}
}

func TestACodeOfAnotherLoginIsWorthNothing(t *testing.T) {
	t.Parallel()
	_, s, p := service(t)
	stolenFrom, _ := begin(t, s, p)
	stolen := queryOf(t, logintest.NewBrowser(t, nil).Authorize(stolenFrom, "ada")).Get("code")
	location, sealed := begin(t, s, p)
	own := queryOf(t, location)
	// Its verifier is another one, so the service refuses: that is what PKCE is for.
	_, err := s.Finish(t.Context(), p, base, sealed, url.Values{"code": {stolen}, "state": {own.Get("state")}})
	if !errors.Is(err, login.ErrRefused) {
		t.Errorf("a stolen code: %v", err)
	}
	location, sealed = begin(t, s, p)
	_, err = s.Finish(t.Context(), p, base, sealed, url.Values{"error": {"access_denied"}, "state": {queryOf(t, location).Get("state")}})
	if !errors.Is(err, login.ErrRefused) {
		t.Errorf("somebody who said no: %v", err)
	}
}

func TestALoginServiceThatIsDown(t *testing.T) {
	t.Parallel()
	o, s, p := service(t)
	o.Stop()
	if _, _, err := s.Begin(t.Context(), p, base, "register"); !errors.Is(err, login.ErrUnavailable) {
		t.Fatalf("before it was ever asked: %v", err)
	}
	o.Again(t)
	location, sealed := begin(t, s, p)
	callback := queryOf(t, logintest.NewBrowser(t, nil).Authorize(location, "ada"))
	o.Stop()
	_, err := s.Finish(t.Context(), p, base, sealed, callback)
	if !errors.Is(err, login.ErrUnavailable) {
		t.Fatalf("between the two halves: %v", err)
	}
	if strings.Contains(err.Error(), callback.Get("code")) || strings.Contains(err.Error(), logintest.Client.Secret) {
		t.Errorf("the error tells secrets: %v", err)
	}
	o.Again(t)
	location, sealed = begin(t, s, p)
	if _, err := s.Finish(t.Context(), p, base, sealed, queryOf(t, logintest.NewBrowser(t, nil).Authorize(location, "ada"))); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

// A service that takes calls and never answers keeps nobody longer than they wish to wait, is asked once for all who wait, and keeps
// nobody from other services.
func TestALoginServiceThatIsSilent(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	speak := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-speak
		issuer := "http://" + r.Host
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"jwks_uri":%q}`, issuer, issuer+"/authorize", issuer+"/token", issuer+"/keys")
	}))
	defer silent.Close()
	p := login.NewOpenID(silent.URL, "Silent", logintest.Client)
	google := login.NewGoogle(logintest.Client)
	s := login.NewService(login.NewSealer("a secret"), p, google)

	const patient = 8
	locations := make(chan string, patient)
	for range patient {
		go func() {
			location, _, err := s.Begin(t.Context(), p, base, "register")
			if err != nil {
				location = err.Error()
			}
			locations <- location
		}()
	}
	hasty, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := s.Begin(hasty, p, base, "register"); !errors.Is(err, login.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who does not want to wait gets %v", err)
	}
	if location, _, err := s.Begin(t.Context(), google, base, "register"); err != nil || !strings.HasPrefix(location, "https://accounts.google.com/") {
		t.Errorf("another service: %s, %v", location, err)
	}
	close(speak)
	for range patient {
		if location := <-locations; !strings.HasPrefix(location, silent.URL+"/authorize?") {
			t.Errorf("who waited is sent to %s", location)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the service was asked %d times", n)
	}
}

func TestOlderServicesAreAskedForAnID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		make   func(login.Client) *login.Provider
		id     string
		want   string // "" for a refusal
		scope  string
		prompt string
	}{
		{login.NewGoogle, `"117000000000000000001"`, "g_117000000000000000001", "email", "consent"},
		{login.NewDiscord, `"80351110224678912"`, "d_80351110224678912", "identify", ""},
		{login.NewGitHub, `583231`, "gh_583231", "", ""},
		{login.NewGitHub, `9007199254740993`, "gh_9007199254740993", "", ""}, // no float has this
		{login.NewGitHub, `null`, "", "", ""},
		{login.NewGitHub, `""`, "", "", ""},
		{login.NewGitHub, `{"a":1}`, "", "", ""},
		{login.NewGitHub, `"1#2"`, "", "", ""},
		{login.NewGoogle, `"` + strings.Repeat("1", 60) + `"`, "", "email", "consent"},
	} {
		o := logintest.StartOlder(t)
		p := o.Provider(c.make(logintest.Client))
		s := login.NewService(login.NewSealer("a secret"), p)
		o.Person(c.id)
		location, sealed := begin(t, s, p)
		q := queryOf(t, location)
		if q.Get("scope") != c.scope || q.Get("prompt") != c.prompt || q.Get("code_challenge_method") != "S256" || q.Get("redirect_uri") != base+login.CallbackPath(p.Name) {
			t.Errorf("%s is asked %v", p.Name, q)
		}
		back := logintest.NewBrowser(t, nil).Visit(location)
		if back.Status != http.StatusFound {
			t.Fatal(back)
		}
		done, err := s.Finish(t.Context(), p, base, sealed, queryOf(t, back.Location))
		if c.want == "" {
			if err == nil {
				t.Errorf("%s with id %s: %+v", p.Name, c.id, done)
			}
			continue
		}
		if err != nil || done.OAuthID != c.want {
			t.Errorf("%s with id %s: %q, %v; want %q", p.Name, c.id, done.OAuthID, err, c.want)
		}
		o.Down(true)
		location, sealed = begin(t, s, p)
		back = logintest.NewBrowser(t, nil).Visit(location)
		if _, err := s.Finish(t.Context(), p, base, sealed, queryOf(t, back.Location)); !errors.Is(err, login.ErrUnavailable) {
			t.Errorf("%s is down: %v", p.Name, err)
		}
	}
}

func TestSessionsAreSealed(t *testing.T) {
	t.Parallel()
	s := login.NewSealer("a secret")
	v := login.NewSession("g_1", login.Google, "transfer")
	sealed, err := s.SealSession(v)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := s.OpenSession(sealed); !ok || got.OAuthID != "g_1" || got.ID != v.ID || got.Back != "transfer" {
		t.Errorf("opened %+v, %t", got, ok)
	}
	if strings.Contains(sealed, "g_1") {
		t.Error("the cookie can be read")
	}
	for i := range len(sealed) {
		flipped := []byte(sealed)
		flipped[i] ^= 1
		if got, ok := s.OpenSession(string(flipped)); ok && string(flipped) != sealed && got != v {
			t.Fatalf("a change at %d gives %+v", i, got)
		}
	}
	old := v
	old.Began = old.Began.Add(-login.SessionFor - 1e9)
	for name, cookie := range map[string]string{
		"nothing": "", "rubbish": "AAAA", "too long": strings.Repeat("A", 10000),
		"a login": func() string { c, _ := s.Seal("login", v); return c }(),
		"too old": func() string { c, _ := s.SealSession(old); return c }(),
		"nobody":  func() string { c, _ := s.SealSession(login.Session{ID: "x", Began: v.Began}); return c }(),
	} {
		if got, ok := s.OpenSession(cookie); ok {
			t.Errorf("%s opens %+v", name, got)
		}
	}
	if _, ok := login.NewSealer("another").OpenSession(sealed); ok {
		t.Error("another secret opens it")
	}
	other := login.NewSession("g_1", login.Google, "")
	if !s.FormTokenIs(v, s.FormToken(v)) || s.FormTokenIs(other, s.FormToken(v)) || s.FormTokenIs(v, "") {
		t.Error("a form belongs to its session")
	}
}

func FuzzOpenSession(f *testing.F) {
	s := login.NewSealer("a secret")
	good, _ := s.SealSession(login.NewSession("g_1", "", ""))
	f.Add(good)
	f.Add("")
	f.Fuzz(func(t *testing.T, cookie string) {
		if v, ok := s.OpenSession(cookie); ok && v.OAuthID != "g_1" {
			t.Errorf("%q opens %+v", cookie, v)
		}
	})
}
