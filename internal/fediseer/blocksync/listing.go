// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"horde/fediseer"
)

// listing is a file of blocks that is changed entry by entry: what is not touched keeps its bytes, so that the notes,
// columns and keys of people survive.
type listing struct {
	format  string
	records []record
	// newline is how the file's lines end.
	newline string
	// columns are the places of a CSV file's columns, and width their number.
	columns map[string]int
	width   int
}

// record is a piece of a file: an entry, or with an empty domain a heading, a comment or a blank line. raw has its
// newline, except in JSON.
type record struct {
	domain string
	raw    []byte
	entry  Entry
}

// Columns of Mastodon's CSV that the tool writes.
const (
	columnDomain   = "domain"
	columnSeverity = "severity"
	columnComment  = "public_comment"
)

var csvColumns = []string{columnDomain, columnSeverity, "reject_media", "reject_reports", columnComment, "obfuscate"}

// byteOrderMark is what some editors put in front of UTF-8.
const byteOrderMark = "\ufeff"

func parseListing(b []byte, format string) (*listing, error) {
	l := &listing{format: format, newline: "\n"}
	if bytes.Contains(b, []byte("\r\n")) {
		l.newline = "\r\n"
	}
	var err error
	switch format {
	case FormatMastodonCSV:
		err = l.parseCSV(b)
	case FormatGoToSocialJSON:
		err = l.parseJSON(b)
	default:
		err = l.parsePlain(b)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func notDomain(place string, n int, text string) error {
	return fmt.Errorf("%s %d: %q is not a domain; nothing is written", place, n, cutRunes(text, 80))
}

func (l *listing) parsePlain(b []byte) error {
	n := 0
	for raw := range bytes.Lines(b) {
		n++
		line, _, _ := strings.Cut(strings.TrimPrefix(string(raw), byteOrderMark), "#")
		r := record{raw: raw}
		if line = strings.TrimSpace(line); line != "" {
			d, err := fediseer.NormalizeDomain(line)
			if err != nil {
				return notDomain("line", n, line)
			}
			r.domain, r.entry = d, Entry{Domain: d}
		}
		l.records = append(l.records, r)
	}
	return nil
}

func (l *listing) setColumns(names []string) {
	l.columns, l.width = map[string]int{}, len(names)
	for i, n := range names {
		n = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(n), "#"))
		if _, twice := l.columns[n]; !twice {
			l.columns[n] = i
		}
	}
}

func (l *listing) parseCSV(b []byte) error {
	l.setColumns(csvColumns)
	mark := len(b) - len(bytes.TrimPrefix(b, []byte(byteOrderMark)))
	c := csv.NewReader(bytes.NewReader(b[mark:]))
	c.FieldsPerRecord = -1
	at, headed := 0, false
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("the file is not CSV: %w; nothing is written", err)
		}
		end := mark + int(c.InputOffset())
		r := record{raw: b[at:end]} // with the blank lines before it, which the reader skips
		at = end
		line, _ := c.FieldPos(0)
		first := strings.ToLower(strings.TrimSpace(row[0]))
		heading := !headed && slices.ContainsFunc(row, func(s string) bool {
			return strings.EqualFold(strings.TrimPrefix(strings.TrimSpace(s), "#"), columnDomain)
		})
		switch {
		case heading:
			l.setColumns(row)
			headed = true
		case strings.HasPrefix(first, "#") || strings.TrimSpace(strings.Join(row, "")) == "":
		default:
			e, ok := l.row(row)
			if !ok {
				return notDomain("line", line, l.field(row, columnDomain))
			}
			r.domain, r.entry = e.Domain, e
		}
		l.records = append(l.records, r)
	}
	if at < len(b) {
		l.records = append(l.records, record{raw: b[at:]})
	}
	if len(l.records) == 0 {
		l.records = []record{{raw: l.line("#" + strings.Join(csvColumns, ",#"))}}
	}
	return nil
}

func (l *listing) field(row []string, column string) string {
	if i, ok := l.columns[column]; ok && i < len(row) {
		return row[i]
	}
	return ""
}

func (l *listing) row(row []string) (Entry, bool) {
	d, err := fediseer.NormalizeDomain(l.field(row, columnDomain))
	comment := l.field(row, columnComment)
	return Entry{Domain: d, Severity: cmp.Or(l.field(row, columnSeverity), Suspend), Comment: comment, Public: comment}, err == nil
}

func (l *listing) parseJSON(b []byte) error {
	b = bytes.TrimPrefix(b, []byte(byteOrderMark))
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil || list == nil {
		return fmt.Errorf("the file is not a JSON list: %w; nothing is written", cmp.Or(err, errors.New("it is null")))
	}
	for i, raw := range list {
		var x struct {
			Domain  string  `json:"domain"`
			Public  *string `json:"public_comment"`
			Private *string `json:"private_comment"`
		}
		if err := json.Unmarshal(raw, &x); err != nil {
			return fmt.Errorf("entry %d of the list cannot be read: %w; nothing is written", i+1, err)
		}
		d, err := fediseer.NormalizeDomain(x.Domain)
		if err != nil {
			return notDomain("entry", i+1, x.Domain)
		}
		e := Entry{Domain: d}
		if x.Public != nil {
			e.Public = *x.Public
		}
		if x.Private != nil {
			e.Private = *x.Private
		}
		e.Comment = cmp.Or(e.Private, e.Public)
		l.records = append(l.records, record{domain: d, raw: raw, entry: e})
	}
	return nil
}

func (l *listing) entries() []Entry {
	var out []Entry
	for _, r := range l.records {
		if r.domain != "" {
			out = append(out, r.entry)
		}
	}
	return out
}

