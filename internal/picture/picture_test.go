// SPDX-License-Identifier: AGPL-3.0-or-later

package picture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gen2brain/webp"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// gradient is a smooth picture without transparency.
func gradient(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, color.NRGBA{uint8(255 * x / w), uint8(255 * y / h), 128, 255})
		}
	}
	return m
}

// holed is a green picture whose middle is transparent, with red below: a source for inpainting.
func holed(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.NRGBA{0, 200, 0, 255}
			if hole(m.Rect).Min.X <= x && x < hole(m.Rect).Max.X && hole(m.Rect).Min.Y <= y && y < hole(m.Rect).Max.Y {
				c = color.NRGBA{200, 0, 0, 0}
			}
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

func hole(r image.Rectangle) image.Rectangle { return r.Inset(r.Dx() / 4) }

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func file(t testing.TB, encode func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngOf(t testing.TB, m image.Image) []byte {
	return file(t, func(b *bytes.Buffer) error { return png.Encode(b, m) })
}

func webpOf(t testing.TB, m image.Image, lossless bool) []byte {
	return file(t, func(b *bytes.Buffer) error {
		return webp.Encode(b, m, webp.Options{Quality: 90, Lossless: lossless, Exact: true})
	})
}

// flatten returns m without transparency, of a type that says so.
func flatten(m *image.NRGBA) *image.RGBA {
	return &image.RGBA{Pix: m.Pix, Stride: m.Stride, Rect: m.Rect}
}

func paletted(m image.Image, p color.Palette) *image.Paletted {
	out := image.NewPaletted(m.Bounds(), p)
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			out.Set(x, y, m.At(x, y))
		}
	}
	return out
}

// distance is the largest difference of a channel, or of alpha.
func distance(a, b *image.NRGBA) (colour, alpha float64) {
	if a.Rect != b.Rect {
		return math.Inf(1), math.Inf(1)
	}
	for i := range a.Pix {
		d := math.Abs(float64(a.Pix[i]) - float64(b.Pix[i]))
		if i%4 == 3 {
			alpha = max(alpha, d)
		} else {
			colour = max(colour, d)
		}
	}
	return colour, alpha
}

