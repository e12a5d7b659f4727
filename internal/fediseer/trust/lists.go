// SPDX-License-Identifier: AGPL-3.0-or-later

package trust

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"horde/internal/fediseer"
	"horde/internal/fediseer/store"
)

const (
	// DefaultGivenLimit is the page size of lists of given judgements.
	DefaultGivenLimit = 1000
	// MinLimit is the smallest page that can be asked for.
	MinLimit = 10
	// detailsChunk bounds how many instances are described in one query.
	detailsChunk = 1000
)

// Judged is one line of a list of judgements: the instance with what was said. Nil slices mean that nothing is told.
type Judged struct {
	*fediseer.Details
	Reasons, Evidence, Rebuttal []string
	Count                       *int
}

// JudgedList is a list of judgements. Names are always there; Items only when details were asked for. Total counts
// judgements, not lines.
type JudgedList struct {
	Names []string
	Items []Judged
	Total int
}

// Received lists the instances that judge domain, as far as the requester may see their lists, in the order of their
// names. Unknown domains are 404.
func (s *Service) Received(ctx context.Context, c Credential, k fediseer.Kind, domain string) (out JudgedList, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		asker, err := s.requester(tx, c)
		if err != nil {
			return err
		}
		d, err := fediseer.ParseDomain(domain)
		if err != nil {
			return fediseer.ErrUnknownInstance(http.StatusNotFound, domain)
		}
		list, err := tx.Instances([]fediseer.Domain{d})
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fediseer.ErrUnknownInstance(http.StatusNotFound, string(d))
		}
		target := list[0]
		js, err := tx.JudgementsOf(k, target.ID)
		if err != nil {
			return err
		}
		byJudge := make(map[int64]fediseer.Judgement, len(js))
		ids := make([]int64, len(js))
		for i, j := range js {
			byJudge[j.JudgeID] = j
			ids[i] = j.JudgeID
		}
		judges, err := tx.DetailsByID(ids)
		if err != nil {
			return err
		}
		endorsed, err := endorsers(tx, ids, asker)
		if err != nil {
			return err
		}
		rebuttals, err := tx.Rebuttals(target.ID)
		if err != nil {
			return err
		}
		out = JudgedList{Names: []string{}, Items: []Judged{}}
		for _, judge := range judges {
			if !fediseer.CanSee(judge.VisibilityOf[k], asker != nil && asker.ID == judge.ID, endorsed[judge.ID]) {
				continue
			}
			x := Judged{Details: judge}
			if j := byJudge[judge.ID]; j.Reason != nil {
				x.Reasons, x.Evidence = []string{*j.Reason}, []string{}
				if j.Evidence != nil {
					x.Evidence = []string{*j.Evidence}
				}
			}
			if text, ok := rebuttals[judge.ID]; ok && !judge.HasFlag(fediseer.Muted) {
				x.Rebuttal = []string{text}
			}
			out.Items = append(out.Items, x)
		}
		slices.SortFunc(out.Items, func(a, b Judged) int { return strings.Compare(string(a.Domain), string(b.Domain)) })
		for _, x := range out.Items {
			out.Names = append(out.Names, string(x.Domain))
		}
		out.Total = len(out.Items)
		return nil
	})
	return out, err
}

// endorsers tells which of the instances endorse the asker; none endorses an anonymous one.
func endorsers(tx *store.Tx, ids []int64, asker *fediseer.Instance) (map[int64]bool, error) {
	out := map[int64]bool{}
	if asker == nil {
		return out, nil
	}
	js, err := tx.JudgementsAbout(fediseer.Endorsement, ids, []int64{asker.ID})
	for _, j := range js {
		out[j.JudgeID] = true
	}
	return out, err
}

// GivenQuery selects from the combined lists of several judges.
type GivenQuery struct {
	Domains []string // in whatever spelling; unknown and repeated ones are ignored
	Min     int
	Reasons []string // lower case; nil does not filter
	// Page and Limit cut the list; nil means not given. Censures and hesitations that are filtered are cut only when
	// one of them is given.
	Page, Limit *int
	// NamesOnly leaves out the details.
	NamesOnly bool
}

