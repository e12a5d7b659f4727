// SPDX-License-Identifier: AGPL-3.0-or-later

package picture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"

	"github.com/gen2brain/webp"
	xwebp "golang.org/x/image/webp"
)

// maxSide is the longest side that WebP can have, in pixels.
const maxSide = 16383

// encodeMethod is libwebp's trade of time for size, from 0 (fast) to 6. At quality 95 a picture of one megapixel takes
// 0.2 s at 0 and 0.7 s at 4 (WebAssembly), which makes a file 4 % smaller: on a server that volunteers run, time is
// dearer.
const encodeMethod = 0

// Warm compiles the encoder, which takes about a second of one processor and otherwise happens at the first use. It
// returns when the encoder is ready; servers call it in the background after they have started.
func Warm() { webp.Init() }

// Encoder names what encodes WebP on this machine, for a line in the log: the system's libwebp where the dynamic linker
// finds libwebp.so and libwebpdemux.so (Debian: libwebp-dev), and the same library compiled to WebAssembly anywhere else.
// The system's is five times as fast: 25 ms instead of 120 ms for a megapixel at quality 50. It is given pixels only,
// never a file.
func Encoder() string {
	if webp.Dynamic() == nil {
		return "libwebp (system)"
	}
	return "libwebp (WebAssembly)"
}

// encode returns m, whose origin is (0, 0) and whose rows have no gaps, as lossy WebP.
func encode(m *image.NRGBA, quality int) ([]byte, error) {
	if m.Rect.Dx() > maxSide || m.Rect.Dy() > maxSide || m.Rect.Empty() {
		return nil, ErrTooManyPixels
	}
	var out bytes.Buffer
	// Exact keeps the colours below full transparency: they are what inpainting starts from.
	if err := webp.Encode(&out, m, webp.Options{Quality: quality, Method: encodeMethod, Exact: true}); err != nil {
		return nil, fmt.Errorf("encode WebP: %w", err)
	}
	// The encoder has no good way to say that it ran out of memory.
	if _, err := stillWebP(out.Bytes()); err != nil {
		return nil, fmt.Errorf("encode WebP: %w", err)
	}
	return out.Bytes(), nil
}

// still is the image in a WebP file, or its first frame: where it lies on the canvas and the chunks that hold it.
type still struct {
	canvas image.Rectangle // origin (0, 0)
	frame  image.Rectangle // within canvas
	alpha  []byte          // payload of ALPH, nil if there is none
	lossy  bool            // whether bits is VP8 or VP8L
	bits   []byte          // payload of VP8 or VP8L
	opaque bool            // whether no pixel can be transparent
}

// InspectWebP reads the structure of a WebP file without decoding it: sizes, and that all that belongs to the image (the
// first frame of an animation) is there. It costs microseconds. ErrNotImage, ErrCorrupt.
func InspectWebP(data []byte) (Info, error) {
	if Sniff(data) != WebP {
		return Info{}, ErrNotImage
	}
	s, err := stillWebP(data)
	if err != nil {
		return Info{}, corrupt(err)
	}
	info := Info{Format: WebP, Width: s.canvas.Dx(), Height: s.canvas.Dy(), Channels: 4}
	if s.opaque {
		info.Channels = 3
	}
	return info, nil
}

// decodeWebP decodes with the decoder written in Go, never with libwebp, whose flaws were used for attacks. That decoder
// knows still images only, so it is given the first frame in a container of its own.
func decodeWebP(ctx context.Context, data []byte) (image.Image, error) {
	s, err := stillWebP(data)
	if err != nil {
		return nil, err
	}
	m, err := xwebp.Decode(timedReader{ctx, bytes.NewReader(s.container())})
	if err != nil {
		return nil, err
	}
	if m.Bounds().Size() != s.frame.Size() {
		return nil, errors.New("the frame has another size than announced")
	}
	if s.frame == s.canvas {
		return m, nil
	}
	part := toNRGBA(m, image.Rectangle{Max: s.frame.Size()})
	part.Rect = s.frame
	return part, nil
}

// container writes s as a still WebP file.
func (s still) container() []byte {
	out := append(make([]byte, 0, 64+len(s.alpha)+len(s.bits)), "RIFF\x00\x00\x00\x00WEBP"...)
	chunk := func(id string, payload []byte) {
		out = append(out, id...)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(payload)))
		out = append(out, payload...)
		if len(payload)%2 == 1 {
			out = append(out, 0)
		}
	}
	switch {
	case !s.lossy:
		chunk("VP8L", s.bits)
	case s.alpha == nil:
		chunk("VP8 ", s.bits)
	default:
		const hasAlpha = 1 << 4
		w, h := s.frame.Dx()-1, s.frame.Dy()-1
		chunk("VP8X", []byte{hasAlpha, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)})
		chunk("ALPH", s.alpha)
		chunk("VP8 ", s.bits)
	}
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out
}

