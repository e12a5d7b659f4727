// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

// operand says how the bytes after an opcode are to be read.
type operand uint8

const (
	operandNone   operand = iota
	operandU8             // one byte, unsigned
	operandU16            // two bytes, little-endian
	operandI32            // four bytes, little-endian, signed
	operandU32            // four bytes, little-endian
	operandU64            // eight bytes, little-endian
	operandF64            // eight bytes, big-endian IEEE double
	operandText8          // length in operandU8, then that many bytes
	operandText32         // length in operandU32
	operandTextS          // length in operandI32: negative is an error
	operandText64         // length in operandU64
	operandLine           // text up to a newline
	operandLines          // two such lines
)

// Opcode is one instruction of the pickle machine.
type Opcode struct {
	Byte byte
	// Name as Python's pickletools has it.
	Name string
	// Proto is the lowest protocol that writes it.
	Proto int
	// Accepted: [Decode] executes it. All others are refused before their operand is looked at.
	Accepted bool

	operand operand
}

// opcodes has every instruction of protocols 0 to 5, indexed by its byte; nil is no instruction. The accepted ones are
// those of the hordeling chapter, section 7.1.
var opcodes = func() (t [256]*Opcode) {
	for _, o := range []Opcode{
		{0x80, "PROTO", 2, true, operandU8},
		{0x95, "FRAME", 4, true, operandU64},
		{'.', "STOP", 0, true, operandNone},
		{'(', "MARK", 0, true, operandNone},
		{'N', "NONE", 0, true, operandNone},
		{0x88, "NEWTRUE", 2, true, operandNone},
		{0x89, "NEWFALSE", 2, true, operandNone},
		{'K', "BININT1", 1, true, operandU8},
		{'M', "BININT2", 1, true, operandU16},
		{'J', "BININT", 1, true, operandI32},
		{0x8a, "LONG1", 2, true, operandText8},
		{'G', "BINFLOAT", 1, true, operandF64},
		{'X', "BINUNICODE", 1, true, operandText32},
		{0x8c, "SHORT_BINUNICODE", 4, true, operandText8},
		{'U', "SHORT_BINSTRING", 1, true, operandText8},
		{'T', "BINSTRING", 1, true, operandTextS},
		{'C', "SHORT_BINBYTES", 3, true, operandText8},
		{'B', "BINBYTES", 3, true, operandText32},
		{'}', "EMPTY_DICT", 1, true, operandNone},
		{']', "EMPTY_LIST", 1, true, operandNone},
		{')', "EMPTY_TUPLE", 1, true, operandNone},
		{0x8f, "EMPTY_SET", 4, true, operandNone},
		{'t', "TUPLE", 0, true, operandNone},
		{0x85, "TUPLE1", 2, true, operandNone},
		{0x86, "TUPLE2", 2, true, operandNone},
		{0x87, "TUPLE3", 2, true, operandNone},
		{'a', "APPEND", 0, true, operandNone},
		{'e', "APPENDS", 1, true, operandNone},
		{'s', "SETITEM", 0, true, operandNone},
		{'u', "SETITEMS", 1, true, operandNone},
		{0x90, "ADDITEMS", 4, true, operandNone},
		{'q', "BINPUT", 1, true, operandU8},
		{'r', "LONG_BINPUT", 1, true, operandU32},
		{0x94, "MEMOIZE", 4, true, operandNone},
		{'h', "BINGET", 1, true, operandU8},
		{'j', "LONG_BINGET", 1, true, operandU32},
		{'c', "GLOBAL", 0, true, operandLines},
		{0x93, "STACK_GLOBAL", 4, true, operandNone},
		{'Q', "BINPERSID", 1, true, operandNone},
		{'R', "REDUCE", 0, true, operandNone},
		{0x81, "NEWOBJ", 2, true, operandNone},
		{'b', "BUILD", 0, true, operandNone},

		{'i', "INST", 0, false, operandLines},
		{'o', "OBJ", 1, false, operandNone},
		{0x92, "NEWOBJ_EX", 4, false, operandNone},
		{0x82, "EXT1", 2, false, operandU8},
		{0x83, "EXT2", 2, false, operandU16},
		{0x84, "EXT4", 2, false, operandI32},
		{'P', "PERSID", 0, false, operandLine},
		{'I', "INT", 0, false, operandLine},
		{'L', "LONG", 0, false, operandLine},
		{'S', "STRING", 0, false, operandLine},
		{'F', "FLOAT", 0, false, operandLine},
		{'V', "UNICODE", 0, false, operandLine},
		{'p', "PUT", 0, false, operandLine},
		{'g', "GET", 0, false, operandLine},
		{'d', "DICT", 0, false, operandNone},
		{'l', "LIST", 0, false, operandNone},
		{'2', "DUP", 0, false, operandNone},
		{'0', "POP", 0, false, operandNone},
		{'1', "POP_MARK", 1, false, operandNone},
		{0x8b, "LONG4", 2, false, operandTextS},
		{0x8d, "BINUNICODE8", 4, false, operandText64},
		{0x8e, "BINBYTES8", 4, false, operandText64},
		{0x91, "FROZENSET", 4, false, operandNone},
		{0x96, "BYTEARRAY8", 5, false, operandText64},
		{0x97, "NEXT_BUFFER", 5, false, operandNone},
		{0x98, "READONLY_BUFFER", 5, false, operandNone},
	} {
		t[o.Byte] = &o
	}
	return t
}()

// LookupOpcode returns the instruction that b stands for, or nil if it is none.
func LookupOpcode(b byte) *Opcode { return opcodes[b] }
