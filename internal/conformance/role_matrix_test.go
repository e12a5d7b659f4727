// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"horde/internal/horde"
)

// The role matrix: testdata/roles.txt says for every operation what each caller gets, as the chapters have it. Here it is
// read, tried cell by cell against a node with real objects, and written down for people as docs/roles.md.

var updateDocs = flag.Bool("update", false, "write docs/roles.md from testdata/roles.txt")

// callers are the columns of the matrix. What each of them is stands at the head of the file.
var callers = strings.Fields("none wrong anonymous pseudonymous registered customizer service education patron trusted moderator admin owner foreign shared")

// roleRow is one row of the matrix.
type roleRow struct {
	section      string
	line         int
	method, path string // path with <objects>, without the prefix
	bodies       []string
	outcomes     map[string]outcome // by caller
}

// outcome is what a caller must get.
type outcome struct {
	status int
	// rc is the code of a refusal, or errors.NAME; empty for any.
	rc             string
	shown, unshown []string
}

var inAngles = regexp.MustCompile(`<[^>]*>`)

// operation names the row's operation without its arguments: GET:/users/{}.
func (r *roleRow) operation() string {
	path, _, _ := strings.Cut(r.path, "?")
	return r.method + ":" + inAngles.ReplaceAllString(path, "{}")
}

// objects are the kinds of what stands in <>, each once.
func (r *roleRow) objects() []string {
	var kinds []string
	for _, m := range inAngles.FindAllString(r.path+strings.Join(r.bodies, ""), -1) {
		if kind := strings.Trim(m, "<>"); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// owned tells whether the row has an object that belongs to somebody.
func (r *roleRow) owned() bool {
	return slices.ContainsFunc(r.objects(), func(kind string) bool { return !thingOf(kind).nobodys })
}

// tried tells whether the row means anything for a caller.
func (r *roleRow) tried(caller string) bool {
	return r.owned() || caller != "owner" && caller != "foreign"
}

func readRoles(t testing.TB) []*roleRow {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "roles.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []*roleRow
	var row *roleRow
	section := ""
	for i, line := range strings.Split(string(text), "\n") {
		bad := func(what string) { t.Fatalf("roles.txt:%d: %s: %q", i+1, what, line) }
		switch {
		case strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, "## "):
			section = line[3:]
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "or "):
			row.bodies = append(row.bodies, line[3:])
		case strings.HasPrefix(line, "\t"):
			words := strings.Fields(line)
			at := slices.IndexFunc(words, func(w string) bool { _, err := strconv.Atoi(w); return err == nil })
			if at < 1 {
				bad("no caller, or no status")
			}
			o := outcome{}
			o.status, _ = strconv.Atoi(words[at])
			for _, w := range words[at+1:] {
				switch w[0] {
				case '+':
					o.shown = append(o.shown, w[1:])
				case '-':
					o.unshown = append(o.unshown, w[1:])
				default:
					o.rc += w
				}
			}
			who := words[:at]
			if who[0] == "*" {
				who = callers
			}
			for _, c := range who {
				if !slices.Contains(callers, c) {
					bad("no caller is called " + c)
				}
				row.outcomes[c] = o
			}
		default:
			method, rest, _ := strings.Cut(line, " ")
			path, body := rest, ""
			if at := strings.Index(rest, " {"); at >= 0 {
				path, body = rest[:at], rest[at+1:]
			}
			row = &roleRow{section: section, line: i + 1, method: method, path: path, bodies: []string{body}, outcomes: map[string]outcome{}}
			rows = append(rows, row)
		}
	}
	for _, r := range rows {
		for _, c := range callers {
			if r.outcomes[c].status == 0 {
				t.Errorf("roles.txt:%d: nothing is said about %s", r.line, c)
			}
		}
		for _, kind := range r.objects() {
			if thingOf(kind).make == nil {
				t.Fatalf("roles.txt:%d: nobody knows how to make <%s>", r.line, kind)
			}
		}
	}
	return rows
}

