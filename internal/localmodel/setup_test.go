// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build unix

package localmodel

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestSetupLeavesACompleteModelAndNothingElse(t *testing.T) {
	t.Parallel()
	f := newFakes(t)
	s := f.setup()
	if _, err := s.find(); !errors.Is(err, ErrNotSetUp) {
		t.Fatalf("find before: %v", err)
	}
	m, err := s.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(m.GGUF); err != nil || string(data) != fakeGGUF {
		t.Errorf("weights: %q, %v", data, err)
	}
	if m.Python != filepath.Join(f.bin, "python3") || m.Name != ModelName {
		t.Errorf("model: %+v", m)
	}
	var left []string
	filepath.Walk(f.dir, func(p string, i os.FileInfo, err error) error {
		if err == nil && !i.IsDir() {
			rel, _ := filepath.Rel(f.dir, p)
			left = append(left, rel)
		}
		return nil
	})
	if got := strings.Join(left, " "); got != "lock model.json site/engine/__init__.py site/engine/native.so site/w/m.gguf" {
		t.Errorf("files: %s", got)
	}
	var stages []string
	for i, p := range f.steps {
		if i == 0 || p.Stage != f.steps[i-1].Stage {
			stages = append(stages, string(p.Stage))
		}
		if p.Total > 0 && p.Done > p.Total {
			t.Errorf("more done than there is: %+v", p)
		}
	}
	if got := strings.Join(stages, ", "); got != "looking for Python, downloading, unpacking, ready" {
		t.Errorf("stages: %s", got)
	}
}

func TestASecondSetupAsksForNothing(t *testing.T) {
	t.Parallel()
	f := newFakes(t)
	if _, err := f.setup().run(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := f.asked()
	start := time.Now()
	if _, err := f.setup().run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.asked() != asked {
		t.Errorf("pip was asked again: %s", f.asked())
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %v", d)
	}
}

func TestSetupSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	answer := func(version, rest string) string {
		return `{"version": [` + version + `], "executable": "/opt/p", ` + rest + `}`
	}
	good := `"bits": 64, "freethreaded": false, "musl": false`
	for _, c := range []struct {
		name  string
		files map[string]string // put beside the fake Python, "-" removes
		want  error
		says  string
	}{
		{"no Python at all", map[string]string{"python3": "-"}, ErrNoPython, ""},
		{"a Python that is too old", map[string]string{"answer": answer("3, 9, 2", good)}, ErrNoPython, "3.9.2) is older than 3.10"},
		{"Python 2", map[string]string{"answer": answer("2, 7, 18", good)}, ErrNoPython, "older than 3.10"},
		{"a 32 bit Python", map[string]string{"answer": answer("3, 12, 0", `"bits": 32`)}, ErrNoPython, "not 64 bits"},
		{"a free-threaded Python", map[string]string{"answer": answer("3, 13, 0", `"bits": 64, "freethreaded": true`)}, ErrNoPython, "free-threaded"},
		{"a Python that says nonsense", map[string]string{"answer": "hello"}, ErrNoPython, ""},
		{"a musl system", map[string]string{"answer": answer("3, 12, 0", `"bits": 64, "musl": true`)}, ErrUnsupported, "musl"},
		{"no pip and no venv", map[string]string{"nopip": "", "novenv": ""}, ErrNoPip, "ensurepip is not available"},
		{"no network", map[string]string{"pipsays": "WARNING: Retrying after connection broken by 'NewConnectionError('<pip.HTTPSConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection refused')': /simple/weights/\n" +
			"ERROR: Could not find a version that satisfies the requirement\nERROR: No matching distribution found for weights==1\n"}, ErrNoNetwork, "reached: Failed to establish a new connection: [Errno 111] Connection refused"},
		{"a proxy that refuses", map[string]string{"pipsays": "ProxyError('Cannot connect to proxy.')\n"}, ErrNoNetwork, "Cannot connect to proxy"},
		{"a wheel that the index lacks", map[string]string{"pipsays": "ERROR: No matching distribution found for weights==1\n"}, ErrUnsupported, "weights==1"},
		{"a pip that breaks", map[string]string{"pipsays": "Traceback\nImportError: cannot import name 'x'\n"}, ErrDownload, "ImportError"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFakes(t)
			for name, content := range c.files {
				if content == "-" {
					f.remove(name)
				} else {
					f.put(t, name, content)
				}
			}
			_, err := f.setup().run(t.Context())
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.says)
			}
			if _, err := f.setup().find(); !errors.Is(err, ErrNotSetUp) {
				t.Errorf("find after a failure: %v", err)
			}
		})
	}
}

func TestAPythonWithoutPipMakesAVenvForIt(t *testing.T) {
	t.Parallel()
	f := newFakes(t)
	f.put(t, "nopip", "")
	m, err := f.setup().run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Python != filepath.Join(f.bin, "python3") {
		t.Errorf("runs with %s", m.Python)
	}
	if _, err := os.Stat(filepath.Join(f.dir, pipVenvDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the venv is still there: %v", err)
	}
}

func TestAWrongWheelIsRefusedAndRemoved(t *testing.T) {
	t.Parallel()
	f := newFakes(t)
	f.put(t, "engine.whl", "not what it was")
	_, err := f.setup().run(t.Context())
	var sum *ChecksumError
	if !errors.As(err, &sum) || sum.File != "engine.whl" {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, wheelsDir, "engine.whl")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the wrong wheel is still there")
	}
	f.put(t, "engine.whl", string(f.index()[1].content))
	if _, err := f.setup().run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.asked() != "weights engine engine" {
		t.Errorf("asked for %s", f.asked())
	}
}

