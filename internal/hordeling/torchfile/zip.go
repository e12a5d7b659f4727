// SPDX-License-Identifier: AGPL-3.0-or-later

package torchfile

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"horde/internal/hordeling/pickle"
)

// Sizes of the fixed parts of a zip's records.
const (
	localHeaderBytes     = 30
	directoryHeaderBytes = 46
	endBytes             = 22
	end64Bytes           = 56
	locator64Bytes       = 20
	maxComment           = 1<<16 - 1
)

// entryName matches the entries that are read: the common folder, then what PyTorch keeps there.
var entryName = regexp.MustCompile(`^([^/\\]+)/(data\.pkl|version|byteorder|data/([0-9]{1,9}))$`)

const (
	// encryptedFlag is bit 0 of an entry's flags.
	encryptedFlag = 1
	// byteorderBytes is the longest honest content of the entry of that name ("little").
	byteorderBytes = 16
)

func badZip(format string, args ...any) error {
	return pickle.Refuse(pickle.Corrupt, "", -1, "zip: "+format, args...)
}

func complexZip(format string, args ...any) error {
	return pickle.Refuse(pickle.TooComplex, "", -1, "zip: "+format, args...)
}

// openZip reads the zip of PyTorch 1.6 and later (hordeling chapter, section 6.1).
func openZip(ctx context.Context, data []byte, limits Limits) (*File, error) {
	entries, err := listEntries(data, limits)
	if err != nil {
		return nil, err
	}
	if order, ok := entries["byteorder"]; ok {
		if order.UncompressedSize64 > byteorderBytes {
			return nil, badZip("the byte order is no word")
		}
		text, err := readEntry(ctx, data, order)
		if err != nil {
			return nil, err
		}
		switch word := strings.TrimSpace(string(text)); word {
		case "little":
		case "big":
			return nil, pickle.Refuse(pickle.Unsupported, "", -1, "the storages are big-endian")
		default:
			return nil, badZip("unknown byte order %.16q", word)
		}
	}
	program, ok := entries["data.pkl"]
	if !ok {
		return nil, badZip("no data.pkl")
	}
	if program.UncompressedSize64 > uint64(limits.Pickle.StreamBytes) {
		return nil, complexZip("data.pkl has %d bytes, at most %d are read", program.UncompressedSize64, limits.Pickle.StreamBytes)
	}
	stream, err := readEntry(ctx, data, program)
	if err != nil {
		return nil, err
	}
	decoded, err := pickle.Decode(ctx, stream, pickle.Options{Dialect: pickle.Zip, Limits: &limits.Pickle, Where: "data.pkl"})
	if err != nil {
		return nil, err
	}
	if rest := int64(len(stream)) - decoded.Consumed; rest > 0 {
		return nil, pickle.Refuse(pickle.Corrupt, "data.pkl", decoded.Consumed, "%d bytes follow the pickle", rest)
	}
	f := &File{Container: Zip, Root: decoded.Root, storages: make(map[string][]byte)}
	for _, s := range decoded.Storages {
		e, ok := entries["data/"+s.Key]
		if !ok {
			continue // check tells
		}
		if e.UncompressedSize64 != uint64(s.Bytes()) {
			return nil, wrongSize(s, e.UncompressedSize64)
		}
		if f.storages[s.Key], err = readEntry(ctx, data, e); err != nil {
			return nil, err
		}
	}
	return f, f.check(decoded.Storages)
}

// listEntries returns the entries that matter by their name after the folder, once the whole directory has passed.
func listEntries(data []byte, limits Limits) (map[string]*zip.File, error) {
	if err := boundDirectory(data, limits.ZipEntries); err != nil {
		return nil, err
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, badZip("the directory cannot be read")
	}
	if len(r.File) > limits.ZipEntries {
		return nil, complexZip("%d entries, at most %d are read", len(r.File), limits.ZipEntries)
	}
	entries := make(map[string]*zip.File)
	names := make(map[string]bool)
	folder := ""
	total := int64(0)
	for _, e := range r.File {
		if err := checkEntry(e, uint64(len(data)), limits); err != nil {
			return nil, err
		}
		if total += int64(e.UncompressedSize64); total > limits.ZipBytes {
			return nil, complexZip("more than %d bytes uncompressed", limits.ZipBytes)
		}
		if names[e.Name] {
			return nil, badZip("two entries are named %.80q", e.Name)
		}
		names[e.Name] = true
		_, inner, _ := strings.Cut(e.Name, "/")
		if inner == "constants.pkl" || strings.HasPrefix(inner, "code/") {
			return nil, pickle.Refuse(pickle.Unsupported, "", -1, "a TorchScript program")
		}
		m := entryName.FindStringSubmatch(e.Name)
		if m == nil {
			continue
		}
		if folder == "" {
			folder = m[1]
		}
		if m[1] != folder {
			return nil, badZip("entries in two folders, %.80q and %.80q", folder, m[1])
		}
		entries[m[2]] = e
	}
	return entries, checkRanges(r.File, int64(len(data)))
}

