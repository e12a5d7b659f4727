// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"horde/internal/api"
	"horde/internal/node"
	"horde/internal/node/nodetest"
	"horde/internal/web"
)

// chromium is the one browser that all tests share, each with a profile of its own in it.
var chromium struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

// browser starts the browser, or skips the test where there is none.
func browser(t *testing.T) context.Context {
	t.Helper()
	chromium.once.Do(func() {
		var path string
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if path, chromium.err = exec.LookPath(name); chromium.err == nil {
				break
			}
		}
		if chromium.err != nil {
			return
		}
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
			chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
		allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, cancel := chromedp.NewContext(allocator)
		chromium.ctx, chromium.stop = ctx, func() { cancel(); end() }
		chromium.err = chromedp.Do(ctx)
	})
	switch err := chromium.err; {
	case err != nil && os.Getenv("HORDE_TEST_REQUIRE") == "1":
		t.Fatalf("no browser: %v", err)
	case err != nil:
		t.Skipf("no browser: %v", err)
	}
	return chromium.ctx
}

// start starts a node with pages.
func start(t *testing.T, change ...func(*node.Config)) *nodetest.Server {
	return nodetest.Start(t, append([]func(*node.Config){func(c *node.Config) {
		c.Title = "Lantern Horde"
		c.Pages = func(n *node.Node, r *api.Router) {
			web.Mount(web.Site{
				Title: n.Title, Version: n.Version, PublicURL: n.PublicURL, Accounts: n.Engine, NoAnonymous: n.NoAnonymous, Log: n.Log,
				Ratings: n.RatingsPath(),
			}, r)
		}
	}}, change...)...)
}

// device is what a page is looked at with.
type device struct {
	width, height int64
	dark          bool
}

var (
	phone   = device{width: 360, height: 740}
	tablet  = device{width: 768, height: 1024}
	desktop = device{width: 1440, height: 900}
)

// patience is how long anything on a page may take: much more than it does, for machines that are busy.
const patience = time.Minute

// tab is a page in a profile of its own. When its test ends, it fails the test if the page talked to anybody but the
// node, or if its script or its policy had something to complain about.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string

	mu         sync.Mutex
	requests   []string
	complaints []string
	tolerated  []string // parts of complaints that belong to the test
	origins    []string // others that the test goes to
}

func open(t *testing.T, s *nodetest.Server, d device) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser(t), chromedp.WithNewBrowserContext())
	b := &tab{t: t, ctx: ctx, url: s.URL}
	t.Cleanup(func() {
		cancel()
		b.verdict()
	})
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatalf("browser: %v", err)
	}
	must(b, network.Enable, network.EnableParams{})
	must(b, log.Enable, cdp.Empty{})
	must(b, runtime.Enable, cdp.Empty{})
	b.on(d)
	return b
}

// on goes on with another device.
func (b *tab) on(d device) {
	b.t.Helper()
	scheme := "light"
	if d.dark {
		scheme = "dark"
	}
	must(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: d.width, Height: d.height, DeviceScaleFactor: 1, Mobile: d.width < 600,
	})
	must(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// must runs a command of the browser's protocol.
func must[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	answer, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatalf("browser: %v", err)
	}
	return answer
}

func (b *tab) event(e any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := e.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.complaints = append(b.complaints, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			b.complaints = append(b.complaints, fmt.Sprint("console: ", e.Args))
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	}
}

func (b *tab) verdict() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, url := range b.requests {
		own := func(origin string) bool { return strings.HasPrefix(url, origin+"/") }
		if !own(b.url) && !slices.ContainsFunc(b.origins, own) && !strings.HasPrefix(url, "data:") {
			b.t.Errorf("the page asked %s", url)
		}
	}
complaint:
	for _, c := range b.complaints {
		for _, part := range b.tolerated {
			if strings.Contains(c, part) {
				continue complaint
			}
		}
		b.t.Errorf("the browser complains: %s", c)
	}
}

// elsewhere lets the browser go to another origin.
func (b *tab) elsewhere(origin string) { b.origins = append(b.origins, origin) }

// tolerate lets complaints pass that hold a text.
func (b *tab) tolerate(part string) { b.tolerated = append(b.tolerated, part) }

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for tries := 1; ; tries++ {
		err := chromedp.Do(ctx, actions...)
		if err == nil {
			return
		}
		// What the page drew anew between finding an element and using it is found again, as a person would.
		if tries == 5 || !strings.Contains(err.Error(), "Could not find node") {
			b.shot("failed")
			b.t.Fatalf("browser: %v", err)
		}
	}
}

func (b *tab) visit(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.url + path))
}

// click and fill do what a person does with the first element that a CSS selector finds.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

func (b *tab) fill(selector, value string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.CSS(selector), value))
}

func (b *tab) typeInto(selector, keys string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS(selector), keys))
}

func (b *tab) press(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// see evaluates an expression in the page.
func see[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("browser: %s: %v", expression, err)
	}
	return v
}

// until waits until an expression is true in the page. What it reads may be absent, or on a page that is only just
// loading. chromedp's own way of waiting makes functions of text, which the policy of the pages forbids.
func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			b.shot("failed")
			b.t.Fatalf("waited for %s: %v\nthe page says: %s", expression, err, see[string](b, "document.body.innerText"))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// text is what an element says; "" when it is hidden.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return see[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? '(absent)'", selector))
}

// shot keeps a picture of the whole page in the directory HORDE_TEST_SCREENSHOTS, if there is one, to be looked at.
func (b *tab) shot(name string) {
	dir := os.Getenv("HORDE_TEST_SCREENSHOTS")
	if dir == "" {
		return
	}
	beyond := true
	answer, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &beyond})
	if err != nil {
		b.t.Logf("screenshot: %v", err)
		return
	}
	file := strings.ReplaceAll(b.t.Name(), "/", "_") + "-" + name + ".png"
	if err := os.WriteFile(filepath.Join(dir, file), answer.Data, 0o600); err != nil {
		b.t.Logf("screenshot: %v", err)
	}
}
