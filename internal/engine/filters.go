// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"horde/internal/horde"
	"horde/internal/moderation"
)

type filter struct {
	moderation.Filter
	changed
}

// FilterView is a filter as moderators see it.
type FilterView struct {
	moderation.Filter
	// EditorAlias is who changed it last.
	EditorAlias string
}

// FilterChange is what is to be set of a filter; nil leaves a thing as it is.
type FilterChange struct {
	Regex, Description, Replacement *string
	Type                            *moderation.FilterType
}

// maxFilters bounds how many filters there are, maxFilterText how many bytes their descriptions and replacements have.
const (
	maxFilters    = 5000
	maxFilterText = 5000
)

var errTooManyFilters = horde.ErrBadFilter.Withf("There are %d filters already; join some of them.", maxFilters)

// moderator is the account that a key opens, if it is a moderator's.
func (e *Engine) moderator(key string) (*user, *horde.Error) {
	u, err := e.userOf(key)
	switch {
	case err != nil:
		return nil, err
	case !u.Has(horde.Moderator):
		return nil, horde.ErrNotModerator
	}
	return u, nil
}

func (e *Engine) viewFilter(f *filter) FilterView {
	v := FilterView{Filter: f.Filter, EditorAlias: "unknown"}
	if u := e.users[f.Editor]; u != nil {
		v.EditorAlias = u.Alias()
	}
	return v
}

// Filters lists the filters of a type, or of all if that is 0, whose expression or description holds a text, by their ids.
func (e *Engine) Filters(ctx context.Context, key string, t moderation.FilterType, contains string) ([]FilterView, error) {
	return change(ctx, e, func() ([]FilterView, *batch, *horde.Error) {
		u, err := e.moderator(key)
		if err != nil {
			return nil, nil, err
		}
		views := []FilterView{}
		for _, f := range e.filters {
			if t != 0 && f.Type != t || !strings.Contains(f.Regex, contains) && !strings.Contains(str(f.Description), contains) {
				continue
			}
			views = append(views, e.viewFilter(f))
		}
		slices.SortFunc(views, func(a, b FilterView) int { return cmp.Compare(a.ID, b.ID) })
		e.Log.Info("filters were read", "moderator", u.ID, "shown", len(views))
		return views, e.pending(&e.counters.changed), nil
	})
}

// Filter shows one filter.
func (e *Engine) Filter(ctx context.Context, key string, id int64) (FilterView, error) {
	return change(ctx, e, func() (FilterView, *batch, *horde.Error) {
		u, err := e.moderator(key)
		if err != nil {
			return FilterView{}, nil, err
		}
		f := e.filters[id]
		if f == nil {
			return FilterView{}, nil, horde.ErrFilterNotFound
		}
		e.Log.Info("a filter was read", "moderator", u.ID, "filter", id)
		return e.viewFilter(f), e.pending(&f.changed), nil
	})
}

// FilterRegexes are the types that count, or one of them, each with all its filters as one expression.
func (e *Engine) FilterRegexes(ctx context.Context, key string, only moderation.FilterType) (map[moderation.FilterType]string, error) {
	return change(ctx, e, func() (map[moderation.FilterType]string, *batch, *horde.Error) {
		u, err := e.moderator(key)
		if err != nil {
			return nil, nil, err
		}
		all, out := e.allFilters(), map[moderation.FilterType]string{}
		for _, t := range moderation.Evaluated {
			if only == 0 || only == t {
				out[t] = moderation.Regex(all, t)
			}
		}
		e.Log.Info("filters were read", "moderator", u.ID, "shown", "regex")
		return out, nil, nil
	})
}

func (e *Engine) allFilters() []moderation.Filter {
	all := make([]moderation.Filter, 0, len(e.filters))
	for _, f := range e.filters {
		all = append(all, f.Filter)
	}
	return all
}

// TestPrompt tells what the filters find in a prompt: for moderators, and for the accounts that are configured to check prompts.
func (e *Engine) TestPrompt(ctx context.Context, key, prompt string, only moderation.FilterType) (score int, matches []string, _ error) {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		u, err := e.userOf(key)
		switch {
		case err != nil:
			return struct{}{}, nil, err
		case !u.Has(horde.Moderator) && !slices.Contains(e.PromptCheckers, u.ID):
			return struct{}{}, nil, horde.ErrNotModerator
		}
		sum := sha256.Sum256([]byte(prompt))
		e.Log.Info("a prompt was tested", "user", u.ID, "sha256", hex.EncodeToString(sum[:8]))
		return struct{}{}, nil, nil
	})
	if err != nil {
		return 0, nil, err
	}
	score, matches = e.filterSet.Load().Score(prompt, only)
	return score, matches, nil
}

