// SPDX-License-Identifier: AGPL-3.0-or-later

package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// lengthBytes is the size of the length that opens a file.
const lengthBytes = 8

// maxRank bounds the dimensions of one tensor; no framework has more than 64.
const maxRank = 64

// FormatError says why data are no safetensors file.
type FormatError struct {
	// Reason is English without a final stop. Text out of the file is quoted and cut in it.
	Reason string
}

func (e *FormatError) Error() string { return "safetensors: " + e.Reason }

func badFormat(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...)}
}

// Limits bounds what Parse accepts beyond what the format itself bounds. Zero fields mean no further bound.
type Limits struct {
	// Header is the longest header in bytes; never more than MaxHeader.
	Header int64
	// Tensors is how many tensors a file may have.
	Tensors int
}

// File is a parsed file.
type File struct {
	// Metadata is nil where the header has none.
	Metadata map[string]string
	// Tensors by offset; their Data alias the input.
	Tensors []Tensor
}

// LooksLike tells whether data begin as a safetensors file does: a length that fits, and a brace.
func LooksLike(data []byte) bool {
	if len(data) < lengthBytes+2 || data[lengthBytes] != '{' {
		return false
	}
	n := binary.LittleEndian.Uint64(data)
	return n >= 2 && n <= uint64(len(data)-lengthBytes)
}

// Parse reads a whole file. Any deviation from the format is a [*FormatError].
func Parse(data []byte, limits Limits) (*File, error) {
	if len(data) < lengthBytes {
		return nil, badFormat("%d bytes are too few for a length", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	maxHeader := uint64(MaxHeader)
	if limits.Header > 0 && uint64(limits.Header) < maxHeader {
		maxHeader = uint64(limits.Header)
	}
	if n > maxHeader {
		return nil, badFormat("a header length of %d bytes, at most %d are read", n, maxHeader)
	}
	if left := uint64(len(data) - lengthBytes); n > left {
		return nil, badFormat("a header length of %d bytes in a file that has %d more", n, left)
	}
	header, body := data[lengthBytes:lengthBytes+n], data[lengthBytes+n:]
	if n == 0 || header[0] != '{' {
		return nil, badFormat("the header does not begin with a brace")
	}
	if !utf8.Valid(header) {
		return nil, badFormat("the header is not UTF-8")
	}
	h := headerReader{dec: json.NewDecoder(bytes.NewReader(header)), limits: limits}
	h.dec.UseNumber()
	if err := h.read(); err != nil {
		return nil, err
	}
	if rest := header[h.dec.InputOffset():]; len(bytes.TrimRight(rest, " ")) > 0 {
		return nil, badFormat("the header goes on after its JSON")
	}
	return layOut(&h, body)
}

// entry is a tensor of the header with its place in the data.
type entry struct {
	Tensor
	begin, end int64
}

func layOut(h *headerReader, body []byte) (*File, error) {
	slices.SortStableFunc(h.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	f := &File{Metadata: h.metadata, Tensors: make([]Tensor, 0, len(h.entries))}
	at := int64(0)
	for _, e := range h.entries {
		if e.begin != at || e.end < e.begin || e.end > int64(len(body)) {
			return nil, badFormat("tensor %s lies at [%d, %d], expected from %d up to at most %d",
				quote(e.Name), e.begin, e.end, at, len(body))
		}
		e.Data = body[e.begin:e.end:e.end]
		at = e.end
		f.Tensors = append(f.Tensors, e.Tensor)
	}
	if at != int64(len(body)) {
		return nil, badFormat("%d bytes of data, the tensors take %d", len(body), at)
	}
	return f, nil
}

// headerReader reads the header token by token, because the usual decoding would let the last of two equal names win
// and would build whatever an unknown key holds.
type headerReader struct {
	dec      *json.Decoder
	limits   Limits
	metadata map[string]string
	entries  []entry
}

func (h *headerReader) token() (json.Token, error) {
	t, err := h.dec.Token()
	if err != nil {
		return nil, badFormat("the header is no JSON")
	}
	return t, nil
}

func (h *headerReader) delim(want json.Delim) error {
	t, err := h.token()
	if err != nil {
		return err
	}
	if t != want {
		return badFormat("the header has something else where %q belongs", rune(want))
	}
	return nil
}

func (h *headerReader) text() (string, error) {
	t, err := h.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", badFormat("the header has something else where a string belongs")
	}
	return s, nil
}

// object reads an object and hands each key, which may come only once, to value.
func (h *headerReader) object(value func(key string) error) error {
	if err := h.delim('{'); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for h.dec.More() {
		key, err := h.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return badFormat("the header has %s twice", quote(key))
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	return h.delim('}')
}

// counts reads an array of at most limit integers that are not negative.
func (h *headerReader) counts(limit int) ([]int64, error) {
	if err := h.delim('['); err != nil {
		return nil, err
	}
	out := []int64{}
	for h.dec.More() {
		if len(out) == limit {
			return nil, badFormat("the header has more than %d numbers in a list", limit)
		}
		t, err := h.token()
		if err != nil {
			return nil, err
		}
		num, ok := t.(json.Number)
		if !ok {
			return nil, badFormat("the header has something else where a number belongs")
		}
		n, err := strconv.ParseInt(num.String(), 10, 64)
		if err != nil || n < 0 {
			return nil, badFormat("the header has %s where a count belongs", quote(num.String()))
		}
		out = append(out, n)
	}
	return out, h.delim(']')
}

func (h *headerReader) read() error {
	return h.object(func(name string) error {
		if name == metadataKey {
			h.metadata = make(map[string]string)
			return h.object(func(key string) error {
				v, err := h.text()
				h.metadata[key] = v
				return err
			})
		}
		if h.limits.Tensors > 0 && len(h.entries) == h.limits.Tensors {
			return badFormat("more than %d tensors", h.limits.Tensors)
		}
		return h.tensor(name)
	})
}

func (h *headerReader) tensor(name string) error {
	e := entry{Tensor: Tensor{Name: name}}
	keys := 0
	err := h.object(func(key string) (err error) {
		keys++
		switch key {
		case "dtype":
			var s string
			s, err = h.text()
			e.DType = DType(s)
		case "shape":
			e.Shape, err = h.counts(maxRank)
		case "data_offsets":
			var at []int64
			if at, err = h.counts(2); err == nil && len(at) != 2 {
				err = badFormat("tensor %s has %d data offsets", quote(name), len(at))
			}
			if err == nil {
				e.begin, e.end = at[0], at[1]
			}
		default:
			err = badFormat("tensor %s has the unknown key %s", quote(name), quote(key))
		}
		return err
	})
	if err != nil {
		return err
	}
	if keys != 3 {
		return badFormat("tensor %s lacks one of dtype, shape and data_offsets", quote(name))
	}
	_, elementBits, ok := e.DType.rank()
	if !ok {
		return badFormat("tensor %s has the unknown dtype %s", quote(name), quote(string(e.DType)))
	}
	size, ok := byteSize(elementBits, e.Shape)
	if !ok || e.end < e.begin || e.end-e.begin != size {
		return badFormat("tensor %s lies at [%d, %d], which does not match its shape", quote(name), e.begin, e.end)
	}
	h.entries = append(h.entries, e)
	return nil
}

// quotedTextLimit is how many bytes of a file's text a message shows.
const quotedTextLimit = 80

func quote(s string) string {
	if len(s) > quotedTextLimit {
		return fmt.Sprintf("%q...", s[:quotedTextLimit])
	}
	return strconv.Quote(s)
}
