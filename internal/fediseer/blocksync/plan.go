// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"horde/fediseer"
)

// Finding is one domain of a source with the reasons that were given for it.
type Finding struct {
	Domain  string
	Reasons []string
}

// Sources are what the Fediseer says. All domains are normalised.
type Sources struct {
	Trusted, Filtered, Suspicions, Hesitations []Finding
	Endorsed                                   map[string]bool
}

// Names of the sources, in the order in which they are shown.
const (
	SourceTrusted     = "trusted"
	SourceFiltered    = "filtered"
	SourceSuspicions  = "suspicions"
	SourceHesitations = "hesitations"
)

// SourceCount tells how many domains a source had.
type SourceCount struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func (s *Sources) lists() map[string][]Finding {
	return map[string][]Finding{SourceTrusted: s.Trusted, SourceFiltered: s.Filtered, SourceSuspicions: s.Suspicions, SourceHesitations: s.Hesitations}
}

// Counts counts the sources.
func (s *Sources) Counts() []SourceCount {
	l := s.lists()
	out := make([]SourceCount, 0, len(l))
	for _, name := range []string{SourceTrusted, SourceFiltered, SourceSuspicions, SourceHesitations} {
		out = append(out, SourceCount{name, len(l[name])})
	}
	return out
}

// Severities of blocks, as Mastodon calls them.
const (
	Suspend = "suspend"
	Silence = "silence"
)

// Entry is a block that is wanted.
type Entry struct {
	Domain   string
	Severity string
	Comment  string   // the labels of all reasons
	From     []string // names of the sources
	// Public and Private are the comments to store, for the server's visitors and for its moderators.
	Public, Private string
}

// Block is an entry on a server's list. Only Domain is always there. Comment is all that is said, Public and Private are
// its parts where the target tells them apart.
type Block struct {
	Domain, ID, Severity, Comment, Public, Private string
}

// Refusal is a domain that is not blocked although it was asked for.
type Refusal struct {
	Domain string `json:"domain"`
	Why    string `json:"why"`
}

// Traits are what a kind of target can express.
type Traits struct {
	// Wildcards: "*.x" can be stored as it is. Subdomains: a block of x covers what is below x, so "*.x" becomes x.
	// With neither, wildcards are refused.
	Subdomains bool
	// Severities: hesitations are silenced. Without it they are blocked or ignored.
	Severities bool
	// PublicComments and PrivateComments tell which comments are stored and can be read again.
	PublicComments, PrivateComments bool
}

// Comments are what the tool last wrote to an entry.
type Comments struct {
	Public  string `json:"public,omitempty"`
	Private string `json:"private,omitempty"`
}

// Inputs is all that a plan depends on.
type Inputs struct {
	Sources          Sources
	Extra, Safelist  []string
	Own              string // empty protects nothing
	FediseerHost     string
	Severity         string // of what is not only hesitated about; empty is Suspend
	BlockHesitations bool
	Traits           Traits
	// PublicReasons stores the reasons as public comments too.
	PublicReasons bool
	Current       []Block
	// Managed are the domains that the tool added before; those that are no longer on the list are forgotten.
	Managed []string
	// Written are the comments that the tool last wrote, by domain. Where the wanted comment is the one that was written
	// last, what is on the list stays: the server stores comments in its own way, or a person changed it.
	Written      map[string]Comments
	FormerCounts map[string]int // of the sources, when the state was written
	Purge        bool
	// MaxRemoveShare bounds the part of the managed entries that may go.
	MaxRemoveShare float64
}

// Plan is what to do.
type Plan struct {
	Add    []Entry
	Update []Entry // managed, with another severity or comment than wanted
	Remove []Block
	Keep   []string // on the list and staying
	// Managed are the managed domains that stay, without what is added.
	Managed []string
	Refused []Refusal
	Counts  []SourceCount
	// Unsafe tells why the plan must not be carried out without force. Empty is safe.
	Unsafe []string
	Wanted int
}

// Changes is how many entries of the list change.
func (p *Plan) Changes() int { return len(p.Add) + len(p.Update) + len(p.Remove) }

// commentLength is the longest comment that is stored, in characters.
const commentLength = 500

