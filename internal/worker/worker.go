// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"

	"horde/client"
	"horde/internal/fetch"
	"horde/internal/worker/backend"
)

// UI is where a worker shows what it does.
type UI struct {
	// Out gets the status: a block that is redrawn where Terminal is true, else nothing (the log says it).
	Out io.Writer
	// Terminal says that Out is a terminal that understands ANSI sequences.
	Terminal bool
	// Log gets a line for each event. On a terminal the lines are shown above the block; Run takes care of that.
	Log *slog.Logger
	// Stop is read for signals to stop: the first drains, the second hands back what has not been begun, the third
	// interrupts everything. Nil: only the end of Run's context drains.
	Stop <-chan os.Signal
}

// DefaultUI shows on standard output when that is a terminal, logs to standard error, and stops at SIGINT and SIGTERM.
func DefaultUI(cfg Config) UI {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ui := UI{Out: os.Stdout, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Stop: signals}
	ui.Terminal = term.IsTerminal(int(os.Stdout.Fd())) && !cfg.DisableTerminalUI && os.Getenv("TERM") != "dumb"
	return ui
}

// Backends overrides what the configuration would look for. The demo servers inside this program come in this way.
type Backends struct {
	Text   backend.Text
	Images backend.Images
	// files replaces the guarded clients that fetch LoRAs and textual inversions, for tests.
	files fetch.Doer
}

// process is one running worker program. cfg does not change after Run has begun.
type process struct {
	cfg   Config
	horde *client.Client
	board *board
	log   *slog.Logger

	drain        chan struct{}   // closed: pop nothing more
	faultWaiting chan struct{}   // closed: hand back what has not been begun
	hard         context.Context // ended: interrupt everything
	last         context.Context // ended: no more calls to the horde
	hardStop     context.CancelFunc
	lastStop     context.CancelFunc
	screen       *screen  // nil without a terminal
	atEnd        []func() // called by close, after the loops have ended
	stopOnce     sync.Once
	forced       bool

	mu   sync.Mutex // guards user
	user client.User
}

const (
	// backendPatience is how long an inference server may take to come up at start.
	backendPatience = 120 * time.Second
	// lastCalls is how long faults may be handed in after everything was interrupted.
	lastCalls = 5 * time.Second
	// accountEvery is the pause between two looks at the account and the worker's record.
	accountEvery = 60 * time.Second
)

// Run works until ctx ends or UI.Stop says so, and everything in hand is delivered. kinds are "dreamer" and "scribe";
// none means those with a name in cfg. The error is nil after draining, and otherwise an *ExitError.
func Run(ctx context.Context, cfg Config, ui UI, given Backends, kinds ...string) error {
	return run(ctx, cfg, ui, given, kinds)
}

func run(ctx context.Context, cfg Config, ui UI, given Backends, kinds []string, opts ...client.Option) error {
	p, err := newProcess(ctx, cfg, &ui, opts...)
	if err != nil {
		return err
	}
	defer p.close()
	loops, err := p.prepare(ctx, ui.Stop, given, kinds)
	if err != nil || loops == nil {
		return err
	}
	done := make(chan struct{})
	var side sync.WaitGroup
	side.Go(func() { p.obey(ctx, ui.Stop, done) })
	side.Go(func() { p.watchAccount(done) })
	if p.screen != nil {
		side.Go(func() { p.screen.run(done) })
	} else if cfg.StatsOutputFrequency > 0 {
		side.Go(func() { p.logStatus(done) })
	}
	stopMetrics, err := p.serveMetrics()
	if err == nil {
		err = p.runLoops(loops)
	}
	close(done)
	side.Wait()
	if stopMetrics != nil {
		stopMetrics()
	}
	if err == nil && p.forced {
		err = exitf(ExitForced, "interrupted with work in hand")
	}
	return err
}

// newProcess prepares a process that does nothing yet. On a terminal it takes over the log.
func newProcess(ctx context.Context, cfg Config, ui *UI, opts ...client.Option) (*process, error) {
	if ui.Log == nil {
		ui.Log = slog.New(slog.DiscardHandler)
	}
	p := &process{board: newBoard(cfg.HordeURL), drain: make(chan struct{}), faultWaiting: make(chan struct{})}
	if ui.Terminal {
		p.screen = newScreen(ui.Out, p.board)
		ui.Log = slog.New(slog.NewTextHandler(p.screen, nil))
	}
	p.log = ui.Log
	warnings, err := cfg.Prepare()
	for _, w := range warnings {
		p.log.Warn(w)
		p.board.warn(w)
	}
	if err != nil {
		return nil, err
	}
	p.cfg = cfg
	// The loops have rules of their own for every failure, so the client does not retry.
	opts = append([]client.Option{client.WithAgent(DreamerAgent()), client.WithRetry(client.Retry{})}, opts...)
	if p.horde, err = client.New(cfg.HordeURL, cfg.APIKey, opts...); err != nil {
		return nil, &ExitError{Code: ExitConfig, Err: err}
	}
	p.hard, p.hardStop = context.WithCancel(context.WithoutCancel(ctx))
	p.last, p.lastStop = context.WithCancel(context.WithoutCancel(ctx))
	return p, nil
}

