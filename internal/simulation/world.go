// SPDX-License-Identifier: AGPL-3.0-or-later

package simulation

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

// Options is what a world may be told. The zero value is what the seed makes of it.
type Options struct {
	// Steps is how many steps the world has; zero is DefaultSteps.
	Steps int
	// Mutation breaks something on purpose.
	Mutation Mutation
	// Trace is told everything that happens; nil for nobody.
	Trace io.Writer
}

// DefaultSteps is how many steps a world has. It is about an hour of its time.
const DefaultSteps = 250

// fullEvery is how many steps lie between two full audits.
const fullEvery = 25

// Report is what became of a world.
type Report struct {
	// Finding is the first rule that was broken, empty for none.
	Finding string
	// Trace is a hash over everything that happened.
	Trace uint64
	// What happened.
	Steps, Commits, FailedCommits, Deaths, Accepted, Popped, Delivered, Unknown int
	Simulated                                                                   time.Duration
}

// Run makes the world of a seed and returns when it ended, or when it broke a rule. It takes the randomness of the whole
// process, so t and its ancestors must not be parallel.
func Run(t *testing.T, seed uint64, o Options) (report Report) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed, o)
		w.live()
		report = w.report
	})
	return report
}

// world is one run. One goroutine, the driver, does everything in it; calls of the engine have goroutines of their own, and
// the driver goes on when all of them wait for something.
type world struct {
	t      *testing.T
	ctx    context.Context
	rng    *rand.Rand
	o      Options
	hash   hash.Hash64
	out    io.Writer
	report Report
	// finding guards report.Finding where a commit writes it; the driver reads it when all commits wait.
	finding sync.Mutex
	begun   time.Time

	record  *record
	process *process
	engine  *engine.Engine
	blobs   *blobs
	opened  time.Time // when the engine was opened last
	random  *rand.Rand

	calls   []*call
	number  int
	persons []*person
	workers []*worker
	model   model
}

// call is one call of the engine that has not been answered yet.
type call struct {
	no     int
	what   string
	start  time.Time
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	// answered is told, by the driver, how the call ended.
	answered func(err error)
}

// person is somebody with an account.
type person struct {
	name string
	id   horde.UserID
	key  string
	// keys is how many new keys were asked for.
	keys int
}

func newWorld(t *testing.T, seed uint64, o Options) *world {
	w := &world{
		t: t, ctx: context.Background(), rng: rand.New(rand.NewPCG(seed, 1)), random: rand.New(rand.NewPCG(seed, 2)), o: o, hash: fnv.New64a(), begun: time.Now(),
	}
	if w.o.Steps == 0 {
		w.o.Steps = DefaultSteps
	}
	w.out = &shared{to: w.hash}
	if o.Trace != nil {
		w.out = &shared{to: io.MultiWriter(w.hash, o.Trace)}
	}
	w.record = newRecord(rand.New(rand.NewPCG(seed, 3)), o.Mutation, w.find, w.out)
	w.blobs = newBlobs(rand.New(rand.NewPCG(seed, 4)))
	w.model = newModel()
	return w
}

// shared is a writer for the driver and the commits.
type shared struct {
	mu sync.Mutex
	to io.Writer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Write(p)
}

// find notes that a rule is broken. Only the first counts: the rest follow from it.
func (w *world) find(format string, args ...any) {
	w.finding.Lock()
	defer w.finding.Unlock()
	if w.report.Finding == "" {
		w.report.Finding = fmt.Sprintf(format, args...)
	}
}

func (w *world) log(format string, args ...any) {
	fmt.Fprintf(w.out, "%12s ", time.Since(w.begun))
	fmt.Fprintf(w.out, format+"\n", args...)
}

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

func pick[T any](w *world, list []T) T { return list[w.rng.IntN(len(list))] }

// live is the whole life of the world.
func (w *world) live() {
	w.settle()
	for w.report.Steps = 0; w.report.Steps < w.o.Steps && w.report.Finding == ""; w.report.Steps++ {
		w.step()
		w.rest()
		w.check()
	}
	if w.report.Finding == "" {
		w.end()
	}
	w.report.Commits, w.report.FailedCommits = w.record.commits, w.record.failed
	w.report.Simulated = time.Since(w.begun)
	w.report.Trace = w.hash.Sum64()
	w.kill()
}

