// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"horde/internal/node/nodetest"
)

func opened(t *testing.T, d device) (*tab, *nodetest.Server) {
	t.Helper()
	browser(t)
	s := start(t)
	return open(t, s, d), s
}

func TestRegistrationShowsAKeyOnce(t *testing.T) {
	t.Parallel()
	b, s := opened(t, phone)
	b.visit("/register")
	b.typeInto("#username", "Ada\n")
	b.until("document.querySelector('#new-key')")
	b.shot("registered")
	key := see[string](b, "document.querySelector('#new-key').value")
	if a := s.Call("GET", "/find_user", key, nil); a.Body["username"] != "Ada#1" {
		t.Fatalf("the key opens %d %s", a.Status, a.Text)
	}
	if h := b.text("h1"); h != "Welcome, Ada#1" {
		t.Errorf("the page says %q", h)
	}
	b.click("[data-copy=new-key]")
	b.until("document.querySelector('[data-copy=new-key]').textContent !== 'Copy'")

	b.tolerate("ERR_CACHE_MISS")
	b.visit("/")
	// The browser has not kept the page, and asks whether to send the form again.
	if err := chromedp.Do(b.ctx, chromedp.NavigateBack()); err != nil && !strings.Contains(err.Error(), "ERR_CACHE_MISS") {
		t.Fatalf("going back: %v", err)
	}
	if see[bool](b, "document.documentElement.outerHTML.includes("+fmt.Sprintf("%q", key)+")") {
		t.Error("going back shows the key again")
	}
	b.visit("/register")
	if see[bool](b, "document.documentElement.outerHTML.includes("+fmt.Sprintf("%q", key)+")") {
		t.Error("the second visit shows the key again")
	}
}

func TestPagesFitEveryScreenInLightAndDark(t *testing.T) {
	t.Parallel()
	b, s := opened(t, phone)
	b.tolerate("status of 404")
	online(t, s, "stable_diffusion_with_a_name_that_goes_on_and_on_and_on", "koboldcpp/Some-Model-With-A-Long-Name-7B-Q4_K_M").work(t)
	for _, path := range []string{"/", "/register", "/login", "/transfer", "/workers", "/api/", "/no-such-page"} {
		b.visit(path)
		if path == "/" {
			b.until("document.querySelectorAll('#models tbody tr').length === 2")
		}
		if n := see[int](b, "document.querySelectorAll('h1').length"); n != 1 {
			t.Errorf("%s has %d main headings", path, n)
		}
		if bare := see[[]string](b, unlabelled); len(bare) > 0 {
			t.Errorf("%s has fields without a label: %q", path, bare)
		}
		grounds := map[string]bool{}
		for name, d := range map[string]device{"phone": phone, "tablet": tablet, "desktop": desktop} {
			for _, d.dark = range []bool{false, true} {
				b.on(d)
				look := fmt.Sprintf("%s %s", name, map[bool]string{true: "dark", false: "light"}[d.dark])
				if over := see[int64](b, "document.documentElement.scrollWidth") - d.width; over > 0 {
					t.Errorf("%s, %s: %d pixels too wide", path, look, over)
				}
				if pale := see[[]string](b, faint); len(pale) > 0 {
					t.Errorf("%s, %s: text that is hard to read: %q", path, look, pale)
				}
				grounds[see[string](b, "getComputedStyle(document.body).backgroundColor")] = true
				b.shot(strings.ReplaceAll(look+path, "/", "_"))
			}
		}
		if len(grounds) != 2 {
			t.Errorf("%s: light and dark are %v", path, grounds)
		}
	}
}

func TestTheReferenceShowsEveryOperation(t *testing.T) {
	t.Parallel()
	b, _ := opened(t, desktop)
	b.visit("/api/reference")
	b.until("document.querySelectorAll('.opblock').length > 25")
	b.until("document.querySelector('.info .title').textContent.startsWith('AI Horde')")
	// One of them is opened, and has its example.
	b.click("#operations-v2-post_image_async_generate button")
	b.until("document.querySelector('#operations-v2-post_image_async_generate .opblock-body')?.textContent.includes('a lighthouse in a storm')")
	b.shot("_api_reference")
}

// unlabelled finds fields and buttons that a screen reader could not name.
const unlabelled = `[...document.querySelectorAll('input:not([type=hidden]), select, textarea, button')]
	.filter(e => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).map(e => e.outerHTML)`

// faint finds text whose contrast to what is behind it is below 4.5 to 1.
const faint = `(() => {
	const channels = c => c.match(/[\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => [r, g, b].map(x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
		.reduce((sum, x, i) => sum + x * [.2126, .7152, .0722][i], 0);
	const behind = e => {
		for (; e; e = e.parentElement) {
			const c = channels(getComputedStyle(e).backgroundColor);
			if (c[3] !== 0) return c;
		}
	};
	const found = [];
	for (const e of document.querySelectorAll('body *')) {
		if (!e.checkVisibility() || e.disabled || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
		const [a, b] = [luminance(channels(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
		if ((a + .05) / (b + .05) < 4.5) found.push(e.textContent.trim().slice(0, 40) + ' ' + ((a + .05) / (b + .05)).toFixed(2));
	}
	return found;
})()`
