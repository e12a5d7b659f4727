// SPDX-License-Identifier: AGPL-3.0-or-later

package localmodel

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// pythonNames are the names under which a Python may be installed, the likeliest first. "python3" is what an active
// virtual environment or a version manager puts in front, so it wins over a numbered name.
var pythonNames = []string{"python3", "python", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"}

const (
	// maxPythons bounds how many programs are asked: each costs a process, and a PATH may be long.
	maxPythons = 16
	// askTimeout is for one question to one Python; a cold start on a slow disk takes a few seconds.
	askTimeout = 20 * time.Second
)

// pythonQuestion prints what decides whether a Python can load the server's wheel. It is kept to what Python 2 parses
// too, so that an old one answers instead of failing.
const pythonQuestion = `
import sys, json, sysconfig
json.dump({"version": list(sys.version_info[:3]), "bits": 64 if sys.maxsize > 2**32 else 32,
  "freethreaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")), "executable": sys.executable,
  "musl": "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE"))}, sys.stdout)
`

// python is one interpreter as it describes itself.
type python struct {
	Version      [3]int `json:"version"`
	Bits         int    `json:"bits"`
	Freethreaded bool   `json:"freethreaded"`
	Musl         bool   `json:"musl"`
	Executable   string `json:"executable"` // absolute; behind any shim of a version manager
}

func (p python) String() string {
	return fmt.Sprintf("%s (Python %d.%d.%d)", p.Executable, p.Version[0], p.Version[1], p.Version[2])
}

// unfit says why p cannot run the server, "" when it can.
func (p python) unfit() string {
	switch {
	case p.Version[0] < 3 || p.Version[0] == 3 && p.Version[1] < 10:
		return "older than 3.10"
	case p.Bits != 64:
		return "not 64 bits"
	case p.Freethreaded:
		return "a free-threaded build"
	case p.Executable == "":
		return "does not know its own path"
	}
	return ""
}

// findPython returns the first fitting Python of the search path that has pip, or else the first fitting one with
// hasPip false. The error is ErrNoPython with what was found instead, or ErrUnsupported where the fitting ones are
// built for a C library that the server is not built for.
func findPython(ctx context.Context, searchPath string) (found python, hasPip bool, err error) {
	var (
		refused []string
		fit     []python
		musl    bool
	)
	seen := map[string]bool{}
	for _, candidate := range pythonCandidates(searchPath) {
		p, err := askPython(ctx, candidate)
		if ctx.Err() != nil {
			return python{}, false, ctx.Err()
		}
		if err != nil || seen[p.Executable] {
			continue
		}
		seen[p.Executable] = true
		if why := p.unfit(); why != "" {
			refused = append(refused, fmt.Sprintf("%s is %s", p, why))
			continue
		}
		if p.Musl {
			musl = true
			continue
		}
		if pipWorks(ctx, p.Executable) {
			return p, true, nil
		}
		fit = append(fit, p)
	}
	switch {
	case len(fit) > 0:
		return fit[0], false, nil
	case musl:
		return python{}, false, fmt.Errorf("%w: Python uses the C library musl", ErrUnsupported)
	case len(refused) > 0:
		return python{}, false, fmt.Errorf("%w: %s", ErrNoPython, strings.Join(refused, ", "))
	}
	return python{}, false, ErrNoPython
}

// pythonCandidates lists the programs on the search path that may be a Python, by name first and directory second.
func pythonCandidates(searchPath string) []string {
	var list []string
	for _, name := range pythonNames {
		for _, dir := range filepath.SplitList(searchPath) {
			if !filepath.IsAbs(dir) {
				continue // a relative entry would run what lies in the current directory
			}
			file := filepath.Join(dir, name)
			if info, err := os.Stat(file); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
				continue
			}
			if list = append(list, file); len(list) == maxPythons {
				return list
			}
		}
	}
	return list
}

func askPython(ctx context.Context, program string) (python, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-I", "-c", pythonQuestion)
	ownGroup(cmd)
	out, err := cmd.Output()
	if err != nil {
		return python{}, err
	}
	var p python
	if err := json.Unmarshal(out, &p); err != nil {
		return python{}, err
	}
	return p, nil
}

func pipWorks(ctx context.Context, program string) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-m", "pip", "--version")
	ownGroup(cmd)
	return cmd.Run() == nil
}

// pipFromVenv makes a virtual environment in dir, which brings pip along, and returns its Python. Debian's Python
// without the package python3-venv cannot; the error then is ErrNoPip.
func pipFromVenv(ctx context.Context, p python, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, p.Executable, "-m", "venv", "--clear", dir)
	ownGroup(cmd)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	inside := filepath.Join(dir, "bin", "python")
	if err != nil || !pipWorks(ctx, inside) {
		return "", fmt.Errorf("%w: %s: install pip (Debian, Ubuntu: apt install python3-pip): %s",
			ErrNoPip, p, lastLine(string(out)))
	}
	return inside, nil
}

// lastLine returns the last line of s that has text, cut to 300 bytes.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	s = strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
	if len(s) > 300 {
		s = s[:300]
	}
	return s
}