// settle opens the horde and makes the people: accounts that are rich and poor, trusted and not, and a week old, so that
// they can be trusted.
func (w *world) settle() {
	w.record.rest(true)
	w.open()
	for _, p := range []struct {
		name  string
		kudos horde.Kudos
		roles horde.Roles
	}{
		{"admin", 1000_00, horde.Moderator}, {"rich", 100_000_00, 0}, {"poor", 60_00, 0}, {"trusted", 500_00, horde.Trusted},
		{"owner", 30_00, 0}, {"other owner", 30_00, 0}, {"pseudonym", 20_00, 0},
	} {
		n := engine.NewUser{Name: p.name, OAuthID: "g_" + p.name, Kudos: p.kudos, Concurrency: 20 + w.rng.IntN(200), Roles: p.roles}
		if p.name == "pseudonym" {
			n.OAuthID = ""
		}
		v, key, err := w.engine.Register(w.ctx, n)
		if err != nil {
			w.find("the world does not begin: %v", err)
			return
		}
		w.model.grantsSure[v.User.ID], w.model.grantsMax[v.User.ID] = p.kudos, p.kudos
		w.persons = append(w.persons, &person{name: p.name, id: v.User.ID, key: key})
	}
	w.persons = append(w.persons, &person{name: "anonymous", id: horde.Anonymous, key: horde.AnonymousKey})
	w.age()
	for i, name := range []string{"dreamer", "scribe", "second dreamer", "second scribe", "dreamer of another", "scribe of another", "big dreamer", "trusted scribe"} {
		owner := w.persons[[]int{4, 4, 4, 5, 5, 5, 3, 3}[i]]
		kind := horde.Image
		if i%2 == 1 {
			kind = horde.Text
		}
		w.workers = append(w.workers, &worker{name: name, owner: owner, kind: kind, agent: pick(w, agents)})
	}
	w.record.rest(false)
}

// age makes all accounts a week older.
func (w *world) age() {
	w.kill()
	s, err := w.record.Store.Load(w.ctx)
	if err != nil {
		w.find("the record cannot be read: %v", err)
		return
	}
	b := &store.Batch{}
	for _, u := range s.Users {
		u.Created = u.Created.Add(-8 * 24 * time.Hour)
		b.Users = append(b.Users, *u)
	}
	if err := w.record.write(w.ctx, b); err != nil {
		w.find("the record cannot be written: %v", err)
	}
	w.open()
}

// open starts a process on the record. It tries until the record can be read.
func (w *world) open() {
	for range 1000 {
		w.process = &process{record: w.record, dead: make(chan struct{})}
		e, err := engine.Open(w.ctx, engine.Config{
			Store: w.process, Blobs: w.blobs, Reference: func() *horde.Reference { return reference }, Pictures: w.blobs,
			Rules: kudos.Rules{}, Admins: []horde.UserID{1}, TrustThreshold: 40_00, Random: w.random,
		})
		if err == nil {
			w.engine, w.opened = e, time.Now()
			return
		}
		if !errors.Is(err, errFault) {
			w.find("the engine does not open: %v", err)
			return
		}
		time.Sleep(time.Second + time.Microsecond)
	}
	w.find("the engine never opens")
}

// kill ends the process at once. What waits for an answer never learns what became of it.
func (w *world) kill() {
	if w.engine == nil {
		return
	}
	close(w.process.dead)
	w.engine.Close()
	w.engine = nil
	synctest.Wait()
	for _, c := range w.calls {
		c.cancel()
		<-c.done
		w.log("call %d (%s) is cut off by the end of the process", c.no, c.what)
		if c.err == nil {
			// It was answered just before.
			w.answer(c)
			continue
		}
		w.report.Unknown++
		c.answered(errLost)
	}
	w.calls = nil
}

// errLost is what callers see whose connection broke: they cannot know what became of their call.
var errLost = errors.New("the connection was lost")

