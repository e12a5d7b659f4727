// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/login"
	"horde/internal/login/logintest"
	"horde/internal/node"
	"horde/internal/node/nodetest"
	"horde/internal/proofofwork"
	"horde/internal/web"
)

// public starts a horde that knows where it is reached, so that people can log in. change may alter its site.
func public(t *testing.T, change ...func(*web.Site)) *nodetest.Server {
	t.Helper()
	return nodetest.Start(t, func(c *node.Config) {
		c.Title, c.PublicURL = "Lantern Horde", "http://"+c.Listen
		c.Contact = "keeper@lantern.example"
		c.Pages = func(n *node.Node, r *api.Router) {
			site := web.Site{
				Title: n.Title, Version: n.Version, PublicURL: n.PublicURL, Accounts: n.Engine, Board: n.Board, Log: n.Log,
				SourceURL: "https://code.example/horde",
			}
			for _, f := range change {
				f(&site)
			}
			web.Mount(site, r)
		}
	})
}

// openID starts a login service, and a horde where people can log in with it.
func openID(t *testing.T) (*logintest.OpenID, *nodetest.Server) {
	t.Helper()
	var service *logintest.OpenID
	s := public(t, func(site *web.Site) {
		service = logintest.Start(t, site.PublicURL)
		site.Logins = []*login.Provider{service.Provider()}
	})
	return service, s
}

// person is somebody with a browser at a horde.
type person struct {
	*logintest.Browser
	t *testing.T
	s *nodetest.Server
}

func visitor(t *testing.T, s *nodetest.Server) *person {
	return &person{logintest.NewBrowser(t, nil), t, s}
}

func (p *person) see(path string) logintest.Page { p.t.Helper(); return p.Visit(p.s.URL + path) }

var formToken = regexp.MustCompile(`name="form_token" value="([^"]+)"`)

// send sends the form of a page, with the token that the page has.
func (p *person) send(path string, form url.Values) logintest.Page {
	p.t.Helper()
	if token := formToken.FindStringSubmatch(p.see(path).Text); token != nil {
		form.Set("form_token", token[1])
	}
	return p.Send(p.s.URL+path, form)
}

// login logs in at the login service, and returns to the page that the horde names.
func (p *person) login(name, back string) logintest.Page {
	p.t.Helper()
	start := p.see("/oidc/" + back)
	if start.Status != http.StatusFound {
		p.t.Fatalf("going to the login service: %d %s", start.Status, start.Text)
	}
	return p.Visit(p.Authorize(start.Location, name))
}

func (p *person) register(name string) string {
	p.t.Helper()
	page := p.send("/register", url.Values{"username": {name}})
	key := newKey.FindStringSubmatch(page.Text)
	if key == nil {
		p.t.Fatalf("registering %s: %d %s", name, page.Status, page.Text)
	}
	return key[1]
}

func opens(t *testing.T, s *nodetest.Server, key string) string {
	t.Helper()
	name, _ := s.Call("GET", "/find_user", key, nil).Body["username"].(string)
	return name
}

