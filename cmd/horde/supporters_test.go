// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// What is asked who supports the horde, by the options of a server.
func TestSupporterOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want string // the sources, or a part of the error behind a "!"
	}{
		"nothing":               {nil, nil, ""},
		"both":                  {nil, []string{"--patreon-token=t", "--patreon-campaign=1", "--stripe-key=k"}, "patreon stripe"},
		"the reference's names": {map[string]string{"PATREON_CREATOR_ACCESS_TOKEN": "t", "HORDE_PATREON_CAMPAIGN": "1", "STRIPE_API_KEY": "k"}, nil, "patreon stripe"},
		"files":                 {map[string]string{"HORDE_PATREON_TOKEN_FILE": file, "HORDE_STRIPE_KEY_FILE": file}, []string{"--patreon-campaign=1"}, "patreon stripe"},
		"no campaign":           {nil, []string{"--patreon-token=secret"}, "!--patreon-campaign"},
		"another address":       {nil, []string{"--stripe-key=secret", "--stripe-url=stripe"}, "!--stripe-url"},
		"another table":         {nil, []string{"--stripe-key=k", "--stripe-kudos=A=1|B=2", "--stripe-kudos=C=3", "--patreon-kudos=1..9=5x,10=7"}, "stripe"},
		"no table":              {nil, []string{"--patreon-kudos=ten"}, "!--patreon-kudos"},
		"no such product":       {nil, []string{"--stripe-kudos=A"}, "!--stripe-kudos"},
		"a missing file":        {map[string]string{"HORDE_STRIPE_KEY_FILE": file + "x"}, nil, "!HORDE_STRIPE_KEY_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			var flags cli
			parser, err := kong.New(&flags, options(t.Context())...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(append([]string{"serve"}, c.args...)); err != nil {
				t.Fatal(err)
			}
			list, err := flags.Serve.services(slog.New(slog.DiscardHandler))
			if part, fails := strings.CutPrefix(c.want, "!"); fails {
				if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "secret") {
					t.Errorf("got %v, want %s", err, part)
				}
				return
			}
			var sources []string
			for _, s := range list {
				sources = append(sources, string(s.Source()))
			}
			if err != nil || strings.Join(sources, " ") != c.want {
				t.Errorf("got %q, %v, want %q", sources, err, c.want)
			}
		})
	}
}
