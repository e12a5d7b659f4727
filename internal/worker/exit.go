// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"errors"
	"fmt"
)

// Exit codes of the worker program.
const (
	ExitDrained  = 0
	ExitFatal    = 1
	ExitConfig   = 2   // configuration written anew or invalid, or the horde refuses the worker's name
	ExitAccount  = 3   // the horde refuses the key or the account
	ExitBackend  = 4   // no inference server within two minutes of the start
	ExitFailures = 5   // too many failed jobs, with exit_on_unhandled_faults
	ExitForced   = 130 // ended by a third signal
)

// ExitError is an end of the program with a code other than 0.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode makes kong's FatalIfErrorf end the process with the code.
func (e *ExitError) ExitCode() int { return e.Code }

// CodeOf returns the exit code for what Run returned.
func CodeOf(err error) int {
	var e *ExitError
	switch {
	case err == nil:
		return ExitDrained
	case errors.As(err, &e):
		return e.Code
	}
	return ExitFatal
}

func exitf(code int, format string, args ...any) *ExitError {
	return &ExitError{Code: code, Err: fmt.Errorf(format, args...)}
}
