// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres

import (
	"fmt"
	"strings"
)

// table is what rows are made for: the columns of a table, or some of them, with their types.
type table struct {
	name         string
	names, types []string
}

// newTable reads "name type, name type, …".
func newTable(name, spec string) table {
	t := table{name: name}
	for column := range strings.SplitSeq(spec, ",") {
		name, kind, _ := strings.Cut(strings.TrimSpace(column), " ")
		if elementOID[kind] == 0 {
			panic("postgres: no way to write a " + kind)
		}
		t.names, t.types = append(t.names, name), append(t.types, kind)
	}
	return t
}

func (t *table) columns() string { return strings.Join(t.names, ", ") }

// rows are none yet, with memory for a number of them.
func (t *table) rows(expected int) *rows {
	const size = 12 // bytes that most values need, with their length
	r := &rows{columns: make([]array, len(t.names))}
	for i := range r.columns {
		r.columns[i].buf = make([]byte, arrayHeader, arrayHeader+size*expected)
	}
	return r
}

// unnest turns the parameters of a statement back into rows.
func (t *table) unnest() string {
	list := make([]string, len(t.types))
	for i, kind := range t.types {
		list[i] = fmt.Sprintf("$%d::%s[]", i+1, kind)
	}
	return "unnest(" + strings.Join(list, ", ") + ")"
}

func (t *table) insert() string {
	return "INSERT INTO " + t.name + " (" + t.columns() + ") SELECT * FROM " + t.unnest()
}

// upsert puts rows in the place of those with the same key.
func (t *table) upsert(key string) string {
	var set []string
	for _, name := range t.names {
		if !strings.Contains(", "+key+", ", ", "+name+", ") {
			set = append(set, name+" = excluded."+name)
		}
	}
	return t.insert() + " ON CONFLICT (" + key + ") DO UPDATE SET " + strings.Join(set, ", ")
}
