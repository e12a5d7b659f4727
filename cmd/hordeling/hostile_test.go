// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"horde/internal/hordeling/hordelingtest"
)

// Bounds for one hostile file, in a process of its own. The largest source is 64 MiB and may be held once; the rest is
// the Go runtime and the program itself.
const (
	hostileTime   = 10 * time.Second
	hostileMemory = 192 << 20
	// minAttacks and minProved keep the corpus from shrinking unnoticed.
	minAttacks = 170
	minProved  = 50
)

// TestHostileCorpus converts and inspects files that testdata/hostile.py made. Python has shown that those which claim
// to run code do; here none may, each must be refused with the right code, and within the bounds.
func TestHostileCorpus(t *testing.T) {
	t.Parallel()
	interpreter, err := exec.LookPath("python3")
	if err != nil {
		hordelingtest.Missing(t, "python3 is not installed")
	}
	program := binary(t)
	dir, canaries, out := t.TempDir(), t.TempDir(), t.TempDir()
	made, err := exec.Command(interpreter, "testdata/hostile.py", dir, canaries).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, made)
	}
	t.Logf("%s", bytes.TrimSpace(made))
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest []struct {
		File, Attack string
		Codes        []string
		Proved       bool
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	// Per file: the converter, the converter for any tensors, and the inspector, each with a folder for its results. The
	// latter two see each attack in its first container only, for time's sake.
	var commands [][]string
	var about []int // index into manifest for each command
	seen := make(map[string]bool)
	for i, m := range manifest {
		path := filepath.Join(dir, m.File)
		commands = append(commands, []string{program, "convert", "--out", filepath.Join(out, fmt.Sprint(i)), path})
		about = append(about, i)
		if !seen[m.Attack] {
			seen[m.Attack] = true
			commands = append(commands, []string{program, "convert", "--tensors", "--out", filepath.Join(out, fmt.Sprint(i, "t")), path},
				[]string{program, "inspect", path})
			about = append(about, i, i)
		}
	}
	reports := runEach(t, interpreter, commands)
	proved := make(map[string]bool)
	var total, slowest, largest report
	for k, r := range reports {
		m := manifest[about[k]]
		r.file = m.File
		total.Seconds += r.Seconds
		if r.Seconds > slowest.Seconds {
			slowest = r
		}
		if r.KiB > largest.KiB {
			largest = r
		}
		if r.Seconds > hostileTime.Seconds() || r.KiB > hostileMemory>>10 || r.Status < 0 || r.Status > 1 {
			t.Errorf("%v: status %d, %.3f s, %d MiB\n%.500s", commands[k], r.Status, r.Seconds, r.KiB>>10, r.Output)
		}
		if commands[k][1] != "convert" || commands[k][2] != "--out" {
			continue
		}
		right := func(code string) bool { return strings.Contains(r.Output, "refused: "+code+": ") }
		if r.Status != 1 || !slices.ContainsFunc(m.Codes, right) {
			t.Errorf("%s: status %d, want %v\n%.500s", m.File, r.Status, m.Codes, r.Output)
		}
	}
	for i, m := range manifest {
		if m.Proved {
			proved[m.Attack] = true
		}
		if left, _ := os.ReadDir(filepath.Join(out, fmt.Sprint(i))); len(left) != 0 {
			t.Errorf("%s left %v", m.File, left)
		}
		// --tensors may convert what is no embedding, but no file that runs code.
		if left, _ := os.ReadDir(filepath.Join(out, fmt.Sprint(i, "t"))); len(left) != 0 && m.Proved {
			t.Errorf("%s left %v", m.File, left)
		}
	}
	executed, err := os.ReadDir(canaries)
	if err != nil || len(executed) != 0 {
		t.Errorf("executed: %v, %v", executed, err)
	}
	if len(seen) < minAttacks || len(proved) < minProved {
		t.Errorf("only %d attacks, %d of them proved", len(seen), len(proved))
	}
	t.Logf("%d attacks in %d files, %d proved with Python: %d executed; mean %.0f ms a process, slowest %.0f ms (%s), largest %d MiB (%s)",
		len(seen), len(manifest), len(proved), len(executed), 1000*total.Seconds/float64(len(reports)),
		1000*slowest.Seconds, slowest.file, largest.KiB>>10, largest.file)
}

// report is what testdata/run_each.py says of one command.
type report struct {
	Status  int
	Seconds float64
	KiB     int64
	Output  string

	file string
}

func runEach(t *testing.T, interpreter string, commands [][]string) []report {
	t.Helper()
	input, err := json.Marshal(commands)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(interpreter, "testdata/run_each.py")
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &errs
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	var reports []report
	if err := json.Unmarshal(output, &reports); err != nil || len(reports) != len(commands) {
		t.Fatalf("%d reports for %d commands: %v", len(reports), len(commands), err)
	}
	return reports
}
