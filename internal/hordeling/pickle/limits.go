// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

// Limits bounds what one stream may make the machine do. [DefaultLimits] has the numbers of the hordeling chapter; the
// largest honest textual inversion seen stays below a tenth of each.
type Limits struct {
	// StreamBytes is the most that one pickle may take, STOP included.
	StreamBytes int64
	// Opcodes counts executed opcodes, and one more for each element that a call copies.
	Opcodes int
	// MemoSlots is how many values may be remembered.
	MemoSlots int
	// Marks is how many MARKs may be open at a time.
	Marks int
	// Stack is how many values may lie on the stack.
	Stack int
	// Depth is how deep tuples, lists and dicts may lie in each other.
	Depth int
	// StringBytes is the longest string or byte string.
	StringBytes int
	// LineBytes is the longest line of a GLOBAL, without the newline.
	LineBytes int
	// LongBytes is the longest LONG1.
	LongBytes int
	// Storages and Tensors count distinct storages and rebuilt tensors.
	Storages, Tensors int
	// Dims is the highest rank of a tensor.
	Dims int
}

// DefaultLimits returns the limits of the hordeling chapter, section 5.
func DefaultLimits() Limits {
	return Limits{
		StreamBytes: 4 << 20,
		Opcodes:     200_000,
		MemoSlots:   65_536,
		Marks:       64,
		Stack:       100_000,
		Depth:       64,
		StringBytes: 1 << 20,
		LineBytes:   128,
		LongBytes:   16,
		Storages:    64,
		Tensors:     64,
		Dims:        8,
	}
}
