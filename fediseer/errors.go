// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// What an *APIError can match with errors.Is, by its status.
var (
	ErrValidation   = errors.New("fediseer: not valid")         // 400
	ErrUnauthorized = errors.New("fediseer: not authenticated") // 401
	ErrForbidden    = errors.New("fediseer: not allowed")       // 403
	ErrNotFound     = errors.New("fediseer: not found")         // 404
	ErrRateLimited  = errors.New("fediseer: too many requests") // 429
	ErrUnavailable  = errors.New("fediseer: not available")     // 503
)

var (
	// ErrBadKey means that the API key belongs to nobody. An *APIError matches it besides the error of its status.
	ErrBadKey = errors.New("fediseer: unknown API key")
	// ErrNoDomain means that a call without a domain was made by a client that has not logged in.
	ErrNoDomain = errors.New("fediseer: no domain was given, and the client has not logged in")
)

// APIError is a refusal of the service.
type APIError struct {
	Status  int
	Message string
	// Fields tells what is wrong with each field of a request, if the service told.
	Fields       map[string]string
	Method, Path string
	// RetryAfter is when another try makes sense; zero is unknown.
	RetryAfter time.Duration

	badKey bool
}

func (e *APIError) Error() string {
	s := fmt.Sprintf("fediseer: %s %s: %d %s", e.Method, e.Path, e.Status, e.Message)
	for field, why := range e.Fields {
		s += fmt.Sprintf("; %s: %s", field, why)
	}
	return s
}

var errByStatus = map[int]error{
	http.StatusBadRequest: ErrValidation, http.StatusUnauthorized: ErrUnauthorized, http.StatusForbidden: ErrForbidden,
	http.StatusNotFound: ErrNotFound, http.StatusTooManyRequests: ErrRateLimited, http.StatusServiceUnavailable: ErrUnavailable,
}

// Is implements the matching of errors.Is.
func (e *APIError) Is(target error) bool {
	return target == errByStatus[e.Status] && target != nil || e.badKey && target == ErrBadKey
}
