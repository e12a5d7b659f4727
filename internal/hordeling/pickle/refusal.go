// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

import (
	"fmt"
	"strings"
)

// Code says which kind of refusal it is. The texts are the `rc` values of the hordeling's API.
type Code string

const (
	// Unsafe: an opcode or a symbol outside the lists, or a call of something that may not be called.
	Unsafe Code = "UnsafePickle"
	// Unsupported: harmless and known, but nothing a textual inversion needs (TorchScript, big-endian data, ...).
	Unsupported Code = "UnsupportedPickle"
	// Corrupt: truncated, or lengths, bounds or structure that contradict each other.
	Corrupt Code = "CorruptFile"
	// TooComplex: one of the [Limits] is exceeded.
	TooComplex Code = "TooComplex"
)

// Refusal is the error of this package and of torchfile: why a file is not converted.
type Refusal struct {
	Code Code
	// Where names the part of the file: "data.pkl", "storage 0"; empty for the file (or the only stream) itself.
	Where string
	// Offset is the byte within that part where the offending opcode or structure begins; -1 where no byte is to blame.
	Offset int64
	// Op is the name of the offending opcode, as Python's pickletools calls it; empty outside of a pickle.
	Op string
	// Reason is English for people, without a final stop. Text out of the file is quoted and cut in it.
	Reason string
}

func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString(string(r.Code))
	b.WriteString(": ")
	if r.Op != "" {
		b.WriteString(r.Op)
		b.WriteString(": ")
	}
	b.WriteString(r.Reason)
	if r.Offset >= 0 {
		fmt.Fprintf(&b, " at byte %d", r.Offset)
	}
	if r.Where != "" {
		if r.Offset >= 0 {
			b.WriteString(" of ")
		} else {
			b.WriteString(" in ")
		}
		b.WriteString(r.Where)
	}
	return b.String()
}

// Refuse makes a refusal that blames no opcode.
func Refuse(code Code, where string, offset int64, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Where: where, Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// quotedTextLimit is how many bytes of a file's text a message shows.
const quotedTextLimit = 80

// quote makes text out of a file fit for a message and a terminal: escaped, and cut.
func quote(s string) string {
	if len(s) > quotedTextLimit {
		return fmt.Sprintf("%q...", s[:quotedTextLimit])
	}
	return fmt.Sprintf("%q", s)
}
