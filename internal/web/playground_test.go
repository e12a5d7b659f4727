// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"horde/internal/horde"
	"horde/internal/worker/sandbox"
)

const ready = "document.querySelector('[data-stat=worker_count]').textContent !== '–'"

func TestThePlaygroundMakesAnImage(t *testing.T) {
	t.Parallel()
	b, s := opened(t, desktop)
	b.visit("/")
	b.until(ready)
	if note := b.text("#nobody"); !strings.Contains(note, "No image worker is online") {
		t.Errorf("without a worker the page says %q", note)
	}

	w := online(t, s, "Deliberate", "")
	for range 2 {
		a := s.Call("POST", "/generate/async", horde.AnonymousKey, `{"prompt":"first come","models":["Deliberate"],"params":{"width":64,"height":64}}`)
		if a.Status != http.StatusAccepted {
			t.Fatalf("submit: %d %s", a.Status, a.Text)
		}
	}
	b.visit("/")
	b.until("document.querySelector('#image-model').options.length === 2")
	if b.text("#nobody") != "" {
		t.Errorf("with a worker the page still says %q", b.text("#nobody"))
	}
	b.fill("#image-model", "Deliberate")
	b.fill("#image-prompt", `a "quoted" <cat>`)
	b.fill("#negative", "dogs")
	b.fill("#seed", "4711")
	b.fill("#size", "512x768")
	b.click("#go")
	b.until("/^Number 3 in the queue/.test(document.querySelector('#state').textContent)")
	if !see[bool](b, "document.querySelector('#go').disabled") {
		t.Error("a second request can be sent while the first is waiting")
	}
	b.shot("waiting")

	w.work(t)
	b.until("document.querySelector('#result img')?.complete && !document.querySelector('#go').disabled")
	for what, expression := range map[string]string{
		"pixels":       "(i => i.naturalWidth === 512 && i.naturalHeight === 768)(document.querySelector('#result img'))",
		"alternative":  `document.querySelector('#result img').alt === 'a "quoted" <cat>'`,
		"the seed":     "/Seed 4711/.test(document.querySelector('.facts').innerText)",
		"the model":    "/Model Deliberate/.test(document.querySelector('.facts').innerText)",
		"the worker":   "/Made by Lamp of Deliberate/.test(document.querySelector('.facts').innerText)",
		"the download": "(a => a.download === '4711.webp' && a.origin === location.origin)(document.querySelector('#result a[download]'))",
		"no problem":   "document.querySelector('#problem').hidden",
		"lamps":        "document.querySelectorAll('#lights circle.lit').length === 1",
		"worker count": "document.querySelector('[data-stat=worker_count]').textContent === '1'",
		"the table":    "document.querySelector('#models tbody td').innerText === 'Deliberate'",
		"ready again":  "!document.querySelector('#go').disabled && document.querySelector('#cancel').hidden",
	} {
		if !see[bool](b, expression) {
			t.Errorf("%s: not %s", what, expression)
		}
	}
	b.shot("done")
}

func TestThePlaygroundWritesAText(t *testing.T) {
	t.Parallel()
	b, s := opened(t, phone)
	online(t, s, "", "koboldcpp/Tiny").work(t)
	b.visit("/")
	b.until(ready)
	b.click("[name=kind][value=text]")
	b.fill("#text-prompt", "That night")
	b.click("#go")
	b.until("document.querySelector('#text')")
	if got := see[string](b, "document.querySelector('#text').textContent"); got != story {
		t.Errorf("the text is %q, want %q", got, story)
	}
	b.click("[data-copy=text]")
	b.until("document.querySelector('[data-copy=text]').textContent !== 'Copy'")
	b.shot("done")
}

func TestAReloadDoesNotLoseARequest(t *testing.T) {
	t.Parallel()
	b, s := opened(t, tablet)
	w := online(t, s, "", "koboldcpp/Tiny")
	b.visit("/")
	b.until(ready)
	b.click("[name=kind][value=text]")
	b.click("#go")
	b.until("/Number 1/.test(document.querySelector('#state').textContent)")
	b.do(chromedp.Reload())
	b.until("/Number 1/.test(document.querySelector('#state').textContent)")
	w.work(t)
	b.until("document.querySelector('#text')")
	if now := s.Call("GET", "/status/performance", "", nil); now.Body["queued_text_requests"] != 0.0 {
		t.Errorf("the reload sent the request again: %s", now.Text)
	}
}

