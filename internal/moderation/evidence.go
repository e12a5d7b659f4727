// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"
	"unicode/utf8"

	"horde/internal/horde"
)

// Why a prompt became evidence, and what became of it. Values are published.
const (
	ReasonFilter = "filter_rejection"
	ReasonModel  = "model_rejection"
	ReasonWorker = "worker_csam"

	OutcomeRejected = "rejected"
	OutcomeCensored = "censored"
)

// Reasons are all reasons.
var Reasons = []string{ReasonFilter, ReasonModel, ReasonWorker}

// How long evidence is kept (newer chapter, N18), and how much of it.
const (
	// TextDays and AddressDays are after how many days the prompts and the address go, CeilingDays after how many the rest does.
	TextDays    = 30
	AddressDays = 30
	CeilingDays = 90
	// MaxEvidence is how many events are kept. The oldest that nobody has written a note on make room.
	MaxEvidence = 5000
	// MaxEvidenceText is how many bytes of each prompt are kept.
	MaxEvidenceText = 4000
	// MaxNotes is how many notes one event takes, MaxNote how many characters one has.
	MaxNotes = 100
	MaxNote  = 2000
)

// Evidence is a prompt that was refused, or whose result a worker reported, for moderators to look at.
type Evidence struct {
	ID      int64     `json:"id"`
	Created time.Time `json:"created"`
	// Kind is what was asked for.
	Kind horde.Kind `json:"kind"`
	// User is whose prompt it was; nil once that is forgotten.
	User           *horde.UserID `json:"user,omitempty"`
	ProxiedAccount string        `json:"proxied_account,omitempty"`
	// Request and Worker are those of a report; a refused submission has none.
	Request string `json:"request,omitempty"`
	Worker  string `json:"worker,omitempty"`
	// Address is the caller's, IPv6 as its /64; empty once it is forgotten. Subject is a pseudonym of it that stays.
	Address string   `json:"address,omitempty"`
	Subject string   `json:"subject,omitempty"`
	Models  []string `json:"models,omitempty"`
	Loras   []string `json:"loras,omitempty"`
	Reason  string   `json:"reason"`
	Outcome string   `json:"outcome"`
	// Submitted is the prompt as it was sent, Judged as the filters saw it, Effective as the worker got it. Empty where there is
	// none, and once they are forgotten.
	Submitted string `json:"submitted,omitempty"`
	Judged    string `json:"judged,omitempty"`
	Effective string `json:"effective,omitempty"`
	// Truncated tells that a prompt was longer; the others which steps of forgetting were made.
	Truncated       bool   `json:"truncated,omitempty"`
	TextRedacted    bool   `json:"text_redacted,omitempty"`
	AddressRedacted bool   `json:"address_redacted,omitempty"`
	Anonymized      bool   `json:"anonymized,omitempty"`
	Notes           []Note `json:"notes,omitempty"`
}

// Note is what a moderator wrote on an event.
type Note struct {
	ID      int64        `json:"id"`
	Author  horde.UserID `json:"author"`
	Text    string       `json:"text"`
	Created time.Time    `json:"created"`
}

// HasText tells whether a prompt is still there.
func (v *Evidence) HasText() bool { return v.Submitted != "" || v.Judged != "" || v.Effective != "" }

// Clip cuts the prompts to what is kept.
func (v *Evidence) Clip() {
	for _, text := range []*string{&v.Submitted, &v.Judged, &v.Effective} {
		if len(*text) <= MaxEvidenceText {
			continue
		}
		n := MaxEvidenceText
		for n > 0 && !utf8.RuneStart((*text)[n]) {
			n--
		}
		*text, v.Truncated = (*text)[:n], true
	}
}

// Age forgets what is too old to be kept, unless the event is held, and tells whether anything changed. gone tells that the
// whole event may go.
func (v *Evidence) Age(now time.Time, held bool) (changed, gone bool) {
	age := now.Sub(v.Created)
	const day = 24 * time.Hour
	if held {
		return false, false
	}
	if age >= TextDays*day && !v.TextRedacted {
		v.RedactText()
		changed = true
	}
	if age >= AddressDays*day && !v.AddressRedacted {
		v.Address, v.AddressRedacted, changed = "", true, true
	}
	return changed, age >= CeilingDays*day
}

// RedactText forgets the prompts.
func (v *Evidence) RedactText() {
	v.Submitted, v.Judged, v.Effective, v.Loras, v.TextRedacted = "", "", "", nil, true
}

// Anonymize forgets everything that tells whose prompt it was.
func (v *Evidence) Anonymize() {
	v.RedactText()
	v.User, v.ProxiedAccount, v.Request, v.Address, v.Subject = nil, "", "", "", ""
	v.AddressRedacted, v.Anonymized = true, true
}

// SubjectOf is the pseudonym of an address: the same for the same caller, and of no use to who does not have the secret.
func SubjectOf(secret string, addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("address " + Bucket(addr).String()))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// AddressName is how the address of a caller is kept: IPv6 as its /64.
func AddressName(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	p := Place{Prefix: Bucket(addr)}
	return p.Name()
}

// Search chooses events. Zero values choose all.
type Search struct {
	Limit    int
	Before   int64 // an id: only older ones
	ID       int64
	User     *horde.UserID
	Proxied  string
	Subject  string
	Worker   string
	Reasons  []string
	From, To time.Time // From included, To not
}

// Chooses tells whether the search wants an event.
func (s *Search) Chooses(v *Evidence) bool {
	switch {
	case s.Before != 0 && v.ID >= s.Before, s.ID != 0 && v.ID != s.ID, s.User != nil && (v.User == nil || *v.User != *s.User),
		s.Proxied != "" && v.ProxiedAccount != s.Proxied, s.Subject != "" && v.Subject != s.Subject,
		s.Worker != "" && v.Worker != s.Worker, len(s.Reasons) > 0 && !slices.Contains(s.Reasons, v.Reason),
		!s.From.IsZero() && v.Created.Before(s.From), !s.To.IsZero() && !v.Created.Before(s.To):
		return false
	}
	return true
}

// SuspicionEvent is one report against a worker.
type SuspicionEvent struct {
	ID         int64           `json:"id"`
	Created    time.Time       `json:"created"`
	Worker     horde.WorkerID  `json:"worker"`
	WorkerName string          `json:"worker_name"` // at that time
	User       horde.UserID    `json:"user"`        // the owner at that time
	Suspicion  horde.Suspicion `json:"suspicion"`
	Detail     string          `json:"detail,omitempty"`
}

// MaxSuspicionEvents is how many reports are kept, SuspicionDays how long.
const (
	MaxSuspicionEvents = 5000
	SuspicionDays      = 90
)

// Alert is something that moderators should know at once.
type Alert struct {
	// Problem is about users and addresses; else it is about a worker that was paused.
	Problem bool
	Text    string
}

// Safety is what is thought of an address.
type Safety int

// The verdicts. Safe is also what every address is where nobody checks.
const (
	Safe Safety = iota
	Unsafe
	Unknown
)

// Checker tells the addresses of proxies from others.
type Checker interface {
	// Known is the verdict where it can be told without asking anybody.
	Known(netip.Addr) (Safety, bool)
	// Check asks, which may take seconds.
	Check(netip.Addr) Safety
}
