// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"horde/internal/api"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/web"
)

const landingPage = `# {page_title}

{horde_image}

{image_workers} image workers with {image_worker_threads} threads, {text_workers} text workers with {text_worker_threads},
{interrogation_workers} alchemists with {interrogation_worker_threads}.

Texts: {total_text_fulfillments}{total_text_fulfillments_char} of {total_text_things} {total_text_things_name}, {avg_text_performance}
{avg_text_thing_name} a second, {total_text_queue} of {queued_text_things} {queued_text_things_name} wait. Images:
{total_image_fulfillments}{total_image_fulfillments_char} of {total_image_things} {total_total_image_things_name}, {avg_performance}
{avg_thing_name} a second, {total_image_queue} of {queued_image_things} {queued_image_things_name} wait. Forms:
{total_forms}{total_forms_char}, {total_forms_queue} wait. Maintenance is {maintenance_mode}.

{news}
`

// TestAFrontPageOfTheOperatorShowsFigures serves one where the program's would be, after a text was made and while others wait.
func TestAFrontPageOfTheOperatorShowsFigures(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "index.md")
	if err := os.WriteFile(file, []byte(landingPage), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *node.Config) {
		c.LandingFile, c.Title = file, "Our horde"
		c.Pages = func(n *node.Node, r *api.Router) {
			web.Mount(web.Site{Title: n.Title, Version: n.Version, Accounts: n.Engine, Landing: n.Landing}, r)
		}
	})
	_, owner := s.User("owner", 0, horde.Trusted)
	pop := `{"name":"scribe","models":["m/x"],"max_context_length":4096,"threads":2}`
	submit := func(length string) {
		s.Call("POST", "/generate/text/async", horde.AnonymousKey, `{"prompt":"Once","params":{"max_length":`+length+`},"models":["m/x"]}`)
	}
	submit("80")
	j := s.Call("POST", "/generate/text/pop", owner, pop)
	if a := s.Call("POST", "/generate/text/submit", owner, map[string]any{"id": j.Body["id"], "generation": strings.Repeat("word", 60), "seed": nil}); a.Status != http.StatusOK {
		t.Fatalf("submit: %d %s", a.Status, a.Text)
	}
	for range 3 {
		submit("500")
	}
	a := get(t, s, "/")
	for _, want := range []string{
		"<h1>Our horde</h1>", `alt="Our horde"`, "0 image workers with 0 threads, 1 text workers with 2,", "0 alchemists with 0.",
		"Texts: 1 of 80 tokens, ", "3 of 1.5 kilotokens wait", "0 of 0 pixelsteps, 0\npixelsteps a second, 0 of 0 pixelsteps wait",
		"Maintenance is off", `<a href="/privacy">`, `<a href="/terms">`,
	} {
		if !strings.Contains(a.Text, want) {
			t.Errorf("no %q in %s", want, a.Text[strings.Index(a.Text, "<main"):])
		}
	}
	if a.Status != http.StatusOK || strings.Contains(a.Text, "{") && strings.Contains(a.Text, "_name}") {
		t.Errorf("%d, or a place was left", a.Status)
	}
}

// TestAFrontPageShowsASearchEngineWhoseItIs looks for the mark on the front pages and on no other, and for the word for a horde.
func TestAFrontPageShowsASearchEngineWhoseItIs(t *testing.T) {
	t.Parallel()
	own := func(context.Context, string, string) (string, error) { return "<p>Ours</p>", nil }
	for name, landing := range map[string]web.Landing{"built-in": nil, "the operator's": own} {
		r := api.NewRouter(api.Options{})
		web.Mount(web.Site{Title: "x", Noun: "kraal", SiteVerification: `a"b`, Landing: landing}, r)
		page := func(path string) string {
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			return w.Body.String()
		}
		const mark = `<meta name="google-site-verification" content="a&#34;b">`
		if front := page("/"); !strings.Contains(front, mark) || landing == nil && !strings.Contains(front, "In a kraal, those") {
			t.Errorf("the %s front page has no mark, or another word: %.2000s", name, front)
		}
		if other := page("/workers"); strings.Contains(other, "site-verification") || !strings.Contains(other, "unique in a kraal") {
			t.Errorf("beside the %s front page: %.2000s", name, other)
		}
	}
}

// TestANodeWithoutAnEngineLeavesTheFrontPageToTheLeader mounts neither page.
func TestANodeWithoutAnEngineLeavesTheFrontPageToTheLeader(t *testing.T) {
	t.Parallel()
	r := api.NewRouter(api.Options{})
	web.Mount(web.Site{Title: "x", NoHome: true}, r)
	for _, route := range r.Routes("") {
		if route.Path == "/{$}" {
			t.Error("the front page is served")
		}
	}
}