// call makes a call of the engine. answered is called by the driver when it is answered.
func (w *world) call(what string, f func(ctx context.Context, e *engine.Engine) error, answered func(err error)) *call {
	ctx, cancel := context.WithCancel(w.ctx)
	w.number++
	c := &call{no: w.number, what: what, start: time.Now(), cancel: cancel, done: make(chan struct{}), answered: answered}
	w.log("call %d: %s", c.no, what)
	w.calls = append(w.calls, c)
	e := w.engine
	go func() {
		defer close(c.done)
		c.err = f(ctx, e)
	}()
	w.collect()
	return c
}

// collect lets everything happen that can happen now, and hands out the answers.
func (w *world) collect() {
	synctest.Wait()
	var still, over []*call
	for _, c := range w.calls {
		select {
		case <-c.done:
			over = append(over, c)
		default:
			still = append(still, c)
		}
	}
	w.calls = still
	for _, c := range over {
		w.answer(c)
	}
}

func (w *world) answer(c *call) {
	c.cancel()
	w.log("call %d (%s) is answered: %s", c.no, c.what, answer(c.err))
	if uncertain(c.err) {
		w.report.Unknown++
	}
	c.answered(c.err)
}

// answer is an error as the trace shows it.
func answer(err error) string {
	var refusal *horde.Error
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &refusal):
		return fmt.Sprint(refusal.Status, " ", refusal.RC)
	}
	return err.Error()
}

// uncertain tells whether a caller cannot know from the answer what became of the call.
func uncertain(err error) bool {
	var refusal *horde.Error
	return err != nil && (!errors.As(err, &refusal) || refusal.Status >= 500)
}

// rest lets some time pass: mostly a moment, at times minutes, so that leases and requests run out.
func (w *world) rest() {
	var d time.Duration
	switch n := w.rng.IntN(1000); {
	case n < 600:
		d = time.Duration(1+w.rng.IntN(50_000)) * time.Microsecond
	case n < 900:
		d = time.Duration(1+w.rng.IntN(5_000_000)) * time.Microsecond
	case n < 985:
		d = time.Duration(1+w.rng.IntN(60_000_000)) * time.Microsecond
	case n < 996:
		d = time.Duration(1+w.rng.IntN(300_000_000)) * time.Microsecond
	default:
		d = time.Duration(1+w.rng.IntN(1_800_000_000)) * time.Microsecond
	}
	for d += 137 * time.Nanosecond; d > 0; { // never together with a tick of the engine's clock
		slice := d
		if len(w.calls) > 0 { // callers hear their answers in time
			slice = min(d, time.Second)
		}
		time.Sleep(slice)
		d -= slice
		w.collect()
	}
}

// check looks for contradictions: a walk over the memory after each step, everything now and then.
func (w *world) check() {
	for _, found := range w.engine.Contradictions() {
		w.find("%s", found)
	}
	if w.report.Steps%fullEvery == fullEvery-1 {
		w.full()
	}
}

func (w *world) full() {
	for _, found := range w.record.full(w.ctx) {
		w.find("audit: %s", found)
	}
	// A comparison waits for the commit that is under way, and no time passes meanwhile. The model has to find LateCommit alone.
	if w.o.Mutation == LateCommit || w.process.writing.Load() || !w.engine.Healthy() {
		return
	}
	found, err := w.engine.Verify(w.ctx)
	if err != nil && !errors.Is(err, errFault) {
		w.find("verify: %v", err)
	}
	for _, f := range found {
		w.find("verify: %s", f)
	}
}

// end lets everybody leave, and waits until everything is over.
func (w *world) end() {
	w.record.rest(true)
	for range 300 {
		time.Sleep(time.Second)
		w.collect()
	}
	if len(w.calls) > 0 {
		w.find("call %d (%s) is never answered", w.calls[0].no, w.calls[0].what)
		return
	}
	w.full()
	w.model.readBack(w)
	time.Sleep(3*time.Hour + time.Millisecond)
	w.collect()
	w.full()
	w.model.over(w)
}

// address is where a person calls from.
func (p *person) address() netip.Addr {
	return netip.AddrFrom4([4]byte{198, 51, 100, byte(p.id)})
}

// anyone chooses a person; known leaves the anonymous one out.
func (w *world) anyone() *person { return pick(w, w.persons) }

func (w *world) known() *person {
	return pick(w, w.persons[:slices.IndexFunc(w.persons, (*person).anonymous)])
}

func (p *person) anonymous() bool { return p.id == horde.Anonymous }
