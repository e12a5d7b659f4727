// SPDX-License-Identifier: AGPL-3.0-or-later

// Package engine is what happens in a horde: submitting, popping, delivering, cancelling, reading, and the administration of
// users and workers. It is the only writer of the hot state.
//
// # Memory first, record before answer
//
// Everything that is alive is in memory, guarded by one lock. A use case takes the lock, changes memory in microseconds,
// notes what it changed in the open batch, and lets go. A committer writes one batch after the other, each in one
// transaction; a use case returns when the batch that holds its changes is durable. So many callers share one disk
// write, and no answer speaks of something that a crash could undo: a reader that met an object changed in the open batch
// waits for that batch too.
//
// Where a commit fails, its callers get 503 and the engine drops its memory and loads it from the record again, answering
// 503 until it has. It never serves state that the record does not have, and needs no hand to recover.
//
// What a worker tells at each check-in, and the speeds measured from its jobs, are written with whatever batch comes next:
// they may be lost in a crash and cost nothing, because the next check-in and the next job tell them again.
//
// # Time
//
// Four things need a clock: the leases of jobs, the expiry of requests, promotion to trust, and the flush of what is written
// lazily. One loop does them all, once a second. There is no goroutine per job or per worker.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"horde/internal/blob"
	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/moderation"
	"horde/internal/store"
)

// Config is what an engine needs. The zero value of a field means what its comment says.
type Config struct {
	Store store.Store
	Blobs blob.Store
	// Reference returns the model reference of the moment.
	Reference func() *horde.Reference
	// Pictures checks and converts what comes as an image.
	Pictures Pictures
	// Notify is told of every result whose client wants to be; it must not block. Nil drops the notices.
	Notify func(Notice)
	// Relax is told the address of a caller that has earned raised rate limits; nil ignores it.
	Relax func(netip.Addr)
	// Profane finds swear words in public texts; nil is horde.CommonProfanity.
	Profane horde.Profanity
	Rules   kudos.Rules
	// MatchedTargeting serves requests that name workers only by workers whose friend the requester is.
	MatchedTargeting bool
	// Admins may change kudos and moderators.
	Admins []horde.UserID
	// Awarders may award kudos. Empty means the first account.
	Awarders []horde.UserID
	// TrustThreshold is the escrow above which an account is trusted; zero means never.
	TrustThreshold horde.Kudos
	// StylesPerAccount is how many styles an account may have, and how many collections; zero means any number.
	StylesPerAccount int
	// PromptCheckers may ask what the filters find in a prompt, beside moderators.
	PromptCheckers []horde.UserID
	// Filtering is how prompts are filtered. Its data must have been read by [moderation.ReadData].
	Filtering moderation.Options
	// NoEvidence keeps neither prompts nor addresses of what was refused or reported.
	NoEvidence bool
	// ProblemExempt are accounts whose reported results nobody counts.
	ProblemExempt []horde.UserID
	// ServiceIPs are addresses behind which there are many people: their time-outs are short.
	ServiceIPs []netip.Prefix
	// BannedAgents are values of Client-Agent whose requests are refused.
	BannedAgents []string
	// Safety tells the addresses of proxies from others. Nil means that all are safe.
	Safety moderation.Checker
	// Alert tells moderators of something; it must not block. Nil drops the alerts.
	Alert func(moderation.Alert)
	// NoAnonymous closes the anonymous account.
	NoAnonymous bool
	// Leading tells whether this engine may still answer for the record, where several nodes share it: no when its lease is
	// over, though it may not know yet who leads now. Nil means always.
	Leading func() bool
	// KeySalt goes into the hashes of API keys. Empty uses the one that the store keeps, made at first start.
	KeySalt string
	// Ratings keeps what people say of shared images; nil means that there is no such service. Sharing says which images become
	// public; empty shares none. Pairs are the models of which two images are compared.
	Ratings Ratings
	Sharing horde.Sharing
	Pairs   []string
	// Ran is told of each run of a job of the engine's in the background; nil ignores it.
	Ran func(job string, began time.Time, err error)
	// Log may be nil.
	Log *slog.Logger
	// Random is what seeds and the choice of a model are drawn from, with the engine's lock; nil draws from the runtime's
	// source.
	Random *rand.Rand
}

// Pictures turns what people and workers send as images into what is stored.
type Pictures interface {
	// Source fetches or decodes a source image or mask and returns it as WebP. With needsAlpha the picture must have an
	// alpha channel. Refusals are *horde.Error values.
	Source(ctx context.Context, input string, needsAlpha bool) ([]byte, error)
	// Result decodes a base64 image of a worker and returns it as WebP. ErrNoImage means that it is none at all, any
	// other error that it is broken.
	Result(ctx context.Context, base64 string) ([]byte, error)
	// Alchemy looks at the image of an alchemy request and measures it, see [horde.Tiles]. An image that came as base64 is
	// returned as WebP; one behind a URL is nil and stays where it is. Refusals are *horde.Error values.
	Alchemy(ctx context.Context, input string) (webp []byte, tiles int, err error)
}

// Notice is one result for the webhook of its client.
type Notice struct {
	URL     string
	Kind    horde.Kind
	Request horde.RequestID
	// Generation is what was made, or Form, of alchemy.
	Generation Generation
	Form       horde.Form
	// Kudos is the price of the result.
	Kudos float64
}

// ErrNoImage says that bytes are no image of any kind.
var ErrNoImage = errors.New("not an image")

