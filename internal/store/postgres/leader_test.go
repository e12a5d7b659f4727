// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
	"horde/internal/store/postgres"
)

// mark is a batch that is easy to tell from others: an event and a request, and the event's number in the settings.
func mark(no int64, by string) *store.Batch {
	return &store.Batch{
		Settings: &store.Settings{NextUser: horde.UserID(no)},
		Events:   []*kudos.Event{{No: no, Key: fmt.Sprintf("%s:%d", by, no)}},
		NewRequests: []horde.Request{{ID: horde.NewRequestID(), Priority: no,
			Order: (&horde.Order{Kind: horde.Text, Prompt: strings.Repeat("x", 3000), Text: &horde.TextParams{}}).Pack()}},
		System: map[kudos.AccountClass]horde.Kudos{kudos.SystemTax: horde.Kudos(no)},
	}
}

// marks checks that the record holds batches whole, and tells who wrote them.
func marks(t testing.TB, s store.Store) (by []string) {
	t.Helper()
	state, err := s.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range s.Events(context.Background(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(e.Key, ":")
		by = append(by, name)
	}
	n := int64(len(by))
	if state.LastEvent > n || len(state.Requests) != int(state.LastEvent) {
		t.Fatalf("%d events at the end, the last was %d, %d requests", n, state.LastEvent, len(state.Requests))
	}
	if n > 0 && state.LastEvent == n && (state.Settings == nil || int64(state.Settings.NextUser) != n || int64(state.System[kudos.SystemTax]) != n) {
		t.Fatalf("%d events, settings %+v, tax %d", n, state.Settings, state.System[kudos.SystemTax])
	}
	return by
}

func wantDeposed(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrDeposed) {
		t.Fatalf("%s: %v", what, err)
	}
}

// renewFor sets the lease of who leads.
func renewFor(t testing.TB, s *postgres.Store, lease time.Duration) {
	t.Helper()
	if err := s.Renew(context.Background(), lease); err != nil {
		t.Fatal(err)
	}
}

// win campaigns until it wins.
func win(t testing.TB, s *postgres.Store, node string) store.Leader {
	t.Helper()
	for {
		leader, err := s.Campaign(context.Background(), node, "", lease)
		if err != nil {
			t.Fatal(err)
		}
		if leader.Mine {
			return leader
		}
		time.Sleep(min(max(0, leader.Remaining)+time.Millisecond, 50*time.Millisecond)) // the database's clock cannot be turned
	}
}

func TestCampaign(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	location := newRecord(t)
	a, b := open(t, location), open(t, location)
	defer closeStore(t, a)
	defer closeStore(t, b)

	if l, err := a.Leader(ctx); err != nil || l != (store.Leader{}) {
		t.Fatalf("%+v leads a new record (%v)", l, err)
	}
	wantDeposed(t, "a commit before any campaign", a.Commit(ctx, mark(1, "a")))
	wantDeposed(t, "a renewal before any campaign", a.Renew(ctx, lease))
	if err := a.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Campaign(ctx, "", "", lease); err == nil {
		t.Fatal("a node without a name leads")
	}

	first := campaign(t, a, "a\x00 node")
	for range 2 {
		l, err := b.Campaign(ctx, "b", "http://b", lease)
		if err != nil || l.Mine || l.Node != "a\x00 node" || l.Address != "http://a\x00 node" || l.Epoch != first.Epoch ||
			l.Remaining <= lease/2 || l.Remaining > lease {
			t.Fatalf("b against a: %+v (%v)", l, err)
		}
	}
	commit(t, a, mark(1, "a"))
	wantDeposed(t, "a commit of who lost", b.Commit(ctx, mark(2, "b")))
	renewFor(t, a, time.Minute)
	if l, err := b.Leader(ctx); err != nil || l.Remaining > time.Minute {
		t.Fatalf("a minute's lease: %+v (%v)", l, err)
	}
	if l := campaign(t, a, "a\x00 node"); l.Epoch != first.Epoch || l.Remaining != lease {
		t.Fatalf("a campaigned as the leader: %+v", l)
	}

	// A lease that has lapsed changes nothing until another comes.
	renewFor(t, a, time.Microsecond)
	if l, err := a.Leader(ctx); err != nil || l.Remaining > 0 || !l.Mine {
		t.Fatalf("a lapsed: %+v (%v)", l, err)
	}
	commit(t, a, mark(2, "a"))
	second := win(t, b, "b")
	if second.Epoch <= first.Epoch {
		t.Fatalf("epoch %d follows %d", second.Epoch, first.Epoch)
	}
	if by := marks(t, b); len(by) != 2 {
		t.Fatalf("b found %v", by)
	}
	for range 2 {
		wantDeposed(t, "a commit of who was deposed", a.Commit(ctx, mark(3, "a")))
		wantDeposed(t, "a renewal of who was deposed", a.Renew(ctx, lease))
	}
	commit(t, b, mark(3, "b"))

	// After a resignation another need not wait.
	if err := b.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	wantDeposed(t, "a commit after a resignation", b.Commit(ctx, mark(4, "b")))
	if l, err := b.Leader(ctx); err != nil || l.Node != "" || l.Remaining != 0 || l.Mine {
		t.Fatalf("%+v leads after a resignation (%v)", l, err)
	}
	if l := campaign(t, a, "a"); l.Epoch <= second.Epoch {
		t.Fatalf("epoch %d follows %d", l.Epoch, second.Epoch)
	}
	commit(t, a, mark(4, "a"))
	if by := strings.Join(marks(t, a), ""); by != "aaba" {
		t.Fatalf("the events are of %s", by)
	}
}

