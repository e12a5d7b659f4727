// SPDX-License-Identifier: AGPL-3.0-or-later

package embedding_test

import (
	"context"
	"fmt"

	"horde/internal/hordeling/embedding"
	"horde/internal/hordeling/hordelingtest"
)

func ExampleConvert() {
	r, err := embedding.Convert(context.Background(), hordelingtest.ParameterDict, embedding.DefaultLimits())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Container, r.Shape, r.Tensors, len(r.Bytes), r.SHA256[:8])
	// Output: PyTorch zip webui [{emb_params F32 [2 3]}] 136 ced270e0
}
