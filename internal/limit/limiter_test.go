// SPDX-License-Identifier: AGPL-3.0-or-later

package limit

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var (
	twoPerSecond    = Rule{Name: "short", Amount: 2, Per: time.Second}
	ninetyPerMinute = Rule{Name: "long", Amount: 90, Per: time.Minute}
)

func TestRuleString(t *testing.T) {
	t.Parallel()
	for want, rule := range map[string]Rule{
		"2 per 1 second":   twoPerSecond,
		"90 per 1 minute":  ninetyPerMinute,
		"10 per 1 minute":  {Amount: 10, Per: 60 * time.Second},
		"20 per 1 hour":    {Amount: 20, Per: time.Hour},
		"5 per 3 minute":   {Amount: 5, Per: 3 * time.Minute},
		"7 per 90 second":  {Amount: 7, Per: 90 * time.Second},
		"1 per 1 day":      {Amount: 1, Per: 24 * time.Hour},
		"1 per 0.5 second": {Amount: 1, Per: 500 * time.Millisecond},
	} {
		if got := rule.String(); got != want {
			t.Errorf("%#v is written %q, want %q", rule, got, want)
		}
	}
}

func TestWindowStartsAtFirstHitAndEndsAsAWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New(0)
		time.Sleep(300 * time.Millisecond) // a window is not aligned to the clock
		began := time.Now()
		for i, step := range []struct {
			after     time.Duration
			ok        bool
			remaining int
			retry     time.Duration
		}{
			{0, true, 1, time.Second},
			{600 * time.Millisecond, true, 0, time.Second},
			{399 * time.Millisecond, false, 0, time.Second},
			{time.Millisecond, true, 1, time.Second},
		} {
			time.Sleep(step.after)
			r := l.Take("a", twoPerSecond)
			if r.OK != step.ok || r.Remaining != step.remaining || r.RetryAfter() != step.retry || r.Rule != twoPerSecond {
				t.Errorf("hit %d: %+v, want ok %v, remaining %d, retry %v", i, r, step.ok, step.remaining, step.retry)
			}
			end := began.Add(time.Second)
			if i == 3 {
				end = end.Add(time.Second)
			}
			if !r.Reset.Equal(end) {
				t.Errorf("hit %d: window ends %v, want %v", i, r.Reset, end)
			}
		}
	})
}

func TestOneBreachedLimitSparesTheLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New(0)
		long := Rule{Name: "long", Amount: 5, Per: time.Minute}
		take := func() Result { return l.Take("a", long, twoPerSecond) } // tested shortest first, however they are named
		for range 50 {
			take()
		}
		time.Sleep(time.Second)
		for i := range 2 {
			if r := take(); !r.OK || r.Rule != twoPerSecond {
				t.Fatalf("hit %d after 48 refused ones: %+v", i, r)
			}
		}
		time.Sleep(time.Second)
		if r := take(); !r.OK {
			t.Fatalf("fifth hit of five a minute refused: %+v", r)
		}
		r := take()
		if r.OK || r.Rule != long || r.Remaining != 0 || r.RetryAfter() != 58*time.Second {
			t.Fatalf("sixth hit of five a minute: %+v", r)
		}
	})
}

func TestCountersAreSeparate(t *testing.T) {
	t.Parallel()
	l := New(0)
	once := Rule{Name: "once", Amount: 1, Per: time.Hour}
	other := once
	other.Name = "other"
	raised := once
	raised.Amount = 2
	for _, h := range []Hit{{once, "a"}, {once, "b"}, {other, "a"}, {raised, "a"}, {once, ""}} {
		if !l.TakeAll(h).OK {
			t.Errorf("first hit of %+v refused", h)
		}
	}
	if l.Take("a", once).OK {
		t.Error("second hit passed")
	}
	if !l.TakeAll().OK || !l.Take("a").OK {
		t.Error("refused without a rule")
	}
	if l.Take("a", Rule{Per: time.Second}).OK {
		t.Error("an amount of zero let a hit pass")
	}
}

func TestTiesReportTheFirst(t *testing.T) {
	t.Parallel()
	l := New(0)
	byPath := Rule{Name: "path", Amount: 2, Per: time.Second}
	byKey := Rule{Name: "key", Amount: 60, Per: time.Second}
	if r := l.TakeAll(Hit{ninetyPerMinute, "p"}, Hit{byPath, "p"}, Hit{byKey, "k"}); r.Rule != byPath || r.Remaining != 1 {
		t.Errorf("reported %+v", r)
	}
}