// A commit holds the fence. Meanwhile the lease can be renewed, and another waits to take it only when it has lapsed.
func TestRenewDuringCommit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	location := newRecord(t)
	a, b := lead(t, location), open(t, location)
	defer closeStore(t, a)
	defer closeStore(t, b)
	writer, err := pgx.Connect(ctx, location)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close(ctx)
	if _, err := writer.Exec(ctx, "begin; select from leader for key share"); err != nil {
		t.Fatal(err)
	}
	renewFor(t, a, lease)
	if l, err := b.Campaign(ctx, "b", "", lease); err != nil || l.Node != "a node" {
		t.Fatalf("%+v (%v)", l, err)
	}
	renewFor(t, a, time.Microsecond)
	won := make(chan store.Leader, 1)
	go func() { won <- win(t, b, "b") }()
	waitForBlocked(t, location)
	// Another waits, and the leader comes back to life: it stays.
	renewFor(t, a, lease)
	time.Sleep(1200 * time.Millisecond) // longer than the patience of who waits
	if _, err := writer.Exec(ctx, "commit"); err != nil {
		t.Fatalf("the commit of a leader with a lease was broken off: %v", err)
	}
	if l, err := a.Leader(ctx); err != nil || !l.Mine {
		t.Fatalf("%+v (%v)", l, err)
	}
	commit(t, a, mark(1, "a"))
	renewFor(t, a, time.Microsecond)
	<-won
	wantDeposed(t, "a commit of who was deposed", a.Commit(ctx, mark(2, "a")))
}

// waitForBlocked waits until somebody waits for a lock.
func waitForBlocked(t *testing.T, location string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for blocked := false; !blocked; time.Sleep(5 * time.Millisecond) { // for another process
		err := conn.QueryRow(t.Context(), "select count(*) > 0 from pg_stat_activity "+
			"where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0").Scan(&blocked)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A leader stops with a commit in its hands, at any byte of it, and goes on after another has taken its place.
func TestPausedLeader(t *testing.T) {
	t.Parallel()
	whole := commitLength(t)
	for _, test := range []struct {
		name string
		at   int
	}{
		{"before the first byte", 0}, {"at the fence", 40}, {"after an eighth", whole / 8}, {"in the middle", whole / 2},
		{"near the end", whole * 7 / 8}, {"before the last message", whole - 5}, {"before the last byte", whole - 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			location := newRecord(t)
			w := newWire(t, location)
			a, b := lead(t, w.location), open(t, location)
			defer closeStore(t, b)
			commit(t, a, mark(1, "a")) // prepares the statements
			renewFor(t, a, time.Microsecond)
			w.stopAfter(test.at, false)
			failed := make(chan error, 1)
			go func() { failed <- a.Commit(context.Background(), mark(2, "a")) }()
			w.spent()
			start := time.Now()
			win(t, b, "b")
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("the place was taken after %s", d)
			}
			if by := marks(t, b); len(by) != 1 {
				t.Fatalf("found %v", by)
			}
			commit(t, b, mark(2, "b"))
			w.resume()
			if err := <-failed; err == nil {
				t.Fatal("the paused commit says that it was written")
			}
			wantDeposed(t, "the next commit", a.Commit(context.Background(), mark(3, "a")))
			closeStore(t, a)
			commit(t, b, mark(3, "b"))
			if by := strings.Join(marks(t, b), ""); by != "abb" {
				t.Fatalf("the events are of %s", by)
			}
		})
	}
}

// commitLength is how many bytes a commit of a mark sends.
func commitLength(t *testing.T) int {
	w := newWire(t, newRecord(t))
	s := lead(t, w.location)
	defer closeStore(t, s)
	commit(t, s, mark(1, "a"))
	before := w.count()
	commit(t, s, mark(2, "a"))
	return w.count() - before
}

