// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"bytes"
	"compress/gzip"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/alecthomas/kong"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
	program "horde/internal/worker"
)

const browserAccepts = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// get asks as a browser does.
func get(t *testing.T, s *nodetest.Server, path string, header ...string) nodetest.Answer {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", browserAccepts)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return s.Do(req)
}

// signUp sends the form. A name of "-" leaves the field out, one of "%" is written as no form may be.
func signUp(t *testing.T, s *nodetest.Server, name string, header ...string) nodetest.Answer {
	t.Helper()
	form := url.Values{"username": {name}}
	if name == "-" {
		form = url.Values{"other": {"x"}}
	}
	body := form.Encode()
	if name == "%" {
		body = "username=%zz"
	}
	req, err := http.NewRequest(http.MethodPost, s.URL+"/register", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", browserAccepts)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return s.Do(req)
}

var newKey = regexp.MustCompile(`id="new-key"[^>]* value="([A-Za-z0-9_-]{22})"`)

func TestPagesSayWhatBrowsersMayDoWithThem(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *node.Config) { c.PublicURL = "https://horde.example/" })
	for _, path := range []string{"/", "/workers", "/api/", "/api"} {
		a := get(t, s, path)
		if a.Status != http.StatusOK || a.Header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %d %s", path, a.Status, a.Header.Get("Content-Type"))
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": "",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' https://horde.example; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if again := get(t, s, path, "If-None-Match", a.Header.Get("ETag")); again.Status != http.StatusNotModified {
			t.Errorf("%s: asking whether it has changed: %d", path, again.Status)
		}
		if strings.Contains(a.Text, "style=") || strings.Contains(a.Text, "<style") || regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(a.Text) {
			t.Errorf("%s has style or script in the page, which the policy forbids", path)
		}
		canonical := strings.TrimSuffix(path, "/")
		if path == "/" {
			canonical = "/"
		}
		if want := `<meta property="og:url" content="https://horde.example` + canonical + `">`; !strings.Contains(a.Text, want) {
			t.Errorf("%s has no %s", path, want)
		}
	}
}

func TestAPageWithAllItsFilesIsSmall(t *testing.T) {
	t.Parallel()
	s := start(t)
	const most = 60 << 10 // bytes, before compression
	page := get(t, s, "/")
	total, packed := len(page.Text), gzipped(page.Text)
	files := regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`).FindAllStringSubmatch(page.Text, -1)
	seen := map[string]bool{}
	for _, f := range files {
		if seen[f[1]] {
			continue
		}
		seen[f[1]] = true
		a := get(t, s, f[1])
		if a.Status != http.StatusOK || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || a.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %d %v", f[1], a.Status, a.Header)
		}
		total += len(a.Text)
		packed += gzipped(a.Text)
	}
	if len(seen) != 4 {
		t.Errorf("the page loads %d files: %v", len(seen), seen)
	}
	if total > most {
		t.Errorf("the page and its files have %d bytes, more than %d", total, most)
	}
	t.Logf("%d bytes, %d compressed", total, packed)
	if a := get(t, s, "/assets/page.css"); a.Status != http.StatusNotFound {
		t.Errorf("a file without its digest: %d", a.Status)
	}
	if a := get(t, s, "/favicon.ico"); a.Status != http.StatusOK || a.Header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("the icon: %d %s", a.Status, a.Header.Get("Content-Type"))
	}
	if a := get(t, s, "/robots.txt"); a.Status != http.StatusOK || !strings.Contains(a.Text, "Disallow: /api/v2/") {
		t.Errorf("robots.txt: %d %s", a.Status, a.Text)
	}
}

func gzipped(text string) int {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.Len()
}

func TestPeopleGetPagesAndProgramsGetDocuments(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, c := range []struct {
		path, accept string
		page         bool
	}{
		{"/no/such/page", browserAccepts, true},
		{"/assets/page.css", browserAccepts, true},
		{"/no/such/page", "*/*", false},
		{"/no/such/page", "application/json", false},
		{"/api/v2/no/such/operation", browserAccepts, false},
		{"/api/v2/users/99", browserAccepts, false},
		{"/api/v1", browserAccepts, false},
	} {
		a := get(t, s, c.path, "Accept", c.accept)
		if a.Status != http.StatusNotFound {
			t.Errorf("%s for %s: %d", c.path, c.accept, a.Status)
		}
		if page := strings.HasPrefix(a.Text, "<!doctype html>"); page != c.page || !page && a.Body["message"] == nil {
			t.Errorf("%s for %s: a page is %v, want %v: %.200s", c.path, c.accept, page, c.page, a.Text)
		}
	}
	req, _ := http.NewRequest(http.MethodDelete, s.URL+"/register", nil)
	req.Header.Set("Accept", browserAccepts)
	if a := s.Do(req); a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD, OPTIONS, POST" || !strings.Contains(a.Text, "<h1>") {
		t.Errorf("DELETE: %d, Allow %q, %.100s", a.Status, a.Header.Get("Allow"), a.Text)
	}
	req, _ = http.NewRequest(http.MethodHead, s.URL+"/", nil)
	if a := s.Do(req); a.Status != http.StatusOK || a.Text != "" {
		t.Errorf("HEAD: %d %q", a.Status, a.Text)
	}
}

func TestTheAddressOfTheVisitorIsOnThePagesAndHarmless(t *testing.T) {
	t.Parallel()
	s := start(t)
	if a := get(t, s, "/workers"); !strings.Contains(a.Text, "--horde-url "+s.URL+"<") {
		t.Error("the commands do not have the address by which the visitor came")
	}
	req, _ := http.NewRequest(http.MethodGet, s.URL+"/workers", nil)
	req.Host = `x"><script>alert(1)</script>`
	if a := s.Do(req); strings.Contains(a.Text, "<script>alert") {
		t.Errorf("the Host header gets through: %.300s", a.Text)
	}
}

