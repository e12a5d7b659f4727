// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"

	"horde/client"
)

// Mode is the path that an image job takes, after sources were fetched and models looked at.
type Mode int

// The modes. Control uses the source as a map only; Remix takes several pictures as examples.
const (
	TextToImage Mode = iota
	ImageToImage
	MaskedImage // image to image where only the mask changes
	Paint       // in- and outpainting
	Remixed
	Control
)

// ImageJob is one picture, or a batch of the same, with every value in its range.
type ImageJob struct {
	// Key is unique for each job, made of letters, digits and hyphens.
	Key   string
	Model Model
	// Positive and Negative are the prompts after alternatives were chosen.
	Positive, Negative string
	Seed               uint32
	// Sampler is the horde's name.
	Sampler       string
	Karras        bool
	CFG           float64
	Steps         int
	Width, Height int
	// Count is the number of pictures.
	Count int
	// Denoise is 0.01..1; 1 without a source.
	Denoise  float64
	ClipSkip int
	Tiling   bool
	// HiresRequested is what the requester asked; Hires whether two passes are made, with the first of size First.
	HiresRequested bool
	Hires          bool
	First          Size
	HiresSteps     int
	HiresDenoise   float64

	Mode Mode
	// Source is resized already; for ImageToImage and the like it is opaque. Mask is white where the picture changes.
	Source *image.NRGBA
	Mask   *image.Gray
	Extra  []ExtraImage

	ControlType string
	// ControlStrength is 0.01..3.
	ControlStrength float64
	ImageIsControl  bool
	ReturnMap       bool

	Loras []LoraFile
	// PostProcessing is in the order of work, known names only.
	PostProcessing []string
	// FaceStrength is 0..1.
	FaceStrength float64
	Transparent  bool
	Workflow     string
	ExtraTexts   []client.ExtraText
	// Censor: the requester wants results that are not safe for work replaced.
	Censor bool
}

// ExtraImage is a further example for Remixed, with its weight 0..5.
type ExtraImage struct {
	Image    *image.NRGBA
	Strength float64
}

// LoraFile is a LoRA that lies where the server finds it.
type LoraFile struct {
	// Name is the file by the server's spelling.
	Name        string
	Model, Clip float64
}

// Sources are the pictures that came with a job, decoded. Nil: not sent, or not to be had.
type Sources struct {
	Image *image.NRGBA
	Mask  *image.NRGBA
	Extra []ExtraImage
}

// NewImageJob makes a job of what the horde sent. Values out of range are brought into it, never refused. random gives a
// seed where the horde sent none. The metadata tells what could not be honoured.
func NewImageJob(key string, job client.ImageJob, model Model, src Sources, random func() uint32) (*ImageJob, []client.Metadata) {
	p := job.Payload
	j := &ImageJob{
		Key: key, Model: model, Sampler: p.Sampler, Karras: p.Karras,
		CFG:   clamp(orElse(p.CFGScale, 8), 1, 100),
		Steps: clamp(orElse(p.Steps, 30), 1, 500),
		Width: RoundUp64(clamp(orElse(p.Width, 512), 64, 8192)), Height: RoundUp64(clamp(orElse(p.Height, 512), 64, 8192)),
		Count: clamp(len(job.IDs), 1, 100), Denoise: 1,
		ClipSkip: clamp(orElse(p.ClipSkip, 1), 1, 20), Tiling: p.Tiling, HiresRequested: p.HiresFix,
		ControlType: p.ControlType, ControlStrength: clamp(orElse(p.ControlStrength, 1), 0.01, 3),
		ImageIsControl: p.ImageIsControl, ReturnMap: p.ReturnControlMap,
		FaceStrength: clamp(orElse(p.FacefixerStrength, 0.5), 0, 1), Transparent: p.Transparent,
		Workflow: p.Workflow, ExtraTexts: p.ExtraTexts, Censor: p.UseNSFWCensor,
	}
	if j.Sampler == "" {
		j.Sampler = "k_euler"
	}
	var ok bool
	if j.Seed, ok = ParseSeed(p.Seed); !ok {
		j.Seed = random()
	}
	positive, negative := SplitPrompt(p.Prompt)
	texts := ResolveAlternatives(j.Seed, positive, negative)
	j.Positive, j.Negative = texts[0], texts[1]

	var meta []client.Metadata
	var unknown []string
	j.PostProcessing, unknown = OrderPostProcessing(p.PostProcessing)
	for _, u := range unknown {
		meta = append(meta, Ignored(u))
	}
	meta = append(meta, j.chooseMode(job, src)...)
	j.setPasses(p)
	j.fitSources(src)
	return j, meta
}

