// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"

	"horde/internal/certificate/certificatetest"
	"horde/internal/login/logintest"
	"horde/internal/node/nodetest"
	"horde/internal/worker/sandbox"
)

// theProgram is the program that is tested, built once.
var theProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "horde")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "horde")
	if out, err := exec.Command("go", "build", "-o", file, "horde/cmd/horde").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return file, nil
})

// output keeps what a process says.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// process runs the program until the test ends.
func process(t *testing.T, env []string, args ...string) *output {
	t.Helper()
	file, err := theProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd, out := exec.Command(file, args...), &output{}
	cmd.Env, cmd.Dir = append(os.Environ(), env...), t.TempDir()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("horde %s: %v\n%s", args[0], err, out)
		}
		if t.Failed() {
			t.Logf("horde %s says:\n%s", args[0], out)
		}
	})
	return out
}

// command runs the program to its end.
func command(t *testing.T, args ...string) string {
	t.Helper()
	file, err := theProgram()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, file, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("horde %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// freePort is one that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// publicHorde is a horde set up as docs/operating.md says under "A public horde", with its operator's commands.
type publicHorde struct {
	t       *testing.T
	url     string
	plain   string // where people come without TLS
	data    string
	client  *http.Client
	service *logintest.OpenID
	trust   []string // environment of a program that trusts the horde's certificate
}

func startPublicHorde(t *testing.T) *publicHorde {
	t.Helper()
	dir, ca := t.TempDir(), certificatetest.New(t)
	ca.Write(t, dir, "horde.example", 365*24*time.Hour)
	ca.WriteAuthority(t, filepath.Join(dir, "ca.pem"))
	port, plain := freePort(t), freePort(t)
	h := &publicHorde{
		t: t, url: "https://127.0.0.1:" + port, plain: "http://127.0.0.1:" + plain, data: filepath.Join(dir, "data"),
		client: &http.Client{Timeout: patience, Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool}}},
		trust:  []string{"SSL_CERT_FILE=" + filepath.Join(dir, "ca.pem")},
	}
	h.service = logintest.Start(t, h.url)
	out := process(t, []string{"HORDE_OAUTH_OIDC_SECRET=" + logintest.Client.Secret}, "serve", "--data", h.data,
		"--listen", "127.0.0.1:"+port, "--redirect-listen", "127.0.0.1:"+plain,
		"--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"),
		"--public-url", h.url, "--title", "Lantern Horde", "--contact", "keeper@lantern.example", "--admins", "1",
		"--oauth-oidc-issuer", h.service.Issuer, "--oauth-oidc-id", logintest.Client.ID, "--oauth-oidc-title", "Lantern ID",
		"--sign-up-work", "12", "--no-rate-limit")
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if res, err := h.client.Get(h.url + "/healthz"); err == nil {
			res.Body.Close()
			if res.ProtoMajor != 2 {
				t.Errorf("HTTP/%d over TLS", res.ProtoMajor)
			}
			return h
		}
		if time.Since(began) > patience {
			t.Fatalf("it does not come up: %s", out)
		}
	}
}

// serves tells whether the horde has an operation.
func (h *publicHorde) serves(path string) bool {
	h.t.Helper()
	res, err := h.client.Get(h.url + "/api/swagger.json")
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Contains(string(text), fmt.Sprintf("%q:", path))
}

