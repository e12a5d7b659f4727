// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"net/netip"
	"time"

	"horde/internal/horde"
	"horde/internal/moderation"
)

// AddressTimeout is an address or a network that is in time-out, and for how much longer.
type AddressTimeout struct {
	Name    string
	Seconds int
}

func timeouts(places []moderation.Place, now time.Time) []AddressTimeout {
	out := make([]AddressTimeout, len(places))
	for i := range places {
		out[i] = AddressTimeout{places[i].Name(), places[i].Seconds(now)}
	}
	return out
}

// BlockedNetworks lists the networks that are blocked. With callers, single addresses that are in time-out come after them.
func (e *Engine) BlockedNetworks(ctx context.Context, key string, callers bool) ([]AddressTimeout, error) {
	return change(ctx, e, func() ([]AddressTimeout, *batch, *horde.Error) {
		if _, err := e.moderator(key); err != nil {
			return nil, nil, err
		}
		now := time.Now()
		list := e.places.Blocks(now)
		if callers {
			list = append(list, e.places.Callers(now)...)
		}
		return timeouts(list, now), nil, nil
	})
}

// AddressTimeouts lists what holds for an address or a network: blocks that contain it, then its own time-out.
func (e *Engine) AddressTimeouts(ctx context.Context, key, text string) ([]AddressTimeout, error) {
	network, block, ok := moderation.ParseNetwork(text)
	if !ok {
		return nil, horde.ErrBadAddress
	}
	return change(ctx, e, func() ([]AddressTimeout, *batch, *horde.Error) {
		if _, err := e.moderator(key); err != nil {
			return nil, nil, err
		}
		now := time.Now()
		return timeouts(e.places.Of(network, !block, now), now), nil, nil
	})
}

// BlockAddress gives an address or a network a time-out, in place of the one it has.
func (e *Engine) BlockAddress(ctx context.Context, key, text string, d time.Duration) error {
	k, ok := placeKey(text)
	if !ok {
		return horde.ErrBadAddress
	}
	return e.byModerator(ctx, key, func(u *user, now time.Time) *horde.Error {
		e.blockPlace(u, k, d, now)
		return nil
	})
}

// UnblockAddress ends the time-out of an address or a network, and forgets what was refused from it.
func (e *Engine) UnblockAddress(ctx context.Context, key, text string) error {
	k, ok := placeKey(text)
	if !ok {
		return horde.ErrBadAddress
	}
	return e.byModerator(ctx, key, func(u *user, _ time.Time) *horde.Error {
		e.unblockPlace(u, k)
		return nil
	})
}

// BlockWorkerAddress gives the address that a worker last came from a time-out. Of IPv6 that blocks its /64.
func (e *Engine) BlockWorkerAddress(ctx context.Context, key, worker string, d time.Duration) error {
	return e.byModerator(ctx, key, func(u *user, now time.Time) *horde.Error {
		addr, err := e.workerAddress(worker)
		if err != nil {
			return err
		}
		e.blockPlace(u, moderation.Key{Prefix: moderation.Bucket(addr), Block: addr.Is6()}, d, now)
		return nil
	})
}

// UnblockWorkerAddress ends that.
func (e *Engine) UnblockWorkerAddress(ctx context.Context, key, worker string) error {
	return e.byModerator(ctx, key, func(u *user, _ time.Time) *horde.Error {
		addr, err := e.workerAddress(worker)
		if err != nil {
			return err
		}
		for _, block := range []bool{false, true} {
			e.unblockPlace(u, moderation.Key{Prefix: moderation.Bucket(addr), Block: block})
		}
		return nil
	})
}

func (e *Engine) workerAddress(id string) (netip.Addr, *horde.Error) {
	w := e.workerByID(id)
	if w == nil {
		return netip.Addr{}, horde.ErrWorkerNotFound
	}
	addr, err := netip.ParseAddr(w.IP)
	if err != nil {
		return netip.Addr{}, horde.ErrNoWorkerAddress
	}
	return addr.Unmap(), nil
}

