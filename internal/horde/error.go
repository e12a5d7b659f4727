// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"fmt"
	"net/http"
	"time"
)

// Error is every refusal that a caller can see. The engine and the domain return it as a value; package api turns it
// into the one JSON document that clients know, and no other place builds such a document.
type Error struct {
	// RC is the stable code that clients match on, for example "InvalidAPIKey". It is empty for errors of the
	// framework: a body that does not validate, an unknown path, a rate limit.
	RC string
	// Status is the HTTP status. Zero means 500.
	Status int
	// Message is English for people. A few texts hold fragments that deployed programs search for; those say so
	// where they are declared.
	Message string
	// Fields holds one reason for each field that did not validate, by its dotted path from the root of the body
	// ("params.loras.0.name", "" for the body itself). It is nil for all other errors.
	Fields map[string]string
	// RetryAfter tells the client when another try makes sense. Zero means unknown.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	if e.RC == "" {
		return e.Message
	}
	return e.RC + ": " + e.Message
}

// Is makes errors.Is compare by code, so that a test or a caller can match an error whose message was made for the case.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && e.RC != "" && t.RC == e.RC
}

// Withf returns a copy of e with another message.
func (e *Error) Withf(format string, args ...any) *Error {
	c := *e
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// Invalid returns the refusal of a body or an argument that does not validate: status 400, no code.
func Invalid(fields map[string]string) *Error {
	return &Error{Status: http.StatusBadRequest, Message: "Input payload validation failed", Fields: fields}
}