// servedOperations are the operations of the node's OpenAPI document in the form of [roleRow.operation], with their patterns.
func (s *server) servedOperations() map[string]string {
	s.readOpenAPI()
	served := map[string]string{}
	for path, item := range openapi.document["paths"].(document) {
		for method := range item.(document) {
			at := strings.TrimPrefix(path, "/api/v2")
			served[strings.ToUpper(method)+":"+regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(at, "{}")] = path
		}
	}
	return served
}

func TestRoleMatrix(t *testing.T) {
	t.Parallel()
	rows := readRoles(t)
	served := open(t).servedOperations()
	unserved := map[string]bool{}
	for _, op := range missing {
		method, path, _ := strings.Cut(op, ":/v2")
		unserved[strings.ToUpper(method)+":"+regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(path, "{}")] = true
	}
	covered := map[string]bool{}
	sections := map[string][]*roleRow{}
	for _, r := range rows {
		op := r.operation()
		covered[op] = true
		_, ok := served[op]
		possible := !slices.ContainsFunc(r.objects(), func(kind string) bool { by := thingOf(kind).by; return by != "" && unserved[by] })
		switch {
		case ok && possible:
			sections[r.section] = append(sections[r.section], r)
		case !ok && !unserved[op]:
			t.Errorf("roles.txt:%d: %s is not served", r.line, op)
		}
	}
	for _, op := range slices.Sorted(maps.Keys(served)) {
		if !covered[op] {
			t.Errorf("%s has no row in testdata/roles.txt: say there what each caller gets", op)
		}
	}
	var tables sync.Map
	t.Run("section", func(t *testing.T) {
		for name, rows := range sections {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				tables.Store(name, tryRoles(t, rows))
			})
		}
	})
	cells := 0
	var all strings.Builder
	for _, r := range rows {
		if v, ok := tables.Load(r.section); ok {
			table := v.(map[*roleRow]map[string]string)
			if got := table[r]; got != nil {
				fmt.Fprintf(&all, "%s %s %s\n", r.method, r.path, strings.Join(r.bodies, " | "))
				alike := map[string][]string{}
				for _, c := range callers {
					if got[c] != "" {
						cells += len(r.bodies)
						alike[got[c]] = append(alike[got[c]], c)
					}
				}
				for _, said := range slices.Sorted(maps.Keys(alike)) {
					fmt.Fprintf(&all, "    %s: %s\n", strings.Join(alike[said], ", "), said)
				}
			}
		}
	}
	t.Logf("%d operations, %d cells; %d operations are not served\n%s", len(served), cells, len(unserved), all.String())
}

// roleCast are those who call, beside the owner and the foreign one.
type roleCast struct {
	admin account
	// watcher is a moderator that only looks.
	watcher account
	// sharing tells whether shared keys are served.
	sharing bool
}

// tryRoles tries rows against a node of their own, and returns what each caller got.
func tryRoles(t *testing.T, rows []*roleRow) map[*roleRow]map[string]string {
	s := open(t)
	s.user(0, 0) // the first account may award
	cast := roleCast{admin: s.user(1000, 0), watcher: s.user(0, horde.Moderator)}
	s.Engine.Admins = []horde.UserID{cast.admin.id}
	_, cast.sharing = s.servedOperations()["PUT:/sharedkeys"]
	got := map[*roleRow]map[string]string{}
	for _, r := range rows {
		got[r] = map[string]string{}
		t.Run(fmt.Sprintf("%s %s", r.method, r.path), func(t *testing.T) {
			s := s.in(t)
			if !cast.sharing && strings.Contains(strings.Join(r.bodies, ""), "<shared key>") {
				t.Skip("there are no shared keys")
			}
			for i, body := range r.bodies {
				for _, c := range callers {
					if said := s.tryRole(r, body, c, &cast); i == 0 {
						got[r][c] = said
					}
				}
			}
		})
	}
	return got
}