// samples are one picture of 48x32 in every format and variety, with what decoding gives.
func samples(t testing.TB) []sample {
	const w, h = 48, 32
	plain, clear := gradient(w, h), holed(w, h)
	deep := image.NewNRGBA64(clear.Rect)
	deepPlain := image.NewRGBA64(plain.Rect)
	gray := image.NewGray(plain.Rect)
	gray16 := image.NewGray16(plain.Rect)
	grayWant := image.NewNRGBA(plain.Rect)
	for y := range h {
		for x := range w {
			c := clear.NRGBAAt(x, y)
			deep.SetNRGBA64(x, y, color.NRGBA64{uint16(c.R) * 257, uint16(c.G) * 257, uint16(c.B) * 257, uint16(c.A) * 257})
			deepPlain.Set(x, y, plain.At(x, y))
			gray.Set(x, y, plain.At(x, y))
			gray16.Set(x, y, gray.At(x, y))
			grayWant.Set(x, y, gray.At(x, y))
		}
	}
	palette := color.Palette{color.NRGBA{0, 200, 0, 255}, color.NRGBA{200, 0, 0, 0}}
	indexed := image.NewPaletted(clear.Rect, palette)
	for i := range indexed.Pix {
		if clear.Pix[4*i+3] == 0 {
			indexed.Pix[i] = 1
		}
	}
	two := color.Palette{color.NRGBA{0, 0, 0, 255}, color.NRGBA{250, 240, 230, 255}}
	twoColours := paletted(plain, two)
	twoWant := image.NewNRGBA(plain.Rect)
	for i, v := range twoColours.Pix {
		c := two[v].(color.NRGBA)
		copy(twoWant.Pix[4*i:], []byte{c.R, c.G, c.B, c.A})
	}
	noColour := image.NewNRGBA(clear.Rect) // GIF has no colour below transparency
	for i := range indexed.Pix {
		if indexed.Pix[i] == 0 {
			copy(noColour.Pix[4*i:], []byte{0, 200, 0, 255})
		}
	}
	noAlpha := image.NewNRGBA(clear.Rect)
	for i, v := range clear.Pix {
		if noAlpha.Pix[i] = v; i%4 == 3 {
			noAlpha.Pix[i] = 255
		}
	}
	jpegOf := func(m image.Image) []byte {
		return file(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, m, &jpeg.Options{Quality: 95}) })
	}
	gifOf := func(m image.Image) []byte {
		return file(t, func(b *bytes.Buffer) error { return gif.Encode(b, m, nil) })
	}
	bmpOf := func(m image.Image) []byte {
		return file(t, func(b *bytes.Buffer) error { return bmp.Encode(b, m) })
	}
	tiffOf := func(m image.Image, c tiff.CompressionType) []byte {
		return file(t, func(b *bytes.Buffer) error { return tiff.Encode(b, m, &tiff.Options{Compression: c}) })
	}
	other := gradient(w, h)
	for i := range other.Pix {
		other.Pix[i] = 255
	}
	lossyClear, losslessClear := webpOf(t, clear, false), webpOf(t, clear, true)
	return []sample{
		{"PNG", pngOf(t, plain), PNG, 3, plain, 0},
		{"PNG with alpha", pngOf(t, clear), PNG, 4, clear, 0},
		{"PNG with alpha, 16 bits", pngOf(t, deep), PNG, 4, clear, 0},
		{"PNG, 16 bits", pngOf(t, deepPlain), PNG, 3, plain, 0},
		{"PNG, grey", pngOf(t, gray), PNG, 3, grayWant, 0},
		{"PNG, grey, 16 bits", pngOf(t, gray16), PNG, 3, grayWant, 0},
		{"PNG with palette", pngOf(t, twoColours), PNG, 3, twoWant, 0},
		{"PNG with transparent palette", pngOf(t, indexed), PNG, 4, clear, 0},
		{"JPEG", jpegOf(plain), JPEG, 3, plain, 24},
		{"JPEG, grey", jpegOf(gray), JPEG, 3, grayWant, 8},
		{"JPEG turned by EXIF", withOrientation(jpegOf(plain)), JPEG, 3, plain, 24},
		{"GIF", gifOf(twoColours), GIF, 3, twoWant, 0},
		{"GIF with transparency", gifOf(indexed), GIF, 4, noColour, 0},
		{"GIF, animated", file(t, func(b *bytes.Buffer) error {
			return gif.EncodeAll(b, &gif.GIF{Image: []*image.Paletted{twoColours, paletted(other, two)}, Delay: []int{1, 1}})
		}), GIF, 3, twoWant, 0},
		{"BMP", bmpOf(plain), BMP, 3, plain, 0},
		{"BMP with padding instead of alpha", bmpOf(clear), BMP, 3, noAlpha, 0},
		{"BMP with alpha", version4(bmpOf(clear)), BMP, 4, clear, 0},
		{"TIFF", tiffOf(flatten(plain), tiff.Uncompressed), TIFF, 3, plain, 0},
		{"TIFF with alpha", tiffOf(clear, tiff.Deflate), TIFF, 4, clear, 0},
		{"TIFF, grey", tiffOf(gray, tiff.Deflate), TIFF, 3, grayWant, 0},
		{"WebP, lossy", webpOf(t, plain, false), WebP, 3, plain, 40},
		{"WebP, lossy with alpha", lossyClear, WebP, 4, clear, 90},
		{"WebP, lossless", webpOf(t, plain, true), WebP, 3, plain, 0},
		{"WebP, lossless with alpha", losslessClear, WebP, 4, clear, 0},
		{"WebP, animated", animation(t, clear.Rect.Size(), image.Point{}, lossyClear, webpOf(t, other, false)), WebP, 4, clear, 90},
		{"WebP, animated, lossless", animation(t, clear.Rect.Size(), image.Point{}, losslessClear), WebP, 4, clear, 0},
	}
}

