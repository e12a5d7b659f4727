// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"horde/internal/horde"
)

// earned lets a user rate an image, whose reward is due at once.
func (s *service) earned(user horde.UserID) {
	s.t.Helper()
	id := uuid.NewString()
	if err := s.change(func() error {
		if err := s.addImage(horde.SharedImage{ID: id}, time.Now()); err != nil {
			return err
		}
		return s.store(stored{image: id, rater: raterKey(user), user: user, rating: 6, source: "pop", reward: reward, state: "due"}, time.Now())
	}); err != nil {
		s.t.Fatal(err)
	}
}

// Whatever fails while raters are paid, and whenever the service starts again, each reward is paid once in the end.
func TestRewardsArePaidOnceWhateverFails(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			r.Fatal(err)
		}
		horde1 := newTill()
		s, want := openIn(t, dir, horde1), map[horde.UserID]horde.Kudos{}
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			switch rapid.SampledFrom([]string{"rate", "settle", "refused", "answer lost", "crash"}).Draw(r, "step") {
			case "rate":
				user := horde.UserID(rapid.IntRange(5, 7).Draw(r, "user"))
				s.earned(user)
				want[user] += reward * 100
			case "settle":
				horde1.broken = nil
				if err := s.Settle(t.Context(), time.Now()); err != nil {
					r.Fatal(err)
				}
			case "refused": // the record cannot be written
				horde1.broken = func(int64) (bool, error) { return false, errors.New("the disk is full") }
				_ = s.Settle(t.Context(), time.Now())
			case "answer lost": // it was written, and nobody heard of it
				horde1.broken = func(int64) (bool, error) { return true, errors.New("the line is dead") }
				_ = s.Settle(t.Context(), time.Now())
			case "crash": // at any point: what was marked as made last is not
				if err := s.change(func() error {
					return s.do("update payments set done = 0 where id = (select max(id) from payments)", nil)
				}); err != nil {
					r.Fatal(err)
				}
				if err := s.Close(); err != nil {
					r.Fatal(err)
				}
				s = openIn(t, dir, horde1)
			}
		}
		horde1.broken = nil
		if err := s.Settle(t.Context(), time.Now()); err != nil {
			r.Fatal(err)
		}
		for user, amount := range want {
			if horde1.paid[user] != amount {
				r.Fatalf("user %d was paid %v, want %v", user, horde1.paid[user], amount)
			}
		}
		s.Close()
	})
}

// A database that is put back from a copy neither pays again what was paid since, nor uses a number again that the horde knows.
func TestAnOldCopyOfTheDatabaseLosesNoPayment(t *testing.T) {
	t.Parallel()
	horde1, dir := newTill(), t.TempDir()
	s := openIn(t, dir, horde1)
	settle := func() {
		t.Helper()
		if err := s.Settle(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	s.earned(5)
	settle()
	s.earned(5)
	horde1.broken = func(int64) (bool, error) { return false, errors.New("the disk is full") }
	if s.Settle(t.Context(), time.Now()) == nil {
		t.Fatal("nothing failed")
	}
	horde1.broken = nil
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(filepath.Join(dir, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	s = openIn(t, dir, horde1)
	for range 3 {
		s.earned(6)
		settle()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, databaseFile), copied, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openIn(t, dir, horde1)
	s.earned(7)
	settle()
	for user, want := range map[horde.UserID]horde.Kudos{5: 10_00, 6: 15_00, 7: 5_00} {
		if horde1.paid[user] != want {
			t.Errorf("user %d was paid %v, want %v", user, horde1.paid[user], want)
		}
	}
}

// Who is purged by a moderator loses what was paid within a week, once; who withdraws the own ratings keeps it.
func TestPurgeTakesBack(t *testing.T) {
	t.Parallel()
	horde1 := newTill()
	s := openIn(t, t.TempDir(), horde1)
	settle := func() {
		t.Helper()
		if err := s.Settle(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	s.earned(5)
	s.earned(6)
	settle()
	if err := s.change(func() error { return s.do("update payments set created = created - 8 * 86400", nil) }); err != nil {
		t.Fatal(err)
	}
	s.earned(5)
	s.earned(5)
	s.earned(6)
	settle()
	if got := s.call("DELETE", "/user/ratings/6", "6", "", http.StatusOK); got["excluded"] != 2.0 || got["reversed"] != 0.0 {
		t.Errorf("withdrawing: %v", got)
	}
	if got := s.call("DELETE", "/user/ratings/5", "1", "", http.StatusOK); got["excluded"] != 3.0 || got["reversed"] != 10.0 {
		t.Errorf("purging: %v", got)
	}
	if got := s.call("DELETE", "/user/ratings/5", "1", "", http.StatusOK); got["excluded"] != 0.0 || got["reversed"] != 0.0 {
		t.Errorf("purging again: %v", got)
	}
	settle()
	settle()
	for user, want := range map[horde.UserID]horde.Kudos{5: 5_00, 6: 10_00} {
		if horde1.paid[user] != want {
			t.Errorf("user %d has %v, want %v", user, horde1.paid[user], want)
		}
	}
}

// Images are handed out only below the limit.
func TestTheLimitOfNSFW(t *testing.T) {
	t.Parallel()
	s := open(t)
	hidden := uuid.NewString()
	if err := s.change(func() error { return s.addImage(horde.SharedImage{ID: hidden, NSFW: horde.AllowedNSFW}, time.Now()) }); err != nil {
		t.Fatal(err)
	}
	s.call("GET", "/rating/new", "7", "", http.StatusNotFound)
	s.NSFW = 1
	if got := s.call("GET", "/rating/new", "7", "", http.StatusOK); got["id"] != hidden {
		t.Errorf("with another limit: %v", got)
	}
}
