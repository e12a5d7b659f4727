// SPDX-License-Identifier: AGPL-3.0-or-later

package source_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"horde/internal/fetch"
	"horde/internal/horde"
	"horde/internal/picture"
	"horde/internal/source"
)

// FuzzTake sends what it likes as a source image. What is taken is a WebP of the size that is told, within the bounds; all else
// is refused, and never by an error of the inside.
func FuzzTake(f *testing.F) {
	for _, data := range [][]byte{pngOf(f, plain(4, 4)), pngOf(f, holed(5, 3)), declares(1<<20, 1<<20), declares(0, 0), []byte("GIF89a\xff\xff\xff\xff"), []byte("\xff\xd8\xff"), nil} {
		f.Add(base64.StdEncoding.EncodeToString(data))
	}
	f.Add("data:image/png;base64,AAAA")
	f.Add("AAAA\nAAAA")
	codec := picture.NewCodec(0)
	in := source.New(fetch.New(source.FetchConfig(nil)), codec)
	f.Fuzz(func(t *testing.T, input string) {
		if strings.HasPrefix(input, "http") {
			return // fetched: FuzzGet of package fetch
		}
		image, err := in.Take(t.Context(), input)
		if err != nil {
			if _, ok := errors.AsType[*horde.Error](err); !ok {
				t.Errorf("%.60q: %v", input, err)
			}
			return
		}
		info, err := codec.Verify(t.Context(), image.WebP, picture.MaxSourcePixels)
		if err != nil || info.Width != image.Width || info.Height != image.Height || image.Width*image.Height > picture.MaxSourcePixels {
			t.Errorf("%.60q: taken as %dx%d, which is %+v, %v", input, image.Width, image.Height, info, err)
		}
		_ = source.CheckInpainting(image, true)
	})
}
