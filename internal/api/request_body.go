// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"horde/internal/horde"
)

// Sizes of bodies in bytes. Above them stands what the field sends: sources of several MB as base64, 20 results in one
// submit.
const (
	// DefaultMaxBody is for operations that say nothing else.
	DefaultMaxBody = 1 << 20
	// MaxGenerationBody is for requests of images, text and alchemy.
	MaxGenerationBody = 64 << 20
	// MaxSubmitBody is for results.
	MaxSubmitBody = 32 << 20
)

// DefaultBodyMemory is how many bytes all bodies that are being handled may take together, see [Options.BodyMemory].
const DefaultBodyMemory = 512 << 20

const (
	// smallBody is the size up to which bodies use recycled buffers and are not counted.
	smallBody = 32 << 10
	// bodyGrace and bodyRate bound how long a body may take: the grace, and a second more for each bodyRate bytes.
	bodyGrace = 30 * time.Second
	bodyRate  = 32 << 10
	// slowBody is the time after which the deadline for writing the answer, which runs since the headers, is renewed.
	slowBody = 10 * time.Second
)

var smallBodies = sync.Pool{New: func() any { return new([smallBody]byte) }}

// held is what a call holds on to until it is over.
type held struct {
	small  *[smallBody]byte
	memory *atomic.Int64
	taken  int64
}

// decoded gives the buffer back: nothing refers to the text any more.
func (h *held) decoded() {
	if h.small != nil {
		smallBodies.Put(h.small)
		h.small = nil
	}
}

// release ends the holding. It may be called on the zero value.
func (h *held) release() {
	h.decoded()
	if h.taken > 0 {
		h.memory.Add(-h.taken)
		h.taken = 0
	}
}

// readBody returns the JSON text of a request. It is nil when the body is optional and missing.
func (r *Router) readBody(w http.ResponseWriter, req *http.Request, optional bool, maxBody int64, h *held) ([]byte, error) {
	switch {
	case req.ContentLength > maxBody:
		w.Header().Set("Connection", "close") // what is left of the body is not worth reading
		return nil, tooLarge(maxBody)
	case optional && req.ContentLength == 0:
		return nil, nil
	case encoded(req.Header.Get("Content-Encoding")):
		return nil, &horde.Error{Status: http.StatusUnsupportedMediaType, Message: "Request bodies must be sent uncompressed"}
	case !optional && !isJSON(req.Header.Get("Content-Type")):
		return nil, notJSON()
	}
	text, err := r.readAll(w, req, maxBody, h)
	var over *http.MaxBytesError
	switch {
	case err == nil:
	case errors.As(err, &over):
		return nil, tooLarge(maxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return nil, &horde.Error{Status: http.StatusRequestTimeout, Message: "The request body took too long to arrive"}
	default:
		var e *horde.Error
		if errors.As(err, &e) {
			return nil, err
		}
		return nil, &horde.Error{Status: http.StatusBadRequest, Message: "The request body ended before its time"}
	}
	if len(text) > 0 && !isJSON(req.Header.Get("Content-Type")) {
		return nil, notJSON()
	}
	return text, nil
}

// readAll reads the body into memory that is bounded three times: by its own size, not its announced one, by maxBody, and
// by what all bodies may take together.
func (r *Router) readAll(w http.ResponseWriter, req *http.Request, maxBody int64, h *held) ([]byte, error) {
	h.small = smallBodies.Get().(*[smallBody]byte)
	buf := h.small[:0]
	in := http.MaxBytesReader(w, req.Body, maxBody)
	began := time.Now()
	conn := http.NewResponseController(w)
	// Both calls fail only where there is no connection that could be slow.
	_ = conn.SetReadDeadline(began.Add(bodyGrace))
	for {
		n, err := in.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			// A deadline that stays would cancel the call's context when it passes.
			_ = conn.SetReadDeadline(time.Time{})
			if time.Since(began) > slowBody {
				_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			}
			if errors.Is(err, io.EOF) {
				return buf, nil
			}
			return nil, err
		}
		if len(buf) < cap(buf) {
			continue
		}
		_ = conn.SetReadDeadline(began.Add(bodyGrace + time.Duration(len(buf)/bodyRate)*time.Second))
		larger, err := r.grow(buf, req.ContentLength, h)
		if err != nil {
			return nil, err
		}
		buf = larger
	}
}

// grow doubles a buffer, or gives it the announced size once a quarter of that has really come.
func (r *Router) grow(buf []byte, announced int64, h *held) ([]byte, error) {
	size := int64(2 * cap(buf))
	if announced > size && announced <= int64(4*len(buf)) {
		size = announced
	}
	size++ // room for the read that finds the end
	// The text and what is decoded from it are in memory together.
	want := 2 * size
	if r.bodies.Add(want-h.taken) > r.options.BodyMemory {
		r.bodies.Add(h.taken - want)
		return nil, &horde.Error{
			Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
			Message: "Too many large requests are being handled at the moment",
		}
	}
	h.memory, h.taken = &r.bodies, want
	larger := make([]byte, len(buf), size)
	copy(larger, buf)
	return larger, nil
}

func tooLarge(maxBody int64) error {
	return &horde.Error{
		Status:  http.StatusRequestEntityTooLarge,
		Message: fmt.Sprintf("The request body is larger than %d MiB", int64(math.Ceil(float64(maxBody)/(1<<20)))),
	}
}

func notJSON() error {
	return &horde.Error{Status: http.StatusBadRequest, Message: "The request body must be sent with Content-Type: application/json"}
}

func encoded(contentEncoding string) bool {
	return contentEncoding != "" && !strings.EqualFold(contentEncoding, "identity")
}

func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) &&
		(kind == "application/json" || (strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")))
}
