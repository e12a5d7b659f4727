// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Record returns what a client sent in the form in which an order keeps it: as it came, before a style, a filter or a downgrade
// changed anything, and without what does not belong to it for good: the bytes of images, and how the request was to be treated
// at the door. prompt is that of the order; where it is the client's own it is not kept twice.
//
// It is packed like an order: see [PackedOrder].
func (s *ImageSubmission) Record(prompt string) string {
	r := *s
	r.Style, r.DryRun, r.AllowDowngrade, r.ReplacementFilter = nil, nil, nil, nil
	r.SourceImage, r.SourceMask, r.ExtraSourceImages = nil, nil, nil
	if value(r.Prompt) == prompt {
		r.Prompt = nil
	}
	if r.Params != nil && len(r.Params.InitAsImage) > 0 {
		params := *r.Params
		params.InitAsImage, r.Params = nil, &params
	}
	return string(imageRecordCodec.append(make([]byte, 0, recordSize), reflect.ValueOf(&r).Elem()))
}

// Record is [ImageSubmission.Record] for texts.
func (s *TextSubmission) Record(prompt string) string {
	r := *s
	r.Style, r.DryRun, r.AllowDowngrade, r.ExtraSourceImages = nil, nil, nil, nil
	if value(r.Prompt) == prompt {
		r.Prompt = nil
	}
	return string(textRecordCodec.append(make([]byte, 0, recordSize), reflect.ValueOf(&r).Elem()))
}

// recordSize is enough for most records, in bytes.
const recordSize = 256

var (
	imageRecordCodec = newWireMessage(reflect.TypeFor[ImageSubmission]())
	textRecordCodec  = newWireMessage(reflect.TypeFor[TextSubmission]())
)

// RecordedImage is what the client of an image order sent. An order from before submissions were recorded has its prompt alone.
func (o *Order) RecordedImage() (*ImageSubmission, error) {
	s := &ImageSubmission{}
	if err := o.readRecord(imageRecordCodec, s); err != nil {
		return nil, err
	}
	if s.Prompt == nil {
		s.Prompt = &o.Prompt
	}
	return s, nil
}

// RecordedText is what the client of a text order sent.
func (o *Order) RecordedText() (*TextSubmission, error) {
	s := &TextSubmission{}
	if err := o.readRecord(textRecordCodec, s); err != nil {
		return nil, err
	}
	if s.Prompt == nil {
		s.Prompt = &o.Prompt
	}
	return s, nil
}

func (o *Order) readRecord(codec *wireMessage, to any) error {
	data := []byte(o.Recorded)
	u := unpacker{PackedOrder(o.Recorded)}
	if err := codec.read(u, data[:len(data):len(data)], reflect.ValueOf(to).Elem()); err != nil {
		return fmt.Errorf("recorded submission: %w", err)
	}
	return nil
}

// keyMarkSize is how much of the hash of a key an order keeps: beyond guessing, and small.
const keyMarkSize = 16

// MarkOf is by what an order knows the key that it was made with, of the key's hash.
func MarkOf(keyHash string) string { return keyHash[:min(len(keyHash), keyMarkSize)] }

// MaxTemplateFields is how many places of a style may be filled.
const MaxTemplateFields = 16

// TemplateFields reads the texts for the places of a style. A null is as good as none. Each text and all together may have as
// many words as a prompt.
func TemplateFields(raw json.RawMessage) (map[string]string, *Error) {
	if raw == nil {
		return nil, nil
	}
	given := members(raw)
	if len(given) > MaxTemplateFields {
		return nil, Invalid(map[string]string{"template_fields": fmt.Sprintf("more than %d", MaxTemplateFields)})
	}
	fields, all := map[string]string{}, strings.Builder{}
	for _, m := range given {
		var text *string
		if json.Unmarshal(m.value, &text) != nil {
			return nil, Invalid(map[string]string{"template_fields." + m.name: "is not of type 'string'"})
		}
		if text == nil {
			continue
		}
		fields[m.name] = *text
		all.WriteString(*text)
		all.WriteByte(' ')
	}
	if all.Len() > MaxImagePrompt || tooManyWords(all.String()) {
		return nil, ErrInvalidPromptSize.Withf("template_fields have more than %d words.", MaxPromptWords)
	}
	return fields, nil
}