func (l *listing) line(s string) []byte { return []byte(s + l.newline) }

// encode writes a new entry.
func (l *listing) encode(e Entry) ([]byte, error) {
	switch l.format {
	case FormatMastodonCSV:
		row := make([]string, l.width)
		for _, c := range []string{"reject_media", "reject_reports", "obfuscate"} {
			if i, ok := l.columns[c]; ok {
				row[i] = "false"
			}
		}
		row[l.columns[columnDomain]] = e.Domain
		return l.encodeRow(row, e)
	case FormatGoToSocialJSON:
		return setKeys([]byte("{}"), []keyValue{{"domain", e.Domain}, {columnComment, e.Public}, {"private_comment", e.Private}})
	}
	return l.line(e.Domain), nil
}

// encodeRow writes a CSV row with an entry's severity and comment.
func (l *listing) encodeRow(row []string, e Entry) ([]byte, error) {
	set := func(column, value string) {
		i, ok := l.columns[column]
		if !ok {
			return
		}
		for len(row) <= i {
			row = append(row, "")
		}
		row[i] = value
	}
	set(columnSeverity, cmp.Or(e.Severity, Suspend))
	set(columnComment, e.Public)
	var b bytes.Buffer
	c := csv.NewWriter(&b)
	c.UseCRLF = l.newline == "\r\n"
	if err := c.Write(row); err != nil {
		return nil, err
	}
	c.Flush()
	return b.Bytes(), c.Error()
}

// remove takes out a domain's entry.
func (l *listing) remove(domain string) {
	l.records = slices.DeleteFunc(l.records, func(r record) bool { return r.domain == domain })
}

// update gives a domain's entry the severity and the comments of e. All else in it stays.
func (l *listing) update(e Entry) error {
	for i := range l.records {
		r := &l.records[i]
		if r.domain != e.Domain {
			continue
		}
		var err error
		switch l.format {
		case FormatMastodonCSV:
			rest := bytes.TrimLeft(r.raw, byteOrderMark+"\r\n")
			before := r.raw[:len(r.raw)-len(rest)]
			c := csv.NewReader(bytes.NewReader(rest))
			c.FieldsPerRecord = -1
			var row []string
			if row, err = c.Read(); err == nil {
				if rest, err = l.encodeRow(row, e); err == nil {
					r.raw = append(slices.Clone(before), rest...)
				}
			}
		case FormatGoToSocialJSON:
			r.raw, err = setKeys(r.raw, []keyValue{{columnComment, e.Public}, {"private_comment", e.Private}})
		}
		if err != nil {
			return fmt.Errorf("change the entry of %s: %w", e.Domain, err)
		}
	}
	return nil
}

// add puts in an entry: behind its predecessor where the file is sorted, otherwise at the end. A comment stays with what
// follows it.
func (l *listing) add(e Entry) error {
	raw, err := l.encode(e)
	if err != nil {
		return err
	}
	at, last, sorted := len(l.records), "", true
	for i := len(l.records) - 1; i >= 0; i-- {
		d := l.records[i].domain
		if d == "" {
			continue
		}
		sorted = sorted && (last == "" || d <= last)
		if last = d; d > e.Domain {
			at = i
		}
	}
	for at > 0 && at < len(l.records) && l.records[at-1].domain == "" && !l.heading(at-1) {
		at--
	}
	if !sorted || at == 0 && len(l.records) > 0 && l.records[0].domain == "" {
		at = len(l.records)
	}
	if at > 0 && l.format != FormatGoToSocialJSON {
		if before := &l.records[at-1]; !bytes.HasSuffix(before.raw, []byte("\n")) {
			before.raw = append(slices.Clone(before.raw), l.newline...)
		}
	}
	l.records = slices.Insert(l.records, at, record{domain: e.Domain, raw: raw, entry: e})
	return nil
}

// heading tells whether a record is the first line of a CSV file that names the columns.
func (l *listing) heading(i int) bool {
	return l.format == FormatMastodonCSV && i == 0 && l.records[0].domain == ""
}

func (l *listing) bytes() []byte {
	var b bytes.Buffer
	if l.format != FormatGoToSocialJSON {
		for _, r := range l.records {
			b.Write(r.raw)
		}
		return b.Bytes()
	}
	b.WriteString("[")
	for i, r := range l.records {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(l.newline + "  ")
		b.Write(r.raw)
	}
	if len(l.records) > 0 {
		b.WriteString(l.newline)
	}
	b.WriteString("]" + l.newline)
	return b.Bytes()
}

type keyValue struct{ key, value string }

// setKeys sets texts in a JSON object and keeps the values and the order of the others. An empty text is not added, and
// takes out one that is there.
func setKeys(raw []byte, set []keyValue) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	type member struct {
		key   string
		value json.RawMessage
	}
	var members []member
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string) // the keys of an object are texts
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		members = append(members, member{name, value})
	}
	for _, kv := range set {
		at := slices.IndexFunc(members, func(m member) bool { return m.key == kv.key })
		if kv.value == "" {
			if at >= 0 {
				members = slices.Delete(members, at, at+1)
			}
			continue
		}
		value, err := encodeText(kv.value)
		if err != nil {
			return nil, err
		}
		if at >= 0 {
			members[at].value = value
		} else {
			members = append(members, member{kv.key, value})
		}
	}
	var b bytes.Buffer
	b.WriteString("{")
	for i, m := range members {
		key, err := encodeText(m.key)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "\n    %s: %s", key, m.value)
	}
	b.WriteString("\n  }")
	return b.Bytes(), nil
}

// encodeText writes a JSON text without the escapes that only HTML needs.
func encodeText(s string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return bytes.TrimSpace(b.Bytes()), err
}
