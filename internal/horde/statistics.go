// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"fmt"
	"maps"
	"time"
)

// Tally counts results and what was asked of them: raw pixelsteps (width x height x steps, as the client wrote them) of
// images, the requested max_length of texts.
type Tally struct {
	Results int64 `json:"results"`
	Things  int64 `json:"things"`
}

func (t *Tally) add(o Tally) {
	t.Results += o.Results
	t.Things += o.Things
}

// Totals are the tallies of the windows that end at the last full minute. A month is 30 days.
type Totals struct{ Minute, Hour, Day, Month, All Tally }

// ModelTotals are the results by model in the windows that end at the last full hour. All three have the same keys.
type ModelTotals struct{ Day, Month, All map[string]int64 }

// The windows of statistics, in hours.
const (
	hoursOfDay   = 24
	hoursOfMonth = 30 * hoursOfDay

	minutesOfHour = 60
)

// Bounds on how many names of models are counted: strangers can make up any. Results beyond them count in the totals only.
const (
	MaxHourModels = 2_000 // in an hour, and in the running minute
	maxAllModels  = 10_000
)

// Statistics are what one kind of work has come to: small counters by minute, hour and for ever, so that no window is ever
// summed over more than some hundred numbers, and so that their number does not grow. Results go into the running minute, a
// minute that is over into its hour, and an hour that is over into the sum of all. The owner stores whatever Fold reports as
// changed, together with what caused it.
//
// Times must not run backwards; those that do count as the running minute. It is not safe for concurrent use.
type Statistics struct {
	// Minute is the running one, Hours those of the last month that had results, by number, and Past all hours that are over.
	Minute *StatMinute
	Hours  map[int64]*StatHour
	Past   *StatPast

	totals   Totals
	totalsAt int64 // the minute whose beginning totals are of
	models   ModelTotals
	modelsAt int64 // the hour whose beginning models are of
}

// StatMinute is the running minute.
type StatMinute struct {
	// At is the minute's number: minutes since 1970.
	At int64 `json:"at"`
	Tally
	Models map[string]int64 `json:"models,omitempty"`
}

// StatHour is an hour by its minutes.
type StatHour struct {
	// At is the hour's number: hours since 1970.
	At int64 `json:"at"`
	Tally
	// Minutes are the sums of the minutes that had results, as minute of the hour, results, things.
	Minutes [][3]int64       `json:"minutes"`
	Models  map[string]int64 `json:"models,omitempty"`
}

// StatPast sums up all hours that are over.
type StatPast struct {
	// Before is the number of the first hour that is not in the sum.
	Before int64 `json:"before"`
	Tally
	Models map[string]int64 `json:"models,omitempty"`
}

// NewStatistics are statistics of nothing.
func NewStatistics() *Statistics {
	return &Statistics{Minute: &StatMinute{}, Hours: map[int64]*StatHour{}, Past: &StatPast{}}
}

// Folded is what Fold has changed beside the running minute.
type Folded struct {
	Hour *StatHour // the hour that a minute went into, or nil
	Past *StatPast // the sum that an hour went into, or nil
	Gone []int64   // hours that have left the last month
}

func minuteOf(at time.Time) int64 { return at.Unix() / minutesOfHour }

func hourOf(minute int64) int64 { return minute / minutesOfHour }

// Due tells whether Fold has something to do.
func (s *Statistics) Due(now time.Time) bool {
	minute := minuteOf(now)
	return s.Minute.At < minute && s.Minute.Results > 0 || s.Past.Before < hourOf(minute) && len(s.Hours) > 0
}

