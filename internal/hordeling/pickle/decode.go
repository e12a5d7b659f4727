// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

import (
	"context"
	"unicode/utf8"
)

// Dialect says which persistent ids a stream may hold: how a container's pickle names its storages.
type Dialect uint8

const (
	// Plain streams have no persistent ids: the headers of a legacy container.
	Plain Dialect = iota
	// Zip: ("storage", type, key, location, count).
	Zip
	// Legacy: ("storage", type, key, location, count, view), and ("module", class, file, source text).
	Legacy
)

// Options of [Decode]. The zero value is a plain stream under [DefaultLimits].
type Options struct {
	Dialect Dialect
	// Limits; nil means [DefaultLimits].
	Limits *Limits
	// Where is put into refusals as the name of the stream, such as "data.pkl".
	Where string
	// BaseOffset is added to the offsets of refusals: where the stream begins in the part called Where.
	BaseOffset int64
}

// Result is a decoded stream.
type Result struct {
	Root Value
	// Storages that persistent ids named, in order of their first appearance, also those that Root does not reach.
	Storages []*Storage
	// Consumed is how many bytes the stream took, STOP included. Whether more may follow is the container's matter.
	Consumed int64
}

// contextEvery is after how many opcodes the machine looks at its context: about every 50 µs.
const contextEvery = 1024

// Decode runs the stream at the start of data. The error is a [*Refusal], or the context's error where that ended first.
// Decode calls nothing, reads nothing but data, and keeps no reference to it.
func Decode(ctx context.Context, data []byte, opt Options) (*Result, error) {
	limits := opt.Limits
	if limits == nil {
		l := DefaultLimits()
		limits = &l
	}
	cut := false
	if int64(len(data)) > limits.StreamBytes {
		data, cut = data[:limits.StreamBytes], true
	}
	m := &machine{
		scan:     scanner{data: data, limits: limits, cut: cut},
		limits:   limits,
		dialect:  opt.Dialect,
		memo:     make(map[uint32]Value),
		storages: make(map[string]*Storage),
	}
	root, err := m.run(ctx)
	if err != nil {
		// A stream that was cut cannot be followed to its end, so that its first refusal stands.
		if r, ok := err.(*Refusal); ok && !cut && m.stoppedAtOlder(r) {
			_, err = RefuseOlder(ctx, data, opt)
			return nil, err
		}
		return nil, opt.place(err)
	}
	return &Result{Root: root, Storages: m.order, Consumed: int64(m.scan.pos)}, nil
}

// machine is the stack machine. One goroutine owns it for the length of one stream.
type machine struct {
	scan    scanner
	limits  *Limits
	dialect Dialect

	stack []Value
	marks []int // stack heights at the open MARKs
	memo  map[uint32]Value

	storages map[string]*Storage
	order    []*Storage
	tensors  int

	proto int64 // 0 until PROTO came
	steps int   // executed opcodes and copied elements
	in    instruction
}

func (m *machine) refuse(code Code, format string, args ...any) *Refusal {
	return m.scan.refuse(code, m.in.op, int(m.in.offset), format, args...)
}

func (m *machine) run(ctx context.Context) (Value, error) {
	for {
		if m.steps%contextEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		in, err := m.scan.next(true)
		if err != nil {
			return nil, err
		}
		first := m.steps == 0
		m.in = in
		if err := m.charge(1); err != nil {
			return nil, err
		}
		if in.op.Name == "STOP" {
			return m.stop()
		}
		if err := m.step(first); err != nil {
			return nil, err
		}
		if len(m.stack) > m.limits.Stack {
			return nil, m.refuse(TooComplex, "more than %d values on the stack", m.limits.Stack)
		}
	}
}

// charge counts n steps of work against the limit.
func (m *machine) charge(n int) error {
	if n > m.limits.Opcodes-m.steps {
		return m.refuse(TooComplex, "more than %d steps", m.limits.Opcodes)
	}
	m.steps += n
	return nil
}

func (m *machine) stop() (Value, error) {
	if m.proto == 0 {
		return nil, m.refuse(Unsupported, olderReason)
	}
	if len(m.marks) > 0 {
		return nil, m.refuse(Corrupt, "a MARK is still open")
	}
	root, err := m.pop()
	if err != nil {
		return nil, err
	}
	if len(m.stack) > 0 {
		return nil, m.refuse(Corrupt, "%d values are left on the stack", len(m.stack))
	}
	return root, m.checkGraph(root)
}

