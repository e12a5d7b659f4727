// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"sync"
	"time"
)

// speed is a moving average of what an inference server does in a second, by sort of job. Its methods may be called at
// the same time.
type speed struct {
	mu   sync.Mutex
	rate map[string]float64 // units a second
}

// newSample is the weight of a new measurement against all before.
const newSample = 0.3

// add takes a measurement in and returns the average.
func (s *speed) add(sort string, units float64, took time.Duration) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rate == nil {
		s.rate = map[string]float64{}
	}
	if took <= 0 || units <= 0 {
		return s.rate[sort]
	}
	r := units / took.Seconds()
	if old, ok := s.rate[sort]; ok {
		r = old*(1-newSample) + r*newSample
	}
	s.rate[sort] = r
	return r
}

// estimate is the time for units at the average of their sort; ok is false without a measurement.
func (s *speed) estimate(sort string, units float64) (d time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rate[sort]
	if r <= 0 {
		return 0, false
	}
	return time.Duration(units / r * float64(time.Second)), true
}
