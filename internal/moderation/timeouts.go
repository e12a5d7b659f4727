// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Times of addresses (accounts chapter, 8.2).
const (
	// firstTimeout is the time-out of the first refused prompt from an address; the n-th gets 2n-1 times as much.
	firstTimeout = 3 * time.Minute
	// countLife is how long after a refusal the next one still counts as a further one.
	countLife = 24 * time.Hour
	// The addresses of services have many people behind them: their counts live shorter, and no time-out is longer than this.
	serviceCountLife  = time.Hour
	maxServiceTimeout = 5 * time.Minute
	// ProxyLimit is how many refused prompts of its users within an hour a service may pass on before moderators are told.
	ProxyLimit = 10
	// Untold is from how many seconds on a refusal does not tell how long a time-out lasts: 4 days.
	Untold = 345600
)

// Place is one network or address of which something is known.
type Place struct {
	// Prefix is the network or, of a single address, the address: IPv6 ones are known by their /64, for whoever has one address
	// of it has all.
	Prefix netip.Prefix `json:"prefix"`
	// Block marks a network that a moderator has blocked, as such; else the place is that of one caller.
	Block bool `json:"block,omitempty"`
	// Until is when the time-out ends; zero for none.
	Until time.Time `json:"until,omitzero"`
	// Count is how many prompts from there were refused, the last of which is forgotten at CountUntil.
	Count      int       `json:"count,omitempty"`
	CountUntil time.Time `json:"count_until,omitzero"`
	// Proxied and ProxiedUntil are the same for prompts that a service at this address passed on.
	Proxied      int       `json:"proxied,omitempty"`
	ProxiedUntil time.Time `json:"proxied_until,omitzero"`
}

// Key names a place among all.
type Key struct {
	Prefix netip.Prefix
	Block  bool
}

// Key is what the place is filed under.
func (p *Place) Key() Key { return Key{p.Prefix, p.Block} }

// ID is the key as a text, for the record.
func (k Key) ID() string {
	if k.Block {
		return "block " + k.Prefix.String()
	}
	return k.Prefix.String()
}

// Name is how the place is shown: a network, or an address.
func (p *Place) Name() string {
	if !p.Block && p.Prefix.IsSingleIP() {
		return p.Prefix.Addr().String()
	}
	return p.Prefix.String()
}

// Idle tells that nothing is known of the place any more.
func (p *Place) Idle(now time.Time) bool {
	return !p.Until.After(now) && !p.CountUntil.After(now) && !p.ProxiedUntil.After(now)
}

// Seconds is how long the time-out still lasts, rounded up; 0 for none.
func (p *Place) Seconds(now time.Time) int {
	left := p.Until.Sub(now)
	if p.Until.IsZero() || left <= 0 {
		return 0
	}
	return int((left + time.Second - 1) / time.Second)
}

// Bucket is what one caller has: an IPv4 address, or an IPv6 /64.
func Bucket(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the zero prefix for the zero address
	return p
}

// Places are all places of which something is known. Looking an address up costs one look for each length of the networks that
// are blocked, however many these are. It is not safe for concurrent use.
type Places struct {
	all map[Key]*Place
	// lengths counts blocks by the length of their prefix: 0 to 32 for IPv4, 33 and on for IPv6.
	lengths [33 + 129]int
	blocks  int
	// services are addresses of services, with shorter time-outs.
	services []netip.Prefix
}

// NewPlaces makes places of none. services are networks of services that speak for many people.
func NewPlaces(services []netip.Prefix) *Places {
	return &Places{all: map[Key]*Place{}, services: services}
}

// SetServices tells which networks are those of services.
func (s *Places) SetServices(services []netip.Prefix) { s.services = services }

func length(p netip.Prefix) int {
	if p.Addr().Is4() {
		return p.Bits()
	}
	return 33 + p.Bits()
}

// Add files a place.
func (s *Places) Add(p *Place) {
	if s.all[p.Key()] == nil && p.Block {
		s.lengths[length(p.Prefix)]++
		s.blocks++
	}
	s.all[p.Key()] = p
}

// Remove forgets a place and returns it, or nil.
func (s *Places) Remove(k Key) *Place {
	p := s.all[k]
	if p != nil && p.Block {
		s.lengths[length(p.Prefix)]--
		s.blocks--
	}
	delete(s.all, k)
	return p
}

// Find returns a place, or nil.
func (s *Places) Find(k Key) *Place { return s.all[k] }

// Len is how many places there are.
func (s *Places) Len() int { return len(s.all) }

