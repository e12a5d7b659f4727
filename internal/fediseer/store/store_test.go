// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/store"
	"horde/internal/fediseer/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var now = time.Date(2026, 11, 22, 7, 42, 5, 79002000, time.UTC)

func instance(d string) *fediseer.Instance {
	return &fediseer.Instance{Domain: fediseer.Domain(d), Created: now, Updated: now, MaxListSize: 2000, PMProxy: fediseer.ProxyNone,
		Attributes:   fediseer.Attributes{Software: "lemmy", Version: "1"},
		VisibilityOf: [3]fediseer.Visibility{fediseer.Open, fediseer.Open, fediseer.Open}}
}

func update(t *testing.T, st *store.Store, f func(tx *store.Tx) error) {
	t.Helper()
	if err := st.Update(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, st *store.Store, f func(tx *store.Tx) error) {
	t.Helper()
	if err := st.View(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

// add inserts instances a, b, c... and returns their ids by name. The first is the root.
func add(t *testing.T, st *store.Store, names ...string) map[string]int64 {
	t.Helper()
	ids := map[string]int64{}
	update(t, st, func(tx *store.Tx) error {
		for i, n := range names {
			in := instance(n)
			in.Created = now.Add(time.Duration(i) * time.Second)
			if err := tx.InsertInstance(in, i == 0); err != nil {
				return err
			}
			ids[n] = in.ID
		}
		return nil
	})
	return ids
}

func domains(list []*fediseer.Instance) string {
	var out []string
	for _, in := range list {
		out = append(out, string(in.Domain))
	}
	return strings.Join(out, " ")
}

func TestInstances(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ids := add(t, st, "root", "b", "*.a", "indie-verse.example", "Ä")
		if ids["root"] != 0 || ids["b"] == 0 {
			t.Fatal(ids)
		}
		yes, five := true, 5
		update(t, st, func(tx *store.Tx) error {
			in, err := tx.Instance("b")
			if err != nil {
				return err
			}
			in.OpenRegistrations, in.Sysadmins, in.OrphanSince, in.PollFailures = &yes, &five, now, 7
			in.VisibilityOf[fediseer.Censure] = fediseer.Private
			in.Software, in.PMProxy = "mastodon", fediseer.ProxyMastodon
			return tx.UpdateInstance(in)
		})
		view(t, st, func(tx *store.Tx) error {
			in, err := tx.InstanceByID(ids["b"])
			if err != nil {
				return err
			}
			if !*in.OpenRegistrations || *in.Sysadmins != 5 || in.EmailVerify != nil || !in.OrphanSince.Equal(now) || in.PollFailures != 7 ||
				in.VisibilityOf != [3]fediseer.Visibility{"OPEN", "PRIVATE", "OPEN"} || in.PMProxy != "MASTODON" || !in.Created.Equal(now.Add(time.Second)) {
				t.Errorf("%+v", in)
			}
			if _, err := tx.Instance("none"); !errors.Is(err, store.ErrNotFound) {
				t.Error(err)
			}
			list, err := tx.Instances([]fediseer.Domain{"b", "b", "none", "*.a", "root"})
			if err != nil || domains(list) != "*.a b root" {
				t.Error(domains(list), err)
			}
			list, err = tx.DomainsAfter("b", 2)
			if err != nil || domains(list) != "indie-verse.example root" {
				t.Error(domains(list), err)
			}
			return nil
		})
		err := st.Update(context.Background(), func(tx *store.Tx) error { return tx.InsertInstance(instance("b"), false) })
		if err == nil {
			t.Error("a domain is stored twice")
		}
	})
}

func TestWhitelist(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ids := add(t, st, "root", "a", "b", "c_x", "d")
		update(t, st, func(tx *store.Tx) error {
			for _, g := range [][2]string{{"root", "root"}, {"root", "a"}, {"a", "b"}, {"b", "c_x"}} {
				if err := tx.InsertGuarantee(ids[g[0]], ids[g[1]], now); err != nil {
					return err
				}
			}
			for _, e := range [][2]string{{"a", "b"}, {"c_x", "b"}, {"b", "a"}} {
				if err := tx.SetJudgement(fediseer.Endorsement, fediseer.Judgement{JudgeID: ids[e[0]], TargetID: ids[e[1]], Created: now}); err != nil {
					return err
				}
			}
			for _, x := range [][2]string{{"a", "Deutsch"}, {"b", "deutsch"}, {"b", "Art"}} {
				if err := tx.InsertTag(ids[x[0]], x[1], now); err != nil {
					return err
				}
			}
			if err := tx.SetFlag(ids["b"], fediseer.FlagRecord{Flag: fediseer.Muted}, now); err != nil {
				return err
			}
			return tx.SetOrphanSince([]int64{ids["c_x"]}, now)
		})
		for _, c := range []struct {
			f    store.WhitelistFilter
			want string
		}{
			{store.WhitelistFilter{}, "d c_x b a root"},
			{store.WhitelistFilter{MinGuarantors: 1}, "c_x b a root"},
			{store.WhitelistFilter{MinGuarantors: 2}, ""},
			{store.WhitelistFilter{MinEndorsements: 1}, "b a"},
			{store.WhitelistFilter{MinEndorsements: 2, MinGuarantors: 1}, "b"},
			{store.WhitelistFilter{OrphanBefore: now.Add(time.Second)}, "d b a root"},
			{store.WhitelistFilter{Tags: []string{"deutsch", "art"}}, "a"}, // b is muted
			{store.WhitelistFilter{Software: []string{"lemmy"}}, "d c_x b a root"},
			{store.WhitelistFilter{Software: []string{"x"}}, ""},
			{store.WhitelistFilter{Software: []string{}}, ""},
			{store.WhitelistFilter{NamePart: "_"}, "c_x"},
			{store.WhitelistFilter{NamePart: "oo"}, "root"},
		} {
			view(t, st, func(tx *store.Tx) error {
				list, total, err := tx.Whitelist(c.f, 100, 0)
				if err != nil || domains(list) != c.want || total != len(list) {
					t.Errorf("%+v: %s, %d, %v", c.f, domains(list), total, err)
				}
				if len(list) > 2 {
					page, n, err := tx.Whitelist(c.f, 2, 1)
					if err != nil || n != total || domains(page) != domains(list[1:3]) {
						t.Errorf("%+v: page %s, %d, %v", c.f, domains(page), n, err)
					}
				}
				return nil
			})
		}
		view(t, st, func(tx *store.Tx) error {
			list, err := tx.DetailsByID([]int64{ids["b"], ids["a"], 999})
			if err != nil || len(list) != 2 {
				t.Fatal(list, err)
			}
			b, a := list[0], list[1]
			if b.Domain != "b" || b.Guarantor != "a" || b.Endorsements != 2 || b.Approvals != 1 || b.Tags != nil || !b.HasFlag(fediseer.Muted) {
				t.Errorf("%+v", b)
			}
			if a.Guarantor != "root" || !slices.Equal(a.Tags, []string{"Deutsch"}) || a.Flags != nil {
				t.Errorf("%+v", a)
			}
			counts, err := tx.TagCounts()
			if err != nil || !slices.Equal(counts, []store.TagCount{{Tag: "deutsch", Count: 1}}) {
				t.Error(counts, err)
			}
			return nil
		})
	})
}

