// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/png"
	"math"

	xdraw "golang.org/x/image/draw"

	"horde/internal/picture"
)

// MaxPixels bounds the pictures of inference servers before they are decoded.
const MaxPixels = picture.MaxResultPixels

// webpSide is the longest side in pixels that WebP can hold.
const webpSide = 16383

// codec bounds how many pictures are decoded and encoded at once.
var codec = picture.NewCodec(0)

// Decode reads a picture of at most limit pixels, in any format that package picture knows, and turns it upright by its
// EXIF orientation. The header is judged before any memory is taken for pixels.
func Decode(data []byte, limit int) (*image.NRGBA, error) {
	p, err := codec.Decode(context.Background(), data, limit)
	if err != nil {
		return nil, err
	}
	if p.Format == picture.JPEG {
		return turn(p.NRGBA, orientation(data)), nil
	}
	return p.NRGBA, nil
}

// lanczos is the three-lobed kernel that source pictures are resized with.
var lanczos = xdraw.Kernel{Support: 3, At: func(t float64) float64 {
	if t == 0 {
		return 1
	}
	x := math.Pi * t
	return 3 * math.Sin(x) * math.Sin(x/3) / (x * x)
}}

// Resize brings a picture to a size without keeping its aspect.
func Resize(m *image.NRGBA, s Size) *image.NRGBA {
	if m.Rect.Dx() == s.W && m.Rect.Dy() == s.H {
		return m
	}
	out := image.NewNRGBA(image.Rect(0, 0, s.W, s.H))
	lanczos.Scale(out, out.Rect, m, m.Rect, xdraw.Src, nil)
	return out
}

// EncodePNG writes a picture for a server. Speed counts more than size: it stays on this machine or network.
func EncodePNG(m image.Image) ([]byte, error) {
	var b bytes.Buffer
	err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, m)
	return b.Bytes(), err
}

// EncodeWebP writes a result as lossy WebP without metadata; an alpha channel is kept. A picture with a side above what
// WebP can hold is scaled down, and scaled is true.
func EncodeWebP(m *image.NRGBA) (data []byte, scaled bool, err error) {
	if w, h := m.Rect.Dx(), m.Rect.Dy(); max(w, h) > webpSide {
		f := float64(webpSide) / float64(max(w, h))
		m, scaled = Resize(m, Size{max(1, int(float64(w)*f)), max(1, int(float64(h)*f))}), true
	}
	data, err = codec.Encode(context.Background(), m, picture.ResultQuality)
	return data, scaled, err
}

// IsWebP reports whether data starts as a WebP file does.
func IsWebP(data []byte) bool {
	return len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP"
}

// StripWebP returns a WebP file without EXIF, XMP and colour profile, which may hold prompts and paths.
func StripWebP(data []byte) ([]byte, error) {
	if !IsWebP(data) {
		return nil, errors.New("not a WebP file")
	}
	end := min(len(data), int(binary.LittleEndian.Uint32(data[4:]))+8)
	out := append([]byte{}, data[:12]...)
	for at := 12; at+8 <= end; {
		size := int(binary.LittleEndian.Uint32(data[at+4:]))
		next := at + 8 + size + size&1
		if size < 0 || next > end+1 || at+8+size > end {
			return nil, errors.New("broken WebP file")
		}
		chunk := data[at:min(next, end)]
		switch string(data[at : at+4]) {
		case "EXIF", "XMP ", "ICCP":
		case "VP8X":
			c := append([]byte{}, chunk...)
			if len(c) > 8 {
				const icc, exif, xmp = 0x20, 0x08, 0x04
				c[8] &^= icc | exif | xmp
			}
			out = append(out, c...)
		default:
			out = append(out, chunk...)
		}
		if size&1 == 1 && next > end {
			out = append(out, 0)
		}
		at = next
	}
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out, nil
}

// orientation returns the EXIF orientation of a JPEG, 1..8, and 1 where there is none.
func orientation(jpeg []byte) int {
	const app1, sos, tagOrientation = 0xE1, 0xDA, 0x0112
	for at := 2; at+4 <= len(jpeg) && jpeg[at] == 0xFF && jpeg[at+1] != sos; {
		size := int(binary.BigEndian.Uint16(jpeg[at+2:]))
		if size < 2 || at+2+size > len(jpeg) {
			break
		}
		seg := jpeg[at+4 : at+2+size]
		if jpeg[at+1] == app1 && len(seg) > 14 && string(seg[:6]) == "Exif\x00\x00" {
			tiff := seg[6:]
			var order binary.ByteOrder = binary.BigEndian
			if string(tiff[:2]) == "II" {
				order = binary.LittleEndian
			}
			dir := int(order.Uint32(tiff[4:]))
			if dir < 8 || dir+2 > len(tiff) {
				return 1
			}
			for i := range int(order.Uint16(tiff[dir:])) {
				e := dir + 2 + 12*i
				if e+12 > len(tiff) {
					break
				}
				if order.Uint16(tiff[e:]) == tagOrientation {
					if o := int(order.Uint16(tiff[e+8:])); o >= 1 && o <= 8 {
						return o
					}
				}
			}
			return 1
		}
		at += 2 + size
	}
	return 1
}

// turn makes a picture upright whose EXIF orientation is o.
func turn(m *image.NRGBA, o int) *image.NRGBA {
	if o <= 1 {
		return m
	}
	w, h := m.Rect.Dx(), m.Rect.Dy()
	ow, oh := w, h
	if o >= 5 {
		ow, oh = h, w
	}
	out := image.NewNRGBA(image.Rect(0, 0, ow, oh))
	for y := range oh {
		for x := range ow {
			var sx, sy int
			switch o {
			case 2:
				sx, sy = w-1-x, y
			case 3:
				sx, sy = w-1-x, h-1-y
			case 4:
				sx, sy = x, h-1-y
			case 5:
				sx, sy = y, x
			case 6:
				sx, sy = y, h-1-x
			case 7:
				sx, sy = w-1-y, h-1-x
			case 8:
				sx, sy = w-1-y, x
			}
			out.SetNRGBA(x, y, m.NRGBAAt(sx, sy))
		}
	}
	return out
}
