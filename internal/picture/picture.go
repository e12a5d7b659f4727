// SPDX-License-Identifier: AGPL-3.0-or-later

// Package picture decodes images that strangers send, and encodes WebP, the one format that a horde stores.
//
// What comes in is hostile. The size that a file declares is judged before a pixel is allocated; formats are told by
// their first bytes and decoded by decoders written in Go, so that a flaw in one is an error and not a way into the
// machine; a decoder that panics or takes too long is an error too; and a [Codec] lets only as many run as there are
// processors, so that neither memory nor time grow with the number of requests.
//
// What is seen in a picture stays as it is: of an animation the first frame counts, a turn demanded by EXIF is not
// applied, transparency is kept together with the colours below it (which inpainting needs), and colour profiles and
// other metadata are dropped.
package picture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"
)

// Bounds on pixels (width times height).
const (
	// MaxSourcePixels bounds source images, masks and images for alchemy.
	MaxSourcePixels = 3072 * 3072
	// MaxResultPixels bounds results: the largest picture that a horde makes, 2048x2048, scaled up by four.
	MaxResultPixels = 8192 * 8192
)

// Qualities of lossy WebP, 0 to 100.
const (
	SourceQuality = 50
	ResultQuality = 95
)

// A decoding may take decodeTime and decodeTimePerPixel for each pixel. An honest one takes a tenth of that on a slow
// machine; but a JPEG of 2 MB can hold 100,000 passes over its picture, which are minutes of work.
const (
	decodeTime         = 3 * time.Second
	decodeTimePerPixel = 500 * time.Nanosecond
)

// Errors of this package, for errors.Is.
var (
	// ErrNotImage means that the bytes are in none of the formats that Sniff knows.
	ErrNotImage = errors.New("not an image")
	// ErrCorrupt means that the bytes begin like an image but are broken, incomplete, of a variety that is not
	// supported, or take too long to decode.
	ErrCorrupt = errors.New("the image is corrupt or not supported")
	// ErrTooManyPixels means that the image declares more pixels than are permitted, or a side that is too long for
	// WebP.
	ErrTooManyPixels = errors.New("the image has too many pixels")
)

// Format is a file format of images: "png", "jpeg", "gif", "webp", "bmp" or "tiff"; "" means none of them.
type Format string

// The formats that can be decoded.
const (
	PNG  Format = "png"
	JPEG Format = "jpeg"
	GIF  Format = "gif"
	WebP Format = "webp"
	BMP  Format = "bmp"
	TIFF Format = "tiff"
)

// Sniff tells the format of an image by its first bytes. It says nothing about the rest.
func Sniff(data []byte) Format {
	for _, magic := range []struct {
		format Format
		prefix string
	}{
		{PNG, "\x89PNG\r\n\x1a\n"},
		{JPEG, "\xff\xd8\xff"},
		{GIF, "GIF87a"},
		{GIF, "GIF89a"},
		{TIFF, "II*\x00"},
		{TIFF, "MM\x00*"},
	} {
		if bytes.HasPrefix(data, []byte(magic.prefix)) {
			return magic.format
		}
	}
	switch {
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return WebP
	case len(data) >= 10 && string(data[:2]) == "BM" && string(data[6:10]) == "\x00\x00\x00\x00":
		return BMP
	}
	return ""
}

// Info describes an image.
type Info struct {
	Format        Format
	Width, Height int // pixels
	// Channels is 4 for an image with transparency, whether or not a pixel makes use of it, and 3 for any other.
	Channels int
}

func (i Info) pixels() int64 { return int64(i.Width) * int64(i.Height) }

// Picture is a decoded image. Its origin is (0, 0) and its rows follow each other without gaps.
type Picture struct {
	Info
	*image.NRGBA
}

// Codec decodes and encodes, on at most as many processors as it was made for. It is safe for concurrent use. Waiting
// for a turn ends with the context, whose error is then returned as it is.
type Codec struct {
	slots *semaphore.Weighted
	all   int64
}

// NewCodec returns a codec that runs on workers processors at once; 0 means on all that the program may use. A source
// image of the largest size needs about 300 MB while its turn lasts.
func NewCodec(workers int) *Codec {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &Codec{slots: semaphore.NewWeighted(int64(workers)), all: int64(workers)}
}

