// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"horde/internal/horde"
)

// params binds the parameters of a statement from left to right.
type params struct {
	*sqlite.Stmt
	n int // the last one that was bound
}

func (p *params) int(values ...int64) {
	for _, v := range values {
		p.n++
		p.BindInt64(p.n, v)
	}
}

func (p *params) bool(values ...bool) {
	for _, v := range values {
		p.n++
		p.BindBool(p.n, v)
	}
}

func (p *params) text(values ...string) {
	for _, v := range values {
		p.n++
		p.BindText(p.n, v)
	}
}

func (p *params) float(v float64) {
	p.n++
	p.BindFloat(p.n, v)
}

func (p *params) bytes(v []byte) {
	p.n++
	p.BindBytes(p.n, v)
}

func (p *params) null() {
	p.n++
	p.BindNull(p.n)
}

// id binds NULL for no id.
func (p *params) id(id uuid.UUID) {
	if id == uuid.Nil {
		p.null()
		return
	}
	p.bytes(id[:])
}

// time binds microseconds since 1970, and NULL for the zero time.
func (p *params) time(values ...time.Time) {
	for _, t := range values {
		if t.IsZero() {
			p.null()
		} else {
			p.int(t.UnixMicro())
		}
	}
}

func (p *params) suspicions(list []horde.Suspicion) {
	if len(list) == 0 {
		p.null()
		return
	}
	b := make([]byte, len(list))
	for i, s := range list {
		b[i] = byte(s)
	}
	p.bytes(b)
}

// document binds v as JSON, and "" where that is empty.
func (p *params) document(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if text := string(data); text != "{}" && text != "null" {
		p.text(text)
	} else {
		p.text("")
	}
	return nil
}

// run executes the statement, which returns no rows, and makes it ready for the next.
func (p *params) run() error {
	p.n = 0
	if _, err := p.Step(); err != nil {
		return err
	}
	return p.Reset()
}

// columns reads the columns of a row from left to right.
type columns struct {
	*sqlite.Stmt
	n int // the next one to read
}

func (c *columns) next() int {
	c.n++
	return c.n - 1
}

func (c *columns) int() int64     { return c.ColumnInt64(c.next()) }
func (c *columns) bool() bool     { return c.ColumnInt64(c.next()) != 0 }
func (c *columns) float() float64 { return c.ColumnFloat(c.next()) }
func (c *columns) text() string   { return c.ColumnText(c.next()) }

func (c *columns) id() (id uuid.UUID) {
	c.ColumnBytes(c.next(), id[:])
	return id
}

func (c *columns) time() time.Time {
	i := c.next()
	us := c.ColumnInt64(i)
	if us == 0 && c.ColumnIsNull(i) {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func (c *columns) duration() time.Duration { return time.Duration(c.int()) }

func (c *columns) suspicions() []horde.Suspicion {
	i := c.next()
	n := c.ColumnLen(i)
	if n == 0 {
		return nil
	}
	b, list := make([]byte, n), make([]horde.Suspicion, n)
	c.ColumnBytes(i, b)
	for k, s := range b {
		list[k] = horde.Suspicion(s)
	}
	return list
}

func (c *columns) document(v any) error {
	i := c.next()
	n := c.ColumnLen(i)
	if n == 0 {
		return nil
	}
	b := make([]byte, n)
	c.ColumnBytes(i, b)
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("column %d: %w", i, err)
	}
	return nil
}