type sample struct {
	name     string
	data     []byte
	format   Format
	channels int
	want     *image.NRGBA
	within   float64 // permitted difference of colours
}

// withOrientation gives a JPEG an EXIF block that says "turn me by 90 degrees".
func withOrientation(data []byte) []byte {
	exif := []byte("Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00")
	out := append([]byte{0xff, 0xd8, 0xff, 0xe1}, byte((len(exif)+2)>>8), byte(len(exif)+2))
	return append(append(out, exif...), data[2:]...)
}

// version4 gives a BMP file the longer header that makes its fourth channel count.
func version4(data []byte) []byte {
	const oldLen, newLen = 40, 108
	out := append(bytes.Clone(data[:14+oldLen]), make([]byte, newLen-oldLen)...)
	binary.LittleEndian.PutUint32(out[10:], 14+newLen)
	binary.LittleEndian.PutUint32(out[14:], newLen)
	return append(out, data[14+oldLen:]...)
}

// animation puts still WebP files into an animated one, the first of them at the given place.
func animation(t testing.TB, canvas, at image.Point, frames ...[]byte) []byte {
	t.Helper()
	put24 := func(b []byte, v int) []byte { return append(b, byte(v), byte(v>>8), byte(v>>16)) }
	chunk := func(b []byte, id string, payload []byte) []byte {
		b = binary.LittleEndian.AppendUint32(append(b, id...), uint32(len(payload)))
		b = append(b, payload...)
		if len(payload)%2 == 1 {
			b = append(b, 0)
		}
		return b
	}
	out := []byte("RIFF....WEBP")
	out = chunk(out, "VP8X", put24(put24([]byte{1<<1 | 1<<4, 0, 0, 0}, canvas.X-1), canvas.Y-1))
	out = chunk(out, "ANIM", make([]byte, 6))
	for _, frame := range frames {
		s := must[still](t)(stillWebP(frame))
		payload := put24(put24(nil, at.X/2), at.Y/2)
		payload = put24(put24(payload, s.frame.Dx()-1), s.frame.Dy()-1)
		payload = append(put24(payload, 100), 0)
		if s.alpha != nil {
			payload = chunk(payload, "ALPH", s.alpha)
		}
		id := "VP8L"
		if s.lossy {
			id = "VP8 "
		}
		out = chunk(out, "ANMF", chunk(payload, id, s.bits))
	}
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out
}

func TestDecode(t *testing.T) {
	t.Parallel()
	c := NewCodec(0)
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			p, err := c.Decode(t.Context(), s.data, MaxSourcePixels)
			if err != nil {
				t.Fatal(err)
			}
			if p.Format != s.format || p.Width != 48 || p.Height != 32 || p.Channels != s.channels {
				t.Errorf("got %+v, want %s with %d channels", p.Info, s.format, s.channels)
			}
			if colour, alpha := distance(p.NRGBA, s.want); colour > s.within || alpha != 0 {
				t.Errorf("colours differ by up to %v (%v permitted), alpha by %v", colour, s.within, alpha)
			}
			info, err := Inspect(s.data)
			if err != nil || info.Format != s.format || info.Width != 48 || info.Height != 32 {
				t.Errorf("Inspect: %+v, %v", info, err)
			}
		})
	}
}

// A transparent source keeps its hole and what is below it, whatever it was sent as (field problem B079).
func TestTransparencySurvives(t *testing.T) {
	t.Parallel()
	c := NewCodec(0)
	want := holed(64, 64)
	for _, data := range [][]byte{pngOf(t, want), webpOf(t, want, true), webpOf(t, want, false)} {
		out, info, err := c.Transcode(t.Context(), data, MaxSourcePixels, SourceQuality)
		if err != nil {
			t.Fatal(err)
		}
		if info.Channels != 4 {
			t.Errorf("%s has %d channels, want 4", info.Format, info.Channels)
		}
		p, err := c.Decode(t.Context(), out, MaxSourcePixels)
		if err != nil {
			t.Fatal(err)
		}
		if p.Format != WebP || p.Channels != 4 {
			t.Errorf("stored as %+v", p.Info)
		}
		if _, alpha := distance(p.NRGBA, want); alpha != 0 {
			t.Errorf("alpha differs by up to %v", alpha)
		}
		// Away from edges, where lossy chroma bleeds.
		for _, at := range []image.Point{{32, 32}, {20, 40}, {4, 4}, {60, 60}} {
			got, want := p.NRGBAAt(at.X, at.Y), want.NRGBAAt(at.X, at.Y)
			for _, d := range []int{int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B)} {
				if d < -40 || d > 40 {
					t.Errorf("%v: got %v, want about %v", at, got, want)
				}
			}
		}
	}
}

