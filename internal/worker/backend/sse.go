// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// maxEventLine bounds one line of an event stream in bytes; the last event of some servers repeats the whole prompt.
const maxEventLine = 16 << 20

// ErrEnough is returned by a Lines or Events callback to stop reading without an error.
var ErrEnough = errors.New("read enough")

// Lines calls each for every line that is not empty.
func Lines(r io.Reader, each func(line string) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), maxEventLine)
	for s.Scan() {
		if line := strings.TrimSuffix(s.Text(), "\r"); line != "" {
			if err := each(line); err != nil {
				if errors.Is(err, ErrEnough) {
					return nil
				}
				return err
			}
		}
	}
	return s.Err()
}

// Events calls each for the data of every server-sent event. Comments, which servers send to keep a connection alive,
// and event names are left out; "[DONE]" ends the stream. Each event of these servers has one data line, and the last
// may come without the blank line that the format asks for.
func Events(r io.Reader, each func(data string) error) error {
	return Lines(r, func(line string) error {
		data, ok := strings.CutPrefix(line, "data:")
		if !ok {
			return nil
		}
		data = strings.TrimSpace(data)
		if data == "[DONE]" {
			return ErrEnough
		}
		if data == "" {
			return nil
		}
		return each(data)
	})
}
