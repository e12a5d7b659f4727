// SPDX-License-Identifier: AGPL-3.0-or-later

package torchfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"horde/internal/hordeling/pickle"
	"horde/internal/hordeling/safetensors"
)

// Container is what the first bytes of a file say that it is.
type Container uint8

// The containers that are told apart. Only Zip and Legacy can be opened.
const (
	Unknown Container = iota
	Zip
	Legacy
	Safetensors
	Tar
	HTML
	// LegacyText is a legacy stream of pickle protocol 0 or 1.
	LegacyText
)

func (c Container) String() string {
	switch c {
	case Zip:
		return "PyTorch zip"
	case Legacy:
		return "PyTorch legacy stream"
	case Safetensors:
		return "safetensors"
	case Tar:
		return "PyTorch tar"
	case HTML:
		return "HTML"
	case LegacyText:
		return "PyTorch legacy stream of protocol 0 or 1"
	}
	return "unknown"
}

// ErrHTML means that the data are a web page: what a login form or an error answers instead of a file.
var ErrHTML = errors.New("the file is a web page")

const (
	zipMagic = "PK\x03\x04"
	// legacyMagic is the first pickle of a legacy stream after PROTO: LONG1 with the magic number, STOP.
	legacyMagic = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
	// legacyFrame is what protocols 4 and 5 have between PROTO and the magic number: FRAME with the length of legacyMagic.
	legacyFrame = "\x95\x0d\x00\x00\x00\x00\x00\x00\x00"
	// tarOffset is where a tar has the text "ustar".
	tarOffset = 257
	// legacyText is the magic number as protocols 0 and 1 pickle it: LONG in decimal, STOP.
	legacyText = "L119547037146038801333356L\n."
	// lengthBytes is the size of the header length that opens a safetensors file.
	lengthBytes = 8
	// sniffBytes is how far into a file a web page must begin to be taken for one.
	sniffBytes = 512
)

// Detect tells the container by the first bytes of data.
func Detect(data []byte) Container {
	switch {
	case bytes.HasPrefix(data, []byte(zipMagic)):
		return Zip
	case isLegacy(data):
		return Legacy
	case bytes.HasPrefix(data, []byte(legacyText)):
		return LegacyText
	case len(data) >= tarOffset+5 && string(data[tarOffset:tarOffset+5]) == "ustar":
		return Tar
	case safetensors.LooksLike(data):
		return Safetensors
	case looksLikeHTML(data):
		return HTML
	}
	return Unknown
}

// isLegacy tells whether data begin with the magic number as protocols 2 to 5 pickle it.
func isLegacy(data []byte) bool {
	if len(data) < 2 || data[0] != 0x80 || data[1] < 2 || data[1] > 5 {
		return false
	}
	return bytes.HasPrefix(bytes.TrimPrefix(data[2:], []byte(legacyFrame)), []byte(legacyMagic))
}

func looksLikeHTML(data []byte) bool {
	head := bytes.TrimPrefix(data[:min(len(data), sniffBytes)], []byte("\xef\xbb\xbf"))
	head = bytes.ToLower(bytes.TrimLeft(head, " \t\r\n"))
	for _, tag := range []string{"<!doctype html", "<html", "<head", "<body", "<script", "<title", "<!--"} {
		if bytes.HasPrefix(head, []byte(tag)) {
			return true
		}
	}
	return false
}

// Limits bounds a container. The zero value of a field is not "no limit": start from [DefaultLimits].
type Limits struct {
	// Pickle bounds each pickle stream.
	Pickle pickle.Limits
	// ZipEntries counts all entries of the directory, also those that are ignored.
	ZipEntries int
	// ZipBytes is the most that all entries together may be uncompressed.
	ZipBytes int64
	// ZipRatio is the most by which an entry may grow when it is inflated.
	ZipRatio int64
}

// DefaultLimits returns the limits of the hordeling chapter, section 5.
func DefaultLimits() Limits {
	return Limits{Pickle: pickle.DefaultLimits(), ZipEntries: 64, ZipBytes: 128 << 20, ZipRatio: 100}
}

// File is an opened container.
type File struct {
	Container Container
	// Root is the object that was saved.
	Root pickle.Value
	// Storages by their key, little-endian. They may alias the input.
	storages map[string][]byte
}

