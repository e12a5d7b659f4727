// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"path/filepath"
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
