// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FuzzIDs reads ids, aliases and names of roles and features as they come in paths and bodies. What is read is written back the
// same way.
func FuzzIDs(f *testing.F) {
	for _, s := range []string{"", "1", "2147483647", "2147483648", "007", "a#1", "#", "##12", "-1", "١", "Moderator", "r2_source",
		"6ba7b810-9dad-11d1-80b4-00c04fd430c8", "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}", "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b8109dad11d180b400c04fd430c8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := ParseUserID(s); ok {
			if id < 0 || strconv.Itoa(int(id)) != strings.TrimLeft(s, "0") && id != 0 {
				t.Errorf("user %q is %d", s, id)
			}
		}
		if id, ok := ParseAlias("name#" + s); ok {
			if again, ok := ParseUserID(s[strings.LastIndexByte(s, '#')+1:]); !ok || again != id {
				t.Errorf("alias %q is %d", s, id)
			}
		}
		if id, ok := ParseRequestID(s); ok {
			if again, ok := ParseRequestID(id.String()); !ok || again != id || len(id.String()) != 36 {
				t.Errorf("request %q is %v", s, id)
			}
		}
		if id, ok := ParseJobID(s); ok {
			if again, ok := ParseJobID(id.String()); !ok || again != id {
				t.Errorf("job %q is %v", s, id)
			}
		}
		if id, ok := ParseWorkerID(s); ok {
			if again, ok := ParseWorkerID(id.String()); !ok || again != id {
				t.Errorf("worker %q is %v", s, id)
			}
		}
		if role, ok := ParseRole(s); ok && len(role.Names()) == 0 {
			t.Errorf("role %q has no name", s)
		}
		ParseFeatures([]string{s, s})
	})
}

// FuzzProfanity reads a list of words and a name. A word of the list that stands alone is always found, whatever its letters' case.
func FuzzProfanity(f *testing.F) {
	f.Add("bad\nworse", "a Bad name")
	f.Add("\n \n", "")
	f.Add("(.*\n[", "x")
	f.Add("ß\nİ", "SS i̇")
	f.Fuzz(func(t *testing.T, list, name string) {
		words := strings.Split(list, "\n")
		p := NewProfanity(words)
		hit := p(name)
		if hit != p(name) {
			t.Error("the same name is judged twice in two ways")
		}
		for _, w := range words {
			if plain := strings.TrimSpace(w); plain != "" && isASCIIWord(plain) && !p(plain) {
				t.Errorf("%q is not found by itself in %q", plain, words)
			}
		}
		if slices.Equal(words, []string{""}) && hit {
			t.Errorf("an empty list finds %q", name)
		}
	})
}

func isASCIIWord(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 'a' || r > 'z' }) < 0
}
