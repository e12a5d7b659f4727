// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is what processes have used so far, and what they hold now.
type usage struct {
	cpu time.Duration
	// memory is what they hold of the machine's memory, in bytes: pages that several share count in parts. anonymous is what of
	// it is not the contents of files.
	memory, anonymous int64
}

// clockTick is the unit of processor times in /proc on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// processes reads what processes and all their children use, from /proc.
type processes []int

// cpu is the processor time that they have used, children that have ended included.
func (p processes) cpu() (time.Duration, error) {
	tree, err := p.tree()
	var sum time.Duration
	for _, s := range tree {
		sum += time.Duration(s.ticks) * clockTick
	}
	return sum, err
}

// all is cpu and memory. Reading memory walks page tables, which takes a while for large processes.
func (p processes) all() (usage, error) {
	tree, err := p.tree()
	var u usage
	for _, s := range tree {
		u.cpu += time.Duration(s.ticks) * clockTick
		total, anonymous := memoryOf(s.pid)
		u.memory += total
		u.anonymous += anonymous
	}
	return u, err
}

type stat struct {
	pid, parent int
	ticks       int64
}

// tree is the processes with all that descend from them.
func (p processes) tree() ([]stat, error) {
	if len(p) == 0 {
		return nil, nil
	}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]stat{}
	found := map[int]stat{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		s, ok := parseStat(text)
		if !ok {
			continue
		}
		children[s.parent] = append(children[s.parent], s)
		found[s.pid] = s
	}
	var out []stat
	seen := map[int]bool{}
	var add func(s stat)
	add = func(s stat) {
		if seen[s.pid] {
			return
		}
		seen[s.pid] = true
		out = append(out, s)
		for _, c := range children[s.pid] {
			add(c)
		}
	}
	for _, pid := range p {
		s, ok := found[pid]
		if !ok {
			return nil, fmt.Errorf("there is no process %d", pid)
		}
		add(s)
	}
	return out, nil
}

// parseStat reads a line of /proc/PID/stat. The name, in parentheses, may hold anything.
func parseStat(text []byte) (s stat, ok bool) {
	end := bytes.LastIndexByte(text, ')')
	space := bytes.IndexByte(text, ' ')
	if end < 0 || space < 0 {
		return s, false
	}
	f := strings.Fields(string(text[end+1:]))
	// f[0] is the third field, the state.
	const parent, utime, stime, cutime, cstime = 1, 11, 12, 13, 14
	if len(f) <= cstime {
		return s, false
	}
	var err error
	if s.pid, err = strconv.Atoi(string(text[:space])); err != nil {
		return s, false
	}
	s.parent, _ = strconv.Atoi(f[parent])
	for _, i := range []int{utime, stime, cutime, cstime} {
		n, _ := strconv.ParseInt(f[i], 10, 64)
		s.ticks += n
	}
	return s, true
}

// memoryOf is what a process holds, in bytes. Where its share of common pages cannot be read, those count fully.
func memoryOf(pid int) (total, anonymous int64) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	if m := memoryLines(filepath.Join(dir, "smaps_rollup")); m["Pss"] > 0 {
		return m["Pss"], m["Pss_Anon"]
	}
	m := memoryLines(filepath.Join(dir, "status"))
	return m["VmRSS"], m["RssAnon"]
}

// memoryLines reads lines like "Pss:   12 kB".
func memoryLines(file string) map[string]int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	out := map[string]int64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), ":")
		if number, isKB := strings.CutSuffix(strings.TrimSpace(value), " kB"); ok && isKB {
			if n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64); err == nil {
				out[name] = n << 10
			}
		}
	}
	return out
}

// ownCPU is the processor time of this process.
func ownCPU() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// cpuModel is what the processors are called, empty when nobody says.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
