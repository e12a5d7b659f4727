// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/fediseer"
	"horde/internal/fediseer/fediversetest"
)

// fakeLemmy is a Lemmy server as its documented API v3 describes it.
type fakeLemmy struct {
	mu      sync.Mutex
	version string
	mode    string
	admin   bool
	blocked []string
	puts    []map[string]any
}

func (l *fakeLemmy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	fail := func(status int, text string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": text})
	}
	old := strings.HasPrefix(l.version, "0.18")
	authorized := r.Header.Get("Authorization") == "Bearer jwt" && (!old || r.URL.Query().Get("auth") == "jwt" || body["auth"] == "jwt")
	switch r.Method + " " + r.URL.Path {
	case "POST /api/v3/user/login":
		switch {
		case body["username_or_email"] != "boss" || body["password"] != "secret":
			fail(401, "incorrect_login")
		case body["totp_2fa_token"] != "123456":
			fail(400, "missing_totp_token")
		default:
			_ = json.NewEncoder(w).Encode(map[string]string{"jwt": "jwt"})
		}
	case "GET /api/v3/site":
		admins := []any{}
		if l.admin {
			admins = append(admins, map[string]any{"person": map[string]string{"name": "boss"}})
		}
		doc := map[string]any{"version": l.version, "admins": admins, "site_view": map[string]any{"local_site": map[string]any{"registration_mode": l.mode, "application_question": "why?"}}}
		if authorized {
			doc["my_user"] = map[string]any{"local_user_view": map[string]any{"person": map[string]string{"name": "boss"}}}
		}
		_ = json.NewEncoder(w).Encode(doc)
	case "GET /api/v3/federated_instances":
		if !authorized {
			fail(401, "not_logged_in")
			return
		}
		list := []any{}
		for _, d := range l.blocked {
			if old {
				list = append(list, d)
			} else {
				list = append(list, map[string]any{"id": 1, "domain": d})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"federated_instances": map[string]any{"blocked": list}})
	case "PUT /api/v3/site":
		if !authorized || l.mode == "RequireApplication" && body["application_question"] == nil {
			fail(400, "application_question_required")
			return
		}
		l.puts = append(l.puts, body)
		l.blocked = nil
		for _, d := range body["blocked_instances"].([]any) {
			l.blocked = append(l.blocked, d.(string))
		}
		_, _ = w.Write([]byte("{}"))
	default:
		http.NotFound(w, r)
	}
}

// fakeMastodon is a server with Mastodon's admin API: small pages with links, 422 for what is covered, rate limits.
type fakeMastodon struct {
	mu       sync.Mutex
	next     int
	blocks   []mastodonBlock
	limited  int // requests to refuse with 429
	failFrom int // the number of the write from which all fail; 0 is none
	writes   int
}

