// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
)

// withRoles makes an account with roles and returns its key.
func withRoles(t *testing.T, s *nodetest.Server, name string, kudos float64, roles horde.Roles) (horde.UserID, string) {
	t.Helper()
	v, key, err := s.Node.Engine.Register(context.Background(), engine.NewUser{Name: name, OAuthID: "g_" + name, Kudos: horde.NewKudos(kudos), Roles: roles})
	if err != nil {
		t.Fatal(err)
	}
	return v.User.ID, key
}

// moderationPage opens the page as a moderator.
func moderationPage(t *testing.T, s *nodetest.Server, key string, d device) *tab {
	t.Helper()
	b := open(t, s, d)
	b.visit("/moderation")
	sure(b)
	b.typeInto("#key", key+"\n")
	b.until("document.body.dataset.ready === 'yes'")
	return b
}

// sure answers yes to whatever the page asks.
func sure(b *tab) { see[bool](b, "(window.confirm = () => true)()") }

func TestModeratorsDoAllOnTheirPage(t *testing.T) {
	t.Parallel()
	browser(t)
	s := start(t, func(c *node.Config) { c.Admins = []horde.UserID{1} })
	_, mod := withRoles(t, s, "Mira", 0, horde.Moderator)
	user, userKey := withRoles(t, s, "Ulf", 1000, 0)
	call := func(method, path string, body any) nodetest.Answer { return s.Call(method, path, mod, body) }
	pop := s.Call("POST", "/generate/pop", userKey, map[string]any{"name": "Ulf's <b>worker</b>", "models": []string{"Deliberate"}, "max_pixels": 3072*3072 + 64})
	if pop.Status != http.StatusOK {
		t.Fatal(pop.Text)
	}

	b := moderationPage(t, s, mod, desktop)
	if key := see[string](b, "document.documentElement.outerHTML"); strings.Contains(key, mod) {
		t.Error("the key is in the page")
	}
	said := func(part string) {
		t.Helper()
		b.until(fmt.Sprintf("document.querySelector('#said').textContent.includes(%q)", part))
	}

	// Filters: two are added, one is changed and one removed; a prompt is tested; the expressions are shown.
	for _, f := range [][2]string{{"vermillex", "20"}, {"zebracorn", "10"}, {"mistake", "11"}} {
		b.fill("#filter-regex", f[0])
		b.fill("#filter-type", f[1])
		b.click("#filter-save")
		b.until(fmt.Sprintf("document.querySelector('#filter-list').textContent.includes(%q)", f[0]))
	}
	b.fill("#filter-regex", "(")
	b.click("#filter-save")
	said("cannot be a filter")
	b.tolerate("status of 400")
	b.click("#filter-list tbody tr:nth-child(2) button")
	b.fill("#filter-replacement", "horse")
	b.fill("#filter-description", "<i>an animal</i>")
	b.click("#filter-save")
	b.until("document.querySelector('#filter-list').textContent.includes('<i>an animal</i>')")
	b.click("#filter-list tbody tr:nth-child(3) button + button")
	b.until("!document.querySelector('#filter-list').textContent.includes('mistake')")
	b.fill("#test-prompt", "a zebracorn v e r m i l l e x")
	b.click("#test-form button")
	b.until("document.querySelector('#test-result').textContent.includes('Suspicion 2')")
	if text := b.text("#test-result"); !strings.Contains(text, "would be stopped") || !strings.Contains(text, "zebracorn, vermillex") {
		t.Errorf("got %q", text)
	}
	if a := call("GET", "/filters/2", nil); a.Body["replacement"] != "horse" {
		t.Errorf("got %s", a.Text)
	}
	b.click("#filters summary")
	if text := b.text("#filter-regexes"); !strings.Contains(text, "vermillex") || !strings.Contains(text, "zebracorn") {
		t.Errorf("got %q", text)
	}

	// A prompt is refused, and is seen on the page with its time-out; a note keeps it.
	refused := s.Call("POST", "/generate/async", userKey, map[string]any{"prompt": "zebracorn vermillex <script>", "replacement_filter": false})
	if refused.Status != http.StatusBadRequest {
		t.Fatal(refused.Text)
	}
	b.click("#prompt-search button")
	b.until("document.querySelector('#prompt-list').textContent.includes('zebracorn vermillex <script>')")
	b.typeInto("#note-1", "spoken to\n")
	b.until("document.querySelector('#prompt-list .written')?.textContent.includes('spoken to')")

	// Addresses: one is blocked, looked up and freed, and the caller's own time-out is lifted.
	b.fill("#block-address", "203.0.113.0/24")
	b.fill("#block-hours", "48")
	b.click("#block-form button[value=block]")
	said("203.0.113.0/24 is blocked")
	b.until("document.querySelectorAll('#address-list tbody tr').length === 2")
	b.fill("#block-address", "203.0.113.77")
	b.click("#block-form button[value=look]")
	b.until("document.querySelector('#address-result').textContent.includes('2 days')")
	b.shot("desk")
	for _, left := range []int{1, 0} {
		b.click("#address-list tbody button")
		b.until(fmt.Sprintf("document.querySelectorAll('#address-list tbody button').length === %d", left))
	}
	if a := call("GET", "/operations/ipaddr?callers=true", nil); a.Text != "[]" {
		t.Errorf("got %s", a.Text)
	}

	// Users: found among the suspicious, changed, reset.
	b.visit("/moderation")
	sure(b)
	b.until("document.body.dataset.ready === 'yes'")
	b.until("document.querySelector('#user-list').textContent.includes('Ulf#2')")
	b.fill("#user-id", "Ulf#2")
	b.click("#user-search button")
	b.until("document.querySelector('#user-open')")
	b.click("#role-customizer")
	b.fill("#user-comment", "a friendly person")
	b.fill("#user-invited", "7")
	b.click("#user-open .actions button")
	said("was changed")
	if a := call("GET", fmt.Sprint("/users/", user), nil); a.Body["customizer"] != true || a.Body["admin_comment"] != "a friendly person" || a.Body["worker_invited"] != 7.0 {
		t.Errorf("got %s", a.Text)
	}
	b.click("#user-list tbody button + button")
	b.until("document.querySelector('#user-list').textContent.includes('No account is suspicious.')")
	if a := call("GET", fmt.Sprint("/users/", user), nil); a.Body["suspicious"] != 0.0 {
		t.Errorf("got %s", a.Text)
	}

	// Workers: looked for by name, paused and put into maintenance, and its address blocked.
	b.fill("#worker-name", "Ulf's <b>worker</b>")
	b.click("#worker-search button")
	b.until("document.querySelector('#worker-open')")
	b.click("#worker-paused")
	b.click("#worker-maintenance")
	b.fill("#worker-message", "Please call us.")
	b.click("#worker-open .actions button")
	said("was changed")
	id := see[string](b, "document.querySelector('#worker-open') && ''") + ulfsWorker(t, s, mod)
	if a := call("GET", "/workers/"+id, nil); a.Body["paused"] != true || a.Body["maintenance_mode"] != true {
		t.Errorf("got %s", a.Text)
	}
	b.until("document.querySelector('#worker-list').textContent.includes('paused, maintenance')")
	b.click("#worker-open .actions button:nth-child(2)")
	said("is blocked")
	b.click("#worker-open .actions button:nth-child(3)")
	said("is free again")
	if text := b.text("#report-list"); !strings.Contains(text, "EXTREME_MAX_PIXELS") {
		t.Errorf("got %q", text)
	}

	// Modes.
	b.click("#raid_mode")
	b.click("#invite_only_mode")
	b.click("#modes-form button")
	said("raid mode on, invite only mode on")
	if a := call("GET", "/status/modes", nil); a.Body["raid_mode"] != true || a.Body["invite_only_mode"] != true {
		t.Errorf("got %s", a.Text)
	}
	b.shot("desk-later")

	// It fits, and can be read and used with a screen reader.
	for name, d := range map[string]device{"phone": phone, "desktop": desktop} {
		for _, d.dark = range []bool{false, true} {
			b.on(d)
			if over := see[int64](b, "document.documentElement.scrollWidth") - d.width; over > 0 {
				t.Errorf("%s: %d pixels too wide", name, over)
			}
			if pale := see[[]string](b, faint); len(pale) > 0 {
				t.Errorf("%s: text that is hard to read: %q", name, pale)
			}
			b.shot(fmt.Sprintf("%s-%t", name, d.dark))
		}
	}
	if bare := see[[]string](b, unlabelled); len(bare) > 0 {
		t.Errorf("fields without a label: %q", bare)
	}

	// Leaving forgets the key.
	b.on(desktop)
	b.click("#leave")
	b.until("document.querySelector('#desk')?.hidden && !document.querySelector('#enter').hidden && !sessionStorage.getItem('horde-moderator-key')")
}

