// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestProject(t *testing.T) {
	t.Parallel()
	const doc = `{"instances":[{"domain":"a","id":1,"flags":[{"flag":"MUTED","comment":null}]},{"domain":"b<c","id":2}],"total":2}`
	for mask, want := range map[string]string{
		"total":                     `{"total":2}`,
		"instances{domain}":         `{"instances":[{"domain":"a"},{"domain":"b<c"}]}`,
		"{instances{id} , total}":   `{"instances":[{"id":1},{"id":2}],"total":2}`,
		"instances{flags{flag}}":    `{"instances":[{"flags":[{"flag":"MUTED"}]},{}]}`,
		"*":                         strings.ReplaceAll(`{"instances":[{"domain":"a","flags":[{"comment":null,"flag":"MUTED"}],"id":1},{"domain":"b<c","id":2}],"total":2}`, " ", ""),
		"*,instances{domain}":       `{"instances":[{"domain":"a"},{"domain":"b<c"}],"total":2}`,
		"instances{domain{x}},none": `{"instances":[{"domain":"a"},{"domain":"b<c"}]}`,
	} {
		got, err := project([]byte(doc), mask)
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: %s %v, want %s", mask, got, err, want)
		}
	}
}

func FuzzProject(f *testing.F) {
	for _, s := range []string{"a,b{c}", "{a{b{c}}}", "*", "a{", "}", ",,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, mask string) {
		got, err := project([]byte(`{"a":[{"b":{"c":1}}],"b":2}`), mask)
		if err == nil && !json.Valid(got) {
			t.Fatalf("%q makes %q", mask, got)
		}
	})
}

func TestIsoTime(t *testing.T) {
	t.Parallel()
	for in, want := range map[time.Time]string{
		time.Date(2026, 11, 22, 7, 42, 5, 79002000, time.UTC):  "2026-11-22T07:42:05.079002+00:00",
		time.Date(2026, 11, 22, 7, 42, 5, 0, time.UTC):         "2026-11-22T07:42:05+00:00",
		time.Date(2026, 11, 22, 7, 42, 5, 120000000, time.UTC): "2026-11-22T07:42:05.120000+00:00",
	} {
		if got := isoTime(in); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