func TestFloodOfKeysStaysWithinCapacityAndPassesAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const capacity = 1 << 12
		l := New(capacity)
		hour := Rule{Name: "hour", Amount: 1, Per: time.Hour}
		l.Take("old customer", hour)
		for i := range 20 * capacity {
			l.Take(fmt.Sprint(i), twoPerSecond)
		}
		if n := l.size(); n > capacity {
			t.Errorf("%d counters, capacity %d", n, capacity)
		}
		if l.Take("old customer", hour).OK {
			t.Error("a flood of short windows displaced a long one")
		}
		time.Sleep(2 * time.Minute)
		for i := range 16 * shardCount {
			l.Take(fmt.Sprint("later", i), twoPerSecond)
		}
		if n := l.size(); n > 40*shardCount {
			t.Errorf("%d counters are left of the flood", n)
		}
	})
}

func (l *Limiter) size() (n int) {
	for i := range l.shards {
		l.shards[i].mu.Lock()
		n += len(l.shards[i].counters)
		l.shards[i].mu.Unlock()
	}
	return n
}

func TestConcurrentHitsAreCountedExactly(t *testing.T) {
	t.Parallel()
	l := New(0)
	rule := Rule{Name: "r", Amount: 1000, Per: time.Hour}
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if l.Take("a", rule).OK {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 1000 {
		t.Errorf("%d of 4000 hits passed a limit of 1000", passed.Load())
	}
}

// The limiter must agree with the simplest thing that could be written from the description.
func TestAgreesWithANaiveCounter(t *testing.T) {
	t.Parallel()
	rules := []Rule{{"a", 2, time.Second}, {"b", 3, 5 * time.Second}, {"c", 5, time.Minute}}
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) [2]int {
			return [2]int{rapid.IntRange(0, 900).Draw(rt, "ms"), rapid.IntRange(0, 2).Draw(rt, "key")}
		}), 1, 200).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			type window struct {
				end  time.Time
				hits int
			}
			naive := map[string]*window{}
			l := New(0)
			for i, s := range steps {
				time.Sleep(time.Duration(s[0]) * time.Millisecond)
				key := fmt.Sprint(s[1])
				want := true
				for _, r := range rules {
					w := naive[r.Name+key]
					if w == nil || !time.Now().Before(w.end) {
						w = &window{end: time.Now().Add(r.Per)}
						naive[r.Name+key] = w
					}
					if w.hits++; w.hits > r.Amount {
						want = false
						break
					}
				}
				if got := l.Take(key, rules...); got.OK != want {
					rt.Fatalf("step %d: passed %v, want %v", i, got.OK, want)
				}
			}
		})
	})
}

func TestBucket(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.1":             "192.0.2.1",
		"::ffff:192.0.2.1":      "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::/64",
		"2001:db8:1:2::":        "2001:db8:1:2::/64",
		"fe80::1%eth0":          "fe80::/64",
		"::1":                   "::/64",
		"2001:db8:1:3:3:4:5:6%": "invalid",
	} {
		addr, _ := netip.ParseAddr(in)
		if got := Bucket(addr); got != want {
			t.Errorf("%s falls in %s, want %s", in, got, want)
		}
	}
}

func TestRelaxedForADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r Relaxed
		one := netip.MustParseAddr("2001:db8::1")
		neighbour := netip.MustParseAddr("2001:db8::ffff")
		stranger := netip.MustParseAddr("2001:db8:0:1::1")
		if r.Has(one) {
			t.Error("an empty list has an address")
		}
		r.Add(netip.Addr{})
		if r.Has(netip.Addr{}) {
			t.Error("the invalid address is listed")
		}
		r.Add(one)
		if !r.Has(one) || !r.Has(neighbour) || r.Has(stranger) {
			t.Error("the list is not by /64")
		}
		time.Sleep(RelaxedFor - time.Second)
		if !r.Has(one) {
			t.Error("lapsed too early")
		}
		time.Sleep(time.Second)
		if r.Has(one) {
			t.Error("did not lapse after a day")
		}
	})
}

func TestRelaxedIsBounded(t *testing.T) {
	t.Parallel()
	var r Relaxed
	for i := range relaxedCapacity + 100 {
		r.Add(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if len(r.until) > relaxedCapacity {
		t.Errorf("%d entries", len(r.until))
	}
}

func BenchmarkTake(b *testing.B) {
	for _, n := range []int{1, 1 << 16} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			keys := make([]string, n)
			for i := range keys {
				keys[i] = fmt.Sprintf("192.0.2.1@POST@/api/v2/generate/async/%d", i)
			}
			l := New(0)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				l.Take(keys[i&(n-1)], ninetyPerMinute)
				i++
			}
		})
	}
}

func BenchmarkTakeUnderFlood(b *testing.B) {
	l := New(1 << 16)
	var buf [8]byte
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i++
		for k := range buf {
			buf[k] = byte(i >> (8 * k))
		}
		l.Take(string(buf[:]), ninetyPerMinute)
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapInuse-before.HeapInuse)/(1<<20), "heapMiB")
}
