// SPDX-License-Identifier: AGPL-3.0-or-later

package dispatch

import (
	"slices"

	"horde/internal/horde"
)

// maxParkedLooks bounds how many parked workers are asked one by one about one request. It is reached only when hundreds of
// workers that fit the request otherwise bar it by their words, by the balance of its user or by name. Whoever is not asked
// looks at the queue at the end of its wait.
const maxParkedLooks = 256

// Lot holds the workers of one kind that found nothing in the queue and wait for a request. W is what the caller knows each
// of them by.
//
// # Flat cost
//
// Workers are parked by model and, within a model, by ability: what of an offer decides over a request of that model apart
// from words, names and balances. A new request is tested once against each ability that is parked for its models, not
// against each worker; then workers are asked one by one, longest waiting first, and normally the first one takes it. So ten
// thousand parked workers cost a request what a hundred do.
//
// Like a [Queue] it is guarded by the engine's lock.
type Lot[W any] struct {
	byModel  map[string]row[W]
	anyWork  row[W] // those that take requests which name no model
	byWorker map[horde.WorkerID][]*Parked[W]
	serial   uint64
	count    int
}

// Parked is one waiting worker.
type Parked[W any] struct {
	Who W

	worker horde.WorkerID
	serial uint64    // grows with the time of parking
	seats  []seat[W] // one for each model and one for any, made at once: others point to them
}

// row are the workers that are parked for one model.
type row[W any] map[ability]*line[W]

// line are workers of equal ability, longest waiting first.
type line[W any] struct {
	// probe is the offer of the first one as it was then: what stands in line may change while it waits.
	probe       *horde.Offer
	row         row[W] // where the line is, until nobody stands in it
	is          ability
	first, last *seat[W]
}

// seat is the place of a worker in one line.
type seat[W any] struct {
	parked     *Parked[W]
	line       *line[W]
	prev, next *seat[W]
}

// ability is what of an offer decides whether it fits the needs and the size of a request for one model: see
// [horde.Offer.Misfit].
type ability struct {
	features      horde.Features
	karras, plain horde.Samplers
	// allowed are the worker's yes and no answers.
	allowed                 [12]bool
	ownerTrusted, validated bool
	fast                    bool
	inpainting, otherModels bool
	pixels, length, context int64
	flux, cascade, sdxl     bool    // in the row of those that take any model
	steps                   float64 // likewise
}

func abilityOf(o *horde.Offer, anyModel bool) ability {
	w := o.Worker
	a := ability{
		features: o.Features, karras: o.Karras, plain: o.Plain, ownerTrusted: o.OwnerTrusted, validated: o.Validated,
		allowed: [...]bool{w.NSFW, w.AllowUnsafeIP, w.ExtraSlow, w.AllowImg2Img, w.AllowPainting, w.AllowPostProcessing,
			w.AllowControlNet, w.AllowSDXLControlNet, w.AllowLora, w.LimitMaxSteps, w.AllowExtendedControlNet, o.Contract},
		pixels: w.MaxPixels, length: int64(w.MaxLength), context: int64(w.MaxContextLength),
	}
	if w.Kind == horde.Text {
		a.fast = w.Speed >= o.TextSpeed
		return a
	}
	a.fast = w.Speed >= horde.FastSpeed
	for _, f := range o.Models {
		a.inpainting = a.inpainting || f.Inpainting
		a.otherModels = a.otherModels || !f.Inpainting
		if anyModel {
			a.flux = a.flux || f.Baseline == horde.BaselineFlux
			a.cascade = a.cascade || f.Baseline == horde.BaselineCascade
			a.sdxl = a.sdxl || f.Baseline == horde.BaselineSDXL
		}
	}
	if anyModel {
		a.steps, _ = o.StepLimit(nil)
	}
	return a
}

// NewLot returns an empty lot.
func NewLot[W any]() *Lot[W] {
	return &Lot[W]{byModel: map[string]row[W]{}, anyWork: row[W]{}, byWorker: map[horde.WorkerID][]*Parked[W]{}}
}

// Len is how many are parked.
func (l *Lot[W]) Len() int { return l.count }

// Of lists what is parked for one worker, longest waiting first. The caller must not change the list.
func (l *Lot[W]) Of(w horde.WorkerID) []*Parked[W] { return l.byWorker[w] }

// All lists everybody who is parked, in no order.
func (l *Lot[W]) All() []*Parked[W] {
	all := make([]*Parked[W], 0, l.count)
	for _, list := range l.byWorker {
		all = append(all, list...)
	}
	return all
}

