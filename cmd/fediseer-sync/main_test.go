// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asProgram makes the test binary the program itself.
const asProgram = "FEDISEER_SYNC_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// The exit codes of the manual, and no question where nobody can answer.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := file("bad.yaml", "unknown: 1\n")
	// Everything that is wanted is named here, so that no Fediseer is asked.
	good := file("good.yaml", "suspicions: {enabled: false}\nextra: [a.example, b.example]\nconfirm_at: 1\nstate_file: "+dir+"/s.json\ntargets: {main: {kind: file, path: "+dir+"/list}}\n")
	for _, c := range []struct {
		name string
		args []string
		exit int
		says string
	}{
		{"an unknown flag", []string{"plan", "--nonsense"}, 1, "--nonsense"},
		{"a format that is none", []string{"export", "--format", "xml"}, 1, "--format"},
		{"no format", []string{"export"}, 1, "--format"},
		{"no command", nil, 1, "expected one of"},
		{"no such command", []string{"nonsense"}, 1, "nonsense"},
		{"no configuration", []string{"plan", "-c", dir + "/none.yaml"}, 1, "none.yaml"},
		{"a wrong configuration", []string{"plan", "-c", bad}, 1, "unknown"},
		{"no such target", []string{"plan", "-c", good, "--target", "x"}, 1, `no target "x"`},
		{"help", []string{"--help"}, 0, ""},
		{"config", []string{"config"}, 0, ""},
		{"pending", []string{"plan", "-c", good}, 2, ""},
		{"no terminal", []string{"apply", "-c", good}, 3, "--yes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], c.args...) // its standard input is the null device
			cmd.Env = append(os.Environ(), asProgram+"=1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != c.exit || !strings.Contains(stderr.String(), c.says) || strings.Contains(stderr.String(), "[y/N]") {
				t.Errorf("%d %v: %s", got, err, stderr.String())
			}
		})
	}
}
