// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"horde/internal/api"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
	"horde/internal/ratings"
	"horde/internal/web"
)

// withRatings is a node with a ratings service and its pages, to which clients share images.
func withRatings(t *testing.T, change ...func(*node.Config)) *nodetest.Server {
	return start(t, append([]func(*node.Config){func(c *node.Config) {
		c.RatingsService, c.Sharing = true, horde.SharingOptIn
		c.RatingsPages = func(n *node.Node, r *api.Router, prefix string) {
			web.MountRatings(web.Site{Title: n.Title, Version: n.Version, PublicURL: n.PublicURL, Log: n.Log}, r, prefix, prefix+ratings.DocumentPath)
		}
	}}, change...)...)
}

// shared has so many images made that are shared, and returns the request.
func shared(t *testing.T, s *nodetest.Server, key string, n int) string {
	t.Helper()
	a := s.Call("POST", "/generate/async", key, map[string]any{
		"prompt": "a lighthouse", "models": []string{"stable_diffusion"}, "shared": true, "params": map[string]any{"n": n, "steps": 10, "width": 512, "height": 512},
	})
	id, _ := a.Body["id"].(string)
	for end := time.Now().Add(patience); id != "" && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if s.Call("GET", "/generate/check/"+id, "", nil).Body["done"] == true {
			return id
		}
	}
	t.Fatalf("no images: %d %s", a.Status, a.Text)
	return ""
}

// kept waits until the service has so many images.
func kept(t *testing.T, s *nodetest.Server, n int) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var sets []struct {
			Images int `json:"image_count"`
		}
		if a := get(t, s, "/ratings/api/v1/datasets"); json.Unmarshal([]byte(a.Text), &sets) == nil && len(sets) == 1 && sets[0].Images >= n {
			return
		}
	}
	t.Fatalf("the service does not have %d images", n)
}

// secrets reads what the service knows and does not tell: which images are captchas, and what they ask for.
type secrets struct {
	t    *testing.T
	conn *sqlite.Conn
}