// AddFilter makes a filter. If there is one with the same expression and type, that is returned as it is.
func (e *Engine) AddFilter(ctx context.Context, key string, f moderation.Filter) (FilterView, error) {
	v, err := change(ctx, e, func() (FilterView, *batch, *horde.Error) {
		u, err := e.moderator(key)
		if err == nil {
			err = checkFilter(&f)
		}
		if err != nil {
			return FilterView{}, nil, err
		}
		for _, had := range e.filters {
			if had.Regex == f.Regex && had.Type == f.Type {
				return e.viewFilter(had), e.pending(&had.changed), nil
			}
		}
		if len(e.filters) >= maxFilters {
			return FilterView{}, nil, errTooManyFilters
		}
		f.ID, f.Editor = e.next(&e.counters.Filter), u.ID
		n := &filter{Filter: f}
		e.filters[f.ID] = n
		e.filterChanged(n)
		return e.viewFilter(n), e.open, nil
	})
	e.recompile()
	return v, err
}

func checkFilter(f *moderation.Filter) *horde.Error {
	for _, text := range []string{f.Regex, f.Replacement, str(f.Description)} {
		switch {
		case strings.ContainsRune(text, 0):
			return horde.ErrNulByte
		case len(text) > maxFilterText && text != f.Regex:
			return horde.ErrBadFilter.Withf("A description or a replacement has at most %d characters.", maxFilterText)
		}
	}
	if err := moderation.CheckRegex(f.Regex); err != nil {
		return horde.ErrBadFilter.Withf("This regular expression cannot be a filter: %.200s", err)
	}
	return nil
}

// ChangeFilter changes a filter. Empty values change nothing.
func (e *Engine) ChangeFilter(ctx context.Context, key string, id int64, c FilterChange) (FilterView, error) {
	v, err := change(ctx, e, func() (FilterView, *batch, *horde.Error) {
		u, err := e.moderator(key)
		if err != nil {
			return FilterView{}, nil, err
		}
		f := e.filters[id]
		if f == nil {
			return FilterView{}, nil, horde.ErrFilterNotFound
		}
		with, any := f.Filter, false
		if str(c.Regex) != "" {
			with.Regex, any = *c.Regex, true
		}
		if c.Type != nil && *c.Type != 0 {
			with.Type, any = *c.Type, true
		}
		if str(c.Description) != "" {
			with.Description, any = c.Description, true
		}
		if str(c.Replacement) != "" {
			with.Replacement, any = *c.Replacement, true
		}
		if !any {
			return FilterView{}, nil, horde.ErrNoFilterMod
		}
		if err := checkFilter(&with); err != nil {
			return FilterView{}, nil, err
		}
		with.Editor = u.ID
		f.Filter = with
		e.filterChanged(f)
		return e.viewFilter(f), e.open, nil
	})
	e.recompile()
	return v, err
}

// DeleteFilter removes a filter.
func (e *Engine) DeleteFilter(ctx context.Context, key string, id int64) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		u, err := e.moderator(key)
		switch {
		case err != nil:
			return struct{}{}, nil, err
		case e.filters[id] == nil:
			return struct{}{}, nil, horde.ErrFilterNotFound
		}
		delete(e.filters, id)
		e.open.forgetDocument(filterDocument, itoa(id))
		e.filtersStale = true
		e.Log.Info("a filter was removed", "moderator", u.ID, "filter", id)
		return struct{}{}, e.open, nil
	})
	e.recompile()
	return err
}

func (e *Engine) filterChanged(f *filter) {
	e.open.document(filterDocument, itoa(f.ID), f)
	e.filtersStale = true
	e.Log.Info("a filter was changed", "moderator", f.Editor, "filter", f.ID, "type", int(f.Type))
}

// recompile makes the set of filters anew if they have changed. It is called without the lock: compiling takes milliseconds.
// The last set that is swapped in is that of the newest filters, for they are copied inside of the same turn.
func (e *Engine) recompile() {
	e.compiling.Lock()
	defer e.compiling.Unlock()
	e.mu.Lock()
	stale, all := e.filtersStale, e.allFilters()
	e.filtersStale = false
	e.mu.Unlock()
	if stale || e.filterSet.Load() == nil {
		e.compileFilters(all)
	}
}

func (e *Engine) compileFilters(all []moderation.Filter) {
	o := e.Filtering
	o.TimedOut = func(filter int64) {
		e.Log.Warn("a filter took too long for a prompt, which counts as found", "filter", filter, "after", moderation.MatchTime)
	}
	set, err := moderation.Compile(all, o)
	if err != nil {
		e.Log.Error("some filters do not work", "error", err)
	}
	if set != nil {
		e.filterSet.Store(set)
	}
}
