// SPDX-License-Identifier: AGPL-3.0-or-later

package limit

import (
	"net/netip"
	"sync"
	"time"
)

// Unit returns the range of addresses that one caller is taken to own: a single IPv4 address, or the /64 of an IPv6
// address, since the rest of an IPv6 address is the caller's to choose. IPv4 inside IPv6 counts as IPv4, a zone is
// dropped. The unit of the zero address is the zero prefix.
func Unit(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	unit, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return unit
}

// Bucket returns [Unit] as text, to be used as a key: "192.0.2.1" or "2001:db8::/64". An address that is not valid gives
// "invalid": all of them share one bucket.
func Bucket(addr netip.Addr) string {
	unit := Unit(addr)
	switch {
	case !unit.IsValid():
		return "invalid"
	case unit.Addr().Is4():
		return unit.Addr().String()
	}
	return unit.String()
}

// RelaxedFor is how long an address keeps raised limits after a submission by an account that vouches for it.
const RelaxedFor = 24 * time.Hour

// relaxedCapacity bounds the list: far more trusted submitters than a horde has in a day.
const relaxedCapacity = 1 << 16

// Relaxed is the list of addresses that enjoy raised limits because a trusted, education or service account submitted
// from them within [RelaxedFor]. Addresses are listed by their [Unit]. The zero value is an empty list; all methods may
// be called from any goroutine. It is not persisted: what is lost at a restart is earned again by the next submission.
type Relaxed struct {
	mu    sync.RWMutex
	until map[netip.Prefix]time.Time // guarded by mu
}

// Add lists addr for [RelaxedFor] from now on. Invalid addresses are ignored.
func (r *Relaxed) Add(addr netip.Addr) {
	unit := Unit(addr)
	if !unit.IsValid() {
		return
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = make(map[netip.Prefix]time.Time)
	}
	if _, listed := r.until[unit]; !listed && len(r.until) >= relaxedCapacity {
		r.makeRoom(now)
	}
	r.until[unit] = now.Add(RelaxedFor)
}

// Has says whether addr is listed now.
func (r *Relaxed) Has(addr netip.Addr) bool {
	unit := Unit(addr)
	r.mu.RLock()
	until, listed := r.until[unit]
	r.mu.RUnlock()
	return listed && time.Now().Before(until)
}

// makeRoom drops what has lapsed, or else any one entry. It is called with r.mu held.
func (r *Relaxed) makeRoom(now time.Time) {
	for unit, until := range r.until {
		if !now.Before(until) {
			delete(r.until, unit)
		}
	}
	for unit := range r.until {
		if len(r.until) < relaxedCapacity {
			return
		}
		delete(r.until, unit)
	}
}
