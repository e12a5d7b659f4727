// SPDX-License-Identifier: AGPL-3.0-or-later

package memory_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/store"
	"horde/internal/store/memory"
	"horde/internal/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) (store.Store, func() store.Store) {
		s := memory.New()
		return s, func() store.Store { return s }
	})
}

func settings(t *testing.T, s *memory.Store) string {
	t.Helper()
	state, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if state.Settings == nil {
		return ""
	}
	return state.Settings.KeySalt
}

func salted(salt string) *store.Batch { return &store.Batch{Settings: &store.Settings{KeySalt: salt}} }

func TestFailNext(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, applied := range []bool{false, true} {
		s := memory.New()
		s.SetHook(memory.FailNext(broken, applied))
		if err := s.Commit(t.Context(), salted("a")); !errors.Is(err, broken) {
			t.Fatalf("commit: %v", err)
		}
		if got := settings(t, s) == "a"; got != applied {
			t.Fatalf("applied: %t, want %t", got, applied)
		}
		if err := s.Commit(t.Context(), salted("b")); err != nil || settings(t, s) != "b" {
			t.Fatalf("the next commit: %v", err)
		}
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		s.SetHook(memory.Delay(time.Second))
		start := time.Now()
		if err := s.Commit(t.Context(), salted("a")); err != nil || time.Since(start) != time.Second {
			t.Fatalf("a commit took %s: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := s.Commit(ctx, salted("b")); !errors.Is(err, context.DeadlineExceeded) || settings(t, s) != "a" {
			t.Fatalf("a commit whose caller left: %v", err)
		}
	})
}
