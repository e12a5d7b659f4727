// SPDX-License-Identifier: AGPL-3.0-or-later

package proofofwork

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func solved(t *testing.T, r *Riddler, whom string) (riddle, answer string) {
	t.Helper()
	riddle = r.Make(whom)
	answer, ok := Solve(riddle, r.Bits(), nil)
	if !ok {
		t.Fatal("no solution")
	}
	return riddle, answer
}

func TestARiddleIsGoodOnceForItsOwnerInItsTime(t *testing.T) {
	t.Parallel()
	const whom = "192.0.2.1"
	r := New(10)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.now = func() time.Time { return now }

	riddle, answer := solved(t, r, whom)
	for _, c := range []struct {
		name           string
		riddle, answer string
		whom           string
		want           error
	}{
		{"no answer", riddle, "", whom, ErrWrong},
		{"not a number", riddle, "x" + answer, whom, ErrWrong},
		{"a sign", riddle, "+" + answer, whom, ErrWrong},
		{"far too long", riddle, strings.Repeat("0", 1000) + answer, whom, ErrWrong},
		{"somebody else", riddle, answer, "192.0.2.2", ErrStale},
		{"made easier", strings.Replace(riddle, ".10.", ".1.", 1), "0", whom, ErrStale},
		{"made to last", "z" + riddle, answer, whom, ErrStale},
		{"no riddle", "", answer, whom, ErrStale},
		{"dots", "...", answer, whom, ErrStale},
		{"of another process", New(10).Make(whom), answer, whom, ErrStale},
		{"right", riddle, answer, whom, nil},
		{"again", riddle, answer, whom, ErrStale},
	} {
		if err := r.Check(c.riddle, c.answer, c.whom); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}

	late, answer := solved(t, r, whom)
	now = now.Add(GoodFor - time.Second)
	if err := r.Check(late, answer, whom); err != nil {
		t.Errorf("in the last second: %v", err)
	}
	late, answer = solved(t, r, whom)
	now = now.Add(GoodFor)
	if err := r.Check(late, answer, whom); !errors.Is(err, ErrStale) {
		t.Errorf("too late: %v", err)
	}
}

func TestManySendOneSolution(t *testing.T) {
	t.Parallel()
	r := New(8)
	riddle, answer := solved(t, r, "a")
	var taken atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if r.Check(riddle, answer, "a") == nil {
				taken.Add(1)
			}
		})
	}
	all.Wait()
	if n := taken.Load(); n != 1 {
		t.Errorf("one solution was taken %d times", n)
	}
}

func TestWhatAWrongAnswerCosts(t *testing.T) {
	t.Parallel()
	r := New(12)
	riddle := r.Make("a")
	hits := 0
	for n := range 4096 {
		if Solves(riddle, strings.Repeat("1", n%7+1)+"0", r.Bits()) {
			hits++
		}
	}
	if hits > 64 {
		t.Errorf("%d of 4096 guesses solve 12 bits", hits)
	}
	if _, ok := Solve(riddle, MaxBits, func() bool { return true }); ok {
		t.Error("a search that was stopped found something")
	}
}

func FuzzCheck(f *testing.F) {
	r := New(4)
	riddle := r.Make("a")
	answer, _ := Solve(riddle, 4, nil)
	f.Add(riddle, answer)
	f.Add("", "")
	f.Add("..", "0")
	f.Fuzz(func(t *testing.T, riddle, answer string) {
		other := New(4)
		if other.Check(riddle, answer, "a") == nil {
			t.Errorf("%q %q is taken by somebody who never made it", riddle, answer)
		}
	})
}