func TestUsers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ids := add(t, st, "root", "a")
		update(t, st, func(tx *store.Tx) error {
			root := fediseer.User{Account: "@fediseer@root", Username: "fediseer", KeyHash: "r", InstanceID: 0, KeySent: now, KeyUsed: true}
			if err := tx.InsertUser(&root, now, true); err != nil || root.ID != 0 {
				return fmt.Errorf("%d %w", root.ID, err)
			}
			u := fediseer.User{Account: "@x@a", Username: "x", KeyHash: "h", InstanceID: ids["a"], KeySent: now}
			return tx.InsertUser(&u, now, false)
		})
		update(t, st, func(tx *store.Tx) error {
			u, err := tx.UserByKey("h")
			if err != nil || u.Account != "@x@a" || u.InstanceID != ids["a"] || u.KeyUsed || !u.KeySent.Equal(now) {
				t.Errorf("%+v %v", u, err)
			}
			if err := tx.MarkKeyUsed(u.ID); err != nil {
				return err
			}
			if u, err = tx.UserByAccount("@x@a"); err != nil || !u.KeyUsed {
				t.Errorf("%+v %v", u, err)
			}
			if err := tx.SetKey(u.ID, "h2", now); err != nil {
				return err
			}
			if _, err := tx.UserByKey("h"); !errors.Is(err, store.ErrNotFound) {
				t.Error(err)
			}
			claims, err := tx.Claims(ids["a"])
			if err != nil || len(claims) != 1 || claims[0].KeyHash != "h2" || claims[0].KeyUsed {
				t.Error(claims, err)
			}
			if err := tx.DeleteUser(u.ID); err != nil {
				return err
			}
			claims, err = tx.Claims(ids["a"])
			if err != nil || claims != nil {
				t.Error(claims, err)
			}
			return nil
		})
	})
}

