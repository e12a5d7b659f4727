// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"horde/internal/blob"
	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/moderation"
)

// Accepted is the answer to a submission.
type Accepted struct {
	ID horde.RequestID
	// Kudos is, for a dry run, what the whole request would cost; else the base price of one image, or 0 for a text.
	Kudos float64
	// DryRun tells that nothing was queued.
	DryRun bool
	// Message tells that no worker can serve the request now; else it is empty.
	Message  string
	Warnings []horde.Warning
	// Order is, for a dry run, what would be queued and has the price; Style is the style that made it so, or nil.
	Order *horde.Order
	Style *StyleName
}

// submission is what image and text submissions have in common.
type submission struct {
	kind       horde.Kind
	prompt     *string // what a style has made of it, once that is known
	sent       *string // the prompt as it came
	style      *string
	webhook    *string
	proxied    *string
	extras     int
	workers    []string
	results    int
	noBatching bool
	// replace is whether a prompt that the filters stop may be changed instead; passed is the prompt that goes on, once the filters
	// have looked at it.
	replace   bool
	passed    string
	dryRun    bool
	downgrade bool
	// fields are the texts for the places of the style; nil where none were sent.
	fields map[string]string
	// apply makes the submission what a style makes of it, and use is the style then.
	apply   func(*style) *horde.Error
	use     *styleUse
	payer   payer
	sources sources
	// safety is what is thought of the address, where anybody asks.
	safety moderation.Safety
}

// SubmitImage takes an image request: it is checked, paid for where it must be, its source images are stored, and it waits
// for a worker. Refusals are *horde.Error values, in the order of the requests chapter, 8.
func (e *Engine) SubmitImage(ctx context.Context, c Caller, s *horde.ImageSubmission) (Accepted, error) {
	ref := e.Reference()
	sent := s // s becomes what a style makes of it
	pair := e.pairOf(s.Models)
	if pair != "" {
		own := *s
		s = &own
		asPair(s, pair)
	}
	fields, refusal := horde.TemplateFields(s.TemplateFields)
	if refusal != nil {
		return Accepted{}, refusal
	}
	sub := submission{
		kind: horde.Image, prompt: s.Prompt, sent: s.Prompt, style: s.Style, webhook: s.Webhook, proxied: s.ProxiedAccount,
		extras: len(s.ExtraSourceImages), workers: s.Workers, results: s.Results(),
		noBatching: is(s.DisableBatching), dryRun: is(s.DryRun), downgrade: is(s.AllowDowngrade),
		fields: fields, replace: s.ReplacementFilter == nil || *s.ReplacementFilter,
		sources: sources{image: str(s.SourceImage), mask: str(s.SourceMask), extras: s.ExtraSourceImages},
	}
	sub.apply = func(t *style) *horde.Error {
		styled, err := t.ApplyImage(sent, t.applied.image, t.applied.declared, fields)
		if err == nil {
			if pair = e.pairOf(styled.Models); pair != "" {
				own := *styled
				styled = &own
				asPair(styled, pair)
				sub.results = styled.Results()
			}
			s, sub.prompt = styled, styled.Prompt
		}
		return err
	}
	accepted, err := e.submit(ctx, c, &sub, func() []string { return s.ModelNames() }, func(u *user, targets []horde.WorkerID) (*horde.Order, *horde.Error) {
		door := horde.Door{BannedAgent: slices.Contains(e.BannedAgents, c.Agent), UnsafeIP: e.unsafeRequester(sub.payer.speaker, sub.safety, time.Now())}
		account := sub.payer.account()
		if err := s.Check(account, ref, door); err != nil {
			return nil, err
		}
		order := s.Order(account, targets, e.Random.Uint32())
		order.Prompt = sub.passed
		order.UnsafeIP = e.hidden(sub.safety)
		if err := e.publish(order, account, pair != "", is(s.Shared), s.Results(), e.Random.Uint32()); err != nil {
			return nil, err
		}
		order.Recorded = sent.Record(order.Prompt)
		// What is to be stored counts for prices as if it were there already.
		order.SourceImage, order.SourceMask = sub.sources.image, sub.sources.mask
		return order, nil
	})
	if err == nil && !accepted.DryRun {
		accepted.Warnings = append(s.Warnings(ref), accepted.Warnings...)
	}
	return accepted, err
}

