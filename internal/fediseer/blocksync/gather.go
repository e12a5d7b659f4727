// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"horde/fediseer"
)

// Gather reads all sources at the same time. The first failure ends it: a plan is never made from a part.
func Gather(ctx context.Context, c *fediseer.Client, cfg *Config, own string) (*Sources, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &Sources{Endorsed: map[string]bool{}}
	var wg sync.WaitGroup
	run := func(name string, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				cancel(explain(name, err))
			}
		})
	}
	withOwn := func(domains []string) []string {
		out := slices.Clone(domains)
		if own != "" {
			out = append(out, own)
		}
		return out
	}
	trusted := withOwn(cfg.Trusted.Domains)
	if len(trusted) > 0 {
		run(SourceTrusted, func() (err error) {
			s.Trusted, err = findings(c.Censures.Given(ctx, trusted, fediseer.GivenFilter{Min: cfg.Trusted.Min, Reasons: cfg.Trusted.Reasons}), censure)
			if errors.Is(err, fediseer.ErrNotFound) && len(cfg.Trusted.Domains) == 0 {
				return nil // nobody was named, and this server is not registered
			}
			return err
		})
	}
	if len(cfg.Filtered.Domains) > 0 {
		run(SourceFiltered, func() (err error) {
			s.Filtered, err = findings(c.Censures.Given(ctx, cfg.Filtered.Domains, fediseer.GivenFilter{Min: cfg.Filtered.Min, Reasons: cfg.Filtered.Reasons}), censure)
			return err
		})
	}
	if h := cfg.Hesitations; len(h.Domains) > 0 {
		run(SourceHesitations, func() (err error) {
			s.Hesitations, err = findings(c.Hesitations.Given(ctx, h.Domains, fediseer.GivenFilter{Min: h.Min, Reasons: h.Reasons}), hesitation)
			return err
		})
	}
	if cfg.Suspicions.Enabled == nil || *cfg.Suspicions.Enabled {
		run(SourceSuspicions, func() error {
			list, err := c.Suspicions.List(ctx, fediseer.SuspicionFilter{Activity: cfg.Suspicions.Activity, Active: cfg.Suspicions.Active})
			for _, x := range list {
				s.Suspicions = append(s.Suspicions, Finding{Domain: x.Domain})
			}
			return err
		})
	}
	endorsers := cfg.Endorsements
	if endorsers == nil {
		endorsers = trusted
	}
	if len(endorsers) > 0 {
		run("endorsements", func() error {
			for x, err := range c.Endorsements.Given(ctx, endorsers, fediseer.GivenFilter{}) {
				if errors.Is(err, fediseer.ErrNotFound) && cfg.Endorsements == nil && len(cfg.Trusted.Domains) == 0 {
					return nil
				}
				if err != nil {
					return err
				}
				s.Endorsed[x.Domain] = true
			}
			return nil
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return s, nil
}

func explain(name string, err error) error {
	if errors.Is(err, fediseer.ErrValidation) {
		return fmt.Errorf("source %s: %w (min may be larger than the number of its domains whose lists are visible)", name, err)
	}
	return fmt.Errorf("source %s: %w", name, err)
}

func censure(x fediseer.CensuredInstance) Finding   { return Finding{x.Domain, x.CensureReasons} }
func hesitation(x fediseer.DubiousInstance) Finding { return Finding{x.Domain, x.HesitationReasons} }

func findings[T any](list iter.Seq2[T, error], f func(T) Finding) ([]Finding, error) {
	var out []Finding
	for x, err := range list {
		if err != nil {
			return nil, err
		}
		out = append(out, f(x))
	}
	return out, nil
}
