// SPDX-License-Identifier: AGPL-3.0-or-later

package embedding

import (
	"encoding/binary"
	"fmt"

	"horde/internal/hordeling/pickle"
	"horde/internal/hordeling/safetensors"
)

// named is a tensor of the source with its name in the output.
type named struct {
	name   string
	tensor *pickle.Tensor
}

// pick finds the textual inversion in the saved object (hordeling chapter, section 8.1). The layouts are tried in the
// order of that table; bare tensors come last.
func pick(root pickle.Value) (Shape, []named, error) {
	if t, ok := root.(*pickle.Tensor); ok {
		return Bare, []named{{nameSingle, t}}, nil
	}
	d, ok := root.(*pickle.Dict)
	if !ok {
		return "", nil, unsupported("the saved object is neither a dict nor a tensor")
	}
	if params, ok := d.Get("string_to_param"); ok {
		t, err := webUI(params)
		return WebUI, []named{{nameSingle, t}}, err
	}
	clipL, okL := tensorAt(d, nameClipL)
	clipG, okG := tensorAt(d, nameClipG)
	if okL && okG {
		if rows(clipL) != rows(clipG) {
			return "", nil, unsupported("%s has %d vectors and %s %d", nameClipL, rows(clipL), nameClipG, rows(clipG))
		}
		return SDXL, []named{{nameClipL, clipL}, {nameClipG, clipG}}, nil
	}
	items := d.Items()
	if len(items) == 1 {
		if t, ok := items[0].Value.(*pickle.Tensor); ok {
			return Diffusers, []named{{nameSingle, t}}, nil
		}
		return "", nil, unsupported("the only value of the dict is no tensor")
	}
	if t, ok := tensorAt(d, nameSingle); ok && countTensors(d) == 1 {
		return Params, []named{{nameSingle, t}}, nil
	}
	return "", nil, unsupported("a dict of %d values is no layout of a textual inversion", len(items))
}

// webUI takes the entry "*", or the only one.
func webUI(params pickle.Value) (*pickle.Tensor, error) {
	if p, ok := params.(*pickle.ParameterDict); ok && p.Params != nil {
		params = p.Params
	}
	d, ok := params.(*pickle.Dict)
	if !ok {
		return nil, unsupported("string_to_param is no dict")
	}
	v, ok := d.Get("*")
	if !ok {
		if d.Len() != 1 {
			return nil, unsupported("string_to_param has %d entries and none is named *", d.Len())
		}
		v = d.Items()[0].Value
	}
	t, ok := v.(*pickle.Tensor)
	if !ok {
		return nil, unsupported("the entry of string_to_param is no tensor")
	}
	return t, nil
}

func tensorAt(d *pickle.Dict, key string) (*pickle.Tensor, bool) {
	v, _ := d.Get(key)
	t, ok := v.(*pickle.Tensor)
	return t, ok
}

// rows is how many vectors t has; a tensor of one dimension is one vector.
func rows(t *pickle.Tensor) int64 {
	if len(t.Size) < 2 {
		return 1
	}
	return t.Size[0]
}

func countTensors(d *pickle.Dict) (n int) {
	for _, item := range d.Items() {
		if _, ok := item.Value.(*pickle.Tensor); ok {
			n++
		}
	}
	return n
}

// checkEmbedding tests what every loader asks of an embedding, before its data are gathered.
func checkEmbedding(t *pickle.Tensor, limits Limits) error {
	switch dtype := t.Storage.Type.DType; dtype {
	case pickle.F16, pickle.BF16, pickle.F32, pickle.F64:
	default:
		return unsupported("elements of type %s", dtype)
	}
	rank := len(t.Size)
	if rank != 1 && rank != 2 {
		return unsupported("a tensor of %d dimensions", rank)
	}
	for _, s := range t.Size {
		if s == 0 {
			return unsupported("a tensor without elements")
		}
	}
	if columns := t.Size[rank-1]; columns > limits.Columns {
		return pickle.Refuse(pickle.TooComplex, "", -1, "vectors of %d elements, at most %d are written", columns, limits.Columns)
	}
	if rank == 2 && t.Size[0] > limits.Rows {
		return pickle.Refuse(pickle.TooComplex, "", -1, "%d vectors, at most %d are written", t.Size[0], limits.Rows)
	}
	return nil
}

// hasNaN looks at the bits: all exponent bits set and a fraction that is not zero.
func hasNaN(t safetensors.Tensor) bool {
	data := t.Data
	switch t.DType {
	case "F16", "BF16":
		exponent, fraction := uint16(0x7c00), uint16(0x03ff)
		if t.DType == "BF16" {
			exponent, fraction = 0x7f80, 0x007f
		}
		for ; len(data) >= 2; data = data[2:] {
			if v := binary.LittleEndian.Uint16(data); v&exponent == exponent && v&fraction != 0 {
				return true
			}
		}
	case "F32":
		for ; len(data) >= 4; data = data[4:] {
			if v := binary.LittleEndian.Uint32(data); v&0x7f80_0000 == 0x7f80_0000 && v&0x007f_ffff != 0 {
				return true
			}
		}
	case "F64":
		const exponent, fraction = 0x7ff0_0000_0000_0000, 0x000f_ffff_ffff_ffff
		for ; len(data) >= 8; data = data[8:] {
			if v := binary.LittleEndian.Uint64(data); v&exponent == exponent && v&fraction != 0 {
				return true
			}
		}
	}
	return false
}

// everyTensor collects the tensors below root with their paths. A tensor that is shared is written once for each path;
// a container that is shared is walked once for each path too, so the steps are bounded as well as the tensors.
func everyTensor(root pickle.Value, maxTensors int) ([]named, error) {
	const (
		maxSteps = 100_000
		maxPath  = 1024 // bytes; keys may be long and nested
	)
	var out []named
	seen := make(map[string]bool)
	steps := 0
	var walk func(path string, v pickle.Value) error
	child := func(path, key string, v pickle.Value) error {
		if path != "" && len(key) <= maxPath {
			key = path + "." + key
		}
		if len(key) > maxPath {
			return pickle.Refuse(pickle.TooComplex, "", -1, "a path of more than %d bytes", maxPath)
		}
		return walk(key, v)
	}
	walk = func(path string, v pickle.Value) error {
		if steps++; steps > maxSteps {
			return pickle.Refuse(pickle.TooComplex, "", -1, "more than %d values", maxSteps)
		}
		switch v := v.(type) {
		case *pickle.Tensor:
			if path == "" {
				path = "tensor"
			}
			if seen[path] {
				return unsupported("two tensors have the path %.80q", path)
			}
			seen[path] = true
			if out = append(out, named{path, v}); len(out) > maxTensors {
				return pickle.Refuse(pickle.TooComplex, "", -1, "more than %d tensors", maxTensors)
			}
		case *pickle.ParameterDict:
			if v.Params != nil {
				return walk(path, v.Params)
			}
		case *pickle.Dict:
			for _, item := range v.Items() {
				key := item.Key.Str
				if item.Key.IsInt {
					key = fmt.Sprint(item.Key.Int)
				}
				if err := child(path, key, item.Value); err != nil {
					return err
				}
			}
		case *pickle.List:
			return walkAll(v.Items, path, child)
		case *pickle.Tuple:
			return walkAll(v.Items, path, child)
		}
		return nil
	}
	if err := walk("", root); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, unsupported("the file holds no tensor")
	}
	return out, nil
}

func walkAll(items []pickle.Value, path string, child func(path, key string, v pickle.Value) error) error {
	for i, v := range items {
		if err := child(path, fmt.Sprint(i), v); err != nil {
			return err
		}
	}
	return nil
}