// open opens a page in a profile of its own, which trusts the horde.
func (h *publicHorde) open(d device) *tab {
	h.t.Helper()
	b := open(h.t, &nodetest.Server{URL: h.url}, d)
	must(b, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
	b.elsewhere(h.service.Issuer)
	b.elsewhere(h.plain)
	b.tolerate("/favicon.ico") // the login service has none
	return b
}

// logIn logs in at the login service, whose form is on the page.
func (b *tab) logIn(name, page string) {
	b.t.Helper()
	b.until("document.querySelector('#password')")
	b.fill("#username", name)
	b.typeInto("#password", logintest.Password+"\n")
	b.until(fmt.Sprintf("location.pathname === %q", page))
}

func TestAPublicHordeOnItsPages(t *testing.T) {
	t.Parallel()
	browser(t)
	h := startPublicHorde(t)
	b := h.open(desktop)

	// An account, from an address without TLS to a key.
	b.do(chromedp.Navigate(h.plain + "/register"))
	b.until(fmt.Sprintf("location.href === %q", h.url+"/register"))
	b.click("a[href='/oidc/register']")
	b.logIn("ada", "/register")
	b.until("document.querySelector('input[name=form_token]')")
	b.typeInto("#username", "Ada\n")
	b.until("document.querySelector('#new-key')")
	key := see[string](b, "document.querySelector('#new-key').value")
	if h1 := b.text("h1"); h1 != "Welcome, Ada#1" {
		t.Fatalf("the page says %q", h1)
	}
	if see[string](b, "location.protocol") != "https:" || see[bool](b, "document.cookie !== ''") {
		t.Error("the session is not kept as it should be")
	}
	command(t, "user", "set", "--data", h.data, "1", "--role", "moderator", "--role", "trusted")

	// A worker of hers, over TLS.
	process(t, h.trust, "worker", "-u", h.url, "-a", key, "--scribe-name", "Ada's lamp", "--scribe-backend", "sandbox", "scribe")
	b.until(`fetch('/api/v2/workers?type=text').then(a => a.json()).then(w => window.there = w.length) && window.there`)
	b.visit("/profile")
	b.until("document.querySelector('#workers tbody td')?.textContent === \"Ada's lamp\"")
	b.fill("#key", key)
	b.click("#unlock button")
	b.until("!document.querySelector('#with-key').hidden")

	// A team, and she joins.
	b.fill("#team-name", "Keepers of the light")
	b.fill("#team-info", "lighthouses only")
	b.click("#new-teams button")
	b.until("document.querySelectorAll('#teams option').length === 2")
	see[int](b, "(s => { s.selectedIndex = 1; s.dispatchEvent(new Event('change')); return 1; })(document.querySelector('#teams select'))")
	b.until(`fetch('/api/v2/teams').then(a => a.json()).then(t => window.joined = t[0]?.worker_count) && window.joined === 1`)

	// A key is shared.
	if h.serves("/v2/sharedkeys") {
		b.fill("#sharedkey-name", "for the crew")
		b.click("#new-sharedkeys button")
		b.until("document.querySelector('#sharedkeys tbody code')?.textContent.length === 36")
		shared := see[string](b, "document.querySelector('#sharedkeys code').textContent")
		if name := h.find(shared); name != "Ada#1 (Shared Key: for the crew)" {
			t.Errorf("the shared key is %q", name)
		}
	} else {
		t.Log("shared keys are not served")
	}

	// A style is made, and used.
	if h.serves("/v2/styles/text") {
		b.fill("#style-name", "fog")
		b.fill("#style-kind", "text")
		b.fill("#style-prompt", "In thick fog, {p}{np}")
		b.fill("#style-models", sandbox.TextModel)
		b.click("#new-styles button")
		b.until("document.querySelector('#styles tbody a')")
		b.shot("made")
		b.click("#styles tbody a")
		b.until("location.pathname === '/' && document.querySelector('#style-note') && !document.querySelector('#style-note').hidden")
		if see[bool](b, "document.querySelector('#length').checkVisibility()") {
			t.Error("the page asks for what the style decides on")
		}
		b.fill("#text-prompt", "a ship comes home.")
		b.click("#go")
		b.until("document.querySelector('#result')?.innerText.length > 20")
		b.shot("used")
		b.until(`fetch('/api/v2/styles/text').then(a => a.json()).then(s => window.used = s[0].use_count) && window.used === 1`)
	} else {
		t.Log("styles are not served")
	}

	// A raid begins: strangers cannot register, people with a login can. It ends, and strangers can again.
	stranger, bob := h.open(phone), h.open(phone)
	b.visit("/profile")
	see[bool](b, "(document.querySelector('#raid').click(), true)") // what loads above it may move it away from under a mouse
	see[bool](b, "(document.querySelector('#modes button').click(), true)")
	b.until("document.querySelector('#done')")
	stranger.visit("/register")
	stranger.typeInto("#username", "Mallory\n")
	stranger.until("document.querySelector('#problem')?.textContent.includes('without a login')")
	bob.visit("/login")
	bob.click("a[href='/oidc/profile']")
	bob.logIn("bob", "/register") // he has no account yet
	bob.until("document.querySelector('input[name=form_token]')")
	bob.typeInto("#username", "Bob\n")
	bob.until("document.querySelector('#new-key')")
	b.visit("/profile")
	if !see[bool](b, "document.querySelector('#raid').checked") {
		t.Error("the page does not show that there is a raid")
	}
	see[bool](b, "(document.querySelector('#raid').click(), true)") // what loads above it may move it away from under a mouse
	see[bool](b, "(document.querySelector('#modes button').click(), true)")
	b.until("document.querySelector('#done') && !document.querySelector('#raid').checked")
	stranger.visit("/register")
	stranger.typeInto("#username", "Eve\n")
	stranger.until("document.querySelector('#new-key')")
	if name := h.find(see[string](stranger, "document.querySelector('#new-key').value")); name != "Eve#3" {
		t.Errorf("after the raid a stranger is %q", name)
	}

	// Bob has no such powers, and no such form.
	bob.visit("/profile")
	bob.until("document.querySelector('h1')?.textContent === 'Bob#2'")
	if see[bool](bob, "!!document.querySelector('#modes')") {
		t.Error("anybody may set the modes")
	}
	if out := command(t, "audit", "--data", h.data); strings.Contains(out, "differ") {
		t.Errorf("the books: %s", out)
	}
}

// find tells whom a key belongs to.
func (h *publicHorde) find(key string) string {
	h.t.Helper()
	req := must1(http.NewRequest(http.MethodGet, h.url+"/api/v2/find_user", nil))
	req.Header.Set("apikey", key)
	res, err := h.client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	name := string(text)
	if _, after, ok := strings.Cut(name, `"username":"`); ok {
		name, _, _ = strings.Cut(after, `"`)
	}
	return name
}