func TestARequestCanBeCancelled(t *testing.T) {
	t.Parallel()
	b, s := opened(t, desktop)
	b.visit("/")
	b.until(ready)
	b.click("#go")
	b.until("/No worker that is online can take it/.test(document.querySelector('#state').textContent)")
	b.click("#cancel")
	b.until("document.querySelector('#state').textContent === 'Cancelled.' && !document.querySelector('#go').disabled")
	if now := s.Call("GET", "/status/performance", "", nil); now.Body["queued_requests"] != 0.0 {
		t.Errorf("still queued: %s", now.Text)
	}
	if !see[bool](b, "document.activeElement.id === 'go'") {
		t.Error("the focus is lost with the button that had it")
	}
}

func TestTheServersRefusalIsShown(t *testing.T) {
	t.Parallel()
	b, s := opened(t, desktop)
	b.tolerate("status of 401")
	b.tolerate("status of 404")
	b.tolerate("status of 400")
	b.visit("/")
	b.until(ready)
	b.click(".key summary")
	b.typeInto("#key", "no-such-key-1234567890\t")
	b.until("document.querySelector('#whose').textContent === 'nobody has this key'")
	b.click("#go")
	b.until("!document.querySelector('#problem').hidden")
	if got := b.text("#problem"); got != horde.ErrInvalidAPIKey.Message {
		t.Errorf("a wrong key: the page says %q, the server %q", got, horde.ErrInvalidAPIKey.Message)
	}
	b.shot("refused")
	b.click("#forget")
	// The form does not offer this size: a server may offer less than the page.
	see[string](b, "document.querySelector('#size').options[0].value = '100x512'")
	b.click("#go")
	b.until("document.querySelector('#problem').innerText.includes('params.width')")

	_, key := s.User("holder", 500, 0)
	b.typeInto("#key", key+"\t")
	b.until("document.querySelector('#whose').textContent.startsWith('holder#')")
	if kept := see[string](b, "JSON.stringify([Object.values(localStorage), document.cookie, sessionStorage.getItem('key')])"); kept != fmt.Sprintf(`[[],"",%q]`, key) {
		t.Errorf("the key is to be kept in the tab only: %s", strings.ReplaceAll(kept, key, "KEY"))
	}
}

func TestDemoModelsAreCalledDemo(t *testing.T) {
	t.Parallel()
	b, s := opened(t, desktop)
	online(t, s, sandbox.ImageModel, "").work(t)
	b.visit("/")
	b.until(ready)
	b.until("document.querySelector('#image-model').options[1]?.text === '" + sandbox.ImageModel + " (demo)'")
	if note := b.text("#nobody"); !strings.Contains(note, "Only a demo is online") {
		t.Errorf("the note is %q", note)
	}
	b.click("#go")
	b.until("document.querySelector('#result .facts .tag')?.innerText === 'demo'")
	if !see[bool](b, "document.querySelector('#models .tag').innerText === 'demo'") {
		t.Error("the table of models does not say so")
	}
}

func TestThePlaygroundWorksWithTheKeyboardAlone(t *testing.T) {
	t.Parallel()
	b, s := opened(t, desktop)
	online(t, s, "", "koboldcpp/Tiny").work(t)
	b.visit("/")
	b.until(ready)
	focused := func() string {
		return see[string](b, "(e => e.id || e.value || e.textContent.trim())(document.activeElement)")
	}
	tabTo := func(want string) {
		t.Helper()
		var seen []string
		for range 40 {
			b.press(kb.Tab)
			if seen = append(seen, focused()); seen[len(seen)-1] == want {
				if !see[bool](b, "document.activeElement.matches(':focus-visible')") {
					t.Errorf("%s shows no focus", want)
				}
				return
			}
		}
		t.Fatalf("Tab never reaches %s, only %q", want, seen)
	}
	b.press(kb.Tab)
	if focused() != "Skip to the content" {
		t.Errorf("the first stop is %s", focused())
	}
	b.press(kb.Enter)
	tabTo("image")
	b.press(kb.ArrowRight)
	if see[bool](b, "document.querySelector('[data-kind=text]').hidden") {
		t.Error("the arrow does not switch to text")
	}
	tabTo("text-prompt")
	b.press(" with the keyboard")
	tabTo("go")
	b.press(kb.Enter)
	b.until("document.querySelector('#text')")
	if !regexp.MustCompile(`with the keyboard`).MatchString(see[string](b, "document.querySelector('.asked').textContent")) {
		t.Error("what was typed was not asked for")
	}
}
