// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"encoding/binary"
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

// WithArticle is the name with its indefinite article: "an endorsement", "a censure".
func (k Kind) WithArticle() string {
	if k == Endorsement {
		return "an " + k.String()
	}
	return "a " + k.String()
}

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

// ListEntry is one judgement of a judge's list, without its evidence.
type ListEntry struct {
	ID       int64 // of the judgement, within its kind
	TargetID int64
	Target   Domain
	// Reason is nil if none was given. Equal reasons may share one pointer.
	Reason      *string
	HasEvidence bool
}

// Combined is one judged instance of a list over several judges.
type Combined struct {
	TargetID int64
	Target   Domain
	Count    int         // judgements, with and without reason
	Said     []ListEntry // the judgements, if they were asked for
}

// Cut is a part of a list: at most Limit lines after the first Offset. A Limit of 0 is all.
type Cut struct{ Offset, Limit int }

// Combine merges lists that are each sorted by domain, counts the judgements by judged instance, filters, and returns a
// part of what is left, in the order of the domains. With said, each line holds its judgements. It stops as soon as the
// part is full, so that a page costs what a page holds, however long the lists are.
func Combine(lists [][]ListEntry, f Filter, part Cut, said bool) []Combined {
	h := make(merge, 0, len(lists))
	for i, l := range lists {
		if len(l) > 0 {
			h = append(h, newCursor(l, i))
		}
	}
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
	m := matcher{f: f, least: max(f.Min, 1), counts: make([]int, len(f.Reasons)), known: map[*string][]int{}}
	total := 0
	for _, l := range lists {
		total += len(l)
	}
	if part.Limit > 0 {
		total = min(total, part.Limit)
	}
	out := make([]Combined, 0, total)
	for skip := part.Offset; len(h) > 0; {
		first := h[0].list[0]
		c := Combined{TargetID: first.TargetID, Target: first.Target}
		m.reset()
		for len(h) > 0 && h[0].list[0].TargetID == first.TargetID {
			e := &h[0].list[0]
			c.Count++
			m.add(e.Reason)
			if said {
				c.Said = append(c.Said, *e)
			}
			h.next()
		}
		if !m.passes(c.Count) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		out = append(out, c)
		if len(out) == part.Limit {
			break
		}
	}
	return out
}

// matcher applies a filter to one judged instance after the other. It remembers which of the filter's texts a reason
// contains, since few reasons are distinct.
type matcher struct {
	f      Filter
	least  int
	counts []int // by text of the filter, for the present instance
	known  map[*string][]int
}

func (m *matcher) reset() { clear(m.counts) }

func (m *matcher) add(reason *string) {
	if m.f.Reasons == nil || reason == nil {
		return
	}
	found, ok := m.known[reason]
	if !ok {
		low := strings.ToLower(*reason)
		for i, want := range m.f.Reasons {
			if strings.Contains(low, want) {
				found = append(found, i)
			}
		}
		m.known[reason] = found
	}
	for _, i := range found {
		m.counts[i]++
	}
}

func (m *matcher) passes(count int) bool {
	if m.f.Reasons == nil {
		return count >= m.least
	}
	for _, n := range m.counts {
		if n >= m.least {
			return true
		}
	}
	return false
}

// cursor is a place in a sorted list that is not at its end. high and low are the first sixteen bytes of the domain there
// as numbers that compare as the text does: most comparisons need nothing more.
type cursor struct {
	high, low uint64
	list      []ListEntry
	at        int // number of the list; what is said of one domain comes in the order of the lists
}

func newCursor(l []ListEntry, at int) cursor {
	var b [16]byte
	copy(b[:], l[0].Target)
	return cursor{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), l, at}
}

// merge is a heap of cursors, the least domain first.
type merge []cursor

func (h merge) less(i, j int) bool {
	a, b := &h[i], &h[j]
	if a.high != b.high {
		return a.high < b.high
	}
	if a.low != b.low {
		return a.low < b.low
	}
	if x, y := a.list[0].Target, b.list[0].Target; x != y {
		return x < y
	}
	return a.at < b.at
}

func (h merge) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h.less(child+1, child) {
			child++
		}
		if !h.less(child, i) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// next moves the least cursor on.
func (h *merge) next() {
	if rest := (*h)[0].list[1:]; len(rest) > 0 {
		(*h)[0] = newCursor(rest, (*h)[0].at)
	} else {
		last := len(*h) - 1
		(*h)[0] = (*h)[last]
		*h = (*h)[:last]
	}
	h.down(0)
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
