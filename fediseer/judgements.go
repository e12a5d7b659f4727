// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// givenPage is the page size of lists of given judgements.
	givenPage = 1000
	// maxPath bounds the path of a request; longer lists of domains are asked for in groups.
	maxPath = 32 << 10
)

// Judgements is the service for one kind of judgement: endorsements, censures or hesitations.
type Judgements[T any] struct {
	c           *Client
	kind, given string // names in the API
	evidence    bool   // the kind has evidence
	meta        bool   // the kind knows meta reasons
	view        func(*T) line
}

// line shows the parts that lists of all kinds have in common.
type line struct {
	domain            string
	reasons, evidence *[]string
	count             **int // nil where the kind tells no counts
}

func viewCensured(x *CensuredInstance) line {
	return line{x.Domain, &x.CensureReasons, &x.CensureEvidence, &x.CensureCount}
}
func viewDubious(x *DubiousInstance) line {
	return line{x.Domain, &x.HesitationReasons, &x.HesitationEvidence, &x.HesitationCount}
}
func viewEndorsed(x *EndorsedInstance) line { return line{x.Domain, &x.EndorsementReasons, nil, nil} }

func (j *Judgements[T]) request(method, domain string) (request, error) {
	d, err := j.c.domain(domain)
	return request{method: method, route: j.kind, path: "/" + j.kind + "/" + segment(d)}, err
}

func words(reason, evidence *string) map[string]string {
	body := map[string]string{}
	if reason != nil {
		body["reason"] = *reason
	}
	if evidence != nil {
		body["evidence"] = *evidence
	}
	return body
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Put judges an instance. It returns false, and leaves the words as they are, if it is judged already.
func (j *Judgements[T]) Put(ctx context.Context, domain string, what Judgement) (changed bool, err error) {
	q, err := j.request(http.MethodPut, domain)
	if err != nil {
		return false, err
	}
	evidence := optional(what.Evidence)
	if !j.evidence {
		evidence = nil
	}
	q.body = words(optional(what.Reason), evidence)
	return j.c.write(ctx, q)
}

// Patch changes the words of a judgement. Without a judgement it is ErrValidation.
func (j *Judgements[T]) Patch(ctx context.Context, domain string, what JudgementPatch) (changed bool, err error) {
	q, err := j.request(http.MethodPatch, domain)
	if err != nil {
		return false, err
	}
	if !j.evidence {
		what.Evidence = nil
	}
	q.body = words(what.Reason, what.Evidence)
	return j.c.write(ctx, q)
}

// Delete withdraws a judgement. It returns false if there is none.
func (j *Judgements[T]) Delete(ctx context.Context, domain string) (changed bool, err error) {
	q, err := j.request(http.MethodDelete, domain)
	if err != nil {
		return false, err
	}
	return j.c.write(ctx, q)
}

// list is the form of all lists of the API.
type list[T any] struct {
	Instances []T      `json:"instances"`
	Domains   []string `json:"domains"`
	Total     int      `json:"total"`
}

// Received returns the instances that judge a domain, as far as they show it. An empty domain is the client's own.
func (j *Judgements[T]) Received(ctx context.Context, domain string) ([]T, error) {
	q, err := j.request(http.MethodGet, domain)
	if err != nil {
		return nil, err
	}
	out := list[T]{Instances: []T{}}
	if err := j.c.call(ctx, q, &out); err != nil {
		return nil, err
	}
	return out.Instances, nil
}

// Batch stores many judgements at once. With Delete it removes those that are not in the list, and a list that is empty
// but not nil clears all; without Delete an empty list is refused by the service. It is not retried.
func (j *Judgements[T]) Batch(ctx context.Context, entries []JudgementEntry, o BatchOptions) (changed bool, err error) {
	if o.Delete && entries == nil {
		return false, errors.New("fediseer: a batch that deletes needs a list; an empty one that is not nil clears everything")
	}
	items := make([]map[string]string, len(entries))
	for i, e := range entries {
		d, err := NormalizeDomain(e.Domain)
		if err != nil {
			return false, err
		}
		evidence := optional(e.Evidence)
		if !j.evidence {
			evidence = nil
		}
		items[i] = words(optional(e.Reason), evidence)
		items[i]["domain"] = d
	}
	return j.c.write(ctx, request{method: http.MethodPost, route: "batch", path: "/batch/" + j.kind, once: true,
		body: map[string]any{"delete": o.Delete, "overwrite": o.Overwrite, j.kind: items}})
}

// Given returns the instances that any of the domains judges and that pass the filter, sorted by domain. No domains are
// the client's own. Judges that hide their lists are left out; if all do, it is ErrForbidden.
func (j *Judgements[T]) Given(ctx context.Context, domains []string, f GivenFilter) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		groups, err := j.groups(domains)
		if err == nil && len(groups) == 1 {
			j.pages(ctx, groups[0], f, false, func(p list[T], e error) bool {
				if err = e; err != nil {
					return false
				}
				for _, x := range p.Instances {
					if !yield(x, nil) {
						err = errStopped
						return false
					}
				}
				return true
			})
		} else if err == nil {
			var merged []T
			if merged, err = j.merge(ctx, groups, f); err == nil {
				for _, x := range merged {
					if !yield(x, nil) {
						return
					}
				}
			}
		}
		if err != nil && err != errStopped {
			var none T
			yield(none, err)
		}
	}
}

var errStopped = errors.New("the reader has had enough")

