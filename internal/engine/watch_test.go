// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/horde"
	"horde/internal/store/memory"
)

// news tells whether a watch has something to tell now.
func news(w *Watch) bool {
	synctest.Wait()
	select {
	case <-w.News():
		return true
	default:
		return false
	}
}

func TestAWatchTellsEachChangeOnceItIsDurable(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		id, other := h.submit(1, 80), h.submit(1, 600)
		w, err := h.Watch(id)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		stands := func(processing, finished int, done bool) {
			t.Helper()
			s, err := w.Status(t.Context())
			if err != nil || s.Processing != processing || s.Finished != finished || s.Done != done || done != (len(s.Generations) == 1) {
				t.Fatalf("the request stands at %+v, %v", s, err)
			}
		}
		stands(0, 0, false)
		if news(w) {
			t.Fatal("there are news without a change")
		}
		owner := h.user("a")
		h.db.SetHook(memory.Delay(time.Second))
		p := h.wait(t.Context(), owner, "a", 0, 512)
		if news(w) {
			t.Fatal("a change is told before it is in the record")
		}
		time.Sleep(2 * time.Second)
		p.got(t, time.Second)
		if !news(w) {
			t.Fatal("the hand-out is not told")
		}
		stands(1, 0, false)
		h.db.SetHook(nil)
		job, text := p.IDs[0].String(), "an answer"
		if _, err := h.DeliverText(t.Context(), owner, &horde.TextDelivery{Delivery: horde.Delivery{ID: &job, Generation: &text}}); err != nil {
			t.Fatal(err)
		}
		if !news(w) {
			t.Fatal("the delivery is not told")
		}
		stands(0, 1, true)
		if _, err := h.Cancel(t.Context(), horde.Text, other); err != nil {
			t.Fatal(err)
		}
		if news(w) {
			t.Fatal("the change of another request is told")
		}
	})
}

func TestAWatchTellsThatARequestIsGone(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		w, err := h.Watch(h.submit(1, 80))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(horde.Lifetime + 2*time.Second)
		if !news(w) {
			t.Fatal("nothing is told of a request that has expired")
		}
		if _, err := w.Status(t.Context()); !errors.Is(err, horde.ErrRequestNotFound) {
			t.Errorf("the request stands at %v, want that it is not found", err)
		}
		w.Close()
		if len(h.watches.of) != 0 {
			t.Errorf("closed watches stay: %v", h.watches.of)
		}
		for _, id := range []string{"", "no id", w.Request.String()} {
			if _, err := h.Watch(id); !errors.Is(err, horde.ErrRequestNotFound) {
				t.Errorf("watching %q: %v", id, err)
			}
		}
	})
}

func TestAWatchOutlivesAFailedCommit(t *testing.T) {
	inPatientHorde(t, func(t *testing.T, h *patientHorde) {
		id := h.submit(1, 80)
		w, err := h.Watch(id)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		h.db.SetHook(memory.FailNext(errors.New("no"), false))
		if _, err := h.Cancel(t.Context(), horde.Text, id); !isUnavailable(err) {
			t.Fatalf("the cancellation is answered %v", err)
		}
		if !news(w) {
			t.Fatal("a watch is not told that the memory was loaded anew")
		}
		if s, err := w.Status(t.Context()); err != nil || s.Done || s.Waiting != 1 {
			t.Errorf("the request stands at %+v, %v", s, err)
		}
		if _, err := h.Cancel(t.Context(), horde.Text, id); err != nil || !news(w) {
			t.Errorf("the cancellation is not told: %v", err)
		}
	})
}
