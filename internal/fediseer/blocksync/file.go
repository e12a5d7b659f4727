// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Formats of files.
const (
	FormatMastodonCSV    = "mastodon-csv"
	FormatGoToSocialJSON = "gotosocial-json"
	FormatPlain          = "plain"
)

func validFormat(f string) bool {
	return f == FormatMastodonCSV || f == FormatGoToSocialJSON || f == FormatPlain
}

// WriteEntries writes entries in a format, sorted by domain, so that differences between versions are small. Comments are
// left out unless public is true, but for the private ones of GoToSocial.
func WriteEntries(w io.Writer, format string, entries []Entry, public bool) error {
	if !validFormat(format) {
		return fmt.Errorf("format %q is not known", format)
	}
	l, err := parseListing(nil, format)
	if err != nil {
		return err
	}
	for _, e := range slices.SortedFunc(slices.Values(entries), func(a, b Entry) int { return strings.Compare(a.Domain, b.Domain) }) {
		if e.Public, e.Private = "", e.Comment; public {
			e.Public = e.Comment
		}
		raw, err := l.encode(e)
		if err != nil {
			return err
		}
		l.records = append(l.records, record{domain: e.Domain, raw: raw})
	}
	_, err = w.Write(l.bytes())
	return err
}

// ReadEntries reads what WriteEntries wrote, and what people added to it by hand. What is no domain is an error that names
// the place.
func ReadEntries(r io.Reader, format string) ([]Entry, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	l, err := parseListing(b, format)
	if err != nil {
		return nil, err
	}
	return l.entries(), nil
}

// file keeps a list in a file.
type file struct {
	cfg *TargetConfig
	// commentless and severityless tell that the file, as it was read last, is a CSV file without that column.
	commentless, severityless bool
}

// Traits tells after Current what the file as it is can express.
func (f *file) Traits() Traits {
	return Traits{Subdomains: true, Severities: f.cfg.Format == FormatMastodonCSV && !f.severityless,
		PublicComments: f.cfg.Format == FormatMastodonCSV && !f.commentless || f.cfg.Format == FormatGoToSocialJSON, PrivateComments: f.cfg.Format == FormatGoToSocialJSON}
}

func (f *file) WhoAmI(context.Context) (string, bool, error) { return f.cfg.Path, true, nil }

func (f *file) read() (*listing, error) {
	b, err := os.ReadFile(f.cfg.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := parseListing(b, f.cfg.Format)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.cfg.Path, err)
	}
	_, comments := l.columns[columnComment]
	_, severities := l.columns[columnSeverity]
	f.commentless, f.severityless = !comments, !severities
	return l, nil
}

func (f *file) Current(context.Context) ([]Block, error) {
	l, err := f.read()
	if err != nil {
		return nil, err
	}
	entries := l.entries()
	out := make([]Block, len(entries))
	for i, e := range entries {
		out[i] = Block{Domain: e.Domain, Severity: e.Severity, Comment: e.Comment, Public: e.Public, Private: e.Private}
	}
	return out, nil
}

func (f *file) Apply(_ context.Context, _ []Block, p *Plan) (added []string, wrote bool, err error) {
	l, err := f.read()
	if err != nil {
		return nil, false, err
	}
	for _, b := range p.Remove {
		l.remove(b.Domain)
	}
	for _, e := range p.Update {
		if err := l.update(e); err != nil {
			return nil, false, err
		}
	}
	for _, e := range p.Add {
		if err := l.add(e); err != nil {
			return nil, false, err
		}
		added = append(added, e.Domain)
	}
	if err := writeAtomically(f.cfg.Path, l.bytes()); err != nil {
		return nil, false, err
	}
	return added, true, nil
}

// writeAtomically replaces a file as a whole: a reader sees the old or the new one. The permissions stay, and a symbolic
// link stays one.
func writeAtomically(path string, b []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	mode := os.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	t, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name()) // does nothing after the rename
	if err := t.Chmod(mode); err != nil {
		t.Close()
		return err
	}
	_, err = t.Write(b)
	if err == nil {
		err = t.Sync()
	}
	if err := errors.Join(err, t.Close()); err != nil {
		return err
	}
	return os.Rename(t.Name(), path)
}
