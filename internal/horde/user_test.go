// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHashKey(t *testing.T) {
	t.Parallel()
	for salt, want := range map[string]string{
		"s0m3s3cr3t": "c4cc389056dc8acc58d911e45f6c2a62519137e9f9c40786360635ddaf78e5a1",
		"changeme":   "1f926cca5b3c26bd414aed103212862432dcabcfb49591a7113787427f6ab67e",
	} {
		if got := HashKey(salt, AnonymousKey); got != want {
			t.Errorf("%s: %s, want %s", salt, got, want)
		}
	}
}

func TestNewKey(t *testing.T) {
	t.Parallel()
	a, b := NewKey(), NewKey()
	if raw, err := base64.RawURLEncoding.DecodeString(a); err != nil || len(raw) != 16 || len(a) != 22 || a == b {
		t.Errorf("%q, %q: %v", a, b, err)
	}
}

func TestParseAlias(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]UserID{
		"a#b#12": 12, "12": 12, "zzz#12": 12, "Anonymous#0": 0, "#7": 7, "x#2147483647": 2147483647, "x#007": 7,
	} {
		if got, ok := ParseAlias(s); got != want || !ok {
			t.Errorf("%q: %d, %v; want %d", s, got, ok, want)
		}
	}
	for _, s := range []string{"12#", "x#2147483648", "", "#", "db0", "x#-1", "-1", "x#+1", "x#1 ", "x# 1", "12#x",
		"99999999999999999999999999", "x#1.0", "x#１"} {
		if got, ok := ParseAlias(s); ok {
			t.Errorf("%q was read as %d", s, got)
		}
	}
}

func TestAliasesAreReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := User{ID: UserID(rapid.Int32Min(0).Draw(t, "id")), Name: rapid.String().Draw(t, "name")}
		if got, ok := ParseAlias(u.Alias()); !ok || got != u.ID {
			t.Fatalf("%q: %d, %v", u.Alias(), got, ok)
		}
	})
}

func TestParseIDs(t *testing.T) {
	t.Parallel()
	id := NewRequestID()
	bare := fmt.Sprintf("%x", id.UUID[:])
	for _, s := range []string{id.String(), bare, "{" + id.String() + "}"} {
		if got, ok := ParseRequestID(s); !ok || got != id {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "not-a-uuid", bare[:31], bare + "0", "zz" + bare[2:]} {
		_, isRequest := ParseRequestID(s)
		_, isJob := ParseJobID(s)
		if _, isWorker := ParseWorkerID(s); isRequest || isJob || isWorker {
			t.Errorf("%q was read as an id", s)
		}
	}
}

func TestClassAndFloor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		u     User
		class Class
		floor Kudos
	}{
		{User{ID: 0, OAuthID: "anon"}, ClassAnonymous, -50_00},
		{User{ID: 5, OAuthID: "1c9b6a7e-58a6-4a0b-9c39-6a7a3a0d4a5e"}, ClassPseudonymous, 14_00},
		{User{ID: 5, OAuthID: "g_117"}, ClassRegistered, 25_00},
		{User{ID: 5, OAuthID: "d_117"}, ClassRegistered, 25_00},
		{User{ID: 5, OAuthID: "gh_117"}, ClassRegistered, 25_00},
		{User{ID: 5, OAuthID: "ci_test_user"}, ClassRegistered, 25_00},
		{User{ID: 5, OAuthID: ""}, ClassRegistered, 25_00},
	} {
		if c.u.Class() != c.class || c.u.Floor() != c.floor {
			t.Errorf("%+v: class %d, floor %v; want %d, %v", c.u, c.u.Class(), c.u.Floor(), c.class, c.floor)
		}
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	u := &User{ID: 7}
	u.SetRole(Moderator, true)
	if !u.Has(Moderator|Trusted) || !slices.Equal(u.Roles.Names(), []string{"moderator", "trusted"}) {
		t.Errorf("a moderator is %v", u.Roles.Names())
	}
	u.SetRole(Deleted, true)
	if u.Has(Deleted) {
		t.Error("a moderator was marked deleted")
	}
	u.SetRole(Moderator, false)
	if u.Has(Moderator) || !u.Has(Trusted) {
		t.Errorf("a former moderator is %v", u.Roles.Names())
	}
	u.SetRole(Deleted, true)
	u.SetRole(Trusted, false)
	if !u.Has(Deleted) || u.Has(Trusted) || u.Has(Deleted|Trusted) {
		t.Errorf("the user is %v", u.Roles.Names())
	}
	anonymous := &User{ID: Anonymous}
	for _, r := range roleNames {
		got, ok := ParseRole(r.name)
		if anonymous.SetRole(r.role, true); !ok || got != r.role || anonymous.Roles != 0 {
			t.Errorf("%s: %v, %v; anonymous is %v", r.name, got, ok, anonymous.Roles.Names())
		}
	}
	if _, ok := ParseRole("king"); ok {
		t.Error("there is a king")
	}
	if names := Roles(0).Names(); names == nil || len(names) != 0 {
		t.Errorf("no roles are %#v", names)
	}
}