func TestWrongWeightsAreRefused(t *testing.T) {
	t.Parallel()
	f := newFakes(t)
	s := f.setup()
	s.ggufSHA256 = strings.Repeat("0", 64)
	var sum *ChecksumError
	if _, err := s.run(t.Context()); !errors.As(err, &sum) || sum.File != "m.gguf" {
		t.Fatalf("got %v", err)
	}
	if _, err := f.setup().find(); !errors.Is(err, ErrNotSetUp) {
		t.Errorf("find: %v", err)
	}
}

func TestACancelledSetupGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	f := newFakes(t)
	f.put(t, "hang", "engine")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for i := 0; i < 1000 && ctx.Err() == nil; i++ {
			if _, err := os.Stat(filepath.Join(f.bin, "sleeper")); err == nil {
				cancel()
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	if _, err := f.setup().run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	goneWithChildren(t, f)
	f.remove("hang")
	if _, err := f.setup().run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.asked() != "weights engine engine" {
		t.Errorf("asked for %s", f.asked())
	}
}

func TestAKilledSetupGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	f := newFakes(t)
	f.put(t, "hang", "engine")
	self, _ := os.Executable()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envPlay+"=setup", envDir+"="+f.dir, envBin+"="+f.bin)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pip hangs", func() bool { _, err := os.Stat(filepath.Join(f.bin, "sleeper")); return err == nil })
	cmd.Process.Kill()
	cmd.Wait()
	f.remove("hang")
	if _, err := f.setup().run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.asked() != "weights engine engine" {
		t.Errorf("asked for %s", f.asked())
	}
	// Only pip itself is bound to its parent's death; what it started is ended here.
	if pid := readPID(t, f, "sleeper"); pid > 0 {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestSetupsAtTheSameTimeDownloadOnce(t *testing.T) {
	t.Parallel()
	f := newFakes(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			own := &fakes{dir: f.dir, bin: f.bin}
			if _, err := own.setup().run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if f.asked() != "weights engine" {
		t.Errorf("asked for %s", f.asked())
	}
}

func TestDamageIsFoundAndRepaired(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, f *fakes, s *setup)
		asked  string // in all
	}{
		{"cut weights", func(t *testing.T, f *fakes, s *setup) { os.Truncate(s.path(siteDir, s.gguf), 3) }, "weights engine weights engine"},
		{"a marker of nonsense", func(t *testing.T, f *fakes, s *setup) { os.WriteFile(s.path(markerFile), []byte("{"), 0o644) }, "weights engine weights engine"},
		{"a marker of another version", func(t *testing.T, f *fakes, s *setup) {
			os.WriteFile(s.path(markerFile), []byte(`{"wheels": {"old.whl": "00"}, "python": "/p"}`), 0o644)
		}, "weights engine weights engine"},
		{"a Python that was removed", func(t *testing.T, f *fakes, s *setup) {
			f.put(t, "python3.12", pythonScript)
			f.put(t, "answer", `{"version": [3, 12, 1], "bits": 64, "executable": "`+filepath.Join(f.bin, "python3.12")+`"}`)
			f.remove("python3")
		}, "weights engine"},
		{"half an unpacking", func(t *testing.T, f *fakes, s *setup) {
			os.Remove(s.path(markerFile))
			os.Rename(s.path(siteDir), s.path(siteNewDir))
		}, "weights engine weights engine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFakes(t)
			s := f.setup()
			if _, err := s.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.damage(t, f, s)
			if _, err := s.find(); !errors.Is(err, ErrNotSetUp) {
				t.Errorf("find: %v", err)
			}
			if _, err := s.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if f.asked() != c.asked {
				t.Errorf("asked for %s", f.asked())
			}
		})
	}
}

func TestPlatformsWithoutABuild(t *testing.T) {
	t.Parallel()
	for _, p := range [][2]string{{"windows", "amd64"}, {"linux", "riscv64"}, {"freebsd", "amd64"}} {
		if _, err := wheelsFor(p[0], p[1]); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%v: %v", p, err)
		}
	}
	for platform := range serverWheels {
		goos, goarch, _ := strings.Cut(platform, "/")
		wheels, err := wheelsFor(goos, goarch)
		if err != nil || len(wheels) != 2 {
			t.Fatalf("%s: %v, %v", platform, wheels, err)
		}
		for _, w := range wheels {
			if len(w.sha256) != 64 || !strings.HasSuffix(w.file, ".whl") {
				t.Errorf("%s: %+v", platform, w)
			}
		}
	}
}

func TestProgressReadsAsALine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p    Progress
		want string
	}{
		{Progress{Stage: StagePython}, "looking for Python"},
		{Progress{StageDownload, 45_600_000, 127_000_000}, "downloading 45 of 127 MB"},
		{Progress{StageDownload, 45_600_000, 0}, "downloading 45 MB"},
	} {
		if got := c.p.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func readPID(t *testing.T, f *fakes, name string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.bin, name))
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

// goneWithChildren checks that neither the hanging pip nor its child lives on.
func goneWithChildren(t *testing.T, f *fakes) {
	t.Helper()
	for _, name := range []string{"hanging", "sleeper"} {
		pid := readPID(t, f, name)
		eventually(t, name+" is gone", func() bool { return gone(pid) })
	}
}

// gone tells whether a process is no more; one that nobody has waited for yet counts as gone.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(rest, "Z")
}