// Engine runs a horde. All methods are safe for concurrent use.
type Engine struct {
	Config

	mu sync.Mutex // guards everything below
	*state
	open *batch
	// sealed is the batch before the open one: it is being written, or was the last that was.
	sealed *batch
	// down is set while the memory is not the record's: every use case is refused. doubt says that a panic is the reason.
	down, doubt bool
	// unreached are jobs that were handed out to nobody while the engine was down: see takeBack.
	unreached []horde.JobID
	// since is when the engine began to serve what it loaded last.
	since time.Time

	// waiters counts the calls that wait for the record, and began is when the batch that is being written was begun, in
	// nanoseconds since 1970; zero for none.
	waiters, began atomic.Int64

	writing sync.Mutex // held while a batch is being written; taken before mu
	meters  *meters
	wake    chan struct{} // one token: the open batch has something that somebody waits for
	stop    chan struct{} // closed by Close
	done    sync.WaitGroup

	// filterSet is what prompts are judged with, by anybody, without a lock. compiling is held while another one is made; it is
	// taken before mu.
	filterSet atomic.Pointer[moderation.Set]
	compiling sync.Mutex

	draining chan struct{} // closed by Drain
	drain    sync.Once
	watches  watches
}

// Open loads the record and starts the committer and the clock. Close ends both.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Profane == nil {
		cfg.Profane = horde.CommonProfanity
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Relax == nil {
		cfg.Relax = func(netip.Addr) {}
	}
	if cfg.Random == nil {
		cfg.Random = rand.New(runtimeSource{})
	}
	if cfg.Ran == nil {
		cfg.Ran = func(string, time.Time, error) {}
	}
	if cfg.Alert == nil {
		cfg.Alert = func(moderation.Alert) {}
	}
	if cfg.Sharing == "" {
		cfg.Sharing = horde.SharingOff
	}
	if cfg.Notify == nil {
		cfg.Notify = func(Notice) {}
	}
	if cfg.Leading == nil {
		cfg.Leading = func() bool { return true }
	}
	e := &Engine{Config: cfg, open: newBatch(1), meters: newMeters(), wake: make(chan struct{}, 1), stop: make(chan struct{}), draining: make(chan struct{})}
	if err := e.load(ctx); err != nil {
		return nil, err
	}
	if err := e.seed(ctx); err != nil {
		return nil, err
	}
	e.since = time.Now()
	e.done.Add(2)
	go func() { defer e.done.Done(); e.commitLoop() }()
	go func() { defer e.done.Done(); e.clockLoop() }()
	return e, nil
}

// Drain ends the wait of everybody who waits, for a job or for news of a request, and lets nobody wait from now on. All else
// goes on. Call it when the process is about to stop.
func (e *Engine) Drain() { e.drain.Do(func() { close(e.draining) }) }

// runtimeSource is the runtime's source of random numbers.
type runtimeSource struct{}

func (runtimeSource) Uint64() uint64 { return rand.Uint64() }

// Close writes what is still to be written and stops; use cases that come later are refused. The store stays open; it is the
// caller's.
func (e *Engine) Close() {
	e.Drain()
	close(e.stop)
	e.done.Wait()
}

// load reads the record and makes it the engine's memory.
func (e *Engine) load(ctx context.Context) error {
	record, err := e.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("load the record: %w", err)
	}
	s, err := newState(record, time.Now())
	if err != nil {
		return fmt.Errorf("load the record: %w", err)
	}
	s.places.SetServices(e.ServiceIPs)
	e.compiling.Lock()
	defer e.compiling.Unlock()
	e.mu.Lock()
	e.state = s
	filters := e.allFilters()
	e.mu.Unlock()
	e.compileFilters(filters)
	return nil
}

// seed makes what every horde has: its settings and the anonymous account.
func (e *Engine) seed(ctx context.Context) error {
	e.mu.Lock()
	now := time.Now().UTC()
	if e.settings == nil {
		e.settings = &store.Settings{KeySalt: horde.NewKey(), SigningSecret: horde.NewKey() + horde.NewKey(), NextUser: 1}
		e.open.settings = true
	}
	if e.KeySalt != "" && e.settings.KeySalt != e.KeySalt {
		if len(e.users) > 1 {
			e.Log.Warn("the configured key salt differs from the stored one: keys made with the stored one no longer open their accounts")
		}
		e.settings.KeySalt = e.KeySalt
		e.open.settings = true
	}
	hash := horde.HashKey(e.settings.KeySalt, horde.AnonymousKey)
	anon := e.users[horde.Anonymous]
	if anon == nil {
		anon = &user{User: horde.User{
			ID: horde.Anonymous, Name: "Anonymous", OAuthID: horde.AnonymousOAuthID, Created: now, LastActive: now,
			PublicWorkers: true, Concurrency: horde.AnonymousConcurrency,
		}}
		e.users[horde.Anonymous], e.byOAuth[anon.OAuthID] = anon, anon
		e.book.Open(anon.ID, anon.Floor())
	}
	if anon.KeyHash != hash {
		delete(e.byKey, anon.KeyHash)
		anon.KeyHash = hash
		e.byKey[hash] = anon
		e.open.user(anon)
	}
	b, batch := e.sealLocked()
	e.mu.Unlock()
	if err := e.Store.Commit(ctx, batch); err != nil {
		return fmt.Errorf("seed the record: %w", err)
	}
	close(b.done) // readers of the anonymous account wait for it
	return nil
}

// Secret is the horde's own secret for signing links.
func (e *Engine) Secret() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.settings.SigningSecret
}

// Healthy tells whether the engine serves.
func (e *Engine) Healthy() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.down
}