// stillWebP finds the image, or the first frame, in a WebP file.
func stillWebP(data []byte) (still, error) {
	if Sniff(data) != WebP {
		return still{}, ErrNotImage
	}
	size := int64(binary.LittleEndian.Uint32(data[4:]))
	if size < 4 || size+8 > int64(len(data)) {
		return still{}, errors.New("the file is incomplete")
	}
	var s still
	var extended bool
	for rest := data[12 : size+8]; len(rest) > 0; {
		id, payload, next, err := nextChunk(rest)
		if err != nil {
			return still{}, err
		}
		rest = next
		switch id {
		case "VP8X":
			if extended || len(payload) != 10 {
				return still{}, errors.New("bad VP8X chunk")
			}
			extended = true
			s.canvas.Max = image.Pt(uint24(payload[4:])+1, uint24(payload[7:])+1)
		case "ALPH":
			s.alpha = payload
		case "VP8 ", "VP8L":
			if err := s.setBits(id, payload); err != nil {
				return still{}, err
			}
			if !extended {
				s.canvas = s.frame
			}
			if s.canvas != s.frame {
				return still{}, errors.New("canvas and image differ in size")
			}
			return s, nil
		case "ANMF":
			if !extended {
				return still{}, errors.New("animation without canvas")
			}
			return s.firstFrame(payload)
		}
	}
	return still{}, errors.New("there is no image")
}

// firstFrame reads an ANMF chunk into s, whose canvas is known.
func (s still) firstFrame(payload []byte) (still, error) {
	const headerLen = 16 // position, size, duration, flags
	if len(payload) < headerLen {
		return still{}, errors.New("bad ANMF chunk")
	}
	at := image.Pt(2*uint24(payload), 2*uint24(payload[3:]))
	size := image.Pt(uint24(payload[6:])+1, uint24(payload[9:])+1)
	s.alpha = nil
	for rest := payload[headerLen:]; len(rest) > 0; {
		id, payload, next, err := nextChunk(rest)
		if err != nil {
			return still{}, err
		}
		rest = next
		switch id {
		case "ALPH":
			s.alpha = payload
		case "VP8 ", "VP8L":
			if err := s.setBits(id, payload); err != nil {
				return still{}, err
			}
			if s.frame.Size() != size {
				return still{}, errors.New("frame and image differ in size")
			}
			s.frame = s.frame.Add(at)
			if !s.frame.In(s.canvas) {
				return still{}, errors.New("frame outside of the canvas")
			}
			s.opaque = s.opaque && s.frame == s.canvas
			return s, nil
		}
	}
	return still{}, errors.New("there is no image in the frame")
}

// setBits reads the size from the payload of a VP8 or VP8L chunk.
func (s *still) setBits(id string, payload []byte) error {
	s.bits, s.lossy = payload, id == "VP8 "
	if s.lossy {
		const headerLen = 10 // frame tag, start code, width, height
		if len(payload) < headerLen || payload[0]&1 != 0 || string(payload[3:6]) != "\x9d\x01\x2a" {
			return errors.New("bad VP8 chunk")
		}
		if firstPartition := uint24(payload) >> 5; firstPartition > len(payload)-headerLen {
			return errors.New("the image is incomplete")
		}
		const sizeMask = 1<<14 - 1 // above it are hints for scaling
		s.frame.Max = image.Pt(int(binary.LittleEndian.Uint16(payload[6:]))&sizeMask, int(binary.LittleEndian.Uint16(payload[8:]))&sizeMask)
		s.opaque = s.alpha == nil
	} else {
		const headerLen = 5 // signature, width, height, alpha, version
		if len(payload) < headerLen || payload[0] != 0x2f || payload[4]>>5 != 0 {
			return errors.New("bad VP8L chunk")
		}
		const sizeBits, sizeMask = 14, 1<<14 - 1
		v := binary.LittleEndian.Uint32(payload[1:])
		s.frame.Max = image.Pt(int(v&sizeMask)+1, int(v>>sizeBits&sizeMask)+1)
		s.alpha = nil // a lossless image has its own
		s.opaque = v>>(2*sizeBits)&1 == 0
	}
	s.frame.Min = image.Point{}
	if s.frame.Empty() {
		return errors.New("the image has no size")
	}
	return nil
}

// nextChunk splits a RIFF chunk off.
func nextChunk(data []byte) (id string, payload, rest []byte, err error) {
	const headerLen = 8
	if len(data) < headerLen {
		return "", nil, nil, errors.New("a chunk is incomplete")
	}
	size := int64(binary.LittleEndian.Uint32(data[4:]))
	if size > int64(len(data)-headerLen) {
		return "", nil, nil, errors.New("a chunk is incomplete")
	}
	end := headerLen + int(size)
	// Chunks are padded to even lengths; some writers forget the last one.
	return string(data[:4]), data[headerLen:end], data[min(end+end%2, len(data)):], nil
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
