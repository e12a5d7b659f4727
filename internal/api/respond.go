// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"horde/internal/api/mask"
	"horde/internal/horde"
)

// encoding is encoding/json as its users know it, except that nil slices are [] and <, > and & are written as they are.
var encoding = json.JoinOptions(
	jsonv1.OmitEmptyWithLegacySemantics(true),
	jsontext.AllowInvalidUTF8(true),
	jsontext.AllowDuplicateNames(true),
	json.Deterministic(true),
)

// largeAnswer is the size above which a buffer is not kept for the next answer.
const largeAnswer = 64 << 10

var answers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maskOf reads the X-Fields header; nil means everything.
func maskOf(req *http.Request) (*mask.Mask, error) {
	text := req.Header["X-Fields"]
	if len(text) == 0 || text[0] == "" {
		return nil, nil
	}
	m, err := mask.Parse(text[0])
	if err != nil {
		return nil, &horde.Error{Status: http.StatusBadRequest, Message: err.Error()}
	}
	return m, nil
}

// respond writes the answer of a handler.
func (r *Router) respond(w http.ResponseWriter, req *http.Request, status int, out any, wanted *mask.Mask) error {
	switch out := out.(type) {
	case nil:
		w.WriteHeader(status)
		return nil
	case http.Handler:
		// It may take any time to write; until when is its own business.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		out.ServeHTTP(w, req)
		return nil
	}
	buf := answers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= largeAnswer {
			buf.Reset()
			answers.Put(buf)
		}
	}()
	if err := json.MarshalWrite(buf, out, encoding); err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	text := buf.Bytes()
	if wanted != nil && status < http.StatusMultipleChoices {
		masked, err := wanted.Apply(nil, text)
		if err != nil {
			return err
		}
		text = masked
	}
	writeJSON(w, status, text)
	return nil
}

var jsonType = []string{"application/json; charset=utf-8"}

func writeJSON(w http.ResponseWriter, status int, text []byte) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	w.WriteHeader(status)
	// An error means that the caller has gone, which is nobody's fault.
	_, _ = w.Write(text)
}

// Marshal encodes a document as the answers of operations are, in one line.
func Marshal(doc any) ([]byte, error) { return json.Marshal(doc, encoding) }

// RefusalDocument is the document that a refusal is answered with.
func RefusalDocument(e *horde.Error) any {
	return requestValidationError{requestError{e.Message, code(e.RC)}, e.Fields}
}

// requestError is the body of a refusal.
type requestError struct {
	Message string `json:"message" doc:"What is wrong, for people."`
	RC      code   `json:"rc,omitempty" published:"required=true" doc:"What is wrong, for programs."`
}

// requestValidationError is the body of every refusal; most have no reasons for fields.
type requestValidationError struct {
	requestError
	Errors map[string]string `json:"errors,omitempty" doc:"Reasons by the path of the field."`
}

// WriteError answers with err. It is the one place that turns a *[horde.Error], wrapped or not, into the document that
// clients know. Any other error is a fault of ours: it is logged, and the caller learns nothing about it. Handlers return
// their errors instead of calling this; it is for what is mounted.
func (r *Router) WriteError(w http.ResponseWriter, req *http.Request, err error) {
	var e *horde.Error
	if !errors.As(err, &e) {
		e = &horde.Error{Status: http.StatusInternalServerError, Message: "Internal Server Error"}
		if gone := req.Context().Err(); gone != nil && errors.Is(err, context.Canceled) {
			r.log.DebugContext(req.Context(), "caller has gone", "method", req.Method, "route", req.Pattern)
		} else {
			r.log.ErrorContext(req.Context(), "call failed", "method", req.Method, "route", req.Pattern, "err", err)
		}
	}
	whole := *e
	if whole.Status == 0 {
		whole.Status = http.StatusInternalServerError
	}
	if whole.Message == "" {
		whole.Message = http.StatusText(whole.Status) // never empty: clients show it
	}
	if code := r.options.InvalidRC; code != "" && whole.Status == http.StatusBadRequest && whole.RC == "" {
		whole.RC = code
		if whole.Fields == nil {
			whole.Fields = map[string]string{"": whole.Message}
		}
	}
	if e.RetryAfter > 0 {
		w.Header()["Retry-After"] = []string{seconds(e.RetryAfter)}
	}
	if r.errorPage != nil && r.errorPage(w, req, &whole) {
		return
	}
	status := whole.Status
	doc := RefusalDocument(&whole)
	text, err := json.Marshal(doc, encoding)
	if err != nil {
		r.log.ErrorContext(req.Context(), "error document", slog.Any("err", err))
		text = []byte(`{"message":"Internal Server Error"}`)
	}
	writeJSON(w, status, text)
}
