// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"horde/internal/horde"
)

// elementOID are the types of columns that rows can hold, by their names in SQL.
var elementOID = map[string]uint32{
	"bigint": pgtype.Int8OID, "boolean": pgtype.BoolOID, "bytea": pgtype.ByteaOID, "double precision": pgtype.Float8OID,
	"json": pgtype.JSONOID, "text": pgtype.TextOID, "timestamptz": pgtype.TimestamptzOID, "uuid": pgtype.UUIDOID,
}

// rows are many rows on their way to the database: an array for each column, in PostgreSQL's binary format, so that one
// statement takes them all. Values are added row by row, from left to right. Putting them there directly takes a fraction of
// the time of going through interfaces.
type rows struct {
	columns []array
	at      int // the next column
}

type array struct {
	count int
	nulls bool
	buf   []byte
}

// arrayHeader is what comes before the elements: the number of dimensions, whether there are NULLs, the type of the elements,
// and for the one dimension its length and first index, in 4 bytes each.
const arrayHeader = 20

func (r *rows) next() *array {
	a := &r.columns[r.at]
	if r.at++; r.at == len(r.columns) {
		r.at = 0
	}
	a.count++
	return a
}

// length is how many rows there are.
func (r *rows) length() int { return r.columns[0].count }

// parameters are the arrays in the order of the columns.
func (r *rows) parameters(types []string) [][]byte {
	list := make([][]byte, len(r.columns))
	for i := range r.columns {
		a := &r.columns[i]
		head := binary.BigEndian.AppendUint32(a.buf[:0], 1)
		nulls := uint32(0)
		if a.nulls {
			nulls = 1
		}
		head = binary.BigEndian.AppendUint32(head, nulls)
		head = binary.BigEndian.AppendUint32(head, elementOID[types[i]])
		head = binary.BigEndian.AppendUint32(head, uint32(a.count))
		binary.BigEndian.AppendUint32(head, 1)
		list[i] = a.buf
	}
	return list
}

func (r *rows) int(values ...int64) {
	for _, v := range values {
		a := r.next()
		a.buf = binary.BigEndian.AppendUint32(a.buf, 8)
		a.buf = binary.BigEndian.AppendUint64(a.buf, uint64(v))
	}
}

func (r *rows) float(v float64) { r.int(int64(math.Float64bits(v))) }

func (r *rows) bool(values ...bool) {
	for _, v := range values {
		a := r.next()
		a.buf = binary.BigEndian.AppendUint32(a.buf, 1)
		if v {
			a.buf = append(a.buf, 1)
		} else {
			a.buf = append(a.buf, 0)
		}
	}
}

func (r *rows) bytes(v []byte) {
	a := r.next()
	a.buf = binary.BigEndian.AppendUint32(a.buf, uint32(len(v)))
	a.buf = append(a.buf, v...)
}

func (r *rows) string(v string) {
	a := r.next()
	a.buf = binary.BigEndian.AppendUint32(a.buf, uint32(len(v)))
	a.buf = append(a.buf, v...)
}

func (r *rows) null() {
	a := r.next()
	a.nulls = true
	a.buf = binary.BigEndian.AppendUint32(a.buf, math.MaxUint32)
}

func (r *rows) text(values ...string) {
	for _, v := range values {
		r.string(escape(v))
	}
}

// name adds NULL for "", of which there may be many in a unique column.
func (r *rows) name(values ...string) {
	for _, v := range values {
		if v == "" {
			r.null()
		} else {
			r.text(v)
		}
	}
}

// id adds NULL for no id.
func (r *rows) id(id uuid.UUID) {
	if id == uuid.Nil {
		r.null()
		return
	}
	r.bytes(id[:])
}

// epoch2000 is where PostgreSQL's times begin, in microseconds since 1970.
const epoch2000 = 946_684_800_000_000

// time adds NULL for the zero time.
func (r *rows) time(values ...time.Time) {
	for _, t := range values {
		if t.IsZero() {
			r.null()
		} else {
			r.int(t.UnixMicro() - epoch2000)
		}
	}
}

func (r *rows) suspicions(list []horde.Suspicion) {
	if len(list) == 0 {
		r.null()
		return
	}
	b := make([]byte, len(list))
	for i, s := range list {
		b[i] = byte(s)
	}
	r.bytes(b)
}

// document adds v as JSON, and NULL where that is empty.
func (r *rows) document(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	switch string(data) {
	case "{}", "null":
		r.null()
	default:
		r.bytes(data)
	}
	return nil
}

// escaping begins what stands for something that a text of PostgreSQL cannot hold: it is followed by two hexadecimal digits
// for a byte that is zero, not a part of valid UTF-8, or escaping itself. Nobody types this character.
const escaping = '\x1a'

func escape(s string) string {
	if utf8.ValidString(s) && !strings.ContainsAny(s, "\x00\x1a") {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		if c == 0 || c == escaping || c == utf8.RuneError && n == 1 {
			b.WriteByte(escaping)
			b.WriteString(hex.EncodeToString([]byte(s[:1])))
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

func unescape(s string) (string, error) {
	if strings.IndexByte(s, escaping) < 0 {
		return s, nil
	}
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(s, string(escaping))
		b.WriteString(plain)
		if !found {
			return b.String(), nil
		}
		if len(rest) < 2 {
			return "", fmt.Errorf("a text ends within an escape")
		}
		c, err := hex.DecodeString(rest[:2])
		if err != nil {
			return "", fmt.Errorf("a text with a bad escape: %w", err)
		}
		b.Write(c)
		s = rest[2:]
	}
}

// columns reads the values of a row, in binary format, from left to right. What is wrong with one of them stays in err.
type columns struct {
	values [][]byte
	n      int // the next one to read
	err    error
}

// next returns nil for NULL.
func (c *columns) next() []byte {
	c.n++
	return c.values[c.n-1]
}

func (c *columns) int() int64 {
	v := c.next()
	if len(v) != 8 {
		c.fail(fmt.Errorf("column %d has %d bytes in place of 8", c.n, len(v)))
		return 0
	}
	return int64(binary.BigEndian.Uint64(v))
}

func (c *columns) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *columns) float() float64          { return math.Float64frombits(uint64(c.int())) }
func (c *columns) duration() time.Duration { return time.Duration(c.int()) }

func (c *columns) bool() bool {
	v := c.next()
	return len(v) == 1 && v[0] != 0
}

func (c *columns) text() string {
	s, err := unescape(string(c.next()))
	if err != nil {
		c.fail(fmt.Errorf("column %d: %w", c.n, err))
	}
	return s
}

func (c *columns) id() (id uuid.UUID) {
	copy(id[:], c.next())
	return id
}

func (c *columns) time() time.Time {
	if c.values[c.n] == nil {
		c.n++
		return time.Time{}
	}
	return time.UnixMicro(c.int() + epoch2000).UTC()
}

func (c *columns) suspicions() []horde.Suspicion {
	b := c.next()
	if len(b) == 0 {
		return nil
	}
	list := make([]horde.Suspicion, len(b))
	for i, s := range b {
		list[i] = horde.Suspicion(s)
	}
	return list
}

func (c *columns) document(v any) {
	if b := c.next(); len(b) > 0 {
		if err := json.Unmarshal(b, v); err != nil {
			c.fail(fmt.Errorf("column %d: %w", c.n, err))
		}
	}
}