// MakePlan computes a plan. It is deterministic: all lists are sorted by domain.
func MakePlan(in Inputs) *Plan {
	p := &Plan{Counts: in.Sources.Counts()}
	want := wanted(in, p)
	current := map[string]Block{}
	for _, b := range in.Current {
		current[b.Domain] = b
	}
	managed := map[string]bool{}
	for _, d := range in.Managed {
		if _, ok := current[d]; ok {
			managed[d] = true
		}
	}
	for _, d := range slices.Sorted(maps.Keys(want)) {
		e := want[d]
		if e.Private = e.Comment; in.PublicReasons {
			e.Public = e.Comment
		}
		b, there := current[d]
		if !there {
			p.Add = append(p.Add, e)
			continue
		}
		if !managed[d] {
			continue
		}
		if w, ok := in.Written[d]; ok && w.Public == e.Public {
			e.Public = b.Public
		}
		if w, ok := in.Written[d]; ok && w.Private == e.Private {
			e.Private = b.Private
		}
		if in.Traits.Severities && b.Severity != e.Severity || in.Traits.PublicComments && b.Public != e.Public || in.Traits.PrivateComments && b.Private != e.Private {
			p.Update = append(p.Update, e)
		}
	}
	for _, d := range slices.Sorted(maps.Keys(current)) {
		_, wanted := want[d]
		if !wanted && (managed[d] || in.Purge) {
			p.Remove = append(p.Remove, current[d])
			continue
		}
		p.Keep = append(p.Keep, d)
		if managed[d] {
			p.Managed = append(p.Managed, d)
		}
	}
	p.Wanted = len(want)
	for _, c := range p.Counts {
		if in.FormerCounts[c.Name] > 0 && c.Count == 0 {
			p.Unsafe = append(p.Unsafe, "the source "+c.Name+" is empty, and was not the last time")
		}
	}
	if float64(len(p.Remove)) > in.MaxRemoveShare*float64(len(managed)) {
		p.Unsafe = append(p.Unsafe, "more would be removed than the allowed share of what this tool added")
	}
	if len(want) == 0 && len(p.Remove) > 0 {
		p.Unsafe = append(p.Unsafe, "nothing is wanted, so the list would be emptied")
	}
	slices.SortFunc(p.Refused, func(a, b Refusal) int {
		return cmp.Or(strings.Compare(a.Domain, b.Domain), strings.Compare(a.Why, b.Why))
	})
	p.Refused = slices.Compact(p.Refused)
	return p
}

// wanted combines the sources and drops what must not or cannot be blocked.
func wanted(in Inputs, p *Plan) map[string]Entry {
	type gathered struct {
		from    []string
		reasons []string
	}
	all := map[string]*gathered{}
	put := func(d, source string, reasons []string) {
		g := all[d]
		if g == nil {
			g = &gathered{}
			all[d] = g
		}
		g.from = append(g.from, source)
		g.reasons = append(g.reasons, reasons...)
	}
	refuse := func(d, why string) { p.Refused = append(p.Refused, Refusal{d, why}) }
	extra := map[string]bool{}
	for _, s := range in.Extra {
		d, err := fediseer.NormalizeDomain(s)
		if err != nil {
			refuse(s, "is not a domain")
			continue
		}
		extra[d] = true
		put(d, "extra", nil)
	}
	lists := in.Sources.lists()
	for _, name := range []string{SourceTrusted, SourceFiltered, SourceSuspicions} {
		for _, f := range lists[name] {
			put(f.Domain, name, f.Reasons)
		}
	}
	if in.Traits.Severities || in.BlockHesitations {
		for _, f := range in.Sources.Hesitations {
			put(f.Domain, SourceHesitations, f.Reasons)
		}
	}
	severity := cmp.Or(in.Severity, Suspend)
	out := map[string]Entry{}
	for _, d := range slices.Sorted(maps.Keys(all)) {
		g := all[d]
		if safelisted(d, in.Safelist) {
			continue
		}
		if in.Sources.Endorsed[d] {
			if extra[d] {
				refuse(d, "is endorsed by an instance whose endorsements count")
			}
			continue
		}
		name, wildcard := strings.CutPrefix(d, "*.")
		switch {
		case !validName(d):
			refuse(d, "is not a domain")
			continue
		case in.Own != "" && (name == in.Own && !wildcard):
			refuse(d, "is this server itself")
			continue
		case in.Own != "" && strings.HasSuffix(in.Own, "."+name):
			refuse(d, "is a parent of this server")
			continue
		case in.Own != "" && wildcard && name == in.Own && in.Traits.Subdomains:
			refuse(d, "would block this server itself")
			continue
		case in.FediseerHost != "" && (name == in.FediseerHost || strings.HasSuffix(in.FediseerHost, "."+name)):
			refuse(d, "is the Fediseer")
			continue
		case wildcard && !in.Traits.Subdomains:
			refuse(d, "is a wildcard, which this kind of server does not know")
			continue
		}
		e := Entry{Domain: name, Severity: severity, Comment: Labels(g.reasons), From: g.from}
		if !slices.ContainsFunc(g.from, func(s string) bool { return s != SourceHesitations }) && in.Traits.Severities {
			e.Severity = Silence
		}
		if before, ok := out[name]; ok { // *.x and x: one entry, the stronger one
			e.From = append(before.From, e.From...)
			if before.Severity == severity {
				e.Severity = severity
			}
			e.Comment = Labels(append(strings.Split(before.Comment, ","), g.reasons...))
		}
		e.From = slices.Compact(slices.Sorted(slices.Values(e.From)))
		out[name] = e
	}
	return out
}

func validName(d string) bool {
	n, err := fediseer.NormalizeDomain(d)
	return err == nil && n == d
}

// safelisted tells whether d is on the list, or below a name that stands there with "*.".
func safelisted(d string, list []string) bool {
	for _, s := range list {
		s, err := fediseer.NormalizeDomain(s)
		if err != nil {
			continue
		}
		if s == d {
			return true
		}
		if base, ok := strings.CutPrefix(s, "*"); ok && strings.HasSuffix(d, base) {
			return true
		}
	}
	return false
}

func cutRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
