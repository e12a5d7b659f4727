// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"math/rand/v2"
	"strconv"

	"github.com/gen2brain/webp"
	"github.com/go-json-experiment/json/jsontext"

	"horde/internal/horde"
)

// material is what requests and results are made of. It is made once and only read then.
type material struct {
	cfg   *Config
	words []byte // harmless words, to fill prompts and texts with
	image []byte // the chunks of a small picture, without the header of the file
	width int
}

const (
	minPrompt = 80 // room for the mark
	minText   = 80 // and for what makes a text unique
	// wordPool is larger than a page and small enough to stay in the processor's cache.
	wordPool = 32 << 10
)

var vocabulary = []string{
	"lighthouse", "harbour", "meadow", "river", "mountain", "morning", "violin", "copper", "lantern", "orchard", "painting",
	"portrait", "winter", "garden", "bridge", "sailing", "quiet", "golden", "distant", "gentle", "bright", "ancient", "wooden",
	"marble", "silver", "detailed", "watercolour", "sunset", "clouds", "valley", "village", "station", "window", "paper",
}

func newMaterial(cfg *Config) (*material, error) {
	m := &material{cfg: cfg, width: 64}
	rnd := rand.New(rand.NewPCG(1, 2))
	for len(m.words) < wordPool {
		m.words = append(append(m.words, vocabulary[rnd.IntN(len(vocabulary))]...), ' ')
	}
	if cfg.ImageShare == 0 {
		return m, nil
	}
	picture := image.NewNRGBA(image.Rect(0, 0, m.width, m.width))
	for y := range m.width {
		for x := range m.width {
			picture.Set(x, y, color.NRGBA{uint8(x * 4), uint8(y * 4), uint8((x ^ y) * 4), 255})
		}
	}
	var file bytes.Buffer
	if err := webp.Encode(&file, picture, webp.Options{Quality: 75}); err != nil {
		return nil, fmt.Errorf("make a picture: %w", err)
	}
	const header = 12 // RIFF, size, WEBP
	if file.Len() < header || string(file.Bytes()[header:header+3]) != "VP8" {
		return nil, fmt.Errorf("make a picture: it is no WebP")
	}
	m.image = file.Bytes()[header:]
	return m, nil
}

// fill appends n bytes of words, which differ with seed.
func (m *material) fill(buf []byte, seed uint64, n int) []byte {
	at := int((seed * 2654435761) % uint64(len(m.words)))
	for n > 0 {
		take := min(n, len(m.words)-at)
		buf = append(buf, m.words[at:at+take]...)
		n -= take
		at = 0
	}
	return buf
}

// variety makes preloaded requests fall into several classes.
type variety struct {
	model string
	side  int // of an image, or the length of the context of a text, from the list of sizes
	nsfw  bool
}

// submission appends the body of a request.
func (m *material) submission(buf []byte, k horde.Kind, v variety, mark func([]byte) []byte, seed uint64) []byte {
	buf = append(buf, `{"prompt":"`...)
	start := len(buf)
	buf = append(mark(buf), ' ')
	buf = m.fill(buf, seed, m.cfg.PromptBytes-(len(buf)-start))
	buf = append(buf, `","models":[`...)
	buf, _ = jsontext.AppendQuote(buf, v.model)
	buf = append(buf, `],"nsfw":`...)
	buf = strconv.AppendBool(buf, v.nsfw)
	if k == horde.Text {
		buf = append(buf, `,"params":{"max_length":80,"max_context_length":`...)
		buf = strconv.AppendInt(buf, int64(2*v.side), 10)
		return append(buf, `}}`...)
	}
	buf = append(buf, `,"r2":true,"params":{"steps":8,"n":1,"sampler_name":"k_euler","width":`...)
	buf = strconv.AppendInt(buf, int64(v.side), 10)
	buf = append(buf, `,"height":`...)
	buf = strconv.AppendInt(buf, int64(v.side), 10)
	return append(buf, `}}`...)
}

// usual is what requests of the run want.
func (m *material) usual(k horde.Kind) variety {
	return variety{model: m.model(k), side: 512}
}

