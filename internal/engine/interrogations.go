// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"container/list"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"horde/internal/blob"
	"horde/internal/dispatch"
	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/moderation"
)

// interrogation is an alchemy request that is alive. It and each of its forms are documents of their own, so that what happens
// to a form writes that form and not the others.
type interrogation struct {
	horde.Interrogation
	changed
	user  *user
	forms []*form // by index
	// place is where the interrogation is among those that expire.
	place *list.Element
}

// form is a form of an interrogation that is alive.
type form struct {
	horde.Form
	changed
	of     *interrogation
	worker *worker // nil if none has popped it, or if that was deleted
	entry  dispatch.FormEntry
}

// alchemy is the part of the hot state that is about alchemy.
type alchemy struct {
	interrogations map[horde.RequestID]*interrogation
	forms          map[horde.FormID]*form
	waiting        *dispatch.Forms
	processing     map[horde.FormID]*form
	// expiring are all interrogations, in the order in which they expire: what is touched goes to the end.
	expiring *list.List
	// discarded are source images that nobody needs any more, to be removed without the lock.
	discarded []blob.Key
}

func newAlchemy() alchemy {
	return alchemy{
		interrogations: map[horde.RequestID]*interrogation{}, forms: map[horde.FormID]*form{}, waiting: dispatch.NewForms(),
		processing: map[horde.FormID]*form{}, expiring: list.New(),
	}
}

// addInterrogation and addForm put what the record keeps into the memory, in any order; restoreAlchemy makes it work.
func (s *state) addInterrogation(i *interrogation) { s.interrogations[i.ID] = i }

func (s *state) addForm(f *form) { s.alchemy.forms[f.ID] = f }

// restoreAlchemy puts together what was loaded.
func (s *state) restoreAlchemy() {
	for _, f := range s.alchemy.forms {
		if f.of = s.interrogations[f.Request]; f.of == nil {
			delete(s.alchemy.forms, f.ID) // cannot be: they come and go in one batch
			continue
		}
		f.worker = s.workers[f.Worker]
		f.of.forms = append(f.of.forms, f)
	}
	all := make([]*interrogation, 0, len(s.interrogations))
	for _, i := range s.interrogations {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *interrogation) int { return a.Expires.Compare(b.Expires) })
	for _, i := range all {
		slices.SortFunc(i.forms, func(a, b *form) int { return cmp.Compare(a.Index, b.Index) })
		s.activateAlchemy(i)
	}
}

// activateAlchemy files an interrogation with its forms, which may be in any state.
func (s *state) activateAlchemy(i *interrogation) {
	i.user = s.users[i.User]
	s.interrogations[i.ID] = i
	i.place = s.expiring.PushBack(i)
	if i.user.interrogations == nil {
		i.user.interrogations = map[*interrogation]struct{}{}
	}
	i.user.interrogations[i] = struct{}{}
	for _, f := range i.forms {
		f.of = i
		f.entry = dispatch.FormEntry{
			ID: f.ID, User: i.User, Priority: i.Priority, Created: i.Created.UnixNano(), Index: f.Index,
			Needs: dispatch.FormNeeds{Name: f.AnnotationNeed(), Tiles: i.Tiles, SlowWorkers: i.SlowWorkers, TrustedWorkers: i.TrustedWorkers || i.Hidden},
		}
		s.alchemy.forms[f.ID] = f
		state := f.State
		f.State = ""
		s.moveForm(f, state)
	}
}

// moveForm lets a form be in a state, and files it where that belongs.
func (s *state) moveForm(f *form, to horde.FormState) {
	if f.State.Pending() {
		f.of.user.pendingForms--
	}
	switch f.State {
	case horde.FormWaiting:
		s.waiting.Remove(&f.entry)
	case horde.FormProcessing:
		delete(s.processing, f.ID)
	}
	f.State = to
	if to.Pending() {
		f.of.user.pendingForms++
	}
	switch to {
	case horde.FormWaiting:
		s.waiting.Add(&f.entry)
	case horde.FormProcessing:
		s.processing[f.ID] = f
	}
}

// noteForm notes that a form is new or has changed.
func (e *Engine) noteForm(f *form) {
	e.open.document(formDocument, f.ID.String(), f)
	f.of.note(e.open.number)
}

// touch lets an interrogation live on: something has happened to it.
func (e *Engine) touch(i *interrogation, now time.Time) {
	i.Expires = now.Add(horde.Lifetime)
	e.expiring.MoveToBack(i.place)
	e.open.document(interrogationDocument, i.ID.String(), i)
}

