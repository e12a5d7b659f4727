// SPDX-License-Identifier: AGPL-3.0-or-later

package trust_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/message"
	"horde/internal/fediseer/probe"
	"horde/internal/fediseer/store"
	"horde/internal/fediseer/trust"
	"horde/internal/horde"
)

// world is a prober and a messenger without a network: every domain is a Lemmy server with the admin "admin".
type world struct {
	mu      sync.Mutex
	keys    map[string]string // guarded by mu; the last key sent, by domain
	notices []string          // guarded by mu; domains that got a notice since they were last read
}

func (w *world) Probe(_ context.Context, d fediseer.Domain) probe.Result {
	return probe.Result{Attributes: fediseer.Attributes{Software: "lemmy", Version: "0.19"}, Admins: []string{"admin"}, Reached: true, Resolves: true}
}

func (w *world) IsAdmin(_ context.Context, _ fediseer.Domain, r probe.Result, user string) bool {
	return slices.Contains(r.Admins, user)
}

func (w *world) Published(context.Context, fediseer.Domain, probe.Proof) ([]string, error) {
	return nil, errors.New("nothing")
}

var keyLine = regexp.MustCompile(`(?m)^([A-Za-z0-9_-]{22})$`)

func (w *world) Send(_ context.Context, to message.Recipient, text string) (message.Delivery, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := keyLine.FindStringSubmatch(text); m != nil {
		w.keys[string(to.Domain)] = m[1]
	}
	return message.ViaActivityPub, nil
}

func (w *world) Queue(n message.Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notices = append(w.notices, string(n.Recipient.Domain))
}

func (w *world) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.notices
	w.notices = nil
	slices.Sort(out)
	return out
}

// start makes a service on a fresh SQLite file with virtual time.
func start(t *testing.T) (*trust.Service, *store.Store, *world) {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	cfg := trust.Config{Salt: "s", Root: "root", RootUser: "fediseer", Version: "1", GUI: "http://gui", Contact: "@c@d", BatchDeadline: time.Second}
	if err := trust.Bootstrap(t.Context(), cfg, st, func() (string, error) { return "root-key", nil }); err != nil {
		t.Fatal(err)
	}
	w := &world{keys: map[string]string{"root": "root-key"}}
	return trust.New(cfg, st, w, w, slog.New(slog.DiscardHandler)), st, w
}

func (w *world) as(d string) trust.Credential {
	w.mu.Lock()
	defer w.mu.Unlock()
	return trust.Credential{Given: true, Key: w.keys[d]}
}

func status(err error) int {
	var e *horde.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// Random histories of guarantees and withdrawals, compared with a model after every step: the guarantees are a forest,
// what a withdrawal cuts off is marked and told, all of it and nothing else, and lists show exactly what is trusted. A
// failure names the seed that repeats it.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc, st, w := start(t)
		for seed := range uint64(6) {
			history(t, svc, st, w, seed)
		}
	})
}

type model struct {
	guarantor map[string]string
	orphan    map[string]time.Time
	rejected  map[[2]string]time.Time
}

func (m *model) unbroken(d string) bool {
	for range len(m.guarantor) + 2 {
		if d == "root" {
			return true
		}
		g, ok := m.guarantor[d]
		if !ok {
			return false
		}
		d = g
	}
	return false // a cycle
}

func (m *model) below(d string) []string {
	var out []string
	for x := range m.guarantor {
		for at, ok := m.guarantor[x]; ok; at, ok = m.guarantor[at] {
			if at == d && x != d {
				out = append(out, x)
				break
			}
			if at == "root" {
				break
			}
		}
	}
	slices.Sort(out)
	return out
}

