// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"slices"
	"testing"
	"time"
)

// Worked examples of the accounts chapter, 7, and the kudos chapter, 20.
func TestSharedKeysConsume(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		unlimited       bool
		budget          float64
		charges         []float64
		left, utilized  Kudos
		emptyAfterwards bool
	}{
		{"hundredths are kept", false, 5000, []float64{10.5, 12.25, 3.49, 1}, 4972_76, 27_24, false},
		{"a part", false, 5000, []float64{200}, 4800_00, 200_00, false},
		{"more than there is", false, 100, []float64{250}, 0, 250_00, true},
		{"after the last", false, 100, []float64{250, 30}, 0, 250_00, true},
		{"without a budget", true, 0, []float64{200}, 0, 200_00, false},
		{"an empty one", false, 0, []float64{200}, 0, 0, true},
		{"nothing", false, 5, []float64{0, -3}, 5_00, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := SharedKey{Unlimited: c.unlimited, Budget: NewKudos(c.budget)}
			for _, x := range c.charges {
				k.Consume(NewKudos(x))
			}
			if k.Budget != c.left || k.Utilized != c.utilized || k.Empty() != c.emptyAfterwards {
				t.Errorf("%s left, %s utilized, empty %t", k.Budget, k.Utilized, k.Empty())
			}
		})
	}
}

func TestSharedKeysAreOneInAllSpellings(t *testing.T) {
	t.Parallel()
	const text = "6bd1a7a2-9b1c-4b6f-9a51-0a4a3b4c1d2e"
	want, ok := ParseSharedKeyID(text)
	if !ok || want.String() != text {
		t.Fatalf("%s is read as %s, %t", text, want, ok)
	}
	for _, s := range []string{"", "0000000000", text[1:], "{" + text, NewKey() + NewKey()} {
		if id, ok := ParseSharedKeyID(s); ok {
			t.Errorf("%q is read as %s", s, id)
		}
	}
}

func TestSharedKeysEnd(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	days := func(n int64) *SharedKeyChange { return &SharedKeyChange{Expiry: &n} }
	k := SharedKey{Unlimited: true}
	for _, c := range []struct {
		days    int64
		expired []bool // now, in 29 days, in 30 days
	}{{30, []bool{false, false, true}}, {0, []bool{true, true, true}}, {-1, []bool{false, false, false}}, {MaxSharedKeyDays, []bool{false, false, false}}} {
		days(c.days).Onto(&k, now)
		got := []bool{k.Expired(now), k.Expired(now.AddDate(0, 0, 29)), k.Expired(now.AddDate(0, 0, 30))}
		if !slices.Equal(got, c.expired) || k.Valid(now) == got[0] {
			t.Errorf("%d days: %v, valid %t", c.days, got, k.Valid(now))
		}
	}
}