func secretsOf(t *testing.T, s *nodetest.Server) *secrets {
	t.Helper()
	conn, err := sqlite.OpenConn(filepath.Join(s.Data, "ratings", "ratings.db"), sqlite.OpenReadOnly|sqlite.OpenWAL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &secrets{t, conn}
}

// asks is the rating that an image asks for, 0 for none.
func (k *secrets) asks(id string) (answer int) {
	k.t.Helper()
	if err := sqlitex.Execute(k.conn, "select answer from pops where image = ? and kind = 'captcha'", &sqlitex.ExecOptions{
		Args: []any{id}, ResultFunc: func(r *sqlite.Stmt) error { answer = r.ColumnInt(0); return nil },
	}); err != nil {
		k.t.Fatal(err)
	}
	return answer
}

// onScreen waits for an image and returns its id.
func (b *tab) onScreen() string {
	b.t.Helper()
	b.until("!document.querySelector('#image').hidden && document.querySelector('#image').complete && !document.querySelector('#send').disabled")
	return see[string](b, "document.querySelector('#image').src.match(/([0-9a-f-]{36})\\.webp$/)[1]")
}

func keyFor(rating int) string { return fmt.Sprint(rating % 10) }

// passed rates what is on screen as it asks for, or with 6.
func (b *tab) passed(k *secrets) {
	b.t.Helper()
	id := b.onScreen()
	rating := k.asks(id)
	if rating == 0 {
		rating = 6
	}
	b.press(keyFor(rating))
	b.until(fmt.Sprintf("document.querySelector('[name=rating]:checked')?.value === '%d'", rating))
	b.press("\r")
	b.until("!document.querySelector('#image').src.includes('" + id + "')")
}

func TestPeopleRateImages(t *testing.T) {
	t.Parallel()
	browser(t)
	s := withRatings(t)
	online(t, s, "stable_diffusion", "").work(t)
	_, artist := s.User("artist", 10_000, horde.Trusted)
	shared(t, s, artist, 15)
	shared(t, s, artist, 15)
	kept(t, s, 30)
	_, key := s.User("rater", 0, 0)
	k := secretsOf(t, s)
	b := open(t, s, phone)

	// Everything with the keyboard, on a phone's width.
	b.visit("/ratings")
	b.passed(k)
	b.until("document.querySelector('#tally').textContent.startsWith('1 rated')")
	if whose := b.text("#whose"); whose != "anonymous" {
		t.Errorf("the key is %q", whose)
	}
	if strings.Contains(b.text("#tally"), "kudos") {
		t.Errorf("an anonymous rater is promised %q", b.text("#tally"))
	}
	id := b.onScreen()
	b.press("b")
	b.press("3")
	b.shot("chosen")
	if a := see[string](b, "document.querySelector('[name=artifacts]:checked').value"); a != "1" {
		t.Errorf("B chose %q", a)
	}
	b.press("s")
	b.until("!document.querySelector('#image').src.includes('" + id + "')")
	if see[bool](b, "!!document.querySelector('#rate :checked')") {
		t.Error("what was chosen for one image is chosen for the next")
	}

	// Every screen.
	for name, d := range map[string]device{"phone": phone, "tablet": tablet, "desktop": desktop} {
		for _, d.dark = range []bool{false, true} {
			b.on(d)
			look := fmt.Sprintf("%s-%v", name, d.dark)
			if over := see[int64](b, "document.documentElement.scrollWidth") - d.width; over > 0 {
				t.Errorf("%s: %d pixels too wide", look, over)
			}
			if pale := see[[]string](b, faint); len(pale) > 0 {
				t.Errorf("%s: text that is hard to read: %q", look, pale)
			}
			if small := see[[]string](b, "[...document.querySelectorAll('.marks span, .flaws label > span, #send, #skip')].filter(e => e.getBoundingClientRect().height < 40 || e.getBoundingClientRect().width < 40).map(e => e.outerHTML)"); len(small) > 0 {
				t.Errorf("%s: too small for a finger: %q", look, small)
			}
			b.shot(look)
		}
	}
	if bare := see[[]string](b, unlabelled); len(bare) > 0 {
		t.Errorf("fields without a label: %q", bare)
	}

	// A key stays in the tab, also when the page is loaded again, and is paid.
	b.click(".key summary")
	b.typeInto("#key", key+"\r")
	b.until("document.querySelector('#whose').textContent === 'yours'")
	b.passed(k)
	b.until("document.querySelector('#tally').textContent.includes('5 kudos')")
	b.visit("/ratings")
	b.until("document.querySelector('#whose').textContent === 'yours'")

	// With the mouse, and a captcha that is answered wrongly.
	asks := 0
	for range 25 {
		if asks = k.asks(b.onScreen()); asks != 0 {
			break
		}
		b.click(fmt.Sprintf("[name=rating][value='%d']", 8))
		b.click("#send")
		b.until("document.querySelector('#send').disabled || document.querySelector('#tally').textContent")
	}
	if asks == 0 {
		t.Log("there was no captcha by chance")
		return
	}
	b.shot("captcha")
	b.tolerate("status of 403")
	b.tolerate("status of 429")
	b.click(fmt.Sprintf("[name=rating][value='%d']", asks%10+1))
	b.click("#send")
	b.until("document.querySelector('#problem').textContent.includes('another rating')")
	b.until("document.querySelector('#state').textContent.includes('to go')")
	b.shot("waiting")
}

func TestTheImagesOfARequestAreCompared(t *testing.T) {
	t.Parallel()
	browser(t)
	s := withRatings(t)
	online(t, s, "stable_diffusion", "").work(t)
	_, artist := s.User("artist", 10_000, horde.Trusted)
	id := shared(t, s, artist, 2)
	b := open(t, s, phone)
	b.tolerate("status of 404") // when there is nothing left to rate
	b.visit("/ratings#request=" + id)
	b.until("document.querySelectorAll('#pair figure').length === 2 && [...document.querySelectorAll('#pair img')].every(i => i.naturalWidth > 0)")
	for name, d := range map[string]device{"phone": phone, "desktop": desktop} {
		b.on(d)
		if over := see[int64](b, "document.documentElement.scrollWidth") - d.width; over > 0 {
			t.Errorf("%s: %d pixels too wide", name, over)
		}
		b.shot(name)
	}
	if bare := see[[]string](b, unlabelled); len(bare) > 0 {
		t.Errorf("fields without a label: %q", bare)
	}
	b.tolerate("status of 400")
	b.click("#decide")
	b.until("document.querySelector('#compare-problem').textContent !== ''")
	b.click("[name=best]")
	see[bool](b, "document.querySelector('[name=best]').focus() || true")
	b.press(kb.ArrowRight)
	b.until("document.querySelectorAll('[name=best]')[1].checked")
	b.click("#decide")
	b.until("document.querySelector('#compared').textContent.includes('kudos')")
	b.shot("compared")
	if a := s.Call("POST", "/generate/rate/"+id, "", map[string]any{"best": id}); a.Status != http.StatusBadRequest {
		t.Errorf("rating it again: %d %s", a.Status, a.Text)
	}
}

// What is made in the playground can be shared, and leads to where it is rated; of a model that is compared with itself both are shown.
func TestThePlaygroundLeadsToTheRating(t *testing.T) {
	t.Parallel()
	browser(t)
	s := withRatings(t, func(c *node.Config) { c.Pairs = []string{"Deliberate"} })
	w := online(t, s, "Deliberate", "")
	other := &worker{s: s, key: w.key, image: "stable_diffusion"}
	other.pop("/generate/pop", other.image)
	w.work(t)
	other.work(t)
	_, artist := s.User("artist", 10_000, horde.Trusted)
	b := open(t, s, desktop)
	b.visit("/")
	see[bool](b, "document.querySelector('details.key').open = true")
	b.fill("#key", artist)
	b.tolerate("status of 404") // when there is nothing left to rate
	for model, c := range map[string]struct {
		shared bool
		images int
		link   string
	}{
		"stable_diffusion": {false, 1, ""}, "stable_diffusion ": {true, 1, "Rate it"}, "Deliberate": {false, 2, "Which is better?"},
	} {
		b.visit("/")
		b.until("document.querySelector('#image-model').options.length === 3")
		b.fill("#image-model", strings.TrimSpace(model))
		b.fill("#number", fmt.Sprint(c.images))
		if c.shared {
			b.click("#shared")
		}
		b.click("#go")
		b.until(fmt.Sprintf("document.querySelectorAll('#result img').length === %d && [...document.querySelectorAll('#result img')].every(i => i.naturalWidth > 0) && !document.querySelector('#go').disabled", c.images))
		if got := see[string](b, "document.querySelector('#result a[href*=request]')?.textContent ?? ''"); got != c.link {
			t.Errorf("%s, shared %t: the link says %q, want %q", model, c.shared, got, c.link)
		}
		if n := see[int64](b, "document.querySelectorAll('#result a[download]').length"); n != int64(c.images) {
			t.Errorf("%s: %d downloads, want %d", model, n, c.images)
		}
		if c.images == 2 {
			b.shot("two")
			b.click("#result a[href*=request]")
			b.until("document.querySelectorAll('#pair img').length === 2")
		}
	}
}
