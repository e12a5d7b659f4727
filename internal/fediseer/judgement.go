// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Kind is one of the three ways in which an instance judges another.
type Kind int

const (
	Endorsement Kind = iota // positive
	Censure                 // negative
	Hesitation              // mildly negative; its target is called dubious
	NumKinds    = 3
)

// Kinds lists the three kinds.
var Kinds = [NumKinds]Kind{Endorsement, Censure, Hesitation}

func (k Kind) String() string { return [...]string{"endorsement", "censure", "hesitation"}[k] }

// Plural is the name of the kind's list in routes, bodies and columns.
func (k Kind) Plural() string { return k.String() + "s" }

// Report is the type of log line that the kind's changes write.
func (k Kind) Report() ReportType {
	return [...]ReportType{ReportEndorsement, ReportCensure, ReportHesitation}[k]
}

// HasEvidence reports whether judgements of the kind carry evidence.
func (k Kind) HasEvidence() bool { return k != Endorsement }

// Opposites are the kinds that a judgement of kind k cannot stand beside: one does not endorse and censure the same
// instance.
func (k Kind) Opposites() []Kind {
	if k == Endorsement {
		return []Kind{Censure, Hesitation}
	}
	return []Kind{Endorsement}
}

// Judgement is what one instance says about another. Reason and Evidence are nil when they were not given; both are
// sanitised (see Sanitize).
type Judgement struct {
	JudgeID, TargetID int64
	Reason, Evidence  *string
	Created           time.Time
}

// CheckReason sanitises a reason and refuses one that is longer than the column.
func CheckReason(s string) (string, error) {
	s = Sanitize(s)
	if n := len([]rune(s)); n > MaxReasonLength {
		return "", Refuse(http.StatusBadRequest, "The reason has %d characters; %d are allowed", n, MaxReasonLength)
	}
	return s, nil
}

// MetaReasons are names that stand for several labels in a filter of censures.
var MetaReasons = map[string][]string{
	"__all_pedos__": {"csam", "loli", "shota", "pedophil"},
	"__all_bigots__": {"racism", "sexism", "transphobia", "homophobia", "islamophobia", "nazi", "fascist", "hate speech",
		"bigotry"},
}

// Filter selects from a combined list.
type Filter struct {
	// Min is the least number of judgements. Zero and below act as one.
	Min int
	// Reasons are lower-cased fragments; nil means that reasons play no part. A judged instance passes when, for one
	// of the fragments, at least Min of its reasons contain it. An empty fragment is contained in every reason.
	Reasons []string
}

// ExpandMeta adds to the filter of censures the labels that its meta reasons stand for.
func (f Filter) ExpandMeta() Filter {
	out := slices.Clone(f.Reasons)
	for _, r := range f.Reasons {
		out = append(out, MetaReasons[r]...)
	}
	f.Reasons = out
	return f
}

// Pass reports whether an instance with these judgements passes. count is the number of judgements, reasons the
// lower-cased reasons among them.
func (f Filter) Pass(count int, reasons []string) bool {
	least := max(f.Min, 1)
	if f.Reasons == nil {
		return count >= least
	}
	for _, want := range f.Reasons {
		n := 0
		for _, r := range reasons {
			if strings.Contains(r, want) {
				n++
			}
		}
		if n >= least {
			return true
		}
	}
	return false
}

// ListEntry is one judgement of a judge's list, without its evidence.
type ListEntry struct {
	TargetID int64
	Target   Domain
	Reason   *string
}

// Combined is one judged instance of a list over several judges.
type Combined struct {
	TargetID int64
	Target   Domain
	Count    int // judgements, with and without reason
}

// Combine counts the judgements of all lists by judged instance, filters, and sorts by domain.
func Combine(lists [][]ListEntry, f Filter) []Combined {
	total := 0
	for _, l := range lists {
		total += len(l)
	}
	if total == 0 {
		return nil
	}
	counts := make(map[int64]Combined, min(total, 1<<16))
	var reasons map[int64][]string
	if f.Reasons != nil {
		reasons = make(map[int64][]string)
	}
	for _, l := range lists {
		for i := range l {
			e := &l[i]
			c := counts[e.TargetID]
			c.TargetID, c.Target = e.TargetID, e.Target
			c.Count++
			counts[e.TargetID] = c
			if reasons != nil && e.Reason != nil {
				reasons[e.TargetID] = append(reasons[e.TargetID], strings.ToLower(*e.Reason))
			}
		}
	}
	out := make([]Combined, 0, len(counts))
	for id, c := range counts {
		if f.Pass(c.Count, reasons[id]) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Combined) int { return strings.Compare(string(a.Target), string(b.Target)) })
	return out
}

// CanSee decides whether a requester sees the list of an owner: self tells that they are the same instance, endorsed
// that the owner endorses the requester. Anonymous requesters are neither.
func CanSee(v Visibility, self, endorsed bool) bool {
	switch v {
	case Open:
		return true
	case Endorsed:
		return self || endorsed
	}
	return self
}
