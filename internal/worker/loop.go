// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"horde/internal/worker/backend"
)

const (
	// idlePause is the time between two pops that brought nothing.
	idlePause = time.Second
	// heartbeat is the longest time between pops while there is room: the pop is the worker's sign of life.
	heartbeat = 60 * time.Second
	// failuresToPause in a row stop popping for failurePause; then a single job is tried.
	failuresToPause = 3
	failurePause    = 180 * time.Second
	// unsubmitted bounds finished jobs that still wait for upload and submit.
	unsubmitted = 8
	// slowWindow is how long two late results keep the queue at zero.
	slowWindow = 30 * time.Minute
)

// kind is what differs between the dreamer and the scribe.
type kind interface {
	// label is "dreamer" or "scribe".
	label() string
	// ready reports whether one more job may be taken on, and if not, why and when to look again.
	ready() (ok bool, why string, again time.Duration)
	// pop asks the horde. It returns nil when there is no job.
	pop(ctx context.Context, queueSize int) (*popped, error)
	// check looks after the inference server; it returns an error while that does not answer.
	check(ctx context.Context) error
	// dropPriority empties the priority list after the horde refused it.
	dropPriority()
	// report describes for people what would be offered.
	report() string
	// rest is called once when the worker has nothing to do for a while.
	rest(ctx context.Context)
}

// popped is a job from the pop to its last submit.
type popped struct {
	id   string
	at   time.Time
	ttl  time.Duration
	ids  []string
	what string
	// do does the work. started is called when the inference server begins, generated when it is done with it. Each id
	// is submitted exactly once, or given up with a line in the log.
	do func(ctx context.Context, started, generated func()) outcome
}

// popTravel is how long a job may have been on its way from the horde.
const popTravel = 2 * time.Second

// handedOut is when the horde handed out a job that has just come as the answer to a pop of then, as early as that may be: the
// horde's clock for the job has run since.
func handedOut(asked time.Time) time.Time {
	if latest := time.Now().Add(-popTravel); latest.After(asked) {
		return latest
	}
	return asked
}

func (p *popped) deadline() time.Time { return p.at.Add(p.ttl) }

// outcome is how a job ended.
type outcome struct {
	// failed: at least one result had to be handed back because the inference server did not make it.
	failed bool
	// err is why, for the log.
	err error
	// late: the horde did not wait for a result, or hardly.
	late bool
	// fatal ends the kind.
	fatal *ExitError
}

// loop pops and follows jobs of one kind. run is its only entry; the goroutines of jobs are counted in jobs and end
// before run returns.
type loop struct {
	kind  kind
	p     *process
	log   *slog.Logger
	slots chan struct{} // one token for each request that may be in flight at the inference server
	wake  chan struct{} // a job ended or began to be submitted
	jobs  sync.WaitGroup
	// trouble makes watchBackend look at once.
	trouble chan struct{}

	mu         sync.Mutex // guards what follows
	waiting    int        // popped, not at the inference server's yet, or there
	submitting int        // finished there, not submitted yet
	failures   int        // failed jobs in a row
	pausedTil  time.Time
	down       bool          // the inference server does not answer
	gone       chan struct{} // closed while down, so that jobs that wait are handed back
	lateAt     []time.Time
	fatal      *ExitError
}

func newLoop(p *process, k kind) *loop {
	l := &loop{kind: k, p: p, log: p.log.With("worker", k.label()), wake: make(chan struct{}, 1), trouble: make(chan struct{}, 1), gone: make(chan struct{})}
	l.slots = make(chan struct{}, p.cfg.BackendConcurrency)
	return l
}

// run pops until draining begins and returns when every job has ended.
func (l *loop) run() error {
	watch, stopWatch := context.WithCancel(l.p.hard)
	var watching sync.WaitGroup
	watching.Go(func() { l.watchBackend(watch) })
	err := l.popUntilDrain()
	l.jobs.Wait()
	stopWatch()
	watching.Wait()
	return err
}