func TestALoginMakesAnAccountAndFindsItAgain(t *testing.T) {
	t.Parallel()
	service, s := openID(t)
	ada := visitor(t, s)
	if page := ada.see("/register"); !strings.Contains(page.Text, `href="/oidc/register">Log in with Lantern ID`) {
		t.Errorf("the form offers no login: %s", page.Text)
	}
	done := ada.login("ada", "register")
	if done.Status != http.StatusSeeOther || done.Location != s.URL+"/register" {
		t.Fatalf("after the login: %d %s", done.Status, done.Location)
	}
	cookie := strings.Join(done.Header.Values("Set-Cookie"), "\n")
	for _, want := range []string{"horde-session=", "HttpOnly", "SameSite=Lax", "Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %q has no %s", cookie, want)
		}
	}
	first := ada.register("Ada")
	if name := opens(t, s, first); name != "Ada#1" {
		t.Fatalf("the key opens %q", name)
	}
	if a := s.Call("GET", "/find_user", first, nil); a.Body["pseudonymous"] != false {
		t.Errorf("the account is pseudonymous: %s", a.Text)
	}

	// Years later, elsewhere, under another name and address.
	service.Person("1", "countess", "lovelace@example.org")
	again := visitor(t, s)
	again.login("countess", "profile")
	if page := again.see("/profile"); page.Status != http.StatusOK || !strings.Contains(page.Text, "<h1>Ada#1</h1>") {
		t.Fatalf("the profile: %d %s", page.Status, page.Text)
	}
	second := again.register("Countess")
	if opens(t, s, second) != "Countess#1" || opens(t, s, first) != "" {
		t.Errorf("the new key opens %q, the old one %q", opens(t, s, second), opens(t, s, first))
	}
	// A new key ends the sessions that began before, but not the one that asked for it.
	if page := ada.see("/profile"); !strings.Contains(page.Text, "Your session is over") {
		t.Errorf("the other browser: %d %s", page.Status, page.Text)
	}
	if page := again.see("/profile"); !strings.Contains(page.Text, "<h1>Countess#1</h1>") {
		t.Errorf("the browser itself: %d", page.Status)
	}

	bob := visitor(t, s)
	bob.login("bob", "register")
	if name := opens(t, s, bob.register("Ada")); name != "Ada#2" {
		t.Errorf("somebody else with the same name is %q", name)
	}
}

func TestTheSameCodeTwice(t *testing.T) {
	t.Parallel()
	_, s := openID(t)
	ada := visitor(t, s)
	callback := ada.Authorize(ada.see("/oidc/register").Location, "ada")
	thief := visitor(t, s)
	if page := thief.Visit(callback); !strings.Contains(page.Text, "was not completed") || strings.Contains(page.Header.Get("Set-Cookie"), "horde-session=ey") {
		t.Errorf("another browser with the code: %d %s", page.Status, page.Text)
	}
	var in sync.Map
	var both sync.WaitGroup
	for i := range 2 {
		both.Go(func() { in.Store(i, ada.Visit(callback)) })
	}
	both.Wait()
	taken := 0
	for i := range 2 {
		page, _ := in.Load(i)
		if page.(logintest.Page).Status == http.StatusSeeOther {
			taken++
		}
	}
	if taken != 1 {
		t.Errorf("the code was taken %d times", taken)
	}
	if page := ada.Visit(strings.Replace(callback, "state=", "state=x", 1)); !strings.Contains(page.Text, "was not completed") {
		t.Errorf("another state: %d", page.Status)
	}
}

func TestALoginServiceThatIsDownIsAPage(t *testing.T) {
	t.Parallel()
	service, s := openID(t)
	service.Stop()
	page := visitor(t, s).see("/oidc/register")
	if page.Status != http.StatusBadGateway || !strings.Contains(page.Text, "Lantern ID does not answer") {
		t.Errorf("%d %s", page.Status, page.Text)
	}
	if page := visitor(t, s).see("/google/register"); page.Status != http.StatusNotFound {
		t.Errorf("a login that is not offered: %d", page.Status)
	}
}

func TestLoginsReturnToPagesOfTheHordeOnly(t *testing.T) {
	t.Parallel()
	_, s := openID(t)
	for back, want := range map[string]string{
		"register": "/register", "transfer": "/transfer", "profile": "/profile", "oidc": "/register", "evil.example": "/register",
		"%2F%2Fevil.example": "/register", "..": "",
	} {
		p := visitor(t, s)
		start := p.see("/oidc/" + back)
		if want == "" {
			if start.Status == http.StatusFound {
				t.Errorf("%s goes to %s", back, start.Location)
			}
			continue
		}
		if done := p.Visit(p.Authorize(start.Location, "ada")); done.Location != s.URL+want {
			t.Errorf("%s returns to %s", back, done.Location)
		}
		if dance := p.see("/finish_dance"); dance.Location != s.URL+want {
			t.Errorf("%s: finish_dance goes to %s", back, dance.Location)
		}
	}
	if dance := visitor(t, s).see("/finish_dance"); dance.Location != s.URL+"/" {
		t.Errorf("without a login finish_dance goes to %s", dance.Location)
	}
}

