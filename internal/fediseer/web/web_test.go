// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"horde/internal/fediseer/fediversetest"
)

// browser starts a headless Chromium that ends with the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		fediversetest.Missing(t, "no chromium; hack/parts-fediseer.sh installs it")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(2*time.Minute))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// step is something that happens in the browser.
type step func(context.Context) error

func do[T any](a chromedp.Action[T]) step {
	return func(ctx context.Context) error {
		_, err := chromedp.Run(ctx, a)
		return err
	}
}

func into[T any](a chromedp.Action[T], to *T) step {
	return func(ctx context.Context) (err error) {
		*to, err = chromedp.Run(ctx, a)
		return err
	}
}

func visit(address string) step      { return do(chromedp.Navigate(address)) }
func click(selector string) step     { return do(chromedp.Click(selector)) }
func write(selector, s string) step  { return do(chromedp.SendKeys(selector, s)) }
func choose(selector, s string) step { return do(chromedp.SetValue(selector, s)) }

// holds waits until an expression is true. While a page loads, there may be nothing to ask; that is waited out too.
func holds(expression string) step {
	return func(ctx context.Context) error {
		var last error
		for range 300 {
			ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
			if err == nil && ok {
				return nil
			}
			if last = err; ctx.Err() != nil {
				break
			}
			time.Sleep(100 * time.Millisecond) // another process works; there is nothing to wait on
		}
		return fmt.Errorf("%s does not become true (%v)", expression, last)
	}
}

// says waits until an element has a text.
func says(selector, want string) step {
	return holds(fmt.Sprintf("document.querySelector(%q)?.textContent.includes(%q) ?? false", selector, want))
}

// evaluated is the value of an expression.
func evaluated[T any](expression string, to *T) step {
	return into(chromedp.Evaluate[T](expression), to)
}

