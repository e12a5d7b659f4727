// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/horde"
	"horde/internal/store/memory"
)

func now() time.Time { return time.Now().UTC() }

// TestTheLifeOfALogin goes with one login through two accounts, across restarts.
func TestTheLifeOfALogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := memory.New()
		var e *Engine
		restart := func(pause time.Duration) {
			t.Helper()
			if e != nil {
				e.Close()
			}
			time.Sleep(pause)
			var err error
			if e, err = Open(t.Context(), Config{Store: db, Reference: noModels}); err != nil {
				t.Fatal(err)
			}
		}
		restart(0)
		defer func() { e.Close() }()
		state := func(s SignedIn) (SessionState, horde.UserID) {
			t.Helper()
			v, state, err := e.Session(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			return state, v.User.ID
		}
		session := SignedIn{OAuthID: "g_1", Began: now()}
		if got, _ := state(session); got != SessionNew {
			t.Errorf("before there is an account the session is %v", got)
		}
		first, err := e.Enrol(t.Context(), session, "Ada")
		if err != nil || !first.Created || first.User.User.ID != 1 {
			t.Fatalf("enrolled %+v, %v", first, err)
		}
		if got, id := state(session); got != SessionOpen || id != 1 {
			t.Errorf("with an account the session is %v of %d", got, id)
		}
		restart(time.Second)
		if got, id := state(session); got != SessionOpen || id != 1 {
			t.Errorf("after a restart the session is %v of %d", got, id)
		}

		second, err := e.Enrol(t.Context(), session, "Countess")
		if err != nil || second.Created || second.User.User.Alias() != "Countess#1" || second.Key == first.Key {
			t.Fatalf("enrolled again %+v, %v", second, err)
		}
		restart(time.Second)
		if _, err := e.FindUser(t.Context(), first.Key); !errors.Is(err, horde.ErrUserNotFound) {
			t.Errorf("the old key: %v", err)
		}
		if _, err := e.FindUser(t.Context(), second.Key); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if got, _ := state(session); got != SessionEnded {
			t.Errorf("after a new key the session is %v", got)
		}
		if _, err := e.Enrol(t.Context(), session, "Mallory"); !errors.Is(err, horde.ErrInvalidAPIKey) {
			t.Errorf("a session that is over gets a key: %v", err)
		}
		for name, use := range map[string]func() error{
			"gives": func() error {
				_, err := e.TransferBy(t.Context(), Authority{SignedIn: session}, "0", 1, "")
				return err
			},
			"changes": func() error {
				yes := true
				_, err := e.ChangeUser(t.Context(), Authority{SignedIn: session}, 1, &horde.UserChange{PublicWorkers: &yes})
				return err
			},
			"deletes": func() error { return e.DeleteUser(t.Context(), Authority{SignedIn: session}, 1) },
		} {
			if err := use(); !errors.Is(err, horde.ErrInvalidAPIKey) {
				t.Errorf("a session that is over %s: %v", name, err)
			}
		}

		session.Began = now()
		time.Sleep(time.Second)
		if err := e.LogOut(t.Context(), SignedIn{OAuthID: "g_1", Began: now()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got, _ := state(session); got != SessionEnded {
			t.Errorf("after logging out the session is %v", got)
		}
		session.Began = now()
		by := Authority{SignedIn: session}
		if err := e.DeleteUser(t.Context(), by, 1); err != nil {
			t.Fatal(err)
		}
		if got, id := state(session); got != SessionOpen || id != 1 {
			t.Errorf("of a marked account the session is %v of %d", got, id)
		}
		restart(29 * 24 * time.Hour)
		if err := e.DeleteUser(t.Context(), by, 1); !errors.Is(err, horde.ErrWipeActiveUser) {
			t.Errorf("erasing too early: %v", err)
		}
		yes := true
		if _, err := e.ChangeUser(t.Context(), by, 1, &horde.UserChange{Undelete: &yes}); err != nil {
			t.Errorf("changing one's mind: %v", err)
		}
		if err := e.DeleteUser(t.Context(), by, 1); err != nil {
			t.Fatal(err)
		}
		restart(2 * 24 * time.Hour) // 30 days after the last activity, and two after the mark
		if err := e.DeleteUser(t.Context(), by, 1); err != nil {
			t.Fatal(err)
		}
		if got, _ := state(session); got != SessionNew {
			t.Errorf("of an erased account the session is %v", got)
		}
		u := e.users[1]
		u.WipedAt, u.Created, u.LastActive, u.SessionsFrom = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		if left := u.User; left.Name != "<wiped>" || left.OAuthID != "<wiped>:1" || left.KeyHash != "" || left.Contact != "" || left.PasskeyHash != "" || left.Suspicions != nil {
			t.Errorf("what is left: %+v", left)
		}
		restart(time.Second)
		third, err := e.Enrol(t.Context(), SignedIn{OAuthID: "g_1", Began: now()}, "Ada")
		if err != nil || !third.Created || third.User.User.ID != 2 {
			t.Errorf("the same login makes %+v, %v", third, err)
		}
	})
}

func TestNobodyLogsInAsNobody(t *testing.T) {
	t.Parallel()
	e, err := Open(t.Context(), Config{Store: memory.New(), Reference: noModels})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, id := range []string{"", horde.AnonymousOAuthID} {
		s := SignedIn{OAuthID: id, Began: now()}
		if _, state, err := e.Session(t.Context(), s); err != nil || state == SessionOpen {
			t.Errorf("%q is logged in", id)
		}
		if _, err := e.Enrol(t.Context(), s, "Ada"); !errors.Is(err, horde.ErrInvalidAPIKey) {
			t.Errorf("%q registers: %v", id, err)
		}
		if err := e.LogOut(t.Context(), s); err != nil {
			t.Error(err)
		}
	}
	if _, err := e.FindUser(t.Context(), horde.AnonymousKey); err != nil {
		t.Errorf("the anonymous key is dead: %v", err)
	}
}

func TestOneLoginIsOneAccountHoweverManyRegisterAtOnce(t *testing.T) {
	t.Parallel()
	e, err := Open(t.Context(), Config{Store: memory.New(), Reference: noModels})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s := SignedIn{OAuthID: "gh_7", Began: now().Add(time.Hour)} // no new key ends it
	var all sync.WaitGroup
	var mu sync.Mutex
	made, keys := 0, []string{}
	for range 20 {
		all.Go(func() {
			got, err := e.Enrol(t.Context(), s, "Ada")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			keys = append(keys, got.Key)
			if got.Created {
				made++
			}
		})
	}
	all.Wait()
	alive := 0
	for _, key := range keys {
		if _, err := e.FindUser(t.Context(), key); err == nil {
			alive++
		}
	}
	if made != 1 || alive != 1 {
		t.Errorf("%d accounts were made, %d keys are alive", made, alive)
	}
}