func TestChains(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ids := add(t, st, "root", "a", "b", "c", "d", "x", "y")
		update(t, st, func(tx *store.Tx) error {
			// x and y guarantee each other: a cycle that no rule allows, as a hand in the database could make it.
			for _, g := range [][2]string{{"root", "root"}, {"root", "a"}, {"a", "b"}, {"b", "c"}, {"b", "d"}, {"x", "y"}, {"y", "x"}} {
				if err := tx.InsertGuarantee(ids[g[0]], ids[g[1]], now); err != nil {
					return err
				}
			}
			return nil
		})
		view(t, st, func(tx *store.Tx) error {
			c, err := tx.Chain(ids["d"])
			if err != nil || len(c) != 4 || c[0].Domain != "d" || !c.Unbroken() {
				t.Error(c, err)
			}
			if c, err = tx.Chain(0); err != nil || len(c) != 1 || !c.Unbroken() {
				t.Error(c, err)
			}
			if c, err = tx.Chain(ids["x"]); err != nil || len(c) != 2 || c.Unbroken() {
				t.Error(c, err)
			}
			for from, want := range map[string]string{"a": "b c d", "root": "a b c d", "d": "", "x": "y"} {
				list, err := tx.Descendants(ids[from])
				if err != nil || domains(list) != want {
					t.Errorf("below %s: %s %v", from, domains(list), err)
				}
			}
			if n, err := tx.CountGuarantees(ids["b"]); err != nil || n != 2 {
				t.Error(n, err)
			}
			if at, err := tx.GuaranteeSince(ids["a"], ids["b"]); err != nil || !at.Equal(now) {
				t.Error(at, err)
			}
			return nil
		})
		err := st.Update(context.Background(), func(tx *store.Tx) error { return tx.InsertGuarantee(ids["c"], ids["b"], now) })
		if err == nil {
			t.Error("an instance has two guarantors")
		}
		update(t, st, func(tx *store.Tx) error {
			if err := tx.DeleteGuarantee(ids["a"], ids["b"]); err != nil {
				return err
			}
			c, err := tx.Chain(ids["d"])
			if err != nil || c.Unbroken() || c.BrokenAt() != "b" {
				t.Error(c, err)
			}
			if err := tx.Reject(ids["a"], ids["b"], now); err != nil {
				return err
			}
			if err := tx.Reject(ids["a"], ids["b"], now.Add(time.Hour)); err != nil {
				return err
			}
			at, err := tx.LastRejection(ids["a"], ids["b"])
			if err != nil || !at.Equal(now.Add(time.Hour)) {
				t.Error(at, err)
			}
			return nil
		})
	})
}

func TestJudgementsAndLists(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ids := add(t, st, "root", "a", "b", "c")
		r, e := "spam", "see"
		for _, k := range fediseer.Kinds {
			lists := func(want string) {
				t.Helper()
				for range 2 { // from the table and from the cache
					view(t, st, func(tx *store.Tx) error {
						judges, err := tx.Instances([]fediseer.Domain{"a", "b"})
						if err != nil {
							return err
						}
						ls, err := tx.Lists(k, judges)
						if err != nil {
							return err
						}
						var got []string
						for i, l := range ls {
							for _, x := range l {
								s := string(judges[i].Domain) + ">" + string(x.Target)
								if x.Reason != nil {
									s += ":" + *x.Reason
								}
								got = append(got, s)
							}
						}
						slices.Sort(got)
						if strings.Join(got, " ") != want {
							t.Errorf("%s: %v, want %s", k, got, want)
						}
						return nil
					})
				}
			}
			update(t, st, func(tx *store.Tx) error {
				return tx.SetJudgement(k, fediseer.Judgement{JudgeID: ids["a"], TargetID: ids["c"], Reason: &r, Evidence: &e, Created: now})
			})
			lists("a>c:spam")
			update(t, st, func(tx *store.Tx) error {
				if err := tx.SetJudgement(k, fediseer.Judgement{JudgeID: ids["b"], TargetID: ids["c"], Created: now}); err != nil {
					return err
				}
				return tx.SetJudgement(k, fediseer.Judgement{JudgeID: ids["a"], TargetID: ids["b"], Created: now})
			})
			lists("a>b a>c:spam b>c")
			update(t, st, func(tx *store.Tx) error {
				j, err := tx.Judgement(k, ids["a"], ids["c"])
				if err != nil || *j.Reason != r || k.HasEvidence() != (j.Evidence != nil) || !j.Created.Equal(now) {
					t.Errorf("%+v %v", j, err)
				}
				j.Reason = nil
				if err := tx.SetJudgement(k, j); err != nil {
					return err
				}
				if n, err := tx.CountJudgements(k, ids["a"]); err != nil || n != 2 {
					t.Error(n, err)
				}
				of, err := tx.JudgementsOf(k, ids["c"])
				if err != nil || len(of) != 2 {
					t.Error(of, err)
				}
				about, err := tx.JudgementsAbout(k, []int64{ids["a"]}, []int64{ids["b"], ids["c"]})
				if err != nil || len(about) != 2 {
					t.Error(about, err)
				}
				had, err := tx.DeleteJudgement(k, ids["a"], ids["b"])
				if err != nil || !had {
					t.Error(had, err)
				}
				had, err = tx.DeleteJudgement(k, ids["a"], ids["b"])
				if err != nil || had {
					t.Error(had, err)
				}
				return nil
			})
			lists("a>c b>c")
		}
	})
}