func TestOpaqueStaysOpaque(t *testing.T) {
	t.Parallel()
	c := NewCodec(0)
	for _, quality := range []int{SourceQuality, ResultQuality} {
		out, info, err := c.Transcode(t.Context(), pngOf(t, gradient(100, 50)), MaxSourcePixels, quality)
		if err != nil || info != (Info{PNG, 100, 50, 3}) {
			t.Fatalf("%+v, %v", info, err)
		}
		verified, err := c.Verify(t.Context(), out, MaxResultPixels)
		if err != nil || verified != (Info{WebP, 100, 50, 3}) {
			t.Errorf("%+v, %v", verified, err)
		}
	}
}

func TestQualityMatters(t *testing.T) {
	t.Parallel()
	c := NewCodec(0)
	low := must[[]byte](t)(c.Encode(t.Context(), gradient(256, 256), SourceQuality))
	high := must[[]byte](t)(c.Encode(t.Context(), gradient(256, 256), ResultQuality))
	if len(low) >= len(high) {
		t.Errorf("%d bytes at quality %d, %d at %d", len(low), SourceQuality, len(high), ResultQuality)
	}
}

func TestEncodeOfAPart(t *testing.T) {
	t.Parallel()
	c := NewCodec(0)
	part := gradient(64, 64).SubImage(image.Rect(10, 20, 42, 50))
	p := must[*Picture](t)(c.Decode(t.Context(), must[[]byte](t)(c.Encode(t.Context(), part, ResultQuality)), MaxSourcePixels))
	got, want := p.NRGBAAt(16, 15), part.At(26, 35).(color.NRGBA)
	if p.Width != 32 || p.Height != 30 || math.Abs(float64(got.R)-float64(want.R)) > 12 || math.Abs(float64(got.G)-float64(want.G)) > 12 {
		t.Errorf("%+v: got %v, want about %v", p.Info, got, want)
	}
}

// The first frame of an animation may cover a part of the canvas only.
func TestPartialFrames(t *testing.T) {
	t.Parallel()
	c := NewCodec(0)
	red := image.NewPaletted(image.Rect(10, 4, 20, 14), color.Palette{color.NRGBA{200, 0, 0, 255}})
	still := image.NewNRGBA(image.Rect(0, 0, 10, 10))
	for i := range still.Pix {
		still.Pix[i] = []byte{200, 0, 0, 255}[i%4]
	}
	for name, data := range map[string][]byte{
		"GIF": file(t, func(b *bytes.Buffer) error {
			return gif.EncodeAll(b, &gif.GIF{Image: []*image.Paletted{red}, Delay: []int{0}, Config: image.Config{Width: 40, Height: 30}})
		}),
		"WebP": animation(t, image.Pt(40, 30), image.Pt(10, 4), webpOf(t, still, true)),
	} {
		p, err := c.Decode(t.Context(), data, MaxSourcePixels)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p.Width != 40 || p.Height != 30 || p.Channels != 4 {
			t.Errorf("%s: %+v", name, p.Info)
		}
		for at, want := range map[image.Point]color.NRGBA{
			{10, 4}: {200, 0, 0, 255}, {19, 13}: {200, 0, 0, 255}, {9, 4}: {}, {20, 13}: {}, {10, 14}: {},
		} {
			if got := p.NRGBAAt(at.X, at.Y); got != want {
				t.Errorf("%s at %v: %v, want %v", name, at, got, want)
			}
		}
	}
	for name, at := range map[string]image.Point{"right of the canvas": {32, 0}, "below the canvas": {0, 22}, "far away": {1 << 20, 1 << 20}} {
		data := animation(t, image.Pt(40, 30), at, webpOf(t, still, true))
		if _, err := c.Decode(t.Context(), data, MaxSourcePixels); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a frame %s: %v, want ErrCorrupt", name, err)
		}
	}
}

