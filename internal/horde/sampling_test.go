// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// values are those that the tags of a field list, sorted.
func values(t *testing.T, of any, name string) []string {
	t.Helper()
	f, ok := reflect.TypeOf(of).FieldByName(name)
	if !ok {
		t.Fatalf("%T has no %s", of, name)
	}
	list := strings.FieldsFunc(f.Tag.Get("enum")+","+f.Tag.Get("ours"), func(r rune) bool { return r == ',' })
	slices.Sort(list)
	return list
}

func TestWhatBodiesAcceptIsInTheTables(t *testing.T) {
	t.Parallel()
	if got, want := values(t, ImageSettings{}, "Sampler"), SamplerNames(); !slices.Equal(got, want) || len(got) != 41 {
		t.Errorf("bodies accept the samplers %q, and the table has %q", got, want)
	}
	for _, name := range values(t, ImageSettings{}, "ControlType") {
		if plainControls[name] == newerControls[name] {
			t.Errorf("the control type %s is in no table, or in both", name)
		}
	}
	annotated := values(t, AlchemyPop{}, "AnnotationTypes")
	for _, name := range annotated {
		if !annotationType(name) {
			t.Errorf("workers may offer maps of %s, and nobody can ask for one", name)
		}
	}
	if n := len(annotated); n != 33 || n != len(plainControls)+len(newerControls)-1 {
		t.Errorf("there are maps of %d control types, want 33", n)
	}
	schedulers := values(t, Sampling{}, "Scheduler")
	for _, p := range RefusedPairings {
		if SamplerNamed(p.Sampler) == 0 || !slices.Contains(schedulers, p.Scheduler) {
			t.Errorf("%v refuses what there is not", p)
		}
	}
	for scheduler := range SchedulerBaselines {
		if !slices.Contains(schedulers, scheduler) {
			t.Errorf("there is no scheduler %s", scheduler)
		}
	}
}

func TestMaxSolverSteps(t *testing.T) {
	t.Parallel()
	two := 2
	for _, c := range []struct {
		sampler string
		steps   int
		order   *int
		want    int
	}{
		{"k_euler", 30, nil, 30}, {"k_heun", 30, nil, 60}, {"seeds_3", 10, nil, 30}, {"heunpp2", 10, nil, 30},
		{"k_dpm_adaptive", 30, nil, 38 * 3}, {"k_dpm_adaptive", 4, nil, 15}, {"k_dpm_adaptive", 1, nil, 6}, {"k_dpm_adaptive", 30, &two, 76},
	} {
		p := &ImageParams{Sampler: c.sampler, Steps: c.steps}
		if c.order != nil {
			p.Sampling = &Sampling{Order: c.order}
		}
		if got := p.MaxSolverSteps(); got != c.want {
			t.Errorf("%d steps of %s run the network %d times at most, want %d", c.steps, c.sampler, got, c.want)
		}
	}
}

func TestARecordGivesBackWhatWasSent(t *testing.T) {
	t.Parallel()
	prompt, seed, no, n, eta := "a fox", "7", false, 2, 0.5
	sent := &ImageSubmission{Prompt: &prompt, NSFW: &no, Models: []string{"M"}, Workers: []string{}, Params: &ImageSettings{
		N: &n, Seed: &seed, Loras: []LoraSettings{{Name: &seed, IsVersion: &no}}, Sampling: Sampling{Eta: &eta}}}
	for _, kept := range []string{prompt, "a fox, as a style has it"} {
		o := &Order{Kind: Image, Prompt: kept, Image: &ImageParams{}, Recorded: sent.Record(kept)}
		back, err := o.Pack().Unpack()
		if err != nil {
			t.Fatal(err)
		}
		got, err := back.RecordedImage()
		if err != nil || !reflect.DeepEqual(got, sent) {
			t.Errorf("with %q the record is %+v, %v", kept, got, err)
		}
	}
	before := &Order{Kind: Image, Prompt: prompt, Image: &ImageParams{}}
	if got, err := before.RecordedImage(); err != nil || *got.Prompt != prompt || got.Params != nil {
		t.Errorf("an order from before submissions were recorded: %+v, %v", got, err)
	}
}