func TestSuspicious(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]bool{0: false, 4: false, 5: true, 9: true} {
		u := &User{ID: 7, Suspicions: make([]Suspicion, n)}
		trusted := &User{ID: 7, Suspicions: make([]Suspicion, n), Roles: Trusted}
		if u.Suspicious() != want || trusted.Suspicious() {
			t.Errorf("%d suspicions: %v, trusted %v", n, u.Suspicious(), trusted.Suspicious())
		}
	}
}

func TestKudos(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		x     float64
		want  Kudos
		whole int64
		text  string
	}{
		{0, 0, 0, "0.00"}, {1.255023, 126, 1, "1.26"}, {19.338, 19_34, 19, "19.34"}, {10.5, 10_50, 10, "10.50"},
		{11.5, 11_50, 12, "11.50"}, {-0.05, -5, 0, "-0.05"}, {-50, -50_00, -50, "-50.00"}, {87.8, 87_80, 88, "87.80"},
		{0.125, 12, 0, "0.12"}, {0.375, 38, 0, "0.38"},
	} {
		k := NewKudos(c.x)
		if k != c.want || k.Whole() != c.whole || k.String() != c.text {
			t.Errorf("%v: %d, %d, %s; want %d, %d, %s", c.x, k, k.Whole(), k, c.want, c.whole, c.text)
		}
	}
}

func TestWorkerSpeed(t *testing.T) {
	t.Parallel()
	samples := func(kind Kind, values ...float64) *Worker {
		w := &Worker{Kind: kind, Speed: kind.BaselineSpeed()}
		for _, v := range values {
			w.AddSample(v)
		}
		return w
	}
	var many []float64
	for i := range 25 {
		many = append(many, float64(i+1))
	}
	for _, c := range []struct {
		w    *Worker
		want float64
		text string
	}{
		{samples(Image), 1_000_000, "1.0 megapixelsteps per second"},
		{samples(Text), 1, "1.0 tokens per second"},
		{samples(Image, 100, 200), 150, "0.0 megapixelsteps per second"},
		{samples(Text, many...), 15.5, "15.5 tokens per second"},
		{samples(Text, 0), 1, "1.0 tokens per second"},
		{samples(Text, 0, 10), 5, "5.0 tokens per second"},
	} {
		if c.w.Speed != c.want || c.w.Performance() != c.text || len(c.w.Samples) > SpeedSamples {
			t.Errorf("%v: %v, %q; want %v, %q", c.w.Samples, c.w.Speed, c.w.Performance(), c.want, c.text)
		}
	}
	w := samples(Text, 1, 2, 3)
	shared := w.Samples
	w.AddSample(4)
	if !slices.Equal(shared, []float64{1, 2, 3}) {
		t.Errorf("samples that a reader holds became %v", shared)
	}
}

func TestOnline(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 7, 49, 16, 0, time.UTC)
	for ago, want := range map[time.Duration]bool{0: true, 299 * time.Second: true, 300 * time.Second: false, time.Hour: false} {
		if got := (&Worker{LastCheckIn: now.Add(-ago)}).Online(now); got != want {
			t.Errorf("%v ago: %v, want %v", ago, got, want)
		}
	}
}

func TestErrorsAreMatchedByCode(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("while testing: %w", ErrTooManyPrompts.Withf("%d results wait already", 31))
	var e *Error
	if !errors.Is(err, ErrTooManyPrompts) || errors.Is(err, ErrTimeoutIP) || !errors.As(err, &e) ||
		e.Status != http.StatusTooManyRequests || e.Error() != "TooManyPrompts: 31 results wait already" {
		t.Errorf("%v", err)
	}
	if errors.Is(Invalid(nil), Invalid(nil)) {
		t.Error("errors without a code are taken for each other")
	}
}