// pngHeader is a PNG that declares a size and holds nothing.
func pngHeader(w, h uint32) []byte {
	ihdr := binary.BigEndian.AppendUint32([]byte("IHDR"), w)
	ihdr = append(binary.BigEndian.AppendUint32(ihdr, h), 8, 6, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), ihdr...)
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(ihdr))
	return append(out, "\x00\x00\x00\x00IDAT\x35\xaf\x06\x1e"...)
}

// oversized are files of a few bytes that declare w times h pixels.
func oversized(w, h int) map[string][]byte {
	le32 := binary.LittleEndian.AppendUint32
	le16 := binary.LittleEndian.AppendUint16
	tiffTag := func(b []byte, tag, typ uint16, v uint32) []byte { return le32(le32(le16(le16(b, tag), typ), 1), v) }
	tiffData := le16([]byte("II*\x00\x08\x00\x00\x00"), 6)
	for _, tag := range [][2]uint32{{256, uint32(w)}, {257, uint32(h)}, {258, 8}, {259, 1}, {262, 1}, {277, 1}} {
		tiffData = tiffTag(tiffData, uint16(tag[0]), 4, tag[1])
	}
	bmpData := le32(le32([]byte("BM\x36\x00\x00\x00\x00\x00\x00\x00"), 54), 40)
	bmpData = le16(le16(le32(le32(bmpData, uint32(w)), uint32(h)), 1), 24)
	bmpData = append(bmpData, make([]byte, 24)...)
	vp8x := []byte("RIFF\x20\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00")
	vp8x = append(vp8x, byte(w-1), byte((w-1)>>8), byte((w-1)>>16), byte(h-1), byte((h-1)>>8), byte((h-1)>>16))
	out := map[string][]byte{
		"PNG":  pngHeader(uint32(w), uint32(h)),
		"JPEG": {0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, byte(h >> 8), byte(h), byte(w >> 8), byte(w), 1, 1, 0x11, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0},
		"GIF":  {'G', 'I', 'F', '8', '9', 'a', byte(w), byte(w >> 8), byte(h), byte(h >> 8), 0, 0, 0},
		"BMP":  bmpData,
		"TIFF": tiffData,
	}
	if w < 1<<14 && h < 1<<14 {
		v := uint32(w-1) | uint32(h-1)<<14
		out["WebP, lossless"] = append(le32([]byte("RIFF\x12\x00\x00\x00WEBPVP8L\x05\x00\x00\x00\x2f"), v), 0)
		lossy := le16([]byte("RIFF\x16\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00\x10\x00\x00\x9d\x01\x2a"), uint16(w))
		out["WebP, lossy"] = le16(lossy, uint16(h))
	}
	frame := []byte("ANMF\x1e\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0f\x00\x00\x0f\x00\x00\x00\x00\x00\x00VP8L\x05\x00\x00\x00\x2f\x0f\xc0\x03\x00\x00")
	canvas := append(bytes.Clone(vp8x), frame...)
	binary.LittleEndian.PutUint32(canvas[4:], uint32(len(canvas)-8))
	out["WebP, animated"] = canvas
	return out
}

