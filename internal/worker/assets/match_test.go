// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestSanitise(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Détail Tweaker_X-1": "detailtweaker_x-1", "../../x": "x", "": "", "Ünïcode 猫": "unicode猫",
		strings.Repeat("a", 300): strings.Repeat("a", maxNameRunes),
	} {
		if got := Sanitise(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := Sanitise(rapid.String().Draw(t, "name"))
		if len(s) > maxNameBytes+utf8.UTFMax || strings.ContainsAny(s, `/\. :"<>|?*`+"\x00") || !utf8.ValidString(s) {
			t.Fatalf("%q", s)
		}
	})
}

func TestRatio(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 100}, {"abc", "abc", 100}, {"abc", "", 0}, {"abcd", "abce", 75}, {"this is a test", "this is a test!", 96}} {
		if got := Ratio(tc.a, tc.b); got != tc.want {
			t.Errorf("%q, %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if r := Ratio(a, b); r < 0 || r > 100 || r != Ratio(b, a) || Ratio(a, a) != 100 {
			t.Fatalf("%d", r)
		}
	})
}

func TestTrigger(t *testing.T) {
	t.Parallel()
	words := []string{"  ", "Red Dragon", "blue wyvern, <lora:x:1>", "green"}
	for ask, want := range map[string]string{
		"": "", "any": "Red Dragon", "ALL": "Red Dragon, blue wyvern, green", "green": "green", "GREEN": "green", "wyvern": "blue wyvern",
		"red dragons": "Red Dragon", "something else entirely": "",
	} {
		if got := trigger(ask, words); got != want {
			t.Errorf("%q: %q, want %q", ask, got, want)
		}
	}
	if got := trigger("all", []string{strings.Repeat("x", 600), strings.Repeat("y", 600)}); got != strings.Repeat("x", 600) {
		t.Errorf("too many words: %d bytes", len(got))
	}
	if got := trigger("any", nil); got != "" {
		t.Errorf("no words: %q", got)
	}
}
