// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"bytes"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// answerReader takes out of answers the few members that the bench looks at, without building anything. Its values are parts of
// the answer and good as long as that is.
type answerReader struct {
	dec jsontext.Decoder
	in  bytes.Buffer
}

var errNoObject = errors.New("the answer is no JSON object")

// members calls f with each name (in quotes) and value of an object.
func (r *answerReader) members(answer []byte, f func(name, value []byte)) error {
	r.in = *bytes.NewBuffer(answer)
	r.dec.Reset(&r.in, jsontext.AllowDuplicateNames(true))
	if t, err := r.dec.ReadToken(); err != nil || t.Kind() != '{' {
		return errNoObject
	}
	for r.dec.PeekKind() == '"' {
		name, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		// The name's bytes are only valid until the next read, which may move the buffer; a bytes.Buffer holds all at once,
		// so nothing moves.
		value, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		f(name, value)
	}
	return nil
}

// text returns the string of a JSON string; nil for null and anything else.
func text(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return nil
	}
	if inner := value[1 : len(value)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	out, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return nil
	}
	return out
}

func isTrue(value []byte) bool { return string(value) == "true" }

// id reads the member id, of an accepted request or a job. Empty when there is none.
func (r *answerReader) id(answer []byte) (string, error) {
	id := ""
	err := r.members(answer, func(name, value []byte) {
		if string(name) == `"id"` {
			id = string(text(value))
		}
	})
	return id, err
}

// jobAnswer is what the bench reads of the answer to a pop.
type jobAnswer struct {
	id     string // empty without a job
	upload string // where an image goes; empty for base64
}

func (r *answerReader) job(answer []byte) (j jobAnswer, err error) {
	err = r.members(answer, func(name, value []byte) {
		switch string(name) {
		case `"id"`:
			j.id = string(text(value))
		case `"r2_upload"`:
			j.upload = string(text(value))
		}
	})
	return j, err
}

// standing is what the bench reads of a status.
type standing struct {
	done, faulted bool
	// results is the number of generations, and result the first one: a text, or where an image is.
	results int
	result  []byte
}

func (r *answerReader) status(answer []byte) (s standing, err error) {
	var generations []byte
	if err = r.members(answer, func(name, value []byte) {
		switch string(name) {
		case `"done"`:
			s.done = isTrue(value)
		case `"faulted"`:
			s.faulted = isTrue(value)
		case `"generations"`:
			generations = value
		}
	}); err != nil || len(generations) == 0 || generations[0] != '[' {
		return s, err
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(generations))
	if _, err := dec.ReadToken(); err != nil {
		return s, err
	}
	for dec.PeekKind() == '{' {
		g, err := dec.ReadValue()
		if err != nil {
			return s, err
		}
		s.results++
		if s.results > 1 {
			continue
		}
		if err := r.members(g, func(name, value []byte) {
			if n := string(name); n == `"text"` || n == `"img"` {
				s.result = text(value)
			}
		}); err != nil {
			return s, err
		}
	}
	return s, nil
}

// refusalCode is the rc of a refusal, or what else tells what it was.
func (r *answerReader) refusalCode(answer []byte) string {
	rc, message := "", ""
	_ = r.members(answer, func(name, value []byte) {
		switch string(name) {
		case `"rc"`:
			rc = string(text(value))
		case `"message"`:
			message = string(text(value))
		}
	})
	if rc == "" && len(message) > 60 {
		message = message[:60]
	}
	if rc == "" {
		return message
	}
	return rc
}