func TestAHordeForMembersOffersNothingToTheAnonymous(t *testing.T) {
	t.Parallel()
	open, closed := start(t), start(t, func(c *node.Config) { c.NoAnonymous = true })
	offer := regexp.MustCompile(`need no account|do not need an account|without an account|0000000000|>anonymous<`)
	for _, path := range []string{"/", "/register", "/api/"} {
		if a := get(t, open, path); !offer.MatchString(a.Text) {
			t.Errorf("%s of an open horde offers nothing", path)
		}
		if found := offer.FindString(get(t, closed, path).Text); found != "" {
			t.Errorf("%s of a horde for members offers %q", path, found)
		}
	}
}

// commands are on the page about workers, by id.
var commands = regexp.MustCompile(`(?s)<pre id="c-(dreamer|scribe|check)"[^>]*>(.*?)</pre>`)

func TestTheCommandsOnThePageAreCommands(t *testing.T) {
	t.Parallel()
	s := start(t)
	found := commands.FindAllStringSubmatch(get(t, s, "/workers").Text, -1)
	if len(found) != 3 {
		t.Fatalf("the page has %d commands", len(found))
	}
	for _, c := range found {
		line := strings.ReplaceAll(html.UnescapeString(c[2]), "\\\n", "")
		var args []string
		for _, quoted := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(line, -1) {
			args = append(args, strings.Trim(quoted, "'"))
		}
		var cli struct {
			Worker program.Command `cmd:""`
		}
		parser, err := kong.New(&cli, kong.Name("horde"), kong.Exit(func(int) { t.Error("the command exits") }))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(args[1:]); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if cli.Worker.Kind != c[1] || cli.Worker.HordeURL != s.URL || !strings.HasPrefix(cli.Worker.WorkerName, "My ") {
			t.Errorf("%s: kind %q, horde %q, name %q", line, cli.Worker.Kind, cli.Worker.HordeURL, cli.Worker.WorkerName)
		}
	}
}

func TestEveryOperationIsExplained(t *testing.T) {
	t.Parallel()
	s := start(t)
	text := get(t, s, "/api/").Text
	items := regexp.MustCompile(`(?s)<li><p class="call">.*?</li>`).FindAllString(text, -1)
	if len(items) < 25 {
		t.Errorf("only %d operations are listed", len(items))
	}
	for _, item := range items {
		if !strings.Contains(item, `class="does"`) {
			t.Errorf("no word on what it does: %s", item)
		}
	}
	for _, want := range []string{"/api/v2/generate/async", "/api/v2/generate/text/pop", "/api/v2/workers/{worker_id}"} {
		if !strings.Contains(text, "<code>"+want+"</code>") {
			t.Errorf("%s is not listed", want)
		}
	}
	if strings.Contains(text, "<h3>More</h3>") {
		t.Error("some operations belong to no group")
	}
}

