// SPDX-License-Identifier: AGPL-3.0-or-later

package safetensors_test

import (
	"fmt"

	"horde/internal/hordeling/safetensors"
)

func Example() {
	file, err := safetensors.Encode([]safetensors.Tensor{
		{Name: "emb_params", DType: "F32", Shape: []int64{1, 2}, Data: []byte{0, 0, 0, 0, 0, 0, 128, 63}},
	}, map[string]string{"format": "pt"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d bytes: %s\n", len(file), file[8:102])

	parsed, err := safetensors.Parse(file, safetensors.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range parsed.Tensors {
		fmt.Println(t.Name, t.DType, t.Shape, t.Data)
	}
	// Output:
	// 112 bytes: {"__metadata__":{"format":"pt"},"emb_params":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]
	// emb_params F32 [1 2] [0 0 0 0 0 0 128 63]
}

func ExampleParse() {
	overlapping := "\x6f\x00\x00\x00\x00\x00\x00\x00" +
		`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}      xyz`
	_, err := safetensors.Parse([]byte(overlapping), safetensors.Limits{})
	fmt.Println(err)
	// Output: safetensors: tensor "b" lies at [1, 3], expected from 2 up to at most 3
}