// SubmitText takes a text request. See SubmitImage.
func (e *Engine) SubmitText(ctx context.Context, c Caller, s *horde.TextSubmission) (Accepted, error) {
	sent := s // s becomes what a style makes of it
	fields, refusal := horde.TemplateFields(s.TemplateFields)
	if refusal != nil {
		return Accepted{}, refusal
	}
	sub := submission{
		kind: horde.Text, fields: fields, prompt: s.Prompt, sent: s.Prompt, style: s.Style, webhook: s.Webhook, proxied: s.ProxiedAccount,
		extras: len(s.ExtraSourceImages), workers: s.Workers, results: s.Results(),
		noBatching: is(s.DisableBatching), dryRun: is(s.DryRun), downgrade: is(s.AllowDowngrade),
	}
	sub.apply = func(t *style) *horde.Error {
		styled, err := t.ApplyText(sent, t.applied.text, t.applied.declared, fields)
		if err == nil {
			s, sub.prompt = styled, styled.Prompt
		}
		return err
	}
	accepted, err := e.submit(ctx, c, &sub, func() []string { return s.Models }, func(u *user, targets []horde.WorkerID) (*horde.Order, *horde.Error) {
		if err := s.Check(); err != nil {
			return nil, err
		}
		if slices.Contains(e.BannedAgents, c.Agent) {
			return nil, horde.ErrBannedClientAgent
		}
		order := s.Order(&u.User, targets)
		order.Prompt = sub.passed
		order.Recorded = sent.Record(order.Prompt)
		return order, order.FitContext(str(s.ContextFit), func() int { return e.longestContext(order.Models) })
	})
	accepted.Warnings = nil // texts never carry any
	return accepted, err
}

// tooLong tells that a prompt is longer than any that passes the checks, so that nobody looks at all of it.
func (s *submission) tooLong() bool { return len(str(s.prompt)) > horde.LongestPrompt(s.kind) }

// submit admits a submission, stores its source images without the lock, and queues it.
func (e *Engine) submit(ctx context.Context, c Caller, s *submission, modelsOf func() []string,
	order func(*user, []horde.WorkerID) (*horde.Order, *horde.Error)) (Accepted, error) {
	var (
		r        *request
		accepted Accepted
		refusal  *horde.Error
		wait     *batch
		began    = time.Now()
		meters   = e.meters.calls[s.kind]
		err      error
	)
	defer meters.generated(began, s.sources.image != "")
	var j *judged
	if s.kind == horde.Image {
		if s.safety, err = e.safetyOf(c.Key, c.Addr, true); err != nil {
			return Accepted{}, err
		}
	}
	if s.style == nil && !s.tooLong() { // what a style makes of the prompt is not known yet
		if q := e.question(s.kind, str(s.prompt), modelsOf(), s.replace, nil); !q.Idle() {
			j = e.judge(q)
		}
	}
	var ask moderation.Question
	for again := true; again; {
		again = false
		if err := e.do(func() {
			var u *user
			var o *horde.Order
			var targets []horde.WorkerID
			now := time.Now().UTC()
			if s.style != nil && s.use == nil {
				refusal = e.applyStyle(s)
			}
			if refusal == nil {
				u, targets, refusal = e.admit(c, s)
			}
			models := modelsOf()
			if refusal == nil {
				refusal = e.withinConcurrency(u, s.kind, models, s.results)
			}
			if refusal == nil {
				refusal = e.timedOut(c.Addr, now)
			}
			if refusal == nil && s.tooLong() {
				refusal = horde.ErrInvalidPromptSize
			}
			if refusal == nil {
				ask = e.question(s.kind, str(s.prompt), models, s.replace, &s.payer)
				s.passed = ask.Prompt
				if again = !ask.Idle() && (j == nil || j.question != ask); again {
					return
				}
			}
			if refusal == nil && !ask.Idle() {
				s.passed = j.Prompt
				if refusal = e.rule(c, s, models, j, now); refusal != nil {
					wait = e.open // what a refusal led to must be in the record before it is told
				}
			}
			if refusal == nil {
				o, refusal = order(u, targets)
			}
			if refusal == nil {
				r, accepted, refusal = e.enter(c, u, o, s)
			}
			if refusal == nil && !accepted.DryRun && !s.sources.any() {
				accepted, wait = e.activate(r, s, now), e.open
			}
		}); err != nil {
			return Accepted{}, err
		}
		if again {
			j = e.judge(ask)
		}
	}
	if refusal != nil && wait != nil {
		if err := e.durable(ctx, wait); err != nil {
			return Accepted{}, unavailable(err)
		}
	}
	if refusal != nil || accepted.DryRun {
		return accepted, asError(refusal)
	}
	if s.sources.any() {
		storing := time.Now()
		stored, err := e.storeSources(ctx, r.ID, r.unpacked, &s.sources)
		took(meters.sources, storing)
		refusal = err
		if err := e.do(func() {
			if e.users[r.user.ID] != r.user {
				refusal = horde.ErrUnavailable // the memory was dropped meanwhile, and the hold with it
				return
			}
			r.user.arriving[s.kind] -= s.results
			if refusal != nil {
				e.releaseHold(r)
				return
			}
			r.unpacked = stored
			accepted, wait = e.activate(r, s, time.Now().UTC()), e.open
		}); err != nil {
			return Accepted{}, err
		}
		if refusal != nil {
			return Accepted{}, refusal
		}
	}
	waiting := time.Now()
	if err := e.durable(ctx, wait); err != nil {
		return Accepted{}, unavailable(err)
	}
	took(meters.accepted, waiting)
	return accepted, nil
}

