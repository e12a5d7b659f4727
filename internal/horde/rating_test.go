// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"encoding/json"
	"strings"
	"testing"
)

// The rewards of ratings: ratings chapter, worked examples 1 to 8, and kudos chapter, worked example 22.
func TestJudge(t *testing.T) {
	t.Parallel()
	a, b := "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"
	fill := strings.NewReplacer("A", a, "B", b, "C", "cccccccc-0000-4000-8000-000000000000").Replace
	for _, c := range []struct {
		said     string
		usable   int
		consumed int64
		best     string
		reward   int64
		err      *Error
	}{
		{`{"best":"A"}`, 2, 100, a, 15, nil},
		{`{"ratings":[{"id":"A","rating":8}]}`, 2, 100, a, 5, nil},
		{`{"ratings":[{"id":"A","rating":8}],"best":"A"}`, 2, 100, a, 5, nil},
		{`{"ratings":[{"id":"A","rating":8}],"best":"B"}`, 2, 100, "", 5, nil},
		{`{"ratings":[{"id":"A","rating":6}],"best":"B"}`, 2, 100, b, 20, nil},
		{`{"ratings":[{"id":"A","rating":6}]}`, 2, 100, "", 5, nil},
		{`{"ratings":[{"id":"A","rating":6,"artifacts":0},{"id":"B","rating":9,"artifacts":2}],"best":"A"}`, 2, 100, b, 20, nil},
		{`{"ratings":[{"id":"A","rating":6,"artifacts":0},{"id":"B","rating":6,"artifacts":2}],"best":"B"}`, 2, 100, b, 20, nil},
		{`{"ratings":[{"id":"A","rating":6},{"id":"B","rating":6}]}`, 2, 100, "", 10, nil},
		{`{"ratings":[{"id":"A","rating":6},{"id":"B","rating":6}],"best":"A"}`, 3, 100, a, 10, nil},
		{`{"ratings":[{"id":"A","rating":6},{"id":"B","rating":6}],"best":"C"}`, 3, 100, "", 0, ErrConfused},
		{`{"ratings":[{"id":"A","rating":8}]}`, 1, 3, "", 2, nil},
		{`{"best":"A"}`, 4, 100, a, 15, nil}, // kudos chapter, example 22
		{`{"ratings":[{"id":"A","rating":8}]}`, 1, 100, "", 5, nil},
		{`{"best":"A"}`, 1, 100, "", 0, ErrBestOfOne},
		{`{"best":"A"}`, 2, 15, a, 14, nil},
		{`{"best":"A"}`, 2, 30, a, 15, nil}, // requests chapter, example 19
		{`{"ratings":[{"id":"A","rating":8}]}`, 2, 30, a, 5, nil},
		{`{"ratings":[{"id":"A","rating":6}],"best":"B"}`, 2, 30, b, 20, nil},
		{`{"ratings":[{"id":"A","rating":6,"artifacts":0},{"id":"B","rating":9,"artifacts":2}]}`, 2, 30, b, 20, nil},
		{`{"ratings":[{"id":"A","rating":6,"artifacts":0},{"id":"B","rating":9,"artifacts":2}]}`, 2, 20, b, 19, nil},
		{`{"best":"A"}`, 2, 0, a, 0, nil},
		{`{}`, 2, 100, "", 0, ErrNothingRated},
		{`{"ratings":[]}`, 2, 100, "", 0, ErrNothingRated},
		{`{"ratings":[{"id":"A","rating":6},{"id":"A","rating":6}]}`, 2, 100, "", 0, ErrRatedTwice},
		{`{"ratings":[{"id":"C","rating":6},{"id":"C","rating":6}]}`, 2, 100, "", 0, ErrNoSuchImage},
		{`{"best":"C"}`, 2, 100, "", 0, ErrNoSuchImage},
	} {
		var said Aesthetics
		if err := json.Unmarshal([]byte(fill(c.said)), &said); err != nil {
			t.Fatal(err)
		}
		v, err := said.Judge([]string{a, b, fill("C"), "dddddddd-0000-4000-8000-000000000000"}[:c.usable], c.consumed)
		if err != c.err || v != (Verdict{c.reward, c.best}) && err == nil {
			t.Errorf("%s of %d for %d: %+v, %v; want %d and %q, %v", c.said, c.usable, c.consumed, v, err, c.reward, c.best, c.err)
		}
	}
}
