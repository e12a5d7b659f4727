// SPDX-License-Identifier: AGPL-3.0-or-later

package limit

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// DefaultCapacity is the number of counters that a Limiter made with capacity 0 keeps: about 40 MiB when all are in
// use. Ten thousand callers a second that are each new fill it in two minutes, and then the shortest windows go first.
const DefaultCapacity = 1 << 20

const (
	// shardCount splits the counters so that callers on many cores rarely meet at one lock.
	shardCount = 64
	// sweepEvery is how often a shard drops the counters whose windows have ended, if it is touched at all.
	sweepEvery = time.Minute
	// smallShard is the size below which sweeping is not worth the walk.
	smallShard = 64
	// evictionSample is how many counters of a full shard are compared to find one to give up.
	evictionSample = 8
)

// Limiter counts hits. Its zero value is not usable, see [New]. All methods may be called from any goroutine; there is
// no goroutine of its own, old counters are dropped in passing.
//
// Counters are found by a 64-bit hash of rule and key under a seed that is drawn at start, and the key itself is not
// kept: memory does not depend on how long keys are, and nobody outside can aim at another's counter. That two keys
// share a hash has odds of about 1 in 30 million with a full table, and costs one of them an early refusal.
type Limiter struct {
	seed     maphash.Seed
	start    time.Time // monotonic zero of all windows
	perShard int       // the most counters of one shard
	shards   [shardCount]shard
}

type shard struct {
	mu       sync.Mutex
	counters map[uint64]counter // guarded by mu
	sweepAt  int                // guarded by mu; size that starts the next sweep
	sweepDue time.Duration      // guarded by mu; time since Limiter.start that starts the next sweep
	_        [24]byte           // keeps two locks off one cache line
}

// counter is one window of one (rule, key).
type counter struct {
	end  time.Duration // since Limiter.start
	hits int
}

// New returns a Limiter that keeps about capacity counters; 0 means [DefaultCapacity]. When a flood of distinct keys
// needs more, counters whose windows end soonest are given up: those keys may then pass more often than their rule says,
// everybody else is counted right, and memory stays where it is.
func New(capacity int) *Limiter {
	if capacity <= 0 {
		capacity = DefaultCapacity
	}
	l := &Limiter{seed: maphash.MakeSeed(), start: time.Now(), perShard: max(capacity/shardCount, evictionSample)}
	for i := range l.shards {
		l.shards[i].counters = make(map[uint64]counter)
		l.shards[i].sweepAt = min(smallShard, l.perShard)
	}
	return l
}

// Hit is one count to be made: a rule and whom it is counted for.
type Hit struct {
	Rule Rule
	// Key tells callers apart, for example the result of [Bucket] or an address with method and path.
	Key string
}

// Result says whether a caller may go on, and what to tell them about their limit.
type Result struct {
	// OK is false when Rule was breached.
	OK bool
	// Rule is the breached rule, else the one with the shortest window. It is zero when there was no rule.
	Rule Rule
	// Remaining is how many hits are left in the window of Rule.
	Remaining int
	// Reset is when that window ends. It is in the future.
	Reset time.Time

	left time.Duration // until Reset, when the hit was taken
}

// RetryAfter is the time until Reset, as it was at the hit, in whole seconds rounded up: whoever waits that long meets a
// new window. It is at least one second, and 0 when there was no rule.
func (r Result) RetryAfter() time.Duration {
	return (r.left + time.Second - 1).Truncate(time.Second)
}

// Take counts one hit of key against every rule, shortest window first, and stops at the first that is breached: a
// caller over a short limit does not use up the longer ones. With no rules everything is allowed.
func (l *Limiter) Take(key string, rules ...Rule) Result {
	var few [4]Hit
	hits := few[:0]
	for _, r := range rules {
		hits = append(hits, Hit{Rule: r, Key: key})
	}
	return l.TakeAll(hits...)
}

// TakeAll is [Limiter.Take] for rules that are counted for different keys. Of rules with equal windows the one that is
// named first is tested, and reported, first.
func (l *Limiter) TakeAll(hits ...Hit) Result {
	if len(hits) == 0 {
		return Result{OK: true}
	}
	if !slices.IsSortedFunc(hits, byWindow) {
		hits = slices.Clone(hits)
		slices.SortStableFunc(hits, byWindow)
	}
	wall := time.Now()
	now := wall.Sub(l.start)
	var reported Result
	for i, h := range hits {
		c := l.count(h, now)
		if ok := c.hits <= h.Rule.Amount; i == 0 || !ok {
			left := c.end - now
			reported = Result{OK: ok, Rule: h.Rule, Remaining: max(h.Rule.Amount-c.hits, 0), Reset: wall.Add(left), left: left}
			if !ok {
				break
			}
		}
	}
	return reported
}

func byWindow(a, b Hit) int { return int(min(max(a.Rule.Per-b.Rule.Per, -1), 1)) }

// count adds a hit and returns the counter as it is then.
func (l *Limiter) count(h Hit, now time.Duration) counter {
	id := l.id(h)
	s := &l.shards[id%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	c, found := s.counters[id]
	if !found || c.end <= now {
		if !found {
			s.makeRoom(now, l.perShard)
		}
		c = counter{end: now + max(h.Rule.Per, 1)}
	}
	c.hits++
	s.counters[id] = c
	return c
}

// id hashes everything that makes a counter distinct. The parts are mixed by multiplications: one pass over all of them
// would need a buffer.
func (l *Limiter) id(h Hit) uint64 {
	const odd = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	x := maphash.String(l.seed, h.Rule.Name) + uint64(h.Rule.Amount)
	x = x*odd + uint64(h.Rule.Per)
	x = x*odd ^ maphash.String(l.seed, h.Key)
	x *= odd
	return x ^ x>>32
}

// makeRoom is called with s.mu held before a counter is added.
func (s *shard) makeRoom(now time.Duration, capacity int) {
	if len(s.counters) >= s.sweepAt || (now >= s.sweepDue && len(s.counters) >= smallShard) {
		s.sweep(now)
		s.sweepAt = min(max(2*len(s.counters), smallShard), capacity)
		s.sweepDue = now + sweepEvery
		if len(s.counters) >= capacity/2 {
			// Nearly everything is alive: the next sweep would find little, so it may wait for the clock.
			s.sweepAt = capacity
		}
	}
	if len(s.counters) >= capacity {
		s.evict()
		// A full shard of live counters must not be walked at each new key.
		s.sweepAt = capacity + 1
	}
}

func (s *shard) sweep(now time.Duration) {
	before := len(s.counters)
	for id, c := range s.counters {
		if c.end <= now {
			delete(s.counters, id)
		}
	}
	if live := len(s.counters); live < before/4 {
		// A map never gives memory back; after a flood has passed a fresh one does.
		smaller := make(map[uint64]counter, live)
		for id, c := range s.counters {
			smaller[id] = c
		}
		s.counters = smaller
	}
}

// evict gives up one counter: of a few, taken as the map yields them (it starts anywhere), the one that would end first.
func (s *shard) evict() {
	var victim uint64
	var end time.Duration
	seen := 0
	for id, c := range s.counters {
		if seen == 0 || c.end < end {
			victim, end = id, c.end
		}
		if seen++; seen == evictionSample {
			break
		}
	}
	delete(s.counters, victim)
}
