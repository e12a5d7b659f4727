// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Worked example 1.
func TestHashKey(t *testing.T) {
	t.Parallel()
	if got := HashKey("salty", "adminkey"); got != "b945acc0024df47febdee8c952401d7412db6b15a95b44c4e01cb57949a2cab8" {
		t.Error(got)
	}
	if got := HashKey(DefaultSalt, "adminkey"); got != "5105470842aa300d8938059ef12241539ad344997203044383011b9db0120a6d" {
		t.Error(got)
	}
	if k := NewKey(); len(k) != 22 || k == NewKey() {
		t.Error(k)
	}
}

// Worked example 13: users, posts, comments, monthly users.
func TestSuspicion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n                [4]int64
		limit            float64
		suspect          bool
		activity, active float64 // zero: not told
	}{
		{[4]int64{1000, 10, 20, 100}, 20, true, 33.333333333333336, 10},
		{[4]int64{299, 0, 0, 0}, 20, false, 0, 0},
		{[4]int64{300, 0, 0, 0}, 20, true, 300, 600},
		{[4]int64{1000, 1000, 0, 2}, 20, false, 0, 0},
		{[4]int64{1001, 1000, 0, 2}, 20, true, 1.001, 500.5},
		{[4]int64{300, 100000, 20001, 200}, 20, true, 0, 0},
		{[4]int64{300, 100000, 20000, 200}, 20, false, 0, 0},
		{[4]int64{1000, 15, 35, 200}, 20, false, 0, 0},
		{[4]int64{1000, 15, 35, 200}, 19, true, 0, 0},
	} {
		n := Node{TotalUsers: c.n[0], LocalPosts: c.n[1], CommentCounts: c.n[2], ActiveUsersMonthly: c.n[3]}
		activity, active, suspect := n.Suspicion(c.limit, 500)
		if suspect != c.suspect || c.activity != 0 && (activity != c.activity || active != c.active) {
			t.Errorf("%v: %v %v %v", c.n, activity, active, suspect)
		}
	}
}

func TestStateOf(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]State{0: StateUp, 1: StateUnreachable, 2: StateUnreachable, 3: StateOffline, 60: StateOffline, 61: StateDecommissioned, 100: StateDecommissioned} {
		if got := StateOf(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

// Worked example 7: the lists of a and b and every filter of the example.
func TestCombine(t *testing.T) {
	t.Parallel()
	s := func(s string) *string { return &s }
	ids := map[Domain]int64{}
	entry := func(d Domain, r *string) ListEntry {
		if ids[d] == 0 {
			ids[d] = int64(len(ids) + 1)
		}
		return ListEntry{TargetID: ids[d], Target: d, Reason: r}
	}
	sorted := func(l ...ListEntry) []ListEntry {
		slices.SortFunc(l, func(a, b ListEntry) int { return strings.Compare(string(a.Target), string(b.Target)) })
		return l
	}
	lists := [][]ListEntry{
		sorted(entry("evil", s("CSAM, loli")), entry("*.evil", s("racism")), entry("evil2", nil)),
		sorted(entry("evil", s("spam")), entry("evil2", s("Hate Speech, spam")), entry("d", nil)),
	}
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "*.evil d evil evil2"},
		{Filter{Min: 2}, "evil evil2"},
		{Filter{Reasons: SplitList("__all_pedos__")}.ExpandMeta(), "evil"},
		{Filter{Reasons: SplitList("__all_bigots__")}.ExpandMeta(), "*.evil evil2"},
		{Filter{Reasons: SplitList("spam,loli"), Min: 2}, ""},
		{Filter{Reasons: SplitList(",")}, "*.evil evil evil2"},
	} {
		var got []string
		for _, x := range Combine(lists, c.f, Cut{}, false) {
			got = append(got, string(x.Target))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %v, want %s", c.f, got, c.want)
		}
	}
}

// Lists equal a naive model's: for each target, count by walking everything again.
func TestCombineEqualsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		labels := []string{"spam", "Spam", "csam", "hate speech, spam", "", "nazi"}
		lists := make([][]ListEntry, rapid.IntRange(0, 5).Draw(t, "judges"))
		for i := range lists {
			for id := int64(1); id <= 8; id++ {
				if rapid.Bool().Draw(t, "judged") {
					e := ListEntry{TargetID: id, Target: Domain(fmt.Sprint("d", id))}
					if rapid.Bool().Draw(t, "reasoned") {
						r := rapid.SampledFrom(labels).Draw(t, "reason")
						e.Reason = &r
					}
					lists[i] = append(lists[i], e)
				}
			}
		}
		f := Filter{Min: rapid.IntRange(-1, 4).Draw(t, "min")}
		if rapid.Bool().Draw(t, "filtered") {
			f.Reasons = SplitList(rapid.SampledFrom([]string{"spam", ",", "csam,spam", "x", "speech"}).Draw(t, "reasons"))
		}
		var want []Combined
		for id := int64(1); id <= 8; id++ {
			n, best := 0, 0
			for _, l := range lists {
				for _, e := range l {
					if e.TargetID == id {
						n++
					}
				}
			}
			for _, frag := range f.Reasons {
				m := 0
				for _, l := range lists {
					for _, e := range l {
						if e.TargetID == id && e.Reason != nil && strings.Contains(strings.ToLower(*e.Reason), frag) {
							m++
						}
					}
				}
				best = max(best, m)
			}
			score := n
			if f.Reasons != nil {
				score = best
			}
			if score >= max(1, f.Min) {
				want = append(want, Combined{TargetID: id, Target: Domain(fmt.Sprint("d", id)), Count: n})
			}
		}
		part := Cut{Offset: rapid.IntRange(0, 9).Draw(t, "offset"), Limit: rapid.IntRange(0, 4).Draw(t, "limit")}
		want = want[min(part.Offset, len(want)):]
		if part.Limit > 0 {
			want = want[:min(part.Limit, len(want))]
		}
		got := Combine(lists, f, part, true)
		for i := range got {
			if len(got[i].Said) != got[i].Count {
				t.Fatalf("%d judgements, count %d", len(got[i].Said), got[i].Count)
			}
			got[i].Said = nil
		}
		if !slices.EqualFunc(got, want, func(a, b Combined) bool {
			return a.TargetID == b.TargetID && a.Target == b.Target && a.Count == b.Count
		}) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestCanSee(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v                    Visibility
		self, endorsed, want bool
	}{
		{Open, false, false, true}, {Endorsed, false, false, false}, {Endorsed, true, false, true}, {Endorsed, false, true, true},
		{Private, false, true, false}, {Private, true, false, true},
	} {
		if got := CanSee(c.v, c.self, c.endorsed); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