func history(t *testing.T, svc *trust.Service, st *store.Store, w *world, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	m := &model{guarantor: map[string]string{}, orphan: map[string]time.Time{}, rejected: map[[2]string]time.Time{}}
	names := []string{}
	for i := range 7 {
		d := fmt.Sprintf("s%d-%d.test", seed, i)
		names = append(names, d)
		if _, err := svc.Claim(t.Context(), d, trust.Claim{Admin: "admin"}); err != nil {
			t.Fatal(err)
		}
	}
	w.told()
	everybody := append([]string{"root"}, names...)
	pick := func() string { return everybody[r.IntN(len(everybody))] }
	for step := range 40 {
		time.Sleep(2 * time.Minute) // virtual: below the limit of actions
		a, b := pick(), pick()
		what := fmt.Sprintf("seed %d step %d: ", seed, step)
		var expectTold []string
		switch n := r.IntN(10); {
		case n < 5:
			what += a + " guarantees " + b
			changed, err := svc.Guarantee(t.Context(), w.as(a), b)
			held, has := m.guarantor[b]
			switch {
			case !m.unbroken(a) || b == "root" || has && held != a:
				if status(err) != http.StatusForbidden {
					t.Fatal(what, changed, err)
				}
			case has:
				if changed || err != nil {
					t.Fatal(what, changed, err)
				}
			default:
				if !changed || err != nil {
					t.Fatal(what, changed, err)
				}
				m.guarantor[b] = a
				expectTold = append(m.below(b), b)
				for _, d := range expectTold {
					delete(m.orphan, d)
				}
			}
		case n < 9:
			what += a + " withdraws from " + b
			giver := a
			if a == b {
				giver = m.guarantor[a]
			}
			changed, err := svc.Withdraw(t.Context(), w.as(a), b)
			last, rejected := m.rejected[[2]string{a, b}]
			switch {
			case a == "root" && b == "root":
				if status(err) != http.StatusForbidden {
					t.Fatal(what, changed, err)
				}
			case giver == "" || m.guarantor[b] != giver:
				if changed || err != nil {
					t.Fatal(what, changed, err)
				}
			case rejected && time.Since(last) < fediseer.CoolDown:
				if status(err) != http.StatusForbidden {
					t.Fatal(what, changed, err)
				}
			default:
				if !changed || err != nil {
					t.Fatal(what, changed, err)
				}
				below := m.below(b)
				delete(m.guarantor, b)
				m.rejected[[2]string{a, b}] = time.Now()
				for _, d := range below {
					m.orphan[d] = time.Now()
				}
				expectTold = append(below, b)
			}
		default:
			time.Sleep(time.Duration(r.IntN(30)) * time.Hour)
		}
		slices.Sort(expectTold)
		if told := w.told(); !slices.Equal(told, expectTold) {
			t.Fatalf("%s: told %v, want %v", what, told, expectTold)
		}
		compare(t, what, svc, st, m, names)
	}
}

