// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Step is one instruction of a traced stream.
type Step struct {
	Offset int64
	Op     *Opcode
	// Operand is the operand as text, escaped and cut; empty where there is none.
	Operand string
	// Effect is what Python's pickle.load would have done, in a few words; empty for PROTO, FRAME and MARK.
	Effect string
	// Dangerous: Python would have imported, called or changed something that is not on the allow list.
	Dangerous bool
}

// expr is a value of the traced machine: only its text, which is what a reader sees.
type expr struct {
	text string
	sym  *Symbol // set for an allow-listed symbol
	made bool    // it is what a call of such a symbol returned, and something of which BUILD may set the state
}

// exprTextLimit is how many bytes of text a traced value keeps; with Limits.Opcodes it bounds the memory of a trace.
const exprTextLimit = 120

func cutText(s string) string {
	if len(s) <= exprTextLimit {
		return s
	}
	return strings.ToValidUTF8(s[:exprTextLimit-3], "") + "..."
}

// traceOpcodes is how many instructions a trace follows. It is more than Decode runs, for a trace is for people who want
// to know what the rest of a refused stream was up to.
const traceOpcodes = 300_000

// Trace reads the instructions of the stream at the start of data, of any protocol and whether Decode would accept them
// or not, and hands each to visit with what Python would have done. Nothing is imported, called or changed. It stops
// after STOP, at an error of visit or ctx, which it returns, or with a [*Refusal] where the stream cannot be followed.
// It returns the number of bytes read.
func Trace(ctx context.Context, data []byte, visit func(Step) error) (int64, error) {
	limits := DefaultLimits()
	limits.StringBytes = len(data)
	limits.LineBytes = len(data)
	limits.LongBytes = 255
	t := &tracer{scan: scanner{data: data, limits: &limits}, memo: make(map[string]*expr)}
	for n := 0; ; n++ {
		if n%contextEvery == 0 && ctx.Err() != nil {
			return int64(t.scan.pos), ctx.Err()
		}
		if n == traceOpcodes {
			return int64(t.scan.pos), Refuse(TooComplex, "", int64(t.scan.pos), "more than %d opcodes", traceOpcodes)
		}
		in, err := t.scan.next(false)
		if err != nil {
			return int64(t.scan.pos), err
		}
		s := Step{Offset: in.offset, Op: in.op, Operand: operandText(&in)}
		t.step(&in, &s)
		if err := visit(s); err != nil {
			return int64(t.scan.pos), err
		}
		if in.op.Name == "STOP" {
			return int64(t.scan.pos), nil
		}
	}
}

func operandText(in *instruction) string {
	switch in.op.operand {
	case operandNone:
		return ""
	case operandF64:
		return strconv.FormatFloat(in.float, 'g', -1, 64)
	case operandText8, operandText32, operandTextS, operandText64:
		if in.op.Name == "LONG1" || in.op.Name == "LONG4" {
			return longText(in.text)
		}
		return quote(string(in.text))
	case operandLine:
		return quote(string(in.text))
	case operandLines:
		return quote(string(in.text)) + " " + quote(string(in.line2))
	}
	return strconv.FormatInt(in.num, 10)
}

func longText(b []byte) string {
	if len(b) == 0 {
		return "0"
	}
	if len(b) <= int64Bytes {
		var n uint64
		if b[len(b)-1]&0x80 != 0 {
			n = ^uint64(0)
		}
		for i := len(b) - 1; i >= 0; i-- {
			n = n<<8 | uint64(b[i])
		}
		return strconv.FormatInt(int64(n), 10)
	}
	if string(b) == torchMagic {
		return "0x1950a86a20f9469cfc6c"
	}
	return fmt.Sprintf("an integer of %d bytes", len(b))
}

// tracer follows a stream with text for values. A pop from an empty stack yields nothingThere, and goes on.
type tracer struct {
	scan  scanner
	stack []*expr
	marks []int
	memo  map[string]*expr
}

var nothingThere = &expr{text: "<nothing>"}

func (t *tracer) push(e *expr) {
	e.text = cutText(e.text)
	t.stack = append(t.stack, e)
}