func TestOneLoginRegistersOnceHoweverOftenItIsSent(t *testing.T) {
	t.Parallel()
	_, s := openID(t)
	ada := visitor(t, s)
	ada.login("ada", "register")
	token := formToken.FindStringSubmatch(ada.see("/register").Text)[1]
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() { ada.Send(s.URL+"/register", url.Values{"username": {"Ada"}, "form_token": {token}}) })
	}
	all.Wait()
	if a := s.Call("GET", "/users/2", "", nil); a.Status != http.StatusNotFound {
		t.Errorf("there are two accounts: %s", a.Text)
	}
}

func TestFormsOfASessionNeedItsToken(t *testing.T) {
	t.Parallel()
	_, s := openID(t)
	ada := visitor(t, s)
	ada.login("ada", "register")
	key := ada.register("Ada")
	for path, form := range map[string]url.Values{
		"/register": {"username": {"Mallory"}}, "/transfer": {"username": {"Mallory#2"}, "amount": {"1"}},
		"/profile": {"do": {"delete"}, "sure": {"yes"}}, "/logout": {},
	} {
		for _, token := range []string{"", "AAAA"} {
			form.Set("form_token", token)
			if page := ada.Send(s.URL+path, form); page.Status != http.StatusForbidden {
				t.Errorf("%s with the token %q: %d", path, token, page.Status)
			}
		}
	}
	if opens(t, s, key) != "Ada#1" {
		t.Error("the key was replaced")
	}
	if page := ada.see("/profile"); !strings.Contains(page.Text, "<h1>Ada#1</h1>") || strings.Contains(page.Text, `id="marked"`) {
		t.Error("the account was changed")
	}
	// The cookie is no credential of the API.
	if page := ada.see("/api/v2/find_user"); page.Status != http.StatusUnauthorized {
		t.Errorf("the API takes the cookie: %d", page.Status)
	}
}

