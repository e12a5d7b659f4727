// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/horde"
	"horde/internal/moderation"
	"horde/internal/store"
	"horde/internal/store/memory"
)

func submitText(e *Engine, key string) error {
	prompt := "x"
	_, err := e.SubmitText(context.Background(), Caller{Key: key, Addr: netip.MustParseAddr("192.0.2.1")}, &horde.TextSubmission{Prompt: &prompt})
	return err
}

func isUnavailable(err error) bool {
	var refusal *horde.Error
	return errors.As(err, &refusal) && refusal.Status == horde.ErrUnavailable.Status && refusal.RetryAfter > 0
}

// breakable lets a record fail while the switch is on.
func breakable(db *memory.Store) *atomic.Bool {
	failing := new(atomic.Bool)
	db.SetHook(func(context.Context, *store.Batch) memory.Outcome {
		if failing.Load() {
			return memory.Outcome{Err: errors.New("the disk is gone")}
		}
		return memory.Outcome{}
	})
	return failing
}

// TestAFailedCommitIsToldAndForgotten makes the record fail for a while: callers get 503, nothing of what they tried stays,
// and the engine serves again by itself.
func TestAFailedCommitIsToldAndForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := memory.New()
		e, err := Open(t.Context(), Config{Store: db, Reference: noModels})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		failing := breakable(db)
		failing.Store(true)
		if err := submitText(e, horde.AnonymousKey); !isUnavailable(err) {
			t.Errorf("submitting while the record cannot be written: %v, want 503 with a time to retry", err)
		}
		time.Sleep(5 * time.Second)
		if err := submitText(e, horde.AnonymousKey); !isUnavailable(err) {
			t.Errorf("submitting while the record is still gone: %v, want 503", err)
		}
		failing.Store(false)
		time.Sleep(3 * time.Second)
		p, err := e.Performance(t.Context(), horde.Text)
		if err != nil || p.Queued != 0 {
			t.Errorf("after the recovery %d results are queued (%v), want none", p.Queued, err)
		}
		if err := submitText(e, horde.AnonymousKey); err != nil {
			t.Errorf("submitting after the recovery: %v", err)
		}
	})
}

// TestReportsWithoutARecordPunishNobody is case B055: while nothing can be counted durably, refused prompts of an address are told
// to come back later, and when it can again the address waits no longer than for one of them.
func TestReportsWithoutARecordPunishNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := memory.New()
		e, err := Open(t.Context(), Config{Store: db, Reference: noModels})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		ctx, addr := context.Background(), netip.MustParseAddr("203.0.113.7")
		_, modKey, err := e.Register(ctx, NewUser{Name: "mod", OAuthID: "g_1", Roles: horde.Moderator})
		if err != nil {
			t.Fatal(err)
		}
		_, key, err := e.Register(ctx, NewUser{Name: "somebody", OAuthID: "g_2", Kudos: 1000_00})
		if err != nil {
			t.Fatal(err)
		}
		for word, kind := range map[string]moderation.FilterType{"zebracorn": moderation.UnderAge, "vermillex": moderation.Lewd} {
			if _, err := e.AddFilter(ctx, modKey, moderation.Filter{Regex: word, Type: kind}); err != nil {
				t.Fatal(err)
			}
		}
		refused := func() error {
			prompt, no := "zebracorn vermillex", false
			_, err := e.SubmitImage(ctx, Caller{Key: key, Addr: addr}, &horde.ImageSubmission{Prompt: &prompt, ReplacementFilter: &no})
			return err
		}
		failing := breakable(db)
		failing.Store(true)
		for range 20 {
			if err := refused(); !isUnavailable(err) && !errors.Is(err, horde.ErrCorruptPrompt) && !errors.Is(err, horde.ErrTimeoutIP) {
				t.Errorf("while nothing can be counted: %v", err)
			}
			time.Sleep(time.Second)
		}
		failing.Store(false)
		time.Sleep(5 * time.Second)
		for i := range 2 { // nothing is left of the twenty
			if err := refused(); !errors.Is(err, horde.ErrCorruptPrompt) {
				t.Errorf("time %d after the recovery: %v, want that the prompt is refused", i+1, err)
			}
			list, err := e.AddressTimeouts(ctx, modKey, addr.String())
			if want := (6*i + 3) * 60; err != nil || len(list) != 1 || list[0].Seconds != want {
				t.Errorf("time %d: %+v, %v, want %d seconds", i+1, list, err, want)
			}
			time.Sleep(time.Duration(6*i+3) * time.Minute)
		}
	})
}

// TestAPanicDropsTheMemory lets a use case break off in the middle of its changes.
func TestAPanicDropsTheMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			broken atomic.Bool
			e      *Engine
			err    error
		)
		e, err = Open(t.Context(), Config{Store: memory.New(), Reference: func() *horde.Reference {
			if broken.Load() {
				if !e.mu.TryLock() { // held by the use case that asks
					panic("broken")
				}
				e.mu.Unlock()
			}
			return &horde.Reference{}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if err := submitText(e, horde.AnonymousKey); err != nil {
			t.Fatal(err)
		}
		broken.Store(true)
		if err := submitText(e, horde.AnonymousKey); !isUnavailable(err) {
			t.Errorf("a use case that panics: %v, want 503", err)
		}
		broken.Store(false)
		synctest.Wait()
		p, err := e.Performance(t.Context(), horde.Text)
		if err != nil || p.Queued != 1 {
			t.Errorf("afterwards %d results are queued (%v), want the one that was acknowledged", p.Queued, err)
		}
	})
}

// TestAnOrderThatCannotBeRead keeps a horde from starting on a broken record as if nothing were missing.
func TestAnOrderThatCannotBeRead(t *testing.T) {
	t.Parallel()
	db := memory.New()
	e, err := Open(t.Context(), Config{Store: db, Reference: noModels})
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	broken := horde.Request{ID: horde.NewRequestID(), Order: "\xff", Wanted: 1, Left: 1}
	if err := db.Commit(t.Context(), &store.Batch{NewRequests: []horde.Request{broken}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Store: db, Reference: noModels}); err == nil || !strings.Contains(err.Error(), broken.ID.String()) {
		t.Errorf("opened a record with a broken order: %v", err)
	}
}

// TestABacklogIsOfASlowRecord lets three calls wait for a record that takes ten seconds for a batch.
func TestABacklogIsOfASlowRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := memory.New()
		e, err := Open(t.Context(), Config{Store: db, Reference: noModels})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		db.SetHook(func(context.Context, *store.Batch) memory.Outcome {
			time.Sleep(10 * time.Second)
			return memory.Outcome{}
		})
		for range 3 {
			go func() { _ = submitText(e, horde.AnonymousKey) }()
		}
		for _, c := range []struct {
			after time.Duration
			want  int64
		}{{500 * time.Millisecond, 0}, {2 * time.Second, 3}, {25 * time.Second, 0}} {
			time.Sleep(c.after)
			if got := e.Backlog(); got != c.want {
				t.Errorf("after another %s: %d wait, want %d", c.after, got, c.want)
			}
		}
	})
}
