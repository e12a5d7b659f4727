// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"horde/fediseer"
)

// Exit is the exit code of a run.
type Exit int

const (
	Done    Exit = 0 // done, or nothing to do
	Failed  Exit = 1 // an error before anything was written
	Pending Exit = 2 // there are changes, and the run was dry
	Stopped Exit = 3 // a safety rule said no
	Partly  Exit = 4 // some of it was written
)

// Worse returns the worse of two codes: partly done, failed, stopped, pending, done.
func (e Exit) Worse(other Exit) Exit {
	order := []Exit{Done, Pending, Stopped, Failed, Partly}
	return order[max(slices.Index(order, e), slices.Index(order, other))]
}

// Options change a run.
type Options struct {
	DryRun, Yes, Force, Purge, JSON bool
	// Ask asks a human and is nil where there is none.
	Ask func(question string) bool
}

// Runner carries out runs.
type Runner struct {
	Config *Config
	// Fediseer is where judgements are read and pushed to.
	Fediseer *fediseer.Client
	HTTP     *http.Client
	Out      io.Writer
}

// state is what the tool remembers of a target.
type state struct {
	Version int      `json:"version"`
	Target  string   `json:"target"`
	Managed []string `json:"managed"`
	// Written are the comments of managed entries as they were sent. Files of earlier versions do not have it.
	Written map[string]Comments `json:"written,omitempty"`
	Sources map[string]int      `json:"sources"`
	Time    time.Time           `json:"time"`
}

const stateVersion = 1