// The server has written a commit, but its leader does not hear of it before another has taken its place: that one loads it.
func TestUnheardCommit(t *testing.T) {
	t.Parallel()
	location := newRecord(t)
	w := newWire(t, location)
	a, b := lead(t, w.location), open(t, location)
	defer closeStore(t, b)
	commit(t, a, mark(1, "a"))
	renewFor(t, a, time.Microsecond)
	before := w.count()
	commit(t, a, mark(2, "a"))
	w.stopAfter(w.count()-before, true)
	done := make(chan error, 1)
	go func() { done <- a.Commit(context.Background(), mark(3, "a")) }()
	w.spent()
	win(t, b, "b")
	if by := marks(t, b); len(by) != 3 {
		t.Fatalf("found %v", by)
	}
	w.resume()
	if err := <-done; err != nil {
		t.Fatalf("the commit is in the record, its leader was told: %v", err)
	}
	wantDeposed(t, "the next commit", a.Commit(context.Background(), mark(4, "a")))
	closeStore(t, a)
}

// A connection breaks with a commit on its way, which arrives only when the leader has loaded again: it must not take effect
// then, or the leader's memory were wrong.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	whole := commitLength(t)
	for _, at := range []int{0, 40, whole / 2, whole - 5, whole - 1} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			w := newWire(t, newRecord(t))
			s := lead(t, w.location)
			defer closeStore(t, s)
			commit(t, s, mark(1, "a"))
			w.stopAfter(at, false)
			failed := make(chan error, 1)
			go func() { failed <- s.Commit(context.Background(), mark(2, "late")) }()
			w.spent()
			time.Sleep(20 * time.Millisecond) // lets the wire take what it holds back
			w.cut()
			if err := <-failed; err == nil || errors.Is(err, store.ErrDeposed) {
				t.Fatalf("commit: %v", err)
			}
			// The held connection goes on only after the load; those that are made from now on are free.
			held := w.splice()
			for _, err := s.Load(t.Context()); err != nil; _, err = s.Load(t.Context()) {
				// Idle connections were cut too: an engine tries until it has loaded.
				if errors.Is(err, store.ErrDeposed) {
					t.Fatal(err)
				}
			}
			if by := marks(t, s); len(by) != 1 {
				t.Fatalf("found %v", by)
			}
			held()
			commit(t, s, mark(2, "a"))
			commit(t, s, mark(3, "a"))
			if by := strings.Join(marks(t, s), ""); by != "aaa" {
				t.Fatalf("the events are of %s", by)
			}
			if l, err := s.Leader(t.Context()); err != nil || !l.Mine {
				t.Fatalf("%+v (%v)", l, err)
			}
		})
	}
}

// Nodes that win, write, forget to renew and write on. Every batch that was acknowledged is in the record, in the order of
// the epochs, and none else.
func TestRivals(t *testing.T) {
	t.Parallel()
	location := newRecord(t)
	const short = 30 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	terms := 0
	var running sync.WaitGroup
	for node := range 4 {
		running.Go(func() {
			s := open(t, location)
			defer closeStore(t, s)
			random := rand.New(rand.NewPCG(uint64(node), 1))
			for ctx.Err() == nil {
				l, err := s.Campaign(context.Background(), fmt.Sprint(node), "", short)
				if err != nil {
					t.Error(err)
					return
				}
				if !l.Mine {
					time.Sleep(max(0, l.Remaining))
					continue
				}
				state, err := s.Load(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				terms++
				mu.Unlock()
				last := state.LastEvent
				for {
					last++
					name := fmt.Sprintf("%d.%d", l.Epoch, node)
					err := s.Commit(context.Background(), mark(last, name))
					if errors.Is(err, store.ErrDeposed) {
						break
					}
					if err != nil { // as an engine does; another may end the connection of a leader that has lapsed
						if state, err = s.Load(context.Background()); err != nil {
							if !errors.Is(err, store.ErrDeposed) {
								t.Error(err)
							}
							break
						}
						last = state.LastEvent
						continue
					}
					mu.Lock()
					acknowledged[fmt.Sprintf("%s:%d", name, last)] = true
					mu.Unlock()
					if random.IntN(4) == 0 {
						_ = s.Renew(context.Background(), short)
					}
					if ctx.Err() != nil {
						return
					}
				}
			}
		})
	}
	running.Wait()
	s := open(t, location)
	defer closeStore(t, s)
	epoch, events := int64(0), 0
	for e, err := range s.Events(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		var its int64
		var node int
		if _, err := fmt.Sscanf(e.Key, "%d.%d:", &its, &node); err != nil || its < epoch {
			t.Fatalf("event %d of epoch %s follows epoch %d", e.No, e.Key, epoch)
		}
		epoch = its
		delete(acknowledged, e.Key)
		events++
	}
	if len(acknowledged) > 0 {
		t.Fatalf("lost: %v", acknowledged)
	}
	t.Logf("%d batches in %d terms", events, terms)
	if terms < 5 {
		t.Errorf("the leadership changed hands %d times", terms)
	}
}
