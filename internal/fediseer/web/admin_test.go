// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"net/http"
	"testing"

	"horde/internal/fediseer/fediversetest"
	"horde/internal/fediseer/server"
)

// A change on the admin page keeps what is stored for fields that are left empty, and takes it away only when asked to.
func TestChangeKeepsWhatIsNotFilled(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	s := fediversetest.Start(t, nil)
	s.Claim("a.test")
	s.Guarantee("fediseer.com", "a.test")
	s.Says("Changed", "a.test", http.MethodPut, "/censures/evil.test", map[string]string{"reason": "<b>spam</b> & <i>bots</i>", "evidence": "seen"})
	stored := func() (reason, evidence any) {
		item := s.Expect(http.StatusOK, fediversetest.NoKey, http.MethodGet, "/censures_given/a.test", nil).Items()[0]
		first := func(list any) any {
			if l, _ := list.([]any); len(l) > 0 {
				return l[0]
			}
			return ""
		}
		return first(item["censure_reasons"]), first(item["censure_evidence"])
	}
	run := runner(ctx, t)
	const form = `form[data-act=judge] `
	run("log in", visit(s.URL()+"/admin"), choose(`#login input`, s.Keys["a.test"]), click(`#login button`), says("#result", "Logged in"))
	run("reasons are shown without markup", says("#mine", "evil.test: spam & bots"))
	run("a new reason", choose(form+`input[name=domain]`, "evil.test"), choose(form+`input[name=reason]`, "trolls"), click(form+`button[value=PATCH]`), says("#mine", "evil.test: trolls"))
	if reason, evidence := stored(); reason != "trolls" || evidence != "seen" {
		t.Errorf("after a new reason: %q, %q", reason, evidence)
	}
	run("no evidence any more", holds(`(document.querySelector("`+form+`input[name=reason]").value = "", true)`), click(form+`input[name=clear_evidence]`), click(form+`button[value=PATCH]`), says("#result", "Done"))
	if reason, evidence := stored(); reason != "trolls" || evidence != "" {
		t.Errorf("after the evidence was removed: %q, %q", reason, evidence)
	}
	run("the box is empty again", holds(`!document.querySelector("`+form+`input[name=clear_evidence]").checked`))
}

// Messages through a Mastodon account are offered only where there is one, and settings that are not touched stay.
func TestProxyOffered(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	for _, c := range []struct {
		name, account string
		offered       bool
	}{{"without", "", false}, {"with", "https://masto.test", true}} {
		t.Run(c.name, func(t *testing.T) {
			s := fediversetest.Start(t, func(cfg *server.Config) { cfg.MastodonURL = c.account })
			s.Claim("a.test")
			run := runner(ctx, t)
			var claim string
			var options int
			run("claim", visit(s.URL()+"/claim"), evaluated(`document.querySelector("main").innerText`, &claim), evaluated(`document.querySelectorAll("#claim option").length`, &options),
				holds(`new FormData(document.querySelector("#claim")).get("pm_proxy") === "NONE"`))
			if (options > 0) != c.offered {
				t.Errorf("%d ways to send messages are offered: %s", options, claim)
			}
			const box = `form[data-act=settings] select[name=pm_proxy]`
			run("settings", visit(s.URL()+"/admin"), choose(`#login input`, s.Keys["a.test"]), click(`#login button`), says("#result", "Logged in"), holds(`document.querySelector("`+box+`").value === ""`))
			var disabled bool
			run("the choice", evaluated(`document.querySelector("`+box+` option[value=MASTODON]").disabled`, &disabled),
				choose(box, "NONE"), click(`form[data-act=settings] button`), says("#result", "It was so already"))
			if disabled == c.offered {
				t.Error("disabled:", disabled)
			}
			if c.offered {
				// The choice is sent: the service answers that messages to a Lemmy instance cannot go this way.
				run("change", choose(box, "MASTODON"), click(`form[data-act=settings] button`), holds(`/private message was not delivered|proxy MASTODON/.test(document.querySelector("#result").textContent)`), holds("(sessionStorage.clear(), true)"))
			} else {
				run("log out", holds("(sessionStorage.clear(), true)"))
			}
		})
	}
}
