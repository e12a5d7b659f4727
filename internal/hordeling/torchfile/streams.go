// SPDX-License-Identifier: AGPL-3.0-or-later

package torchfile

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"horde/internal/hordeling/pickle"
)

// Stream is a pickle inside a file.
type Stream struct {
	// Name says which one it is: the entry of a zip, or the part of a legacy stream.
	Name string
	// Where is what Offset counts in: the entry's name, or "the file".
	Where string
	// Offset is where Data begin.
	Offset int64
	Data   []byte
}

// Entry is a file inside a zip.
type Entry struct {
	Name  string
	Bytes uint64
}

// legacyParts names the pickles of a legacy stream in their order.
var legacyParts = []string{"the magic number", "the version", "the system information", "the object", "the list of storages"}

// Streams finds the pickles of a file for a person to look at: more leniently than Open, also where Open refuses. Of
// the entries of a zip those that end in .pkl are taken, together at most as much as one stream may have. With an error it returns what it found
// until then.
func Streams(data []byte, limits Limits) ([]Stream, []Entry, error) {
	switch Detect(data) {
	case Zip:
		return zipStreams(data, limits)
	case Legacy, LegacyText:
		return legacyStreams(data)
	case Unknown:
		if len(data) > 0 && pickle.LookupOpcode(data[0]) != nil {
			return []Stream{{Name: "a bare pickle", Where: "the file", Data: data}}, nil, nil
		}
	}
	return nil, nil, nil
}

func zipStreams(data []byte, limits Limits) (streams []Stream, entries []Entry, err error) {
	if err := boundDirectory(data, limits.ZipEntries); err != nil {
		return nil, nil, err
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, nil, badZip("the directory cannot be read")
	}
	left := limits.Pickle.StreamBytes
	for _, e := range r.File {
		entries = append(entries, Entry{e.Name, e.UncompressedSize64})
		if !strings.HasSuffix(e.Name, ".pkl") {
			continue
		}
		f, err := e.Open()
		if err != nil {
			return streams, entries, badZip("entry %.80q cannot be opened", e.Name)
		}
		content, err := io.ReadAll(io.LimitReader(f, left))
		f.Close()
		left -= int64(len(content))
		if err != nil && len(content) == 0 {
			return streams, entries, badZip("entry %.80q cannot be read", e.Name)
		}
		streams = append(streams, Stream{Name: e.Name, Where: "the entry", Data: content})
	}
	return streams, entries, nil
}

func legacyStreams(data []byte) ([]Stream, []Entry, error) {
	var streams []Stream
	at := int64(0)
	for _, name := range legacyParts {
		n, err := pickle.Trace(context.Background(), data[at:], func(pickle.Step) error { return nil })
		if err != nil {
			// Tracing it again will tell why it cannot be followed.
			return append(streams, Stream{Name: name, Where: "the file", Offset: at, Data: data[at:]}), nil, nil
		}
		streams = append(streams, Stream{Name: name, Where: "the file", Offset: at, Data: data[at : at+n]})
		at += n
	}
	return streams, nil, nil
}
