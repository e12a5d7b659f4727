// SPDX-License-Identifier: AGPL-3.0-or-later

package embedding

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"horde/internal/hordeling/hordelingtest"
	"horde/internal/hordeling/pickle"
	"horde/internal/hordeling/safetensors"
	"horde/internal/hordeling/torchfile"
)

func convert(src []byte) (*Result, error) {
	return Convert(context.Background(), src, DefaultLimits())
}

// code names the refusal as the API would.
func code(err error) string {
	var r *pickle.Refusal
	var e *Error
	var f *safetensors.FormatError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &r):
		return string(r.Code)
	case errors.As(err, &e):
		return "UnsupportedEmbedding"
	case errors.As(err, &f):
		return "CorruptFile"
	}
	return err.Error()
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const diffusersProgram = `80027d710058050000003c6361743e710163746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76320a710228285807
00000073746f72616765710363746f7263680a466c6f617453746f726167650a71045801000000307105580300000063707571064b037471
07514b004b038571084b018571098963636f6c6c656374696f6e730a4f726465726564446963740a710a2952710b74710c52710d732e`

const stridesProgram = `80027d7100580f000000737472696e675f746f5f706172616d71017d710258010000002a710363746f7263682e5f7574696c730a5f726562
75696c645f74656e736f725f76320a71042828580700000073746f72616765710563746f7263680a466c6f617453746f726167650a710658
01000000307107580300000063707571084b0c747109514b014b024b0486710a4b014b0386710b8963636f6c6c656374696f6e730a4f7264
65726564446963740a710c2952710d74710e52710f73732e`

// TestWorkedExamples has the examples of the hordeling chapter that are about files.
func TestWorkedExamples(t *testing.T) {
	t.Parallel()
	strides := unhex(t, stridesProgram)
	for name, c := range map[string]struct {
		src    []byte
		bytes  int
		sha256 string
		code   string
	}{
		"A, zip":                      {hordelingtest.WebUI, 136, hordelingtest.WebUISHA256, ""},
		"B, parameter dict":           {hordelingtest.ParameterDict, 136, hordelingtest.WebUISHA256, ""},
		"C, legacy stream":            {hordelingtest.Legacy, 136, hordelingtest.WebUISHA256, ""},
		"E, SDXL":                     {hordelingtest.SDXL, 196, "873690cacc37f3b0606b62b3bf0df1a3e618e828cba70fab7aec89d6c4ab9e53", ""},
		"3, diffusers":                {hordelingtest.Model(unhex(t, diffusersProgram), hordelingtest.Floats(3, 1)), 116, "a8c9427fb18560de49429b5c8bd097f03cab1a39f358f4e987894bf5b7ae195b", ""},
		"4, strides":                  {hordelingtest.Model(strides, hordelingtest.Floats(12, 1)), 144, "178afce20fb3af1e830e88e9d7fb348d257c2f1adb34051fee6f44336141ec40", ""},
		"4, strides beyond the end":   {hordelingtest.Model(strings.Replace(strides, "QK\x01K\x02", "QK\x02K\x02", 1), hordelingtest.Floats(12, 1)), 0, "", "CorruptFile"},
		"5, two vectors of SD 1":      {hordelingtest.WebUIModel(2, 768, 0.001), 6256, "1a4ed0647167af66fe9a4ef28adb995fadbd6fd6250cb1bce93d46a49275ae7c", ""},
		"6, posix system":             {hordelingtest.Model(unhex(t, "800263706f7369780a73797374656d0a580400000074727565") + "\x85R."), 0, "", "UnsafePickle"},
		"6, os system":                {hordelingtest.Model(unhex(t, "80048c026f738c0673797374656d9329522e")), 0, "", "UnsafePickle"},
		"7, REDUCE on a storage type": {hordelingtest.Model(unhex(t, "800263746f7263680a466c6f617453746f726167650a29522e")), 0, "", "UnsafePickle"},
		"7, no STOP":                  {hordelingtest.Model("\x80\x02}"), 0, "", "CorruptFile"},
		"7, EXT1":                     {hordelingtest.Model("\x80\x02\x82\x01."), 0, "", "UnsafePickle"},
		"8, string of 2 GiB":          {hordelingtest.Model("\x80\x02X\xff\xff\xff\x7fa."), 0, "", "CorruptFile"},
		"9, storage too short":        {hordelingtest.Model(hordelingtest.Program(hordelingtest.Dict(hordelingtest.Text("a"), hordelingtest.Tensor("FloatStorage", "0", 7))), hordelingtest.Floats(6, 1)), 0, "", "CorruptFile"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := convert(c.src)
			if code(err) != c.code {
				t.Fatalf("got %v, want %s", err, c.code)
			}
			if err != nil {
				return
			}
			if len(r.Bytes) != c.bytes || r.SHA256 != c.sha256 {
				t.Errorf("%d bytes, %s\n%q", len(r.Bytes), r.SHA256, r.Bytes)
			}
			again, err := convert(c.src)
			if err != nil || !bytes.Equal(again.Bytes, r.Bytes) {
				t.Error("converted again it differs")
			}
		})
	}
}

