// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"horde/internal/horde"
)

// run is one run of the bench.
type run struct {
	Config
	runName  string
	rec      *recorder
	lives    *lives
	material *material
	// wakes has, for each kind, a token for each accepted request that no worker was woken for.
	wakes            [3]chan struct{}
	server, database processes

	accepted, lost, mismatched atomic.Int64
	completed                  [3]atomic.Int64
	// limit is closed when MaxLifecycles have been completed.
	limit     chan struct{}
	limitOnce sync.Once
}

// Run takes the measurements that cfg asks for. The report is good, as far as it goes, beside an error too. It is an error
// when something cannot be measured; wrong answers of the server are no error but part of the report, see [Report.Honest].
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r := &run{Config: cfg, server: cfg.ServerPIDs, database: cfg.DatabasePIDs, limit: make(chan struct{})}
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails
	r.runName = hex.EncodeToString(id[:])
	r.rec = newRecorder()
	r.lives = newLives(id, r.rec)
	for _, k := range kinds {
		r.wakes[k] = make(chan struct{}, maxVirtual)
	}
	var err error
	if r.material, err = newMaterial(&r.Config); err != nil {
		return nil, err
	}
	out := &Report{Started: time.Now().UTC(), Machine: thisMachine(), Servers: cfg.Servers}
	if !cfg.ReadySince.IsZero() {
		if out.Restart, err = r.ready(ctx); err != nil {
			return out, fmt.Errorf("wait for the server: %w", err)
		}
	}
	for _, p := range []processes{r.server, r.database} {
		if _, err := p.cpu(); err != nil {
			return nil, err
		}
	}
	if cfg.Yardstick > 0 {
		if out.Yardstick, err = r.yardstick(ctx); err != nil {
			return out, fmt.Errorf("yardstick: %w", err)
		}
	}
	if cfg.Preload > 0 {
		if out.Preload, err = r.preload(ctx); err != nil {
			return out, fmt.Errorf("preload: %w", err)
		}
	}
	if cfg.Pops > 0 {
		if out.Pops, err = r.pops(ctx, out.Preload.keys); err != nil {
			return out, fmt.Errorf("pops: %w", err)
		}
	}
	if cfg.IdleWorkers > 0 {
		if out.Idle, err = r.idle(ctx); err != nil {
			return out, fmt.Errorf("idle workers: %w", err)
		}
	}
	if cfg.load() {
		if out.Load, err = r.load(ctx); err != nil {
			return out, fmt.Errorf("lifecycles: %w", err)
		}
	}
	return out, ctx.Err()
}

var kinds = []horde.Kind{horde.Image, horde.Text}

func (r *run) progress(format string, args ...any) {
	if r.Progress != nil {
		r.Progress(fmt.Sprintf(format, args...))
	}
}

// name is a name for a worker or an account that no other run has.
func (r *run) name(what string, i int) string {
	return fmt.Sprintf("bench %s %s %d", what, r.runName, i)
}

// kindOf spreads images evenly among n: it is the kind of the i-th.
func (r *run) kindOf(i, n int) horde.Kind {
	if int(float64(i+1)*r.ImageShare+0.5) > int(float64(i)*r.ImageShare+0.5) {
		return horde.Image
	}
	_ = n
	return horde.Text
}

// wake lets a worker pop for a request that was accepted.
func (r *run) wake(k horde.Kind) {
	if r.CheckEvery > 0 && (r.PopEvery > 0 || r.PopWait > 0) {
		return // nobody waits for it
	}
	select {
	case r.wakes[k] <- struct{}{}:
	default: // there are more tokens than workers already
	}
}

func (r *run) lose(kind string) {
	r.lost.Add(1)
	r.rec.fail(kind)
}

func (r *run) complete(k horde.Kind, d time.Duration) {
	r.rec.observe(spanLifecycle, d)
	r.completed[k].Add(1)
	if r.MaxLifecycles > 0 && r.done() >= int64(r.MaxLifecycles) {
		r.limitOnce.Do(func() { close(r.limit) })
	}
}

func (r *run) done() int64 { return r.completed[horde.Image].Load() + r.completed[horde.Text].Load() }

// workersPerAccount is how many workers a trusted account may have.
const workersPerAccount = 20

// workerKeys are keys for n workers, each good for workersPerAccount of them.
func (r *run) workerKeys(ctx context.Context, n int) ([]string, error) {
	keys, err := r.Accounts.Make(ctx, (n+workersPerAccount-1)/workersPerAccount, Account{Name: "bench worker"})
	if err != nil {
		return nil, fmt.Errorf("accounts for workers: %w", err)
	}
	return keys, nil
}

// Kudos of accounts. Those whose requests are to be served are so much richer that they always come first.
const (
	clientKudos  = 1_000_000_000
	preloadKudos = 100_000_000 // enough for the taxes and the holds of a million requests
	// maxAccounts is how many accounts a crowd is spread over, unless they must be more to have enough waiting.
	maxAccounts = 100
)

// clientKeys are keys for clients that have up to n results waiting together.
func (r *run) clientKeys(ctx context.Context, n int, a Account) ([]string, error) {
	// Half of what an account may have waiting is left free, since virtual clients do not spread evenly.
	count := max(min(n, maxAccounts), 2*n/r.Accounts.MaxWaiting()+1)
	a.Waiting = 2*(n/count+1) + 10
	keys, err := r.Accounts.Make(ctx, count, a)
	if err != nil {
		return nil, fmt.Errorf("accounts for clients: %w", err)
	}
	return keys, nil
}

// meter is how much processor time was used so far.
type meter struct{ server, database, own time.Duration }

func (r *run) cpu() meter {
	m := meter{own: ownCPU()}
	// A process that has ended since the start of the run counts as what it was; the calls tell of its end.
	m.server, _ = r.server.cpu()
	m.database, _ = r.database.cpu()
	return m
}

// CPU is processor time that was used during a measurement, in seconds, and how many processors that kept busy.
type CPU struct {
	Server        float64 `json:"server_s"`
	Database      float64 `json:"database_s,omitempty"`
	Generator     float64 `json:"generator_s"`
	ServerCores   float64 `json:"server_cores"`
	DatabaseCores float64 `json:"database_cores,omitempty"`
	OwnCores      float64 `json:"generator_cores"`
}

func (m meter) since(before meter, seconds float64) CPU {
	c := CPU{
		Server: (m.server - before.server).Seconds(), Database: (m.database - before.database).Seconds(),
		Generator: (m.own - before.own).Seconds(),
	}
	if seconds > 0 {
		c.ServerCores, c.DatabaseCores, c.OwnCores = c.Server/seconds, c.Database/seconds, c.Generator/seconds
	}
	return c
}

// waitGroup is a sync.WaitGroup under a name that reads.
type waitGroup = sync.WaitGroup

func sleepFor(ctx context.Context, d time.Duration) {
	var t *time.Timer
	sleep(ctx, &t, d)
}

// Machine is where the generator ran.
type Machine struct {
	CPUs  int    `json:"cpus"`
	Model string `json:"cpu_model,omitempty"`
	Go    string `json:"go"`
	OS    string `json:"os"`
}

func thisMachine() Machine {
	return Machine{CPUs: runtime.NumCPU(), Model: cpuModel(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH}
}