// Given lists the instances that the judges say something about, as far as the requester may see their lists, sorted by
// domain. Refused: a limit below MinLimit and a minimum above the number of visible judges with 400, no registered judge
// with 404, no visible one with 403.
func (s *Service) Given(ctx context.Context, c Credential, k fediseer.Kind, q GivenQuery) (out JudgedList, err error) {
	if q.Limit != nil && *q.Limit < MinLimit {
		return out, fediseer.Refuse(http.StatusBadRequest, "The limit is at least %d", MinLimit)
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		lists, err := s.visibleLists(tx, c, k, q)
		if err != nil {
			return err
		}
		out = JudgedList{Names: []string{}, Items: []Judged{}}
		for _, l := range lists {
			out.Total += len(l)
		}
		f := fediseer.Filter{Min: q.Min, Reasons: q.Reasons}
		if k == fediseer.Censure {
			f = f.ExpandMeta()
		}
		filtered := f.Reasons != nil || q.Min != 0 && q.Min != 1
		var part fediseer.Cut
		if k == fediseer.Endorsement || !filtered || q.Page != nil || q.Limit != nil {
			part = cut(q.Page, q.Limit)
		}
		combined := fediseer.Combine(lists, f, part, !q.NamesOnly)
		for _, x := range combined {
			out.Names = append(out.Names, string(x.Target))
		}
		if q.NamesOnly {
			return nil
		}
		for chunk := range slices.Chunk(combined, detailsChunk) {
			items, err := describe(tx, k, chunk)
			if err != nil {
				return err
			}
			out.Items = append(out.Items, items...)
		}
		return nil
	})
	return out, err
}

func (s *Service) visibleLists(tx *store.Tx, c Credential, k fediseer.Kind, q GivenQuery) ([][]fediseer.ListEntry, error) {
	asker, err := s.requester(tx, c)
	if err != nil {
		return nil, err
	}
	ds := make([]fediseer.Domain, 0, len(q.Domains))
	for _, name := range q.Domains {
		if d, err := fediseer.ParseDomain(name); err == nil {
			ds = append(ds, d)
		}
	}
	judges, err := tx.Instances(ds)
	if err != nil {
		return nil, err
	}
	if len(judges) == 0 {
		return nil, fediseer.Refuse(http.StatusNotFound, "None of these instances is registered")
	}
	ids := make([]int64, len(judges))
	for i, in := range judges {
		ids[i] = in.ID
	}
	endorsed, err := endorsers(tx, ids, asker)
	if err != nil {
		return nil, err
	}
	judges = slices.DeleteFunc(judges, func(in *fediseer.Instance) bool {
		return !fediseer.CanSee(in.VisibilityOf[k], asker != nil && asker.ID == in.ID, endorsed[in.ID])
	})
	if len(judges) == 0 {
		return nil, fediseer.Refuse(http.StatusForbidden, "You may not see the %s of these instances", k.Plural())
	}
	if q.Min > len(judges) {
		return nil, fediseer.Refuse(http.StatusBadRequest, "The minimum of %d is more than the %d instances whose %s you can see",
			q.Min, len(judges), k.Plural())
	}
	return tx.Lists(k, judges)
}

// cut is the part of a list that is a page. Pages count from 1; lower ones act as 1.
func cut(page, limit *int) fediseer.Cut {
	const (
		farthest = 1 << 40 // keeps the product inside of an int
		longest  = 1 << 30
	)
	p, n := 1, DefaultGivenLimit
	if page != nil {
		p = max(1, *page)
	}
	if limit != nil {
		n = min(*limit, longest)
	}
	return fediseer.Cut{Offset: (min(p, farthest/n) - 1) * n, Limit: n}
}

// describe adds instances and words to lines of a combined list.
func describe(tx *store.Tx, k fediseer.Kind, lines []fediseer.Combined) ([]Judged, error) {
	ids := make([]int64, len(lines))
	byTarget := make(map[int64]*fediseer.Combined, len(lines))
	var withEvidence []int64
	for i := range lines {
		x := &lines[i]
		ids[i], byTarget[x.TargetID] = x.TargetID, x
		for _, e := range x.Said {
			if e.HasEvidence && e.Reason != nil {
				withEvidence = append(withEvidence, e.ID)
			}
		}
	}
	details, err := tx.DetailsByID(ids)
	if err != nil {
		return nil, err
	}
	evidence, err := tx.Evidence(k, withEvidence)
	if err != nil {
		return nil, err
	}
	out := make([]Judged, len(details))
	for i, d := range details {
		x := byTarget[d.ID]
		j := Judged{Details: d, Reasons: []string{}, Evidence: []string{}, Count: &x.Count}
		for _, e := range x.Said {
			if e.Reason == nil {
				continue // evidence without a reason is not shown
			}
			j.Reasons = append(j.Reasons, *e.Reason)
			if text, ok := evidence[e.ID]; ok {
				j.Evidence = append(j.Evidence, text)
			}
		}
		out[i] = j
	}
	return out, nil
}