// tryRole tries one cell, and tells what the caller got; nothing where the cell makes no sense.
func (s *server) tryRole(r *roleRow, body, caller string, cast *roleCast) string {
	s.t.Helper()
	if !r.tried(caller) || caller == "shared" && !cast.sharing {
		return ""
	}
	kinds := r.objects()
	sc := s.scene(kinds)
	as := account{}
	switch caller {
	case "wrong":
		as.key = "ThisKeyIsNobodys123456"
	case "anonymous":
		as = anonymous
	case "pseudonymous":
		as = s.userAs("", 1000, 0)
	case "registered":
		as = s.user(1000, 0)
	case "customizer":
		as = s.user(1000, horde.Customizer)
	case "service":
		as = s.user(1000, horde.Service)
	case "education":
		as = s.user(1000, horde.Education)
	case "patron":
		as = s.user(1000, 0)
		s.supports(horde.SourcePatreon, horde.Supporter{User: as.id, Monthly: 5})
	case "trusted":
		as = s.user(1000, horde.Trusted)
	case "moderator":
		as = s.user(1000, horde.Moderator)
	case "admin":
		as = cast.admin
	case "owner":
		as = sc.owner
	case "foreign":
		other := s.scene(kinds)
		for _, kind := range kinds {
			other.object(kind)
		}
		as = other.owner
	}
	for _, kind := range kinds {
		sc.object(kind) // all objects are there before anything is looked at
	}
	if caller == "shared" {
		as.key = sc.object("shared key")
	}
	path, sent := sc.fill(r.path, true), any(nil)
	if body != "" {
		sent = sc.fill(body, false)
	}
	before := sc.look(cast.watcher)
	a := s.send(s.request(r.method, wholePath(path), as, sent))
	want := r.outcomes[caller]
	at := fmt.Sprintf("roles.txt:%d, %s: %s %s %s", r.line, caller, r.method, path, body)
	if a.status != want.status {
		s.t.Errorf("%s: got %d %.300s, want %d %s", at, a.status, a.text, want.status, want.rc)
		return fmt.Sprint(a.status, " ", a.rc())
	}
	if field, ok := strings.CutPrefix(want.rc, "errors."); ok {
		if errs, _ := a.at("errors").(map[string]any); errs[field] == nil {
			s.t.Errorf("%s: got %.300s, want a reason for %s", at, a.text, field)
		}
	} else if want.rc != "" && a.rc() != want.rc {
		s.t.Errorf("%s: got %.300s, want %s", at, a.text, want.rc)
	}
	said := strings.TrimSpace(fmt.Sprint(a.status, " ", a.rc()))
	if strings.HasPrefix(want.rc, "errors.") {
		said += " " + want.rc
	}
	if a.status >= http.StatusBadRequest {
		s.isRefusal(a)
		if after := sc.look(cast.watcher); after != before {
			s.t.Errorf("%s: refused, but something changed:\n%s\n%s", at, before, after)
		}
		if as.key != "" && len(as.key) > 10 && strings.Contains(a.text, as.key) {
			s.t.Errorf("%s: the answer repeats the key: %.300s", at, a.text)
		}
		return said
	}
	for _, member := range want.shown {
		if a.at(memberPath(member)...) == nil {
			s.t.Errorf("%s: %s is not shown: %.1500s", at, member, a.text)
		}
	}
	for _, member := range want.unshown {
		if v := a.at(memberPath(member)...); v != nil && fmt.Sprint(v) != "map[]" {
			s.t.Errorf("%s: %s is shown: %.1500s", at, member, a.text)
		}
	}
	if len(want.shown) > 0 {
		said += " with " + strings.Join(want.shown, " ")
	}
	if len(want.unshown) > 0 {
		said += " without " + strings.Join(want.unshown, " ")
	}
	return said
}

// wholePath is the path of a row with the prefix that most operations have.
func wholePath(path string) string {
	if strings.HasPrefix(path, "/api/") {
		return path
	}
	return "/api/v2" + path
}

func memberPath(member string) []any {
	var path []any
	for part := range strings.SplitSeq(member, ".") {
		if n, err := strconv.Atoi(part); err == nil {
			path = append(path, n)
		} else {
			path = append(path, part)
		}
	}
	return path
}

// rolesPage is where the matrix stands for people.
var rolesPage = filepath.Join("..", "..", "docs", "roles.md")