// asError keeps a nil *horde.Error from becoming a non-nil error.
func asError(err *horde.Error) error {
	if err == nil {
		return nil
	}
	return err
}

func is(p *bool) bool { return p != nil && *p }

func str(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// admit makes the checks that both kinds have in common, up to the concurrency limit.
func (e *Engine) admit(c Caller, s *submission) (*user, []horde.WorkerID, *horde.Error) {
	switch {
	case s.fields != nil && s.style == nil:
		return nil, nil, horde.ErrTemplateFieldsStyle
	case e.settings.MaintenanceMode:
		return nil, nil, horde.ErrMaintenanceMode
	case str(s.webhook) != "" && !strings.HasPrefix(*s.webhook, "https://"):
		return nil, nil, horde.ErrWebhook
	}
	var err *horde.Error
	if s.payer, err = e.payerOf(c, s, time.Now()); err != nil {
		return nil, nil, err
	}
	u := s.payer.user
	favoured := u.Has(horde.Trusted) || e.isPatron(u)
	switch {
	case str(s.proxied) != "" && !s.payer.speaker.Has(horde.Service):
		return nil, nil, horde.ErrProxiedAccount
	case s.payer.bound(horde.Deleted):
		return nil, nil, horde.ErrDeletedUser
	case s.extras > horde.MaxExtraImages:
		return nil, nil, horde.ErrTooManyExtraImages
	case s.extras > 1 && !favoured:
		return nil, nil, horde.ErrMoreThanMinExtra
	}
	if own := s.payer.caller; own != nil && !c.Proxied && own.Roles&(horde.Trusted|horde.Education|horde.Service) != 0 {
		e.Relax(c.Addr)
	}
	if str(s.prompt) == "" {
		return nil, nil, horde.ErrMissingPrompt
	}
	targets := make([]horde.WorkerID, 0, min(len(s.workers), horde.MaxTargets))
	for _, text := range s.workers {
		id, ok := horde.ParseWorkerID(text)
		if !ok || e.workers[id] == nil {
			return nil, nil, horde.ErrRequestWorker
		}
		if len(targets) < horde.MaxTargets {
			targets = append(targets, id)
		}
	}
	if s.noBatching && s.results > 1 && !favoured {
		return nil, nil, horde.ErrRequiresTrust
	}
	return u, targets, nil
}

// withinConcurrency counts results, not requests: what waits already and what is asked for now.
func (e *Engine) withinConcurrency(u *user, k horde.Kind, models []string, results int) *horde.Error {
	waiting := e.queues[k].WaitingOf(u.ID, models) + u.arriving[k]
	if waiting+results > u.Concurrency {
		return horde.ErrTooManyPrompts.Withf("%d results are waiting already; the limit of this account is %d.", waiting, u.Concurrency)
	}
	return nil
}

// longestContext is the longest context of a text worker that is online and has one of the models, of which none are all.
func (e *Engine) longestContext(models []string) int {
	longest := 0
	e.online(horde.Text, time.Now().UTC()).couldTake(models, func(w *worker) bool {
		if !w.Maintenance && !w.Paused {
			longest = max(longest, w.MaxContextLength)
		}
		return true
	})
	return longest
}

// busy is how busy the horde is, for the gate of upfront kudos.
func (e *Engine) busy(k horde.Kind, now time.Time) kudos.Load {
	_, threads := e.online(k, now).totals()
	_, results, _ := e.queues[k].Waiting()
	return kudos.Load{Threads: threads, Queued: int(results)}
}

// sources are the source images of a submission as they were sent.
type sources struct {
	image, mask string
	extras      []horde.ExtraSourceImage
}

func (s *sources) any() bool { return s.image != "" || len(s.extras) > 0 }

// enter makes the request of an order and passes it through the gate of upfront kudos. A dry run ends here. A request whose
// source images are still to be stored counts as arriving until they are.
func (e *Engine) enter(c Caller, u *user, o *horde.Order, s *submission) (*request, Accepted, *horde.Error) {
	now, ref := time.Now().UTC(), e.Reference()
	o.Agent, o.IP = c.Agent, c.Addr.String()
	if s.payer.key == nil && u.ID != horde.Anonymous {
		o.KeyMark = horde.MarkOf(u.KeyHash) // which the key was found by
	} else {
		o.KeyMark = e.markOf(c.Key)
	}
	r := &request{Request: horde.Request{ID: horde.NewRequestID(), User: u.ID, Wanted: s.results, Left: s.results}, user: u}

	gate := e.Rules.Upfront(o, s.results, e.busy(s.kind, now), ref)
	if k := s.payer.key; k != nil && !k.Unlimited && horde.NewKudos(gate.Required) > k.Budget-k.held {
		if !s.downgrade || gate.NoDowngrade {
			return nil, Accepted{}, horde.ErrSharedKeyKudos.Withf("This request needs %s kudos. The shared key has %s left.",
				horde.NewKudos(gate.Required), max(0, k.Budget-k.held))
		}
		s.payer.low = true
	}
	if gate.Needed && gate.Required > 0 && !e.book.PlaceHold(&r.Request, horde.NewKudos(gate.Required)) {
		if !s.downgrade || gate.NoDowngrade {
			e.meters.refusedHolds.Inc()
			return nil, Accepted{}, horde.ErrKudosUpfront.Withf("This request needs %s kudos upfront. The account has %s available.",
				horde.NewKudos(gate.Required), max(0, e.available(u)))
		}
		o = gate.Downgrade(o, ref)
		gate = e.Rules.Upfront(o, s.results, e.busy(s.kind, now), ref)
	}
	if k := s.payer.key; k != nil && !s.payer.styled {
		if err := k.Check(o); err != nil {
			e.book.ReleaseHold(&r.Request)
			return nil, Accepted{}, err
		}
	}
	if s.dryRun {
		e.book.ReleaseHold(&r.Request)
		a := Accepted{DryRun: true, Kudos: math.RoundToEven(e.Rules.Estimate(o, s.results, ref)), Order: o}
		if s.use != nil {
			t := s.use.style
			a.Style = &StyleName{t.ID, t.Name, t.Kind}
		}
		return nil, a, nil
	}
	r.unpacked, r.Price = o, horde.NewKudos(e.Rules.Price(o))
	if k := s.payer.key; k != nil && k.Owner == u.ID {
		hold := horde.NewKudos(gate.Required) + kudos.Tax(o, e.rewards(s.use, u))
		if !k.Unlimited {
			hold = min(hold, max(0, k.Budget-k.held))
		}
		o.SharedKey, o.KeyHold = k.ID.String(), hold
		r.through = &passage{k, hold}
		k.held += hold
	}
	if s.sources.any() {
		if u.arriving == nil {
			u.arriving = map[horde.Kind]int{}
		}
		u.arriving[s.kind] += s.results
	}
	return r, Accepted{}, nil
}

// unavailable keeps refusals and turns everything else, a caller that left for example, into one.
func unavailable(err error) *horde.Error {
	var refusal *horde.Error
	if errors.As(err, &refusal) {
		return refusal
	}
	return horde.ErrUnavailable
}

func (e *Engine) available(u *user) horde.Kudos { return e.book.Balance(u.ID).Available() }

// storeSources checks and stores the source images and returns the order with their keys.
func (e *Engine) storeSources(ctx context.Context, id horde.RequestID, o *horde.Order, src *sources) (*horde.Order, *horde.Error) {
	with := *o
	put := func(key blob.Key, input string, needsAlpha bool) (string, *horde.Error) {
		webp, err := e.Pictures.Source(ctx, input, needsAlpha)
		if err == nil {
			err = e.Blobs.Put(ctx, key, webp)
		}
		return string(key), e.storageRefusal(err)
	}
	var err *horde.Error
	with.SourceImage, with.SourceMask, with.ExtraSources = "", "", nil
	if src.image != "" {
		needsAlpha := o.SourceProcessing == "inpainting" && src.mask == ""
		if with.SourceImage, err = put(blob.SourceImage(id.SourceName()), src.image, needsAlpha); err != nil {
			return nil, err
		}
		if src.mask != "" {
			if with.SourceMask, err = put(blob.SourceMask(id.SourceName()), src.mask, false); err != nil {
				return nil, err
			}
		}
	}
	for i, extra := range src.extras {
		key, err := put(blob.ExtraSourceImage(id.SourceName(), i), str(extra.Image), false)
		if err != nil {
			return nil, err
		}
		strength := 1.0
		if extra.Strength != nil {
			strength = *extra.Strength
		}
		with.ExtraSources = append(with.ExtraSources, horde.ExtraSource{Key: key, Strength: strength})
	}
	return &with, nil
}

// storageRefusal passes refusals on and hides what went wrong inside.
func (e *Engine) storageRefusal(err error) *horde.Error {
	var refusal *horde.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return refusal
	case errors.Is(err, blob.ErrFull):
		return &horde.Error{Status: http.StatusServiceUnavailable, Message: "There is no room left for images. Try again later.", RetryAfter: time.Minute}
	}
	e.Log.Error("an image could not be stored", "error", err)
	return horde.ErrUnavailable
}