// GivenDomains is Given for the names only.
func (j *Judgements[T]) GivenDomains(ctx context.Context, domains []string, f GivenFilter) ([]string, error) {
	groups, err := j.groups(domains)
	if err != nil {
		return nil, err
	}
	out := []string{}
	if len(groups) > 1 {
		merged, err := j.merge(ctx, groups, f)
		if err != nil {
			return nil, err
		}
		for i := range merged {
			out = append(out, j.view(&merged[i]).domain)
		}
		return out, nil
	}
	j.pages(ctx, groups[0], f, true, func(p list[T], e error) bool {
		err = e
		out = append(out, p.Domains...)
		return e == nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// groups normalises the domains and splits them so that no path gets too long.
func (j *Judgements[T]) groups(domains []string) ([][]string, error) {
	if len(domains) == 0 {
		home, err := j.c.domain("")
		return [][]string{{home}}, err
	}
	all, err := normalizeSet(domains)
	if err != nil {
		return nil, err
	}
	var out [][]string
	var group []string
	size := 0
	for _, d := range all {
		n := len(segment(d)) + 1
		if size+n > maxPath-len(apiPath+j.given)-3 && group != nil {
			out = append(out, group)
			group, size = nil, 0
		}
		group = append(group, d)
		size += n
	}
	return append(out, group), nil
}

// pages fetches the list of a group page by page. Filtered censures and hesitations come in one piece: there the service
// ignores pages.
func (j *Judgements[T]) pages(ctx context.Context, group []string, f GivenFilter, names bool, each func(list[T], error) bool) {
	query := url.Values{}
	if names {
		query.Set("domains", "true")
	}
	if f.Min > 1 {
		query.Set("min_"+j.kind, strconv.Itoa(f.Min))
	}
	if len(f.Reasons) > 0 {
		query.Set("reasons_csv", reasonSet(f.Reasons))
	}
	paged := j.kind == "endorsements" || f.Min <= 1 && len(f.Reasons) == 0
	for page := 1; ; page++ {
		if paged {
			query.Set("limit", strconv.Itoa(givenPage))
			query.Set("page", strconv.Itoa(page))
		}
		var p list[T]
		err := j.c.call(ctx, request{method: http.MethodGet, route: j.given, path: "/" + j.given + "/" + segment(strings.Join(group, ",")), query: query}, &p)
		if !each(p, err) || err != nil || !paged || page*givenPage >= p.Total {
			return
		}
		if n := max(len(p.Instances), len(p.Domains)); j.kind != "endorsements" && n < givenPage {
			return
		}
	}
}

// reasonSet sorts the reasons, so that the service's cache can hit.
func reasonSet(reasons []string) string {
	s := make([]string, len(reasons))
	for i, r := range reasons {
		s[i] = strings.ToLower(strings.TrimSpace(r))
	}
	slices.Sort(s)
	return strings.Join(slices.Compact(s), ",")
}

// merge combines the lists of several groups: unfiltered and in full, with the filter applied here as the service would.
func (j *Judgements[T]) merge(ctx context.Context, groups [][]string, f GivenFilter) ([]T, error) {
	if j.kind == "endorsements" && f.Min > 1 && len(f.Reasons) == 0 {
		// Lists of endorsements tell no counts, so that each judge has to be asked alone.
		var single [][]string
		for _, g := range groups {
			for _, d := range g {
				single = append(single, []string{d})
			}
		}
		groups = single
	}
	type entry struct {
		item  T
		count int
	}
	all := map[string]*entry{}
	var refused error
	answered := false
	for _, g := range groups {
		var err error
		j.pages(ctx, g, GivenFilter{}, false, func(p list[T], e error) bool {
			err = e
			for i := range p.Instances {
				v := j.view(&p.Instances[i])
				n := 1
				if v.count != nil && *v.count != nil {
					n = **v.count
				}
				have := all[v.domain]
				if have == nil {
					all[v.domain] = &entry{item: p.Instances[i], count: n}
					continue
				}
				have.count += n
				w := j.view(&have.item)
				*w.reasons = append(*w.reasons, *v.reasons...)
				if w.evidence != nil {
					*w.evidence = append(*w.evidence, *v.evidence...)
				}
				if w.count != nil {
					sum := have.count
					*w.count = &sum
				}
			}
			return e == nil
		})
		switch {
		case err == nil:
			answered = true
		case errors.Is(err, ErrForbidden) || errors.Is(err, ErrNotFound) && !errors.Is(err, ErrBadKey):
			refused = err // nothing to see in this group
		default:
			return nil, err
		}
	}
	if !answered {
		return nil, refused
	}
	out := []T{}
	for _, e := range all {
		if j.passes(f, e.count, *j.view(&e.item).reasons) {
			out = append(out, e.item)
		}
	}
	slices.SortFunc(out, func(a, b T) int { return strings.Compare(j.view(&a).domain, j.view(&b).domain) })
	return out, nil
}

// metaReasons are the names that stand for several labels in a filter of censures.
var metaReasons = map[string][]string{
	"__all_pedos__": {"csam", "loli", "shota", "pedophil"},
	"__all_bigots__": {"racism", "sexism", "transphobia", "homophobia", "islamophobia", "nazi", "fascist", "hate speech",
		"bigotry"},
}

// passes applies a filter as the service does: a reason counts for a label that it contains, and one label must be
// counted often enough.
func (j *Judgements[T]) passes(f GivenFilter, count int, reasons []string) bool {
	least := max(1, f.Min)
	if len(f.Reasons) == 0 {
		return count >= least
	}
	wanted := slices.Clone(f.Reasons)
	for _, r := range f.Reasons {
		if j.meta {
			wanted = append(wanted, metaReasons[strings.ToLower(strings.TrimSpace(r))]...)
		}
	}
	for _, w := range wanted {
		n := 0
		for _, r := range reasons {
			if strings.Contains(strings.ToLower(r), strings.ToLower(strings.TrimSpace(w))) {
				n++
			}
		}
		if n >= least {
			return true
		}
	}
	return false
}
