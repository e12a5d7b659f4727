// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"fmt"
	"net/netip"
	"time"

	"horde/internal/moderation"
)

// Keys that open nothing are counted by address: whoever tries many is looking for one. With 128 bits in a key nobody finds
// any, so it is enough that moderators hear of it (accounts chapter, 14).
const (
	missesTold  = 30     // in an hour, from one address
	maxMissedBy = 10_000 // addresses that are counted in an hour
)

// missedKeys are the keys of the last hour that opened nothing. They may be lost in a crash.
type missedKeys struct {
	since time.Time
	by    map[netip.Prefix]int
}

// KeyMissed notes that somebody at an address asked who a key belongs to, and it opened nothing.
func (e *Engine) KeyMissed(addr netip.Addr) {
	// A failure is told to whoever changes something.
	_ = e.do(func() {
		now := time.Now()
		if now.Sub(e.missed.since) >= time.Hour {
			e.missed = missedKeys{now, map[netip.Prefix]int{}}
		}
		e.meters.keysMissed.Inc()
		place := moderation.Bucket(addr)
		before, counted := e.missed.by[place]
		if !counted && len(e.missed.by) >= maxMissedBy {
			return
		}
		e.missed.by[place] = before + 1
		if before == missesTold {
			e.alert("missed keys "+place.String(), time.Hour, now, moderation.Alert{Problem: true,
				Text: fmt.Sprintf("Somebody at %s looks for keys: more than %d that open nothing within an hour.", moderation.AddressName(addr), missesTold)})
		}
	})
}
