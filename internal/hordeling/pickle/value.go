// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

import (
	"math"
	"math/bits"
)

// Value is what a pickle can hold. Its dynamic type is one of
//
//	nil (None), bool, int64, float64, string, Bytes, Magic,
//	*Tuple, *List, *Dict, *ParameterDict, *Tensor,
//	*Storage, *Symbol, Opaque
//
// Containers may be shared (two places hold the same pointer) but never contain themselves, and lie at most
// [Limits].Depth deep in each other; walking a decoded value by recursion is safe, walking it without remembering what
// was seen may take exponential time.
type Value any

// Bytes is a byte string; it is a Go string because nobody changes it.
type Bytes string

// Magic is the integer that opens a legacy PyTorch stream, 0x1950A86A20F9469CFC6C: the only integer beyond 64 bits that
// is read.
type Magic struct{}

// Tuple is fixed when it is made.
type Tuple struct {
	Items []Value
	depth int
}

// List is a Python list.
type List struct {
	Items []Value
	depth int
}

// Key is a dict key: a string, or an integer where IsInt is set.
type Key struct {
	Str   string
	Int   int64
	IsInt bool
}

// StrKey makes the key for a string.
func StrKey(s string) Key { return Key{Str: s} }

// Item is one pair of a [Dict].
type Item struct {
	Key   Key
	Value Value
}

// Dict is a dict or OrderedDict. Pairs keep the place where their key first came; the last value wins.
type Dict struct {
	items []Item
	index map[Key]int
	depth int
}

// Items returns the pairs in order; they belong to the dict.
func (d *Dict) Items() []Item { return d.items }

// Len is the number of pairs.
func (d *Dict) Len() int { return len(d.items) }

// Get returns the value of a string key, and whether there is one.
func (d *Dict) Get(key string) (Value, bool) { return d.get(StrKey(key)) }

// smallDict is up to how many pairs a dict does without an index: a linear search is then as quick, and a stream of
// many empty dicts costs no maps.
const smallDict = 8

func (d *Dict) find(k Key) int {
	if d.index != nil {
		if i, ok := d.index[k]; ok {
			return i
		}
		return -1
	}
	for i := range d.items {
		if d.items[i].Key == k {
			return i
		}
	}
	return -1
}

func (d *Dict) get(k Key) (Value, bool) {
	if i := d.find(k); i >= 0 {
		return d.items[i].Value, true
	}
	return nil, false
}

func (d *Dict) set(k Key, v Value) {
	if i := d.find(k); i >= 0 {
		d.items[i].Value = v
		return
	}
	d.items = append(d.items, Item{k, v})
	switch {
	case d.index != nil:
		d.index[k] = len(d.items) - 1
	case len(d.items) > smallDict:
		d.index = make(map[Key]int, 2*len(d.items))
		for i := range d.items {
			d.index[d.items[i].Key] = i
		}
	}
}

// ParameterDict is torch.nn.ParameterDict, which early trainers pickled whole. Params is nil until its state is set.
type ParameterDict struct {
	Params *Dict
}

// Opaque stands for something that is known to be harmless and of no use: an optimiser's numpy scalar, a set, a device.
type Opaque struct {
	// Name is the symbol or the type, for people.
	Name  string
	isSet bool
}

// DType is the element type of a storage, by its safetensors name.
type DType string

// The element types of the ten storage types.
const (
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	F64  DType = "F64"
	I64  DType = "I64"
	I32  DType = "I32"
	I16  DType = "I16"
	I8   DType = "I8"
	U8   DType = "U8"
	Bool DType = "BOOL"
)

// StorageType is one of torch's typed storages, such as FloatStorage.
type StorageType struct {
	// Name without the module.
	Name  string
	DType DType
	// Size of one element in bytes: 1, 2, 4 or 8.
	Size int64
}

// Storage is a flat array of elements that tensors look into. The stream only names it; its bytes are elsewhere in the
// container.
type Storage struct {
	// Key is the decimal name under which the container keeps the bytes.
	Key  string
	Type StorageType
	// Count of elements; Count × Type.Size does not overflow.
	Count int64
}

// Bytes is the size of the storage.
func (s *Storage) Bytes() int64 { return s.Count * s.Type.Size }

// Tensor is a view of a storage. Element (i0, i1, ...) is at index Offset + Σ ik·Stride[k] of the storage, and Decode
// has checked that every element lies within it.
type Tensor struct {
	Storage *Storage
	// Offset, Size and Stride count elements and are not negative. Size and Stride have the same length, the rank;
	// rank 0 is a scalar.
	Offset       int64
	Size, Stride []int64
}

// Elements is the product of the sizes, and false if that overflows an int64 (which strides of 0 make possible).
func (t *Tensor) Elements() (int64, bool) {
	n := uint64(1)
	zero := false
	overflow := false
	for _, s := range t.Size {
		if s == 0 {
			zero = true
			continue
		}
		hi, lo := bits.Mul64(n, uint64(s))
		if hi != 0 || lo > math.MaxInt64 {
			overflow = true
			continue
		}
		n = lo
	}
	if zero {
		return 0, true
	}
	return int64(n), !overflow
}
