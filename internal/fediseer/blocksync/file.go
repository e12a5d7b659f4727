// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
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

var csvHeader = []string{"#domain", "#severity", "#reject_media", "#reject_reports", "#public_comment", "#obfuscate"}

// goToSocialEntry is an entry of GoToSocial's import and export.
type goToSocialEntry struct {
	Domain         string `json:"domain"`
	PublicComment  string `json:"public_comment,omitempty"`
	PrivateComment string `json:"private_comment,omitempty"`
}

// WriteEntries writes entries in a format, sorted by domain, so that differences between versions are small. Comments are
// left out unless public is true, but for the private ones of GoToSocial.
func WriteEntries(w io.Writer, format string, entries []Entry, public bool) error {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Domain, b.Domain) })
	comment := func(e Entry) string {
		if public {
			return e.Comment
		}
		return ""
	}
	switch format {
	case FormatMastodonCSV:
		c := csv.NewWriter(w)
		if err := c.Write(csvHeader); err != nil {
			return err
		}
		for _, e := range entries {
			severity := e.Severity
			if severity == "" {
				severity = Suspend
			}
			if err := c.Write([]string{e.Domain, severity, "false", "false", comment(e), "false"}); err != nil {
				return err
			}
		}
		c.Flush()
		return c.Error()
	case FormatGoToSocialJSON:
		list := make([]goToSocialEntry, len(entries))
		for i, e := range entries {
			list[i] = goToSocialEntry{Domain: e.Domain, PublicComment: comment(e), PrivateComment: e.Comment}
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(list)
	case FormatPlain:
		for _, e := range entries {
			if _, err := fmt.Fprintln(w, e.Domain); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("format %q is not known", format)
}

// ReadEntries reads what WriteEntries wrote, and what people added to it by hand.
func ReadEntries(r io.Reader, format string) ([]Entry, error) {
	var out []Entry
	switch format {
	case FormatMastodonCSV:
		c := csv.NewReader(r)
		c.FieldsPerRecord = -1
		rows, err := c.ReadAll()
		if err != nil {
			return nil, fmt.Errorf("the file is not CSV: %w", err)
		}
		for _, row := range rows {
			if len(row) == 0 || strings.HasPrefix(row[0], "#") || row[0] == "" {
				continue
			}
			e := Entry{Domain: normal(row[0]), Severity: Suspend}
			if len(row) > 1 && row[1] != "" {
				e.Severity = row[1]
			}
			if len(row) > 4 {
				e.Comment = row[4]
			}
			out = append(out, e)
		}
	case FormatGoToSocialJSON:
		var list []goToSocialEntry
		if err := json.NewDecoder(r).Decode(&list); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("the file is not a JSON list: %w", err)
		}
		for _, x := range list {
			e := Entry{Domain: normal(x.Domain), Comment: x.PrivateComment}
			if e.Comment == "" {
				e.Comment = x.PublicComment
			}
			out = append(out, e)
		}
	default:
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, Entry{Domain: normal(line)})
			}
		}
	}
	return out, nil
}

// file keeps a list in a file.
type file struct{ cfg *TargetConfig }

func (f *file) Traits() Traits {
	return Traits{Subdomains: true, Severities: f.cfg.Format == FormatMastodonCSV}
}

func (f *file) WhoAmI(context.Context) (string, bool, error) { return f.cfg.Path, true, nil }

func (f *file) read() ([]Entry, error) {
	b, err := os.ReadFile(f.cfg.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ReadEntries(bytes.NewReader(b), f.cfg.Format)
}

func (f *file) Current(context.Context) ([]Block, error) {
	entries, err := f.read()
	out := make([]Block, len(entries))
	for i, e := range entries {
		out[i] = Block{Domain: e.Domain, Severity: e.Severity, Comment: e.Comment}
	}
	return out, err
}

func (f *file) Apply(_ context.Context, _ []Block, p *Plan) (added []string, wrote bool, err error) {
	entries, err := f.read()
	if err != nil {
		return nil, false, err
	}
	entries = slices.DeleteFunc(entries, func(e Entry) bool {
		same := func(x Entry) bool { return x.Domain == e.Domain }
		return slices.ContainsFunc(p.Remove, func(b Block) bool { return b.Domain == e.Domain }) || slices.ContainsFunc(p.Update, same)
	})
	entries = append(append(entries, p.Add...), p.Update...)
	var b bytes.Buffer
	if err := WriteEntries(&b, f.cfg.Format, entries, f.cfg.PublicReasons); err != nil {
		return nil, false, err
	}
	if err := writeAtomically(f.cfg.Path, b.Bytes()); err != nil {
		return nil, false, err
	}
	for _, e := range p.Add {
		added = append(added, e.Domain)
	}
	return added, true, nil
}

// writeAtomically replaces a file as a whole: a reader sees the old or the new one.
func writeAtomically(path string, b []byte) error {
	t, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name()) // does nothing after the rename
	if err := t.Chmod(0o644); err != nil {
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