// Park lets a worker wait with what it offered.
func (l *Lot[W]) Park(o *horde.Offer, who W) *Parked[W] {
	l.serial++
	l.count++
	p := &Parked[W]{Who: who, worker: o.Worker.ID, serial: l.serial, seats: make([]seat[W], 0, 1+len(o.Models))}
	l.byWorker[p.worker] = append(l.byWorker[p.worker], p)
	a := abilityOf(o, false)
	for model := range o.Models {
		r := l.byModel[model]
		if r == nil {
			r = row[W]{}
			l.byModel[model] = r
		}
		r.add(p, o, a)
	}
	if o.Worker.Kind == horde.Text || !o.Special {
		l.anyWork.add(p, o, abilityOf(o, true))
	}
	return p
}

func (r row[W]) add(p *Parked[W], o *horde.Offer, a ability) {
	at := r[a]
	if at == nil {
		probe, worker := *o, *o.Worker
		probe.Worker = &worker
		at = &line[W]{probe: &probe, row: r, is: a}
		r[a] = at
	}
	p.seats = append(p.seats, seat[W]{parked: p, line: at, prev: at.last})
	s := &p.seats[len(p.seats)-1]
	if at.last == nil {
		at.first = s
	} else {
		at.last.next = s
	}
	at.last = s
}

// Leave ends the wait of a worker that is parked.
func (l *Lot[W]) Leave(p *Parked[W]) {
	l.count--
	if rest := slices.DeleteFunc(l.byWorker[p.worker], func(x *Parked[W]) bool { return x == p }); len(rest) > 0 {
		l.byWorker[p.worker] = rest
	} else {
		delete(l.byWorker, p.worker)
	}
	for i := range p.seats {
		s := &p.seats[i]
		if s.prev == nil {
			s.line.first = s.next
		} else {
			s.prev.next = s.next
		}
		if s.next == nil {
			s.line.last = s.prev
		} else {
			s.next.prev = s.prev
		}
		if s.line.first == nil {
			delete(s.line.row, s.line.is)
		}
	}
	p.seats = nil
}

// Tidy forgets models that nobody is parked for. Call it now and then.
func (l *Lot[W]) Tidy() {
	for model, r := range l.byModel {
		if len(r) == 0 {
			delete(l.byModel, model)
		}
	}
}

// First finds who has waited longest among those that may take a waiting request and of whom takes, which is asked for few,
// says so. It is nil if there is none.
func (l *Lot[W]) First(q *Queue, e *Entry, takes func(W) bool) *Parked[W] {
	if l.count == 0 {
		return nil
	}
	if e.aim != nil && !e.aim.barring {
		return l.firstNamed(e.aim.targets, takes)
	}
	var heads []*seat[W]
	models := e.class.models
	if len(models) == 0 {
		heads = l.anyWork.able(heads, q, e, nil)
	}
	for i, model := range models {
		// Who can take the request with all its models can take it with each that it offers.
		heads = l.byModel[model].able(heads, q, e, models[i:i+1])
	}
	asked := (*Parked[W])(nil)
	for looks := 0; looks < maxParkedLooks && len(heads) > 0; {
		at := 0
		for i, s := range heads {
			if s.parked.serial < heads[at].parked.serial {
				at = i
			}
		}
		p := heads[at].parked
		if heads[at] = heads[at].next; heads[at] == nil {
			heads = slices.Delete(heads, at, at+1)
		}
		if p == asked {
			continue // it stands in the line of another model too
		}
		if looks++; takes(p.Who) {
			return p
		}
		asked = p
	}
	return nil
}

// able appends the first of each line that fits the request as one for the wanted models only.
func (r row[W]) able(heads []*seat[W], q *Queue, e *Entry, wanted []string) []*seat[W] {
	for _, at := range r {
		m := match{Pop: &Pop{Offer: at.probe}, q: q}
		if at.probe.Misfit(&e.class.needs, wanted) == 0 && e.size.within(m.limit(&class{needs: e.class.needs, models: wanted})) {
			heads = append(heads, at.first)
		}
	}
	return heads
}

func (l *Lot[W]) firstNamed(workers []horde.WorkerID, takes func(W) bool) *Parked[W] {
	var named []*Parked[W]
	for i, w := range workers {
		if !slices.Contains(workers[:i], w) {
			named = append(named, l.byWorker[w]...)
		}
	}
	slices.SortFunc(named, func(a, b *Parked[W]) int {
		if a.serial < b.serial {
			return -1
		}
		return 1
	})
	for _, p := range named[:min(len(named), maxParkedLooks)] {
		if takes(p.Who) {
			return p
		}
	}
	return nil
}

// Takes tells whether a pop could be given a waiting request: [Queue.Match] would find it, or one that comes before it.
func (q *Queue) Takes(p *Pop, e *Entry) bool {
	r := e.Request
	friend := slices.Contains(p.Friends, r.User)
	if p.OwnOnly {
		friend = r.User == p.Offer.Worker.Owner
	}
	if !friend && (p.OwnOnly || e.aim != nil && !e.aim.barring && p.MatchedTargeting) {
		return false
	}
	q.search++
	m := &match{Pop: p, q: q}
	return m.fits(e.class) && e.size.within(m.limit(e.class)) && m.take(e, friend) == accept
}
