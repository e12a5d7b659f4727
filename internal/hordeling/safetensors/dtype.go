// SPDX-License-Identifier: AGPL-3.0-or-later

package safetensors

import (
	"math"
	"math/bits"
)

// DType is the type of a tensor's elements, by its name in the file.
type DType string

// dtypes in the order of the standard implementation; the position is the rank by which the writer sorts.
var dtypes = []struct {
	name DType
	bits uint64
}{
	{"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6},
	{"U8", 8}, {"I8", 8}, {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
	{"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},
	{"I32", 32}, {"U32", 32}, {"F32", 32},
	{"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64},
}

// rank returns the place in the standard order and the bits of one element; ok is false for a name that is no dtype.
func (d DType) rank() (rank int, bits uint64, ok bool) {
	for i, t := range dtypes {
		if t.name == d {
			return i, t.bits, true
		}
	}
	return 0, 0, false
}

// Valid tells whether d is a dtype of the format.
func (d DType) Valid() bool {
	_, _, ok := d.rank()
	return ok
}

// byteSize returns how many bytes shape takes; ok is false where that overflows or is no whole number of bytes. The
// product is taken as the standard reader takes it, from the left, so that an overflow before a dimension of 0 is an
// overflow too.
func byteSize(elementBits uint64, shape []int64) (n int64, ok bool) {
	elements := uint64(1)
	for _, s := range shape {
		if s < 0 {
			return 0, false
		}
		hi, lo := bits.Mul64(elements, uint64(s))
		if hi != 0 {
			return 0, false
		}
		elements = lo
	}
	hi, total := bits.Mul64(elements, elementBits)
	if hi != 0 || total%8 != 0 || total/8 > math.MaxInt64 {
		return 0, false
	}
	return int64(total / 8), true
}