// Ignored is the metadata entry for an option that could not be honoured.
func Ignored(option string) client.Metadata {
	return client.Metadata{Type: "information", Value: "see_ref", Ref: Cut(option, 200) + " ignored"}
}

// chooseMode follows the table of section 6.1: the horde's source_processing is set on plain text-to-image jobs too, so
// what counts is whether there is a picture.
func (j *ImageJob) chooseMode(job client.ImageJob, src Sources) []client.Metadata {
	if src.Image != nil && job.Payload.DenoisingStrength != nil {
		j.Denoise = clamp(*job.Payload.DenoisingStrength, 0.01, 1)
	}
	hasMask := src.Mask != nil || src.Image != nil && hasAlpha(src.Image)
	paintAsked := job.SourceProcessing == "inpainting" || job.SourceProcessing == "outpainting"
	switch {
	case j.Model.Inpainting:
		j.Mode, j.ControlType = Paint, ""
		if src.Image == nil {
			return []client.Metadata{{Type: "source_image", Value: "parse_failed"}}
		}
		if !hasMask {
			return []client.Metadata{{Type: "source_mask", Value: "parse_failed"}}
		}
	case src.Image == nil:
		j.Mode, j.ControlType = TextToImage, ""
	case j.ControlType != "":
		j.Mode = Control
	case hasMask && paintAsked:
		j.Mode = Paint
	case job.SourceProcessing == "remix" && j.Model.Baseline == StableCascade:
		j.Mode = Remixed
	case hasMask:
		j.Mode = MaskedImage
	default:
		j.Mode = ImageToImage
	}
	if j.Mode == Control {
		// A control job starts from an empty latent, where less than full denoising gives mush.
		j.Denoise = 1
	}
	return nil
}

// setPasses decides on two passes and their sizes.
func (j *ImageJob) setPasses(p client.ImagePayload) {
	size := Size{j.Width, j.Height}
	j.First = size
	strength := 0.65
	if j.Mode == ImageToImage || j.Mode == MaskedImage {
		strength = j.Denoise
	}
	j.HiresDenoise = clamp(orElse(p.HiresFixDenoisingStrength, strength), 0.01, 1)
	if p.HiresFix && j.Mode != Paint && j.Workflow == "" && !j.ReturnMap && j.Model.Baseline.TwoPasses(size) {
		j.Hires = true
		j.First = j.Model.Baseline.FirstPass(size)
		j.HiresSteps = j.Model.Baseline.SecondPassSteps(size, j.Steps, j.HiresDenoise)
	}
}

// fitSources brings pictures and mask to the size of the first pass, and makes what an inpainting model cannot do
// without.
func (j *ImageJob) fitSources(src Sources) {
	if j.Mode == TextToImage {
		return
	}
	size := j.First
	if j.Mode == Control && !j.Hires {
		size = Size{j.Width, j.Height}
	}
	for _, e := range src.Extra {
		if j.Mode == Remixed {
			j.Extra = append(j.Extra, ExtraImage{Image: e.Image, Strength: clamp(e.Strength, 0, 5)})
		}
	}
	if src.Image == nil {
		j.Source, j.Mask = noise(size, j.Seed), solid(size, 255)
		return
	}
	j.Source = Resize(src.Image, size)
	if j.Mode == MaskedImage || j.Mode == Paint {
		switch {
		case src.Mask != nil:
			j.Mask = grey(Resize(opaque(src.Mask), size))
		case hasAlpha(src.Image):
			j.Mask = inverseAlpha(j.Source)
		default:
			j.Mask = solid(size, 255)
		}
	}
	j.Source = opaque(j.Source)
}