// SubmitAlchemy takes an alchemy request: its image is looked at, and kept if it came with the request. Refusals are *horde.Error
// values, in the order of the alchemy chapter, 3.2.
func (e *Engine) SubmitAlchemy(ctx context.Context, c Caller, s *horde.AlchemySubmission) (horde.RequestID, error) {
	var (
		u       *user
		refusal *horde.Error
	)
	safety, err := e.safetyOf(c.Key, c.Peer, true)
	if err != nil {
		return horde.RequestID{}, err
	}
	if err := e.do(func() {
		if u, refusal = e.admitAlchemy(c, s, safety); refusal == nil {
			u.arrivingForms += len(s.Forms)
		}
	}); err != nil {
		return horde.RequestID{}, err
	}
	if refusal != nil {
		return horde.RequestID{}, refusal
	}
	i := &interrogation{Interrogation: horde.Interrogation{
		ID: horde.NewRequestID(), User: u.ID, IP: c.Peer.String(), TrustedWorkers: horde.Truth(s.TrustedWorkers),
		SlowWorkers: s.SlowWorkers == nil || *s.SlowWorkers, Webhook: str(s.Webhook),
	}}
	refusal = e.takeSource(ctx, i, str(s.SourceImage))
	return change(ctx, e, func() (horde.RequestID, *batch, *horde.Error) {
		if e.users[u.ID] != u {
			return horde.RequestID{}, nil, horde.ErrUnavailable // the memory was dropped meanwhile
		}
		u.arrivingForms -= len(s.Forms)
		if refusal != nil {
			return horde.RequestID{}, nil, refusal
		}
		now := time.Now().UTC()
		i.Hidden = e.hidden(safety) && !u.Has(horde.Trusted)
		i.Created, i.Expires, i.Priority = now, now.Add(horde.Lifetime), e.book.Balance(u.ID).Spendable.Whole()
		for n, fs := range s.Forms {
			i.forms = append(i.forms, &form{Form: horde.Form{
				ID: horde.NewFormID(), Request: i.ID, Index: n, Name: *fs.Name, Payload: json.RawMessage(fs.Payload), State: horde.FormWaiting,
			}})
		}
		e.activateAlchemy(i)
		e.open.document(interrogationDocument, i.ID.String(), i)
		for _, f := range i.forms {
			e.noteForm(f)
		}
		e.meters.kinds[horde.Alchemy].accepted.Inc()
		return i.ID, e.open, nil
	})
}

// admitAlchemy makes the checks of an alchemy request, up to its image.
func (e *Engine) admitAlchemy(c Caller, s *horde.AlchemySubmission, safety moderation.Safety) (*user, *horde.Error) {
	switch {
	case e.settings.MaintenanceMode:
		return nil, horde.ErrMaintenanceMode
	case s.Webhook != nil && !strings.HasPrefix(*s.Webhook, "https://"):
		return nil, horde.ErrWebhook
	}
	u, err := e.userOf(c.Key)
	switch {
	case err != nil:
		return nil, err
	case u.Has(horde.Deleted):
		return nil, horde.ErrDeletedUser
	}
	if err := e.timedOut(c.Peer, time.Now()); err != nil {
		return nil, err
	}
	pending, limit := u.pendingForms+u.arrivingForms, u.Concurrency*horde.AlchemyConcurrency
	if pending+len(s.Forms) > limit {
		return nil, horde.ErrTooManyPrompts.Withf("%d forms are waiting already; the limit of this account is %d.", pending, limit)
	}
	if e.unsafeRequester(u, safety, time.Now()) {
		return nil, horde.ErrUntrustedUnsafeIP
	}
	return u, nil
}

// takeSource looks at the image of an interrogation, and stores it unless it is somewhere else.
func (e *Engine) takeSource(ctx context.Context, i *interrogation, input string) *horde.Error {
	webp, tiles, err := e.Pictures.Alchemy(ctx, input)
	switch {
	case err != nil:
	case webp == nil:
		i.Source = input
	default:
		err = e.Blobs.Put(ctx, blob.AlchemySource(i.ID.SourceName()), webp)
	}
	i.Tiles = tiles
	return e.storageRefusal(err)
}

// InterrogationView is an interrogation as its client sees it.
type InterrogationView struct {
	State horde.FormState
	Forms []horde.Form // by index
}

func viewInterrogation(i *interrogation) InterrogationView {
	v := InterrogationView{Forms: make([]horde.Form, len(i.forms))}
	states := make([]horde.FormState, len(i.forms))
	for n, f := range i.forms {
		v.Forms[n], states[n] = f.Form, f.State
	}
	v.State = horde.OverallState(states)
	return v
}

// Interrogation tells how an alchemy request stands.
func (e *Engine) Interrogation(ctx context.Context, id string) (InterrogationView, error) {
	return e.interrogation(ctx, id, nil)
}

// CancelAlchemy ends an alchemy request and tells how it stands then. What is being worked on is paid for.
func (e *Engine) CancelAlchemy(ctx context.Context, id string) (InterrogationView, error) {
	return e.interrogation(ctx, id, e.cancelForms)
}

