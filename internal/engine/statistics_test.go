// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/horde"
	"horde/internal/store"
	"horde/internal/store/memory"
)

// TestStatisticsGoOnWithAnotherLeader lets leaders be overtaken in the middle of a minute and of an hour, without a word, and
// counts what all of them took.
func TestStatisticsGoOnWithAnotherLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := memory.New()
		var requester, owner string
		const leaders = 3
		for n := range leaders {
			var overtaken atomic.Bool
			e, err := Open(t.Context(), Config{Store: db, Reference: noModels, Leading: func() bool { return !overtaken.Load() }})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			h := &patientHorde{Engine: e, t: t, db: db, requester: requester}
			if n == 0 {
				requester, owner = h.user("requester"), h.user("owner")
				h.requester = requester
			}
			for range 2 {
				h.submit(1, 77)
				name := "scribe"
				p, err := e.PopText(t.Context(), owner, elsewhereAddr, &horde.TextPop{Polling: horde.Polling{Name: &name, Models: []string{"m"}}})
				if err != nil || len(p.IDs) != 1 {
					t.Fatalf("%+v, %v", p, err)
				}
				id, text := p.IDs[0].String(), strings.Repeat("w", 9)
				if _, err := e.DeliverText(context.Background(), owner, &horde.TextDelivery{Delivery: horde.Delivery{ID: &id, Generation: &text}}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Second)
			}
			if n < leaders-1 {
				overtaken.Store(true)
				continue
			}
			time.Sleep(2 * time.Minute)
			got, err := e.Totals(t.Context(), horde.Text)
			want := horde.Tally{Results: 2 * leaders, Things: 77 * 2 * leaders}
			if err != nil || got.All != want || got.Hour != want || got.Minute != (horde.Tally{}) {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
			if found, err := e.Verify(t.Context()); err != nil || len(found) > 0 {
				t.Errorf("%q, %v", found, err)
			}
		}
	})
}

// watchedStore counts the documents of the running minute in what is committed.
type watchedStore struct {
	*memory.Store
	pages, bytes int // most in a batch
}

func (s *watchedStore) Commit(ctx context.Context, b *store.Batch) error {
	pages, bytes := 0, 0
	for _, d := range b.Documents {
		if d.Kind == minuteDocument && d.Data != nil {
			pages++
			bytes += len(d.Data)
		}
	}
	s.pages, s.bytes = max(s.pages, pages), max(s.bytes, bytes)
	return s.Store.Commit(ctx, b)
}

// TestAMinuteOfManyModels writes with each delivery no more than a page of the minute's models, and loses none of them.
func TestAMinuteOfManyModels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const leaders, each = 2, 100
		db := &watchedStore{Store: memory.New()}
		var requester, owner string
		for n := range leaders {
			e, err := Open(t.Context(), Config{Store: db, Reference: noModels})
			if err != nil {
				t.Fatal(err)
			}
			h := &patientHorde{Engine: e, t: t, db: db.Store, requester: requester}
			if n == 0 {
				requester, owner = h.user("requester"), h.user("owner")
				h.requester = requester
			}
			for i := range each {
				h.submit(1, 77)
				name, model := "scribe", fmt.Sprintf("model %d", n*each/2+i) // half of them again
				p, err := e.PopText(t.Context(), owner, elsewhereAddr, &horde.TextPop{Polling: horde.Polling{Name: &name, Models: []string{model}}})
				if err != nil || len(p.IDs) != 1 {
					t.Fatalf("%+v, %v", p, err)
				}
				id, text := p.IDs[0].String(), strings.Repeat("w", 9)
				if _, err := e.DeliverText(context.Background(), owner, &horde.TextDelivery{Delivery: horde.Delivery{ID: &id, Generation: &text}}); err != nil {
					t.Fatal(err)
				}
			}
			if found, err := e.Verify(t.Context()); err != nil || len(found) > 0 {
				t.Errorf("%q, %v", found, err)
			}
			if n == leaders-1 {
				time.Sleep(2 * time.Hour)
				got, err := e.ModelTotals(t.Context(), horde.Text)
				if err != nil || len(got.All) != each*3/2 || got.All["model 0"] != 1 || got.All["model 70"] != 2 || got.All["model 149"] != 1 {
					t.Errorf("%d models, %v, %v", len(got.All), got.All, err)
				}
				if found, err := e.Verify(t.Context()); err != nil || len(found) > 0 {
					t.Errorf("%q, %v", found, err)
				}
			}
			e.Close()
		}
		if db.pages > 2 || db.bytes > 2*(pageModels*20+100) {
			t.Errorf("a batch had %d pages of %d bytes", db.pages, db.bytes)
		}
	})
}
