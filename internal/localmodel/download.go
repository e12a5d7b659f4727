// SPDX-License-Identifier: AGPL-3.0-or-later

package localmodel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

const (
	// progressEvery is how often the size of the growing files is looked at.
	progressEvery = 200 * time.Millisecond
	// pipTimeout is pip's patience with a silent connection, pipRetries how often it then tries again. With both an
	// offline machine is told so in seconds instead of pip's own minute or more.
	pipTimeout = 20 * time.Second
	pipRetries = 2
	// pipOutputMax bounds what is kept of pip's output, in bytes.
	pipOutputMax = 64 << 10
	// killDelay is how long a killed process may keep its output open.
	killDelay = 2 * time.Second
)

// missingWheels returns the wheels that are not there yet. One with another sum is removed first.
func (s *setup) missingWheels() ([]wheel, error) {
	var missing []wheel
	for _, w := range s.wheels {
		err := s.check(w)
		var sum *ChecksumError
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist) || errors.As(err, &sum):
			missing = append(missing, w)
		default:
			return nil, err
		}
	}
	return missing, nil
}

// check compares the sum of a downloaded wheel and removes the file where it differs.
func (s *setup) check(w wheel) error {
	name := s.path(wheelsDir, w.file)
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != w.sha256 {
		return errors.Join(&ChecksumError{File: w.file, Got: got, Want: w.sha256}, os.Remove(name))
	}
	return nil
}

// download fetches the missing wheels one after another, so that an interruption costs one of them at most, and
// reports bytes of all wheels.
func (s *setup) download(ctx context.Context, program string, missing []wheel) error {
	for _, dir := range []string{wheelsDir, tempDir} {
		if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
			return err
		}
	}
	var total int64
	for _, w := range s.wheels {
		if w.size == 0 {
			total = 0
			break
		}
		total += w.size
	}
	// finished is what was there before the wheel that is being fetched. That one grows in pip's temporary directory
	// and is then copied to where it belongs.
	finished := treeSize(s.path(wheelsDir))
	report := func(w wheel) {
		here := treeSize(s.path(tempDir))
		if info, err := os.Stat(s.path(wheelsDir, w.file)); err == nil {
			here = max(here, info.Size())
		}
		if w.size > 0 {
			here = min(here, w.size)
		}
		s.progress(Progress{Stage: StageDownload, Done: finished + here, Total: total})
	}
	for _, w := range missing {
		result := make(chan error, 1)
		go func() { result <- s.pip(ctx, program, w) }()
		tick := time.NewTicker(progressEvery)
		var err error
		for waiting := true; waiting; {
			select {
			case err = <-result:
				waiting = false
			case <-tick.C:
				report(w)
			}
		}
		tick.Stop()
		if err != nil {
			return err
		}
		if err := s.check(w); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: pip did not bring %s", ErrDownload, w.file)
		} else if err != nil {
			return err
		}
		report(w)
		finished = treeSize(s.path(wheelsDir))
	}
	return nil
}

// pip runs one "pip download". The goroutine keeps its thread: see ownGroup.
func (s *setup) pip(ctx context.Context, program string, w wheel) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, program, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
		"--no-cache-dir", "--disable-pip-version-check", "--no-input", "--progress-bar", "off",
		"--retries", fmt.Sprint(pipRetries), "--timeout", fmt.Sprint(int(pipTimeout.Seconds())),
		"--dest", s.path(wheelsDir), w.requirement)
	// pip downloads into its temporary directory, which is how its progress can be watched with every version of it.
	// A user's demand for virtual environments is about installing, which this is not.
	cmd.Env = append(os.Environ(), "TMPDIR="+s.path(tempDir), "PIP_REQUIRE_VIRTUALENV=0")
	ownGroup(cmd)
	out := &tailBuffer{max: pipOutputMax}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return pipError(w, string(out.data), err)
	}
	return nil
}

// networkTrouble is how pip and the libraries below it speak of a connection that cannot be made or kept.
var networkTrouble = regexp.MustCompile(`(?i)failed to establish a new connection|name resolution|failed to resolve|connection broken|` +
	`max retries exceeded|connection (refused|reset|aborted)|network is unreachable|no route to host|timed? ?out|` +
	`proxyerror|sslerror|certificate verify failed|temporary failure|50[234] server error`)

// pipError says why pip failed, as far as its words tell. Those about the network come first, because pip ends an
// offline run with "no matching distribution".
func pipError(w wheel, output string, err error) error {
	said := lastLine(output)
	if said == "" {
		said = err.Error()
	}
	if at := networkTrouble.FindStringIndex(output); at != nil {
		// The line may wrap the reason in the names of Python objects: "…('<… object at 0x7f>: REASON')…".
		line, _, _ := strings.Cut(output[at[0]:], "\n")
		line = line[strings.LastIndex(line, ">: ")+1:]
		reason, _, _ := strings.Cut(strings.TrimPrefix(line, ": "), "')")
		return fmt.Errorf("%w: %s", ErrNoNetwork, lastLine(reason))
	}
	switch {
	case strings.Contains(output, "No matching distribution"):
		return fmt.Errorf("%w: the index offers no %s for it", ErrUnsupported, w.requirement)
	}
	return fmt.Errorf("%w %s: %s", ErrDownload, w.requirement, said)
}

// treeSize is the sum of the sizes of the files below dir; files that vanish meanwhile do not count.
func treeSize(dir string) int64 {
	var sum int64
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// tailBuffer is a writer that keeps the last max bytes.
type tailBuffer struct {
	max  int
	data []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	if over := len(b.data) - b.max; over > 0 {
		b.data = append(b.data[:0], b.data[over:]...)
	}
	return len(p), nil
}
