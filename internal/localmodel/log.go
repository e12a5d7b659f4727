// SPDX-License-Identifier: AGPL-3.0-or-later

package localmodel

import (
	"bytes"
	"os"
	"sync"
)

// logMax is the size in bytes at which the server's log is put aside as "….1", replacing the one before: the server
// writes several lines for each request, and nobody else bounds them.
const logMax = 4 << 20

// logWriter appends to a file of bounded size and remembers the last line. Its mutex guards all fields: the child's
// output and the supervisor write from different goroutines.
type logWriter struct {
	mu   sync.Mutex
	name string
	file *os.File // nil after Close
	size int64
	tail tailBuffer
}

func openLog(name string) (*logWriter, error) {
	w := &logWriter{name: name, tail: tailBuffer{max: 4096}}
	return w, w.open()
}

func (w *logWriter) open() error {
	f, err := os.OpenFile(w.name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	w.file, w.size = f, info.Size()
	return nil
}

// Write never fails: a full disk must not end the server, whose output this is.
func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tail.Write(p)
	if w.file == nil {
		return len(p), nil
	}
	if w.size+int64(len(p)) > logMax {
		w.file.Close()
		w.file = nil
		if os.Rename(w.name, w.name+".1") != nil || w.open() != nil {
			return len(p), nil
		}
	}
	n, _ := w.file.Write(p)
	w.size += int64(n)
	return len(p), nil
}

// LastLine is the last line written that has text.
func (w *logWriter) LastLine() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return lastLine(string(bytes.ToValidUTF8(w.tail.data, nil)))
}

func (w *logWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}
