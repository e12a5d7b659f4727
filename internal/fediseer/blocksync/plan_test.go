// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func found(domains string) []Finding {
	var out []Finding
	for d := range strings.FieldsSeq(domains) {
		out = append(out, Finding{Domain: d})
	}
	return out
}

func names[T any](list []T, f func(T) string) string {
	var out []string
	for _, x := range list {
		out = append(out, f(x))
	}
	return strings.Join(out, " ")
}

func adds(p *Plan) string     { return names(p.Add, func(e Entry) string { return e.Domain }) }
func removes(p *Plan) string  { return names(p.Remove, func(b Block) string { return b.Domain }) }
func refusals(p *Plan) string { return names(p.Refused, func(r Refusal) string { return r.Domain }) }

func list(domains string) []Block { return blocks(strings.Fields(domains)) }

// six are the inputs of worked example 6.
func six() Inputs {
	return Inputs{Sources: Sources{Trusted: found("a b own.example"), Filtered: found("c"), Suspicions: found("d"), Endorsed: map[string]bool{"threads.net": true}},
		Extra: []string{"truthsocial.com", "threads.net"}, Safelist: []string{"b"}, Own: "own.example", FediseerHost: "fediseer.com", MaxRemoveShare: 0.5}
}

// Worked examples 6 to 11.
func TestPlan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                 string
		change               func(*Inputs)
		add, remove, refused string
		unsafe               bool
	}{
		{"example 6", func(*Inputs) {}, "a c d truthsocial.com", "", "own.example threads.net", false},
		{"example 7", func(in *Inputs) {
			in.Current, in.Managed = list("a manual.example old.example"), []string{"a", "old.example"}
		}, "c d truthsocial.com", "old.example", "own.example threads.net", false},
		{"example 7, purged", func(in *Inputs) {
			in.Current, in.Managed, in.Purge = list("a manual.example old.example"), []string{"a", "old.example"}, true
		}, "c d truthsocial.com", "manual.example old.example", "own.example threads.net", true},
		{"example 8: the first run never removes", func(in *Inputs) {
			*in = Inputs{Sources: Sources{Trusted: found("y")}, Current: list("x"), MaxRemoveShare: 0.5}
		}, "y", "", "", false},
		{"example 9: a source dried up", func(in *Inputs) {
			in.Sources.Suspicions, in.FormerCounts = nil, map[string]int{SourceSuspicions: 40}
		}, "a c truthsocial.com", "", "own.example threads.net", true},
		{"example 10: a parent of the own domain", func(in *Inputs) {
			*in = Inputs{Sources: Sources{Trusted: found("example.org *.example.org *.social.example.org")}, Own: "social.example.org", Traits: Traits{Subdomains: true}}
		}, "", "", "*.example.org *.social.example.org example.org", false},
		{"example 11: a wildcard on Mastodon", func(in *Inputs) {
			*in = Inputs{Sources: Sources{Trusted: found("*.evil.test evil.test")}, Traits: Traits{Subdomains: true}}
		}, "evil.test", "", "", false},
		{"example 11: a wildcard on Lemmy", func(in *Inputs) { *in = Inputs{Sources: Sources{Trusted: found("*.evil.test")}} }, "", "", "*.evil.test", false},
		{"the Fediseer itself", func(in *Inputs) {
			*in = Inputs{Sources: Sources{Trusted: found("fediseer.com gui.fediseer.com")}, FediseerHost: "gui.fediseer.com"}
		}, "", "", "fediseer.com gui.fediseer.com", false},
		{"what was removed by hand is forgotten", func(in *Inputs) {
			*in = Inputs{Current: list("x"), Managed: []string{"gone", "x"}, Sources: Sources{Trusted: found("x")}, MaxRemoveShare: 0.5}
		}, "", "", "", false},
		{"nothing wanted, something managed", func(in *Inputs) {
			*in = Inputs{Current: list("x y"), Managed: []string{"x"}, MaxRemoveShare: 1}
		}, "", "x", "", true},
		{"too many at once", func(in *Inputs) {
			*in = Inputs{Current: list("a b c d"), Managed: []string{"a", "b", "c"}, Sources: Sources{Trusted: found("c")}, MaxRemoveShare: 0.5}
		}, "", "a b", "", true},
		{"a safelist with a wildcard", func(in *Inputs) {
			*in = Inputs{Sources: Sources{Trusted: found("x.good.test good.test evil.test")}, Safelist: []string{"*.Good.test"}}
		}, "evil.test good.test", "", "", false},
		{"hesitations where nothing is milder", func(in *Inputs) { *in = Inputs{Sources: Sources{Hesitations: found("h")}} }, "", "", "", false},
		{"hesitations as blocks", func(in *Inputs) { *in = Inputs{Sources: Sources{Hesitations: found("h")}, BlockHesitations: true} }, "h", "", "", false},
		{"extra that is no domain", func(in *Inputs) { *in = Inputs{Extra: []string{"127.0.0.1", "x y"}} }, "", "", "127.0.0.1 x y", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := six()
			c.change(&in)
			p := MakePlan(in)
			if adds(p) != c.add || removes(p) != c.remove || refusals(p) != c.refused || (p.Unsafe != nil) != c.unsafe {
				t.Errorf("add %q remove %q refused %q unsafe %q", adds(p), removes(p), refusals(p), p.Unsafe)
			}
		})
	}
}