// RoundUp64 rounds up to a multiple of 64.
func RoundUp64(n int) int { return (n + 63) / 64 * 64 }

// BatchMetadata is the entry that tells which picture of a batch this is; nil for a batch of one.
func BatchMetadata(index, count int) []client.Metadata {
	if count <= 1 {
		return nil
	}
	return []client.Metadata{{Type: "batch_index", Value: "see_ref", Ref: fmt.Sprint(index)}}
}

func orElse[T any](p *T, d T) T {
	if p == nil {
		return d
	}
	return *p
}

func clamp[T int | float64](v, lo, hi T) T {
	if f, ok := any(v).(float64); ok && math.IsNaN(f) {
		return lo
	}
	return max(lo, min(hi, v))
}

func hasAlpha(m *image.NRGBA) bool {
	b := m.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		row := m.Pix[m.PixOffset(b.Min.X, y):m.PixOffset(b.Max.X, y)]
		for i := 3; i < len(row); i += 4 {
			if row[i] != 255 {
				return true
			}
		}
	}
	return false
}

func solid(s Size, v uint8) *image.Gray {
	m := image.NewGray(image.Rect(0, 0, s.W, s.H))
	for i := range m.Pix {
		m.Pix[i] = v
	}
	return m
}

// noise is the picture that an inpainting model starts from when it got none.
func noise(s Size, seed uint32) *image.NRGBA {
	rng := splitmix64(seed)
	m := image.NewNRGBA(image.Rect(0, 0, s.W, s.H))
	for i := 0; i < len(m.Pix); i += 4 {
		v := rng.next()
		m.Pix[i], m.Pix[i+1], m.Pix[i+2], m.Pix[i+3] = uint8(v), uint8(v>>8), uint8(v>>16), 255
	}
	return m
}

func grey(m *image.NRGBA) *image.Gray {
	out := image.NewGray(image.Rect(0, 0, m.Rect.Dx(), m.Rect.Dy()))
	for y := range m.Rect.Dy() {
		for x := range m.Rect.Dx() {
			out.SetGray(x, y, color.GrayModel.Convert(m.NRGBAAt(m.Rect.Min.X+x, m.Rect.Min.Y+y)).(color.Gray))
		}
	}
	return out
}

// inverseAlpha makes the mask of a picture with holes: transparent pixels are repainted.
func inverseAlpha(m *image.NRGBA) *image.Gray {
	out := image.NewGray(image.Rect(0, 0, m.Rect.Dx(), m.Rect.Dy()))
	for i := range out.Pix {
		out.Pix[i] = 255 - m.Pix[4*i+3]
	}
	return out
}

// opaque drops the alpha channel and keeps the colours under it.
func opaque(m *image.NRGBA) *image.NRGBA {
	out := &image.NRGBA{Pix: slices.Clone(m.Pix), Stride: m.Stride, Rect: m.Rect}
	for i := 3; i < len(out.Pix); i += 4 {
		out.Pix[i] = 255
	}
	return out
}

// WithMask returns the source with the mask in its alpha channel, as ComfyUI's LoadImage wants it: alpha 0 is repainted.
func (j *ImageJob) WithMask() *image.NRGBA {
	if j.Mask == nil {
		return j.Source
	}
	out := opaque(j.Source)
	for i := range j.Mask.Pix {
		out.Pix[4*i+3] = 255 - j.Mask.Pix[i]
	}
	return out
}
