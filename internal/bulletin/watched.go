// SPDX-License-Identifier: AGPL-3.0-or-later

package bulletin

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	// lookEvery is how often a file is looked at, at most.
	lookEvery = time.Second
	// maxFile bounds a file, in bytes.
	maxFile = 4 << 20
)

// watched is a file that is read when it has changed since it was last asked for. Nothing runs meanwhile.
type watched[T any] struct {
	path  string // empty for none: the value is always zero
	parse func([]byte) (T, error)
	// keep keeps the last good value where the file cannot be used any more, in place of the zero value.
	keep bool
	log  *slog.Logger

	mu     sync.Mutex // guards all below
	looked time.Time
	was    state
	value  T
	told   string // what was wrong when last looked at, so that it is logged once
}

// state tells versions of a file apart.
type state struct {
	changed time.Time
	size    int64
	there   bool
}

// get is the value of the file as it is now, or was a moment ago.
func (w *watched[T]) get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.path == "" || !w.looked.IsZero() && now.Sub(w.looked) < lookEvery {
		return w.value
	}
	w.looked = now
	is, err := stateOf(w.path)
	if err == nil && is == w.was {
		return w.value
	}
	var value T
	if err == nil {
		value, err = w.read()
	}
	w.was = is
	if err == nil {
		w.value, w.told = value, ""
		return w.value
	}
	if !w.keep {
		w.value = value // the zero value
	}
	if text := err.Error(); text != w.told {
		w.told = text
		w.log.Error("a file of the operator cannot be used", "file", w.path, "error", err)
	}
	return w.value
}

func stateOf(path string) (state, error) {
	info, err := os.Stat(path)
	if err != nil {
		return state{}, err
	}
	return state{info.ModTime(), info.Size(), true}, nil
}

func (w *watched[T]) read() (value T, err error) {
	f, err := os.Open(w.path)
	if err != nil {
		return value, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return value, err
	case len(data) > maxFile:
		return value, errTooLarge
	}
	read, err := w.parse(data)
	if err != nil {
		return value, fmt.Errorf("%s: %w", w.path, err)
	}
	return read, nil
}

var errTooLarge = errors.New("more than 4 MiB")