func readState(path string) (*state, error) {
	s := &state{Version: stateVersion, Sources: map[string]int{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	// A broken file is an error and not an empty one: without it the tool would forget what is its own.
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("the state file %s cannot be read: %w", path, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("the state file %s has version %d, which this program does not know", path, s.Version)
	}
	return s, nil
}

func (s *state) write(path string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeAtomically(path, append(b, '\n'))
}

// Sync plans and, unless it is dry, applies.
func (r *Runner) Sync(ctx context.Context, name string, o Options) (Exit, error) {
	cfg := r.Config.Targets[name]
	target, err := NewTarget(cfg, r.HTTP)
	if err != nil {
		return Failed, err
	}
	in, err := r.inputs(ctx, cfg, target)
	if err != nil {
		return Failed, err
	}
	statePath := r.Config.State(name)
	st, err := readState(statePath)
	if err != nil {
		return Failed, err
	}
	if in.Current, err = target.Current(ctx); err != nil {
		return Failed, err
	}
	in.Traits = target.Traits() // what a file can express is known when it has been read
	in.Written = st.Written
	in.Managed, in.FormerCounts, in.Purge = st.Managed, st.Sources, o.Purge
	p := MakePlan(*in)
	r.show(name, cfg, p, o.JSON)
	if p.Unsafe != nil && !o.Force {
		return Stopped, fmt.Errorf("stopped: %s; --force goes on", strings.Join(p.Unsafe, "; "))
	}
	if p.Changes() >= r.Config.confirmAt() && p.Changes() > 0 && !o.Yes && !o.DryRun {
		if o.Ask == nil {
			return Stopped, fmt.Errorf("stopped: %d changes need a confirmation; --yes gives it", p.Changes())
		}
		if !o.Ask(fmt.Sprintf("Make %d changes to %s?", p.Changes(), name)) {
			return Stopped, errors.New("stopped: not confirmed")
		}
	}
	if o.DryRun {
		if p.Changes() > 0 {
			return Pending, nil
		}
		return Done, nil
	}
	return r.apply(ctx, name, target, in, p, st, statePath)
}

// apply writes, reads again what came of it, and remembers it.
func (r *Runner) apply(ctx context.Context, name string, target Target, in *Inputs, p *Plan, st *state, statePath string) (Exit, error) {
	var added []string
	var failure error
	wrote := false
	if p.Changes() > 0 {
		if added, wrote, failure = target.Apply(ctx, in.Current, p); failure != nil && !wrote {
			return Failed, failure
		}
	}
	now := in.Current
	if wrote {
		var err error
		if now, err = target.Current(context.WithoutCancel(ctx)); err != nil {
			// What was added is remembered all the same: if it is there, it is the tool's own.
			failure = errors.Join(failure, fmt.Errorf("the list could not be read again: %w", err))
			now = append(slices.Clone(in.Current), blocks(added)...)
		}
	}
	there := map[string]bool{}
	for _, b := range now {
		there[b.Domain] = true
	}
	managed := map[string]bool{}
	for _, d := range append(slices.Clone(in.Managed), added...) {
		if there[d] {
			managed[d] = true
		}
	}
	for _, d := range added {
		if !there[d] {
			failure = errors.Join(failure, fmt.Errorf("%s was added, but is not on the list", d))
		}
	}
	for _, b := range p.Remove {
		if failure == nil && there[b.Domain] {
			failure = fmt.Errorf("%s was removed, but is still on the list", b.Domain)
		}
	}
	st.Target, st.Managed, st.Time = name, slices.Sorted(maps.Keys(managed)), time.Now().UTC()
	if st.Managed == nil {
		st.Managed = []string{}
	}
	st.Written = written(in, p, added, now, managed, failure == nil)
	for _, c := range p.Counts {
		st.Sources[c.Name] = c.Count
	}
	if err := st.write(statePath); err != nil {
		failure = errors.Join(failure, fmt.Errorf("the state could not be written: %w", err))
	}
	if failure != nil {
		return Partly, failure
	}
	return Done, nil
}

// written tells which comments the tool wrote last to the managed entries. When all went well, that is what the plan said;
// after a failure, only what is on the list now.
func written(in *Inputs, p *Plan, added []string, now []Block, managed map[string]bool, all bool) map[string]Comments {
	out := map[string]Comments{}
	for d, c := range in.Written {
		if managed[d] {
			out[d] = c
		}
	}
	on := map[string]Block{}
	for _, b := range now {
		on[b.Domain] = b
	}
	for _, e := range p.Add {
		if managed[e.Domain] && slices.Contains(added, e.Domain) {
			out[e.Domain] = in.comments(e)
		}
	}
	for _, e := range p.Update {
		if b := on[e.Domain]; managed[e.Domain] && (all || b.Public == e.Public && b.Private == e.Private) {
			out[e.Domain] = in.comments(e)
		}
	}
	return out
}

// comments are those that an entry should have, whatever is on the list.
func (in *Inputs) comments(e Entry) Comments {
	c := Comments{Private: e.Comment}
	if in.PublicReasons {
		c.Public = e.Comment
	}
	return c
}

func blocks(domains []string) []Block {
	out := make([]Block, len(domains))
	for i, d := range domains {
		out[i] = Block{Domain: d}
	}
	return out
}

// inputs gathers all that does not come from the target's list or the state.
func (r *Runner) inputs(ctx context.Context, cfg *TargetConfig, t Target) (*Inputs, error) {
	own, err := r.Config.Own(cfg)
	if err != nil {
		return nil, err
	}
	sources, err := Gather(ctx, r.Fediseer, r.Config, own)
	if err != nil {
		return nil, err
	}
	host := ""
	if u, err := url.Parse(r.Config.Fediseer.URL); err == nil {
		host = u.Hostname()
	}
	return &Inputs{Sources: *sources, Extra: r.Config.Extra, Safelist: r.Config.Safelist, Own: own, FediseerHost: host, Severity: cfg.Severity, PublicReasons: cfg.PublicReasons,
		BlockHesitations: r.Config.Hesitations.Block, Traits: t.Traits(), MaxRemoveShare: r.Config.maxRemoveShare()}, nil
}

// Report is the JSON form of a plan.
type Report struct {
	Target  string        `json:"target"`
	Add     []string      `json:"add"`
	Update  []string      `json:"update"`
	Remove  []string      `json:"remove"`
	Keep    int           `json:"keep"`
	Refused []Refusal     `json:"refused"`
	Sources []SourceCount `json:"sources"`
}

func (r *Runner) show(name string, cfg *TargetConfig, p *Plan, asJSON bool) {
	if asJSON {
		rep := Report{Target: name, Add: []string{}, Update: []string{}, Remove: []string{}, Keep: len(p.Keep), Refused: append([]Refusal{}, p.Refused...), Sources: p.Counts}
		for _, e := range p.Add {
			rep.Add = append(rep.Add, e.Domain)
		}
		for _, e := range p.Update {
			rep.Update = append(rep.Update, e.Domain)
		}
		for _, b := range p.Remove {
			rep.Remove = append(rep.Remove, b.Domain)
		}
		enc := json.NewEncoder(r.Out)
		_ = enc.Encode(rep) // a closed output is noticed by who closed it
		return
	}
	where := cfg.URL
	if where == "" {
		where = cfg.Path
	}
	fmt.Fprintf(r.Out, "%s (%s, %s)\n", name, cfg.Kind, where)
	for _, c := range p.Counts {
		fmt.Fprintf(r.Out, "  source %-12s %d domains\n", c.Name, c.Count)
	}
	line := func(sign string, e Entry) {
		fmt.Fprintf(r.Out, "%s %-40s %s (%s)", sign, e.Domain, e.Severity, strings.Join(e.From, ", "))
		if e.Comment != "" {
			fmt.Fprintf(r.Out, ": %s", e.Comment)
		}
		fmt.Fprintln(r.Out)
	}
	for _, e := range p.Add {
		line("+", e)
	}
	for _, e := range p.Update {
		line("~", e)
	}
	for _, b := range p.Remove {
		fmt.Fprintf(r.Out, "- %s\n", b.Domain)
	}
	for _, x := range p.Refused {
		fmt.Fprintf(r.Out, "! %-40s not blocked: %s\n", x.Domain, x.Why)
	}
	fmt.Fprintf(r.Out, "%d to add, %d to change, %d to remove, %d stay (%d of them by this tool)\n", len(p.Add), len(p.Update), len(p.Remove), len(p.Keep), len(p.Managed))
}

// Export writes everything that is wanted in a format. name is a target whose rules apply: its own domain is protected, its
// severity and public_reasons hold. With an empty name public_reasons holds where all file targets of this format, or
// without such a target all targets, agree on it. public shows the reasons in any case.
func (r *Runner) Export(ctx context.Context, name, format string, public bool, w io.Writer) error {
	if !validFormat(format) {
		return fmt.Errorf("format %q is not known", format)
	}
	cfg := &TargetConfig{Kind: "file", Format: format, PublicReasons: r.publicReasons(format)}
	if name != "" {
		if r.Config.Targets[name] == nil {
			return fmt.Errorf("there is no target %q", name)
		}
		cfg = r.Config.Targets[name]
	}
	in, err := r.inputs(ctx, cfg, &file{cfg: &TargetConfig{Kind: "file", Format: format}})
	if err != nil {
		return err
	}
	public = public || cfg.PublicReasons
	return WriteEntries(w, format, MakePlan(*in).Add, public)
}

// publicReasons tells whether an export in a format shows the reasons: where all file targets of that format do, or, when
// there are none, all targets.
func (r *Runner) publicReasons(format string) bool {
	var alike, all []bool
	for _, t := range r.Config.Targets {
		all = append(all, t.PublicReasons)
		if t.Kind == "file" && t.Format == format {
			alike = append(alike, t.PublicReasons)
		}
	}
	if alike == nil {
		alike = all
	}
	return alike != nil && !slices.Contains(alike, false)
}

// Push censures what the server blocks and the own instance does not censure yet.
func (r *Runner) Push(ctx context.Context, name string, o Options) (Exit, error) {
	cfg := r.Config.Targets[name]
	target, err := NewTarget(cfg, r.HTTP)
	if err != nil {
		return Failed, err
	}
	if r.Config.Fediseer.APIKey == "" {
		return Failed, errors.New("push needs the API key of the instance")
	}
	me, err := r.Fediseer.LogIn(ctx)
	if err != nil {
		return Failed, err
	}
	current, err := target.Current(ctx)
	if err != nil {
		return Failed, err
	}
	own, err := r.Fediseer.Censures.GivenDomains(ctx, []string{me.Domain}, fediseer.GivenFilter{})
	if err != nil {
		return Failed, err
	}
	var entries []fediseer.JudgementEntry
	for _, b := range current {
		d, err := fediseer.NormalizeDomain(b.Domain)
		if err != nil || d == me.Domain || slices.Contains(own, d) {
			continue
		}
		entries = append(entries, fediseer.JudgementEntry{Domain: d, Reason: cutAtComma(Labels([]string{b.Comment}), maxReason)})
	}
	slices.SortFunc(entries, func(a, b fediseer.JudgementEntry) int { return strings.Compare(a.Domain, b.Domain) })
	for _, e := range entries {
		fmt.Fprintf(r.Out, "+ %s %s\n", e.Domain, e.Reason)
	}
	fmt.Fprintf(r.Out, "%d to censure\n", len(entries))
	switch {
	case len(entries) == 0:
		return Done, nil
	case o.DryRun:
		return Pending, nil
	}
	_, err = r.Fediseer.Censures.Batch(ctx, entries, fediseer.BatchOptions{})
	if errors.Is(err, fediseer.ErrForbidden) {
		return Stopped, err
	}
	if err != nil {
		return Failed, err
	}
	return Done, nil
}

// maxReason is the longest reason of a censure, in characters.
const maxReason = 255

// cutAtComma shortens a list of labels to whole ones.
func cutAtComma(s string, n int) string {
	if len([]rune(s)) <= n {
		return s
	}
	s = cutRunes(s, n+1)
	if i := strings.LastIndexByte(s, ','); i > 0 {
		return s[:i]
	}
	return cutRunes(s, n)
}

// WhoAmI tells as whom the tool acts.
func (r *Runner) WhoAmI(ctx context.Context) error {
	if r.Config.Fediseer.APIKey == "" {
		fmt.Fprintf(r.Out, "%s: no API key, reading what is open\n", r.Config.Fediseer.URL)
	} else {
		me, err := r.Fediseer.LogIn(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(r.Out, "%s: %s\n", r.Config.Fediseer.URL, me.Domain)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Config.Targets)) {
		t, err := NewTarget(r.Config.Targets[name], r.HTTP)
		if err != nil {
			return err
		}
		user, admin, err := t.WhoAmI(ctx)
		if err != nil {
			return fmt.Errorf("target %s: %w", name, err)
		}
		can := "may change the list"
		if !admin {
			can = "may NOT change the list"
		}
		fmt.Fprintf(r.Out, "%s: %s, %s\n", name, user, can)
	}
	return nil
}
