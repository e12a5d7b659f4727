// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"horde/internal/horde"
	"horde/internal/picture"
)

const (
	// alchemyTimeout is how long fetching the image of an alchemy request may take.
	alchemyTimeout = 2 * time.Second
	// bombPixels is how many pixels nobody opens who is careful: more count as unreadable, not as too large.
	bombPixels = 178_956_970
)

// TakeForAlchemy takes in the image of an alchemy request. What comes as base64 becomes WebP; what is behind a URL is fetched
// to be measured, and stays where it is: WebP is nil then, and Channels 0. Refusals are those of [Intake.Take], and an image of more
// than horde.MaxTiles is horde.ErrSourceResolution (alchemy chapter, section 4).
func (in *Intake) TakeForAlchemy(ctx context.Context, input string) (Image, error) {
	take := in.takeLenient
	if strings.HasPrefix(input, "http") {
		take = in.measure
	}
	image, err := take(ctx, input)
	if err == nil && horde.Tiles(image.Width, image.Height) > horde.MaxTiles {
		err = horde.ErrSourceResolution
	}
	if err != nil {
		return Image{}, err
	}
	return image, nil
}

// measure tells the size of the image behind a URL.
func (in *Intake) measure(ctx context.Context, rawURL string) (Image, error) {
	timed, cancel := context.WithTimeout(ctx, alchemyTimeout)
	defer cancel()
	data, status, err := in.fetch(timed, rawURL)
	switch {
	case err != nil && ctx.Err() == nil && timed.Err() != nil, err == nil && len(data) == 0:
		return Image{}, horde.ErrImageValidation
	case err != nil:
		return Image{}, err
	case status < http.StatusOK || status >= http.StatusMultipleChoices:
		return Image{}, horde.ErrImageValidation
	}
	info, err := picture.Inspect(data)
	switch {
	case errors.Is(err, picture.ErrNotImage):
		return Image{}, horde.ErrSourceURL
	case err != nil, int64(info.Width)*int64(info.Height) > bombPixels:
		return Image{}, horde.ErrSourceUnreadable
	}
	return Image{Width: info.Width, Height: info.Height}, nil
}

// takeLenient converts an image that comes as base64, in which everything that does not belong there is overlooked.
func (in *Intake) takeLenient(ctx context.Context, input string) (Image, error) {
	data, err := base64.RawStdEncoding.DecodeString(strings.Map(base64Only, input))
	if err != nil {
		return Image{}, horde.ErrImageValidation
	}
	webp, info, err := in.codec.Transcode(ctx, data, picture.MaxSourcePixels, picture.SourceQuality)
	switch {
	case err == nil:
		return Image{WebP: webp, Width: info.Width, Height: info.Height, Channels: info.Channels}, nil
	case ctx.Err() != nil:
		return Image{}, ctx.Err()
	case errors.Is(err, picture.ErrTooManyPixels):
		return Image{}, horde.ErrSourceResolution
	case errors.Is(err, picture.ErrNotImage), errors.Is(err, picture.ErrCorrupt):
		return Image{}, horde.ErrImageValidation
	}
	return Image{}, err
}

// base64Only drops what is not of the alphabet, padding included.
func base64Only(r rune) rune {
	switch {
	case r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '+', r == '/':
		return r
	}
	return -1
}
