// SPDX-License-Identifier: AGPL-3.0-or-later

package trust_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/store"
	"horde/internal/fediseer/trust"
)

// cpu is the processor time of this process, which says more than the clock on a machine that does other things too.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkGiven reads the combined censures of 100 instances out of 100,000 instances and 1,000,000 censures: 500
// instances with the full 2,000 each, which is the worst that the list sizes allow. "page" is the first page with all
// details, "names" all domains that at least two agree on, "cold" a page when nothing is cached.
func BenchmarkGiven(b *testing.B) {
	path := filepath.Join(b.TempDir(), "big.db")
	st, err := store.Open(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	cfg := trust.Config{Salt: "s", Root: "root", RootUser: "fediseer", Version: "1"}
	if err := trust.Bootstrap(b.Context(), cfg, st, func() (string, error) { return "k", nil }); err != nil {
		b.Fatal(err)
	}
	st.Close()
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	for _, q := range []string{
		`with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000)
			insert into instances (id, domain, created, updated, software, version) select i, 'i' || i || '.test', 0, 0, 'lemmy', '1' from n`,
		`with recursive n(i) as (select 0 union all select i + 1 from n where i < 999999)
			insert into censures (censuring_id, censured_id, reason, created)
			select i / 2000 + 1, (i / 2000 * 7919 + i % 2000 * 37) % 99000 + 1000, case i % 4 when 0 then null when 1 then 'spam' when 2 then 'csam, loli' else 'rude' end, 0 from n`,
		`analyze`,
	} {
		if _, err := raw.Exec(q); err != nil {
			b.Fatal(err)
		}
	}
	raw.Close()
	b.Logf("made in %s", time.Since(start).Round(time.Second))
	var judges []string
	for i := range 100 {
		judges = append(judges, fmt.Sprintf("i%d.test", i*5+1))
	}
	open := func() (*trust.Service, *store.Store) {
		st, err := store.Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		return trust.New(cfg, st, nil, nil, slog.New(slog.DiscardHandler)), st
	}
	svc, st := open()
	defer st.Close()
	for _, c := range []struct {
		name string
		q    trust.GivenQuery
	}{
		{"page", trust.GivenQuery{Domains: judges, Min: 1}},
		{"names", trust.GivenQuery{Domains: judges, Min: 2, NamesOnly: true}},
		{"reasons", trust.GivenQuery{Domains: judges, Min: 1, Reasons: []string{"__all_pedos__"}, NamesOnly: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			if _, err := svc.Given(b.Context(), trust.Credential{}, fediseer.Censure, c.q); err != nil { // fills the cache
				b.Fatal(err)
			}
			before := cpu(b)
			defer func() { b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op") }()
			for b.Loop() {
				l, err := svc.Given(b.Context(), trust.Credential{}, fediseer.Censure, c.q)
				if err != nil || l.Total != 200000 || len(l.Names) == 0 {
					b.Fatal(l.Total, len(l.Names), err)
				}
			}
		})
	}
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			fresh, st := open()
			b.StartTimer()
			if _, err := fresh.Given(b.Context(), trust.Credential{}, fediseer.Censure, trust.GivenQuery{Domains: judges, Min: 1}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			st.Close()
			b.StartTimer()
		}
	})
	// All lists in the cache: the memory that a million censures take.
	judges = judges[:0]
	for i := range 500 {
		judges = append(judges, fmt.Sprintf("i%d.test", i+1))
	}
	if _, err := svc.Given(b.Context(), trust.Credential{}, fediseer.Censure, trust.GivenQuery{Domains: judges, Min: 1, NamesOnly: true}); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	b.Logf("heap with all lists cached: %d MiB", mem.HeapAlloc>>20)
}