func TestBytesOfTheWorkedExamples(t *testing.T) {
	t.Parallel()
	r, err := convert(hordelingtest.WebUI)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"__metadata__":{"format":"pt"},"emb_params":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}` + "       "
	if string(r.Bytes[8:112]) != want || hex.EncodeToString(r.Bytes[112:]) != "000000000000803f0000004000004040000080400000a040" {
		t.Errorf("A is %q", r.Bytes)
	}
	if r, err = convert(hordelingtest.SDXL); err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(r.Bytes[168:]) != "0000803f004040408040a0400000003c004000420044004500460047" || r.Tensors[0].Name != "clip_l" {
		t.Errorf("E is %q", r.Bytes)
	}
}

func TestShapes(t *testing.T) {
	t.Parallel()
	text, dict, tensor := hordelingtest.Text, hordelingtest.Dict, hordelingtest.Tensor
	f32 := func(key string, shape ...int) string { return tensor("FloatStorage", key, shape...) }
	step := []string{text("step"), "M\xf4\x01"}
	storages := [][]byte{hordelingtest.Floats(6, 1), hordelingtest.Floats(8, 1), hordelingtest.Floats(2, 1)}
	for name, c := range map[string]struct {
		body  string
		used  int
		shape Shape
		code  string
	}{
		"WebUI with companions": {dict(append([]string{text("string_to_token"), dict(text("*"), "M\x09\x01"), text("string_to_param"), dict(text("*"), f32("0", 2, 3)),
			text("name"), text("a"), text("sd_checkpoint"), "N", text("optimizer"), dict(text("state"), "cnumpy\ndtype\nU\x02f4\x85R")}, step...)...), 1, WebUI, ""},
		"WebUI with one other token":       {dict(text("string_to_param"), dict(text("<cat>"), f32("0", 2, 3))), 1, WebUI, ""},
		"WebUI with * and another":         {dict(text("string_to_param"), dict(text("<cat>"), f32("1", 8), text("*"), f32("0", 2, 3))), 2, WebUI, ""},
		"WebUI with two other tokens":      {dict(text("string_to_param"), dict(text("<cat>"), f32("1", 8), text("<dog>"), f32("0", 2, 3))), 2, "", "UnsupportedEmbedding"},
		"WebUI without a token":            {dict(text("string_to_param"), "}"), 0, "", "UnsupportedEmbedding"},
		"WebUI with a list":                {dict(text("string_to_param"), "]"), 0, "", "UnsupportedEmbedding"},
		"WebUI with a number":              {dict(text("string_to_param"), dict(text("*"), "K\x01")), 0, "", "UnsupportedEmbedding"},
		"WebUI before SDXL":                {dict(text("clip_l"), f32("0", 2, 3), text("clip_g"), f32("1", 2, 4), text("string_to_param"), dict(text("*"), f32("0", 2, 3))), 2, WebUI, ""},
		"SDXL with other keys":             {dict(text("clip_l"), f32("0", 2, 3), text("clip_g"), f32("1", 2, 4), text("extra"), f32("2", 2)), 3, SDXL, ""},
		"SDXL with one vector each":        {dict(text("clip_l"), f32("0", 6), text("clip_g"), f32("1", 1, 8)), 2, SDXL, ""},
		"SDXL with unequal rows":           {dict(text("clip_l"), f32("0", 3, 2), text("clip_g"), f32("1", 2, 4)), 2, "", "UnsupportedEmbedding"},
		"SDXL with half":                   {dict(text("clip_l"), f32("0", 2, 3), text("clip_g"), "N"), 1, "", "UnsupportedEmbedding"},
		"only clip_l":                      {dict(text("clip_l"), f32("0", 2, 3)), 1, Diffusers, ""},
		"diffusers with a token":           {dict(text("<cat>"), f32("0", 6)), 1, Diffusers, ""},
		"diffusers with an integer token":  {dict("K\x05", f32("0", 6)), 1, Diffusers, ""},
		"emb_params":                       {dict(text("emb_params"), f32("0", 2, 3)), 1, Diffusers, ""},
		"emb_params with companions":       {dict(append([]string{text("emb_params"), f32("0", 2, 3)}, step...)...), 1, Params, ""},
		"emb_params with another tensor":   {dict(text("emb_params"), f32("0", 2, 3), text("x"), f32("1", 8)), 2, "", "UnsupportedEmbedding"},
		"bare tensor":                      {f32("0", 2, 3), 1, Bare, ""},
		"parameter":                        {"ctorch._utils\n_rebuild_parameter\n" + hordelingtest.Tuple(f32("0", 2, 3), "\x88", "}") + "R", 1, Bare, ""},
		"list of dicts":                    {"]" + dict(text("a"), f32("0", 2, 3)) + "a", 1, "", "UnsupportedEmbedding"},
		"several tensors":                  {dict(text("a"), f32("0", 2, 3), text("b"), f32("1", 8)), 2, "", "UnsupportedEmbedding"},
		"state_dict":                       {dict(text("state_dict"), dict(text("a"), f32("0", 2, 3))), 1, "", "UnsupportedEmbedding"},
		"empty dict":                       {"}", 0, "", "UnsupportedEmbedding"},
		"None":                             {"N", 0, "", "UnsupportedEmbedding"},
		"a scalar":                         {tensor("FloatStorage", "0", []int{}...), 0, "", "CorruptFile"},
		"three dimensions":                 {dict(text("a"), f32("0", 1, 2, 3)), 1, "", "UnsupportedEmbedding"},
		"no rows":                          {dict(text("a"), hordelingtest.StridedTensor("FloatStorage", "0", 6, 0, []int{0, 3}, []int{3, 1})), 1, "", "UnsupportedEmbedding"},
		"integers":                         {dict(text("a"), tensor("IntStorage", "0", 6)), 1, "", "UnsupportedEmbedding"},
		"4097 rows":                        {dict(text("a"), hordelingtest.StridedTensor("FloatStorage", "0", 6, 0, []int{4097, 3}, []int{0, 1})), 1, "", "TooComplex"},
		"4096 rows":                        {dict(text("a"), hordelingtest.StridedTensor("FloatStorage", "0", 6, 0, []int{4096, 3}, []int{0, 1})), 1, Diffusers, ""},
		"16385 columns":                    {dict(text("a"), hordelingtest.StridedTensor("FloatStorage", "0", 6, 0, []int{16385}, []int{0})), 1, "", "TooComplex"},
		"16384 columns":                    {dict(text("a"), hordelingtest.StridedTensor("FloatStorage", "0", 6, 0, []int{1, 16384}, []int{0, 0})), 1, Diffusers, ""},
		"256 MiB out of 24 bytes":          {dict(text("a"), hordelingtest.StridedTensor("FloatStorage", "0", 6, 0, []int{4096, 16384}, []int{0, 0})), 1, "", "TooComplex"},
		"F64 with more bytes than storage": {dict(text("a"), tensor("DoubleStorage", "0", 6)), 1, "", "CorruptFile"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := convert(hordelingtest.Model(hordelingtest.Program(c.body), storages[:c.used]...))
			if code(err) != c.code {
				t.Fatalf("got %v, want %q", err, c.code)
			}
			if err != nil {
				return
			}
			if r.Shape != c.shape {
				t.Errorf("taken for %s, want %s", r.Shape, c.shape)
			}
			f, err := safetensors.Parse(r.Bytes, safetensors.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			want := 1
			if c.shape == SDXL {
				want = 2
			} else if f.Tensors[0].Name != "emb_params" {
				t.Errorf("the tensor is named %q", f.Tensors[0].Name)
			}
			if len(f.Tensors) != want || len(f.Metadata) != 1 || f.Metadata["format"] != "pt" {
				t.Errorf("%d tensors, metadata %v", len(f.Tensors), f.Metadata)
			}
		})
	}
}

func TestNaNIsRefusedAndInfinityPasses(t *testing.T) {
	t.Parallel()
	u16 := func(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
	u32 := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	u64 := func(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
	for name, c := range map[string]struct {
		storage string
		data    []byte
		nan     bool
	}{
		"F16 NaN":          {"HalfStorage", u16(0x7e00), true},
		"F16 signalling":   {"HalfStorage", u16(0xfc01), true},
		"F16 infinity":     {"HalfStorage", u16(0x7c00), false},
		"BF16 NaN":         {"BFloat16Storage", u16(0x7fc0), true},
		"BF16 infinity":    {"BFloat16Storage", u16(0xff80), false},
		"F32 NaN":          {"FloatStorage", u32(math.Float32bits(float32(math.NaN()))), true},
		"F32 infinity":     {"FloatStorage", u32(math.Float32bits(float32(math.Inf(-1)))), false},
		"F64 NaN":          {"DoubleStorage", u64(math.Float64bits(math.NaN())), true},
		"F64 infinity":     {"DoubleStorage", u64(math.Float64bits(math.Inf(1))), false},
		"F32 largest":      {"FloatStorage", u32(0x7f7fffff), false},
		"F64 NaN, low bit": {"DoubleStorage", u64(0x7ff0000000000001), true},
	} {
		_, err := convert(hordelingtest.Model(hordelingtest.Program(hordelingtest.Tensor(c.storage, "0", 1)), c.data))
		if want := map[bool]string{true: "UnsupportedEmbedding"}[c.nan]; code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSafetensorsUnderAnotherNamePass(t *testing.T) {
	t.Parallel()
	src, err := safetensors.Encode([]safetensors.Tensor{{Name: "x", DType: "F16", Shape: []int64{1, 1}, Data: []byte{0, 60}}}, map[string]string{"author": "somebody"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := convert(src)
	if err != nil || !bytes.Equal(r.Bytes, src) || r.Shape != Safetensors {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := convert(src[:len(src)-1]); code(err) != "CorruptFile" {
		t.Errorf("truncated: %v", err)
	}
	if _, err := convert([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}")); code(err) != "UnsupportedEmbedding" {
		t.Errorf("without a tensor: %v", err)
	}
	if _, err := convert([]byte("<!doctype html>")); !errors.Is(err, torchfile.ErrHTML) {
		t.Errorf("a web page: %v", err)
	}
}

func TestConvertTensorsKeepsNames(t *testing.T) {
	t.Parallel()
	text, dict := hordelingtest.Text, hordelingtest.Dict
	body := dict(text("epoch"), "K\x03", text("state_dict"), dict(text("a.weight"), hordelingtest.Tensor("LongStorage", "0", 1), text("b"), "]"+hordelingtest.Tensor("BoolStorage", "1", 2, 1, 1)+"a"))
	src := hordelingtest.Model(hordelingtest.Program(body), []byte("12345678"), []byte{0, 1})
	r, err := ConvertTensors(context.Background(), src, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Tensors) != 2 || r.Tensors[0].Name != "state_dict.a.weight" || r.Tensors[0].DType != "I64" || r.Tensors[1].Name != "state_dict.b.0" || r.Tensors[1].DType != "BOOL" {
		t.Errorf("got %+v", r.Tensors)
	}
	same := dict(text("a.b"), hordelingtest.Tensor("ByteStorage", "0", 1), text("a"), dict(text("b"), hordelingtest.Tensor("ByteStorage", "0", 1)))
	if _, err := ConvertTensors(context.Background(), hordelingtest.Model(hordelingtest.Program(same), []byte{1}), DefaultLimits()); code(err) != "UnsupportedEmbedding" {
		t.Errorf("two tensors of one path: %v", err)
	}
	// A tuple that holds the same tuple twice, thirty times over, has 2^30 paths.
	shared := "]Na" + strings.Repeat("q\x00h\x00\x86", 30)
	if _, err := ConvertTensors(context.Background(), hordelingtest.Model(hordelingtest.Program(shared)), DefaultLimits()); code(err) != "TooComplex" {
		t.Errorf("shared containers: %v", err)
	}
	key := text(strings.Repeat("k", 1000))
	long := dict(key, dict(key, hordelingtest.Tensor("ByteStorage", "0", 1)))
	if _, err := ConvertTensors(context.Background(), hordelingtest.Model(hordelingtest.Program(long), []byte{1}), DefaultLimits()); code(err) != "TooComplex" {
		t.Errorf("a long path: %v", err)
	}
}

// TestEachProtocol converts what PyTorch 1.13 wrote with each protocol of pickle: the content of [hordelingtest.WebUI].
func TestEachProtocol(t *testing.T) {
	t.Parallel()
	for _, container := range []string{"legacy", "zip"} {
		for protocol := range 6 {
			name := fmt.Sprintf("%s-%d.pt", container, protocol)
			data, err := os.ReadFile("testdata/protocols/" + name)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Convert(context.Background(), data, DefaultLimits())
			if protocol < 2 {
				if code(err) != "UnsupportedPickle" || !strings.Contains(err.Error(), "protocols 0 and 1 are not read; save the file again with protocol 2 or newer") {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if err != nil || r.SHA256 != hordelingtest.WebUISHA256 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func FuzzConvert(f *testing.F) {
	f.Add(hordelingtest.WebUI)
	f.Add(hordelingtest.ParameterDict)
	f.Add(hordelingtest.Legacy)
	f.Add(hordelingtest.SDXL)
	f.Add(hordelingtest.WebUIModel(1, 2, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, run := range []func(context.Context, []byte, Limits) (*Result, error){Convert, ConvertTensors} {
			r, err := run(context.Background(), data, DefaultLimits())
			if err != nil {
				if c := code(err); c == err.Error() && !errors.Is(err, torchfile.ErrHTML) {
					t.Fatalf("an error without a code: %v", err)
				}
				continue
			}
			if _, err := safetensors.Parse(r.Bytes, safetensors.Limits{}); err != nil {
				t.Fatalf("the output is not valid: %v", err)
			}
		}
	})
}