// Timeout is for how many seconds an address is still refused: 0 for none. The longest of all that hold for it counts.
func (s *Places) Timeout(addr netip.Addr, now time.Time) int {
	longest := 0
	s.holding(addr, func(p *Place) { longest = max(longest, p.Seconds(now)) })
	return longest
}

// holding calls f for everything that holds for an address, blocks first.
func (s *Places) holding(addr netip.Addr, f func(*Place)) {
	if len(s.all) == 0 {
		return
	}
	addr = addr.Unmap().WithZone("")
	if s.blocks > 0 && addr.IsValid() {
		s.blocksAround(netip.PrefixFrom(addr, addr.BitLen()), f)
	}
	if p := s.all[Key{Bucket(addr), false}]; p != nil {
		f(p)
	}
}

// blocksAround calls f for the blocks that are or contain a network, the largest first.
func (s *Places) blocksAround(network netip.Prefix, f func(*Place)) {
	for bits := 0; bits <= network.Bits(); bits++ {
		prefix, err := network.Addr().Prefix(bits)
		if err != nil || s.lengths[length(prefix)] == 0 {
			continue
		}
		if p := s.all[Key{prefix, true}]; p != nil {
			f(p)
		}
	}
}

// Of lists what holds for an address or a network: blocks that are it or contain it, then the address itself.
func (s *Places) Of(network netip.Prefix, single bool, now time.Time) []Place {
	found := []Place{}
	s.blocksAround(network, func(p *Place) {
		if p.Seconds(now) > 0 {
			found = append(found, *p)
		}
	})
	if single {
		if p := s.all[Key{Bucket(network.Addr()), false}]; p != nil && p.Seconds(now) > 0 {
			found = append(found, *p)
		}
	}
	return found
}

// Blocks lists the blocked networks.
func (s *Places) Blocks(now time.Time) []Place {
	return s.list(func(p *Place) bool { return p.Block && p.Seconds(now) > 0 })
}

// Callers lists the single callers that are in time-out.
func (s *Places) Callers(now time.Time) []Place {
	return s.list(func(p *Place) bool { return !p.Block && p.Seconds(now) > 0 })
}

func (s *Places) list(want func(*Place) bool) []Place {
	found := []Place{}
	for _, p := range s.all {
		if want(p) {
			found = append(found, *p)
		}
	}
	slices.SortFunc(found, func(a, b Place) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return found
}

// Set gives a caller or a network a time-out, in place of the one it has.
func (s *Places) Set(k Key, until time.Time) *Place {
	p := s.at(k)
	p.Until = until
	return p
}

func (s *Places) at(k Key) *Place {
	p := s.all[k]
	if p == nil {
		p = &Place{Prefix: k.Prefix, Block: k.Block}
		s.Add(p)
	}
	return p
}

// Report counts a refused prompt from an address and gives it the time-out that this is worth: 3 minutes for the first, then 9,
// 15, 21 and so on.
func (s *Places) Report(addr netip.Addr, now time.Time) *Place {
	p := s.at(Key{Bucket(addr), false})
	if !p.CountUntil.After(now) {
		p.Count = 0
	}
	timeout, life := firstTimeout*time.Duration(2*p.Count+1), countLife
	if within(s.services, addr) {
		timeout, life = min(timeout, maxServiceTimeout), serviceCountLife
	}
	p.Count++
	p.CountUntil, p.Until = now.Add(life), now.Add(timeout)
	return p
}

// ReportProxy counts a refused prompt that the service at an address passed on, and tells how many there were within an hour
// before it.
func (s *Places) ReportProxy(addr netip.Addr, now time.Time) (p *Place, before int) {
	p = s.at(Key{Bucket(addr), false})
	if !p.ProxiedUntil.After(now) {
		p.Proxied = 0
	}
	before = p.Proxied
	p.Proxied++
	p.ProxiedUntil = now.Add(serviceCountLife)
	return p, before
}

// Expired lists the places of which nothing is known any more.
func (s *Places) Expired(now time.Time) []*Place {
	var gone []*Place
	for _, p := range s.all {
		if p.Idle(now) {
			gone = append(gone, p)
		}
	}
	return gone
}

func within(list []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// ParseNetwork reads an address or a network. block tells that it was written as a network. A network with bits set behind its
// length is none.
func ParseNetwork(text string) (network netip.Prefix, block, ok bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return netip.Prefix{}, true, false
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p, true, p == p.Masked()
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, false, false
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), false, true
}