func (l *loop) popUntilDrain() error {
	failures, invalid, idleFor := 0, 0, time.Now()
	rested := false
	for {
		if l.draining() {
			l.state("draining")
			return l.fatalError()
		}
		if ok, why, again := l.room(); !ok {
			l.state(why)
			l.pause(again)
			continue
		}
		asked := time.Now()
		ctx, cancel := l.popContext()
		job, err := l.kind.pop(ctx, l.queueSize())
		given := ctx.Err() != nil
		cancel()
		switch {
		case err != nil && (l.p.hard.Err() != nil || given && (l.draining() || l.isDown())):
			// Told to stop, or nothing to do the job with: it was no use to wait any longer.
		case err != nil:
			a := judgePop(err)
			if a.stop != 0 {
				l.state("stopped: " + a.state)
				e := exitf(a.stop, "%s: the horde refuses this worker: %w", l.kind.label(), err)
				if a.account {
					l.p.stopAll()
				}
				return e
			}
			if a.priority {
				l.kind.dropPriority()
				l.log.Warn("the horde refused priority_usernames; going on without", "error", err)
			}
			if invalid++; !a.invalid {
				invalid = 0
			} else if invalid >= maxInvalid {
				return exitf(ExitConfig, "%s: the horde refused %d pops in a row: %w", l.kind.label(), invalid, err)
			}
			pause := a.pause
			if pause == 0 {
				failures++
				pause = backoff(failures)
			}
			l.p.board.change(l.kind.label(), func(k *KindStatus) { k.Maintenance = a.maintenance })
			if l.state(a.state) {
				l.log.Warn("pop failed", "error", err, "again_in", pause.Round(time.Second))
			}
			if a.maintenance && !rested && time.Since(idleFor) > heartbeat {
				l.kind.rest(l.p.hard)
				rested = true
			}
			l.pause(pause)
		case job == nil:
			failures, invalid = 0, 0
			l.state("idle")
			if !rested && time.Since(idleFor) > heartbeat {
				l.kind.rest(l.p.hard)
				rested = true
			}
			// A horde that lets the worker wait for a job is asked again at once, one that answered at once after a pause.
			l.pause(idlePause - time.Since(asked))
		default:
			failures, invalid, rested = 0, 0, false
			l.state("working")
			l.start(job)
			idleFor = time.Now()
		}
	}
}

// popContext is for one pop, which the horde may let wait: it ends when the worker is to stop or the inference server goes
// away. A pop that has just begun is left alone for a moment: a job may be on its way.
func (l *loop) popContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(l.p.hard, l.p.cfg.PopWait.Duration()+popTimeout)
	l.mu.Lock()
	gone := l.gone
	l.mu.Unlock()
	go func() { // ends with the pop
		asked := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-l.p.drain:
		case <-gone:
		}
		wait(ctx, popGrace-time.Since(asked), nil)
		cancel()
	}()
	return ctx, cancel
}

// room reports whether another job may be popped.
func (l *loop) room() (ok bool, why string, again time.Duration) {
	l.mu.Lock()
	limit := l.effectiveQueue() + l.p.cfg.MaxThreads
	waiting, unsent, down, paused := l.waiting, l.submitting, l.down, time.Until(l.pausedTil)
	l.mu.Unlock()
	switch {
	case down:
		return false, "the inference server does not answer", heartbeat
	case paused > 0:
		return false, fmt.Sprintf("paused after %d failed jobs", failuresToPause), paused
	case waiting >= limit:
		return false, "working", heartbeat
	case unsent >= unsubmitted:
		return false, "waiting for uploads", heartbeat
	}
	return l.kind.ready()
}

// queueSize is the number of further jobs to hold ready.
func (l *loop) queueSize() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.effectiveQueue()
}

// effectiveQueue is queue_size, or 0 while results came late. mu is held.
func (l *loop) effectiveQueue() int {
	n := 0
	for _, t := range l.lateAt {
		if time.Since(t) < slowWindow {
			n++
		}
	}
	if n >= 2 {
		return 0
	}
	return l.p.cfg.QueueSize
}

func (l *loop) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.wake:
	case <-l.p.drain:
	case <-l.p.hard.Done():
	}
}

func (l *loop) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *loop) draining() bool {
	l.mu.Lock()
	fatal := l.fatal
	l.mu.Unlock()
	select {
	case <-l.p.drain:
		return true
	case <-l.p.hard.Done():
		return true
	default:
		return fatal != nil
	}
}

func (l *loop) fatalError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal != nil {
		return l.fatal
	}
	return nil
}

// state shows a state and reports whether it is a new one.
func (l *loop) state(s string) (changed bool) {
	l.p.board.change(l.kind.label(), func(k *KindStatus) {
		changed = k.State != s
		k.State = s
	})
	return changed
}

// start follows a job in a goroutine.
func (l *loop) start(job *popped) {
	l.mu.Lock()
	l.waiting++
	l.mu.Unlock()
	name := l.kind.label()
	l.p.board.change(name, func(k *KindStatus) { k.Popped += len(job.ids); k.LastJob = time.Now(); k.Maintenance = false })
	l.p.board.job(name, job.id, func(j *JobStatus) {
		j.What, j.Stage, j.Popped, j.Deadline = job.what, "waiting", job.at, job.deadline()
	})
	l.log.Info("job", "id", job.id, "what", job.what, "results", len(job.ids), "ttl", job.ttl)
	l.jobs.Go(func() {
		var began time.Time
		moved := false // from waiting to submitting; only this goroutine touches it
		generated := func() {
			if moved {
				return
			}
			moved = true
			l.mu.Lock()
			l.waiting--
			l.submitting++
			l.mu.Unlock()
			l.signal()
		}
		out := job.do(l.p.hard, func() { began = time.Now() }, generated)
		l.p.board.gone(name, job.id)
		l.mu.Lock()
		if moved {
			l.submitting--
		} else {
			l.waiting--
		}
		l.finish(out, !began.IsZero())
		idle := l.waiting+l.submitting == 0
		l.mu.Unlock()
		l.p.board.change(name, func(k *KindStatus) {
			if idle && k.State == "working" {
				k.State = "idle" // the pop that waits for the next job says nothing
			}
		})
		l.signal()
	})
}

