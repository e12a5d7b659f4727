// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/moderation"
)

// Limits of workers (dispatch chapter, 3 and 5).
const (
	maxWorkerName      = 100
	untrustedWorkers   = 3 // an untrusted user may run one more than this
	trustedWorkers     = 20
	maxImageModels     = 300
	maxTextModels      = 200
	maxBlacklist       = 200
	maxBlacklistWord   = 15 // characters; longer words are cut
	maxSoftprompts     = 200
	maxSoftpromptName  = 100
	maxPriorityFriends = 1000
)

var forbiddenNames = []string{"colab", "tpu", "google"}

// polled is a worker that may look at the queue: it is known, its owner may run it, and it has checked in.
type polled struct {
	*worker
	offer   *horde.Offer // nil for alchemists
	friends []horde.UserID
	isNew   bool
}

// fields writes what only one kind of worker tells into its record.
type fields func(*horde.Worker)

// poll makes all the checks of a pop in the order of the dispatch chapter, 5, and the check-in.
func (e *Engine) poll(key string, addr netip.Addr, safety moderation.Safety, kind horde.Kind, p *horde.Polling, set fields) (*polled, *horde.Error) {
	for _, name := range p.PriorityUsernames {
		if !strings.Contains(name, "#") {
			if kind == horde.Alchemy {
				return nil, horde.ErrAlchemyPriority
			}
			return nil, horde.ErrPriorityUsername
		}
	}
	u, err := e.userOf(key)
	switch {
	case err != nil:
		return nil, err
	case u.Has(horde.Deleted):
		return nil, horde.ErrDeletedUser
	case u.Has(horde.Flagged):
		return nil, horde.ErrWorkerFlagged
	case u.ID == horde.Anonymous:
		return nil, horde.ErrAnonWorker
	}
	now := time.Now().UTC()
	name := horde.Sanitize(*p.Name)
	w := e.byName[name]
	isNew := w == nil
	if !isNew && w.Kind != kind {
		return nil, horde.ErrPolymorphicName
	}
	if err := e.timedOut(addr, now); err != nil {
		return nil, err
	}
	if err := e.unsafeWorker(u, safety); err != nil {
		return nil, err
	}
	if isNew {
		if err := e.mayCreate(u, name, p, addr); err != nil {
			return nil, err
		}
		w = &worker{owner: u, Worker: horde.Worker{
			ID: horde.NewWorkerID(), Kind: kind, Owner: u.ID, Name: name, Created: now, LastAborted: now,
			Speed: kind.BaselineSpeed(), MaintenanceMessage: horde.DefaultMaintenanceMessage,
		}}
	}
	if w.owner != u {
		return nil, horde.ErrWrongCredentials
	}
	models, err := e.allowed(u, kind, p.Models)
	if err != nil {
		return nil, err
	}
	if isNew || now.Sub(w.LastCheckIn) >= horde.CheckInEvery || now.Sub(w.Created) < horde.CheckInEvery {
		if len(models) == 0 && kind != horde.Alchemy {
			return nil, horde.ErrNoModels
		}
		e.checkIn(w, addr, models, p, set, now, isNew)
		e.suspectOffer(w, safety)
	}
	w.RequireUpfrontKudos = kind == horde.Image && is(p.RequireUpfrontKudos)
	friends, err := e.friends(u, p.PriorityUsernames)
	if err != nil && kind != horde.Alchemy {
		return nil, err
	}
	polled := &polled{worker: w, friends: friends, isNew: isNew}
	if kind != horde.Alchemy {
		polled.offer = e.offer(w, models)
	}
	return polled, nil
}

// maxBelievedPixels is the size of the largest image that any request can ask for.
const maxBelievedPixels = 3072 * 3072

