// SPDX-License-Identifier: AGPL-3.0-or-later

// Package logintest starts a real OpenID Connect server for tests: the provider of the Zitadel project, with its own login
// page, on loopback. It also plays the older kind of service, which answers a question about who somebody is.
package logintest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"golang.org/x/oauth2"

	"horde/internal/login"
)

// What the horde is to the server.
var Client = login.Client{ID: "horde", Secret: "only for tests"}

// Password is that of everybody.
const Password = "verysecure"

// OpenID is an OpenID Connect server.
type OpenID struct {
	// Issuer is where it is: "http://127.0.0.1:34567".
	Issuer string
	people *people
	server *http.Server
	addr   string
	mux    http.Handler
}

// people are who has an account there. It implements storage.UserStore.
type people struct {
	mu  sync.Mutex
	all map[string]*storage.User // by id
}

func (p *people) GetUserByID(id string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[id]
}

func (p *people) GetUserByUsername(name string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.all {
		if u.Username == name {
			return u
		}
	}
	return nil
}

func (p *people) ExampleClientID() string { return storage.ServiceUserID }

// Start starts a server that sends people back to a horde at base. Ada (id 1) and Bob (id 2) have accounts.
func Start(t testing.TB, base string) *OpenID {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &OpenID{Issuer: "http://" + l.Addr().String(), addr: l.Addr().String(), people: &people{all: map[string]*storage.User{}}}
	o.Person("1", "ada", "ada@example.org")
	o.Person("2", "bob", "bob@example.org")
	client := storage.WebClient(Client.ID, Client.Secret, base+login.CallbackPath(login.OpenID))
	store := storage.NewStorageWithClients(o.people, map[string]*storage.Client{Client.ID: client})
	o.mux = exampleop.SetupServer(o.Issuer, store, nil, false)
	o.serve(l)
	t.Cleanup(o.Stop)
	return o
}

func (o *OpenID) serve(l net.Listener) {
	s := &http.Server{Handler: o.mux, ReadHeaderTimeout: time.Minute}
	o.server = s
	go func() { _ = s.Serve(l) }() // ends with Stop
}

// Stop takes the server down.
func (o *OpenID) Stop() { _ = o.server.Close() }

// Again brings it up at the same address.
func (o *OpenID) Again(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	o.serve(l)
}

// Person makes an account there, or changes the name and address of one.
func (o *OpenID) Person(id, name, email string) {
	o.people.mu.Lock()
	defer o.people.mu.Unlock()
	o.people.all[id] = &storage.User{ID: id, Username: name, Password: Password, Email: email, EmailVerified: true}
}

// Provider is the server as the horde knows it.
func (o *OpenID) Provider() *login.Provider { return login.NewOpenID(o.Issuer, "Lantern ID", Client) }

// Browser is somebody's browser: it keeps cookies, and stops at redirects.
type Browser struct {
	*http.Client
	t testing.TB
}

// NewBrowser is a browser without cookies. transport may be nil.
func NewBrowser(t testing.TB, transport http.RoundTripper) *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Browser{t: t, Client: &http.Client{
		Jar: jar, Timeout: time.Minute, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Page is what a browser shows.
type Page struct {
	Status   int
	Location string
	Text     string
	Header   http.Header
}

func (b *Browser) send(req *http.Request) Page {
	b.t.Helper()
	req.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	res, err := b.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	at := ""
	if to, err := res.Location(); err == nil {
		at = to.String()
	}
	return Page{res.StatusCode, at, string(text), res.Header}
}

// Visit loads a page.
func (b *Browser) Visit(address string) Page {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.send(req)
}

// Send sends a form.
func (b *Browser) Send(address string, form url.Values) Page {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.send(req)
}

var loginID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// Authorize goes to the login service, logs in there, and returns where the service sends the browser back to.
func (b *Browser) Authorize(location, name string) (callback string) {
	b.t.Helper()
	page := b.Visit(location)
	if page.Status != http.StatusFound {
		b.t.Fatalf("the login service answers %d %s", page.Status, page.Text)
	}
	form := b.Visit(page.Location)
	id := loginID.FindStringSubmatch(form.Text)
	if id == nil {
		b.t.Fatalf("no login form: %d %s", form.Status, form.Text)
	}
	to, err := url.Parse(page.Location)
	if err != nil {
		b.t.Fatal(err)
	}
	in := b.Send(to.Scheme+"://"+to.Host+"/login/username", url.Values{"id": {id[1]}, "username": {name}, "password": {Password}})
	if in.Status != http.StatusFound {
		b.t.Fatalf("logging in there: %d %s", in.Status, in.Text)
	}
	back := b.Visit(in.Location)
	if back.Location == "" {
		b.t.Fatalf("nothing to go back to: %d %s", back.Status, back.Text)
	}
	return back.Location
}

// Older is a login service like those of Google, Discord and GitHub: it exchanges codes, and answers who somebody is.
type Older struct {
	*httptest.Server
	mu sync.Mutex
	// ID is how the next person is named, as JSON.
	id    string
	codes map[string]string // code to challenge
	next  int
	// Asked are the queries with which browsers came.
	Asked []url.Values
	down  bool
}

// StartOlder starts one.
func StartOlder(t testing.TB) *Older {
	o := &Older{id: "1", codes: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorize", o.authorize)
	mux.HandleFunc("POST /token", o.token)
	mux.HandleFunc("GET /me", o.me)
	o.Server = httptest.NewServer(mux)
	t.Cleanup(o.Close)
	return o
}

// Provider moves a provider there.
func (o *Older) Provider(p *login.Provider) *login.Provider {
	return p.At(oauth2.Endpoint{AuthURL: o.URL + "/authorize", TokenURL: o.URL + "/token"}, o.URL+"/me")
}

// Person says who logs in next, as the JSON of an id: 12 or "12".
func (o *Older) Person(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.id = id
}

// Down lets the service answer nothing but 503, or work again.
func (o *Older) Down(down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = down
}

func (o *Older) authorize(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := r.URL.Query()
	o.Asked = append(o.Asked, q)
	o.next++
	code := fmt.Sprintf("code-%d", o.next)
	o.codes[code] = q.Get("code_challenge")
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
}

func (o *Older) token(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	code := r.PostFormValue("code")
	challenge, ok := o.codes[code]
	delete(o.codes, code)
	w.Header().Set("Content-Type", "application/json")
	if !ok || id != Client.ID || secret != url.QueryEscape(Client.Secret) && secret != Client.Secret ||
		oauth2.S256ChallengeFromVerifier(r.PostFormValue("code_verifier")) != challenge {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant"})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "token of " + o.id, "token_type": "Bearer", "expires_in": 3600})
}

func (o *Older) me(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	id, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer token of ")
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	fmt.Fprintf(w, `{"id":%s,"login":"whatever","email":"changes@example.org"}`, id)
}