// runner returns what takes steps and, if one fails, ends the test with what the browser showed.
func runner(ctx context.Context, t *testing.T) func(what string, steps ...step) {
	return func(what string, steps ...step) {
		t.Helper()
		for _, f := range steps {
			if err := f(ctx); err != nil {
				shown, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.location + "\n" + document.body.innerText`))
				t.Fatalf("%s: %v\n%s", what, err, shown)
			}
		}
	}
}

// What an admin does on the pages: claim, log in, guarantee, censure, look at the chain and at lists, copy a badge.
func TestPages(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	s := fediversetest.Start(t, nil)
	s.Claim("a.test", "b.test")
	s.Guarantee("fediseer.com", "a.test", "b.test")
	s.Says("Changed", "b.test", http.MethodPut, "/censures/evil.test", map[string]string{"reason": "spam <script>document.title='owned'</script>", "evidence": "see"})
	s.Net.Add(fediversetest.Lemmy("new.test", "boss"), fediversetest.Host{Domain: "mute.test", Software: "mastodon", Approval: new(bool)})
	run := runner(ctx, t)
	run("search leads to the instance",
		visit(s.URL()+"/"),
		write(`.search input`, "https://B.test/"),
		click(`.search button`),
		says("h1", "b.test"), says(".good", "Unbroken"))
	var chain, badge, copied, title string
	run("the chain is a picture",
		evaluated(`document.querySelector("svg.chain").textContent`, &chain),
		evaluated(`document.querySelector("#badge-guarantee").getAttribute("src")`, &badge),
		holds(`document.querySelector("#badge-guarantee").naturalWidth > 100`),
		click(`button.copy`), says("button.copy", "Copied"),
		evaluated(`document.querySelector("#code-guarantee").value`, &copied))
	if !(strings.Index(chain, "fediseer.com") < strings.Index(chain, "a.test") && strings.Index(chain, "a.test") < strings.LastIndex(chain, "b.test")) {
		t.Errorf("the chain reads %q", chain)
	}
	if !strings.Contains(copied, s.URL()+"/api/v1/badges/guarantees/b.test.svg") || badge != "/api/v1/badges/guarantees/b.test.svg" {
		t.Error(copied, badge)
	}
	run("a click in the picture leads up", evaluated(`document.querySelector("svg.chain a").dispatchEvent(new MouseEvent("click", {bubbles: true}))`, new(bool)), says("h1", "fediseer.com"))
	run("a combined list with a filter",
		visit(s.URL()+"/lists"),
		write(`input[name=domains]`, "a.test, b.test"), write(`input[name=reasons]`, "spam"),
		click(`.filters button`),
		says("#list", "evil.test"), says("#list .reason", "<script>"), evaluated("document.title", &title))
	if !strings.Contains(title, "Combined lists") {
		t.Error("markup in a reason was run:", title)
	}
	var csv string
	run("to download", evaluated(`document.querySelector("#csv").getAttribute("href")`, &csv))
	if got := s.Request(http.MethodGet, csv, nil, nil); got.JSON["csv"] != "evil.test" {
		t.Error(csv, got.Body)
	}
	run("a list that nobody shows", visit(s.URL()+"/lists?domains=nowhere.test"), says("#error", "registered"))

	run("claim",
		visit(s.URL()+"/claim?domain=new.test"),
		write(`input[name=admin]`, "boss"), write(`input[name=guarantor]`, "a.test"),
		click(`#claim button[value=message]`), says("#result", "delivered to boss@new.test"))
	key := s.LastKey("new.test", "boss")
	run("claim with a proof",
		visit(s.URL()+"/claim?domain=mute.test"),
		write(`input[name=admin]`, "boss"),
		click(`#claim button[value=message]`), says("#result", "could not be found out"),
		click(`#start-proof`), says("#proof-value", "fediseer-proof="))
	var value, name string
	run("the proof is shown", evaluated(`document.querySelector("#proof-value").textContent`, &value), evaluated(`document.querySelector("#proof-dns").textContent`, &name))
	s.Net.SetTXT(name, value)
	run("and taken", click(`#finish-dns`), says("#result", "Your API key: "))

	run("a wrong key", visit(s.URL()+"/admin"), write(`#login input`, "wrong"), click(`#login button`), says("#result", "No instance has this API key"))
	run("log in", choose(`#login input`, key), click(`#login button`), says("#result", "Logged in"), says("#me", "new.test"), says("#guarantor", "Nobody"))
	run("tag", write(`form[data-act=tags] input`, "cats, dogs"), click(`form[data-act=tags] button[value=PUT]`), says("#result", "Done"))
	run("censure without a guarantor", write(`form[data-act=judge] input[name=domain]`, "x.test"), click(`form[data-act=judge] button[value=PUT]`), says("#result", "no guarantor"))
	s.Says("Changed", "a.test", http.MethodPut, "/guarantees/new.test", nil)
	run("censure", write(`form[data-act=judge] input[name=reason]`, "spam, bots"), click(`form[data-act=judge] button[value=PUT]`), says("#result", "Done"), says("#mine", "x.test: spam, bots"))
	run("settings", choose(`select[name=visibility_censures]`, "PRIVATE"), choose(`form[data-act=settings] input[name=sysadmins]`, "2"), click(`form[data-act=settings] button`), says("#result", "Done"))
	if a := s.Do(key, http.MethodGet, "/find_instance", nil); a.JSON["visibility_censures"] != "PRIVATE" || a.JSON["sysadmins"] != 2.0 {
		t.Error(a.Body)
	}
	var hidden bool
	run("no flags for everybody", evaluated(`document.getElementById("flags").hidden`, &hidden))
	if !hidden {
		t.Error("flags are offered to all")
	}
	run("a new key", write(`form[data-act=reset] input`, "boss"), click(`form[data-act=reset] button`), says("#result", "The new key: "))
	if a := s.Do(key, http.MethodGet, "/find_instance", nil); a.Status != http.StatusNotFound {
		t.Error("the old key works:", a.Status)
	}
	run("the page of the instance", visit(s.URL()+"/instances/new.test"), says(".tag", "cats"), says("main", "This list is not open to everybody"))
	run("the API page", visit(s.URL()+"/api/"), says("#ui", "/censures_given/{domain}"))
	if dir := os.Getenv("FEDISEER_SCREENSHOTS"); dir != "" {
		for _, p := range []string{"/", "/instances/b.test", "/lists?domains=b.test", "/admin", "/claim"} {
			var png []byte
			run("a picture", do(chromedp.EmulateViewport(1100, 900)), visit(s.URL()+p), do(chromedp.Sleep(300*time.Millisecond)), into(chromedp.FullScreenshot(100), &png))
			if err := os.WriteFile(dir+"/"+strings.NewReplacer("/", "_", "?", "_").Replace(p)+".png", png, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The pages answer with what belongs to them, and markup of strangers stays text.
func TestPagesWithoutBrowser(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Claim("a.test")
	s.Guarantee("fediseer.com", "a.test")
	s.Says("Changed", "a.test", http.MethodPut, "/tags", map[string]string{"tags_csv": `<img src=x onerror=alert(1)>,cats`})
	s.Says("Changed", "a.test", http.MethodPut, "/hesitations/odd.test", map[string]string{"reason": "<b>odd</b>", "evidence": "<img src=x>"})
	for path, want := range map[string]string{
		"/": "/claim", "/instances": "a.test", "/instances?q=a.t&guarantors=0": ">a.test<", "/instances?tags=cats": ">a.test<", "/instances/a.test": `Given hesitations`, "/instances/odd.test": `<span class="reason">odd</span>`, "/faq/deu": `<html lang="de">`, "/faq/": `<html lang="en">`, "/favicon.ico": "<svg",
		"/lists": "Combine", "/solicitations": "Nobody asks", "/suspicions": "bots.test", "/suspicions?activity=19": "quiet.test", "/reports": "HESITATION ADDED", "/reports?domain=a.test": "odd.test",
		"/claim": "Send me the key", "/admin": "API key", "/faq/ell": `<html lang="el">`, "/static/admin.js": "fetch",
	} {
		a := s.Request(http.MethodGet, path, nil, nil)
		if a.Status != 200 || !strings.Contains(a.Body, want) || strings.Contains(a.Body, "<img src=x") {
			t.Errorf("%s: %d, no %q in %s", path, a.Status, want, a.Body)
		}
		if strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") && !strings.Contains(a.Header.Get("Content-Security-Policy"), "default-src 'self'") {
			t.Errorf("%s has no policy", path)
		}
	}
	for path, status := range map[string]int{"/instances/nowhere.test": 404, "/instances/127.0.0.1": 400, "/lists?domains=nowhere.test": 404, "/lists?domains=a.test&min=3": 400, "/find?q=a.test": 303, "/find?q=%3Cx": 303} {
		if a := s.Request(http.MethodGet, path, nil, nil); a.Status != status {
			t.Errorf("%s: %d", path, a.Status)
		}
	}
	if a := s.Request(http.MethodPost, "/claim", nil, nil); a.Status != http.StatusMethodNotAllowed {
		t.Error(a.Status)
	}
}