// Fold puts what is over by now where it belongs. Call it, if it is due, before anything is added or read.
func (s *Statistics) Fold(now time.Time) (f Folded) {
	minute := minuteOf(now)
	if m := s.Minute; m.At < minute && m.Results > 0 {
		at := hourOf(m.At)
		h := s.Hours[at]
		if h == nil {
			h = &StatHour{At: at, Models: map[string]int64{}}
			s.Hours[at] = h
		}
		h.Tally.add(m.Tally)
		h.Minutes = append(h.Minutes, [3]int64{m.At % minutesOfHour, m.Results, m.Things})
		addModels(h.Models, m.Models, MaxHourModels)
		*m = StatMinute{At: minute}
		f.Hour = h
	}
	if hour := hourOf(minute); s.Past.Before < hour && len(s.Hours) > 0 {
		for at, h := range s.Hours {
			if at >= s.Past.Before && at < hour {
				s.Past.add(h.Tally)
				if s.Past.Models == nil {
					s.Past.Models = map[string]int64{}
				}
				addModels(s.Past.Models, h.Models, maxAllModels)
			}
			if at < hour-hoursOfMonth-1 {
				delete(s.Hours, at)
				f.Gone = append(f.Gone, at)
			}
		}
		s.Past.Before = hour
		f.Past = s.Past
	}
	return f
}

func addModels(to, from map[string]int64, limit int) {
	for name, n := range from {
		if _, ok := to[name]; ok || len(to) < limit {
			to[name] += n
		}
	}
}

// Add counts a result that is finished now, after Fold.
func (s *Statistics) Add(now time.Time, model string, things int64) {
	m := s.Minute
	m.At = max(m.At, minuteOf(now), s.Past.Before*minutesOfHour)
	m.Results++
	m.Things += things
	if m.Models == nil {
		m.Models = map[string]int64{}
	}
	if _, ok := m.Models[model]; ok || len(m.Models) < MaxHourModels {
		m.Models[model]++
	}
}

// Totals are the sums as of the beginning of the minute, after Fold.
func (s *Statistics) Totals(now time.Time) Totals {
	end := minuteOf(now)
	if s.totalsAt == end {
		return s.totals
	}
	hour := hourOf(end)
	t := Totals{All: s.Past.Tally}
	for at, h := range s.Hours {
		if at >= s.Past.Before {
			t.All.add(h.Tally)
		}
		for _, w := range []struct {
			into    *Tally
			minutes int64
		}{{&t.Minute, 1}, {&t.Hour, minutesOfHour}, {&t.Day, hoursOfDay * minutesOfHour}, {&t.Month, hoursOfMonth * minutesOfHour}} {
			begin := end - w.minutes
			switch {
			case at > hour || at < hourOf(begin):
			case at > hourOf(begin) && at < hour:
				w.into.add(h.Tally)
			default:
				for _, m := range h.Minutes {
					if minute := at*minutesOfHour + m[0]; minute >= begin && minute < end {
						w.into.add(Tally{m[1], m[2]})
					}
				}
			}
		}
	}
	s.totals, s.totalsAt = t, end
	return t
}

// Models are the results by model as of the beginning of the hour, after Fold. The maps are shared and never change.
func (s *Statistics) Models(now time.Time) ModelTotals {
	end := hourOf(minuteOf(now))
	if s.modelsAt == end && s.models.All != nil {
		return s.models
	}
	t := ModelTotals{All: maps.Clone(s.Past.Models)}
	if t.All == nil {
		t.All = map[string]int64{}
	}
	t.Day, t.Month = make(map[string]int64, len(t.All)), make(map[string]int64, len(t.All))
	for name := range t.All {
		t.Day[name], t.Month[name] = 0, 0
	}
	for at, h := range s.Hours {
		for name, n := range h.Models {
			if _, ok := t.All[name]; !ok || at >= end || at < end-hoursOfMonth {
				continue
			}
			t.Month[name] += n
			if at >= end-hoursOfDay {
				t.Day[name] += n
			}
		}
	}
	s.models, s.modelsAt = t, end
	return t
}

// Check tells what is wrong with statistics that were read from a record.
func (s *Statistics) Check() error {
	for at, h := range s.Hours {
		sum := Tally{}
		for _, m := range h.Minutes {
			sum.add(Tally{m[1], m[2]})
		}
		if at != h.At || sum != h.Tally {
			return fmt.Errorf("hour %d: its minutes have %v, and it has %v", at, sum, h.Tally)
		}
	}
	return nil
}
