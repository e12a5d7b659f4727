// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// Door is what is known of a caller at the door of the horde.
type Door struct {
	// BannedAgent tells that the Client-Agent is refused, UnsafeIP that the address is.
	BannedAgent, UnsafeIP bool
}

// PlaceholderAgent is a Client-Agent that says nothing about its sender: it is from the reference's example.
const PlaceholderAgent = "My-Project:v0.0.1:My-Contact"

// Limits of submissions (requests chapter, 8).
const (
	MaxPromptWords = 7500
	MaxImagePrompt = 1 << 20 // bytes; no model reads that much
	// A text prompt may have so many bytes, and so many more for each token of context: what is longer would be cut off.
	MaxTextPrompt       = 256 << 10
	TextPromptPerToken  = 16
	MaxSoftprompt       = 1000 // characters
	MaxLoras            = 5
	MaxTIs              = 20
	MaxExtraImages      = 5
	MaxStopSequences    = 128
	MaxStopCharacters   = 2000
	SamplerOrderLength  = 7
	modelSD2Depth       = "Stable Diffusion 2 Depth"
	modelPix2Pix        = "pix2pix"
	modelTypeControlNet = "controlnet"
)

// Check applies the rules for image requests that go beyond the schema, in the order in which clients know the refusals
// (requests chapter, 8.2).
func (s *ImageSubmission) Check(u *User, ref *Reference, door Door) *Error {
	if err := s.checkSettings(u, ref); err != nil {
		return err
	}
	return s.checkRequest(u, ref, door)
}

// checkSettings are the rules that a style has to keep too.
func (s *ImageSubmission) checkSettings(u *User, ref *Reference) *Error {
	p := s.settings()
	models := s.ModelNames()
	workflow, transparent := value(p.Workflow), value(p.Transparent)
	anyBaseline := func(is func(string) bool) bool {
		return slices.ContainsFunc(models, func(m string) bool { return is(ref.Baseline(m)) })
	}
	simple := func(b string) bool { return b == BaselineSD1 || b == BaselineSDXL }
	complex := func(b string) bool { return !simple(b) }

	for _, check := range []struct {
		fails bool
		err   *Error
	}{
		{value(p.HiresFix) && anyBaseline(noHiresFix), ErrHiResMismatch},
		{len(p.Loras) > MaxLoras, ErrTooManyLoras},
		{slices.ContainsFunc(p.Loras, badLoraVersion), ErrBadLoraVersion},
		{len(p.TIs) > MaxTIs, ErrTooManyTIs},
		{transparent && anyBaseline(complex), ErrTransparencyModel},
		{workflow == "qr_code" && anyBaseline(complex), ErrQRCodeModel},
		{len(value(s.Prompt)) > MaxImagePrompt || tooManyWords(value(s.Prompt)), ErrInvalidPromptSize},
		{slices.ContainsFunc(models, func(m string) bool { return PostProcessors[m] }), ErrUnexpectedModel},
		{countUpscalers(p.PostProcessing) > 1, ErrTooManyUpscalers},
		{p.CFGScale != nil && !twoDecimals(*p.CFGScale), ErrBadCFGDecimals},
	} {
		if check.fails {
			return check.err
		}
	}
	if err := p.CheckSampling(models, ref); err != nil {
		return err
	}
	for _, m := range models {
		if err := checkSpecialModel(m, u, p); err != nil {
			return err
		}
	}
	return nil
}

// checkRequest are the rules that only a request has to keep.
func (s *ImageSubmission) checkRequest(u *User, ref *Reference, door Door) *Error {
	p := s.settings()
	models := s.ModelNames()
	source, workflow, control := value(s.SourceImage) != "", value(p.Workflow), value(p.ControlType)
	processing, transparent := s.processing(), value(p.Transparent)
	anyBaseline := func(is func(string) bool) bool {
		return slices.ContainsFunc(models, func(m string) bool { return is(ref.Baseline(m)) })
	}
	for _, check := range []struct {
		fails bool
		err   *Error
	}{
		{door.UnsafeIP, ErrUntrustedUnsafeIP},
		{len(p.Special) > 0 && !u.Has(Special), ErrSpecialPayloadUser},
		{value(s.SourceMask) != "" && !source, ErrMaskUnnecessary},
		{(control == "normal" || control == "hough") && anyBaseline(func(b string) bool {
			return strings.HasPrefix(b, BaselineSD2)
		}), ErrControlUnsupported},
		{control != "" && slices.Contains(models, modelPix2Pix), ErrControlUnsupported},
		{control != "" && !source, ErrControlNoSource},
		{control != "" && processing == "inpainting", ErrControlInpainting},
		{control != "" && anyBaseline(noControlNet), ErrControlMismatch},
		{transparent && len(s.ExtraSourceImages) > 0, ErrTransparencyImg2Img},
		{transparent && control != "", ErrTransparencyControl},
		{processing == "remix" && anyBaseline(func(b string) bool {
			return !strings.HasPrefix(b, BaselineCascade)
		}), ErrInvalidRemix},
		{len(s.ExtraSourceImages) > 0 && processing != "remix", ErrInvalidExtraImages},
		{len(p.ExtraTexts) > 0 && workflow != "qr_code", ErrInvalidExtraTexts},
		{workflow == "qr_code" && !hasQRText(p.ExtraTexts), ErrMissingExtraTexts},
		{truthy(p.InitAsImage) && value(p.ReturnControlMap), ErrControlPayload},
		{!source && (slices.Contains(models, modelSD2Depth) || slices.Contains(models, modelPix2Pix)), ErrSourceRequired},
		{!source && slices.ContainsFunc(models, func(m string) bool {
			return ref.Image[m].Type == modelTypeControlNet
		}), ErrUnexpectedModel},
		{door.BannedAgent, ErrBannedClientAgent},
		{s.hasNul(), ErrNulByte},
	} {
		if check.fails {
			return check.err
		}
	}
	return nil
}

