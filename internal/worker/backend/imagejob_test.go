// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"testing"

	"github.com/gen2brain/webp"

	"horde/client"
)

func fill(w, h int, c color.NRGBA) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

func job(f func(*client.ImageJob)) client.ImageJob {
	j := client.ImageJob{Job: client.Job{ID: "a", IDs: []string{"a"}, Model: "m"}, SourceProcessing: "img2img"}
	j.Payload.Prompt, j.Payload.Seed = "p", "1"
	if f != nil {
		f(&j)
	}
	return j
}

func seven() uint32 { return 7 }

// Worked example 2: a plain job that says img2img and carries a denoising strength.
func TestTextToImageThatSaysImg2Img(t *testing.T) {
	t.Parallel()
	j, meta := NewImageJob("k", job(func(j *client.ImageJob) { j.Payload.DenoisingStrength = new(0.75) }), Model{Baseline: SD1}, Sources{}, seven)
	if j.Mode != TextToImage || j.Denoise != 1 || len(meta) != 0 || j.Source != nil {
		t.Errorf("got %+v, %v", j, meta)
	}
}

func TestValuesAreBroughtIntoRange(t *testing.T) {
	t.Parallel()
	j, _ := NewImageJob("k", job(func(j *client.ImageJob) {
		p := &j.Payload
		p.Seed, p.Steps, p.Width, p.Height, p.CFGScale, p.ClipSkip = "nonsense", new(0), new(520), new(100000), new(0.2), new(99)
		p.HiresFixDenoisingStrength, p.FacefixerStrength = new(-3.0), new(9.0)
	}), Model{Baseline: SD1}, Sources{}, seven)
	if j.Seed != 7 || j.Steps != 1 || j.Width != 576 || j.Height != 8192 || j.CFG != 1 || j.ClipSkip != 20 || j.HiresDenoise != 0.01 || j.FaceStrength != 1 {
		t.Errorf("got %+v", j)
	}
	j, _ = NewImageJob("k", client.ImageJob{}, Model{}, Sources{}, seven)
	if j.Steps != 30 || j.Width != 512 || j.CFG != 8 || j.Count != 1 || j.Sampler != "k_euler" || j.ClipSkip != 1 {
		t.Errorf("an empty payload gave %+v", j)
	}
}

// The table of section 6.1.
func TestModes(t *testing.T) {
	t.Parallel()
	red := color.NRGBA{200, 0, 0, 255}
	full, holed := fill(80, 80, red), fill(80, 80, color.NRGBA{0, 200, 0, 0})
	mask := fill(80, 80, color.NRGBA{255, 255, 255, 255})
	for name, tc := range map[string]struct {
		src     Sources
		process string
		model   Model
		control string
		want    Mode
		meta    int
	}{
		"no picture":                        {Sources{}, "inpainting", Model{}, "", TextToImage, 0},
		"picture":                           {Sources{Image: full}, "img2img", Model{}, "", ImageToImage, 0},
		"picture and mask, img2img":         {Sources{Image: full, Mask: mask}, "img2img", Model{}, "", MaskedImage, 0},
		"picture with holes, img2img":       {Sources{Image: holed}, "img2img", Model{}, "", MaskedImage, 0},
		"picture and mask, inpainting":      {Sources{Image: full, Mask: mask}, "inpainting", Model{}, "", Paint, 0},
		"picture with holes, outpainting":   {Sources{Image: holed}, "outpainting", Model{}, "", Paint, 0},
		"inpainting without mask":           {Sources{Image: full}, "inpainting", Model{}, "", ImageToImage, 0},
		"remix on cascade":                  {Sources{Image: full}, "remix", Model{Baseline: StableCascade}, "", Remixed, 0},
		"remix elsewhere":                   {Sources{Image: full}, "remix", Model{Baseline: SDXL}, "", ImageToImage, 0},
		"control":                           {Sources{Image: full}, "img2img", Model{}, "canny", Control, 0},
		"control without picture":           {Sources{}, "img2img", Model{}, "canny", TextToImage, 0},
		"inpainting model without anything": {Sources{}, "img2img", Model{Inpainting: true}, "", Paint, 1},
		"inpainting model without mask":     {Sources{Image: full}, "img2img", Model{Inpainting: true}, "", Paint, 1},
		"inpainting model, holes":           {Sources{Image: holed}, "img2img", Model{Inpainting: true}, "", Paint, 0},
	} {
		j, meta := NewImageJob("k", job(func(j *client.ImageJob) {
			j.SourceProcessing, j.Payload.ControlType = tc.process, tc.control
			j.Payload.Width, j.Payload.Height, j.Payload.DenoisingStrength = new(128), new(64), new(0.5)
		}), tc.model, tc.src, seven)
		if j.Mode != tc.want || len(meta) != tc.meta {
			t.Errorf("%s: mode %d with %v, want %d", name, j.Mode, meta, tc.want)
		}
		if j.Mode != TextToImage && (j.Source == nil || j.Source.Rect.Dx() != 128 || j.Source.Rect.Dy() != 64) {
			t.Errorf("%s: source not at 128x64", name)
		}
		if (j.Mode == Paint || j.Mode == MaskedImage) && j.Mask == nil {
			t.Errorf("%s: no mask", name)
		}
		if wantDenoise := tc.src.Image != nil && j.Mode != Control; (j.Denoise == 0.5) != wantDenoise {
			t.Errorf("%s: denoise %v", name, j.Denoise)
		}
	}
}

