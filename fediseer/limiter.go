// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// limitWindow is the length of the service's windows, with a margin for the way there.
	limitWindow = time.Minute + time.Second
	// sweepAt is the number of windows at which those that have ended are dropped.
	sweepAt = 4096
)

// limiter mirrors the rate limits of the service, so that a client waits instead of being refused.
type limiter struct {
	mu      sync.Mutex
	windows map[string]*window // guarded by mu
}

type window struct {
	ends time.Time
	hits int
}

func newLimiter() *limiter { return &limiter{windows: map[string]*window{}} }

type limitRule struct {
	key    string
	amount int
}

// rules are the limits that a request counts against.
func rules(method, route, path string) []limitRule {
	byPath := method + " " + path
	switch route {
	case "censures_given", "approvals", "hesitations_given", "guarantors":
		return []limitRule{{"route " + route, 45}, {byPath, 30}}
	case "censures", "endorsements", "hesitations", "guarantees", "rebuttals", "solicitations":
		return []limitRule{{byPath, 20}}
	case "batch":
		return []limitRule{{byPath, 2}}
	}
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 3)
	if len(parts) > 1 { // the domain at the end is not part of the route
		return []limitRule{{"route " + strings.Join(parts[:len(parts)-1], "/") + "/", 90}}
	}
	return []limitRule{{"route " + route, 90}}
}

// wait counts a request as soon as all its limits allow it. It fails at once when the context ends before that.
func (l *limiter) wait(ctx context.Context, method, route, path string) error {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rs := rules(method, route, path)
	for {
		free := l.take(rs, time.Now())
		if free.IsZero() {
			return ctx.Err()
		}
		d := time.Until(free)
		if deadline, ok := ctx.Deadline(); ok && deadline.Before(free) {
			return fmt.Errorf("fediseer: the rate limit of the service allows this request in %s: %w", d.Round(time.Second), context.DeadlineExceeded)
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
	}
}

// take counts a request against all rules, or returns when the fullest of them is free again.
func (l *limiter) take(rs []limitRule, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.windows) >= sweepAt {
		for k, w := range l.windows {
			if now.After(w.ends) {
				delete(l.windows, k)
			}
		}
	}
	var free time.Time
	for _, r := range rs {
		w := l.windows[r.key]
		if w == nil || !now.Before(w.ends) {
			w = &window{ends: now.Add(limitWindow)}
			l.windows[r.key] = w
		}
		if w.hits >= r.amount && w.ends.After(free) {
			free = w.ends
		}
	}
	if free.IsZero() {
		for _, r := range rs {
			l.windows[r.key].hits++
		}
	}
	return free
}