func TestRegistration(t *testing.T) {
	t.Parallel()
	s := start(t)
	accounts := func() int {
		return strings.Count(s.Call("GET", "/users", "", nil).Text, `"username"`)
	}
	before := accounts()
	for _, c := range []struct {
		it, name string
		header   []string
		status   int
		says     string
	}{
		{it: "refuses 300 characters with the limit", name: strings.Repeat("a", 300), status: 200, says: "1 to 30 characters"},
		{it: "refuses 100 emoji with the limit", name: strings.Repeat("🦊", 100), status: 200, says: "1 to 30 characters"},
		{it: "refuses 31 characters", name: strings.Repeat("é", 31), status: 200, says: "1 to 30 characters"},
		{it: "refuses an empty name", name: "", status: 200, says: "1 to 30 characters"},
		{it: "refuses white space", name: " \t ", status: 200, says: "1 to 30 characters"},
		{it: "refuses nothing but NUL", name: "\x00", status: 200, says: "1 to 30 characters"},
		{it: "refuses a name that is too long when it is made safe", name: strings.Repeat("&", 30), status: 200, says: "1 to 30 characters"},
		{it: "refuses profanity", name: "fuck this", status: 200, says: "without swear words"},
		{it: "demands the field", name: "-", status: 400, says: "no field"},
		{it: "demands a form", name: "x", header: []string{"Content-Type", "application/json"}, status: 400, says: "no field"},
		{it: "refuses a large form", name: strings.Repeat("a", 1<<20), status: 413, says: "could not be read"},
		{it: "refuses a broken form", name: "%", status: 400, says: "could not be read"},
		{it: "refuses other sites", name: "x", header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, says: "another site"},
		{it: "refuses other origins on this site", name: "x", header: []string{"Sec-Fetch-Site", "same-site"}, status: 403, says: "another site"},
		{it: "refuses other origins told the old way", name: "x", header: []string{"Origin", "https://evil.example"}, status: 403, says: "another site"},
		{it: "refuses origins that hide", name: "x", header: []string{"Origin", "null"}, status: 403, says: "another site"},
	} {
		a := signUp(t, s, c.name, c.header...)
		if a.Status != c.status || !strings.Contains(a.Text, c.says) || newKey.MatchString(a.Text) {
			t.Errorf("%s: %d %.2000s", c.it, a.Status, a.Text)
		}
		if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: headers %v", c.it, a.Header)
		}
	}
	if after := accounts(); after != before {
		t.Errorf("refusals made accounts: %s", s.Call("GET", "/users", "", nil).Text)
	}
	for _, c := range []struct {
		it, name, alias string
		header          []string
	}{
		{it: "takes 30 characters", name: strings.Repeat("é", 30), alias: strings.Repeat("é", 30) + "#1"},
		{it: "takes spaces around a name", name: "  Ada ", alias: "Ada#2"},
		{it: "takes the same name again", name: "Ada", alias: "Ada#3", header: []string{"Sec-Fetch-Site", "same-origin"}},
		{it: "takes its own origin", name: "Ada", alias: "Ada#4", header: []string{"Origin", s.URL}},
		{it: "makes tags harmless", name: "<b>x</b>", alias: "&lt;b&gt;x&lt;/b&gt;#5"},
	} {
		a := signUp(t, s, c.name, c.header...)
		key := newKey.FindStringSubmatch(a.Text)
		if a.Status != http.StatusOK || key == nil {
			t.Errorf("%s: %d %.2000s", c.it, a.Status, a.Text)
			continue
		}
		if u := s.Call("GET", "/find_user", key[1], nil); u.Body["username"] != c.alias || u.Body["pseudonymous"] != true {
			t.Errorf("%s: the key opens %s", c.it, u.Text)
		}
		if h := a.Header; h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("Location") != "" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s: headers %v", c.it, h)
		}
		if strings.Contains(a.Text, "<b>x") || strings.Contains(a.Text, "&amp;lt;") {
			t.Errorf("%s: the name is not escaped, or twice", c.it)
		}
	}
}

func TestRegistrationIsClosedInRaidMode(t *testing.T) {
	t.Parallel()
	s := start(t)
	yes := true
	if err := s.Engine.SetModes(t.Context(), engine.Authority{Operator: true}, &horde.ModesChange{RaidMode: &yes}); err != nil {
		t.Fatal(err)
	}
	a := signUp(t, s, "Ada")
	if a.Status != http.StatusOK || newKey.MatchString(a.Text) || !strings.Contains(a.Text, html.EscapeString(engine.ErrSignUpClosed.Message)) {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	if strings.Contains(strings.ToLower(a.Text), "raid") {
		t.Error("the page tells that raid mode is on")
	}
}

func TestRegistrationIsLimited(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *node.Config) { c.NoRateLimit = false })
	for i := range 5 {
		if a := signUp(t, s, "Ada"); a.Status != http.StatusOK || !newKey.MatchString(a.Text) {
			t.Fatalf("account %d: %d", i, a.Status)
		}
	}
	a := signUp(t, s, "Ada")
	if a.Status != http.StatusTooManyRequests || !strings.Contains(a.Text, "<h1>") || !strings.Contains(a.Text, "5 per 1 minute") || a.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", a.Status, a.Header, a.Text)
	}
	if a := get(t, s, "/register"); a.Status != http.StatusOK {
		t.Errorf("the form itself: %d", a.Status)
	}
}

// lines collects what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestAKeyIsInNoLog(t *testing.T) {
	t.Parallel()
	var log lines
	s := start(t, func(c *node.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	key := newKey.FindStringSubmatch(signUp(t, s, "Ada Lovelace").Text)
	if key == nil {
		t.Fatal("no account was made")
	}
	s.Call("GET", "/find_user", key[1], nil)
	if text := log.String(); !strings.Contains(text, "route=/register") || strings.Contains(text, key[1]) || strings.Contains(text, "Lovelace") {
		t.Errorf("the log: %s", text)
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
}