// enter waits for a turn and returns what ends it. Pictures larger than sources may be run alone: the others leave them
// the memory.
func (c *Codec) enter(ctx context.Context, pixels int64) (leave func(), err error) {
	n := int64(1)
	if pixels > MaxSourcePixels {
		n = c.all
	}
	if err := c.slots.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { c.slots.Release(n) }, nil
}

// Decode decodes data if it declares at most maxPixels. ErrNotImage, ErrTooManyPixels, ErrCorrupt.
func (c *Codec) Decode(ctx context.Context, data []byte, maxPixels int) (*Picture, error) {
	info, err := inspect(data, maxPixels)
	if err != nil {
		return nil, err
	}
	leave, err := c.enter(ctx, info.pixels())
	if err != nil {
		return nil, err
	}
	defer leave()
	return decode(ctx, data, info)
}

// Encode returns m as lossy WebP. Colours below full transparency are kept. ErrTooManyPixels where a side is too long.
func (c *Codec) Encode(ctx context.Context, m image.Image, quality int) ([]byte, error) {
	size := m.Bounds().Size()
	leave, err := c.enter(ctx, int64(size.X)*int64(size.Y))
	if err != nil {
		return nil, err
	}
	defer leave()
	return encode(toNRGBA(m, image.Rectangle{Max: size}), quality)
}

// Transcode decodes data if it declares at most maxPixels and encodes it as lossy WebP, both in one turn. The Info is
// that of data. Errors are those of Decode.
func (c *Codec) Transcode(ctx context.Context, data []byte, maxPixels, quality int) ([]byte, Info, error) {
	info, err := inspect(data, maxPixels)
	if err != nil {
		return nil, Info{}, err
	}
	if info.Width > maxSide || info.Height > maxSide {
		return nil, Info{}, ErrTooManyPixels
	}
	leave, err := c.enter(ctx, info.pixels())
	if err != nil {
		return nil, Info{}, err
	}
	defer leave()
	p, err := decode(ctx, data, info)
	if err != nil {
		return nil, Info{}, err
	}
	out, err := encode(p.NRGBA, quality)
	return out, p.Info, err
}

// Verify decodes data, which must be WebP, to see that it is sound, and describes it. ErrNotImage for any other format,
// ErrTooManyPixels, ErrCorrupt.
func (c *Codec) Verify(ctx context.Context, data []byte, maxPixels int) (Info, error) {
	info, err := InspectWebP(data)
	if err != nil {
		return Info{}, err
	}
	if info.pixels() > int64(maxPixels) {
		return Info{}, ErrTooManyPixels
	}
	leave, err := c.enter(ctx, info.pixels())
	if err != nil {
		return Info{}, err
	}
	defer leave()
	_, err = decodeRaw(ctx, data, info)
	return info, err
}

// Inspect reads format, width and height from the header of an image; Channels is 0 where only decoding tells. It costs
// microseconds. ErrNotImage, ErrCorrupt.
func Inspect(data []byte) (Info, error) {
	format := Sniff(data)
	switch format {
	case "":
		return Info{}, ErrNotImage
	case WebP:
		return InspectWebP(data)
	}
	cfg, err := guard(func() (image.Config, error) { return decoders[format].config(bytes.NewReader(data)) })
	if err != nil {
		return Info{}, corrupt(err)
	}
	// A decoder that hands out no size, or one whose product wraps, would get past any bound.
	if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > 1<<31-1 || cfg.Height > 1<<31-1 {
		return Info{}, corrupt(errors.New("no size"))
	}
	return Info{Format: format, Width: cfg.Width, Height: cfg.Height}, nil
}

// inspect is Inspect with a bound.
func inspect(data []byte, maxPixels int) (Info, error) {
	info, err := Inspect(data)
	if err == nil && info.pixels() > int64(maxPixels) {
		err = ErrTooManyPixels
	}
	return info, err
}

// corrupt keeps the reason of a decoder for the log, behind ErrCorrupt.
func corrupt(err error) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}