func TestSeverities(t *testing.T) {
	t.Parallel()
	in := Inputs{Sources: Sources{Trusted: found("c both was"), Hesitations: []Finding{{"h", []string{"Doubt, spam"}}, {"both", nil}, {"hand", nil}}}, Traits: Traits{Subdomains: true, Severities: true},
		Current: []Block{{Domain: "was", Severity: Silence}, {Domain: "hand", Severity: Suspend}}, Managed: []string{"was"}}
	p := MakePlan(in)
	got := names(p.Add, func(e Entry) string { return e.Domain + ":" + e.Severity + ":" + e.Comment }) + " | " + names(p.Update, func(e Entry) string { return e.Domain + ":" + e.Severity })
	// hand is somebody's own entry: its severity stays.
	if got != "both:suspend: c:suspend: h:silence:doubt, spam | was:suspend" {
		t.Error(got)
	}
}

// Worked example 13.
func TestFormats(t *testing.T) {
	t.Parallel()
	e := []Entry{{Domain: "b.test", Severity: Silence}, {Domain: "a.test", Severity: Suspend, Comment: Labels([]string{"CSAM, loli", "csam"})}}
	for _, c := range []struct {
		format string
		public bool
		want   string
	}{
		{FormatMastodonCSV, true, "#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\na.test,suspend,false,false,\"csam, loli\",false\nb.test,silence,false,false,,false\n"},
		{FormatMastodonCSV, false, "#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\na.test,suspend,false,false,,false\nb.test,silence,false,false,,false\n"},
		{FormatPlain, true, "a.test\nb.test\n"},
		{FormatGoToSocialJSON, true, "[\n  {\n    \"domain\": \"a.test\",\n    \"public_comment\": \"csam, loli\",\n    \"private_comment\": \"csam, loli\"\n  },\n  {\n    \"domain\": \"b.test\"\n  }\n]\n"},
	} {
		var b bytes.Buffer
		if err := WriteEntries(&b, c.format, e, c.public); err != nil || b.String() != c.want {
			t.Errorf("%s: %q %v", c.format, b.String(), err)
		}
		back, err := ReadEntries(&b, c.format)
		if err != nil || len(back) != 2 || back[0].Domain != "a.test" || c.format == FormatMastodonCSV && back[1].Severity != Silence {
			t.Errorf("%s: %+v %v", c.format, back, err)
		}
	}
	if got := Labels([]string{strings.Repeat("x", 600)}); len(got) != commentLength {
		t.Error(len(got))
	}
	if got := cutAtComma(Labels([]string{strings.Repeat("long label,", 1) + strings.Repeat("y", 250)}), maxReason); got != "long label" {
		t.Error(got)
	}
}

