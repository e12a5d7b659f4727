// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"horde/internal/fediseer/fediversetest"
)

// No page is wider than a small phone, whatever strangers call their software, and table headers are not cut into pieces.
func TestPagesFitPhones(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	s := fediversetest.Start(t, nil)
	long := strings.Repeat("a", 60)
	s.Claim("a.test", "b.test", "d.test", "g.test", "c.test")
	s.Guarantee("fediseer.com", "a.test", "b.test", "c.test")
	s.Guarantee("a.test", "d.test")
	s.Guarantee("b.test", "g.test")
	s.Net.Add(fediversetest.Host{Domain: "typed.test", Software: strings.Repeat("soft", 40), Version: strings.Repeat("9", 250), Admins: []string{"boss"}})
	for _, judge := range []string{"d.test", "g.test"} {
		s.Says("Changed", judge, http.MethodPut, "/censures/typed.test", map[string]string{"reason": "Spam, open regs", "evidence": "https://x.test/" + strings.Repeat(long, 8)})
		s.Says("Changed", judge, http.MethodPut, "/censures/"+long+"."+long+"."+long+".test", map[string]string{"reason": long + long, "evidence": "seen " + judge})
		s.Says("Changed", judge, http.MethodPut, "/hesitations/typed.test", map[string]string{"reason": long})
	}
	s.Says("Changed", "a.test", http.MethodPut, "/tags", map[string]string{"tags_csv": strings.Repeat("t", 80)})
	run := runner(ctx, t)
	const list = "/lists?kind=censures&domains=d.test,g.test&min=1"
	shots := os.Getenv("FEDISEER_SCREENSHOTS")
	for _, p := range []string{"/", "/instances", "/instances?guarantors=0", "/instances/b.test", "/instances/typed.test", "/instances/nowhere." + long + ".test", list, "/lists",
		"/solicitations", "/suspicions", "/reports", "/claim?domain=" + long, "/admin", "/faq/", "/faq/deu", "/faq/ell", "/api/"} {
		run(p, do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile)), visit(s.URL()+p), holds(`document.readyState === "complete"`))
		if p == "/api/" {
			run(p, says("#ui", "/censures_given/{domain}"))
		}
		if p == "/admin" {
			run(p, choose(`#login input`, s.Keys["d.test"]), click(`#login button`), says("#mine", "typed.test: Spam"))
		}
		var width int
		run(p, evaluated(`document.documentElement.scrollWidth`, &width))
		if width > 360 {
			var wide string
			run(p, evaluated(`[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > 361).slice(0, 5).map((e) => e.outerHTML.slice(0, 80)).join("\n")`, &wide))
			t.Errorf("%s is %d wide:\n%s", p, width, wide)
		}
		if shots != "" {
			var png []byte
			run(p, do(chromedp.Sleep(200*time.Millisecond)), into(chromedp.FullScreenshot(100), &png))
			if err := os.WriteFile(shots+"/phone"+strings.NewReplacer("/", "_", "?", "_").Replace(p[:min(len(p), 40)])+".png", png, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, width := range []int64{360, 500} {
		var tall string
		run("headers", do(chromedp.EmulateViewport(width, 740)), visit(s.URL()+list),
			evaluated(`[...document.querySelectorAll("th")].filter((e) => { const r = document.createRange(); r.selectNodeContents(e); return r.getClientRects().length !== 1; }).map((e) => e.textContent).join(" ")`, &tall))
		if tall != "" {
			t.Errorf("at %d, headers are broken: %s", width, tall)
		}
	}
	var labels, link string
	run("reasons are counted, evidence is linked",
		evaluated(`[...document.querySelectorAll("#list tr")].find((e) => e.textContent.includes("typed.test")).children[1].innerText`, &labels),
		evaluated(`[...document.querySelectorAll(".evidence a")].map((e) => e.rel + " " + e.protocol).join()`, &link))
	if got := strings.Join(strings.Fields(labels), " "); got != "spam ×2 open regs ×2" {
		t.Errorf("reasons: %q", got)
	}
	if want := "nofollow ugc noopener noreferrer https:"; link != want && link != want+","+want {
		t.Errorf("links: %q", link)
	}
}

// In the picture every instance but the topmost hangs on its guarantor: a line begins at the guarantor's box and ends at its own.
func TestChainIsConnected(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	s := fediversetest.Start(t, nil)
	s.Claim("a.test", "b.test", "c.test", "d.test")
	s.Guarantee("fediseer.com", "a.test", "b.test", "c.test")
	s.Guarantee("b.test", "d.test")
	run := runner(ctx, t)
	for domain, want := range map[string]string{
		"b.test":       "fediseer.com>a.test a.test>b.test b.test>c.test b.test>d.test",
		"c.test":       "fediseer.com>a.test a.test>b.test b.test>c.test",
		"fediseer.com": "fediseer.com>a.test",
	} {
		var got string
		run(domain, visit(s.URL()+"/instances/"+domain), evaluated(fmt.Sprintf(`(() => {
			const boxes = [...document.querySelectorAll("svg.chain a")];
			const at = (p) => boxes.find((a) => { const b = a.querySelector("rect").getBBox(); return p.x >= b.x && p.x <= b.x + b.width && p.y >= b.y && p.y <= b.y + b.height; })?.querySelector("title").textContent;
			return [...document.querySelectorAll("svg.chain path.edge")].map((e) => at(e.getPointAtLength(0)) + ">" + at(e.getPointAtLength(e.getTotalLength()))).join(%q);
		})()`, " "), &got))
		if got != want {
			t.Errorf("%s: %q, want %q", domain, got, want)
		}
	}
}