func TestSmallTables(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ids := add(t, st, "root", "a", "b", "c")
		hello, why := "hello", "why"
		update(t, st, func(tx *store.Tx) error {
			b := ids["b"]
			for _, s := range []store.Solicitation{{Source: ids["a"], Created: now, Comment: &hello}, {Source: ids["a"], Target: &b, Created: now.Add(2 * time.Second)},
				{Source: ids["c"], Created: now.Add(time.Second)}} {
				if err := tx.InsertSolicitation(s); err != nil {
					return err
				}
			}
			list, err := tx.SolicitingInstances(2)
			if err != nil || len(list) != 2 || list[0].ID != ids["a"] || list[0].Comment != nil {
				t.Errorf("%+v %v", list, err)
			}
			mine, err := tx.Solicitations(ids["a"])
			if err != nil || len(mine) != 2 || *mine[0].Target != b || mine[1].Target != nil || *mine[1].Comment != hello {
				t.Errorf("%+v %v", mine, err)
			}
			if err := tx.DeleteSolicitations(ids["a"]); err != nil {
				return err
			}
			if list, err = tx.SolicitingInstances(2); err != nil || len(list) != 1 {
				t.Error(list, err)
			}
			for _, text := range []string{"no", "not so"} {
				if err := tx.SetRebuttal(ids["a"], ids["b"], text, now); err != nil {
					return err
				}
			}
			if got, err := tx.Rebuttal(ids["a"], ids["b"]); err != nil || got != "not so" {
				t.Error(got, err)
			}
			if m, err := tx.Rebuttals(ids["a"]); err != nil || len(m) != 1 || m[b] != "not so" {
				t.Error(m, err)
			}
			if had, err := tx.DeleteRebuttal(ids["a"], ids["b"]); err != nil || !had {
				t.Error(had, err)
			}
			if err := tx.SetFlag(b, fediseer.FlagRecord{Flag: fediseer.Restricted, Comment: &why}, now); err != nil {
				return err
			}
			if f, err := tx.Flag(b, fediseer.Restricted); err != nil || *f.Comment != why {
				t.Error(f, err)
			}
			if had, err := tx.DeleteFlag(b, fediseer.Muted); err != nil || had {
				t.Error(had, err)
			}
			if err := tx.InsertTag(b, "Art", now); err != nil {
				return err
			}
			if tags, err := tx.Tags(b); err != nil || !slices.Equal(tags, []string{"Art"}) {
				t.Error(tags, err)
			}
			if had, err := tx.DeleteTag(b, "aRT"); err != nil || !had {
				t.Error(had, err)
			}
			for i := range 15 {
				a := fediseer.Added
				if i%2 == 1 {
					a = fediseer.Deleted
				}
				if err := tx.InsertReport(fediseer.Report{Source: "a", Target: fmt.Sprint("t", i%3), Type: fediseer.ReportCensure, Activity: a, Created: now.Add(time.Duration(i) * time.Second)}); err != nil {
					return err
				}
			}
			if n, err := tx.CountReports("a", now.Add(4*time.Second)); err != nil || n != 10 {
				t.Error(n, err)
			}
			l, err := tx.Reports(store.ReportFilter{Sources: []string{"a", "b"}, Targets: []string{"t0"}, Type: fediseer.ReportCensure, Activity: fediseer.Added}, 10, 0)
			if err != nil || len(l) != 3 || !l[0].Created.Equal(now.Add(12*time.Second)) {
				t.Error(l, err)
			}
			return nil
		})
	})
}

// Many writers at once lose nothing.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ids := add(t, st, "root", "a")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 5 {
					err := st.Update(context.Background(), func(tx *store.Tx) error {
						in, err := tx.InstanceByID(ids["a"])
						if err != nil {
							return err
						}
						in.PollFailures++
						return tx.UpdateInstance(in)
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		view(t, st, func(tx *store.Tx) error {
			in, err := tx.InstanceByID(ids["a"])
			if err == nil && in.PollFailures != 40 {
				t.Error(in.PollFailures)
			}
			return err
		})
	})
}
