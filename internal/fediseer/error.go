// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"fmt"
	"net/http"
	"time"

	"horde/internal/horde"
)

// Refuse returns a refusal with an HTTP status. No client of the Fediseer matches on message texts, so the errors carry
// no code; people read the message.
func Refuse(status int, format string, args ...any) *horde.Error {
	return &horde.Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// RefuseFor is Refuse with the time after which another try makes sense.
func RefuseFor(status int, retry time.Duration, format string, args ...any) *horde.Error {
	e := Refuse(status, format, args...)
	e.RetryAfter = retry
	return e
}

func badDomain(s, why string) *horde.Error {
	return Refuse(http.StatusBadRequest, "%q %s; a domain such as example.social is needed", s, why)
}

// Refusals that several rules share. The key refusals differ in their status by route: clients rely on 404 for writes,
// 401 for lists and 403 for settings.
var (
	// ErrNoKey is the answer to a missing apikey header where one is required.
	ErrNoKey = &horde.Error{Status: http.StatusBadRequest, Message: "Input payload validation failed",
		Fields: map[string]string{"apikey": "Missing required parameter in the HTTP headers"}}
	// ErrEmptyKey is the answer to an apikey header without a value.
	ErrEmptyKey = Refuse(http.StatusUnauthorized, "The apikey header is empty")
)

// ErrUnknownKey is the refusal of a key that belongs to nobody; status is the route's.
func ErrUnknownKey(status int) *horde.Error { return Refuse(status, "No instance has this API key") }

// ErrUnknownInstance is the refusal of a domain without a row; status is the route's.
func ErrUnknownInstance(status int, d string) *horde.Error {
	return Refuse(status, "No instance %q is registered", d)
}