// Whatever the inputs: nothing by hand is removed without a purge, the own server and its parents are never added, and
// carrying out a plan leaves nothing to do.
func TestPlanProperties(t *testing.T) {
	t.Parallel()
	pool := []string{"a.test", "b.test", "*.b.test", "own.example.org", "example.org", "*.example.org", "c.test", "d.test", "fediseer.com"}
	rapid.Check(t, func(t *rapid.T) {
		some := func(label string) []string {
			return rapid.SliceOfDistinct(rapid.SampledFrom(pool), rapid.ID[string]).Draw(t, label)
		}
		in := Inputs{Own: "own.example.org", FediseerHost: "fediseer.com", Extra: some("extra"), Safelist: some("safe"), MaxRemoveShare: 1,
			BlockHesitations: rapid.Bool().Draw(t, "block"), Traits: Traits{Subdomains: rapid.Bool().Draw(t, "subdomains")}, Managed: some("managed")}
		in.Traits.Severities = in.Traits.Subdomains && rapid.Bool().Draw(t, "severities")
		in.Sources = Sources{Trusted: found(strings.Join(some("trusted"), " ")), Hesitations: found(strings.Join(some("hesitations"), " ")), Endorsed: map[string]bool{}}
		for _, d := range some("endorsed") {
			in.Sources.Endorsed[d] = true
		}
		for _, d := range some("current") {
			in.Current = append(in.Current, Block{Domain: d, Severity: Suspend})
		}
		p := MakePlan(in)
		for _, e := range p.Add {
			if e.Domain == "own.example.org" || e.Domain == "example.org" || e.Domain == "fediseer.com" || in.Sources.Endorsed[e.Domain] && !in.Traits.Subdomains {
				t.Fatalf("%s is added", e.Domain)
			}
		}
		for _, b := range p.Remove {
			if !slices.Contains(in.Managed, b.Domain) {
				t.Fatalf("%s was not ours", b.Domain)
			}
		}
		after := slices.DeleteFunc(slices.Clone(in.Current), func(b Block) bool { return slices.Contains(p.Remove, b) })
		managed := slices.Clone(in.Managed)
		for _, e := range append(slices.Clone(p.Add), p.Update...) {
			after = slices.DeleteFunc(after, func(b Block) bool { return b.Domain == e.Domain })
			after = append(after, Block{Domain: e.Domain, Severity: e.Severity})
			managed = append(managed, e.Domain)
		}
		in.Current, in.Managed = after, managed
		if again := MakePlan(in); again.Changes() != 0 {
			t.Fatalf("a second run adds %s, changes %d and removes %s", adds(again), len(again.Update), removes(again))
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	env := func(n string) string {
		return map[string]string{"FEDISEER_API_KEY": "k", "FEDISEER_SYNC_MAIN_TOKEN": "t"}[n]
	}
	c, err := ReadConfig(strings.NewReader(Example), env)
	if err != nil {
		t.Fatal(err)
	}
	if c.Fediseer.APIKey != "k" || c.Targets["main"].Token != "t" || c.confirmAt() != 10 || c.maxRemoveShare() != 0.5 || c.State("main") != "fediseer-sync.main.json" {
		t.Errorf("%+v", c)
	}
	if own, err := c.Own(c.Targets["main"]); err != nil || own != "social.example" {
		t.Error(own, err)
	}
	for _, bad := range []string{"unknown: 1", "targets: {x: {kind: other, url: https://x}}", "targets: {x: {kind: mastodon, url: x}}", "targets: {x: {kind: lemmy, url: https://x}}",
		"targets: {x: {kind: file}}", "targets: {x: {kind: file, path: y, format: z}}", "targets: {x: {kind: mastodon, url: https://x, severity: hard}}", "max_remove_share: 2", "targets: {x: }",
		"state_file: x\ntargets: {x: {kind: file, path: y}, z: {kind: file, path: w}}", "- x"} {
		if _, err := ReadConfig(strings.NewReader(bad), env); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if fmt.Sprint(Done.Worse(Pending), Pending.Worse(Stopped), Failed.Worse(Stopped), Partly.Worse(Failed)) != "2 3 1 4" {
		t.Error("the order of exit codes")
	}
}

func FuzzReadEntries(f *testing.F) {
	f.Add("#domain,#severity\na.test,silence\n", 0)
	f.Add(`[{"domain":"a.test"}]`, 1)
	f.Add("a.test # comment\n\n", 2)
	f.Fuzz(func(t *testing.T, s string, n int) {
		format := []string{FormatMastodonCSV, FormatGoToSocialJSON, FormatPlain}[uint(n)%3]
		entries, err := ReadEntries(strings.NewReader(s), format)
		if err != nil {
			return
		}
		if err := WriteEntries(new(bytes.Buffer), format, entries, true); err != nil {
			t.Fatal(err)
		}
	})
}
