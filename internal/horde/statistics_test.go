// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var statEpoch = time.Date(2026, 3, 1, 12, 34, 0, 0, time.UTC)

// count folds and adds n results.
func (s *Statistics) count(at time.Time, model string, n int, things int64) {
	s.Fold(at)
	for range n {
		s.Add(at, model, things)
	}
}

// TestStatisticsOfTheExamples are examples 8 and 9 of the status chapter.
func TestStatisticsOfTheExamples(t *testing.T) {
	t.Parallel()
	const small, large = 512 * 512 * 30, 1024 * 1024 * 20
	s := NewStatistics()
	ago := func(d time.Duration) time.Time { return statEpoch.Add(-d) }
	s.count(ago(40*24*time.Hour), "a", 200, small)
	s.count(ago(20*24*time.Hour), "a", 100, small)
	s.count(ago(5*time.Hour), "a", 100, small)
	s.count(ago(30*time.Minute), "a", 90, small)
	s.count(ago(30*time.Second), "a", 10, small)
	s.Fold(statEpoch)
	tally := func(n int64) Tally { return Tally{n, n * small} }
	if got, want := s.Totals(statEpoch), (Totals{tally(10), tally(100), tally(200), tally(300), tally(500)}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := s.Totals(statEpoch).All.Things; got != 3_932_160_000 {
		t.Errorf("got %d pixelsteps", got)
	}

	s = NewStatistics()
	s.count(ago(40*24*time.Hour), "a", 200, small)
	s.count(ago(20*24*time.Hour), "a", 290, small)
	s.count(ago(10*time.Second), "a", 10, small)
	s.count(ago(10*time.Second), "a", 1000, large)
	s.Fold(statEpoch)
	got := s.Totals(statEpoch)
	for _, c := range []struct {
		name      string
		got, want Tally
	}{
		{"minute", got.Minute, Tally{1010, 21_050_163_200}},
		{"month", got.Month, Tally{1300, 290*small + 21_050_163_200}},
		{"all", got.All, Tally{1500, 24_903_680_000}},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, c.got, c.want)
		}
	}
}

// Field case B053: totals of 30 days go past 32 bits, and what is stored of them too.
func TestStatisticsPass32Bits(t *testing.T) {
	t.Parallel()
	s := NewStatistics()
	s.count(statEpoch.Add(-time.Hour), "a", 1, 2_147_483_647)
	s.count(statEpoch.Add(-3*time.Minute), "a", 1, 1)
	s.count(statEpoch.Add(-time.Minute), "a", 3, 1<<40)
	s.Fold(statEpoch)
	const want = 2_147_483_648 + 3<<40
	for range 2 {
		got := s.Totals(statEpoch)
		if got.Day.Things != want || got.Month.Things != want || got.All != (Tally{5, want}) {
			t.Errorf("got %+v, want %d", got, int64(want))
		}
		stored, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		s = NewStatistics()
		if err := json.Unmarshal(stored, s); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStatisticsAreThoseOfAnArchive compares with a list of all results, at any step of the clock, and after what is stored was
// read back.
func TestStatisticsAreThoseOfAnArchive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type row struct {
			at     time.Time
			model  string
			things int64
		}
		var archive []row
		s, now := NewStatistics(), statEpoch
		stored := map[string][]byte{}
		store := func(key string, v any) { stored[key], _ = json.Marshal(v) }
		keep := func(f Folded) {
			if f.Hour != nil {
				store(time.Unix(f.Hour.At*3600, 0).UTC().Format(time.RFC3339), f.Hour)
			}
			if f.Past != nil {
				store("past", f.Past)
			}
			store("minute", s.Minute)
			for _, at := range f.Gone {
				delete(stored, time.Unix(at*3600, 0).UTC().Format(time.RFC3339))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"count": func(t *rapid.T) {
				r := row{now, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "model"), rapid.Int64Range(1, 1000).Draw(t, "things")}
				archive = append(archive, r)
				keep(s.Fold(now))
				s.Add(now, r.model, r.things)
				store("minute", s.Minute)
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.SampledFrom([]int{1, 7, 59, 60, 600, 3600, 5000, 86_400, 700_000, 2_592_000}).Draw(t, "seconds")) * time.Second)
			},
			"start again": func(t *rapid.T) {
				s = NewStatistics()
				for key, data := range stored {
					switch key {
					case "past":
						_ = json.Unmarshal(data, s.Past)
					case "minute":
						_ = json.Unmarshal(data, s.Minute)
					default:
						h := new(StatHour)
						_ = json.Unmarshal(data, h)
						s.Hours[h.At] = h
					}
				}
				if err := s.Check(); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				keep(s.Fold(now))
				if s.Due(now) {
					t.Fatal("there is something to fold after a fold")
				}
				sum := func(end time.Time, window time.Duration) (sum Tally) {
					for _, r := range archive {
						if r.at.Before(end) && !r.at.Before(end.Add(-window)) {
							sum.add(Tally{1, r.things})
						}
					}
					return sum
				}
				end := now.Truncate(time.Minute)
				const day, ever = 24 * time.Hour, 1 << 62
				want := Totals{sum(end, time.Minute), sum(end, time.Hour), sum(end, day), sum(end, 30*day), sum(end, ever)}
				if got := s.Totals(now); got != want {
					t.Fatalf("at %v: got %+v, want %+v", now, got, want)
				}
				end = now.Truncate(time.Hour)
				by := func(window time.Duration) map[string]int64 {
					m := map[string]int64{}
					for _, r := range archive {
						if r.at.Before(end) {
							m[r.model] += 0
							if !r.at.Before(end.Add(-window)) {
								m[r.model]++
							}
						}
					}
					return m
				}
				got := s.Models(now)
				if !maps.Equal(got.Day, by(day)) || !maps.Equal(got.Month, by(30*day)) || !maps.Equal(got.All, by(ever)) {
					t.Fatalf("at %v: got %+v, want %v %v %v", now, got, by(day), by(30*day), by(ever))
				}
				if len(s.Hours) > hoursOfMonth+2 {
					t.Fatalf("%d hours are kept", len(s.Hours))
				}
			},
		})
	})
}

// TestStatisticsKnowSoManyModels checks that made-up names do not fill the memory, and that their results count in the totals.
func TestStatisticsKnowSoManyModels(t *testing.T) {
	t.Parallel()
	s, now, n := NewStatistics(), statEpoch, 0
	for range 8 {
		for range MaxHourModels + 10 {
			s.count(now, time.Duration(n).String(), 1, 5)
			n++
		}
		now = now.Add(time.Hour)
		s.Fold(now)
	}
	if got := len(s.Models(now).All); got != maxAllModels {
		t.Errorf("%d models are counted, want %d", got, maxAllModels)
	}
	if got, want := s.Totals(now).All, (Tally{int64(n), 5 * int64(n)}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestStatisticsOfAClockThatRunsBack is a failover to a machine whose clock is late.
func TestStatisticsOfAClockThatRunsBack(t *testing.T) {
	t.Parallel()
	s := NewStatistics()
	s.count(statEpoch, "a", 1, 1)
	s.Fold(statEpoch.Add(2 * time.Hour))
	s.count(statEpoch.Add(-time.Hour), "a", 1, 1)
	end := statEpoch.Add(5 * time.Hour)
	s.Fold(end)
	if got := s.Totals(end).All.Results; got != 2 {
		t.Errorf("%d results, want 2", got)
	}
}