func TestLoggingOutEndsEverySession(t *testing.T) {
	t.Parallel()
	_, s := openID(t)
	ada, other := visitor(t, s), visitor(t, s)
	ada.login("ada", "register")
	ada.register("Ada")
	other.login("ada", "profile")
	if page := ada.send("/profile", url.Values{"do": {"none"}}); page.Status != http.StatusBadRequest {
		t.Errorf("a form that asks for nothing: %d", page.Status)
	}
	token := formToken.FindStringSubmatch(ada.see("/profile").Text)[1]
	cookies := ada.Jar.Cookies(must1(url.Parse(s.URL)))
	if page := ada.Send(s.URL+"/logout", url.Values{"form_token": {token}}); page.Status != http.StatusSeeOther {
		t.Fatalf("logging out: %d", page.Status)
	}
	if page := ada.see("/profile"); page.Location != s.URL+"/login" {
		t.Errorf("after logging out: %d", page.Status)
	}
	ada.Jar.SetCookies(must1(url.Parse(s.URL)), cookies) // somebody has kept them
	for name, p := range map[string]*person{"a copy of the cookie": ada, "another browser": other} {
		if page := p.see("/profile"); !strings.Contains(page.Text, "Your session is over") {
			t.Errorf("%s: %d %s", name, page.Status, page.Text)
		}
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestLoggingInWithAKey(t *testing.T) {
	t.Parallel()
	s := public(t)
	key := visitor(t, s).register("Ada")
	for _, bad := range []string{"", "0000000000", "AAAAAAAAAAAAAAAAAAAAAA"} {
		p := visitor(t, s)
		if page := p.send("/login", url.Values{"key": {bad}}); page.Status != http.StatusOK || !strings.Contains(page.Text, `id="problem"`) {
			t.Errorf("the key %q: %d", bad, page.Status)
		}
		if page := p.see("/profile"); page.Location != s.URL+"/login" {
			t.Errorf("the key %q logs in", bad)
		}
	}
	ada := visitor(t, s)
	if page := ada.send("/login", url.Values{"key": {" " + key + "\n"}}); page.Location != s.URL+"/profile" {
		t.Fatalf("the key: %d %s", page.Status, page.Text)
	}
	if page := ada.see("/profile"); !strings.Contains(page.Text, "This account has no login") || strings.Contains(page.Text, key) {
		t.Errorf("the profile: %s", page.Text)
	}
	second := ada.register("Ada")
	if opens(t, s, key) != "" || opens(t, s, second) != "Ada#1" {
		t.Error("the key was not replaced")
	}
}

func TestTheProfileChangesWhatOthersSee(t *testing.T) {
	t.Parallel()
	s := public(t)
	p := visitor(t, s)
	key := p.register("Ada")
	p.send("/login", url.Values{"key": {key}})
	online := func(form url.Values) string {
		form.Set("do", "settings")
		return p.send("/profile", form).Text
	}
	if text := online(url.Values{"username": {"Countess"}, "contact": {"ada@example.org"}, "public_workers": {"yes"}}); !strings.Contains(text, `id="done"`) {
		t.Fatalf("no: %s", text)
	}
	a := s.Call("GET", "/find_user", key, nil)
	if a.Body["username"] != "Countess#1" || a.Body["contact"] != "ada@example.org" {
		t.Errorf("the account is %s", a.Text)
	}
	if _, shown := s.Call("GET", "/users/1", "", nil).Body["worker_ids"]; !shown {
		t.Error("the workers are not public")
	}
	for _, form := range []url.Values{
		{"username": {"x"}}, {"username": {strings.Repeat("x", 31)}}, {"username": {"fuck you"}}, {"username": {"Countess"}, "contact": {"a"}},
		{"username": {"Countess"}, "contact": {strings.Repeat("a", 501)}},
	} {
		if text := online(form); !strings.Contains(text, `id="problem"`) {
			t.Errorf("%v is taken", form)
		}
	}
	if a := s.Call("GET", "/find_user", key, nil); a.Body["username"] != "Countess#1" || a.Body["contact"] != "ada@example.org" {
		t.Errorf("a refused form changed something: %s", a.Text)
	}
}

func TestDeletionOnTheProfile(t *testing.T) {
	t.Parallel()
	s := public(t)
	p := visitor(t, s)
	key := p.register("Ada")
	p.send("/login", url.Values{"key": {key}})
	if page := p.send("/profile", url.Values{"do": {"delete"}}); !strings.Contains(page.Text, "Tick the box") {
		t.Errorf("without being sure: %s", page.Text)
	}
	p.send("/profile", url.Values{"do": {"delete"}, "sure": {"yes"}})
	page := p.see("/profile")
	if !strings.Contains(page.Text, `id="marked"`) || !strings.Contains(page.Text, time.Now().UTC().Add(30*24*time.Hour).Format("2 January 2006")) || strings.Contains(page.Text, `id="deletion"`) {
		t.Errorf("the page of a marked account: %s", page.Text)
	}
	if a := s.Call("POST", "/generate/text/async", key, `{"prompt":"a"}`); a.RC() != "DeletedUser" {
		t.Errorf("a marked account asks: %d %s", a.Status, a.Text)
	}
	if page := p.send("/profile", url.Values{"do": {"delete"}, "sure": {"yes"}}); !strings.Contains(page.Text, `id="problem"`) {
		t.Errorf("erasing too early: %s", page.Text)
	}
	p.send("/profile", url.Values{"do": {"undelete"}})
	if page := p.see("/profile"); strings.Contains(page.Text, `id="marked"`) {
		t.Error("the mark stays")
	}
}

func TestRegistrationAsksForWork(t *testing.T) {
	t.Parallel()
	const bits = 8
	s := public(t, func(site *web.Site) { site.SignUpWork = bits })
	ask := func() (string, int) {
		req := must1(http.NewRequest(http.MethodGet, s.URL+"/register", nil))
		req.Header.Set("Accept", "application/json")
		var doc struct {
			Challenge string
			Bits      int
		}
		if err := json.Unmarshal([]byte(s.Do(req).Text), &doc); err != nil {
			t.Fatal(err)
		}
		return doc.Challenge, doc.Bits
	}
	send := func(form url.Values) nodetest.Answer {
		req := must1(http.NewRequest(http.MethodPost, s.URL+"/register", strings.NewReader(form.Encode())))
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return s.Do(req)
	}
	challenge, asked := ask()
	if asked != bits || challenge == "" {
		t.Fatalf("asked for %d bits of %q", asked, challenge)
	}
	answer, _ := proofofwork.Solve(challenge, bits, nil)
	wrong := "0"
	for n := 0; proofofwork.Solves(challenge, wrong, bits); n++ {
		wrong += "0"
	}
	for name, form := range map[string]url.Values{
		"no work": {"username": {"Ada"}}, "a wrong answer": {"username": {"Ada"}, "challenge": {challenge}, "work": {wrong}},
		"a riddle of one's own": {"username": {"Ada"}, "challenge": {"z.0.AAAA.AAAA"}, "work": {"1"}},
	} {
		if a := send(form); a.Status != http.StatusBadRequest || a.Body["message"] == nil {
			t.Errorf("%s: %d %s", name, a.Status, a.Text)
		}
	}
	good := url.Values{"username": {"Ada"}, "challenge": {challenge}, "work": {answer}}
	a := send(good)
	if a.Status != http.StatusOK || a.Body["username"] != "Ada#1" || opens(t, s, a.Body["api_key"].(string)) != "Ada#1" {
		t.Fatalf("the right answer: %d %s", a.Status, a.Text)
	}
	if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("others may read or keep the answer: %v", a.Header)
	}
	if a := send(good); a.Status != http.StatusBadRequest {
		t.Errorf("the same answer again: %d %s", a.Status, a.Text)
	}
	if a := s.Call("GET", "/users/2", "", nil); a.Status != http.StatusNotFound {
		t.Error("a second account was made")
	}
}

func TestLoginsNeedNoWorkAndPassARaid(t *testing.T) {
	t.Parallel()
	var service *logintest.OpenID
	s := public(t, func(site *web.Site) {
		service = logintest.Start(t, site.PublicURL)
		site.Logins, site.SignUpWork = []*login.Provider{service.Provider()}, 30
	})
	yes := true
	if err := s.Engine.SetModes(t.Context(), engine.Authority{Operator: true}, &horde.ModesChange{RaidMode: &yes, InviteOnlyMode: &yes}); err != nil {
		t.Fatal(err)
	}
	ada := visitor(t, s)
	ada.login("ada", "register")
	if name := opens(t, s, ada.register("Ada")); name != "Ada#1" {
		t.Errorf("she is %q", name)
	}
}

func TestKudosAreGivenOnAPage(t *testing.T) {
	t.Parallel()
	_, s := openID(t)
	ada := visitor(t, s)
	ada.login("ada", "register")
	adaKey := ada.register("Ada")
	thousand := 1000.0
	if _, err := s.Engine.ChangeUser(t.Context(), engine.Authority{Operator: true}, 1, &horde.UserChange{Kudos: &thousand}); err != nil {
		t.Fatal(err)
	}
	bobKey := visitor(t, s).register("Bob")

	page := ada.send("/transfer", url.Values{"username": {"whoever#2"}, "amount": {"100"}})
	if !strings.Contains(page.Text, "100 kudos were given to whoever#2") {
		t.Fatalf("logged in: %d %s", page.Status, page.Text)
	}
	if got := s.Call("GET", "/find_user", bobKey, nil).Body["kudos"]; got != 100.0 {
		t.Errorf("Bob has %v", got)
	}
	form := ada.see("/transfer").Text
	twice := url.Values{
		"username": {"2"}, "amount": {"10"}, "form_token": {formToken.FindStringSubmatch(form)[1]},
		"once": {regexp.MustCompile(`name="once" value="([A-Z2-7]+)"`).FindStringSubmatch(form)[1]},
	}
	for range 2 {
		if page := ada.Send(s.URL+"/transfer", twice); !strings.Contains(page.Text, "10 kudos were given") {
			t.Errorf("a form that is sent twice: %d %s", page.Status, page.Text)
		}
	}
	if got := s.Call("GET", "/find_user", bobKey, nil).Body["kudos"]; got != 110.0 {
		t.Errorf("after a form that was sent twice Bob has %v", got)
	}
	stranger := visitor(t, s)
	page = stranger.send("/transfer", url.Values{"username": {"2"}, "amount": {"50"}, "src_api_key": {adaKey}})
	if !strings.Contains(page.Text, "50 kudos were given to 2") {
		t.Errorf("with a key: %d %s", page.Status, page.Text)
	}
	if strings.Contains(page.Text, adaKey) {
		t.Error("the key comes back")
	}
	for _, c := range []struct {
		form   url.Values
		status int
	}{
		{url.Values{"username": {"2"}}, http.StatusBadRequest},
		{url.Values{"amount": {"2"}}, http.StatusBadRequest},
		{url.Values{"username": {"2"}, "amount": {"1"}}, http.StatusOK},
		{url.Values{"username": {"2"}, "amount": {"1"}, "src_api_key": {"nobody's"}}, http.StatusOK},
		{url.Values{"username": {"2"}, "amount": {"-1"}, "src_api_key": {adaKey}}, http.StatusOK},
		{url.Values{"username": {"2"}, "amount": {"1.5"}, "src_api_key": {adaKey}}, http.StatusOK},
		{url.Values{"username": {"2"}, "amount": {""}, "src_api_key": {adaKey}}, http.StatusOK},
		{url.Values{"username": {"2"}, "amount": {"99999999999999999999"}, "src_api_key": {adaKey}}, http.StatusOK},
		{url.Values{"username": {"2"}, "amount": {"100000"}, "src_api_key": {adaKey}}, http.StatusOK},
		{url.Values{"username": {"99"}, "amount": {"1"}, "src_api_key": {adaKey}}, http.StatusOK},
		{url.Values{"username": {"1"}, "amount": {"1"}, "src_api_key": {adaKey}}, http.StatusOK},
		{url.Values{"username": {"Anonymous#0"}, "amount": {"1"}, "src_api_key": {adaKey}}, http.StatusOK},
	} {
		page := stranger.Send(s.URL+"/transfer", c.form)
		if page.Status != c.status || !strings.Contains(page.Text, `id="problem"`) {
			t.Errorf("%v: %d %s", c.form, page.Status, page.Text)
		}
	}
	if got := s.Call("GET", "/find_user", adaKey, nil).Body["kudos"]; got != 840.0 {
		t.Errorf("Ada has %v", got)
	}
}

func TestTheFrontPageIsVerified(t *testing.T) {
	t.Parallel()
	s := public(t, func(site *web.Site) { site.SiteVerification = `token"1` })
	const tag = `<meta name="google-site-verification" content="token&#34;1">`
	if page := get(t, s, "/"); !strings.Contains(page.Text, tag) {
		t.Errorf("the front page has no %s", tag)
	}
	if page := get(t, s, "/register"); strings.Contains(page.Text, "site-verification") {
		t.Error("another page has it as well")
	}
}

func TestServiceInfo(t *testing.T) {
	t.Parallel()
	s := public(t)
	a := get(t, s, "/.well-known/serviceinfo")
	want := map[string]any{
		"version": "0.2",
		"software": map[string]any{
			"name": "Lantern Horde", "version": "test", "repository": "https://code.example/horde", "homepage": s.URL,
			"logo": a.Body["software"].(map[string]any)["logo"],
		},
		"api": map[string]any{"aihorde": map[string]any{
			"name": "AI Horde API", "version": "2.5", "base_url": s.URL + "/api/v2", "rel_url": "/api/v2", "documentation": s.URL + "/api",
		}},
	}
	got, _ := json.Marshal(a.Body)
	wanted, _ := json.Marshal(want)
	if a.Status != http.StatusOK || string(got) != string(wanted) {
		t.Errorf("%d\n got %s\nwant %s", a.Status, got, wanted)
	}
	if logo := get(t, s, strings.TrimPrefix(a.Body["software"].(map[string]any)["logo"].(string), s.URL)); logo.Status != http.StatusOK {
		t.Errorf("the logo: %d", logo.Status)
	}
}

func TestDocumentsArePages(t *testing.T) {
	t.Parallel()
	s := public(t)
	for path, want := range map[string]string{"/terms": "keeper@lantern.example", "/privacy": "keeper@lantern.example", "/sponsors": "<h"} {
		a := get(t, s, path)
		if a.Status != http.StatusOK || !strings.Contains(a.Text, want) || !strings.Contains(a.Text, `<a class="brand"`) {
			t.Errorf("%s: %d %s", path, a.Status, a.Text)
		}
	}
	front := get(t, s, "/")
	for _, link := range []string{"/terms", "/privacy", "/sponsors"} {
		if !strings.Contains(front.Text, `href="`+link+`"`) {
			t.Errorf("the front page has no link to %s", link)
		}
	}
}

func TestCookiesOverTLSAreBoundToTheHost(t *testing.T) {
	t.Parallel()
	s := public(t, func(site *web.Site) { site.PublicURL = "https://horde.example" })
	key := visitor(t, s).register("Ada")
	page := visitor(t, s).send("/login", url.Values{"key": {key}})
	cookie := page.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-horde-session=", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %q has no %q", cookie, want)
		}
	}
	if strings.Contains(cookie, "Domain=") {
		t.Errorf("the cookie %q has a domain", cookie)
	}
}