// step executes one opcode other than STOP.
func (m *machine) step(first bool) error {
	switch in := &m.in; in.op.Name {
	case "PROTO":
		if !first {
			return m.refuse(Corrupt, "not at the start")
		}
		if in.num < 2 || in.num > 5 {
			return m.refuse(Unsupported, "protocol %d, read are 2 to 5", in.num)
		}
		m.proto = in.num
	case "FRAME":
	case "MARK":
		if len(m.marks) >= m.limits.Marks {
			return m.refuse(TooComplex, "more than %d open marks", m.limits.Marks)
		}
		m.marks = append(m.marks, len(m.stack))
	case "NONE":
		m.push(nil)
	case "NEWTRUE":
		m.push(true)
	case "NEWFALSE":
		m.push(false)
	case "BININT1", "BININT2", "BININT":
		m.push(in.num)
	case "LONG1":
		return m.long(in.text)
	case "BINFLOAT":
		m.push(in.float)
	case "BINUNICODE", "SHORT_BINUNICODE":
		if !validText(in.text) {
			return m.refuse(Corrupt, "not UTF-8")
		}
		m.push(string(in.text))
	case "BINSTRING", "SHORT_BINSTRING":
		if isASCII(in.text) {
			m.push(string(in.text))
		} else {
			m.push(Bytes(in.text))
		}
	case "BINBYTES", "SHORT_BINBYTES":
		m.push(Bytes(in.text))
	case "EMPTY_DICT":
		m.push(&Dict{depth: 1})
	case "EMPTY_LIST":
		m.push(&List{depth: 1})
	case "EMPTY_TUPLE":
		m.push(&Tuple{depth: 1})
	case "EMPTY_SET":
		m.push(Opaque{Name: "set", isSet: true})
	case "TUPLE":
		items, err := m.popMark()
		if err != nil {
			return err
		}
		return m.tuple(items)
	case "TUPLE1":
		return m.tupleOf(1)
	case "TUPLE2":
		return m.tupleOf(2)
	case "TUPLE3":
		return m.tupleOf(3)
	case "APPEND":
		v, err := m.pop()
		if err != nil {
			return err
		}
		return m.appendTo([]Value{v})
	case "APPENDS":
		items, err := m.popMark()
		if err != nil {
			return err
		}
		return m.appendTo(items)
	case "SETITEM":
		items, err := m.popN(2)
		if err != nil {
			return err
		}
		return m.setItems(items)
	case "SETITEMS":
		items, err := m.popMark()
		if err != nil {
			return err
		}
		return m.setItems(items)
	case "ADDITEMS":
		if _, err := m.popMark(); err != nil {
			return err
		}
		top, err := m.top()
		if err != nil {
			return err
		}
		if o, ok := top.(Opaque); !ok || !o.isSet {
			return m.refuse(Corrupt, "the target is no set")
		}
	case "BINPUT", "LONG_BINPUT":
		return m.remember(uint32(in.num))
	case "MEMOIZE":
		return m.remember(uint32(len(m.memo)))
	case "BINGET", "LONG_BINGET":
		v, ok := m.memo[uint32(in.num)]
		if !ok {
			return m.refuse(Corrupt, "memo slot %d is empty", in.num)
		}
		m.push(v)
	case "GLOBAL":
		return m.global(string(in.text), string(in.line2))
	case "STACK_GLOBAL":
		pair, err := m.popN(2)
		if err != nil {
			return err
		}
		module, ok1 := pair[0].(string)
		name, ok2 := pair[1].(string)
		if !ok1 || !ok2 {
			return m.refuse(Corrupt, "module and name are not strings")
		}
		return m.global(module, name)
	case "BINPERSID":
		return m.persistentID()
	case "REDUCE":
		return m.reduce()
	case "NEWOBJ":
		return m.newObject()
	case "BUILD":
		return m.build()
	default:
		return m.refuse(Unsafe, "this opcode is not accepted")
	}
	return nil
}

// floor is the height that pops may not go below: that of the innermost open mark.
func (m *machine) floor() int {
	if n := len(m.marks); n > 0 {
		return m.marks[n-1]
	}
	return 0
}

func (m *machine) push(v Value) { m.stack = append(m.stack, v) }

func (m *machine) top() (Value, error) {
	if len(m.stack) <= m.floor() {
		return nil, m.refuse(Corrupt, "nothing on the stack")
	}
	return m.stack[len(m.stack)-1], nil
}

func (m *machine) pop() (Value, error) {
	v, err := m.top()
	if err != nil {
		return nil, err
	}
	m.stack[len(m.stack)-1] = nil
	m.stack = m.stack[:len(m.stack)-1]
	return v, nil
}

// popN pops n values in the order they were pushed. The slice is good until the next push.
func (m *machine) popN(n int) ([]Value, error) {
	if len(m.stack)-n < m.floor() {
		return nil, m.refuse(Corrupt, "nothing on the stack")
	}
	at := len(m.stack) - n
	items := m.stack[at:]
	m.stack = m.stack[:at]
	return items, nil
}

