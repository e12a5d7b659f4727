// SPDX-License-Identifier: AGPL-3.0-or-later

package picture

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"time"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// decoder is what one format needs. WebP goes its own way through stillWebP.
type decoder struct {
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

var decoders = map[Format]decoder{
	PNG:  {png.DecodeConfig, png.Decode},
	JPEG: {jpeg.DecodeConfig, jpeg.Decode},
	GIF:  {gif.DecodeConfig, gif.Decode}, // gif.Decode stops after the first frame
	BMP:  {bmp.DecodeConfig, bmp.Decode},
	TIFF: {tiff.DecodeConfig, tiff.Decode},
}

// decode decodes data, of which info is known and within bounds.
func decode(ctx context.Context, data []byte, info Info) (*Picture, error) {
	m, err := decodeRaw(ctx, data, info)
	if err != nil {
		return nil, err
	}
	canvas := image.Rect(0, 0, info.Width, info.Height)
	if info.Channels == 0 {
		info.Channels = channels(m, canvas, info.Format)
	}
	p := &Picture{Info: info, NRGBA: toNRGBA(m, canvas)}
	if info.Channels == 3 {
		// A lossless WebP file may say that it is opaque and hold other values all the same.
		for i := 3; i < len(p.Pix); i += 4 {
			p.Pix[i] = 0xff
		}
	}
	return p, nil
}

// decodeRaw returns the image as the format's decoder makes it. The first frame of an animation may cover a part of the
// canvas only; its bounds say which.
func decodeRaw(ctx context.Context, data []byte, info Info) (image.Image, error) {
	budget, cancel := context.WithTimeout(ctx, decodeTime+time.Duration(info.pixels())*decodeTimePerPixel)
	defer cancel()
	m, err := guard(func() (image.Image, error) {
		if info.Format == WebP {
			return decodeWebP(budget, data)
		}
		return decoders[info.Format].decode(timedReader{budget, bytes.NewReader(data)})
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, corrupt(err)
	}
	return m, nil
}

// guard makes an error of a panic: decoders have had flaws before.
func guard[T any](f func() (T, error)) (value T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the decoder panicked: %v", r)
		}
	}()
	return f()
}

// timedReader fails when its time is over. It hands out little at a time, because a decoder can do a lot of work for a
// few bytes and is stopped only when it asks for more.
type timedReader struct {
	ctx context.Context
	r   *bytes.Reader
}

// portion is the most that Read hands out at once, in bytes.
const portion = 64

func (t timedReader) Read(p []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	return t.r.Read(p[:min(len(p), portion)])
}

// ReadAt is what TIFF reads with.
func (t timedReader) ReadAt(p []byte, off int64) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	return t.r.ReadAt(p, off)
}

// channels tells whether m, placed on canvas, can be transparent (4) or not (3).
func channels(m image.Image, canvas image.Rectangle, format Format) int {
	if m.Bounds().Size() != canvas.Size() {
		return 4
	}
	switch m.(type) {
	case *image.NRGBA, *image.NRGBA64, *image.NYCbCrA:
		// In most BMP files the fourth byte of a pixel is padding, and their decoder makes it opaque.
		if format != BMP {
			return 4
		}
	}
	// Decoders use premultiplied types for opaque files as well, and palettes for both.
	if o, ok := m.(interface{ Opaque() bool }); ok && o.Opaque() {
		return 3
	}
	return 4
}

// toNRGBA returns m on canvas, whose origin is (0, 0), in non-premultiplied colour. No colour is lost where alpha is 0,
// which is why this is not left to package draw: on its way from one type to another it multiplies by alpha.
func toNRGBA(m image.Image, canvas image.Rectangle) *image.NRGBA {
	b := m.Bounds()
	if b.Size() != canvas.Size() {
		out := image.NewNRGBA(canvas)
		part := toNRGBA(m, image.Rectangle{Max: b.Size()})
		// Source over nothing; both sides are the same type, so rows can be copied.
		at := b.Intersect(canvas)
		for y := at.Min.Y; y < at.Max.Y; y++ {
			i, j := part.PixOffset(at.Min.X-b.Min.X, y-b.Min.Y), out.PixOffset(at.Min.X, y)
			copy(out.Pix[j:j+4*at.Dx()], part.Pix[i:i+4*at.Dx()])
		}
		return out
	}
	w := b.Dx()
	switch m := m.(type) {
	case *image.NRGBA:
		return &image.NRGBA{Pix: rows(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4*w, b.Dy()), Stride: 4 * w, Rect: canvas}
	case *image.NRGBA64:
		out := image.NewNRGBA(canvas)
		for y := range b.Dy() {
			src := m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]
			dst := out.Pix[y*out.Stride:][:4*w]
			for i := range dst {
				dst[i] = src[2*i] // the upper byte
			}
		}
		return out
	case *image.NYCbCrA:
		out := opaque(&m.YCbCr, canvas)
		for y := range b.Dy() {
			src := m.A[m.AOffset(b.Min.X, b.Min.Y+y):]
			dst := out.Pix[y*out.Stride:]
			for x := range w {
				dst[4*x+3] = src[x]
			}
		}
		return out
	case *image.Paletted:
		var palette [256][4]byte // entries that the file does not have are transparent black
		for i, c := range m.Palette[:min(len(m.Palette), 256)] {
			n := color.NRGBAModel.Convert(c).(color.NRGBA)
			palette[i] = [4]byte{n.R, n.G, n.B, n.A}
		}
		out := image.NewNRGBA(canvas)
		for y := range b.Dy() {
			src := m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]
			dst := out.Pix[y*out.Stride:]
			for x := range w {
				copy(dst[4*x:4*x+4], palette[src[x]][:])
			}
		}
		return out
	case interface {
		image.Image
		Opaque() bool
	}:
		if m.Opaque() {
			return opaque(m, canvas)
		}
	}
	out := image.NewNRGBA(canvas)
	draw.Draw(out, canvas, m, b.Min, draw.Src)
	return out
}

// opaque converts an image without transparency. Package draw is fast towards premultiplied RGBA, and where alpha is
// full there is no difference.
func opaque(m image.Image, canvas image.Rectangle) *image.NRGBA {
	out := image.NewRGBA(canvas)
	draw.Draw(out, canvas, m, m.Bounds().Min, draw.Src)
	return &image.NRGBA{Pix: out.Pix, Stride: out.Stride, Rect: out.Rect}
}

// rows returns the first n bytes of each of h rows, without the gaps between them. It copies only if there are gaps.
func rows(pix []byte, stride, n, h int) []byte {
	if stride == n {
		return pix[: n*h : n*h]
	}
	out := make([]byte, 0, n*h)
	for y := range h {
		out = append(out, pix[y*stride:][:n]...)
	}
	return out
}
