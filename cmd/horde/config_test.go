// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// parse reads a command line as the program does.
func parse(t *testing.T, args ...string) (*cli, error) {
	t.Helper()
	var c cli
	parser, err := kong.New(&c, options(t.Context())...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return &c, err
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "horde.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAFlagComesBeforeTheEnvironmentAndThatBeforeTheFile(t *testing.T) {
	file := write(t, "title: of the file\npublic-url: https://file.example\n")
	t.Setenv("HORDE_TITLE", "of the environment")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"serve"}, "of the environment"},
		{[]string{"serve", "--config", file}, "of the environment"},
		{[]string{"serve", "--config", file, "--title", "of the flag"}, "of the flag"},
	} {
		got, err := parse(t, c.args...)
		if err != nil || got.Serve.Title != c.want {
			t.Errorf("%v: %q, %v", c.args, got.Serve.Title, err)
		}
	}
	if got, _ := parse(t, "serve", "--config", file); got.Serve.PublicURL != "https://file.example" {
		t.Errorf("what only the file says is lost: %q", got.Serve.PublicURL)
	}
}

func TestOptionsAreUnderstoodAsTheAIHordeSpellsThem(t *testing.T) {
	t.Parallel()
	got, err := parse(t, spelled([]string{"serve", "--disable_filters", "--allow_all_ips", "--title=a_b", "--terms", "config_test.go"})...)
	if err != nil {
		t.Fatal(err)
	}
	if f := got.Serve; f.Filters || !f.AllowAllIPs || f.Title != "a_b" || filepath.Base(f.Terms) != "config_test.go" {
		t.Errorf("filters %t, all addresses %t, title %q, terms %q", f.Filters, f.AllowAllIPs, f.Title, f.Terms)
	}
}

func TestServersReadAFileOfVariables(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HORDE_TITLE", "")
	for file, title := range map[string]string{".env": "plain", ".env_night": "of the night"} {
		if err := os.WriteFile(file, []byte("HORDE_TITLE=\""+title+"\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for profile, want := range map[string]string{"": "plain", "night": "of the night"} {
		t.Setenv("PROFILE", profile)
		os.Unsetenv("HORDE_TITLE")
		if err := run([]string{"user", "show", "--data", t.TempDir(), "1"}); err == nil {
			t.Fatal("an account was shown that there is none of")
		}
		if got := os.Getenv("HORDE_TITLE"); got != want {
			t.Errorf("profile %q: the title is %q, want %q", profile, got, want)
		}
		os.Unsetenv("HORDE_TITLE")
		if err := run([]string{"version"}); err != nil || os.Getenv("HORDE_TITLE") != "" {
			t.Errorf("another command reads the file as well: %v", err)
		}
	}
}

func TestConfigurationFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"titel: x\n":       `"titel", which is no option`,
		"title: [\n":       "the configuration file",
		"- title\n":        "the configuration file",
		"max-body: much\n": "no option",
	} {
		if _, err := parse(t, "serve", "--config", write(t, text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

func TestThePrintedConfigurationIsAConfiguration(t *testing.T) {
	t.Parallel()
	var c cli
	parser, err := kong.New(&c, options(t.Context())...)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := writeTemplate(&b, parser); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if !strings.Contains(text, "# title:") && !strings.Contains(text, "#title:") {
		t.Errorf("no title in %s", text)
	}
	if _, err := parse(t, "serve", "--config", write(t, text)); err != nil {
		t.Error(err)
	}
}

func TestCommandsNeedAHordeToWorkOn(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"audit"}, {"user", "list"}, {"user", "show", "1"}} {
		dir := t.TempDir()
		err := run(append(args, "--data", dir))
		if err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v: %v", args, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%v made %v in a directory that is no horde", args, left)
		}
	}
}

// TestTheNamesOfTheReferenceAreReadAndDocumented goes through the table of docs/operating.md: each option is there, reads the names
// that stand beside it, ours first, and no other option reads a name that is not ours.
func TestTheNamesOfTheReferenceAreReadAndDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n| ours | theirs |\n")
	rows, _, _ := strings.Cut(rest, "\n\n")
	code := regexp.MustCompile("`([A-Za-z_]+)`")
	names := func(cell string) (list []string) {
		for _, m := range code.FindAllStringSubmatch(cell, -1) {
			list = append(list, m[1])
		}
		return list
	}
	documented := map[string][]string{}
	for line := range strings.Lines(rows) {
		cells := strings.Split(line, "|")
		for _, ours := range names(cells[1]) {
			documented[ours] = names(cells[2])
		}
	}
	if len(documented) < 50 {
		t.Errorf("the table has %d options", len(documented))
	}
	var c cli
	parser, err := kong.New(&c, options(t.Context())...)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range parser.Model.Leaves(false) {
		if command.Path() != "serve" {
			continue
		}
		for _, f := range slices.Concat(command.AllFlags(false)...) {
			if len(f.Envs) == 0 {
				continue
			}
			theirs, known := documented[f.Envs[0]]
			foreign := slices.DeleteFunc(slices.Clone(f.Envs[1:]), func(name string) bool { return name == "HORDE_DATABASE_URL" })
			if !known && len(foreign) > 0 {
				t.Errorf("--%s reads %v, which the table does not have", f.Name, foreign)
			}
			for _, name := range theirs {
				if !slices.Contains(f.Envs, name) {
					t.Errorf("--%s does not read %s", f.Name, name)
				}
			}
			for _, name := range foreign {
				if !slices.Contains(theirs, name) {
					t.Errorf("--%s reads %s, which the table does not have", f.Name, name)
				}
			}
			delete(documented, f.Envs[0])
		}
	}
	for name := range documented {
		t.Errorf("no option reads %s", name)
	}
}
