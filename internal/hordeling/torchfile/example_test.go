// SPDX-License-Identifier: AGPL-3.0-or-later

package torchfile_test

import (
	"context"
	"fmt"

	"horde/internal/hordeling/hordelingtest"
	"horde/internal/hordeling/pickle"
	"horde/internal/hordeling/torchfile"
)

func ExampleOpen() {
	f, err := torchfile.Open(context.Background(), hordelingtest.SDXL, torchfile.DefaultLimits())
	if err != nil {
		fmt.Println(err)
		return
	}
	clipG, _ := f.Root.(*pickle.Dict).Get("clip_g")
	tensor := clipG.(*pickle.Tensor)
	data, err := f.Data(tensor, 1<<20)
	fmt.Println(f.Container, tensor.Storage.Type.DType, tensor.Size, len(data), err)
	// Output: PyTorch zip F16 [2 4] 16 <nil>
}
