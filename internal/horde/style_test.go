// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Styles chapter, worked examples 1 to 4 and 19.
func TestRenderStyle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind                   Kind
		template, prompt, want string
	}{
		{Image, "{p}, impasto impressionism###no blur, {np}", "a horde of robots###organic", "a horde of robots, impasto impressionism###no blur, organic"},
		{Image, "{p}{np}", "cat###dog", "cat###dog"},
		{Image, "{p}{np}", "cat", "cat"},
		{Image, "{p}{np}", "cat###", "cat"},
		{Image, "{p}, oil{np}, x", "a###b", "a, oil###b, x"},
		{Image, "{p}, x{np}", "a###b###c", "a, xb###c"},
		{Image, "{{p}} {np}", "a", "{a} "},
		{Image, "{a|b} {p} {np}", "a{p}b###z", "{a|b} a{p}b ###z"},
		{Image, "{np} {p}", "a###b", "###b a"},
		{Text, "### Instruction: {p}\n### Response:", "hi", "### Instruction: hi\n### Response:"},
		{Text, "{p}{np}", "a###b", "a###b"},
		{Text, "{{x}} {p.a} {p", "a", "{{x}} {p.a} {p"},
	} {
		if got, err := RenderStyle(c.kind, c.template, c.prompt, nil, nil); err != nil || got != c.want {
			t.Errorf("%s %q with %q: %q, want %q", c.kind, c.template, c.prompt, got, c.want)
		}
	}
}

// The template that is taken where none is given changes no prompt that has the mark once at most, and something behind it.
// A template with many places and a long prompt are small each, and terabytes together.
func TestRenderingIsBounded(t *testing.T) {
	t.Parallel()
	prompt, places := strings.Repeat("a", 1<<20), strings.Repeat("{p}", 100_000)
	if _, err := (&Style{Kind: Image, Prompt: places + "{np}"}).ApplyImage(&ImageSubmission{Prompt: &prompt}, &ImageSettings{}, &StyleDeclarations{}, nil); err != ErrInvalidPromptSize {
		t.Errorf("an image: %v", err)
	}
	text := &Style{Kind: Text, Prompt: places}
	if _, err := text.ApplyText(&TextSubmission{Prompt: &prompt}, &TextSettings{}, &StyleDeclarations{}, nil); err != ErrInvalidPromptSize {
		t.Errorf("a text: %v", err)
	}
	short := "a"
	if styled, err := text.ApplyText(&TextSubmission{Prompt: &short}, &TextSettings{}, &StyleDeclarations{}, nil); err != nil || len(*styled.Prompt) != 100_000 {
		t.Errorf("a short prompt: %v", err)
	}
}

func TestTheDefaultTemplateChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringMatching(`[a-z {}|]{1,20}`)
		prompt := part.Draw(t, "wanted")
		if rapid.Bool().Draw(t, "divided") {
			prompt += NegativeMark + part.Draw(t, "unwanted")
		}
		for _, kind := range []Kind{Image, Text} {
			if got, err := RenderStyle(kind, "{p}{np}", prompt, nil, nil); err != nil || got != prompt {
				t.Fatalf("%s: %q became %q", kind, prompt, got)
			}
		}
	})
}

// Styles chapter, 3.1 and worked example 14.
func TestParseStyleReference(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want StyleReference
	}{
		{"X", StyleReference{true, true, false, false, 0, "X"}},
		{"style::X", StyleReference{true, false, false, false, 0, "X"}},
		{"collection::X", StyleReference{false, true, false, false, 0, "X"}},
		{"db0#1::X", StyleReference{true, true, true, true, 1, "X"}},
		{"#1::X", StyleReference{true, true, true, true, 1, "X"}},
		{"1::X", StyleReference{true, true, true, true, 1, "X"}},
		{"style::db0#1::X", StyleReference{true, false, true, true, 1, "X"}},
		{"db0#1::style::X", StyleReference{true, false, true, true, 1, "X"}},
		{"db0#1::collection::X", StyleReference{false, true, true, true, 1, "X"}},
		{"nobody::X", StyleReference{true, true, true, false, 0, "X"}},
		{"a#1::b#2::X", StyleReference{false, false, true, true, 2, "X"}},
		{"a::b::c::d", StyleReference{true, true, false, false, 0, "a::b::c::d"}},
		{"", StyleReference{true, true, false, false, 0, ""}},
	} {
		if got := ParseStyleReference(c.text); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.text, got, c.want)
		}
	}
}

func TestTheUniqueNameNamesTheStyle(t *testing.T) {
	t.Parallel()
	s := Style{Name: "my awesome style", Owner: 1}
	name := s.UniqueName("db0#1")
	if name != "db0#1::style::my awesome style" {
		t.Error(name)
	}
	if r := ParseStyleReference(name); !r.Styles || r.Collections || !r.Known || r.Owner != s.Owner || r.Name != s.Name {
		t.Errorf("%+v", r)
	}
}

// Styles chapter, worked example 9.
func TestCheckStylePrompt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind     Kind
		template string
		good     bool
	}{
		{Image, "{p} only", false}, {Image, "{np} only", false}, {Image, "{p}{np}", true},
		{Text, "{p} only", true}, {Text, "{np} only", false}, {Text, strings.Repeat("x", 9), false},
	} {
		if err := CheckStylePrompt(c.kind, c.template); (err == nil) != c.good {
			t.Errorf("%s %q: %v", c.kind, c.template, err)
		}
	}
}
