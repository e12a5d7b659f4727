// SPDX-License-Identifier: AGPL-3.0-or-later

// Package hordelingtest has what several tests of the hordeling need: files as PyTorch writes them, a writer for more of
// them, and a stand-in CivitAI on loopback.
package hordelingtest

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"
)

// Files that PyTorch wrote. All tensors hold 0, 1, 2, ... in row-major order.
var (
	// WebUI is a zip with {"string_to_param": {"*": F32 [2, 3]}, ...}.
	//go:embed testdata/webui.pt
	WebUI []byte
	// ParameterDict is the same with a torch.nn.ParameterDict.
	//go:embed testdata/parameterdict.pt
	ParameterDict []byte
	// Legacy is the content of WebUI as a legacy stream.
	//go:embed testdata/legacy.pt
	Legacy []byte
	// SDXL is a zip with clip_g F16 [2, 4] and clip_l BF16 [2, 3].
	//go:embed testdata/sdxl.pt
	SDXL []byte
)

// WebUISHA256 is the hash of what WebUI, ParameterDict and Legacy convert to.
const WebUISHA256 = "ced270e07288ee45207025cc9656f23cd203aefa5d621011e229acd2048f24d1"

// Entry is a file of a zip.
type Entry struct {
	Name string
	Data []byte
}

// Zip returns a zip with entries stored in their order.
func Zip(entries ...Entry) []byte {
	return zipBy(zip.Store, entries)
}

// Deflated is Zip with compressed entries.
func Deflated(entries ...Entry) []byte {
	return zipBy(zip.Deflate, entries)
}

func zipBy(method uint16, entries []Entry) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		f, err := w.CreateHeader(&zip.FileHeader{Name: e.Name, Method: method})
		if err == nil {
			_, err = f.Write(e.Data)
		}
		if err != nil {
			panic(err) // writing to memory
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Model is a zip with program as its data.pkl and storages 0, 1, ...
func Model(program string, storages ...[]byte) []byte {
	entries := []Entry{{"x/data.pkl", []byte(program)}, {"x/version", []byte("3\n")}}
	for i, s := range storages {
		entries = append(entries, Entry{fmt.Sprintf("x/data/%d", i), s})
	}
	return Zip(entries...)
}

// Floats are 0, step, 2·step, ... as little-endian float32.
func Floats(n int, step float64) []byte {
	out := make([]byte, 0, 4*n)
	for i := range n {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(float64(i)*step)))
	}
	return out
}

// Int is the opcode that pushes n.
func Int(n int) string {
	return string(binary.LittleEndian.AppendUint32([]byte{'J'}, uint32(int32(n))))
}

// Text is the opcode that pushes s.
func Text(s string) string {
	return string(binary.LittleEndian.AppendUint32([]byte{'X'}, uint32(len(s)))) + s
}

// Tuple is the opcodes that push a tuple of what items push.
func Tuple(items ...string) string {
	out := "("
	for _, i := range items {
		out += i
	}
	return out + "t"
}

// Dims is Tuple of integers.
func Dims(n ...int) string {
	items := make([]string, len(n))
	for i := range n {
		items[i] = Int(n[i])
	}
	return Tuple(items...)
}

// Tensor is the opcodes that push a contiguous tensor over the whole storage with that key.
func Tensor(storageType, key string, shape ...int) string {
	elements := 1
	strides := make([]int, len(shape))
	for i := len(shape) - 1; i >= 0; i-- {
		strides[i] = elements
		elements *= shape[i]
	}
	return StridedTensor(storageType, key, elements, 0, shape, strides)
}

// StridedTensor is the opcodes that push a tensor over a storage of count elements.
func StridedTensor(storageType, key string, count, offset int, shape, strides []int) string {
	id := Tuple(Text("storage"), "ctorch\n"+storageType+"\n", Text(key), Text("cpu"), Int(count)) + "Q"
	return "ctorch._utils\n_rebuild_tensor_v2\n" + Tuple(id, Int(offset), Dims(shape...), Dims(strides...), "\x89", "ccollections\nOrderedDict\n)R") + "R"
}

// Dict is the opcodes that push a dict of key and value opcodes in turn.
func Dict(keysAndValues ...string) string {
	out := "}("
	for _, i := range keysAndValues {
		out += i
	}
	return out + "u"
}

// Program is a stream of protocol 2 that returns what body pushes.
func Program(body string) string { return "\x80\x02" + body + "." }

// WebUIModel is an embedding of rows vectors of the given width; no two with other arguments are equal.
func WebUIModel(rows, width int, step float64) []byte {
	return Model(Program(Dict(Text("string_to_param"), Dict(Text("*"), Tensor("FloatStorage", "0", rows, width)))), Floats(rows*width, step))
}
