// SPDX-License-Identifier: AGPL-3.0-or-later

package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// metadataKey is the one header key that is no tensor.
const metadataKey = "__metadata__"

// headerAlign is the multiple to which the header is padded with spaces, so that the data of 64-bit tensors is aligned.
const headerAlign = 8

// MaxHeader is the longest header in bytes that any reader takes.
const MaxHeader = 100_000_000

// Tensor is one named array.
type Tensor struct {
	// Name is any UTF-8 text other than "__metadata__".
	Name  string
	DType DType
	// Shape is empty for a scalar; a 0 dimension is legal and makes Data empty.
	Shape []int64
	// Data is little-endian and row-major. Tensors from Parse alias the input.
	Data []byte
}

// Encode returns the file that holds tensors and, where it is not nil, metadata. The same input in any order gives the
// same bytes: tensors lie by falling rank of their dtype, then by name, and metadata by key. It fails where a name comes
// twice or is not UTF-8, or data do not have the size that dtype and shape ask for.
func Encode(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	sorted := slices.Clone(tensors)
	total := int64(0)
	for _, t := range sorted {
		_, elementBits, ok := t.DType.rank()
		if !ok {
			return nil, fmt.Errorf("safetensors: tensor %q has the unknown dtype %q", t.Name, t.DType)
		}
		size, ok := byteSize(elementBits, t.Shape)
		if !ok || size != int64(len(t.Data)) {
			return nil, fmt.Errorf("safetensors: tensor %q of shape %v has %d bytes", t.Name, t.Shape, len(t.Data))
		}
		if t.Name == metadataKey || !utf8.ValidString(t.Name) {
			return nil, fmt.Errorf("safetensors: a tensor may not be named %q", t.Name)
		}
		total += size
	}
	slices.SortStableFunc(sorted, func(a, b Tensor) int {
		ra, _, _ := a.DType.rank()
		rb, _, _ := b.DType.rank()
		return cmp.Or(cmp.Compare(rb, ra), cmp.Compare(a.Name, b.Name))
	})

	header := []byte{'{'}
	if metadata != nil {
		header = append(appendJSON(header, metadataKey), ':', '{')
		for i, k := range slices.Sorted(maps.Keys(metadata)) {
			if !utf8.ValidString(k) || !utf8.ValidString(metadata[k]) {
				return nil, fmt.Errorf("safetensors: metadata %q is not UTF-8", k)
			}
			if i > 0 {
				header = append(header, ',')
			}
			header = append(appendJSON(header, k), ':')
			header = appendJSON(header, metadata[k])
		}
		header = append(header, '}')
	}
	seen := make(map[string]bool, len(sorted))
	offset := int64(0)
	for _, t := range sorted {
		if seen[t.Name] {
			return nil, fmt.Errorf("safetensors: two tensors are named %q", t.Name)
		}
		seen[t.Name] = true
		if len(header) > 1 {
			header = append(header, ',')
		}
		header = append(appendJSON(header, t.Name), `:{"dtype":"`...)
		header = append(header, t.DType...)
		header = append(header, `","shape":[`...)
		for i, s := range t.Shape {
			if i > 0 {
				header = append(header, ',')
			}
			header = fmt.Appendf(header, "%d", s)
		}
		end := offset + int64(len(t.Data))
		header = fmt.Appendf(header, `],"data_offsets":[%d,%d]}`, offset, end)
		offset = end
	}
	header = append(header, '}')
	for len(header)%headerAlign != 0 {
		header = append(header, ' ')
	}
	if len(header) > MaxHeader {
		return nil, fmt.Errorf("safetensors: a header of %d bytes", len(header))
	}

	out := make([]byte, 0, int64(lengthBytes+len(header))+total)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(header)))
	out = append(out, header...)
	for _, t := range sorted {
		out = append(out, t.Data...)
	}
	return out, nil
}

// appendJSON appends s as a JSON string the way the standard writer does: <, > and & stand for themselves.
func appendJSON(dst []byte, s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte{'\n'})...)
}
