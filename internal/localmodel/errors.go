// SPDX-License-Identifier: AGPL-3.0-or-later

package localmodel

import (
	"errors"
	"fmt"
)

// What can be missing. Every error of this package wraps one of these or a [*ChecksumError], or is an error of the
// file system or of the context; a caller that can do without a model prints it and goes on.
var (
	// ErrNotSetUp: the directory holds no complete set-up.
	ErrNotSetUp = errors.New("no local model is set up here")
	// ErrNoPython: no Python of at least version 3.10, 64 bits and with the global interpreter lock was found.
	ErrNoPython = errors.New("no suitable Python (3.10 or newer, 64 bits)")
	// ErrNoPip: there is a Python, but neither it nor a virtual environment made with it has a working pip.
	ErrNoPip = errors.New("the Python here has no pip")
	// ErrNoNetwork: the Python package index cannot be reached.
	ErrNoNetwork = errors.New("the Python package index cannot be reached")
	// ErrUnsupported: there is no build of llama.cpp's server for this operating system, processor or C library.
	ErrUnsupported = errors.New("no build of the model server for this platform")
	// ErrDownload: pip failed for another reason, which the message gives in pip's words.
	ErrDownload = errors.New("pip could not download")
	// ErrServer: the model's server did not start.
	ErrServer = errors.New("the model server did not start")
)

// ChecksumError says that a file is not the one this version of the program was made for. The file has been removed.
type ChecksumError struct {
	File string // base name
	Got  string // SHA-256 in hex of what is there
	Want string // SHA-256 in hex of what was expected
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("%s has the SHA-256 %.16s…, not %.16s…: removed", e.File, e.Got, e.Want)
}
