// SPDX-License-Identifier: AGPL-3.0-or-later

// Package source takes in the images that clients send with their requests: source image, mask, extra source images,
// and what alchemy works on. A client sends base64 or the URL of a picture; a worker gets WebP. In between stands the one
// routine that fetches, judges and converts, [Intake.Take] (requests chapter, section 12).
package source

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"horde/internal/fetch"
	"horde/internal/horde"
	"horde/internal/picture"
)

// Bounds on fetching. A picture of unknown length is read up to MaxBytes; one that announces its length is held to the
// published 5000 KiB.
const (
	MaxBytes     = 5 << 20
	maxAnnounced = 5000 << 10
	timeout      = 5 * time.Second
	maxRedirects = 3
)

// maxFetches bounds how many pictures are fetched, and so held in memory, at once.
const maxFetches = 32

// FetchConfig is how source images are fetched. Addresses in allow may be reached although they are private.
func FetchConfig(allow []netip.Prefix) fetch.Config {
	return fetch.Config{AllowPrefixes: allow, Timeout: timeout, MaxRedirects: maxRedirects, MaxBytes: MaxBytes}
}

// Intake takes images in. It is safe for concurrent use.
type Intake struct {
	client  *fetch.Client
	codec   *picture.Codec
	fetches *semaphore.Weighted
}

// New returns an intake that fetches with client, made from FetchConfig, and converts with codec.
func New(client *fetch.Client, codec *picture.Codec) *Intake {
	return &Intake{client: client, codec: codec, fetches: semaphore.NewWeighted(maxFetches)}
}

// Image is an image that was taken in.
type Image struct {
	// WebP is what is stored: lossy, transparency kept.
	WebP          []byte
	Width, Height int // pixels
	// Channels is 4 for an image that was sent with transparency, 3 for any other.
	Channels int
}

// Take returns the image that input is, as base64 or as the URL of one, which begins with "http". Refusals are
// horde.ErrImageValidation, ErrSourceSize, ErrSourceURL, ErrSourceUnreadable and ErrSourceResolution; the error of ctx
// is returned as it is.
func (in *Intake) Take(ctx context.Context, input string) (Image, error) {
	fromURL := strings.HasPrefix(input, "http")
	var data []byte
	var err error
	if fromURL {
		data, _, err = in.fetch(ctx, input)
	} else if data, err = base64.StdEncoding.DecodeString(input); err != nil {
		err = horde.ErrImageValidation
	}
	if err != nil {
		return Image{}, err
	}
	webp, info, err := in.codec.Transcode(ctx, data, picture.MaxSourcePixels, picture.SourceQuality)
	switch {
	case err == nil:
		return Image{WebP: webp, Width: info.Width, Height: info.Height, Channels: info.Channels}, nil
	case ctx.Err() != nil:
		return Image{}, ctx.Err()
	case errors.Is(err, picture.ErrNotImage) && !fromURL:
		return Image{}, horde.ErrImageValidation
	case errors.Is(err, picture.ErrNotImage) && len(data) > 0:
		return Image{}, horde.ErrSourceURL
	case errors.Is(err, picture.ErrNotImage), errors.Is(err, picture.ErrCorrupt):
		return Image{}, horde.ErrSourceUnreadable
	case errors.Is(err, picture.ErrTooManyPixels):
		return Image{}, horde.ErrSourceResolution
	}
	return Image{}, err
}

// fetch returns what rawURL leads to, whatever the status of the answer, and that.
func (in *Intake) fetch(ctx context.Context, rawURL string) (data []byte, status int, err error) {
	if err := in.fetches.Acquire(ctx, 1); err != nil {
		return nil, 0, err
	}
	defer in.fetches.Release(1)
	resp, err := in.client.Get(ctx, rawURL)
	if err != nil {
		return nil, 0, refusal(ctx, err)
	}
	defer resp.Body.Close()
	if resp.ContentLength > maxAnnounced {
		return nil, 0, horde.ErrSourceSize
	}
	if data, err = io.ReadAll(resp.Body); err != nil {
		return nil, 0, refusal(ctx, err)
	}
	return data, resp.StatusCode, nil
}

// refusal is what the client is told of a failed fetch.
func refusal(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fetch.ErrTooLarge):
		return horde.ErrSourceSize
	}
	return horde.ErrImageValidation
}

// CheckInpainting tells whether src can be inpainted: where it is filled says either a mask or its own transparency.
// horde.ErrInpaintingMask.
func CheckInpainting(src Image, hasMask bool) error {
	if hasMask || src.Channels == 4 {
		return nil
	}
	return horde.ErrInpaintingMask
}
