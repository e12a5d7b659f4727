// SPDX-License-Identifier: AGPL-3.0-or-later

package localmodel

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

//go:embed launcher.py
var launcher []byte

const (
	// startTimeout is for loading the model: about 2 s on an idle machine, several times that on a busy one.
	startTimeout = 2 * time.Minute
	// backoffFirst and backoffMax bound the pause before a server that died is started again; the pause doubles with
	// each death and is back at the first after a life of steadyAfter.
	backoffFirst = 250 * time.Millisecond
	backoffMax   = 30 * time.Second
	steadyAfter  = time.Minute
	// stopGrace is how long a server may take to end after its standard input was closed.
	stopGrace = 2 * time.Second
	// cacheMiB bounds the prompts whose state the server keeps in memory. Its own default is 8 GiB.
	cacheMiB = 256
	// healthEvery is the pause between two questions to a server that is coming up.
	healthEvery = 50 * time.Millisecond
)

// Options are how to run the server. The zero value is good for one machine with a few users.
type Options struct {
	// Port on loopback; 0 takes a free one.
	Port int
	// Threads for one token; 0 means half the processors, at least one. More than the machine has free makes the
	// server slower, because its threads wait for each other by spinning.
	Threads int
	// Parallel is how many requests are worked on at once; 0 means 2.
	Parallel int
	// Context is the tokens of prompt and answer for each of them; 0 means 2048, the most is [TrainedContext].
	Context int
}

func (o Options) withDefaults() Options {
	if o.Threads <= 0 {
		o.Threads = max(1, runtime.NumCPU()/2)
	}
	if o.Parallel <= 0 {
		o.Parallel = 2
	}
	if o.Context <= 0 {
		o.Context = 2048
	}
	o.Context = min(o.Context, TrainedContext)
	return o
}

// launchOptions is what launcher.py reads.
type launchOptions struct {
	GGUF     string `json:"gguf"`
	Name     string `json:"name"`
	Port     int    `json:"port"`
	Threads  int    `json:"threads"`
	Parallel int    `json:"parallel"`
	Context  int    `json:"context"`
	CacheMiB int    `json:"cache_mib"`
}

// Server is llama.cpp's server as a child process. One goroutine, started by Start, owns the process, starts it again
// when it dies and ends it with the context given to Start or with Close. All methods are safe for concurrent use.
type Server struct {
	url    string
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended, and the process with it
	pid    atomic.Int64
}

// URL is the root of the server's API: "http://127.0.0.1:PORT". It stays the same when the server is restarted.
func (s *Server) URL() string { return s.url }

// PID is the process that serves now, 0 while there is none.
func (s *Server) PID() int { return int(s.pid.Load()) }

// Done is closed when the server has ended for good.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close ends the server and waits for that. It may be called more than once.
func (s *Server) Close() {
	s.cancel()
	<-s.done
}

// Start runs the server and returns when it is ready to answer. It lives until ctx ends, Close is called or this
// process dies, and is started again whenever it dies on its own. Its log is the file server.log in the model's
// directory. The error is ErrServer with the log's last line, ctx's, or one of the file system.
func (m *Model) Start(ctx context.Context, o Options) (*Server, error) {
	o = o.withDefaults()
	script := filepath.Join(m.Dir, launcherFile)
	if err := writeFile(script, launcher); err != nil {
		return nil, err
	}
	log, err := openLog(filepath.Join(m.Dir, logFile))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Server{cancel: cancel, done: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		defer close(s.done)
		defer log.Close()
		// The kernel ends the child with the thread that started it, so this goroutine keeps its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		s.supervise(ctx, m, o, script, log, ready)
	}()
	if err := <-ready; err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// supervise runs one process after another. ready gets the outcome of the first, after s.url was set.
func (s *Server) supervise(ctx context.Context, m *Model, o Options, script string, log *logWriter, ready chan<- error) {
	pause := backoffFirst
	for first := true; ; first = false {
		started := time.Now()
		err := s.runOnce(ctx, m, o, script, log, func(address string, port int) {
			if first {
				s.url, o.Port = address, port // a later process takes the same port
				ready <- nil
			}
		})
		if first && s.url == "" {
			if ctx.Err() != nil {
				err = ctx.Err()
			} else {
				err = fmt.Errorf("%w: %v: %s", ErrServer, err, log.LastLine())
			}
			ready <- err
			return
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) >= steadyAfter {
			pause = backoffFirst
		}
		fmt.Fprintf(log, "server ended (%v), starting again in %v\n", err, pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, backoffMax)
	}
}

// runOnce runs one process until it ends, and calls up once it answers.
func (s *Server) runOnce(ctx context.Context, m *Model, o Options, script string, log *logWriter, up func(address string, port int)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options, err := json.Marshal(launchOptions{
		GGUF: m.GGUF, Name: m.Name, Port: o.Port, Threads: o.Threads, Parallel: o.Parallel, Context: o.Context, CacheMiB: cacheMiB,
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, m.Python, "-I", script, filepath.Join(m.Dir, siteDir), string(options))
	cmd.Dir = m.Dir
	cmd.Stderr = log
	ownGroup(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	// The end of standard input is the launcher's word to go; the group is killed only where it does not.
	var killer *time.Timer // set by Cancel, which Wait waits for
	kill := cmd.Cancel
	cmd.Cancel = func() error {
		killer = time.AfterFunc(stopGrace, func() { kill() })
		return stdin.Close()
	}
	cmd.WaitDelay = stopGrace + killDelay
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.pid.Store(int64(cmd.Process.Pid))
	defer s.pid.Store(0)

	starting, started := context.WithTimeout(ctx, startTimeout)
	watcher := make(chan error, 1)
	go func() {
		address, port, err := readAddress(stdout)
		if err == nil {
			err = waitHealthy(starting, address)
		}
		if err == nil {
			up(address, port)
		} else {
			cancel() // a server that does not come up in time is ended
		}
		started()
		io.Copy(io.Discard, stdout)
		watcher <- err
	}()
	stop := context.AfterFunc(starting, func() {
		if errors.Is(starting.Err(), context.DeadlineExceeded) {
			cancel()
		}
	})
	defer stop()
	werr := <-watcher // ends with standard output, thus with the process
	err = cmd.Wait()
	if killer != nil {
		killer.Stop() // the process id may be another's from here on
	}
	if werr != nil && (err == nil || ctx.Err() == nil) {
		return werr
	}
	return err
}

// readAddress reads the launcher's one line.
func readAddress(r io.Reader) (address string, port int, err error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadBytes('\n')
	if err != nil {
		return "", 0, errors.New("it ended before it was ready")
	}
	var said struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(line, &said); err != nil {
		return "", 0, fmt.Errorf("its address: %w", err)
	}
	u, err := url.Parse(said.URL)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(u.Port())
	return said.URL, port, err
}

// waitHealthy returns when the server's /health answers 200.
func waitHealthy(ctx context.Context, address string) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/health", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(healthEvery):
		}
	}
}

// Remove deletes the model's directory with all that Setup put there. A running server must be closed first.
func (m *Model) Remove() error { return os.RemoveAll(m.Dir) }