// Worked example 13: white is repainted, which is alpha 0 in the picture for ComfyUI. Transparent pixels are repainted
// where there is no mask.
func TestMask(t *testing.T) {
	t.Parallel()
	mask := fill(64, 64, color.NRGBA{0, 0, 0, 255})
	for y := range 64 {
		for x := range 32 {
			mask.SetNRGBA(x, y, color.NRGBA{255, 255, 255, 255})
		}
	}
	small := func(j *client.ImageJob) {
		j.SourceProcessing, j.Payload.Width, j.Payload.Height = "inpainting", new(64), new(64)
	}
	j, _ := NewImageJob("k", job(small), Model{}, Sources{Image: fill(64, 64, color.NRGBA{1, 2, 3, 255}), Mask: mask}, seven)
	with := j.WithMask()
	if j.Mask.GrayAt(5, 5).Y != 255 || with.NRGBAAt(5, 5).A != 0 || j.Mask.GrayAt(60, 5).Y != 0 || with.NRGBAAt(60, 5).A != 255 || with.NRGBAAt(5, 5).G != 2 {
		t.Errorf("mask %v, picture %v and %v", j.Mask.GrayAt(5, 5), with.NRGBAAt(5, 5), with.NRGBAAt(60, 5))
	}
	holed := fill(64, 64, color.NRGBA{9, 9, 9, 255})
	holed.SetNRGBA(10, 10, color.NRGBA{9, 9, 9, 0})
	j, _ = NewImageJob("k", job(small), Model{}, Sources{Image: holed}, seven)
	if j.Mask.GrayAt(10, 10).Y != 255 || j.Mask.GrayAt(11, 10).Y != 0 || j.Source.NRGBAAt(10, 10).A != 255 {
		t.Errorf("hole: mask %v, picture %v", j.Mask.GrayAt(10, 10), j.Source.NRGBAAt(10, 10))
	}
}

// Worked example 8, end to end, and the size that sources get then.
func TestHiresJob(t *testing.T) {
	t.Parallel()
	hires := func(j *client.ImageJob) {
		j.Payload.HiresFix, j.Payload.Width, j.Payload.Height, j.Payload.Steps = true, new(768), new(1152), new(30)
	}
	j, _ := NewImageJob("k", job(hires), Model{Baseline: SD1}, Sources{}, seven)
	if !j.Hires || j.First != (Size{512, 768}) || j.HiresSteps != 14 || j.HiresDenoise != 0.65 {
		t.Errorf("got %+v", j)
	}
	j, _ = NewImageJob("k", job(func(j *client.ImageJob) { hires(j); j.Payload.DenoisingStrength = new(0.4) }), Model{Baseline: SD1},
		Sources{Image: fill(10, 10, color.NRGBA{0, 0, 0, 255})}, seven)
	if j.HiresDenoise != 0.4 || j.Source.Rect.Dx() != 512 || j.Source.Rect.Dy() != 768 {
		t.Errorf("img2img: %v, %v", j.HiresDenoise, j.Source.Rect)
	}
}

func TestDecodeRefusesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	png.Encode(&b, fill(4, 4, color.NRGBA{1, 2, 3, 255}))
	data := b.Bytes()
	// The declared size is changed to 20,000 x 20,000; nothing but the header may be looked at.
	copy(data[16:24], []byte{0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20})
	if _, err := Decode(fixCRC(data), MaxPixels); err == nil {
		t.Error("decoded a bomb")
	}
	for _, junk := range []string{"", "abcde", "RIFF\x10\x00\x00\x00WEBPVP8L\x04\x00\x00\x00\x2f\xff\xff\xff", "\xff\xd8\xff\xe1"} {
		if _, err := Decode([]byte(junk), MaxPixels); err == nil {
			t.Errorf("decoded %q", junk)
		}
	}
}

func TestOrientation(t *testing.T) {
	t.Parallel()
	m := fill(32, 16, color.NRGBA{0, 0, 255, 255})
	for y := range 16 {
		for x := range 16 {
			m.SetNRGBA(x, y, color.NRGBA{255, 0, 0, 255}) // left half red
		}
	}
	var b bytes.Buffer
	jpeg.Encode(&b, m, &jpeg.Options{Quality: 100})
	exif := []byte("\xff\xe1\x00\x22Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00")
	data := append(append(append([]byte{}, b.Bytes()[:2]...), exif...), b.Bytes()[2:]...)
	out, err := Decode(data, MaxPixels)
	if err != nil || out.Rect.Dx() != 16 || out.Rect.Dy() != 32 {
		t.Fatalf("got %v, %v", out.Rect, err)
	}
	// Orientation 6 is turned clockwise: left becomes top.
	if c := out.NRGBAAt(8, 4); c.R < 200 {
		t.Errorf("top is %v", c)
	}
}

func TestWebPKeepsAlphaAndLosesMetadata(t *testing.T) {
	t.Parallel()
	m := fill(20, 20, color.NRGBA{10, 200, 30, 255})
	m.SetNRGBA(3, 3, color.NRGBA{0, 0, 0, 0})
	data, scaled, err := EncodeWebP(m)
	if err != nil || scaled {
		t.Fatal(err, scaled)
	}
	back, err := Decode(data, MaxPixels)
	if err != nil || back.NRGBAAt(3, 3).A != 0 || back.NRGBAAt(10, 10).A != 255 {
		t.Errorf("alpha is lost: %v", err)
	}
	// A file with metadata is made by hand: VP8X header, picture, EXIF.
	var plain bytes.Buffer
	webp.Encode(&plain, fill(20, 20, color.NRGBA{1, 1, 1, 255}), webp.Options{Quality: 90})
	body := []byte("VP8X\x0a\x00\x00\x00\x0c\x00\x00\x00\x13\x00\x00\x13\x00\x00")
	body = append(body, plain.Bytes()[12:]...)
	body = append(body, "EXIF\x05\x00\x00\x00abcde\x00XMP \x02\x00\x00\x00hi"...)
	file := append([]byte("RIFF\x00\x00\x00\x00WEBP"), body...)
	file[4], file[5] = byte(len(file)-8), byte((len(file)-8)>>8)
	out, err := StripWebP(file)
	if err != nil || bytes.Contains(out, []byte("EXIF")) || bytes.Contains(out, []byte("XMP ")) {
		t.Fatalf("metadata left: %v", err)
	}
	if _, err := Decode(out, MaxPixels); err != nil {
		t.Errorf("stripped file: %v", err)
	}
	if again, err := StripWebP(plain.Bytes()); err != nil || !bytes.Equal(again, plain.Bytes()) {
		t.Errorf("a plain file changed: %v", err)
	}
}

func FuzzPictures(f *testing.F) {
	var b bytes.Buffer
	png.Encode(&b, fill(4, 4, color.NRGBA{1, 2, 3, 255}))
	f.Add(b.Bytes())
	data, _, _ := EncodeWebP(fill(4, 4, color.NRGBA{1, 2, 3, 200}))
	f.Add(data)
	f.Add([]byte("RIFF\xff\xff\xff\x7fWEBPVP8X\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = Decode(data, 1<<16)
		_, _ = StripWebP(data)
		_ = orientation(data)
	})
}

// fixCRC makes the header chunk of a PNG whole again after it was changed.
func fixCRC(data []byte) []byte {
	sum := crc32.ChecksumIEEE(data[12:29])
	binary.BigEndian.PutUint32(data[29:], sum)
	return data
}
