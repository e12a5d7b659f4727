// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build unix

package localmodel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fakeModel is a model whose server is this test binary.
func fakeModel(t *testing.T, name string) *Model {
	t.Helper()
	f := newFakes(t)
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &Model{Name: name, Dir: f.dir, GGUF: "m.gguf", Python: filepath.Join(f.bin, "python3")}
}

func healthy(url string) bool {
	resp, err := http.Get(url + "/health")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func TestServerGetsItsOptions(t *testing.T) {
	t.Parallel()
	m := fakeModel(t, "m")
	s, err := m.Start(t.Context(), Options{Threads: 3, Context: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	resp, err := http.Get(s.URL() + "/options")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var o launchOptions
	if err := json.NewDecoder(resp.Body).Decode(&o); err != nil {
		t.Fatal(err)
	}
	want := launchOptions{GGUF: "m.gguf", Name: "m", Port: 0, Threads: 3, Parallel: 2, Context: TrainedContext, CacheMiB: cacheMiB}
	if o != want {
		t.Errorf("got %+v, want %+v", o, want)
	}
}

func TestServerIsStartedAgainAtTheSameAddress(t *testing.T) {
	t.Parallel()
	m := fakeModel(t, "m")
	s, err := m.Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	url, pid := s.URL(), s.PID()
	for range 2 {
		if resp, err := http.Get(url + "/die"); err == nil {
			resp.Body.Close()
		}
		eventually(t, "another process serves", func() bool { return s.PID() != pid && s.PID() != 0 && healthy(url) })
		pid = s.PID()
	}
	if s.URL() != url {
		t.Errorf("the address changed from %s to %s", url, s.URL())
	}
	log, _ := os.ReadFile(filepath.Join(m.Dir, logFile))
	if !strings.Contains(string(log), "exit status 7") || !strings.Contains(string(log), "starting again in 500ms") {
		t.Errorf("the log does not tell: %s", log)
	}
}

func TestServerEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, model string
		end         func(s *Server, cancel context.CancelFunc)
		atMost      time.Duration
	}{
		{"with Close", "m", func(s *Server, _ context.CancelFunc) { s.Close(); s.Close() }, stopGrace},
		{"with its context", "m", func(_ *Server, cancel context.CancelFunc) { cancel() }, stopGrace},
		{"by force when it does not hear", "deaf", func(s *Server, _ context.CancelFunc) { s.Close() }, 3 * stopGrace},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s, err := fakeModel(t, c.model).Start(ctx, Options{})
			if err != nil {
				t.Fatal(err)
			}
			pid, start := s.PID(), time.Now()
			c.end(s, cancel)
			<-s.Done()
			if d := time.Since(start); d > c.atMost {
				t.Errorf("took %v", d)
			}
			if !gone(pid) {
				t.Error("the process lives on")
			}
			if s.PID() != 0 {
				t.Errorf("PID is %d", s.PID())
			}
		})
	}
}

func TestAServerThatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	_, err := fakeModel(t, "broken").Start(t.Context(), Options{})
	if !errors.Is(err, ErrServer) || !strings.Contains(err.Error(), "the weights make no sense") {
		t.Errorf("got %v", err)
	}
	m := fakeModel(t, "m")
	m.Python = filepath.Join(m.Dir, "nothing")
	if _, err := m.Start(t.Context(), Options{}); !errors.Is(err, ErrServer) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fakeModel(t, "m").Start(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The deaf server does not watch its standard input, so this is the kernel's signal; the other is the launcher's way.
func TestServerDoesNotOutliveAKilledParent(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "deaf"} {
		f := newFakes(t)
		if err := os.MkdirAll(f.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		self, _ := os.Executable()
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), envPlay+"=parent", envDir+"="+f.dir, envBin+"="+f.bin, "HORDE_LOCALMODEL_NAME="+name)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || pid <= 1 || gone(pid) {
			cmd.Process.Kill()
			t.Fatalf("the parent said %q", line)
		}
		cmd.Process.Kill()
		cmd.Wait()
		eventually(t, "the server is gone", func() bool { return gone(pid) })
	}
}

func TestLogStaysSmall(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "log")
	w, err := openLog(name)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 3 * logMax / len(line) {
		w.Write(line)
	}
	w.Write([]byte("the end\n\n"))
	if got := w.LastLine(); got != "the end" {
		t.Errorf("last line %q", got)
	}
	w.Close()
	w.Write(line)
	for _, n := range []string{name, name + ".1"} {
		if info, err := os.Stat(n); err != nil || info.Size() > logMax {
			t.Errorf("%s: %v, %v", n, info, err)
		}
	}
}
