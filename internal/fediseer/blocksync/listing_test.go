// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const fullHeader = "#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\n"

// What the tool does not touch keeps its bytes.
func TestFileKeepsWhatPeopleWrote(t *testing.T) {
	t.Parallel()
	add := &Plan{Add: []Entry{{Domain: "new.example", Severity: Suspend, Public: "a, b", Private: "a, b"}}}
	change := &Plan{Update: []Entry{{Domain: "ours.example", Severity: Silence, Public: "p", Private: "q"}}, Remove: []Block{{Domain: "gone.example"}}}
	for _, c := range []struct {
		name, format, before string
		plan                 *Plan
		after                string
	}{
		{"csv", FormatMastodonCSV, fullHeader + "human.example,silence,true,true,\"my, comment\",true\n", add,
			fullHeader + "human.example,silence,true,true,\"my, comment\",true\nnew.example,suspend,false,false,\"a, b\",false\n"},
		{"csv with columns of its own, CRLF and no end of line", FormatMastodonCSV, "note,#severity,#domain\r\n\"x\r\ny\",noop,z.example\r\n\r\n#c\r\nb.example,noop,b.example", add,
			"note,#severity,#domain\r\n\"x\r\ny\",noop,z.example\r\n\r\n#c\r\nb.example,noop,b.example\r\n,suspend,new.example\r\n"},
		{"csv, in front", FormatMastodonCSV, fullHeader + "z.example,suspend,true,false,,true\n", add, fullHeader + "new.example,suspend,false,false,\"a, b\",false\nz.example,suspend,true,false,,true\n"},
		{"csv, change", FormatMastodonCSV, fullHeader + "gone.example,suspend,false,false,,false\n\nours.example,suspend,true,false,old,true,more\n", change, fullHeader + "\nours.example,silence,true,false,p,true,more\n"},
		{"json", FormatGoToSocialJSON, `[{"domain":"human.example","public_comment":"spam","private_comment":"mine","obfuscate":true,"n":1.50}]`, add,
			"[\n  {\"domain\":\"human.example\",\"public_comment\":\"spam\",\"private_comment\":\"mine\",\"obfuscate\":true,\"n\":1.50},\n  {\n    \"domain\": \"new.example\",\n    \"public_comment\": \"a, b\",\n    \"private_comment\": \"a, b\"\n  }\n]\n"},
		{"json, change", FormatGoToSocialJSON, `[{"x":{"a":[1]},"public_comment":"old","domain":"ours.example","y":2e3},{"domain":"gone.example"}]`, change,
			"[\n  {\n    \"x\": {\"a\":[1]},\n    \"public_comment\": \"p\",\n    \"domain\": \"ours.example\",\n    \"y\": 2e3,\n    \"private_comment\": \"q\"\n  }\n]\n"},
		{"plain", FormatPlain, "# mine\n\nhuman.example # since May\n# last\nz.example", add, "# mine\n\nhuman.example # since May\nnew.example\n# last\nz.example"},
		{"plain, not sorted", FormatPlain, "z.example # 1\nb.example", add, "z.example # 1\nb.example\nnew.example\n"},
		{"plain, removed", FormatPlain, "# a\ngone.example\nz.example #z\n", change, "# a\nz.example #z\n"},
		{"plain, a comment before the first", FormatPlain, "# z\nz.example\n", add, "# z\nz.example\nnew.example\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "list")
			if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
				t.Fatal(err)
			}
			f := &file{cfg: &TargetConfig{Format: c.format, Path: path}}
			if _, _, err := f.Apply(t.Context(), nil, c.plan); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil || string(b) != c.after {
				t.Errorf("%v\n%q, not\n%q", err, b, c.after)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Error(info.Mode(), err)
			}
		})
	}
}

func TestFileOfGarbage(t *testing.T) {
	t.Parallel()
	s := seer(t)
	for format, c := range map[string][2]string{
		FormatPlain:          {"ok.example # yes\ngarbage \"x\n<html>\n", "line 2"},
		FormatMastodonCSV:    {"#domain,#severity\nok.example,suspend\n<html>\n", "line 3"},
		FormatGoToSocialJSON: {`[{"domain":"ok.example"},{"domain":"<html>"}]`, "entry 2"},
	} {
		path := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(path, []byte(c[0]), 0o600); err != nil {
			t.Fatal(err)
		}
		r, _ := runner(t, s, "", "suspicions: {enabled: false}\nextra: [new.example]\nstate_file: DIR/s.json\ntargets: {main: {kind: file, format: "+format+", path: "+path+"}}")
		if e, err := r.Sync(t.Context(), "main", Options{Yes: true}); e != Failed || err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Error(format, e, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != c[0] {
			t.Errorf("%q %v", b, err)
		}
	}
}

// The comments of managed entries follow the reasons; a second run has nothing to do, also where the server stores them in
// its own way, and what a person wrote instead stays until the reason changes.
func TestCommentsFollow(t *testing.T) {
	t.Parallel()
	s := seer(t)
	m := &fakeMastodon{}
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	r, _ := runner(t, s, "", `
suspicions: {enabled: false}
trusted: {domains: [b]}
state_file: DIR/<target>.json
targets:
  server: {kind: mastodon, url: `+srv.URL+`, token: token, public_reasons: true}
  csv: {kind: file, path: `+dir+`/c, format: mastodon-csv, public_reasons: true}
  json: {kind: file, path: `+dir+`/j, format: gotosocial-json, public_reasons: true}`)
	all := func() (changed int) {
		t.Helper()
		for name := range r.Config.Targets {
			e, err := r.Sync(t.Context(), name, Options{DryRun: true})
			if err != nil {
				t.Fatal(name, err)
			}
			if e == Pending {
				changed++
			}
			if e, err := r.Sync(t.Context(), name, Options{}); e != Done || err != nil {
				t.Fatal(name, e, err)
			}
		}
		return changed
	}
	if n := all(); n != 3 {
		t.Error(n)
	}
	s.Says("Changed", "b", http.MethodPatch, "/censures/rude.test", map[string]string{"reason": "bigots"})
	if n := all(); n != 3 {
		t.Error("a new reason changes", n)
	}
	for _, name := range []string{"c", "j"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(b), "bigots") || strings.Contains(string(b), "rude,") {
			t.Errorf("%s %v", b, err)
		}
	}
	rude := &m.blocks[1]
	if rude.Domain != "rude.test" || rude.PublicComment != "bigots" || rude.PrivateComment != "bigots" {
		t.Errorf("%+v", rude)
	}
	rude.PublicComment = "as I say"
	if n := all(); n != 0 {
		t.Error("again there are changes:", n)
	}
	// Without the permission the public comments go where they are the tool's.
	for _, c := range r.Config.Targets {
		c.PublicReasons = false
	}
	if n := all(); n != 3 || m.blocks[0].PublicComment != "" || m.blocks[0].PrivateComment != "csam" {
		t.Errorf("%d %+v", n, m.blocks)
	}
	if n := all(); n != 0 {
		t.Error(n)
	}
}