// close ends what still runs.
func (p *process) close() {
	p.hardStop()
	p.lastStop()
	for _, f := range p.atEnd {
		f()
	}
}

// runLoops runs all loops to their end and returns the first error.
func (p *process) runLoops(loops []*loop) error {
	errs := make([]error, len(loops))
	var wg sync.WaitGroup
	for i, l := range loops {
		wg.Go(func() {
			if errs[i] = l.run(); errs[i] != nil {
				p.log.Error("worker stopped", "worker", l.kind.label(), "error", errs[i])
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// stopAll makes every loop drain.
func (p *process) stopAll() {
	p.stopOnce.Do(func() {
		close(p.drain)
		p.board.top(func(s *Status) { s.Draining = true })
	})
}

// obey turns signals and the end of ctx into the three steps of stopping.
func (p *process) obey(ctx context.Context, signals <-chan os.Signal, done <-chan struct{}) {
	step, ended := 0, ctx.Done()
	var limit <-chan time.Time
	for {
		select {
		case <-done:
			return
		case <-ended:
			ended = nil
			step = max(step, 1)
		case <-signals:
			step++
		case <-limit:
			p.log.Warn("drain_timeout is over")
			step = 3
		}
		switch {
		case step == 1 && limit == nil:
			p.log.Info("stopping: finishing what is in hand", "at_most", p.cfg.DrainTimeout.Duration())
			p.stopAll()
			t := time.NewTimer(p.cfg.DrainTimeout.Duration())
			defer t.Stop()
			limit = t.C
		case step == 2:
			p.log.Info("handing back what has not been begun")
			close(p.faultWaiting)
		case step >= 3:
			p.log.Warn("interrupting everything")
			p.stopAll()
			p.forced = true
			p.hardStop()
			time.AfterFunc(lastCalls, p.lastStop)
			return
		}
	}
}

// prepare makes the loops, which may wait for the inference servers. A signal to stop, or the end of ctx, ends the waiting:
// then it returns neither loops nor an error, for nothing is in hand.
func (p *process) prepare(ctx context.Context, stop <-chan os.Signal, given Backends, kinds []string) ([]*loop, error) {
	preparing, cancel := context.WithCancel(ctx)
	defer cancel()
	var told atomic.Bool
	ready := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-stop:
			told.Store(true)
			cancel()
		case <-ready:
		}
	})
	loops, err := p.loops(preparing, given, kinds)
	close(ready)
	watching.Wait()
	if told.Load() || ctx.Err() != nil {
		p.log.Info("stopping: nothing had begun")
		return nil, nil
	}
	return loops, err
}

// loops makes the loops of the kinds asked for and waits for their inference servers.
func (p *process) loops(ctx context.Context, given Backends, kinds []string) ([]*loop, error) {
	if len(kinds) == 0 {
		if p.cfg.DreamerName != "" {
			kinds = append(kinds, "dreamer")
		}
		if p.cfg.ScribeName != "" {
			kinds = append(kinds, "scribe")
		}
		if p.cfg.AlchemistName != "" {
			kinds = append(kinds, "alchemist")
		}
	}
	if len(kinds) == 0 {
		return nil, exitf(ExitConfig, "none of dreamer_name, scribe_name and alchemist_name is set: the worker needs a name")
	}
	var loops []*loop
	for _, k := range kinds {
		l, err := p.makeLoop(ctx, k, given)
		if err != nil {
			return nil, err
		}
		loops = append(loops, l)
	}
	return loops, nil
}

func (p *process) makeLoop(ctx context.Context, label string, given Backends) (*loop, error) {
	switch label {
	case "scribe":
		if p.cfg.ScribeName == "" {
			p.cfg.ScribeName = p.cfg.WorkerName
		}
		if p.cfg.ScribeName == "" {
			return nil, exitf(ExitConfig, "scribe_name is not set")
		}
		p.board.add(label, p.cfg.ScribeName, "tokens/s")
		s := &scribe{p: p, backend: given.Text}
		if s.backend == nil {
			if err := p.patiently(ctx, func() (err error) { s.backend, err = FindText(ctx, &p.cfg); return err }); err != nil {
				return nil, err
			}
		}
		s.loop = newLoop(p, s)
		if err := p.patiently(ctx, func() error { return s.check(ctx) }); err != nil {
			return nil, err
		}
		info := s.info.Load()
		p.log.Info("scribe", "server", info.Kind, "model", s.model(), "context", s.contextSize(), "agent", s.agent())
		if info.Context > 0 && info.Context < p.cfg.MaxContextLength {
			p.board.warn(fmt.Sprintf("max_context_length is limited to the server's %d", info.Context))
		}
		return s.loop, nil
	case "dreamer":
		return p.makeDreamer(ctx, given)
	case "alchemist":
		return p.makeAlchemist(ctx)
	}
	return nil, exitf(ExitConfig, "unknown kind of worker %q", label)
}

func (p *process) makeDreamer(ctx context.Context, given Backends) (*loop, error) {
	if p.cfg.DreamerName == "" {
		p.cfg.DreamerName = p.cfg.WorkerName
	}
	if p.cfg.DreamerName == "" {
		return nil, exitf(ExitConfig, "dreamer_name is not set")
	}
	p.board.add("dreamer", p.cfg.DreamerName, "megapixelsteps/s")
	d := &dreamer{p: p, backend: given.Images, inHand: map[string]*backend.ImageJob{}, perModel: map[string]int{}, batch: p.cfg.MaxBatch}
	if d.backend == nil {
		if err := p.patiently(ctx, func() (err error) { d.backend, err = FindImages(ctx, &p.cfg); return err }); err != nil {
			return nil, err
		}
	}
	d.loop = newLoop(p, d)
	d.sources = newSourceClient(ctx, &p.cfg)
	var err error
	if d.store, err = openAssets(p, given.files); err != nil {
		return nil, err
	}
	p.atEnd = append(p.atEnd, d.store.Close)
	if err := p.patiently(ctx, func() error { return d.check(ctx) }); err != nil {
		return nil, err
	}
	safety, warning, err := newChecker(&p.cfg, d.info)
	if err != nil {
		return nil, err
	}
	d.safety = safety
	if warning != "" {
		p.log.Warn(warning)
		p.board.warn(warning)
	}
	if len(d.offered) == 0 {
		return nil, exitf(ExitConfig, "no model to offer: the image server has %s; models_to_load and model_map say which of them is which", strings.Join(d.info.Models, ", "))
	}
	p.log.Info("dreamer", "server", d.info.Kind, "models", strings.Join(d.offered, ", "), "max_pixels", p.cfg.MaxPixels(), "agent", d.agent())
	return d.loop, nil
}

// patiently repeats f until it succeeds, the inference server having up to two minutes to come up.
func (p *process) patiently(ctx context.Context, f func() error) error {
	start := time.Now()
	for n := 0; ; n++ {
		err := f()
		if err == nil {
			return nil
		}
		var exit *ExitError
		if errors.As(err, &exit) {
			return err
		}
		if time.Since(start) > backendPatience {
			return &ExitError{Code: ExitBackend, Err: err}
		}
		if n == 0 {
			p.log.Warn("waiting for the inference server", "error", err)
		}
		if !wait(ctx, min(time.Duration(1<<min(n, 4))*time.Second, 10*time.Second), nil) {
			return &ExitError{Code: ExitBackend, Err: err}
		}
	}
}

// popAnswered takes in what came with a pop.
func (p *process) popAnswered(kind string, skipped map[string]int, messages []client.Message) {
	for k, n := range skipped {
		if n == 0 {
			delete(skipped, k)
		}
	}
	p.board.change(kind, func(k *KindStatus) { k.Skipped, k.LastPop, k.Maintenance = skipped, time.Now(), false })
	for _, m := range p.board.note(messages) {
		p.log.Info("message from the horde", "text", m.Text, "origin", m.Origin, "until", m.Expires)
	}
}

func (p *process) username() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.user.Username
}

// watchAccount looks at the account and at the workers' records once a minute, and clears maintenance at start where
// that was asked for.
func (p *process) watchAccount(done <-chan struct{}) {
	cleared := map[string]bool{}
	for {
		ctx, cancel := context.WithTimeout(p.last, popTimeout)
		if u, err := p.horde.FindUser(ctx); err == nil {
			p.mu.Lock()
			p.user = u
			p.mu.Unlock()
			p.board.top(func(s *Status) { s.Username, s.Kudos = u.Username, u.Kudos })
		}
		for _, k := range p.board.snapshot().Workers {
			w, err := p.horde.WorkerByName(ctx, k.Name)
			if err != nil {
				continue
			}
			p.board.change(k.Kind, func(s *KindStatus) { s.WorkerID, s.Maintenance = w.ID, w.MaintenanceMode })
			if p.cfg.RemoveMaintenanceOnInit && w.MaintenanceMode && !cleared[k.Kind] {
				if err := p.horde.ChangeWorker(ctx, w.ID, client.WorkerChange{Maintenance: new(false)}); err != nil {
					p.log.Warn("maintenance could not be cleared", "worker", k.Kind, "error", err)
				}
			}
			cleared[k.Kind] = true
		}
		cancel()
		if !wait(p.last, accountEvery, done) {
			return
		}
	}
}

// logStatus writes a line now and then where there is no terminal.
func (p *process) logStatus(done <-chan struct{}) {
	for wait(p.last, p.cfg.StatsOutputFrequency.Duration(), done) {
		for _, k := range p.board.snapshot().Workers {
			p.log.Info("status", "worker", k.Kind, "state", k.State, "jobs", len(k.Jobs), "submitted", k.Submitted, "faulted", k.Faulted,
				"kudos", round1(k.Earned), "speed", fmt.Sprintf("%.1f %s", k.Speed, k.Unit), "skipped", skippedText(k.Skipped))
		}
	}
}

func round1(f float64) float64 { return float64(int64(f*10+0.5)) / 10 }

func skippedText(m map[string]int) string {
	var parts []string
	for _, k := range sortedKeys(m) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}
