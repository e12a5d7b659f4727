// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzEvents reads an event stream. It ends, and no event is longer than the stream.
func FuzzEvents(f *testing.F) {
	f.Add("data: {\"a\":1}\n\n: keep-alive\n\nevent: x\r\ndata:y\r\n\r\ndata: [DONE]\n\ndata: late")
	f.Add("data\ndata:\n\ndata:  \n")
	f.Add("\xff\x00data: x")
	f.Fuzz(func(t *testing.T, stream string) {
		total := 0
		err := Events(strings.NewReader(stream), func(data string) error {
			if data == "" || data == "[DONE]" || strings.ContainsAny(data, "\n") {
				t.Errorf("event %q", data)
			}
			total += len(data)
			return nil
		})
		if err != nil || total > len(stream) {
			t.Errorf("%d bytes of events in %d, %v", total, len(stream), err)
		}
	})
}

// FuzzStatusError reads the body of a failure. What is shown of it is short.
func FuzzStatusError(f *testing.F) {
	f.Add(500, []byte(`{"error":{"message":"CUDA out of memory"}}`))
	f.Add(422, []byte(`{"detail":[{"msg":"x"}]}`))
	f.Add(-1, []byte("<html>"))
	f.Add(400, []byte(`{"error":{"error":{"error":{"error":"deep"}}}}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		err := StatusError(status, body)
		if len(err.Error()) > 1000 {
			t.Errorf("%d bytes of message", len(err.Error()))
		}
		if utf8.Valid(body) && !utf8.ValidString(err.Error()) {
			t.Errorf("a character is cut: %q", err)
		}
		if e, ok := errors.AsType[*Error](error(err)); !ok || e != err {
			t.Error("it is no Error")
		}
	})
}