func TestDeclaredPixelsAreBounded(t *testing.T) {
	// Not parallel: it counts what the program allocates.
	c := NewCodec(0)
	for _, size := range []image.Point{{3073, 3072}, {3072, 3073}, {20000, 20000}, {16000, 16000}, {65535, 65535}} {
		for name, data := range oversized(size.X, size.Y) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := c.Transcode(t.Context(), data, MaxSourcePixels, SourceQuality)
			_, err2 := c.Decode(t.Context(), data, MaxSourcePixels)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrTooManyPixels) || !errors.Is(err2, ErrTooManyPixels) {
				t.Errorf("%s of %v: %v, %v; want ErrTooManyPixels", name, size, err, err2)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%s of %v: refusing took %d bytes", name, size, n)
			}
		}
	}
	for name, data := range oversized(3072, 3072) {
		if _, err := c.Decode(t.Context(), data, MaxSourcePixels); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s of 3072x3072: %v, want ErrCorrupt, for nothing follows the header", name, err)
		}
	}
	if _, _, err := c.Transcode(t.Context(), pngOf(t, image.NewGray(image.Rect(0, 0, maxSide+1, 1))), MaxSourcePixels, SourceQuality); !errors.Is(err, ErrTooManyPixels) {
		t.Errorf("a side too long for WebP: %v, want ErrTooManyPixels", err)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	c := NewCodec(0)
	good := webpOf(t, gradient(64, 48), false)
	flipped := bytes.Clone(webpOf(t, gradient(64, 48), true))
	for i := 30; i < len(flipped); i++ {
		flipped[i] ^= 0xa5
	}
	tests := []struct {
		name string
		data []byte
		want error
	}{
		{"sound", good, nil},
		{"sound with bytes behind it", append(bytes.Clone(good), "junk"...), nil},
		{"empty", nil, ErrNotImage},
		{"any bytes", []byte("hello"), ErrNotImage},
		{"a sound PNG", pngOf(t, gradient(64, 48)), ErrNotImage},
		{"a header", good[:12], ErrCorrupt},
		{"cut off", good[:len(good)/2], ErrCorrupt},
		{"cut off by a byte", good[:len(good)-1], ErrCorrupt},
		{"damaged", flipped, ErrCorrupt},
	}
	for _, tt := range tests {
		info, err := c.Verify(t.Context(), tt.data, MaxResultPixels)
		if !errors.Is(err, tt.want) || (err == nil && info != Info{WebP, 64, 48, 3}) {
			t.Errorf("%s: %+v, %v; want %v", tt.name, info, err, tt.want)
		}
	}
	if _, err := c.Verify(t.Context(), good, 64*48-1); !errors.Is(err, ErrTooManyPixels) {
		t.Errorf("above the bound: %v", err)
	}
}

// The chunk lengths say that everything is there, the data says otherwise.
func TestShortenedWebP(t *testing.T) {
	t.Parallel()
	c := NewCodec(0)
	for _, lossless := range []bool{false, true} {
		s := must[still](t)(stillWebP(webpOf(t, gradient(200, 200), lossless)))
		s.bits = s.bits[:len(s.bits)*3/4]
		if _, err := c.Verify(t.Context(), s.container(), MaxResultPixels); !errors.Is(err, ErrCorrupt) {
			t.Errorf("lossless %v: %v, want ErrCorrupt", lossless, err)
		}
	}
}

