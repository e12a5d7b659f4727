// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// instruction is one opcode with its operand. text and line2 alias the stream.
type instruction struct {
	op     *Opcode
	offset int64
	num    int64   // numeric operands; a FRAME of more than math.MaxInt64 bytes is never returned
	float  float64 // BINFLOAT
	text   []byte  // counted strings, the first line
	line2  []byte  // the second line of GLOBAL and INST
}

// scanner cuts a stream into instructions. It allocates nothing that depends on the stream.
type scanner struct {
	data   []byte
	pos    int
	limits *Limits
	// frameEnd is where the open frame ends; 0 when none is open. Frames may not overlap and no instruction may cross
	// the end of one (Python refuses both, too).
	frameEnd int
	// cut: data is the beginning of something longer than Limits.StreamBytes.
	cut bool
}

// short is the refusal of a stream that ends too early: because it is truncated, or because it was cut at the limit.
func (s *scanner) short(op *Opcode, offset int, format string, args ...any) *Refusal {
	if s.cut {
		return s.refuse(TooComplex, op, offset, "the pickle is longer than %d bytes", s.limits.StreamBytes)
	}
	return s.refuse(Corrupt, op, offset, format, args...)
}

func (s *scanner) refuse(code Code, op *Opcode, offset int, format string, args ...any) *Refusal {
	r := Refuse(code, "", int64(offset), format, args...)
	if op != nil {
		r.Op = op.Name
	}
	return r
}

// next reads one instruction. With onlyAccepted an opcode outside the list is refused before its operand is read.
func (s *scanner) next(onlyAccepted bool) (instruction, error) {
	start := s.pos
	if start >= len(s.data) {
		return instruction{}, s.short(nil, start, "the stream ends without STOP")
	}
	b := s.data[start]
	op := opcodes[b]
	if op == nil {
		return instruction{}, s.refuse(Unsafe, nil, start, "%#02x is no opcode", b)
	}
	if onlyAccepted && !op.Accepted {
		return instruction{}, s.refuse(Unsafe, op, start, "this opcode is not accepted")
	}
	s.pos++
	in := instruction{op: op, offset: int64(start)}
	if err := s.readOperand(&in, start); err != nil {
		return instruction{}, err
	}
	if op.Name == "FRAME" {
		return in, s.openFrame(in.num, op, start)
	}
	if s.frameEnd > 0 {
		if s.pos > s.frameEnd {
			return instruction{}, s.refuse(Corrupt, op, start, "crosses the end of its frame")
		}
		if s.pos == s.frameEnd {
			s.frameEnd = 0
		}
	}
	return in, nil
}

func (s *scanner) openFrame(length int64, op *Opcode, start int) error {
	if s.frameEnd > 0 {
		return s.refuse(Corrupt, op, start, "a frame begins inside another")
	}
	if length > int64(len(s.data)-s.pos) {
		return s.short(op, start, "a frame of %d bytes with %d left", length, len(s.data)-s.pos)
	}
	if length > 0 {
		s.frameEnd = s.pos + int(length)
	}
	return nil
}

// take returns the next n bytes of the stream, which it does not copy.
func (s *scanner) take(n uint64, op *Opcode, start int) ([]byte, error) {
	if left := uint64(len(s.data) - s.pos); n > left {
		return nil, s.short(op, start, "%d bytes are announced and %d are left", n, left)
	}
	b := s.data[s.pos : s.pos+int(n)]
	s.pos += int(n)
	return b, nil
}

func (s *scanner) readOperand(in *instruction, start int) error {
	op := in.op
	fixed := func(n uint64) ([]byte, error) { return s.take(n, op, start) }
	var length uint64
	switch op.operand {
	case operandNone:
		return nil
	case operandU8, operandText8:
		b, err := fixed(1)
		if err != nil {
			return err
		}
		in.num, length = int64(b[0]), uint64(b[0])
	case operandU16:
		b, err := fixed(2)
		if err != nil {
			return err
		}
		in.num = int64(binary.LittleEndian.Uint16(b))
	case operandI32, operandTextS:
		b, err := fixed(4)
		if err != nil {
			return err
		}
		in.num = int64(int32(binary.LittleEndian.Uint32(b)))
		if op.operand == operandTextS && in.num < 0 {
			return s.refuse(Corrupt, op, start, "a negative length")
		}
		length = uint64(in.num)
	case operandU32, operandText32:
		b, err := fixed(4)
		if err != nil {
			return err
		}
		in.num = int64(binary.LittleEndian.Uint32(b))
		length = uint64(in.num)
	case operandU64, operandText64:
		b, err := fixed(8)
		if err != nil {
			return err
		}
		length = binary.LittleEndian.Uint64(b)
		if length > math.MaxInt64 {
			return s.refuse(Corrupt, op, start, "a length of %d bytes", length)
		}
		in.num = int64(length)
	case operandF64:
		b, err := fixed(8)
		if err != nil {
			return err
		}
		in.float = math.Float64frombits(binary.BigEndian.Uint64(b))
	case operandLine, operandLines:
		var err error
		if in.text, err = s.line(op, start); err == nil && op.operand == operandLines {
			in.line2, err = s.line(op, start)
		}
		return err
	default:
		panic(fmt.Sprintf("pickle: opcode %s has no operand reader", op.Name))
	}

	switch op.operand {
	case operandText8, operandText32, operandTextS, operandText64:
		// What the stream cannot hold is a lie whatever the limit, so that is said first.
		if left := uint64(len(s.data) - s.pos); length > left {
			return s.short(op, start, "%d bytes are announced and %d are left", length, left)
		}
		limit := s.limits.StringBytes
		if op.Name == "LONG1" {
			limit = s.limits.LongBytes
		}
		if length > uint64(limit) {
			return s.refuse(TooComplex, op, start, "%d bytes, at most %d are read", length, limit)
		}
		var err error
		in.text, err = s.take(length, op, start)
		return err
	}
	return nil
}

// line reads up to a newline, which it takes and leaves out.
func (s *scanner) line(op *Opcode, start int) ([]byte, error) {
	rest := s.data[s.pos:]
	window := rest[:min(len(rest), s.limits.LineBytes+1)]
	n := bytes.IndexByte(window, '\n')
	switch {
	case n >= 0:
		s.pos += n + 1
		return rest[:n], nil
	case len(window) > s.limits.LineBytes:
		return nil, s.refuse(TooComplex, op, start, "a line of more than %d bytes", s.limits.LineBytes)
	default:
		return nil, s.short(op, start, "the stream ends inside a line")
	}
}