// The priorities of users who are flagged, and of requests that a shared key has too little left for (dispatch chapter, 10).
const (
	downgradedPriority = -50
	flaggedPriority    = -100
	flaggedKudosFactor = 1000
	flaggedKudosFrom   = 10_00
)

// activate makes a request visible to workers, charges its tax and counts the use of its style.
func (e *Engine) activate(r *request, s *submission, now time.Time) Accepted {
	u, use := r.user, s.use
	balance := e.book.Balance(u.ID).Spendable
	r.Created, r.Queued = now, now
	r.Touch(now, horde.Lifetime)
	switch {
	case u.Has(horde.Flagged) && balance > flaggedKudosFrom:
		r.Priority = int64(math.RoundToEven(balance.Float() / flaggedKudosFactor))
	case u.Has(horde.Flagged):
		r.Priority = flaggedPriority
	case s.payer.low:
		r.Priority = downgradedPriority
	default:
		r.Priority = balance.Whole()
	}
	tax := kudos.Tax(r.unpacked, e.rewards(use, u))
	r.Order = r.unpacked.Pack()
	e.addRequest(r)
	r.passes()
	e.open.request(r, true)
	e.meters.kinds[r.Order.Kind()].accepted.Inc()
	e.event(e.book.Activate(now, &r.Request, tax))
	e.charge(r, tax)
	e.countUse(now, r, use)
	e.acted(u, now)
	a := Accepted{ID: r.ID}
	if r.Order.Kind() == horde.Image {
		a.Kudos = float64(r.Price.Whole())
	}
	if !e.settings.RaidMode && !e.possible(r, now) {
		a.Message = e.unservable(r, now)
		a.Warnings = []horde.Warning{horde.NoAvailableWorker}
	}
	r.unpacked = nil
	return a
}

// charge counts what the user was just charged for a request, and takes it off the request's hold.
func (e *Engine) charge(r *request, amount horde.Kudos) {
	r.Charged += amount
	e.book.UseHold(&r.Request, amount)
	e.pays(r, amount)
}
