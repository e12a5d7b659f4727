// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"horde/fediseer"
	"horde/internal/fediseer/fediversetest"
)

// Every service of the package against a whole Fediseer on a fediverse of its own.
func TestServices(t *testing.T) {
	t.Parallel()
	s := fediversetest.Start(t, nil)
	s.Claim("a", "b")
	s.Net.Add(fediversetest.Lemmy("c", "admin"), fediversetest.Host{Domain: "hidden", Software: "mastodon", Approval: new(bool)})
	ctx := t.Context()
	root, err := fediseer.New(fediseer.WithBaseURL(s.URL()), fediseer.WithAPIKey(fediversetest.AdminKey), fediseer.WithRateLimit(false))
	if err != nil {
		t.Fatal(err)
	}
	anon := root.WithKey("")
	a, b := root.WithKey(s.Keys["a"]), root.WithKey(s.Keys["b"])
	did := func(what string) func(bool, error) {
		return func(changed bool, err error) {
			t.Helper()
			if err != nil || !changed {
				t.Fatalf("%s: %v %v", what, changed, err)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in, err := a.LogIn(ctx)
	must(err)
	if in.Domain != "a" || *in.VisibilityCensures != fediseer.VisibilityOpen || a.Home() != "a" {
		t.Errorf("%+v", in)
	}
	did("guarantee")(root.Guarantees.Put(ctx, "a"))
	did("guarantee")(a.Guarantees.Put(ctx, "b"))
	if changed, err := a.Guarantees.Put(ctx, "B"); err != nil || changed {
		t.Error(changed, err)
	}
	if l, err := anon.Guarantees.For(ctx, "b"); err != nil || len(l) != 1 || l[0].Domain != "a" {
		t.Error(l, err)
	}
	if l, err := a.Guarantees.By(ctx, ""); err != nil || len(l) != 1 || l[0].Domain != "b" {
		t.Error(l, err)
	}
	did("endorse")(a.Endorsements.Put(ctx, "b", fediseer.Judgement{Reason: "kind"}))
	did("hesitate")(a.Hesitations.Put(ctx, "c", fediseer.Judgement{Reason: "doubt", Evidence: "see"}))
	did("censure")(b.Censures.Put(ctx, "a", fediseer.Judgement{Reason: "rude"}))
	empty := ""
	did("patch")(a.Hesitations.Patch(ctx, "c", fediseer.JudgementPatch{Evidence: &empty}))
	if l, err := anon.Hesitations.Received(ctx, "c"); err != nil || len(l) != 1 || l[0].Domain != "a" || !slices.Equal(l[0].HesitationReasons, []string{"doubt"}) {
		t.Errorf("%+v %v", l, err)
	}
	did("rebut")(a.Rebuttals.Put(ctx, "b", "am not"))
	did("rebut")(a.Rebuttals.Patch(ctx, "b", "am not at all"))
	if l, err := a.Censures.Received(ctx, ""); err != nil || len(l) != 1 || !slices.Equal(l[0].Rebuttal, []string{"am not at all"}) {
		t.Errorf("%+v %v", l, err)
	}
	did("unrebut")(a.Rebuttals.Delete(ctx, "b"))
	did("batch")(a.Censures.Batch(ctx, []fediseer.JudgementEntry{{Domain: "x.test", Reason: "spam"}, {Domain: "y.test"}}, fediseer.BatchOptions{}))
	if l, err := anon.Censures.GivenDomains(ctx, []string{"a", "b"}, fediseer.GivenFilter{}); err != nil || !slices.Equal(l, []string{"a", "x.test", "y.test"}) {
		t.Error(l, err)
	}
	did("delete")(a.Censures.Delete(ctx, "y.test"))
	did("tags")(a.Tags.Add(ctx, "Cats", "dogs"))
	did("tags")(a.Tags.Remove(ctx, "cats"))
	if l, err := anon.Tags.List(ctx); err != nil || !slices.Equal(l, []fediseer.TagCount{{Tag: "dogs", Count: 1}}) {
		t.Error(l, err)
	}
	n := 3
	private := fediseer.VisibilityPrivate
	did("settings")(a.Instances.Update(ctx, "", fediseer.InstanceUpdate{Sysadmins: &n, Censures: &private}))
	if _, err := anon.Censures.GivenDomains(ctx, []string{"a"}, fediseer.GivenFilter{}); !errors.Is(err, fediseer.ErrForbidden) {
		t.Error(err)
	}
	did("flag")(root.Flags.Put(ctx, "b", fediseer.FlagMuted, "loud"))
	did("flag")(root.Flags.Patch(ctx, "b", fediseer.FlagMuted, "very loud"))
	if in, err := anon.Instances.Get(ctx, "b"); err != nil || len(in.Flags) != 1 || *in.Flags[0].Comment != "very loud" {
		t.Errorf("%+v %v", in, err)
	}
	did("flag")(root.Flags.Delete(ctx, "b", fediseer.FlagMuted))
	names := []string{}
	for in, err := range anon.Instances.List(ctx, fediseer.WhitelistFilter{Tags: []string{"dogs"}}) {
		must(err)
		names = append(names, in.Domain)
	}
	if !slices.Equal(names, []string{"a"}) {
		t.Error(names)
	}
	all, err := anon.Instances.All(ctx)
	must(err)
	if len(all) < 5 || *all[0].VisibilityCensures == "" {
		t.Error(len(all))
	}
	must(func() error {
		_, err := anon.Instances.Claim(ctx, "c", fediseer.ClaimRequest{Admin: "admin"})
		return err
	}())
	c := root.WithKey(s.LastKey("c", "admin"))
	must(c.Solicitations.Create(ctx, "a", "please"))
	if l, err := anon.Solicitations.List(ctx); err != nil || len(l) != 1 || *l[0].Comment != "please" {
		t.Error(l, err)
	}
	key, err := c.Instances.ResetKey(ctx, "c", "admin", true)
	must(err)
	if _, err := c.LogIn(ctx); !errors.Is(err, fediseer.ErrBadKey) {
		t.Error(err)
	}
	if _, err := c.Censures.Put(ctx, "z.test", fediseer.Judgement{}); !errors.Is(err, fediseer.ErrBadKey) {
		t.Error(err)
	}
	c = root.WithKey(key)
	must(c.Instances.Unclaim(ctx, "c"))
	// Where no admin can be found out, a proof helps.
	if _, err := anon.Instances.Claim(ctx, "hidden", fediseer.ClaimRequest{Admin: "boss"}); !errors.Is(err, fediseer.ErrUnauthorized) || errors.Is(err, fediseer.ErrBadKey) {
		t.Error(err)
	}
	p, err := anon.Instances.Proof(ctx, "hidden", "boss")
	must(err)
	if _, err := anon.Instances.ClaimWithProof(ctx, "hidden", "boss", p.Secret, fediseer.ProofDNS); !errors.Is(err, fediseer.ErrValidation) {
		t.Error(err)
	}
	s.Net.SetTXT(p.DNS.Name, "other", p.Value)
	key, err = anon.Instances.ClaimWithProof(ctx, "hidden", "boss", p.Secret, fediseer.ProofDNS)
	must(err)
	if in, err := root.WithKey(key).LogIn(ctx); err != nil || in.Domain != "hidden" {
		t.Error(in, err)
	}
	if l, err := anon.Suspicions.List(ctx, fediseer.SuspicionFilter{}); err != nil || len(l) != 2 {
		t.Error(l, err)
	}
	if l, err := anon.Suspicions.List(ctx, fediseer.SuspicionFilter{Activity: 19}); err != nil || len(l) != 3 || l[0].ActivitySuspicion != 33.333333333333336 {
		t.Error(l, err)
	}
	if cfg, err := anon.Instances.Config(ctx); err != nil || cfg.MaxGuarantees != 20 || cfg.MaxTags != 100 || cfg.MaxActionsPerMinute != 20 || cfg.MaxGuarantors != 1 {
		t.Error(cfg, err)
	}
	if l, err := anon.FAQ.List(ctx, "deu", "philosophy"); err != nil || len(l) != 2 || !l[0].Translated {
		t.Error(l, err)
	}
	for _, f := range []func() ([]byte, error){
		func() ([]byte, error) { return anon.Badges.Guarantee(ctx, "a") },
		func() ([]byte, error) { return anon.Badges.Endorsement(ctx, "b", fediseer.BadgeIcon) },
	} {
		if b, err := f(); err != nil || !strings.HasPrefix(string(b), "<svg") {
			t.Error(string(b), err)
		}
	}
	reports := 0
	for r, err := range anon.Reports.List(ctx, fediseer.ReportFilter{Sources: []string{"a"}}) {
		must(err)
		if r.Source != "a" || r.Created.IsZero() {
			t.Error(r)
		}
		reports++
	}
	if reports < 10 { // more than one page
		t.Error(reports)
	}
	did("withdraw")(a.Guarantees.Delete(ctx, "b"))
	if _, err := b.Endorsements.Put(ctx, "a", fediseer.Judgement{}); !errors.Is(err, fediseer.ErrForbidden) {
		t.Error(err)
	}
	var api *fediseer.APIError
	if _, err := b.Endorsements.Delete(ctx, "nowhere"); !errors.As(err, &api) || api.Status != http.StatusBadRequest || api.Method != http.MethodDelete {
		t.Error(err)
	}
}