// finish draws the consequences of how a job ended. mu is held.
func (l *loop) finish(out outcome, began bool) {
	if out.late {
		if l.lateAt = append(l.lateAt, time.Now()); len(l.lateAt) > 2 {
			l.lateAt = l.lateAt[1:]
		}
		if len(l.lateAt) == 2 && time.Since(l.lateAt[0]) < slowWindow && !l.p.cfg.SuppressSpeedWarnings {
			l.p.board.warn("results come late: no jobs are held ready for half an hour; lower max_power, max_length or max_threads")
		}
	}
	if out.fatal != nil && l.fatal == nil {
		l.fatal = out.fatal
	}
	if !out.failed {
		if began {
			l.failures = 0
		}
		return
	}
	l.log.Error("job handed back", "error", out.err)
	if backend.KindOf(out.err) == backend.Unreachable {
		return // not the job's fault
	}
	if l.failures++; l.failures >= failuresToPause {
		if l.p.cfg.ExitOnUnhandledFaults {
			l.fatal = exitf(ExitFailures, "%s: %d failed jobs in a row, the last: %w", l.kind.label(), l.failures, out.err)
			return
		}
		l.pausedTil = time.Now().Add(failurePause)
		l.log.Warn("too many jobs failed in a row: taking none for a while", "failed", l.failures, "pause", failurePause)
		// One trial job follows the pause; its failure pauses again.
		l.failures = failuresToPause - 1
	}
}

// judge looks at an error of the inference server: when that cannot be reached, popping stops until it answers, and jobs
// that wait are handed back. It returns err.
func (l *loop) judge(err error) error {
	if err != nil && backend.KindOf(err) == backend.Unreachable {
		l.mu.Lock()
		l.setDown(true)
		l.mu.Unlock()
		select {
		case l.trouble <- struct{}{}:
		default:
		}
	}
	return err
}

// isDown reports whether the inference server is known not to answer.
func (l *loop) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

const probeEvery = time.Minute

// watchBackend probes the inference server once a minute, and sooner while it does not answer.
func (l *loop) watchBackend(ctx context.Context) {
	pauses := []time.Duration{1, 2, 5, 10, 30}
	tries := 0
	next := probeEvery
	for {
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-l.trouble:
			t.Stop()
		}
		err := l.kind.check(ctx)
		l.mu.Lock()
		was := l.down
		l.setDown(err != nil)
		l.mu.Unlock()
		l.p.board.change(l.kind.label(), func(k *KindStatus) { k.Healthy = err == nil })
		if err != nil {
			next = pauses[min(tries, len(pauses)-1)] * time.Second
			tries++
			if !was || tries == 1 {
				l.log.Error("the inference server does not answer", "error", err)
			}
			continue
		}
		if was {
			l.log.Info("the inference server answers again")
			l.signal()
		}
		tries, next = 0, probeEvery
	}
}

// errBackendDown is why jobs that wait are handed back when the inference server vanishes.
var errBackendDown = backend.Errorf(backend.Unreachable, "the inference server does not answer")

// errTold is why jobs that wait are handed back after a second signal.
var errTold = errors.New("told to stop")

// acquire waits for a place at the inference server. The release function is nil with an error.
func (l *loop) acquire(ctx context.Context) (release func(), err error) {
	select {
	case <-l.p.faultWaiting:
		return nil, errTold
	default:
	}
	l.mu.Lock()
	gone := l.gone
	l.mu.Unlock()
	// Those who wait in a channel send are served in the order in which they came.
	select {
	case l.slots <- struct{}{}:
		if l.isDown() {
			<-l.slots
			return nil, errBackendDown
		}
		return func() { <-l.slots }, nil
	case <-gone:
		return nil, errBackendDown
	case <-l.p.faultWaiting:
		return nil, errTold
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// setDown notes whether the inference server answers. mu is held.
func (l *loop) setDown(down bool) {
	if down && !l.down {
		close(l.gone)
	}
	if !down && l.down {
		l.gone = make(chan struct{})
	}
	l.down = down
}