// popMark pops everything above the innermost mark, and the mark. The slice is good until the next push.
func (m *machine) popMark() ([]Value, error) {
	if len(m.marks) == 0 {
		return nil, m.refuse(Corrupt, "no MARK is open")
	}
	at := m.floor()
	m.marks = m.marks[:len(m.marks)-1]
	items := m.stack[at:]
	m.stack = m.stack[:at]
	return items, nil
}

func (m *machine) remember(slot uint32) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if _, ok := m.memo[slot]; !ok && len(m.memo) >= m.limits.MemoSlots {
		return m.refuse(TooComplex, "more than %d memo slots", m.limits.MemoSlots)
	}
	m.memo[slot] = v
	return nil
}

func (m *machine) tupleOf(n int) error {
	items, err := m.popN(n)
	if err != nil {
		return err
	}
	return m.tuple(items)
}

func (m *machine) tuple(items []Value) error {
	t := &Tuple{Items: append([]Value(nil), items...), depth: 1}
	if err := m.hold(&t.depth, items); err != nil {
		return err
	}
	m.push(t)
	return nil
}

func (m *machine) appendTo(items []Value) error {
	top, err := m.top()
	if err != nil {
		return err
	}
	l, ok := top.(*List)
	if !ok {
		return m.refuse(Corrupt, "the target is no list")
	}
	for _, v := range items {
		if v == Value(l) {
			return m.refuse(Corrupt, "a list would contain itself")
		}
	}
	if err := m.hold(&l.depth, items); err != nil {
		return err
	}
	l.Items = append(l.Items, items...)
	return nil
}

func (m *machine) setItems(items []Value) error {
	if len(items)%2 != 0 {
		return m.refuse(Corrupt, "a key without a value")
	}
	top, err := m.top()
	if err != nil {
		return err
	}
	d, ok := top.(*Dict)
	if !ok {
		return m.refuse(Corrupt, "the target is no dict")
	}
	for i := 0; i < len(items); i += 2 {
		if err := m.setItem(d, items[i], items[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) setItem(d *Dict, key, v Value) error {
	if v == Value(d) {
		return m.refuse(Corrupt, "a dict would contain itself")
	}
	if err := m.hold(&d.depth, []Value{v}); err != nil {
		return err
	}
	switch k := key.(type) {
	case string:
		d.set(StrKey(k), v)
	case int64:
		d.set(Key{Int: k, IsInt: true}, v)
	default:
		if !isOpaque(key) {
			return m.refuse(Unsupported, "a dict key that is neither string nor integer")
		}
	}
	return nil
}

// hold raises the depth of a container for what is put into it. Containers that hold this one already are not raised:
// checkGraph measures the finished value; here the nesting is stopped while it is built.
func (m *machine) hold(depth *int, items []Value) error {
	for _, v := range items {
		if d := depthOf(v) + 1; d > *depth {
			*depth = d
		}
	}
	if *depth > m.limits.Depth {
		return m.refuse(TooComplex, "containers lie more than %d deep in each other", m.limits.Depth)
	}
	return nil
}

func depthOf(v Value) int {
	switch v := v.(type) {
	case *Tuple:
		return v.depth
	case *List:
		return v.depth
	case *Dict:
		return v.depth
	case *ParameterDict:
		if v.Params != nil {
			return v.Params.depth + 1
		}
		return 1
	}
	return 0
}

// torchMagic is 0x1950A86A20F9469CFC6C, little-endian.
const torchMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

// int64Bytes is how many bytes of a LONG1 always fit an int64.
const int64Bytes = 8

func (m *machine) long(b []byte) error {
	if string(b) == torchMagic {
		m.push(Magic{})
		return nil
	}
	negative := len(b) > 0 && b[len(b)-1]&0x80 != 0
	var n uint64
	if negative {
		n = ^uint64(0)
	}
	for i := len(b) - 1; i >= 0; i-- {
		if i >= int64Bytes && !(negative && b[i] == 0xff) && !(!negative && b[i] == 0) {
			return m.refuse(Unsupported, "an integer of more than 64 bits")
		}
		n = n<<8 | uint64(b[i])
	}
	if (int64(n) < 0) != negative {
		return m.refuse(Unsupported, "an integer of more than 64 bits")
	}
	m.push(int64(n))
	return nil
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// validText tells whether b is UTF-8, where the three-byte forms of lone surrogates pass: Python writes them
// (errors="surrogatepass").
func validText(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			if len(b) < 3 || b[0] != 0xed || b[1] < 0xa0 || b[1] > 0xbf || b[2] < 0x80 || b[2] > 0xbf {
				return false
			}
			n = 3
		}
		b = b[n:]
	}
	return true
}