func (e *Engine) interrogation(ctx context.Context, text string, do func(*interrogation)) (InterrogationView, error) {
	return change(ctx, e, func() (InterrogationView, *batch, *horde.Error) {
		id, ok := horde.ParseRequestID(text)
		i := e.interrogations[id]
		if !ok || i == nil {
			return InterrogationView{}, nil, horde.ErrRequestNotFound
		}
		if do != nil {
			do(i)
		}
		return viewInterrogation(i), e.pending(&i.changed), nil
	})
}

// cancelForms cancels all forms that are not done, faulted ones too.
func (e *Engine) cancelForms(i *interrogation) {
	now, cancelled := time.Now().UTC(), false
	for _, f := range i.forms {
		switch f.State {
		case horde.FormDone, horde.FormCancelled:
			continue
		case horde.FormProcessing:
			e.finishForm(f, horde.FormCancelled, nil, now)
		default:
			e.moveForm(f, horde.FormCancelled)
			e.noteForm(f)
		}
		cancelled = true
	}
	if cancelled {
		e.meters.kinds[horde.Alchemy].cancelled.Inc()
	}
}

// finishForm ends a form that is being worked on and pays for it. Results belong to those that are done.
func (e *Engine) finishForm(f *form, state horde.FormState, result json.RawMessage, now time.Time) {
	i, w := f.of, f.worker
	e.moveForm(f, state)
	f.Result, f.Settled = result, true
	e.noteForm(f)
	w.AddSample(now.Sub(f.Started).Seconds())
	w.lazy = true
	price := kudos.FormPrice(f.Name, i.Tiles)
	e.event(e.book.SettleForm(now, kudos.SettledForm{
		Form: f.ID, User: i.User, Worker: &w.Worker, ToEscrow: !w.owner.Has(horde.Trusted),
		Debit: horde.NewKudos(kudos.FormBurn(price, i.SlowWorkers)), Credit: horde.NewKudos(price),
	}))
	e.touch(i, now)
	e.acted(i.user, now)
	e.acted(w.owner, now)
	e.promote(w.owner, now)
}

// abortForm takes a form that is being worked on from its worker, for good if that has happened too often.
func (e *Engine) abortForm(f *form, now time.Time) {
	if f.Aborts >= horde.MaxFormAborts {
		e.moveForm(f, horde.FormFaulted)
	} else {
		f.Aborts++
		e.moveForm(f, horde.FormWaiting)
	}
	e.noteForm(f)
	e.meters.kinds[horde.Alchemy].faulted.Inc()
	if f.worker != nil {
		e.aborted(f.worker, now)
	}
}

// sweepAlchemy aborts the forms whose lease is over and forgets the interrogations that have expired.
func (e *Engine) sweepAlchemy(now time.Time) {
	for _, f := range e.processing {
		if now.Sub(f.Started) > horde.FormLease {
			e.abortForm(f, now)
		}
	}
	for at := e.expiring.Front(); at != nil; at = e.expiring.Front() {
		i := at.Value.(*interrogation)
		if !i.Expires.Before(now) {
			return
		}
		e.forgetInterrogation(i)
	}
}

// forgetInterrogation takes an interrogation and its forms out of the memory and out of the record.
func (e *Engine) forgetInterrogation(i *interrogation) {
	for _, f := range i.forms {
		e.moveForm(f, horde.FormCancelled)
		delete(e.alchemy.forms, f.ID)
		e.open.forgetDocument(formDocument, f.ID.String())
	}
	e.expiring.Remove(i.place)
	delete(e.interrogations, i.ID)
	delete(i.user.interrogations, i)
	e.open.forgetDocument(interrogationDocument, i.ID.String())
	if i.Source == "" {
		e.discarded = append(e.discarded, blob.AlchemySource(i.ID.SourceName()))
	}
}

// discardFor is how long removing source images may take. What is left the blob store forgets by itself, later.
const discardFor = 10 * time.Second

// discard removes the source images that nobody needs any more. It is called without the lock.
func (e *Engine) discard(keys []blob.Key) {
	ctx, cancel := context.WithTimeout(context.Background(), discardFor)
	defer cancel()
	for _, key := range keys {
		if err := e.Blobs.Delete(ctx, key); err != nil {
			e.Log.Warn("a source image could not be removed; it will be, by its age", "error", err)
			return
		}
	}
}

// AlchemyPerformance tells how busy the alchemists are: how many forms wait or are being worked on, and who is there.
func (e *Engine) AlchemyPerformance(ctx context.Context) (Performance, error) {
	var p Performance
	err := e.do(func() {
		p.Queued = int64(e.waiting.Len() + len(e.processing))
		p.Workers, p.Threads = e.online(horde.Alchemy, time.Now()).totals()
	})
	return p, err
}