// suspectOffer suspects what a worker of an untrusted owner tells at a check-in, or where it comes from.
func (e *Engine) suspectOffer(w *worker, safety moderation.Safety) {
	if w.owner.Has(horde.Trusted) {
		return
	}
	if safety == moderation.Unsafe && !w.owner.Has(horde.VPN) && !e.isPatron(w.owner) {
		e.suspect(w, horde.SuspicionUnsafeIP, "")
	}
	if w.Kind == horde.Image && w.MaxPixels > maxBelievedPixels {
		e.suspect(w, horde.SuspicionExtremePixels, fmt.Sprintf("%d pixels", w.MaxPixels))
	}
}

// mayCreate makes the checks for a name that no worker has yet.
func (e *Engine) mayCreate(u *user, name string, p *horde.Polling, addr netip.Addr) *horde.Error {
	switch {
	case horde.Blank(name):
		return blankName("name")
	case len([]rune(name)) > maxWorkerName:
		return horde.ErrTooLongWorkerName
	case e.Profane(name):
		return horde.ErrProfaneWorkerName
	case e.Profane(str(p.BridgeAgent)):
		return horde.ErrProfaneBridgeAgent
	}
	for _, word := range forbiddenNames {
		if strings.Contains(strings.ToLower(name), word) {
			return horde.ErrForbiddenName
		}
	}
	count, sameIP, limit := 0, 0, untrustedWorkers
	for _, w := range u.workers {
		if w.Kind != horde.Alchemy { // alchemists do not count, whatever the new worker is
			count++
		}
		if sameUnit(w.IP, addr) {
			sameIP++
		}
	}
	if u.Has(horde.Trusted) {
		limit = trustedWorkers
	}
	switch {
	case e.settings.InviteOnlyMode && count >= u.WorkersInvited:
		return horde.ErrWorkerInviteOnly
	case !u.Has(horde.Trusted) && count > untrustedWorkers:
		return horde.ErrTooManyWorkers
	case count > trustedWorkers && count > u.WorkersInvited:
		return horde.ErrTooManyTrusted
	case sameIP > limit && sameIP > u.WorkersInvited:
		return horde.ErrTooManySameIPs
	}
	return nil
}

// sameUnit tells whether a stored address and another belong to one caller: the same IPv4 address, or one IPv6 /64.
func sameUnit(stored string, addr netip.Addr) bool {
	a, err := netip.ParseAddr(stored)
	if err != nil {
		return false
	}
	if a.Is6() && addr.Is6() {
		p, err := a.Prefix(64)
		return err == nil && p.Contains(addr)
	}
	return a == addr
}

// allowed is what of the declared models counts for this owner.
func (e *Engine) allowed(u *user, kind horde.Kind, declared []string) ([]string, *horde.Error) {
	if kind == horde.Alchemy {
		return nil, nil
	}
	if kind == horde.Text {
		declared = declared[:min(len(declared), maxTextModels)]
		for _, m := range declared {
			if i := strings.LastIndex(m, "::"); i >= 0 && m[i+2:] != u.Alias() {
				return nil, horde.ErrForeignModel
			}
		}
		return declared, nil
	}
	declared = declared[:min(len(declared), maxImageModels)]
	ref := e.Reference()
	models := make([]string, 0, len(declared))
	for _, m := range declared {
		keep := ref.Served(m) || u.Has(horde.Customizer)
		if _, alias, private := strings.Cut(m, "::"); private && u.Has(horde.Special) {
			if alias != u.Alias() {
				return nil, horde.ErrForeignModel
			}
			keep = true
		}
		if keep {
			models = append(models, m)
		}
	}
	return models, nil
}

