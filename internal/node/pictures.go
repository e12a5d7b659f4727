// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/picture"
	"horde/internal/source"
)

// pictures gives the engine what it wants to know of images.
type pictures struct {
	codec  *picture.Codec
	intake *source.Intake
}

func (p pictures) Source(ctx context.Context, input string, needsAlpha bool) ([]byte, error) {
	image, err := p.intake.Take(ctx, input)
	if err != nil {
		return nil, err
	}
	return image.WebP, source.CheckInpainting(image, !needsAlpha)
}

func (p pictures) Alchemy(ctx context.Context, input string) ([]byte, int, error) {
	image, err := p.intake.TakeForAlchemy(ctx, input)
	return image.WebP, int(horde.Tiles(image.Width, image.Height)), err
}

func (p pictures) Result(ctx context.Context, text string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	format := picture.Sniff(data)
	if err != nil || format == "" {
		return nil, engine.ErrNoImage
	}
	if format == picture.WebP {
		_, err = p.codec.Verify(ctx, data, picture.MaxResultPixels)
	} else {
		data, _, err = p.codec.Transcode(ctx, data, picture.MaxResultPixels, picture.ResultQuality)
	}
	switch {
	case errors.Is(err, picture.ErrNotImage), errors.Is(err, picture.ErrCorrupt), errors.Is(err, picture.ErrTooManyPixels):
		return nil, horde.ErrCorruptResult
	}
	return data, err
}