// docs/roles.md is made from the same file that the test tries.
func TestRolesAreDocumented(t *testing.T) {
	t.Parallel()
	want := rolesDocument(readRoles(t))
	if *updateDocs {
		if err := os.WriteFile(rolesPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(rolesPage); err != nil || string(have) != want {
		t.Errorf("docs/roles.md does not say what testdata/roles.txt says (%v): run make roles", err)
	}
}

func rolesDocument(rows []*roleRow) string {
	var b strings.Builder
	b.WriteString(`# Who may call what

Made by ` + "`make roles`" + ` from internal/conformance/testdata/roles.txt, and tried cell by cell against a real node by TestRoleMatrix.

Each operation stands with what every caller gets: the status of a success, or the status and the ` + "`rc`" + ` of a refusal. *none*
sends no key, *wrong* one that nobody has, *shared* a shared key of the owner. *owner* owns what the call is about, *foreign* owns
something else of the same kind; the other callers own nothing. *customizer*, *service* and *education* have that role alone, *patron*
supports the horde at Patreon, *admin* is on the list of admins and has no role. *field* is a
refusal that names the missing header or field. Below each table stands which members of the answer only some see.
`)
	section := ""
	var notes []string
	flush := func() {
		if len(notes) > 0 {
			b.WriteString("\n" + strings.Join(notes, "\n") + "\n")
		}
		notes = nil
	}
	for _, r := range rows {
		if r.section != section {
			flush()
			section = r.section
			fmt.Fprintf(&b, "\n## %s\n\n| operation | %s |\n|---%s|\n", section, strings.Join(callers, " | "), strings.Repeat("|---", len(callers)))
		}
		name := "`" + r.method + " " + shownPath(r.path) + "`"
		var members []string
		for _, body := range r.bodies {
			if body != "" {
				members = append(members, "`"+strings.ReplaceAll(body, "|", `\|`)+"`")
			}
		}
		fmt.Fprintf(&b, "| %s |", strings.Join(append([]string{name}, members...), " "))
		for _, c := range callers {
			o := r.outcomes[c]
			cell := strings.TrimSpace(fmt.Sprint(o.status, " ", o.rc))
			if field, ok := strings.CutPrefix(o.rc, "errors."); ok {
				cell = fmt.Sprintf("%d field %s", o.status, field)
			}
			if !r.tried(c) {
				cell = ""
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteByte('\n')
		if note := r.sights(); note != "" {
			notes = append(notes, "- "+name+" shows, to "+note)
		}
	}
	flush()
	return b.String()
}

// shownPath is a path with its objects in braces; a text that stands for itself has none.
func shownPath(path string) string {
	return inAngles.ReplaceAllStringFunc(path, func(m string) string {
		kind := strings.Trim(m, "<>")
		if literal, ok := strings.CutPrefix(kind, ":"); ok {
			return literal
		}
		return "{" + kind + "}"
	})
}

// sights tells what of an answer only some callers see.
func (r *roleRow) sights() string {
	hidden := map[string]bool{}
	for _, o := range r.outcomes {
		for _, m := range o.unshown {
			hidden[m] = true
		}
	}
	who := map[string][]string{}
	for _, c := range callers {
		if !r.tried(c) {
			continue
		}
		var sees []string
		for _, m := range r.outcomes[c].shown {
			if hidden[m] {
				sees = append(sees, "`"+strings.TrimPrefix(m, "0.")+"`")
			}
		}
		if len(sees) > 0 {
			list := strings.Join(sees, ", ")
			who[list] = append(who[list], c)
		}
	}
	var parts []string
	for _, list := range slices.Sorted(maps.Keys(who)) {
		parts = append(parts, strings.Join(who[list], ", ")+", "+list)
	}
	if len(parts) == 0 && len(hidden) > 0 {
		var list []string
		for _, m := range slices.Sorted(maps.Keys(hidden)) {
			list = append(list, "`"+strings.TrimPrefix(m, "0.")+"`")
		}
		return "nobody, " + strings.Join(list, ", ")
	}
	return strings.Join(parts, "; ")
}