// byModerator lets a moderator change something.
func (e *Engine) byModerator(ctx context.Context, key string, f func(*user, time.Time) *horde.Error) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		u, err := e.moderator(key)
		if err == nil {
			err = f(u, time.Now().UTC())
		}
		return struct{}{}, e.open, err
	})
	return err
}

// placeKey reads what a moderator names: a network is a block, an address the caller that has it.
func placeKey(text string) (moderation.Key, bool) {
	network, block, ok := moderation.ParseNetwork(text)
	if !ok {
		return moderation.Key{}, false
	}
	if !block {
		network = moderation.Bucket(network.Addr())
	}
	return moderation.Key{Prefix: network, Block: block}, true
}

func (e *Engine) blockPlace(u *user, k moderation.Key, d time.Duration, now time.Time) {
	e.notePlace(e.places.Set(k, now.Add(d)), now)
	e.Log.Info("an address was blocked", "moderator", u.ID, "network", k.Prefix, "for", d)
}

func (e *Engine) unblockPlace(u *user, k moderation.Key) {
	if e.places.Remove(k) != nil {
		e.open.forgetDocument(placeDocument, k.ID())
		e.Log.Info("an address was unblocked", "moderator", u.ID, "network", k.Prefix)
	}
}

// safetyOf tells what is thought of an address. It may ask somebody, so it is called without the lock; who is exempt is not
// asked about.
func (e *Engine) safetyOf(key string, addr netip.Addr, onlyInRaids bool) (moderation.Safety, error) {
	if e.Safety == nil {
		return moderation.Safe, nil
	}
	began := time.Now()
	if s, known := e.Safety.Known(addr); known && s != moderation.Unknown {
		e.meters.addressKnown.Observe(time.Since(began).Seconds())
		return s, nil
	}
	exempt := false
	if err := e.do(func() {
		u, refusal := e.accountOf(key)
		exempt = refusal != nil || u.Has(horde.Trusted) || e.isPatron(u) || !onlyInRaids && u.Has(horde.VPN) || onlyInRaids && !e.settings.RaidMode ||
			e.timedOut(addr, time.Now()) != nil
	}); err != nil {
		return moderation.Safe, err
	}
	if exempt {
		return moderation.Safe, nil
	}
	began = time.Now()
	s := e.Safety.Check(addr)
	e.meters.addressAsked.Observe(time.Since(began).Seconds())
	return s, nil
}

// unsafeRequester tells whether a requester is to be refused for the address, in raid mode. An address of which nothing is known
// passes, but not unseen: a checker that fails during a raid is reported.
func (e *Engine) unsafeRequester(u *user, s moderation.Safety, now time.Time) bool {
	if !e.settings.RaidMode || u.Has(horde.Trusted) || e.isPatron(u) {
		return false
	}
	if s == moderation.Unknown {
		e.meters.unknownAddresses.Inc()
		e.alert("unknown addresses", time.Hour, now, moderation.Alert{Problem: true,
			Text: "Raid mode is on, and the checker of addresses does not answer: requests from addresses that it does not know pass."})
	}
	return s == moderation.Unsafe
}

// hidden tells whether what comes from an address is marked as such, for workers to choose: in raid mode, of those who are not refused
// for it. Texts never are.
func (e *Engine) hidden(s moderation.Safety) bool {
	return e.settings.RaidMode && s == moderation.Unsafe
}

// unsafeWorker refuses a worker for its address. In raid mode one that is unsafe is let in, and reported: see checkIn.
func (e *Engine) unsafeWorker(u *user, s moderation.Safety) *horde.Error {
	switch {
	case u.Has(horde.Trusted), u.Has(horde.VPN), e.isPatron(u), s == moderation.Safe:
		return nil
	case s == moderation.Unknown:
		e.meters.unknownAddresses.Inc()
		return horde.ErrTooManyNewIPs
	case e.settings.RaidMode:
		return nil
	}
	return horde.ErrUnsafeIP
}
