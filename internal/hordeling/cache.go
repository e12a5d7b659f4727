// SPDX-License-Identifier: AGPL-3.0-or-later

package hordeling

import (
	"sync"
	"time"
)

// cache holds values for a time, at most max of them. When it is full, what has expired goes, or else anything: the
// values are cheap to have again. It is safe for use by many goroutines.
type cache[K comparable, V any] struct {
	max int

	mu      sync.Mutex
	entries map[K]cached[V] // guarded by mu
}

type cached[V any] struct {
	value   V
	expires time.Time
}

func newCache[K comparable, V any](max int) *cache[K, V] {
	return &cache[K, V]{max: max, entries: make(map[K]cached[V])}
}

func (c *cache[K, V]) get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok || !time.Now().Before(e.expires) {
		var none V
		return none, false
	}
	return e.value, true
}

func (c *cache[K, V]) put(key K, value V, life time.Duration) {
	if life <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if len(c.entries) >= c.max {
		c.makeRoom(now)
	}
	c.entries[key] = cached[V]{value, now.Add(life)}
}

// makeRoom is called with mu held.
func (c *cache[K, V]) makeRoom(now time.Time) {
	for k, e := range c.entries {
		if !now.Before(e.expires) {
			delete(c.entries, k)
		}
	}
	for k := range c.entries {
		if len(c.entries) < c.max {
			return
		}
		delete(c.entries, k)
	}
}
