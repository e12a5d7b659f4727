// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestStreamsOfOlderProtocols tells those that are only old from those that would do harm, or cannot be followed.
func TestStreamsOfOlderProtocols(t *testing.T) {
	t.Parallel()
	const only = "UnsupportedPickle: pickle protocols 0 and 1 are not read; save the file again with protocol 2 or newer"
	for name, c := range map[string]struct {
		stream string
		want   string
	}{
		"dict of protocol 0":         {"(dp0\nVa\np1\nI1\nsp2\n.", only},
		"dict of protocol 1":         {"}q\x00X\x01\x00\x00\x00aI01\ns.", only},
		"nothing but the protocol":   {"\x80\x01}.", only},
		"only opcodes that are read": {"}q\x00.", only},
		"persistent id":              {"(dp0\nVa\nP1\ns.", only},
		"allowed call":               {"(lp0\nccollections\nOrderedDict\n(tRa.", only},
		"call":                       {"cposix\nsystem\n(Vid\ntR.", `UnsafePickle: GLOBAL: the symbol "posix" "system" is not on the list at byte 7 of x`},
		"call after text":            {"(Vid\nios\nsystem\n.", "UnsafePickle: INST: it would call os.system(\"id\") at byte 12 of x"},
		"call with PROTO":            {"\x80\x00cos\nsystem\n(Vid\ntR.", "UnsafePickle: GLOBAL: it would import os.system at byte 9 of x"},
		"call of a storage type":     {"I1\n0ctorch\nFloatStorage\n(tR.", "UnsafePickle: REDUCE: it would call torch.FloatStorage() at byte 33 of x"},
		"state of an OrderedDict":    {"I1\n0ccollections\nOrderedDict\n(tR(db.", "UnsafePickle: BUILD: it would set the state of collections.OrderedDict() (or call its __setstate__) to {} at byte 41 of x"},
		"extension":                  {"I1\n0\x82\x01.", "UnsafePickle: EXT1: it would import the object registered as extension 1 at byte 11 of x"},
		"truncated":                  {"(dp0\nVa\n", "CorruptFile: the stream ends without STOP at byte 15 of x"},
		"endless":                    {strings.Repeat("I1\n0", traceOpcodes), "TooComplex: more than 300000 opcodes at byte 600007 of x"},
		"of a newer protocol":        {"\x80\x02I1\n.", "UnsafePickle: INT: this opcode is not accepted at byte 9 of x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode(context.Background(), []byte(c.stream), Options{Where: "x", BaseOffset: 7})
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := RefuseOlder(ctx, []byte("I1\n."), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}
