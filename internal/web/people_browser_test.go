// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"fmt"
	"strings"
	"testing"

	"horde/internal/login"
	"horde/internal/login/logintest"
	"horde/internal/web"
)

func TestTheBrowserSolvesTheRiddle(t *testing.T) {
	t.Parallel()
	browser(t)
	s := public(t, func(site *web.Site) { site.SignUpWork = 14 })
	b := open(t, s, phone)
	for n := 1; n <= 3; n++ {
		b.visit("/register")
		b.typeInto("#username", "Ada\n")
		b.until("document.querySelector('#new-key')")
		if h, want := b.text("h1"), fmt.Sprintf("Welcome, Ada#%d", n); h != want {
			t.Errorf("the page says %q, want %q", h, want)
		}
	}
}

func TestTheAccountInABrowser(t *testing.T) {
	t.Parallel()
	browser(t)
	var service *logintest.OpenID
	s := public(t, func(site *web.Site) {
		service = logintest.Start(t, site.PublicURL)
		site.Logins, site.SignUpWork = []*login.Provider{service.Provider()}, 14
	})
	b := open(t, s, desktop)
	b.elsewhere(service.Issuer)
	b.tolerate("/favicon.ico")  // the login service has none
	b.tolerate("status of 404") // the tab still has the key that was replaced
	b.visit("/register")
	b.shot("register")
	b.click("a[href='/oidc/register']")
	b.until("document.querySelector('#password')")
	b.fill("#username", "ada")
	b.typeInto("#password", logintest.Password+"\n")
	b.until("document.querySelector('h1')?.textContent === 'Get a key' && location.pathname === '/register' && !document.querySelector('noscript, #signup')")
	b.shot("register-logged-in")
	// A name with signs that are kept as HTML writes them, as long as a name may be, and without a place to break it.
	typed, kept := "Ada <& "+strings.Repeat("W", 16), "Ada &lt;&amp; "+strings.Repeat("W", 16)
	b.typeInto("#username", typed+"\n")
	b.until("document.querySelector('#new-key')")
	if over := see[int64](b, "document.documentElement.scrollWidth") - desktop.width; over > 0 {
		t.Errorf("%d pixels too wide", over)
	}
	key := see[string](b, "document.querySelector('#new-key').value")
	if name := opens(t, s, key); name != kept+"#1" {
		t.Fatalf("the key opens %q", name)
	}
	b.visit("/profile")
	online(t, s, "model", "text model")
	b.until("document.querySelector('h1')?.textContent === '" + typed + "#1'")
	s.Call("PUT", "/sharedkeys", key, map[string]any{"name": "for <&co " + strings.Repeat("w", 100)})
	b.fill("#key", "0000000000")
	b.click("#unlock button")
	b.until("document.querySelector('#key-problem').textContent.includes('not the one of this account')")
	b.fill("#key", key)
	b.click("#unlock button")
	b.until("!document.querySelector('#with-key').hidden && document.querySelector('#sharedkeys').textContent.includes('for <&co www')")
	b.fill("#style-name", "fog")
	if see[bool](b, "document.querySelector('#new-styles').checkValidity()") {
		t.Error("the form takes a style without models, which the API refuses")
	}
	for name, d := range map[string]device{"phone": phone, "desktop": desktop} {
		for _, d.dark = range []bool{false, true} {
			b.on(d)
			if over := see[int64](b, "document.documentElement.scrollWidth") - d.width; over > 0 {
				t.Errorf("%s: %d pixels too wide", name, over)
			}
			if pale := see[[]string](b, faint); len(pale) > 0 {
				t.Errorf("%s: text that is hard to read: %q", name, pale)
			}
			b.shot(fmt.Sprintf("profile-%s-%t", name, d.dark))
		}
	}
	if bare := see[[]string](b, unlabelled); len(bare) > 0 {
		t.Errorf("fields without a label: %q", bare)
	}
	b.click("#rekey")
	b.until("document.querySelector('h1')?.textContent === 'Get another key'")
	b.shot("rekey")
	b.click("form.card button[type=submit]")
	b.until("document.querySelector('#new-key')")
	second := see[string](b, "document.querySelector('#new-key').value")
	if opens(t, s, key) != "" || opens(t, s, second) != kept+"#1" {
		t.Error("the key was not replaced")
	}
	b.visit("/profile")
	b.click("#sure")
	b.click("#deletion button")
	b.until("document.querySelector('#marked')")
	b.shot("marked")
	b.click("#undelete")
	b.until("!document.querySelector('#marked') && document.querySelector('#done')")
	b.click("#logout")
	b.until("location.pathname === '/login'")
	if see[bool](b, "document.cookie.includes('horde')") {
		t.Error("scripts can read the cookie")
	}
	b.visit("/profile")
	if !strings.HasSuffix(see[string](b, "location.href"), "/login") {
		t.Error("still logged in")
	}
}