// compare holds the record against the model.
func compare(t *testing.T, what string, svc *trust.Service, st *store.Store, m *model, names []string) {
	t.Helper()
	shown := map[string]bool{}
	for page := 1; ; page++ {
		list, _, err := svc.Whitelist(t.Context(), trust.WhitelistQuery{MinGuarantors: 1, Page: page, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			shown[string(d.Domain)] = true
		}
		if len(list) < 100 {
			break
		}
	}
	err := st.View(t.Context(), func(tx *store.Tx) error {
		for _, d := range names {
			in, err := tx.Instance(fediseer.Domain(d))
			if err != nil {
				return err
			}
			chain, err := tx.Chain(in.ID)
			if err != nil {
				return err
			}
			if chain.Unbroken() != m.unbroken(d) {
				t.Fatalf("%s: the chain of %s is %v", what, d, chain)
			}
			want := []string{d}
			for at, ok := m.guarantor[d]; ok; at, ok = m.guarantor[at] {
				want = append(want, at)
				if at == "root" || len(want) > len(names)+1 {
					break
				}
			}
			got := []string{}
			for _, l := range chain {
				got = append(got, string(l.Domain))
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s: the chain of %s is %v, want %v", what, d, got, want)
			}
			since, orphan := m.orphan[d]
			if in.OrphanSince.IsZero() == orphan || orphan && in.OrphanSince.Sub(since).Abs() > time.Millisecond {
				t.Fatalf("%s: %s is orphaned since %v, want %v", what, d, in.OrphanSince, since)
			}
			_, guaranteed := m.guarantor[d]
			visible := guaranteed && (!orphan || time.Since(since) <= fediseer.OrphanGrace)
			if shown[d] != visible {
				t.Fatalf("%s: %s is shown: %v", what, d, shown[d])
			}
			n, err := tx.CountGuarantees(in.ID)
			if err != nil || n > fediseer.MaxGuarantees {
				t.Fatal(what, n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(what, err)
	}
	if slices.Contains(slices.Collect(maps.Values(m.guarantor)), "") {
		t.Fatal("the model is broken")
	}
}

// What depends on days: worked examples 4 and 17, and case B101.
func TestDays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc, _, w := start(t)
		ctx := t.Context()
		for _, d := range []string{"a", "b", "c", "e"} {
			if _, err := svc.Claim(ctx, d, trust.Claim{Admin: "admin"}); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range [][2]string{{"root", "a"}, {"a", "b"}, {"b", "c"}} {
			if ok, err := svc.Guarantee(ctx, w.as(g[0]), g[1]); !ok || err != nil {
				t.Fatal(g, ok, err)
			}
		}
		shown := func() string {
			list, _, err := svc.Whitelist(ctx, trust.WhitelistQuery{MinGuarantors: 1, Page: 1, Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, d := range list {
				out = append(out, string(d.Domain))
			}
			slices.Sort(out)
			return strings.Join(out, " ")
		}
		if ok, err := svc.Withdraw(ctx, w.as("a"), "b"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if got := shown(); got != "a c root" {
			t.Error(got)
		}
		time.Sleep(25 * time.Hour)
		if got := shown(); got != "a root" {
			t.Error(got)
		}
		if ok, err := svc.Guarantee(ctx, w.as("a"), "b"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if got := shown(); got != "a b c root" {
			t.Error(got)
		}
		if ok, err := svc.Withdraw(ctx, w.as("a"), "b"); !ok || err != nil {
			t.Error("a day later:", ok, err)
		}

		w.told()
		if err := svc.Solicit(ctx, w.as("e"), "", nil); err != nil {
			t.Fatal(err)
		}
		if err := svc.Solicit(ctx, w.as("e"), "a", nil); status(err) != http.StatusForbidden {
			t.Error(err)
		}
		time.Sleep(24 * time.Hour)
		if err := svc.Solicit(ctx, w.as("e"), "", nil); status(err) != http.StatusForbidden {
			t.Error(err)
		}
		if err := svc.Solicit(ctx, w.as("e"), "a", nil); err != nil {
			t.Error(err)
		}
		if told := w.told(); !slices.Equal(told, []string{"a"}) {
			t.Error(told)
		}
		if ok, err := svc.Guarantee(ctx, w.as("a"), "e"); !ok || err != nil {
			t.Error(ok, err)
		}
		list, err := svc.Solicitations(ctx)
		if err != nil || len(list) != 1 || list[0].Domain != "b" { // b asks since it lost its guarantor
			t.Error(len(list), err)
		}

		// A claim whose key was never used can be repeated after an hour, and the lost key dies.
		if _, err := svc.Claim(ctx, "lost", trust.Claim{Admin: "admin"}); err != nil {
			t.Fatal(err)
		}
		first := w.as("lost")
		time.Sleep(59 * time.Minute)
		if _, err := svc.Claim(ctx, "lost", trust.Claim{Admin: "admin"}); status(err) != http.StatusForbidden {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if _, err := svc.Claim(ctx, "lost", trust.Claim{Admin: "admin"}); err != nil {
			t.Error(err)
		}
		if _, err := svc.WhoAmI(ctx, first); status(err) != http.StatusNotFound {
			t.Error(err)
		}
		if in, err := svc.WhoAmI(ctx, w.as("lost")); err != nil || in.Domain != "lost" {
			t.Error(err)
		}
		time.Sleep(48 * time.Hour)
		if _, err := svc.Claim(ctx, "lost", trust.Claim{Admin: "admin"}); status(err) != http.StatusForbidden {
			t.Error("a key that was used is given to whoever asks:", err)
		}
	})
}

// Worked example 12.
func TestListSize(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc, st, w := start(t)
		ctx := t.Context()
		err := st.Update(ctx, func(tx *store.Tx) error {
			in, err := tx.InstanceByID(fediseer.RootID)
			if err != nil {
				return err
			}
			in.MaxListSize = 3
			return tx.UpdateInstance(in)
		})
		if err != nil {
			t.Fatal(err)
		}
		batch := func(n int) (bool, error) {
			var entries []trust.Entry
			for i := range n {
				entries = append(entries, trust.Entry{Domain: fmt.Sprintf("x%d.test", i)})
			}
			return svc.Batch(ctx, w.as("root"), fediseer.Censure, entries, trust.BatchOptions{})
		}
		if _, err := batch(3); status(err) != http.StatusForbidden {
			t.Error(err)
		}
		if ok, err := batch(2); !ok || err != nil {
			t.Error(ok, err)
		}
		if ok, err := svc.Judge(ctx, w.as("root"), fediseer.Censure, "y.test", trust.Words{}); !ok || err != nil {
			t.Error(ok, err)
		}
		if _, err := svc.Judge(ctx, w.as("root"), fediseer.Censure, "z.test", trust.Words{}); status(err) != http.StatusForbidden {
			t.Error(err)
		}
	})
}
