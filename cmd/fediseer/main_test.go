// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func parse(t *testing.T, args ...string) (*program, error) {
	t.Helper()
	p := new(program)
	k, err := kong.New(p, kong.Name("fediseer"), kong.Configuration(yamlResolver))
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Parse(args)
	return p, err
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Flags win over the environment, and that wins over the file.
func TestConfiguration(t *testing.T) {
	file := write(t, "listen: 127.0.0.1:1\ndomain: file.test\nrate-limits: false\nupdate-every: 1h\nallow-addresses: [127.0.0.0/8, 10.0.0.0/8]\noperator: null\n")
	t.Setenv("FEDISEER_DOMAIN", "env.test")
	p, err := parse(t, "serve", "--config", file, "--listen", "127.0.0.1:2")
	if err != nil {
		t.Fatal(err)
	}
	s := p.Serve
	if s.Listen != "127.0.0.1:2" || s.Domain != "env.test" || s.RateLimits || s.UpdateEvery != time.Hour || len(s.AllowAddresses) != 2 || s.Operator != "" {
		t.Errorf("%+v", s)
	}
	for _, bad := range []string{"listn: x\n", "- x\n", "update-every: soon\n"} {
		if _, err := parse(t, "serve", "--config", write(t, bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestDotEnv(t *testing.T) {
	t.Setenv("FEDISEER_TEST_SET", "before")
	t.Setenv("FEDISEER_TEST_NEW", "")
	os.Unsetenv("FEDISEER_TEST_NEW")
	loadDotEnv(write(t, "# comment\nexport FEDISEER_TEST_NEW='a b'\nFEDISEER_TEST_SET=after\nno line\n"))
	if got := os.Getenv("FEDISEER_TEST_NEW") + "," + os.Getenv("FEDISEER_TEST_SET"); got != "a b,before" {
		t.Error(got)
	}
	loadDotEnv(filepath.Join(t.TempDir(), strings.Repeat("x", 10))) // a file that does not exist is no error
}