// friends are the users whose requests come first: the owner and those that the worker named. A name without a number is
// refused, and left out.
func (e *Engine) friends(owner *user, names []string) ([]horde.UserID, *horde.Error) {
	friends := append(make([]horde.UserID, 0, 1+len(names)), owner.ID)
	var refusal *horde.Error
	for _, name := range names[:min(len(names), maxPriorityFriends)] {
		digits := name[strings.LastIndexByte(name, '#')+1:]
		if digits == "" || strings.TrimLeft(digits, "0123456789") != "" {
			refusal = horde.ErrPriorityUsername
			continue
		}
		if id, ok := horde.ParseUserID(digits); ok && e.users[id] != nil && !slices.Contains(friends, id) {
			friends = append(friends, id)
		}
	}
	return friends, refusal
}

// checkIn takes down all that the worker tells, and pays for its uptime.
func (e *Engine) checkIn(w *worker, addr netip.Addr, models []string, p *horde.Polling, set fields, now time.Time, isNew bool) {
	came := !w.Online(now)
	switch since := now.Sub(w.LastCheckIn); {
	case isNew:
	case since <= horde.Stale && !w.Paused && !w.Maintenance:
		w.Uptime += since
		if w.Uptime-w.RewardedUptime > horde.UptimeStep {
			w.RewardedUptime = w.Uptime
			e.rewardUptime(w, now)
		}
	default:
		w.RewardedUptime = w.Uptime // progress towards the next reward is lost
	}
	agent := horde.UnknownAgent
	if p.BridgeAgent != nil {
		agent = horde.Sanitize(*p.BridgeAgent)
	}
	w.LastCheckIn, w.IP, w.Agent, w.Threads = now, addr.String(), agent, 1
	if p.Threads != nil {
		w.Threads = *p.Threads
	}
	w.AllowUnsafeIP = true
	w.NSFW = p.NSFW == nil || *p.NSFW
	w.Models = slices.Clone(models)
	w.Withheld = 0
	if p.Capabilities != nil {
		w.Withheld = ^horde.ParseFeatures(p.Capabilities)
	}
	set(&w.Worker)
	w.online, w.popped = nil, nil
	w.lazy = true
	if came {
		e.pulse[w.Kind].there = nil
	}
	if isNew {
		e.addWorker(w)
		e.open.worker(w)
	}
}

// rewardUptime pays for a stretch of uptime by what the worker offered during it, which is what is stored now.
func (e *Engine) rewardUptime(w *worker, now time.Time) {
	validated := horde.ParseAgent(w.Agent).Capabilities().ValidatedText
	reward := horde.NewKudos(kudos.UptimeReward(&w.Worker, validated, e.Reference()))
	toEscrow := !w.owner.Has(horde.Trusted) && w.Kind != horde.Alchemy
	e.event(e.book.RewardUptime(now, &w.Worker, w.Uptime, reward, toEscrow))
	e.teamUptime(w)
	e.acted(w.owner, now)
	e.open.worker(w)
	e.promote(w.owner, now)
}

// offer is what the worker brings to this pop. Workers send the same models again and again, so the last one is kept.
func (e *Engine) offer(w *worker, models []string) *horde.Offer {
	ref := e.Reference()
	if o := w.popped; o != nil && o.ref == ref && slices.Equal(o.models, models) {
		o.Offer.OwnerTrusted = w.owner.Has(horde.Trusted)
		return o.Offer
	}
	w.popped = &poppedOffer{ref: ref, models: slices.Clone(models),
		Offer: horde.NewOffer(&w.Worker, w.owner.Has(horde.Trusted), models, ref)}
	return w.popped.Offer
}

// poppedOffer is an offer with what it was made from.
type poppedOffer struct {
	*horde.Offer
	ref    *horde.Reference
	models []string
}

// cutWords prepares a worker's blacklist: sanitised, cut, lower case, at most 200 of them.
func cutWords(words []string) []string {
	cut := make([]string, 0, min(len(words), maxBlacklist))
	for _, word := range words {
		if len(cut) == maxBlacklist {
			break
		}
		if word = cutRunes(horde.Sanitize(word), maxBlacklistWord); word != "" {
			cut = append(cut, strings.ToLower(word))
		}
	}
	return cut
}

func cutRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
