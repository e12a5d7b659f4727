// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"path/filepath"
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
