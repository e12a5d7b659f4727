// SPDX-License-Identifier: AGPL-3.0-or-later

package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// file puts a length before header and data behind it.
func file(header string, data ...byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data...)
}

func TestEncodeWritesTheStandardBytes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tensors  []Tensor
		metadata map[string]string
		want     string
	}{
		"nothing":                    {nil, nil, "{}      "},
		"one tensor with metadata":   {[]Tensor{{"emb_params", "F32", []int64{1, 1}, []byte("abcd")}}, map[string]string{"format": "pt"}, `{"__metadata__":{"format":"pt"},"emb_params":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}` + "abcd"},
		"a scalar":                   {[]Tensor{{"x", "U8", nil, []byte("a")}}, nil, `{"x":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}` + "    a"},
		"wider dtypes lie first":     {[]Tensor{{"a", "F16", []int64{1}, []byte("aa")}, {"b", "BF16", []int64{1}, []byte("bb")}}, nil, `{"b":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},"a":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}}` + "    bbaa"},
		"names decide within one":    {[]Tensor{{"b", "U8", []int64{1}, []byte("b")}, {"a", "U8", []int64{1}, []byte("a")}}, nil, `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}` + "       ab"},
		"names that HTML would mind": {[]Tensor{{"<&>\"\n", "U8", []int64{0}, nil}}, nil, `{"<&>\"\n":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}` + "     "},
		"metadata by key":            {nil, map[string]string{"b": "2", "a": "1"}, `{"__metadata__":{"a":"1","b":"2"}}` + "      "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Encode(c.tensors, c.metadata)
			if err != nil {
				t.Fatal(err)
			}
			if string(got[8:]) != c.want {
				t.Errorf("got  %q\nwant %q", got[8:], c.want)
			}
			if n := binary.LittleEndian.Uint64(got); n%8 != 0 || got[7+n] != ' ' && got[7+n] != '}' {
				t.Errorf("header of %d bytes", n)
			}
			if _, err := Parse(got, Limits{}); err != nil {
				t.Errorf("not read back: %v", err)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	one := Tensor{"a", "U8", []int64{1}, []byte("a")}
	for name, tensors := range map[string][]Tensor{
		"same name":       {one, one},
		"wrong size":      {{"a", "F32", []int64{1}, []byte("a")}},
		"unknown dtype":   {{"a", "F33", []int64{1}, []byte("a")}},
		"reserved name":   {{"__metadata__", "U8", []int64{1}, []byte("a")}},
		"name not UTF-8":  {{"\xff", "U8", []int64{1}, []byte("a")}},
		"negative size":   {{"a", "U8", []int64{-1}, nil}},
		"half a byte":     {{"a", "F4", []int64{3}, []byte("aa")}},
		"size overflows":  {{"a", "U8", []int64{1 << 62, 8}, nil}},
		"bits overflow":   {{"a", "U64", []int64{1 << 60}, nil}},
		"negative scalar": {{"a", "U8", []int64{-1, -1}, []byte("a")}},
	} {
		if _, err := Encode(tensors, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Encode(nil, map[string]string{"a": "\xff"}); err == nil {
		t.Error("metadata that is not UTF-8: no error")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tensor := func(begin, end int) string {
		return fmt.Sprintf(`{"dtype":"U8","shape":[%d],"data_offsets":[%d,%d]}`, end-begin, begin, end)
	}
	long := binary.LittleEndian.AppendUint64(nil, 2<<30)
	for name, data := range map[string][]byte{
		"no bytes":                     {},
		"half a length":                {8, 0, 0},
		"header of 2 GB":               append(long, `{"a":`...),
		"header of 2^64-1 bytes":       append(bytes.Repeat([]byte{0xff}, 8), '{'),
		"header beyond the end":        file(`{}`)[:9],
		"no header":                    file(``),
		"no brace":                     file(` {}`),
		"not UTF-8":                    file("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}"),
		"no JSON":                      file(`{"a"`),
		"JSON goes on":                 file(`{} {}`),
		"newline as padding":           file("{}\n"),
		"zero bytes as padding":        file("{}\x00\x00"),
		"data without tensor":          file(`{}`, 1),
		"an array":                     file(`[]`),
		"a tensor that is a number":    file(`{"a":1}`),
		"name twice":                   file(`{"a":`+tensor(0, 1)+`,"a":`+tensor(1, 2)+`}`, 1, 2),
		"name twice by escape":         file(`{"a":`+tensor(0, 1)+`,"\u0061":`+tensor(1, 2)+`}`, 1, 2),
		"metadata twice":               file(`{"__metadata__":{},"__metadata__":{}}`),
		"metadata of numbers":          file(`{"__metadata__":{"a":1}}`),
		"metadata that is nested":      file(`{"__metadata__":{"a":{"b":"c"}}}`),
		"unknown key":                  file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":0}}`),
		"key twice":                    file(`{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}`),
		"no dtype":                     file(`{"a":{"shape":[0],"data_offsets":[0,0]}}`),
		"unknown dtype":                file(`{"a":{"dtype":"u8","shape":[0],"data_offsets":[0,0]}}`),
		"three offsets":                file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}`),
		"one offset":                   file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}}`),
		"negative dimension":           file(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}`),
		"fractional dimension":         file(`{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}`, 1),
		"exponent":                     file(`{"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}`, 1),
		"dimension of 2^64":            file(`{"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,0]}}`),
		"shape that overflows":         file(`{"a":{"dtype":"U8","shape":[9223372036854775807,2,2],"data_offsets":[0,0]}}`),
		"shape whose bits overflow":    file(`{"a":{"dtype":"F64","shape":[1152921504606846976],"data_offsets":[0,0]}}`),
		"end before begin":             file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 1),
		"size does not match shape":    file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,3]}}`, 1, 2, 3),
		"first does not begin at zero": file(`{"a":`+tensor(1, 2)+`}`, 1, 2),
		"overlap":                      file(`{"a":`+tensor(0, 2)+`,"b":`+tensor(1, 3)+`}`, 1, 2, 3),
		"same place":                   file(`{"a":`+tensor(0, 2)+`,"b":`+tensor(0, 2)+`}`, 1, 2),
		"gap":                          file(`{"a":`+tensor(0, 1)+`,"b":`+tensor(2, 3)+`}`, 1, 2, 3),
		"beyond the end":               file(`{"a":`+tensor(0, 4)+`}`, 1, 2, 3),
		"bytes left":                   file(`{"a":`+tensor(0, 2)+`}`, 1, 2, 3),
		"half a byte":                  file(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}`, 1),
		"65 dimensions":                file(`{"a":{"dtype":"U8","shape":[` + strings.Repeat("1,", 64) + `1],"data_offsets":[0,1]}}`),
		"deeply nested":                file(`{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse(data, Limits{})
			var f *FormatError
			if !errors.As(err, &f) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestParseAcceptsWhatLoadersAccept(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"nothing":               file(`{}`),
		"unpadded header":       file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 7),
		"any order of keys":     file(`{"a":{"data_offsets":[0,1],"shape":[1],"dtype":"U8"}}`, 7),
		"spaces":                file(`{ "a" : { "dtype" : "U8" , "shape" : [ 1 ] , "data_offsets" : [ 0 , 1 ] } }`, 7),
		"empty metadata":        file(`{"__metadata__":{}}`),
		"tensors of no bytes":   file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 7),
		"six bits":              file(`{"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}`, 1, 2, 3),
		"header order is free":  file(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, 2),
		"float8":                file(`{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}`, 1, 2),
		"metadata after tensor": file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"format":"pt"}}`, 7),
	} {
		if _, err := Parse(data, Limits{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseLimits(t *testing.T) {
	t.Parallel()
	data := file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 1, 2)
	if _, err := Parse(data, Limits{Tensors: 1}); err == nil {
		t.Error("two tensors where one is allowed")
	}
	if _, err := Parse(data, Limits{Header: 50}); err == nil {
		t.Error("a header of more than 50 bytes")
	}
	if _, err := Parse(data, Limits{Header: 200, Tensors: 2}); err != nil {
		t.Error(err)
	}
}

// TestRoundTrip writes random tensors in random order and reads them back.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zA-Z0-9_.<>"\\é]{0,8}`), 0, 6, rapid.ID).Draw(t, "names")
		var tensors []Tensor
		for _, n := range names {
			d := dtypes[rapid.IntRange(0, len(dtypes)-1).Draw(t, "dtype")]
			shape := rapid.SliceOfN(rapid.Int64Range(0, 3), 0, 3).Draw(t, "shape")
			shape = append(shape, 4) // whole bytes for the 4- and 6-bit dtypes
			size, _ := byteSize(d.bits, shape)
			tensors = append(tensors, Tensor{n, d.name, shape, rapid.SliceOfN(rapid.Byte(), int(size), int(size)).Draw(t, "data")})
		}
		meta := rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "metadata")
		data, err := Encode(tensors, meta)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(data, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Tensors) != len(tensors) || !reflect.DeepEqual(got.Metadata, meta) {
			t.Fatalf("%d tensors, metadata %v", len(got.Tensors), got.Metadata)
		}
		for _, want := range tensors {
			ok := false
			for _, g := range got.Tensors {
				ok = ok || g.Name == want.Name && g.DType == want.DType && reflect.DeepEqual(g.Shape, want.Shape) && bytes.Equal(g.Data, want.Data)
			}
			if !ok {
				t.Fatalf("tensor %q is lost", want.Name)
			}
		}
		again, err := Encode(got.Tensors, got.Metadata)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("written again it differs: %v", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(file(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 1, 2, 3, 4))
	f.Add(file(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1, 2))
	f.Add(file(`{"\u0061":{"dtype":"F6_E2M3","shape":[4,0],"data_offsets":[0,0]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Parse(data, Limits{Tensors: 64})
		if err != nil {
			if f := (*FormatError)(nil); !errors.As(err, &f) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		total := 0
		for _, tensor := range got.Tensors {
			total += len(tensor.Data)
		}
		if n := int(binary.LittleEndian.Uint64(data)); 8+n+total != len(data) {
			t.Fatalf("%d bytes of header and %d of tensors in a file of %d", n, total, len(data))
		}
		out, err := Encode(got.Tensors, got.Metadata)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := Parse(out, Limits{Tensors: 64})
		if err != nil || len(back.Tensors) != len(got.Tensors) {
			t.Fatalf("written again it is not read: %v", err)
		}
	})
}
