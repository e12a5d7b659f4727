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
		var failing atomic.Bool
		failing.Store(true)
		db.SetHook(func(context.Context, *store.Batch) memory.Outcome {
			if failing.Load() {
				return memory.Outcome{Err: errors.New("the disk is gone")}
			}
			return memory.Outcome{}
		})
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