func (t *tracer) pop() *expr {
	if len(t.stack) == 0 {
		return nothingThere
	}
	e := t.stack[len(t.stack)-1]
	t.stack = t.stack[:len(t.stack)-1]
	// Python would fail where a pop goes below a mark; here such marks, maybe several at one height, are forgotten.
	for n := len(t.marks); n > 0 && t.marks[n-1] > len(t.stack); n-- {
		t.marks = t.marks[:n-1]
	}
	return e
}

func (t *tracer) top() *expr {
	if len(t.stack) == 0 {
		return nothingThere
	}
	return t.stack[len(t.stack)-1]
}

func (t *tracer) popMark() []*expr {
	at := 0
	if n := len(t.marks); n > 0 {
		at, t.marks = t.marks[n-1], t.marks[:n-1]
	}
	items := t.stack[at:]
	t.stack = t.stack[:at]
	return items
}

func (t *tracer) popN(n int) []*expr {
	out := make([]*expr, n)
	for i := n - 1; i >= 0; i-- {
		out[i] = t.pop()
	}
	return out
}

// list joins values up to the length that is kept.
func list(open string, items []*expr, shut string) string {
	var b strings.Builder
	b.WriteString(open)
	for i, e := range items {
		if b.Len() > exprTextLimit {
			b.WriteString("...")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(e.text)
	}
	b.WriteString(shut)
	return b.String()
}

func pairs(open string, items []*expr, shut string) string {
	var b strings.Builder
	b.WriteString(open)
	for i := 0; i+1 < len(items); i += 2 {
		if b.Len() > exprTextLimit {
			b.WriteString("...")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(items[i].text + ": " + items[i+1].text)
	}
	b.WriteString(shut)
	return b.String()
}

// grow shows what a container holds after more was put into it.
func (e *expr) grow(inner string) {
	if len(e.text) < 2 || strings.HasSuffix(e.text, "...") {
		return
	}
	body, shut := e.text[:len(e.text)-1], e.text[len(e.text)-1:]
	if strings.HasSuffix(body, "[") || strings.HasSuffix(body, "{") || strings.HasSuffix(body, "(") {
		e.text = cutText(body + inner + shut)
		return
	}
	e.text = cutText(body + ", " + inner + shut)
}

func (t *tracer) step(in *instruction, s *Step) {
	switch name := in.op.Name; name {
	case "PROTO", "FRAME":
	case "MARK":
		t.marks = append(t.marks, len(t.stack))
	case "STOP":
		s.Effect = "return " + t.top().text
	case "NONE":
		t.value(s, "None")
	case "NEWTRUE":
		t.value(s, "True")
	case "NEWFALSE":
		t.value(s, "False")
	case "EMPTY_DICT":
		t.value(s, "{}")
	case "EMPTY_LIST":
		t.value(s, "[]")
	case "EMPTY_TUPLE":
		t.value(s, "()")
	case "EMPTY_SET":
		t.value(s, "set()")
	case "TUPLE":
		t.value(s, list("(", t.popMark(), ")"))
	case "TUPLE1":
		t.value(s, list("(", t.popN(1), ",)"))
	case "TUPLE2":
		t.value(s, list("(", t.popN(2), ")"))
	case "TUPLE3":
		t.value(s, list("(", t.popN(3), ")"))
	case "LIST":
		t.value(s, list("[", t.popMark(), "]"))
	case "FROZENSET":
		t.value(s, list("frozenset({", t.popMark(), "})"))
	case "DICT":
		t.value(s, pairs("{", t.popMark(), "}"))
	case "APPEND":
		t.fill(s, list("", []*expr{t.pop()}, ""))
	case "APPENDS", "ADDITEMS":
		t.fill(s, list("", t.popMark(), ""))
	case "SETITEM":
		t.fill(s, pairs("", t.popN(2), ""))
	case "SETITEMS":
		t.fill(s, pairs("", t.popMark(), ""))
	case "POP":
		s.Effect = "drop " + t.pop().text
	case "POP_MARK":
		s.Effect = fmt.Sprintf("drop %d values", len(t.popMark()))
	case "DUP":
		t.value(s, t.top().text)
	case "BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE":
		t.remember(in, s)
	case "BINGET", "LONG_BINGET", "GET":
		e, ok := t.memo[memoKey(in)]
		if !ok {
			e = nothingThere
		}
		s.Effect = "push " + e.text
		t.stack = append(t.stack, e)
	case "PERSID":
		t.persistent(s, &expr{text: s.Operand})
	case "BINPERSID":
		t.persistent(s, t.pop())
	case "NEXT_BUFFER":
		t.value(s, "the next out-of-band buffer")
	case "READONLY_BUFFER":
		s.Effect = "make the buffer read-only"
	default:
		if !t.code(in, s) {
			t.value(s, s.Operand) // everything left pushes its operand
		}
	}
}

// code handles the opcodes that fetch or run code, and tells whether in is one.
func (t *tracer) code(in *instruction, s *Step) bool {
	switch in.op.Name {
	case "GLOBAL":
		t.imports(s, string(in.text), string(in.line2))
	case "STACK_GLOBAL":
		p := t.popN(2)
		t.imports(s, unquoted(p[0].text), unquoted(p[1].text))
	case "EXT1", "EXT2", "EXT4":
		s.Dangerous = true
		e := &expr{text: "extension " + s.Operand}
		s.Effect = "import the object registered as " + e.text
		t.push(e)
	case "REDUCE":
		p := t.popN(2)
		t.calls(s, p[0], p[1].text)
	case "OBJ":
		items := t.popMark()
		if len(items) == 0 {
			items = []*expr{nothingThere}
		}
		t.calls(s, items[0], list("(", items[1:], ")"))
	case "INST":
		args := list("(", t.popMark(), ")")
		t.calls(s, t.symbol(string(in.text), string(in.line2)), args)
	case "NEWOBJ":
		p := t.popN(2)
		sym := p[0].sym
		t.calls(s, &expr{text: p[0].text + ".__new__", sym: sym}, p[1].text)
		s.Dangerous = sym == nil || sym.kind != kindParameterDict
	case "NEWOBJ_EX":
		p := t.popN(3)
		t.calls(s, &expr{text: p[0].text + ".__new__"}, list("(*", p[1:2], "")+list(", **", p[2:], ")"))
	case "BUILD":
		state := t.pop()
		target := t.top()
		s.Dangerous = !target.made
		s.Effect = "set the state of " + target.text + " (or call its __setstate__) to " + state.text
	default:
		return false
	}
	return true
}

func (t *tracer) value(s *Step, text string) {
	e := &expr{text: text}
	t.push(e)
	s.Effect = "push " + e.text
}

func (t *tracer) fill(s *Step, inner string) {
	target := t.top()
	s.Effect = "put " + cutText(inner) + " into " + target.text
	if target != nothingThere {
		target.grow(inner)
	}
}

func memoKey(in *instruction) string {
	if in.op.operand == operandLine {
		return string(in.text)
	}
	return strconv.FormatInt(in.num, 10)
}

func (t *tracer) remember(in *instruction, s *Step) {
	key := memoKey(in)
	if in.op.Name == "MEMOIZE" {
		key = strconv.Itoa(len(t.memo))
	}
	t.memo[key] = t.top()
	s.Effect = "remember it as " + cutText(key)
}

func (t *tracer) persistent(s *Step, id *expr) {
	e := &expr{text: "persistent" + id.text}
	if !strings.HasPrefix(id.text, "(") {
		e.text = "persistent(" + id.text + ")"
	}
	t.push(e)
	s.Effect = "look up the persistent id " + id.text
}

func (t *tracer) symbol(module, name string) *expr {
	e := &expr{text: cutText(printable(module) + "." + printable(name))}
	if sym := lookupSymbol(module, name); sym != nil && sym.kind != kindKnownUnsupported {
		e.sym = sym
	}
	return e
}

func (t *tracer) imports(s *Step, module, name string) {
	e := t.symbol(module, name)
	s.Dangerous = e.sym == nil
	s.Effect = "import " + e.text
	t.push(e)
}

func (t *tracer) calls(s *Step, callee *expr, args string) {
	if !strings.HasPrefix(args, "(") {
		args = "(*" + args + ")"
	}
	sym := callee.sym
	s.Dangerous = sym == nil || sym.kind == kindStorageType || sym.kind == kindParameterDict
	s.Effect = "call " + callee.text + args
	t.push(&expr{text: callee.text + args, made: sym != nil && (sym.kind == kindOpaque || sym.kind == kindParameterDict)})
}

// printable escapes what is not fit for a terminal.
func printable(s string) string {
	q := quote(s)
	return q[1:strings.LastIndexByte(q, '"')]
}

func unquoted(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}