// Check applies the rules for text requests that go beyond the schema (requests chapter, 8.3).
func (s *TextSubmission) Check() *Error {
	p := s.Params
	if p == nil {
		p = &TextSettings{}
	}
	maxLength, context := DefaultMaxLength, DefaultMaxContextLength
	if p.MaxLength != nil {
		maxLength = *p.MaxLength
	}
	if p.MaxContextLength != nil {
		context = *p.MaxContextLength
	}
	stops := unique(p.StopSequence)
	characters := 0
	for _, stop := range stops {
		characters += len([]rune(stop))
	}
	switch {
	case len(value(s.Prompt)) > MaxTextPrompt+TextPromptPerToken*context:
		return ErrInvalidPromptSize
	case len(value(s.Softprompt)) > MaxSoftprompt:
		return Invalid(map[string]string{"softprompt": "the name is too long"})
	case context < maxLength:
		return ErrTokenOverflow
	case p.SamplerOrder != nil && len(unique(p.SamplerOrder)) < SamplerOrderLength:
		return ErrSamplerOrder
	case len(stops) > MaxStopSequences:
		return ErrTooManyStops
	case characters > MaxStopCharacters:
		return ErrExcessiveStops
	case len(s.ExtraSourceImages) > 0:
		return ErrInvalidExtraImages
	case s.hasNul():
		return ErrNulByte
	}
	return nil
}

func noHiresFix(baseline string) bool {
	return strings.HasPrefix(baseline, BaselineFlux) || strings.HasPrefix(baseline, BaselineQwen) ||
		strings.HasPrefix(baseline, BaselineZImage)
}

func noControlNet(baseline string) bool {
	return noHiresFix(baseline) || baseline == BaselineSDXL || strings.HasPrefix(baseline, BaselineCascade)
}

func badLoraVersion(l LoraSettings) bool {
	name := value(l.Name)
	return value(l.IsVersion) && (name == "" || strings.Trim(name, "0123456789") != "")
}

// tooManyWords stops counting at the limit, so that a huge prompt costs no more than a long one.
func tooManyWords(prompt string) bool {
	n := 0
	for range strings.FieldsSeq(prompt) {
		if n++; n > MaxPromptWords {
			return true
		}
	}
	return false
}

func countUpscalers(names []string) (n int) {
	for _, name := range names {
		if Upscalers[name] {
			n++
		}
	}
	return n
}

// twoDecimals tells whether x equals itself rounded to two decimals, in decimal: 4.35 does, although it is no exact
// binary number.
func twoDecimals(x float64) bool {
	y, err := strconv.ParseFloat(strconv.FormatFloat(x, 'f', 2, 64), 64)
	return err == nil && x == y
}

func checkSpecialModel(model string, u *User, p *ImageSettings) *Error {
	if !strings.Contains(model, SpecialModel) {
		return nil
	}
	_, owner, named := strings.Cut(model, "::")
	switch {
	case !u.Has(Special):
		return ErrSpecialModelUser
	case !named:
		return ErrSpecialNoUsername
	case owner != u.Alias():
		return ErrSpecialModelUser
	case len(p.Special) == 0:
		return ErrSpecialNoPayload
	}
	return nil
}

func hasQRText(texts []ExtraText) bool {
	return slices.ContainsFunc(texts, func(t ExtraText) bool { return value(t.Reference) == "qr_code" })
}

// truthy tells whether a JSON value counts as true where the reference tests it loosely.
func truthy(raw []byte) bool {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", "false", "0", `""`, "[]", "{}":
		return false
	}
	return true
}

func (s *ImageSubmission) hasNul() bool {
	p := s.settings()
	texts := []string{value(s.Prompt), value(s.ProxiedAccount), value(s.Webhook), value(s.Style), value(p.Seed)}
	texts = append(texts, s.Models...)
	for _, l := range p.Loras {
		texts = append(texts, value(l.Name), value(l.InjectTrigger))
	}
	for _, t := range p.TIs {
		texts = append(texts, value(t.Name))
	}
	for _, t := range p.ExtraTexts {
		texts = append(texts, value(t.Text), value(t.Reference))
	}
	return anyNul(texts) || bytes.Contains(p.Special, []byte(`\u0000`))
}

func (s *TextSubmission) hasNul() bool {
	texts := []string{value(s.Prompt), value(s.Softprompt), value(s.ProxiedAccount), value(s.Webhook), value(s.Style)}
	texts = append(texts, s.Models...)
	if s.Params != nil {
		texts = append(texts, s.Params.StopSequence...)
	}
	return anyNul(texts)
}

func anyNul(texts []string) bool {
	return slices.ContainsFunc(texts, func(t string) bool { return strings.IndexByte(t, 0) >= 0 })
}

// value is what p points at, or the zero value for a field that was absent.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// unique returns the distinct elements in the order of their first appearance.
func unique[T comparable](list []T) []T {
	seen := make(map[T]bool, len(list))
	var out []T
	for _, x := range list {
		if !seen[x] {
			seen[x] = true
			out = append(out, x)
		}
	}
	return out
}
