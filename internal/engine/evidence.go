// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"horde/internal/horde"
	"horde/internal/moderation"
)

// addEvidence keeps a prompt for moderators.
func (e *Engine) addEvidence(v moderation.Evidence, addr netip.Addr, now time.Time) {
	v.ID, v.Created = e.next(&e.counters.Evidence), now
	v.Subject = moderation.SubjectOf(e.settings.SigningSecret, addr)
	v.Address = moderation.AddressName(addr)
	v.Models = slices.Clone(v.Models)
	if v.User != nil {
		id := *v.User // the account may be changed while the event is written
		v.User = &id
	}
	v.Clip()
	if e.NoEvidence {
		v.RedactText()
		v.Address, v.AddressRedacted = "", true
	}
	n := &evidence{Evidence: v}
	e.evidence = append(e.evidence, n)
	e.open.document(evidenceDocument, itoa(n.ID), n)
	if len(e.evidence) > moderation.MaxEvidence {
		oldest := slices.IndexFunc(e.evidence, func(v *evidence) bool { return len(v.Notes) == 0 })
		e.dropEvidence(max(0, oldest))
	}
}

func (e *Engine) dropEvidence(i int) {
	e.open.forgetDocument(evidenceDocument, itoa(e.evidence[i].ID))
	e.evidence = slices.Delete(e.evidence, i, i+1)
}

// ageEvidence forgets what is too old.
func (e *Engine) ageEvidence(now time.Time) {
	for i := 0; i < len(e.evidence); i++ {
		v := e.evidence[i]
		if now.Sub(v.Created) < min(moderation.TextDays, moderation.AddressDays)*24*time.Hour {
			return // they are in the order in which they were made
		}
		changed, gone := v.Age(now, e.heldBy(&v.Evidence) != "")
		switch {
		case gone:
			e.dropEvidence(i)
			i--
		case changed:
			e.open.document(evidenceDocument, itoa(v.ID), v)
		}
	}
}

// Why an event is kept whole.
const (
	heldByNote    = "note"
	heldByAccount = "account_status"
)

func (e *Engine) heldBy(v *moderation.Evidence) string {
	if v.Anonymized {
		return ""
	}
	if len(v.Notes) > 0 {
		return heldByNote
	}
	if v.User != nil {
		if u := e.alive(*v.User); u != nil && (u.Has(horde.Flagged) || u.Suspicious()) {
			return heldByAccount
		}
	}
	return ""
}

// forgetSubject forgets whose prompts those of an account were.
func (e *Engine) forgetSubject(u *user) {
	for _, v := range e.evidence {
		if v.User != nil && *v.User == u.ID {
			v.Anonymize()
			e.open.document(evidenceDocument, itoa(v.ID), v)
		}
	}
}

// How many reported results of a user or an address moderators are told of (accounts chapter, 8.4).
const (
	problemsPerHour = 50
	problemsPerDay  = 200
)

// problem keeps what a worker reported a result for. Many of one subject alert moderators.
func (e *Engine) problem(j *job, now time.Time) {
	r, o := j.request, j.request.order()
	if slices.Contains(e.ProblemExempt, r.User) {
		return
	}
	addr, _ := netip.ParseAddr(o.IP)
	v := moderation.Evidence{
		Kind: o.Kind, User: &r.User, ProxiedAccount: o.ProxiedAccount, Request: r.ID.String(), Worker: j.Worker.String(),
		Models: []string{j.Model}, Reason: moderation.ReasonWorker, Outcome: moderation.OutcomeCensored, Effective: o.Prompt,
	}
	if o.Image != nil {
		for _, l := range o.Image.Loras {
			v.Loras = append(v.Loras, l.Name)
		}
	}
	if o.Kind == horde.Image {
		if sent, err := o.RecordedImage(); err == nil {
			v.Submitted = str(sent.Prompt)
		}
	}
	e.addEvidence(v, addr, now)
	if o.Kind != horde.Image {
		return
	}
	subject := moderation.SubjectOf(e.settings.SigningSecret, addr)
	type tally struct{ hour, day int }
	var byUser, byAddress tally
	for i := len(e.evidence) - 1; i >= 0 && now.Sub(e.evidence[i].Created) <= 24*time.Hour; i-- {
		p := e.evidence[i]
		if p.Reason != moderation.ReasonWorker || p.Kind != horde.Image {
			continue
		}
		lately := now.Sub(p.Created) <= time.Hour
		add := func(t *tally, counts bool) {
			if counts {
				t.day++
				if lately {
					t.hour++
				}
			}
		}
		add(&byUser, p.User != nil && *p.User == r.User && p.ProxiedAccount == o.ProxiedAccount)
		add(&byAddress, p.Subject == subject && subject != "")
	}
	text := func(who string, n int, span string) moderation.Alert {
		return moderation.Alert{Problem: true, Text: fmt.Sprintf("%s: %d reported results within %s. The last: job %s by worker %s from %s. LoRAs: %s. Prompt: %s",
			who, n, span, j.ID, j.WorkerName, moderation.AddressName(addr), strings.Join(v.Loras, ", "), o.Prompt)}
	}
	raise := func(who string, t tally) bool {
		switch {
		case t.hour > problemsPerHour:
			e.alert("problem hour "+who, time.Hour, now, text(who, t.hour, "an hour"))
		case t.day > problemsPerDay:
			e.alert("problem day "+who, 24*time.Hour, now, text(who, t.day, "a day"))
		default:
			return false
		}
		return true
	}
	if r.User != horde.Anonymous {
		who := "User " + r.user.Alias()
		if o.ProxiedAccount != "" {
			who += " for " + o.ProxiedAccount
		}
		if raise(who, byUser) {
			return
		}
	}
	if addr.IsValid() {
		raise("Address "+moderation.AddressName(addr), byAddress)
	}
}