// WebP with code tables that no encoder makes, the shape of the attacks of 2023 (field problem B083): over-full, missing
// and self-contradicting Huffman trees.
func TestHostileHuffmanTables(t *testing.T) {
	t.Parallel()
	c := NewCodec(0)
	head := []byte{0x2f, 0x0f, 0xc0, 0x03, 0x00} // 16x16, no alpha
	for name, tables := range map[string][]byte{
		"no tables":         {},
		"all ones":          bytes.Repeat([]byte{0xff}, 400),
		"all zeros":         bytes.Repeat([]byte{0x00}, 400),
		"full colour cache": append([]byte{0x58}, bytes.Repeat([]byte{0xff}, 400)...),
		"alternating":       bytes.Repeat([]byte{0x55, 0xaa}, 200),
		"long codes":        bytes.Repeat([]byte{0xf8, 0x3f, 0x01}, 200),
	} {
		s := still{bits: append(bytes.Clone(head), tables...)}
		_, err := c.Verify(t.Context(), s.container(), MaxResultPixels)
		if name == "all zeros" {
			continue // which happens to be a picture of one colour
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

func TestSniff(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t) {
		if got := Sniff(s.data); got != s.format {
			t.Errorf("%s: %q", s.name, got)
		}
	}
	for _, text := range []string{"", "B", "BM", "BMW is a car", "GIF", "RIFF....WAVE", "<svg>", "\xff\xd8", "R2", "II*"} {
		if got := Sniff([]byte(text)); got != "" {
			t.Errorf("%q is taken for %s", text, got)
		}
	}
}

// manyScans is a progressive JPEG of w x h pixels whose scans each walk over the whole picture for a few bytes.
func manyScans(w, h, scans int) []byte {
	out := []byte{0xff, 0xd8,
		0xff, 0xc2, 0, 11, 8, byte(h >> 8), byte(h), byte(w >> 8), byte(w), 1, 1, 0x11, 0,
		// An AC table of one code of one bit: "the next 16384 to 32767 blocks are empty".
		0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe0,
	}
	blocks := ((w + 7) / 8) * ((h + 7) / 8)
	var bits []byte
	var n int
	push := func(v uint32, width int) {
		for i := width - 1; i >= 0; i-- {
			if n%8 == 0 {
				bits = append(bits, 0)
			}
			bits[n/8] |= byte(v>>i&1) << (7 - n%8)
			n++
		}
	}
	for ; blocks > 0; blocks -= 1<<14 + 1<<13 {
		push(0, 1)
		push(1<<13, 14)
	}
	scan := append([]byte{0xff, 0xda, 0, 8, 1, 1, 0, 1, 63, 0}, bits...)
	return append(append(out, bytes.Repeat(scan, scans)...), 0xff, 0xd9)
}

func TestDecodingIsBoundedInTime(t *testing.T) {
	t.Parallel()
	bomb := manyScans(3072, 3072, 100_000)
	if _, err := NewCodec(1).Decode(t.Context(), manyScans(256, 256, 3), MaxSourcePixels); err != nil {
		t.Fatalf("a few scans: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := NewCodec(1).Decode(ctx, bomb, MaxSourcePixels)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want DeadlineExceeded", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	t.Parallel()
	c := NewCodec(1)
	leave, err := c.enter(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	data := pngOf(t, gradient(8, 8))
	for range 4 {
		wg.Go(func() {
			if _, _, err := c.Transcode(ctx, data, MaxSourcePixels, SourceQuality); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want Canceled", err)
			}
		})
	}
	cancel()
	wg.Wait()
	leave()
	if _, _, err := c.Transcode(t.Context(), data, MaxSourcePixels, SourceQuality); err != nil {
		t.Error(err)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := NewCodec(2)
	list := samples(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := list[i*3%len(list)]
			out, _, err := c.Transcode(t.Context(), s.data, MaxSourcePixels, ResultQuality)
			if err != nil {
				t.Errorf("%s: %v", s.name, err)
				return
			}
			if _, err := c.Verify(t.Context(), out, MaxSourcePixels); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		})
	}
	wg.Wait()
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.data)
	}
	for _, data := range oversized(3072, 3072) {
		f.Add(data)
	}
	f.Add(manyScans(64, 64, 2))
	c := NewCodec(1)
	f.Fuzz(func(t *testing.T, data []byte) {
		const maxPixels = 1 << 18
		p, err := c.Decode(t.Context(), data, maxPixels)
		if err == nil && (p.Width*p.Height > maxPixels || len(p.Pix) != 4*p.Width*p.Height || p.Rect != image.Rect(0, 0, p.Width, p.Height) ||
			(p.Channels != 3 && p.Channels != 4)) {
			t.Fatalf("decoded to %+v, %v, %d bytes", p.Info, p.Rect, len(p.Pix))
		}
		if err != nil && !errors.Is(err, ErrNotImage) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooManyPixels) {
			t.Fatalf("undocumented error %v", err)
		}
		if info, verr := c.Verify(t.Context(), data, maxPixels); (verr == nil) != (err == nil && info.Format == WebP) && Sniff(data) == WebP {
			t.Fatalf("Decode says %v, Verify says %v", err, verr)
		}
	})
}