func (m *fakeMastodon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer token" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if m.limited > 0 {
		m.limited--
		w.Header().Set("X-RateLimit-Reset", time.Now().Add(50*time.Millisecond).Format(time.RFC3339Nano))
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	if r.Method != http.MethodGet {
		if m.writes++; m.failFrom > 0 && m.writes >= m.failFrom {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
	}
	var body mastodonBlock
	_ = json.NewDecoder(r.Body).Decode(&body)
	id := strings.TrimPrefix(r.URL.Path, blocksPath+"/")
	at := slices.IndexFunc(m.blocks, func(b mastodonBlock) bool { return b.ID == id })
	switch {
	case r.URL.Path == "/api/v1/accounts/verify_credentials":
		_, _ = w.Write([]byte(`{"acct":"boss"}`))
	case r.Method == http.MethodGet && r.URL.Path == blocksPath:
		const page = 3
		from := slices.IndexFunc(m.blocks, func(b mastodonBlock) bool { return b.ID == r.URL.Query().Get("max_id") }) + 1
		to := min(from+page, len(m.blocks))
		if to < len(m.blocks) {
			w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?limit=200&max_id=%s>; rel="next", <http://%s%s?min_id=1>; rel="prev"`, r.Host, blocksPath, m.blocks[to-1].ID, r.Host, blocksPath))
		}
		_ = json.NewEncoder(w).Encode(append([]mastodonBlock{}, m.blocks[from:to]...))
	case r.Method == http.MethodPost && r.URL.Path == blocksPath:
		for _, b := range m.blocks {
			if b.Domain == body.Domain || strings.HasSuffix(body.Domain, "."+b.Domain) {
				w.WriteHeader(http.StatusUnprocessableEntity)
				_ = json.NewEncoder(w).Encode(map[string]any{"error": "covered", "existing_domain_block": b})
				return
			}
		}
		m.next++
		body.ID = fmt.Sprint(100 + m.next)
		m.blocks = append(m.blocks, body)
		_ = json.NewEncoder(w).Encode(body)
	case at >= 0 && r.Method == http.MethodPut:
		m.blocks[at].Severity, m.blocks[at].PublicComment, m.blocks[at].PrivateComment = body.Severity, body.PublicComment, body.PrivateComment
		_ = json.NewEncoder(w).Encode(m.blocks[at])
	case at >= 0 && r.Method == http.MethodDelete:
		m.blocks = slices.Delete(m.blocks, at, at+1)
		_, _ = w.Write([]byte("{}"))
	default:
		http.NotFound(w, r)
	}
}

func (m *fakeMastodon) list() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []string{}
	for _, b := range m.blocks {
		out = append(out, b.Domain+":"+b.Severity)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func runner(t *testing.T, s *fediversetest.Service, key, config string) (*Runner, *bytes.Buffer) {
	t.Helper()
	config = strings.ReplaceAll(config, "DIR", t.TempDir())
	cfg, err := ReadConfig(strings.NewReader("fediseer: {url: "+s.URL()+", api_key: "+key+"}\n"+config), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	c, err := fediseer.New(fediseer.WithBaseURL(cfg.Fediseer.URL), fediseer.WithAPIKey(key), fediseer.WithRateLimit(false), fediseer.WithRetry(fediseer.RetryPolicy{Attempts: 1}))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	return &Runner{Config: cfg, Fediseer: c, HTTP: &http.Client{Timeout: 30 * time.Second}, Out: &out}, &out
}

// seer is a Fediseer in which a and b have judged.
func seer(t *testing.T) *fediversetest.Service {
	s := fediversetest.Start(t, nil)
	s.Claim("a", "b")
	s.Guarantee("fediseer.com", "a", "b")
	for _, x := range [][4]string{{"a", "censures", "evil.test", "CSAM, loli"}, {"a", "censures", "*.spam.test", "spam"}, {"b", "censures", "evil.test", "csam"}, {"b", "censures", "rude.test", "rude"}, {"a", "hesitations", "odd.test", "odd"}} {
		s.Says("Changed", x[0], http.MethodPut, "/"+x[1]+"/"+x[2], map[string]string{"reason": x[3]})
	}
	return s
}

func TestSyncMastodon(t *testing.T) {
	t.Parallel()
	s := seer(t)
	m := &fakeMastodon{blocks: []mastodonBlock{{ID: "1", Domain: "hand.test", Severity: "silence"}, {ID: "2", Domain: "h2.test"}, {ID: "3", Domain: "h3.test"}, {ID: "4", Domain: "spam.test", Severity: "noop"}}}
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	r, out := runner(t, s, "", `
suspicions: {enabled: false}
trusted: {domains: [a, b]}
hesitations: {domains: [a]}
extra: [sub.hand.test]
state_file: DIR/state.json
targets: {main: {kind: mastodon, url: `+srv.URL+`, token: token}}`)
	ctx := t.Context()
	if e, err := r.Sync(ctx, "main", Options{DryRun: true}); e != Pending || err != nil {
		t.Fatal(e, err)
	}
	for _, want := range []string{"+ evil.test", "csam, loli", "silence", "source trusted"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if _, err := os.Stat(r.Config.State("main")); !errors.Is(err, os.ErrNotExist) || m.writes != 0 {
		t.Error("a dry run wrote", err, m.writes)
	}
	m.limited = 2
	if e, err := r.Sync(ctx, "main", Options{}); e != Done || err != nil {
		t.Fatal(e, err)
	}
	// What a human had stays as it was, spam.test with its severity too; sub.hand.test is covered by hand.test.
	if got := m.list(); got != "evil.test:suspend h2.test: h3.test: hand.test:silence odd.test:silence rude.test:suspend spam.test:noop" {
		t.Error(got)
	}
	st, err := readState(r.Config.State("main"))
	if err != nil || !slices.Equal(st.Managed, []string{"evil.test", "odd.test", "rude.test"}) || st.Sources["trusted"] != 3 || st.Target != "main" {
		t.Errorf("%+v %v", st, err)
	}
	writes := m.writes
	if e, err := r.Sync(ctx, "main", Options{}); e != Done || err != nil || m.writes != writes+1 { // the covered one is tried again
		t.Error(e, err, m.writes-writes)
	}
	// A hesitation becomes a censure: the severity follows. A censure is withdrawn: its block goes.
	s.Says("Changed", "b", http.MethodPut, "/censures/odd.test", map[string]string{})
	s.Says("Changed", "b", http.MethodDelete, "/censures/rude.test", nil)
	out.Reset()
	if e, err := r.Sync(ctx, "main", Options{JSON: true}); e != Done || err != nil {
		t.Fatal(e, err)
	}
	var rep Report
	if err := json.Unmarshal(out.Bytes(), &rep); err != nil || !slices.Equal(rep.Update, []string{"odd.test"}) || !slices.Equal(rep.Remove, []string{"rude.test"}) || rep.Keep != 6 {
		t.Errorf("%s %v", out, err)
	}
	if got := m.list(); got != "evil.test:suspend h2.test: h3.test: hand.test:silence odd.test:suspend spam.test:noop" {
		t.Error(got)
	}
	// Somebody removes evil.test by hand: it is wanted, so it comes back.
	m.mu.Lock()
	m.blocks = slices.DeleteFunc(m.blocks, func(b mastodonBlock) bool { return b.Domain == "evil.test" })
	m.mu.Unlock()
	if e, err := r.Sync(ctx, "main", Options{}); e != Done || err != nil || !strings.Contains(m.list(), "evil.test") {
		t.Error(e, err, m.list())
	}
	// The safety rules.
	r.Config.Trusted.Domains, r.Config.Hesitations.Domains = nil, nil
	if e, err := r.Sync(ctx, "main", Options{Yes: true}); e != Stopped || err == nil {
		t.Error(e, err)
	}
	r.Config.Trusted.Domains, r.Config.Hesitations.Domains = []string{"a", "b"}, []string{"a"}
	r.Config.Trusted.Min = 5
	if e, err := r.Sync(ctx, "main", Options{Yes: true}); e != Failed || !strings.Contains(err.Error(), "min may be larger") {
		t.Error(e, err)
	}
	r.Config.Trusted.Min = 0
	many := []string{}
	for i := range 12 {
		many = append(many, fmt.Sprintf("m%d.test", i))
	}
	r.Config.Extra = many
	if e, err := r.Sync(ctx, "main", Options{}); e != Stopped || err == nil {
		t.Error(e, err)
	}
	asked := 0
	if e, _ := r.Sync(ctx, "main", Options{Ask: func(string) bool { asked++; return false }}); e != Stopped || asked != 1 {
		t.Error(e, asked)
	}
	// A failure in the middle: what was done is remembered.
	m.mu.Lock()
	m.failFrom = m.writes + 5
	m.mu.Unlock()
	if e, err := r.Sync(ctx, "main", Options{Yes: true}); e != Partly || err == nil {
		t.Error(e, err)
	}
	st, err = readState(r.Config.State("main"))
	if err != nil || len(st.Managed) != 2+4 {
		t.Errorf("%+v %v", st, err)
	}
	m.mu.Lock()
	m.failFrom = 1
	m.mu.Unlock()
	if e, err := r.Sync(ctx, "main", Options{Yes: true}); e != Failed || err == nil {
		t.Error(e, err)
	}
}

func TestSyncLemmy(t *testing.T) {
	t.Parallel()
	s := seer(t)
	for _, version := range []string{"0.18.5", "0.19.11"} {
		l := &fakeLemmy{version: version, mode: "RequireApplication", admin: true, blocked: []string{"hand.test"}}
		srv := httptest.NewServer(l)
		t.Cleanup(srv.Close)
		r, out := runner(t, s, s.Keys["a"], `
suspicions: {enabled: true}
trusted: {domains: [a, b]}
filtered: {domains: [b], reasons: [csam]}
hesitations: {domains: [a]}
state_file: DIR/<target>.json
targets: {main: {kind: lemmy, url: `+srv.URL+`, user: boss, password: secret, totp: "123456"}}`)
		ctx := t.Context()
		if e, err := r.Sync(ctx, "main", Options{}); e != Done || err != nil {
			t.Fatal(e, err, out)
		}
		slices.Sort(l.blocked)
		if got := strings.Join(l.blocked, " "); got != "bots.test evil.test hand.test rude.test silent.test" {
			t.Error(got)
		}
		if len(l.puts) != 1 || l.puts[0]["application_question"] != "why?" || (l.puts[0]["auth"] != nil) != (version == "0.18.5") {
			t.Error(l.puts)
		}
		if !strings.Contains(out.String(), "! *.spam.test") {
			t.Error(out)
		}
		if e, err := r.Sync(ctx, "main", Options{}); e != Done || err != nil || len(l.puts) != 1 {
			t.Error(e, err, len(l.puts))
		}
		if err := r.WhoAmI(ctx); err != nil || !strings.Contains(out.String(), "main: boss, may change") || !strings.Contains(out.String(), ": a\n") {
			t.Error(err, out)
		}
		l.admin = false
		if e, err := r.Sync(ctx, "main", Options{}); e != Failed || !strings.Contains(err.Error(), "not an admin") {
			t.Error(e, err)
		}
		r.Config.Targets["main"].TOTP = ""
		if e, err := r.Sync(ctx, "main", Options{}); e != Failed || !strings.Contains(err.Error(), "missing_totp_token") {
			t.Error(e, err)
		}
		l.version = "1.0.0"
		r.Config.Targets["main"].TOTP = "123456"
		if e, err := r.Sync(ctx, "main", Options{}); e != Failed || !strings.Contains(err.Error(), "lemmy_v4") {
			t.Error(e, err)
		}
	}
}

func TestSyncFileAndExport(t *testing.T) {
	t.Parallel()
	s := seer(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "blocks.csv")
	if err := os.WriteFile(path, []byte("#domain,#severity,#public_comment,mine\nhand.test,noop,\"my, own\",x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, _ := runner(t, s, "", `
own_domain: b
suspicions: {enabled: false}
trusted: {domains: [a]}
hesitations: {domains: [a]}
state_file: DIR/<target>.json
targets: {csv: {kind: file, path: `+path+`, format: mastodon-csv, public_reasons: true}, plain: {kind: file, path: `+dir+`/p.txt}}`)
	for range 2 {
		for _, target := range []string{"csv", "plain"} {
			if e, err := r.Sync(t.Context(), target, Options{}); e != Done || err != nil {
				t.Fatal(e, err)
			}
		}
	}
	b, err := os.ReadFile(path)
	want := "#domain,#severity,#public_comment,mine\nevil.test,suspend,\"csam, loli\",\nhand.test,noop,\"my, own\",x\nodd.test,silence,odd,\nrude.test,suspend,rude,\nspam.test,suspend,spam,\n"
	if err != nil || string(b) != want {
		t.Errorf("%s %v", b, err)
	}
	if b, err := os.ReadFile(dir + "/p.txt"); err != nil || string(b) != "evil.test\nrude.test\nspam.test\n" {
		t.Errorf("%s %v", b, err)
	}
	var out bytes.Buffer
	if err := r.Export(t.Context(), "", FormatPlain, false, &out); err != nil || out.String() != "evil.test\nrude.test\nspam.test\n" {
		t.Error(out.String(), err)
	}
	for _, c := range []struct {
		target string
		public bool
		want   string
	}{
		{"", false, `evil.test,suspend,false,false,"csam, loli",false`}, // the only file target of the format shows reasons
		{"csv", false, `evil.test,suspend,false,false,"csam, loli",false`},
		{"plain", false, "evil.test,suspend,false,false,,false"},
		{"plain", true, `evil.test,suspend,false,false,"csam, loli",false`},
	} {
		out.Reset()
		if err := r.Export(t.Context(), c.target, FormatMastodonCSV, c.public, &out); err != nil || !strings.Contains(out.String(), "\n"+c.want+"\n") {
			t.Errorf("%+v: %s %v", c, out.String(), err)
		}
	}
	if err := r.Export(t.Context(), "other", FormatMastodonCSV, false, &out); err == nil {
		t.Error("a target that is not there")
	}
	r.Config.Targets["json"] = &TargetConfig{Kind: "gotosocial", PublicReasons: true}
	if r.publicReasons(FormatGoToSocialJSON) || !r.publicReasons(FormatMastodonCSV) {
		t.Error("without a file target all must agree")
	}
	delete(r.Config.Targets, "plain")
	if !r.publicReasons(FormatGoToSocialJSON) {
		t.Error("all agree")
	}
	// A broken state is not an empty one.
	if err := os.WriteFile(r.Config.State("csv"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if e, err := r.Sync(t.Context(), "csv", Options{}); e != Failed || err == nil {
		t.Error(e, err)
	}
}

// Worked example 14.
func TestPush(t *testing.T) {
	t.Parallel()
	s := seer(t)
	m := &fakeMastodon{blocks: []mastodonBlock{{ID: "1", Domain: "p.test", PrivateComment: "Spam, spam", PublicComment: "bots"}, {ID: "2", Domain: "evil.test"}, {ID: "3", Domain: "r.test"}, {ID: "4", Domain: "a"}}}
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	r, out := runner(t, s, s.Keys["a"], `targets: {main: {kind: mastodon, url: `+srv.URL+`, token: token}}`)
	if e, err := r.Push(t.Context(), "main", Options{DryRun: true}); e != Pending || err != nil {
		t.Error(e, err, out)
	}
	if e, err := r.Push(t.Context(), "main", Options{}); e != Done || err != nil {
		t.Error(e, err, out)
	}
	got := []string{}
	for x, err := range r.Fediseer.Censures.Given(t.Context(), []string{"a"}, fediseer.GivenFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, x.Domain+":"+strings.Join(x.CensureReasons, "|"))
	}
	if strings.Join(got, " ") != "*.spam.test:spam evil.test:CSAM, loli p.test:spam, bots r.test:" {
		t.Error(got)
	}
	if e, err := r.Push(t.Context(), "main", Options{}); e != Done || err != nil {
		t.Error(e, err)
	}
	many := make([]mastodonBlock, 1998)
	for i := range many {
		many[i] = mastodonBlock{ID: fmt.Sprint(1000 + i), Domain: fmt.Sprintf("x%d.test", i)}
	}
	r.Config.Targets["main"].URL = onePage(t, many)
	if e, err := r.Push(t.Context(), "main", Options{}); e != Stopped || !errors.Is(err, fediseer.ErrForbidden) {
		t.Error(e, err)
	}
}

func onePage(t *testing.T, blocks []mastodonBlock) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(blocks) }))
	t.Cleanup(srv.Close)
	return srv.URL
}

// The same against a program that others wrote: mastodon_mock, which serves Mastodon's API.
func TestSyncMastodonMock(t *testing.T) {
	t.Parallel()
	address := fediversetest.MastodonMock(t)
	s := seer(t)
	r, out := runner(t, s, s.Keys["a"], `
suspicions: {enabled: false}
trusted: {domains: [a, b]}
hesitations: {domains: [a]}
state_file: DIR/state.json
targets: {main: {kind: mastodon, url: `+address+`, token: `+fediversetest.MastodonToken+`}}`)
	current := func() string {
		t.Helper()
		tg, err := NewTarget(r.Config.Targets["main"], r.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		list, err := tg.Current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, b := range list {
			got = append(got, b.Domain+":"+b.Severity)
		}
		slices.Sort(got)
		return strings.Join(got, " ")
	}
	if e, err := r.Sync(t.Context(), "main", Options{}); e != Done || err != nil {
		t.Fatal(e, err, out)
	}
	if got := current(); got != "evil.test:suspend odd.test:silence rude.test:suspend spam.test:suspend" {
		t.Error(got)
	}
	if e, err := r.Sync(t.Context(), "main", Options{DryRun: true}); e != Done || err != nil {
		t.Error(e, err, out)
	}
	s.Says("Changed", "b", http.MethodDelete, "/censures/rude.test", nil)
	if e, err := r.Sync(t.Context(), "main", Options{}); e != Done || err != nil {
		t.Error(e, err, out)
	}
	if got := current(); got != "evil.test:suspend odd.test:silence spam.test:suspend" {
		t.Error(got)
	}
	if err := r.WhoAmI(t.Context()); err != nil || !strings.Contains(out.String(), "testuser") {
		t.Error(err, out)
	}
}