func TestAddressesInTimeOutCannotRegister(t *testing.T) {
	t.Parallel()
	_, s := openID(t)
	ada := visitor(t, s)
	ada.login("ada", "register")
	key := ada.register("Ada")
	_, moderator := s.User("mod", 0, horde.Moderator)
	if a := s.Call("POST", "/operations/ipaddr", moderator, map[string]any{"ipaddr": "127.0.0.1", "hours": 1}); a.Status != http.StatusOK {
		t.Fatalf("a time-out: %d %s", a.Status, a.Text)
	}
	for name, p := range map[string]*person{"a stranger": visitor(t, s), "somebody who is logged in": ada} {
		page := p.send("/register", url.Values{"username": {"Mallory"}})
		if page.Status != http.StatusOK || !strings.Contains(page.Text, "in timeout") || newKey.MatchString(page.Text) {
			t.Errorf("%s: %d %s", name, page.Status, page.Text)
		}
	}
	if opens(t, s, key) != "Ada#1" {
		t.Error("the key was replaced")
	}
	if a := s.Call("DELETE", "/operations/ipaddr", moderator, map[string]any{"ipaddr": "127.0.0.1"}); a.Status != http.StatusOK {
		t.Fatalf("its end: %d %s", a.Status, a.Text)
	}
	visitor(t, s).register("Bob")
}