// Open reads a container. The error is a [*pickle.Refusal], [ErrHTML], or the context's. The file aliases data.
func Open(ctx context.Context, data []byte, limits Limits) (*File, error) {
	switch c := Detect(data); c {
	case Zip:
		return openZip(ctx, data, limits)
	case Legacy:
		return openLegacy(ctx, data, limits)
	case LegacyText:
		return nil, refuseLegacyText(ctx, data)
	case Tar:
		return nil, pickle.Refuse(pickle.Unsupported, "", -1, "a tar of the PyTorch before 2017")
	case HTML:
		return nil, ErrHTML
	default:
		return nil, pickle.Refuse(pickle.Corrupt, "", -1, "not a file that PyTorch writes (%s)", describe(data))
	}
}

// describe names a few formats that are found under the suffixes of PyTorch.
func describe(data []byte) string {
	for magic, name := range map[string]string{
		"PYTORCH1": "a model of Caffe2", "7z\xbc\xaf": "a 7z archive", "\x1f\x8b": "a gzip file", "Rar!": "a RAR archive",
		"PK\x05\x06": "an empty zip", "\x89PNG": "a picture", "\xff\xd8\xff": "a picture", "{": "JSON text", "GGUF": "a GGUF model",
		"version https://git-lfs": "a pointer of Git LFS",
	} {
		if bytes.HasPrefix(data, []byte(magic)) {
			return name
		}
	}
	if len(data) == 0 {
		return "no bytes"
	}
	// A safetensors file whose length fits was told by its first bytes already.
	if len(data) > lengthBytes && data[lengthBytes] == '{' {
		return fmt.Sprintf("perhaps safetensors with a header length of %d bytes, where %d are left",
			binary.LittleEndian.Uint64(data), len(data)-lengthBytes)
	}
	if data[0] == 0x80 || strings.ContainsRune("(]}c", rune(data[0])) {
		return "perhaps a bare pickle"
	}
	return fmt.Sprintf("it begins with % x", data[:min(len(data), 8)])
}

// Data returns t's elements in row-major order as little-endian bytes. Where that would be more than maxBytes it refuses
// with TooComplex before it allocates: strides of 0 let a few bytes stand for many. A tensor that lies contiguous in its
// storage is returned without a copy.
func (f *File) Data(t *pickle.Tensor, maxBytes int64) ([]byte, error) {
	storage, ok := f.storages[t.Storage.Key]
	if !ok || int64(len(storage)) != t.Storage.Bytes() {
		return nil, pickle.Refuse(pickle.Corrupt, "storage "+t.Storage.Key, -1, "the storage is missing")
	}
	size := t.Storage.Type.Size
	elements, ok := t.Elements()
	if !ok || elements > maxBytes/size {
		return nil, pickle.Refuse(pickle.TooComplex, "storage "+t.Storage.Key, -1, "a tensor of more than %d bytes", maxBytes)
	}
	if elements == 0 {
		return nil, nil
	}
	if contiguous(t) {
		return storage[t.Offset*size : (t.Offset+elements)*size], nil
	}
	out := make([]byte, 0, elements*size)
	index := make([]int64, len(t.Size))
	at := t.Offset
	for range elements {
		out = append(out, storage[at*size:(at+1)*size]...)
		for k := len(index) - 1; k >= 0; k-- {
			index[k]++
			at += t.Stride[k]
			if index[k] < t.Size[k] {
				break
			}
			at -= index[k] * t.Stride[k]
			index[k] = 0
		}
	}
	return out, nil
}

// contiguous tells whether t's elements follow each other in the storage. The stride of a dimension of size 1 is never
// used.
func contiguous(t *pickle.Tensor) bool {
	want := int64(1)
	for k := len(t.Size) - 1; k >= 0; k-- {
		if t.Size[k] != 1 && t.Stride[k] != want {
			return false
		}
		want *= t.Size[k]
	}
	return true
}

// check compares what the pickle says of the storages with what the container holds.
func (f *File) check(declared []*pickle.Storage) error {
	for _, s := range declared {
		data, ok := f.storages[s.Key]
		if !ok {
			return pickle.Refuse(pickle.Corrupt, "storage "+s.Key, -1, "the pickle names a storage that the file does not hold")
		}
		if int64(len(data)) != s.Bytes() {
			return wrongSize(s, uint64(len(data)))
		}
	}
	return nil
}

// wrongSize is the refusal of a storage that has other than the bytes that the pickle says.
func wrongSize(s *pickle.Storage, has uint64) error {
	return pickle.Refuse(pickle.Corrupt, "", -1, "storage %s has %d bytes where the pickle claims %d", s.Key, has, s.Bytes())
}