func (m *material) model(k horde.Kind) string {
	if k == horde.Image {
		return m.cfg.ImageModel
	}
	return m.cfg.TextModel
}

// bridgeAgent is a worker that can everything; servers derive from the name what a worker can.
func bridgeAgent(k horde.Kind) string {
	if k == horde.Image {
		return "AI Horde Worker reGen:13:https://horde.example"
	}
	return "KoboldCppEmbedWorker:2:https://horde.example"
}

// pop is the body with which a worker pops.
func (m *material) pop(k horde.Kind, name, model string) []byte {
	b := append([]byte(nil), `{"name":`...)
	b, _ = jsontext.AppendQuote(b, name)
	b = append(b, `,"models":[`...)
	b, _ = jsontext.AppendQuote(b, model)
	b = append(b, `],"bridge_agent":`...)
	b, _ = jsontext.AppendQuote(b, bridgeAgent(k))
	b = append(b, `,"nsfw":true,"threads":1,"amount":1`...)
	if m.cfg.PopWait > 0 {
		b = fmt.Appendf(b, `,"wait":%d`, max(1, int(m.cfg.PopWait.Seconds())))
	}
	if k == horde.Text {
		return append(b, `,"max_length":512,"max_context_length":8192,"softprompts":[]}`...)
	}
	return append(b, `,"max_pixels":4194304,"blacklist":[],"allow_img2img":true,"allow_painting":true,"allow_unsafe_ipaddr":true,"allow_post_processing":true,"allow_controlnet":true,"allow_lora":true,"limit_max_steps":false}`...)
}

// textResult is a text that no other job has. It holds characters that JSON escapes and some of several bytes, since a text that
// comes back "nearly" the same is not the result.
func (m *material) textResult(job string, id uint64) []byte {
	b := make([]byte, 0, m.cfg.TextBytes)
	b = append(b, "Für \""...)
	b = append(b, job...)
	b = strconv.AppendUint(append(b, "\":\n\t"...), id, 10)
	b = append(b, " – "...)
	return append(m.fill(b, id, m.cfg.TextBytes-len(b)-1), '.') // so that it does not end in a space
}

// imageResult is a valid WebP file that no other job has: the picture is always the same, and a metadata chunk is unique.
func (m *material) imageResult(job string, id uint64) []byte {
	const header, canvas, chunk = 12, 18, 8
	size := max(m.cfg.ImageBytes, header+canvas+len(m.image)+chunk+64)
	note := make([]byte, 0, size)
	note = append(note, job...)
	note = strconv.AppendUint(append(note, ' '), id, 10)
	note = m.fill(append(note, ' '), id, max(0, size-header-canvas-len(m.image)-chunk-len(note)-1))
	if len(note)%2 == 1 {
		note = append(note, ' ') // chunks have an even length
	}
	b := make([]byte, 0, size+2)
	b = append(b, "RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x04\x00\x00\x00"...) // 4: it has XMP metadata
	for range 2 {
		b = append(b, byte(m.width-1), byte((m.width-1)>>8), 0)
	}
	b = append(b, m.image...)
	b = append(b, "XMP "...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(note)))
	b = append(b, note...)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return b
}

// delivery appends the body with which a worker ends a job. generation is JSON.
func delivery(buf []byte, job string, generation []byte, state string) []byte {
	buf = append(buf, `{"id":"`...)
	buf = append(append(buf, job...), `","state":"`...)
	buf = append(append(buf, state...), `","seed":1,"generation":`...)
	return append(append(buf, generation...), '}')
}

// quoted is a text as JSON, file is bytes as base64 as JSON.
func quoted(text []byte) []byte {
	b, _ := jsontext.AppendQuote(make([]byte, 0, len(text)+len(text)/8+16), text)
	return b
}

func file(data []byte) []byte {
	b := append(make([]byte, 0, base64.StdEncoding.EncodedLen(len(data))+2), '"')
	return append(base64.StdEncoding.AppendEncode(b, data), '"')
}