// TestModeratorsFollowWhatTheySee presses the buttons that lead from one thing to another, and those that end something.
func TestModeratorsFollowWhatTheySee(t *testing.T) {
	t.Parallel()
	browser(t)
	s := start(t, func(c *node.Config) {
		c.Admins, c.NoRateLimit = []horde.UserID{1}, true
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	_, mod := withRoles(t, s, "Mira", 0, horde.Moderator)
	user, userKey := withRoles(t, s, "Ulf", 1000, 0)
	from := func(address, path, key, body string) nodetest.Answer {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, s.URL+"/api/v2"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("apikey", key)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-For", address)
		return s.Do(req)
	}
	for kind, regex := range map[int]string{10: "zebracorn", 20: "vermillex"} {
		s.Call("PUT", "/filters", mod, map[string]any{"regex": regex, "filter_type": kind})
	}
	// More prompts, and more reports, than a page has, the last of a worker about a text.
	const promptsShown, reportsShown = 25, 50
	for i := range promptsShown {
		if a := from(fmt.Sprintf("203.0.113.%d", i), "/generate/async", userKey, `{"prompt":"zebracorn vermillex","replacement_filter":false}`); a.RC() != "CorruptPrompt" {
			t.Fatal(a.Text)
		}
	}
	for i := range reportsShown + 1 {
		_, key := withRoles(t, s, fmt.Sprint("Owner", i), 0, 0)
		if a := from("198.51.100.1", "/generate/pop", key, fmt.Sprintf(`{"name":"Huge %d","models":["Deliberate"],"max_pixels":9437248}`, i)); a.Status != http.StatusOK {
			t.Fatal(a.Text)
		}
	}
	if a := from("203.0.113.200", "/generate/text/async", userKey, `{"prompt":"a tale","models":["m/x"]}`); a.Status != http.StatusAccepted {
		t.Fatal(a.Text)
	}
	_, scribe := withRoles(t, s, "Scribe", 0, horde.Trusted)
	job := from("198.51.100.2", "/generate/text/pop", scribe, `{"name":"Pen","models":["m/x"],"max_context_length":4096}`)
	report := map[string]any{"id": job.Body["id"], "generation": "x", "seed": 1, "gen_metadata": []map[string]any{{"type": "censorship", "value": "csam"}}}
	if a := s.Call("POST", "/generate/text/submit", scribe, report); a.Status != http.StatusOK {
		t.Fatal(job.Text, a.Text)
	}

	b := moderationPage(t, s, mod, desktop)
	// A button is pressed where and when it is found, in one go: what was pressed before may still draw the page anew, and keeps its
	// own button from being pressed until it has.
	const still = "!document.querySelector('button:disabled')"
	press := func(within, label string) {
		t.Helper()
		b.until(fmt.Sprintf(`%s && (() => {
			const found = [...document.querySelectorAll(%q)].find(x => x.textContent === %q);
			found?.click();
			return found;
		})()`, still, within+" button", label))
	}
	shows := func(selector, part string) {
		t.Helper()
		b.until(fmt.Sprintf("document.querySelector(%q)?.textContent.includes(%q)", selector, part))
	}

	// A filter is opened, and left as it is.
	press("#filter-list", "Edit")
	b.until("document.querySelector('#filter-regex').value && !document.querySelector('#filter-cancel').hidden")
	b.click("#filter-cancel")
	b.until("!document.querySelector('#filter-regex').value && document.querySelector('#filter-cancel').hidden")

	// An address is blocked, and freed with the form.
	b.fill("#block-address", "192.0.2.0/24")
	b.click("#block-form button[value=block]")
	shows("#address-list", "192.0.2.0/24")
	b.click("#block-form button[value=unblock]")
	b.until("!document.querySelector('#address-list').textContent.includes('192.0.2.0/24')")

	// What is older comes behind what is there.
	for list, more := range map[string]string{"#prompt-list article": "#prompt-more", "#report-list tbody tr": "#report-more"} {
		before := see[int64](b, fmt.Sprintf("document.querySelectorAll(%q).length", list))
		b.click(more)
		b.until(fmt.Sprintf("document.querySelectorAll(%q).length > %d && document.querySelector(%q).hidden", list, before, more))
	}

	// From a prompt to its note, who sent it and who reported it, from there to the reports and back to an owner.
	b.fill("#prompt-list article input", "looked into")
	press("#prompt-list article", "Write")
	shows("#prompt-list .written", "looked into")
	press("#prompt-list article", "User")
	shows("#user-open h3", "Ulf#2")
	press("#prompt-list article", "Worker")
	shows("#worker-open h3", "Pen")
	press("#worker-open", "Its reports")
	b.until("document.querySelectorAll('#report-list tbody tr').length === 1")
	shows("#report-list", "Pen")
	press("#worker-open", "Its owner")
	shows("#user-open h3", "Scribe")
	press("#user-open", "Their prompts")
	shows("#prompt-list", "There are none.")

	// From the lists to a worker and to an account, and to its worker.
	b.visit("/moderation")
	sure(b)
	b.until("document.body.dataset.ready === 'yes'")
	press("#report-list", "Huge 50")
	shows("#worker-open h3", "Huge 50")
	press("#report-list", "User 53")
	shows("#user-open h3", "Owner50#53")
	press("#user-list", "Open")
	shows("#user-open h3", "#")
	press("#worker-list", "Open")
	shows("#worker-open h3", "Huge")
	press("#report-list", "User 53")
	shows("#user-open h3", "Owner50#53")
	press("#user-open", "Reset suspicions")
	shows("#user-open .muted", " 0 suspicions")
	worker := see[string](b, "[...document.querySelectorAll('#user-open button')].find(x => x.textContent.startsWith('Worker ')).textContent")
	press("#user-open", worker)
	shows("#worker-open h3", "Huge 50")
	press("#worker-open", "Remove")
	shows("#said", "was removed")
	b.until("!document.querySelector('#worker-open')")
	if a := s.Call("GET", "/workers/name/Huge%2050", mod, nil); a.Status != http.StatusNotFound {
		t.Errorf("the worker is there: %s", a.Text)
	}

	// An account is made a moderator and marked for deletion, is not erased before its time, and is kept after all.
	b.fill("#user-id", fmt.Sprint(user))
	b.click("#user-search button")
	shows("#user-open h3", "Ulf#2")
	b.until(still)
	b.click("#role-moderator")
	press("#user-open", "Save")
	shows("#said", "was changed")
	b.until(still)
	if a := s.Call("GET", fmt.Sprint("/users/", user), mod, nil); a.Body["moderator"] != true {
		t.Errorf("got %s", a.Text)
	}
	b.click("#role-moderator")
	press("#user-open", "Save")
	b.until(still + " && document.querySelector('#role-moderator') && !document.querySelector('#role-moderator').checked")
	press("#user-open", "Mark for deletion")
	shows("#said", "is marked")
	b.tolerate("status of 40")
	press("#user-open", "Erase for good")
	b.until("document.querySelector('#said').className.includes('bad')")
	press("#user-open", "Keep the account")
	shows("#said", "is kept")
	if a := s.Call("GET", fmt.Sprint("/users/", user), mod, nil); a.Body["deleted"] == true {
		t.Errorf("got %s", a.Text)
	}

	// An admin stops all, and goes on.
	for _, on := range []bool{true, false} {
		b.click("#maintenance_mode")
		b.click("#modes-form button")
		shows("#said", "mode")
		b.until(fmt.Sprintf("fetch('/api/v2/status/modes').then(r => r.json()).then(m => window.maintenance = m.maintenance_mode) && window.maintenance === %t", on))
	}
}

func ulfsWorker(t *testing.T, s *nodetest.Server, key string) string {
	t.Helper()
	a := s.Call("GET", "/workers/name/"+url.PathEscape("Ulf's &lt;b&gt;worker&lt;/b&gt;"), key, nil)
	id, _ := a.Body["id"].(string)
	if id == "" {
		t.Fatal(a.Text)
	}
	return id
}

func TestOnlyModeratorsEnter(t *testing.T) {
	t.Parallel()
	browser(t)
	s := start(t)
	_, key := withRoles(t, s, "Ulf", 0, horde.Trusted)
	b := open(t, s, phone)
	b.tolerate("status of 404")
	b.visit("/moderation")
	b.typeInto("#key", key+"\n")
	b.until("document.querySelector('#said').textContent.includes('no moderator')")
	see[string](b, "document.querySelector('#key').value = ''")
	b.typeInto("#key", "nonsense\n")
	b.until("document.querySelector('#said').className.includes('bad') && !document.querySelector('#said').textContent.includes('no moderator')")
	if !see[bool](b, "document.querySelector('#desk').hidden && !sessionStorage.getItem('horde-moderator-key')") {
		t.Error("somebody is in")
	}
}