// checkEntry judges one entry by its directory record alone.
func checkEntry(e *zip.File, fileSize uint64, limits Limits) error {
	switch {
	case e.Flags&encryptedFlag != 0:
		return badZip("entry %.80q is encrypted", e.Name)
	case e.Method != zip.Store && e.Method != zip.Deflate:
		return badZip("entry %.80q is compressed by method %d", e.Name, e.Method)
	case e.Mode()&^(fs.ModePerm|fs.ModeDir) != 0:
		return badZip("entry %.80q is no plain file", e.Name)
	case unsafeName(e.Name):
		return badZip("entry %.80q has a name that leads elsewhere", e.Name)
	case e.CompressedSize64 > fileSize:
		return badZip("entry %.80q has more bytes than the file", e.Name)
	case e.UncompressedSize64 > uint64(limits.ZipBytes):
		return complexZip("entry %.80q has %d bytes, at most %d are read", e.Name, e.UncompressedSize64, limits.ZipBytes)
	case e.Method == zip.Store && e.CompressedSize64 != e.UncompressedSize64:
		return badZip("entry %.80q is stored with two sizes", e.Name)
	case e.UncompressedSize64/uint64(limits.ZipRatio) > e.CompressedSize64:
		return complexZip("entry %.80q grows by more than %d times", e.Name, limits.ZipRatio)
	}
	return nil
}

// unsafeName tells whether an unpacking program could be led out of its folder. Nothing is unpacked here, but no honest
// file has such an entry.
func unsafeName(name string) bool {
	if name == "" || strings.ContainsAny(name, "\\\x00") || name[0] == '/' || len(name) > 1 && name[1] == ':' {
		return true
	}
	return slices.Contains(strings.Split(name, "/"), "..")
}

// checkRanges refuses entries whose bytes overlap: the trick of zip bombs that count the same bytes many times.
func checkRanges(files []*zip.File, size int64) error {
	type span struct{ begin, end int64 }
	spans := make([]span, 0, len(files))
	for _, e := range files {
		at, err := e.DataOffset()
		if err != nil {
			return badZip("entry %.80q has no local header", e.Name)
		}
		end := at + int64(e.CompressedSize64)
		if end > size {
			return badZip("entry %.80q reaches beyond the end", e.Name)
		}
		// The library tells where the data begin; the header before them is at least this long.
		spans = append(spans, span{at - localHeaderBytes - int64(len(e.Name)), end})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.begin, b.begin) })
	for i := 1; i < len(spans); i++ {
		if spans[i].begin < spans[i-1].end {
			return badZip("entries overlap")
		}
	}
	return nil
}

// boundDirectory counts the records of the directory before the library reads it: the library allocates for each record
// that it finds, and a file of some megabytes can hold a million.
func boundDirectory(data []byte, maxEntries int) error {
	end := bytes.LastIndex(data[max(0, len(data)-endBytes-maxComment):], []byte("PK\x05\x06"))
	if end < 0 {
		return badZip("no end record: the file is truncated")
	}
	end += max(0, len(data)-endBytes-maxComment)
	if len(data)-end < endBytes {
		return badZip("the end record is truncated")
	}
	record := data[end:]
	if comment := int(binary.LittleEndian.Uint16(record[20:])); len(record) != endBytes+comment {
		return badZip("%d bytes follow the end record", len(record)-endBytes)
	}
	count := uint64(binary.LittleEndian.Uint16(record[10:]))
	size := uint64(binary.LittleEndian.Uint32(record[12:]))
	offset := uint64(binary.LittleEndian.Uint32(record[16:]))
	directoryEnd := uint64(end)
	if at := end - locator64Bytes; at >= 0 && string(data[at:at+4]) == "PK\x06\x07" {
		at64 := binary.LittleEndian.Uint64(data[at+8:])
		if at64 > uint64(at) || uint64(at)-at64 < end64Bytes || string(data[at64:at64+4]) != "PK\x06\x06" {
			return badZip("the zip64 end record is not where it should be")
		}
		record64 := data[at64:]
		count64 := binary.LittleEndian.Uint64(record64[32:])
		size64 := binary.LittleEndian.Uint64(record64[40:])
		offset64 := binary.LittleEndian.Uint64(record64[48:])
		if count != 0xffff && count != count64 || size != 0xffffffff && size != size64 || offset != 0xffffffff && offset != offset64 {
			return badZip("the end record and the zip64 end record differ")
		}
		count, size, offset, directoryEnd = count64, size64, offset64, at64
	}
	if count > uint64(maxEntries) {
		return complexZip("%d entries, at most %d are read", count, maxEntries)
	}
	if offset > directoryEnd || size != directoryEnd-offset {
		return badZip("the directory is not where the end record says")
	}
	rest := data[offset:directoryEnd]
	for range count {
		if len(rest) < directoryHeaderBytes || string(rest[:4]) != "PK\x01\x02" {
			return badZip("the directory has fewer records than the end record says")
		}
		n := directoryHeaderBytes + int(binary.LittleEndian.Uint16(rest[28:])) +
			int(binary.LittleEndian.Uint16(rest[30:])) + int(binary.LittleEndian.Uint16(rest[32:]))
		if n > len(rest) {
			return badZip("a directory record is truncated")
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return badZip("the directory has more records than the end record says")
	}
	return nil
}

// readEntry returns the checked bytes of an entry: a part of data where the entry is stored.
func readEntry(ctx context.Context, data []byte, e *zip.File) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if e.Method == zip.Store {
		at, err := e.DataOffset()
		if err != nil {
			return nil, badZip("entry %.80q has no local header", e.Name)
		}
		b := data[at : at+int64(e.CompressedSize64)]
		if crc32.ChecksumIEEE(b) != e.CRC32 {
			return nil, badZip("entry %.80q does not match its checksum", e.Name)
		}
		return b, nil
	}
	r, err := e.Open()
	if err != nil {
		return nil, badZip("entry %.80q cannot be opened", e.Name)
	}
	defer r.Close()
	// The declared size was bounded by the limits and by the ratio to bytes that are there, so it may be allocated. The
	// reader checks the size and the checksum at its end.
	b := make([]byte, e.UncompressedSize64)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, badZip("entry %.80q cannot be inflated", e.Name)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, badZip("entry %.80q does not match its size or checksum", e.Name)
	}
	return b, nil
}
