// SPDX-License-Identifier: AGPL-3.0-or-later

// Package embedding turns the files in which textual inversions are published into safetensors.
//
// [Convert] takes the bytes of a .pt, .bin or .safetensors file and returns the bytes that workers load: one tensor
// named emb_params, or clip_g and clip_l for SDXL, metadata {"format": "pt"} and nothing else, so that the same source
// and [Version] always give the same bytes and the same hash. A file that is safetensors already is checked and passed
// on as it is, with its metadata.
package embedding

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"horde/internal/hordeling/safetensors"
	"horde/internal/hordeling/torchfile"
)

// Version of the converter. It is part of the name under which outputs and refusals are stored: raise it when a source
// would give other bytes or another verdict.
const Version = 2

// Names of the output's tensors. Loaders take the text encoder's key, or else the only tensor.
const (
	nameSingle = "emb_params"
	nameClipL  = "clip_l"
	nameClipG  = "clip_g"
)

// Error says that a file is readable and no textual inversion. Its rc is UnsupportedEmbedding.
type Error struct {
	// Reason is English without a final stop.
	Reason string
}

func (e *Error) Error() string { return "UnsupportedEmbedding: " + e.Reason }

func unsupported(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Limits bounds the source and the output.
type Limits struct {
	File torchfile.Limits
	// Rows is how many vectors an embedding may have, Columns how wide they may be.
	Rows, Columns int64
	// OutputBytes bounds the data of all output tensors together.
	OutputBytes int64
	// HeaderBytes and Tensors bound sources that are safetensors already.
	HeaderBytes int64
	Tensors     int
}

// DefaultLimits returns the limits of the hordeling chapter, section 5. For safetensors sources the header may have
// 4 MiB, as a pickle may; trainers put long notes there.
func DefaultLimits() Limits {
	return Limits{
		File: torchfile.DefaultLimits(),
		Rows: 4096, Columns: 16384, OutputBytes: 64 << 20,
		HeaderBytes: 4 << 20, Tensors: 64,
	}
}

// Shape is the layout in which a source had its tensors.
type Shape string

// The layouts, in the order in which they are looked for.
const (
	Safetensors Shape = "safetensors" // safetensors already
	WebUI       Shape = "webui"       // {"string_to_param": {"*": tensor}, ...}
	SDXL        Shape = "sdxl"        // {"clip_l": tensor, "clip_g": tensor, ...}
	Diffusers   Shape = "diffusers"   // {"<token>": tensor}
	Params      Shape = "emb_params"  // {"emb_params": tensor, ...} without another tensor
	Bare        Shape = "tensor"      // the tensor itself
	Tensors     Shape = "tensors"     // any tensors, by ConvertTensors
)

// Tensor is what one output tensor looks like.
type Tensor struct {
	Name  string  `json:"name"`
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`
}

// Result is a finished conversion.
type Result struct {
	// Bytes of the safetensors file, and their SHA-256 in lower-case hex.
	Bytes  []byte
	SHA256 string
	// Container and Shape say how the source was laid out.
	Container string
	Shape     Shape
	// Tensors of the output in file order.
	Tensors []Tensor
}

// Convert reads a textual inversion. The error is a [*pickle.Refusal], an [*Error], a [*safetensors.FormatError],
// [torchfile.ErrHTML], or the context's. The result may alias src.
func Convert(ctx context.Context, src []byte, limits Limits) (*Result, error) {
	if torchfile.Detect(src) == torchfile.Safetensors {
		return passOn(src, limits)
	}
	f, err := torchfile.Open(ctx, src, limits.File)
	if err != nil {
		return nil, err
	}
	shape, picked, err := pick(f.Root)
	if err != nil {
		return nil, err
	}
	budget := limits.OutputBytes
	tensors := make([]safetensors.Tensor, 0, len(picked))
	for _, p := range picked {
		if err := checkEmbedding(p.tensor, limits); err != nil {
			return nil, err
		}
		t, err := materialise(f, p, budget)
		if err != nil {
			return nil, err
		}
		if hasNaN(t) {
			return nil, unsupported("the tensor %s holds a NaN", p.name)
		}
		budget -= int64(len(t.Data))
		tensors = append(tensors, t)
	}
	return finish(f, shape, tensors)
}

// ConvertTensors writes every tensor that the source holds in dicts, lists and tuples under its path, joined by dots
// ("state_dict.weight"), with any dtype and rank. It is for files that are no textual inversions.
func ConvertTensors(ctx context.Context, src []byte, limits Limits) (*Result, error) {
	if torchfile.Detect(src) == torchfile.Safetensors {
		return passOn(src, limits)
	}
	f, err := torchfile.Open(ctx, src, limits.File)
	if err != nil {
		return nil, err
	}
	picked, err := everyTensor(f.Root, limits.Tensors)
	if err != nil {
		return nil, err
	}
	budget := limits.OutputBytes
	tensors := make([]safetensors.Tensor, 0, len(picked))
	for _, p := range picked {
		t, err := materialise(f, p, budget)
		if err != nil {
			return nil, err
		}
		budget -= int64(len(t.Data))
		tensors = append(tensors, t)
	}
	return finish(f, Tensors, tensors)
}

// passOn checks a source that is safetensors already and returns it unchanged.
func passOn(src []byte, limits Limits) (*Result, error) {
	f, err := safetensors.Parse(src, safetensors.Limits{Header: limits.HeaderBytes, Tensors: limits.Tensors})
	if err != nil {
		return nil, err
	}
	if len(f.Tensors) == 0 {
		return nil, unsupported("the file holds no tensor")
	}
	return describe(src, torchfile.Safetensors, Safetensors, f), nil
}

func materialise(f *torchfile.File, p named, maxBytes int64) (safetensors.Tensor, error) {
	data, err := f.Data(p.tensor, maxBytes)
	if err != nil {
		return safetensors.Tensor{}, err
	}
	return safetensors.Tensor{
		Name: p.name, DType: safetensors.DType(p.tensor.Storage.Type.DType), Shape: p.tensor.Size, Data: data,
	}, nil
}

// errSelfCheck means that the writer and the reader disagree, which is a fault of this program.
var errSelfCheck = errors.New("embedding: the written file does not read back")

// finish writes the file, reads it back and compares.
func finish(f *torchfile.File, shape Shape, tensors []safetensors.Tensor) (*Result, error) {
	out, err := safetensors.Encode(tensors, map[string]string{"format": "pt"})
	if err != nil {
		return nil, unsupported("%s", err)
	}
	back, err := safetensors.Parse(out, safetensors.Limits{})
	if err != nil || len(back.Tensors) != len(tensors) {
		return nil, errors.Join(errSelfCheck, err)
	}
	for _, got := range back.Tensors {
		same := false
		for _, want := range tensors {
			same = same || got.Name == want.Name && got.DType == want.DType && slices.Equal(got.Shape, want.Shape) && bytes.Equal(got.Data, want.Data)
		}
		if !same {
			return nil, errSelfCheck
		}
	}
	return describe(out, f.Container, shape, back), nil
}

func describe(out []byte, c torchfile.Container, shape Shape, f *safetensors.File) *Result {
	sum := sha256.Sum256(out)
	r := &Result{Bytes: out, SHA256: hex.EncodeToString(sum[:]), Container: c.String(), Shape: shape}
	for _, t := range f.Tensors {
		r.Tensors = append(r.Tensors, Tensor{t.Name, string(t.DType), t.Shape})
	}
	return r
}