// reportProxy counts a refused prompt that a service passed on.
func (e *Engine) reportProxy(c Caller, u *user, proxied string, now time.Time) {
	p, before := e.places.ReportProxy(c.Peer, now)
	e.notePlace(p, now)
	if before > moderation.ProxyLimit {
		e.Alert(moderation.Alert{Problem: true, Text: fmt.Sprintf("Service %s at %s passed on %d refused prompts within an hour. The last was for %s at %s.",
			u.Alias(), p.Name(), before+1, proxied, moderation.AddressName(c.Addr))})
	}
}

// EvidenceView is an event as moderators see it.
type EvidenceView struct {
	moderation.Evidence
	// HeldBy says why it is kept whole: "note", "account_status", or nothing.
	HeldBy string
}

// EvidencePage is a page of events, the newest first. Next is what to give as Before for the next one; 0 for none.
type EvidencePage struct {
	Events []EvidenceView
	Next   int64
}

// Evidence lists prompts that were refused or reported. An address in the search is looked up by its pseudonym, so that events
// whose address was forgotten are found too.
func (e *Engine) Evidence(ctx context.Context, key string, s moderation.Search, address string) (EvidencePage, error) {
	return change(ctx, e, func() (EvidencePage, *batch, *horde.Error) {
		u, refusal := e.moderator(key)
		if refusal != nil {
			return EvidencePage{}, nil, refusal
		}
		if address != "" {
			network, _, ok := moderation.ParseNetwork(address)
			if !ok {
				return EvidencePage{}, nil, horde.Invalid(map[string]string{"ipaddr": "it is no address"})
			}
			subject := moderation.SubjectOf(e.settings.SigningSecret, network.Addr())
			if s.Subject != "" && s.Subject != subject {
				return EvidencePage{Events: []EvidenceView{}}, nil, nil
			}
			s.Subject = subject
		}
		page := EvidencePage{Events: []EvidenceView{}}
		for i := len(e.evidence) - 1; i >= 0; i-- {
			v := e.evidence[i]
			if !s.Chooses(&v.Evidence) {
				continue
			}
			if len(page.Events) == s.Limit {
				page.Next = page.Events[s.Limit-1].ID
				break
			}
			page.Events = append(page.Events, EvidenceView{v.Evidence, e.heldBy(&v.Evidence)})
		}
		e.Log.Info("evidence was read", "moderator", u.ID, "events", len(page.Events))
		return page, e.pending(&e.counters.changed), nil
	})
}

// NoteEvidence adds a moderator's note to an event, which is kept whole from then on.
func (e *Engine) NoteEvidence(ctx context.Context, key string, id int64, text string) (moderation.Note, error) {
	return change(ctx, e, func() (moderation.Note, *batch, *horde.Error) {
		u, refusal := e.moderator(key)
		if refusal != nil {
			return moderation.Note{}, nil, refusal
		}
		at := slices.IndexFunc(e.evidence, func(v *evidence) bool { return v.ID == id })
		switch {
		case at < 0:
			return moderation.Note{}, nil, horde.ErrEvidenceNotFound
		case len(e.evidence[at].Notes) >= moderation.MaxNotes:
			return moderation.Note{}, nil, horde.ErrTooManyNotes
		}
		v := e.evidence[at]
		n := moderation.Note{ID: e.next(&e.counters.Note), Author: u.ID, Text: text, Created: time.Now().UTC().Truncate(time.Second)}
		v.Notes = append(slices.Clip(v.Notes), n)
		e.open.document(evidenceDocument, itoa(v.ID), v)
		return n, e.open, nil
	})
}
